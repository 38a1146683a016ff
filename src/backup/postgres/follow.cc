// Following a cluster's WAL: sessions with the server, one after another, whose WAL goes into the repository.
#include <algorithm>
#include <fmt/format.h>
#include <map>
#include <set>

#include "backup/postgres/follow_place.h"
#include "backup/postgres/follow_presence.h"
#include "backup/postgres/followed_wal.h"
#include "backup/postgres/work.h"
#include "base/log.h"
#include "engine/postgres/stream_server.h"

namespace varve::backup::postgres {
namespace {

constexpr auto kPoll = std::chrono::milliseconds(500);
constexpr auto kPutTime = std::chrono::seconds(60);
constexpr auto kDrain = std::chrono::seconds(3);
constexpr auto kFinish = std::chrono::seconds(30);
constexpr auto kOnceTries = std::chrono::seconds(60);
constexpr auto kSlotFree = std::chrono::seconds(75);  // a server sees within 60 s that a follower is gone
constexpr size_t kMostLeft = 64;  // units that are tidied up at the begin, the newest ones
constexpr const char* kSlotInUse = "is active for PID";
constexpr auto kFirstPause = std::chrono::milliseconds(200);
constexpr auto kLongestPause = std::chrono::milliseconds(5000);

class FollowRun {
 public:
  FollowRun(repo::RepositoryPtr repo, const Context& ctx, const Source& source, const FollowOptions& options,
            const std::function<void(const FollowStatus&)>& report)
      : repo_(std::move(repo)),
        ctx_(ctx),
        source_(source),
        options_(options),
        report_(report),
        archive_(repo_, source.name),
        wal_(repo_, source.name) {}

  Result<FollowStatus> run() {
    TRY_ASSIGN(const db::ClusterSpec spec, spec_of(source_));
    const std::string slot = options_.slot.empty() ? db::slot_name_for(source_.name) : options_.slot;
    TRY_OK(db::check_slot_name(slot));
    server_.emplace(spec, slot, !options_.once, [this](const std::string& message) { report(message); });
    TRY_ASSIGN(auto presence, FollowPresence::begin(repo_, ctx_, source_.name));
    presence_.emplace(std::move(presence));
    auto result = follow();
    // The lease goes also when we were stopped.
    const Context last = Context{}.with_deadline(kFinish);
    if (options_.once && result) wal_.folder().finish(last);
    presence_->end(last, result ? std::optional(reach()) : std::nullopt);
    if (!result) return fail(result.error());
    return status_;
  }

 private:
  // A session ends for good, or another one goes on: at once, or after a pause when `lost` says why.
  struct Ended {
    bool done = false;
    std::optional<Error> lost = {};
  };

  Result<> follow() {
    auto pause = kFirstPause;
    std::string told;
    while (!ctx_.stop.stop_requested()) {
      TRY_ASSIGN(const Ended ended, session());
      if (ended.done) return {};
      if (!ended.lost) continue;
      const Error& e = *ended.lost;
      if (e.code == Code::kInterrupted) return {};
      if (!followed_ && !passes(e)) return fail(e);
      if (!std::exchange(away_, true)) {
        away_since_ = SteadyClock::now();
        pause = kFirstPause;
        told.clear();
      }
      const auto patience = options_.once ? Seconds(kOnceTries) : options_.patience;
      const auto away = SteadyClock::now() - away_since_;
      if (is_in_use(e) && away >= kSlotFree)
        return fail(
            Code::kConflict, e.message,
            "another follower uses this replication slot: stop it, or give this one another: --slot NAME");
      if (away >= patience) return fail(e);
      if (std::exchange(told, e.describe()) != e.describe())
        report("the server cannot be followed now: " + told);
      if (!ctx_.sleep(pause)) return {};
      pause = std::min(pause * 2, kLongestPause);
      TRY_OK(keep_alive());
    }
    return {};
  }
  // A server that is starting or stopping, a standby that is behind, a session of ours that the server has
  // not seen end yet.
  static bool passes(const Error& e) {
    const auto says = [&](const char* what) { return e.message.find(what) != std::string::npos; };
    return says("the database system is") || says("ahead of the WAL flush position") || says(kSlotInUse);
  }
  // Once it was there, also a folder that is not mounted now, not writable, or full.
  bool repository_may_come_back(const Error& e) const {
    return e.retry != Retry::kNever ||
           (followed_ && (e.code == Code::kUnreachable || e.code == Code::kDenied ||
                          e.code == Code::kNotFound || e.code == Code::kNoSpace || e.code == Code::kIo));
  }
  static bool is_in_use(const Error& e) { return e.message.find(kSlotInUse) != std::string::npos; }

  // From connecting to the end of the stream. What the server fails at is no failure, it may come back; what
  // the repository fails at was tried long enough.
  Result<Ended> session() {
    auto connected = server_->connect(ctx_);
    if (!connected) return Ended{.lost = connected.error()};
    const db::StreamHead head = *connected;
    if (system_id_ != 0 && system_id_ != head.system_id)
      return fail(Code::kConflict,
                  fmt::format("another cluster answers for {} than the one that was followed ({}, not {})",
                              source_.name, head.system_id, system_id_),
                  "give the new cluster's source a name of its own, or start `varve log follow` anew");
    system_id_ = head.system_id;
    TRY_ASSIGN(const auto history, store_histories(head.timeline));
    if (!history) return Ended{.lost = history.error()};
    const auto look = [&] {
      return find_resume(repo_, ctx_, source_.name, system_id_, head.timeline, *history,
                         server_->source().segment_size);
    };
    TRY_ASSIGN(Resume resume, patiently<Resume>(look));
    if (resume.base.empty() && !base_tried_) {
      base_tried_ = true;
      TRY_OK(lay_base());
      return Ended{};
    }
    if (options_.once && !goal_) goal_ = WalPlace{head.timeline, head.flushed};
    TRY_ASSIGN(const WalPlace place, choose(resume, head));
    if (reached(place)) {
      begin(place, head, resume);
      return Ended{.done = true};
    }
    auto stream = server_->stream(ctx_, place.timeline, place.lsn);
    if (!stream) return Ended{.lost = stream.error()};
    begin(place, head, resume);
    return pump(**stream, head.timeline);
  }

  // Of the server's timeline and of those it came from. The inner failure is the server's.
  Result<Result<std::vector<db::HistoryEntry>>> store_histories(db::Timeline timeline) {
    using Entries = Result<std::vector<db::HistoryEntry>>;
    Entries out;
    for (db::Timeline t = timeline; t > 1;) {
      auto content = server_->history(ctx_, t);
      if (!content && content.error().code == Code::kNotFound) break;  // its cluster began there
      if (!content) return Entries(fail(content.error()));
      auto entries = db::parse_history(t, as_text(*content));
      if (!entries) return Entries(fail(entries.error()));
      TRY_OK(patiently<WalArchive::Kept>([&] {
        return archive_.store_history(Context{}.with_deadline(kPutTime), system_id_, t, *content);
      }));
      if (t == timeline) out = *entries;
      // The ones before were stored when they were followed, or are now; a server may have lost them.
      const auto older = entries->empty() ? 0 : entries->back().timeline;
      if (older <= 1 || known_histories_.contains(older)) break;
      known_histories_.insert(older);
      t = older;
    }
    return out;
  }

  // The first place that the server may still have. Behind the end of the log there is a gap.
  Result<WalPlace> choose(const Resume& resume, const db::StreamHead& head) {
    for (const WalPlace& p : resume.places) {
      if (p.lsn <= removed_up_to_) continue;
      if (p != resume.places.front() || resume.base.empty()) return told_gap(resume, p);
      return p;
    }
    const uint32_t segment = server_->source().segment_size;
    const auto kept = server_->kept_from();
    WalPlace p{head.timeline, kept.value_or(head.flushed) / segment * segment};
    if (p.lsn <= removed_up_to_) p.lsn = head.flushed / segment * segment;
    return told_gap(resume, p);
  }
  WalPlace told_gap(const Resume& resume, const WalPlace& p) {
    const std::string take = fmt::format("take a new backup: varve backup {}", source_.name);
    std::string what;
    if (resume.base.empty()) {
      what =
          fmt::format("no backup leads into this log, which begins at {}; {}", db::format_lsn(p.lsn), take);
    } else {
      what = fmt::format("the log has a gap: the server no longer had the WAL from {} to {}; {}",
                         db::format_lsn(resume.places.front().lsn), db::format_lsn(p.lsn), take);
    }
    if (std::exchange(gap_told_, what) != what) {
      log::warn("{}: {}", source_.name, what);
      report(what);
    }
    return p;
  }

  void begin(const WalPlace& place, const db::StreamHead& head, Resume& resume) {
    const auto& source = server_->source();
    wal_.begin({system_id_, place.timeline, place.lsn, source.segment_size, source.block_size});
    const std::string epoch = epoch_of(system_id_, place.timeline);
    if (presence_->epoch() != epoch) {
      presence_->enter(epoch, place.timeline == head.timeline ? resume.mark : "");
      const uint64_t unit = std::min<uint64_t>(source.segment_size, kWalPiece);
      fold_what_is_left(unit,
                        place.timeline == head.timeline ? resume.contained : decltype(resume.contained){});
    }
    set_position();
    report(fmt::format("{} {} on timeline {}",
                       std::exchange(followed_, true) ? "going on at" : "following from",
                       db::format_lsn(place.lsn), place.timeline));
  }
  void fold_what_is_left(uint64_t unit, const std::vector<std::pair<PieceName, PieceName>>& contained) {
    if (repo_->retain()) return;  // they cannot go
    std::map<uint64_t, UnitFolder::Unit> units;
    for (const auto& [small, whole] : contained) {
      UnitFolder::Unit& u = units[whole.first];
      u.identity = wal_.identity();
      u.identity.start = whole.first;
      u.from = whole.first + unit;
      u.pieces.push_back(small);
    }
    size_t most = kMostLeft;
    for (auto u = units.rbegin(); u != units.rend() && most-- > 0; ++u)
      wal_.folder().add(std::move(u->second));
  }

  Result<Ended> pump(db::WalStream& stream, db::Timeline current) {
    const bool clock = wal_.identity().timeline == current && !server_->source().in_recovery;
    for (;;) {
      auto batch = stream.take(ctx_, wal_.room(), options_.batch, kPoll);
      if (!batch) {
        if (batch.error().code != Code::kInterrupted) return fail(batch.error());
        TRY_OK(drain(stream, clock));
        return Ended{.done = true};
      }
      TRY_OK(store(stream, *batch, clock));
      if (batch->end) return end_of(*batch->end);
      if (reached({wal_.identity().timeline, wal_.stored()})) return Ended{.done = true};
      TRY_OK(keep_alive());
      server_->watch_slot(ctx_);
    }
  }

  bool reached(const WalPlace& p) const {
    return goal_ && (p.timeline > goal_->timeline || (p.timeline == goal_->timeline && p.lsn >= goal_->lsn));
  }

  Ended end_of(const db::StreamEnd& end) {
    if (end.timeline_over) {
      report(fmt::format("timeline {} ended", wal_.identity().timeline));
      // The server may take a moment before it is on the next one.
      (void)ctx_.sleep(kFirstPause);
      return {};
    }
    if (end.removed && wal_.stored() > removed_up_to_ && wal_.stored() == wal_.identity().start) {
      removed_up_to_ = wal_.stored();
      return {};
    }
    return {.lost = end.error};
  }

  // What the server had when we were asked to stop is stored before we do.
  Result<> drain(db::WalStream& stream, bool clock) {
    const Context last = Context{}.with_deadline(kDrain);
    for (int idle = 0; idle < 2 && last.check();) {
      auto batch =
          stream.take(last, wal_.room(), std::chrono::milliseconds(50), std::chrono::milliseconds(150));
      if (!batch) break;
      idle = batch->bytes.empty() ? idle + 1 : 0;
      TRY_OK(store(stream, *batch, clock));
      if (batch->end) break;
    }
    return {};
  }

  Result<> store(db::WalStream& stream, const db::StreamBatch& batch, bool clock) {
    if (!batch.bytes.empty() || batch.complete_until) away_ = false;
    wal_.add(batch.bytes);
    using Kept = std::optional<WalArchive::Kept>;
    // A put under way is ended, not cut, when we are asked to stop.
    TRY_ASSIGN(const Kept kept,
               patiently<Kept>([&] { return wal_.flush(Context{}.with_deadline(kPutTime)); }));
    if (kept) {
      ++status_.pieces;
      status_.bytes += kept->size;
      status_.commits += kept->commits;
      if (kept->last_commit) status_.covered_until = std::max(status_.covered_until, *kept->last_commit);
      stream.confirm(wal_.stored());
      set_position();
    }
    if (clock && batch.complete_until && wal_.stored() == wal_.end())
      status_.covered_until = std::max(status_.covered_until, *batch.complete_until);
    if (kept) report("");
    return {};
  }

  // Until the repository takes it, as long as patience lasts; the slot keeps the WAL meanwhile.
  template <typename T, typename Call>
  Result<T> patiently(const Call& call) {
    const auto give_up = SteadyClock::now() + options_.patience;
    bool told = false;
    for (auto pause = kFirstPause;; pause = std::min(pause * 2, kLongestPause)) {
      auto done = call();
      if (done) {
        if (told) report("the repository is back");
        return done;
      }
      if (!repository_may_come_back(done.error()) || SteadyClock::now() > give_up) return done;
      if (!std::exchange(told, true)) report("the repository cannot be reached: " + done.error().describe());
      TRY_OK(ctx_.sleep(pause));
      server_->watch_slot(ctx_);
    }
  }

  // It may take longer than a lease lasts. Without it the log is followed all the same: another host may take
  // the backups.
  Result<> lay_base() {
    report("no backup leads into the log: taking a full one");
    const std::jthread keeper = presence_->keep_lease();
    Progress progress;
    BackupOptions options = options_.backup;
    options.type = Type::kFull;
    const auto m = backup(repo_, ctx_, source_, options, progress);
    if (m) {
      ++status_.bases;
      status_.bytes += m->stored;
      status_.covered_until = std::max(status_.covered_until, m->moment);
      report(fmt::format("backup {} taken: {}", m->id, m->type));
      return {};
    }
    if (m.error().code == Code::kInterrupted) return {};
    if (options_.once || m.error().retry != Retry::kNever) return fail(m.error());
    report(fmt::format("no backup could be taken, and without one nothing can be restored: {}",
                       m.error().describe()));
    log::warn("{}: no backup could be taken: {}", source_.name, m.error().describe());
    return {};
  }

  FollowReach reach() const { return {wal_.stored(), status_.covered_until}; }
  Result<> keep_alive() {
    TRY_ASSIGN(const bool marked, presence_->keep(ctx_, reach()));
    if (marked) report("");
    return {};
  }

  void set_position() { status_.position = "lsn:" + db::format_lsn(wal_.stored()); }
  void report(const std::string& message) {
    status_.message = message;
    if (report_) report_(status_);
  }

  const repo::RepositoryPtr repo_;
  const Context& ctx_;
  const Source& source_;
  const FollowOptions& options_;
  const std::function<void(const FollowStatus&)>& report_;
  WalArchive archive_;
  FollowedWal wal_;
  std::optional<db::StreamServer> server_;
  std::optional<FollowPresence> presence_;
  FollowStatus status_;
  uint64_t system_id_ = 0;
  std::set<db::Timeline> known_histories_;
  std::optional<WalPlace> goal_;  // with --once
  bool base_tried_ = false, followed_ = false;
  bool away_ = false;  // the server
  SteadyClock::time_point away_since_ = {};
  uint64_t removed_up_to_ = 0;  // a place that the server did not have any more
  std::string gap_told_;
};

}  // namespace

Result<FollowStatus> follow(const repo::RepositoryPtr& repo, const Context& ctx, const Source& source,
                            const FollowOptions& options,
                            const std::function<void(const FollowStatus&)>& report) {
  return FollowRun(repo, ctx, source, options, report).run();
}

}  // namespace varve::backup::postgres
