#include "engine/postgres/row_counter.h"

#include <algorithm>

namespace varve::engine::postgres {
namespace {

constexpr size_t kLookBack = 8;   // a statement touches few tables by turns
constexpr size_t kSortFrom = 64;  // rows, before tables that come again are put together

void sum_up(std::vector<RowCounts>& rows) {
  if (rows.size() > 1) std::ranges::sort(rows, {}, [](const RowCounts& r) { return r.table; });
  size_t out = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    if (out > 0 && rows[out - 1].table == rows[i].table) {
      rows[out - 1].inserted += rows[i].inserted;
      rows[out - 1].updated += rows[i].updated;
      rows[out - 1].deleted += rows[i].deleted;
    } else {
      rows[out++] = rows[i];
    }
  }
  rows.resize(out);
}

void tidy(TransactionWork& work) {
  sum_up(work.rows);
  std::erase_if(work.rows,
                [](const RowCounts& r) { return r.inserted == 0 && r.updated == 0 && r.deleted == 0; });
  std::ranges::sort(work.truncated);
  work.truncated.erase(std::unique(work.truncated.begin(), work.truncated.end()), work.truncated.end());
}

}  // namespace

TransactionWork sum(TransactionWork a, const TransactionWork& b) {
  if (a.empty()) return b;
  a.rows.insert(a.rows.end(), b.rows.begin(), b.rows.end());
  a.truncated.insert(a.truncated.end(), b.truncated.begin(), b.truncated.end());
  tidy(a);
  return a;
}

RowCounter::Open* RowCounter::find_or_open(uint32_t xid) {
  if (recent_ != nullptr && recent_xid_ == xid) return recent_;
  auto at = open_.find(xid);
  if (at == open_.end()) {
    if (open_.size() >= kMaxOpen) {
      if (!lost_before_ || xid_precedes(*lost_before_, xid + 1)) lost_before_ = xid + 1;
      return nullptr;
    }
    at = open_.try_emplace(xid).first;
  }
  recent_xid_ = xid;
  return recent_ = &at->second;
}

void RowCounter::add_rows(Open& open, const RowCounts& rows) {
  std::vector<RowCounts>& all = open.work.rows;
  const size_t until = all.size() > kLookBack ? all.size() - kLookBack : 0;
  for (size_t i = all.size(); i > until; --i) {
    if (all[i - 1].table != rows.table) continue;
    all[i - 1].inserted += rows.inserted;
    all[i - 1].updated += rows.updated;
    all[i - 1].deleted += rows.deleted;
    return;
  }
  all.push_back(rows);
  if (all.size() < std::max(kSortFrom, 2 * open.sorted)) return;
  sum_up(all);
  open.sorted = all.size();
}

Result<> RowCounter::count(const WalRecord& record) {
  if (record.xid == 0) return {};
  TRY_ASSIGN(const auto change, parse_row_change(record));
  if (change) {
    if (Open* open = find_or_open(record.xid))
      add_rows(*open, {record.blocks()[0].file, change->inserted, change->updated, change->deleted});
    return {};
  }
  TRY_ASSIGN(const auto truncation, parse_table_truncation(record));
  if (!truncation) return {};
  if (Open* open = find_or_open(record.xid))
    for (const uint32_t relation : truncation->relations)
      open->work.truncated.push_back({truncation->database, relation});
  return {};
}

void RowCounter::add(uint32_t xid, const TransactionWork& work) {
  Open* open = find_or_open(xid);
  if (open == nullptr) return;
  for (const RowCounts& rows : work.rows) add_rows(*open, rows);
  open->work.truncated.insert(open->work.truncated.end(), work.truncated.begin(), work.truncated.end());
}

TransactionWork RowCounter::take(uint32_t xid, std::span<const uint32_t> subxacts) {
  TransactionWork out;
  const auto take_one = [&](uint32_t id) {
    const auto at = open_.find(id);
    if (at == open_.end()) return;
    TransactionWork& work = at->second.work;
    if (out.empty()) {
      out = std::move(work);
    } else {
      out.rows.insert(out.rows.end(), work.rows.begin(), work.rows.end());
      out.truncated.insert(out.truncated.end(), work.truncated.begin(), work.truncated.end());
    }
    open_.erase(at);
  };
  recent_ = nullptr;
  take_one(xid);
  for (const uint32_t id : subxacts) take_one(id);
  tidy(out);
  return out;
}

void RowCounter::drop(uint32_t xid) {
  recent_ = nullptr;
  open_.erase(xid);
}

void RowCounter::drop_before(uint32_t xid) {
  recent_ = nullptr;
  std::erase_if(open_, [&](const auto& entry) { return xid_precedes(entry.first, xid); });
}

std::vector<std::pair<uint32_t, TransactionWork>> RowCounter::open() const {
  std::vector<std::pair<uint32_t, TransactionWork>> out;
  out.reserve(open_.size());
  for (const auto& [xid, open] : open_) {
    out.emplace_back(xid, open.work);
    tidy(out.back().second);
    if (out.back().second.empty()) out.pop_back();
  }
  std::ranges::sort(out, {}, [](const auto& entry) { return entry.first; });
  return out;
}

}  // namespace varve::engine::postgres
