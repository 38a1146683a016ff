#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <map>
#include <random>
#include <set>

#include "engine/sqlite/btree.h"
#include "engine/sqlite/testing.h"

namespace varve::engine::sqlite {

void PrintTo(const TableChange& c, std::ostream* out) {
  *out << c.kind << " " << c.table << " " << (c.rows ? std::to_string(*c.rows) : "?");
}
bool operator==(const TableChange& a, const TableChange& b) {
  return a.table == b.table && a.kind == b.kind && a.rows == b.rows;
}

namespace {

using testing::Database;
using testing::DatabaseOptions;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::Snapshot;
using ::testing::UnorderedElementsAre;

constexpr const char* kNumbers =
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<1000) ";

TableChange change(std::string table, std::string kind, std::optional<uint64_t> rows) {
  return {std::move(table), std::move(kind), rows};
}

// Follows a database transaction by transaction, by its file.
class Tracked {
 public:
  explicit Tracked(Database& db) : db_(db), state_(db.snapshot()) {
    auto built = TableTracker::build(state_.source(), state_.pages(), state_.page_size());
    if (!built) ADD_FAILURE() << built.error().describe();
    tracker_ = std::make_unique<TableTracker>(*std::move(built));
  }
  // What was done since the last call.
  std::vector<TableChange> changes() {
    Snapshot now = db_.snapshot();
    const auto written = testing::written_between(state_, now);
    state_.reads = 0;
    auto out = tracker_->apply(written, now.pages(), state_.source(), now.source());
    reads = now.reads + state_.reads;
    written_pages = written.size();
    state_ = std::move(now);
    return out;
  }
  std::vector<TableChange> after(const std::string& sql) {
    db_.exec(sql);
    return changes();
  }
  uint64_t reads = 0, written_pages = 0;

 private:
  Database& db_;
  Snapshot state_;
  std::unique_ptr<TableTracker> tracker_;
};

TEST(Tracker, CountsRowsByTable) {
  Database db({.page_size = 512});
  db.exec(
      "CREATE TABLE a(id INTEGER PRIMARY KEY, x); CREATE TABLE b(k PRIMARY KEY, v) WITHOUT ROWID; CREATE "
      "INDEX ax ON a(x);" +
      std::string(kNumbers) + "INSERT INTO a SELECT i, 'row '||i FROM n");
  db.exec(std::string(kNumbers) + "INSERT INTO b SELECT 'key '||i, i FROM n");
  Tracked t(db);
  EXPECT_THAT(t.after("INSERT INTO a(x) VALUES('new'), ('two')"), ElementsAre(change("a", "insert", 2)));
  EXPECT_THAT(t.after("UPDATE a SET x='longer than it was before, by far' WHERE id%10=0"),
              ElementsAre(change("a", "update", 100)));
  EXPECT_THAT(t.after("DELETE FROM a WHERE id BETWEEN 200 AND 799"), ElementsAre(change("a", "delete", 600)));
  EXPECT_THAT(t.after("BEGIN; DELETE FROM a WHERE id<5; UPDATE a SET x=1 WHERE id=5; INSERT INTO a "
                      "VALUES(-1, 0); UPDATE b SET v=-v WHERE v<=7; COMMIT"),
              ElementsAre(change("a", "delete", 4), change("a", "insert", 1), change("a", "update", 1),
                          change("b", "update", 7)));
  EXPECT_THAT(t.after("DELETE FROM b WHERE v>900; INSERT INTO b VALUES('zz', 1)"),
              ElementsAre(change("b", "delete", 100), change("b", "insert", 1)));
  EXPECT_THAT(t.after("CREATE INDEX bv ON b(v)"), IsEmpty());
  EXPECT_THAT(t.after("DROP INDEX ax"), IsEmpty());
  EXPECT_THAT(t.after("DELETE FROM a"), ElementsAre(change("a", "delete", 399)));
  EXPECT_THAT(t.after("DROP TABLE b"), ElementsAre(change("b", "drop_table", 901)));
  EXPECT_THAT(t.after("INSERT INTO a SELECT 1, 2"), ElementsAre(change("a", "insert", 1)));
}

TEST(Tracker, TellsWhatHappenedToTables) {
  Database db;
  Tracked t(db);  // an empty file
  EXPECT_THAT(t.after("CREATE TABLE a(x); INSERT INTO a VALUES(1)"),
              ElementsAre(change("a", "create_table", {}), change("a", "insert", 1)));
  EXPECT_THAT(t.after("ALTER TABLE a ADD COLUMN y DEFAULT 3"), ElementsAre(change("a", "alter_table", {})));
  EXPECT_THAT(t.after("ALTER TABLE a RENAME TO b"), ElementsAre(change("b", "alter_table", {})));
  EXPECT_THAT(t.after("BEGIN; CREATE TABLE b_new(x, y, z); INSERT INTO b_new SELECT x, y, 0 FROM b; DROP "
                      "TABLE b; ALTER TABLE b_new RENAME TO b; COMMIT"),
              ElementsAre(change("b", "alter_table", {}), change("b", "update", 1)));
  EXPECT_THAT(t.after("CREATE VIEW v AS SELECT 1; CREATE TRIGGER tr AFTER INSERT ON b BEGIN SELECT 1; END"),
              IsEmpty());
  EXPECT_THAT(t.after("ANALYZE"), IsEmpty());
  EXPECT_THAT(t.after("CREATE TABLE s(id INTEGER PRIMARY KEY AUTOINCREMENT); INSERT INTO s DEFAULT VALUES"),
              ElementsAre(change("s", "create_table", {}), change("s", "insert", 1)));
  EXPECT_THAT(t.after("INSERT INTO s DEFAULT VALUES"), ElementsAre(change("s", "insert", 1)));
  EXPECT_THAT(t.after("BEGIN; DROP TABLE s; CREATE TABLE other(q); COMMIT"),
              ElementsAre(change("s", "drop_table", 2), change("other", "create_table", {})));
  EXPECT_THAT(t.after("PRAGMA user_version=7"), IsEmpty());
}

TEST(Tracker, VacuumIsOneEvent) {
  Database db({.page_size = 1024});
  db.exec("CREATE TABLE a(x); CREATE TABLE b(x);" + std::string(kNumbers) +
          "INSERT INTO a SELECT hex(zeroblob(50)) FROM n");
  db.exec("DELETE FROM a WHERE rowid%3=0");
  Tracked t(db);
  EXPECT_THAT(t.after("VACUUM"), ElementsAre(change("", "vacuum", {})));
  EXPECT_THAT(t.after("INSERT INTO b VALUES(1)"), ElementsAre(change("b", "insert", 1)));
}

TEST(Tracker, RowsChangedOnlyOnOverflowPages) {
  for (const bool known_from_start : {false, true}) {
    for (const bool without_rowid : {false, true}) {
      Database db({.page_size = 512});
      std::optional<Tracked> t;
      if (known_from_start) t.emplace(db);
      db.exec(std::string("CREATE TABLE t(id INTEGER PRIMARY KEY, x)") +
              (without_rowid ? "WITHOUT ROWID" : ""));
      db.exec(
          "INSERT INTO t VALUES(1, zeroblob(9000)), (2, 'small'), (3, zeroblob(20000)), (4, zeroblob(700)), "
          "(5, zeroblob(20000))");
      if (t) t->changes();
      if (!t) t.emplace(db);
      EXPECT_THAT(t->after("UPDATE t SET x=CAST(zeroblob(8999)||'z' AS BLOB) WHERE id=1"),
                  ElementsAre(change("t", "update", 1)));
      EXPECT_LE(t->written_pages, 3u) << "SQLite did not overwrite in place; the test tests nothing";
      EXPECT_THAT(t->after("UPDATE t SET x=CAST(zeroblob(10000)||'a'||zeroblob(9999) AS BLOB) WHERE id=3;"),
                  ElementsAre(change("t", "update", 1)));
      EXPECT_THAT(
          t->after(
              "BEGIN; UPDATE t SET x=CAST(zeroblob(5000)||'b'||zeroblob(14999) AS BLOB) WHERE id IN (3, 5); "
              "UPDATE t SET x='other' WHERE id=2; COMMIT"),
          ElementsAre(change("t", "update", 3)));
      EXPECT_THAT(t->after("DELETE FROM t WHERE id>2"), ElementsAre(change("t", "delete", 3)));
    }
  }
}

TEST(Tracker, MovedPagesAreNoChange) {
  Database db({.page_size = 512, .auto_vacuum = true});
  db.exec("CREATE TABLE a(x); CREATE TABLE b(x); CREATE TABLE c(x);" + std::string(kNumbers) +
          "INSERT INTO a SELECT zeroblob(i*2) FROM n");
  db.exec(std::string(kNumbers) + "INSERT INTO b SELECT hex(zeroblob(i)) FROM n");
  Tracked t(db);
  EXPECT_THAT(t.after("DROP TABLE a"), ElementsAre(change("a", "drop_table", 1000)));
  EXPECT_THAT(t.after("INSERT INTO c VALUES(1)"), ElementsAre(change("c", "insert", 1)));
  EXPECT_THAT(t.after("DELETE FROM b WHERE rowid<500"), ElementsAre(change("b", "delete", 499)));
}

TEST(Tracker, FullTextTablesByTheirName) {
  Database db;
  db.exec("CREATE VIRTUAL TABLE docs USING fts5(body); CREATE VIRTUAL TABLE box USING rtree(id, a, b)");
  Tracked t(db);
  EXPECT_THAT(t.after("INSERT INTO docs VALUES('one'), ('two')"), ElementsAre(change("docs", "insert", 2)));
  EXPECT_THAT(t.after("UPDATE docs SET body='three' WHERE rowid=2"),
              ElementsAre(change("docs", "update", 1)));
  EXPECT_THAT(t.after("DELETE FROM docs WHERE rowid=1"), ElementsAre(change("docs", "delete", 1)));
  EXPECT_THAT(t.after("INSERT INTO box VALUES(1, 2, 3), (2, 3, 4)"), ElementsAre(change("box", "insert", 2)));
  EXPECT_THAT(t.after("UPDATE box SET b=9 WHERE id=1"), ElementsAre(change("box", "update", {})));
  EXPECT_THAT(t.after("DROP TABLE docs"), ElementsAre(change("docs", "drop_table", {})));
  EXPECT_THAT(t.after("CREATE VIRTUAL TABLE again USING fts5(body)"),
              ElementsAre(change("again", "create_table", {})));
}

TEST(Tracker, CostFollowsTheCommit) {
  Database db({.page_size = 512});
  db.exec("CREATE TABLE t(id INTEGER PRIMARY KEY, x);" + std::string(kNumbers) +
          "INSERT INTO t SELECT NULL, hex(zeroblob(100)) FROM n, (SELECT 1 FROM n LIMIT 20)");
  const Snapshot state = db.snapshot();
  ASSERT_GT(state.pages(), 8000u);
  ASSERT_TRUE(TableTracker::build(state.source(), state.pages(), 512));
  EXPECT_LT(state.reads, state.pages() / 20) << "leaves were read";
  Tracked t(db);
  EXPECT_THAT(t.after("UPDATE t SET x='y' WHERE id=7000"), ElementsAre(change("t", "update", 1)));
  EXPECT_LT(t.reads, 20u);
}

// ---- Against the database's own answer, at random ----

using Rows = std::map<std::string, std::string>;  // key → content
struct Table {
  bool keyed = false;  // WITHOUT ROWID
  Rows rows;
};
using Tables = std::map<std::string, Table>;

Tables contents(Database& db) {
  Tables out;
  for (const auto& name :
       db.rows("SELECT name FROM sqlite_schema WHERE type='table' AND name NOT LIKE 'sqlite%'")) {
    const bool keyed = db.number("SELECT wr FROM pragma_table_list('" + name + "')") != 0;
    std::string columns = "''";
    for (const auto& c : db.rows("SELECT name FROM pragma_table_info('" + name + "')"))
      columns += "||quote(\"" + c + "\")||','";
    const std::string key = keyed ? "quote(k)" : "rowid";
    out[name].keyed = keyed;
    Rows& rows = out[name].rows;
    for (const auto& row : db.rows("SELECT " + key + ", " + columns + " FROM \"" + name + "\"")) {
      const size_t bar = row.find('|');
      rows[row.substr(0, bar)] = row.substr(bar + 1);
    }
  }
  return out;
}

// A table dropped and made anew of the same kind within a transaction is the same to whoever sees only the
// states.
std::multiset<std::string> expected_changes(const Tables& before, const Tables& after) {
  std::multiset<std::string> out;
  const auto stays = [&](const std::string& name) {
    return before.contains(name) && after.contains(name) && before.at(name).keyed == after.at(name).keyed;
  };
  for (const auto& [name, table] : before) {
    if (!stays(name)) out.insert("drop_table " + name + " " + std::to_string(table.rows.size()));
  }
  for (const auto& [name, table] : after) {
    if (!stays(name)) out.insert("create_table " + name + " ?");
    const Rows was = stays(name) ? before.at(name).rows : Rows();
    uint64_t inserted = 0, updated = 0, deleted = 0;
    for (const auto& [key, content] : table.rows) {
      const auto it = was.find(key);
      inserted += it == was.end() ? 1 : 0;
      updated += it != was.end() && it->second != content ? 1 : 0;
    }
    for (const auto& [key, content] : was) deleted += table.rows.contains(key) ? 0 : 1;
    for (const auto& [kind, count] :
         {std::pair("insert ", inserted), {"update ", updated}, {"delete ", deleted}}) {
      if (count > 0) out.insert(kind + name + " " + std::to_string(count));
    }
  }
  return out;
}

class Workload {
 public:
  Workload(Database& db, uint64_t seed, uint32_t page_size) : db_(db), random_(seed), page_size_(page_size) {
    // random() and randomblob() of the statements, too.
    sqlite3_test_control(SQLITE_TESTCTRL_PRNG_SEED, static_cast<int>(seed) + 1, nullptr);
  }

  // One statement or several. Whatever it is, sizes go from a few bytes to several pages.
  std::string statement() {
    const std::string table = "t" + std::to_string(pick(4));
    const bool there = db_.number("SELECT count(*) FROM sqlite_schema WHERE name='" + table + "'") != 0;
    if (!there) {
      const bool keyed = pick(3) == 0;
      return "CREATE TABLE " + table +
             (keyed ? "(k PRIMARY KEY, a, b) WITHOUT ROWID" : "(k INTEGER PRIMARY KEY, a, b)") +
             (pick(2) == 0 ? "; CREATE INDEX IF NOT EXISTS i" + table + " ON " + table + "(a)" : "");
    }
    const std::string lowest = std::to_string(pick(400)),
                      count = std::to_string(1 + pick(pick(3) == 0 ? 200 : 5));
    const std::string range = " WHERE k BETWEEN " + lowest + " AND " + lowest + "+" + count;
    switch (pick(16)) {
      case 0:
      case 1:
      case 2:
      case 3:
      case 4:
        return "WITH RECURSIVE n(i) AS (SELECT " + lowest + " UNION ALL SELECT i+1 FROM n LIMIT " + count +
               ") INSERT OR REPLACE INTO " + table + " SELECT i, " + value() + ", " + value() + " FROM n";
      case 5:
      case 6:
        return "UPDATE " + table + " SET b=" + value() + range;
      // Same size, other content, far behind: overwritten in place.
      case 7:
      case 8:
        return "UPDATE " + table +
               " SET b=CAST(substr(b, 1, length(b)-2)||char(65+abs(random())%26)||'.' AS BLOB)" + range +
               " AND typeof(b)='blob' AND length(b)>2";
      case 9:
      case 10:
        return "DELETE FROM " + table + range;
      case 11:
        return pick(4) == 0 ? "DELETE FROM " + table
                            : "DELETE FROM " + table + " WHERE k%2=" + std::to_string(pick(2));
      case 12:
        return pick(4) == 0 ? "DROP TABLE " + table : "REINDEX " + table;
      case 13:
        return "UPDATE " + table + " SET k=k+1000" + range + " AND k NOT IN (SELECT k-1000 FROM " + table +
               ")";
      case 14:
        return "CREATE INDEX IF NOT EXISTS j" + table + " ON " + table + "(b, a)";
      default:
        return "DROP INDEX IF EXISTS j" + table;
    }
  }
  uint64_t pick(uint64_t n) { return random_() % n; }

 private:
  std::string value() {
    switch (pick(5)) {
      case 0:
        return "abs(random())%1000";
      case 1:
        return "hex(randomblob(" + std::to_string(pick(40)) + "))";
      case 2:
        return "CAST(hex(zeroblob(" + std::to_string(pick(page_size_)) + ")) AS BLOB)";
      case 3:
        return "randomblob(" + std::to_string(pick(page_size_ > 4096 ? page_size_ * 3 / 2 : page_size_ * 4)) +
               ")";
      default:
        return "NULL";
    }
  }
  Database& db_;
  std::mt19937_64 random_;
  uint64_t page_size_;
};

// $VARVE_TEST_SEED: others than those of every day.
uint64_t first_seed() {
  const char* text = std::getenv("VARVE_TEST_SEED");
  return text == nullptr ? 1 : std::strtoull(text, nullptr, 10);
}

class RandomWorkload : public ::testing::TestWithParam<DatabaseOptions> {};

TEST_P(RandomWorkload, IsToldExactly) {
  const int rounds = GetParam().page_size <= 1024 ? 60 : GetParam().page_size == 65536 ? 6 : 25;
  uint64_t told = 0, unknown = 0;
  for (uint64_t seed = first_seed(); seed < first_seed() + 1; ++seed) {
    Database db(GetParam());
    Workload work(db, seed, GetParam().page_size);
    for (int i = 0; i < 5; ++i) db.exec(work.statement());
    Tracked tracked(db);
    Tables before = contents(db);
    for (int round = 0; round < rounds; ++round) {
      std::string sql;
      db.exec("BEGIN");
      for (uint64_t i = 1 + work.pick(4); i > 0; --i) {
        const std::string one = work.statement();
        sql += one + ";\n";
        db.exec(one);
      }
      db.exec("COMMIT");
      const auto changes = tracked.changes();
      Tables now = contents(db);
      const auto expected = expected_changes(before, now);
      std::multiset<std::string> actual;
      bool doubt = false;
      for (const auto& c : changes) {
        doubt = doubt || c.kind == "commit" ||
                (!c.rows && (c.kind == "insert" || c.kind == "update" || c.kind == "delete"));
        if (c.kind != "alter_table")
          actual.insert(c.kind + " " + c.table + " " + (c.rows ? std::to_string(*c.rows) : "?"));
      }
      ++told;
      unknown += doubt ? 1 : 0;
      if (!doubt) {
        ASSERT_EQ(actual, expected) << "seed " << seed << " round " << round << "\n" << sql;
      }
      before = std::move(now);
    }
  }
  // Rarely the owner of an overflow page cannot be found; then nothing is told rather than something wrong.
  EXPECT_LE(unknown * 50, told) << unknown << " of " << told;
}

INSTANTIATE_TEST_SUITE_P(
    Sizes, RandomWorkload,
    ::testing::Values(DatabaseOptions{.page_size = 512},
                      DatabaseOptions{.page_size = 512, .auto_vacuum = true},
                      DatabaseOptions{.page_size = 1024, .secure_delete = true},
                      DatabaseOptions{.page_size = 4096, .auto_vacuum = true, .secure_delete = true},
                      DatabaseOptions{.page_size = 4096}, DatabaseOptions{.page_size = 65536}),
    [](const auto& p) {
      return std::to_string(p.param.page_size) + (p.param.auto_vacuum ? "AutoVacuum" : "") +
             (p.param.secure_delete ? "SecureDelete" : "");
    });

TEST(Tracker, DamageIsSurvivedAndOvercome) {
  std::mt19937_64 random(5);
  for (int round = 0; round < 60; ++round) {
    Database db({.page_size = 512, .auto_vacuum = round % 2 == 0});
    Workload work(db, static_cast<uint64_t>(round), 512);
    for (int i = 0; i < 12; ++i) db.exec(work.statement());
    Snapshot before = db.snapshot();
    auto tracker = TableTracker::build(before.source(), before.pages(), 512);
    ASSERT_TRUE(tracker);
    for (int i = 0; i < 3; ++i) db.exec(work.statement());
    Snapshot after = db.snapshot();
    const Snapshot sound = after;
    for (int i = 0; i < 30; ++i) {
      for (Snapshot* s : {&before, &after}) {
        const size_t page = random() % s->pages();
        // Mostly where pages keep their pointers and counts.
        const size_t at = page * 512 + random() % (random() % 2 == 0 ? 512 : 12);
        if (at >= kHeaderSize) s->bytes()[at] = static_cast<char>(random());
      }
    }
    std::vector<uint32_t> all;
    for (uint32_t p = 1; p <= after.pages(); ++p) all.push_back(p);
    (void)tracker->apply(all, after.pages(), before.source(), after.source());
    EXPECT_LT(after.reads + before.reads, 200'000u);
    // Once the pages are sound again it finds its way back.
    for (int i = 0; i < 5; ++i) (void)tracker->apply(all, sound.pages(), sound.source(), sound.source());
    EXPECT_THAT(tracker->apply({}, sound.pages(), sound.source(), sound.source()), IsEmpty());
  }
}

}  // namespace
}  // namespace varve::engine::sqlite
