// Leases save double work (two followers of one source); nothing's safety rests on them. Write-once: each
// renewal is the next numbered object, created only if it is not there, so of two takers one wins without any
// clock.
#pragma once

#include "os/process.h"
#include "repo/repository.h"

namespace varve::repo {

struct LeaseInfo {
  uint64_t number = 0;
  std::string source, what, holder;
  os::ProcessIdentity process;
  Timestamp taken = {}, expires = {};
};

// Neither expired nor released, and its process not known dead.
bool is_live(const LeaseInfo& lease, Timestamp at);

class Lease {
 public:
  // kConflict, naming host, pid and since when, while another holds it: unexpired, and its process not known
  // dead.
  static Result<Lease> take(RepositoryPtr repo, const Context& ctx, const std::string& source,
                            const std::string& what, Seconds duration);
  Lease(Lease&&) noexcept = default;
  Lease& operator=(Lease&&) noexcept = default;
  // The one before was released, or its process is known dead: nobody else can be at work. False too when
  // nothing is known of the one before; then it may be asleep, and wake.
  bool others_have_ended() const { return others_have_ended_; }
  // kConflict when another has taken it since (we slept too long): the work must stop.
  Result<> renew(const Context& ctx);
  // Lets the next one take it at once. Without it (a crash) the lease ends by itself.
  Result<> release(const Context& ctx);

 private:
  Lease(RepositoryPtr repo, LeaseInfo info, Seconds d, bool others_have_ended)
      : repo_(std::move(repo)), info_(std::move(info)), duration_(d), others_have_ended_(others_have_ended) {}
  RepositoryPtr repo_;
  LeaseInfo info_;
  Seconds duration_;
  bool others_have_ended_ = false;
};

// The newest lease of a source, live or not (is_live()); nullopt when there never was one.
Result<std::optional<LeaseInfo>> current_lease(const Repository& repo, const Context& ctx,
                                               const std::string& source);

}  // namespace varve::repo
