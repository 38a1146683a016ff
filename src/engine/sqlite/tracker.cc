#include <algorithm>
#include <map>

#include "engine/sqlite/btree.h"
#include "engine/sqlite/overflow.h"
#include "engine/sqlite/page_map.h"
#include "engine/sqlite/placement.h"
#include "engine/sqlite/row_diff.h"
#include "engine/sqlite/tree_list.h"

namespace varve::engine::sqlite {

namespace {

// How much a commit may have read of pages it did not write: rows of a dropped table, owners of overflow
// pages.
constexpr uint64_t kMaxExtraBytes = 128u << 20;

TableChange untold() {
  return {"", "commit", std::nullopt};
}

// What is told of one table, be it several trees (a full-text table).
struct Told {
  RowChanges rows;
  bool has_rows = false;  // rows were counted where they count
  bool touched = false;   // a tree of it changed of which rows cannot be counted
  bool created = false, altered = false, dropped = false;
  std::optional<uint64_t> rows_dropped;
};

// Which inner table of a virtual table has one row for each of its rows.
enum class Part { kWhole, kRows, kRowsButUpdates, kOther };
Part part_of(const Tree& tree) {
  if (tree.part_of.empty()) return tree.kind == Tree::Kind::kVirtual ? Part::kOther : Part::kWhole;
  if (tree.part == "content") return Part::kRows;
  if (tree.part == "docsize" || tree.part == "rowid") return Part::kRowsButUpdates;
  return Part::kOther;
}

}  // namespace

struct TableTracker::State {
  uint32_t page_size = 0;
  bool usable = false;  // false: the map could not be made; changes are told without tables
  DatabaseHeader header;
  TreeList trees{false};
  PageMap map;
  OverflowSearch search;
  uint64_t commits_until_rebuild = 0, failures = 0;

  Result<> rebuild(const PageSource& state, uint64_t pages);
  void try_rebuild(const PageSource& state, uint64_t pages);
  Result<std::vector<TableChange>> take_in(CommitView& commit);
  Result<bool> schema_was_touched(const CommitView& commit, const DatabaseHeader& now) const;
  std::vector<TableChange> tell(CommitView& commit, const SchemaChange& schema, const Placement& placement,
                                const OverflowChanges& overflow) const;
  RowChanges rows_of(CommitView& commit, uint32_t tree, const Placement& placement,
                     const OverflowChanges& overflow,
                     const std::map<uint32_t, std::vector<uint32_t>>& in_place) const;
};

Result<> TableTracker::State::rebuild(const PageSource& state, uint64_t pages) {
  usable = false;
  trees = TreeList(pages > 0);
  map = PageMap();
  search = {};
  header = {};
  if (pages > kMaxPages)
    return fail(Code::kUnsupported, "the database has too many pages to follow its tables");
  map.resize(pages);
  if (pages > 0) {
    TRY_ASSIGN(const ByteView first, state(1));
    TRY_ASSIGN(header, parse_header(first));
    if (header.page_size != page_size) return fail(Code::kDamaged, "the page size changed");
    TRY_OK(trees.update(state, header, pages));
    for (uint32_t tree = 0; tree < trees.size(); ++tree) {
      if (trees[tree].root == 0) continue;
      TRY_OK(map.add_tree(state, trees[tree].root, tree, page_size - header.reserved));
    }
  }
  usable = true;
  failures = 0;
  return {};
}

// A damaged database stays damaged: tried at once, then less and less often.
void TableTracker::State::try_rebuild(const PageSource& state, uint64_t pages) {
  if (commits_until_rebuild > 0) {
    --commits_until_rebuild;
    return;
  }
  if (rebuild(state, pages)) return;
  usable = false;
  failures = std::min<uint64_t>(failures + 1, 16);
  commits_until_rebuild = uint64_t{1} << failures;
}

Result<bool> TableTracker::State::schema_was_touched(const CommitView& commit,
                                                     const DatabaseHeader& now) const {
  if (map.pages() == 0 || now.schema_cookie != header.schema_cookie) return true;
  for (const uint32_t page : commit.written) {
    if (page != 1 && map.in_tree(page) && map.owner(page) == TreeList::kSchemaTree) return true;
  }
  if (!commit.is_written(1)) return false;
  TRY_ASSIGN(const ByteView before, (*commit.before)(1));
  const Buffer old = to_buffer(before);
  TRY_ASSIGN(const ByteView after, (*commit.after)(1));
  return !same_bytes(ByteView(old).subspan(kHeaderSize), after.subspan(kHeaderSize));
}

Result<std::vector<TableChange>> TableTracker::State::take_in(CommitView& commit) {
  TRY_ASSIGN(const ByteView first, (*commit.after)(1));
  TRY_ASSIGN(const DatabaseHeader now, parse_header(first));
  const uint32_t free_pages = load_be<uint32_t>(&first[36]);
  if (now.page_size != page_size || commit.pages_after > kMaxPages)
    return fail(Code::kDamaged, "the page size changed");
  commit.usable = now.page_size - now.reserved;
  const auto roots_before = trees.roots();
  SchemaChange schema;
  TRY_ASSIGN(const bool touched, schema_was_touched(commit, now));
  if (touched) {
    TRY_ASSIGN(schema, trees.update(*commit.after, now, commit.pages_after));
  }
  const bool is_vacuum = touched && map.pages() > 0 && schema.same_content && free_pages == 0 &&
                         now.schema_cookie == header.schema_cookie + 1 &&
                         commit.written.size() * 2 >= commit.pages_after;
  if (is_vacuum) {
    TRY_OK(rebuild(*commit.after, commit.pages_after));
    return std::vector<TableChange>{{"", "vacuum", std::nullopt}};
  }
  header = now;
  TRY_ASSIGN(const Placement placement, place_pages(commit, map, roots_before, schema.roots));
  enter(commit, placement, map);
  const auto overflow = find_overflow(commit, placement, header.largest_root != 0, map, search);
  return tell(commit, schema, placement, overflow);
}

RowChanges TableTracker::State::rows_of(CommitView& commit, uint32_t tree, const Placement& placement,
                                        const OverflowChanges& overflow,
                                        const std::map<uint32_t, std::vector<uint32_t>>& in_place) const {
  const auto pages_of = [&](const auto& lists) {
    const auto it = lists.find(tree);
    return it == lists.end() ? std::vector<uint32_t>() : it->second;
  };
  TablePages pages;
  pages.before = pages_of(placement.before);
  pages.after = pages_of(placement.after);
  pages.without_rowid = trees[tree].kind == Tree::Kind::kWithoutRowid;
  pages.key_columns = trees[tree].key_columns;
  RowChanges rows = compare_rows(commit, pages, overflow);
  for (const auto& [page, heads] : in_place) {
    if (map.owner(page) != tree) continue;
    const auto changed = count_changed_in_place(commit, page, heads);
    rows.updated += changed.value_or(0);
    rows.exact = rows.exact && changed.has_value();
  }
  rows.exact = rows.exact && overflow.complete;
  return rows;
}

namespace {

void add_rows(std::vector<TableChange>& out, const std::string& table, const RowChanges& rows,
              bool updates_unknown) {
  if (!rows.exact) {
    out.push_back({table, rows.more > 0 ? "insert" : rows.more < 0 ? "delete" : "update", std::nullopt});
    return;
  }
  if (rows.deleted > 0) out.push_back({table, "delete", rows.deleted});
  if (rows.inserted > 0) out.push_back({table, "insert", rows.inserted});
  if (rows.updated > 0) out.push_back({table, "update", rows.updated});
  if (updates_unknown) out.push_back({table, "update", std::nullopt});
}

void add_told(std::vector<TableChange>& out, const std::string& table, const Told& told) {
  if (told.dropped) {
    out.push_back({table, "drop_table", told.rows_dropped});
    return;
  }
  if (told.created) out.push_back({table, "create_table", std::nullopt});
  if (told.altered) out.push_back({table, "alter_table", std::nullopt});
  // Only the index of a full-text table changed: some rows did, and none came or went.
  const bool only_inner = told.touched && !told.rows.any() && !told.created;
  add_rows(out, table, told.rows, only_inner);
}

}  // namespace

std::vector<TableChange> TableTracker::State::tell(CommitView& commit, const SchemaChange& schema,
                                                   const Placement& placement,
                                                   const OverflowChanges& overflow) const {
  std::map<uint32_t, std::vector<uint32_t>> in_place;
  for (const auto& row : overflow.in_place) in_place[row.page].push_back(row.head);
  std::vector<uint32_t> changed;
  for (const auto* lists : {&placement.before, &placement.after}) {
    for (const auto& [tree, pages] : *lists) changed.push_back(tree);
  }
  for (const auto& [page, heads] : in_place) changed.push_back(map.owner(page));
  std::ranges::sort(changed);
  changed.erase(std::unique(changed.begin(), changed.end()), changed.end());

  std::map<std::string, Told> tables;
  const auto told_of = [&](const Tree& tree) -> Told& {
    return tables[tree.part_of.empty() ? tree.name : tree.part_of];
  };
  const auto mark = [&](const std::vector<uint32_t>& numbers, bool Told::*what) {
    for (const uint32_t n : numbers) {
      if (trees[n].is_told() && trees[n].part_of.empty()) told_of(trees[n]).*what = true;
    }
  };
  std::vector<TableChange> out;
  for (const uint32_t n : schema.dropped) {
    if (!trees[n].is_told() || !trees[n].part_of.empty()) continue;
    Told told;
    told.dropped = true;
    TablePages pages;
    if (const auto it = placement.before.find(n); it != placement.before.end()) pages.before = it->second;
    if (trees[n].kind != Tree::Kind::kVirtual) told.rows_dropped = count_rows(commit, pages);
    add_told(out, trees[n].name, told);
  }
  mark(schema.created, &Told::created);
  mark(schema.altered, &Told::altered);
  for (const uint32_t n : changed) {
    const Tree& tree = trees[n];
    if (!tree.is_told() || !tree.alive) continue;
    RowChanges rows = rows_of(commit, n, placement, overflow, in_place);
    if (!rows.any()) continue;
    Told& told = told_of(tree);
    const Part part = part_of(tree);
    if (part == Part::kRowsButUpdates) rows.updated = 0;
    if (part == Part::kOther || (told.has_rows && part == Part::kRowsButUpdates)) {
      told.touched = true;
    } else {
      told.rows = rows;
      told.has_rows = true;
    }
  }
  for (const auto& [table, told] : tables) add_told(out, table, told);
  if (!overflow.complete) out.push_back(untold());
  return out;
}

Result<TableTracker> TableTracker::build(const PageSource& state, uint64_t pages, uint32_t page_size) {
  TableTracker out;
  out.state_ = std::make_shared<State>();
  out.state_->page_size = page_size;
  out.state_->try_rebuild(state, pages);
  return out;
}

std::vector<TableChange> TableTracker::apply(const std::vector<uint32_t>& written, uint64_t pages_after,
                                             const PageSource& before, const PageSource& after) {
  CommitView commit;
  commit.pages_after = pages_after;
  commit.page_size = state_->page_size;
  commit.before = &before;
  commit.after = &after;
  commit.reads_left = kMaxExtraBytes / std::max<uint32_t>(state_->page_size, 512);
  commit.links_left = 2 * (state_->map.pages() + pages_after);
  for (const uint32_t page : written) {
    if (commit.exists_after(page)) commit.written.push_back(page);
  }
  if (!std::ranges::is_sorted(commit.written)) std::ranges::sort(commit.written);
  if (state_->usable) {
    if (auto changes = state_->take_in(commit)) return *std::move(changes);
    state_->usable = false;
  }
  state_->try_rebuild(after, pages_after);
  return {untold()};
}

}  // namespace varve::engine::sqlite
