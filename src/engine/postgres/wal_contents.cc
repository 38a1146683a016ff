#include "engine/postgres/wal_contents.h"

#include <algorithm>
#include <fmt/format.h>

namespace varve::engine::postgres {
namespace {

constexpr int64_t kYear2000 = 946'684'800'000'000;

tl::unexpected<Error> damaged(std::string_view what) {
  return fail(Code::kDamaged, fmt::format("a record of {} cannot be read", what));
}

template <typename T>
Result<> read(ByteReader& in, T& out) {
  TRY_ASSIGN(out, in.le<T>());
  return {};
}

Result<> read(ByteReader& in, RelFile& out) {
  TRY_OK(read(in, out.tablespace));
  TRY_OK(read(in, out.database));
  return read(in, out.relation);
}

// A count of elements of `size` bytes that must all be there.
Result<uint32_t> read_count(ByteReader& in, size_t size) {
  TRY_ASSIGN(const uint32_t count, in.le<uint32_t>());
  if (count > in.remaining() / size) return damaged("a list longer than itself");
  return count;
}

template <typename T>
Result<> read_list(ByteReader& in, std::vector<T>& out) {
  TRY_ASSIGN(const uint32_t count, read_count(in, sizeof(T)));
  out.resize(count);
  for (T& element : out) TRY_OK(read(in, element));
  return {};
}

Result<> skip_list(ByteReader& in, size_t size) {
  TRY_ASSIGN(const uint32_t count, read_count(in, size));
  TRY_OK(in.take(count * size));
  return {};
}

Result<> read_xact_parts(int version, uint8_t info, ByteReader& in, XactEnd& out) {
  TRY_ASSIGN(const uint64_t time, in.le<uint64_t>());
  const auto moment = from_postgres_time(time);
  if (!moment) return damaged("the end of a transaction");
  out.time = *moment;
  uint32_t parts = 0;
  if (info & xact_info::kHasXinfo) TRY_OK(read(in, parts));
  if (parts & xact_info::kDatabase) TRY_OK(in.take(8));
  if (parts & xact_info::kSubxacts) TRY_OK(read_list(in, out.subxacts));
  if (parts & xact_info::kFiles) TRY_OK(read_list(in, out.dropped));
  // A dropped statistic is known by its kind, database and object; objects have 64 bits since 18.
  if (parts & xact_info::kStatistics) TRY_OK(skip_list(in, version >= 18 ? 16 : 12));
  if (parts & xact_info::kInvalidationMessages) TRY_OK(skip_list(in, 16));
  if (parts & xact_info::kTwoPhase) TRY_OK(read(in, out.xid));
  return {};
}

Result<ServerNote> read_checkpoint(int version, const WalRecord& record, bool shutdown) {
  constexpr size_t kSize = 84;  // up to and with oldestActiveXid
  const ByteView data = record.main_data;
  if (data.size() < kSize) return damaged("a checkpoint");
  ServerNote out;
  out.full_page_writes = data[16] != std::byte{0};
  if (version >= 17) out.wal_level = static_cast<WalLevel>(load_le<uint32_t>(data.data() + 20));
  // An online checkpoint's numbers were taken when it began; what began since is not before next_xid.
  const auto next = load_le<uint32_t>(data.data() + 24), oldest = load_le<uint32_t>(data.data() + 80);
  if (shutdown) {
    // Prepared transactions outlive a shutdown, so that nothing can be said about what has ended.
    out.next_xid = next;
  } else if (oldest != 0) {
    out.oldest_running = oldest;
  }
  return out;
}

Result<ServerNote> read_running_xacts(const WalRecord& record) {
  constexpr size_t kSize = 24;
  if (record.main_data.size() < kSize) return damaged("the running transactions");
  ServerNote out;
  out.next_xid = load_le<uint32_t>(record.main_data.data() + 12);
  out.oldest_running = load_le<uint32_t>(record.main_data.data() + 16);
  return out;
}

Result<ServerNote> read_end_of_recovery(int version, ByteReader in) {
  ServerNote out;
  TRY_ASSIGN(const uint64_t time, in.le<uint64_t>());
  out.time = from_postgres_time(time);
  TRY_ASSIGN(out.new_timeline, in.le<uint32_t>());
  TRY_OK(in.take(4));  // the one before
  if (version >= 17) {
    TRY_ASSIGN(const uint32_t level, in.le<uint32_t>());
    out.wal_level = static_cast<WalLevel>(level);
  }
  return out;
}

Result<ServerNote> read_restore_point(ByteReader in) {
  ServerNote out;
  TRY_ASSIGN(const uint64_t time, in.le<uint64_t>());
  out.time = from_postgres_time(time);
  TRY_ASSIGN(const ByteView name, in.take(std::min<size_t>(in.remaining(), 64)));
  const std::string_view text = as_text(name);
  out.restore_point = std::string(text.substr(0, text.find('\0')));
  return out;
}

Result<std::optional<ServerNote>> parse_xlog(int version, const WalRecord& record) {
  ByteReader in(record.main_data);
  ServerNote out;
  switch (record.operation()) {
    case xlog_info::kShutdownCheckpoint:
      return read_checkpoint(version, record, true);
    case xlog_info::kOnlineCheckpoint:
      return read_checkpoint(version, record, false);
    case xlog_info::kRestorePoint:
      return read_restore_point(in);
    case xlog_info::kEndOfRecovery:
      return read_end_of_recovery(version, in);
    case xlog_info::kBackupEnd: {
      TRY_ASSIGN(out.backup_end, in.le<uint64_t>());
      return out;
    }
    case xlog_info::kOverwriteContrecord: {
      TRY_ASSIGN(out.overwritten, in.le<uint64_t>());
      return out;
    }
    case xlog_info::kFullPageWrites: {
      TRY_ASSIGN(const uint8_t on, in.le<uint8_t>());
      out.full_page_writes = on != 0;
      return out;
    }
    case xlog_info::kParameterChange:
      TRY_OK(in.take(20));
      break;
    case xlog_info::kCheckpointRedo:
      if (version < 17) return std::nullopt;
      break;
    default:
      return std::nullopt;
  }
  TRY_ASSIGN(const uint32_t level, in.le<uint32_t>());
  out.wal_level = static_cast<WalLevel>(level);
  return out;
}

Result<RowChange> read_heap2_rows(const WalRecord& record) {
  if (record.main_data.size() < 4) return damaged("rows that are inserted");
  return RowChange{.inserted = load_le<uint16_t>(record.main_data.data() + 2)};
}

Result<RowChange> read_deletion(const WalRecord& record) {
  if (record.main_data.size() < 8) return damaged("a row that is deleted");
  if (std::to_integer<uint8_t>(record.main_data[7]) & heap_info::kSuperDelete)
    return RowChange{.inserted = -1};
  return RowChange{.deleted = 1};
}

}  // namespace

std::optional<Timestamp> from_postgres_time(uint64_t raw) {
  constexpr int64_t kFirst = -62'135'596'800'000'000, kLast = 253'402'300'799'999'999;
  const auto since_2000 = static_cast<int64_t>(raw);
  if (since_2000 < kFirst - kYear2000 || since_2000 > kLast - kYear2000) return std::nullopt;
  return Timestamp(std::chrono::microseconds(since_2000 + kYear2000));
}

Result<bool> parse_xact_end(int version, const WalRecord& record, XactEnd& out) {
  if (record.rmid != rmgr::kXact) return false;
  const uint8_t operation = record.info & xact_info::kMask;
  switch (operation) {
    case xact_info::kCommit:
    case xact_info::kCommitPrepared:
      out.committed = true;
      break;
    case xact_info::kAbort:
    case xact_info::kAbortPrepared:
      out.committed = false;
      break;
    default:
      return false;
  }
  out.xid = record.xid;
  out.subxacts.clear();
  out.dropped.clear();
  ByteReader in(record.main_data);
  TRY_OK(read_xact_parts(version, record.info, in, out));
  return true;
}

Result<FileChange> parse_file_change(const WalRecord& record) {
  if (record.rmid != rmgr::kSmgr) return FileChange();
  ByteReader in(record.main_data);
  if (record.operation() == smgr_info::kCreate) {
    FileCreated out;
    TRY_OK(read(in, out.file));
    TRY_ASSIGN(const uint32_t fork, in.le<uint32_t>());
    if (fork >= kForks) return damaged("a new file");
    out.fork = static_cast<Fork>(fork);
    return out;
  }
  if (record.operation() == smgr_info::kTruncate) {
    FileTruncated out;
    TRY_OK(read(in, out.blocks));
    TRY_OK(read(in, out.file));
    TRY_ASSIGN(const uint32_t flags, in.le<uint32_t>());
    out.main = (flags & smgr_info::kTruncateHeap) != 0;
    out.visibility = (flags & smgr_info::kTruncateVisibility) != 0;
    return out;
  }
  return FileChange();
}

Result<std::optional<DatabaseChange>> parse_database_change(int version, const WalRecord& record) {
  if (record.rmid != rmgr::kDatabase) return std::nullopt;
  // 15 put a second way of creating one between the two operations that there were.
  const uint8_t drop = version >= 15 ? 0x20 : 0x10;
  if (record.operation() > drop) return std::nullopt;
  ByteReader in(record.main_data);
  DatabaseChange out;
  out.created = record.operation() != drop;
  TRY_OK(read(in, out.database));
  if (out.created) {
    out.tablespaces.resize(1);
    TRY_OK(read(in, out.tablespaces[0]));
  } else {
    TRY_OK(read_list(in, out.tablespaces));
  }
  return out;
}

Result<std::optional<ServerNote>> parse_server_note(int version, const WalRecord& record) {
  if (record.rmid == rmgr::kXlog) return parse_xlog(version, record);
  if (record.rmid == rmgr::kStandby && record.operation() == standby_info::kRunningXacts)
    return read_running_xacts(record);
  return std::nullopt;
}

Result<std::optional<TableTruncation>> parse_table_truncation(const WalRecord& record) {
  if (record.rmid != rmgr::kHeap || (record.info & heap_info::kMask) != heap_info::kTruncate)
    return std::nullopt;
  ByteReader in(record.main_data);
  TableTruncation out;
  TRY_OK(read(in, out.database));
  TRY_ASSIGN(const uint32_t count, in.le<uint32_t>());
  TRY_OK(in.take(4));  // flags and what fills up to the next number
  if (count > in.remaining() / 4) return damaged("a truncation");
  out.relations.resize(count);
  for (uint32_t& relation : out.relations) TRY_OK(read(in, relation));
  return out;
}

Result<std::optional<RowChange>> parse_row_change(const WalRecord& record) {
  if (record.blocks().empty()) return std::nullopt;
  const uint8_t operation = record.info & heap_info::kMask;
  if (record.rmid == rmgr::kHeap2) {
    if (operation != heap_info::kMultiInsert) return std::nullopt;
    return read_heap2_rows(record);
  }
  if (record.rmid != rmgr::kHeap) return std::nullopt;
  switch (operation) {
    case heap_info::kInsert:
      return RowChange{.inserted = 1};
    case heap_info::kUpdate:
    case heap_info::kHotUpdate:
      return RowChange{.updated = 1};
    case heap_info::kDelete:
      return read_deletion(record);
    default:
      return std::nullopt;
  }
}

}  // namespace varve::engine::postgres
