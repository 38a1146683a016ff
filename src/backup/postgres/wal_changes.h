// Which pages changed since a backup: by the server's WAL summaries, else by the indexes of the log's pieces
// (docs/adr/0008).
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "backup/store_capture.h"
#include "engine/postgres/capture.h"

namespace varve::backup::postgres {

// Everything that the WAL from the parent's start to the capture's start changed. Where summaries do not
// tell, ships what of that WAL is not in the repository yet, out of pg_wal. Null when nothing tells: all is
// to be compared. `warnings` say why a source that the server has was not used.
Result<std::unique_ptr<ChangedPages>> changes_since(const repo::RepositoryPtr& repo, const Context& ctx,
                                                    const std::string& source,
                                                    const engine::postgres::ClusterSpec& spec,
                                                    const engine::postgres::ClusterCapture& capture,
                                                    const repo::Manifest& parent,
                                                    std::vector<std::string>& warnings);

// Whether the WAL of a backup, which must be in the repository, holds a page whole: it does when it changed
// the page at all. True of none when the WAL does not tell.
Result<std::function<bool(const engine::postgres::BadPage&)>> logged_pages(
    const repo::RepositoryPtr& repo, const Context& ctx, const std::string& source,
    const engine::postgres::CaptureData& data);

}  // namespace varve::backup::postgres
