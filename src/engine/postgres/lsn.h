// Places in PostgreSQL's write-ahead log, and the names of the files that hold it.
// Source: src/include/access/xlog_internal.h and xlogdefs.h, src/backend/access/transam/timeline.c.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace varve::engine::postgres {

// A byte position in the log of a cluster; 0 is none.
using Lsn = uint64_t;
// A branch of that log, counted from 1.
using Timeline = uint32_t;

// As PostgreSQL prints it: "16/B374D848".
std::string format_lsn(Lsn lsn);
// kUsage unless it is two hexadecimal numbers of at most 8 digits with a slash between.
Result<Lsn> parse_lsn(std::string_view text);

// A power of two from 1 MiB to 1 GiB.
bool valid_segment_size(uint64_t size);

// "000000010000000000000003": the file that holds the byte at `lsn`.
std::string segment_name(Timeline timeline, Lsn lsn, uint32_t segment_size);
// "00000002.history"
std::string history_name(Timeline timeline);

// What PostgreSQL hands to archive_command, or asks of restore_command, by name.
struct WalFileName {
  enum class Kind {
    kSegment,        // 24 digits
    kPartial,        // the last one of a timeline that was left: "….partial"
    kHistory,        // of a timeline: "00000002.history"
    kBackupHistory,  // "000000010000000000000003.00000028.backup": `offset` is where the backup began
  };
  Kind kind = Kind::kSegment;
  Timeline timeline = 0;
  Lsn start = 0;  // of the segment; 0 for a history
  uint32_t offset = 0;
  bool operator==(const WalFileName&) const = default;
};
// nullopt: no name that PostgreSQL would give to a file with segments of that size. Digits are upper case.
std::optional<WalFileName> parse_wal_file_name(std::string_view name, uint32_t segment_size);

// One line of a history file: `timeline` was followed up to `end`.
struct HistoryEntry {
  Timeline timeline = 0;
  Lsn end = 0;
  std::string reason;
  bool operator==(const HistoryEntry&) const = default;
};
// The ancestors of `timeline`, oldest first, from the content of its history file. kDamaged unless timelines
// ascend, ends do not descend, and all are older than `timeline`.
Result<std::vector<HistoryEntry>> parse_history(Timeline timeline, std::string_view text);

}  // namespace varve::engine::postgres
