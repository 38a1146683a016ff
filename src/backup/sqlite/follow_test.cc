// Following a real database, seen from the repository.

#include <fmt/format.h>
#include <thread>

#include "backup/sqlite/log_replay.h"
#include "backup/sqlite/target.h"
#include "backup/sqlite/work.h"
#include "engine/sqlite/connection.h"
#include "repo/lease.h"
#include "repo/repository_for_test.h"
#include "store/wrap/fault.h"

namespace varve::backup::sqlite {
namespace {

constexpr int kReadWriteCreate = 0x02 | 0x04;  // of sqlite3_open_v2

class FollowTest : public ::testing::Test {
 protected:
  FollowTest() {
    source_.address = "sqlite:" + (folder_.path() / "app.db").native();
    exec("PRAGMA journal_mode=WAL");
    exec("CREATE TABLE t(x)");
  }
  void exec(const std::string& sql) {
    const auto done = app_.exec(sql);
    ASSERT_TRUE(done) << done.error().describe();
  }
  FollowStatus follow_once() {
    FollowOptions options;
    options.once = true;
    auto status = sqlite::follow(t_.repo, {}, source_, options, {});
    EXPECT_TRUE(status) << status.error().describe();
    return status.value_or(FollowStatus{});
  }
  SourceState state() { return *load_source(*t_.repo, {}, source_.name); }
  Result<Target> target(const Point& point) { return find_target(t_.repo, {}, state(), point, std::nullopt); }

  repo::TestRepository t_;
  os::TempDir folder_ = *os::TempDir::create("follow");
  Source source_{"app", "", "sqlite"};
  db::Connection app_ =
      *db::Connection::open((folder_.path() / "app.db").native(), kReadWriteCreate, "app.db");
};

// A follower whose lease ran out may be asleep, with commits in hand that it numbered as the next one would.
TEST_F(FollowTest, ALogThatAnotherMayStillWriteIsLeftToIt) {
  EXPECT_EQ(follow_once().bases, 1u);
  exec("INSERT INTO t VALUES(1)");
  EXPECT_EQ(follow_once().bases, 0u);
  ASSERT_TRUE(repo::Lease::take(t_.repo, {}, source_.name, "follow", Seconds(1)));
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));
  exec("INSERT INTO t VALUES(2)");
  EXPECT_EQ(follow_once().bases, 1u);
  exec("INSERT INTO t VALUES(3)");
  EXPECT_EQ(follow_once().bases, 0u);
  EXPECT_EQ(state().epochs.size(), 2u);
}

TEST_F(FollowTest, NoMomentIsToldOfWhichNobodyKnows) {
  follow_once();
  const Timestamp before = state().windows.back().to;
  exec("INSERT INTO t VALUES(1)");
  std::this_thread::sleep_for(std::chrono::milliseconds(2500));
  follow_once();

  const SourceState seen = state();
  ASSERT_EQ(seen.windows.size(), 2u);
  EXPECT_EQ(seen.windows[0].to, before);
  const Timestamp after = seen.windows[1].from;
  EXPECT_GE(after - before, std::chrono::milliseconds(2400));
  const auto at = [](Timestamp t) { return Point{Point::Kind::kTime, t, 0, ""}; };
  const uint64_t base = seen.windows[0].first;
  EXPECT_EQ(target(at(before))->until_txn, base);
  EXPECT_EQ(target(at(after))->until_txn, base + 1);
  EXPECT_EQ(target({Point::Kind::kTxn, {}, base + 1, ""})->until_txn, base + 1);
  EXPECT_EQ(target({Point::Kind::kBefore, {}, base + 1, ""})->until_txn, base);
  const Timestamp between = before + std::chrono::milliseconds(1500);
  EXPECT_EQ(target(at(between)).error().code, Code::kIncomplete);

  // The mark goes, as after a kill at the wrong moment: the windows tell too much, a restore does not.
  for (const store::Key& key : t_.names(repo::log_prefix(source_.name))) {
    if (!repo::last_segment(key).starts_with("mark-")) continue;
    ASSERT_TRUE(store::remove_one(*t_.mem, {}, key));
  }
  EXPECT_EQ(state().windows.size(), 1u);
  const auto refused = target(at(between));
  EXPECT_EQ(refused.error().code, Code::kIncomplete);
  EXPECT_NE(refused.error().hint.find(fmt::format("txn:{}", base)), std::string::npos)
      << refused.error().hint;
}

// What is newest is not guessed from what is left.
TEST_F(FollowTest, LatestIsRefusedWhenTheNewestIsLost) {
  follow_once();
  exec("INSERT INTO t VALUES(1)");
  follow_once();
  const Point latest;
  const auto before = target(latest);
  ASSERT_TRUE(before) << before.error().describe();
  const auto pieces = state().epochs.back().pieces;
  ASSERT_EQ(pieces.size(), 1u);

  const Buffer piece = t_.bytes(pieces[0].key);
  ASSERT_TRUE(store::remove_one(*t_.mem, {}, pieces[0].key));
  EXPECT_EQ(target(latest).error().code, Code::kDamaged);
  EXPECT_TRUE(state().epochs.back().gap);
  EXPECT_TRUE(target({Point::Kind::kTime, state().windows.back().to, 0, ""}));
  t_.overwrite(pieces[0].key, piece);
  EXPECT_TRUE(target(latest));

  std::this_thread::sleep_for(std::chrono::milliseconds(1100));  // ids tell seconds
  Progress progress;
  auto newest = run_backup(t_.repo, {}, source_, {}, progress);
  ASSERT_TRUE(newest) << newest.error().describe();
  EXPECT_EQ(target(latest)->base.id, newest->id);
  t_.overwrite(repo::manifest_key(source_.name, newest->id), as_bytes("no manifest"));
  for (const auto kind : {Point::Kind::kLatest, Point::Kind::kEnd}) {
    const auto refused = target({kind, {}, 0, ""});
    EXPECT_EQ(refused.error().code, Code::kDamaged);
    EXPECT_NE(refused.error().describe().find(newest->id), std::string::npos) << refused.error().describe();
    EXPECT_NE(refused.error().hint.find("--to"), std::string::npos) << refused.error().hint;
  }
}

TEST_F(FollowTest, LatestIsRefusedWhenTheBaseOfTheNewestLogIsLost) {
  Progress progress;
  ASSERT_TRUE(run_backup(t_.repo, {}, source_, {}, progress));
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));
  follow_once();
  exec("INSERT INTO t VALUES(1)");
  follow_once();
  ASSERT_TRUE(store::remove_one(*t_.mem, {}, repo::manifest_key(source_.name, state().epochs.back().epoch)));
  EXPECT_EQ(target({}).error().code, Code::kDamaged);
}

// The answer to a put is lost, the store is away for longer than a driver tries: the piece that stands is
// ours.
TEST_F(FollowTest, APieceWhoseAnswerWasLostIsNoOtherFollowers) {
  auto faults = std::make_shared<store::FaultStore>(t_.mem);
  const auto repo = *t_.open(faults);
  follow_once();
  exec("INSERT INTO t VALUES(1)");
  bool lost = false;
  faults->set_policy([&](const store::StoreCall& call) {
    if (call.kind != store::CallKind::kPut || lost || call.key.find("/log/") == std::string::npos ||
        repo::last_segment(call.key).starts_with("mark-"))
      return store::Fault{};
    lost = true;
    return store::Fault{store::Fault::What::kLoseReply, store::transient_error()};
  });
  FollowOptions options;
  options.once = true;
  const auto status = sqlite::follow(repo, {}, source_, options, {});
  ASSERT_TRUE(status) << status.error().describe();
  EXPECT_TRUE(lost);
  EXPECT_EQ(status->commits, 1u);
  EXPECT_EQ(target({})->until_txn, status->txn);
}

// However often it is started, one mark stands.
TEST_F(FollowTest, MarksDoNotPileUp) {
  for (int i = 0; i < 4; ++i) follow_once();
  int marks = 0;
  for (const store::Key& key : t_.names(repo::log_prefix(source_.name))) {
    marks += repo::last_segment(key).starts_with("mark-");
  }
  EXPECT_EQ(marks, 1);
}

}  // namespace
}  // namespace varve::backup::sqlite
