#include "engine/postgres/page.h"

#include <gtest/gtest.h>
#include <map>
#include <thread>

#include "engine/postgres/file_reader.h"
#include "engine/postgres/testing_server.h"

namespace varve::engine::postgres {
namespace {

constexpr size_t kPage = 8192;

// A page of many different bytes, with this LSN; its checksum is not set.
Buffer page_of(uint32_t seed, uint64_t lsn) {
  Buffer page(kPage);
  for (size_t i = 0; i < page.size(); ++i)
    page[i] = static_cast<std::byte>((i * 131 + seed * 7 + i / 251) & 0xff);
  store_le<uint32_t>(page.data(), static_cast<uint32_t>(lsn >> 32));
  store_le<uint32_t>(page.data() + 4, static_cast<uint32_t>(lsn));
  return page;
}

void seal(MutableBytes page, uint32_t block) {
  store_le<uint16_t>(page.data() + 8, page_checksum(page, block));
}

// PostgreSQL itself is the witness: its extension pageinspect computes the same of any bytes.
TEST(PostgresPage, ChecksumIsThatOfTheServer) {
  testing::Server server;
  server.exec("CREATE EXTENSION pageinspect");
  for (const uint32_t block : {0u, 1u, 131072u, 4000000000u}) {
    Buffer page = page_of(block, 1);
    // A header that the extension accepts: lower, upper, special, size and version.
    for (const auto& [at, value] :
         std::map<size_t, uint16_t>{{12, 24}, {14, 8192}, {16, 8192}, {18, 8192 | 4}})
      store_le<uint16_t>(page.data() + at, value);
    const std::string said =
        server.ask(fmt::format("SELECT page_checksum('\\x{}'::bytea, {})", to_hex(page), block));
    EXPECT_EQ(said, fmt::format("{}\n", static_cast<int16_t>(page_checksum(page, block)))) << block;
  }
  // And so does every page that the server wrote.
  server.stop();
  size_t pages = 0;
  const auto names = os::list_directory(server.data() / "base/5");
  for (const std::string& name : *names) {
    const auto file = relation_file("base/5/" + name);
    if (!file) continue;
    const Buffer content = *os::read_file(server.data() / "base/5" / name, 1 << 30);
    for (size_t at = 0; at + kPage <= content.size(); at += kPage, ++pages) {
      const auto block = static_cast<uint32_t>(at / kPage);
      ASSERT_EQ(verify_page(ByteView(content).subspan(at, kPage), block, UINT64_MAX), PageState::kGood)
          << name;
    }
  }
  EXPECT_GT(pages, 500u);
}

TEST(PostgresPage, WhatFitsWhatTheLogRepairsAndWhatIsBad) {
  Buffer page = page_of(1, 1000);
  seal(page, 7);
  EXPECT_EQ(verify_page(page, 7, 500), PageState::kGood);
  EXPECT_EQ(verify_page(page, 8, 1001), PageState::kBad);
  page[5000] ^= std::byte{1};
  EXPECT_EQ(verify_page(page, 7, 1000), PageState::kRepaired);
  EXPECT_EQ(verify_page(page, 7, 1001), PageState::kBad);
  const Buffer empty(kPage, std::byte{0});
  EXPECT_EQ(verify_page(empty, 7, 0), PageState::kGood);
  Buffer spoiled = empty;
  spoiled[8000] = std::byte{1};
  EXPECT_EQ(verify_page(spoiled, 7, 1), PageState::kBad);
}

class Reading : public ::testing::Test {
 protected:
  os::Path write(ByteView bytes) {
    const os::Path path = dir_->path() / "16384.1";
    EXPECT_TRUE(os::replace_file(path, bytes));
    return path;
  }
  Result<os::TempDir> dir_ = os::TempDir::create();
  PageFindings findings_;
  PageRules rules_{.page_size = kPage, .segment_pages = 100, .verify = true, .start_lsn = 500};
  RelationFile second_{
      .tablespace = 1663, .database = 5, .filenode = 16384, .fork = Fork::kMain, .segment = 1};
};

TEST_F(Reading, BlocksAreCountedThroughTheFork) {
  Buffer file;
  for (uint32_t b = 0; b < 4; ++b) {
    Buffer page = page_of(b, b == 2 ? 900 : 100);
    seal(page, 100 + b);
    if (b >= 1) page[4000] ^= std::byte{1};
    append(file, page);
  }
  const auto reader = open_relation(write(file), "base/5/16384.1", second_, rules_, findings_);
  ASSERT_TRUE(reader);
  Buffer out(4 * kPage);
  ASSERT_TRUE((*reader)->read(0, out));
  EXPECT_EQ(out, file);
  // The page at 102 is newer than the start: bad only if it is newer than the end, too.
  const auto settled = findings_.settle(1000);
  const std::vector<BadPage> bad = {{"base/5/16384.1", 101}, {"base/5/16384.1", 103}};
  EXPECT_EQ(settled.pages, bad);
  EXPECT_EQ(settled.count, 2u);
  EXPECT_EQ(findings_.settle(899).count, 3u);
}

TEST_F(Reading, AFileThatShrankIsZeroes) {
  Buffer page = page_of(1, 1);
  seal(page, 100);
  const auto reader = open_relation(write(page), "r", second_, rules_, findings_);
  ASSERT_TRUE(reader);
  Buffer out(3 * kPage, std::byte{1});
  ASSERT_TRUE((*reader)->read(0, out));
  EXPECT_EQ(to_buffer(ByteView(out).first(kPage)), page);
  EXPECT_TRUE(all_zero(ByteView(out).subspan(kPage)));
  EXPECT_EQ(findings_.settle(0).count, 0u);
  const auto strict = open_plain(dir_->path() / "16384.1", false);
  ASSERT_TRUE(strict);
  EXPECT_EQ((*strict)->read(0, out).error().code, Code::kConflict);
  const auto lenient = open_plain(dir_->path() / "16384.1", true);
  ASSERT_TRUE((*lenient)->read(kPage, MutableBytes(out).first(10)));
  EXPECT_TRUE(all_zero(ByteView(out).first(10)));
  EXPECT_EQ(open_plain(dir_->path() / "gone", true).error().code, Code::kNotFound);
}

TEST_F(Reading, ATornPageIsReadAgain) {
  Buffer good = page_of(1, 100);
  seal(good, 100);
  Buffer torn = good;
  torn[8000] ^= std::byte{1};
  const os::Path path = write(torn);
  const auto reader = open_relation(path, "r", second_, rules_, findings_);
  ASSERT_TRUE(reader);
  std::jthread writer([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    auto file = os::File::open(path, os::File::Mode::kReadWrite);
    EXPECT_TRUE(file->write_at(0, good));
  });
  Buffer out(kPage);
  ASSERT_TRUE((*reader)->read(0, out));
  EXPECT_EQ(out, good);
  EXPECT_EQ(findings_.settle(UINT64_MAX).count, 0u);
}

TEST_F(Reading, MoreBadPagesThanAreListedAreCounted) {
  for (uint32_t i = 0; i < 2 * kMostBadPages; ++i) findings_.bad({"x", i});
  EXPECT_EQ(findings_.settle(0).pages.size(), kMostBadPages);
  EXPECT_EQ(findings_.settle(0).count, 2 * kMostBadPages);
}

}  // namespace
}  // namespace varve::engine::postgres
