// Opens a database whose pages come from elsewhere: a backup at a moment, page by page as SQLite asks.
// Reading one table then costs that table's pages, not the database.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/context.h"
#include "base/error.h"

namespace varve::engine::sqlite {

// Delivers page `page` (1-based) into out (page_size bytes). Called from one thread at a time.
using PageFetch = std::function<Result<>(uint32_t page, MutableBytes out)>;

struct VirtualDatabase {
  uint32_t page_size = 0;
  uint64_t pages = 0;
  PageFetch fetch;
};

// A read-only VFS of SQLite that serves one VirtualDatabase, under a name of its own for sqlite3_open_v2().
// Nothing is locked and no journal or WAL is looked for: the pages are one state already. Must outlive the
// connections opened by it.
class PageVfs {
 public:
  static Result<std::unique_ptr<PageVfs>> create(VirtualDatabase database);
  ~PageVfs();
  PageVfs(const PageVfs&) = delete;
  PageVfs& operator=(const PageVfs&) = delete;
  const std::string& name() const;
  // The first failure of a fetch: what SQLite can only call "disk I/O error".
  std::optional<Error> failure() const;

  struct State;  // known to the .cc only

 private:
  PageVfs() = default;
  std::unique_ptr<State> state_;
};

struct ExtractedTable {
  std::string name;  // as created in the target
  uint64_t rows = 0;
  std::vector<std::string> indexes, triggers;
};

struct ExtractOptions {
  std::vector<std::string> tables = {};  // as named in the source, case-insensitive as in SQLite
  std::string target = {};               // a file: new, or (into_existing) a live database
  bool into_existing = false;            // beside the live tables, under a new name
  std::string as = {};  // new name; default with into_existing: "<table>_restored", made unique
};

// Copies tables with their schema, indexes, triggers and rows (rowids, generated columns, WITHOUT ROWID,
// STRICT, AUTOINCREMENT sequences, views they need are told in a warning). Into an existing database it is
// one transaction: all or nothing, and indexes and triggers get new names where theirs are taken (a trigger
// comes along only into a new file: in a live database it would fire on nothing the person asked for; that is
// said in `notes`). kNotFound names the nearest table names. Progress: called with rows so far.
Result<std::vector<ExtractedTable>> extract_tables(const Context& ctx, const VirtualDatabase& database,
                                                   const ExtractOptions& options,
                                                   std::vector<std::string>* notes,
                                                   const std::function<void(uint64_t rows)>& progress = {});
// The names of a database's tables, without SQLite's own.
Result<std::vector<std::string>> list_tables(const Context& ctx, const VirtualDatabase& database);

}  // namespace varve::engine::sqlite
