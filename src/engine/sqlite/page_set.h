// Page sets: SQLite's log as Varve keeps it. A page set holds a run of commits; each commit the pages it
// wrote. The pages' bytes travel beside it as numbered slots (a page set says which page is in which slot),
// so that the repository stores them without knowing what they are. Format: docs/format/sqlite-page-set.md.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/time.h"
#include "engine/engine.h"
#include "engine/sqlite/source.h"

namespace varve::engine::sqlite {

struct TableChange {
  std::string table;
  std::string kind;  // an Event kind
  std::optional<uint64_t>
      rows;  // unknown: too large a commit to count, or a table without rowid we could not compare
};

struct PageWrite {
  uint32_t page = 0;  // 1-based, as SQLite numbers them
  uint32_t slot = 0;  // index among the page set's slots
};

// One commit of one database.
struct Commit {
  uint64_t txn = 0;               // number in the source's log, ascending by one from commit to commit
  Timestamp time = {};            // when it was seen committed (≤ the poll interval after it was)
  uint32_t database = 0;          // index in PageSet::databases
  uint64_t pages_after = 0;       // the database's size in pages after it
  WalPosition wal;                // where its last frame stands (rollback-journal databases: zeros)
  std::vector<PageWrite> writes;  // ascending by page, each page once: its content after the commit
  std::vector<TableChange> changes;
};

// A stretch of time in which nobody looked, at whose end commits were found: when each of them was made is
// not known, so no moment strictly inside can be told.
struct Stretch {
  Timestamp from = {}, to = {};
  bool operator==(const Stretch&) const = default;
};

struct PageSet {
  struct Database {
    std::string name;
    uint32_t page_size = 0;
  };
  std::vector<Database> databases;
  std::vector<Commit> commits;  // ascending by txn; or, merged, one per database
  uint64_t first_txn = 0, last_txn = 0;
  Timestamp first_time = {}, last_time = {};
  std::vector<Stretch> unseen;  // ascending by from; each ends at a commit of this set
  // Merged: the commits of first_txn…last_txn folded into the latest version of each page; only the end is a
  // state.
  bool merged = false;
};

Buffer encode(const PageSet& set);
Result<PageSet> decode(ByteView bytes);  // checks every index and order; kDamaged otherwise

// A page set on its way: with the bytes of its slots.
struct Batch {
  PageSet set;
  std::vector<Buffer> slots;
  uint64_t bytes() const;
};

}  // namespace varve::engine::sqlite
