// Following one database of a source; the Follower drives one for each.
#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "engine/sqlite/follower.h"
#include "engine/sqlite/snapshot.h"

namespace varve::engine::sqlite {

// Gathers commits until they are taken as a batch. Numbers them.
class BatchBuilder {
 public:
  explicit BatchBuilder(const FollowOptions& options) : options_(options) {}
  // Starts anew: the next commit is `txn`, and every commit made up to `seen` was one before it.
  void restart(uint64_t txn, Timestamp seen);
  // Every commit made up to this moment has been added: a later one was made after it.
  void seen_until(Timestamp moment) { seen_ = std::max(seen_, moment); }

  // `pages` become the commit's writes; none is beyond pages_after.
  void add(const std::string& database, uint32_t page_size, uint64_t pages_after, const WalPosition& wal,
           std::map<uint32_t, Buffer> pages, std::vector<TableChange> changes);
  bool empty() const { return batch_.set.commits.empty(); }
  // No more should be added before it is taken.
  bool full() const { return bytes_ >= options_.batch_bytes; }
  // Full, or its first commit has waited long enough.
  bool ripe() const;
  Batch take();

 private:
  FollowOptions options_;
  Batch batch_;
  uint64_t bytes_ = 0, next_txn_ = 0;
  SteadyClock::time_point first_ = {};
  Timestamp last_time_ = {}, seen_ = {};
};

// What one look at a database found, besides commits.
struct Look {
  bool caught_up = false;  // every commit made before the look is in the batch, or was in an earlier one
  std::optional<std::string> doubt = {};  // commits may have gone by unseen; says how
};

class DatabaseFollower {
 public:
  virtual ~DatabaseFollower() = default;
  // Goes on from a state that was pinned after this follower was opened.
  virtual Result<> start(const Context& ctx, const Snapshot& state) = 0;
  // Goes on from where an earlier follower ended: nothing when it is proved that no commit was missed, else
  // why it is not.
  virtual Result<std::optional<std::string>> resume(const Context& ctx, const CapturedDatabase& after) = 0;
  // Adds commits until there are no more or the batch is full. Never waits for a lock.
  virtual Result<Look> look(const Context& ctx, BatchBuilder& batch) = 0;
  // True: the database's WAL has grown long, and looking often may let its writers begin it anew.
  virtual bool lags() const { return false; }
};

}  // namespace varve::engine::sqlite
