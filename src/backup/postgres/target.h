// Which backup, which timeline and which recovery settings lead to the moment asked for.
#pragma once

#include <optional>
#include <string>

#include "backup/log_state.h"
#include "backup/point.h"
#include "engine/postgres/capture_data.h"
#include "engine/postgres/recovery.h"

namespace varve::backup::postgres {

namespace db = engine::postgres;

struct Target {
  const repo::Manifest* base = nullptr;  // of the SourceState
  db::CaptureData data;                  // what the backup says of the cluster
  db::RecoveryTarget recovery;
  Timestamp moment = {};               // of the state that will be restored, as far as the log tells
  std::string position;                // "lsn:0/3000028", "xid:731402", …
  uint64_t pieces = 0, log_bytes = 0;  // of the log, from the backup to the target
  uint64_t until = 0;                  // LSN: no record that begins there or later is replayed
};

// kNotFound: no such source or backup, or no such transaction or restore point in the log. kIncomplete: the
// point cannot be recovered; the hint names what can.
Result<Target> find_target(const repo::RepositoryPtr& repo, const Context& ctx, const SourceState& state,
                           const Point& point, const std::optional<std::string>& backup);

}  // namespace varve::backup::postgres
