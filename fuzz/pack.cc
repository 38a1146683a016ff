// The index and footer of a pack, and reading a whole object that claims to be one.
#include "repo/pack.h"

#include "fuzz.h"

using namespace varve;

FUZZ_TARGET(input) {
  if (input.size() < 8) return;
  // The first bytes say how long a pack the rest claims to be the index or the footer of.
  const uint64_t size = load_le<uint64_t>(input.data()) & 0xffffffffff;
  const ByteView rest = input.subspan(8);
  constexpr std::string_view kKey = "packs/00/00000000000000000000000000000000";
  if (auto index = repo::PackIndex::decode(rest, kKey, size)) {
    uint64_t offset = repo::kPackHeaderSize;
    uint32_t slots = 0;
    for (const repo::FrameInfo& f : index->frames()) {
      FUZZ_CHECK(f.offset == offset && f.first_slot == slots && f.plain <= repo::kMaxFramePlain);
      offset += f.stored;
      uint64_t plain = 0;
      for (uint32_t s = slots; s < slots + f.slots; ++s) {
        FUZZ_CHECK(*index->frame_of(s) == static_cast<uint32_t>(&f - index->frames().data()));
        plain += index->slot_size(s);
      }
      FUZZ_CHECK(plain == f.plain);
      slots += f.slots;
    }
    FUZZ_CHECK(offset == size && slots == index->slots());
    FUZZ_CHECK(!index->frame_of(slots));
  } else {
    FUZZ_CHECK(index.error().code == Code::kDamaged);
  }
  if (rest.size() < repo::kPackFooterSize) return;
  if (auto footer = repo::parse_footer(rest.last(repo::kPackFooterSize), size))
    FUZZ_CHECK(footer->index_offset + footer->index_stored + repo::kPackFooterSize == size);
}
