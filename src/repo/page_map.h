// Page maps: for one part (segment) of a file in one backup, which slot holds each page.
#pragma once

#include <cstdint>
#include <vector>

#include "repo/manifest.h"

namespace varve::format {
class MapSegment;
}

namespace varve::repo {

// Pages of a file that share one map. Part of each manifest (segment_pages), so that it may change.
inline constexpr uint32_t kSegmentPages = 32768;

// Where one page is: a slot, or zeros.
struct PagePlace {
  static constexpr uint32_t kZero = 0;
  uint32_t pack = kZero;  // 1-based into SegmentMap::packs
  uint32_t ordinal = 0;
};

// The decoded map of one segment; every page from first_page on has a place.
struct SegmentMap {
  uint64_t first_page = 0;
  std::vector<PackId> packs;
  std::vector<PagePlace> pages;

  // The place of page i, if it is not zeros.
  bool is_zero(uint32_t i) const { return pages[i].pack == PagePlace::kZero; }
  SlotPlace place(uint32_t i) const { return {packs[pages[i].pack - 1], pages[i].ordinal}; }
  std::vector<PackId> used_packs() const;
  bool operator==(const SegmentMap& o) const;
};

// Builds a map page by page, in order.
class SegmentMapBuilder {
 public:
  explicit SegmentMapBuilder(uint64_t first_page) { map_.first_page = first_page; }
  void add_zero() { map_.pages.push_back({}); }
  void add(const SlotPlace& place);
  // Pages added as zeros whose places are known now: indexes[k] is in the slot `first` + k.
  void resolve(const std::vector<uint32_t>& indexes, const SlotPlace& first);
  SegmentMap take() { return std::move(map_); }
  uint32_t size() const { return static_cast<uint32_t>(map_.pages.size()); }

 private:
  uint32_t number(const PackId& pack);
  SegmentMap map_;
  uint32_t last_ = 0;  // the number given last
};

Buffer encode(const SegmentMap& map);
// Checks that it covers exactly `pages` pages from first_page and refers to its own packs only; kDamaged
// otherwise.
Result<SegmentMap> decode_segment_map(ByteView bytes, uint64_t first_page, uint32_t pages);

// The same inside a file table: pack numbers refer to the table's packs.
void to_message(const SegmentMap& map, const std::vector<uint32_t>& table_pack, format::MapSegment* out);
Result<SegmentMap> from_message(const format::MapSegment& m, const std::vector<PackId>& packs,
                                uint64_t first_page, uint32_t pages);

}  // namespace varve::repo
