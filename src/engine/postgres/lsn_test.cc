#include "engine/postgres/lsn.h"

#include <gtest/gtest.h>

namespace varve::engine::postgres {
namespace {

using Kind = WalFileName::Kind;
constexpr uint32_t k16M = 16u << 20;

TEST(Lsn, IsWrittenAsPostgresDoes) {
  EXPECT_EQ(format_lsn(0x16b374d848), "16/B374D848");
  EXPECT_EQ(format_lsn(0), "0/0");
  EXPECT_EQ(*parse_lsn("16/B374D848"), 0x16b374d848u);
  EXPECT_EQ(*parse_lsn("ffffffff/FFFFFFFF"), UINT64_MAX);
  for (const char* bad :
       {"", "/", "1/", "/1", "1", "1/2/3", "123456789/0", "0/123456789", "g/0", "-1/0", "0x1/0", " 1/0"})
    EXPECT_EQ(parse_lsn(bad).error().code, Code::kUsage) << bad;
}

TEST(Lsn, SegmentsHaveTheirNames) {
  EXPECT_EQ(segment_name(1, 0x3000028, k16M), "000000010000000000000003");
  EXPECT_EQ(segment_name(0x1f, 0xab'ff000000, k16M), "0000001F000000AB000000FF");
  EXPECT_EQ(segment_name(1, 0x1'00000000, 1u << 20), "000000010000000100000000");
  EXPECT_EQ(segment_name(1, 0xfff00000, 1u << 20), "000000010000000000000FFF");
  EXPECT_EQ(history_name(2), "00000002.history");
}

TEST(Lsn, NamesAreTold) {
  EXPECT_EQ(parse_wal_file_name("0000001F000000AB000000FF", k16M),
            (WalFileName{.timeline = 0x1f, .start = 0xab'ff000000}));
  EXPECT_EQ(parse_wal_file_name("000000010000000000000003.partial", k16M),
            (WalFileName{.kind = Kind::kPartial, .timeline = 1, .start = 0x3000000}));
  EXPECT_EQ(parse_wal_file_name("00000002.history", k16M),
            (WalFileName{.kind = Kind::kHistory, .timeline = 2}));
  EXPECT_EQ(parse_wal_file_name("000000010000000000000003.00000028.backup", k16M),
            (WalFileName{.kind = Kind::kBackupHistory, .timeline = 1, .start = 0x3000000, .offset = 0x28}));
  for (const char* bad :
       {"", "0000001F000000AB00000100", "00000000000000AB000000FF", "0000001f000000ab000000ff",
        "00000000.history", "2.history", "000000010000000000000003.backup",
        "000000010000000000000003.01000000.backup", "000000010000000000000003.00000028.backup.partial",
        "archive_status", "000000010000000000000003.partial.partial"})
    EXPECT_FALSE(parse_wal_file_name(bad, k16M)) << bad;
  EXPECT_FALSE(parse_wal_file_name("000000010000000000000003", 12345));
}

TEST(Lsn, HistoriesAreRead) {
  const auto read = parse_history(4,
                                  "1\t0/3000158\tno recovery target specified\n\n# a "
                                  "comment\n2\t0/50000D8\tbefore 2026-11-23 14:32:05+01\n"
                                  "  3\t1/0\n");
  ASSERT_TRUE(read) << read.error().describe();
  ASSERT_EQ(read->size(), 3u);
  EXPECT_EQ((*read)[0], (HistoryEntry{1, 0x3000158, "no recovery target specified"}));
  EXPECT_EQ((*read)[1].reason, "before 2026-11-23 14:32:05+01");
  EXPECT_EQ((*read)[2], (HistoryEntry{3, 0x1'00000000, ""}));
  EXPECT_TRUE(parse_history(2, "")->empty());
  for (const char* bad :
       {"x", "1", "1 x", "2\t0/1", "1\t0/2\n1\t0/3", "1\t0/2\n0\t0/3", "1\t0/5 a\n\n2\t0/4 b", "1,0/5"})
    EXPECT_EQ(parse_history(bad[0] == '2' ? 2 : 3, bad).error().code, Code::kDamaged) << bad;
}

}  // namespace
}  // namespace varve::engine::postgres
