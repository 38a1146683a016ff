// What a follower leaves in the repository besides the log: its lease, and marks of how far it came.
#pragma once

#include <memory>
#include <string>
#include <thread>

#include "repo/lease.h"
#include "repo/log_piece.h"

namespace varve::backup::postgres {

// How far the log is stored: everything before `end`, and every commit up to the moment.
struct FollowReach {
  uint64_t end = 0;
  Timestamp covered_until = {};
};

// Not thread-safe, but for keep_lease().
class FollowPresence {
 public:
  // kConflict while another follower holds the lease.
  static Result<FollowPresence> begin(const repo::RepositoryPtr& repo, const Context& ctx,
                                      const std::string& source);
  FollowPresence(FollowPresence&&) noexcept = default;

  const std::string& epoch() const { return epoch_; }
  // Marks are of this epoch from now on; the first one replaces `newest`, where that is one's key.
  void enter(std::string epoch, std::string newest);
  // To be called often: renews the lease and puts a mark when it is time. kConflict: another has taken over.
  // True: a mark was put.
  Result<bool> keep(const Context& ctx, const FollowReach& reach);
  // Renews the lease until it is destroyed; nothing else may be called meanwhile.
  std::jthread keep_lease();
  // With a last mark, if there is something to say.
  void end(const Context& ctx, const std::optional<FollowReach>& reach);

 private:
  FollowPresence(repo::RepositoryPtr repo, std::string source, repo::Lease lease)
      : repo_(std::move(repo)), source_(std::move(source)), lease_(std::move(lease)) {}
  Result<bool> mark(const Context& ctx, const FollowReach& reach, bool ended);

  repo::RepositoryPtr repo_;
  std::string source_;
  repo::Lease lease_;
  std::string epoch_;
  std::string marked_;  // the newest mark's key: the next one replaces it
  Timestamp marked_until_ = {};
  SteadyClock::time_point last_renewal_ = SteadyClock::now(), last_mark_ = SteadyClock::now();
};

}  // namespace varve::backup::postgres
