#include "engine/postgres/wal_index.h"

#include <gtest/gtest.h>

#include "crypto/crypto.h"
#include "engine/postgres/testing_wal.h"
#include "engine/postgres/wal_join.h"

namespace varve::engine::postgres {
namespace {

using testing::Bytes;
using testing::LogWriter;
using testing::Random;
constexpr RelFile kTable{1663, 5, 16384}, kOther{1663, 5, 16999};

PieceIdentity identity(const LogWriter& log, Lsn start) {
  return {.system = log.system,
          .timeline = log.timeline,
          .start = start,
          .segment_size = log.segment_size(),
          .version = 15};
}

WalIndex index_of(const LogWriter& log, Lsn from, Lsn to) {
  const Buffer encoded = encode(build_index(identity(log, from), log.bytes(from, to)));
  auto back = decode_index(encoded);
  EXPECT_TRUE(back) << back.error().describe();
  EXPECT_EQ(encode(*back), encoded);
  return std::move(*back);
}

struct Joined {
  std::vector<std::string> history;
  std::string changes;
  std::optional<std::string> broken;
  Lsn until = 0;
  bool operator==(const Joined&) const = default;
};

std::string text_of(const Commit& c) {
  std::string out = format_lsn(c.lsn) + " " + std::to_string(c.xid) + (c.work_complete ? "" : "?");
  for (const RowCounts& r : c.work.rows)
    out += " " + std::to_string(r.table.relation) + "+" + std::to_string(r.inserted) + "~" +
           std::to_string(r.updated) + "-" + std::to_string(r.deleted);
  for (const TruncatedTable& t : c.work.truncated) out += " t" + std::to_string(t.relation);
  for (const RelFile& f : c.dropped) out += " d" + std::to_string(f.relation);
  return out;
}

class Collector {
 public:
  explicit Collector(Lsn from)
      : joiner_(
            {.from = from,
             .commit = [this](const Commit& c) { out_.history.push_back(text_of(c)); },
             .event =
                 [this](const WalEvent& e) { out_.history.push_back(format_lsn(e.lsn) + " " + e.text); }}) {}
  WalJoiner& joiner() { return joiner_; }
  Joined finish() {
    joiner_.changes().for_each([&](const BlockChanges::File& f, const ForkChanges& fork) {
      out_.changes += std::to_string(f.file.relation) + "/" + std::to_string(static_cast<int>(f.fork)) + ":";
      fork.blocks.for_each_run([&](uint32_t first, uint64_t n) {
        out_.changes += " " + std::to_string(first) + "+" + std::to_string(n);
      });
    });
    out_.broken = joiner_.changes().broken();
    out_.until = after_header(joiner_.complete_until(), 1u << 20);
    return out_;
  }

 private:
  Joined out_;
  WalJoiner joiner_;
};

// Cut where `part` says, though never amid a page header.
Joined join(const LogWriter& log, size_t part) {
  Collector all(log.start());
  for (Lsn at = log.start(); at < log.end();) {
    Lsn to = at + std::min<Lsn>(log.end() - at, part);
    const Lsn page = to - to % kWalPage, header_end = after_header(page, log.segment_size());
    if (to < header_end && to < log.end()) to = page > at ? page : header_end;
    EXPECT_TRUE(all.joiner().add(index_of(log, at, to)));
    at = to;
  }
  return all.finish();
}

// Transactions side by side with subtransactions, some rolled back, over pages and segments.
LogWriter busy_log() {
  LogWriter log(15);
  log.add(rmgr::kStandby, standby_info::kRunningXacts, 0,
          Bytes().u32(0).u32(0).u32(0).u32(100).u32(100).u32(99).str());
  Random random(9);
  uint32_t next = 100;
  for (int round = 0; round < 300; ++round) {
    const uint32_t a = next++, b = next++, sub = next++, lost = next++;
    for (uint32_t i = 0; i < 1 + random() % 30; ++i) {
      log.insert(a, kTable, random() % 5000, random() % 300 + 1);
      log.add(rmgr::kHeap, heap_info::kHotUpdate, b, std::string(14, '\0'), {{kOther, random() % 100}});
      log.insert(sub, kOther, random() % 5000, 10);
      log.add(rmgr::kHeap, heap_info::kDelete, lost, std::string(8, '\0'), {{kTable, random() % 100}});
    }
    log.add(rmgr::kXact, xact_info::kAbort, lost, Bytes().u64(0).str());
    log.commit(a, round * 1000, {sub},
               round % 7 == 0 ? std::vector<RelFile>{kOther} : std::vector<RelFile>());
    if (round % 3 == 0)
      log.add(rmgr::kXlog, 0xb0, 0, {}, {{kTable, 9, Fork::kMain, {}, std::string(8192, 'i')}});
    if (round % 100 == 50) log.switch_segment();
    if (round % 100 == 51)
      log.add(rmgr::kXlog, xlog_info::kRestorePoint, 0,
              Bytes().u64(5).text("here").text(std::string(60, '\0')).str());
    log.commit(b, round * 1000 + 500);
  }
  return log;
}

TEST(WalPiece, PiecesOfAnySizeTellTheSame) {
  const LogWriter log = busy_log();
  const Joined whole = join(log, SIZE_MAX);
  EXPECT_EQ(whole.broken, std::nullopt);
  EXPECT_EQ(whole.history.size(), 603u);
  EXPECT_EQ(whole.until, align_record(log.end()));
  for (const size_t part : {1u << 20, 100000u, 8192u, 8191u, 4096u, 1001u, 100u, 8u}) {
    const Joined parts = join(log, part);
    EXPECT_EQ(parts, whole) << part;
  }
}

TEST(WalPiece, IsSmall) {
  LogWriter log(15);
  for (uint32_t i = 0; i < 20000; ++i) {
    log.add(rmgr::kHeap, heap_info::kHotUpdate, i + 3, std::string(14, '\0'),
            {{kTable, i * 7919 % 10000, Fork::kMain, std::string(60, 'r')}});
    log.commit(i + 3, i * 1000);
  }
  const Buffer encoded = encode(build_index(identity(log, log.start()), log.bytes()));
  EXPECT_LT(encoded.size(), log.bytes().size() / 20);
  EXPECT_EQ(decode_index(encoded)->part.commits.size(), 20000u);
}

TEST(WalPiece, KnowsItsPiece) {
  LogWriter log(17);
  log.insert(3, kTable, 1);
  const Lsn commit = log.commit(3, 1'000'000);
  const WalIndex index =
      build_index({.system = 42, .timeline = 1, .start = log.start(), .segment_size = 1u << 20}, log.bytes());
  EXPECT_EQ(index.identity.version, 17);
  EXPECT_EQ(index.end, log.end());
  EXPECT_EQ(index.digest, crypto::digest(log.bytes()));
  EXPECT_EQ(index.first_record, log.start() + kLongHeader);
  EXPECT_EQ(index.last_record, commit);
  ASSERT_TRUE(index.part.first_commit);
  EXPECT_EQ(to_rfc3339(*index.part.first_commit), "2000-01-01T00:00:01Z");
}

TEST(WalJoin, CountsOfATransactionComeTogetherOverPieces) {
  LogWriter log(15);
  log.add(rmgr::kStandby, standby_info::kRunningXacts, 0,
          Bytes().u32(0).u32(0).u32(0).u32(10).u32(10).u32(9).str());
  log.insert(10, kTable, 1);
  log.insert(11, kTable, 1);  // a subtransaction
  const Lsn cut = align_record(log.end());
  log.log().resize(cut - log.start());
  log.add(rmgr::kHeap, heap_info::kDelete, 10, Bytes().u32(0).u16(1).u8(0).u8(heap_info::kSuperDelete).str(),
          {{kTable, 1}});
  log.add(rmgr::kHeap2, heap_info::kMultiInsert, 11, Bytes().u8(0).u8(0).u16(40).str(),
          {{kTable, 2, Fork::kMain, "rows"}});
  log.add(rmgr::kHeap, heap_info::kTruncate, 10, Bytes().u32(5).u32(2).u32(0).u32(777).u32(778).str());
  log.insert(5, kTable, 3);
  log.commit(5, 0);
  log.commit(10, 0, {11});
  Collector all(log.start());
  ASSERT_TRUE(all.joiner().add(index_of(log, log.start(), cut)));
  ASSERT_TRUE(all.joiner().add(index_of(log, cut, log.end())));
  const Joined got = all.finish();
  EXPECT_EQ(got.broken, std::nullopt);
  ASSERT_EQ(got.history.size(), 2u);
  EXPECT_TRUE(got.history[0].ends_with(" 5? 16384+1~0-0")) << got.history[0];  // it began before
  EXPECT_TRUE(got.history[1].ends_with(" 10 16384+41~0-0 t777 t778")) << got.history[1];
}

TEST(WalJoin, GapsAndStrangersAreRefused) {
  const LogWriter log = busy_log();
  const Lsn cut = log.start() + 5 * kWalPage;
  Collector all(log.start());
  ASSERT_TRUE(all.joiner().add(index_of(log, log.start(), cut)));
  EXPECT_EQ(all.joiner().add(index_of(log, cut + kWalPage, log.end())).error().code, Code::kIncomplete);
  EXPECT_EQ(all.joiner().add(index_of(log, log.start(), cut)).error().code, Code::kUsage);
  WalIndex other = index_of(log, cut, log.end());
  other.identity.system = 43;
  EXPECT_EQ(all.joiner().add(other).error().code, Code::kUsage);
  EXPECT_TRUE(all.joiner().covers(log.start() + kLongHeader));
  EXPECT_FALSE(all.joiner().covers(log.end()));
  ASSERT_TRUE(all.joiner().add(index_of(log, cut, log.end())));
  EXPECT_TRUE(all.joiner().covers(log.end()));
  EXPECT_EQ(all.finish(), join(log, SIZE_MAX));
}

TEST(WalJoin, WhatDoesNotFitBreaksTheCoverage) {
  const LogWriter log = busy_log();
  // Another log with the same places: its records are others.
  LogWriter other(15);
  for (uint32_t i = 0; i < 5000; ++i) other.insert(i + 3, kOther, i, 100 + i % 3);
  const Lsn cut = log.start() + 5 * kWalPage;
  Collector all(log.start());
  ASSERT_TRUE(all.joiner().add(index_of(log, log.start(), cut)));
  ASSERT_TRUE(all.joiner().add(index_of(other, cut, other.end())));
  EXPECT_TRUE(all.finish().broken);
  // Damage in a piece that others follow.
  LogWriter bad = log;
  bad.log()[3 * kWalPage + 500] ^= 1;
  Collector damaged(log.start());
  ASSERT_TRUE(damaged.joiner().add(index_of(bad, log.start(), cut)));
  EXPECT_FALSE(damaged.joiner().covers(cut));
  ASSERT_TRUE(damaged.joiner().add(index_of(bad, cut, log.end())));
  EXPECT_TRUE(damaged.finish().broken);
  // The first piece begins amid a record, and it is asked for what is before.
  Collector late(log.start() + kLongHeader);
  ASSERT_TRUE(late.joiner().add(index_of(log, log.start() + 1000, log.end())));
  EXPECT_TRUE(late.finish().broken);
}

TEST(WalJoin, RecordsThatWereNeverCompletedAreLeftOut) {
  LogWriter log(15);
  log.insert(3, kTable, 1);
  const Lsn lost = log.cut_record(3 * kWalPage, std::string(60000, 'x'));
  log.add(rmgr::kXlog, xlog_info::kOverwriteContrecord, 0, Bytes().u64(lost).u64(0).str());
  log.insert(3, kTable, 2);
  log.commit(3, 0);
  const Joined whole = join(log, SIZE_MAX);
  EXPECT_EQ(whole.broken, std::nullopt);
  EXPECT_EQ(whole.history.size(), 1u);
  for (const size_t part : {1000u, 8192u, 5000u}) EXPECT_EQ(join(log, part), whole) << part;
}

TEST(WalJoin, ARecordTooLargeToKeepIsToldByItsHeaders) {
  LogWriter log(15);
  log.insert(3, kTable, 1);
  log.add(21, 0, 3, std::string(20u << 20, 'm'), {{kOther, 5}});
  log.insert(3, kTable, 2);
  const Lsn a = log.start() + (6u << 20), b = log.start() + (12u << 20);
  Collector all(log.start());
  for (const auto& [from, to] : {std::pair(log.start(), a), std::pair(a, b), std::pair(b, log.end())}) {
    const Buffer encoded = encode(build_index(identity(log, from), log.bytes(from, to)));
    EXPECT_LE(encoded.size(), Fragment::kMaxKept + 1000);
    ASSERT_TRUE(all.joiner().add(*decode_index(encoded)));
  }
  const Joined got = all.finish();
  EXPECT_EQ(got.broken, std::nullopt);
  EXPECT_NE(got.changes.find("16999/0: 5+1"), std::string::npos) << got.changes;
  EXPECT_EQ(got.until, align_record(log.end()));
  // Of a kind whose contents must be known, it breaks the coverage.
  LogWriter xact(15);
  xact.commit(3, 0, std::vector<uint32_t>(5u << 20, 7));
  Collector half(xact.start());
  const Lsn middle = xact.start() + (10u << 20);
  ASSERT_TRUE(half.joiner().add(index_of(xact, xact.start(), middle)));
  ASSERT_TRUE(half.joiner().add(index_of(xact, middle, xact.end())));
  EXPECT_TRUE(half.finish().broken);
}

TEST(WalJoin, ATimelineGoesOnInTheSegmentWhereItBranchesOff) {
  LogWriter log(15);
  for (uint32_t i = 0; i < 20000; ++i) log.insert(3, kTable, i, 60);
  const Lsn segment = log.start() + log.segment_size();
  ASSERT_GT(log.end(), segment);
  LogWriter branch = log;  // the server copies what is before the branching
  branch.timeline = 2;
  branch.add(rmgr::kXlog, xlog_info::kEndOfRecovery, 0, Bytes().u64(0).u32(2).u32(1).str());
  for (uint32_t i = 0; i < 2000; ++i) branch.insert(4, kTable, i, 60);
  branch.commit(4, 0);
  Collector all(log.start());
  ASSERT_TRUE(all.joiner().add(index_of(log, log.start(), segment)));
  ASSERT_TRUE(all.joiner().add(index_of(branch, segment, branch.end())));
  EXPECT_EQ(all.joiner()
                .add(index_of(log, branch.end() - branch.end() % 8, branch.end() - branch.end() % 8))
                .error()
                .code,
            Code::kUsage);
  const Joined got = all.finish();
  EXPECT_EQ(got.broken, std::nullopt);
  EXPECT_EQ(got.history.size(), 2u);
  Collector amid(log.start());
  ASSERT_TRUE(amid.joiner().add(index_of(log, log.start(), segment + kWalPage)));
  EXPECT_EQ(amid.joiner().add(index_of(branch, segment + kWalPage, branch.end())).error().code, Code::kUsage);
}

TEST(WalPiece, SpoiltOnesAreRefusedOrRead) {
  const LogWriter log = busy_log();
  const Buffer good = encode(build_index(identity(log, log.start()), log.bytes()));
  Random random(3);
  for (int i = 0; i < 400; ++i) {
    Buffer bad = good;
    bad[random() % bad.size()] ^= static_cast<std::byte>(1u << random() % 8);
    if (i % 4 == 0) bad.resize(random() % bad.size());
    const auto got = decode_index(bad);
    EXPECT_TRUE(got || got.error().code == Code::kDamaged);
  }
}

}  // namespace
}  // namespace varve::engine::postgres
