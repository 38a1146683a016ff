#include "engine/sqlite/page_set.h"

#include <gtest/gtest.h>
#include <random>

namespace varve::engine::sqlite {
namespace {

Timestamp at(int64_t us) {
  return Timestamp(std::chrono::microseconds(us));
}

PageSet sample() {
  PageSet set;
  set.databases = {{"a.db", 4096}, {"sub/b.db", 512}};
  set.commits = {
      {.txn = 7,
       .time = at(1'000'000),
       .database = 1,
       .pages_after = 9,
       .wal = {.salt1 = 1, .salt2 = 0xffffffff, .frame = 12, .checksum1 = 3, .checksum2 = 4},
       .writes = {{.page = 1, .slot = 0}, {.page = 9, .slot = 1}},
       .changes = {{"orders", "insert", 3}, {"", "commit", std::nullopt}}},
      {.txn = 8,
       .time = at(1'000'100),
       .database = 0,
       .pages_after = 0xfffffffe,
       .wal = {},
       .writes = {{.page = 2, .slot = 5}, {.page = 0xfffffffe, .slot = 2}},
       .changes = {}},
  };
  set.first_txn = 7;
  set.last_txn = 8;
  set.first_time = at(1'000'000);
  set.last_time = at(1'000'100);
  return set;
}

TEST(PageSet, ComesBackAsItWas) {
  const PageSet set = sample();
  const auto back = decode(encode(set));
  ASSERT_TRUE(back) << back.error().describe();
  ASSERT_EQ(back->databases.size(), 2u);
  EXPECT_EQ(back->databases[1].name, "sub/b.db");
  EXPECT_EQ(back->databases[1].page_size, 512u);
  ASSERT_EQ(back->commits.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    const Commit& was = set.commits[i];
    const Commit& is = back->commits[i];
    EXPECT_EQ(is.txn, was.txn);
    EXPECT_EQ(is.time, was.time);
    EXPECT_EQ(is.database, was.database);
    EXPECT_EQ(is.pages_after, was.pages_after);
    EXPECT_EQ(is.wal, was.wal);
    ASSERT_EQ(is.writes.size(), was.writes.size());
    for (size_t w = 0; w < was.writes.size(); ++w) {
      EXPECT_EQ(is.writes[w].page, was.writes[w].page);
      EXPECT_EQ(is.writes[w].slot, was.writes[w].slot);
    }
    ASSERT_EQ(is.changes.size(), was.changes.size());
  }
  EXPECT_EQ(back->commits[0].changes[0].rows, 3u);
  EXPECT_EQ(back->commits[0].changes[1].rows, std::nullopt);
  EXPECT_EQ(back->last_time, set.last_time);
}

TEST(PageSet, RefusesWhatIsOutOfOrder) {
  const auto refused = [](const std::function<void(PageSet&)>& spoil) {
    PageSet set = sample();
    spoil(set);
    const auto back = decode(encode(set));
    return !back && back.error().code == Code::kDamaged;
  };
  EXPECT_TRUE(refused([](PageSet& s) { s.commits[1].txn = 9; }));
  EXPECT_TRUE(refused([](PageSet& s) { s.commits[1].txn = 7; }));
  EXPECT_TRUE(refused([](PageSet& s) { s.last_txn = 9; }));
  EXPECT_TRUE(refused([](PageSet& s) { s.first_txn = 6; }));
  EXPECT_TRUE(refused([](PageSet& s) { s.commits[0].database = 2; }));
  EXPECT_TRUE(refused([](PageSet& s) { s.commits[0].writes[1].page = 10; }));
  EXPECT_TRUE(refused([](PageSet& s) { s.commits[0].writes[0].page = 9; }));
  EXPECT_TRUE(refused([](PageSet& s) { s.commits[0].writes[0].page = 0; }));
  EXPECT_TRUE(refused([](PageSet& s) { s.databases[0].page_size = 4095; }));
  EXPECT_TRUE(refused([](PageSet& s) { s.commits[1].time = Timestamp::max(); }));
  EXPECT_TRUE(refused([](PageSet& s) { s.last_time = Timestamp::max(); }));
  EXPECT_TRUE(refused([](PageSet& s) { s.first_time = s.last_time + std::chrono::seconds(1); }));
  EXPECT_TRUE(refused([](PageSet& s) {
    s.merged = true;
    s.commits[1].database = 1;
  }));
}

TEST(PageSet, MergedHoldsOneCommitADatabase) {
  PageSet set = sample();
  set.merged = true;
  set.first_txn = 1;
  set.last_txn = 20;
  EXPECT_TRUE(decode(encode(set)));
}

TEST(PageSet, SurvivesAnyBytes) {
  std::mt19937 random(7);
  const Buffer good = encode(sample());
  for (int i = 0; i < 20'000; ++i) {
    Buffer bad = good;
    for (unsigned n = 1 + random() % 4; n > 0; --n) {
      bad[random() % bad.size()] = static_cast<std::byte>(random());
    }
    if (random() % 3 == 0) bad.resize(random() % bad.size());
    const auto set = decode(bad);  // either refused, or in order
    if (!set) {
      EXPECT_EQ(set.error().code, Code::kDamaged);
      continue;
    }
    for (const Commit& commit : set->commits) {
      ASSERT_LT(commit.database, set->databases.size());
      uint32_t last = 0;
      for (const PageWrite& write : commit.writes) {
        ASSERT_GT(write.page, last);
        ASSERT_LE(write.page, commit.pages_after);
        last = write.page;
      }
    }
  }
}

TEST(CaptureData, ComesBackAsItWas) {
  CaptureData data;
  data.databases = {
      {.name = "a.db",
       .wal_mode = true,
       .wal = {1, 2, 3, 4, 5},
       .change_counter = 6,
       .page_size = 65536,
       .pages = 7},
      {.name = "b.db", .wal_mode = false, .wal = {}, .change_counter = 1, .page_size = 512, .pages = 0}};
  data.txn = 0;
  const auto back = decode_capture_data(encode_capture_data(data));
  ASSERT_TRUE(back);
  ASSERT_EQ(back->databases.size(), 2u);
  EXPECT_EQ(back->databases[0].wal, data.databases[0].wal);
  EXPECT_EQ(back->databases[0].pages, 7u);
  EXPECT_FALSE(back->databases[1].wal_mode);
  EXPECT_EQ(back->txn, 0u);
  data.txn.reset();
  EXPECT_EQ(decode_capture_data(encode_capture_data(data))->txn, std::nullopt);
  EXPECT_EQ(decode_capture_data(as_bytes("nonsense")).error().code, Code::kDamaged);
}

}  // namespace
}  // namespace varve::engine::sqlite
