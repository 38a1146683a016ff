#include "store/sftp/pool.h"

#include "base/log.h"

namespace varve::store::sftp {
namespace {

constexpr std::chrono::seconds kTrusted{20};  // a connection that was used so recently stands
constexpr std::chrono::seconds kAnswers{5};   // and one that stands answers within this

}  // namespace

Result<Pool::Lease> Pool::take(const Context& ctx) {
  for (;;) {
    std::unique_lock lock(mutex_);
    auto may_go_on = [&] { return !idle_.empty() || open_ < most_; };
    const bool ready = ctx.deadline == SteadyClock::time_point::max()
                           ? came_back_.wait(lock, ctx.stop, may_go_on)
                           : came_back_.wait_until(lock, ctx.stop, ctx.deadline, may_go_on);
    TRY_OK(ctx.check());
    if (!ready) continue;
    if (!idle_.empty()) {
      Idle idle = std::move(idle_.back());
      idle_.pop_back();
      lock.unlock();
      if (good(ctx, idle)) return Lease(*this, std::move(idle.sftp));
      log::debug("the idle connection to {} has ended", idle.sftp->peer());
      idle.sftp.reset();
      one_less();
      continue;
    }
    ++open_;
    lock.unlock();
    auto sftp = net::Sftp::connect(ctx, options_);
    if (sftp) return Lease(*this, std::move(*sftp));
    one_less();
    return fail(std::move(sftp).error());
  }
}

bool Pool::good(const Context& ctx, Idle& idle) {
  if (!idle.sftp->still_open()) return false;
  if (SteadyClock::now() - idle.since < kTrusted) return true;
  return idle.sftp->real_path(ctx.with_deadline(kAnswers), ".").has_value();
}

void Pool::give_back(std::unique_ptr<net::Sftp> sftp) {
  if (!sftp->usable()) {
    sftp.reset();
    one_less();
    return;
  }
  std::lock_guard lock(mutex_);
  idle_.push_back({std::move(sftp), SteadyClock::now()});
  came_back_.notify_one();
}

void Pool::one_less() {
  std::lock_guard lock(mutex_);
  --open_;
  came_back_.notify_one();
}

}  // namespace varve::store::sftp
