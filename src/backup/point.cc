#include "backup/point.h"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>
#include <map>

#include "backup/log_replay.h"
#include "base/text.h"
#include "repo/hold.h"
#include "repo/lease.h"

namespace varve::backup {
namespace {

constexpr auto kPointHint =
    "latest, end, a time with a zone (2026-11-23T14:32:05Z), \"5 minutes ago\", txn:42 or before:42";

Result<uint64_t> parse_txn(std::string_view digits, const std::string& whole) {
  uint64_t n = 0;
  const auto [end, failed] = std::from_chars(digits.data(), digits.data() + digits.size(), n);
  if (failed != std::errc() || end != digits.data() + digits.size() || digits.empty())
    return fail(Code::kUsage, fmt::format("{}: is no transaction number", whole), kPointHint);
  return n;
}

// Adds one object of the log to its epoch.
struct LogObjects {
  std::map<std::string, EpochLog> epochs;
  std::map<std::string, std::string> marks;  // epoch → newest mark's key
};

Result<LogObjects> list_log(const repo::Repository& repo, const Context& ctx, const std::string& source) {
  LogObjects out;
  const std::string prefix = repo::log_prefix(source);
  TRY_OK(store::for_each(repo.store(), ctx, prefix, [&](const store::ObjectInfo& o) -> Result<> {
    const std::string rest = o.key.substr(prefix.size());
    const size_t slash = rest.find('/');
    if (slash == std::string::npos) return {};
    const std::string epoch = rest.substr(0, slash);
    if (auto name = repo::parse_log_name(repo::last_segment(o.key))) {
      out.epochs[epoch].pieces.push_back({o.key, name->first, name->last, o.size});
    } else {
      out.marks[epoch] = o.key;  // listed ascending: the last is the newest
    }
    return {};
  }));
  for (auto& [name, log] : out.epochs) {
    log.epoch = name;
    std::sort(log.pieces.begin(), log.pieces.end(), [](const PieceName& a, const PieceName& b) {
      return a.first != b.first ? a.first < b.first : a.last > b.last;
    });
  }
  return out;
}

// The backups from which an epoch's log can be replayed, ascending by txn.
std::vector<const repo::Manifest*> bases_of(const SourceState& state, const std::string& epoch) {
  std::vector<const repo::Manifest*> out;
  for (const repo::Manifest& m : state.backups.manifests) {
    if (m.epoch == epoch && anchor_of(m)) out.push_back(&m);
  }
  std::sort(out.begin(), out.end(),
            [](const auto* a, const auto* b) { return *anchor_of(*a) < *anchor_of(*b); });
  return out;
}

// How far the pieces lead from a base without a gap.
uint64_t contiguous_end(const std::vector<PieceName>& pieces, uint64_t from) {
  uint64_t last = from;
  for (const PieceName& p : pieces) {
    if (p.first > last + 1) break;
    last = std::max(last, p.last);
  }
  return last;
}

Result<Timestamp> covered_until(repo::RepositoryPtr repo, const Context& ctx, const EpochLog& log,
                                uint64_t last_txn, const std::string& mark, Timestamp base) {
  Timestamp out = base;
  for (auto p = log.pieces.rbegin(); p != log.pieces.rend(); ++p) {
    if (p->last > last_txn) continue;
    auto piece = repo::LogPiece::open(repo, ctx, p->key, p->size);
    // Asked for, a damaged piece is refused by name; it must not hide the moments before it.
    if (!piece && piece.error().code == Code::kDamaged) continue;
    if (!piece) return fail(piece.error());
    out = std::max(out, piece->head().last_time);
    break;
  }
  if (!mark.empty()) {
    // A mark that cannot be read, or was replaced by a newer one just now, costs only what it would have
    // added.
    if (auto m = repo::load_log_mark(*repo, ctx, mark); m && m->last == last_txn)
      out = std::max(out, m->covered_until);
  }
  return out;
}

// One window from each base that the log before it does not lead to: behind a gap, the next base begins anew.
Result<> find_windows(repo::RepositoryPtr repo, const Context& ctx,
                      const std::vector<const repo::Manifest*>& bases, const std::string& mark, EpochLog& log,
                      std::vector<Window>& windows) {
  for (size_t b = 0; b < bases.size();) {
    const uint64_t from = *anchor_of(*bases[b]);
    log.last_txn = contiguous_end(log.pieces, from);
    TRY_ASSIGN(log.covered_until, covered_until(repo, ctx, log, log.last_txn, mark, bases[b]->moment));
    windows.push_back({bases[b]->moment, log.covered_until, log.epoch, from, log.last_txn, false});
    while (b < bases.size() && *anchor_of(*bases[b]) <= log.last_txn) ++b;
    const bool beyond =
        b < bases.size() || (!log.pieces.empty() && log.pieces.back().first > log.last_txn + 1);
    if (beyond && !log.gap) log.gap_after = log.last_txn;
    log.gap = log.gap || beyond;
  }
  return {};
}

std::string describe(Timestamp t) {
  return to_rfc3339(t);
}

// The nearest recoverable moments on both sides, as a person can type them.
std::string nearest_hint(const SourceState& state, Timestamp asked) {
  std::optional<Timestamp> before, after;
  for (const Window& w : state.windows) {
    if (w.to <= asked && (!before || w.to > *before)) before = w.to;
    if (w.from >= asked && (!after || w.from < *after)) after = w.from;
  }
  std::string out = "the nearest recoverable moments are";
  if (before) out += " " + describe(*before);
  if (before && after) out += " and";
  if (after) out += " " + describe(*after);
  return before || after ? out + "; `varve list` shows all" : "nothing of this source can be recovered yet";
}

}  // namespace

Result<Point> parse_point(const std::string& text, Timestamp reference) {
  Point p;
  p.text = text;
  if (text.empty() || text == "latest") return p;
  if (text == "end") {
    p.kind = Point::Kind::kEnd;
    return p;
  }
  if (text.starts_with("txn:") || text.starts_with("before:")) {
    const size_t colon = text.find(':');
    p.kind = text.starts_with("txn:") ? Point::Kind::kTxn : Point::Kind::kBeforeTxn;
    TRY_ASSIGN(p.txn, parse_txn(std::string_view(text).substr(colon + 1), text));
    return p;
  }
  for (const char* other : {"lsn:", "xid:", "gtid:", "name:"}) {
    if (text.starts_with(other))
      return fail(Code::kUsage, fmt::format("{}: SQLite has no such point", text), kPointHint);
  }
  auto t = parse_moment(text, reference);
  if (!t) return fail(Code::kUsage, fmt::format("{}: is no moment that can be asked for", text), kPointHint);
  p.kind = Point::Kind::kTime;
  p.time = *t;
  return p;
}

Result<SourceState> load_source(const repo::Repository& repo, const Context& ctx, const std::string& source) {
  // Pieces are opened through a pointer that shares nothing but the store: the caller keeps the repository
  // alive.
  const repo::RepositoryPtr shared(repo::RepositoryPtr(), const_cast<repo::Repository*>(&repo));
  SourceState state;
  state.source = source;
  TRY_ASSIGN(LogObjects objects, list_log(repo, ctx, source));
  TRY_ASSIGN(state.backups, repo::load_manifests(repo, ctx, source));
  TRY_ASSIGN(auto holds, repo::list_holds(repo, ctx, source));
  for (const auto& h : holds) state.held.push_back(h.backup);
  auto lease = repo::current_lease(repo, ctx, source);
  // One that cannot be read costs the knowledge whether a follower is at work, nothing else.
  if (!lease && lease.error().code != Code::kDamaged) return fail(lease.error());

  for (const repo::Manifest& m : state.backups.manifests) {
    if (anchor_of(m)) objects.epochs[m.epoch].epoch = m.epoch;
  }
  for (auto& [name, log] : objects.epochs) {
    const auto bases = bases_of(state, name);
    TRY_OK(find_windows(shared, ctx, bases, objects.marks[name], log, state.windows));
    state.epochs.push_back(log);
  }
  if (!state.windows.empty()) state.windows.back().live = lease && *lease && repo::is_live(**lease, now());
  for (const repo::Manifest& m : state.backups.manifests) {
    if (!anchor_of(m)) state.windows.push_back({m.moment, m.moment, "", 0, 0, false});
  }
  std::sort(state.windows.begin(), state.windows.end(),
            [](const Window& a, const Window& b) { return a.from < b.from; });
  return state;
}

namespace {

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
    if (!base || base->moment > time) return not_recoverable(describe(time), time);
    const auto singles = commit_pieces(log);
    TRY_ASSIGN(size_t i, first_piece_after(repo_, ctx_, singles, time));
    uint64_t txn = *anchor_of(*base);
    if (i > 0) txn = std::max(txn, singles[i - 1].last);
    if (i < singles.size()) {
      TRY_ASSIGN(OpenPiece piece, open_piece(repo_, ctx_, singles[i]));
      for (const auto& c : piece.set.commits) {
        if (c.time <= time && !piece.set.merged) txn = std::max(txn, c.txn);
      }
    }
    return at_txn(log, std::min(txn, log.last_txn), time, base);
  }

  tl::unexpected<Error> not_recoverable(const std::string& what, Timestamp near) const {
    return fail(Code::kIncomplete, fmt::format("{}: {} cannot be recovered", state_.source, what),
                nearest_hint(state_, near));
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
  if (log && (anchor_of(*newest) || newest->moment <= log->to))
    return finder.at_txn(*finder.epoch(log->epoch), log->last_txn, log->to, nullptr);
  return finder.of_backup(*newest);
}

}  // namespace

Result<Target> find_target(const repo::Repository& repo, const Context& ctx, const SourceState& state,
                           const Point& point, const std::optional<std::string>& backup) {
  const repo::RepositoryPtr shared(repo::RepositoryPtr(), const_cast<repo::Repository*>(&repo));
  const TargetFinder finder(shared, ctx, state);
  const repo::Manifest* forced = nullptr;
  if (backup) {
    for (const auto& bad : state.backups.unreadable) {
      if (repo::last_segment(bad.key) == *backup) return fail(bad.error);
    }
    std::vector<std::string> ids;
    for (const repo::Manifest& m : state.backups.manifests) {
      ids.push_back(m.id);
      if (m.id == *backup) forced = &m;
    }
    if (!forced) {
      const auto near = nearest(*backup, ids);
      return fail(Code::kNotFound, fmt::format("{} has no backup {}", state.source, *backup),
                  near.empty() ? "`varve list` shows them" : fmt::format("did you mean {}?", near.front()));
    }
  }
  if (state.backups.manifests.empty()) {
    if (!state.backups.unreadable.empty()) return fail(state.backups.unreadable.front().error);
    return fail(Code::kNotFound, fmt::format("there is no backup of {}", state.source),
                "`varve list` shows what there is");
  }

  switch (point.kind) {
    case Point::Kind::kEnd:
    case Point::Kind::kLatest:
      if (forced) return finder.of_backup(*forced);
      if (point.kind == Point::Kind::kEnd) return finder.of_backup(state.backups.manifests.back());
      return find_latest(finder, state);
    case Point::Kind::kTime: {
      // A fraction of a second beyond what is covered is what a person means by "now".
      constexpr auto kSlack = std::chrono::seconds(1);
      const Window* best = nullptr;
      for (const Window& w : state.windows) {
        if (w.from <= point.time && point.time <= w.to + (w.epoch.empty() ? Seconds(0) : kSlack) &&
            (!forced || w.epoch == forced->epoch))
          best = &w;
      }
      if (!best) return finder.not_recoverable(describe(point.time), point.time);
      if (!best->epoch.empty()) return finder.at_time(*finder.epoch(best->epoch), point.time, forced);
      for (const repo::Manifest& m : state.backups.manifests) {
        if (m.moment == best->from && !anchor_of(m)) return finder.of_backup(m);
      }
      return finder.not_recoverable(describe(point.time), point.time);
    }
    case Point::Kind::kTxn:
    case Point::Kind::kBeforeTxn: {
      if (point.kind == Point::Kind::kBeforeTxn && point.txn == 0)
        return fail(Code::kUsage, "before:0: there is nothing before the first transaction");
      const uint64_t txn = point.kind == Point::Kind::kTxn ? point.txn : point.txn - 1;
      const Window* best = nullptr;
      for (const Window& w : state.windows) {
        if (!w.epoch.empty() && w.first_txn <= txn && txn <= w.last_txn &&
            (!forced || w.epoch == forced->epoch))
          best = &w;
      }
      if (best) return finder.at_txn(*finder.epoch(best->epoch), txn, best->from, forced);
      std::string have;
      for (const Window& w : state.windows) {
        if (!w.epoch.empty())
          have += fmt::format("{}txn:{} to txn:{}", have.empty() ? "" : ", ", w.first_txn, w.last_txn);
      }
      return fail(Code::kIncomplete, fmt::format("{}: txn:{} cannot be recovered", state.source, txn),
                  have.empty() ? "no log was followed; `varve log follow` makes every commit recoverable"
                               : "recoverable are " + have);
    }
  }
  return fail(Code::kInternal, "an unknown kind of point");
}

}  // namespace varve::backup
