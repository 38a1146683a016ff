#include "engine/postgres/block_changes.h"

#include <gtest/gtest.h>
#include <set>

#include "engine/postgres/testing_wal.h"
#include "engine/postgres/wal_reader.h"

namespace varve::engine::postgres {
namespace {

using testing::Bytes;
using testing::LogWriter;
using testing::Random;
constexpr RelFile kTable{1663, 5, 16384}, kOther{1663, 5, 16999};
constexpr uint32_t kHeapPages = heap_pages_per_map_page(8192);

BlockChanges changes_of(const LogWriter& log, int version) {
  BlockChanges out;
  WalReader reader({.lsn = log.start(), .segment_size = log.segment_size()});
  EXPECT_TRUE(reader.feed(log.bytes(), [&](const WalRecord& record) -> Result<> {
    out.apply(version, record);
    return {};
  }));
  EXPECT_FALSE(reader.stop());
  return out;
}

std::set<uint32_t> blocks_of(const BlockSet& set) {
  std::set<uint32_t> out;
  uint64_t end = 0;
  set.for_each_run([&](uint32_t first, uint64_t length) {
    EXPECT_TRUE(out.empty() || first > end);
    for (uint64_t i = 0; i < length; ++i) out.insert(static_cast<uint32_t>(first + i));
    end = first + length;
  });
  EXPECT_EQ(out.size(), set.count());
  return out;
}

TEST(BlockSet, IsASetHoweverItIsFilled) {
  Random random(5);
  for (const uint32_t span : {50u, 5000u, 100000u}) {
    BlockSet a, b;
    std::set<uint32_t> want, want_b;
    for (int i = 0; i < 3000; ++i) {
      const uint32_t n = random() % span, run = 1 + random() % 20;
      a.insert(n);
      want.insert(n);
      if (i % 10 == 0) {
        b.insert_run(n * 2, run);
        for (uint32_t k = 0; k < run; ++k) want_b.insert(n * 2 + k);
      }
    }
    EXPECT_EQ(blocks_of(a), want);
    EXPECT_EQ(blocks_of(b), want_b);
    for (uint32_t n = 0; n < 200; ++n) EXPECT_EQ(a.contains(n), want.contains(n));
    a.merge(b);
    want.insert(want_b.begin(), want_b.end());
    EXPECT_EQ(blocks_of(a), want);
    const uint32_t cut = span / 3 + 1;
    a.erase_from(cut);
    want.erase(want.lower_bound(cut), want.end());
    EXPECT_EQ(blocks_of(a), want);
    a.insert(cut + 1);
    EXPECT_TRUE(a.contains(cut + 1));
  }
}

TEST(BlockSet, HoldsAWholeFileInLittle) {
  BlockSet set;
  set.insert_run(0, UINT32_MAX);
  EXPECT_EQ(set.count(), UINT32_MAX);
  EXPECT_TRUE(set.contains(UINT32_MAX - 1));
  EXPECT_FALSE(set.contains(UINT32_MAX));
  set.erase_from(5000);
  EXPECT_EQ(set.count(), 5000u);
  set.erase_from(0);
  EXPECT_TRUE(set.empty());
}

TEST(BlockChanges, ReferencesCountWhoeverMadeThem) {
  LogWriter log(15);
  log.add(rmgr::kCustom + 7, 0x40, 3, "x", {{kTable, 10}});
  log.add(11, 0x00, 3, "x", {{kOther, 3}, {kOther, 4, Fork::kFreeSpace}, {kOther, 5, Fork::kInit}});
  const auto changes = changes_of(log, 15);
  EXPECT_FALSE(changes.broken());
  EXPECT_TRUE(changes.changed({kTable, Fork::kMain}, 10));
  EXPECT_FALSE(changes.changed({kTable, Fork::kMain}, 11));
  EXPECT_TRUE(changes.changed({kOther, Fork::kMain}, 3));
  EXPECT_TRUE(changes.changed({kOther, Fork::kInit}, 5));
  EXPECT_EQ(changes.find({kOther, Fork::kFreeSpace}), nullptr);
  EXPECT_EQ(changes.find({kOther, Fork::kVisibility}), nullptr);  // an index has none
}

TEST(BlockChanges, AHeapRecordMayClearTheVisibilityMap) {
  LogWriter log(15);
  log.insert(3, kTable, 1);
  log.add(rmgr::kHeap, heap_info::kDelete, 3, std::string(8, '\0'), {{kTable, kHeapPages * 2 + 5}});
  const auto changes = changes_of(log, 15);
  EXPECT_EQ(blocks_of(changes.find({kTable, Fork::kVisibility})->blocks), (std::set<uint32_t>{0, 2}));
}

TEST(BlockChanges, LimitsComeFromFilesThatAreMadeCutAndDropped) {
  LogWriter log(15);
  log.insert(3, kTable, 5);
  log.insert(3, kTable, 500);
  log.add(rmgr::kSmgr, smgr_info::kTruncate | kSpecialUpdate, 3, Bytes().u32(100).file(kTable).u32(7).str());
  log.insert(3, kTable, 150);
  log.insert(3, kTable, 99);
  log.add(rmgr::kSmgr, smgr_info::kCreate | kSpecialUpdate, 0, Bytes().file({1, 2, 3}).u32(3).str());
  log.insert(3, kOther, 77);
  log.commit(3, 0, {}, {kOther});
  const auto changes = changes_of(log, 15);
  EXPECT_FALSE(changes.broken());
  const ForkChanges* table = changes.find({kTable, Fork::kMain});
  EXPECT_EQ(table->limit, 100u);
  EXPECT_EQ(blocks_of(table->blocks), (std::set<uint32_t>{5, 99}));
  EXPECT_TRUE(table->changed(100));
  EXPECT_EQ(changes.find({kTable, Fork::kVisibility})->limit, 0u);
  EXPECT_EQ(changes.find({{1, 2, 3}, Fork::kInit})->limit, 0u);
  for (const Fork fork : {Fork::kMain, Fork::kVisibility, Fork::kInit})
    EXPECT_EQ(changes.find({kOther, fork})->limit, 0u);
  EXPECT_TRUE(changes.find({kOther, Fork::kMain})->blocks.empty());
}

TEST(BlockChanges, AbortsAndPreparedOnesDropToo) {
  for (const uint8_t operation : {xact_info::kAbort, xact_info::kCommitPrepared, xact_info::kAbortPrepared}) {
    LogWriter log(15);
    Bytes main;
    main.u64(0).u32(xact_info::kDatabase | xact_info::kFiles | xact_info::kStatistics | xact_info::kTwoPhase |
                    xact_info::kGid);
    main.u32(5).u32(1663).u32(1).file(kOther).u32(1).u32(1).u32(5).u32(16999).u32(77).text(
        std::string("gid\0", 4));
    log.add(rmgr::kXact, operation | xact_info::kHasXinfo | kSpecialUpdate, 0, main.str());
    const auto changes = changes_of(log, 15);
    EXPECT_FALSE(changes.broken());
    EXPECT_EQ(changes.find({kOther, Fork::kMain})->limit, 0u);
  }
}

TEST(BlockChanges, WholeDatabases) {
  const auto with = [](int version, uint8_t operation, const std::string& main) {
    LogWriter log(version);
    log.add(rmgr::kDatabase, operation | kSpecialUpdate, 3, main);
    return changes_of(log, version);
  };
  const std::string created = Bytes().u32(20000).u32(1663).u32(1).u32(1663).str();
  const std::string dropped = Bytes().u32(20000).u32(2).u32(1663).u32(16500).str();
  EXPECT_TRUE(with(13, 0x00, created).changed({{1663, 20000, 1}, Fork::kMain}, 0));
  EXPECT_TRUE(with(14, 0x10, dropped).whole_database(16500, 20000));
  EXPECT_TRUE(with(15, 0x00, created).whole_database(1663, 20000));
  EXPECT_TRUE(with(15, 0x10, created.substr(0, 8)).whole_database(1663, 20000));
  EXPECT_TRUE(with(18, 0x20, dropped).whole_database(16500, 20000));
  EXPECT_FALSE(with(18, 0x20, dropped).broken());
  // What it cannot read it does not pass over.
  EXPECT_TRUE(with(18, 0x20, dropped.substr(0, 12)).broken());
  EXPECT_TRUE(with(14, 0x20, dropped).broken());
}

TEST(BlockChanges, WhatIsNotKnownBreaksTheCoverage) {
  const auto broken = [](int version, uint8_t rmid, uint8_t info, const std::string& main) {
    LogWriter log(version);
    log.add(rmid, info, 3, main);
    return changes_of(log, version).broken();
  };
  EXPECT_TRUE(broken(15, rmgr::kCustom, kSpecialUpdate, "x"));
  EXPECT_FALSE(broken(15, rmgr::kCustom, 0, "x"));
  EXPECT_TRUE(broken(15, 60, 0, "x"));
  EXPECT_TRUE(broken(15, rmgr::kSmgr, 0x30 | kSpecialUpdate, "x"));
  EXPECT_TRUE(broken(15, rmgr::kSmgr, smgr_info::kCreate, "short"));
  EXPECT_TRUE(broken(15, rmgr::kXact, xact_info::kCommit, "short"));
  const auto parameters = [](uint32_t level) {
    return std::string(20, '\0') + Bytes().u32(level).u16(0).str();
  };
  EXPECT_TRUE(broken(15, rmgr::kXlog, xlog_info::kParameterChange, parameters(0)));
  EXPECT_FALSE(broken(15, rmgr::kXlog, xlog_info::kParameterChange, parameters(1)));
  EXPECT_TRUE(broken(17, rmgr::kXlog, xlog_info::kCheckpointRedo, Bytes().u32(0).str()));
  EXPECT_TRUE(broken(17, rmgr::kXlog, xlog_info::kEndOfRecovery, Bytes().u64(0).u32(2).u32(1).u32(0).str()));
  EXPECT_FALSE(broken(16, rmgr::kXlog, xlog_info::kEndOfRecovery, Bytes().u64(0).u32(2).u32(1).str()));
  std::string checkpoint(88, '\0');
  EXPECT_TRUE(broken(18, rmgr::kXlog, xlog_info::kShutdownCheckpoint, checkpoint));
  EXPECT_FALSE(broken(15, rmgr::kXlog, xlog_info::kShutdownCheckpoint, checkpoint));
  checkpoint[20] = 1;
  EXPECT_FALSE(broken(18, rmgr::kXlog, xlog_info::kShutdownCheckpoint, checkpoint));
}

TEST(BlockChanges, MergesInAnyOrder) {
  LogWriter a(15), b(15);
  for (uint32_t i = 0; i < 300; ++i) {
    a.insert(3, kTable, i * 3);
    b.insert(3, kTable, i * 5);
  }
  b.add(rmgr::kSmgr, smgr_info::kTruncate, 3, Bytes().u32(700).file(kTable).u32(1).str());
  const auto runs = [](const BlockChanges& changes) {
    std::string out;
    changes.for_each([&](const BlockChanges::File& f, const ForkChanges& fork) {
      out += std::to_string(f.file.relation) + "/" + std::to_string(static_cast<int>(f.fork)) + ":" +
             std::to_string(fork.limit);
      for (const uint32_t n : blocks_of(fork.blocks)) out += " " + std::to_string(n);
      out += "\n";
    });
    return out;
  };
  BlockChanges ab = changes_of(a, 15), ba = changes_of(b, 15);
  ab.merge(changes_of(b, 15));
  ba.merge(changes_of(a, 15));
  EXPECT_EQ(runs(ab), runs(ba));
  EXPECT_EQ(ab.find({kTable, Fork::kMain})->limit, 700u);
  BlockChanges moved = std::move(ab);
  moved.mark({kTable, Fork::kMain}, 1);
  EXPECT_TRUE(moved.changed({kTable, Fork::kMain}, 1));
}

}  // namespace
}  // namespace varve::engine::postgres
