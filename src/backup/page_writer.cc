#include "backup/page_writer.h"

namespace varve::backup {
namespace {

constexpr size_t kBatchPages = 64 << 10;  // requests gathered before reading: bounds memory, joins ranges

}  // namespace

Result<> PageWriter::add(repo::FileTableReader& table, const repo::FileRecord& file, os::File& out) {
  const repo::FileAttributes& a = file.attributes;
  outs_.push_back(&out);
  for (uint64_t s = 0; s < file.segments.size(); ++s) {
    TRY_ASSIGN(repo::SegmentMap map, table.map(file, s));
    for (uint32_t i = 0; i < map.pages.size(); ++i) {
      const uint64_t page = map.first_page + i;
      if (map.is_zero(i)) {
        progress_.done_bytes += a.page_bytes(page);
        continue;
      }
      writes_.push_back({static_cast<uint32_t>(outs_.size() - 1), page * a.page_size, a.page_bytes(page)});
      requests_.push_back({map.place(i), writes_.size() - 1});
    }
    if (requests_.size() >= kBatchPages) TRY_OK(write());
  }
  return {};
}

Result<> PageWriter::flush() {
  TRY_OK(write());
  outs_.clear();
  return {};
}

Result<> PageWriter::write() {
  TRY_OK(slots_.read_pages(requests_, [this](uint64_t tag, ByteView page) -> Result<> {
    const Write& w = writes_[tag];
    if (page.size() != w.size) return fail(Code::kDamaged, "a stored page has the wrong length");
    TRY_OK(outs_[w.out]->write_at(w.offset, page));
    progress_.done_bytes += page.size();
    return {};
  }));
  requests_.clear();
  writes_.clear();
  return {};
}

}  // namespace varve::backup
