#!/usr/bin/env python3
"""PostgreSQL 17 and 18: incremental backups by the server's own WAL summaries. Their packages have no pg_dump: the oracle is
what the server itself says of all its tables, its amcheck and its pg_visibility."""

import shutil

import pg_wal_server
from postgres_case import PostgresTest
from postgres_server import Server, binaries, run
from varve_harness import main

CATALOGUE = """
SELECT c.oid::regclass, c.relkind, c.relpersistence, coalesce(pg_get_viewdef(c.oid), '') FROM pg_class c
  WHERE c.relnamespace = 'public'::regnamespace ORDER BY c.relname;
SELECT a.attrelid::regclass, a.attnum, a.attname, a.atttypid::regtype, a.attnotnull FROM pg_attribute a
  JOIN pg_class c ON c.oid = a.attrelid WHERE c.relnamespace = 'public'::regnamespace AND NOT a.attisdropped
  ORDER BY c.relname, a.attnum;
SELECT pg_get_indexdef(i.indexrelid) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
  WHERE c.relnamespace = 'public'::regnamespace ORDER BY 1;
SELECT rolname FROM pg_roles ORDER BY 1; SELECT spcname FROM pg_tablespace ORDER BY 1;
"""
TABLES = ("SELECT c.oid::regclass FROM pg_class c WHERE c.relkind IN ('r', 'm', 'S') AND c.relpersistence = 'p' AND "
          "c.relnamespace = 'public'::regnamespace AND c.relname <> 'locked' ORDER BY c.relname")
DAMAGE = """
CREATE EXTENSION IF NOT EXISTS amcheck; CREATE EXTENSION IF NOT EXISTS pg_visibility;
SELECT c.oid::regclass, v.* FROM pg_class c, verify_heapam(c.oid, check_toast => true) v
  WHERE c.relkind IN ('r', 'm', 't') AND c.relpersistence = 'p' AND c.relname <> 'locked';
SELECT c.oid::regclass, v.* FROM pg_class c, pg_check_visible(c.oid) v
  WHERE c.relkind IN ('r', 'm', 't') AND c.relpersistence = 'p' AND c.relname <> 'locked';
SELECT c.oid::regclass, v.* FROM pg_class c, pg_check_frozen(c.oid) v
  WHERE c.relkind IN ('r', 'm', 't') AND c.relpersistence = 'p' AND c.relname <> 'locked';
"""
INDEXES = ("SELECT c.oid::regclass, bt_index_check(c.oid, true) FROM pg_class c JOIN pg_am m ON m.oid = c.relam "
           "WHERE m.amname = 'btree' AND c.relkind = 'i' AND c.relpersistence = 'p'")


class NewerServer(Server):
    """A server from another package, asked by the system's psql."""

    def __init__(self, programs, folder, data=None):
        super().__init__(folder, data=data)
        self.bin = programs

    def _client(self, program, *arguments, **more):
        return run(binaries() / program, "-h", self.folder, "-p", self.port, "-U", "postgres", *arguments, **more)

    def dump(self):
        out = []
        for database in self.psql("SELECT datname FROM pg_database WHERE datallowconn ORDER BY 1").splitlines():
            out += [f"=== {database}", self.psql(CATALOGUE, database)]
            for table in self.psql(TABLES, database).splitlines():
                out += [f"--- {table}",
                        self.psql(f'COPY (SELECT t FROM (SELECT * FROM {table}) t ORDER BY t::text COLLATE "C") TO STDOUT', database)]
        return "\n".join(out)

    def damage(self):
        """What the server finds wrong in itself; btree indexes that lack a row are an error."""
        found = []
        for database in self.psql("SELECT datname FROM pg_database WHERE datallowconn AND datname <> 'template0'").splitlines():
            found.append(self.psql(DAMAGE, database))
            self.psql(INDEXES, database)
        return "".join(found)


class Summaries(PostgresTest):
    version = 17

    def setUp(self):
        super().setUp()
        self.server.close()

    def new_server(self, name, **options):
        server = NewerServer(self.programs(), self.folder / name, **options)
        self.addCleanup(server.close)
        return server

    def programs(self):
        """Where the user postgres can enter."""
        native = self.folder / f"native-{self.version}"
        if not native.exists():
            shutil.copytree(pg_wal_server.programs(self.version).parent, native, symlinks=True)
        return native / "bin"

    def begin_with(self, version, *initdb, **settings):
        self.version = version
        self.server = self.new_server("newer")
        return self.begin(*initdb, **{"summarize_wal": "on", "max_prepared_transactions": "10", **settings})

    def assertRestoresTo(self, expected, *arguments):
        self.count = getattr(self, "count", 0) + 1
        restored = self.restored(f"restored-{self.count}", *arguments)
        self.assertEqual(expected, restored.dump(), msg=f"restored by {arguments}")
        self.assertEqual("", restored.damage(), msg=f"restored by {arguments}")
        restored.stop()
        shutil.rmtree(restored.data)


class Changes(Summaries):
    FILL = ("CREATE TABLE a(id int PRIMARY KEY, v text, w int); INSERT INTO a SELECT i, md5(i::text), 0 FROM generate_series(1, 60000) i;"
            "CREATE INDEX a_v ON a(v); CREATE TABLE history(a int, b timestamptz DEFAULT now());"
            "CREATE TABLE wide(id int PRIMARY KEY, t text); ALTER TABLE wide ALTER t SET STORAGE EXTERNAL;"
            "INSERT INTO wide SELECT g, repeat(md5(g::text), 400) FROM generate_series(1, 300) g;"
            "CREATE TABLE tail AS SELECT i AS id, repeat('t', 500) AS v FROM generate_series(1, 3000) i;"
            "CREATE TABLE seen AS SELECT i AS id FROM generate_series(1, 20000) i; CREATE SEQUENCE s;"
            "CREATE TABLE locked AS SELECT 1 AS a")
    FROZEN = "VACUUM (FREEZE) a; VACUUM (FREEZE) tail; VACUUM (FREEZE) seen; VACUUM (FREEZE) wide"
    ROUNDS = (
        # Deleting clears bits of the visibility map, and cutting the file clears some in its last page.
        "DELETE FROM seen WHERE id = 5; UPDATE a SET w = 1 WHERE id % 200 = 0; DELETE FROM tail WHERE id > 700; VACUUM tail;"
        "INSERT INTO tail SELECT i, repeat('u', 500) FROM generate_series(701, 900) i; INSERT INTO history VALUES (1)",
        "VACUUM FULL a; CLUSTER wide USING wide_pkey; CREATE MATERIALIZED VIEW v AS SELECT count(*) FROM wide;"
        "CREATE DATABASE by_log STRATEGY wal_log; CREATE DATABASE by_copy STRATEGY file_copy; SELECT nextval('s')",
        "TRUNCATE history; ALTER TABLE wide ALTER id TYPE bigint; REINDEX DATABASE postgres; DROP DATABASE by_copy;"
        "UPDATE wide SET t = repeat(md5(id::text), 500) WHERE id % 3 = 0; VACUUM FULL pg_class",
        "DELETE FROM wide WHERE id % 2 = 0; VACUUM wide; DROP INDEX a_v; REFRESH MATERIALIZED VIEW v;"
        "CREATE DATABASE by_copy TEMPLATE by_log STRATEGY file_copy; BEGIN; DROP TABLE locked; PREPARE TRANSACTION 'drops'",
        "COMMIT PREPARED 'drops'; DROP MATERIALIZED VIEW v; DROP DATABASE by_log; UPDATE a SET w = w + 1 WHERE id % 100 = 0;"
        "CREATE UNLOGGED TABLE u AS SELECT 1 AS a; ALTER TABLE u SET LOGGED; DROP TABLE wide; VACUUM")

    def test_on_17(self):
        self.unkind_changes(17, True)

    def test_on_17_without_checksums(self):
        self.unkind_changes(17, False)

    def test_on_18(self):
        self.unkind_changes(18, True)

    def test_on_18_without_checksums(self):
        self.unkind_changes(18, False)

    def unkind_changes(self, version, checksums):
        none = ("--no-data-checksums",) if version >= 18 and not checksums else ()
        self.version = version
        self.server = self.new_server("newer")
        self.settings = {"max_prepared_transactions": "10"}
        self.server.initdb("--wal-segsize=1", *none, checksums=checksums)
        self.configure()
        self.init("--repo", "main")
        server = self.server.start(**self.archiving(), **self.settings, summarize_wal="on", max_wal_size="64MB",
                                   shared_buffers="4MB")
        for statement in (self.FILL + ";" + self.FROZEN).split(";"):
            server.psql(statement)
        full = self.backup("full")
        points = []
        for number, changes in enumerate(self.ROUNDS):
            if number == 3:  # a crash in between
                server.psql("UPDATE a SET w = 7 WHERE id < 100")
                server.kill()
                server.start(**self.archiving(), **self.settings, summarize_wal="on", shared_buffers="4MB")
            transaction = "BEGIN; DROP TABLE locked; PREPARE TRANSACTION 'drops'"
            for statement in changes.replace(transaction, "@").split(";"):
                server.psql(transaction if statement.strip() == "@" else statement)
            backup = self.backup("incremental")
            self.assertEqual((backup["changed_pages_from"], backup["warnings"]), ("summaries", []), msg=(number, backup))
            self.assertLess(backup["read"], full["read"], msg=number)
            points.append((backup["id"], server.dump()))
        server.stop()
        for backup, expected in points:
            self.assertRestoresTo(expected, "--backup", backup, "--to", "end")
        self.assertEqual(self.varve("verify", "--json").json["problems"], [])


class Holes(Summaries):
    def test_a_hole_is_told_and_the_index_takes_over(self):
        server = self.begin_with(18)
        server.psql("CREATE TABLE t AS SELECT i, md5(i::text) AS v FROM generate_series(1, 50000) i")
        self.backup()
        for n in range(4):
            server.psql(f"UPDATE t SET v = v || 'x' WHERE i % 1000 = {n}; CHECKPOINT")
        folder = server.data / "pg_wal" / "summaries"
        server.wait_until(lambda: len(list(folder.glob("*.summary"))) >= 5, "there are no summaries")
        last = max(folder.glob("*.summary"), key=lambda p: p.name)
        for file in folder.glob("*.summary"):
            if file != last:
                file.unlink()
        backup = self.backup("incremental")
        self.assertEqual(backup["changed_pages_from"], "wal")
        self.assertRegex(" ".join(backup["warnings"]), "summaries do not tell what changed: the server has no summary of its WAL from")
        self.assertRestoresTo(server.dump(), "--to", "end")
        # From that backup on they are whole again.
        server.psql("UPDATE t SET v = v || 'y' WHERE i % 100 = 0")
        backup = self.backup("incremental")
        self.assertEqual((backup["changed_pages_from"], backup["warnings"]), ("summaries", []))
        self.assertRestoresTo(server.dump(), "--to", "end")

    def test_a_summary_that_is_damaged(self):
        server = self.begin_with(17)
        server.psql("CREATE TABLE t AS SELECT i, md5(i::text) AS v FROM generate_series(1, 50000) i")
        self.backup()
        server.psql("UPDATE t SET v = v || 'x' WHERE i % 1000 = 0; CHECKPOINT")
        folder = server.data / "pg_wal" / "summaries"
        start = server.psql("SELECT redo_lsn FROM pg_control_checkpoint()").replace("/", "")
        server.wait_until(lambda: any(int(start, 16) <= int(p.stem[24:], 16) for p in folder.glob("*.summary")),
                          "there is no summary")
        for file in folder.glob("*.summary"):
            content = bytearray(file.read_bytes())
            content[len(content) // 2] ^= 1
            file.write_bytes(content)
        backup = self.backup("incremental")
        self.assertEqual(backup["changed_pages_from"], "wal")
        self.assertIn("summaries do not tell what changed: PostgreSQL: ", " ".join(backup["warnings"]))
        self.assertRestoresTo(server.dump(), "--to", "end")

    def test_off_and_not_permitted(self):
        server = self.begin_with(17, summarize_wal="off")
        server.psql("CREATE TABLE t AS SELECT i, md5(i::text) AS v FROM generate_series(1, 50000) i")
        self.backup()
        backup = self.backup("incremental")
        self.assertEqual((backup["changed_pages_from"], backup["warnings"]), ("wal", []))
        said = self.varve("check", "app").out
        self.assertIn("summarize_wal is off", said)
        self.assertNotIn("error", said)
        server.stop()
        server.start(**self.archiving(), summarize_wal="on")
        self.assertNotIn("summarize_wal", self.varve("check", "app").out)
        server.psql("CREATE ROLE shy LOGIN REPLICATION; GRANT pg_read_all_settings TO shy;"
                    "GRANT EXECUTE ON FUNCTION pg_backup_start(text, boolean), pg_backup_stop(boolean) TO shy;"
                    "REVOKE EXECUTE ON FUNCTION pg_wal_summary_contents(bigint, pg_lsn, pg_lsn) FROM PUBLIC")
        config = self.folder / "varve.toml"
        config.write_text(config.read_text().replace("user=postgres", "user=shy"))
        self.backup()
        server.psql("UPDATE t SET v = v || 'x' WHERE i % 1000 = 0")
        backup = self.backup("incremental")
        self.assertEqual(backup["changed_pages_from"], "wal")
        self.assertIn("permission denied for function pg_wal_summary_contents", " ".join(backup["warnings"]))
        self.assertIn("pg_wal_summary_contents", self.varve("check", "app").out)
        server.psql("GRANT EXECUTE ON FUNCTION pg_wal_summary_contents(bigint, pg_lsn, pg_lsn) TO shy")
        backup = self.backup("incremental")
        self.assertEqual(backup["changed_pages_from"], "summaries")

    def test_across_a_promotion(self):
        """The summaries of both timelines, as far as the history goes through them."""
        primary = self.begin_with(17)
        primary.psql("CREATE TABLE t AS SELECT i, md5(i::text) AS v FROM generate_series(1, 50000) i")
        self.backup()
        primary.psql("INSERT INTO t VALUES (0, '')")
        self.shipped()
        self.restore("standby", "--standby")
        standby = self.new_server("standby-server", data=self.folder / "standby")
        standby.start(archive_mode="off", primary_conninfo=primary.connection, hot_standby="on", summarize_wal="on",
                      max_prepared_transactions="10")
        self.configure(standby)
        primary.psql("UPDATE t SET v = v || 'x' WHERE i % 1000 = 0; CHECKPOINT")
        lsn = primary.lsn()
        standby.wait_until(lambda: standby.psql(f"SELECT pg_last_wal_replay_lsn() >= '{lsn}'") == "t", "the standby lags")
        self.configure(primary)
        self.backup("incremental")
        primary.psql("UPDATE t SET v = v || 'y' WHERE i % 1000 = 5")
        lsn = primary.lsn()
        standby.wait_until(lambda: standby.psql(f"SELECT pg_last_wal_replay_lsn() >= '{lsn}'") == "t", "the standby lags")
        primary.stop()
        standby.psql("SELECT pg_promote()")
        standby.wait_recovered()
        standby.psql("UPDATE t SET v = v || 'z' WHERE i % 1000 = 7")
        self.configure(standby)
        backup = self.backup("incremental")
        self.assertEqual((backup["changed_pages_from"], backup["warnings"]), ("summaries", []), msg=backup)
        self.assertRestoresTo(standby.dump(), "--to", "end")


if __name__ == "__main__":
    main()
