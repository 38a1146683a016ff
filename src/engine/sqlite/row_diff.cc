#include "engine/sqlite/row_diff.h"

#include <algorithm>
#include <array>

#include "codec/codec.h"
#include "engine/sqlite/btree_page.h"

namespace varve::engine::sqlite {

namespace {

constexpr uint64_t kMaxKeyedRows = 1'000'000;  // compared in memory, where rows cannot be walked in order

// The leaves of a rowid table in the order of their rows, one cell at a time.
class RowWalk {
 public:
  RowWalk(const PageSource& source, uint32_t usable) : source_(source), usable_(usable) {}

  // False: a page cannot be read or is damaged.
  bool begin(CommitView& commit, const std::vector<uint32_t>& pages) {
    for (const uint32_t number : pages) {
      if (!commit.may_read(number)) return false;
      const auto view = source_(number);
      if (!view) return false;
      const auto page = BtreePage::parse(*view, number, usable_);
      if (!page || !page->is_table()) return false;
      if (!page->is_leaf() || page->cells() == 0) continue;
      const auto first = page->cell(0);
      if (!first) return false;
      rows_ += page->cells();
      leaves_.push_back({first->rowid, number});
    }
    std::ranges::sort(leaves_);
    return true;
  }
  uint64_t rows() const { return rows_; }

  // To the next row; false at the end or at damage.
  bool next() {
    while (!page_ || index_ >= page_->cells()) {
      if (leaf_ >= leaves_.size() || !load(leaves_[leaf_++].second)) return false;
    }
    const auto cell = page_->cell(index_++);
    // SQLite keeps rows ascending; without that the walk would count nonsense.
    if (!cell || (walked_ > 0 && cell->rowid <= cell_.rowid)) {
      damaged_ = true;
      return false;
    }
    ++walked_;
    cell_ = *cell;
    return true;
  }
  const Cell& cell() const { return cell_; }
  bool damaged() const { return damaged_; }

 private:
  bool load(uint32_t number) {
    const auto view = source_(number);
    if (view) {
      copy_ = to_buffer(*view);
      page_ = BtreePage::parse(copy_, number, usable_);
      index_ = 0;
    }
    damaged_ = !view || !page_;
    return !damaged_;
  }

  const PageSource& source_;
  const uint32_t usable_;
  std::vector<std::pair<int64_t, uint32_t>> leaves_;
  uint64_t rows_ = 0, walked_ = 0;
  size_t leaf_ = 0;
  Buffer copy_;
  std::optional<BtreePage> page_;
  uint32_t index_ = 0;
  Cell cell_;
  bool damaged_ = false;
};

// Whether the overflow parts of two cells are the same, given that their sizes are.
std::optional<bool> same_chain(CommitView& commit, const OverflowChanges& overflow, uint32_t head_before,
                               uint32_t head_after, uint64_t bytes) {
  if (bytes == 0) return true;
  if (head_before == head_after && !overflow.heads.contains(head_after)) return true;
  return same_overflow(commit, head_before, head_after, bytes);
}

RowChanges unknown(uint64_t before, uint64_t after) {
  RowChanges out;
  out.exact = false;
  out.more = static_cast<int64_t>(after) - static_cast<int64_t>(before);
  return out;
}

RowChanges compare_by_rowid(CommitView& commit, const TablePages& pages, const OverflowChanges& overflow) {
  RowWalk before(*commit.before, commit.usable), after(*commit.after, commit.usable);
  // Both are asked, so that the totals are there even when one side cannot be read.
  const bool has_before_pages = before.begin(commit, pages.before);
  const bool has_after_pages = after.begin(commit, pages.after);
  if (!has_before_pages || !has_after_pages) return unknown(before.rows(), after.rows());
  RowChanges out;
  if (before.rows() == 0 || after.rows() == 0) {
    out.inserted = after.rows();
    out.deleted = before.rows();
    return out;
  }
  bool has_before = before.next(), has_after = after.next();
  while (has_before || has_after) {
    const bool only_before = !has_after || (has_before && before.cell().rowid < after.cell().rowid);
    const bool only_after = !has_before || (has_after && after.cell().rowid < before.cell().rowid);
    if (!only_before && !only_after) {
      const Cell &a = before.cell(), &b = after.cell();
      std::optional<bool> same = a.payload_size == b.payload_size && same_bytes(a.local, b.local);
      if (*same) same = same_chain(commit, overflow, a.overflow, b.overflow, a.payload_size - a.local.size());
      if (!same) return unknown(before.rows(), after.rows());
      out.updated += *same ? 0 : 1;
    }
    out.deleted += only_before ? 1 : 0;
    out.inserted += only_after ? 1 : 0;
    if (!only_after) has_before = before.next();
    if (!only_before) has_after = after.next();
  }
  if (before.damaged() || after.damaged()) return unknown(before.rows(), after.rows());
  return out;
}

// A row of a WITHOUT ROWID table. Its order is that of collations we may not know, so rows meet by hash.
struct KeyedRow {
  uint64_t key = 0, content = 0;
  uint64_t overflow_bytes = 0;
  uint32_t overflow = 0;
};

uint64_t hash(ByteView bytes) {
  return load_le<uint64_t>(codec::checksum(bytes).data());
}

// The key columns come first in the record. False when they are not all on the page itself.
bool hash_key(ByteView local, uint32_t columns, Buffer& scratch, uint64_t& out) {
  scratch.clear();
  RecordReader record(local);
  for (uint32_t i = 0; i < columns; ++i) {
    const auto field = record.next();
    if (!field) return false;
    std::array<std::byte, 8> type{};
    store_le<uint64_t>(type.data(), field->type);
    append(scratch, type);
    append(scratch, field->bytes);
  }
  out = hash(scratch);
  return columns > 0;
}

struct KeyedRows {
  std::vector<KeyedRow> rows;
  bool readable = true;
  bool keys_known = true;
};

KeyedRows keyed_rows(CommitView& commit, const PageSource& source, const std::vector<uint32_t>& pages,
                     uint32_t columns) {
  KeyedRows out;
  Buffer scratch;
  out.readable = false;
  for (const uint32_t number : pages) {
    if (!commit.may_read(number)) return out;
    const auto view = source(number);
    if (!view) return out;
    const auto page = BtreePage::parse(*view, number, commit.usable);
    if (!page || page->is_table() || out.rows.size() + page->cells() > kMaxKeyedRows) return out;
    for (uint32_t i = 0; i < page->cells(); ++i) {
      const auto cell = page->cell(i);
      if (!cell) return out;
      KeyedRow row;
      row.content = hash(cell->local) ^ cell->payload_size;
      row.overflow = cell->overflow;
      row.overflow_bytes = cell->payload_size - cell->local.size();
      if (!hash_key(cell->local, columns, scratch, row.key)) {
        out.keys_known = false;
        row.key = row.content;
      }
      out.rows.push_back(row);
    }
  }
  out.readable = true;
  std::ranges::sort(out.rows, {}, [](const KeyedRow& r) { return std::pair(r.key, r.content); });
  return out;
}

RowChanges compare_by_key(CommitView& commit, const TablePages& pages, const OverflowChanges& overflow) {
  const KeyedRows before = keyed_rows(commit, *commit.before, pages.before, pages.key_columns);
  const KeyedRows after = keyed_rows(commit, *commit.after, pages.after, pages.key_columns);
  const RowChanges no_answer = unknown(before.rows.size(), after.rows.size());
  if (!before.readable || !after.readable) return no_answer;
  RowChanges out;
  auto a = before.rows.begin(), b = after.rows.begin();
  while (a != before.rows.end() || b != after.rows.end()) {
    if (b == after.rows.end() || (a != before.rows.end() && a->key < b->key)) {
      ++out.deleted;
      ++a;
    } else if (a == before.rows.end() || b->key < a->key) {
      ++out.inserted;
      ++b;
    } else {
      std::optional<bool> same = a->content == b->content && a->overflow_bytes == b->overflow_bytes;
      if (*same) same = same_chain(commit, overflow, a->overflow, b->overflow, a->overflow_bytes);
      if (!same) return no_answer;
      out.updated += *same ? 0 : 1;
      ++a;
      ++b;
    }
  }
  // Without keys an update looks like a deletion and an insertion.
  if (!(before.keys_known && after.keys_known) && out.deleted > 0 && out.inserted > 0) return no_answer;
  return out;
}

}  // namespace

RowChanges compare_rows(CommitView& commit, const TablePages& pages, const OverflowChanges& overflow) {
  return pages.without_rowid ? compare_by_key(commit, pages, overflow)
                             : compare_by_rowid(commit, pages, overflow);
}

std::optional<uint64_t> count_rows(CommitView& commit, const TablePages& pages) {
  uint64_t rows = 0;
  for (const uint32_t number : pages.before) {
    if (!commit.may_read(number)) return std::nullopt;
    const auto view = (*commit.before)(number);
    if (!view) return std::nullopt;
    const auto page = BtreePage::parse(*view, number, commit.usable);
    if (!page) return std::nullopt;
    if (page->is_leaf() || !page->is_table()) rows += page->cells();
  }
  return rows;
}

std::optional<uint64_t> count_changed_in_place(CommitView& commit, uint32_t number,
                                               const std::vector<uint32_t>& heads) {
  if (!commit.may_read(number)) return std::nullopt;
  const auto view = (*commit.after)(number);
  if (!view) return std::nullopt;
  const Buffer copy = to_buffer(*view);
  const auto page = BtreePage::parse(copy, number, commit.usable);
  if (!page) return std::nullopt;
  uint64_t changed = 0;
  for (uint32_t i = 0; i < page->cells(); ++i) {
    const auto cell = page->cell(i);
    if (!cell || std::ranges::find(heads, cell->overflow) == heads.end() || cell->overflow == 0) continue;
    const auto same =
        same_overflow(commit, cell->overflow, cell->overflow, cell->payload_size - cell->local.size());
    if (!same) return std::nullopt;
    changed += *same ? 0 : 1;
  }
  return changed;
}

}  // namespace varve::engine::sqlite
