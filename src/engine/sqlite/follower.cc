#include "engine/sqlite/follower.h"

#include <algorithm>
#include <condition_variable>
#include <fmt/format.h>
#include <mutex>
#include <thread>

#include "base/log.h"
#include "base/text.h"
#include "engine/sqlite/capture.h"
#include "engine/sqlite/journal_follow.h"
#include "engine/sqlite/wal_follow.h"

namespace varve::engine::sqlite {
namespace {

constexpr int kMostModeChanges = 3;
constexpr std::chrono::microseconds kClosePoll{500};

// A thread looks at the databases, so that they are captured, and their writers' checkpoints let by, also
// while the caller stores the last batch.
class SourceFollower : public Follower {
 public:
  SourceFollower(const SourceSpec& spec, const FollowOptions& options)
      : spec_(spec), options_(options), batch_(options) {}

  Result<std::unique_ptr<Capture>> begin(const Context& ctx, const std::optional<CaptureData>& after,
                                         uint64_t next_txn, Timestamp seen) override;
  Result<Poll> poll(const Context& ctx, std::chrono::milliseconds wait) override;
  ~SourceFollower() override { stop_watching(); }

 private:
  struct One {
    DatabaseFile file;
    std::unique_ptr<DatabaseFollower> follower;
  };

  Result<std::unique_ptr<DatabaseFollower>> open_one(const Context& ctx, const DatabaseFile& file,
                                                     bool* wal_mode);
  Result<bool> resume(const Context& ctx, const std::vector<DatabaseFile>& files, const CaptureData& after);
  Result<std::unique_ptr<Snapshot>> start_one(const Context& ctx, const DatabaseFile& file);
  Result<std::unique_ptr<Capture>> begin_anew(const Context& ctx, const std::vector<DatabaseFile>& files,
                                              uint64_t next_txn);
  void watch(const std::stop_token& stop);
  void stop_watching();
  Result<> look_at_all(const Context& ctx);
  Result<> look_for_others();

  SourceSpec spec_;
  FollowOptions options_;
  Checkpointer checkpointer_;  // before the followers, which ask it

  std::mutex mutex_;  // over all below, while the thread runs
  std::condition_variable_any looked_, taken_;
  std::vector<One> followed_;
  std::vector<std::string> skipped_;
  BatchBuilder batch_;
  size_t next_ = 0;  // where the next round begins: no database starves another
  Timestamp covered_until_ = {};
  std::optional<std::string> doubt_ = "following has not begun";
  std::optional<Error> error_;  // to be told when what was gathered before it is delivered
  SteadyClock::time_point next_scan_ = {};
  std::stop_source stop_;
  std::thread watcher_;
};

Result<std::unique_ptr<DatabaseFollower>> SourceFollower::open_one(const Context& ctx,
                                                                   const DatabaseFile& file, bool* wal_mode) {
  TRY_ASSIGN(std::unique_ptr<DatabaseFollower> wal, WalFollower::open(ctx, file, options_, checkpointer_));
  *wal_mode = wal != nullptr;
  if (wal) return wal;
  return std::make_unique<JournalFollower>(file, options_);
}

Result<bool> SourceFollower::resume(const Context& ctx, const std::vector<DatabaseFile>& files,
                                    const CaptureData& after) {
  for (const DatabaseFile& file : files) {
    const auto known = std::ranges::find(after.databases, file.name, &CapturedDatabase::name);
    std::optional<std::string> doubt = "it is new";
    bool wal_mode = false;
    TRY_ASSIGN(auto follower, open_one(ctx, file, &wal_mode));
    if (known != after.databases.end()) {
      TRY_ASSIGN(doubt, follower->resume(ctx, *known));
    }
    if (doubt) {
      log::info("{} cannot be followed on from the stored log: {}", printable(file.name), *doubt);
      return false;
    }
    followed_.push_back({file, std::move(follower)});
  }
  return files.size() == after.databases.size();
}

Result<std::unique_ptr<Snapshot>> SourceFollower::start_one(const Context& ctx, const DatabaseFile& file) {
  for (int i = 0; i < kMostModeChanges; ++i) {
    bool wal_mode = false;
    TRY_ASSIGN(auto follower, open_one(ctx, file, &wal_mode));
    TRY_ASSIGN(auto snapshot, Snapshot::take(ctx, file, CaptureOptions{}.busy_timeout));
    if (snapshot->state().wal_mode != wal_mode) continue;
    TRY_OK(follower->start(ctx, *snapshot));
    followed_.push_back({file, std::move(follower)});
    return snapshot;
  }
  return fail(Code::kConflict,
              fmt::format("{}: its journal mode keeps changing", printable(file.path.native())),
              "let it rest in one mode, best WAL");
}

Result<std::unique_ptr<Capture>> SourceFollower::begin(const Context& ctx,
                                                       const std::optional<CaptureData>& after,
                                                       uint64_t next_txn, Timestamp seen) {
  stop_watching();
  followed_.clear();
  checkpointer_.forget_all();
  batch_.restart(next_txn, seen);
  error_.reset();
  doubt_ = "following has not begun";
  next_scan_ = SteadyClock::now() + options_.rescan;
  skipped_.clear();
  TRY_ASSIGN(const auto files, find_databases(spec_, &skipped_));
  bool gapless = false;
  if (after) {
    TRY_ASSIGN(gapless, resume(ctx, files, *after));
  }
  std::unique_ptr<Capture> base;
  if (!gapless) {
    TRY_ASSIGN(base, begin_anew(ctx, files, next_txn));
  }
  doubt_.reset();
  stop_ = {};
  watcher_ = std::thread([this] { watch(stop_.get_token()); });
  return base;
}

Result<std::unique_ptr<Capture>> SourceFollower::begin_anew(const Context& ctx,
                                                            const std::vector<DatabaseFile>& files,
                                                            uint64_t next_txn) {
  followed_.clear();
  std::vector<std::string> warnings;
  for (const std::string& name : skipped_) {
    warnings.push_back(fmt::format("{} matches but is not a SQLite database; left out", printable(name)));
  }
  std::vector<std::unique_ptr<Snapshot>> snapshots;
  for (const DatabaseFile& file : files) {
    TRY_ASSIGN(auto snapshot, start_one(ctx, file));
    snapshots.push_back(std::move(snapshot));
  }
  // What was committed to the first while the last had to be waited for comes as commits after this base.
  const Timestamp first = snapshots.empty() ? now() : snapshots.front()->moment();
  const Timestamp moment = snapshots.empty() ? first : snapshots.back()->moment();
  covered_until_ = moment;
  batch_.restart(next_txn + 1, first);
  return make_capture(std::move(snapshots), spec_.is_glob, next_txn, moment, std::move(warnings));
}

void SourceFollower::stop_watching() {
  if (!watcher_.joinable()) return;
  stop_.request_stop();
  watcher_.join();
}

void SourceFollower::watch(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  while (!stop.stop_requested() && !doubt_ && !error_) {
    auto looked = look_at_all({.stop = stop});
    if (!looked) error_ = std::move(looked).error();
    looked_.notify_all();
    if (batch_.full()) {
      taken_.wait(lock, stop, [&] { return !batch_.full(); });
    } else {
      const bool closely = std::ranges::any_of(followed_, [](const One& o) { return o.follower->lags(); });
      taken_.wait_for(lock, stop, closely ? kClosePoll : options_.poll, [] { return false; });
    }
  }
}

Result<> SourceFollower::look_for_others() {
  if (!spec_.is_glob || SteadyClock::now() < next_scan_) return {};
  next_scan_ = SteadyClock::now() + options_.rescan;
  TRY_ASSIGN(const auto files, find_databases(spec_, nullptr));
  for (const DatabaseFile& file : files) {
    if (std::ranges::find(followed_, file.name, [](const One& o) { return o.file.name; }) ==
        followed_.end()) {
      doubt_ = fmt::format("{} is new", printable(file.name));
      return {};
    }
  }
  return {};
}

Result<> SourceFollower::look_at_all(const Context& ctx) {
  const Timestamp before = now();
  bool caught_up = true;
  TRY_OK(look_for_others());
  for (size_t i = 0; i < followed_.size() && !doubt_; ++i) {
    if (batch_.full()) {
      caught_up = false;
      break;
    }
    const One& one = followed_[next_++ % followed_.size()];
    TRY_ASSIGN(Look found, one.follower->look(ctx, batch_));
    caught_up = caught_up && found.caught_up;
    if (found.doubt) doubt_ = fmt::format("{}: {}", printable(one.file.name), *found.doubt);
  }
  if (caught_up && !doubt_) {
    covered_until_ = before;
    batch_.seen_until(before);
  }
  return {};
}

Result<Follower::Poll> SourceFollower::poll(const Context& ctx, std::chrono::milliseconds wait) {
  const auto until = std::min(SteadyClock::now() + wait, ctx.deadline);
  std::unique_lock lock(mutex_);
  const auto ready = [&] { return error_ || doubt_ || batch_.ripe(); };
  // Commits ripen with time alone, so it looks again now and then.
  while (!ready() && !ctx.stop.stop_requested() && SteadyClock::now() < until) {
    looked_.wait_until(lock, ctx.stop, std::min(until, SteadyClock::now() + options_.poll), ready);
  }
  // What was captured cannot be captured again: it is delivered before anything else is said.
  if (batch_.empty()) {
    TRY_OK(ctx.check());
    if (error_) return fail(*error_);
  }
  Poll out{.batch = batch_.take(),
           .base_needed = doubt_.has_value(),
           .reason = doubt_.value_or(""),
           .covered_until = covered_until_};
  taken_.notify_all();
  return out;
}

}  // namespace

Result<std::unique_ptr<Follower>> Follower::open(const Context& ctx, const SourceSpec& spec,
                                                 const FollowOptions& options) {
  TRY_OK(ctx.check());
  TRY_ASSIGN(const auto databases, find_databases(spec, nullptr));  // what is wrong now need not wait
  (void)databases;
  return std::make_unique<SourceFollower>(spec, options);
}

}  // namespace varve::engine::sqlite
