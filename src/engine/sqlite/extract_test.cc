#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/sqlite/connection.h"
#include "engine/sqlite/page_vfs.h"
#include "engine/sqlite/schema_text.h"
#include "engine/sqlite/testing.h"
#include "os/file.h"
#include "os/process.h"

namespace varve::engine::sqlite {
namespace {

using testing::Database;
using testing::DatabaseOptions;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::Snapshot;
using ::testing::UnorderedElementsAre;

constexpr const char* kNumbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<500) ";

VirtualDatabase serve(const Snapshot& state) {
  return {state.page_size(), state.pages(), [&state](uint32_t page, MutableBytes out) -> Result<> {
            const ByteView from = state.page(page);
            std::ranges::copy(from, out.begin());
            return {};
          }};
}

// What the database's own tool says of a table: the oracle.
std::string dump(const std::string& path, const std::string& table) {
  std::string quoted = "\"";
  for (const char c : table) quoted += c == '"' ? std::string("\\\"") : std::string(1, c);
  const auto done =
      os::run({}, {"sqlite3", path, table.empty() ? ".dump" : ".dump " + quoted + '"'}, {}, 64 << 20);
  if (!done) {
    ADD_FAILURE() << done.error().describe();
    return {};
  }
  EXPECT_EQ(done->exit_code, 0) << done->err;
  std::string out(as_text(done->out));
  EXPECT_THAT(out, HasSubstr("CREATE "));
  return out;
}

class Target {
 public:
  Target() : folder_(*os::TempDir::create("extract-test")) {}
  std::string path() const { return (folder_.path() / "out.db").string(); }
  std::vector<std::string> files() const { return *os::list_directory(folder_.path()); }
  std::vector<std::string> column(const std::string& sql) const {
    const auto db = Connection::open(path(), SQLITE_OPEN_READONLY, "target");
    if (!db) return {db.error().describe()};
    const auto rows = db->column(sql);
    return rows ? *rows : std::vector<std::string>{rows.error().describe()};
  }

 private:
  os::TempDir folder_;
};

Result<std::vector<ExtractedTable>> extract(const Database& db, ExtractOptions options,
                                            std::vector<std::string>* notes = nullptr) {
  const Snapshot state = db.snapshot();
  return extract_tables({}, serve(state), options, notes);
}

struct Shape {
  std::string name, table, sql;
  friend void PrintTo(const Shape& shape, std::ostream* out) { *out << shape.sql; }
};

class Shapes : public ::testing::TestWithParam<Shape> {};

TEST_P(Shapes, AreTheSameInANewFile) {
  for (const auto& options : {DatabaseOptions{}, DatabaseOptions{.page_size = 512, .encoding = "UTF-16be"}}) {
    Database db(options);
    db.exec("CREATE TABLE noise(a); INSERT INTO noise VALUES(1)");
    db.exec(GetParam().sql);
    const Target target;
    std::vector<std::string> notes;
    const auto done = extract(db, {.tables = {GetParam().table}, .target = target.path()}, &notes);
    ASSERT_TRUE(done) << done.error().describe();
    EXPECT_THAT(notes, IsEmpty());
    const std::string quoted = GetParam().table;
    EXPECT_EQ(dump(target.path(), quoted), dump(db.path(), quoted));
    EXPECT_THAT(target.column("PRAGMA integrity_check"), ElementsAre("ok"));
    EXPECT_EQ(target.column("PRAGMA page_size"), db.rows("PRAGMA page_size"));
    EXPECT_EQ(target.column("PRAGMA encoding"), db.rows("PRAGMA encoding"));
    EXPECT_THAT(target.files(), ElementsAre("out.db"));
    EXPECT_EQ(done->front().rows, db.number("SELECT count(*) FROM " + quote_name(GetParam().table)));
  }
}

TEST_P(Shapes, AreTheSameBesideLiveOnes) {
  Database db, live;
  for (Database* d : {&db, &live}) d->exec(GetParam().sql);
  const std::string name = quote_name(GetParam().table), copy = quote_name(GetParam().table + "_restored");
  const std::string before = dump(live.path(), "");
  const auto done = extract(db, {.tables = {GetParam().table}, .target = live.path(), .into_existing = true});
  ASSERT_TRUE(done) << done.error().describe();
  EXPECT_EQ(done->front().name, GetParam().table + "_restored");
  EXPECT_EQ(live.rows("SELECT * FROM " + copy), db.rows("SELECT * FROM " + name));
  EXPECT_EQ(done->front().rows, live.number("SELECT count(*) FROM " + copy));
  EXPECT_THAT(live.rows("PRAGMA integrity_check"), ElementsAre("ok"));
  EXPECT_EQ(
      done->front().indexes.size(),
      live.number("SELECT count(*) FROM sqlite_schema WHERE type='index' AND sql NOT NULL AND tbl_name='" +
                  GetParam().table + "'"));
  EXPECT_THAT(done->front().triggers, IsEmpty());
  live.exec("DROP TABLE " + copy + "");
  EXPECT_EQ(dump(live.path(), ""), before) << "the live tables were touched";
}

INSTANTIATE_TEST_SUITE_P(
    All, Shapes,
    ::testing::Values(
        Shape{"Empty", "t", "CREATE TABLE t(a, b)"},
        Shape{"RowidsKept", "t",
              "CREATE TABLE t(a); INSERT INTO t(rowid, a) VALUES(-7, 1), (3, NULL), (9223372036854775807, "
              "x'00ff')"},
        Shape{"Values", "t",
              "CREATE TABLE t(id INTEGER PRIMARY KEY, i INT, r REAL, s TEXT, b BLOB, n NUMERIC, x);"
              "INSERT INTO t VALUES(1, 9223372036854775807, 1e300, 'it''s'||char(10)||'é', x'', '12.5', "
              "'12.5'), (2, 'no', 5, 5, 5, 5, 5),"
              "(3, NULL, -0.0, 'a'||char(0)||'b', zeroblob(70000), 1e400, 0.1)"},
        Shape{"Shadowed", "t",
              "CREATE TABLE t(rowid TEXT, oid); INSERT INTO t(_rowid_, rowid, oid) VALUES(40, 'x', 'y')"},
        Shape{"Generated", "t",
              "CREATE TABLE t(a INT, b AS (a*2), c TEXT, d AS (upper(c)) STORED); INSERT INTO t(a, c) "
              "VALUES(1, 'x'), (2, 'y');"
              "CREATE INDEX by_b ON t(b)"},
        Shape{"WithoutRowid", "t",
              "CREATE TABLE t(a TEXT COLLATE NOCASE, b, c, PRIMARY KEY(b DESC, a)) WITHOUT ROWID;"
              "INSERT INTO t VALUES('x', 1, 2), ('Y', 2, 3); CREATE INDEX by_c ON t(c, a)"},
        Shape{"Strict", "t",
              "CREATE TABLE t(a INT, b ANY, c TEXT NOT NULL) STRICT; INSERT INTO t VALUES(1, 'a', 'b')"},
        Shape{"Sequence", "t",
              "CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, a); INSERT INTO t VALUES(900, 1); DELETE "
              "FROM t; INSERT INTO t(a) VALUES(5)"},
        Shape{"SequenceEmpty", "t",
              "CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, a); INSERT INTO t VALUES(900, 1); DELETE "
              "FROM t"},
        Shape{"Indexes", "t",
              "CREATE TABLE t(a UNIQUE, b, c, UNIQUE(b, c)); CREATE INDEX \"odd \"\"name\" ON t(b) WHERE c > "
              "10;"
              "CREATE UNIQUE INDEX by_expr ON t(lower(a), b+c); CREATE INDEX cover ON t(c, b, a);" +
                  std::string(kNumbers) + "INSERT INTO t SELECT 'k'||i, -i, i%17 FROM n"},
        Shape{"Checks", "t",
              "CREATE TABLE t(a CHECK(t.a > 0), b REFERENCES t(a), CHECK(t.b < 10)); PRAGMA "
              "ignore_check_constraints=on;"
              "INSERT INTO t VALUES(-1, 50)"},
        Shape{"OddName", "or\"der by [x]",
              "CREATE TABLE \"or\"\"der by [x]\"(\"select\", [a b], `c\"d`); "
              "INSERT INTO \"or\"\"der by [x]\" VALUES(1, 2, 3); CREATE INDEX i ON "
              "\"or\"\"der by [x]\"(\"a b\")"},
        Shape{"Keyword", "table", "CREATE TABLE \"table\"(a); INSERT INTO \"table\" VALUES('v')"},
        Shape{"Altered", "t",
              "CREATE TABLE t(a); INSERT INTO t VALUES(1); ALTER TABLE t ADD COLUMN b DEFAULT 'd'; INSERT "
              "INTO t VALUES(2, 3)"},
        Shape{"Big", "t",
              "CREATE TABLE t(a, b); CREATE INDEX i ON t(a);" + std::string(kNumbers) +
                  "INSERT INTO t SELECT i*7919%500, hex(zeroblob(i*3)) FROM n"}),
    [](const auto& p) { return p.param.name; });

TEST(Extract, TriggersComeAlongIntoANewFileOnly) {
  Database db;
  db.exec(
      "CREATE TABLE log(x); CREATE TABLE t(a); INSERT INTO t VALUES(1);"
      "CREATE TRIGGER tr AFTER INSERT ON t BEGIN INSERT INTO log VALUES(new.a); END");
  const Target target;
  auto done = extract(db, {.tables = {"T"}, .target = target.path()});
  ASSERT_TRUE(done) << done.error().describe();
  EXPECT_EQ(done->front().name, "t");
  EXPECT_THAT(done->front().triggers, ElementsAre("tr"));
  EXPECT_EQ(dump(target.path(), "t"), dump(db.path(), "t"));

  std::vector<std::string> notes;
  done = extract(db, {.tables = {"t"}, .target = db.path(), .into_existing = true}, &notes);
  ASSERT_TRUE(done) << done.error().describe();
  EXPECT_THAT(done->front().triggers, IsEmpty());
  EXPECT_THAT(notes, ElementsAre(HasSubstr("triggers of t")));
  EXPECT_EQ(db.number("SELECT count(*) FROM log"), 0u);
}

TEST(Extract, SeveralTablesAndNewNames) {
  Database db;
  db.exec(
      "CREATE TABLE a(x REFERENCES a(x), y CHECK(a.y <> 3)); CREATE INDEX a_x ON a(x); INSERT INTO a "
      "VALUES(1, 1); CREATE TABLE b(x);"
      "CREATE TABLE a_restored(z); CREATE INDEX a_x_restored ON b(x)");
  const Target target;
  auto done = extract(db, {.tables = {"b", "A", "a"}, .target = target.path()});
  ASSERT_TRUE(done) << done.error().describe();
  ASSERT_EQ(done->size(), 2u);
  EXPECT_EQ(dump(target.path(), "a"), dump(db.path(), "a"));

  done = extract(db, {.tables = {"a", "b"}, .target = db.path(), .into_existing = true});
  ASSERT_TRUE(done) << done.error().describe();
  EXPECT_EQ((*done)[0].name, "a_restored_2");
  EXPECT_THAT((*done)[0].indexes, ElementsAre("a_x_restored_2"));
  EXPECT_EQ((*done)[1].name, "b_restored");
  EXPECT_THAT(db.rows("SELECT sql FROM sqlite_schema WHERE name='a_restored_2'"),
              ElementsAre("CREATE TABLE \"a_restored_2\"(x REFERENCES \"a_restored_2\"(x), y "
                          "CHECK(\"a_restored_2\".y <> 3))"));

  done = extract(db, {.tables = {"a"}, .target = db.path(), .into_existing = true, .as = "Mine"});
  ASSERT_TRUE(done) << done.error().describe();
  EXPECT_EQ(done->front().name, "Mine");
  done = extract(db, {.tables = {"a"}, .target = db.path(), .into_existing = true, .as = "mine"});
  EXPECT_EQ(done.error().code, Code::kConflict);
  EXPECT_EQ(
      extract(db, {.tables = {"a", "b"}, .target = db.path(), .into_existing = true, .as = "c"}).error().code,
      Code::kUsage);
  EXPECT_EQ(extract(db, {.tables = {}, .target = target.path() + "2"}).error().code, Code::kUsage);

  const Target other;
  done = extract(db, {.tables = {"a"}, .target = other.path(), .as = "order"});
  ASSERT_TRUE(done) << done.error().describe();
  EXPECT_THAT(other.column("SELECT x FROM \"order\""), ElementsAre("1"));
}

TEST(Extract, VirtualTables) {
  Database db;
  db.exec(
      "CREATE VIRTUAL TABLE docs USING fts5(title, body); INSERT INTO docs(rowid, title, body) VALUES(5, "
      "'hello', 'big world'), (9, 'x', 'y');"
      "CREATE VIRTUAL TABLE box USING rtree(id, x0, x1); INSERT INTO box VALUES(3, 1, 2);"
      "CREATE VIRTUAL TABLE bare USING fts5(a, content=''); INSERT INTO bare(rowid, a) VALUES(1, 'gone');"
      "CREATE TABLE texts(id INTEGER PRIMARY KEY, a); INSERT INTO texts VALUES(1, 'kept elsewhere');"
      "CREATE VIRTUAL TABLE outer_index USING fts5(a, content = 'texts', content_rowid=id); INSERT INTO "
      "outer_index(outer_index) VALUES('rebuild')");
  const Target target;
  std::vector<std::string> notes;
  auto done =
      extract(db, {.tables = {"docs", "box", "outer_index", "texts"}, .target = target.path()}, &notes);
  ASSERT_TRUE(done) << done.error().describe();
  EXPECT_THAT(target.column("SELECT rowid FROM docs WHERE docs MATCH 'world'"), ElementsAre("5"));
  EXPECT_THAT(target.column("SELECT x1 FROM box WHERE id=3"), ElementsAre("2.0"));
  EXPECT_THAT(target.column("SELECT a FROM outer_index WHERE outer_index MATCH 'elsewhere'"),
              ElementsAre("kept elsewhere"));
  EXPECT_THAT(target.column("PRAGMA integrity_check"), ElementsAre("ok"));
  EXPECT_THAT(notes, ElementsAre(HasSubstr("outer_index")));

  done = extract(db, {.tables = {"docs"}, .target = db.path(), .into_existing = true});
  ASSERT_TRUE(done) << done.error().describe();
  EXPECT_THAT(db.rows("SELECT rowid FROM docs_restored WHERE docs_restored MATCH 'hello'"), ElementsAre("5"));

  const Target none;
  done = extract(db, {.tables = {"bare"}, .target = none.path()});
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, Code::kUnsupported);
  EXPECT_THAT(none.files(), IsEmpty());
}

TEST(Extract, WhatOnlyTheApplicationKnows) {
  Database db;
  sqlite3_create_collation(db.handle(), "klingon", SQLITE_UTF8, nullptr,
                           [](void*, int, const void*, int, const void*) { return 0; });
  sqlite3_create_function(
      db.handle(), "warp", 1, SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_INNOCUOUS, nullptr,
      [](sqlite3_context* c, int, sqlite3_value** v) { sqlite3_result_value(c, v[0]); }, nullptr, nullptr);
  db.exec(
      "CREATE TABLE t(a TEXT COLLATE klingon, b CHECK(warp(b) > 0)); INSERT INTO t VALUES('x', 1), ('y', 2);"
      "CREATE INDEX by_a ON t(a); CREATE INDEX by_b ON t(b); CREATE INDEX by_warp ON t(warp(b));"
      "CREATE INDEX by_a_binary ON t(a COLLATE binary);"
      "CREATE TABLE u(a TEXT COLLATE klingon UNIQUE); INSERT INTO u VALUES('x');"
      "CREATE TABLE v(a, b AS (warp(a)) STORED); INSERT INTO v VALUES(1)");
  const Target target;
  std::vector<std::string> notes;
  auto done = extract(db, {.tables = {"t"}, .target = target.path()}, &notes);
  ASSERT_TRUE(done) << done.error().describe();
  EXPECT_THAT(done->front().indexes, ElementsAre("by_b", "by_a_binary"));
  EXPECT_THAT(notes,
              ElementsAre(HasSubstr("index by_a was left out"), HasSubstr("index by_warp was left out")));
  EXPECT_EQ(target.column("SELECT a||b FROM t"), db.rows("SELECT a||b FROM t"));

  done = extract(db, {.tables = {"t"}, .target = target.path(), .into_existing = true});
  ASSERT_TRUE(done) << done.error().describe();
  EXPECT_EQ(target.column("SELECT a||b FROM t_restored"), db.rows("SELECT a||b FROM t"));

  for (const char* table : {"u", "v"}) {
    const Target none;
    done = extract(db, {.tables = {table}, .target = none.path()});
    ASSERT_FALSE(done) << table;
    EXPECT_THAT(done.error().code, ::testing::AnyOf(Code::kUnsupported, Code::kDatabase))
        << done.error().describe();
    EXPECT_THAT(none.files(), IsEmpty());
  }
}

TEST(Extract, SaysWhatIsNotThere) {
  Database db;
  db.exec(
      "CREATE TABLE orders(a); CREATE TABLE customers(a); CREATE VIEW recent AS SELECT * FROM orders; CREATE "
      "VIRTUAL TABLE f USING fts5(x);"
      "CREATE TABLE q(id INTEGER PRIMARY KEY AUTOINCREMENT)");
  const Target target;
  auto done = extract(db, {.tables = {"ordres"}, .target = target.path()});
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, Code::kNotFound);
  EXPECT_THAT(done.error().hint, HasSubstr("orders"));
  EXPECT_EQ(extract(db, {.tables = {"recent"}, .target = target.path()}).error().code, Code::kUnsupported);
  EXPECT_EQ(extract(db, {.tables = {"sqlite_sequence"}, .target = target.path()}).error().code,
            Code::kUnsupported);
  EXPECT_EQ(extract(db, {.tables = {"orders"}, .target = target.path(), .into_existing = true}).error().code,
            Code::kNotFound);
  EXPECT_THAT(target.files(), IsEmpty());

  const Snapshot state = db.snapshot();
  EXPECT_EQ(*list_tables({}, serve(state)), (std::vector<std::string>{"customers", "f", "orders", "q"}));
}

TEST(Extract, NeverReplacesAFile) {
  Database db;
  db.exec("CREATE TABLE t(a)");
  const Target target;
  std::ofstream(target.path()) << "precious";
  const auto done = extract(db, {.tables = {"t"}, .target = target.path()});
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, Code::kConflict);
  EXPECT_THAT(done.error().hint, HasSubstr("--into"));
  EXPECT_THAT(target.files(), ElementsAre("out.db"));
  EXPECT_EQ(os::read_file(target.path(), 100)->size(), 8u);
  EXPECT_EQ(extract(db, {.tables = {"t"}, .target = target.path(), .into_existing = true}).error().code,
            Code::kDatabase);
}

TEST(Extract, AFetchThatFailsIsTheError) {
  Database db({.page_size = 512});
  db.exec("CREATE TABLE t(a);" + std::string(kNumbers) + "INSERT INTO t SELECT hex(zeroblob(100)) FROM n");
  const Snapshot state = db.snapshot();
  for (const uint32_t bad : {1u, 2u, 30u}) {
    VirtualDatabase source = serve(state);
    source.fetch = [&, inner = source.fetch](uint32_t page, MutableBytes out) -> Result<> {
      if (page == bad) return fail(Code::kUnreachable, "the store is asleep");
      return inner(page, out);
    };
    const Target target;
    const auto done = extract_tables({}, source, {.tables = {"t"}, .target = target.path()}, nullptr);
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code, Code::kUnreachable) << done.error().describe();
    EXPECT_THAT(target.files(), IsEmpty());
    const auto into =
        extract_tables({}, source, {.tables = {"t"}, .target = db.path(), .into_existing = true}, nullptr);
    EXPECT_EQ(into.error().code, Code::kUnreachable);
  }
  EXPECT_EQ(db.number("SELECT count(*) FROM sqlite_schema"), 1u);
}

TEST(Extract, WaitsForALockOnlyAsLongAsItMay) {
  Database db;
  db.exec("CREATE TABLE t(a); INSERT INTO t VALUES(1)");
  const Snapshot state = db.snapshot();
  db.exec("BEGIN IMMEDIATE");
  const auto ctx = Context{}.with_deadline(std::chrono::milliseconds(300));
  const auto began = SteadyClock::now();
  const auto done = extract_tables(ctx, serve(state),
                                   {.tables = {"t"}, .target = db.path(), .into_existing = true}, nullptr);
  EXPECT_FALSE(done);
  EXPECT_LT(SteadyClock::now() - began, std::chrono::seconds(10));
  db.exec("ROLLBACK");
  EXPECT_EQ(db.number("SELECT count(*) FROM sqlite_schema"), 1u);
}

TEST(Extract, StopsWhenAsked) {
  Database db;
  db.exec("CREATE TABLE t(a);" + std::string(kNumbers) +
          "INSERT INTO t SELECT i FROM n, (SELECT 1 FROM n LIMIT 100)");
  const Snapshot state = db.snapshot();
  std::stop_source stop;
  const Target target;
  uint64_t told = 0;
  const auto done = extract_tables({.stop = stop.get_token()}, serve(state),
                                   {.tables = {"t"}, .target = target.path()}, nullptr, [&](uint64_t rows) {
                                     told = rows;
                                     if (rows > 5000) stop.request_stop();
                                   });
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, Code::kInterrupted);
  EXPECT_GT(told, 5000u);
  EXPECT_LT(told, 50000u);
  EXPECT_THAT(target.files(), IsEmpty());
}

TEST(Extract, DamagedDatabasesFailAndLeaveNothing) {
  Database db({.page_size = 512});
  db.exec("CREATE TABLE t(a, b); CREATE INDEX i ON t(a);" + std::string(kNumbers) +
          "INSERT INTO t SELECT i, hex(zeroblob(i)) FROM n");
  uint64_t seed = 7;
  int failed = 0;
  for (int round = 0; round < 60; ++round) {
    Snapshot state = db.snapshot();
    for (int i = 0; i < 40; ++i) {
      seed = seed * 6364136223846793005u + 1442695040888963407u;
      state.bytes()[(seed >> 20) % state.bytes().size()] = static_cast<char>(seed >> 12);
    }
    const Target target;
    const auto done = extract_tables({}, serve(state), {.tables = {"t"}, .target = target.path()}, nullptr);
    if (done) continue;
    ++failed;
    EXPECT_THAT(target.files(), IsEmpty());
  }
  EXPECT_GT(failed, 0);
}

TEST(PageVfs, ServesAWalDatabaseWithoutItsWal) {
  Database db;
  db.exec("CREATE TABLE t(a); INSERT INTO t VALUES('kept'); PRAGMA journal_mode=wal; PRAGMA journal_mode");
  db.exec("INSERT INTO t VALUES('2'); PRAGMA wal_checkpoint(truncate)");
  const Snapshot state = db.snapshot();
  ASSERT_EQ(parse_header(state.page(1))->read_version, 2);
  const Target target;
  const auto done = extract_tables({}, serve(state), {.tables = {"t"}, .target = target.path()}, nullptr);
  ASSERT_TRUE(done) << done.error().describe();
  EXPECT_THAT(target.column("SELECT a FROM t"), ElementsAre("kept", "2"));
}

TEST(PageVfs, FetchesOnlyWhatATableNeeds) {
  Database db;
  db.exec("CREATE TABLE big(a);" + std::string(kNumbers) +
          "INSERT INTO big SELECT zeroblob(5000) FROM n; CREATE TABLE small(a); INSERT INTO small VALUES(1)");
  const Snapshot state = db.snapshot();
  uint64_t fetched = 0;
  VirtualDatabase source = serve(state);
  source.fetch = [&, inner = source.fetch](uint32_t page, MutableBytes out) {
    ++fetched;
    return inner(page, out);
  };
  const Target target;
  ASSERT_TRUE(extract_tables({}, source, {.tables = {"small"}, .target = target.path()}, nullptr));
  EXPECT_LT(fetched, 10u);
  EXPECT_GT(state.pages(), 500u);
}

TEST(PageVfs, RefusesImpossibleSizes) {
  EXPECT_FALSE(PageVfs::create({.page_size = 1000, .pages = 1, .fetch = {}}));
  EXPECT_FALSE(PageVfs::create({.page_size = 512, .pages = uint64_t{1} << 40, .fetch = {}}));
}

TEST(SchemaText, FindsTheName) {
  const auto named = [](std::string_view sql) {
    const auto place = find_created_name(sql);
    return place ? std::string(sql.substr(place->at, place->size)) : "?";
  };
  EXPECT_EQ(named("CREATE TABLE t(a)"), "t");
  EXPECT_EQ(named("create /* table x */ temp table -- y\n if not exists main . \"a\"\"b\" (c)"),
            "main . \"a\"\"b\"");
  EXPECT_EQ(named("CREATE UNIQUE INDEX[i j]ON t(a)"), "[i j]");
  EXPECT_EQ(named("CREATE TABLE if(a)"), "if");
  EXPECT_EQ(named("CREATE VIRTUAL TABLE 'v' USING fts5(a)"), "'v'");
  EXPECT_EQ(named("CREATE TRIGGER `t``r` AFTER INSERT ON t BEGIN SELECT 1; END"), "`t``r`");
  for (const char* bad :
       {"", "CREATE", "CREATE TABLE", "CREATE TABLE \"open", "DROP TABLE t", "CREATE /* open"}) {
    EXPECT_EQ(named(bad), "?") << bad;
  }
  EXPECT_EQ(*with_created_name("CREATE TABLE t(a)", "n\"m"), "CREATE TABLE \"n\"\"m\"(a)");
}

}  // namespace
}  // namespace varve::engine::sqlite
