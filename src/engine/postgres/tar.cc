#include "engine/postgres/tar.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>

#include "base/text.h"

namespace varve::engine::postgres {
namespace {

// Places and lengths of the header's fields.
struct Field {
  size_t at, size;
};
constexpr Field kName{0, 100}, kMode{100, 8}, kUid{108, 8}, kGid{116, 8}, kSize{124, 12}, kMtime{136, 12},
    kChecksum{148, 8}, kType{156, 1}, kLink{157, 100}, kMagic{257, 8}, kPrefix{345, 155};
constexpr std::string_view kUstar(
    "ustar\0"
    "00",
    8);
constexpr uint64_t kLargest = uint64_t{1} << 42;  // no file of a cluster comes near

tl::unexpected<Error> damaged(std::string_view what) {
  return fail(Code::kDamaged, fmt::format("the server's archive cannot be read: {}", what),
              "run again; is what stands between the server and this host trustworthy?");
}

ByteView field(ByteView block, Field f) {
  return block.subspan(f.at, f.size);
}

// Up to the first NUL; after it only more of them.
Result<std::string> text_field(ByteView block, Field f) {
  const std::string_view all = as_text(field(block, f));
  const std::string_view text = all.substr(0, all.find('\0'));
  if (all.find_first_not_of('\0', text.size()) != all.npos) return damaged("a name goes on after its end");
  return std::string(text);
}

// Octal digits with a space or NUL after them; what does not fit stands as a big-endian number after a byte
// 0x80 (print_tar_number()).
Result<uint64_t> number_field(ByteView block, Field f) {
  const ByteView raw = field(block, f);
  uint64_t out = 0;
  if (raw[0] == std::byte{0x80}) {
    for (const std::byte b : raw.subspan(1)) {
      if (out >> 56) return damaged("a number is too large");
      out = out << 8 | std::to_integer<uint64_t>(b);
    }
    return out;
  }
  std::string_view digits = as_text(raw);
  digits = digits.substr(0, digits.find_last_not_of(std::string_view(" \0", 2)) + 1);
  if (digits.empty()) return damaged("a number is missing");
  for (const char c : digits) {  // at most 12: no overflow
    if (c < '0' || c > '7') return damaged("a number has other characters than digits");
    out = out << 3 | static_cast<uint64_t>(c - '0');
  }
  return out;
}

Result<uint32_t> small_number(ByteView block, Field f) {
  TRY_ASSIGN(const uint64_t out, number_field(block, f));
  if (out > UINT32_MAX) return damaged("a number is too large");
  return static_cast<uint32_t>(out);
}

// The sum of all bytes, those of the sum itself taken as spaces.
Result<> check_sum(ByteView block) {
  TRY_ASSIGN(const uint64_t stored, number_field(block, kChecksum));
  uint64_t sum = kChecksum.size * ' ';
  for (size_t i = 0; i < block.size(); ++i) {
    if (i < kChecksum.at || i >= kChecksum.at + kChecksum.size) sum += std::to_integer<uint64_t>(block[i]);
  }
  if (sum != stored) return damaged("a header's checksum is wrong");
  return {};
}

bool is_safe(std::string_view path) {
  if (path.empty()) return false;
  for (const std::string_view part : split(path, '/'))
    if (part.empty() || part == "." || part == "..") return false;
  return true;
}

}  // namespace

Result<std::optional<TarEntry>> parse_tar_header(ByteView block) {
  if (block.size() != kTarBlock) return damaged("a header is cut short");
  if (all_zero(block)) return std::nullopt;
  TRY_OK(check_sum(block));
  if (as_text(field(block, kMagic)) != kUstar) return damaged("it is of another format");
  if (!all_zero(field(block, kPrefix))) return damaged("a name has a prefix");
  TarEntry out;
  TRY_ASSIGN(out.path, text_field(block, kName));
  if (out.path.starts_with("./")) out.path.erase(0, 2);  // "./pg_wal/archive_status"
  TRY_ASSIGN(out.mode, small_number(block, kMode));
  TRY_ASSIGN(out.uid, small_number(block, kUid));
  TRY_ASSIGN(out.gid, small_number(block, kGid));
  TRY_ASSIGN(out.size, number_field(block, kSize));
  TRY_ASSIGN(const uint64_t mtime, number_field(block, kMtime));
  if (mtime > uint64_t{1} << 40) return damaged("a time is impossible");
  out.mtime_us = static_cast<int64_t>(mtime) * 1'000'000;
  const char type = std::to_integer<char>(block[kType.at]);
  if (type == '2') {
    out.type = FileType::kSymlink;
    TRY_ASSIGN(out.link_target, text_field(block, kLink));
    if (out.link_target.empty()) return damaged("a link points nowhere");
  } else if (type == '5') {
    out.type = FileType::kDirectory;
  } else if (type != '0') {
    return damaged("an entry is of an unknown type");
  }
  if (out.type != FileType::kRegular) {
    if (out.size != 0) return damaged("a folder or link has a content");
    if (out.path.ends_with('/')) out.path.pop_back();
  }
  if (out.size > kLargest) return damaged("a size is impossible");
  if (!is_safe(out.path)) return damaged(fmt::format("\"{}\" is no name", printable(out.path)));
  out.mode &= 07777;
  return out;
}

Result<std::optional<TarEntry>> TarReader::next() {
  TRY_OK(skip(left_ + padding_));
  left_ = padding_ = 0;
  TRY_ASSIGN(const bool more, fill());
  if (!more) {
    TRY_OK(end_of_archive(false));
    return std::nullopt;
  }
  std::array<std::byte, kTarBlock> block;
  TRY_OK(take(block));
  TRY_ASSIGN(auto entry, parse_tar_header(block));
  if (!entry) {
    TRY_OK(end_of_archive(true));
    return std::nullopt;
  }
  left_ = entry->size;
  padding_ = static_cast<size_t>((kTarBlock - left_ % kTarBlock) % kTarBlock);
  return entry;
}

Result<> TarReader::read(MutableBytes out) {
  if (out.size() > left_) return fail(Code::kInternal, "a read beyond the end of a file in an archive");
  TRY_OK(take(out));
  left_ -= out.size();
  return {};
}

Result<bool> TarReader::fill() {
  while (at_ == bytes_.size()) {
    at_ = 0;
    TRY_ASSIGN(const bool more, more_(bytes_));
    if (!more) {
      bytes_.clear();
      return false;
    }
  }
  return true;
}

Result<> TarReader::take(MutableBytes out) {
  while (!out.empty()) {
    TRY_ASSIGN(const bool more, fill());
    if (!more) return damaged("it ends in the midst of a file");
    const size_t n = std::min(out.size(), bytes_.size() - at_);
    std::copy_n(bytes_.begin() + static_cast<ptrdiff_t>(at_), n, out.begin());
    at_ += n;
    out = out.subspan(n);
  }
  return {};
}

Result<> TarReader::skip(uint64_t bytes) {
  while (bytes > 0) {
    TRY_ASSIGN(const bool more, fill());
    if (!more) return damaged("it ends in the midst of a file");
    const auto n = static_cast<size_t>(std::min<uint64_t>(bytes, bytes_.size() - at_));
    at_ += n;
    bytes -= n;
  }
  return {};
}

// `zeros`: one block of them was read.
Result<> TarReader::end_of_archive(bool zeros) {
  if (!zeros) return terminated_ ? Result<>(damaged("its end is missing")) : Result<>{};
  std::array<std::byte, kTarBlock> block;
  TRY_OK(take(block));
  if (!all_zero(block)) return damaged("it goes on after its end");
  TRY_ASSIGN(const bool more, fill());
  if (more) return damaged("it goes on after its end");
  return {};
}

}  // namespace varve::engine::postgres
