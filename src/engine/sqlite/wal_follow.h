// Follows a database in WAL mode.
#pragma once

#include <deque>

#include "engine/sqlite/btree.h"
#include "engine/sqlite/checkpointer.h"
#include "engine/sqlite/follow_one.h"

namespace varve::engine::sqlite {

class WalFollower : public DatabaseFollower {
 public:
  // Holds a read transaction from here on. Null: the database is not in WAL mode.
  static Result<std::unique_ptr<WalFollower>> open(const Context& ctx, const DatabaseFile& database,
                                                   const FollowOptions& options, Checkpointer& checkpointer);
  Result<> start(const Context& ctx, const Snapshot& state) override;
  Result<std::optional<std::string>> resume(const Context& ctx, const CapturedDatabase& after) override;
  Result<Look> look(const Context& ctx, BatchBuilder& batch) override;
  bool lags() const override { return lags_; }

 private:
  using Doubt = std::optional<std::string>;
  struct Pending;  // the commit being read

  WalFollower(const DatabaseFile& database, const FollowOptions& options, Checkpointer& checkpointer,
              std::unique_ptr<Reader> held, std::unique_ptr<Reader> spare, os::FileStatus file);
  Result<Look> capture(const WalIndex& index, BatchBuilder& batch);
  Result<Look> wait_for_index();
  Result<Look> read_commits(const WalIndex& index, BatchBuilder& batch);
  Result<Doubt> open_wal(const WalIndex& index, bool* not_yet);
  Result<Doubt> read_to_position();
  Result<Look> refresh(const WalIndex& index, BatchBuilder& batch);
  Result<Doubt> check_identity(const std::optional<os::FileStatus>& file) const;
  Result<bool> know_first_page(const os::FileStatus& file);
  Result<uint64_t> hash_first_page() const;
  void build_tracker(const PageSource& state);
  Result<ByteView> page_at_position(uint32_t page, Buffer& into) const;
  std::vector<TableChange> tell_changes(const Pending& pending, uint64_t pages_after);
  void take_in(Pending& pending, const WalFrame& last, BatchBuilder& batch);

  DatabaseFile database_;
  FollowOptions options_;
  Checkpointer& checkpointer_;
  std::unique_ptr<Reader> held_, spare_;  // held_ is in a read transaction, always
  os::FileStatus file_;

  // Everything up to here has been delivered.
  WalPosition position_;
  uint64_t pages_ = 0;
  uint32_t page_size_ = 0;

  std::optional<WalReader> wal_;  // of position_'s generation; its frames ≤ position_ are in frames_
  FrameIndex frames_;
  std::optional<TableTracker> tracker_;  // as of position_
  bool lags_ = false;
  SteadyClock::time_point next_checkpoint_ = {};
  bool behind_ = false;  // commits of this generation are known that were not read yet
  bool told_unsummed_ = false;
  unsigned mismatches_ = 0;  // looks in a row at which the WAL was not the one its index describes
  std::optional<WalIndex> refreshed_at_;
  std::optional<SteadyClock::time_point> half_written_since_;  // the index was, at each look since

  // Hashes of page 1 as it may stand in the file: as it was last seen there, and as commits since
  // wrote it.
  std::deque<uint64_t> first_pages_;
  int64_t checked_mtime_ = -1;
  std::optional<SteadyClock::time_point> strange_since_;  // no known page 1 has been seen since
};

}  // namespace varve::engine::sqlite
