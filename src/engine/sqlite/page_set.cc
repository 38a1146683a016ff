#include "engine/sqlite/page_set.h"

#include <fmt/format.h>
#include <limits>
#include <set>

#include "engine/sqlite/page_set.pb.h"

namespace varve::engine::sqlite {
namespace {

namespace pb = varve::format::sqlite;

constexpr uint64_t kMaxPage = 0xfffffffe;  // SQLite's own limit

int64_t to_us(Timestamp t) {
  return t.time_since_epoch().count();
}
Timestamp from_us(int64_t us) {
  return Timestamp(std::chrono::microseconds(us));
}

// Years 1 to 9999: others cannot be written as text.
bool valid_time(int64_t us) {
  return us >= -62'135'596'800'000'000 && us <= 253'402'300'799'999'999;
}

bool valid_page_size(uint32_t size) {
  return size >= 512 && size <= 65536 && (size & (size - 1)) == 0;
}

tl::unexpected<Error> damaged(std::string_view what) {
  return fail(Code::kDamaged, fmt::format("page set: {}", what));
}

template <typename Message>
Buffer serialize(const Message& message) {
  Buffer out(message.ByteSizeLong());
  message.SerializeWithCachedSizesToArray(reinterpret_cast<uint8_t*>(out.data()));
  return out;
}

template <typename Message>
bool parse(ByteView bytes, Message& message) {
  if (bytes.size() > static_cast<size_t>(std::numeric_limits<int>::max())) return false;
  return message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()));
}

void to_message(const WalPosition& wal, pb::WalPosition& out) {
  out.set_salt1(wal.salt1);
  out.set_salt2(wal.salt2);
  out.set_frame(wal.frame);
  out.set_checksum1(wal.checksum1);
  out.set_checksum2(wal.checksum2);
}

WalPosition from_message(const pb::WalPosition& in) {
  return {.salt1 = in.salt1(),
          .salt2 = in.salt2(),
          .frame = in.frame(),
          .checksum1 = in.checksum1(),
          .checksum2 = in.checksum2()};
}

void to_message(const Commit& commit, int64_t& next_slot, pb::Commit& out) {
  out.set_txn(commit.txn);
  out.set_time_us(to_us(commit.time));
  out.set_database(commit.database);
  out.set_pages_after(commit.pages_after);
  if (commit.wal != WalPosition{}) to_message(commit.wal, *out.mutable_wal());
  uint32_t page = 0;
  for (const PageWrite& write : commit.writes) {
    out.add_page_step(write.page - page);
    out.add_slot_step(int64_t{write.slot} - next_slot);
    page = write.page;
    next_slot = int64_t{write.slot} + 1;
  }
  for (const TableChange& change : commit.changes) {
    auto* to = out.add_changes();
    to->set_table(change.table);
    to->set_kind(change.kind);
    if (change.rows) to->set_rows(*change.rows);
  }
}

Result<Commit> from_message(const pb::Commit& in, size_t databases, int64_t& next_slot) {
  Commit out;
  if (!valid_time(in.time_us())) return damaged("an impossible time");
  out.txn = in.txn();
  out.time = from_us(in.time_us());
  out.database = in.database();
  out.pages_after = in.pages_after();
  if (out.database >= databases) return damaged("a commit names a database that is not there");
  if (out.pages_after > kMaxPage) return damaged("a commit names an impossible size");
  if (in.has_wal()) out.wal = from_message(in.wal());
  if (in.page_step_size() != in.slot_step_size()) return damaged("pages and slots do not match");
  out.writes.reserve(static_cast<size_t>(in.page_step_size()));
  uint64_t page = 0;
  for (int i = 0; i < in.page_step_size(); ++i) {
    page += in.page_step(i);
    if (in.page_step(i) == 0 || page > out.pages_after) return damaged("pages are not in order");
    // Both terms are bounded before the sum, so that it cannot overflow.
    const int64_t step = in.slot_step(i);
    constexpr int64_t kMost = std::numeric_limits<uint32_t>::max();
    if (step < -kMost - 1 || step > kMost || next_slot + step < 0 || next_slot + step > kMost) {
      return damaged("a slot is out of range");
    }
    next_slot += step;
    out.writes.push_back({.page = static_cast<uint32_t>(page), .slot = static_cast<uint32_t>(next_slot)});
    ++next_slot;
  }
  for (const auto& change : in.changes()) {
    TableChange& to = out.changes.emplace_back(TableChange{change.table(), change.kind(), {}});
    if (change.has_rows()) to.rows = change.rows();
  }
  return out;
}

Result<> check_order(const PageSet& set) {
  if (set.first_txn > set.last_txn || set.first_time > set.last_time) return damaged("its ends are crossed");
  std::set<uint32_t> seen;
  uint64_t expected = set.first_txn;
  for (const Commit& commit : set.commits) {
    if (set.merged) {
      if (commit.txn < expected || commit.txn > set.last_txn) return damaged("commits are not in order");
      if (!seen.insert(commit.database).second) return damaged("merged, but a database appears twice");
    } else if (commit.txn != expected) {
      return damaged("commits are not in order");
    }
    expected = commit.txn + 1;
  }
  if (!set.merged && !set.commits.empty() && expected != set.last_txn + 1)
    return damaged("commits are missing");
  return {};
}

}  // namespace

Buffer encode(const PageSet& set) {
  pb::PageSet out;
  for (const auto& database : set.databases) {
    auto* to = out.add_databases();
    to->set_name(database.name);
    to->set_page_size(database.page_size);
  }
  int64_t next_slot = 0;
  for (const Commit& commit : set.commits) to_message(commit, next_slot, *out.add_commits());
  out.set_first_txn(set.first_txn);
  out.set_last_txn(set.last_txn);
  out.set_first_time_us(to_us(set.first_time));
  out.set_last_time_us(to_us(set.last_time));
  out.set_merged(set.merged);
  for (const Stretch& stretch : set.unseen) {
    auto* to = out.add_unseen();
    to->set_from_us(to_us(stretch.from));
    to->set_to_us(to_us(stretch.to));
  }
  return serialize(out);
}

Result<PageSet> decode(ByteView bytes) {
  pb::PageSet in;
  if (!parse(bytes, in)) return damaged("not readable");
  PageSet out;
  for (const auto& database : in.databases()) {
    if (!valid_page_size(database.page_size())) return damaged("an impossible page size");
    out.databases.push_back({database.name(), database.page_size()});
  }
  int64_t next_slot = 0;
  out.commits.reserve(static_cast<size_t>(in.commits_size()));
  for (const auto& commit : in.commits()) {
    TRY_ASSIGN(Commit c, from_message(commit, out.databases.size(), next_slot));
    out.commits.push_back(std::move(c));
  }
  if (!valid_time(in.first_time_us()) || !valid_time(in.last_time_us())) return damaged("an impossible time");
  out.first_txn = in.first_txn();
  out.last_txn = in.last_txn();
  out.first_time = from_us(in.first_time_us());
  out.last_time = from_us(in.last_time_us());
  out.merged = in.merged();
  for (const auto& stretch : in.unseen()) {
    if (!valid_time(stretch.from_us()) || !valid_time(stretch.to_us()) ||
        stretch.from_us() > stretch.to_us()) {
      return damaged("an impossible stretch of time");
    }
    out.unseen.push_back({from_us(stretch.from_us()), from_us(stretch.to_us())});
  }
  TRY_OK(check_order(out));
  return out;
}

uint64_t Batch::bytes() const {
  uint64_t sum = 0;
  for (const Buffer& slot : slots) sum += slot.size();
  return sum;
}

Buffer encode_capture_data(const CaptureData& data) {
  pb::CaptureData out;
  for (const CapturedDatabase& database : data.databases) {
    auto* to = out.add_databases();
    to->set_name(database.name);
    to->set_wal_mode(database.wal_mode);
    if (database.wal_mode) to_message(database.wal, *to->mutable_wal());
    to->set_change_counter(database.change_counter);
    to->set_page_size(database.page_size);
    to->set_pages(database.pages);
  }
  if (data.txn) out.set_txn(*data.txn);
  return serialize(out);
}

Result<CaptureData> decode_capture_data(ByteView bytes) {
  pb::CaptureData in;
  if (!parse(bytes, in)) return fail(Code::kDamaged, "the backup's SQLite data are not readable");
  CaptureData out;
  for (const auto& database : in.databases()) {
    if (!valid_page_size(database.page_size()) || database.pages() > kMaxPage) {
      return fail(Code::kDamaged, "the backup's SQLite data name an impossible size");
    }
    CapturedDatabase& to = out.databases.emplace_back();
    to.name = database.name();
    to.wal_mode = database.wal_mode();
    to.wal = from_message(database.wal());
    to.change_counter = database.change_counter();
    to.page_size = database.page_size();
    to.pages = database.pages();
  }
  if (in.has_txn()) out.txn = in.txn();
  return out;
}

}  // namespace varve::engine::sqlite
