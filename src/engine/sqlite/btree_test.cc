#include "engine/sqlite/btree.h"

#include <gtest/gtest.h>

#include "engine/sqlite/btree_page.h"
#include "engine/sqlite/testing.h"

namespace varve::engine::sqlite {
namespace {

using namespace std::literals;

using testing::Database;

TEST(Header, TellsWhatSqliteWrote) {
  Database db({.page_size = 1024, .auto_vacuum = true, .encoding = "UTF-16le"});
  db.exec("CREATE TABLE t(a); CREATE TABLE u(a)");
  const auto header = parse_header(db.snapshot().page(1));
  ASSERT_TRUE(header);
  EXPECT_EQ(header->page_size, 1024u);
  EXPECT_EQ(header->write_version, 1);
  EXPECT_EQ(header->text_encoding, 2u);
  EXPECT_GT(header->largest_root, 0u);
  EXPECT_EQ(header->pages, db.snapshot().pages());
  EXPECT_EQ(header->schema_cookie, db.number("PRAGMA schema_version"));
}

TEST(Header, Size65536IsStoredAsOne) {
  Database db({.page_size = 65536});
  db.exec("CREATE TABLE t(a)");
  EXPECT_EQ(parse_header(db.snapshot().page(1))->page_size, 65536u);
}

TEST(Header, RefusesOthers) {
  Database db({.page_size = 512});
  db.exec("CREATE TABLE t(a)");
  const Buffer good = to_buffer(db.snapshot().page(1));
  ASSERT_TRUE(parse_header(good));
  EXPECT_EQ(parse_header(ByteView(good).first(99)).error().code, Code::kDatabase);
  for (const auto& [at, value] : std::vector<std::pair<size_t, int>>{
           {0, 'x'}, {15, 1}, {16, 3}, {16, 0}, {20, 100}, {21, 1}, {22, 1}, {23, 1}}) {
    Buffer bad = good;
    bad[at] = static_cast<std::byte>(value);
    EXPECT_FALSE(parse_header(bad)) << "byte " << at << " = " << value;
  }
}

TEST(Header, LockPageCoversTheFirstGibibyte) {
  EXPECT_EQ(lock_page(512), 2097153u);
  EXPECT_EQ(lock_page(4096), 262145u);
  EXPECT_EQ(lock_page(65536), 16385u);
}

TEST(Varint, ReadsEveryLengthAndRefusesCutOnes) {
  const auto read = [](std::string_view s) {
    ByteView b = as_bytes(s);
    return take_varint(b);
  };
  EXPECT_EQ(read("\x7f"), 127u);
  EXPECT_EQ(read("\x81\x00"sv), 128u);
  EXPECT_EQ(read("\xff\xff\xff\xff\xff\xff\xff\xff\xff"), ~uint64_t{0});
  EXPECT_EQ(read(""), std::nullopt);
  EXPECT_EQ(read("\x81\x81"), std::nullopt);
  EXPECT_EQ(read("\xff\xff\xff\xff\xff\xff\xff\xff"), std::nullopt);
}

TEST(Page, GivesTheCellsOfALeafWithOverflow) {
  Database db({.page_size = 512});
  db.exec(
      "CREATE TABLE t(id INTEGER PRIMARY KEY, a, b); INSERT INTO t VALUES(-5, 'x', 7), (9, 1.5, "
      "hex(zeroblob(2000)))");
  const auto state = db.snapshot();
  const auto page = BtreePage::parse(state.page(2), 2, 512);
  ASSERT_TRUE(page);
  EXPECT_TRUE(page->is_table());
  EXPECT_TRUE(page->is_leaf());
  ASSERT_EQ(page->cells(), 2u);
  const auto first = page->cell(0), second = page->cell(1);
  ASSERT_TRUE(first && second);
  EXPECT_EQ(first->rowid, -5);
  EXPECT_EQ(first->overflow, 0u);
  EXPECT_EQ(second->rowid, 9);
  EXPECT_NE(second->overflow, 0u);

  RecordReader record(first->local);
  EXPECT_EQ(record.next()->type, 0u);  // the row id stands for the column
  EXPECT_EQ(decode_text(record.next()->bytes, 1), "x");
  EXPECT_EQ(record.next()->integer(), 7);
  EXPECT_FALSE(record.next());

  const auto whole = read_payload(state.source(), *second, 512, 1 << 20);
  ASSERT_TRUE(whole);
  RecordReader big(*whole);
  big.next();
  big.next();
  EXPECT_EQ(big.next()->bytes.size(), 4000u);
  EXPECT_EQ(read_payload(state.source(), *second, 512, 3999).error().code, Code::kDamaged);
}

TEST(Page, AnyBytesAreRead) {
  Database db({.page_size = 512});
  db.exec("CREATE TABLE t(a, b); CREATE INDEX i ON t(b, a)");
  db.exec(
      "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<300) INSERT INTO t SELECT i, "
      "hex(zeroblob(i)) FROM n");
  const auto state = db.snapshot();
  uint64_t seed = 1, seen = 0;
  for (uint32_t number = 1; number <= state.pages(); ++number) {
    Buffer page = to_buffer(state.page(number));
    for (int round = 0; round < 50; ++round) {
      seed = seed * 6364136223846793005u + 1442695040888963407u;
      page[(seed >> 33) % page.size()] = static_cast<std::byte>(seed >> 25);
      const auto parsed = BtreePage::parse(page, number, 512);
      if (!parsed) continue;
      parsed->children([&](uint32_t) { ++seen; });
      for (uint32_t i = 0; i < parsed->cells(); ++i) {
        const auto cell = parsed->cell(i);
        if (!cell) continue;
        EXPECT_LE(cell->local.size(), 512u);
        RecordReader record(cell->local);
        while (const auto field = record.next()) seen += field->bytes.size();
      }
    }
  }
  EXPECT_GT(seen, 0u);
}

TEST(Text, Utf16BothWaysWithSurrogates) {
  const std::string_view le("\x48\x00\xe9\x00\x3d\xd8\x00\xde\x00\xd8", 10),
      be("\x00\x48\x00\xe9\xd8\x3d\xde\x00\xd8\x00", 10);
  EXPECT_EQ(decode_text(as_bytes(le), 2), "H\xc3\xa9\xf0\x9f\x98\x80\xef\xbf\xbd");
  EXPECT_EQ(decode_text(as_bytes(be), 3), "H\xc3\xa9\xf0\x9f\x98\x80\xef\xbf\xbd");
}

}  // namespace
}  // namespace varve::engine::sqlite
