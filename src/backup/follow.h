// Following a source's log into a repository.
#pragma once

#include <functional>
#include <string>

#include "backup/backup.h"

namespace varve::backup {

struct FollowStatus {
  uint64_t txn = 0;      // the last stored (SQLite)
  std::string position;  // the same as text, of any engine: "txn:42", "lsn:0/3000028"
  Timestamp covered_until = {};
  uint64_t commits = 0, pieces = 0, bases = 0, bytes = 0;
  std::string message;  // what just happened, for people; may be empty
};
struct FollowOptions {
  BackupOptions backup;  // for bases
  std::chrono::milliseconds batch{400};
  // After this long without an unavailable store coming back, give up (kUnreachable). The WAL keeps the
  // commits meanwhile.
  Seconds patience = std::chrono::hours(24);
  bool once = false;  // capture what there is, then stop
  std::string slot;   // PostgreSQL's replication slot; empty: named by the source
};
// Runs until stopped (then everything captured is stored, and it is a success). kConflict: another follower
// is at work.
Result<FollowStatus> follow(repo::RepositoryPtr repo, const Context& ctx, const Source& source,
                            const FollowOptions& options,
                            const std::function<void(const FollowStatus&)>& report);

}  // namespace varve::backup
