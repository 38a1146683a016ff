// Finds the rows that own the overflow pages a commit wrote. SQLite overwrites an overflow page in place when
// a row keeps its size: then neither the row's own page nor anything that points at it is written.
#pragma once

#include <optional>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "engine/sqlite/commit_view.h"
#include "engine/sqlite/page_map.h"
#include "engine/sqlite/placement.h"

namespace varve::engine::sqlite {

// A row by its place: the first page of its overflow chain, and the tree page it is on.
struct OverflowRow {
  uint32_t head = 0, page = 0;
};

struct OverflowChanges {
  std::unordered_set<uint32_t> heads;  // first pages of the chains in which something was written
  std::vector<OverflowRow> in_place;   // rows of them on tree pages that were not written
  bool complete = true;                // false: pages were written of which nobody knows whose they are
};

// What the tracker remembers between commits of the search for owners of overflow pages that are older than
// it.
struct OverflowSearch {
  uint32_t next = 2;  // every page before this one was looked at
};

// `map` is that after the commit, and learns the chains met. auto_vacuum: the database has pointer-map pages.
OverflowChanges find_overflow(CommitView& commit, const Placement& placement, bool auto_vacuum, PageMap& map,
                              OverflowSearch& search);

// Whether two chains hold the same `bytes` payload bytes; nullopt: not known without reading too much.
std::optional<bool> same_overflow(CommitView& commit, uint32_t head_before, uint32_t head_after,
                                  uint64_t bytes);

}  // namespace varve::engine::sqlite
