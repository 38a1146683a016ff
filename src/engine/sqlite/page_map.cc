#include "engine/sqlite/page_map.h"

#include "engine/sqlite/btree_page.h"

namespace varve::engine::sqlite {

namespace {

constexpr int kMaxDepth = 24;  // SQLite gives up at 20

tl::unexpected<Error> damaged_tree() {
  return fail(Code::kDamaged, "a tree of the database is damaged");
}

Result<BtreePage> read_page(const PageSource& state, uint32_t number, uint32_t usable) {
  TRY_ASSIGN(const ByteView view, state(number));
  const auto page = BtreePage::parse(view, number, usable);
  if (!page) return damaged_tree();
  return *page;
}

// How many levels of interior pages there are above the leaves.
Result<int> depth_of(const PageSource& state, uint32_t root, uint32_t usable) {
  uint32_t number = root;
  for (int depth = 0; depth < kMaxDepth; ++depth) {
    TRY_ASSIGN(const BtreePage page, read_page(state, number, usable));
    if (page.is_leaf()) return depth;
    uint32_t first = 0;
    if (!page.children([&](uint32_t child) { first = first == 0 ? child : first; })) return damaged_tree();
    number = first;
  }
  return damaged_tree();
}

}  // namespace

Result<> PageMap::add_tree(const PageSource& state, uint32_t root, uint32_t tree, uint32_t usable) {
  TRY_ASSIGN(int level, depth_of(state, root, usable));
  const auto enter = [&](uint32_t page, PageUse use) {
    if (!has(page) || in_tree(page)) return false;
    set(page, use, tree);
    return true;
  };
  if (!enter(root, level == 0 ? PageUse::kLeaf : PageUse::kInterior)) return damaged_tree();
  for (std::vector<uint32_t> row{root}, below; level > 0; --level, row.swap(below)) {
    below.clear();
    for (const uint32_t number : row) {
      TRY_ASSIGN(const BtreePage page, read_page(state, number, usable));
      if (page.is_leaf()) return damaged_tree();
      bool sound = true;
      const bool whole = page.children([&](uint32_t child) {
        sound = sound && enter(child, level == 1 ? PageUse::kLeaf : PageUse::kInterior);
        if (level > 1) below.push_back(child);
      });
      if (!whole || !sound) return damaged_tree();
    }
  }
  return {};
}

}  // namespace varve::engine::sqlite
