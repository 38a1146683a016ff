// What a stretch of the log tells, record by record: changed blocks, and the history for people.
#pragma once

#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/postgres/block_changes.h"
#include "engine/postgres/row_counter.h"

namespace varve::engine::postgres {

// Something other than a commit that a person may ask for.
struct WalEvent {
  enum class Kind : uint32_t {
    kRestorePoint = 0,     // text: its name; time
    kDatabaseCreated = 1,  // file.tablespace and file.database
    kDatabaseDropped = 2,  // likewise, one event a tablespace
    kFileCreated =
        3,  // file: the main fork of a new or rewritten relation; number: the xid, where it has one by then
    kNoFullPageWrites = 4,
    kRecoveryEnd = 5,  // number: the new timeline; time
    kBackupEnd = 6,    // number: the LSN where that backup began
  };
  static constexpr uint32_t kKinds = 7;
  Kind kind = Kind::kRestorePoint;
  Lsn lsn = 0;
  std::optional<Timestamp> time = {};
  std::string text = {};
  RelFile file = {};
  uint64_t number = 0;
  bool operator==(const WalEvent&) const = default;
};

// The commits of a stretch and what they did; what is equal is kept once, so that a million alike take
// little.
struct WalPart {
  static constexpr size_t kMaxCommits = 2u << 20;     // that are listed; a GiB of log can hold more
  static constexpr size_t kMaxRowEntries = 1u << 20;  // in all works together
  static constexpr size_t kMaxEvents = 1u << 18;
  static constexpr uint32_t kWorkNotKept = UINT32_MAX;

  struct Committed {
    Lsn lsn = 0;  // of the commit record
    Timestamp time = {};
    uint32_t xid = 0;
    uint32_t work = 0;  // index in works, or kWorkNotKept
    bool operator==(const Committed&) const = default;
  };
  struct Extra {
    std::vector<uint32_t> subxacts;  // they may have begun before the stretch
    std::vector<RelFile> dropped;    // files
    bool operator==(const Extra&) const = default;
  };

  explicit WalPart(uint32_t block_size = 8192) : changes(block_size) {}

  BlockChanges changes;
  std::vector<Committed> commits;         // ascending by lsn
  std::map<uint32_t, Extra> extras;       // by index in commits
  std::vector<TransactionWork> works{1};  // distinct; the first is empty
  uint64_t commits_left_out = 0;          // after the listed ones
  uint64_t events_left_out = 0;
  std::optional<Timestamp> first_commit, last_commit;  // of all
  std::vector<uint32_t> ended;                         // ids that ended without being in `commits`; ascending
  std::vector<std::pair<uint32_t, TransactionWork>> open;  // at the end, ascending
  std::vector<WalEvent> events;                            // ascending by lsn
  std::optional<uint32_t> next_xid;  // transactions from this one on began within: at the first that says so
  std::optional<uint32_t> oldest_running;  // transactions before this one have ended by the end
  std::optional<uint32_t> lost_before;     // of transactions before this one not all is counted
};

// Not thread-safe.
class WalFold {
 public:
  explicit WalFold(uint32_t block_size) : part_(block_size) {}
  void apply(int version, const WalRecord& record);
  void break_coverage(std::string reason) { part_.changes.break_coverage(std::move(reason)); }
  WalPart finish() &&;

 private:
  void end_transaction(const WalRecord& record, XactEnd& end);
  void note(const WalRecord& record, const ServerNote& note);
  void add_event(WalEvent event);
  uint32_t work_id(TransactionWork work);

  WalPart part_;
  RowCounter rows_;
  std::unordered_multimap<uint64_t, uint32_t> work_ids_;  // by hash
  size_t row_entries_ = 0;
  XactEnd end_;
};

}  // namespace varve::engine::postgres
