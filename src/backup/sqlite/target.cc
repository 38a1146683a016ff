#include "backup/sqlite/target.h"

#include <algorithm>
#include <fmt/format.h>

#include "backup/sqlite/log_replay.h"
#include "base/text.h"

namespace varve::backup::sqlite {

namespace {

// A fraction of a second beyond what is covered is what a person means by "now".
constexpr auto kSlack = std::chrono::seconds(1);

// Chooses base and pieces for a state of one epoch.
class TargetFinder {
 public:
  TargetFinder(repo::RepositoryPtr repo, const Context& ctx, const SourceState& state)
      : repo_(std::move(repo)), ctx_(ctx), state_(state) {}

  Result<Target> of_backup(const repo::Manifest& m) const {
    Target t;
    t.base = m;
    t.moment = m.moment;
    t.position = m.stop_position;
    return t;
  }

  // The newest base that is not later than txn; then the log up to it.
  Result<Target> at_txn(const EpochLog& log, uint64_t txn, Timestamp at, const repo::Manifest* forced) const {
    const repo::Manifest* base = forced;
    if (!base) {
      for (const auto* m : bases_of(state_, log.epoch)) {
        if (*anchor_of(*m) <= txn) base = m;
      }
    }
    if (!base || *anchor_of(*base) > txn) return not_recoverable(fmt::format("txn:{}", txn), at);
    Target t;
    t.base = *base;
    const uint64_t from = *anchor_of(*base);
    TRY_ASSIGN(t.pieces, path_through(log.pieces, from, txn));
    t.until_txn = txn;
    t.moment = base->moment;
    t.position = fmt::format("txn:{}", txn);
    if (!t.pieces.empty()) {
      TRY_ASSIGN(OpenPiece last, open_piece(repo_, ctx_, t.pieces.back()));
      for (const auto& c : last.set.commits) {
        if (c.txn <= txn) t.moment = std::max(t.moment, c.time);
      }
    }
    return t;
  }

  // The last commit that is not later than `time`.
  Result<Target> at_time(const EpochLog& log, Timestamp time, const repo::Manifest* forced) const {
    const repo::Manifest* base = forced;
    for (const auto* m : bases_of(state_, log.epoch)) {
      if (!forced && m->moment <= time) base = m;
    }
    if (!base || base->moment > time) return not_recoverable(to_rfc3339(time), time);
    const auto singles = commit_pieces(log);
    TRY_ASSIGN(size_t i, first_piece_after(repo_, ctx_, singles, time));
    uint64_t txn = *anchor_of(*base);
    if (i > 0) txn = std::max(txn, singles[i - 1].last);
    if (i < singles.size()) {
      TRY_ASSIGN(OpenPiece piece, open_piece(repo_, ctx_, singles[i]));
      // The first commit seen after `time` is in this piece; was it made after it?
      for (const auto& gap : piece.set.unseen) {
        if (gap.from + kSlack < time && time < gap.to) return not_seen(gap, txn);
      }
      for (const auto& c : piece.set.commits) {
        if (c.time <= time && !piece.set.merged) txn = std::max(txn, c.txn);
      }
    }
    return at_txn(log, std::min(txn, log.last), time, base);
  }

  tl::unexpected<Error> not_seen(const db::Stretch& gap, uint64_t before) const {
    return fail(
        Code::kIncomplete,
        fmt::format("{}: what was committed between {} and {} was found afterwards, and when each commit was "
                    "made is not known",
                    state_.source, to_rfc3339(gap.from), to_rfc3339(gap.to)),
        fmt::format("choose one of these two moments, or a transaction after txn:{} by its number", before));
  }
  tl::unexpected<Error> not_recoverable(const std::string& what, Timestamp near) const {
    return fail(Code::kIncomplete, fmt::format("{}: {} cannot be recovered", state_.source, what),
                nearest_moments(state_, near));
  }

  const EpochLog* epoch(const std::string& name) const {
    for (const EpochLog& e : state_.epochs) {
      if (e.epoch == name) return &e;
    }
    return nullptr;
  }

 private:
  const repo::RepositoryPtr repo_;
  const Context& ctx_;
  const SourceState& state_;
};

enum class Of { kBackups, kBackupsAndLogs };

// The newest state must not be mistaken: what is lost or cannot be read may be newer than `newest`, up to
// which everything is known.
Result<> refuse_lost(const SourceState& state, Timestamp newest, Of of) {
  // A backup that cannot be read tells its time by its id, to the second.
  const std::string time = repo::id_time(newest);
  const auto newer = [&](std::string_view id) { return id.substr(0, time.size()) > time; };
  const auto refuse = [&](const std::string& what, const Error* cause) {
    Error e{
        Code::kDamaged, fmt::format("{}: {}; it may be newer than what can be restored", state.source, what),
        fmt::format("to take what there is, name its moment: --to {}; `varve verify` tells what is damaged",
                    to_rfc3339(newest))};
    if (cause) e.cause = std::make_shared<const Error>(*cause);
    return fail(std::move(e));
  };
  for (const auto& bad : state.backups.unreadable) {
    const auto id = repo::last_segment(bad.key);
    if (newer(id)) return refuse(fmt::format("backup {} cannot be read", id), &bad.error);
  }
  for (const EpochLog& log : state.epochs) {
    const auto bases = bases_of(state, log.epoch);
    if (bases.empty() && newer(log.epoch))
      return refuse(fmt::format("the base of the log {} is missing", log.epoch), nullptr);
    if (of == Of::kBackupsAndLogs && !bases.empty() && log.lost_end && log.covered_until >= newest)
      return refuse(fmt::format("the log has lost what came after txn:{}", log.last), nullptr);
  }
  return {};
}

// What is newest: the end of the newest log, or a backup that stands in none and is newer still.
Result<Target> find_latest(const TargetFinder& finder, const SourceState& state) {
  const Window* log = nullptr;
  for (const Window& w : state.windows) {
    if (!w.epoch.empty() && (!log || w.to >= log->to)) log = &w;
  }
  const repo::Manifest* newest = nullptr;
  for (const repo::Manifest& m : state.backups.manifests) {
    if (!newest || m.moment >= newest->moment) newest = &m;
  }
  const bool by_log = log && (anchor_of(*newest) || newest->moment <= log->to);
  TRY_OK(refuse_lost(state, by_log ? log->to : newest->moment, Of::kBackupsAndLogs));
  if (by_log) return finder.at_txn(*finder.epoch(log->epoch), log->last, log->to, nullptr);
  return finder.of_backup(*newest);
}

}  // namespace

Result<Target> find_target(const repo::RepositoryPtr& repo, const Context& ctx, const SourceState& state,
                           const Point& point, const std::optional<std::string>& backup) {
  const TargetFinder finder(repo, ctx, state);
  const repo::Manifest* forced = nullptr;
  if (backup) {
    TRY_ASSIGN(forced, find_backup(state, *backup));
  }
  TRY_OK(ensure_backups(state));

  switch (point.kind) {
    case Point::Kind::kEnd:
    case Point::Kind::kLatest:
      if (forced) return finder.of_backup(*forced);
      if (point.kind == Point::Kind::kEnd) {
        const repo::Manifest& last = state.backups.manifests.back();
        TRY_OK(refuse_lost(state, last.moment, Of::kBackups));  // a backup stands without its log
        return finder.of_backup(last);
      }
      return find_latest(finder, state);
    case Point::Kind::kTime: {
      const Window* best = nullptr;
      for (const Window& w : state.windows) {
        if (w.from <= point.time && point.time <= w.to + (w.epoch.empty() ? Seconds(0) : kSlack) &&
            (!forced || w.epoch == forced->epoch))
          best = &w;
      }
      if (!best) return finder.not_recoverable(to_rfc3339(point.time), point.time);
      if (!best->epoch.empty()) return finder.at_time(*finder.epoch(best->epoch), point.time, forced);
      for (const repo::Manifest& m : state.backups.manifests) {
        if (m.moment == best->from && !anchor_of(m)) return finder.of_backup(m);
      }
      return finder.not_recoverable(to_rfc3339(point.time), point.time);
    }
    case Point::Kind::kTxn:
    case Point::Kind::kBefore: {
      if (point.kind == Point::Kind::kBefore && point.number == 0)
        return fail(Code::kUsage, "before:0: there is nothing before the first transaction");
      const uint64_t txn = point.kind == Point::Kind::kTxn ? point.number : point.number - 1;
      const Window* best = nullptr;
      for (const Window& w : state.windows) {
        if (!w.epoch.empty() && w.first <= txn && txn <= w.last && (!forced || w.epoch == forced->epoch))
          best = &w;
      }
      if (best) return finder.at_txn(*finder.epoch(best->epoch), txn, best->from, forced);
      std::string have;
      const Window* told = nullptr;
      for (const Window& w : state.windows) {
        const bool again = told && told->epoch == w.epoch && told->first == w.first;
        if (!w.epoch.empty() && !again)
          have += fmt::format("{}txn:{} to txn:{}", have.empty() ? "" : ", ", w.first, w.last);
        told = &w;
      }
      return fail(Code::kIncomplete, fmt::format("{}: txn:{} cannot be recovered", state.source, txn),
                  have.empty() ? "no log was followed; `varve log follow` makes every commit recoverable"
                               : "recoverable are " + have);
    }
    case Point::Kind::kLsn:
    case Point::Kind::kXid:
    case Point::Kind::kName:
      return fail(Code::kUsage, fmt::format("{}: SQLite has no such point", point.text),
                  "latest, end, a time with a zone, \"5 minutes ago\", txn:42 or before:42");
  }
  return fail(Code::kInternal, "an unknown kind of point");
}

}  // namespace varve::backup::sqlite
