#include "backup/verify_log.h"

#include <algorithm>
#include <fmt/format.h>

#include "backup/engines.h"
#include "backup/verify_pack.h"

namespace varve::backup {
namespace {

// A set of positions, as stretches.
class Stretches {
 public:
  void add(uint64_t first, uint64_t last) {
    auto at = stretches_.upper_bound(first);
    if (at != stretches_.begin() && std::prev(at)->second + 1 >= first) {
      --at;
      first = at->first;
      last = std::max(last, at->second);
      at = stretches_.erase(at);
    }
    while (at != stretches_.end() && at->first <= last + 1) {
      last = std::max(last, at->second);
      at = stretches_.erase(at);
    }
    stretches_[first] = last;
  }
  // The lowest number in it that is not below `first` and below `end`.
  std::optional<uint64_t> lowest(uint64_t first, uint64_t end) const {
    auto at = stretches_.upper_bound(first);
    if (at != stretches_.begin() && std::prev(at)->second >= first)
      return first < end ? std::optional(first) : std::nullopt;
    if (at == stretches_.end() || at->first >= end) return std::nullopt;
    return at->first;
  }
  // What is missing between `first` and `last`, both included.
  std::vector<std::pair<uint64_t, uint64_t>> holes(uint64_t first, uint64_t last) const {
    std::vector<std::pair<uint64_t, uint64_t>> out;
    uint64_t next = first;
    for (const auto& [from, to] : stretches_) {
      if (to < next) continue;
      if (from > last) break;
      if (from > next) out.emplace_back(next, from - 1);
      next = to + 1;
    }
    if (next <= last) out.emplace_back(next, last);
    return out;
  }

 private:
  std::map<uint64_t, uint64_t> stretches_;  // first → last, apart by more than one
};

std::string position_text(const Engine* engine, uint64_t number) {
  return engine ? engine->position(number) : std::to_string(number);
}

std::string range_text(const Engine* engine, uint64_t first, uint64_t last) {
  const std::string from = position_text(engine, first);
  return first == last ? from : fmt::format("{} to {}", from, position_text(engine, last));
}

// "txn:3-9"
std::string stretch_text(const Engine* engine, uint64_t first, uint64_t last) {
  const std::string to = position_text(engine, last);
  return fmt::format("{}-{}", position_text(engine, first), to.substr(to.find(':') + 1));
}

// The pieces of which each position stands by itself.
std::vector<PieceName> single_pieces(const Engine* engine, const EpochLog& log) {
  return engine && !engine->folds() ? log.pieces : commit_pieces(log);
}

EpochLog names_of(const CheckedEpoch& epoch) {
  EpochLog log;
  for (const CheckedPiece& p : epoch.pieces) log.pieces.push_back(p.name);
  return log;
}

struct EpochSpan {
  uint64_t from = 0, to = 0;  // states that the log should lead to
};

EpochSpan span_of(const CheckedEpoch& epoch, const std::vector<CheckedBackup*>& bases) {
  EpochSpan span{*bases.front()->anchor, epoch.marked};
  for (const CheckedBackup* b : bases) span.to = std::max(span.to, b->first_state);
  for (const CheckedPiece& p : epoch.pieces) span.to = std::max(span.to, p.name.last);
  return span;
}

// Commits of which nobody has the single pieces.
std::vector<std::pair<uint64_t, uint64_t>> missing_commits(const Engine* engine, const CheckedEpoch& epoch,
                                                           const EpochSpan& span) {
  std::set<std::string> merged;
  for (const CheckedPiece& p : epoch.pieces) {
    if (p.merged) merged.insert(p.name.key);
  }
  Stretches there;
  for (const PieceName& p : single_pieces(engine, names_of(epoch))) {
    if (!merged.contains(p.key)) there.add(p.first, p.last);
  }
  return there.holes(span.from + 1, span.to);
}

// States that no base and no good pieces lead to.
std::vector<std::pair<uint64_t, uint64_t>> unreachable(const CheckedEpoch& epoch, const EpochSpan& span,
                                                       const std::vector<CheckedBackup*>& bases) {
  Stretches states;
  for (const CheckedBackup* b : bases) {
    if (b->problems.empty()) states.add(*b->anchor, *b->anchor);
  }
  std::vector<const CheckedPiece*> good;
  for (const CheckedPiece& p : epoch.pieces) {
    if (p.usable) good.push_back(&p);
  }
  std::sort(good.begin(), good.end(), [](const auto* a, const auto* b) {
    return a->name.last != b->name.last ? a->name.last < b->name.last : a->name.first > b->name.first;
  });
  for (const CheckedPiece* p : good) {
    const auto start = states.lowest(p->name.first - 1, p->name.last);
    if (start) states.add(p->merged ? p->name.last : *start, p->name.last);
  }
  return states.holes(span.from, span.to);
}

}  // namespace

Result<> LogChecker::look_first() {
  const std::string prefix = repo::log_prefix(source_);
  std::vector<std::string> marks;
  TRY_OK(store::for_each(repo_->store(), ctx_, prefix, [&](const store::ObjectInfo& o) -> Result<> {
    const size_t slash = o.key.find('/', prefix.size());
    if (slash == std::string::npos) return {};
    CheckedEpoch& epoch = epochs_[o.key.substr(prefix.size(), slash - prefix.size())];
    epoch.seen_before_manifests = true;
    if (repo::last_segment(o.key).starts_with("mark-")) marks.push_back(o.key);
    return {};
  }));
  for (const std::string& key : marks) TRY_OK(read_mark(key, marks));
  return {};
}

Result<> LogChecker::read_mark(const std::string& key, const std::vector<std::string>& all) {
  auto mark = repo::load_log_mark(*repo_, ctx_, key);
  if (mark) {
    uint64_t& marked = epochs_[mark->epoch].marked;
    marked = std::max(marked, mark->last);
    return {};
  }
  if (mark.error().code == Code::kNotFound) return {};  // replaced by a newer one
  TRY_ASSIGN(Damage d, sealed_damage(*repo_, ctx_, "log-mark", key, mark.error(), all));
  d.message += "; no commit is lost, but up to when the log is whole is not known";
  findings_.add(key, d);
  return {};
}

bool LogChecker::add(const store::ObjectInfo& o) {
  const std::string prefix = repo::log_prefix(source_);
  const size_t slash = o.key.find('/', prefix.size());
  if (slash == std::string::npos) return false;
  if (repo::last_segment(o.key).starts_with("mark-")) return true;
  auto name = repo::parse_log_name(repo::last_segment(o.key));
  const std::string epoch = o.key.substr(prefix.size(), slash - prefix.size());
  if (!name || repo::log_piece_key(source_, epoch, name->first, name->last) != o.key) return false;
  CheckedPiece piece;
  piece.name = {o.key, name->first, name->last, o.size};
  epochs_[epoch].pieces.push_back(std::move(piece));
  return true;
}

std::vector<CheckedPiece*> LogChecker::pieces() {
  std::vector<CheckedPiece*> out;
  for (auto& [name, epoch] : epochs_) {
    std::sort(epoch.pieces.begin(), epoch.pieces.end(), [](const CheckedPiece& a, const CheckedPiece& b) {
      return a.name.first != b.name.first ? a.name.first < b.name.first : a.name.last > b.name.last;
    });
    std::set<std::string> single;
    for (const PieceName& p : single_pieces(engine_of_epoch(name), names_of(epoch))) single.insert(p.key);
    for (CheckedPiece& p : epoch.pieces) {
      p.folds = !single.contains(p.name.key);
      out.push_back(&p);
    }
  }
  return out;
}

// Whether what describes it fits; true: it folds others.
Result<bool> LogChecker::check_content(const Context& ctx, const PieceName& piece) const {
  const std::string_view folder = std::string_view(piece.key).substr(0, piece.key.rfind('/'));
  const Engine* engine = engine_of_epoch(repo::last_segment(folder));
  if (!engine) return fail(Code::kDamaged, piece.key + ": is of no engine that this version knows");
  return engine->check_piece(repo_, ctx, piece);
}

Result<> LogChecker::check_piece(const Context& ctx, CheckedPiece& piece, bool decode, Progress& progress) {
  TRY_ASSIGN(PackState state, check_pack(*repo_, ctx, piece.name.key, piece.name.size, {}, decode, progress));
  const auto merged = check_content(ctx, piece.name);
  piece.merged = merged.value_or(false);
  if (!state.damage && merged) return {};
  if (!state.damage) {
    TRY_ASSIGN(state.damage, damage_of(*repo_, ctx, piece.name.key, merged.error()));
  }
  state.lost = state.lost || !merged;
  piece.usable = !state.lost && state.bad.empty();
  TRY_ASSIGN(const bool there, store::exists(repo_->store(), ctx, piece.name.key));
  piece.vanished = !there;
  if (piece.folds && !piece.usable)
    state.damage->message += "; it only saves time: once it is deleted, restores use the commits it folds";
  if (there) piece.problem = findings_.add(piece.name.key, *state.damage);
  return {};
}

Result<> LogChecker::check_coverage(std::vector<CheckedBackup>& backups,
                                    const std::set<Findings::Id>& unreadable, VerifyReport& report) {
  std::vector<std::string> based;
  for (const CheckedBackup& b : backups) {
    if (b.source == source_ && b.anchor && !b.vanished) based.push_back(b.epoch);
  }
  for (auto& [name, epoch] : epochs_) {
    TRY_OK(look_for_joined(name, epoch));
    std::erase_if(epoch.pieces, [](const CheckedPiece& p) { return p.vanished; });
    std::vector<CheckedBackup*> bases;
    for (CheckedBackup& b : backups) {
      if (b.source == source_ && b.epoch == name && b.anchor && !b.vanished) bases.push_back(&b);
    }
    std::sort(bases.begin(), bases.end(),
              [](const auto* a, const auto* b) { return *a->anchor < *b->anchor; });
    if (!bases.empty()) {
      TRY_OK(check_epoch(name, epoch, std::move(bases), report));
    } else if (const Engine* engine = engine_of_epoch(name); engine && engine->goes_on_from(name, based)) {
      continue;
    } else if (epoch.seen_before_manifests && !epoch.pieces.empty()) {
      TRY_OK(tell_baseless(name, epoch, unreadable));
    }
  }
  return {};
}

// A follower joins pieces into one, and then removes them: that one counts, if it came after we listed.
Result<> LogChecker::look_for_joined(const std::string& name, CheckedEpoch& epoch) {
  std::vector<PieceName> vanished;
  std::set<std::string> known;
  for (const CheckedPiece& p : epoch.pieces) {
    known.insert(p.name.key);
    if (p.vanished) vanished.push_back(p.name);
  }
  if (vanished.empty()) return {};
  std::vector<CheckedPiece> joined;
  TRY_OK(store::for_each(
      repo_->store(), ctx_, repo::log_prefix(source_, name), [&](const store::ObjectInfo& o) -> Result<> {
        const auto at = repo::parse_log_name(repo::last_segment(o.key));
        if (!at || known.contains(o.key)) return {};
        const bool holds_one = std::any_of(vanished.begin(), vanished.end(), [&](const PieceName& v) {
          return at->first <= v.first && v.last <= at->last;
        });
        if (!holds_one) return {};
        joined.emplace_back();
        joined.back().name = {o.key, at->first, at->last, o.size};
        return {};
      }));
  for (CheckedPiece& p : joined) {
    Progress progress;
    TRY_OK(check_piece(ctx_, p, true, progress));
    epoch.pieces.push_back(std::move(p));
  }
  return {};
}

// What was expired while we looked is no base any more. True: nothing was.
Result<bool> LogChecker::drop_vanished(std::vector<CheckedBackup*>& bases) {
  const size_t before = bases.size();
  for (CheckedBackup* b : bases) {
    TRY_ASSIGN(const bool there, store::exists(repo_->store(), ctx_, repo::manifest_key(b->source, b->id)));
    b->vanished = !there;
  }
  std::erase_if(bases, [](const CheckedBackup* b) { return b->vanished; });
  return bases.size() == before;
}

Result<> LogChecker::check_epoch(const std::string& name, CheckedEpoch& epoch,
                                 std::vector<CheckedBackup*> bases, VerifyReport& report) {
  const Engine* const engine = engine_of_epoch(name);
  EpochSpan span = span_of(epoch, bases);
  auto missing = missing_commits(engine, epoch, span);
  auto lost = unreachable(epoch, span, bases);
  if (!missing.empty() || !lost.empty()) {
    TRY_ASSIGN(const bool all_there, drop_vanished(bases));
    if (bases.empty()) return {};
    if (!all_there) {
      span = span_of(epoch, bases);
      missing = missing_commits(engine, epoch, span);
      lost = unreachable(epoch, span, bases);
    }
  }

  struct Cause {
    Findings::Id problem;
    uint64_t first, last;
  };
  std::vector<Cause> causes;
  for (const auto& [first, last] : missing) {
    const auto id =
        findings_.add(repo::log_piece_key(source_, name, first, last),
                      {"gap", fmt::format("{} {} missing from the log", range_text(engine, first, last),
                                          first == last ? "is" : "are")});
    causes.push_back({id, first, last});
  }
  for (const CheckedPiece& p : epoch.pieces) {
    if (!p.usable) causes.push_back({*p.problem, p.name.first, p.name.last});
    if (p.name.last <= span.from && (!engine || engine->folds())) {
      ++report.unreferenced_objects;
      report.unreferenced_bytes += p.name.size;
    }
  }
  for (const CheckedBackup* b : bases) {
    for (Findings::Id id : b->problems) causes.push_back({id, *b->anchor, *b->anchor});
  }
  for (const auto& [first, last] : lost) {
    for (const Cause& c : causes) {
      if (c.first <= last && c.last >= first)
        findings_.affect(c.problem, fmt::format("{}/{}", source_, stretch_text(engine, first, last)));
    }
  }
  return {};
}

// An expire removes an epoch's base last: such a log has lost it otherwise.
Result<> LogChecker::tell_baseless(const std::string& name, const CheckedEpoch& epoch,
                                   const std::set<Findings::Id>& unreadable) {
  TRY_ASSIGN(const auto left, repo_->store().list(ctx_, epoch.pieces.back().name.key, "", 1));
  if (left.objects.empty()) return {};  // expired meanwhile, base and all
  uint64_t last = 0;
  for (const CheckedPiece& p : epoch.pieces) last = std::max(last, p.name.last);
  const std::string stretch = fmt::format(
      "{}/{}", source_, stretch_text(engine_of_epoch(name), epoch.pieces.front().name.first, last));
  for (Findings::Id id : unreadable) findings_.affect(id, stretch);
  if (!unreadable.empty()) return {};
  const auto id = findings_.add(
      repo::log_prefix(source_, name),
      {"missing", "the backup that this log begins at is missing: its manifest was lost or removed by hand"});
  findings_.affect(id, stretch);
  return {};
}

}  // namespace varve::backup
