// Retention carried out: which backups and log pieces go.
#pragma once

#include "backup/log_state.h"
#include "plan/retention.h"

namespace varve::backup {

struct ExpireReport {
  struct Line {
    std::string backup;
    bool keep = false;
    std::vector<std::string>
        reasons;  // "last", "daily 2026-11-23", "held", "base of …", "window", "newest good backup"
  };
  std::vector<Line> backups;  // ascending by id
  uint64_t removed_backups = 0, removed_pieces = 0, removed_bytes = 0;
  bool dry_run = false;
};
// Manifests and log pieces go; their packs are left to collection. Never the newest readable backup, never a
// held one, never the base a kept stretch of log stands on. Any unreadable manifest of the source: kDamaged,
// nothing removed.
Result<ExpireReport> expire(const repo::Repository& repo, const Context& ctx, const std::string& source,
                            const plan::Retention& retention, Timestamp now, bool dry_run);

}  // namespace varve::backup
