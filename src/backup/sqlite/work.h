// The parts of SQLite's Engine (engines.h), one file each.
#pragma once

#include "backup/engines.h"

namespace varve::backup::sqlite {

Result<FollowStatus> follow(const repo::RepositoryPtr& repo, const Context& ctx, const Source& source,
                            const FollowOptions& options,
                            const std::function<void(const FollowStatus&)>& report);
Result<> for_each_event(const repo::RepositoryPtr& repo, const Context& ctx, const SourceState& state,
                        const HistoryQuery& query,
                        const std::function<Result<>(const engine::Event&)>& callback);
Result<RestoreReport> restore(const repo::RepositoryPtr& repo, const Context& ctx, const SourceState& state,
                              const RestoreOptions& options, Progress& progress);
Result<TableReport> restore_tables(const repo::RepositoryPtr& repo, const Context& ctx,
                                   const SourceState& state, const TableOptions& options, Progress& progress);

}  // namespace varve::backup::sqlite
