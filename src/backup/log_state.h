// What a repository holds of one source: its backups, its log, and the stretches in which any moment can be
// recovered.
//
// A log is a row of numbered positions: transactions of SQLite, bytes of PostgreSQL's WAL (LSN). Pieces hold
// stretches of it; what a position means is the engine's business (engines.h).
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/time.h"
#include "repo/log_piece.h"
#include "repo/manifest.h"
#include "repo/repository.h"

namespace varve::backup {

// A stretch in which any moment can be recovered; a backup outside every log is a window of one moment. Where
// a follower found commits after nobody had looked for a while, one window ends and another begins.
struct Window {
  Timestamp from = {}, to = {};
  std::string epoch;             // empty: a single backup
  uint64_t first = 0, last = 0;  // each position can be recovered by its number, seen in time or not
  bool live = false;             // a follower is at work: `to` moves on
};

// One stored piece of the log, by name alone (its content is read when needed).
struct PieceName {
  std::string key;
  uint64_t first = 0, last = 0, size = 0;
};
// The log of one epoch: its base, the pieces in order, and what they cover. Gaps are told, not hidden.
struct EpochLog {
  std::string epoch;              // its base's backup id
  std::vector<PieceName> pieces;  // ascending by (first, then longest first); merged ones among them
  uint64_t last = 0;  // contiguous from the last base that begins anew; pieces beyond a gap do not count
  Timestamp covered_until = {};
  std::string mark;                                // the newest one's key, where there is any
  std::vector<repo::LogMark::Unseen> unseen = {};  // as far as that mark tells them
  bool gap = false;
  uint64_t gap_after = 0;  // where the first gap is, when there is one
  bool lost_end = false;   // there was more after `last`, as a later piece or the mark tells
};

// What there is of each epoch's log by the names of its objects alone: its pieces, and the newest mark.
Result<std::map<std::string, EpochLog>> list_log(const repo::Repository& repo, const Context& ctx,
                                                 const std::string& source);

struct SourceState {
  std::string source;
  std::string engine;  // of its newest readable backup; empty when there is none
  repo::ManifestList backups;
  std::vector<EpochLog> epochs;   // ascending by epoch
  std::vector<Window> windows;    // ascending by from
  std::vector<std::string> held;  // backup ids
};
Result<SourceState> load_source(const repo::Repository& repo, const Context& ctx, const std::string& source);

// The nearest recoverable moments on both sides, as a person can type them: for a hint.
std::string nearest_moments(const SourceState& state, Timestamp asked);
// A position of an epoch's log, as text: "txn:42".
std::string position_text(std::string_view epoch, uint64_t number);
// How far the pieces lead from a position without a gap.
uint64_t contiguous_end(const std::vector<PieceName>& pieces, uint64_t from);
// The position after which the log must be replayed onto the backup; nullopt when it stands in no log.
std::optional<uint64_t> anchor_of(const repo::Manifest& m);
// The backups from which an epoch's log can be replayed, ascending by anchor.
std::vector<const repo::Manifest*> bases_of(const SourceState& state, const std::string& epoch);
// The chosen backup by its id. kNotFound with the nearest, kDamaged when its manifest cannot be read.
Result<const repo::Manifest*> find_backup(const SourceState& state, const std::string& id);

// kNotFound without any backup; kDamaged when none can be read.
Result<> ensure_backups(const SourceState& state);

// The index of the first piece of `pieces` (none merged, ascending) whose last moment is later than `time`;
// size() if none.
Result<size_t> first_piece_after(repo::RepositoryPtr repo, const Context& ctx,
                                 const std::vector<PieceName>& pieces, Timestamp time);
// Only the pieces in which every position stands by itself, ascending.
std::vector<PieceName> commit_pieces(const EpochLog& log);
// The fewest pieces that lead from position `from` to `to`: merged ones as far as they reach. kIncomplete for
// a gap.
Result<std::vector<PieceName>> path_through(const std::vector<PieceName>& pieces, uint64_t from, uint64_t to);

}  // namespace varve::backup
