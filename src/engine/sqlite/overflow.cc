#include "engine/sqlite/overflow.h"

#include <algorithm>

#include "engine/sqlite/btree_page.h"

namespace varve::engine::sqlite {

namespace {

constexpr size_t kMostHeads = 16;  // a page has room for about ten rows with overflow; more are damage

// The first pages of the chains that cells of a tree page begin; empty for other pages.
std::vector<uint32_t> heads_on(const PageSource& state, uint32_t number, uint32_t usable) {
  std::vector<uint32_t> out;
  const auto view = state(number);
  if (!view) return out;
  const auto page = BtreePage::parse(*view, number, usable);
  if (!page || (page->is_table() && !page->is_leaf())) return out;
  for (uint32_t i = 0; i < page->cells() && out.size() < kMostHeads; ++i) {
    const auto cell = page->cell(i);
    if (cell && cell->overflow != 0) out.push_back(cell->overflow);
  }
  return out;
}

class OverflowFinder {
 public:
  OverflowFinder(CommitView& commit, const Placement& placement, bool auto_vacuum, PageMap& map,
                 OverflowSearch& search)
      : commit_(commit), placement_(placement), auto_vacuum_(auto_vacuum), map_(map), search_(search) {}

  OverflowChanges run() {
    for (const auto& [page, place] : placement_.placed) follow_chains_of(page);
    std::vector<uint32_t> open;
    for (const uint32_t page : commit_.written) {
      if (page == 1 || map_.in_tree(page) || resolved_.contains(page) || is_pointer_map(page)) continue;
      if (page == lock_page_number()) continue;
      open.push_back(page);
    }
    link(open);
    climb_all(open);
    if (!open.empty()) drop_free(open);
    if (!open.empty()) {
      open_ = open;
      look_around(open);
      climb_all(open);
    }
    while (!open.empty() && look_further()) climb_all(open);
    out_.complete = open.empty();
    return std::move(out_);
  }

 private:
  uint64_t lock_page_number() const { return lock_page(commit_.page_size); }

  bool is_pointer_map(uint32_t page) const {
    if (!auto_vacuum_ || page < 2) return false;
    const uint64_t span = commit_.usable / 5 + 1, group = (page - 2) / span * span + 2;
    return page == (group == lock_page_number() ? group + 1 : group);
  }

  bool may_be_overflow(uint32_t page) const {
    return page > 1 && commit_.exists_after(page) && !map_.in_tree(page);
  }

  std::optional<uint32_t> next_of(uint32_t page) const {
    const auto view = (*commit_.after)(page);
    if (!view || view->size() < 4) return std::nullopt;
    return load_be<uint32_t>(view->data());
  }

  // From a tree page down: as far as pages were written, for behind them nothing can have changed.
  void follow_chains_of(uint32_t tree_page) {
    for (const uint32_t head : heads_on(*commit_.after, tree_page, commit_.usable)) {
      if (!may_be_overflow(head)) continue;
      map_.set(head, PageUse::kOverflow, tree_page);
      uint32_t page = head;
      while (commit_.is_written(page) && resolved_.insert(page).second) {
        out_.heads.insert(head);
        const auto next = next_of(page);
        if (!next || !may_be_overflow(*next)) break;
        map_.set(*next, PageUse::kOverflow, page);
        page = *next;
      }
    }
  }

  // What written pages say of each other is newer than the map: auto-vacuum moves pages within a chain.
  void link(const std::vector<uint32_t>& open) {
    for (const uint32_t page : open) {
      const auto next = next_of(page);
      if (next && may_be_overflow(*next)) map_.set(*next, PageUse::kOverflow, page);
    }
  }

  // From an overflow page up to its row, each step checked against the pages themselves: the map may be out
  // of date for pages that were freed. Nothing: it leads nowhere.
  std::optional<OverflowRow> climb(uint32_t start) {
    std::vector<uint32_t> path;
    std::optional<OverflowRow> row;
    for (uint32_t page = start; !row;) {
      if (const auto known = row_of_.find(page); known != row_of_.end()) {
        row = known->second;
        break;
      }
      path.push_back(page);
      const uint32_t above = map_.owner(page);
      // Entered as a dead end first: a loop ends here, and nobody walks the same way in vain twice.
      if (map_.use(page) != PageUse::kOverflow || !dead_.insert(page).second || !commit_.may_read(above))
        return row;
      if (map_.in_tree(above)) {
        const auto [it, is_new] = heads_.try_emplace(above);
        auto& heads = it->second;
        if (is_new) heads = heads_on(*commit_.after, above, commit_.usable);
        if (std::ranges::find(heads, page) == heads.end()) return row;
        row = OverflowRow{page, above};
      } else if (next_of(above) != page) {
        return row;
      }
      page = above;
    }
    for (const uint32_t page : path) row_of_[page] = *row;
    return row;
  }

  void climb_all(std::vector<uint32_t>& open) {
    dead_.clear();
    std::erase_if(open, [&](uint32_t page) {
      const auto row = climb(page);
      if (!row) return false;
      const bool compared_anyway = placement_.placed.contains(row->page);
      if (out_.heads.insert(row->head).second && !compared_anyway) out_.in_place.push_back(*row);
      return true;
    });
  }

  // Pages on the list of free ones belong to nobody.
  void drop_free(std::vector<uint32_t>& open) {
    const auto first = (*commit_.after)(1);
    if (!first || first->size() < kHeaderSize) return;
    uint32_t trunk = load_be<uint32_t>(&(*first)[32]);
    std::unordered_set<uint32_t> free;
    const std::unordered_set<uint32_t> asked(open.begin(), open.end());
    std::unordered_set<uint32_t> seen;
    while (commit_.exists_after(trunk) && seen.insert(trunk).second && commit_.may_read(trunk)) {
      free.insert(trunk);
      const auto view = (*commit_.after)(trunk);
      if (!view || view->size() < 8) break;
      const uint32_t most = static_cast<uint32_t>(view->size() / 4 - 2);
      const uint32_t count = std::min(load_be<uint32_t>(&(*view)[4]), most);
      for (uint32_t i = 0; i < count; ++i) {
        const uint32_t page = load_be<uint32_t>(&(*view)[8 + 4 * size_t{i}]);
        if (asked.contains(page)) free.insert(page);
      }
      trunk = load_be<uint32_t>(view->data());
    }
    std::erase_if(open, [&](uint32_t page) {
      if (!free.contains(page)) return false;
      map_.set(page, PageUse::kUnknown, 0);
      return true;
    });
  }

  // Learns what one page points at.
  bool look_at(uint32_t page) {
    if (page == 1 || is_pointer_map(page) || page == lock_page_number()) return true;
    if (!commit_.may_read(page)) return false;
    if (map_.in_tree(page)) {
      for (const uint32_t head : heads_on(*commit_.after, page, commit_.usable)) {
        if (may_be_overflow(head)) map_.set(head, PageUse::kOverflow, page);
      }
    } else if (const auto next = next_of(page);
               next && may_be_overflow(*next) && map_.use(*next) == PageUse::kUnknown) {
      map_.set(*next, PageUse::kOverflow, page);
    }
    return true;
  }

  // A chain is mostly near its row.
  void look_around(const std::vector<uint32_t>& open) {
    constexpr uint32_t kNear = 64;
    for (const uint32_t page : open) {
      const uint32_t from = page > kNear + 2 ? page - kNear : 2;
      for (uint32_t p = from; commit_.exists_after(p) && p < page + kNear; ++p) {
        if (seen_.insert(p).second && !look_at(p)) return;
      }
    }
  }

  // The rest of the database, once, in steps; false when there is no more, or no leave to read.
  bool look_further() {
    constexpr uint32_t kStep = 4096;
    const uint32_t from = search_.next;
    for (; search_.next < from + kStep && commit_.exists_after(search_.next); ++search_.next) {
      if (!look_at(search_.next)) break;
    }
    return search_.next > from;
  }

  CommitView& commit_;
  const Placement& placement_;
  const bool auto_vacuum_;
  PageMap& map_;
  OverflowSearch& search_;
  std::unordered_set<uint32_t> resolved_, seen_, dead_;
  std::vector<uint32_t> open_;  // pages whose row was not found by what the map knew; ascending
  std::unordered_map<uint32_t, std::vector<uint32_t>> heads_;  // of tree pages met while climbing
  std::unordered_map<uint32_t, OverflowRow> row_of_;
  OverflowChanges out_;
};

}  // namespace

OverflowChanges find_overflow(CommitView& commit, const Placement& placement, bool auto_vacuum, PageMap& map,
                              OverflowSearch& search) {
  return OverflowFinder(commit, placement, auto_vacuum, map, search).run();
}

std::optional<bool> same_overflow(CommitView& commit, uint32_t head_before, uint32_t head_after,
                                  uint64_t bytes) {
  Buffer old;
  uint32_t before = head_before, after = head_after;
  while (bytes > 0) {
    if (commit.links_left == 0) return std::nullopt;
    --commit.links_left;
    // Beyond a page that both share and nobody wrote, the chains can still differ: only its content is
    // settled.
    if (!commit.may_read(before) || !commit.may_read(after)) return std::nullopt;
    const auto a = (*commit.before)(before);
    if (!a || a->size() < commit.usable) return std::nullopt;
    old.assign(a->begin(), a->begin() + commit.usable);
    const auto b = (*commit.after)(after);
    if (!b || b->size() < commit.usable) return std::nullopt;
    const size_t take = std::min<uint64_t>(bytes, commit.usable - 4);
    if (!same_bytes(ByteView(old).subspan(4, take), b->subspan(4, take))) return false;
    before = load_be<uint32_t>(old.data());
    after = load_be<uint32_t>(b->data());
    bytes -= take;
  }
  return true;
}

}  // namespace varve::engine::sqlite
