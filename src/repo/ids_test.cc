#include "repo/ids.h"

#include <gtest/gtest.h>
#include <set>

#include "crypto/crypto.h"

namespace varve::repo {
namespace {

TEST(Ids, PackIdsCarryTheirWriter) {
  WriterId writer;
  writer.bytes.fill(std::byte{0xab});
  const PackId id = pack_id(writer, 0x01020304);
  EXPECT_EQ(id.hex(), "abababababababababababab01020304");
  EXPECT_EQ(writer_of(id), writer);
  EXPECT_EQ(pack_key(id), "packs/af/abababababababababababab01020304");
  auto back = pack_from_key(pack_key(id));
  ASSERT_TRUE(back);
  EXPECT_EQ(*back, id);
  for (const char* bad : {"packs/00/abababababababababababab01020304", "packs/af/abab", "packs/af/",
                          "af/abababababababababababab01020304", "packs/af/ABABABABABABABABABABABAB01020304"})
    EXPECT_FALSE(pack_from_key(bad)) << bad;
}

TEST(Ids, PacksSpreadOverFolders) {
  WriterId writer;
  std::set<std::string> of_one_writer;
  for (uint32_t i = 0; i < 256; ++i) of_one_writer.insert(pack_key(pack_id(writer, i)).substr(0, 8));
  EXPECT_EQ(of_one_writer.size(), 256u);
}

TEST(Ids, Names) {
  for (const char* good : {"app", "a", "7", "db-1.prod_x@host+y=z", "A.b"})
    EXPECT_TRUE(check_name(good)) << good;
  for (const char* bad : {"", ".hidden", "-x", "a/b", "a b", "ä", "..", "a\n"})
    EXPECT_FALSE(check_name(bad)) << bad;
  EXPECT_TRUE(check_name(std::string(120, 'x')));
  EXPECT_FALSE(check_name(std::string(121, 'x')));
}

TEST(Ids, BackupIdsSortByTimeAndSayTheType) {
  ASSERT_TRUE(crypto::init());
  const Timestamp t = *parse_rfc3339("2026-11-23T14:32:05.9Z");
  const std::string id = new_backup_id(t, "full");
  EXPECT_TRUE(id.starts_with("20261123-143205-full-")) << id;
  EXPECT_EQ(id.size(), 25u);
  EXPECT_TRUE(check_name(id));
  EXPECT_LT(id, new_backup_id(t + std::chrono::seconds(1), "differential"));
}

TEST(Ids, LogPieces) {
  const store::Key key = log_piece_key("app", "e1", 1, 0xfedcba9876543210);
  EXPECT_EQ(key, "sources/app/log/e1/0000000000000001-fedcba9876543210");
  EXPECT_TRUE(store::check_key(key));
  auto name = parse_log_name(last_segment(key));
  ASSERT_TRUE(name);
  EXPECT_EQ(name->first, 1u);
  EXPECT_EQ(name->last, 0xfedcba9876543210u);
  for (const char* bad : {"", "mark-20261123T143205.000000Z", "0000000000000001-000000000000000",
                          "0000000000000002-0000000000000001", "000000000000000g-0000000000000001",
                          "0000000000000001_0000000000000002"})
    EXPECT_EQ(parse_log_name(bad).error().code, Code::kUsage) << bad;
  // Marks sort behind the pieces, and by time among themselves.
  const Timestamp t = *parse_rfc3339("2026-11-23T14:32:05.000042Z");
  EXPECT_EQ(log_mark_key("app", "e1", t), "sources/app/log/e1/mark-20261123T143205.000042Z");
  EXPECT_GT(log_mark_key("app", "e1", t), key);
}

TEST(Ids, EventsLieInTheirDay) {
  EXPECT_EQ(event_key(*parse_rfc3339("2026-11-23T23:59:59.999999Z"), "x"), "events/2026-11-23/x");
}

}  // namespace
}  // namespace varve::repo
