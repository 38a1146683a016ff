#include <algorithm>
#include <fmt/format.h>
#include <set>

#include "backup/sqlite/log_replay.h"
#include "backup/sqlite/work.h"
#include "base/text.h"

namespace varve::backup::sqlite {

namespace {

std::string txn_position(uint64_t txn) {
  return fmt::format("txn:{}", txn);
}

class Teller {
 public:
  Teller(repo::RepositoryPtr repo, const Context& ctx, const SourceState& state, const HistoryQuery& query,
         const std::function<Result<>(const engine::Event&)>& callback)
      : repo_(std::move(repo)),
        ctx_(ctx),
        state_(state),
        query_(query),
        callback_(callback),
        table_(to_lower(query.table)) {
    std::set<std::string> databases;
    for (const repo::Manifest& m : state.backups.manifests) {
      auto data = db::decode_capture_data(m.engine_data);
      if (!data) continue;
      for (const auto& database : data->databases) databases.insert(database.name);
    }
    several_ = databases.size() > 1;
  }

  Result<> tell() {
    const EpochLog* before = nullptr;
    for (const EpochLog* log : by_txn()) {
      if (log->pieces.empty() && !base_of(*log)) continue;
      TRY_OK(epoch(*log, before != nullptr));
      before = log;
    }
    return {};
  }

 private:
  // The backup that the epoch's log begins at.
  const repo::Manifest* base_of(const EpochLog& log) const {
    const repo::Manifest* base = nullptr;
    for (const repo::Manifest& m : state_.backups.manifests) {
      if (m.epoch != log.epoch || !anchor_of(m)) continue;
      if (!base || *anchor_of(m) < *anchor_of(*base)) base = &m;
    }
    return base;
  }

  // Transactions are numbered through all epochs of a source; epochs' names are of one second's precision
  // only.
  std::vector<const EpochLog*> by_txn() const {
    std::vector<std::pair<uint64_t, const EpochLog*>> order;
    for (const EpochLog& log : state_.epochs) {
      const repo::Manifest* base = base_of(log);
      uint64_t first = base ? *anchor_of(*base) : UINT64_MAX;
      if (!log.pieces.empty()) first = std::min(first, log.pieces.front().first);
      order.emplace_back(first, &log);
    }
    std::stable_sort(order.begin(), order.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    std::vector<const EpochLog*> out;
    for (const auto& [first, log] : order) out.push_back(log);
    return out;
  }

  Result<> epoch(const EpochLog& log, bool continuity_was_lost) {
    const std::vector<PieceName> pieces = commit_pieces(log);
    const repo::Manifest* base = base_of(log);
    if (base && continuity_was_lost) {
      const uint64_t txn = *anchor_of(*base);
      // A backup that took part in the log is no break in it.
      const bool is_commit = std::any_of(pieces.begin(), pieces.end(),
                                         [&](const PieceName& p) { return p.first <= txn && txn <= p.last; });
      if (!is_commit) TRY_OK(emit({base->moment, txn_position(txn), std::to_string(txn), "base", "", {}}));
    }
    size_t i = 0;
    if (query_.since) {
      TRY_ASSIGN(i, first_piece_after(repo_, ctx_, pieces, *query_.since - std::chrono::microseconds(1)));
    }
    uint64_t expected = i < pieces.size() ? pieces[i].first : 0;
    for (; i < pieces.size(); ++i) {
      TRY_OK(ctx_.check());
      TRY_ASSIGN(const OpenPiece open, open_piece(repo_, ctx_, pieces[i]));
      if (query_.until && open.set.first_time > *query_.until) return {};
      const bool unknown = open.set.merged;  // its commits are gone; only their sum is left
      if (pieces[i].first > expected || unknown) {
        const Timestamp time = unknown ? open.set.last_time : open.set.first_time;
        TRY_OK(emit({time, txn_position(expected), std::to_string(expected), "gap", "", {}}));
      }
      if (!unknown) TRY_OK(commits(open.set));
      expected = pieces[i].last + 1;
    }
    return {};
  }

  Result<> commits(const db::PageSet& set) {
    const bool several = several_ || set.databases.size() > 1;
    for (const db::Commit& c : set.commits) {
      engine::Event event{c.time, txn_position(c.txn), std::to_string(c.txn), "commit", "", {}};
      if (c.changes.empty() && table_.empty()) TRY_OK(emit(event));
      for (const db::TableChange& change : c.changes) {
        const std::string full = set.databases[c.database].name + ":" + change.table;
        if (!table_.empty() && to_lower(change.table) != table_ && to_lower(full) != table_) continue;
        event.kind = change.kind;
        event.table = several ? full : change.table;
        event.rows = change.rows;
        TRY_OK(emit(event));
      }
    }
    return {};
  }

  // What concerns every table passes the filter by table: a break in the log may hide changes of any.
  Result<> emit(const engine::Event& event) {
    if (query_.since && event.time < *query_.since) return {};
    if (query_.until && event.time > *query_.until) return {};
    return callback_(event);
  }

  const repo::RepositoryPtr repo_;
  const Context& ctx_;
  const SourceState& state_;
  const HistoryQuery& query_;
  const std::function<Result<>(const engine::Event&)>& callback_;
  const std::string table_;
  bool several_ = false;
};

}  // namespace

Result<> for_each_event(const repo::RepositoryPtr& repo, const Context& ctx, const SourceState& state,
                        const HistoryQuery& query,
                        const std::function<Result<>(const engine::Event&)>& callback) {
  return Teller(repo, ctx, state, query, callback).tell();
}

}  // namespace varve::backup::sqlite
