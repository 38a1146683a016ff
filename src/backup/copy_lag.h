// How far a copy is behind its original, told by the names of objects alone: no key is needed.
#pragma once

#include <string>
#include <vector>

#include "store/store.h"

namespace varve::backup {

struct CopyLag {
  uint64_t backups = 0;              // at the original
  std::vector<std::string> missing;  // ids of those that the copy lacks, ascending
  // Of the newest log at the original: its last transaction, and the last of it at the copy. 0: none.
  std::string epoch;
  uint64_t last = 0, copied = 0;
};
// Of one source. Lists what both stores have of it. Where the original is at work meanwhile, what came during
// the call may or may not count.
Result<CopyLag> copy_lag(const Context& ctx, store::Store& from, store::Store& to, const std::string& source);

}  // namespace varve::backup
