// Follows the commits of a source's databases without a gap, while other processes write, checkpoint,
// truncate the WAL and reopen the database as they like. Never writes into a database.
//
// Why nothing is missed: at every instant the follower holds a read transaction, and opens the next before it
// ends the last. A reader on a WAL mark keeps everyone from restarting the WAL. A reader that began when
// everything was checkpointed (mark 0) allows one restart, and keeps the checkpointer from writing
// afterwards, so no second can follow before its successor stands. So from poll to poll the WAL is the same
// or was restarted once, at a place captured in full (wal_follow.cc has the proof). Anything else — another
// file, another page size, a WAL that was replaced, shrank or does not fit its index, a page 1 nobody
// committed — is doubt, and doubt asks for a new base.
//
// A thread captures on its own, one batch ahead of the caller. What the followed feel of it: plain commits in
// WAL mode never wait; a truncating or restarting checkpoint waits for a poll or two; leaving WAL mode, or
// deleting the WAL, has to wait until following ends. Writers that never pause for a few milliseconds keep
// their WAL growing meanwhile.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "engine/sqlite/page_set.h"
#include "engine/sqlite/source.h"

namespace varve::engine::sqlite {

// A database that is not in WAL mode is followed by a hash of each page; more pages than this are refused.
inline constexpr uint64_t kMostJournalPages = 16'000'000;

struct FollowOptions {
  std::chrono::milliseconds poll{50};    // how often to look for commits
  std::chrono::milliseconds batch{400};  // how long commits gather before poll() returns them
  uint64_t batch_bytes = 16u << 20;      // … or this much
  uint64_t max_commit_bytes = 64u << 20;
  // Checkpoint (PASSIVE) when the WAL is longer than this. A writer does so itself at 1000, where it would
  // pay for it.
  uint64_t checkpoint_pages = 800;
  bool with_tables = true;                 // tell what each commit changed (WAL mode); else only that it did
  std::chrono::milliseconds rescan{2000};  // how often a glob looks for new databases
};

class Follower {
 public:
  static Result<std::unique_ptr<Follower>> open(const Context& ctx, const SourceSpec& spec,
                                                const FollowOptions& options);
  virtual ~Follower() = default;

  // Begins, or begins again after poll() asked for a base. `after`: where the stored log ends, per database
  // (the latest Commit::wal or CapturedDatabase), to go on from when every database proves that nothing was
  // missed since; `seen`: up to when it tells every commit, so that what was made since can be told as such.
  // Null: continuing, polls deliver from txn next_txn. Otherwise a capture of the present
  // state, to be stored as a base before any batch that follows it; its CaptureData::txn is next_txn (the
  // unseen count as one), and batches begin at next_txn + 1. The follower keeps following while the base is
  // being read.
  virtual Result<std::unique_ptr<Capture>> begin(const Context& ctx, const std::optional<CaptureData>& after,
                                                 uint64_t next_txn, Timestamp seen) = 0;

  struct Poll {
    Batch batch;               // empty when nothing was committed; bounded by batch_bytes or one commit
    bool base_needed = false;  // continuity is lost; `reason` says how. batch holds what was whole before.
    std::string reason;
    Timestamp covered_until = {};  // no commit up to this moment is outside the batches delivered so far
  };
  // Waits at most `wait` for commits. A single commit larger than max_commit_bytes (a VACUUM, mostly) is not
  // held in memory: it asks for a new base instead, which stores the same pages.
  virtual Result<Poll> poll(const Context& ctx, std::chrono::milliseconds wait) = 0;
};

}  // namespace varve::engine::sqlite
