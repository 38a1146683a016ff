// The parts of PostgreSQL's Engine (engines.h), one file each.
#pragma once

#include "backup/engines.h"
#include "engine/postgres/source.h"

namespace varve::backup::postgres {

Result<engine::postgres::ClusterSpec> spec_of(const Source& source);

Result<repo::Manifest> backup(const repo::RepositoryPtr& repo, const Context& ctx, const Source& source,
                              const BackupOptions& options, Progress& progress);
Result<FollowStatus> follow(const repo::RepositoryPtr& repo, const Context& ctx, const Source& source,
                            const FollowOptions& options,
                            const std::function<void(const FollowStatus&)>& report);
Result<RestoreReport> restore(const repo::RepositoryPtr& repo, const Context& ctx, const SourceState& state,
                              const RestoreOptions& options, Progress& progress);
Result<TablePreview> preview_tables(const repo::RepositoryPtr& repo, const Context& ctx,
                                    const SourceState& state, const TableOptions& options);
Result<TableReport> restore_tables(const repo::RepositoryPtr& repo, const Context& ctx,
                                   const SourceState& state, const TableOptions& options, Progress& progress);

Result<> for_each_event(const repo::RepositoryPtr& repo, const Context& ctx, const SourceState& state,
                        const HistoryQuery& query,
                        const std::function<Result<>(const engine::Event&)>& callback);

}  // namespace varve::backup::postgres
