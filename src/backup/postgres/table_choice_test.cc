#include "backup/postgres/table_choice.h"

#include <gtest/gtest.h>

namespace varve::backup::postgres {
namespace {

db::Relation relation(uint32_t oid, std::string schema, std::string name, char kind = 'r') {
  db::Relation r;
  r.oid = oid;
  r.schema = std::move(schema);
  r.name = std::move(name);
  r.kind = kind;
  r.filenode = kind == 'p' ? 0 : oid;
  r.pages = 10;
  r.rows = 100;
  return r;
}

db::CaptureData cluster() {
  db::CaptureData out;
  out.page_size = 8192;
  db::Database app{.oid = 20000, .name = "app", .tablespace = 1663, .listed = true, .relations = {}};
  auto& r = app.relations;
  r.push_back(relation(1259, "pg_catalog", "pg_class"));
  r.push_back(relation(2613, "pg_catalog", "pg_largeobject"));
  r.push_back(relation(20001, "public", "orders"));
  r.back().toast = 20002;
  r.push_back(relation(20002, "pg_toast", "pg_toast_20001", 't'));
  r.push_back(relation(20003, "pg_toast", "pg_toast_20001_index", 'i'));
  r.back().index_of = 20002;
  r.push_back(relation(20004, "public", "orders_pkey", 'i'));
  r.back().index_of = 20001;
  r.push_back(relation(20005, "public", "orders_id_seq", 'S'));
  r.push_back(relation(20006, "public", "other"));
  r.back().tablespace = 30000;
  r.push_back(relation(20010, "public", "parted", 'p'));
  r.push_back(relation(20011, "public", "part", 'p'));
  r.back().parent = 20010;
  r.push_back(relation(20012, "public", "leaf"));
  r.back().parent = 20011;
  db::Database second{.oid = 20100, .name = "second", .tablespace = 1663, .listed = true, .relations = {}};
  second.relations.push_back(relation(20101, "public", "other"));
  db::Database unlisted{.oid = 20200, .name = "closed", .tablespace = 1663, .listed = false, .relations = {}};
  out.databases = {app, second, unlisted};
  return out;
}

TEST(TableChoice, FindsTheOnlyOneOfThatName) {
  const auto data = cluster();
  const auto choice = choose_tables(data, {"orders"});
  ASSERT_TRUE(choice) << choice.error().describe();
  EXPECT_EQ(choice->database, "app");
  EXPECT_EQ(choice->tables, (std::vector<db::TableName>{{"app", "public", "orders"}}));
  EXPECT_EQ(choice->relations, (std::set<uint32_t>{20001, 20002, 20003, 20004}));
}

TEST(TableChoice, PartitionsOfPartitions) {
  const auto data = cluster();
  EXPECT_EQ(choose_tables(data, {"public.parted"})->relations, (std::set<uint32_t>{20010, 20011, 20012}));
}

TEST(TableChoice, AsksWhichWhereSeveralHaveIt) {
  const auto data = cluster();
  const auto choice = choose_tables(data, {"other"});
  ASSERT_FALSE(choice);
  EXPECT_EQ(choice.error().code, Code::kUsage);
  EXPECT_NE(choice.error().hint.find("second.public.other"), std::string::npos);
  EXPECT_EQ(choose_tables(data, {"second.public.other"})->database, "second");
  EXPECT_FALSE(choose_tables(data, {"orders", "second.public.other"}));
  EXPECT_FALSE(choose_tables(data, {"orders", "public.orders"}));
}

TEST(TableChoice, WhatTheBackupDoesNotKnowNeedsItsDatabase) {
  const auto data = cluster();
  const auto choice = choose_tables(data, {"public.oders"});
  ASSERT_FALSE(choice);
  EXPECT_EQ(choice.error().code, Code::kNotFound);
  EXPECT_NE(choice.error().hint.find("public.orders"), std::string::npos);
  EXPECT_EQ(choose_tables(data, {"app.public.later"})->listed->name, "app");
  EXPECT_EQ(choose_tables(data, {"closed.public.t"})->listed, nullptr);
  EXPECT_EQ(choose_tables(data, {"newer.public.t"})->listed, nullptr);
}

TEST(WantedFiles, CataloguesAndTheTablesFilesOnly) {
  const auto data = cluster();
  const auto choice = choose_tables(data, {"orders"});
  WantedFiles wanted(*choice);
  for (const char* path :
       {"base/20000/1259", "base/20000/1259_fsm", "base/20000/20001", "base/20000/20001.1",
        "base/20000/20001_vm", "base/20000/20002", "base/20000/20003", "base/20000/20004", "base/20000/20005",
        "base/20000/PG_VERSION", "global/1260", "global/pg_filenode.map", "pg_xact/0000", "backup_label",
        "base/20100/pg_filenode.map"})
    EXPECT_TRUE(wanted(path)) << path;
  for (const char* path : {"base/20000/2613", "base/20000/20006", "base/20100/1259", "base/20100/20101",
                           "pg_tblspc/30000/PG_15_202209061/20000/20006", "log/postgresql.log"})
    EXPECT_FALSE(wanted(path)) << path;
  EXPECT_TRUE(wanted.left_out({30000, 20000, 20006}));
  EXPECT_FALSE(wanted.left_out({1663, 20000, 20001}));
  wanted.add({30000, 20000, 20006});
  wanted.begin_anew();
  EXPECT_TRUE(wanted("pg_tblspc/30000/PG_15_202209061/20000/20006"));
  EXPECT_FALSE(wanted.left_out({30000, 20000, 20006}));
}

TEST(WantedFiles, OneDatabaseWhole) {
  const auto data = cluster();
  const auto choice = choose_database(data, "app");
  ASSERT_TRUE(choice && choice->whole);
  WantedFiles wanted(*choice);
  for (const char* path : {"base/20000/1259", "base/20000/2613", "base/20000/20006", "base/20000/99999",
                           "global/1260", "pg_tblspc/30000/PG_15_202209061/20000/20006", "pg_xact/0000"})
    EXPECT_TRUE(wanted(path)) << path;
  EXPECT_FALSE(wanted("base/20100/1259"));
  EXPECT_FALSE(wanted("base/20100/20101"));
  EXPECT_TRUE(WantedFiles(*choose_database(data, "newer")).everything());
  EXPECT_EQ(choose_database(data, "template1").error().code, Code::kUsage);
}

TEST(WantedFiles, EverythingOfADatabaseThatIsNotKnown) {
  const auto data = cluster();
  WantedFiles wanted(*choose_tables(data, {"newer.public.t"}));
  EXPECT_TRUE(wanted("base/20000/20006"));
  EXPECT_TRUE(wanted.everything());
}

TEST(TableChoice, Describes) {
  const auto data = cluster();
  const auto choice = choose_tables(data, {"orders", "app.public.later"});
  const auto tables = describe(data, *choice);
  ASSERT_EQ(tables.size(), 2u);
  EXPECT_EQ(tables[0].rows, 100u);
  EXPECT_EQ(tables[0].files.size(), 4u);
  EXPECT_TRUE(tables[0].listed);
  EXPECT_FALSE(tables[1].listed);
}

}  // namespace
}  // namespace varve::backup::postgres
