// Whether a store may be copied to, and keeping collections there out of the copy's way. Part of copy.
#pragma once

#include "backup/copy.h"
#include "repo/copy_pin.h"

namespace varve::backup {

// varve.json of the repository that is copied, byte for byte, and what it says.
struct CopiedConfig {
  std::string text;
  repo::Config config;
};
Result<CopiedConfig> read_copied_config(const Context& ctx, store::Store& from);

// True: the target holds this repository. False: nothing, or what a copy of it that did not end has left.
// kConflict: anything else. kDamaged: its varve.json is damaged (with `repair` it is replaced).
Result<bool> check_target(const Context& ctx, store::Store& to, const CopiedConfig& config, bool repair);

// Puts the pin, then waits until no collection is under way that may not
// have seen it. kUsage when both stores are the same place.
Result<repo::CopyPin> pin_target(const Context& ctx, const store::StorePtr& from, const store::StorePtr& to,
                                 const repo::RepoId& id, const CopyOptions& options);

}  // namespace varve::backup
