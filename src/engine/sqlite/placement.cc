#include "engine/sqlite/placement.h"

#include "engine/sqlite/btree_page.h"

namespace varve::engine::sqlite {

namespace {

tl::unexpected<Error> contradiction() {
  return fail(Code::kDamaged, "the pages of a commit contradict its trees");
}

constexpr int kMaxRounds = 8;

class Placer {
 public:
  Placer(const CommitView& commit, const PageMap& map) : commit_(commit), map_(map) {}

  Result<Placement> run(const std::unordered_map<uint32_t, uint32_t>& roots_before,
                        const std::vector<RootChange>& changes) {
    // Each round learns of pages that only seemed to have stayed: what was above them went without being
    // written.
    for (int round = 0; round < kMaxRounds; ++round) {
      const size_t known = gone_.size();
      TRY_OK(one_round(roots_before, changes));
      if (gone_.size() == known) {
        list_pages();
        return std::move(out_);
      }
    }
    return contradiction();
  }

 private:
  Result<> one_round(const std::unordered_map<uint32_t, uint32_t>& roots_before,
                     const std::vector<RootChange>& changes) {
    out_ = {};
    named_.clear();
    let_go_ = gone_;
    TRY_OK(collect_let_go(changes));
    for (const auto& [root, tree] : roots_before) {
      if (commit_.is_written(root) && !let_go_.contains(root)) todo_.push_back({root, tree, true});
    }
    for (const auto& change : changes) {
      if (change.after != 0) todo_.push_back({change.after, change.tree, true});
    }
    TRY_OK(place_todo());
    for (const uint32_t page : commit_.written) {
      if (map_.in_tree(page) && !let_go_.contains(page)) todo_.push_back({page, map_.owner(page), false});
    }
    TRY_OK(place_todo());
    return collect_removed();
  }

  struct Candidate {
    uint32_t page = 0, tree = 0;
    bool certain =
        false;  // a root, or named by a page of the tree; otherwise: it was there before and nobody let it go
  };

  Result<std::vector<uint32_t>> children(const PageSource& state, uint32_t number) const {
    TRY_ASSIGN(const ByteView view, state(number));
    const auto page = BtreePage::parse(view, number, commit_.usable);
    std::vector<uint32_t> out;
    if (!page || !page->children([&](uint32_t child) { out.push_back(child); })) return contradiction();
    return out;
  }

  Result<> collect_let_go(const std::vector<RootChange>& changes) {
    for (const uint32_t page : commit_.written) {
      if (map_.use(page) != PageUse::kInterior) continue;
      TRY_ASSIGN(const auto below, children(*commit_.before, page));
      let_go_.insert(below.begin(), below.end());
    }
    for (const auto& change : changes) {
      if (change.before != 0) let_go_.insert(change.before);
    }
    return {};
  }

  Result<> place_todo() {
    while (!todo_.empty()) {
      const Candidate c = todo_.back();
      todo_.pop_back();
      TRY_OK(place(c));
    }
    return {};
  }

  Result<> place(const Candidate& c) {
    if (const auto known = out_.placed.find(c.page); known != out_.placed.end()) {
      // A page has one parent; only what was merely supposed to have stayed may be claimed twice.
      if (c.certain && known->second.certain && known->second.tree != c.tree) return contradiction();
      return {};
    }
    if (!commit_.exists_after(c.page)) {
      if (c.certain) return contradiction();
      return {};
    }
    TRY_ASSIGN(const ByteView view, (*commit_.after)(c.page));
    const auto page = BtreePage::parse(view, c.page, commit_.usable);
    if (!page) {
      if (c.certain) return contradiction();
      return {};  // it is free now
    }
    std::vector<uint32_t> below;
    if (!page->children([&](uint32_t child) { below.push_back(child); })) return contradiction();
    out_.placed[c.page] = {c.tree, page->is_leaf() ? PageUse::kLeaf : PageUse::kInterior, c.certain};
    for (const uint32_t child : below) {
      named_.insert(child);
      const bool was_here = map_.in_tree(child) && map_.owner(child) == c.tree;
      if (commit_.is_written(child) || !was_here) todo_.push_back({child, c.tree, c.certain});
    }
    return {};
  }

  // What was let go and is named by nobody now, and everything below it.
  Result<> collect_removed() {
    std::vector<uint32_t> todo(let_go_.begin(), let_go_.end());
    while (!todo.empty()) {
      const uint32_t page = todo.back();
      todo.pop_back();
      if (!map_.in_tree(page) || named_.contains(page) || out_.placed.contains(page)) continue;
      if (!out_.removed.insert(page).second || map_.use(page) != PageUse::kInterior) continue;
      TRY_ASSIGN(const auto below, children(*commit_.before, page));
      for (const uint32_t child : below) {
        const auto place = out_.placed.find(child);
        if (place != out_.placed.end() && !place->second.certain) gone_.insert(child);
        todo.push_back(child);
      }
    }
    return {};
  }

  void list_pages() {
    for (const uint32_t page : out_.removed) out_.before[map_.owner(page)].push_back(page);
    for (const uint32_t page : commit_.written) {
      if (map_.in_tree(page) && !out_.removed.contains(page)) out_.before[map_.owner(page)].push_back(page);
    }
    for (const auto& [page, place] : out_.placed) {
      const bool was_here = map_.in_tree(page) && map_.owner(page) == place.tree;
      const bool written = commit_.is_written(page);
      if (!written && was_here) continue;
      out_.after[place.tree].push_back(page);
      if (!written && map_.in_tree(page)) out_.before[map_.owner(page)].push_back(page);
    }
  }

  const CommitView& commit_;
  const PageMap& map_;
  std::unordered_set<uint32_t> let_go_;  // pages that a written page named before
  std::unordered_set<uint32_t> gone_;    // pages that seemed to have stayed, and had not
  std::unordered_set<uint32_t> named_;   // pages that a page looked at names now
  std::vector<Candidate> todo_;
  Placement out_;
};

}  // namespace

Result<Placement> place_pages(const CommitView& commit, const PageMap& map,
                              const std::unordered_map<uint32_t, uint32_t>& roots_before,
                              const std::vector<RootChange>& changes) {
  return Placer(commit, map).run(roots_before, changes);
}

void enter(const CommitView& commit, const Placement& placement, PageMap& map) {
  for (const uint32_t page : placement.removed) map.set(page, PageUse::kUnknown, 0);
  for (const uint32_t page : commit.written) {
    if (map.in_tree(page) && !placement.placed.contains(page)) map.set(page, PageUse::kUnknown, 0);
  }
  map.resize(commit.pages_after);
  for (const auto& [page, place] : placement.placed) map.set(page, place.use, place.tree);
}

}  // namespace varve::engine::sqlite
