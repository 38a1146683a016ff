// Finds which pages entered and left which trees with a commit, by reading the interior pages it wrote.
//
// A page enters a tree only when its parent's pointer is written (or it becomes a root), and leaves one only
// when its parent's pointer goes. So a written page that no written parent let go is still where it was.
#pragma once

#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "engine/sqlite/commit_view.h"
#include "engine/sqlite/page_map.h"

namespace varve::engine::sqlite {

struct RootChange {
  uint32_t tree = 0;
  uint32_t before = 0, after = 0;  // 0: the tree was not there, or is gone
};

struct Placement {
  struct Place {
    uint32_t tree = 0;
    PageUse use = PageUse::kUnknown;
    bool certain = false;  // named by its parent; otherwise: it was there before and nobody let it go
  };
  // Where the pages are now that were written or changed trees.
  std::unordered_map<uint32_t, Place> placed;
  // Pages that were in a tree and are in none now.
  std::unordered_set<uint32_t> removed;

  // Per tree: pages whose cells may be another's now, as they were, and as they are.
  std::unordered_map<uint32_t, std::vector<uint32_t>> before, after;
};

// `roots_before` of all trees; `changes` of those that came, went or moved. kDamaged when the pages
// contradict the map.
Result<Placement> place_pages(const CommitView& commit, const PageMap& map,
                              const std::unordered_map<uint32_t, uint32_t>& roots_before,
                              const std::vector<RootChange>& changes);
// Takes the placement in.
void enter(const CommitView& commit, const Placement& placement, PageMap& map);

}  // namespace varve::engine::sqlite
