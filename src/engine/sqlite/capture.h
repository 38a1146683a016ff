// A consistent capture of a source's databases, made of snapshots already taken.
#pragma once

#include "engine/sqlite/snapshot.h"

namespace varve::engine::sqlite {

// `txn`: where in the followed log this state stands, when it does. `moment`: just before the last snapshot
// was taken.
std::unique_ptr<Capture> make_capture(std::vector<std::unique_ptr<Snapshot>> snapshots, bool several,
                                      std::optional<uint64_t> txn, Timestamp moment,
                                      std::vector<std::string> warnings);

}  // namespace varve::engine::sqlite
