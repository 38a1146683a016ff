#include "backup/postgres/followed_wal.h"

#include <gtest/gtest.h>
#include <random>

#include "backup/postgres/follow_place.h"
#include "repo/repository_for_test.h"

namespace varve::backup::postgres {
namespace {

constexpr uint64_t kSystem = 7'000'000'000'000'000'001;
constexpr uint32_t kSegment = 1u << 20;
constexpr uint64_t kStart = 5 * kSegment;

PieceName piece(uint64_t first, uint64_t end) {
  return {"", first, end - 1, 1};
}

TEST(PlaceFor, GoesOnWhereTheLogEnds) {
  const std::map<db::Timeline, std::vector<PieceName>> pieces = {{1, {piece(kStart, kStart + 5000)}}};
  EXPECT_EQ(place_for(kStart + 5000, 1, {}, pieces, kSegment), (WalPlace{1, kStart + 5000}));
  EXPECT_EQ(place_for(kStart + kSegment, 1, {}, {}, kSegment), (WalPlace{1, kStart + kSegment}));
}

TEST(PlaceFor, ASegmentThatIsNotThereFromItsBeginIsTakenFromThere) {
  const std::map<db::Timeline, std::vector<PieceName>> pieces = {{1, {piece(kStart + 8192, kStart + 16384)}}};
  EXPECT_EQ(place_for(kStart + 16384, 1, {}, pieces, kSegment), (WalPlace{1, kStart}));
}

TEST(PlaceFor, TheOldTimelineFirstThenTheNewOnesSegment) {
  const std::vector<db::HistoryEntry> history = {{1, kStart + 9000, ""}, {2, kStart + 3 * kSegment, ""}};
  const std::map<db::Timeline, std::vector<PieceName>> pieces = {{1, {piece(kStart, kStart + 20000)}}};
  EXPECT_EQ(place_for(kStart + 5000, 3, history, pieces, kSegment), (WalPlace{1, kStart + 5000}));
  // What the old one wrote after the new one began is of another history.
  EXPECT_EQ(place_for(kStart + 9000, 3, history, pieces, kSegment), (WalPlace{2, kStart}));
  EXPECT_EQ(place_for(kStart + 3 * kSegment, 3, history, pieces, kSegment),
            (WalPlace{3, kStart + 3 * kSegment}));
}

class FollowedWalTest : public testing::Test {
 protected:
  FollowedWalTest() {
    content_.resize(3 * kSegment);
    std::mt19937 random(1);
    for (auto& b : content_) b = static_cast<std::byte>(random());
  }

  void begin(uint64_t at) {
    wal_.emplace(repository_.repo, "app");
    wal_->begin({kSystem, 1, at, kSegment});
    next_ = at;
  }
  void add(size_t bytes) {
    while (bytes > 0) {
      const size_t now = std::min(bytes, wal_->room());
      wal_->add(ByteView(content_).subspan(next_ - kStart, now));
      next_ += now;
      bytes -= now;
      ASSERT_TRUE(wal_->flush({}));
    }
  }
  std::vector<std::pair<uint64_t, uint64_t>> pieces() {
    std::vector<std::pair<uint64_t, uint64_t>> out;
    const auto names = WalArchive(repository_.repo, "app").pieces({}, kSystem, 1, 0, UINT64_MAX);
    for (const PieceName& p : *names) out.emplace_back(p.first - kStart, p.last + 1 - kStart);
    return out;
  }
  Buffer read(uint64_t from, uint64_t size) {
    Buffer out(size);
    EXPECT_EQ(*WalArchive(repository_.repo, "app").read({}, kSystem, 1, from, out), size);
    return out;
  }
  using Pieces = std::vector<std::pair<uint64_t, uint64_t>>;

  repo::TestRepository repository_;
  Buffer content_;
  std::optional<FollowedWal> wal_;
  uint64_t next_ = 0;
};

TEST_F(FollowedWalTest, WhatComesAtOnceIsAPieceForEachSegment) {
  begin(kStart);
  add(2 * kSegment);
  EXPECT_EQ(pieces(), (Pieces{{0, kSegment}, {kSegment, 2 * kSegment}}));
  EXPECT_EQ(wal_->stored(), kStart + 2 * kSegment);
}

TEST_F(FollowedWalTest, SmallPiecesAreJoinedWhenTheirSegmentIsWhole) {
  begin(kStart);
  add(8192);
  add(100);
  add(kSegment / 2);
  wal_->folder().finish({});
  EXPECT_EQ(pieces(), (Pieces{{0, 8192}, {8192, 8292}, {8292, 8292 + kSegment / 2}}));
  add(kSegment);
  wal_->folder().finish({});
  const Pieces all = pieces();
  EXPECT_EQ(all.front(), (std::pair<uint64_t, uint64_t>{0, kSegment}));
  // Readers may still have the small ones in hand.
  EXPECT_EQ(all.size(), 6u);
  EXPECT_EQ(read(kStart, kSegment + 8292 + kSegment / 2),
            to_buffer(ByteView(content_).first(kSegment + 8292 + kSegment / 2)));
}

TEST_F(FollowedWalTest, APartOfAPageHeaderWaitsForTheRest) {
  begin(kStart);
  add(8192 + 10);
  EXPECT_EQ(wal_->stored(), kStart + 8192);
  add(14);
  EXPECT_EQ(wal_->stored(), kStart + 8192 + 24);
  EXPECT_EQ(pieces(), (Pieces{{0, 8192}, {8192, 8192 + 24}}));
}

TEST_F(FollowedWalTest, WhoGoesOnAmidASegmentJoinsWhatIsThere) {
  begin(kStart);
  add(8192 * 3);
  begin(kStart + 8192 * 3);
  add(kSegment - 8192 * 3);
  wal_->folder().finish({});
  EXPECT_EQ(pieces().front(), (std::pair<uint64_t, uint64_t>{0, kSegment}));
  EXPECT_EQ(read(kStart, kSegment), to_buffer(ByteView(content_).first(kSegment)));
}

TEST_F(FollowedWalTest, WhatAnEarlierRunLeftGoesIfItIsTheSame) {
  begin(kStart);
  add(8192 * 3);
  add(8192);
  WalArchive archive(repository_.repo, "app");
  ASSERT_TRUE(archive.store({}, {kSystem, 1, kStart, kSegment}, ByteView(content_).first(kSegment)));
  // One of other content, as it must never be.
  Buffer other(8192);
  std::fill(other.begin(), other.end(), std::byte{1});
  ASSERT_TRUE(archive.store({}, {kSystem, 1, kStart + 8192 * 7, kSegment}, other));
  const auto names = archive.pieces({}, kSystem, 1, kStart, kStart + kSegment);
  ASSERT_EQ(names->size(), 4u);
  UnitFolder folder(repository_.repo, "app");
  folder.add({{kSystem, 1, kStart, kSegment}, kStart + kSegment, {}, {names->begin() + 1, names->end()}});
  folder.finish({});
  EXPECT_EQ(pieces(), (Pieces{{0, kSegment}, {8192 * 7, 8192 * 8}}));
}

}  // namespace
}  // namespace varve::backup::postgres
