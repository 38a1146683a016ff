#include <algorithm>
#include <fmt/format.h>
#include <map>
#include <thread>

#include "backup/sqlite/log_replay.h"
#include "backup/sqlite/work.h"
#include "backup/store_capture.h"
#include "base/log.h"
#include "crypto/crypto.h"
#include "engine/sqlite/follower.h"
#include "repo/lease.h"
#include "repo/retention.h"

namespace varve::backup::sqlite {

namespace {

constexpr auto kLease = std::chrono::seconds(60);
constexpr auto kRenew = std::chrono::seconds(15);
constexpr auto kMark = std::chrono::seconds(5);
constexpr auto kPoll = std::chrono::milliseconds(500);
constexpr auto kReplaced = std::chrono::seconds(60);
constexpr auto kCalm = std::chrono::minutes(10);
constexpr auto kDrain = std::chrono::seconds(30);
constexpr auto kPutTime = std::chrono::seconds(60);
constexpr auto kLock = std::chrono::minutes(30);
constexpr size_t kFold = 64;  // pieces folded into one, and such folds into the next
constexpr uint64_t kFoldBytes = 24u << 20;

// Folds pieces behind the follower's back, so that a restore need not read every second by itself.
class Folder {
 public:
  Folder(repo::RepositoryPtr repo, const repo::WriterId& writer)
      : repo_(repo), writer_(std::move(repo), writer) {}
  ~Folder() { thread_ = {}; }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  void added(const PieceName& piece) {
    if (levels_.empty()) levels_.emplace_back();
    levels_[0].push_back(piece);
    if (levels_[0].size() < kFold || busy_) return;
    std::vector<PieceName> batch = std::exchange(levels_[0], {});
    busy_ = true;
    thread_ = std::jthread([this, batch = std::move(batch)](std::stop_token stop) {
      Context ctx;
      ctx.stop = stop;
      fold(ctx, 0, batch);
      busy_ = false;
    });
  }
  void reset() {
    thread_ = {};
    levels_.clear();
  }

 private:
  // A fold that fails costs speed, never data: the pieces stay.
  void fold(const Context& ctx, size_t level, const std::vector<PieceName>& batch) {
    auto merged = merge_pieces(repo_, ctx, batch, writer_, kFoldBytes);
    if (!merged || !*merged) {
      if (!merged && merged.error().code != Code::kInterrupted && merged.error().code != Code::kExists)
        log::warn("pieces of the log were not folded: {}", merged.error().describe());
      return;
    }
    const std::string key(batch.front().key.substr(0, batch.front().key.rfind('/') + 1));
    const auto name = repo::log_piece_key("x", "x", batch.front().first, batch.back().last);
    auto info = repo_->store().head(ctx, key + std::string(repo::last_segment(name)));
    if (!info) return;
    if (above_.size() <= level) above_.resize(level + 1);
    above_[level].push_back({info->key, batch.front().first, batch.back().last, info->size});
    if (above_[level].size() == kFold) {
      const auto next = std::exchange(above_[level], {});
      fold(ctx, level + 1, next);
    }
  }

  const repo::RepositoryPtr repo_;
  repo::LogWriter writer_;
  std::vector<std::vector<PieceName>> levels_;
  std::vector<std::vector<PieceName>> above_;  // touched by the thread alone, one at a time
  std::atomic<bool> busy_{false};
  std::jthread thread_;
};

class FollowRun {
 public:
  FollowRun(repo::RepositoryPtr repo, const Context& ctx, const Source& source, const FollowOptions& options,
            const std::function<void(const FollowStatus&)>& report)
      : repo_(repo),
        ctx_(ctx),
        source_(source),
        options_(options),
        report_(report),
        writer_id_{random_writer()},
        writer_(repo, writer_id_),
        folder_(repo, random_writer()) {}

  Result<FollowStatus> run() {
    TRY_ASSIGN(auto spec, db::parse_source(source_.address));
    TRY_ASSIGN(auto lease, repo::Lease::take(repo_, ctx_, source_.name, "follow", kLease));
    lease_.emplace(std::move(lease));
    auto result = follow(spec);
    // The lease goes also when we were stopped.
    const Context last = Context{}.with_deadline(std::chrono::seconds(10));
    if (result) (void)mark(last, true);
    if (auto r = lease_->release(last); !r)
      log::warn("the lease could not be released: {}", r.error().describe());
    if (!result) return fail(result.error());
    return status_;
  }

 private:
  static repo::WriterId random_writer() {
    repo::WriterId id;
    crypto::random_bytes(id.bytes);
    return id;
  }

  Result<> follow(const db::SourceSpec& spec) {
    db::FollowOptions follow_options;
    follow_options.batch = options_.batch;
    TRY_ASSIGN(follower_, db::Follower::open(ctx_, spec, follow_options));
    TRY_OK(begin("following begins"));
    const Timestamp begun = now();
    while (true) {
      auto polled = follower_->poll(ctx_, kPoll);
      if (!polled && polled.error().code == Code::kInterrupted) break;
      if (!polled) {
        TRY_OK(begin_after(polled.error()));
        continue;
      }
      TRY_OK(store_batch(polled->batch));
      status_.covered_until = std::max(status_.covered_until, polled->covered_until);
      if (polled->base_needed) {
        TRY_OK(begin_again(polled->reason));
      } else if (options_.once && polled->batch.set.commits.empty() && polled->covered_until >= begun) {
        break;
      }
      TRY_OK(keep_alive());
    }
    if (ctx_.stop.stop_requested()) TRY_OK(drain());
    return {};
  }

  // What was committed before we were asked to stop is stored before we do.
  Result<> drain() {
    const Timestamp asked = now();
    const Context last = Context{}.with_deadline(kDrain);
    while (last.check()) {
      auto polled = follower_->poll(last, std::chrono::milliseconds(100));
      if (!polled) return fail(polled.error());
      TRY_OK(store_batch(polled->batch));
      status_.covered_until = std::max(status_.covered_until, polled->covered_until);
      if (polled->base_needed || (polled->batch.set.commits.empty() && status_.covered_until >= asked)) break;
    }
    return {};
  }

  // The database could not be read: it may be replaced at this moment, or its disk fail now and then. A new
  // base settles it; when that does not last, bases are laid with pauses.
  Result<> begin_after(const Error& failure) {
    if (!may_pass(failure)) return fail(failure);
    const auto at = SteadyClock::now();
    const bool again = last_failure_ && at - *last_failure_ < kCalm;
    while (again && SteadyClock::now() - at < kReplaced) {
      TRY_OK(ctx_.sleep(kPoll));
      TRY_OK(keep_alive());
    }
    last_failure_ = SteadyClock::now();
    return begin_again(failure.describe());
  }

  static bool may_pass(const Error& e) {
    return e.code == Code::kNotFound || e.code == Code::kConflict || e.code == Code::kDatabase ||
           e.code == Code::kIo;
  }

  // Databases are replaced by programs that take a moment between the old one and the new one, and copied
  // over by some that are no database until they are whole.
  Result<> begin_again(const std::string& reason) {
    const auto began = SteadyClock::now();
    std::string told;
    for (;;) {
      auto begun = begin(reason);
      if (begun) return begun;
      const Error& e = begun.error();
      const auto patience = e.retry != Retry::kNever && e.code == Code::kUnreachable ? options_.patience
                            : may_pass(e)                                            ? kReplaced
                                                                                     : Seconds(0);
      if (SteadyClock::now() - began >= patience) return begun;
      if (std::exchange(told, e.describe()) != e.describe())
        report(fmt::format("{}: cannot be followed now: {}", reason, e.describe()));
      TRY_OK(ctx_.sleep(kPoll));
      TRY_OK(keep_alive());
    }
  }

  // Goes on where the stored log ends, or lays a new base.
  Result<> begin(const std::string& reason) {
    TRY_ASSIGN(SourceState state, load_source(*repo_, ctx_, source_.name));
    std::optional<db::CaptureData> after;
    uint64_t last = status_.txn;
    for (const EpochLog& e : state.epochs) {
      if (!e.pieces.empty()) last = std::max(last, e.pieces.back().last);
      last = std::max(last, e.last);
    }
    Timestamp seen = now();
    // A follower that sleeps, and wakes, may yet write to the log that it left; then we need one of our own.
    if (epoch_.empty() && lease_->others_have_ended() && !state.epochs.empty() && !state.epochs.back().gap) {
      const EpochLog& log = state.epochs.back();
      TRY_ASSIGN(after, end_of(state, log));
      if (after) {
        epoch_ = log.epoch;
        seen = log.covered_until;
        unseen_ = log.unseen;
        marked_ = log.mark;
      }
    }
    TRY_ASSIGN(auto capture, follower_->begin(ctx_, after, last + 1, seen));
    if (!capture) {
      status_.txn = last;
      report(fmt::format("going on after txn:{}", last));
      return {};
    }
    folder_.reset();
    base_.reset();
    epoch_ = repo::new_backup_id(now(), "log");
    unseen_.clear();
    marked_.clear();  // the old epoch keeps its last one
    Progress progress;
    report(fmt::format("{}: laying a base", reason));
    TRY_ASSIGN(repo::Manifest m, store_base(*capture, progress));
    status_.txn = last + 1;
    status_.covered_until = std::max(status_.covered_until, m.moment);
    ++status_.bases;
    status_.bytes += m.stored;
    report(fmt::format("base {} laid: {}", m.id, m.type));
    if (repo_->retain()) base_ = std::move(m);
    return {};
  }

  // A base may take longer than a lease lasts.
  Result<repo::Manifest> store_base(engine::Capture& capture, Progress& progress) {
    const std::jthread keeper([this](const std::stop_token& stop) {
      const Context ctx{.stop = stop};
      while (ctx.sleep(kRenew)) {
        if (auto r = lease_->renew(ctx); !r) log::debug("lease: {}", r.error().describe());
      }
    });
    CaptureHooks hooks;
    hooks.id = epoch_;
    hooks.before_commit = [this](repo::Manifest& m) -> Result<> {
      m.epoch = epoch_;
      return {};
    };
    return store_capture(repo_, ctx_, source_, capture, options_.backup, hooks, progress);
  }

  // Where each database stood at the end of the stored log; nullopt when the log does not say.
  Result<std::optional<db::CaptureData>> end_of(const SourceState& state, const EpochLog& log) {
    const repo::Manifest* base = nullptr;
    for (const auto& m : state.backups.manifests) {
      if (m.epoch == log.epoch && anchor_of(m)) base = &m;
    }
    if (!base) return std::nullopt;
    if (repo_->retain()) base_ = *base;
    TRY_ASSIGN(db::CaptureData data, db::decode_capture_data(base->engine_data));
    TRY_ASSIGN(auto path, path_through(log.pieces, *data.txn, log.last));
    for (const PieceName& name : path) {
      TRY_ASSIGN(OpenPiece piece, open_piece(repo_, ctx_, name));
      for (const db::Commit& c : piece.set.commits) {
        for (auto& db : data.databases) {
          if (db.name != piece.set.databases[c.database].name) continue;
          db.wal = c.wal;
          db.pages = c.pages_after;
        }
      }
    }
    data.txn = log.last;
    return std::optional(std::move(data));
  }

  std::string key_of(const repo::LogPieceHead& head) const {
    return repo::log_piece_key(head.source, head.epoch, head.first, head.last);
  }
  // Of the piece under this name, when it was us who wrote it; else kExists.
  Result<uint64_t> size_of_ours(const repo::LogPieceHead& head) {
    const Context ctx = Context{}.with_deadline(kPutTime);
    TRY_ASSIGN(const auto there, repo_->store().head(ctx, key_of(head)));
    TRY_ASSIGN(const auto piece, repo::LogPiece::open(repo_, ctx, there.key, there.size));
    if (piece.writer() != writer_id_) return fail(Code::kExists, there.key + " is another's");
    status_.bytes += there.size;
    folder_.added({there.key, head.first, head.last, there.size});
    return there.size;
  }

  // A put under way is ended, not cut, when we are asked to stop; only a store that does not answer is left.
  Result<> store_batch(const db::Batch& batch) {
    if (batch.set.commits.empty()) return {};
    const repo::LogPieceHead head{
        source_.name,        epoch_, batch.set.first_txn,  batch.set.last_txn, batch.set.first_time,
        batch.set.last_time, false,  db::encode(batch.set)};
    const std::vector<ByteView> slots(batch.slots.begin(), batch.slots.end());
    const auto give_up = SteadyClock::now() + options_.patience;
    bool tried = false;
    for (auto pause = std::chrono::milliseconds(200);;
         pause = std::min(pause * 2, std::chrono::milliseconds(5000))) {
      auto size = writer_.write(Context{}.with_deadline(kPutTime), head, slots);
      if (size) {
        status_.bytes += *size;
        folder_.added({key_of(head), head.first, head.last, *size});
        break;
      }
      if (size.error().code == Code::kExists && tried) {
        // An earlier try may have been stored, and only its answer lost.
        size = size_of_ours(head);
        if (size) break;
      }
      if (size.error().code == Code::kExists)
        return fail(Code::kConflict, fmt::format("another follower of {} is writing its log", source_.name),
                    "stop the other one; `varve status` names its host");
      if (size.error().retry == Retry::kNever || SteadyClock::now() > give_up) return fail(size.error());
      report("the repository cannot be reached: " + size.error().describe());
      TRY_OK(ctx_.sleep(pause));
      tried = true;
    }
    ++status_.pieces;
    status_.commits += batch.set.commits.size();
    status_.txn = batch.set.last_txn;
    status_.covered_until = std::max(status_.covered_until, batch.set.last_time);
    last_mark_ = SteadyClock::now();
    for (const db::Stretch& s : batch.set.unseen) unseen_.push_back({s.from, s.to});
    // The pieces know it; `list` reads only the mark.
    if (!batch.set.unseen.empty()) {
      if (auto r = mark(ctx_, false); !r) log::debug("no mark: {}", r.error().describe());
    }
    report("");
    return {};
  }

  Result<> keep_alive() {
    const auto at = SteadyClock::now();
    if (at - last_renewal_ > kRenew) {
      if (auto r = lease_->renew(ctx_); !r && r.error().code == Code::kConflict) return r;
      last_renewal_ = at;
    }
    if (at - last_mark_ > kMark) {
      last_mark_ = at;
      // The next one says the same and more.
      if (auto r = mark(ctx_, false); !r) log::debug("no mark: {}", r.error().describe());
    }
    if (base_ && at - last_lock_ > kLock) {
      last_lock_ = at;
      // There is slack of a day at least: it is tried again long before a lock runs out.
      if (auto r = lock_base(); !r) log::warn("{}", r.error().describe());
    }
    return {};
  }

  // Pieces of the log are of no use without the base, which must stay locked as long as the newest of them.
  Result<> lock_base() {
    const auto before = base_->retained_until;
    base_->writer.clear();  // what is known is known of all its packs
    TRY_OK(repo::extend_retention(*repo_, ctx_, *base_, before));
    if (base_->retained_until == before) return {};
    return repo_->store().extend_retention(ctx_, repo::manifest_key(source_.name, base_->id),
                                           *base_->retained_until);
  }

  Result<> mark(const Context& ctx, bool ended) {
    if (epoch_.empty() || status_.covered_until <= marked_until_) return {};
    TRY_OK(repo::put_log_mark(*repo_, ctx, source_.name,
                              {epoch_, status_.txn, status_.covered_until, ended, unseen_}));
    const auto key = repo::log_mark_key(source_.name, epoch_, status_.covered_until);
    if (!marked_.empty() && marked_ != key) TRY_OK(store::remove_one(repo_->store(), ctx, marked_));
    marked_ = key;
    marked_until_ = status_.covered_until;
    report("");
    return {};
  }

  void report(const std::string& message) {
    status_.message = message;
    if (report_) report_(status_);
  }

  const repo::RepositoryPtr repo_;
  const Context& ctx_;
  const Source& source_;
  const FollowOptions& options_;
  const std::function<void(const FollowStatus&)>& report_;
  const repo::WriterId writer_id_;
  repo::LogWriter writer_;
  Folder folder_;
  std::optional<repo::Lease> lease_;
  std::unique_ptr<db::Follower> follower_;
  std::string epoch_;
  std::optional<repo::Manifest> base_;  // kept where it must stay locked
  FollowStatus status_;
  SteadyClock::time_point last_renewal_ = SteadyClock::now(), last_mark_ = SteadyClock::now();
  std::optional<SteadyClock::time_point> last_failure_;
  SteadyClock::time_point last_lock_ = {};  // at once: the base may be old
  std::vector<repo::LogMark::Unseen> unseen_;
  std::string marked_;  // the newest mark's key: the next one replaces it
  Timestamp marked_until_ = {};
};

}  // namespace

Result<FollowStatus> follow(const repo::RepositoryPtr& repo, const Context& ctx, const Source& source,
                            const FollowOptions& options,
                            const std::function<void(const FollowStatus&)>& report) {
  return FollowRun(repo, ctx, source, options, report).run();
}

}  // namespace varve::backup::sqlite
