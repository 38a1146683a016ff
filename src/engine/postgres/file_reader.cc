#include "engine/postgres/file_reader.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <fcntl.h>
#include <fmt/format.h>
#include <thread>
#include <tuple>

#include "base/text.h"
#include "engine/postgres/page.h"

namespace varve::engine::postgres {
namespace {

constexpr size_t kMostPending = 65536;
// A write under way is over within microseconds; a loaded disk may take longer.
constexpr std::array kPauses = {std::chrono::milliseconds(0), std::chrono::milliseconds(1),
                                std::chrono::milliseconds(10), std::chrono::milliseconds(50),
                                std::chrono::milliseconds(100)};

Result<os::File> open_for_reading(const os::Path& path) {
  TRY_ASSIGN(os::File file, os::File::open(path, os::File::Mode::kRead));
  file.advise_sequential();
  // Read once: not worth pushing the server's own pages out (kernels before 6.3 do not listen).
  ::posix_fadvise(file.fd(), 0, 0, POSIX_FADV_NOREUSE);
  return file;
}

void zero_from(MutableBytes out, size_t at) {
  std::fill(out.begin() + static_cast<ptrdiff_t>(at), out.end(), std::byte{0});
}

class RelationReader : public FileReader {
 public:
  RelationReader(os::File file, std::string name, uint32_t first_block, const PageRules& rules,
                 PageFindings& findings)
      : file_(std::move(file)),
        name_(std::move(name)),
        first_block_(first_block),
        rules_(rules),
        findings_(findings) {}

  Result<> read(uint64_t offset, MutableBytes out) override {
    TRY_ASSIGN(const size_t got, file_.read_at(offset, out));
    zero_from(out, got);
    if (!rules_.verify) return {};
    const size_t size = rules_.page_size;
    const size_t lead = static_cast<size_t>((size - offset % size) % size);
    for (size_t at = lead; at + size <= got; at += size) TRY_OK(verify(offset + at, out.subspan(at, size)));
    return {};
  }

 private:
  Result<> verify(uint64_t offset, MutableBytes page) {
    const uint32_t block = first_block_ + static_cast<uint32_t>(offset / rules_.page_size);
    PageState state = verify_page(page, block, rules_.start_lsn);
    for (const auto pause : kPauses) {
      if (state == PageState::kGood) return {};
      if (pause.count() > 0) std::this_thread::sleep_for(pause);
      TRY_ASSIGN(const size_t got, file_.read_at(offset, page));
      zero_from(page, got);
      state = verify_page(page, block, rules_.start_lsn);
    }
    if (state == PageState::kRepaired) findings_.pending({name_, block}, page_lsn(page));
    if (state == PageState::kBad) findings_.bad({name_, block});
    return {};
  }

  os::File file_;
  std::string name_;
  uint32_t first_block_;
  PageRules rules_;
  PageFindings& findings_;
};

class PlainReader : public FileReader {
 public:
  PlainReader(os::File file, bool may_shrink) : file_(std::move(file)), may_shrink_(may_shrink) {}

  Result<> read(uint64_t offset, MutableBytes out) override {
    TRY_ASSIGN(const size_t got, file_.read_at(offset, out));
    if (got < out.size() && !may_shrink_)
      return fail(Code::kConflict,
                  fmt::format("{} became shorter while it was read", printable(file_.path().native())),
                  "run again; if it happens often, that file does not belong in the data directory");
    zero_from(out, got);
    return {};
  }

 private:
  os::File file_;
  bool may_shrink_;
};

class BytesReader : public FileReader {
 public:
  explicit BytesReader(ByteView bytes) : bytes_(bytes) {}
  Result<> read(uint64_t offset, MutableBytes out) override {
    if (offset > bytes_.size() || out.size() > bytes_.size() - offset)
      return fail(Code::kInternal, "a read beyond the end of a small file");
    std::copy_n(bytes_.begin() + static_cast<ptrdiff_t>(offset), out.size(), out.begin());
    return {};
  }

 private:
  ByteView bytes_;
};

}  // namespace

void PageFindings::bad(BadPage page) {
  const std::lock_guard lock(mutex_);
  ++bad_count_;
  if (bad_.size() < kMostBadPages) bad_.push_back(std::move(page));
}

void PageFindings::pending(BadPage page, uint64_t lsn) {
  const std::lock_guard lock(mutex_);
  if (pending_.size() < kMostPending) {
    pending_.push_back({std::move(page), lsn});
    return;
  }
  ++unlisted_;
  latest_unlisted_ = std::max(latest_unlisted_, lsn);
}

PageFindings::Settled PageFindings::settle(uint64_t stop_lsn) const {
  const std::lock_guard lock(mutex_);
  Settled out{bad_, bad_count_};
  for (const Pending& p : pending_) {
    if (p.lsn <= stop_lsn) continue;
    ++out.count;
    if (out.pages.size() < kMostBadPages) out.pages.push_back(p.page);
  }
  // Of those that were not kept only the worst is known: when one is bad, that is counted, and no page named.
  if (latest_unlisted_ > stop_lsn) ++out.count;
  std::ranges::sort(out.pages, [](const BadPage& a, const BadPage& b) {
    return std::tie(a.path, a.block) < std::tie(b.path, b.block);
  });
  return out;
}

Result<std::unique_ptr<FileReader>> open_relation(const os::Path& path, const std::string& name,
                                                  const RelationFile& file, const PageRules& rules,
                                                  PageFindings& findings) {
  TRY_ASSIGN(os::File opened, open_for_reading(path));
  return std::make_unique<RelationReader>(std::move(opened), name, file.segment * rules.segment_pages, rules,
                                          findings);
}

Result<std::unique_ptr<FileReader>> open_plain(const os::Path& path, bool may_shrink) {
  TRY_ASSIGN(os::File opened, open_for_reading(path));
  return std::make_unique<PlainReader>(std::move(opened), may_shrink);
}

std::unique_ptr<FileReader> open_bytes(ByteView bytes) {
  return std::make_unique<BytesReader>(bytes);
}

}  // namespace varve::engine::postgres
