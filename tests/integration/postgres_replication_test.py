#!/usr/bin/env python3
"""PostgreSQL over the replication protocol alone (access = "replication"): the server sends its files and its WAL. The
server's own dump and pg_amcheck are the oracle. The role that takes the backups is no superuser."""

import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

from postgres_case import PostgresTest, give_to_postgres, run
from varve_harness import main

REASON = "everything was read and compared: over the replication protocol the server sends every page"


class ReplicationTest(PostgresTest):
    ROLE = "varve"
    maxDiff = 4000

    def configure(self, server=None, name="app", more="", access="replication"):
        server = server or self.server
        connection = server.connection
        if access == "replication":
            connection = f"host=127.0.0.1 port={server.port} user={self.ROLE} dbname=postgres"
            more += 'access = "replication"\n'
        text = (f'[repository.main]\nurl = "{self.place.url}"\npassphrase_file = "{self.secret}"\n\n'
                f'[source.{name}]\nengine = "postgres"\nconnection = "{connection}"\nrepositories = ["main"]\n{more}')
        (self.folder / "varve.toml").write_text(text)
        give_to_postgres(self.folder / "varve.toml")

    def begin(self, *initdb, checksums=True, role="LOGIN REPLICATION", **settings):
        server = super().begin(*initdb, checksums=checksums, **settings)
        server.psql(f"CREATE ROLE {self.ROLE} {role}")
        return server

    def settle(self, load, server=None):
        server = server or self.server
        load.terminate()
        load.wait(30)
        server.wait_until(lambda: server.psql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgbench'")
                          == "0", "pgbench goes on")

    def assertServerFree(self, server=None):
        """Nothing of a backup is left: no slot, no session, no backup mode."""
        server = server or self.server
        server.wait_until(lambda: server.psql("SELECT count(*) FROM pg_replication_slots") == "0", "a slot is left", 60)
        server.wait_until(lambda: server.psql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'varve'")
                          == "0", "a session is left", 60)
        server.wait_until(lambda: server.psql("SELECT count(*) FROM pg_stat_progress_basebackup") == "0",
                          "the server is still in a backup", 60)

    def assertBalanced(self, server):
        """One state: what each transaction of pgbench did is there in all tables, or in none."""
        self.assertEqual(server.psql("SELECT sum(abalance) = (SELECT sum(bbalance) FROM pgbench_branches) AND sum(abalance) = "
                                     "(SELECT sum(tbalance) FROM pgbench_tellers) FROM pgbench_accounts"), "t")

    def verified(self):
        self.assertEqual(self.varve("verify", "--json").json["problems"], [])


class Backups(ReplicationTest):
    def test_full_incremental_and_differential_under_load(self):
        server = self.begin("--wal-segsize=1", max_wal_size="64MB", shared_buffers="4MB")
        self.assertEqual([p for p in self.varve("check", "app", "--json").json["problems"] if p["severity"] == "error"], [])
        space = self.folder / "space"
        space.mkdir()
        give_to_postgres(space)
        server.psql(f"CREATE TABLESPACE fast LOCATION '{space}'")
        server.psql("CREATE DATABASE second")
        server.psql("CREATE TABLE elsewhere AS SELECT g AS a, repeat('x', g % 300) AS t FROM generate_series(1, 20000) g")
        server.psql("CREATE TABLE spaced(a int PRIMARY KEY) TABLESPACE fast; INSERT INTO spaced SELECT generate_series(1, 5000)",
                    "second")
        server.psql("CREATE UNLOGGED TABLE fleeting AS SELECT generate_series(1, 300000) AS a")
        server.pgbench("-i", "-s", "3")
        points = []
        for number, kind in enumerate(("full", "incremental", "incremental", "differential", "full", "incremental")):
            load = server.start_pgbench("-T", "60", "-c", "2", "-R", "60")
            # A temporary table of a session that goes on.
            temporary = self.hold("CREATE TEMP TABLE passing AS SELECT generate_series(1, 200000) AS a")
            server.psql(f"INSERT INTO spaced SELECT generate_series(10000 + {number} * 100, 10050 + {number} * 100)", "second")
            backup = self.backup(kind)
            self.assertEqual(backup["type"], kind)
            self.assertEqual(backup["changed_pages_from"], "everything" if kind == "full" else "comparison")
            self.assertEqual(backup["warnings"], [] if kind == "full" else [REASON], msg=backup)
            if kind == "incremental":
                self.assertLess(backup["stored"], points[0][2]["stored"] / 2, msg=backup)
            self.settle(load)
            temporary.kill()
            temporary.wait()
            points.append((f"round-{number}", server.dump("--no-unlogged-table-data"), backup))
            server.psql(f"SELECT pg_create_restore_point('round-{number}')")
        fleeting = server.psql("SELECT pg_relation_filepath('fleeting')")
        self.assertServerFree()
        self.shipped()
        self.verified()
        for number, (name, expected, backup) in enumerate(points):
            elsewhere = self.folder / f"space-{number}"
            target = f"r{number}"
            self.restore(target, "--to", f"name:{name}", "--backup", backup["id"], "--tablespace-map", f"{space}={elsewhere}")
            self.assertFalse((self.folder / target / fleeting).exists())
            self.assertTrue((self.folder / target / (fleeting + "_init")).exists())
            self.assertEqual([p for p in (self.folder / target / "base").rglob("t[0-9]*_*")], [])
            restored = self.new_server(f"{target}-server", data=self.folder / target)
            restored.start(archive_mode="off")
            restored.wait_recovered()
            actual = restored.dump("--no-unlogged-table-data").replace(str(elsewhere), str(space))
            self.assertEqual(expected, actual, msg=name)
            self.amcheck(restored)
            restored.stop()
            restored.check_pages()
            shutil.rmtree(self.folder / target)
            shutil.rmtree(elsewhere)

        # One table, as from any backup.
        server.psql("DROP TABLE elsewhere")
        self.restore("elsewhere.sql", "--table", "public.elsewhere", "--to", "name:round-3")
        dump = (self.folder / "elsewhere.sql").read_text()
        self.assertEqual(dump.count("\n20000\t"), 1, msg=dump[:2000])

        # And a directory that is there already.
        expected = server.dump("--no-unlogged-table-data")
        last = self.backup()
        self.shipped()
        server.stop()
        self.restore(server.data, "--delta", "--to", "end", "--backup", last["id"])
        server.start(archive_mode="off")
        server.wait_recovered()
        self.assertEqual(expected, server.dump("--no-unlogged-table-data"))

    def hold(self, sql):
        """A session that does this and goes on."""
        session = subprocess.Popen([str(self.server.bin / "psql"), "-XAtq", "-h", str(self.server.folder), "-p",
                                    str(self.server.port), "-U", "postgres", "-d", "postgres"], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, text=True, cwd="/")
        session.stdin.write(sql + ";\nSELECT 'there';\n")
        session.stdin.flush()
        self.assertEqual(session.stdout.readline(), "there\n")
        self.addCleanup(session.stdout.close)
        self.addCleanup(session.stdin.close)
        return session

    def test_the_same_files_as_a_local_backup(self):
        """A local backup and one over the protocol, of a server at rest: the same files, with the same attributes, and
        each is the other's parent."""
        server = self.begin(allow_in_place_tablespaces="on")
        space = self.folder / "space"
        space.mkdir()
        give_to_postgres(space)
        server.psql(f"CREATE TABLESPACE fast LOCATION '{space}'")
        server.psql("CREATE TABLE spaced(a int) TABLESPACE fast; INSERT INTO spaced SELECT generate_series(1, 3000)")
        server.psql("CREATE UNLOGGED TABLE fleeting AS SELECT generate_series(1, 3000) AS a")
        (server.data / "pg_logical" / "stray").write_text("x" * 12345)
        (server.data / "base" / "pgsql_tmp").mkdir()
        (server.data / "base" / "pgsql_tmp" / "pgsql_tmp1.0").write_text("x")
        give_to_postgres(server.data)
        server.pgbench("-i", "-s", "2")
        server.psql("VACUUM; CHECKPOINT")
        self.configure(access="local")
        local = self.backup("full")
        self.configure()
        streamed = self.backup("incremental")
        self.assertEqual((streamed["type"], streamed["warnings"]), ("incremental", [REASON]))
        self.assertLess(streamed["stored"], 1 << 20, msg=streamed)
        self.assertEqual(sorted(set(self.files(local).items()) ^ set(self.files(streamed).items())), [])
        server.pgbench("-t", "100", "-c", "2")
        self.configure(access="local")
        again = self.backup("incremental")
        self.assertEqual((again["parent"], again["changed_pages_from"], again["warnings"]), (streamed["id"], "wal", []))
        expected = server.dump("--no-unlogged-table-data")
        full = self.configure() or self.backup("full")
        server.pgbench("-t", "100", "-c", "2")
        self.configure(access="local")
        on_streamed = self.backup("incremental")
        self.assertEqual((on_streamed["parent"], on_streamed["changed_pages_from"]), (full["id"], "wal"))
        latest = server.dump("--no-unlogged-table-data")
        self.shipped()
        server.stop()
        for number, (backup, dump) in enumerate(((again, expected), (full, expected), (on_streamed, latest))):
            elsewhere = self.folder / f"space-{number}"
            restored = self.restored(f"r{number}", "--to", "end", "--backup", backup["id"], "--tablespace-map",
                                     f"{space}={elsewhere}")
            self.assertEqual(dump, restored.dump("--no-unlogged-table-data").replace(str(elsewhere), str(space)))
            self.amcheck(restored)
            restored.stop()
        self.verified()

    def files(self, backup):
        """Everything that a restore of it puts down: path → kind, size, mode and owner."""
        target = self.folder / f"files-{backup['id']}"
        space = self.folder / f"files-space-{backup['id']}"
        self.restore(target, "--to", "end", "--backup", backup["id"], "--tablespace-map", f"{self.folder / 'space'}={space}")
        out = {}
        for root in (target, space):
            for folder, folders, names in os.walk(root):
                for name in folders + names:
                    path = Path(folder) / name
                    status = path.lstat()
                    size = status.st_size if path.is_file() and not path.is_symlink() else 0
                    if name in ("backup_label", "tablespace_map", "postgresql.auto.conf"):  # as long as the paths in them
                        size = 0
                    out[str(path.relative_to(root))] = (oct(status.st_mode), status.st_uid, status.st_gid, size)
        shutil.rmtree(target)
        shutil.rmtree(space)
        return out

    def test_damage_in_the_database_is_told_and_kept(self):
        server = self.begin()
        server.pgbench("-i", "-s", "1")
        server.psql("CHECKPOINT")
        path = server.data / server.psql("SELECT pg_relation_filepath('pgbench_accounts')")
        server.stop()
        with open(path, "r+b") as f:
            f.seek(5 * 8192 + 4000)
            f.write(b"damage")
        server.start(**self.archiving())
        backup = self.backup()
        self.assertEqual(len(backup["warnings"]), 1, msg=backup)
        self.assertIn("block 5 of base/", backup["warnings"][0])
        self.assertIn("pgbench_accounts", backup["warnings"][0])

    def test_a_link_that_the_server_leaves_out_is_told(self):
        server = self.begin()
        (server.data / "stray").symlink_to("/etc/hosts")
        backup = self.backup()
        self.assertEqual(len(backup["warnings"]), 1, msg=backup)
        self.assertIn("stray", backup["warnings"][0])

    def test_a_rate_is_kept(self):
        server = self.begin()
        server.pgbench("-i", "-s", "1")
        self.configure(more='read_rate = "20MiB"\n')
        before = time.monotonic()
        backup = self.backup()
        self.assertGreater(time.monotonic() - before, backup["read"] / (20 << 20) * 0.8)
        self.assertRestores(server.dump(), "--to", "end")


class NoFiles(ReplicationTest):
    def test_by_a_user_who_may_read_nothing_of_the_server(self):
        if os.geteuid() != 0:
            self.skipTest("needs another user than the server's")
        server = self.begin()
        server.pgbench("-i", "-s", "1")
        expected = server.dump()
        repository = self.folder / "of-nobody"
        repository.mkdir()
        owner = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")
        run("chown", "nobody:nogroup", repository)
        key = self.folder / "key"
        key.write_text("correct horse battery staple\n")
        run("chown", "nobody:nogroup", key)
        os.chmod(key, 0o400)
        config = self.folder / "nobody.toml"
        config.write_text((self.folder / "varve.toml").read_text().replace(self.place.url, f"file://{repository}")
                          .replace(str(self.secret), str(key)))
        os.chmod(self.folder, 0o755)
        env = {**os.environ, "HOME": "/nonexistent", "VARVE_CONFIG": str(config)}
        for arguments in (("init", "--repo", "main"), ("backup", "app", "--json")):
            done = subprocess.run([*owner, str(self.program), *arguments], env=env, capture_output=True, text=True, timeout=120,
                                  cwd="/")
            self.assertEqual(done.returncode, 0, msg=done)
        run("chown", "-R", "postgres:postgres", repository, key)
        self.env["VARVE_CONFIG"] = str(config)
        self.assertRestores(expected, "--to", "end")

    def test_restore_to_moments_with_wal_that_is_followed(self):
        """All of it over the protocol: no archive_command, the log is followed."""
        server = self.begin()
        server.stop()
        server.start(archive_mode="off")
        server.pgbench("-i", "-s", "1")
        follower = self.start("log", "follow", "app")
        self.eventually(lambda: self.varve("list", "--json").json["sources"] and
                        self.varve("list", "--json").json["sources"][0]["backups"], 60, "the first base")
        server.pgbench("-t", "100", "-c", "2")
        expected = server.dump()
        server.psql("SELECT pg_create_restore_point('here')")
        self.backup("incremental")
        server.psql("DROP TABLE pgbench_history")
        latest = server.dump()
        time.sleep(2)
        follower.stop()
        self.settings = {}
        self.assertRestores(expected, "--to", "name:here")
        self.assertRestores(latest)
        self.verified()


class Standby(ReplicationTest):
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
        load = primary.start_pgbench("-T", "60", "-c", "2", "-R", "60")
        for kind in ("incremental", "full"):
            backup = self.backup(kind)
            self.assertEqual((backup["type"], backup["warnings"]), (kind, [REASON] if kind == "incremental" else []))
        self.settle(load, primary)
        self.assertServerFree(standby)
        end = self.restored("end", "--to", "end", "--backup", backup["id"])
        self.assertBalanced(end)
        self.amcheck(end)
        end.stop()
        expected = primary.dump()
        self.shipped(primary)
        self.assertRestores(expected, "--backup", backup["id"], "--to", "latest")
        self.verified()


class Unkind(ReplicationTest):
    def test_killed_at_random_moments(self):
        server = self.begin()
        server.pgbench("-i", "-s", "3")
        began = time.monotonic()
        self.backup()
        lasts = time.monotonic() - began
        load = server.start_pgbench("-T", "300", "-c", "2", "-R", "50")
        random.seed(11)
        killed = 0
        for attempt in range(20):
            process = self.start("backup", "app", "--type", "full" if attempt % 3 == 0 else "incremental", "--json")
            time.sleep(random.uniform(0.05, lasts))
            if process.process.poll() is None:
                killed += 1
                process.kill()
        self.settle(load)
        self.assertGreater(killed, 8)
        self.assertServerFree()
        self.verified()
        backup = self.backup()
        expected = server.dump()
        self.assertRestores(expected, "--to", "end", "--backup", backup["id"])
        for earlier in self.varve("list", "--json").json["sources"][0]["backups"]:
            restored = self.restored("earlier", "--to", "end", "--backup", earlier["id"])
            self.assertBalanced(restored)
            restored.stop()
            shutil.rmtree(restored.data)

    def test_the_connection_is_cut(self):
        server = self.begin()
        server.pgbench("-i", "-s", "4")
        self.configure(more='read_rate = "8MiB"\n')  # the backup lasts some ten seconds
        for how in ("terminate", "interrupt", "restart"):
            process = self.start("backup", "app", "--json")
            server.wait_until(lambda: server.psql("SELECT coalesce(max(backup_streamed), 0) > 4000000 FROM "
                                                  "pg_stat_progress_basebackup") == "t", "no backup is under way", 60)
            if how == "terminate":
                server.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_progress_basebackup")
            elif how == "interrupt":
                process.process.send_signal(signal.SIGINT)
            else:
                server.stop("immediate")
            status = process.wait(60)
            if how == "interrupt":
                self.assertEqual(status, 130, process)
            else:
                self.assertEqual(status, 6, process)
                self.assertIn("nothing of this backup counts", process.out + process.err)
            if how == "restart":
                server.start(**self.archiving())
            self.assertServerFree()
        sources = self.varve("list", "--json").json["sources"]
        self.assertEqual([b for s in sources for b in s["backups"]], [])
        self.configure()
        self.backup()
        self.assertRestores(server.dump(), "--to", "end")
        self.verified()

    def test_what_is_missing_is_said(self):
        server = self.begin(role="LOGIN")
        outcome = self.run_varve("backup", "app")
        self.assertFails(outcome, 6, "REPLICATION", "ALTER ROLE")
        problems = self.run_varve("check", "app", "--json").json["problems"]
        errors = [p for p in problems if p["severity"] == "error"]
        self.assertEqual(len(errors), 1, msg=problems)
        self.assertIn("ALTER ROLE \"varve\" REPLICATION", errors[0]["mend"])
        server.psql("ALTER ROLE varve REPLICATION")
        hba = server.data / "pg_hba.conf"
        original = hba.read_text()
        hba.write_text("\n".join(l for l in original.splitlines() if "replication" not in l or l.startswith("#")) + "\n")
        server.psql("SELECT pg_reload_conf()")
        self.assertFails(self.run_varve("backup", "app"), 6, "no pg_hba.conf entry for replication", "host replication")
        errors = [p for p in self.run_varve("check", "app", "--json").json["problems"] if p["severity"] == "error"]
        self.assertEqual(len(errors), 1, msg=errors)
        self.assertIn("host replication", errors[0]["mend"])
        hba.write_text(original)
        server.stop()
        server.start(**self.archiving(), max_wal_senders="0")
        self.assertFails(self.run_varve("backup", "app"), 6, "max_wal_senders", "max_wal_senders")
        errors = [p for p in self.run_varve("check", "app", "--json").json["problems"] if p["severity"] == "error"]
        self.assertEqual(len(errors), 1, msg=errors)
        self.assertIn("max_wal_senders", errors[0]["mend"])
        server.stop()
        # Without a slot it goes on, and says so.
        server.start(**self.archiving(), max_replication_slots="0")
        backup = self.backup()
        self.assertEqual(len(backup["warnings"]), 1)
        self.assertIn("no replication slot keeps", backup["warnings"][0])
        self.assertRestores(server.dump(), "--to", "end")
        # What the configuration cannot mean.
        for wrong, message in (('access = "remote"', "unknown access"), ('read_rate = "fast"', "cannot read the rate"),
                               ('read_rate = "1KiB"', "cannot read the rate")):
            self.configure(access="local", more=wrong + "\n")
            self.assertFails(self.run_varve("backup", "app"), 2, message)
        self.configure(access="local", more='read_rate = "1MiB"\n')
        self.assertFails(self.run_varve("backup", "app"), 2, "for access = \"replication\" only")


if __name__ == "__main__":
    main()
