#include "backup/postgres/target.h"

#include <algorithm>
#include <fmt/format.h>

#include "backup/engines.h"
#include "backup/postgres/timelines.h"
#include "base/text.h"

namespace varve::backup::postgres {
namespace {

using Kind = db::RecoveryTarget::Kind;

// A fraction of a second beyond what is covered is what a person means by "now".
constexpr auto kSlack = std::chrono::seconds(1);

uint64_t stop_of(const repo::Manifest& m) {
  return place_of(m)->first_state + 1;  // the LSN from which the state is consistent
}

class Finder {
 public:
  Finder(repo::RepositoryPtr repo, const Context& ctx, const SourceState& state, const Point& point)
      : repo_(std::move(repo)), ctx_(ctx), state_(state), point_(point) {}

  Result<> load() {
    std::map<std::string, EpochLog> epochs;
    for (const EpochLog& e : state_.epochs) epochs[e.epoch] = e;
    TRY_ASSIGN(views_, find_engine("postgres")->views(repo_, ctx_, epochs, state_.backups.manifests));
    return {};
  }

  Result<Target> find(const repo::Manifest* forced) {
    forced_ = forced;
    switch (point_.kind) {
      case Point::Kind::kEnd:
        return end_of(forced ? *forced : state_.backups.manifests.back());
      case Point::Kind::kLatest:
        return latest();
      case Point::Kind::kTime:
        return at_time(point_.time);
      case Point::Kind::kLsn:
        return at_lsn(point_.number);
      case Point::Kind::kXid:
      case Point::Kind::kBefore:
        return at_xid(static_cast<uint32_t>(point_.number), point_.kind == Point::Kind::kXid);
      case Point::Kind::kName:
        return at_name(point_.text);
      case Point::Kind::kTxn:
        return fail(
            Code::kUsage, fmt::format("{}: PostgreSQL has no such point", point_.text),
            "latest, end, a time with a zone, \"5 minutes ago\", lsn:0/3000028, xid:731402, before:731402 or "
            "name:RESTORE-POINT");
    }
    return fail(Code::kInternal, "an unknown kind of point");
  }

 private:
  using View = Engine::View;

  // Where the log leads from a backup without a gap: the position after it.
  static uint64_t reach(const View& view, const repo::Manifest& m) {
    return contiguous_end(view.log.pieces, place_of(m)->after) + 1;
  }
  // Newest timelines first: what was done on one that was left is asked for by its backup.
  template <typename Suits>
  std::pair<const View*, const repo::Manifest*> newest(const Suits& suits) const {
    for (auto v = views_.rbegin(); v != views_.rend(); ++v) {
      const repo::Manifest* best = nullptr;
      for (const auto* m : v->bases) {
        if ((!forced_ || m == forced_) && reach(*v, *m) >= stop_of(*m) && suits(*v, *m)) best = m;
      }
      if (best) return {&*v, best};
    }
    return {nullptr, nullptr};
  }

  Result<Target> make(const View* view, const repo::Manifest& base, Kind kind, std::string position,
                      uint64_t until) const {
    Target t;
    t.base = &base;
    TRY_ASSIGN(t.data, db::decode_capture_data(base.engine_data));
    t.recovery.kind = kind;
    t.moment = base.moment;
    t.position = std::move(position);
    t.until = until;
    t.recovery.timeline = std::to_string(view ? parse_epoch(view->log.epoch)->timeline : t.data.timeline);
    if (!view) return t;
    uint64_t covered = 0;  // pieces may overlap
    for (const PieceName& p : view->log.pieces) {
      if (p.last <= std::max(covered, place_of(base)->after) || p.first >= until) continue;
      covered = p.last;
      ++t.pieces;
      t.log_bytes += p.size;
    }
    return t;
  }

  Result<Target> end_of(const repo::Manifest& m) const {
    const auto [view, base] = newest([&](const View&, const repo::Manifest& b) { return &b == &m; });
    if (!base)
      return fail(Code::kIncomplete, fmt::format("the log has lost WAL that backup {} needs", m.id),
                  "`varve verify` tells what is missing, and which backups are whole");
    TRY_ASSIGN(Target t, make(view, m, Kind::kImmediate, m.stop_position, stop_of(m)));
    // The server looks whether it is there before each record: after a standby's backup there may be none.
    TRY_ASSIGN(const bool more, has_record_from(*view, m, stop_of(m)));
    if (!more) t.recovery.kind = Kind::kLatest;
    return t;
  }

  Result<Target> latest() const {
    // The newest of the backups must not be passed over because the log behind it is broken.
    const auto [view, base] = newest([](const View&, const repo::Manifest&) { return true; });
    if (!base) return not_recoverable("the latest state", now());
    for (const auto& bad : state_.backups.unreadable) {
      if (repo::last_segment(bad.key).substr(0, 15) > repo::id_time(base->moment)) {
        Error e{Code::kDamaged,
                fmt::format("{}: backup {} cannot be read; it may be newer than what can be restored",
                            state_.source, repo::last_segment(bad.key)),
                "to take what there is, name its moment: --to TIME; `varve list` shows them"};
        e.cause = std::make_shared<const Error>(bad.error);
        return fail(std::move(e));
      }
    }
    const uint64_t end = reach(*view, *base);
    TRY_ASSIGN(Target t, make(view, *base, Kind::kLatest, position_of(end - 1), end));
    t.moment = std::max(t.moment, covered_until(*view));
    return t;
  }
  Timestamp covered_until(const View& view) const {
    for (const EpochLog& e : state_.epochs) {
      if (e.epoch == view.log.epoch) return e.covered_until;
    }
    return {};
  }

  Result<Target> at_time(Timestamp time) const {
    const auto [view, base] = newest([&](const View& v, const repo::Manifest& m) {
      return m.moment <= time && time <= std::max(covered_until(v), m.moment) + kSlack;
    });
    if (!base) return not_recoverable(to_rfc3339(time), time);
    // The server stops at the first commit after the moment. Without one it would complain that it found no
    // such place: then the moment is where the log ends.
    const uint64_t end = reach(*view, *base);
    TRY_ASSIGN(const auto after, first_commit_after(*view, *base, time));
    TRY_ASSIGN(Target t, make(view, *base, after ? Kind::kTime : Kind::kLatest, position_of(end - 1),
                              after ? *after : end));
    t.recovery.time = time;
    t.moment = time;
    if (after) t.position = fmt::format("time {}", to_rfc3339(time));
    return t;
  }

  // Where it stands; nullopt when the log ends before.
  Result<std::optional<uint64_t>> first_commit_after(const View& view, const repo::Manifest& base,
                                                     Timestamp time) const {
    std::optional<uint64_t> out;
    TRY_OK(each_piece(view, base, [&](const PieceName&, const db::WalIndex& index) -> Result<bool> {
      if (index.part.last_commit.value_or(time) <= time) return true;
      for (const auto& c : index.part.commits) {
        if (c.time <= time) continue;
        out = c.lsn;
        return false;
      }
      out = index.end;  // among those that are not listed one by one
      return false;
    }));
    return out;
  }

  Result<Target> at_lsn(uint64_t lsn) const {
    const auto [view, base] = newest(
        [&](const View& v, const repo::Manifest& m) { return stop_of(m) <= lsn && lsn <= reach(v, m); });
    if (!base) return not_recoverable(fmt::format("lsn:{}", db::format_lsn(lsn)), now());
    TRY_ASSIGN(Target t, make(view, *base, Kind::kLsn, "lsn:" + db::format_lsn(lsn), lsn));
    t.recovery.lsn = lsn;
    // Before the record that begins there: what ends there is in. Without a record to stop before, the server
    // would complain: then it is where the log ends.
    t.recovery.inclusive = false;
    TRY_ASSIGN(const bool more, has_record_from(*view, *base, lsn));
    if (!more) t.recovery.kind = Kind::kLatest;
    if (lsn == stop_of(*base)) t.recovery.kind = Kind::kImmediate;
    return t;
  }

  // Whether the log goes on from a backup with a record at `lsn` or later.
  Result<bool> has_record_from(const View& view, const repo::Manifest& base, uint64_t lsn) const {
    bool more = false;
    TRY_OK(each_piece(view, base, [&](const PieceName& p, const db::WalIndex& index) -> Result<bool> {
      more = p.last >= lsn && index.last_record >= lsn;
      return !more;
    }));
    return more;
  }

  struct Place {
    uint64_t lsn = 0;
    Timestamp time = {};
  };
  using Look = std::function<std::optional<Place>(const db::WalIndex&)>;
  // Searches the log from each timeline's oldest backup on; the newest finding with a backup before it.
  Result<std::optional<std::pair<const View*, Place>>> search(const Look& look) const {
    for (auto v = views_.rbegin(); v != views_.rend(); ++v) {
      if (v->bases.empty()) continue;
      std::optional<Place> found;
      TRY_OK(each_piece(*v, forced_ ? *forced_ : *v->bases.front(),
                        [&](const PieceName&, const db::WalIndex& index) -> Result<bool> {
                          if (auto place = look(index)) found = place;
                          return true;
                        }));
      if (found) return std::pair(&*v, *found);
    }
    return std::nullopt;
  }
  Result<Target> before(const View& view, const Place& place, Kind kind, std::string position) const {
    const repo::Manifest* base = nullptr;
    for (const auto* m : view.bases) {
      if ((!forced_ || m == forced_) && stop_of(*m) <= place.lsn && reach(view, *m) > place.lsn) base = m;
    }
    if (!base) return not_recoverable(position, place.time);
    TRY_ASSIGN(Target t, make(&view, *base, kind, position, place.lsn + 1));
    t.moment = std::max(place.time, base->moment);
    return t;
  }

  Result<Target> at_xid(uint32_t xid, bool inclusive) const {
    const std::string position = fmt::format("{}:{}", inclusive ? "xid" : "before", point_.number);
    TRY_ASSIGN(const auto found, search([&](const db::WalIndex& index) -> std::optional<Place> {
                 for (const auto& c : index.part.commits) {
                   if (c.xid == xid) return Place{c.lsn, c.time};
                 }
                 return std::nullopt;
               }));
    if (!found)
      return fail(Code::kNotFound,
                  fmt::format("{}: no transaction {} committed in the log there is", state_.source, xid),
                  "`varve history` lists the commits");
    TRY_ASSIGN(Target t, before(*found->first, found->second, Kind::kXid, position));
    t.recovery.xid = xid;
    t.recovery.inclusive = inclusive;
    return t;
  }

  Result<Target> at_name(const std::string& name) const {
    std::vector<std::string> names;
    TRY_ASSIGN(const auto found, search([&](const db::WalIndex& index) -> std::optional<Place> {
                 std::optional<Place> out;
                 for (const auto& e : index.part.events) {
                   if (e.kind != db::WalEvent::Kind::kRestorePoint) continue;
                   names.push_back(e.text);
                   if (e.text == name && !out) out = Place{e.lsn, e.time.value_or(Timestamp{})};
                 }
                 return out;
               }));
    if (!found) {
      const auto near = nearest(name, names);
      return fail(Code::kNotFound,
                  fmt::format("{}: the log has no restore point \"{}\"", state_.source, printable(name)),
                  near.empty() ? "`varve history` lists them"
                               : fmt::format("did you mean name:{}?", printable(near.front())));
    }
    TRY_ASSIGN(Target t, before(*found->first, found->second, Kind::kName, "name:" + name));
    t.recovery.name = name;
    return t;
  }

  // The indexes of the pieces that lead on from a backup, in order, until the callback says false.
  Result<> each_piece(
      const View& view, const repo::Manifest& base,
      const std::function<Result<bool>(const PieceName&, const db::WalIndex&)>& callback) const {
    uint64_t covered = place_of(base)->after;
    for (const PieceName& p : view.log.pieces) {
      TRY_OK(ctx_.check());
      if (p.first > covered + 1) return {};
      if (p.last <= covered) continue;
      TRY_ASSIGN(const db::WalIndex index, read_index(repo_, ctx_, piece_of(p)));
      TRY_ASSIGN(const bool more, callback(p, index));
      if (!more) return {};
      covered = p.last;
    }
    return {};
  }
  // A piece as it is stored: views cut those of a timeline that was left.
  static PieceName piece_of(PieceName p) {
    if (const auto name = repo::parse_log_name(repo::last_segment(p.key))) p.last = name->last;
    return p;
  }

  tl::unexpected<Error> not_recoverable(const std::string& what, Timestamp near) const {
    return fail(Code::kIncomplete, fmt::format("{}: {} cannot be recovered", state_.source, what),
                nearest_moments(state_, near));
  }

  const repo::RepositoryPtr repo_;
  const Context& ctx_;
  const SourceState& state_;
  const Point& point_;
  const repo::Manifest* forced_ = nullptr;
  std::vector<View> views_;  // ascending by timeline
};

}  // namespace

Result<Target> find_target(const repo::RepositoryPtr& repo, const Context& ctx, const SourceState& state,
                           const Point& point, const std::optional<std::string>& backup) {
  const repo::Manifest* forced = nullptr;
  if (backup) {
    TRY_ASSIGN(forced, find_backup(state, *backup));
  }
  TRY_OK(ensure_backups(state));
  Finder finder(repo, ctx, state, point);
  TRY_OK(finder.load());
  return finder.find(forced);
}

}  // namespace varve::backup::postgres
