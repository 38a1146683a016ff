#include "engine/postgres/wal_summaries.h"

#include <gtest/gtest.h>

#include "engine/postgres/wal_format.h"

namespace varve::engine::postgres {
namespace {

constexpr RelFile kTable{1663, 5, 16384};
constexpr auto kMain = static_cast<uint64_t>(Fork::kMain),
               kVisibility = static_cast<uint64_t>(Fork::kVisibility);
constexpr uint32_t kHeapPages = heap_pages_per_map_page(8192);

BlockChanges changes_of(const std::vector<SummaryRow>& rows) {
  BlockChanges out;
  for (const SummaryRow& row : rows) EXPECT_TRUE(apply_summary(out, row));
  return out;
}

TEST(WalSummaries, NameBlocksAndThePageOfTheMapThatTheyDoNotName) {
  const auto changes = changes_of({{kTable, kMain, 10, false}, {kTable, kMain, kHeapPages + 3, false}});
  EXPECT_TRUE(changes.changed({kTable, Fork::kMain}, 10));
  EXPECT_FALSE(changes.changed({kTable, Fork::kMain}, 11));
  EXPECT_TRUE(changes.changed({kTable, Fork::kVisibility}, 0));
  EXPECT_TRUE(changes.changed({kTable, Fork::kVisibility}, 1));
  EXPECT_FALSE(changes.changed({kTable, Fork::kVisibility}, 2));
  EXPECT_FALSE(changes.changed({{1663, 5, 16385}, Fork::kMain}, 10));
}

TEST(WalSummaries, LimitsAreTheLowestOfAllAndReachTheMapsLastPage) {
  const auto changes = changes_of({{kTable, kMain, 2 * kHeapPages + 7, true},
                                   {kTable, kMain, 5, false},
                                   {kTable, kMain, 3 * kHeapPages, true},
                                   {kTable, kVisibility, 3, true}});
  EXPECT_TRUE(changes.changed({kTable, Fork::kMain}, 5));
  EXPECT_FALSE(changes.changed({kTable, Fork::kMain}, 2 * kHeapPages + 6));
  EXPECT_TRUE(changes.changed({kTable, Fork::kMain}, 2 * kHeapPages + 7));
  // Bits of the pages that were cut off are cleared in the page that stays.
  EXPECT_TRUE(changes.changed({kTable, Fork::kVisibility}, 2));
  EXPECT_FALSE(changes.changed({kTable, Fork::kVisibility}, 1));
  EXPECT_TRUE(changes.changed({kTable, Fork::kVisibility}, 0));  // of block 5
}

TEST(WalSummaries, ADatabaseThatWasMadeOrDroppedIsAllNew) {
  const auto changes = changes_of({{{1663, 20000, 0}, kMain, 0, true}});
  EXPECT_TRUE(changes.whole_database(1663, 20000));
  EXPECT_TRUE(changes.changed({{1663, 20000, 99}, Fork::kVisibility}, 7));
  EXPECT_FALSE(changes.whole_database(1663, 5));
}

TEST(WalSummaries, ImpossibleRowsAreRefused) {
  BlockChanges changes;
  EXPECT_FALSE(apply_summary(changes, {kTable, kForks, 0, false}));
  EXPECT_FALSE(apply_summary(changes, {kTable, kMain, uint64_t{1} << 32, false}));
}

TEST(WalSummaries, CoverTheWayOrSayWhereTheyEnd) {
  const std::vector<WalStretch> there = {{1, 300, 400}, {1, 100, 300}, {1, 150, 200},
                                         {2, 350, 500}, {1, 400, 450}, {2, 500, 600}};
  using Ways = std::vector<WalStretch>;
  const auto chosen = [&](const Ways& way) { return choose_summaries(there, way).value_or(Ways{}); };
  EXPECT_EQ(chosen({{1, 120, 290}}), (Ways{{1, 100, 300}}));
  EXPECT_EQ(chosen({{1, 100, 450}}), (Ways{{1, 100, 300}, {1, 300, 400}, {1, 400, 450}}));
  EXPECT_EQ(chosen({{1, 300, 350}, {2, 350, 600}}), (Ways{{1, 300, 400}, {2, 350, 500}, {2, 500, 600}}));
  EXPECT_EQ(chosen({{1, 300, 300}, {2, 400, 450}}), (Ways{{2, 350, 500}}));
  const auto missing = [&](const Ways& way) { return choose_summaries(there, way).error(); };
  EXPECT_EQ(missing({{1, 99, 300}}).code, Code::kIncomplete);
  EXPECT_NE(missing({{1, 100, 451}}).message.find("from 0/1C2 on"), std::string::npos);  // 450
  EXPECT_NE(missing({{1, 100, 350}, {2, 340, 400}}).message.find("from 0/154 on"), std::string::npos);
  EXPECT_NE(missing({{3, 1, 2}}).message.find("from 0/1 on"), std::string::npos);
  EXPECT_EQ(choose_summaries({{1, 0, 10}, {1, 20, 30}}, {{1, 5, 25}}).error().message,
            "the server has no summary of its WAL from 0/A on");
}

}  // namespace
}  // namespace varve::engine::postgres
