#include "repo/page_map.h"

#include <algorithm>

#include "repo/format.pb.h"

namespace varve::repo {
namespace {

tl::unexpected<Error> damaged(const char* what) {
  return fail(Code::kDamaged, std::string("page map: ") + what);
}

// Runs of neighbouring pages in neighbouring slots. `number` gives each pack's number in the message's table.
void encode_runs(const SegmentMap& map, const std::vector<uint32_t>& number, format::MapSegment* out) {
  out->set_first_page(map.first_page);
  out->set_pages(static_cast<uint32_t>(map.pages.size()));
  std::vector<uint32_t> next(map.packs.size(), 0);  // the ordinal after the last run in each pack
  for (size_t i = 0; i < map.pages.size();) {
    const PagePlace first = map.pages[i];
    size_t n = 1;
    while (i + n < map.pages.size() && map.pages[i + n].pack == first.pack &&
           (first.pack == PagePlace::kZero || map.pages[i + n].ordinal == first.ordinal + n))
      ++n;
    out->add_run_pages(static_cast<uint32_t>(n));
    if (first.pack == PagePlace::kZero) {
      out->add_run_pack(0);
      out->add_run_skip(0);
    } else {
      uint32_t& expected = next[first.pack - 1];
      out->add_run_pack(number[first.pack - 1]);
      out->add_run_skip(static_cast<int32_t>(first.ordinal - expected));
      expected = first.ordinal + static_cast<uint32_t>(n);
    }
    i += n;
  }
}

}  // namespace

bool SegmentMap::operator==(const SegmentMap& o) const {
  if (first_page != o.first_page || pages.size() != o.pages.size()) return false;
  for (uint32_t i = 0; i < pages.size(); ++i) {
    if (is_zero(i) != o.is_zero(i) || (!is_zero(i) && !(place(i) == o.place(i)))) return false;
  }
  return true;
}

std::vector<PackId> SegmentMap::used_packs() const {
  std::vector<bool> used(packs.size() + 1, false);
  for (const PagePlace& p : pages) used[p.pack] = true;
  std::vector<PackId> out;
  for (size_t i = 0; i < packs.size(); ++i) {
    if (used[i + 1]) out.push_back(packs[i]);
  }
  return out;
}

// A segment has few packs, and the one used last is the likely one.
uint32_t SegmentMapBuilder::number(const PackId& pack) {
  if (last_ == 0 || !(map_.packs[last_ - 1] == pack)) {
    auto at = std::find(map_.packs.begin(), map_.packs.end(), pack);
    if (at == map_.packs.end()) at = map_.packs.insert(at, pack);
    last_ = static_cast<uint32_t>(at - map_.packs.begin()) + 1;
  }
  return last_;
}

void SegmentMapBuilder::add(const SlotPlace& place) {
  const uint32_t n = number(place.pack);
  map_.pages.push_back({n, place.ordinal});
}

void SegmentMapBuilder::resolve(const std::vector<uint32_t>& indexes, const SlotPlace& first) {
  const uint32_t n = number(first.pack);
  for (uint32_t k = 0; k < indexes.size(); ++k) map_.pages[indexes[k]] = {n, first.ordinal + k};
}

Buffer encode(const SegmentMap& map) {
  format::MapSegment m;
  std::vector<uint32_t> number;
  for (const PackId& id : map.packs) {
    m.add_packs(id.bytes.data(), id.bytes.size());
    number.push_back(static_cast<uint32_t>(number.size()) + 1);
  }
  encode_runs(map, number, &m);
  return to_buffer(as_bytes(m.SerializeAsString()));
}

Result<SegmentMap> decode_segment_map(ByteView bytes, uint64_t first_page, uint32_t pages) {
  format::MapSegment m;
  if (!m.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return damaged("not readable");
  std::vector<PackId> packs;
  for (const std::string& id : m.packs()) {
    TRY_ASSIGN(PackId pack, PackId::from_bytes(as_bytes(id)));
    packs.push_back(pack);
  }
  return from_message(m, packs, first_page, pages);
}

void to_message(const SegmentMap& map, const std::vector<uint32_t>& table_pack, format::MapSegment* out) {
  encode_runs(map, table_pack, out);
}

Result<SegmentMap> from_message(const format::MapSegment& m, const std::vector<PackId>& packs,
                                uint64_t first_page, uint32_t pages) {
  if (m.first_page() != first_page || m.pages() != pages) return damaged("covers other pages than it should");
  const int n = m.run_pages_size();
  if (m.run_pack_size() != n || m.run_skip_size() != n) return damaged("columns of different lengths");
  SegmentMap map;
  map.first_page = first_page;
  map.packs = packs;
  map.pages.reserve(pages);
  std::vector<uint32_t> next(packs.size(), 0);
  for (int i = 0; i < n; ++i) {
    const uint32_t count = m.run_pages(i), pack = m.run_pack(i);
    if (count == 0 || count > pages - map.pages.size()) return damaged("runs leave the segment");
    if (pack > packs.size()) return damaged("refers to a pack that it does not list");
    if (pack == PagePlace::kZero) {
      map.pages.resize(map.pages.size() + count);
      continue;
    }
    const int64_t first = int64_t{next[pack - 1]} + m.run_skip(i);
    if (first < 0 || first + count > UINT32_MAX) return damaged("a slot number is impossible");
    for (uint32_t k = 0; k < count; ++k) map.pages.push_back({pack, static_cast<uint32_t>(first) + k});
    next[pack - 1] = static_cast<uint32_t>(first) + count;
  }
  if (map.pages.size() != pages) return damaged("does not cover every page");
  return map;
}

}  // namespace varve::repo
