#include "engine/postgres/wal_fold.h"

#include <algorithm>
#include <fmt/format.h>

namespace varve::engine::postgres {
namespace {

uint64_t hash_of(const TransactionWork& work) {
  uint64_t h = 0;
  const auto mix = [&](uint64_t v) {
    h = (h ^ v) * 0x9e3779b97f4a7c15u;
    h ^= h >> 32;
  };
  for (const RowCounts& r : work.rows) {
    mix(uint64_t{r.table.relation} << 32 | r.table.database);
    mix(static_cast<uint64_t>(r.inserted) ^ r.updated << 20 ^ r.deleted << 40);
  }
  for (const TruncatedTable& t : work.truncated) mix(~(uint64_t{t.relation} << 32 | t.database));
  return h;
}

}  // namespace

void WalFold::apply(int version, const WalRecord& record) {
  part_.changes.apply(version, record);
  const auto unread = [&](const Error& error) {
    part_.changes.break_coverage(
        fmt::format("the record at {} cannot be read: {}", format_lsn(record.lsn), error.message));
  };
  switch (record.rmid) {
    case rmgr::kHeap:
    case rmgr::kHeap2:
      if (auto counted = rows_.count(record); !counted) unread(counted.error());
      break;
    case rmgr::kXact: {
      auto is_end = parse_xact_end(version, record, end_);
      if (is_end && *is_end) end_transaction(record, end_);
      break;  // what cannot be read broke the coverage above already; so below
    }
    case rmgr::kXlog:
    case rmgr::kStandby:
      if (auto found = parse_server_note(version, record); found && *found) note(record, **found);
      break;
    case rmgr::kSmgr:
      if (auto change = parse_file_change(record)) {
        if (const auto* file = std::get_if<FileCreated>(&*change);
            file != nullptr && file->fork == Fork::kMain)
          add_event({.kind = WalEvent::Kind::kFileCreated,
                     .lsn = record.lsn,
                     .file = file->file,
                     .number = record.xid});
      }
      break;
    case rmgr::kDatabase:
      if (auto change = parse_database_change(version, record); change && *change) {
        const auto kind =
            (*change)->created ? WalEvent::Kind::kDatabaseCreated : WalEvent::Kind::kDatabaseDropped;
        for (const uint32_t tablespace : (*change)->tablespaces)
          add_event({.kind = kind, .lsn = record.lsn, .file = {tablespace, (*change)->database, 0}});
      }
      break;
    default:
      break;
  }
}

void WalFold::end_transaction(const WalRecord& record, XactEnd& end) {
  TransactionWork work = rows_.take(end.xid, end.subxacts);
  const bool listed = end.committed && part_.commits.size() < WalPart::kMaxCommits;
  if (end.committed) {
    if (!part_.first_commit) part_.first_commit = end.time;
    part_.last_commit = end.time;
    if (!listed) ++part_.commits_left_out;
  }
  if (!listed) {
    part_.ended.push_back(end.xid);
    part_.ended.insert(part_.ended.end(), end.subxacts.begin(), end.subxacts.end());
    return;
  }
  if (!end.subxacts.empty() || !end.dropped.empty()) {
    const auto index = static_cast<uint32_t>(part_.commits.size());
    part_.extras[index] = {std::move(end.subxacts), std::move(end.dropped)};
  }
  part_.commits.push_back(
      {.lsn = record.lsn, .time = end.time, .xid = end.xid, .work = work_id(std::move(work))});
}

uint32_t WalFold::work_id(TransactionWork work) {
  if (work.empty()) return 0;
  const uint64_t hash = hash_of(work);
  const auto [from, to] = work_ids_.equal_range(hash);
  for (auto at = from; at != to; ++at)
    if (part_.works[at->second] == work) return at->second;
  const size_t entries = work.rows.size() + work.truncated.size();
  if (row_entries_ + entries > WalPart::kMaxRowEntries) return WalPart::kWorkNotKept;
  row_entries_ += entries;
  const auto id = static_cast<uint32_t>(part_.works.size());
  part_.works.push_back(std::move(work));
  work_ids_.emplace(hash, id);
  return id;
}

void WalFold::note(const WalRecord& record, const ServerNote& note) {
  using Kind = WalEvent::Kind;
  if (note.next_xid && !part_.next_xid) part_.next_xid = note.next_xid;
  if (note.oldest_running) {
    part_.oldest_running = note.oldest_running;
    rows_.drop_before(*note.oldest_running);
  }
  if (note.restore_point)
    add_event(
        {.kind = Kind::kRestorePoint, .lsn = record.lsn, .time = note.time, .text = *note.restore_point});
  if (note.full_page_writes == false) add_event({.kind = Kind::kNoFullPageWrites, .lsn = record.lsn});
  if (note.new_timeline)
    add_event(
        {.kind = Kind::kRecoveryEnd, .lsn = record.lsn, .time = note.time, .number = *note.new_timeline});
  if (note.backup_end) add_event({.kind = Kind::kBackupEnd, .lsn = record.lsn, .number = *note.backup_end});
}

void WalFold::add_event(WalEvent event) {
  if (part_.events.size() < WalPart::kMaxEvents) {
    part_.events.push_back(std::move(event));
  } else {
    ++part_.events_left_out;
  }
}

WalPart WalFold::finish() && {
  part_.open = rows_.open();
  part_.lost_before = rows_.lost_before();
  std::ranges::sort(part_.ended);
  part_.ended.erase(std::unique(part_.ended.begin(), part_.ended.end()), part_.ended.end());
  return std::move(part_);
}

}  // namespace varve::engine::postgres
