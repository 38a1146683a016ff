// Which tree each page of a database belongs to. 5 bytes a page.
#pragma once

#include <cstdint>
#include <vector>

#include "base/error.h"
#include "engine/sqlite/btree.h"

namespace varve::engine::sqlite {

enum class PageUse : uint8_t {
  kUnknown,   // free, or an overflow page nobody has looked for yet
  kInterior,  // owner: the tree's number
  kLeaf,      // owner: the tree's number
  kOverflow,  // owner: the page that points at it, an overflow page or the one with the row
};

class PageMap {
 public:
  uint64_t pages() const { return uses_.empty() ? 0 : uses_.size() - 1; }
  void resize(uint64_t pages) {
    uses_.resize(pages + 1);
    owners_.resize(pages + 1);
  }
  bool has(uint32_t page) const { return page > 0 && page < uses_.size(); }
  PageUse use(uint32_t page) const { return has(page) ? uses_[page] : PageUse::kUnknown; }
  uint32_t owner(uint32_t page) const { return has(page) ? owners_[page] : 0; }
  bool in_tree(uint32_t page) const { return use(page) == PageUse::kInterior || use(page) == PageUse::kLeaf; }
  void set(uint32_t page, PageUse use, uint32_t owner) {
    if (!has(page)) return;
    uses_[page] = use;
    owners_[page] = owner;
  }

  // Enters every page of the tree at `root`, reading its interior pages only: all leaves are equally deep.
  // kDamaged when a page is no tree page or was met before.
  Result<> add_tree(const PageSource& state, uint32_t root, uint32_t tree, uint32_t usable);

 private:
  std::vector<PageUse> uses_;
  std::vector<uint32_t> owners_;
};

}  // namespace varve::engine::sqlite
