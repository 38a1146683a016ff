// What happened to a source, from its log.
#pragma once

#include <functional>

#include "backup/log_state.h"
#include "engine/engine.h"

namespace varve::backup {

struct HistoryQuery {
  std::optional<Timestamp> since, until;
  std::string table;  // empty: all; matches "orders" and "app.db:orders"
};
// Ascending by time. Kinds beside those of the changes: "commit" (one that changed no table that is known),
// "base" (the log begins anew here: single commits before it are unknown) and "gap" (commits from this
// position on are missing).
Result<> for_each_event(const repo::RepositoryPtr& repo, const Context& ctx, const SourceState& state,
                        const HistoryQuery& query,
                        const std::function<Result<>(const engine::Event&)>& callback);

}  // namespace varve::backup
