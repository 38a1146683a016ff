// Backups of a cluster whose files the server sends: access = "replication".
#pragma once

#include "backup/postgres/work.h"

namespace varve::backup::postgres {

// As backup() of work.h.
Result<repo::Manifest> streamed_backup(const repo::RepositoryPtr& repo, const Context& ctx,
                                       const Source& source, const engine::postgres::ClusterSpec& spec,
                                       const BackupOptions& options, Progress& progress);

}  // namespace varve::backup::postgres
