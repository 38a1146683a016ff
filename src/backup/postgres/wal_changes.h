// Which pages changed since a backup, from the indexes of the log's pieces.
#pragma once

#include <functional>
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

// Whether the WAL of a backup, which must be in the repository, holds a page whole: it does when it changed
// the page at all. True of none when the WAL does not tell.
Result<std::function<bool(const engine::postgres::BadPage&)>> logged_pages(
    const repo::RepositoryPtr& repo, const Context& ctx, const std::string& source,
    const engine::postgres::CaptureData& data);

}  // namespace varve::backup::postgres
