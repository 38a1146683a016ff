// What a repository holds of one source: the log's objects by their names, and the stretches they cover.
#include <algorithm>
#include <map>

#include "backup/log_replay.h"
#include "repo/hold.h"
#include "repo/lease.h"

namespace varve::backup {
namespace {

// What there is of each epoch, by the names of its objects.
Result<std::map<std::string, EpochLog>> list_log(const repo::Repository& repo, const Context& ctx,
                                                 const std::string& source) {
  std::map<std::string, EpochLog> out;
  const std::string prefix = repo::log_prefix(source);
  TRY_OK(store::for_each(repo.store(), ctx, prefix, [&](const store::ObjectInfo& o) -> Result<> {
    const std::string rest = o.key.substr(prefix.size());
    const size_t slash = rest.find('/');
    if (slash == std::string::npos) return {};
    const std::string epoch = rest.substr(0, slash);
    if (auto name = repo::parse_log_name(repo::last_segment(o.key))) {
      out[epoch].pieces.push_back({o.key, name->first, name->last, o.size});
    } else if (repo::last_segment(o.key).starts_with("mark-")) {
      out[epoch].mark = o.key;  // listed ascending: the last is the newest
    }
    return {};
  }));
  for (auto& [name, log] : out) {
    log.epoch = name;
    std::sort(log.pieces.begin(), log.pieces.end(), [](const PieceName& a, const PieceName& b) {
      return a.first != b.first ? a.first < b.first : a.last > b.last;
    });
  }
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
                                uint64_t last_txn, const std::optional<repo::LogMark>& mark, Timestamp base) {
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
  if (mark && mark->last == last_txn) out = std::max(out, mark->covered_until);
  return out;
}

// The stretch, but for the moments of which nobody knows.
void add_windows(const Window& whole, const std::vector<repo::LogMark::Unseen>& unseen,
                 std::vector<Window>& windows) {
  Window rest = whole;
  for (const auto& gap : unseen) {
    if (gap.to <= rest.from || gap.from >= rest.to) continue;
    if (gap.from >= rest.from) {
      windows.push_back(rest);
      windows.back().to = gap.from;
    }
    rest.from = std::min(gap.to, rest.to);
  }
  windows.push_back(rest);
}

// One window from each base that the log before it does not lead to: behind a gap, the next base begins anew.
Result<> find_windows(repo::RepositoryPtr repo, const Context& ctx,
                      const std::vector<const repo::Manifest*>& bases, EpochLog& log,
                      std::vector<Window>& windows) {
  std::optional<repo::LogMark> mark;
  if (!log.mark.empty()) {
    // One that cannot be read, or was replaced by a newer one just now, costs only what it would have added:
    // a restore to a moment looks into the pieces.
    if (auto m = repo::load_log_mark(*repo, ctx, log.mark)) mark = *std::move(m);
    if (mark) log.unseen = mark->unseen;
  }
  for (size_t b = 0; b < bases.size();) {
    const uint64_t from = *anchor_of(*bases[b]);
    log.last_txn = contiguous_end(log.pieces, from);
    TRY_ASSIGN(log.covered_until, covered_until(repo, ctx, log, log.last_txn, mark, bases[b]->moment));
    add_windows({bases[b]->moment, log.covered_until, log.epoch, from, log.last_txn, false}, log.unseen,
                windows);
    while (b < bases.size() && *anchor_of(*bases[b]) <= log.last_txn) ++b;
    const bool beyond = b < bases.size() ||
                        (!log.pieces.empty() && log.pieces.back().first > log.last_txn + 1) ||
                        (mark && mark->last > log.last_txn);
    if (beyond && !log.gap) log.gap_after = log.last_txn;
    log.gap = log.gap || beyond;
    log.lost_end = beyond && b == bases.size();
  }
  return {};
}

}  // namespace

Result<SourceState> load_source(const repo::Repository& repo, const Context& ctx, const std::string& source) {
  // Pieces are opened through a pointer that shares nothing but the store: the caller keeps the repository
  // alive.
  const repo::RepositoryPtr shared(repo::RepositoryPtr(), const_cast<repo::Repository*>(&repo));
  SourceState state;
  state.source = source;
  TRY_ASSIGN(auto epochs, list_log(repo, ctx, source));
  TRY_ASSIGN(state.backups, repo::load_manifests(repo, ctx, source));
  TRY_ASSIGN(auto holds, repo::list_holds(repo, ctx, source));
  for (const auto& h : holds) state.held.push_back(h.backup);
  auto lease = repo::current_lease(repo, ctx, source);
  // One that cannot be read costs the knowledge whether a follower is at work, nothing else.
  if (!lease && lease.error().code != Code::kDamaged) return fail(lease.error());

  for (const repo::Manifest& m : state.backups.manifests) {
    if (anchor_of(m)) epochs[m.epoch].epoch = m.epoch;
  }
  for (auto& [name, log] : epochs) {
    const auto bases = bases_of(state, name);
    std::vector<Window> windows;
    TRY_OK(find_windows(shared, ctx, bases, log, windows));
    if (log.gap) {
      // A listing takes its time: a piece that came meanwhile may be missing in it, and the mark that came
      // after the piece be there.
      TRY_ASSIGN(auto again, list_log(repo, ctx, source));
      EpochLog newer = std::move(again[name]);
      newer.epoch = name;
      windows.clear();
      TRY_OK(find_windows(shared, ctx, bases, newer, windows));
      log = std::move(newer);
    }
    state.windows.insert(state.windows.end(), windows.begin(), windows.end());
    state.epochs.push_back(std::move(log));
  }
  if (!state.windows.empty()) state.windows.back().live = lease && *lease && repo::is_live(**lease, now());
  for (const repo::Manifest& m : state.backups.manifests) {
    if (!anchor_of(m)) state.windows.push_back({m.moment, m.moment, "", 0, 0, false});
  }
  std::sort(state.windows.begin(), state.windows.end(),
            [](const Window& a, const Window& b) { return a.from < b.from; });
  return state;
}

}  // namespace varve::backup
