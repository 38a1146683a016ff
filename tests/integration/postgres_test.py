#!/usr/bin/env python3
"""PostgreSQL: whole clusters backed up, shipped and brought back to any point; the server's own dump is the oracle."""

import datetime
import os
import random
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

from postgres_case import PostgresTest, give_to_postgres
from varve_harness import main


def utc_now():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Points(PostgresTest):
    def test_every_kind_of_point(self):
        server = self.begin()
        server.pgbench("-i", "-s", "2")
        full = self.backup()
        self.assertEqual((full["type"], full["changed_pages_from"]), ("full", "everything"))
        server.pgbench("-t", "200", "-c", "2")
        server.psql("CREATE TABLE kept(a int); INSERT INTO kept SELECT generate_series(1, 1000)")
        kept = server.dump()
        lsn = server.psql("SELECT pg_current_wal_lsn()")
        server.psql("SELECT pg_create_restore_point('before-drop')")
        time.sleep(0.3)
        moment = utc_now()
        time.sleep(0.3)
        xid = server.psql("BEGIN; SELECT pg_current_xact_id(); DROP TABLE kept; COMMIT").splitlines()[0]
        dropped = server.dump()
        server.pgbench("-t", "50", "-c", "2")
        self.shipped()
        incremental = self.backup()
        self.assertEqual((incremental["type"], incremental["changed_pages_from"], incremental["warnings"]),
                         ("incremental", "wal", []))
        self.assertLess(incremental["read"], full["read"] / 2)
        end = server.dump()
        server.psql("INSERT INTO pgbench_history VALUES (1, 1, 1, 1)")
        latest = server.dump()
        self.shipped()

        self.assertRestores(kept, "--to", f"lsn:{lsn}")
        self.assertRestores(kept, "--to", "name:before-drop")
        self.assertRestores(kept, "--to", moment)
        self.assertRestores(kept, "--to", f"before:{xid}")
        self.assertRestores(dropped, "--to", f"xid:{xid}")
        self.assertRestores(end, "--to", "end")
        self.assertRestores(end, "--backup", incremental["id"])
        self.assertRestores(latest)
        # From the full, across the incremental.
        self.assertRestores(latest, "--backup", full["id"], "--to", "latest")

        plan = self.restore("nowhere", "--to", f"before:{xid}", "--dry-run", "--json").json["restore"]
        self.assertEqual((plan["backup"], plan["point"]), (full["id"], f"before:{xid}"))
        self.assertFalse((self.folder / "nowhere").exists())
        self.assertFails(self.restore("x", "--to", "xid:4000000000", status=3), 3, "no transaction 4000000000")
        self.assertFails(self.restore("x", "--to", "name:before-dropp", status=3), 3, "no restore point", "name:before-drop")
        self.assertFails(self.restore("x", "--to", "2020-01-01T00:00:00Z", status=8), 8, "cannot be recovered", "nearest")
        self.assertFails(self.restore("x", "--to", "txn:1", status=2), 2, "PostgreSQL has no such point")
        self.assertFalse((self.folder / "x").exists())

        events = self.varve("history", "app", "--json").json["events"]
        drop = [e for e in events if e["kind"] == "drop_table"]
        self.assertEqual([e["xid"] for e in drop], [xid])
        self.assertIn("before-drop", [e["table"] for e in events if e["kind"] == "restore_point"])
        updated = sum(e["rows"] for e in events if e["kind"] == "update" and e["table"] == "postgres.public.pgbench_accounts")
        self.assertGreaterEqual(updated, 500)
        self.assertEqual(self.varve("verify", "--json").json["problems"], [])

    def test_on_a_machine_that_has_nothing_but_the_repository_and_the_key(self):
        server = self.begin()
        server.psql("CREATE TABLE t AS SELECT generate_series(1, 100) AS a")
        self.backup()
        server.psql("INSERT INTO t VALUES (101)")
        expected = server.dump()
        self.shipped()
        server.stop()
        shutil.rmtree(server.data)
        (self.folder / "varve.toml").unlink()
        self.env.pop("VARVE_CONFIG")
        self.env.update({"VARVE_REPO": self.place.url})
        source = self.varve("list", "--json", "--passphrase-file", self.secret).json["sources"][0]["name"]
        self.assertEqual(source, "app")
        self.assertFails(self.restore("x", env={"VARVE_PASSPHRASE": "correct horse battery staple"}, status=2), 2,
                         "the server must be able to read the log too", "--passphrase-file")
        self.assertRestores(expected, "--passphrase-file", self.secret)

    def test_a_new_timeline(self):
        """After a restore the cluster goes on in another branch of time, which is recoverable across the branching."""
        server = self.begin()
        server.psql("CREATE TABLE t AS SELECT 'first'::text AS a")
        first = self.backup()
        server.psql("INSERT INTO t VALUES ('left behind')")
        self.shipped()
        server.stop()
        self.restore("second", "--to", "end", "--backup", first["id"])
        second = self.new_server("second-server", data=self.folder / "second")
        self.configure(second)
        second.start(**self.archiving())
        second.wait_recovered()
        second.psql("INSERT INTO t VALUES ('second')")
        expected = second.dump()
        self.shipped(second)
        self.assertRestores(expected)  # the first backup, and two timelines
        backup = self.backup()
        self.assertEqual((backup["type"], backup["changed_pages_from"]), ("incremental", "wal"), msg=backup)
        second.psql("INSERT INTO t VALUES ('third')")
        expected = second.dump()
        self.shipped(second)
        self.assertRestores(expected)
        self.assertEqual(self.varve("verify", "--json").json["problems"], [])


class Changes(PostgresTest):
    ROUNDS = (("full", "CREATE TABLE wide(id int PRIMARY KEY, t text); INSERT INTO wide SELECT g, repeat(md5(g::text), 400) "
                       "FROM generate_series(1, 300) g; CREATE INDEX ON pgbench_accounts(abalance); "
                       "CREATE UNLOGGED TABLE fleeting AS SELECT 1 AS a; CREATE SEQUENCE s; SELECT nextval('s')"),
              ("incremental", "VACUUM FULL pgbench_accounts; CLUSTER wide USING wide_pkey; CREATE MATERIALIZED VIEW v AS SELECT "
                              "count(*) FROM wide; CREATE DATABASE by_log STRATEGY wal_log; CREATE DATABASE by_copy STRATEGY "
                              "file_copy"),
              ("differential", "TRUNCATE pgbench_history; ALTER TABLE wide ALTER id TYPE bigint; REINDEX DATABASE postgres; "
                               "DROP DATABASE by_copy; SELECT nextval('s') FROM generate_series(1, 100)"),
              ("incremental", "DELETE FROM wide WHERE id % 2 = 0; VACUUM wide; CREATE TABLE spaced(a int) TABLESPACE fast; "
                              "INSERT INTO spaced SELECT generate_series(1, 5000); REFRESH MATERIALIZED VIEW v; "
                              "CREATE DATABASE by_copy STRATEGY file_copy"),
              ("incremental", "DROP MATERIALIZED VIEW v; DROP TABLE wide; ALTER TABLE spaced SET TABLESPACE pg_default; DROP DATABASE by_log; "
                              "UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid % 100 = 0"),
              ("full", "ALTER TABLE spaced SET TABLESPACE fast; CREATE TABLE last AS SELECT * FROM pgbench_tellers"))

    def test_unkind_changes(self):
        server = self.begin("--wal-segsize=1", max_prepared_transactions="10", max_wal_size="64MB", shared_buffers="4MB")
        space = self.folder / "space"
        space.mkdir()
        give_to_postgres(space)
        server.psql(f"CREATE TABLESPACE fast LOCATION '{space}'")
        server.pgbench("-i", "-s", "3")
        points = []
        for number, (kind, changes) in enumerate(self.ROUNDS):
            load = server.start_pgbench("-T", "60", "-c", "2", "-R", "40")
            for statement in changes.split("; "):
                server.psql(statement)
            server.psql(f"BEGIN; INSERT INTO pgbench_history VALUES ({number}, 1, 1, 1); PREPARE TRANSACTION 'p{number}'")
            backup = self.backup(kind)
            self.assertEqual(backup["type"], kind)
            if kind != "full":
                self.assertEqual((backup["changed_pages_from"], backup["warnings"]), ("wal", []), msg=backup)
            server.psql(f"COMMIT PREPARED 'p{number}'")
            load.terminate()
            load.wait(30)
            server.wait_until(lambda: server.psql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgbench'")
                              == "0", "pgbench goes on")
            points.append((f"round-{number}", server.dump("--no-unlogged-table-data")))
            server.psql(f"SELECT pg_create_restore_point('round-{number}')")
        self.shipped()
        server.stop()
        for number, (name, expected) in enumerate(points):
            self.count = number
            elsewhere = self.folder / f"space-{number}"
            target = f"r{number}"
            restored = self.restored(target, "--to", f"name:{name}", "--tablespace-map", f"{space}={elsewhere}")
            actual = restored.dump("--no-unlogged-table-data").replace(str(elsewhere), str(space))
            self.assertEqual(expected, actual, msg=name)
            self.amcheck(restored)
            restored.stop()
            restored.check_pages()
            shutil.rmtree(self.folder / target)
        self.assertEqual(self.varve("verify", "--json").json["problems"], [])

    def test_without_checksums_and_without_the_log_of_the_time_between(self):
        server = self.begin(checksums=False)
        server.pgbench("-i", "-s", "2")
        self.backup()
        server.pgbench("-t", "100", "-c", "2")
        server.psql("SELECT count(*) FROM pgbench_accounts WHERE abalance >= 0")  # hint bits
        backup = self.backup()
        self.assertEqual((backup["changed_pages_from"], backup["warnings"]), ("wal", []))
        server.pgbench("-t", "100", "-c", "2")
        self.shipped()
        # Lost from the repository, and gone from the server: then everything is read, and that is said.
        pieces = [n for n in self.place.names() if re.search(r"/log/\d+-00000001/", n)]
        self.place.remove(pieces[-1])
        server.psql("CHECKPOINT")
        for n in range(4):
            server.psql("SELECT pg_switch_wal(); CREATE TABLE t%d(a int); CHECKPOINT" % n)
        server.wait_until(lambda: len(list((server.data / "pg_wal").glob("0*"))) < 12, "the server keeps all its WAL", 60)
        for name in sorted((server.data / "pg_wal").glob("00000001*"))[:-3]:
            if server.psql("SELECT pg_walfile_name(pg_current_wal_lsn())") > name.name:
                name.unlink()
        backup = self.backup()
        self.assertEqual(backup["changed_pages_from"], "comparison")
        self.assertIn("is not in the repository", " ".join(backup["warnings"]))
        self.assertRestores(server.dump(), "--to", "end")

    def test_a_change_that_the_log_does_not_tell(self):
        """A table's file comes back from elsewhere behind the server's back: the map of changes is wrong, and a sample says so."""
        server = self.begin()
        server.psql("CREATE TABLE t AS SELECT g AS a, repeat('old', 500) AS b FROM generate_series(1, 3000) g; CHECKPOINT")
        file = server.data / server.psql("SELECT pg_relation_filepath('t')")
        old = file.read_bytes()
        server.psql("UPDATE t SET b = repeat('new', 500); VACUUM t")
        self.backup()
        server.stop()
        file.write_bytes(old + file.read_bytes()[len(old):])
        server.start(**self.archiving())
        backup = self.backup("incremental")
        self.assertEqual((backup["type"], backup["changed_pages_from"]), ("incremental", "comparison"))
        self.assertIn("a sample showed that the log does not tell every change", " ".join(backup["warnings"]))
        server.stop()
        self.restore("back", "--to", "end")
        self.assertTrue((self.folder / "back" / file.relative_to(server.data)).read_bytes() == file.read_bytes())

    def test_a_parent_on_a_branch_that_was_left(self):
        """What it holds of that branch no log tells: it is no base for what the log of the other branch says."""
        server = self.begin()
        server.psql("CREATE TABLE t AS SELECT g AS a, 0 AS b FROM generate_series(1, 30000) g; VACUUM (FREEZE) t")
        first = self.backup()
        server.psql("SELECT pg_switch_wal(); UPDATE t SET b = 1 WHERE a % 500 = 0; CHECKPOINT")
        left = self.backup("incremental")
        self.shipped()
        server.stop()
        self.restore("second", "--backup", first["id"], "--to", "end")
        second = self.new_server("second-server", data=self.folder / "second")
        self.configure(second)
        second.start(**self.archiving())
        second.wait_recovered()
        # Beyond the place in the log at which that backup began.
        second.psql("CREATE TABLE filler AS SELECT g, repeat('x', 900) FROM generate_series(1, 60000) g; UPDATE t SET b = 2 WHERE a = 77")
        self.assertEqual("t", second.psql(f"SELECT pg_current_wal_lsn() > '{left['stop_position'][4:]}'::pg_lsn"))
        backup = self.backup("incremental")
        self.assertEqual(backup["changed_pages_from"], "comparison")
        self.assertIn("does not go through the backup before", " ".join(backup["warnings"]))
        self.assertRestores(second.dump(), "--to", "end")


class Directories(PostgresTest):
    def test_what_stands_in_the_way(self):
        server = self.begin()
        server.pgbench("-i", "-s", "2")
        self.backup()
        expected = server.dump()
        self.shipped()
        running = self.run_varve("restore", "app", "--target", server.data, "--delta")
        self.assertFails(running, 7, "a server may be running")
        foreign = self.new_server("other")
        foreign.initdb()
        self.assertFails(self.run_varve("restore", "app", "--target", foreign.data, "--delta"), 7, "another cluster")
        occupied = self.folder / "occupied"
        occupied.mkdir()
        (occupied / "precious").write_text("1")
        give_to_postgres(occupied)
        self.assertFails(self.run_varve("restore", "app", "--target", occupied), 7, "is not empty", "--target")
        self.assertFails(self.run_varve("restore", "app", "--target", occupied, "--delta"), 7, "no cluster")
        self.assertEqual([p.name for p in occupied.iterdir()], ["precious"])

        # Delta: what is there already is not written again, what should not be there goes.
        server.pgbench("-t", "300", "-c", "2")
        server.psql("CREATE TABLE later AS SELECT generate_series(1, 1000) AS a")
        server.stop()
        (server.data / "base" / "stray").write_text("left over")
        outcome = self.varve("restore", "app", "--target", server.data, "--delta", "--to", "end", "--json")
        report = outcome.json["restore"]
        self.assertLess(report["fetched"], 12 << 20, msg=report)
        self.assertFalse((server.data / "base" / "stray").exists())
        server.start(archive_mode="off")
        server.wait_recovered()
        self.assertEqual(expected, server.dump())
        self.amcheck(server)

    def test_killed_restores_never_start_and_can_be_gone_on_with(self):
        server = self.begin()
        server.pgbench("-i", "-s", "4")
        self.backup()
        expected = server.dump()
        self.shipped()
        target = self.folder / "target"
        random.seed(4)
        killed = 0
        for attempt in range(12):
            process = self.start("restore", "app", "--target", target, *(["--delta"] if target.exists() else []))
            time.sleep(random.uniform(0.15, 0.9))
            ended = process.process.poll()
            subprocess.run(["pkill", "-9", "-P", str(process.process.pid)], check=False)
            process.kill()
            self.kill_all(str(target))
            # pg_control comes last: where it is, everything is, and without it nothing starts.
            if (target / "global" / "pg_control").exists():
                restored = self.new_server(f"server-{attempt}", data=target)
                restored.start(archive_mode="off")
                restored.wait_recovered()
                self.assertEqual(expected, restored.dump())
                restored.stop()
                shutil.rmtree(target)
            elif target.exists() and any(target.iterdir()):
                killed += 1
                self.assertTrue((target / "varve-restore.unfinished").exists())
            else:
                self.assertNotEqual(ended, 0)
        self.assertGreater(killed, 2)
        arguments = ["--delta"] if target.exists() else []
        self.restore("target", *arguments)
        restored = self.new_server("target-server", data=target)
        restored.start(archive_mode="off")
        restored.wait_recovered()
        self.assertEqual(expected, restored.dump())

    def kill_all(self, word):
        """Every process of ours with this in its command line."""
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and word.encode() in (entry / "cmdline").read_bytes() and int(entry.name) != os.getpid():
                    os.kill(int(entry.name), signal.SIGKILL)
            except (OSError, ValueError):
                pass


class Log(PostgresTest):
    def test_what_push_and_fetch_answer(self):
        server = self.begin()
        server.psql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS a")
        self.backup()
        self.shipped()
        wal = sorted(p for p in (server.data / "pg_wal").glob("00000001*") if "." not in p.name)
        name = wal[0].name
        out = self.folder / "out"
        out.mkdir()
        give_to_postgres(out)
        ask = ("log", "fetch", "app")
        self.varve(*ask, name, out / "segment", cwd=server.data)
        self.assertEqual((out / "segment").read_bytes(), wal[0].read_bytes())
        self.varve(*ask, "0000000100000000000000FF", out / "none", cwd=server.data, status=1)
        self.varve(*ask, "00000002.history", out / "none", cwd=server.data, status=1)
        self.assertFalse((out / "none").exists())
        # Whatever else happens, the server must not take it for the end of the log.
        for arguments in (("log", "fetch"), ("log", "fetch", "app", name, out / "x", "--nonsense"),
                          ("log", "fetch", "nobody", name, out / "x"),
                          ("log", "fetch", "app", name, out / "x", "--repo", "file:///nowhere/at/all"),
                          ("log", "fetch", "app", name, "/nowhere/at/all/x")):
            self.assertGreater(self.run_varve(*arguments, cwd=server.data).status, 125, msg=arguments)
        # The same again is a success; other content is refused; a failure never stops the archiver.
        segment = out / name
        shutil.copy(wal[0], segment)
        give_to_postgres(out)
        again = self.varve("log", "push", "app", segment, "--json").json["push"]
        self.assertFalse(again["stored"])
        changed = bytearray(segment.read_bytes())
        changed[9000] ^= 1
        segment.write_bytes(changed)
        self.assertEqual(self.run_varve("log", "push", "app", segment).status, 7)
        for arguments in (("log", "push"), ("log", "push", "app", "/nowhere"), ("log", "push", "app", self.secret),
                          ("log", "push", "app", segment, "--repo", "file:///nowhere/at/all")):
            self.assertIn(self.run_varve(*arguments).status, range(1, 126), msg=arguments)
        (out / "short").write_bytes(wal[0].read_bytes()[:100000])
        os.rename(out / "short", out / "000000010000000000000042")
        give_to_postgres(out)
        self.assertFails(self.run_varve("log", "push", "app", out / "000000010000000000000042"), 4, "is not as long")

    def test_killed_while_backing_up_and_shipping(self):
        """The server is not left in backup mode, its WAL is shipped on, and everything that was said is kept."""
        server = self.begin()
        server.pgbench("-i", "-s", "3")
        self.backup()
        load = server.start_pgbench("-T", "100", "-c", "2", "-R", "100")
        random.seed(5)
        done = 0
        for attempt in range(10):
            process = self.start("backup", "app", "--json")
            time.sleep(random.uniform(0.2, 1.2))
            if process.process.poll() is None:
                for child in Path(f"/proc/{process.process.pid}/task/{process.process.pid}/children").read_text().split():
                    os.kill(int(child), signal.SIGKILL)
                process.kill()
                # setpriv became varve: nothing of it is left behind
            else:
                done += 1
            server.psql("SELECT pg_switch_wal()")
        load.terminate()
        load.wait(30)
        server.wait_until(lambda: server.psql("SELECT count(*) FROM pg_replication_slots") == "0", "a slot is left")
        server.wait_until(lambda: server.psql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'varve'") == "0",
                          "a session is left")
        self.backup()
        expected = server.dump()
        self.assertRestores(expected, "--to", "end")
        self.assertEqual(self.varve("verify", "--json").json["problems"], [])

    def test_a_gap_is_told(self):
        server = self.begin()
        server.psql("CREATE TABLE t(a int)")
        self.backup()
        for n in range(3):
            server.psql(f"INSERT INTO t VALUES ({n})")
            self.shipped()
        pieces = [n for n in self.place.names() if re.search(r"/log/\d+-00000001/", n)]
        self.place.remove(pieces[-2])
        self.assertIn("gap", self.varve("status", "app").out)
        problems = self.varve("verify", "--json", status=4).json["problems"]
        self.assertEqual([p["kind"] for p in problems], ["gap"])
        server.psql("INSERT INTO t VALUES (9)")
        self.backup()
        self.assertRestores(server.dump(), "--to", "end")


class Standby(PostgresTest):
    def test_a_standby_as_the_source(self):
        primary = self.begin()
        primary.pgbench("-i", "-s", "2")
        self.backup()
        self.shipped()
        self.restore("standby", "--standby")
        standby = self.new_server("standby-server", data=self.folder / "standby")
        standby.start(archive_mode="off", primary_conninfo=primary.connection, hot_standby="on")
        primary.pgbench("-t", "100", "-c", "2")
        lsn = primary.lsn()
        standby.wait_until(lambda: standby.psql(f"SELECT pg_last_wal_replay_lsn() >= '{lsn}'") == "t", "the standby lags")
        self.configure(standby)
        expected = primary.dump()
        backup = self.backup("incremental")
        self.assertEqual(backup["type"], "incremental")
        self.assertRestores(expected, "--to", "end")
        self.assertRestores(expected, "--backup", backup["id"])


if __name__ == "__main__":
    main()
