#include "backup/page_writer.h"

namespace varve::backup {
namespace {

constexpr size_t kBatchPages = 64 << 10;  // requests gathered before reading: bounds memory, joins ranges
// The disk begins while the store still sends: or the sync at the end waits for all of it.
constexpr uint64_t kWriteback = 32u << 20;
constexpr unsigned kPageBits = 48;  // of a tag; the rest tells the file

}  // namespace

PageWriter::PageWriter(repo::SlotReader& slots, Progress& progress) : slots_(slots), progress_(progress) {
  outs_.reserve(kMostFiles);
}

Result<> PageWriter::add(repo::FileTableReader& table, const repo::FileRecord& file, os::File& out) {
  if (is_full()) TRY_OK(flush());
  if (!reader_)
    reader_ = std::make_unique<repo::PageReader>(
        slots_, [this](uint64_t tag, ByteView pages, uint32_t count) { return write(tag, pages, count); });
  const repo::FileAttributes& a = file.attributes;
  const uint64_t number = outs_.size();
  outs_.push_back({&out, a});
  for (uint64_t s = 0; s < file.segments.size(); ++s) {
    TRY_ASSIGN(repo::SegmentMap map, table.map(file, s));
    for (uint32_t i = 0; i < map.pages.size(); ++i) {
      const uint64_t page = map.first_page + i;
      if (map.is_zero(i)) {
        progress_.done_bytes += a.page_bytes(page);
      } else {
        requests_.push_back({map.place(i), number << kPageBits | page});
      }
    }
    if (requests_.size() >= kBatchPages) TRY_OK(reader_->add(std::exchange(requests_, {})));
  }
  return {};
}

Result<> PageWriter::flush() {
  if (reader_) {
    TRY_OK(reader_->add(std::exchange(requests_, {})));
    TRY_OK(reader_->finish());
  }
  reader_.reset();
  outs_.clear();
  return {};
}

Result<> PageWriter::write(uint64_t tag, ByteView pages, uint32_t count) {
  const Out& out = outs_[tag >> kPageBits];
  const uint64_t number = tag & ((uint64_t{1} << kPageBits) - 1);
  for (uint32_t i = 0; i < count; ++i) {
    if (pages.size() / count != out.attributes.page_bytes(number + i))
      return fail(Code::kDamaged, "a stored page has the wrong length");
  }
  TRY_OK(out.file->write_at(number * out.attributes.page_size, pages));
  progress_.done_bytes += pages.size();
  const uint64_t before = written_.fetch_add(pages.size());
  if (before / kWriteback != (before + pages.size()) / kWriteback) out.file->begin_writeback();
  return {};
}

}  // namespace varve::backup
