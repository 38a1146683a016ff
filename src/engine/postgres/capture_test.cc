// A capture of a real server, put down as files with the WAL beside it, becomes a server with the same rows.
#include "engine/postgres/capture.h"

#include <atomic>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <thread>

#include "engine/postgres/data_directory.h"
#include "engine/postgres/lsn.h"
#include "engine/postgres/page.h"
#include "engine/postgres/probe.h"
#include "engine/postgres/recovery.h"
#include "engine/postgres/testing_server.h"

namespace varve::engine::postgres {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using testing::patience;
using testing::Server;

std::unique_ptr<ClusterCapture> begin(const Server& server, const CaptureOptions& options = {}) {
  auto capture = begin_capture(patience(), server.spec(), options);
  EXPECT_TRUE(capture) << capture.error().describe() << "; " << capture.error().hint;
  return capture ? std::move(*capture) : nullptr;
}

void put(const os::Path& root, const FileSpec& file, ByteView content) {
  const os::Path path = root / file.path;
  if (file.type == FileType::kDirectory) {
    ASSERT_TRUE(os::make_directories(path, file.mode));
  } else if (file.type == FileType::kRegular) {
    auto out = os::File::open(path, os::File::Mode::kCreateNew, file.mode);
    ASSERT_TRUE(out) << out.error().describe();
    ASSERT_TRUE(out->write_at(0, content));
    ASSERT_TRUE(out->close());
  }
  if (::geteuid() == 0) {
    ASSERT_EQ(::lchown(path.c_str(), file.uid, file.gid), 0);
  }
}

// Everything but late files, as the layer above does it: in chunks.
std::vector<std::string> copy_files(ClusterCapture& capture, const os::Path& root) {
  std::vector<std::string> paths;
  auto files = capture.files(patience());
  EXPECT_TRUE(files) << files.error().describe();
  if (!files) return paths;
  for (const FileSpec& file : *files) {
    EXPECT_TRUE(paths.empty() || paths.back() < file.path) << file.path;
    paths.push_back(file.path);
    if (file.type == FileType::kSymlink) {
      // A tablespace: a folder of its own, beside the data.
      const os::Path to = root.parent_path() / ("tablespace-" + os::Path(file.path).filename().native());
      EXPECT_TRUE(os::make_directories(to));
      std::filesystem::create_symlink(to, root / file.path);
      testing::give_to_postgres(to);
      continue;
    }
    Buffer content(file.size);
    if (file.type == FileType::kRegular) {
      auto reader = capture.open(file);
      EXPECT_TRUE(reader) << reader.error().describe();
      if (!reader || !*reader) continue;
      for (uint64_t at = 0; at < file.size; at += 1 << 20) {
        const auto piece = MutableBytes(content).subspan(at, std::min<uint64_t>(1 << 20, file.size - at));
        const auto read = (*reader)->read(at, piece);
        EXPECT_TRUE(read) << read.error().describe();
      }
    }
    put(root, file, content);
  }
  return paths;
}

void copy_wal(const os::Path& from, const os::Path& to) {
  const auto names = os::list_directory(from);
  for (const std::string& name : *names) {
    if (name.size() != 24) continue;
    std::filesystem::copy_file(from / name, to / name, std::filesystem::copy_options::overwrite_existing);
    testing::give_to_postgres(to / name);
  }
}

struct Copy {
  std::optional<Server> server;  // not started
  std::vector<std::string> paths;
  CaptureEnd end;
  CaptureData data;
};

// Takes a whole backup of `source`, with its WAL in "archive" beside the data. `meanwhile` runs while files
// are read.
void take(const Server& source, Copy& out, const std::function<void()>& meanwhile = {}) {
  auto dir = os::TempDir::create("varve-pg");
  ASSERT_TRUE(dir);
  const os::Path root = dir->path() / "data", archive = dir->path() / "archive";
  auto capture = begin(source);
  ASSERT_TRUE(capture);
  ASSERT_TRUE(os::make_directories(root, 0700));
  ASSERT_TRUE(os::make_directories(archive, 0755));
  testing::give_to_postgres(root);
  testing::give_to_postgres(archive);
  out.paths = copy_files(*capture, root);
  if (meanwhile) meanwhile();
  auto end = capture->finish(patience());
  ASSERT_TRUE(end) << end.error().describe();
  for (const LateFile& late : end->late_files) {
    ASSERT_EQ(late.spec.size, late.content.size());
    std::string content(as_text(late.content));
    if (late.spec.path == "tablespace_map") {  // "16384 /old/place"
      content = content.substr(0, content.find(' ') + 1) + (dir->path() / "tablespace-").native() +
                content.substr(0, content.find(' ')) + "\n";
    }
    put(root, late.spec, as_bytes(content));
  }
  const auto kept = capture->keeps_wal(patience());
  ASSERT_TRUE(kept) << kept.error().describe();
  EXPECT_TRUE(*kept);
  copy_wal(capture->wal_directory(), archive);
  capture->release();
  auto data = decode_capture_data(end->engine_data);
  ASSERT_TRUE(data) << data.error().describe();
  out.end = std::move(*end);
  out.data = std::move(*data);
  out.server.emplace(testing::TakeOver{}, std::move(*dir), source.binaries());
}

void recover(Copy& copy, const RecoveryTarget& target) {
  const auto settings = recovery_settings(
      target, "cp " + quote_for_shell((copy.server->folder() / "archive").native()) + "/%f %p");
  ASSERT_TRUE(settings);
  const auto installed = install_recovery(copy.server->data(), *settings);
  ASSERT_TRUE(installed) << installed.error().describe();
}

std::string without_places(std::string dump) {
  for (size_t at; (at = dump.find("LOCATION '")) != std::string::npos;)
    dump.erase(at, dump.find('\n', at) - at);
  return dump;
}

TEST(PostgresCapture, ComesBackWithTheSameRows) {
  Server source;
  const os::Path place = source.folder() / "place";
  ASSERT_TRUE(os::make_directories(place));
  testing::give_to_postgres(place);
  source.exec(
      "CREATE TABLE t(a int PRIMARY KEY, b text); INSERT INTO t SELECT i, repeat('x', i % 2000) FROM "
      "generate_series(1, 20000) i; CREATE UNLOGGED TABLE u AS SELECT 1 AS a; CREATE DATABASE other;");
  source.exec("CREATE TABLESPACE apart LOCATION '" + place.native() + "'");
  source.exec("CREATE TABLE far(a int) TABLESPACE apart; INSERT INTO far SELECT generate_series(1, 5000);");
  source.exec("CREATE SCHEMA s; CREATE TABLE s.\"o dd\"(a text); INSERT INTO s.\"o dd\" VALUES ('ä')",
              "other");
  // Written to all the time that files are read.
  std::atomic<bool> enough = false;
  std::thread writer([&] {
    for (int i = 0; !enough; ++i) {
      source.exec(fmt::format(
          "UPDATE t SET b = b || 'y' WHERE a % 7 = {0}; INSERT INTO t SELECT a + 100000 * ({0} + 1),"
          " 'new' FROM t WHERE a <= 100; CREATE TABLE m{0} AS SELECT * FROM far; DROP TABLE IF "
          "EXISTS m{1}; TRUNCATE far; INSERT INTO far SELECT generate_series(1, {0}); CHECKPOINT",
          i, std::max(i - 1, 0)));
    }
  });
  Copy copy;
  take(source, copy, [&] {
    enough = true;
    writer.join();
  });
  if (writer.joinable()) {
    enough = true;
    writer.join();
  }
  ASSERT_TRUE(copy.server);
  const std::string expected = source.dump();
  EXPECT_THAT(expected, HasSubstr("PostgreSQL database cluster dump complete"));
  EXPECT_THAT(copy.end.warnings, IsEmpty());
  EXPECT_THAT(copy.end.tables, AllOf(Contains("postgres.public.t"), Contains("other.s.o dd")));
  EXPECT_EQ(copy.data.tablespaces.size(), 1u);
  EXPECT_EQ(copy.data.tablespaces[0].location, place.native());
  EXPECT_GT(copy.data.stop_lsn, copy.data.start_lsn);
  EXPECT_GT(copy.end.moment, copy.data.started);

  recover(copy, {.kind = RecoveryTarget::Kind::kImmediate});
  EXPECT_EQ(copy.server->start(true), RecoveryEnd::kServing);
  const std::string got = copy.server->dump();
  // What is unlogged comes back empty.
  std::string want = without_places(expected);
  const std::string unlogged = "COPY public.u (a) FROM stdin;\n";
  const size_t at = want.find(unlogged + "1\n");
  ASSERT_NE(at, std::string::npos);
  want.erase(at + unlogged.size(), 2);
  EXPECT_TRUE(without_places(got) == want)
      << "the dumps differ; restored: " << got.size() << " bytes, expected " << want.size();
  copy.server->stop();
  const std::string checked =
      testing::run(testing::as_postgres({(copy.server->binaries().folder / "pg_checksums").native(),
                                         "--check", "-D", copy.server->data().native()}));
  EXPECT_THAT(checked, HasSubstr("Bad checksums:  0"));
}

TEST(PostgresCapture, ListsWhatBelongsInABackupAndNothingElse) {
  Server source({"--data-checksums"}, {{"allow_in_place_tablespaces", "on"}});
  source.exec("CREATE UNLOGGED TABLE u AS SELECT generate_series(1, 1000) AS a; CREATE INDEX ON u(a);");
  source.exec("CREATE TABLESPACE inside LOCATION ''");
  source.exec("CREATE TABLE i TABLESPACE inside AS SELECT 1");
  const std::string path = source.ask("SELECT pg_relation_filepath('u')");
  const std::string unlogged = path.substr(0, path.size() - 1);
  const std::string inside = source.ask("SELECT pg_relation_filepath('i')");
  std::ofstream(source.data() / "base/pgsql_tmp_not").put('x');
  std::ofstream(source.data() / "pg_replslot/x").put('x');
  std::ofstream(source.data() / "standby.signal").put('x');
  std::ofstream(source.data() / "base/1/t3_16999").put('x');
  std::ofstream(source.folder() / "elsewhere").put('y');
  std::filesystem::create_symlink(source.folder() / "elsewhere", source.data() / "linked.conf");
  std::filesystem::create_symlink("nowhere", source.data() / "dangling");
  ASSERT_EQ(::mkfifo((source.data() / "fifo").c_str(), 0600), 0);
  auto capture = begin(source);
  ASSERT_TRUE(capture);
  const auto files = capture->files(patience());
  ASSERT_TRUE(files) << files.error().describe();
  std::vector<std::string> paths;
  for (const FileSpec& f : *files) paths.push_back(f.path);
  for (const char* there :
       {"PG_VERSION", "base", "base/1/PG_VERSION", "global/pg_filenode.map", "pg_wal",
        "pg_wal/archive_status", "pg_replslot", "pg_xact/0000", "linked.conf", "postgresql.conf"})
    EXPECT_THAT(paths, Contains(there));
  EXPECT_THAT(paths, Contains(unlogged + "_init"));
  EXPECT_THAT(paths, Contains(inside.substr(0, inside.size() - 1)));
  for (const std::string& absent : std::vector<std::string>{
           "global/pg_control", "postmaster.pid", "base/pgsql_tmp_not", "pg_replslot/x", "standby.signal",
           "base/1/t3_16999", "fifo", "dangling", unlogged, "global/pg_internal.init"})
    EXPECT_THAT(paths, Not(Contains(absent)));
  for (const std::string& p : paths) EXPECT_FALSE(p.starts_with("pg_wal/0"));
  const auto end = capture->finish(patience());
  ASSERT_TRUE(end) << end.error().describe();
  EXPECT_THAT(end->warnings,
              AllOf(Contains(HasSubstr("linked.conf is a link")), Contains(HasSubstr("dangling is a link")),
                    Contains(HasSubstr("fifo is neither"))));
}

TEST(PostgresCapture, AFileThatVanishesIsLeftOutWhereTheLogRepairsIt) {
  Server source;
  source.exec("CREATE TABLE t AS SELECT generate_series(1, 1000) AS a");
  std::string path = source.ask("SELECT pg_relation_filepath('t')");
  path.pop_back();
  std::ofstream(source.data() / "mine") << std::string(2 << 20, 'x');
  auto capture = begin(source);
  ASSERT_TRUE(capture);
  const auto files = capture->files(patience());
  ASSERT_TRUE(files);
  const auto find = [&](const std::string& name) {
    return *std::ranges::find(*files, name, &FileSpec::path);
  };
  source.exec("DROP TABLE t; CHECKPOINT;");
  ASSERT_TRUE(os::remove_file(source.data() / "mine"));
  std::ofstream(source.data() / "postgresql.auto.conf").close();  // what was there when it was listed counts
  const auto gone = capture->open(find(path));
  ASSERT_TRUE(gone) << gone.error().describe();
  EXPECT_EQ(*gone, nullptr);
  const auto mine = capture->open(find("mine"));
  ASSERT_FALSE(mine);
  EXPECT_EQ(mine.error().code, Code::kNotFound);
  const FileSpec conf = find("postgresql.auto.conf");
  Buffer content(conf.size);
  ASSERT_GT(content.size(), 0u);
  ASSERT_TRUE(capture->open(conf).value()->read(0, content));
  EXPECT_THAT(std::string(as_text(content)), HasSubstr("Do not edit"));
}

TEST(PostgresCapture, NamesDamagedPages) {
  Server source({"--data-checksums"}, {{"autovacuum", "off"}});
  source.exec("CREATE TABLE t AS SELECT i AS a FROM generate_series(1, 20000) i; CHECKPOINT;");
  std::string path = source.ask("SELECT pg_relation_filepath('t')");
  path.pop_back();
  {
    auto file = os::File::open(source.data() / path, os::File::Mode::kReadWrite);
    ASSERT_TRUE(file);
    ASSERT_TRUE(file->write_at(3 * 8192 + 5000, as_bytes("damage")));
    // Claims to be newer than the backup, which no page can be that is on disk before its end.
    std::array<std::byte, 8> lsn;
    lsn.fill(std::byte{0x7f});
    ASSERT_TRUE(file->write_at(9 * 8192, lsn));
  }
  Copy copy;
  take(source, copy);
  const std::vector<BadPage> expected = {{path, 3}, {path, 9}};
  EXPECT_EQ(copy.data.bad_pages, expected);
  EXPECT_EQ(copy.data.bad_page_count, 2u);
  EXPECT_THAT(copy.end.warnings,
              Contains(AllOf(HasSubstr("block 3 of " + path), HasSubstr("postgres.public.t"))));
}

TEST(PostgresCapture, LeavesBackupModeWhenAbandonedOrStopped) {
  Server source;
  auto capture = begin(source);
  ASSERT_TRUE(capture);
  EXPECT_EQ(source.ask("SELECT count(*) FROM pg_replication_slots"), "1\n");
  capture.reset();
  for (int i = 0; i < 100 && source.ask("SELECT count(*) FROM pg_replication_slots") != "0\n"; ++i)
    ::usleep(50'000);
  EXPECT_EQ(source.ask("SELECT count(*) FROM pg_replication_slots"), "0\n");

  // Stopped while the server makes its checkpoint.
  source.exec("CREATE TABLE t AS SELECT i FROM generate_series(1, 300000) i;");
  std::stop_source stop;
  Context ctx = patience();
  ctx.stop = stop.get_token();
  std::thread stopper([&] {
    ::usleep(300'000);
    stop.request_stop();
  });
  const auto stopped = begin_capture(ctx, source.spec(), {.fast_checkpoint = false});
  stopper.join();
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code, Code::kInterrupted);
  for (int i = 0; i < 100 && source.ask("SELECT count(*) FROM pg_replication_slots") != "0\n"; ++i)
    ::usleep(50'000);
  EXPECT_EQ(source.ask("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'varve'"), "0\n");
}

TEST(PostgresCapture, GoesOnWithoutASlotAndRefusesWhatCannotBe) {
  Server source({}, {{"max_replication_slots", "0"}});
  {
    auto capture = begin(source);
    ASSERT_TRUE(capture);
    ASSERT_TRUE(capture->files(patience()));
    const auto end = capture->finish(patience());
    ASSERT_TRUE(end) << end.error().describe();
    EXPECT_THAT(end->warnings, Contains(HasSubstr("no replication slot")));
    EXPECT_FALSE(capture->keeps_wal(patience()).value());
  }
  // A role without permissions learns what to grant.
  source.exec("CREATE ROLE weak LOGIN; GRANT pg_read_all_settings TO weak");
  ClusterSpec weak =
      *make_source(fmt::format("host={} user=weak dbname=postgres", source.folder().native()), {});
  const auto refused = begin_capture(patience(), weak, {});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kDatabase);
  EXPECT_THAT(refused.error().hint, HasSubstr("GRANT EXECUTE ON FUNCTION"));
  const auto problems = probe(patience(), weak);
  ASSERT_TRUE(problems) << problems.error().describe();
  EXPECT_THAT(*problems, Contains(Field(&Problem::mend, AllOf(HasSubstr("GRANT EXECUTE ON FUNCTION"),
                                                              HasSubstr("TO \"weak\"")))));
  EXPECT_THAT(*problems, Contains(Field(&Problem::what, HasSubstr("no replication slot is free"))));
  if (testing::major_version() < 18) {  // those have them by default
    EXPECT_THAT(*problems, Contains(Field(&Problem::what, HasSubstr("has no page checksums"))));
  }

  // Another cluster's data directory.
  Server other;
  const auto fine = probe(patience(), other.spec());
  ASSERT_TRUE(fine) << fine.error().describe();
  EXPECT_THAT(*fine, Not(Contains(Field(&Problem::severity, Problem::Severity::kError))));
  ClusterSpec crossed = source.spec();
  crossed.data_directory = other.data();
  const auto wrong = begin_capture(patience(), crossed, {});
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().code, Code::kUsage);
  // No server.
  source.stop();
  other.stop();
  const auto gone =
      begin_capture(patience(), *make_source("host=" + other.folder().native() + " user=postgres", {}), {});
  ASSERT_FALSE(gone);
  EXPECT_EQ(gone.error().code, Code::kDatabase);
  EXPECT_FALSE(gone.error().hint.empty());
}

TEST(PostgresCapture, RecoversToANamedPointAndSaysWhenItCannot) {
  Server source;
  source.exec("CREATE TABLE t(a int); INSERT INTO t VALUES (1)");
  Copy copy, late;
  take(source, copy);
  take(source, late);
  ASSERT_TRUE(copy.server && late.server);
  source.exec("INSERT INTO t VALUES (2)");
  source.exec("SELECT pg_create_restore_point('here')");
  source.exec("INSERT INTO t VALUES (3)");
  source.exec("SELECT pg_switch_wal()");
  copy_wal(source.data() / "pg_wal", copy.server->folder() / "archive");
  recover(copy,
          {.kind = RecoveryTarget::Kind::kName, .name = "here", .action = RecoveryTarget::Action::kPause});
  EXPECT_EQ(copy.server->start(true), RecoveryEnd::kPaused);
  EXPECT_EQ(copy.server->ask("SELECT a FROM t ORDER BY 1"), "1\n2\n");
  copy.server->stop();

  recover(late, {.kind = RecoveryTarget::Kind::kName, .name = "nowhere"});
  ServerOptions options;
  options.socket_folder = late.server->folder();
  const auto running = start_server(patience(), late.server->data(), source.binaries(), options);
  ASSERT_TRUE(running) << running.error().describe();
  const auto end = wait_until_recovered(patience(), *running);
  ASSERT_FALSE(end);
  EXPECT_THAT(end.error().message, HasSubstr("recovery ended before configured recovery target was reached"));
  EXPECT_FALSE(running->is_alive());
}

TEST(PostgresCapture, TakenFromAStandby) {
  Server source({"--data-checksums"}, {{"wal_keep_size", "1GB"}});
  source.exec("CREATE TABLE t AS SELECT i AS a FROM generate_series(1, 1000) i");
  Copy standby;
  take(source, standby);
  ASSERT_TRUE(standby.server);
  ASSERT_TRUE(install_recovery(standby.server->data(),
                               "primary_conninfo = 'host=" + source.folder().native() + " user=postgres'\n",
                               true));
  ServerOptions options;
  options.socket_folder = standby.server->folder();
  options.isolated = false;
  const auto running = start_server(patience(), standby.server->data(), source.binaries(), options);
  ASSERT_TRUE(running) << running.error().describe();
  source.exec("INSERT INTO t SELECT generate_series(1001, 2000); CHECKPOINT");
  const auto rows = [&](const std::string& sql) {
    return testing::run(
        {"psql", "-XAtq", "-h", standby.server->folder().native(), "-U", "postgres", "-c", sql});
  };
  for (int i = 0; i < 400 && rows("SELECT count(*) FROM t") != "2000\n"; ++i) ::usleep(50'000);
  EXPECT_EQ(rows("SELECT count(*) FROM t"), "2000\n") << last_words(*running);

  // Both have the same system identifier; still the files of one are not those of the other.
  ClusterSpec crossed = source.spec();
  crossed.data_directory = standby.server->data();
  const auto wrong = begin_capture(patience(), crossed, {});
  ASSERT_FALSE(wrong);
  EXPECT_THAT(wrong.error().message, HasSubstr("belongs to another server"));

  auto capture = begin_capture(patience(), running->spec(), {});
  ASSERT_TRUE(capture) << capture.error().describe();
  auto dir = os::TempDir::create("varve-pg");
  const os::Path root = dir->path() / "data";
  ASSERT_TRUE(os::make_directories(root, 0700));
  testing::give_to_postgres(root);
  (void)copy_files(**capture, root);
  const auto end = (*capture)->finish(patience());
  ASSERT_TRUE(end) << end.error().describe();
  EXPECT_TRUE((*capture)->data().from_standby);
  for (const LateFile& late : end->late_files) put(root, late.spec, late.content);
  copy_wal((*capture)->wal_directory(), root / "pg_wal");
  (*capture)->release();
  EXPECT_TRUE(stop_server(patience(), *running));
  Server back(testing::TakeOver{}, std::move(*dir), source.binaries());
  EXPECT_EQ(testing::run(testing::as_postgres({"chmod", "-R", "u+rwX", back.data().native()})), "");
  EXPECT_EQ(testing::run({"chown", "-R", "--reference=" + back.data().native(), back.data().native()}), "");
  EXPECT_EQ(back.start(true), RecoveryEnd::kServing);
  EXPECT_EQ(back.ask("SELECT count(*) FROM t"), "2000\n");
}

}  // namespace
}  // namespace varve::engine::postgres
