#include "engine/sqlite/wal.h"

#include <fstream>
#include <gtest/gtest.h>
#include <random>

#include "engine/sqlite/testing_process.h"

namespace varve::engine::sqlite {
namespace {

struct Read {
  WalPosition end;
  std::vector<uint32_t> commits;  // the frames that end one
};
Result<Read> read_all(const os::Path& wal) {
  TRY_ASSIGN(WalReader reader, WalReader::open(wal));
  Read out;
  TRY_OK(reader.read(UINT32_MAX, [&](const WalFrame& frame) -> Result<bool> {
    if (frame.pages_after > 0) out.commits.push_back(frame.number);
    return true;
  }));
  out.end = reader.position();
  return out;
}

class WalTest : public ::testing::Test {
 protected:
  WalTest() : folder_(*os::TempDir::create("wal")), app_(folder_.path() / "a.db") {
    app_.exec("PRAGMA page_size=1024; PRAGMA journal_mode=WAL; CREATE TABLE t(x)");
    for (int i = 0; i < 9; ++i) app_.exec("INSERT INTO t VALUES(randomblob(3000))");
  }
  Buffer bytes() const { return *os::read_file(wal(), 1 << 30); }
  os::Path wal() const { return folder_.path() / "a.db-wal"; }
  os::Path write(ByteView content) const {
    const os::Path to = folder_.path() / "spoilt-wal";
    std::ofstream(to, std::ios::binary)
        .write(as_text(content).data(), static_cast<std::streamsize>(content.size()));
    return to;
  }
  os::TempDir folder_;
  testing::Program app_;
};

TEST_F(WalTest, EndsWhereTheLastCommitDoes) {
  app_.exec("BEGIN; INSERT INTO t VALUES(randomblob(900000)); PRAGMA cache_size=1");
  const auto read = read_all(wal());
  ASSERT_TRUE(read);
  ASSERT_EQ(read->commits.size(), 10u);
  EXPECT_EQ(read->commits.back(), read->end.frame);
  EXPECT_EQ(wal_path("/x/a b.db"), os::Path("/x/a b.db-wal"));
}

TEST_F(WalTest, EachFlippedBitEndsTheChainThere) {
  const auto whole = read_all(wal());
  ASSERT_TRUE(whole);
  const Buffer good = bytes();
  std::mt19937 random(3);
  for (int i = 0; i < 100; ++i) {
    Buffer bad = good;
    const size_t at = random() % bad.size();
    bad[at] ^= static_cast<std::byte>(1u << random() % 8);
    const auto read = read_all(write(bad));
    if (at < kWalHeaderSize) {
      ASSERT_FALSE(read);
      EXPECT_EQ(read.error().code, Code::kDamaged);
      continue;
    }
    ASSERT_TRUE(read);
    EXPECT_EQ(read->end.frame, (at - kWalHeaderSize) / (kFrameHeaderSize + 1024));
  }
}

TEST_F(WalTest, EachCutEndsTheChainThere) {
  const Buffer good = bytes();
  for (size_t size = 0; size < good.size(); size += 499) {
    const auto read = read_all(write(ByteView(good).first(size)));
    if (size < kWalHeaderSize) {
      EXPECT_EQ(read.error().code, Code::kDamaged);
    } else {
      ASSERT_TRUE(read);
      EXPECT_EQ(read->end.frame, (size - kWalHeaderSize) / (kFrameHeaderSize + 1024));
    }
  }
}

TEST_F(WalTest, NoticesANewGeneration) {
  auto reader = WalReader::open(wal());
  ASSERT_TRUE(reader);
  EXPECT_TRUE(*reader->same_generation());
  app_.exec("PRAGMA wal_checkpoint(RESTART); INSERT INTO t VALUES(1)");
  EXPECT_FALSE(*reader->same_generation());
}

TEST(WalIndex, RefusesWhatIsNotWhole) {
  std::array<std::byte, 32768> region = {};
  EXPECT_FALSE(read_wal_index(region.data()));
  std::mt19937 random(5);
  for (int i = 0; i < 1000; ++i) {
    for (std::byte& b : region) b = static_cast<std::byte>(random());
    std::memcpy(region.data() + 48, region.data(), 48);
    EXPECT_FALSE(read_wal_index(region.data()));
  }
}

}  // namespace
}  // namespace varve::engine::sqlite
