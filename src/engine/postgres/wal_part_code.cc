#include <fmt/format.h>

#include "engine/postgres/wal_index.pb.h"
#include "engine/postgres/wal_index_code.h"

namespace varve::engine::postgres {
namespace {

namespace pb = varve::format::postgres;
using File = BlockChanges::File;

tl::unexpected<Error> damaged(std::string_view what) {
  return fail(Code::kDamaged, fmt::format("index of a piece of the log: {}", what));
}

int64_t to_us(Timestamp t) {
  return t.time_since_epoch().count();
}
// Years 1 to 9999: others cannot be written as text.
Result<Timestamp> from_us(int64_t us) {
  if (us < -62'135'596'800'000'000 || us > 253'402'300'799'999'999) return damaged("an impossible time");
  return Timestamp(std::chrono::microseconds(us));
}

// Adds steps up, each from the value before; wraps where they are forged.
template <typename T>
class Steps {
 public:
  int64_t step(T value) {
    const auto out = static_cast<int64_t>(static_cast<uint64_t>(value) - before_);
    before_ = static_cast<uint64_t>(value);
    return out;
  }
  T add(int64_t step) { return static_cast<T>(before_ += static_cast<uint64_t>(step)); }

 private:
  uint64_t before_ = 0;
};

void encode_changes(const BlockChanges& changes, pb::Changes& out) {
  Steps<uint32_t> tablespace, database, relation;
  changes.for_each([&](const File& file, const ForkChanges& fork) {
    if (fork.limit == ForkChanges::kNoLimit && fork.blocks.empty()) return;
    out.add_tablespace_step(tablespace.step(file.file.tablespace));
    out.add_database_step(database.step(file.file.database));
    out.add_relation_step(relation.step(file.file.relation));
    out.add_fork(static_cast<uint32_t>(file.fork));
    out.add_limit(fork.limit == ForkChanges::kNoLimit ? 0 : uint64_t{fork.limit} + 1);
    uint32_t runs = 0;
    uint64_t end = 0;
    fork.blocks.for_each_run([&](uint32_t first, uint64_t length) {
      out.add_run_step(2 * (first - end) + (length > 1 ? 1 : 0));
      if (length > 1) out.add_run_length(static_cast<uint32_t>(length - 2));
      end = first + length;
      ++runs;
    });
    out.add_runs(runs);
  });
  for (const auto& [space, db] : changes.whole_databases()) {
    out.add_whole_tablespace(space);
    out.add_whole_database(db);
  }
  if (changes.broken()) out.set_broken(*changes.broken());
}

class ChangesDecoder {
 public:
  ChangesDecoder(const pb::Changes& in, uint64_t most, BlockChanges& out) : in_(in), most_(most), out_(out) {}

  Result<> run() {
    const int n = in_.fork_size();
    if (in_.tablespace_step_size() != n || in_.database_step_size() != n || in_.relation_step_size() != n ||
        in_.limit_size() != n || in_.runs_size() != n ||
        in_.whole_database_size() != in_.whole_tablespace_size())
      return damaged("columns of different lengths");
    for (int i = 0; i < n; ++i) TRY_OK(fork(i));
    if (run_ != in_.run_step_size() || length_ != in_.run_length_size())
      return damaged("more runs than files");
    for (int i = 0; i < in_.whole_database_size(); ++i)
      out_.set_whole_database(in_.whole_tablespace(i), in_.whole_database(i));
    if (!in_.broken().empty()) out_.break_coverage(in_.broken());
    return {};
  }

 private:
  Result<> fork(int i) {
    if (in_.fork(i) >= kForks || in_.limit(i) > ForkChanges::kNoLimit) return damaged("an impossible file");
    const File file{{tablespace_.add(in_.tablespace_step(i)), database_.add(in_.database_step(i)),
                     relation_.add(in_.relation_step(i))},
                    static_cast<Fork>(in_.fork(i))};
    if (i > 0 && !(before_ < file)) return damaged("files are not in order");
    before_ = file;
    if (in_.limit(i) > 0) out_.set_limit(file, static_cast<uint32_t>(in_.limit(i) - 1));
    uint64_t at = 0;
    for (uint32_t k = 0; k < in_.runs(i); ++k) {
      if (run_ == in_.run_step_size()) return damaged("fewer runs than it says");
      const uint64_t step = in_.run_step(run_++);
      uint64_t length = 1;
      if (step & 1) {
        if (length_ == in_.run_length_size()) return damaged("fewer runs than it says");
        length = uint64_t{in_.run_length(length_++)} + 2;
      }
      // Both terms are bounded before the sum, so that it cannot overflow.
      if (step / 2 > UINT32_MAX || at + step / 2 + length > uint64_t{UINT32_MAX} + 1 || length > most_)
        return damaged("more blocks than it can have");
      at += step / 2;
      most_ -= length;
      out_.mark_run(file, static_cast<uint32_t>(at), static_cast<uint32_t>(length));
      at += length;
    }
    return {};
  }

  const pb::Changes& in_;
  uint64_t most_;
  BlockChanges& out_;
  Steps<uint32_t> tablespace_, database_, relation_;
  File before_;
  int run_ = 0, length_ = 0;
};

void encode_works(const std::vector<TransactionWork>& works, pb::Works& out) {
  std::map<RelFile, uint32_t> tables;
  for (size_t i = 1; i < works.size(); ++i) {
    out.add_rows(static_cast<uint32_t>(works[i].rows.size()));
    for (const RowCounts& rows : works[i].rows) {
      const auto [at, fresh] = tables.try_emplace(rows.table, static_cast<uint32_t>(tables.size()));
      if (fresh) {
        out.add_table_tablespace(rows.table.tablespace);
        out.add_table_database(rows.table.database);
        out.add_table_relation(rows.table.relation);
      }
      out.add_row_table(at->second);
      out.add_row_inserted(rows.inserted);
      out.add_row_updated(rows.updated);
      out.add_row_deleted(rows.deleted);
    }
    out.add_truncations(static_cast<uint32_t>(works[i].truncated.size()));
    for (const TruncatedTable& table : works[i].truncated) {
      out.add_truncated_database(table.database);
      out.add_truncated_relation(table.relation);
    }
  }
}

Result<> decode_works(const pb::Works& in, std::vector<TransactionWork>& out) {
  if (in.table_database_size() != in.table_tablespace_size() ||
      in.table_relation_size() != in.table_tablespace_size() || in.rows_size() != in.truncations_size() ||
      in.row_inserted_size() != in.row_table_size() || in.row_updated_size() != in.row_table_size() ||
      in.row_deleted_size() != in.row_table_size() ||
      in.truncated_database_size() != in.truncated_relation_size())
    return damaged("columns of different lengths");
  int row = 0, truncation = 0;
  for (int i = 0; i < in.rows_size(); ++i) {
    TransactionWork& work = out.emplace_back();
    if (in.rows(i) > static_cast<uint32_t>(in.row_table_size() - row) ||
        in.truncations(i) > static_cast<uint32_t>(in.truncated_database_size() - truncation))
      return damaged("fewer rows than it says");
    for (uint32_t k = 0; k < in.rows(i); ++k, ++row) {
      const uint32_t table = in.row_table(row);
      if (table >= static_cast<uint32_t>(in.table_relation_size()))
        return damaged("a table that is not there");
      const int t = static_cast<int>(table);
      work.rows.push_back({.table = {in.table_tablespace(t), in.table_database(t), in.table_relation(t)},
                           .inserted = in.row_inserted(row),
                           .updated = in.row_updated(row),
                           .deleted = in.row_deleted(row)});
      // So that sums cannot overflow.
      if (work.rows.back().inserted < -INT32_MAX || work.rows.back().inserted > INT64_C(1) << 40 ||
          work.rows.back().updated > UINT64_C(1) << 40 || work.rows.back().deleted > UINT64_C(1) << 40)
        return damaged("an impossible number of rows");
    }
    for (uint32_t k = 0; k < in.truncations(i); ++k, ++truncation)
      work.truncated.push_back({in.truncated_database(truncation), in.truncated_relation(truncation)});
  }
  if (row != in.row_table_size() || truncation != in.truncated_database_size())
    return damaged("more rows than it says");
  return {};
}

void encode_commits(const WalPart& part, pb::Commits& out) {
  Steps<uint64_t> lsn;
  Steps<int64_t> time;
  Steps<uint32_t> xid;
  for (const WalPart::Committed& commit : part.commits) {
    out.add_lsn_step(static_cast<uint64_t>(lsn.step(commit.lsn)));
    out.add_time_step_us(time.step(to_us(commit.time)));
    out.add_xid_step(xid.step(commit.xid));
    out.add_work(commit.work == 0 ? 0 : commit.work == WalPart::kWorkNotKept ? 1 : commit.work + 1);
  }
  Steps<uint32_t> index;
  for (const auto& [commit, extra] : part.extras) {
    out.add_extra_step(static_cast<uint32_t>(index.step(commit)));
    out.add_subxacts(static_cast<uint32_t>(extra.subxacts.size()));
    Steps<uint32_t> sub;
    sub.step(part.commits[commit].xid);
    for (const uint32_t id : extra.subxacts) out.add_subxact_step(sub.step(id));
    out.add_dropped(static_cast<uint32_t>(extra.dropped.size()));
    for (const RelFile& file : extra.dropped) {
      out.add_dropped_tablespace(file.tablespace);
      out.add_dropped_database(file.database);
      out.add_dropped_relation(file.relation);
    }
  }
  out.set_left_out(part.commits_left_out);
  if (part.first_commit) out.set_first_us(to_us(*part.first_commit));
  if (part.last_commit) out.set_last_us(to_us(*part.last_commit));
}

Result<> decode_extras(const pb::Commits& in, WalPart& out) {
  int sub = 0, file = 0;
  uint64_t index = 0;
  for (int i = 0; i < in.extra_step_size(); ++i) {
    index += in.extra_step(i);
    if (index >= out.commits.size() || (i > 0 && in.extra_step(i) == 0))
      return damaged("a commit that is not there");
    if (in.subxacts(i) > static_cast<uint32_t>(in.subxact_step_size() - sub) ||
        in.dropped(i) > static_cast<uint32_t>(in.dropped_relation_size() - file))
      return damaged("fewer parts of a commit than it says");
    WalPart::Extra& extra = out.extras[static_cast<uint32_t>(index)];
    Steps<uint32_t> ids;
    ids.step(out.commits[index].xid);
    for (uint32_t k = 0; k < in.subxacts(i); ++k) extra.subxacts.push_back(ids.add(in.subxact_step(sub++)));
    for (uint32_t k = 0; k < in.dropped(i); ++k, ++file)
      extra.dropped.push_back(
          {in.dropped_tablespace(file), in.dropped_database(file), in.dropped_relation(file)});
  }
  if (sub != in.subxact_step_size() || file != in.dropped_relation_size())
    return damaged("more parts of commits than it says");
  return {};
}

Result<> decode_commits(const pb::Commits& in, WalPart& out) {
  const int n = in.lsn_step_size();
  if (in.time_step_us_size() != n || in.xid_step_size() != n || in.work_size() != n ||
      in.subxacts_size() != in.extra_step_size() || in.dropped_size() != in.extra_step_size() ||
      in.dropped_tablespace_size() != in.dropped_relation_size() ||
      in.dropped_database_size() != in.dropped_relation_size())
    return damaged("columns of different lengths");
  Steps<uint64_t> lsn;
  Steps<int64_t> time;
  Steps<uint32_t> xid;
  for (int i = 0; i < n; ++i) {
    WalPart::Committed& commit = out.commits.emplace_back();
    commit.lsn = lsn.add(static_cast<int64_t>(in.lsn_step(i)));
    if (i > 0 && commit.lsn <= out.commits[static_cast<size_t>(i) - 1].lsn)
      return damaged("commits are not in order");
    TRY_ASSIGN(commit.time, from_us(time.add(in.time_step_us(i))));
    commit.xid = xid.add(in.xid_step(i));
    commit.work = in.work(i) == 0 ? 0 : in.work(i) == 1 ? WalPart::kWorkNotKept : in.work(i) - 1;
    if (commit.work != WalPart::kWorkNotKept && commit.work >= out.works.size())
      return damaged("work that is not there");
  }
  out.commits_left_out = in.left_out();
  if (in.has_first_us()) {
    TRY_ASSIGN(out.first_commit, from_us(in.first_us()));
  }
  if (in.has_last_us()) {
    TRY_ASSIGN(out.last_commit, from_us(in.last_us()));
  }
  return decode_extras(in, out);
}

void encode_event(const WalEvent& event, pb::Event& out) {
  out.set_kind(static_cast<uint32_t>(event.kind));
  out.set_lsn(event.lsn);
  if (event.time) out.set_time_us(to_us(*event.time));
  out.set_text(event.text);
  out.set_tablespace(event.file.tablespace);
  out.set_database(event.file.database);
  out.set_relation(event.file.relation);
  out.set_number(event.number);
}

Result<WalEvent> decode_event(const pb::Event& in) {
  if (in.kind() >= WalEvent::kKinds) return damaged("an unknown event");
  WalEvent out{.kind = static_cast<WalEvent::Kind>(in.kind()),
               .lsn = in.lsn(),
               .text = in.text(),
               .file = {in.tablespace(), in.database(), in.relation()},
               .number = in.number()};
  if (in.has_time_us()) {
    TRY_ASSIGN(out.time, from_us(in.time_us()));
  }
  return out;
}

// The open transactions' works are listed behind those of the commits.
void encode_open(const WalPart& part, pb::WalIndex& out) {
  std::vector<TransactionWork> works(part.works);
  Steps<uint32_t> xid;
  for (const auto& [id, work] : part.open) {
    out.add_open_xid_step(static_cast<uint32_t>(xid.step(id)));
    out.add_open_work(static_cast<uint32_t>(works.size()));
    works.push_back(work);
  }
  encode_works(works, *out.mutable_works());
}

Result<> decode_open(const pb::WalIndex& in, WalPart& out) {
  if (in.open_xid_step_size() != in.open_work_size()) return damaged("columns of different lengths");
  Steps<uint32_t> xid;
  for (int i = 0; i < in.open_work_size(); ++i) {
    if (in.open_work(i) >= out.works.size()) return damaged("work that is not there");
    const uint32_t id = xid.add(in.open_xid_step(i));
    if (i > 0 && id <= out.open.back().first) return damaged("transactions are not in order");
    out.open.emplace_back(id, out.works[in.open_work(i)]);
  }
  // What only they refer to is theirs now.
  if (in.open_work_size() > 0 &&
      in.open_work(0) + uint64_t{static_cast<uint32_t>(in.open_work_size())} == out.works.size())
    out.works.resize(std::max<size_t>(in.open_work(0), 1));
  return {};
}

}  // namespace

void encode_part(const WalPart& part, pb::WalIndex& out) {
  encode_changes(part.changes, *out.mutable_changes());
  encode_open(part, out);
  encode_commits(part, *out.mutable_commits());
  Steps<uint32_t> ended;
  for (const uint32_t id : part.ended) out.add_ended_step(static_cast<uint32_t>(ended.step(id)));
  for (const WalEvent& event : part.events) encode_event(event, *out.add_events());
  out.set_events_left_out(part.events_left_out);
  if (part.next_xid) out.set_next_xid(*part.next_xid);
  if (part.oldest_running) out.set_oldest_running(*part.oldest_running);
  if (part.lost_before) out.set_lost_before(*part.lost_before);
}

Result<> decode_part(const pb::WalIndex& in, uint64_t most_blocks, WalPart& out) {
  TRY_OK(ChangesDecoder(in.changes(), most_blocks, out.changes).run());
  TRY_OK(decode_works(in.works(), out.works));
  TRY_OK(decode_open(in, out));
  TRY_OK(decode_commits(in.commits(), out));
  Steps<uint32_t> ended;
  for (const uint32_t step : in.ended_step()) {
    const uint32_t id = ended.add(step);
    if (!out.ended.empty() && id <= out.ended.back()) return damaged("transactions are not in order");
    out.ended.push_back(id);
  }
  for (const auto& event : in.events()) {
    TRY_ASSIGN(WalEvent decoded, decode_event(event));
    if (!out.events.empty() && decoded.lsn < out.events.back().lsn) return damaged("events are not in order");
    out.events.push_back(std::move(decoded));
  }
  out.events_left_out = in.events_left_out();
  if (in.has_next_xid()) out.next_xid = in.next_xid();
  if (in.has_oldest_running()) out.oldest_running = in.oldest_running();
  if (in.has_lost_before()) out.lost_before = in.lost_before();
  return {};
}

}  // namespace varve::engine::postgres
