// `varve check` of a PostgreSQL source.
#pragma once

#include <vector>

#include "base/context.h"
#include "engine/engine.h"
#include "engine/postgres/source.h"

namespace varve::engine::postgres {

// What would make a backup or a restore of this cluster fail or surprise, each with its mend: the server out
// of reach or too old, permissions missing, the data directory not readable or another server's, settings
// that backups need, archiving that is off or fails, slots that are lost or hold back the WAL, programs
// missing for a restore here. An error only when the context ends.
Result<std::vector<Problem>> probe(const Context& ctx, const ClusterSpec& spec);

}  // namespace varve::engine::postgres
