#include "backup/history.h"

#include "backup/source_for_test.h"

namespace varve::backup::sqlite {
namespace {

class HistoryTest : public ::testing::Test {
 protected:
  std::vector<engine::Event> events(const HistoryQuery& query = {}) {
    auto state = load_source(*repository_.repo, {}, "app");
    EXPECT_TRUE(state) << state.error().describe();
    std::vector<engine::Event> out;
    auto told = for_each_event(repository_.repo, {}, *state, query, [&](const engine::Event& e) -> Result<> {
      out.push_back(e);
      return {};
    });
    EXPECT_TRUE(told) << told.error().describe();
    return out;
  }
  // "kind table rows" of each.
  std::vector<std::string> told(const HistoryQuery& query = {}) {
    std::vector<std::string> out;
    for (const auto& e : events(query))
      out.push_back(
          fmt::format("{} {} {} {}", e.position, e.kind, e.table, e.rows ? std::to_string(*e.rows) : "?"));
    return out;
  }

  repo::TestRepository repository_{repo::Encryption::kNone};
  TestSource source_{repository_.repo, "app", 3};
};

TEST_F(HistoryTest, TellsEveryChangeInOrder) {
  source_.begin_epoch();
  source_.commit(1, {{"Orders", "insert", 3}, {"items", "update", {}}});
  source_.commit(2);
  const auto all = events();
  ASSERT_EQ(all.size(), 4u);
  EXPECT_EQ(all[0].position, "txn:2");
  EXPECT_EQ(all[0].xid, "2");
  EXPECT_EQ(all[0].kind, "insert");
  EXPECT_EQ(all[0].rows, 3u);
  EXPECT_TRUE(all[0].table == "app.db:Orders" || all[0].table == "small.db:Orders") << all[0].table;
  EXPECT_EQ(all[1].kind, "update");
  EXPECT_EQ(all[1].rows, std::nullopt);
  EXPECT_EQ(all[2].kind, "commit");
  EXPECT_EQ(all[3].position, "txn:4");
  for (size_t i = 0; i < all.size(); ++i) EXPECT_EQ(all[i].time, source_.times().at(i == 0 ? 2 : i + 1));
}

TEST_F(HistoryTest, MergedPiecesAreNotTold) {
  source_.begin_epoch();
  for (int i = 0; i < 6; ++i) source_.commit();
  source_.merge(4);
  EXPECT_EQ(events().size(), 6u);
  // Also where expiry took the first of the pieces that it folds.
  ASSERT_TRUE(store::remove_one(*repository_.mem, {}, repo::log_piece_key("app", source_.epoch(), 4, 4)));
  const auto left = told();
  EXPECT_EQ(left, (std::vector<std::string>{"txn:2 commit  ?", "txn:3 commit  ?", "txn:4 gap  ?",
                                            "txn:5 commit  ?", "txn:6 commit  ?", "txn:7 commit  ?"}));
}

TEST_F(HistoryTest, FiltersByTimeAndTable) {
  source_.begin_epoch();
  source_.commit(3, {{"a", "insert", 1}});
  source_.commit(3, {{"B", "delete", 2}});
  source_.commit(3);
  const auto& at = source_.times();
  EXPECT_EQ(events({at.at(3), {}, ""}).size(), 8u);
  EXPECT_EQ(events({{}, at.at(3), ""}).size(), 2u);
  EXPECT_EQ(events({at.at(4), at.at(5), ""}).size(), 2u);
  EXPECT_EQ(events({{}, {}, "b"}).size(), 3u);
  EXPECT_EQ(events({{}, {}, "APP.DB:B"}).size() + events({{}, {}, "small.db:b"}).size(), 3u);
  EXPECT_EQ(events({{}, {}, "nothing"}).size(), 0u);
  EXPECT_EQ(events({source_.clock() + Seconds(1), {}, ""}).size(), 0u);
}

TEST_F(HistoryTest, ALossOfContinuityIsTold) {
  source_.begin_epoch();
  source_.commit();
  source_.pass(Seconds(60));
  source_.change();
  source_.begin_epoch();
  source_.commit();
  EXPECT_EQ(told(), (std::vector<std::string>{"txn:2 commit  ?", "txn:3 base  ?", "txn:4 commit  ?"}));
  // A backup beside the follower is none.
  source_.backup("", true);
  source_.commit();
  EXPECT_EQ(told().size(), 4u);
}

TEST_F(HistoryTest, ADamagedPieceIsAnError) {
  source_.begin_epoch();
  const std::string key = source_.commit();
  source_.commit();
  Buffer bytes = repository_.bytes(key);
  bytes[20] ^= std::byte{1};
  repository_.overwrite(key, bytes);
  auto state = load_source(*repository_.repo, {}, "app");
  ASSERT_TRUE(state);
  auto r = for_each_event(repository_.repo, {}, *state, {}, [](const engine::Event&) { return Result<>(); });
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().code, Code::kDamaged);
  EXPECT_NE(r.error().describe().find(key), std::string::npos);
}

}  // namespace
}  // namespace varve::backup::sqlite
