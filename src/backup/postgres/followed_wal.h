// WAL that arrives piecemeal, on its way into the repository.
//
// What has arrived is stored as a piece of its own, however small. When a unit is complete (a segment, or
// 16 MiB of a larger one) it is stored once more as one piece, under the name that archive_command's file of
// it has; the small ones that lie in it go a while later, when no reader can have them in hand any more.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>

#include "backup/postgres/wal_archive.h"

namespace varve::backup::postgres {

// Folds pieces into units behind a follower's back, on a thread of its own. A fold that fails costs objects,
// never data: the small pieces stay.
class UnitFolder {
 public:
  UnitFolder(repo::RepositoryPtr repo, const std::string& source)
      : repo_(std::move(repo)), archive_(repo_, source), source_(source) {}
  ~UnitFolder();
  UnitFolder(const UnitFolder&) = delete;
  UnitFolder& operator=(const UnitFolder&) = delete;

  struct Unit {
    db::PieceIdentity identity;     // start: of the unit
    uint64_t from = 0;              // of `bytes`; what comes before is in the repository
    Buffer bytes;                   // to the unit's end; may be empty, then all is read
    std::vector<PieceName> pieces;  // small ones that lie in it
    bool ours = false;              // known to hold the same bytes; else that is looked up
  };
  void add(Unit unit);
  // Ends the thread, after what waits was folded, as far as the context lets. Pieces that an earlier run left
  // within whole units go now.
  void finish(const Context& ctx);

 private:
  struct Going {
    SteadyClock::time_point when;
    std::vector<store::Key> keys;
    bool ours = false;  // of this run
  };
  void run(const std::stop_token& stop);
  Result<> fold(const Context& ctx, Unit& unit);
  Result<std::vector<store::Key>> equal_pieces(const Context& ctx, const Unit& unit) const;
  void remove_due(const Context& ctx, bool finishing);

  const repo::RepositoryPtr repo_;
  WalArchive archive_;
  const std::string source_;
  bool may_remove_ = true;   // the thread's, or finish()'s
  std::deque<Going> going_;  // likewise

  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<Unit> waiting_;
  size_t waiting_bytes_ = 0;
  std::jthread thread_;  // begun by the first add()
};

// Not thread-safe.
class FollowedWal {
 public:
  FollowedWal(const repo::RepositoryPtr& repo, const std::string& source)
      : archive_(repo, source), folder_(repo, source) {}

  // What follows begins there. What was not flushed is dropped.
  void begin(const db::PieceIdentity& identity);
  const db::PieceIdentity& identity() const { return identity_; }
  // Up to where it is durable; where the next byte belongs; how many may be added before the next flush.
  uint64_t stored() const { return stored_; }
  uint64_t end() const { return from_ + bytes_.size(); }
  size_t room() const { return unit_start() + unit() - end(); }
  void add(ByteView bytes) { append(bytes_, bytes); }
  // Stores what was added, but for a part of a page header. Nothing: there was nothing to store. May be
  // called again after a failure. Errors as WalArchive::store.
  Result<std::optional<WalArchive::Kept>> flush(const Context& ctx);
  UnitFolder& folder() { return folder_; }

 private:
  uint64_t unit() const { return std::min<uint64_t>(identity_.segment_size, kWalPiece); }
  uint64_t unit_start() const { return from_ / unit() * unit(); }
  uint64_t storable_end() const;

  WalArchive archive_;
  UnitFolder folder_;
  db::PieceIdentity identity_;
  uint64_t from_ = 0;    // of bytes_: the unit's, or where we began in it
  uint64_t stored_ = 0;  // within [from_, end()]
  Buffer bytes_;
  std::vector<PieceName> pieces_;  // of ours, in this unit
};

}  // namespace varve::backup::postgres
