// What below sources/ is at one store and not at the other: looked at before any pack is listed. Part of
// copy.
#pragma once

#include <map>
#include <set>

#include "backup/copy_objects.h"

namespace varve::backup {

struct CopiedEpoch {
  uint64_t missing = 0, missing_bytes = 0;  // pieces
  bool begun = false;                       // the target has pieces of it
  store::Key mark;                          // the newest at the original
  std::vector<store::Key> marks;            // at the target, ascending
};
using EpochKey = std::pair<std::string, std::string>;  // source, epoch

struct CopySurvey {
  std::vector<CopyItem> manifests, holds;  // that the target lacks
  std::vector<CopyItem> doubtful;          // that both have, and that are to be compared
  std::map<EpochKey, CopiedEpoch> epochs;
  uint64_t present = 0;
};
// kNotFound for a chosen source that is not at `from`.
Result<CopySurvey> survey(const Context& ctx, store::Store& from, store::Store& to,
                          const CopyOptions& options);

// "app", "20261123-…" of the name of a manifest.
EpochKey backup_of(std::string_view manifest_key);
std::string backup_name(std::string_view manifest_key);  // "app/20261123-…"

}  // namespace varve::backup
