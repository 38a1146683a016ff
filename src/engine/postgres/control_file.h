// global/pg_control: what a cluster knows about itself before it reads anything else. Layout: ControlFileData
// of PostgreSQL's src/include/catalog/pg_control.h, versions 13 to 18 (pg_control_version 1300, 1700 and
// 1800).
#pragma once

#include <cstdint>
#include <string_view>

#include "base/bytes.h"
#include "base/context.h"
#include "os/file.h"

namespace varve::engine::postgres {

inline constexpr std::string_view kControlPath = "global/pg_control";
inline constexpr size_t kControlSize = 8192;

// DBState of pg_control.h.
enum class ClusterState : uint32_t {
  kStartup = 0,
  kShutDown,
  kShutDownInRecovery,
  kShuttingDown,
  kCrashRecovery,
  kArchiveRecovery,
  kInProduction,
};
std::string_view state_name(ClusterState state);  // "in production"

struct ControlFile {
  uint64_t system_id = 0;
  uint32_t control_version = 0;  // 1300: 13 to 16; 1700: 17; 1800: 18
  uint32_t catalog_version = 0;  // 202209061: 15
  ClusterState state = ClusterState::kStartup;
  int64_t time = 0;         // of the last update, seconds since the Unix epoch
  uint64_t checkpoint = 0;  // where the latest checkpoint record stands
  uint64_t redo = 0;        // where recovery from it begins
  uint32_t timeline = 0;    // of that checkpoint
  int64_t checkpoint_time = 0;
  bool full_page_writes = false;
  uint64_t min_recovery_point = 0;  // a standby is not consistent before it; 0: none
  uint32_t min_recovery_timeline = 0;
  uint64_t backup_start = 0, backup_end = 0;  // of a restored backup whose recovery is not past its end
  bool backup_end_required = false;
  uint32_t wal_level = 0;  // 0 minimal, 1 replica, 2 logical
  bool wal_log_hints = false;
  // A server that replays this cluster's WAL as a hot standby needs settings of at least these.
  uint32_t max_connections = 0, max_worker_processes = 0, max_wal_senders = 0, max_prepared_transactions = 0,
           max_locks_per_transaction = 0;
  uint32_t page_size = 0;         // bytes
  uint32_t segment_pages = 0;     // pages of one file of a relation (1 GiB)
  uint32_t wal_page_size = 0;     // bytes
  uint32_t wal_segment_size = 0;  // bytes
  uint32_t checksum_version = 0;  // 0: pages have no checksums

  bool has_checksums() const { return checksum_version != 0; }
};

// kDamaged when the CRC is wrong or a value is impossible, kUnsupported for other versions.
Result<ControlFile> parse_control_file(ByteView bytes);

struct ControlFileImage {
  ControlFile control;
  Buffer bytes;  // kControlSize of them, as they are on disk
};
// Reads it below a data directory; a server may be writing it meanwhile, so a wrong CRC is read again for
// some seconds.
Result<ControlFileImage> read_control_file(const Context& ctx, const os::Path& data_directory);

}  // namespace varve::engine::postgres
