// One backup of one source into one repository.
#pragma once

#include <optional>
#include <string>

#include "backup/source.h"
#include "base/progress.h"
#include "repo/manifest.h"
#include "repo/repository.h"

namespace varve::backup {

enum class Type { kAuto, kFull, kDifferential, kIncremental };
Result<Type> parse_type(const std::string& text);

struct BackupOptions {
  Type type = Type::kAuto;  // auto: a full when there is none, or the last full is older than full_every;
                            // else incremental
  Seconds full_every = std::chrono::hours(24 * 30);
  int compression_level = 3;
  unsigned workers = 0;  // 0: as many as cores, at most 8
};

// Everything the backup needs is in the repository and committed when this returns. A differential or
// incremental without a usable parent becomes a full, and says so in the manifest's warnings.
Result<repo::Manifest> run_backup(repo::RepositoryPtr repo, const Context& ctx, const Source& source,
                                  const BackupOptions& options, Progress& progress);

}  // namespace varve::backup
