// Puts the indexes of consecutive pieces together: which blocks changed from one place in the log to another,
// and the commits between them.
#pragma once

#include <functional>

#include "engine/postgres/wal_index.h"

namespace varve::engine::postgres {

struct Commit {
  Lsn lsn = 0;  // of the commit record: recovery up to it, exclusive, ends before the transaction
  Timestamp time = {};
  uint32_t xid = 0;
  TransactionWork work = {};
  bool work_complete = false;         // false: it may have done more than `work` says
  std::vector<RelFile> dropped = {};  // files: of tables that are gone, or were rewritten or truncated
};

// Not thread-safe. Memory grows with the blocks that changed and with transactions that are open, not with
// the log.
class WalJoiner {
 public:
  struct Options {
    Lsn from = 0;  // where a record begins, such as the start of a backup; 0: the first record that there is
    bool changes = true;  // false: only commits and events are wanted
    std::function<void(const Commit&)> commit = {};
    std::function<void(const WalEvent&)> event = {};
  };
  explicit WalJoiner(Options options) : options_(std::move(options)) {}

  // The first piece contains `from`; each next one begins where the one before ended. The timeline may change
  // to a descendant where a segment begins: the server copies the segment in which it branches off. Commits
  // and events are handed out now, ascending by LSN; those before `from` are not. kIncomplete: the log
  // between two pieces is missing. kUsage: not of the same log. Then nothing was changed.
  Result<> add(const WalIndex& index);

  // Up to here every record was seen; compare places after after_header().
  Lsn complete_until() const { return complete_until_; }
  bool covers(Lsn until) const;
  // Commits and events of which only the number is known, because a piece had too many.
  uint64_t commits_left_out() const { return commits_left_out_; }
  uint64_t events_left_out() const { return events_left_out_; }
  // Of the whole stretch up to complete_until(); broken() when the records do not tell, or not all could be
  // read.
  const BlockChanges& changes() const { return changes_; }
  BlockChanges take_changes() && { return std::move(changes_); }

 private:
  Result<> check(const WalIndex& index) const;
  void begin(const WalIndex& index);
  void link(const WalIndex& index);
  bool link_fits(const WalIndex& index);
  void begin_tail(const WalIndex& index);
  void absorb(const WalPart& part);
  void absorb_changes(const WalPart& part);
  void emit(const WalPart& part, uint32_t commit);
  void lose(std::string reason);

  Options options_;
  std::optional<PieceIdentity> identity_;  // of the piece before
  Lsn end_ = 0, complete_until_ = 0, last_record_ = 0;
  int version_ = 0;
  // Reads on where the piece before ended. nullopt: where the records begin is not known.
  std::optional<WalReader> link_;
  std::optional<WalStop> stopped_;  // the piece before, at this place
  BlockChanges changes_;
  RowCounter open_;
  std::optional<uint32_t> known_xid_;  // what transactions from this one on did is known from their begin
  uint64_t commits_left_out_ = 0, events_left_out_ = 0;
};

}  // namespace varve::engine::postgres
