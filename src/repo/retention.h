// Under the store's own lock: what a backup needs cannot be removed by anyone for as long as was promised.
#pragma once

#include "repo/manifest.h"

namespace varve::repo {

// What is put for a promise of `retain` is locked for so much longer, so that a pack that backup after backup
// builds on has its lock extended once in a while and not by each of them.
Seconds retention_slack(Seconds retain);

// Everything that restoring `m` needs but the manifest itself (packs, keys, varve.json) is locked for
// repo.retain() from now when this returns, and m.retained_until says until when. Without retain() it does
// nothing. `known`: until when all packs that `m` did not write are known to be locked; costs nothing while
// that is enough, else a request a pack.
Result<> extend_retention(const Repository& repo, const Context& ctx, Manifest& m,
                          std::optional<Timestamp> known);

}  // namespace varve::repo
