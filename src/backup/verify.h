// Every byte read, decrypted and checked.
#pragma once

#include <set>

#include "backup/log_state.h"
#include "base/progress.h"

namespace varve::backup {

struct VerifyProblem {
  std::string object;  // its key
  std::string kind;    // missing, truncated, damaged, swapped, foreign, gap, unreadable, condemned
  std::string message;
  std::vector<std::string>
      affects;  // backups ("source/id") and log stretches that cannot be restored because of it
};
struct VerifyReport {
  uint64_t objects = 0, bytes = 0;
  std::vector<VerifyProblem> problems;
  std::vector<std::string> restorable;  // "source/backup-id" still whole
  std::vector<std::string> broken;
  std::vector<std::string> notes;  // harmless, yet strange: objects that are not Varve's
  uint64_t unreferenced_objects = 0, unreferenced_bytes = 0;  // left by interrupted work; gc removes them
};
struct VerifyOptions {
  std::string source = {};  // empty: all, and the repository's own objects
  bool quick = false;       // every object's checksum over its bytes; without decrypting frames
  unsigned workers = 0;
};
// Problems do not fail the call; the command turns them into exit code 4.
Result<VerifyReport> verify(repo::RepositoryPtr repo, const Context& ctx, const VerifyOptions& options,
                            Progress& progress);

}  // namespace varve::backup
