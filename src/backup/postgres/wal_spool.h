// The WAL that a scratch database replays, put where its server looks for it.
#pragma once

#include <functional>

#include "backup/postgres/scratch.h"
#include "backup/postgres/target.h"
#include "base/progress.h"

namespace varve::backup::postgres {

// How many bytes of segments lead from the backup to the target.
uint64_t spool_size(const Target& target);

// Writes the segments from the backup's start to the target, and the history of its timeline, into pg_wal of
// the scratch database: the server needs neither the repository nor its key. Every record is looked at on the
// way: one that makes a tablespace loses its path, which would lead the server out of the scratch folder,
// perhaps to the tablespace of the living database.
Result<> spool_wal(const repo::RepositoryPtr& repo, const Context& ctx, const SourceState& state,
                   const Target& target, const Scratch& scratch, Progress& progress);

}  // namespace varve::backup::postgres
