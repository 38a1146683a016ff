#include "backup/postgres/follow_presence.h"

#include "base/log.h"

namespace varve::backup::postgres {
namespace {

constexpr auto kLease = std::chrono::seconds(60);
constexpr auto kRenew = std::chrono::seconds(15);
constexpr auto kMark = std::chrono::seconds(3);
constexpr auto kAnswer = std::chrono::seconds(10);

}  // namespace

Result<FollowPresence> FollowPresence::begin(const repo::RepositoryPtr& repo, const Context& ctx,
                                             const std::string& source) {
  TRY_ASSIGN(auto lease, repo::Lease::take(repo, ctx, source, "follow", kLease));
  return FollowPresence(repo, source, std::move(lease));
}

void FollowPresence::enter(std::string epoch, std::string newest) {
  epoch_ = std::move(epoch);
  marked_ = std::move(newest);
}

Result<bool> FollowPresence::keep(const Context& ctx, const FollowReach& reach) {
  const auto at = SteadyClock::now();
  const Context bounded = ctx.with_deadline(kAnswer);
  if (at - last_renewal_ > kRenew) {
    if (auto r = lease_.renew(bounded); !r && r.error().code == Code::kConflict) return fail(r.error());
    last_renewal_ = at;
  }
  if (at - last_mark_ <= kMark) return false;
  last_mark_ = at;
  const auto marked = mark(bounded, reach, false);
  // The next one says the same and more.
  if (!marked) log::debug("no mark: {}", marked.error().describe());
  return marked.value_or(false);
}

std::jthread FollowPresence::keep_lease() {
  return std::jthread([this](const std::stop_token& stop) {
    const Context ctx{.stop = stop};
    while (ctx.sleep(kRenew)) {
      if (auto r = lease_.renew(ctx.with_deadline(kAnswer)); !r)
        log::debug("lease: {}", r.error().describe());
    }
  });
}

void FollowPresence::end(const Context& ctx, const std::optional<FollowReach>& reach) {
  if (reach) {
    if (auto m = mark(ctx, *reach, true); !m) log::debug("no mark: {}", m.error().describe());
  }
  if (auto r = lease_.release(ctx); !r)
    log::warn("the lease could not be released: {}", r.error().describe());
}

Result<bool> FollowPresence::mark(const Context& ctx, const FollowReach& reach, bool ended) {
  if (epoch_.empty() || reach.end == 0 || reach.covered_until <= marked_until_) return false;
  TRY_OK(repo::put_log_mark(*repo_, ctx, source_, {epoch_, reach.end - 1, reach.covered_until, ended}));
  marked_until_ = reach.covered_until;
  const auto key = repo::log_mark_key(source_, epoch_, reach.covered_until);
  const std::string before = std::exchange(marked_, key);
  if (!before.empty() && before != key) TRY_OK(store::remove_one(repo_->store(), ctx, before));
  return true;
}

}  // namespace varve::backup::postgres
