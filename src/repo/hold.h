// Holds: backups that retention must not remove, whatever the plan says.
#pragma once

#include "repo/repository.h"

namespace varve::repo {

struct HoldInfo {
  std::string backup, reason, user;
  Timestamp created = {};
};
Result<> place_hold(const Repository& repo, const Context& ctx, const std::string& source,
                    const std::string& backup,
                    const std::string& reason);  // kExists when held already, kNotFound without such a backup
// kNotFound when it is not held.
Result<> release_hold(const Repository& repo, const Context& ctx, const std::string& source,
                      const std::string& backup);
// By name of the object: a hold counts also when its content cannot be read.
Result<std::vector<HoldInfo>> list_holds(const Repository& repo, const Context& ctx,
                                         const std::string& source);

}  // namespace varve::repo
