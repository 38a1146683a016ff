#include "engine/postgres/wal_join.h"

#include <algorithm>
#include <fmt/format.h>

namespace varve::engine::postgres {

bool WalJoiner::covers(Lsn until) const {
  return identity_ && after_header(until, identity_->segment_size) <=
                          after_header(complete_until_, identity_->segment_size);
}

Result<> WalJoiner::check(const WalIndex& index) const {
  if (!identity_) return {};
  const PieceIdentity &before = *identity_, &now = index.identity;
  if (now.system != before.system || now.segment_size != before.segment_size ||
      now.block_size != before.block_size)
    return fail(Code::kUsage, "pieces of the logs of two clusters");
  if (now.start > end_)
    return fail(Code::kIncomplete,
                fmt::format("the log from {} to {} is missing", format_lsn(end_), format_lsn(now.start)));
  if (now.start < end_)
    return fail(Code::kUsage, fmt::format("two pieces of the log have what is at {}", format_lsn(now.start)));
  if (now.timeline < before.timeline || (now.timeline > before.timeline && now.start % now.segment_size != 0))
    return fail(Code::kUsage, fmt::format("timeline {} does not go on with timeline {} at {}",
                                          before.timeline, now.timeline, format_lsn(now.start)));
  return {};
}

// What follows cannot be put together with what was before.
void WalJoiner::lose(std::string reason) {
  changes_.break_coverage(std::move(reason));
  link_.reset();
  open_ = {};
  known_xid_.reset();
  last_record_ = 0;
}

void WalJoiner::begin(const WalIndex& index) {
  const PieceIdentity& id = index.identity;
  changes_ = BlockChanges(id.block_size);
  complete_until_ = id.start;
  if (options_.from == id.start) {
    link_.emplace(WalStart{.lsn = id.start,
                           .segment_size = id.segment_size,
                           .at_record = true,
                           .version = index.identity.version});
    return;
  }
  const bool within =
      index.first_record && (options_.from == 0 || after_header(*index.first_record, id.segment_size) <=
                                                       after_header(options_.from, id.segment_size));
  if (!within)
    lose(fmt::format("the log's piece at {} begins amid a record, and the one before is not there",
                     format_lsn(id.start)));
}

Result<> WalJoiner::add(const WalIndex& index) {
  TRY_OK(check(index));
  if (!identity_) begin(index);
  // A log that was not written to its end may be followed by more of nothing.
  if (stopped_ && index.first_record) {
    lose(fmt::format("the log cannot be read from {} on: {}", format_lsn(stopped_->lsn), stopped_->reason));
    stopped_.reset();
  }
  if (index.identity.version != 0) version_ = index.identity.version;
  if (!stopped_) link(index);
  absorb(index.part);
  begin_tail(index);
  identity_ = index.identity;
  end_ = index.end;
  if (!stopped_) stopped_ = index.stop;
  return {};
}

// The records that began before this piece, and those in its head.
void WalJoiner::link(const WalIndex& index) {
  if (!link_) return;
  link_->assume_version(version_);
  if (link_->version() == 0)
    return lose(fmt::format("nothing tells the version of the log at {}", format_lsn(index.identity.start)));
  WalFold bridge(index.identity.block_size);
  const auto visit = [&](const WalRecord& record) -> Result<> {
    bridge.apply(version_, record);
    return {};
  };
  std::ignore = link_->feed_payload(index.head.bytes, visit);
  std::ignore = link_->feed_missing(index.head.size - index.head.bytes.size(), visit);
  if (index.head_dropped && link_->pending_size() > 0) link_->drop_partial();
  const bool fits = link_fits(index);
  const Lsn reached = link_->next_record().value_or(index.identity.start);
  const std::string why = link_->stop() ? ": " + link_->stop()->reason : "";
  absorb(std::move(bridge).finish());
  if (fits) return;
  stopped_.reset();
  lose(fmt::format("the log does not continue at {}{}", format_lsn(reached), why));
}

bool WalJoiner::link_fits(const WalIndex& index) {
  if (link_->stop()) {
    stopped_ = link_->stop();
    return !index.first_record;
  }
  if (!index.first_record) return index.stop || !index.began_with_zeros || link_->skip_to(index.end);
  if (link_->pending_size() > 0) return false;
  const uint32_t segment = index.identity.segment_size;
  if (after_header(*link_->next_record(), segment) != after_header(*index.first_record, segment))
    return false;
  const Lsn last = link_->last_record();
  return last == 0 || index.first_previous == 0 || index.first_previous == last;
}

void WalJoiner::begin_tail(const WalIndex& index) {
  if (!index.first_record) {
    if (link_) {
      last_record_ = link_->last_record();
      complete_until_ = link_->next_record().value_or(complete_until_);
    }
    return;
  }
  if (index.last_record != 0) {
    last_record_ = index.last_record;
  } else if (link_) {
    last_record_ = link_->last_record();
  }
  complete_until_ = index.next_record;
  const bool partial = index.tail.size > 0;
  link_.emplace(WalStart{.lsn = partial ? index.next_record : index.end,
                         .segment_size = index.identity.segment_size,
                         .at_record = true,
                         .skipping = !partial && index.next_record > align_record(index.end),
                         .version = version_,
                         .last_record = last_record_});
  // A record that the piece could not complete is not completed by these bytes either.
  const auto none = [](const WalRecord&) { return Result<>(); };
  std::ignore = link_->feed_payload(index.tail.bytes, none);
  std::ignore = link_->feed_missing(index.tail.size - index.tail.bytes.size(), none);
}

void WalJoiner::absorb_changes(const WalPart& part) {
  if (options_.changes) {
    changes_.merge(part.changes);
  } else if (part.changes.broken()) {
    changes_.break_coverage(*part.changes.broken());
  }
}

void WalJoiner::absorb(const WalPart& part) {
  absorb_changes(part);
  if (!known_xid_) known_xid_ = part.next_xid;
  size_t event = 0;
  const auto emit_events = [&](Lsn before) {
    for (; event < part.events.size() && part.events[event].lsn < before; ++event)
      if (options_.event && part.events[event].lsn >= options_.from) options_.event(part.events[event]);
  };
  for (uint32_t i = 0; i < part.commits.size(); ++i) {
    emit_events(part.commits[i].lsn);
    emit(part, i);
  }
  emit_events(UINT64_MAX);
  for (const uint32_t xid : part.ended) open_.drop(xid);
  for (const auto& [xid, work] : part.open) open_.add(xid, work);
  if (part.oldest_running) open_.drop_before(*part.oldest_running);
  for (const auto& lost : {part.lost_before, open_.lost_before()})
    if (lost && known_xid_ && xid_precedes(*known_xid_, *lost)) known_xid_ = lost;
  commits_left_out_ += part.commits_left_out;
  events_left_out_ += part.events_left_out;
}

void WalJoiner::emit(const WalPart& part, uint32_t index) {
  const WalPart::Committed& from = part.commits[index];
  const auto extra = part.extras.find(index);
  const bool kept = from.work != WalPart::kWorkNotKept;
  Commit commit{.lsn = from.lsn, .time = from.time, .xid = from.xid};
  commit.work =
      open_.take(from.xid, extra == part.extras.end() ? std::span<const uint32_t>() : extra->second.subxacts);
  if (kept) commit.work = sum(std::move(commit.work), part.works[from.work]);
  if (extra != part.extras.end()) commit.dropped = extra->second.dropped;
  for (RowCounts& rows : commit.work.rows) rows.inserted = std::max<int64_t>(rows.inserted, 0);
  commit.work_complete = kept && known_xid_ && !xid_precedes(from.xid, *known_xid_);
  if (options_.commit && commit.lsn >= options_.from) options_.commit(commit);
}

}  // namespace varve::engine::postgres
