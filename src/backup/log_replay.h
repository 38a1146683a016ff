// The followed log of a page-set engine, joined with the repository: reading pieces, finding places in them,
// replaying.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "backup/point.h"
#include "engine/sqlite/page_set.h"
#include "repo/log_piece.h"

namespace varve::backup {

// A piece with its commits decoded; the pages' bytes stay in the store until read.
struct OpenPiece {
  repo::LogPiece piece;
  engine::sqlite::PageSet set;
};
Result<OpenPiece> open_piece(repo::RepositoryPtr repo, const Context& ctx, const PieceName& name);

// The index of the first piece of `pieces` (none merged, ascending) whose last commit is later than `time`;
// size() if none.
Result<size_t> first_piece_after(repo::RepositoryPtr repo, const Context& ctx,
                                 const std::vector<PieceName>& pieces, Timestamp time);
// Only the pieces in which every commit stands by itself, ascending.
std::vector<PieceName> commit_pieces(const EpochLog& log);

// The fewest pieces that lead from txn `from` to txn `to`: merged ones as far as they reach. kIncomplete for
// a gap.
Result<std::vector<PieceName>> path_through(const std::vector<PieceName>& pieces, uint64_t from, uint64_t to);

// What one piece leaves of each page, for commits in (from, until]. Calls in no order within a piece.
struct ReplaySink {
  // A database's size in pages after the piece; page_size as the log has it. Called before its pages.
  std::function<Result<>(const std::string& database, uint32_t page_size, uint64_t pages)> size;
  std::function<Result<>(const std::string& database, uint32_t page, ByteView bytes)> page;
  // Instead of `page`, when set: where the page is, not read.
  std::function<Result<>(const std::string& database, uint32_t page, size_t piece, uint32_t slot)> place;
};
// Replays the pieces in order; the number of commits taken in.
Result<uint64_t> replay(repo::RepositoryPtr repo, const Context& ctx, const std::vector<PieceName>& pieces,
                        uint64_t from, uint64_t until, const ReplaySink& sink);

// The txn a state includes, as its manifest says; nullopt when it stands in no log.
std::optional<uint64_t> anchor_of(const repo::Manifest& m);
// The backups from which an epoch's log can be replayed, ascending by txn.
std::vector<const repo::Manifest*> bases_of(const SourceState& state, const std::string& epoch);

// While a follower is at work: waits shortly until its log includes the captured state, and writes the place
// into the manifest (epoch, engine data). No place is no error: the backup then stands by itself.
Result<> anchor_to_log(repo::RepositoryPtr repo, const Context& ctx, repo::Manifest& m);

// Folds pieces that follow each other into one (the latest version of each page), beside them. Does nothing
// when the result would be larger than max_bytes.
Result<bool> merge_pieces(repo::RepositoryPtr repo, const Context& ctx, const std::vector<PieceName>& pieces,
                          repo::LogWriter& writer, uint64_t max_bytes);

}  // namespace varve::backup
