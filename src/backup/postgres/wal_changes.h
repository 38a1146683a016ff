// Which pages changed since a backup, from the indexes of the log's pieces.
#pragma once

#include <memory>
#include <string>

#include "backup/store_capture.h"
#include "engine/postgres/capture.h"

namespace varve::backup::postgres {

// Everything that the WAL from the parent's start to the capture's start changed. Ships what of that WAL is
// not in the repository yet, out of pg_wal. Null, and `why`, when the log does not tell.
Result<std::unique_ptr<ChangedPages>> changes_since(const repo::RepositoryPtr& repo, const Context& ctx,
                                                    const std::string& source,
                                                    const engine::postgres::ClusterCapture& capture,
                                                    const repo::Manifest& parent, std::string& why);

}  // namespace varve::backup::postgres
