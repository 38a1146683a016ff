// Compares the rows of one table before and after a commit, over the pages that may differ.
#pragma once

#include <optional>
#include <unordered_set>
#include <vector>

#include "engine/sqlite/commit_view.h"
#include "engine/sqlite/overflow.h"

namespace varve::engine::sqlite {

struct RowChanges {
  uint64_t inserted = 0, deleted = 0, updated = 0;
  // False: they could not be counted (too much to read, a damaged page, keys that cannot be told apart);
  // `more` says whether there are more rows than before, fewer (negative), or as many as far as known.
  bool exact = true;
  int64_t more = 0;
  bool any() const { return inserted + deleted + updated > 0 || !exact; }
};

struct TablePages {
  std::vector<uint32_t> before, after;  // tree pages that were written, or came or went; of both kinds
  bool without_rowid = false;
  uint32_t key_columns = 0;  // WITHOUT ROWID: columns of the key; 0 unknown
};

// A row whose primary key changed is a deletion and an insertion: that is how SQLite keeps it.
RowChanges compare_rows(CommitView& commit, const TablePages& pages, const OverflowChanges& overflow);
// How many rows a table had that is gone.
std::optional<uint64_t> count_rows(CommitView& commit, const TablePages& pages);
// Of the rows changed in place, on one page that was not written: how many of those with the given chains
// truly differ. nullopt: not known.
std::optional<uint64_t> count_changed_in_place(CommitView& commit, uint32_t page,
                                               const std::vector<uint32_t>& heads);

}  // namespace varve::engine::sqlite
