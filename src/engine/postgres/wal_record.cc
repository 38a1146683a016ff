#include "engine/postgres/wal_record.h"

#include <fmt/format.h>

#include "codec/crc32c.h"

namespace varve::engine::postgres {
namespace {

constexpr size_t kChecksumOffset = 20;
constexpr size_t kBlockSize =
    8192;  // relations' pages; only the size of a hole that is not stored depends on it

tl::unexpected<Error> damaged(std::string_view what) {
  return fail(Code::kDamaged, fmt::format("a record of the write-ahead log has {}", what));
}

}  // namespace

class RecordDecoder {
 public:
  RecordDecoder(int version, ByteView bytes, WalRecord& out) : version_(version), bytes_(bytes), out_(out) {}

  Result<> run() {
    if (bytes_.size() < kRecordHeader) return damaged("no header");
    const std::byte* p = bytes_.data();
    out_.length = load_le<uint32_t>(p);
    out_.xid = load_le<uint32_t>(p + 4);
    out_.previous = load_le<uint64_t>(p + 8);
    out_.info = std::to_integer<uint8_t>(p[16]);
    out_.rmid = std::to_integer<uint8_t>(p[17]);
    out_.whole = bytes_.size() == out_.length;
    out_.top_xid.reset();
    out_.main_data = {};
    out_.block_count_ = 0;
    if (out_.length < kRecordHeader || bytes_.size() > out_.length) return damaged("an impossible length");
    left_ = out_.length - kRecordHeader;
    at_ = kRecordHeader;
    TRY_OK(headers());
    if (out_.whole) contents();
    return {};
  }

 private:
  // `left_` counts what is still to come of headers and contents; headers end when all of it is announced
  // contents.
  Result<> headers() {
    while (left_ > announced_) {
      TRY_ASSIGN(const uint8_t id, take<uint8_t>());
      if (id <= kMaxBlockId) {
        TRY_OK(block_header(id));
      } else if (id == part_id::kShortData || id == part_id::kLongData) {
        uint32_t length = 0;
        if (id == part_id::kShortData) {
          TRY_ASSIGN(length, take<uint8_t>());
        } else {
          TRY_ASSIGN(length, take<uint32_t>());
        }
        TRY_OK(announce(length));
        main_length_ = length;
        break;  // always the last
      } else if (id == part_id::kOrigin) {
        TRY_OK(take<uint16_t>());
      } else if (id == part_id::kTopXid && version_ >= 14) {
        TRY_ASSIGN(out_.top_xid, take<uint32_t>());
      } else {
        return damaged("a part of an unknown kind");
      }
    }
    if (left_ != announced_) return damaged("contents of another length than its headers say");
    return {};
  }

  Result<> block_header(uint8_t id) {
    if (out_.block_count_ > 0 && id <= out_.blocks_[out_.block_count_ - 1].id)
      return damaged("block references out of order");
    TRY_ASSIGN(const uint8_t flags, take<uint8_t>());
    TRY_ASSIGN(const uint16_t data, take<uint16_t>());
    if (((flags & block_flag::kData) != 0) != (data > 0))
      return damaged("a block reference that contradicts itself");
    if ((flags & block_flag::kForkMask) >= kForks) return damaged("an unknown fork");
    const size_t index = out_.block_count_;
    BlockRef& block = out_.blocks_[index];
    block = BlockRef{};
    block.id = id;
    block.fork = static_cast<Fork>(flags & block_flag::kForkMask);
    block.will_init = (flags & block_flag::kWillInit) != 0;
    block.has_image = (flags & block_flag::kImage) != 0;
    data_lengths_[index] = data;
    image_lengths_[index] = 0;
    if (block.has_image) TRY_OK(image_header(block, image_lengths_[index]));
    TRY_OK(announce(data));
    TRY_OK(announce(image_lengths_[index]));
    if (flags & block_flag::kSameFile) {
      if (index == 0) return damaged("a block reference without a file");
      block.file = out_.blocks_[index - 1].file;
    } else {
      TRY_ASSIGN(block.file.tablespace, take<uint32_t>());
      TRY_ASSIGN(block.file.database, take<uint32_t>());
      TRY_ASSIGN(block.file.relation, take<uint32_t>());
    }
    TRY_ASSIGN(block.block, take<uint32_t>());
    ++out_.block_count_;
    return {};
  }

  Result<> image_header(BlockRef& block, uint16_t& length) {
    TRY_ASSIGN(length, take<uint16_t>());
    TRY_ASSIGN(block.hole_offset, take<uint16_t>());
    TRY_ASSIGN(block.image_info, take<uint8_t>());
    const bool hole = (block.image_info & image_flag::kHole) != 0;
    if (block.image_info & image_flag::compressed(version_)) {
      if (hole) {
        TRY_ASSIGN(block.hole_length, take<uint16_t>());
      }
    } else if (hole && length < kBlockSize) {
      block.hole_length = static_cast<uint16_t>(kBlockSize - length);
    }
    return {};
  }

  // The contents of blocks follow the headers in their order, the image of each before its data; then the
  // main data.
  void contents() {
    const auto take_view = [&](size_t n) {
      const ByteView out = bytes_.subspan(at_, n);
      at_ += n;
      return out;
    };
    for (size_t i = 0; i < out_.block_count_; ++i) {
      out_.blocks_[i].image = take_view(image_lengths_[i]);
      out_.blocks_[i].data = take_view(data_lengths_[i]);
    }
    out_.main_data = take_view(main_length_);
  }

  template <typename T>
  Result<T> take() {
    if (left_ - announced_ < sizeof(T)) return damaged("a header that is cut off");
    // Only a prefix that is kept of a long record can end before the record says.
    if (bytes_.size() - at_ < sizeof(T)) return damaged("more headers than were kept of it");
    T out;
    std::memcpy(&out, bytes_.data() + at_, sizeof out);
    at_ += sizeof(T);
    left_ -= sizeof(T);
    return out;
  }

  Result<> announce(uint32_t length) {
    if (left_ - announced_ < length) return damaged("contents longer than itself");
    announced_ += length;
    return {};
  }

  int version_;
  ByteView bytes_;
  WalRecord& out_;
  size_t at_ = 0, left_ = 0, announced_ = 0;
  uint32_t main_length_ = 0;
  // Only the first block_count_ are set.
  std::array<uint16_t, kMaxBlockId + 1> data_lengths_, image_lengths_;
};

Result<> decode_record(int version, ByteView bytes, WalRecord& out) {
  return RecordDecoder(version, bytes, out).run();
}

uint32_t record_checksum(ByteView header, uint32_t checksum_of_rest) {
  return codec::crc32c(header.first(kChecksumOffset), checksum_of_rest);
}

}  // namespace varve::engine::postgres
