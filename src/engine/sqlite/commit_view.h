// One commit as the tracker looks at it: the pages written, the state before, the state after, and how much
// more may be read to understand it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "engine/sqlite/btree.h"

namespace varve::engine::sqlite {

struct CommitView {
  std::vector<uint32_t> written;  // ascending, all within pages_after
  uint64_t pages_after = 0;
  uint32_t page_size = 0, usable = 0;
  const PageSource* before = nullptr;
  const PageSource* after = nullptr;
  uint64_t reads_left = 0;  // of pages that were not written
  uint64_t links_left =
      0;  // overflow pages to walk: a sound chain visits a page once, a damaged one may loop

  bool is_written(uint32_t page) const { return std::ranges::binary_search(written, page); }
  // Asks leave to read a page that the commit need not have touched; false when enough was read.
  bool may_read(uint32_t page) {
    if (is_written(page)) return true;
    if (reads_left == 0) return false;
    --reads_left;
    return true;
  }
  bool exists_after(uint32_t page) const { return page > 0 && page <= pages_after; }
};

}  // namespace varve::engine::sqlite
