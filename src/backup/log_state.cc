// What a repository holds of one source: the log's objects by their names, and the stretches they cover.
#include "backup/log_state.h"

#include <algorithm>
#include <fmt/format.h>

#include "backup/engines.h"
#include "base/text.h"
#include "repo/hold.h"
#include "repo/lease.h"

namespace varve::backup {
namespace {

// As text, of the engine whose pieces these are.
std::string position_in(const std::vector<PieceName>& pieces, uint64_t number) {
  if (pieces.empty()) return std::to_string(number);
  const std::string_view key = pieces.front().key;
  const std::string_view folder = key.substr(0, key.rfind('/'));
  return position_text(repo::last_segment(folder), number);
}

tl::unexpected<Error> refuse_unreadable(const repo::UnreadableManifest& bad) {
  Error error = bad.error;
  if (error.hint.empty()) error.hint = "`varve verify` tells what is damaged and what is still restorable";
  return fail(std::move(error));
}

Result<Timestamp> covered_until(repo::RepositoryPtr repo, const Context& ctx, const EpochLog& log,
                                uint64_t last, const std::optional<repo::LogMark>& mark, Timestamp base) {
  Timestamp out = base;
  for (auto p = log.pieces.rbegin(); p != log.pieces.rend(); ++p) {
    if (p->last > last) continue;
    auto piece = repo::LogPiece::open(repo, ctx, p->key, p->size);
    // Asked for, a damaged piece is refused by name; it must not hide the moments before it.
    // One that is gone was joined with others.
    if (!piece && (piece.error().code == Code::kDamaged || piece.error().code == Code::kNotFound)) continue;
    if (!piece) return fail(piece.error());
    out = std::max(out, piece->head().last_time);
    if (piece->head().last_time > Timestamp{}) break;  // what no commit is in tells no time
  }
  // Another may have shipped more of the log since the mark.
  if (mark && mark->last <= last) out = std::max(out, mark->covered_until);
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
    const auto anchor = *place_of(*bases[b]);
    log.last = contiguous_end(log.pieces, anchor.after);
    TRY_ASSIGN(log.covered_until, covered_until(repo, ctx, log, log.last, mark, bases[b]->moment));
    // The log may have lost what leads to the backup's own first state.
    const bool whole = log.last >= anchor.first_state;
    if (whole)
      add_windows({bases[b]->moment, log.covered_until, log.epoch, anchor.first_state, log.last, false},
                  log.unseen, windows);
    ++b;
    while (b < bases.size() && *anchor_of(*bases[b]) <= log.last) ++b;
    const bool beyond = !whole || b < bases.size() ||
                        (!log.pieces.empty() && log.pieces.back().first > log.last + 1) ||
                        (mark && mark->last > log.last);
    if (beyond && !log.gap) log.gap_after = log.last;
    log.gap = log.gap || beyond;
    log.lost_end = beyond && b == bases.size();
  }
  return {};
}

// The epochs that one engine knows to read, as it joins them; others by themselves.
Result<std::vector<Engine::View>> views_of(const repo::RepositoryPtr& repo, const Context& ctx,
                                           const std::map<std::string, EpochLog>& epochs,
                                           const SourceState& state) {
  std::vector<Engine::View> out;
  for (const Engine* engine : engines()) {
    std::map<std::string, EpochLog> own;
    for (const auto& [name, log] : epochs) {
      if (engine_of_epoch(name) == engine) own.emplace(name, log);
    }
    if (own.empty()) continue;
    TRY_ASSIGN(auto views, engine->views(repo, ctx, own, state.backups.manifests));
    std::move(views.begin(), views.end(), std::back_inserter(out));
  }
  return out;
}

struct Found {
  std::map<std::string, EpochLog>
      logs;  // what find_windows() found of each epoch, with the pieces of its view
  std::vector<Window> windows;
};
Result<Found> find_all(const repo::RepositoryPtr& repo, const Context& ctx,
                       const std::map<std::string, EpochLog>& epochs, const SourceState& state) {
  Found out;
  TRY_ASSIGN(auto views, views_of(repo, ctx, epochs, state));
  for (Engine::View& view : views) {
    TRY_OK(find_windows(repo, ctx, view.bases, view.log, out.windows));
    const std::string name = view.log.epoch;
    out.logs.emplace(name, std::move(view.log));
  }
  return out;
}

Result<> add_logs(const repo::RepositoryPtr& repo, const Context& ctx, std::map<std::string, EpochLog> epochs,
                  SourceState& state) {
  TRY_ASSIGN(Found found, find_all(repo, ctx, epochs, state));
  if (std::any_of(found.logs.begin(), found.logs.end(), [](const auto& l) { return l.second.gap; })) {
    // A listing takes its time: a piece that came meanwhile may be missing in it, and the mark that came
    // after the piece be there.
    TRY_ASSIGN(auto again, list_log(*repo, ctx, state.source));
    for (const auto& [name, log] : epochs) again[name].epoch = name;
    epochs = std::move(again);
    TRY_ASSIGN(found, find_all(repo, ctx, epochs, state));
  }
  state.windows = std::move(found.windows);
  for (auto& [name, log] : epochs) {
    if (const auto at = found.logs.find(name); at != found.logs.end()) {
      at->second.pieces = std::move(log.pieces);
      log = std::move(at->second);
    }
    state.epochs.push_back(std::move(log));
  }
  return {};
}

}  // namespace

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

Result<SourceState> load_source(const repo::Repository& repo, const Context& ctx, const std::string& source) {
  // Pieces are opened through a pointer that shares nothing but the store: the caller keeps the repository
  // alive.
  const repo::RepositoryPtr shared(repo::RepositoryPtr(), const_cast<repo::Repository*>(&repo));
  SourceState state;
  state.source = source;
  TRY_ASSIGN(auto epochs, list_log(repo, ctx, source));
  TRY_ASSIGN(state.backups, repo::load_manifests(repo, ctx, source));
  if (!state.backups.manifests.empty()) state.engine = state.backups.manifests.back().engine;
  TRY_ASSIGN(auto holds, repo::list_holds(repo, ctx, source));
  for (const auto& h : holds) state.held.push_back(h.backup);
  auto lease = repo::current_lease(repo, ctx, source);
  // One that cannot be read costs the knowledge whether a follower is at work, nothing else.
  if (!lease && lease.error().code != Code::kDamaged) return fail(lease.error());

  for (const repo::Manifest& m : state.backups.manifests) {
    if (anchor_of(m)) epochs[m.epoch].epoch = m.epoch;
  }
  TRY_OK(add_logs(shared, ctx, epochs, state));
  if (!state.windows.empty()) state.windows.back().live = lease && *lease && repo::is_live(**lease, now());
  for (const repo::Manifest& m : state.backups.manifests) {
    if (!anchor_of(m)) state.windows.push_back({m.moment, m.moment, "", 0, 0, false});
  }
  std::sort(state.windows.begin(), state.windows.end(),
            [](const Window& a, const Window& b) { return a.from < b.from; });
  return state;
}

uint64_t contiguous_end(const std::vector<PieceName>& pieces, uint64_t from) {
  uint64_t last = from;
  for (const PieceName& p : pieces) {
    if (p.first > last + 1) break;
    last = std::max(last, p.last);
  }
  return last;
}

std::string nearest_moments(const SourceState& state, Timestamp asked) {
  std::optional<Timestamp> before, after;
  for (const Window& w : state.windows) {
    if (w.to <= asked && (!before || w.to > *before)) before = w.to;
    if (w.from >= asked && (!after || w.from < *after)) after = w.from;
  }
  std::string out =
      before && after ? "the nearest recoverable moments are" : "the nearest recoverable moment is";
  if (before) out += " " + to_rfc3339(*before);
  if (before && after) out += " and";
  if (after) out += " " + to_rfc3339(*after);
  return before || after ? out + "; `varve list` shows all" : "nothing of this source can be recovered yet";
}

std::string position_text(std::string_view epoch, uint64_t number) {
  const Engine* engine = engine_of_epoch(epoch);
  return engine ? engine->position(number) : std::to_string(number);
}

std::optional<uint64_t> anchor_of(const repo::Manifest& m) {
  const auto place = place_of(m);
  return place ? std::optional(place->after) : std::nullopt;
}

std::vector<const repo::Manifest*> bases_of(const SourceState& state, const std::string& epoch) {
  std::vector<const repo::Manifest*> out;
  for (const repo::Manifest& m : state.backups.manifests) {
    if (m.epoch == epoch && anchor_of(m)) out.push_back(&m);
  }
  std::sort(out.begin(), out.end(),
            [](const auto* a, const auto* b) { return *anchor_of(*a) < *anchor_of(*b); });
  return out;
}

Result<const repo::Manifest*> find_backup(const SourceState& state, const std::string& id) {
  for (const auto& bad : state.backups.unreadable) {
    if (repo::last_segment(bad.key) == id) return refuse_unreadable(bad);
  }
  std::vector<std::string> ids;
  for (const repo::Manifest& m : state.backups.manifests) {
    if (m.id == id) return &m;
    ids.push_back(m.id);
  }
  const auto near = nearest(id, ids);
  return fail(Code::kNotFound, fmt::format("{} has no backup {}", state.source, id),
              near.empty() ? "`varve list` shows them" : fmt::format("did you mean {}?", near.front()));
}

Result<> ensure_backups(const SourceState& state) {
  if (!state.backups.manifests.empty()) return {};
  if (!state.backups.unreadable.empty()) return refuse_unreadable(state.backups.unreadable.front());
  return fail(Code::kNotFound, fmt::format("there is no backup of {}", state.source),
              "`varve list` shows what there is");
}

std::vector<PieceName> commit_pieces(const EpochLog& log) {
  // A merged piece stands beside the pieces it folds: whatever contains another is merged. Expiry may have
  // taken those at its beginning, so where it begins tells nothing.
  std::vector<PieceName> out;
  uint64_t shortest = UINT64_MAX;  // the first end of any piece that begins here or later
  for (auto p = log.pieces.rbegin(); p != log.pieces.rend(); ++p) {
    if (p->last < shortest) out.push_back(*p);
    shortest = std::min(shortest, p->last);
  }
  std::reverse(out.begin(), out.end());
  return out;
}

Result<size_t> first_piece_after(repo::RepositoryPtr repo, const Context& ctx,
                                 const std::vector<PieceName>& pieces, Timestamp time) {
  size_t low = 0, high = pieces.size();
  while (low < high) {
    const size_t middle = (low + high) / 2;
    TRY_ASSIGN(repo::LogPiece piece,
               repo::LogPiece::open(repo, ctx, pieces[middle].key, pieces[middle].size));
    if (piece.head().last_time > time) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}

Result<std::vector<PieceName>> path_through(const std::vector<PieceName>& pieces, uint64_t from,
                                            uint64_t to) {
  std::vector<PieceName> out;
  while (from < to) {
    const PieceName *whole = nullptr, *partial = nullptr;
    for (const PieceName& p : pieces) {
      if (p.first > from + 1) break;
      if (p.last <= from) continue;
      if (p.last <= to) {
        if (!whole || p.last > whole->last) whole = &p;
      } else if (!partial || p.last <= partial->last) {
        // The shortest that reaches beyond, of those that end alike the one that begins last, is never a
        // merged one where single commits are kept.
        partial = &p;
      }
    }
    const PieceName* next = whole ? whole : partial;
    if (!next)
      return fail(Code::kIncomplete, fmt::format("the log has a gap after {}", position_in(pieces, from)),
                  "`varve list` shows the moments that can be recovered");
    out.push_back(*next);
    from = next->last;
  }
  return out;
}

}  // namespace varve::backup
