// The numbers of PostgreSQL's write-ahead log, versions 13 to 18.
// Source: src/include/access/{xlog_internal,xlogrecord,rmgrlist,heapam_xlog,xact}.h,
// catalog/{pg_control,storage_xlog}.h, commands/dbcommands_xlog.h and storage/standbydefs.h of each version.
// Everything is little-endian, as the hosts are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

namespace varve::engine::postgres {

inline constexpr uint32_t kWalPage = 8192;
inline constexpr uint32_t kShortHeader = 24, kLongHeader = 40;  // of a page; the long one begins a segment
inline constexpr uint32_t kRecordHeader = 24;
inline constexpr uint32_t kRecordAlignment = 8;
inline constexpr uint32_t kMaxRecord = 1u << 30;
inline constexpr uint32_t kMaxBlockId = 32;

constexpr uint64_t align_record(uint64_t at) {
  return (at + kRecordAlignment - 1) & ~uint64_t{kRecordAlignment - 1};
}

// xlp_magic tells the major version; it changes with each.
constexpr std::optional<int> version_of_magic(uint16_t magic) {
  switch (magic) {
    case 0xd106:
      return 13;
    case 0xd10d:
      return 14;
    case 0xd110:
      return 15;
    case 0xd113:
      return 16;
    case 0xd116:
      return 17;
    case 0xd118:
      return 18;
    default:
      return std::nullopt;
  }
}

// xlp_info
namespace page_flag {
inline constexpr uint16_t kContinues = 1, kLong = 2, kRemovable = 4, kOverwrite = 8, kAll = 15;
}

// Ids of the block headers that are none.
namespace part_id {
inline constexpr uint8_t kShortData = 255, kLongData = 254, kOrigin = 253, kTopXid = 252;
}

// fork_flags of a block header
namespace block_flag {
inline constexpr uint8_t kForkMask = 0x0f, kImage = 0x10, kData = 0x20, kWillInit = 0x40, kSameFile = 0x80;
}

// bimg_info; the bits of compression moved in version 15.
namespace image_flag {
inline constexpr uint8_t kHole = 0x01;
constexpr uint8_t compressed(int version) {
  return version >= 15 ? 0x1c : 0x02;
}
}  // namespace image_flag

namespace rmgr {
inline constexpr uint8_t kXlog = 0, kXact = 1, kSmgr = 2, kDatabase = 4, kTablespace = 5, kStandby = 8,
                         kHeap2 = 9, kHeap = 10, kGeneric = 20;
inline constexpr uint8_t kLast = 21;     // of those that PostgreSQL itself has
inline constexpr uint8_t kCustom = 128;  // and above: extensions' own (15 and later)
}  // namespace rmgr

// xl_info: the low bits are the log's, the high ones the resource manager's.
inline constexpr uint8_t kRmgrInfo = 0xf0;
inline constexpr uint8_t kSpecialUpdate =
    0x01;  // changes relation files beyond what the block references say

namespace xlog_info {
inline constexpr uint8_t kShutdownCheckpoint = 0x00, kOnlineCheckpoint = 0x10, kSwitch = 0x40,
                         kBackupEnd = 0x50, kParameterChange = 0x60, kRestorePoint = 0x70,
                         kFullPageWrites = 0x80, kEndOfRecovery = 0x90, kOverwriteContrecord = 0xd0,
                         kCheckpointRedo = 0xe0;
}

namespace xact_info {
inline constexpr uint8_t kMask = 0x70, kHasXinfo = 0x80;
inline constexpr uint8_t kCommit = 0x00, kPrepare = 0x10, kAbort = 0x20, kCommitPrepared = 0x30,
                         kAbortPrepared = 0x40, kAssignment = 0x50, kInvalidations = 0x60;
inline constexpr uint32_t kDatabase = 1, kSubxacts = 2, kFiles = 4, kInvalidationMessages = 8, kTwoPhase = 16,
                          kOrigin = 32, kGid = 128, kStatistics = 256;
}  // namespace xact_info

namespace smgr_info {
inline constexpr uint8_t kCreate = 0x10, kTruncate = 0x20;
inline constexpr uint32_t kTruncateHeap = 1, kTruncateVisibility = 2;
}  // namespace smgr_info

namespace standby_info {
inline constexpr uint8_t kRunningXacts = 0x10;
}

namespace heap_info {
inline constexpr uint8_t kMask = 0x70;
inline constexpr uint8_t kInsert = 0x00, kDelete = 0x10, kUpdate = 0x20, kTruncate = 0x30, kHotUpdate = 0x40;
inline constexpr uint8_t kMultiInsert = 0x50;  // of kHeap2
inline constexpr uint8_t kSuperDelete = 0x08;  // xl_heap_delete.flags: takes back a speculative insertion
}  // namespace heap_info

enum class WalLevel : uint32_t { kMinimal = 0, kReplica = 1, kLogical = 2 };

// How many heap pages a page of the visibility map speaks for: two bits each, after the page header.
constexpr uint32_t heap_pages_per_map_page(uint32_t block_size) {
  return (block_size - 24) * 4;
}

}  // namespace varve::engine::postgres
