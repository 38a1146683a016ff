// How many rows each transaction added, changed and took away, table by table, as the log tells it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "engine/postgres/wal_contents.h"

namespace varve::engine::postgres {

struct RowCounts {
  RelFile table;         // the file: system catalogues and TOAST tables count as any other
  int64_t inserted = 0;  // below 0 only in a part of a transaction
  uint64_t updated = 0, deleted = 0;
  bool operator==(const RowCounts&) const = default;
};
struct TruncatedTable {
  uint32_t database = 0;
  uint32_t relation = 0;  // an OID of pg_class
  auto operator<=>(const TruncatedTable&) const = default;
};

struct TransactionWork {
  std::vector<RowCounts> rows;            // ascending by table, each once, none without a row
  std::vector<TruncatedTable> truncated;  // ascending
  bool empty() const { return rows.empty() && truncated.empty(); }
  bool operator==(const TransactionWork&) const = default;
};

// What both did together.
TransactionWork sum(TransactionWork a, const TransactionWork& b);

// Counts by the transaction ids that records carry: a subtransaction has its own, and the commit names those
// that count. Not thread-safe; bounded by kMaxOpen.
class RowCounter {
 public:
  static constexpr size_t kMaxOpen = 1u << 20;  // transactions and subtransactions

  Result<> count(const WalRecord& record);
  void add(uint32_t xid, const TransactionWork& work);
  // What the transaction and those subtransactions did, and forgets it.
  TransactionWork take(uint32_t xid, std::span<const uint32_t> subxacts);
  void drop(uint32_t xid);
  void drop_before(uint32_t xid);  // all that began before it have ended

  // Those that have not ended, ascending by xid.
  std::vector<std::pair<uint32_t, TransactionWork>> open() const;
  // Of transactions before this one something may not have been counted, because too many were open.
  std::optional<uint32_t> lost_before() const { return lost_before_; }

 private:
  struct Open {
    TransactionWork work;  // in the order it came, tables perhaps more than once
    size_t sorted = 0;     // how many rows were in order when that was done last
  };
  Open* find_or_open(uint32_t xid);
  static void add_rows(Open& open, const RowCounts& rows);

  std::unordered_map<uint32_t, Open> open_;
  uint32_t recent_xid_ = 0;
  Open* recent_ = nullptr;
  std::optional<uint32_t> lost_before_;
};

}  // namespace varve::engine::postgres
