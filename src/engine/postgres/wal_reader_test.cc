#include "engine/postgres/wal_reader.h"

#include <gtest/gtest.h>

#include "engine/postgres/testing_wal.h"

namespace varve::engine::postgres {
namespace {

using testing::Bytes;
using testing::LogWriter;
using testing::Random;
using Kind = WalStop::Kind;
constexpr RelFile kTable{1663, 5, 16384};

struct Seen {
  Lsn lsn, end;
  uint32_t xid, length;
  std::string main;
  bool operator==(const Seen&) const = default;
};

struct Outcome {
  std::vector<Seen> records;
  std::optional<WalStop> stop;
  std::string head;
  std::optional<Lsn> first, next;
};

Outcome read(const WalStart& start, ByteView bytes, size_t part = SIZE_MAX) {
  WalReader reader(start);
  Outcome out;
  while (!bytes.empty()) {
    const ByteView now = bytes.first(std::min(part, bytes.size()));
    bytes = bytes.subspan(now.size());
    EXPECT_TRUE(reader.feed(now, [&](const WalRecord& r) -> Result<> {
      out.records.push_back({r.lsn, r.end, r.xid, r.length, std::string(as_text(r.main_data))});
      return {};
    }));
  }
  out.stop = reader.stop();
  out.head = std::string(as_text(reader.head()));
  out.first = reader.first_record();
  out.next = reader.next_record();
  return out;
}

WalStart start_of(const LogWriter& log) {
  return {.lsn = log.start(), .segment_size = log.segment_size(), .system = log.system};
}

// Small and large ones, over pages and segments.
LogWriter mixed_log(int version, unsigned seed = 1) {
  LogWriter log(version);
  Random random(seed);
  for (uint32_t i = 0; i < 3000; ++i) {
    if (i % 500 == 499) {
      log.add(rmgr::kXlog, 0x20, i, std::string(random() % 60000, static_cast<char>('a' + i % 26)));
    } else {
      log.insert(i + 3, kTable, i, 1 + random() % 700);
    }
  }
  return log;
}

TEST(WalReader, ReadsEveryVersionInPartsOfAnySize) {
  for (int version = 13; version <= 18; ++version) {
    const LogWriter log = mixed_log(version);
    const Outcome whole = read(start_of(log), log.bytes());
    ASSERT_FALSE(whole.stop) << whole.stop->reason;
    EXPECT_EQ(whole.records.size(), 3000u);
    EXPECT_EQ(whole.first, log.start() + kLongHeader);
    EXPECT_EQ(whole.records.back().end, align_record(log.end()));
    EXPECT_EQ(whole.next, align_record(log.end()));
    for (const size_t part : {1, 7, 24, 8191, 8192, 100000})
      EXPECT_EQ(read(start_of(log), log.bytes(), part).records, whole.records) << part;
  }
}

TEST(WalReader, FindsTheFirstRecordWhereverItBegins) {
  const LogWriter log = mixed_log(15, 2);
  const auto all = read(start_of(log), log.bytes()).records;
  for (Lsn page = log.start() + kWalPage; page < log.end(); page += kWalPage) {
    WalStart start = start_of(log);
    start.lsn = page;
    const Outcome got = read(start, log.bytes(page, log.end()));
    ASSERT_FALSE(got.stop) << got.stop->reason;
    if (got.records.empty()) continue;  // within one long record up to the end
    const size_t skipped = all.size() - got.records.size();
    EXPECT_TRUE(std::equal(all.begin() + static_cast<ptrdiff_t>(skipped), all.end(), got.records.begin()));
    // No record is left out that begins after the page did.
    EXPECT_LT(all[skipped - 1].lsn, page);
    EXPECT_EQ(got.first, got.records[0].lsn);
  }
}

TEST(WalReader, AmidAPageItBeginsWithTheNext) {
  const LogWriter log = mixed_log(15, 3);
  WalStart start = start_of(log);
  start.lsn = log.start() + 1000;
  const Outcome got = read(start, log.bytes(start.lsn, log.end()));
  ASSERT_TRUE(got.first);
  EXPECT_GE(*got.first, log.start() + kWalPage + kShortHeader);
  EXPECT_GE(got.head.size(), kWalPage - 1000u);
  // Told that a record begins there, it goes on at once.
  const auto all = read(start_of(log), log.bytes()).records;
  start.lsn = all[1].lsn;
  start.at_record = true;
  start.version = 15;
  EXPECT_EQ(read(start, log.bytes(start.lsn, log.end())).records.size(), all.size() - 1);
  start.at_record = false;
  start.lsn = log.start() + kWalPage + 10;
  EXPECT_EQ(read(start, log.bytes(start.lsn, log.end())).stop->kind, Kind::kUnsupported);
}

TEST(WalReader, SkipsWhatFollowsASwitch) {
  LogWriter log(16);
  log.insert(3, kTable, 1);
  const Lsn at = log.switch_segment();
  log.insert(4, kTable, 2);
  for (const size_t part : {size_t{3}, SIZE_MAX}) {
    const Outcome got = read(start_of(log), log.bytes(), part);
    ASSERT_EQ(got.records.size(), 3u);
    EXPECT_EQ(got.records[1].lsn, at);
    EXPECT_EQ(got.records[1].end, log.start() + log.segment_size());
  }
  // Beginning amid the zeros, it waits for the next segment.
  WalStart start = start_of(log);
  start.lsn = log.start() + 2 * kWalPage;
  const Outcome got = read(start, log.bytes(start.lsn, log.end()));
  EXPECT_FALSE(got.stop);
  ASSERT_EQ(got.records.size(), 1u);
  EXPECT_EQ(got.records[0].xid, 4u);
}

TEST(WalReader, GoesOnAfterARecordThatWasNeverCompleted) {
  LogWriter log(15);
  log.insert(3, kTable, 1);
  const Lsn lost = log.cut_record(5000 + kWalPage, std::string(30000, 'x'));
  log.add(rmgr::kXlog, xlog_info::kOverwriteContrecord, 0, Bytes().u64(lost).u64(0).str());
  log.insert(4, kTable, 2);
  for (const size_t part : {size_t{11}, SIZE_MAX}) {
    const Outcome got = read(start_of(log), log.bytes(), part);
    ASSERT_FALSE(got.stop) << got.stop->reason;
    EXPECT_EQ(got.records.size(), 3u);
  }
}

TEST(WalReader, TheEndIsToldFromDamage) {
  LogWriter log(15, 16u << 20);
  for (uint32_t i = 0; i < 100; ++i) log.insert(i + 3, kTable, i, 300);
  std::string bytes = log.log();
  bytes.resize(30 * kWalPage);
  Outcome got = read(start_of(log), as_bytes(bytes));
  ASSERT_TRUE(got.stop);
  EXPECT_EQ(got.stop->kind, Kind::kZeros);
  EXPECT_EQ(got.stop->lsn, align_record(log.end()));
  EXPECT_EQ(got.records.size(), 100u);
  // A recycled file: behind a page that is full to its end, pages of an earlier use.
  LogWriter old(15, log.start() - 4 * log.segment_size()), full(15, log.start());
  for (uint32_t i = 0; i < 1000; ++i) old.insert(i + 3, kTable, i, 300);
  full.add(rmgr::kXlog, 0x20, 1, std::string(kWalPage - kLongHeader - kRecordHeader - 5, 'f'));
  ASSERT_EQ(full.log().size(), kWalPage);
  bytes = full.log() + old.log().substr(kWalPage);
  got = read(start_of(log), as_bytes(bytes));
  ASSERT_TRUE(got.stop);
  EXPECT_EQ(got.stop->kind, Kind::kStale);
  EXPECT_EQ(got.stop->lsn, log.start() + kWalPage);
  EXPECT_EQ(got.records.size(), 1u);
}

TEST(WalReader, EachFlippedBitIsFound) {
  const LogWriter log = mixed_log(15, 4);
  const auto all = read(start_of(log), log.bytes()).records;
  Random random(3);
  for (int i = 0; i < 300; ++i) {
    std::string bad = log.log();
    const size_t at = random() % bad.size();
    bad[at] = static_cast<char>(bad[at] ^ (1 << random() % 8));
    const Outcome got = read(start_of(log), as_bytes(bad));
    // What comes before is as it was; only padding may differ unseen.
    for (size_t k = 0; k < got.records.size(); ++k) ASSERT_EQ(got.records[k], all[k]);
    if (got.records.size() == all.size()) continue;
    ASSERT_TRUE(got.stop);
    EXPECT_LE(got.stop->lsn, log.start() + at);
  }
}

TEST(WalReader, AnotherLogIsRefused) {
  const LogWriter log = mixed_log(15, 5);
  WalStart start = start_of(log);
  start.system = 7;
  EXPECT_EQ(read(start, log.bytes()).stop->kind, Kind::kDamaged);
  start = start_of(log);
  start.lsn += log.segment_size();
  EXPECT_EQ(read(start, log.bytes()).stop->kind, Kind::kStale);
  std::string newer = log.log();
  newer[0] = '\x7f';
  EXPECT_EQ(read(start_of(log), as_bytes(newer)).stop->kind, Kind::kUnsupported);
  LogWriter third(15);
  third.timeline = 3;
  third.insert(3, kTable, 1);
  start = start_of(third);
  start.timeline = 2;
  EXPECT_EQ(read(start, third.bytes()).stop->kind, Kind::kDamaged);
}

TEST(WalRecord, BlocksHaveTheirParts) {
  for (const int version : {13, 18}) {
    LogWriter log(version);
    log.add(rmgr::kHeap2, 0x10, 9, "main",
            {{kTable, 7, Fork::kVisibility, "data"},
             {{1664, 0, 1262}, 8, Fork::kMain, {}, std::string(8000, 'i')}});
    WalReader reader(start_of(log));
    int seen = 0;
    ASSERT_TRUE(reader.feed(log.bytes(), [&](const WalRecord& r) -> Result<> {
      ++seen;
      EXPECT_EQ(r.blocks().size(), 2u);
      const BlockRef &a = r.blocks()[0], &b = r.blocks()[1];
      EXPECT_EQ(a.file, kTable);
      EXPECT_EQ(a.fork, Fork::kVisibility);
      EXPECT_EQ(a.block, 7u);
      EXPECT_EQ(as_text(a.data), "data");
      EXPECT_FALSE(a.has_image);
      EXPECT_EQ(b.file, (RelFile{1664, 0, 1262}));
      EXPECT_TRUE(b.has_image);
      EXPECT_EQ(b.image.size(), 8000u);
      EXPECT_EQ(b.hole_length, 192);
      EXPECT_EQ(as_text(r.main_data), "main");
      return {};
    }));
    EXPECT_EQ(seen, 1);
  }
}

}  // namespace
}  // namespace varve::engine::postgres
