#include "engine/sqlite/wal.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <fmt/format.h>

#include "base/text.h"

namespace varve::engine::sqlite {
namespace {

constexpr uint32_t kMagicLittle = 0x377f0682, kMagicBig = 0x377f0683;
constexpr uint32_t kWalVersion = 3007000;
constexpr uint64_t kChunk = 1 << 20;

struct Sums {
  uint32_t a = 0, b = 0;
  bool operator==(const Sums&) const = default;
};

template <uint32_t (*load)(const std::byte*)>
Sums run_sum(Sums s, ByteView bytes) {
  const std::byte* p = bytes.data();
  for (size_t n = bytes.size() / 8; n > 0; --n, p += 8) {
    s.a += load(p) + s.b;
    s.b += load(p + 4) + s.a;
  }
  return s;
}

// SQLite's WAL checksum; bytes is a multiple of 8 long.
Sums wal_sum(bool big_endian, Sums start, ByteView bytes) {
  return big_endian ? run_sum<load_be<uint32_t>>(start, bytes) : run_sum<load_le<uint32_t>>(start, bytes);
}

bool valid_page_size(uint32_t size) {
  return size >= 512 && size <= 65536 && (size & (size - 1)) == 0;
}

// The wal-index's header: twelve words, twice, then the checkpoint's counters.
constexpr size_t kIndexWords = 12;
using IndexWords = std::array<uint32_t, kIndexWords>;

IndexWords load_words(const volatile uint32_t* from) {
  IndexWords words;
  for (size_t i = 0; i < kIndexWords; ++i) words[i] = __atomic_load_n(from + i, __ATOMIC_ACQUIRE);
  return words;
}

std::optional<WalIndex> parse_index(const IndexWords& words) {
  std::array<std::byte, sizeof(IndexWords)> raw;
  std::memcpy(raw.data(), words.data(), raw.size());
  const bool initialised = raw[12] != std::byte{0};
  const Sums sums = wal_sum(false, {}, ByteView(raw).first(40));
  if (words[0] != kWalVersion || !initialised || sums != Sums{words[10], words[11]}) return std::nullopt;
  WalIndex out;
  const uint32_t size = load_le<uint16_t>(raw.data() + 14);
  out.page_size = (size & 0xfe00) | ((size & 1) << 16);
  out.pages = words[5];
  out.committed.frame = words[4];
  out.committed.salt1 = load_be<uint32_t>(raw.data() + 32);
  out.committed.salt2 = load_be<uint32_t>(raw.data() + 36);
  if (out.committed.frame > 0) {
    out.committed.checksum1 = words[6];
    out.committed.checksum2 = words[7];
  }
  return out;
}

}  // namespace

std::optional<WalIndex> read_wal_index(const volatile void* region) {
  const auto* words = static_cast<const volatile uint32_t*>(region);
  // Writers change the second copy first. Equal copies before and after the counter was read mean that all of
  // it belongs together.
  const IndexWords first = load_words(words);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  const IndexWords second = load_words(words + kIndexWords);
  const uint32_t backfilled = __atomic_load_n(words + 2 * kIndexWords, __ATOMIC_ACQUIRE);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (first != second || load_words(words) != first) return std::nullopt;
  auto out = parse_index(first);
  if (!out) return std::nullopt;
  // Whoever restarts a WAL writes the header first and the counter after it.
  if (backfilled > out->committed.frame) return std::nullopt;
  out->backfilled = backfilled;
  return out;
}

Result<WalReader> WalReader::open(const os::Path& wal) {
  WalReader out;
  TRY_ASSIGN(out.file_, os::File::open(wal, os::File::Mode::kRead));
  std::array<std::byte, kWalHeaderSize> header;
  TRY_ASSIGN(const size_t got, out.file_.read_at(0, header));
  const auto damaged = [&](std::string_view why) {
    return fail(Code::kDamaged, fmt::format("{}: {}", printable(wal.native()), why));
  };
  if (got < header.size()) return damaged("the WAL is empty");
  const uint32_t magic = load_be<uint32_t>(header.data());
  if (magic != kMagicLittle && magic != kMagicBig) return damaged("not a WAL");
  if (load_be<uint32_t>(header.data() + 4) != kWalVersion) return damaged("a WAL of an unknown version");
  out.big_endian_ = magic == kMagicBig;
  out.page_size_ = load_be<uint32_t>(header.data() + 8);
  if (!valid_page_size(out.page_size_)) return damaged("a WAL with an impossible page size");
  const Sums sums = wal_sum(out.big_endian_, {}, ByteView(header).first(24));
  if (sums != Sums{load_be<uint32_t>(header.data() + 24), load_be<uint32_t>(header.data() + 28)}) {
    return damaged("the WAL's header has a wrong checksum");
  }
  out.at_ = {.salt1 = load_be<uint32_t>(header.data() + 16),
             .salt2 = load_be<uint32_t>(header.data() + 20),
             .frame = 0,
             .checksum1 = sums.a,
             .checksum2 = sums.b};
  out.header_ = out.at_;
  return out;
}

Result<bool> WalReader::same_generation() const {
  std::array<std::byte, kWalHeaderSize> header;
  TRY_ASSIGN(const size_t got, file_.read_at(0, header));
  return got == header.size() && load_be<uint32_t>(header.data() + 16) == header_.salt1 &&
         load_be<uint32_t>(header.data() + 20) == header_.salt2 &&
         load_be<uint32_t>(header.data() + 24) == header_.checksum1 &&
         load_be<uint32_t>(header.data() + 28) == header_.checksum2;
}

Result<> WalReader::read(uint32_t to, const std::function<Result<bool>(const WalFrame&)>& visit) {
  while (at_.frame < to) {
    TRY_ASSIGN(const bool more, read_chunk(to, visit));
    if (!more) break;
  }
  return {};
}

Result<bool> WalReader::read_chunk(uint32_t to, const std::function<Result<bool>(const WalFrame&)>& visit) {
  const uint64_t frame_size = kFrameHeaderSize + page_size_;
  const uint64_t frames = std::min<uint64_t>(to - at_.frame, std::max<uint64_t>(1, kChunk / frame_size));
  chunk_.resize(frames * frame_size);
  TRY_ASSIGN(const size_t got, file_.read_at(offset_of(at_.frame + 1), chunk_));
  for (uint64_t i = 0; i < frames; ++i) {
    if ((i + 1) * frame_size > got) return false;
    const ByteView frame = ByteView(chunk_).subspan(i * frame_size, frame_size);
    const std::byte* p = frame.data();
    const uint32_t page = load_be<uint32_t>(p);
    if (page == 0 || !check_frame(frame)) return false;
    ++at_.frame;
    at_.checksum1 = load_be<uint32_t>(p + 16);
    at_.checksum2 = load_be<uint32_t>(p + 20);
    TRY_ASSIGN(const bool more, visit({.number = at_.frame,
                                       .page = page,
                                       .pages_after = load_be<uint32_t>(p + 4),
                                       .content = frame.subspan(kFrameHeaderSize)}));
    if (!more) return false;
  }
  return true;
}

bool WalReader::check_frame(ByteView frame) {
  const std::byte* p = frame.data();
  const bool has_sums = !all_zero(frame.subspan(8, 16));
  if (!has_sums) {
    unsummed_ = true;
    return true;
  }
  if (load_be<uint32_t>(p + 8) != at_.salt1 || load_be<uint32_t>(p + 12) != at_.salt2) return false;
  // After a frame without a checksum nobody can say with what the next one's began.
  if (unsummed_ && at_.checksum1 == 0 && at_.checksum2 == 0) return true;
  Sums sums = wal_sum(big_endian_, {at_.checksum1, at_.checksum2}, frame.first(8));
  sums = wal_sum(big_endian_, sums, frame.subspan(kFrameHeaderSize));
  return sums == Sums{load_be<uint32_t>(p + 16), load_be<uint32_t>(p + 20)};
}

Result<> WalReader::page(uint32_t frame, uint32_t page, MutableBytes out) const {
  std::array<std::byte, kFrameHeaderSize> header;
  TRY_OK(file_.read_exact_at(offset_of(frame), header));
  // The lock that keeps this frame in place is another program's promise; on a file system that lies about
  // locks, this is where it shows.
  const bool salts_fit =
      load_be<uint32_t>(header.data() + 8) == at_.salt1 && load_be<uint32_t>(header.data() + 12) == at_.salt2;
  if (load_be<uint32_t>(header.data()) != page || !(salts_fit || all_zero(ByteView(header).subspan(8, 16)))) {
    return fail(Code::kDamaged, fmt::format("{}: frame {} was overwritten while it was being read",
                                            printable(file_.path().native()), frame));
  }
  return file_.read_exact_at(offset_of(frame) + kFrameHeaderSize, out.first(page_size_));
}

bool same_place(const WalPosition& a, const WalPosition& b) {
  if (a.salt1 != b.salt1 || a.salt2 != b.salt2 || a.frame != b.frame) return false;
  const auto unknown = [](const WalPosition& p) { return p.checksum1 == 0 && p.checksum2 == 0; };
  return unknown(a) || unknown(b) || a == b;
}

os::Path wal_path(const os::Path& database) {
  os::Path out = database;
  out += "-wal";
  return out;
}

}  // namespace varve::engine::sqlite
