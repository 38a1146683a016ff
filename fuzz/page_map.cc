// Page maps: what decodes covers every page, and comes back from its own encoding.
#include "repo/page_map.h"

#include "fuzz.h"

using namespace varve;

FUZZ_TARGET(input) {
  if (input.size() < 2) return;
  const uint32_t pages = load_le<uint16_t>(input.data());
  for (uint64_t first : {uint64_t{0}, uint64_t{32768}}) {
    auto map = repo::decode_segment_map(input.subspan(2), first, pages);
    if (!map) {
      FUZZ_CHECK(map.error().code == Code::kDamaged);
      continue;
    }
    FUZZ_CHECK(map->pages.size() == pages && map->first_page == first);
    for (uint32_t i = 0; i < pages; ++i) FUZZ_CHECK(map->pages[i].pack <= map->packs.size());
    auto again = repo::decode_segment_map(repo::encode(*map), first, pages);
    FUZZ_CHECK(again && *again == *map);
    FUZZ_CHECK(map->used_packs().size() <= map->packs.size());
  }
}
