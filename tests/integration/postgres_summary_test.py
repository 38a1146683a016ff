#!/usr/bin/env python3
"""PostgreSQL 17 and 18: incremental backups by the server's own WAL summaries."""

from postgres_packaged import PackagedTest
from varve_harness import main


class Summaries(PackagedTest):
    def begin_with(self, version, *initdb, **settings):
        return super().begin_with(version, *initdb, **{"summarize_wal": "on", "max_prepared_transactions": "10", **settings})

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
        server = self.begin_with(version, "--wal-segsize=1", *none, checksums=checksums, max_wal_size="64MB", shared_buffers="4MB")
        for statement in (self.FILL + ";" + self.FROZEN).split(";"):
            server.psql(statement)
        full = self.backup("full")
        points = []
        for number, changes in enumerate(self.ROUNDS):
            if number == 3:  # a crash in between
                server.psql("UPDATE a SET w = 7 WHERE id < 100")
                server.kill()
                server.start(**self.archiving(), **self.settings)
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
