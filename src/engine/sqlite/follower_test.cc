#include "engine/sqlite/follower.h"

#include <gtest/gtest.h>
#include <thread>

#include "engine/sqlite/checkpointer.h"
#include "engine/sqlite/testing_follow.h"
#include "engine/sqlite/wal_follow.h"

namespace varve::engine::sqlite {
namespace {

using namespace std::chrono_literals;
using testing::ask_sqlite3;
using testing::Child;
using testing::dump;
using testing::judge;
using testing::Program;
using testing::Replica;
using testing::Told;
using testing::WildWriter;

const Context kCtx;

class FollowerTest : public ::testing::Test {
 protected:
  FollowerTest() : folder_(*os::TempDir::create("follow")), replica_(folder_.path() / "replica") {
    std::filesystem::create_directory(folder_.path() / "live");
  }
  os::Path at(const std::string& name) const { return folder_.path() / "live" / name; }
  SourceSpec spec(const std::string& pattern) const {
    return *parse_source("sqlite:" + at(pattern).native());
  }

  // Opens a follower and takes its base into the replica.
  void follow(const std::string& pattern, const FollowOptions& options = {.batch = 20ms, .rescan = 100ms}) {
    auto follower = Follower::open(kCtx, spec(pattern), options);
    ASSERT_TRUE(follower) << follower.error().describe();
    follower_ = *std::move(follower);
    rebase(std::nullopt, 0);
  }
  // True: a base was taken. False: going on without.
  bool rebase(const std::optional<CaptureData>& after, uint64_t next_txn, Timestamp seen = now()) {
    auto capture = follower_->begin(kCtx, after, next_txn, seen);
    EXPECT_TRUE(capture) << capture.error().describe();
    if (!capture || !*capture) return false;
    replica_.load(**capture);
    EXPECT_EQ(replica_.txn(), next_txn);
    return true;
  }
  Follower::Poll poll(std::chrono::milliseconds wait = 300ms) {
    auto found = follower_->poll(kCtx, wait);
    EXPECT_TRUE(found) << found.error().describe();
    if (!found) return {};
    replica_.apply(found->batch);
    return *std::move(found);
  }
  // Polls until nothing comes any more.
  void catch_up() {
    const Timestamp from = now();
    for (int i = 0; i < 100; ++i) {
      const Follower::Poll found = poll(100ms);
      ASSERT_FALSE(found.base_needed) << found.reason;
      if (found.batch.set.commits.empty() && found.covered_until >= from) return;
    }
    ADD_FAILURE() << "it never ends";
  }
  // The reason a base is asked for, within some polls.
  std::string doubt() {
    for (int i = 0; i < 40; ++i) {
      const Follower::Poll found = poll(100ms);
      if (found.base_needed) return found.reason;
    }
    return "no doubt";
  }
  void expect_same(const std::string& name) {
    catch_up();
    EXPECT_EQ(dump(replica_.copy(name)), dump(at(name)));
    EXPECT_EQ(testing::integrity(replica_.copy(name)), "ok\n");
  }

  os::TempDir folder_;
  Replica replica_;
  std::unique_ptr<Follower> follower_;
};

TEST_F(FollowerTest, CommitsComeOneByOne) {
  Program app(at("a.db"));
  app.exec("PRAGMA journal_mode=WAL; CREATE TABLE t(x); INSERT INTO t VALUES(0)");
  follow("a.db");
  expect_same("a.db");
  const Timestamp before = now();
  for (int i = 1; i <= 10; ++i) app.exec(fmt::format("INSERT INTO t VALUES({})", i));
  std::vector<std::string> counts;
  for (int i = 0; i < 50 && replica_.txn() < 10; ++i) {
    const auto found = follower_->poll(kCtx, 100ms);
    ASSERT_TRUE(found);
    replica_.apply(found->batch, [&](const Commit& commit) {
      EXPECT_GE(commit.time, before);
      counts.push_back(testing::query(replica_.copy("a.db"), "SELECT count(*) FROM t"));
    });
  }
  EXPECT_EQ(counts, (std::vector<std::string>{"2", "3", "4", "5", "6", "7", "8", "9", "10", "11"}));
  expect_same("a.db");
}

TEST_F(FollowerTest, CommitsTellWhatTheyChanged) {
  Program app(at("a.db"));
  app.exec("PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0; CREATE TABLE t(x); CREATE TABLE u(x)");
  app.exec("INSERT INTO t VALUES(1),(2),(3)");
  follow("a.db");
  std::string told;
  const auto expect_told = [&](const std::string& sql, const std::string& expected) {
    app.exec(sql);
    told.clear();
    for (int i = 0; i < 20 && told.empty(); ++i) {
      const Follower::Poll found = poll(100ms);
      for (const Commit& commit : found.batch.set.commits) {
        for (const TableChange& change : commit.changes) {
          told += fmt::format("{} {} {};", change.kind, change.table,
                              change.rows ? std::to_string(*change.rows) : "?");
        }
      }
    }
    EXPECT_EQ(told, expected) << sql;
  };
  expect_told("INSERT INTO t VALUES(4),(5)", "insert t 2;");
  expect_told("UPDATE t SET x = x + 1 WHERE x > 3", "update t 2;");
  expect_told("PRAGMA wal_checkpoint; DELETE FROM t WHERE x = 1", "delete t 1;");
  expect_told("PRAGMA wal_checkpoint; INSERT INTO u VALUES(1)", "insert u 1;");  // a WAL that may begin anew
  // Another follower that goes on from here knows them as well.
  follower_.reset();
  follower_ = *Follower::open(kCtx, spec("a.db"), {.batch = 20ms});
  EXPECT_FALSE(rebase(replica_.positions(), replica_.txn() + 1));
  expect_told("UPDATE u SET x = 7", "update u 1;");
  expect_told("DROP TABLE u", "drop_table u 1;");
}

TEST_F(FollowerTest, AnotherConnectionTruncatesAndAnotherWrites) {
  // A connection that never restarted the WAL itself begins each new one with salts at random.
  Program app(at("a.db")), keeper(at("a.db"));
  app.exec("PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0; CREATE TABLE t(x)");
  follow("a.db");
  keeper.exec("PRAGMA busy_timeout=3000");
  for (int i = 0; i < 10; ++i) {
    app.exec("INSERT INTO t VALUES(randomblob(5000))");
    if (i % 3 == 0) expect_same("a.db");
    std::jthread polling([&](const std::stop_token& stop) {
      while (!stop.stop_requested()) EXPECT_FALSE(poll(20ms).base_needed);
    });
    EXPECT_EQ(keeper.ask("PRAGMA wal_checkpoint(TRUNCATE)"), "0|0|0\n");
    EXPECT_EQ(keeper.ask("PRAGMA wal_checkpoint(TRUNCATE)"), "0|0|0\n");  // of an empty WAL: new salts again
  }
  expect_same("a.db");
}

TEST_F(FollowerTest, VacuumShrinkingAndGrowing) {
  Program app(at("a.db"));
  app.exec("PRAGMA page_size=512; PRAGMA journal_mode=WAL; CREATE TABLE t(x); CREATE INDEX i ON t(x)");
  follow("a.db");
  const std::string fill =
      "INSERT INTO t WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n+1 FROM c WHERE n<3000) SELECT "
      "randomblob(99) FROM c;";
  for (int i = 0; i < 3; ++i) {
    app.exec(fill);
    expect_same("a.db");
    app.exec("DELETE FROM t WHERE rowid % 3; VACUUM");
    expect_same("a.db");
    app.exec("DELETE FROM t; VACUUM; PRAGMA wal_checkpoint(TRUNCATE)");
    expect_same("a.db");
  }
}

TEST_F(FollowerTest, ATransactionLargerThanMemoryAllowsAsksForABase) {
  Program app(at("a.db"));
  app.exec("PRAGMA journal_mode=WAL; CREATE TABLE t(x)");
  follow("a.db", {.batch = 20ms, .max_commit_bytes = 100'000});
  app.exec("INSERT INTO t VALUES(randomblob(50000))");
  app.exec("INSERT INTO t VALUES(randomblob(200000))");
  EXPECT_NE(doubt().find("a transaction wrote more than"), std::string::npos);
  EXPECT_EQ(replica_.txn(), 1u);
  EXPECT_TRUE(rebase(std::nullopt, 2));
  app.exec("INSERT INTO t VALUES(1)");
  expect_same("a.db");
}

TEST_F(FollowerTest, BatchesAreBounded) {
  Program app(at("a.db"));
  app.exec("PRAGMA journal_mode=WAL; CREATE TABLE t(x)");
  follow("a.db", {.batch = 5000ms, .batch_bytes = 50'000});
  for (int i = 0; i < 50; ++i) app.exec("INSERT INTO t VALUES(randomblob(9000))");
  uint64_t polls = 0;
  while (replica_.txn() < 50) {
    const Follower::Poll found = poll(2000ms);
    ASSERT_FALSE(found.base_needed) << found.reason;
    EXPECT_LT(found.batch.bytes(), 100'000u);
    EXPECT_FALSE(found.batch.set.commits.empty());
    ++polls;
  }
  EXPECT_GT(polls, 8u);
  expect_same("a.db");
}

TEST_F(FollowerTest, SeveralDatabasesInterleave) {
  std::filesystem::create_directory(at("sub"));
  Program a(at("a.db")), b(at("sub/b.db"));
  a.exec("PRAGMA journal_mode=WAL; CREATE TABLE t(x)");
  b.exec("PRAGMA page_size=1024; PRAGMA journal_mode=WAL; CREATE TABLE t(x)");
  follow("**/*.db");
  for (int i = 0; i < 5; ++i) {
    a.exec("INSERT INTO t VALUES(1)");
    b.exec("INSERT INTO t VALUES(2)");
    if (i % 2) poll(60ms);
  }
  expect_same("a.db");
  expect_same("sub/b.db");
  EXPECT_EQ(replica_.txn(), 10u);
  Program c(at("new.db"));
  c.exec("CREATE TABLE t(x)");
  EXPECT_EQ(doubt(), "new.db is new");
  EXPECT_TRUE(rebase(replica_.positions(), 11));
  expect_same("new.db");
  std::filesystem::remove(at("new.db"));
  EXPECT_EQ(doubt(), "new.db: its file is gone");
}

TEST_F(FollowerTest, RollbackModeIsFollowedByComparing) {
  Program app(at("r.db"));
  app.exec("CREATE TABLE t(x); INSERT INTO t VALUES(randomblob(100000))");
  follow("r.db");
  app.exec("PRAGMA busy_timeout=2000");
  for (int i = 0; i < 5; ++i) {
    app.exec("INSERT INTO t VALUES(randomblob(3000))");
    expect_same("r.db");
  }
  EXPECT_EQ(replica_.txn(), 5u);
  app.exec("DELETE FROM t; VACUUM");
  expect_same("r.db");
  for (const char* mode : {"truncate", "persist", "memory", "off"}) {
    app.exec(fmt::format("PRAGMA journal_mode={}; INSERT INTO t VALUES('{}')", mode, mode));
    expect_same("r.db");
  }
  app.exec("PRAGMA journal_mode=WAL; INSERT INTO t VALUES(5)");
  EXPECT_EQ(doubt(), "r.db: it was switched to WAL mode");
  EXPECT_TRUE(rebase(std::nullopt, 20));
  app.exec("INSERT INTO t VALUES(6)");
  expect_same("r.db");
}

TEST_F(FollowerTest, AnEmptyFileGrows) {
  ASSERT_TRUE(os::File::open(at("e.db"), os::File::Mode::kCreateNew));
  follow("e.db");
  Program app(at("e.db"));
  app.exec("CREATE TABLE t(x)");
  expect_same("e.db");
  EXPECT_EQ(replica_.txn(), 1u);
}

// Nobody commits any more, and a checkpoint brings into the file what was in the WAL before the follower
// came.
TEST_F(FollowerTest, ACheckpointOfWhatWasThereBeforeIsNoDoubt) {
  Program app(at("c.db"));
  app.exec("PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0; CREATE TABLE t(x); PRAGMA wal_checkpoint");
  for (int i = 0; i < 5; ++i) app.exec(fmt::format("CREATE TABLE t{}(x)", i));
  follow("c.db");
  std::this_thread::sleep_for(20ms);
  app.exec("PRAGMA wal_checkpoint");
  for (int i = 0; i < 10; ++i) {
    const auto found = follower_->poll(kCtx, 60ms);
    ASSERT_TRUE(found) << found.error().describe();
    ASSERT_FALSE(found->base_needed) << found->reason;
  }
  app.exec("INSERT INTO t VALUES(1)");
  expect_same("c.db");
}

TEST_F(FollowerTest, WhatIsReplacedOverwrittenOrDeletedIsDoubted) {
  Program app(at("a.db"));
  app.exec("PRAGMA journal_mode=WAL; CREATE TABLE t(x); PRAGMA wal_checkpoint; INSERT INTO t VALUES(1)");
  follow("a.db");
  catch_up();
  // Copied over in place, as cp does.
  {
    Program other(folder_.path() / "other.db");
    other.exec("PRAGMA journal_mode=WAL; CREATE TABLE quite_another(x); INSERT INTO quite_another VALUES(1)");
    other.close();
  }
  std::this_thread::sleep_for(20ms);
  {
    const Buffer all = *os::read_file(folder_.path() / "other.db", 1 << 30);
    auto file = os::File::open(at("a.db"), os::File::Mode::kReadWrite);
    ASSERT_TRUE(file->write_at(0, all));
    EXPECT_EQ(doubt(), "a.db: its file was overwritten");
  }
  app.kill();
  follower_.reset();
  std::filesystem::remove(at("a.db-wal"));
  std::filesystem::remove(at("a.db-shm"));
  std::filesystem::rename(folder_.path() / "other.db", at("a.db"));
  follow("a.db");
  catch_up();
  std::filesystem::copy_file(at("a.db"), folder_.path() / "again.db");
  std::filesystem::rename(folder_.path() / "again.db", at("a.db"));
  EXPECT_EQ(doubt(), "a.db: its file was replaced");
  EXPECT_TRUE(rebase(std::nullopt, 7));
  std::filesystem::remove(at("a.db"));
  EXPECT_EQ(doubt(), "a.db: its file is gone");
  EXPECT_EQ(follower_->begin(kCtx, std::nullopt, 8, now()).error().code, Code::kNotFound);
}

TEST_F(FollowerTest, AFirstPageThatIsHalfWrittenForAMomentIsWaitedFor) {
  Program app(at("a.db"));
  app.exec("PRAGMA journal_mode=WAL; CREATE TABLE t(x); PRAGMA wal_checkpoint; INSERT INTO t VALUES(1)");
  follow("a.db");
  catch_up();
  auto file = os::File::open(at("a.db"), os::File::Mode::kReadWrite);
  Buffer whole(4096);
  ASSERT_TRUE(file->read_at(0, whole));
  const Buffer half(1024, std::byte{7});
  ASSERT_TRUE(file->write_at(3072, half));
  app.exec("INSERT INTO t VALUES(2)");
  for (int i = 0; i < 20; ++i) EXPECT_FALSE(poll(5ms).base_needed);
  ASSERT_TRUE(file->write_at(0, whole));
  expect_same("a.db");
}

// Stopped between the two halves of the wal-index's header, as by a machine that has better things to do.
TEST_F(FollowerTest, AnIndexThatIsHalfWrittenForAMomentIsWaitedFor) {
  Program app(at("a.db"));
  app.exec("PRAGMA journal_mode=WAL; CREATE TABLE t(x); INSERT INTO t VALUES(1)");
  follow("a.db");
  catch_up();
  Child writer([&] {
    const testing::IndexWriter index(at("a.db"));
    if (!index.lock()) return 1;
    index.halve();
    ::usleep(500'000);
    index.halve();
    index.unlock();
    return 0;
  });
  for (int i = 0; i < 10; ++i) EXPECT_FALSE(poll(30ms).base_needed);
  EXPECT_EQ(writer.wait(), 0);
  app.exec("INSERT INTO t VALUES(2)");
  expect_same("a.db");
}

TEST_F(FollowerTest, ADeletedWalIsDoubted) {
  Program app(at("a.db"));
  app.exec("PRAGMA journal_mode=WAL; CREATE TABLE t(x); INSERT INTO t VALUES(1)");
  follow("a.db");
  app.exec("INSERT INTO t VALUES(2)");
  catch_up();
  std::filesystem::remove(at("a.db-wal"));
  EXPECT_EQ(doubt(), "a.db: its WAL was replaced");
}

TEST_F(FollowerTest, LeavingWalModeIsRefusedToTheWriterWhileWeFollow) {
  Program app(at("a.db"));
  app.exec("PRAGMA journal_mode=WAL; CREATE TABLE t(x)");
  follow("a.db");
  EXPECT_NE(app.ask("PRAGMA journal_mode=DELETE").find("locked"), std::string::npos);
  app.exec("INSERT INTO t VALUES(1)");
  expect_same("a.db");
  follower_.reset();
  EXPECT_EQ(app.ask("PRAGMA journal_mode=DELETE"), "delete\n");
}

TEST_F(FollowerTest, GoesOnWhereAnEarlierOneEnded) {
  Program app(at("a.db"));
  app.exec("PRAGMA journal_mode=WAL; CREATE TABLE t(x)");
  follow("a.db");
  app.exec("INSERT INTO t VALUES(1)");
  catch_up();
  const FollowOptions options{.batch = 20ms};
  const auto reopen = [&] {
    follower_.reset();
    app.exec("INSERT INTO t VALUES(2)");
    follower_ = *Follower::open(kCtx, spec("a.db"), options);
    return rebase(replica_.positions(), replica_.txn() + 1);
  };
  EXPECT_FALSE(reopen());
  expect_same("a.db");
  EXPECT_EQ(replica_.txn(), 2u);
  follower_.reset();
  app.exec("PRAGMA wal_checkpoint(TRUNCATE)");
  EXPECT_TRUE(reopen());
  expect_same("a.db");
  // Everybody closes, the follower last, and it leaves the WAL standing.
  app.exec("INSERT INTO t VALUES(3)");
  catch_up();
  app.close();
  follower_.reset();
  follower_ = *Follower::open(kCtx, spec("a.db"), options);
  EXPECT_FALSE(rebase(replica_.positions(), replica_.txn() + 1));
  expect_same("a.db");
}

// An older copy was put back while nobody followed; its change counter and size prove nothing.
TEST_F(FollowerTest, RollbackModeBeginsAnew) {
  const os::Path kept = folder_.path() / "kept";
  Program(at("r.db")).exec("CREATE TABLE t(x); INSERT INTO t VALUES(1)");
  std::filesystem::copy_file(at("r.db"), kept);
  follow("r.db");
  CaptureData end = replica_.positions();
  Program(at("r.db")).exec("UPDATE t SET x=2");
  catch_up();
  follower_.reset();
  std::filesystem::copy_file(kept, at("r.db"), std::filesystem::copy_options::overwrite_existing);
  follower_ = *Follower::open(kCtx, spec("r.db"), {.batch = 20ms});
  EXPECT_TRUE(rebase(end, replica_.txn() + 1));
  expect_same("r.db");
}

// Nobody can say when a commit was made that was found after nobody had looked for a while.
TEST_F(FollowerTest, WhatWasMadeUnseenIsToldSo) {
  Program app(at("a.db"));
  app.exec("PRAGMA journal_mode=WAL; CREATE TABLE t(x)");
  follow("a.db");
  app.exec("INSERT INTO t VALUES(1)");
  const Follower::Poll first = poll();
  EXPECT_TRUE(first.batch.set.unseen.empty());
  follower_.reset();
  app.exec("INSERT INTO t VALUES(2)");
  app.exec("INSERT INTO t VALUES(3)");
  const Timestamp seen = now() - std::chrono::seconds(20);
  follower_ = *Follower::open(kCtx, spec("a.db"), {.batch = 20ms});
  EXPECT_FALSE(rebase(replica_.positions(), replica_.txn() + 1, seen));
  const Follower::Poll found = poll();
  ASSERT_EQ(found.batch.set.commits.size(), 2u);
  EXPECT_EQ(found.batch.set.unseen, (std::vector{Stretch{seen, found.batch.set.commits.back().time}}));
  app.exec("INSERT INTO t VALUES(4)");
  EXPECT_TRUE(poll().batch.set.unseen.empty());
  // Nothing was made unseen: the stretch is proved to be empty.
  follower_.reset();
  follower_ = *Follower::open(kCtx, spec("a.db"), {.batch = 20ms});
  EXPECT_FALSE(rebase(replica_.positions(), replica_.txn() + 1, now() - std::chrono::seconds(20)));
  catch_up();
  app.exec("INSERT INTO t VALUES(5)");
  EXPECT_TRUE(poll().batch.set.unseen.empty());
}

TEST_F(FollowerTest, AWalThatLostItsEndAndGrewAgainIsDoubted) {
  Program app(at("a.db"));
  app.exec(
      "PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0; CREATE TABLE t(x); INSERT INTO t VALUES(1)");
  const uint64_t keep = (*os::status(at("a.db-wal")))->size;
  app.exec("INSERT INTO t VALUES(2)");
  follow("a.db");
  catch_up();
  follower_.reset();
  app.kill();  // and the power: what was not synced is gone
  std::filesystem::resize_file(at("a.db-wal"), keep);
  std::filesystem::remove(at("a.db-shm"));
  Program again(at("a.db"));
  again.exec("PRAGMA wal_autocheckpoint=0; INSERT INTO t VALUES(3); INSERT INTO t VALUES(4)");
  follower_ = *Follower::open(kCtx, spec("a.db"), {.batch = 20ms});
  EXPECT_TRUE(rebase(replica_.positions(), 5));
  expect_same("a.db");
}

// All that was committed while nobody looked is copied already: then nothing keeps the next writer from
// beginning the WAL anew before it is read.
TEST_F(FollowerTest, AWalThatBeginsAnewBeforeItWasReadOnIsDoubted) {
  Program app(at("a.db"));
  app.exec("PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0; CREATE TABLE t(x)");
  follow("a.db");
  app.exec("INSERT INTO t VALUES(1)");
  catch_up();
  const CapturedDatabase after = replica_.positions().databases.at(0);
  follower_.reset();
  app.exec("INSERT INTO t VALUES(2)");
  app.exec("PRAGMA wal_checkpoint(PASSIVE)");
  Checkpointer checkpointer;
  const FollowOptions options{.batch = 20ms};
  auto one = *WalFollower::open(kCtx, {at("a.db"), "a.db"}, options, checkpointer);
  const auto resumed = one->resume(kCtx, after);
  ASSERT_TRUE(resumed) << resumed.error().describe();
  ASSERT_FALSE(*resumed) << **resumed;
  app.exec("INSERT INTO t VALUES(3)");
  BatchBuilder batch(options);
  batch.restart(replica_.txn() + 1, now());
  const auto found = one->look(kCtx, batch);
  ASSERT_TRUE(found) << found.error().describe();
  EXPECT_TRUE(found->doubt);
  EXPECT_TRUE(batch.empty());
}

TEST_F(FollowerTest, AStoppedFollowerStillDeliversWhatItCaptured) {
  Program app(at("a.db"));
  app.exec("PRAGMA journal_mode=WAL; CREATE TABLE t(x)");
  follow("a.db", {.batch = 60s});
  app.exec("INSERT INTO t VALUES(1)");
  std::stop_source stop;
  std::jthread stopper([&] {
    std::this_thread::sleep_for(300ms);
    stop.request_stop();
  });
  const Context ctx{.stop = stop.get_token()};
  const auto found = follower_->poll(ctx, 60s);
  ASSERT_TRUE(found) << found.error().describe();
  EXPECT_EQ(found->batch.set.commits.size(), 1u);
  EXPECT_EQ(follower_->poll(ctx, 1s).error().code, Code::kInterrupted);
}

TEST_F(FollowerTest, ACommitIsSeenSoon) {
  Program app(at("a.db"));
  app.exec("PRAGMA journal_mode=WAL; CREATE TABLE t(x)");
  follow("a.db", {});  // as it is used
  for (int i = 0; i < 5; ++i) {
    const auto committed = SteadyClock::now();
    app.exec("INSERT INTO t VALUES(1)");
    while (replica_.txn() < static_cast<uint64_t>(i) + 1) poll(1000ms);
    EXPECT_LT(SteadyClock::now() - committed, 1s);
  }
}

// What a program writes while it is followed, and what it feels of it.
class HammerTest : public FollowerTest {
 protected:
  HammerTest() : told_(Told::create()) {}
  ~HammerTest() override { ::munmap(told_, sizeof(Told)); }

  // Follows for `time` while `work` runs in a process of its own, judging every n-th state.
  void run(const std::function<int()>& work, std::chrono::milliseconds time, uint64_t judge_every,
           const FollowOptions& options) {
    Child writer(work);
    std::this_thread::sleep_for(100ms);
    follow("w.db", options);
    const auto until = SteadyClock::now() + time;
    bool done = false;
    while (!done) {
      if (SteadyClock::now() > until && !told_->stop) {
        told_->stop = true;
        EXPECT_EQ(writer.wait(), 0);
      }
      const auto found = follower_->poll(kCtx, 200ms);
      ASSERT_TRUE(found) << found.error().describe();
      ASSERT_FALSE(found->base_needed) << found->reason;
      done = told_->stop && found->batch.set.commits.empty();
      replica_.apply(found->batch, [&](const Commit& commit) {
        if (on_commit_) on_commit_(commit);
        if (commit.txn % judge_every != 0) return;
        const std::string marks = judge(replica_.copy("w.db"));
        ASSERT_EQ(marks.find_first_not_of("0123456789"), std::string::npos)
            << marks << " at txn " << commit.txn;
        ASSERT_GE(std::stoull(marks), last_marks_);
        last_marks_ = std::stoull(marks);
        ++judged_;
      });
      if (HasFatalFailure()) return;
    }
    EXPECT_EQ(judge(replica_.copy("w.db")), std::to_string(told_->marks));
    EXPECT_EQ(dump(replica_.copy("w.db")), dump(at("w.db")));
  }

  // In a process of its own: follows from where the replica stands, and appends what it gets to `log`: a 'b'
  // and the path of a base that is whole, a 'c' when it goes on without one, a 'p' with a batch.
  int follow_into(const os::Path& log, bool once) {
    std::ofstream out(log, std::ios::binary);
    const auto put = [&](char kind, ByteView bytes) {
      std::string record(1, kind);
      const uint64_t size = bytes.size();
      record.append(reinterpret_cast<const char*>(&size), sizeof size).append(as_text(bytes));
      out.write(record.data(), static_cast<std::streamsize>(record.size())).flush();
    };
    std::optional<CaptureData> after;
    if (replica_.txn() > 0 || !replica_.positions().databases.empty()) after = replica_.positions();
    auto follower = Follower::open(kCtx, spec("w.db"), {.batch = 20ms});
    if (!follower) return 1;
    bool need_base = true;
    uint64_t txn = replica_.txn() + 1;
    const Timestamp from = now();
    for (;;) {
      if (need_base) {
        auto base = (*follower)->begin(kCtx, after, txn, now());
        if (!base) return 2;
        if (*base) {
          const os::Path to = folder_.path() / fmt::format("base-{}-{}", ::getpid(), txn);
          Replica copy(to);
          copy.load(**base);
          const auto end = (*base)->finish(kCtx);
          if (!end) return 3;
          put('b', as_bytes(to.native()));
          put('e', end->engine_data);
          ++txn;
        } else {
          put('c', {});
        }
      }
      auto found = (*follower)->poll(kCtx, 50ms);
      if (!found) return 4;
      if (!found->batch.set.commits.empty()) {
        Buffer bytes(8);
        const Buffer set = encode(found->batch.set);
        store_le<uint64_t>(bytes.data(), set.size());
        append(bytes, set);
        for (const Buffer& slot : found->batch.slots) append(bytes, slot);
        put('p', bytes);
        txn = found->batch.set.last_txn + 1;
      }
      need_base = found->base_needed;
      after.reset();
      if (once && !need_base && found->covered_until >= from && found->batch.set.commits.empty()) return 0;
    }
  }
  // Applies the whole records of a log; the last may be cut off. True: it went on without a base.
  bool take_from(const os::Path& log, bool& based) {
    const auto bytes = os::read_file(log, 1 << 30);
    if (!bytes) return false;
    ByteReader reader(*bytes);
    bool went_on = false;
    os::Path base;
    while (reader.remaining() > 9) {
      const auto kind = std::to_integer<char>((*reader.take(1))[0]);
      const auto body = reader.take(*reader.le<uint64_t>());
      if (!body) break;
      if (kind == 'c') went_on = true;
      if (kind == 'b') base = as_text(*body);
      if (kind == 'e') {
        replica_.adopt(base, *decode_capture_data(*body));
        based = true;
      }
      if (kind != 'p') continue;
      Batch batch;
      const uint64_t size = load_le<uint64_t>(body->data());
      batch.set = *decode(body->subspan(8, size));
      const uint32_t page_size = batch.set.databases.at(0).page_size;
      for (size_t at = 8 + size; at < body->size(); at += page_size) {
        batch.slots.push_back(to_buffer(body->subspan(at, page_size)));
      }
      replica_.apply(batch);
    }
    return went_on;
  }

  std::function<void(const Commit&)> on_commit_;
  Told* told_;
  uint64_t last_marks_ = 0, judged_ = 0;
};

TEST_F(HammerTest, EveryStateIsAPrefixOfAWildWritersCommits) {
  Program(at("w.db")).exec(std::string("PRAGMA journal_mode=WAL;") + testing::kMarkedSchema);
  run([&] { return WildWriter(at("w.db"), *told_, 1, 2000).run(); }, 10s, 20, {.batch = 100ms});
  EXPECT_EQ(told_->errors, 0u);
  EXPECT_GT(told_->marks, 200u);
  EXPECT_GT(judged_, 10u);
  RecordProperty("commits", static_cast<int>(told_->marks));
  RecordProperty("busy", static_cast<int>(told_->busy));
}

TEST_F(HammerTest, APlainWriterWithoutPatienceNeverFails) {
  Program(at("w.db")).exec(std::string("PRAGMA journal_mode=WAL;") + testing::kMarkedSchema + testing::kMark);
  told_->marks = 1;
  const auto work = [&] {
    sqlite3* db = nullptr;
    sqlite3_open(at("w.db").c_str(), &db);
    sqlite3_busy_timeout(db, 0);
    while (!told_->stop) {
      const char* sql =
          "BEGIN; INSERT INTO t(x) VALUES(randomblob(200)); INSERT INTO mark(rows, ids, size) SELECT rows + "
          "1, "
          "ids + (SELECT max(id) FROM t), size + 200.0 FROM mark ORDER BY n DESC LIMIT 1; COMMIT";
      if (sqlite3_exec(db, sql, nullptr, nullptr, nullptr) == SQLITE_OK) {
        ++told_->marks;
      } else {
        ++told_->busy;
      }
    }
    return sqlite3_close(db);
  };
  run(work, 5s, 500, {.batch = 100ms});
  EXPECT_EQ(told_->busy, 0u);
  EXPECT_GT(told_->marks, 100u);
}

TEST_F(HammerTest, ASteadyWritersWalBeginsAnew) {
  Program(at("w.db")).exec(std::string("PRAGMA journal_mode=WAL;") + testing::kMarkedSchema);
  const auto work = [&] {
    sqlite3* db = nullptr;
    sqlite3_open(at("w.db").c_str(), &db);
    sqlite3_exec(db, "PRAGMA wal_autocheckpoint=0", nullptr, nullptr, nullptr);
    const std::string sql =
        std::string("BEGIN; INSERT INTO t(x) VALUES(randomblob(200));") + testing::kMark + "COMMIT";
    while (!told_->stop) {
      if (sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK) ++told_->marks;
      ::usleep(30'000);
    }
    // Ended without closing, so that the WAL stays as it is.
    return 0;
  };
  std::set<uint32_t> generations;
  on_commit_ = [&](const Commit& commit) { generations.insert(commit.wal.salt2); };
  run(work, 5s, 50, {.batch = 100ms, .checkpoint_pages = 20});
  EXPECT_GT(generations.size(), 1u);
}

// Killed at any moment and started again, it goes on without a gap, or says that it needs a base.
TEST_F(HammerTest, KilledAtRandomItGoesOnOrDoubts) {
  Program(at("w.db")).exec(std::string("PRAGMA journal_mode=WAL;") + testing::kMarkedSchema);
  Child writer([&] { return WildWriter(at("w.db"), *told_, 2, 2000).run(); });
  std::mt19937 random(4);
  const os::Path log = folder_.path() / "log";
  bool based = false;
  int resumed = 0;
  for (int round = 0; round < 12; ++round) {
    const bool last = round == 11;
    if (last) {
      told_->stop = true;
      EXPECT_EQ(writer.wait(), 0);
    }
    std::filesystem::remove(log);
    Child follower([&] { return follow_into(log, last); });
    if (last) {
      EXPECT_EQ(follower.wait(), 0);
    } else {
      std::this_thread::sleep_for(std::chrono::milliseconds(100 + random() % 700));
      follower.kill();
    }
    const bool had_base = based;
    if (take_from(log, based)) ++resumed;
    if (HasFatalFailure()) return;
    if (!based) continue;
    const std::string marks = judge(replica_.copy("w.db"));
    ASSERT_EQ(marks.find_first_not_of("0123456789"), std::string::npos) << marks << " in round " << round;
    if (had_base) {
      ASSERT_GE(std::stoull(marks), last_marks_);
    }
    last_marks_ = std::stoull(marks);
  }
  EXPECT_EQ(last_marks_, told_->marks);
  EXPECT_EQ(dump(replica_.copy("w.db")), dump(at("w.db")));
  RecordProperty("resumed", resumed);
}

TEST_F(HammerTest, ATruncatingCheckpointIsNotKeptWaiting) {
  Program(at("w.db")).exec(std::string("PRAGMA journal_mode=WAL;") + testing::kMarkedSchema);
  const auto work = [&] {
    sqlite3* db = nullptr;
    sqlite3_open(at("w.db").c_str(), &db);
    sqlite3_busy_timeout(db, 2000);
    while (!told_->stop) {
      sqlite3_exec(
          db,
          (std::string("BEGIN; INSERT INTO t(x) VALUES(randomblob(200));") + testing::kMark + "COMMIT")
              .c_str(),
          nullptr, nullptr, nullptr);
      ++told_->marks;
      const auto start = SteadyClock::now();
      const int rc = sqlite3_wal_checkpoint_v2(db, "main", SQLITE_CHECKPOINT_TRUNCATE, nullptr, nullptr);
      if (rc != SQLITE_OK) ++told_->busy;
      const auto took = static_cast<uint64_t>((SteadyClock::now() - start) / std::chrono::microseconds(1));
      if (took > told_->slowest_us) told_->slowest_us = took;
    }
    return sqlite3_close(db);
  };
  run(work, 3s, 5, {.batch = 100ms});
  EXPECT_EQ(told_->busy, 0u);
  EXPECT_LT(told_->slowest_us, 1'000'000u);
}

}  // namespace
}  // namespace varve::engine::sqlite
