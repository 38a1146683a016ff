#include <algorithm>
#include <filesystem>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <thread>

#include "engine/sqlite/btree.h"
#include "engine/sqlite/source.h"
#include "engine/sqlite/testing_process.h"

namespace varve::engine::sqlite {
namespace {

using namespace std::chrono_literals;
using testing::Child;
using testing::dump;
using testing::integrity;
using testing::Program;

const Context kCtx;

class CaptureTest : public ::testing::Test {
 protected:
  CaptureTest() : folder_(*os::TempDir::create("capture")) {}
  os::Path at(const std::string& name) const { return folder_.path() / name; }

  std::unique_ptr<Capture> begin(const std::string& pattern, CaptureOptions options = {}) {
    const auto spec = parse_source("sqlite:" + pattern);
    if (!spec) return fail_with(spec.error());
    auto capture = begin_capture(kCtx, *spec, options);
    if (!capture) return fail_with(capture.error());
    return *std::move(capture);
  }
  static std::unique_ptr<Capture> fail_with(const Error& error) {
    ADD_FAILURE() << error.describe();
    return nullptr;
  }
  // Writes every file of the capture below `to`, reading in pieces that do not fit the pages.
  static CaptureEnd rebuild(Capture& capture, const os::Path& to, size_t piece = 100'000) {
    const auto files = capture.files(kCtx);
    EXPECT_TRUE(files);
    for (const FileSpec& file : *files) {
      std::filesystem::create_directories((to / file.path).parent_path());
      auto reader = capture.open(file);
      EXPECT_TRUE(reader);
      auto out = os::File::open(to / file.path, os::File::Mode::kCreateNew);
      EXPECT_TRUE(out);
      Buffer buffer;
      for (uint64_t at = 0; at < file.size; at += buffer.size()) {
        buffer.resize(std::min<uint64_t>(piece, file.size - at));
        const auto read = (*reader)->read(at, buffer);
        EXPECT_TRUE(read) << read.error().describe();
        EXPECT_TRUE(out->write_at(at, buffer));
      }
    }
    auto end = capture.finish(kCtx);
    EXPECT_TRUE(end) << end.error().describe();
    return end ? *std::move(end) : CaptureEnd{};
  }
  static CapturedDatabase captured(const CaptureEnd& end) {
    const auto data = decode_capture_data(end.engine_data);
    EXPECT_TRUE(data && !data->databases.empty());
    return data->databases.front();
  }
  // Captures `name`, and checks that it is what the database's own dump says now.
  CapturedDatabase expect_same(const std::string& name) {
    const std::string truth = dump(at(name));
    EXPECT_FALSE(truth.starts_with("error")) << truth;
    auto capture = begin(at(name).native());
    if (!capture) return {};
    const os::Path to = at("copy" + std::to_string(++copies_));
    const CaptureEnd end = rebuild(*capture, to);
    EXPECT_EQ(dump(to / name), truth);
    EXPECT_EQ(integrity(to / name), "ok\n");
    return captured(end);
  }
  static Error refusal(const std::string& address, const CaptureOptions& options = {.busy_timeout = 200ms}) {
    const auto spec = parse_source("sqlite:" + address);
    if (!spec) return spec.error();
    auto capture = begin_capture(kCtx, *spec, options);
    if (capture) return Error{Code::kInternal, "it was captured"};
    return capture.error();
  }

  os::TempDir folder_;
  int copies_ = 0;
};

constexpr const char* kRows =
    "CREATE TABLE t(id INTEGER PRIMARY KEY, x); CREATE INDEX i ON t(x);"
    "INSERT INTO t(x) WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n+1 FROM c WHERE n<2000)"
    " SELECT hex(randomblob(40)) FROM c;";

TEST_F(CaptureTest, AllPageSizesInBothModes) {
  for (uint32_t size = 512; size <= 65536; size *= 2) {
    for (const char* mode : {"wal", "delete"}) {
      const std::string name = fmt::format("{}-{}.db", mode, size);
      Program app(at(name));
      app.exec(fmt::format("PRAGMA page_size={}; PRAGMA journal_mode={}; {}", size, mode, kRows));
      app.exec("PRAGMA wal_checkpoint; UPDATE t SET x = 'new' WHERE id % 7 = 0");
      const CapturedDatabase state = expect_same(name);
      EXPECT_EQ(state.page_size, size);
      EXPECT_EQ(state.wal_mode, std::string(mode) == "wal");
    }
  }
}

TEST_F(CaptureTest, OtherJournalModes) {
  for (const char* mode : {"truncate", "persist", "memory", "off"}) {
    const std::string name = fmt::format("{}.db", mode);
    Program app(at(name));
    app.exec(fmt::format("PRAGMA journal_mode={}; {}", mode, kRows));
    EXPECT_FALSE(expect_same(name).wal_mode);
  }
}

TEST_F(CaptureTest, AutoVacuumReservedBytesAndOtherEncodings) {
  Program app(at("a.db"));
  app.exec(
      fmt::format("PRAGMA page_size=1024; PRAGMA encoding='UTF-16be'; PRAGMA auto_vacuum=FULL;"
                  "PRAGMA journal_mode=WAL; {} DELETE FROM t WHERE id % 3 = 0; PRAGMA application_id=77;"
                  "PRAGMA user_version=5",
                  kRows));
  expect_same("a.db");
  EXPECT_EQ(testing::ask_sqlite3(at("copy1/a.db"), "PRAGMA application_id; PRAGMA user_version"), "77\n5\n");
  // The sqlite3 program sets reserved bytes.
  EXPECT_EQ(testing::ask_sqlite3(at("r.db"), ".filectrl reserve_bytes 32"), "32\n");
  ASSERT_EQ(
      os::run(kCtx, {"sqlite3", at("r.db").native(), "-cmd", ".filectrl reserve_bytes 32", "VACUUM", kRows})
          ->exit_code,
      0);
  EXPECT_EQ(std::to_integer<int>((*os::read_file(at("r.db"), 1 << 30))[20]), 32);
  expect_same("r.db");
}

TEST_F(CaptureTest, EmptyFileIsAnEmptyDatabase) {
  ASSERT_TRUE(os::File::open(at("empty.db"), os::File::Mode::kCreateNew));
  const CapturedDatabase state = expect_same("empty.db");
  EXPECT_EQ(state.pages, 0u);
  EXPECT_EQ((*os::status(at("copy1/empty.db")))->size, 0u);
}

TEST_F(CaptureTest, NamesOfAllKinds) {
  for (const std::string name : {"with space.db", "quo'te\".db", "per%41cent.db", "what?.db", "ha#sh.db",
                                 "st*r[x].db", "file:x.db", "ünï.db", "-dash.db", "new\nline.db"}) {
    {
      Program app(at(name));
      app.exec(std::string("PRAGMA journal_mode=WAL;") + kRows);
      auto capture = begin(at(name).native());
      ASSERT_TRUE(capture) << name;
      const os::Path to = at("copy" + std::to_string(++copies_));
      rebuild(*capture, to);
      EXPECT_EQ(integrity(to / name), "ok\n") << name;
      EXPECT_EQ(testing::ask_sqlite3(to / name, "SELECT count(*) FROM t"), "2000\n") << name;
    }
  }
}

TEST_F(CaptureTest, LinksAreFollowedToTheFileAndItsWal) {
  std::filesystem::create_directory(at("real"));
  Program app(at("real/r.db"));
  app.exec(std::string("PRAGMA journal_mode=WAL;") + kRows);
  std::filesystem::create_symlink("real/r.db", at("link.db"));
  EXPECT_GT(expect_same("link.db").wal.frame, 0u);
}

TEST_F(CaptureTest, SeveralByPattern) {
  std::filesystem::create_directories(at("d/sub"));
  Program a(at("d/a.db")), b(at("d/sub/b.db")), c(at("d/c.txt"));
  a.exec("PRAGMA journal_mode=WAL; CREATE TABLE alpha(x)");
  b.exec("CREATE TABLE beta(x); CREATE VIEW v AS SELECT 1");
  c.exec("CREATE TABLE gamma(x)");
  ASSERT_TRUE(os::replace_file(at("d/junk.db"), as_bytes("hello, this is no database at all")));
  const auto spec = parse_source("sqlite:" + at("d").native() + "/**/*.db");
  ASSERT_TRUE(spec);
  EXPECT_TRUE(spec->is_glob);
  EXPECT_EQ(spec->root, at("d"));
  std::vector<std::string> skipped;
  const auto found = find_databases(*spec, &skipped);
  ASSERT_TRUE(found);
  ASSERT_EQ(found->size(), 2u);
  EXPECT_EQ((*found)[0].name, "a.db");
  EXPECT_EQ((*found)[1].name, "sub/b.db");
  EXPECT_EQ(skipped, std::vector<std::string>{"junk.db"});
  auto capture = begin_capture(kCtx, *spec, {});
  ASSERT_TRUE(capture);
  const CaptureEnd end = rebuild(**capture, at("copy"));
  EXPECT_EQ(end.tables, (std::vector<std::string>{"a.db:alpha", "sub/b.db:beta"}));
  EXPECT_EQ(end.warnings.size(), 1u);
  EXPECT_EQ(dump(at("copy/sub/b.db")), dump(at("d/sub/b.db")));
}

TEST_F(CaptureTest, StaysOneStateWhileOthersWriteCheckpointAndTruncate) {
  for (const bool checkpointed :
       {false, true}) {  // the two ways a snapshot is pinned: in the WAL, and in the file alone
    const std::string name = checkpointed ? "file.db" : "wal.db";
    Program app(at(name));
    app.exec(std::string("PRAGMA journal_mode=WAL;") + kRows);
    app.exec("PRAGMA wal_checkpoint(TRUNCATE)");
    if (!checkpointed) app.exec("UPDATE t SET x=x||'!' WHERE id<500");
    const std::string truth = dump(at(name));
    auto capture = begin(at(name).native());
    ASSERT_TRUE(capture);
    for (int i = 0; i < 5; ++i) {
      app.exec("UPDATE t SET x=hex(randomblob(30)); INSERT INTO t(x) VALUES(1); DELETE FROM t WHERE id%5=0");
      app.exec("PRAGMA wal_checkpoint(PASSIVE)");
      app.exec("PRAGMA wal_checkpoint(TRUNCATE)");
      app.exec("VACUUM");
    }
    rebuild(*capture, at("copy-" + name));
    EXPECT_EQ(dump(at("copy-" + name) / name), truth);
    EXPECT_NE(dump(at(name)), truth);
    capture.reset();
    expect_same(name);
  }
}

// A defect of SQLite 3.11 to at least 3.40 leaves committed frames without checksums; readers do not mind,
// nor must we.
TEST_F(CaptureTest, CommitsWithoutChecksumsAreTakenAndToldOf) {
  Program app(at("u.db"));
  app.exec(std::string("PRAGMA journal_mode=WAL; PRAGMA cache_size=5; PRAGMA wal_autocheckpoint=0;") + kRows);
  app.exec("DROP INDEX i; VACUUM; PRAGMA wal_checkpoint(TRUNCATE)");
  // Pages that were written to the WAL once, and after them some that were written again.
  app.exec(
      "BEGIN; SAVEPOINT s; UPDATE t SET x = x || 'a'; UPDATE t SET x = x || 'b' WHERE id > 1000; ROLLBACK TO "
      "s;"
      "UPDATE t SET x = x || 'c' WHERE id < 100; COMMIT");
  expect_same("u.db");
  auto capture = begin(at("u.db").native());
  ASSERT_TRUE(capture);
  const CaptureEnd end = rebuild(*capture, at("copy"));
  // The first frame's header, after the WAL's: the salts are there, or the defect struck.
  const Buffer wal = *os::read_file(at("u.db-wal"), 1 << 30);
  const bool struck = all_zero(ByteView(wal).subspan(32 + 8, 16));
  EXPECT_EQ(end.warnings.size(), struck ? 1u : 0u);
  EXPECT_TRUE(struck || sqlite3_libversion_number() != 3040001);
}

TEST_F(CaptureTest, ShrunkBelowThePagesInTheWal) {
  Program app(at("s.db"));
  app.exec(std::string("PRAGMA journal_mode=WAL;") + kRows);
  app.exec("DELETE FROM t WHERE id > 10; VACUUM");
  const CapturedDatabase state = expect_same("s.db");
  EXPECT_LT(state.pages, 10u);
}

TEST_F(CaptureTest, RollbackModeHoldsWritersAndStaysOneState) {
  Program app(at("r.db"));
  app.exec(kRows);
  const std::string truth = dump(at("r.db"));
  auto capture = begin(at("r.db").native());
  ASSERT_TRUE(capture);
  EXPECT_NE(app.ask("UPDATE t SET x=1").find("locked"), std::string::npos);
  rebuild(*capture, at("copy"));
  capture.reset();
  EXPECT_EQ(dump(at("copy/r.db")), truth);
  app.exec("UPDATE t SET x=1");
}

// Closing a descriptor of a file drops the process's locks on it: taking and dropping other captures of the
// same file must leave the first one's locks.
TEST_F(CaptureTest, LocksOutliveOtherCapturesOfTheSameFile) {
  Program app(at("r.db"));
  app.exec(kRows);
  auto first = begin(at("r.db").native());
  ASSERT_TRUE(first);
  const auto spec = parse_source("sqlite:" + at("r.db").native());
  for (int i = 0; i < 3; ++i) {
    auto other = begin(at("r.db").native());
    ASSERT_TRUE(other);
    rebuild(*other, at("other" + std::to_string(i)));
    other.reset();
    ASSERT_TRUE(find_databases(*spec, nullptr));
    ASSERT_TRUE(probe(kCtx, *spec));
    EXPECT_NE(app.ask("UPDATE t SET x=1").find("locked"), std::string::npos) << "round " << i;
  }
  first.reset();
  app.exec("UPDATE t SET x=1");
}

TEST_F(CaptureTest, AWalLeftByACrashIsTakenWhole) {
  Program app(at("c.db"));
  app.exec(std::string("PRAGMA journal_mode=WAL;") + kRows);
  app.exec("UPDATE t SET x='committed' WHERE id=1; BEGIN; UPDATE t SET x='lost'");
  app.kill();
  ASSERT_GT((*os::status(at("c.db-wal")))->size, 0u);
  auto capture = begin(at("c.db").native());
  ASSERT_TRUE(capture);
  rebuild(*capture, at("copy"));
  capture.reset();
  EXPECT_EQ(testing::ask_sqlite3(at("copy/c.db"), "SELECT x FROM t WHERE id=1"), "committed\n");
  // Ours was the last to close: the WAL must stand as it was, for a follower to go on from.
  EXPECT_GT((*os::status(at("c.db-wal")))->size, 0u);
  expect_same("c.db");
}

TEST_F(CaptureTest, AHotJournalIsRolledBack) {
  Program app(at("h.db"));
  app.exec(std::string("PRAGMA cache_size=1; PRAGMA cache_spill=1;") + kRows);
  app.exec("BEGIN; UPDATE t SET x=hex(zeroblob(200))");
  app.kill();
  ASSERT_TRUE(*os::status(at("h.db-journal")));
  auto capture = begin(at("h.db").native());
  ASSERT_TRUE(capture);
  rebuild(*capture, at("copy"));
  capture.reset();
  EXPECT_EQ(testing::ask_sqlite3(at("copy/h.db"), "SELECT count(*) FROM t WHERE length(x)=80"), "2000\n");
  EXPECT_EQ(integrity(at("copy/h.db")), "ok\n");
}

TEST_F(CaptureTest, ClosedWalDatabaseLeavesNothingBehind) {
  Program app(at("w.db"));
  app.exec(std::string("PRAGMA journal_mode=WAL;") + kRows);
  app.close();
  ASSERT_FALSE(*os::status(at("w.db-wal")));
  EXPECT_EQ(expect_same("w.db").wal.frame, 0u);
  EXPECT_FALSE(*os::status(at("w.db-wal")));
  EXPECT_FALSE(*os::status(at("w.db-shm")));
}

TEST_F(CaptureTest, SizesThatDoNotFit) {
  {
    Program app(at("odd.db"));
    app.exec(kRows);
    app.close();
  }
  const uint64_t size = (*os::status(at("odd.db")))->size;
  std::filesystem::resize_file(at("odd.db"), size + 100);  // a torn tail
  EXPECT_EQ(expect_same("odd.db").pages, size / 4096);
  std::filesystem::resize_file(at("odd.db"), size + 8 * 4096);  // pages the header does not count
  EXPECT_EQ(expect_same("odd.db").pages, size / 4096);
  // An old writer does not keep the header's count: the file's size decides.
  auto file = os::File::open(at("odd.db"), os::File::Mode::kReadWrite);
  ASSERT_TRUE(file);
  std::filesystem::resize_file(at("odd.db"), size);
  ASSERT_TRUE(file->write_at(92, Buffer(4, std::byte{9})));
  ASSERT_TRUE(file->close());
  EXPECT_EQ(expect_same("odd.db").pages, size / 4096);
}

TEST_F(CaptureTest, TruncatedFileIsRefused) {
  {
    Program app(at("cut.db"));
    app.exec(kRows);
    app.close();
  }
  std::filesystem::resize_file(at("cut.db"), 3 * 4096);
  const Error error = refusal(at("cut.db"));
  EXPECT_EQ(error.code, Code::kDatabase);
  EXPECT_NE(error.hint.find("damaged"), std::string::npos) << error.hint;
}

TEST_F(CaptureTest, LockPageIsZeros) {
  Program app(at("big.db"));
  app.exec("PRAGMA page_size=65536; PRAGMA journal_mode=WAL; CREATE TABLE t(x)");
  app.close();
  // A database just over 1 GiB, its pages unused: sparse, so it costs nothing. The lock page holds what a
  // lock never sees.
  const uint64_t pages = 16387;
  std::filesystem::resize_file(at("big.db"), pages * 65536);
  auto file = os::File::open(at("big.db"), os::File::Mode::kReadWrite);
  ASSERT_TRUE(file);
  Buffer count(4);
  store_be<uint32_t>(count.data(), static_cast<uint32_t>(pages));
  ASSERT_TRUE(file->write_at(28, count));
  ASSERT_TRUE(file->write_at(1ull << 30, Buffer(65536, std::byte{0x55})));
  ASSERT_TRUE(file->close());
  auto capture = begin(at("big.db").native());
  ASSERT_TRUE(capture);
  const auto files = capture->files(kCtx);
  ASSERT_EQ(files->at(0).size, pages * 65536);
  Buffer page(65536 * 2);
  ASSERT_TRUE((*capture->open(files->at(0)))->read((lock_page(65536) - 1) * 65536, page));
  EXPECT_TRUE(all_zero(page));
  EXPECT_FALSE((*capture->open(files->at(0)))->read(pages * 65536 - 10, MutableBytes(page).first(11)));
}

TEST_F(CaptureTest, WhatIsNoDatabaseIsToldSo) {
  ASSERT_TRUE(os::replace_file(at("text.db"), as_bytes(std::string(5000, 'x'))));
  EXPECT_EQ(refusal(at("text.db")).code, Code::kDatabase);
  EXPECT_NE(refusal(at("text.db")).hint.find("encrypted"), std::string::npos);
  EXPECT_EQ(refusal(at("nothing.db")).code, Code::kNotFound);
  EXPECT_EQ(refusal(folder_.path()).code, Code::kDatabase);
  ASSERT_EQ(::mkfifo(at("pipe.db").c_str(), 0600), 0);
  EXPECT_EQ(refusal(at("pipe.db")).code, Code::kDatabase);
  EXPECT_EQ(refusal("").code, Code::kUsage);
  std::string almost = "SQLite format 3";
  almost.resize(4096);
  ASSERT_TRUE(os::replace_file(at("almost.db"), as_bytes(almost)));
  EXPECT_EQ(refusal(at("almost.db")).code, Code::kDatabase);
  std::filesystem::create_symlink("nowhere", at("dangling.db"));
  EXPECT_EQ(refusal(at("dangling.db")).code, Code::kNotFound);
}

TEST_F(CaptureTest, ExclusiveLockingNamesItsHolder) {
  for (const char* mode : {"delete", "wal"}) {
    const std::string name = fmt::format("{}.db", mode);
    Program app(at(name));
    app.exec(fmt::format(
        "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode={}; CREATE TABLE t(x); INSERT INTO t VALUES(1)",
        mode));
    const auto start = SteadyClock::now();
    const Error error = refusal(at(name));
    EXPECT_EQ(error.code, Code::kConflict) << error.describe();
    EXPECT_EQ(error.retry, Retry::kTransient);
    EXPECT_NE(error.hint.find("process "), std::string::npos) << error.hint;
    EXPECT_LT(SteadyClock::now() - start, 5s);
    const auto problems = probe(kCtx, *parse_source("sqlite:" + at(name).native()));
    ASSERT_TRUE(problems);
    EXPECT_EQ(std::ranges::count(*problems, Problem::Severity::kError, &Problem::severity), 1);
  }
}

TEST_F(CaptureTest, WaitsForALockUntilItIsFree) {
  Program app(at("w.db"));
  app.exec("CREATE TABLE t(x); BEGIN EXCLUSIVE; INSERT INTO t VALUES(1)");
  std::jthread later([&] {
    std::this_thread::sleep_for(300ms);
    app.exec("COMMIT");
  });
  expect_same("w.db");
  later.join();
  app.exec("BEGIN EXCLUSIVE");
  std::stop_source stop;
  std::jthread stopper([&] {
    std::this_thread::sleep_for(200ms);
    stop.request_stop();
  });
  const auto start = SteadyClock::now();
  auto capture =
      begin_capture({.stop = stop.get_token()}, *parse_source("sqlite:" + at("w.db").native()), {});
  EXPECT_FALSE(capture);
  EXPECT_LT(SteadyClock::now() - start, 5s);
}

// What was committed while a lock was waited for is part of the state, so the state is not one of before.
TEST_F(CaptureTest, TheMomentIsThatOfTheStateNotOfTheAsking) {
  for (const char* name : {"a.db", "b.db"}) Program(at(name)).exec("CREATE TABLE t(x)");
  Program app(at("b.db"));
  app.exec("BEGIN EXCLUSIVE; INSERT INTO t VALUES(1)");
  Timestamp released = {};
  std::jthread later([&] {
    std::this_thread::sleep_for(1300ms);
    released = now();
    app.exec("COMMIT");
  });
  auto capture = begin_capture(kCtx, *parse_source("sqlite:" + at("?.db").native()), {});
  later.join();
  ASSERT_TRUE(capture) << capture.error().describe();
  EXPECT_GE((*capture)->info().moment, released);
  const auto end = (*capture)->finish(kCtx);
  ASSERT_TRUE(end);
  ASSERT_EQ(end->warnings.size(), 1u);  // a.db was pinned before
  EXPECT_NE(end->warnings[0].find("apart"), std::string::npos) << end->warnings[0];
}

TEST_F(CaptureTest, ReadOnlyFolder) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to become another user";
  std::filesystem::permissions(folder_.path(), std::filesystem::perms(0755));
  std::filesystem::create_directory(at("ro"));
  Program rollback(at("ro/r.db")), wal(at("ro/w.db"));
  rollback.exec(kRows);
  wal.exec(std::string("PRAGMA journal_mode=WAL;") + kRows);
  for (const auto& file : std::filesystem::directory_iterator(at("ro"))) {
    std::filesystem::permissions(file, std::filesystem::perms(0644));
  }
  const std::string truth = dump(at("ro/r.db"));
  std::filesystem::permissions(at("ro"), std::filesystem::perms(0555));
  const auto as_nobody = [&](const std::function<int()>& work) {
    return Child([&] {
             if (::setegid(65534) != 0 || ::seteuid(65534) != 0) return 100;
             return work();
           })
        .wait();
  };
  const auto code_of = [&](const std::string& name) {
    const auto capture =
        begin_capture(kCtx, *parse_source("sqlite:" + at(name).native()), {.busy_timeout = 200ms});
    return capture ? 0 : 1 + static_cast<int>(capture.error().code);
  };
  EXPECT_EQ(as_nobody([&] { return code_of("ro/r.db"); }), 0);
  // While another has it open, its -shm is there to be read, and a reader's locks can be taken.
  EXPECT_EQ(as_nobody([&] { return code_of("ro/w.db"); }), 0);
  wal.close();
  EXPECT_EQ(as_nobody([&] { return code_of("ro/w.db"); }), 1 + static_cast<int>(Code::kDenied));
  std::filesystem::permissions(at("ro/r.db"), std::filesystem::perms(0600));
  EXPECT_EQ(as_nobody([&] { return code_of("ro/r.db"); }), 1 + static_cast<int>(Code::kDenied));
}

TEST_F(CaptureTest, ReplacedWhileBeingRead) {
  Program app(at("x.db"));
  app.exec(std::string("PRAGMA journal_mode=WAL;") + kRows);
  auto capture = begin(at("x.db").native());
  ASSERT_TRUE(capture);
  std::filesystem::copy_file(at("x.db"), at("y.db"));
  std::filesystem::rename(at("y.db"), at("x.db"));
  const auto end = capture->finish(kCtx);
  ASSERT_FALSE(end);
  EXPECT_EQ(end.error().code, Code::kConflict);
}

TEST_F(CaptureTest, ProbeTellsWhatWouldSurprise) {
  const auto found = [&](const std::string& pattern) {
    std::string out;
    const auto problems = probe(kCtx, *parse_source("sqlite:" + at(pattern).native()));
    EXPECT_TRUE(problems);
    for (const Problem& problem : *problems) {
      EXPECT_FALSE(problem.mend.empty()) << problem.what;
      // Which versions are mended is the host's affair.
      if (problem.what.find("this host's SQLite") != std::string::npos) continue;
      out += std::to_string(static_cast<int>(problem.severity)) + problem.what + "\n";
    }
    return out;
  };
  Program wal(at("w.db")), rollback(at("r.db"));
  wal.exec("PRAGMA journal_mode=WAL; CREATE TABLE t(x)");
  rollback.exec("CREATE TABLE t(x)");
  EXPECT_EQ(found("w.db"), "");
  EXPECT_NE(found("r.db").find("0" + at("r.db").native() + " is not in WAL mode"), std::string::npos);
  EXPECT_TRUE(found("missing.db").starts_with("2")) << found("missing.db");
  EXPECT_TRUE(found("*.sqlite").starts_with("1no database matches")) << found("*.sqlite");
  ASSERT_TRUE(os::replace_file(at("junk.dbx"), as_bytes("no database")));
  EXPECT_TRUE(found("junk.dbx").starts_with("2")) << found("junk.dbx");
  EXPECT_NE(found("*.dbx").find("0junk.dbx is not a SQLite database"), std::string::npos);
}

TEST_F(CaptureTest, PositionTellsTheWal) {
  Program app(at("p.db"));
  app.exec("PRAGMA journal_mode=WAL; CREATE TABLE t(x)");
  const CapturedDatabase first = expect_same("p.db");
  app.exec("INSERT INTO t VALUES(1)");
  const CapturedDatabase second = expect_same("p.db");
  EXPECT_EQ(first.wal.salt1, second.wal.salt1);
  EXPECT_GT(second.wal.frame, first.wal.frame);
  app.exec("PRAGMA wal_checkpoint(TRUNCATE)");
  const CapturedDatabase third = expect_same("p.db");
  EXPECT_EQ(third.wal.frame, 0u);
  EXPECT_NE(third.wal.salt2, second.wal.salt2);
}

}  // namespace
}  // namespace varve::engine::sqlite
