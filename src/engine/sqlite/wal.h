// SQLite's write-ahead log as a file and its index in shared memory, read beside SQLite. Everything read is
// untrusted. Source: https://www.sqlite.org/fileformat2.html#walformat and
// https://www.sqlite.org/walformat.html
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <unordered_map>

#include "engine/sqlite/source.h"

namespace varve::engine::sqlite {

inline constexpr size_t kWalHeaderSize = 32;
inline constexpr size_t kFrameHeaderSize = 24;

// What the wal-index says is committed; what stands beyond it in the file may yet be overwritten.
struct WalIndex {
  WalPosition committed;  // checksums are zero at frame 0
  uint32_t page_size = 0;
  uint32_t pages = 0;       // the database's size; 0: as the database file says
  uint32_t backfilled = 0;  // frames that are in the database file, synced
  bool operator==(const WalIndex&) const = default;
};
// `region`: the first 32 KiB of the -shm file as it is mapped. nullopt: being written, or not valid; try
// again.
std::optional<WalIndex> read_wal_index(const volatile void* region);
// For how long to try: a writer that was stopped in the middle runs again, some time.
inline constexpr std::chrono::seconds kIndexPatience{30};

struct WalFrame {
  uint32_t number = 0;  // 1-based
  uint32_t page = 0;
  uint32_t pages_after = 0;  // not 0: the last frame of a commit
  ByteView content;          // until the next frame
};

// Reads one generation of a WAL (the frames under one pair of salts) from its start, checking each frame's
// salts and the running checksum. Closing it drops no lock: SQLite holds none on this file. For one thread,
// but page().
class WalReader {
 public:
  // Reads the header. kNotFound: no file; kDamaged: no valid header.
  static Result<WalReader> open(const os::Path& wal);

  const WalPosition& position() const { return at_; }  // after the last valid frame read
  uint32_t page_size() const { return page_size_; }
  // True: frames without a checksum were among those read (kUnsummedWarning).
  bool unsummed() const { return unsummed_; }
  // Reads the header again: true when it still is the one of this generation.
  Result<bool> same_generation() const;
  Result<os::FileStatus> status() const { return file_.status(); }

  // Visits the frames after position() up to `to` (at most what the wal-index says is committed) in order,
  // until one is not valid (then position() is short of `to`) or the visitor says false (after that frame).
  Result<> read(uint32_t to, const std::function<Result<bool>(const WalFrame&)>& visit);
  // The page in a frame visited before; kDamaged when the frame is no longer there. Any thread.
  Result<> page(uint32_t frame, uint32_t page, MutableBytes out) const;

 private:
  bool check_frame(ByteView frame);
  Result<bool> read_chunk(uint32_t to, const std::function<Result<bool>(const WalFrame&)>& visit);
  uint64_t offset_of(uint32_t frame) const {
    return kWalHeaderSize + uint64_t{frame - 1} * (kFrameHeaderSize + page_size_);
  }

  os::File file_;
  Buffer chunk_;
  uint32_t page_size_ = 0;
  bool big_endian_ = false;  // of the checksums
  WalPosition at_;
  bool unsummed_ = false;
  WalPosition header_;  // at frame 0: the salts and the header's checksum
};

// True when both are the end of the same frame, as far as their checksums are known.
bool same_place(const WalPosition& a, const WalPosition& b);

// SQLite (3.11 to at least 3.40) can commit frames without their checksums: when a transaction larger than
// its cache goes back to a savepoint and then commits. Every connection reads them well, by the index; after
// a crash they are lost.
inline constexpr const char* kUnsummedWarning =
    "its WAL holds commits without checksums, left by a defect of the writer's SQLite; a crash would lose "
    "them: PRAGMA "
    "wal_checkpoint(TRUNCATE) makes them safe";

// Which frame holds the latest version of a page.
using FrameIndex = std::unordered_map<uint32_t, uint32_t>;

os::Path wal_path(const os::Path& database);  // of a path without symbolic links

}  // namespace varve::engine::sqlite
