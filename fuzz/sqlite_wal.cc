// A WAL file and a wal-index as a crash, a disk or another program may have left them. Input: the index's
// first bytes, then the WAL.
#include <array>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/sqlite/wal.h"
#include "fuzz.h"

using namespace varve;
using namespace varve::engine::sqlite;

namespace {

constexpr size_t kIndexBytes = 136;

}  // namespace

FUZZ_TARGET(input) {
  std::array<uint32_t, kIndexBytes / 4> index = {};
  std::memcpy(index.data(), input.data(), std::min(input.size(), kIndexBytes));
  if (const auto read = read_wal_index(index.data())) FUZZ_CHECK(read->backfilled <= read->committed.frame);
  if (input.size() <= kIndexBytes) return;
  input = input.subspan(kIndexBytes);

  static const int fd = ::memfd_create("wal", MFD_CLOEXEC);
  static const std::string path = "/proc/self/fd/" + std::to_string(fd);
  FUZZ_CHECK(::ftruncate(fd, 0) == 0);
  FUZZ_CHECK(::pwrite(fd, input.data(), input.size(), 0) == static_cast<ssize_t>(input.size()));
  auto wal = WalReader::open(path);
  if (!wal) return;
  FrameIndex frames;
  FUZZ_CHECK(wal->read(UINT32_MAX, [&](const WalFrame& frame) -> Result<bool> {
    FUZZ_CHECK(frame.content.size() == wal->page_size());
    FUZZ_CHECK(frame.number == wal->position().frame && frame.page > 0);
    frames[frame.page] = frame.number;
    return true;
  }));
  Buffer page(wal->page_size());
  for (const auto& [number, frame] : frames) FUZZ_CHECK(wal->page(frame, number, page));
}
