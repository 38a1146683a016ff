// The server's own account of which blocks its log changed: WAL summaries (PostgreSQL 17 and later, with
// summarize_wal = on), asked for by SQL.
//
// Source: src/backend/postmaster/walsummarizer.c, src/backend/backup/walsummaryfuncs.c, and how
// src/backend/backup/basebackup_incremental.c uses them.
#pragma once

#include <optional>
#include <vector>

#include "engine/postgres/block_changes.h"
#include "engine/postgres/connection.h"
#include "engine/postgres/lsn.h"

namespace varve::engine::postgres {

// WAL of one timeline from `from` up to before `to`.
struct WalStretch {
  Timeline timeline = 0;
  Lsn from = 0, to = 0;
  bool operator==(const WalStretch&) const = default;
};

// What changed along the way, whose stretches follow each other. Waits for the summarizer as long as it comes
// on. nullopt: this server makes no summaries. kIncomplete: they do not cover the way; kDatabase: they cannot
// be read (by this role). Memory as BlockChanges.
Result<std::optional<BlockChanges>> summarized_changes(const Context& ctx, const ClusterSpec& spec,
                                                       const std::vector<WalStretch>& way,
                                                       uint32_t block_size);

// The ranges that cover the way, of those there are: a stretch is what one summary tells of. kIncomplete with
// the place from which on one is missing.
Result<std::vector<WalStretch>> choose_summaries(std::vector<WalStretch> summaries,
                                                 const std::vector<WalStretch>& way);

// One row of pg_wal_summary_contents().
struct SummaryRow {
  RelFile file;
  uint64_t fork = 0, block = 0;
  bool is_limit = false;  // `block` is not a changed block, but where the new part of the file begins
};
// Takes a row in, and what summaries leave out: records that clear bits of the visibility map do not name its
// page, and a truncation clears bits in the last page that stays. kDatabase for an impossible row.
Result<> apply_summary(BlockChanges& changes, const SummaryRow& row);

}  // namespace varve::engine::postgres
