// The moment a person asks for, and what can be recovered.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/time.h"
#include "repo/log_piece.h"
#include "repo/manifest.h"
#include "repo/repository.h"

namespace varve::backup {

// POINT of the command line.
struct Point {
  enum class Kind { kLatest, kEnd /* of the chosen backup */, kTime, kTxn, kBeforeTxn } kind = Kind::kLatest;
  Timestamp time = {};
  uint64_t txn = 0;
  std::string text;  // as typed
};
// "latest", "end", RFC 3339, "5 minutes ago", "txn:42", "before:42". lsn:, xid:, gtid:, name: are kUsage
// until their engines are here. kUsage with examples otherwise.
Result<Point> parse_point(const std::string& text, Timestamp reference);

// A stretch in which any moment can be recovered; a backup outside every log is a window of one moment. Where
// a follower found commits after nobody had looked for a while, one window ends and another begins.
struct Window {
  Timestamp from = {}, to = {};
  std::string epoch;                     // empty: a single backup
  uint64_t first_txn = 0, last_txn = 0;  // each of them can be recovered by its number, seen in time or not
  bool live = false;                     // a follower is at work: `to` moves on
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
  uint64_t last_txn = 0;  // contiguous from the last base that begins anew; pieces beyond a gap do not count
  Timestamp covered_until = {};
  std::string mark;                                // the newest one's key, where there is any
  std::vector<repo::LogMark::Unseen> unseen = {};  // as far as that mark tells them
  bool gap = false;
  uint64_t gap_after = 0;  // where the first gap is, when there is one
  bool lost_end = false;   // there was more after last_txn, as a later piece or the mark tells
};

struct SourceState {
  std::string source;
  repo::ManifestList backups;
  std::vector<EpochLog> epochs;   // ascending by epoch
  std::vector<Window> windows;    // ascending by from
  std::vector<std::string> held;  // backup ids
};
Result<SourceState> load_source(const repo::Repository& repo, const Context& ctx, const std::string& source);

// What a restore to a point will use.
struct Target {
  repo::Manifest base;
  std::vector<PieceName> pieces;  // to replay in order: longest merged ones first, single commits at the end
  std::optional<uint64_t> until_txn;  // replay no commit beyond it
  Timestamp moment = {};              // of the state that will be restored
  std::string position;               // "txn:42", or the backup's stop position
};
// kNotFound: no such source or backup. kIncomplete: the point is not recoverable, and the hint names the
// nearest recoverable moments before and after. `backup`: use this one as the base (then `end` is its own
// state).
Result<Target> find_target(const repo::Repository& repo, const Context& ctx, const SourceState& state,
                           const Point& point, const std::optional<std::string>& backup);

}  // namespace varve::backup
