#include "engine/postgres/source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/postgres/backup_session.h"
#include "engine/postgres/capture_data.h"
#include "engine/postgres/data_directory.h"
#include "engine/postgres/lsn.h"
#include "engine/postgres/page.h"
#include "engine/postgres/recovery.h"

namespace varve::engine::postgres {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(PostgresSource, ReadsAddresses) {
  for (const char* address :
       {"postgres:user=postgres  host=/run/x port=5433", "postgresql:host=/run/x user='postgres' port=5433",
        "postgresql://postgres@%2Frun%2Fx:5433", "postgres://postgres@%2Frun%2Fx:5433/"}) {
    ASSERT_TRUE(is_address(address));
    const auto spec = parse_source(address);
    ASSERT_TRUE(spec) << address << ": " << spec.error().describe();
    EXPECT_EQ(address_of(*spec), "postgres:user=postgres host=/run/x port=5433") << address;
    EXPECT_EQ(suggested_name(*spec), "local-5433");
    EXPECT_EQ(address_of(*parse_source(address_of(*spec))), address_of(*spec));
  }
  const auto spaced = parse_source("postgres:host='/a b' application_name='it''s'");
  EXPECT_FALSE(spaced);  // '' is no quote in a conninfo
  const auto quoted = make_source(R"(host='/a b' dbname='it\'s \\')", "/srv/x/");
  ASSERT_TRUE(quoted) << quoted.error().describe();
  EXPECT_EQ(database_of(*quoted), R"(it's \)");
  EXPECT_EQ(quoted->data_directory, "/srv/x");
  EXPECT_EQ(address_of(*parse_source(address_of(*quoted))), address_of(*quoted));
  EXPECT_EQ(suggested_name(*parse_source("postgresql://db1.example.com:6000/app")), "db1.example.com-6000");
  EXPECT_TRUE(parse_source("postgres:"));
}

TEST(PostgresSource, RefusesPasswordsAndNonsense) {
  for (const char* address :
       {"postgres:password=hunter2", "postgresql://u:hunter2@h/db", "postgres:replication=true",
        "postgres:nonsense", "postgres:hunter2@host", "postgres:colour=blue", "mysql:x", "postgres"}) {
    const auto spec = parse_source(address);
    ASSERT_FALSE(spec) << address;
    EXPECT_EQ(spec.error().code, Code::kUsage);
    EXPECT_THAT(spec.error().describe() + spec.error().hint, Not(HasSubstr("hunter2"))) << address;
  }
  EXPECT_EQ(make_source("", "relative/path").error().code, Code::kUsage);
}

TEST(PostgresPosition, IsTextBothWays) {
  for (const auto& [lsn, text] : std::map<uint64_t, std::string>{{0, "0/0"},
                                                                 {0x2000028, "0/2000028"},
                                                                 {0x16'b374d848, "16/B374D848"},
                                                                 {UINT64_MAX, "FFFFFFFF/FFFFFFFF"}}) {
    EXPECT_EQ(format_lsn(lsn), text);
    EXPECT_EQ(parse_lsn(text).value(), lsn);
  }
  for (const char* text : {"", "/", "1/", "/1", "1", "x/1", "1/123456789", "1/-1", "1/2/3", " 1/2"})
    EXPECT_FALSE(parse_lsn(text)) << text;
}

TEST(PostgresNames, TellRelationsFromTheRest) {
  const auto is = [](const char* path, RelationFile expected) {
    const auto file = relation_file(path);
    return file && *file == expected;
  };
  EXPECT_TRUE(is("base/5/16384", {1663, 5, 16384, Fork::kMain, 0}));
  EXPECT_TRUE(is("base/5/16384.12", {1663, 5, 16384, Fork::kMain, 12}));
  EXPECT_TRUE(is("base/5/16384_fsm", {1663, 5, 16384, Fork::kFreeSpace, 0}));
  EXPECT_TRUE(is("base/5/16384_vm.2", {1663, 5, 16384, Fork::kVisibility, 2}));
  EXPECT_TRUE(is("base/5/16384_init", {1663, 5, 16384, Fork::kInit, 0}));
  EXPECT_TRUE(is("global/1262", {1664, 0, 1262, Fork::kMain, 0}));
  EXPECT_TRUE(is("pg_tblspc/16400/PG_15_202209061/5/4294967295", {16400, 5, 4294967295, Fork::kMain, 0}));
  for (const char* path : {"base/5/PG_VERSION",
                           "base/5/pg_filenode.map",
                           "base/5/016384",
                           "base/5/0",
                           "base/5/4294967296",
                           "base/5/1.0",
                           "base/5/1.",
                           "base/5/1_",
                           "base/5/1_xyz",
                           "base/5/_vm",
                           "base/5/t3_16384",
                           "base/x/1",
                           "base/1",
                           "global/x/1",
                           "global/pg_control",
                           "pg_xact/0000",
                           "pg_tblspc/16400/5/1",
                           "pg_tblspc/16400/PG_15_1/5",
                           "1",
                           "",
                           "base//1",
                           "pg_tblspc/16400/PG_15_1/5/1/2"})
    EXPECT_FALSE(relation_file(path)) << path;
  for (const char* name : {"t3_16384", "t12_16384_vm", "t3_16384.1", "t3_16384_fsm.2"})
    EXPECT_TRUE(is_temporary_relation(name)) << name;
  for (const char* name :
       {"t_16384", "t3_", "t3", "tx_16384", "t3_16384_init", "16384", "t3_16384x", "table"})
    EXPECT_FALSE(is_temporary_relation(name)) << name;
}

TEST(PostgresNames, WhatTheLogRepairsMayVanish) {
  for (const char* path :
       {"base/5/16384", "pg_xact/0000", "pg_multixact/offsets/0000", "pg_logical/snapshots/0-1.snap",
        "log/postgresql-Mon.log", "pg_twophase/00000300", "base/5/pg_filenode.map"})
    EXPECT_TRUE(may_vanish(path)) << path;
  for (const char* path : {"PG_VERSION", "global/pg_filenode.map", "postgresql.conf", "mine/data"})
    EXPECT_FALSE(may_vanish(path)) << path;
  EXPECT_TRUE(may_shrink("base/5/16384"));
  EXPECT_TRUE(may_shrink("pg_xact/0000"));
  EXPECT_FALSE(may_shrink("postgresql.auto.conf"));
  EXPECT_FALSE(may_shrink("base/5/pg_filenode.map"));
}

TEST(PostgresLabel, IsRead) {
  const auto label = parse_backup_label(
      "START WAL LOCATION: 0/2000028 (file 000000010000000000000002)\nCHECKPOINT LOCATION: 0/2000060\n"
      "BACKUP METHOD: streamed\nBACKUP FROM: standby\nSTART TIME: 2026-11-30 16:00:00 UTC\nLABEL: varve: x\n"
      "START TIMELINE: 7\n");
  ASSERT_TRUE(label) << label.error().describe();
  EXPECT_EQ(label->start_lsn, 0x2000028u);
  EXPECT_EQ(label->checkpoint_lsn, 0x2000060u);
  EXPECT_EQ(label->timeline, 7u);
  EXPECT_TRUE(label->from_standby);
  EXPECT_FALSE(parse_backup_label(""));
  EXPECT_FALSE(parse_backup_label("START WAL LOCATION: 0/2000028\nCHECKPOINT LOCATION: 0/2000060\n"));
  EXPECT_FALSE(parse_backup_label("START WAL LOCATION: x\n"));
}

TEST(PostgresRecovery, SettingsAreQuoted) {
  EXPECT_EQ(quote_setting("it's \\ a\nline"), R"('it''s \\ a\nline')");
  EXPECT_EQ(quote_for_shell("/srv/a-b.c"), "/srv/a-b.c");
  EXPECT_EQ(quote_for_shell("a b"), "'a b'");
  EXPECT_EQ(quote_for_shell("it's 5%"), R"('it'\''s 5%%')");
  EXPECT_EQ(quote_for_shell(""), "''");
}

TEST(PostgresRecovery, EveryTargetUnsetsTheOthers) {
  RecoveryTarget target;
  target.kind = RecoveryTarget::Kind::kTime;
  target.time = *parse_rfc3339("2026-11-23T14:32:05.5Z");
  target.inclusive = false;
  target.action = RecoveryTarget::Action::kPause;
  const std::string text = recovery_settings(target, "varve log fetch %f '%p'").value();
  EXPECT_THAT(text, HasSubstr("restore_command = 'varve log fetch %f ''%p'''\n"));
  EXPECT_THAT(text, HasSubstr("recovery_target_time = '2026-11-23 14:32:05.5"));
  EXPECT_THAT(text, HasSubstr("+00'\n"));
  for (const char* line :
       {"recovery_target = ''\n", "recovery_target_lsn = ''\n", "recovery_target_xid = ''\n",
        "recovery_target_name = ''\n", "recovery_target_inclusive = 'off'\n",
        "recovery_target_timeline = 'latest'\n", "recovery_target_action = 'pause'\n"})
    EXPECT_THAT(text, HasSubstr(line));
  target.kind = RecoveryTarget::Kind::kXid;
  target.xid = (7ull << 32) + 1000;
  EXPECT_THAT(recovery_settings(target, "").value(), HasSubstr("recovery_target_xid = '1000'\n"));
  target.kind = RecoveryTarget::Kind::kLsn;
  target.lsn = 0x1'00000010;
  EXPECT_THAT(recovery_settings(target, "").value(), HasSubstr("recovery_target_lsn = '1/10'\n"));
  target.kind = RecoveryTarget::Kind::kName;
  EXPECT_FALSE(recovery_settings(target, ""));
  target.name = std::string(64, 'x');
  EXPECT_FALSE(recovery_settings(target, ""));
  target.kind = RecoveryTarget::Kind::kLatest;
  target.timeline = "yesterday";
  EXPECT_FALSE(recovery_settings(target, ""));
}

TEST(PostgresRecovery, IsInstalledBelowWhatIsThere) {
  const auto dir = os::TempDir::create();
  ASSERT_TRUE(os::replace_file(dir->path() / "postgresql.auto.conf", as_bytes("work_mem = '8MB'")));
  ASSERT_TRUE(os::replace_file(dir->path() / "standby.signal", {}));
  ASSERT_TRUE(install_recovery(dir->path(), "a = 'b'\n"));
  EXPECT_EQ(as_text(*os::read_file(dir->path() / "postgresql.auto.conf", 1000)),
            "work_mem = '8MB'\na = 'b'\n");
  EXPECT_THAT(*os::list_directory(dir->path()), ElementsAre("postgresql.auto.conf", "recovery.signal"));
}

CaptureData example() {
  CaptureData d;
  d.system_id = 7312345678901234567;
  d.timeline = 2;
  d.stop_timeline = 3;
  d.start_lsn = 0x1'02000028;
  d.stop_lsn = 0x1'03000100;
  d.checkpoint_lsn = 0x1'02000060;
  d.version = 150018;
  d.version_text = "15.18";
  d.page_size = d.wal_page_size = 8192;
  d.segment_pages = 131072;
  d.wal_segment_size = 16 << 20;
  d.checksums = true;
  d.data_directory = "/srv/pg";
  d.tablespaces = {{16400, "/a", false}, {16401, "", true}};
  d.bad_pages = {{"base/5/1", 7}};
  d.bad_page_count = 9;
  d.configuration = {{"/etc/x.conf", "config_file", to_buffer(as_bytes("a = b\n"))}};
  Database db{.oid = 5, .name = "post", .tablespace = 1663, .listed = true, .relations = {}};
  db.relations = {{.oid = 10,
                   .schema = "public",
                   .name = "t",
                   .kind = 'r',
                   .persistence = 'u',
                   .filenode = 11,
                   .toast = 12},
                  {.oid = 13, .schema = "pg_toast", .name = "i", .kind = 'i', .index_of = 12, .pages = 3}};
  d.databases = {{.oid = 1, .name = "template1"}, db};
  d.started = Timestamp(std::chrono::microseconds(1'700'000'000'000'001));
  d.stopped = d.started + std::chrono::seconds(3);
  return d;
}

TEST(PostgresCaptureData, GoesRound) {
  const Buffer bytes = encode_capture_data(example());
  const auto d = decode_capture_data(bytes);
  ASSERT_TRUE(d) << d.error().describe();
  EXPECT_EQ(encode_capture_data(*d), bytes);
  EXPECT_EQ(d->databases[1].relations[1].schema, "pg_toast");
  EXPECT_EQ(d->databases[1].relations[0].persistence, 'u');
  EXPECT_EQ(d->tablespaces[1].oid, 16401u);
  EXPECT_EQ(as_text(d->configuration[0].content), "a = b\n");
  EXPECT_EQ(d->stopped, example().stopped);
  EXPECT_THAT(user_tables(d->databases), ElementsAre("post.public.t"));
}

TEST(PostgresCaptureData, RefusesWhatCannotBe) {
  const auto refused = [](auto change) {
    CaptureData d = example();
    change(d);
    const auto decoded = decode_capture_data(encode_capture_data(d));
    return !decoded && decoded.error().code == Code::kDamaged;
  };
  EXPECT_TRUE(refused([](CaptureData& d) { d.stop_lsn = d.start_lsn - 1; }));
  EXPECT_TRUE(refused([](CaptureData& d) { d.page_size = 0; }));
  EXPECT_TRUE(refused([](CaptureData& d) { d.tablespaces[0].oid = 0; }));
  EXPECT_TRUE(refused([](CaptureData& d) { d.bad_page_count = 0; }));
  EXPECT_TRUE(refused([](CaptureData& d) { std::swap(d.databases[0], d.databases[1]); }));
  EXPECT_TRUE(refused([](CaptureData& d) { d.databases[1].relations[0].kind = '\x01'; }));
  EXPECT_TRUE(refused([](CaptureData& d) { d.databases[1].relations[1].oid = 10; }));
  EXPECT_FALSE(decode_capture_data(as_bytes("\xff\xff")));
}

}  // namespace
}  // namespace varve::engine::postgres
