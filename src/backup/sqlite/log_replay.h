// The followed log of a page-set engine, joined with the repository: reading pieces, finding places in them,
// replaying.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "backup/log_state.h"
#include "engine/sqlite/page_set.h"
#include "repo/log_piece.h"

namespace varve::backup::sqlite {

namespace db = engine::sqlite;

// A piece with its commits decoded; the pages' bytes stay in the store until read.
struct OpenPiece {
  repo::LogPiece piece;
  db::PageSet set;
};
Result<OpenPiece> open_piece(repo::RepositoryPtr repo, const Context& ctx, const PieceName& name);

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

// While a follower is at work: waits shortly until its log includes the captured state, and writes the place
// into the manifest (epoch, engine data). No place is no error: the backup then stands by itself.
Result<> anchor_to_log(repo::RepositoryPtr repo, const Context& ctx, repo::Manifest& m);

// Folds pieces that follow each other into one (the latest version of each page), beside them. Does nothing
// when the result would be larger than max_bytes.
Result<bool> merge_pieces(repo::RepositoryPtr repo, const Context& ctx, const std::vector<PieceName>& pieces,
                          repo::LogWriter& writer, uint64_t max_bytes);

}  // namespace varve::backup::sqlite
