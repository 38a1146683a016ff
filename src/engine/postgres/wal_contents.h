// What the records mean that Varve has to understand beyond their block references: ends of transactions,
// files that come, go and shrink, databases, and what the server notes about itself. Each function answers
// nullopt for a record of another kind, and kDamaged for one of its kind that cannot be read. They want whole
// records.
#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/time.h"
#include "engine/postgres/wal_record.h"

namespace varve::engine::postgres {

// PostgreSQL counts microseconds from the year 2000. nullopt: before year 1 or after 9999.
std::optional<Timestamp> from_postgres_time(uint64_t raw);

// A commit or an abort, of a prepared transaction too.
struct XactEnd {
  bool committed = false;
  uint32_t xid = 0;  // for a prepared one its own, not that of the session that ended it
  Timestamp time = {};
  std::vector<uint32_t> subxacts;  // of a commit: every subtransaction that was not rolled back
  std::vector<RelFile> dropped;    // files that are removed now
};
Result<bool> parse_xact_end(int version, const WalRecord& record, XactEnd& out);  // false: of another kind

struct FileCreated {
  RelFile file;
  Fork fork = Fork::kMain;
};
struct FileTruncated {
  RelFile file;
  uint32_t blocks = 0;  // that the main fork has left
  bool main = false, visibility = false;
};
using FileChange = std::variant<std::monostate, FileCreated, FileTruncated>;
Result<FileChange> parse_file_change(const WalRecord& record);

struct DatabaseChange {
  bool created = false;  // or dropped
  uint32_t database = 0;
  std::vector<uint32_t> tablespaces;
};
Result<std::optional<DatabaseChange>> parse_database_change(int version, const WalRecord& record);

// What the server notes about itself, of the resource manager XLOG.
struct ServerNote {
  std::optional<WalLevel> wal_level;       // as it is from here on
  std::optional<bool> full_page_writes;    // likewise
  std::optional<uint32_t> next_xid;        // every transaction from this one on begins after the record
  std::optional<uint32_t> oldest_running;  // every transaction before this one has ended before the record
  std::optional<Timeline> new_timeline;    // the end of a recovery
  std::optional<Lsn> backup_end;           // a backup that began there has ended
  std::optional<Lsn> overwritten;          // where a record began that was never completed
  std::optional<Timestamp> time;
  std::optional<std::string> restore_point;
};
// Also for the list of running transactions that the resource manager Standby logs.
Result<std::optional<ServerNote>> parse_server_note(int version, const WalRecord& record);

// TRUNCATE, as it is logged for logical decoding only; relations are OIDs of pg_class.
struct TableTruncation {
  uint32_t database = 0;
  std::vector<uint32_t> relations;
};
Result<std::optional<TableTruncation>> parse_table_truncation(const WalRecord& record);

// Rows that a heap record adds to, changes in or takes from the table of its first block.
struct RowChange {
  int64_t inserted = 0;  // -1: an insertion that turned out to be in conflict is taken back
  uint32_t updated = 0, deleted = 0;
};
Result<std::optional<RowChange>> parse_row_change(const WalRecord& record);

// Transactions are numbered round 2^32: true when `a` was given out before `b`.
inline bool xid_precedes(uint32_t a, uint32_t b) {
  return static_cast<int32_t>(a - b) < 0;
}

}  // namespace varve::engine::postgres
