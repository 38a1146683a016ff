// Reading SQLite's file format: which table owns a page, and which rows a commit changed. Everything read is
// untrusted. Source: https://www.sqlite.org/fileformat2.html
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "base/bytes.h"
#include "base/error.h"
#include "engine/sqlite/page_set.h"

namespace varve::engine::sqlite {

// The 100 bytes at the start of a database.
struct DatabaseHeader {
  uint32_t page_size = 0;
  uint8_t write_version = 0, read_version = 0;  // 1 rollback journal, 2 WAL
  uint8_t reserved = 0;
  uint32_t change_counter = 0;
  uint32_t pages = 0;
  uint32_t schema_cookie = 0;
  uint32_t text_encoding = 0;
  uint32_t largest_root = 0;  // non-zero: auto-vacuum
};
inline constexpr size_t kHeaderSize = 100;
// kDatabase "not a SQLite database" for anything else.
Result<DatabaseHeader> parse_header(ByteView first_100_bytes);
// The page that covers the lock byte at 1 GiB; it is never used, so it is never read or stored.
uint64_t lock_page(uint32_t page_size);

// Delivers a page of the state before a commit, or of the state after. The view lives until the next call.
using PageSource = std::function<Result<ByteView>(uint32_t page)>;

// Knows which b-tree each page belongs to, and follows it from commit to commit.
// Memory: about 5 bytes a page of the database, bounded by max_pages (beyond it, changes are told without
// tables).
class TableTracker {
 public:
  static constexpr uint64_t kMaxPages = 20'000'000;
  // Reads the schema and every interior page (leaves are named by their parents; they are not read).
  static Result<TableTracker> build(const PageSource& state, uint64_t pages, uint32_t page_size);

  // Tells what a commit changed, and takes it in. before/after deliver pages of the two states; `written`
  // ascending. Rows are compared by rowid (or key) over the leaves written: inserts, updates, deletes per
  // table, created, dropped and altered tables; a VACUUM (nearly everything rewritten) is one event. Damaged
  // or surprising pages never fail the commit: the change is then told as kind "commit" with no table.
  std::vector<TableChange> apply(const std::vector<uint32_t>& written, uint64_t pages_after,
                                 const PageSource& before, const PageSource& after);

 private:
  TableTracker() = default;
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace varve::engine::sqlite
