// One record of the write-ahead log, taken apart. Source: src/include/access/xlogrecord.h and
// DecodeXLogRecord() in src/backend/access/transam/xlogreader.c.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <span>

#include "base/bytes.h"
#include "engine/postgres/lsn.h"
#include "engine/postgres/rel_file.h"
#include "engine/postgres/wal_format.h"

namespace varve::engine::postgres {

struct BlockRef {
  RelFile file;
  Fork fork = Fork::kMain;
  uint8_t id = 0;
  bool will_init = false;
  bool has_image = false;
  uint8_t image_info = 0;
  uint16_t hole_offset = 0;
  uint16_t hole_length =
      0;  // as stored, or for an image that is not compressed as it follows from 8 KiB pages
  uint32_t block = 0;
  ByteView image;  // as stored: without its hole, perhaps compressed
  ByteView data;
};

// Views point into the bytes that were decoded.
struct WalRecord {
  Lsn lsn = 0;
  Lsn end = 0;       // where the next one may begin (PostgreSQL's EndRecPtr)
  Lsn previous = 0;  // as it says itself
  uint32_t length = 0;
  uint32_t xid = 0;  // of the transaction or subtransaction; 0: none
  uint8_t rmid = 0;
  uint8_t info = 0;
  bool whole =
      true;  // false: too long to be kept; block references are here, images, data and main_data are not
  std::optional<uint32_t> top_xid;
  ByteView main_data;

  std::span<const BlockRef> blocks() const { return {blocks_.data(), block_count_}; }
  uint8_t operation() const { return info & kRmgrInfo; }

 private:
  friend class RecordDecoder;
  std::array<BlockRef, kMaxBlockId + 1> blocks_;
  size_t block_count_ = 0;
};

// Takes `bytes` apart, a whole record (its checksum is the caller's to check) without page headers. When
// `bytes` is a prefix of a longer record, out.whole becomes false. kDamaged when it is no record of that
// version; then out is not to be used. out.lsn and out.end are left as they are.
Result<> decode_record(int version, ByteView bytes, WalRecord& out);

// The checksum that a record's header carries is that of the bytes after the header, then of the header
// before it.
uint32_t record_checksum(ByteView header, uint32_t checksum_of_rest);

}  // namespace varve::engine::postgres
