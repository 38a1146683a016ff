// Which backup and which pieces of the log lead to the moment asked for.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "backup/log_state.h"
#include "backup/point.h"

namespace varve::backup::sqlite {

// What a restore to a point will use.
struct Target {
  repo::Manifest base;
  std::vector<PieceName> pieces;  // to replay in order: longest merged ones first, single commits at the end
  std::optional<uint64_t> until_txn;  // replay no commit beyond it
  Timestamp moment = {};              // of the state that will be restored
  std::string position;               // "txn:42", or the backup's stop position
};
// kNotFound: no such source or backup. kIncomplete: the point is not recoverable, and the hint names the
// nearest recoverable moments before and after. `backup`: use this one as the base (then `end` is its own
// state).
Result<Target> find_target(const repo::RepositoryPtr& repo, const Context& ctx, const SourceState& state,
                           const Point& point, const std::optional<std::string>& backup);

}  // namespace varve::backup::sqlite
