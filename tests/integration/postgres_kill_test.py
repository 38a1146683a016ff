#!/usr/bin/env python3
"""PostgreSQL: backup, push, fetch, follow and restore killed (as by kill -9) at random moments, under load. Nothing that was
reported done is lost, the server archives on, nothing is left in it, and no half-restored directory starts.

$VARVE_ROUNDS (3): how many times each is killed."""

import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

from postgres_case import PostgresTest, as_postgres, give_to_postgres
from postgres_server import environment
from varve_harness import main

ROUNDS = int(os.environ.get("VARVE_ROUNDS", "3"))
SLOT = "varve_app"


class Killed(PostgresTest):
    def setUp(self):
        super().setUp()
        self.random = random.Random(ROUNDS)
        self.settings = {"max_wal_size": "128MB", "checkpoint_timeout": "30s"}
        self.server.initdb("--wal-segsize=1", checksums=True)
        self.configure()
        self.init("--repo", "main")
        self.server.start(**self.archiving(), **self.settings)
        self.server.pgbench("-i", "-s", "1")
        self.done = {self.backup()["id"]}
        self.load = None

    def begin_load(self):
        self.load = self.server.start_pgbench("-n", "-T", "3000", "-c", "2", "-R", "50")
        self.addCleanup(self.end_load)

    def end_load(self):
        if self.load and self.load.poll() is None:
            self.load.terminate()
            self.load.wait(30)

    def seconds_of(self, *arguments):
        """How long it takes when it is let be."""
        begun = time.monotonic()
        self.varve(*arguments)
        return time.monotonic() - begun

    def kill_after(self, longest, *arguments, **options):
        """Starts it, and kills it at a moment of the first `longest` seconds: the exit status, when it was done before."""
        running = self.start(*arguments, **options)
        time.sleep(self.random.uniform(0, longest))
        status = running.process.poll()
        running.kill()
        if status is not None:
            self.assertEqual(status, 0, running)
        return status, running

    def processes(self, *words):
        """Those of this test whose command line has all the words."""
        out = []
        for entry in Path("/proc").iterdir():
            try:
                line = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if entry.name.isdigit() and line[0] == str(self.program) and set(words) <= set(line):
                out.append(int(entry.name))
        return out

    def kill_one(self, seconds, *words):
        """Kills such a process of the server's as soon as there is one, a moment after it began; whether there was one."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for process in self.processes(*words):
                time.sleep(self.random.uniform(0, 0.3))
                try:
                    os.kill(process, signal.SIGKILL)
                    return True
                except ProcessLookupError:
                    pass
            time.sleep(0.005)
        return False

    def fetches_into(self, data):
        return [p for p in self.processes("log", "fetch") if os.path.realpath(f"/proc/{p}/cwd") == str(data)]

    def conclude(self, slots=0):
        """Whatever was killed: what was reported done is there and whole, the server has nothing left of it and archives on."""
        self.end_load()
        server = self.server
        server.wait_until(lambda: server.psql("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'varve%' OR "
                                              "application_name = 'pgbench'") == "0", "a session is left")
        self.assertEqual(server.psql("SELECT count(*) FROM pg_replication_slots"), str(slots))
        self.assertFalse((server.data / "backup_label").exists())
        server.psql("INSERT INTO pgbench_history VALUES (1, 1, 1, 1)")
        expected = server.dump()
        last = server.switch_wal()
        self.wait_archived(last)
        self.assertEqual(self.varve("verify", "--json").json["problems"], [])
        there = {b["id"] for s in self.varve("list", "--json").json["sources"] for b in s["backups"]}
        self.assertLessEqual(self.done, there)
        self.assertNotIn("gap", self.varve("status", "app").out)
        self.assertRestores(expected, "--to", "latest")
        self.backup()

    def wait_archived(self, last):
        """For as long as the server goes on with it."""
        server, seen = self.server, None
        while True:
            count, there, waiting = server.psql(
                f"SELECT archived_count, last_archived_wal >= '{last}', (SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name "
                "LIKE '%.ready') FROM pg_stat_archiver").split("|")
            if there == "t" and waiting == "0":
                return
            if count != seen:
                seen, until = count, time.monotonic() + 60
            self.assertLess(time.monotonic(), until, f"{server.psql('SELECT * FROM pg_stat_archiver')}: not up to {last}")
            time.sleep(0.1)

    def test_backup(self):
        self.begin_load()
        longest = 1.1 * self.seconds_of("backup", "app")
        finished = 0
        for _ in range(ROUNDS):
            kind = self.random.choice(["full", "incremental", "differential"])
            status, running = self.kill_after(longest, "backup", "app", "--type", kind, "--json")
            if status == 0:
                finished += 1
                self.done.add(json.loads(running.out)["backup"]["id"])
        print(f"{ROUNDS - finished} backups killed, {finished} were done before")
        self.conclude()

    def test_push(self):
        self.begin_load()
        longest, own, others = 0.5, 0, 0
        for number in range(ROUNDS):
            if number % 10 == 2:  # the server's own: it starts its archiver again, ten seconds later at the latest
                self.server.psql("SELECT pg_switch_wal()")
                own += self.kill_one(15, "log", "push")
                continue
            name = self.server.switch_wal()
            status, _ = self.kill_after(longest, "log", "push", "app", self.server.data / "pg_wal" / name)
            others += status is None
        print(f"{own} pushes of the server and {others} others killed")
        self.assertGreater(own + others, 0)
        self.conclude()

    def test_fetch(self):
        server, target = self.server, self.folder / "fetched"
        target.mkdir()
        give_to_postgres(target)
        for _ in range(8):
            server.pgbench("-n", "-t", "50", "-c", "2")
            server.switch_wal()
        self.shipped()
        segments = sorted(p for p in (server.data / "pg_wal").glob("00000001*") if len(p.name) == 24)
        segments = [p for p in segments if p.name < server.psql("SELECT pg_walfile_name(pg_current_wal_lsn())")]
        killed = aborted = 0
        for number in range(ROUNDS):
            if number % 20 == 2:
                aborted += self.recover_with_a_killed_fetch(number)
                continue
            segment, to = self.random.choice(segments), target / "RECOVERYXLOG"
            to.unlink(missing_ok=True)
            status, _ = self.kill_after(0.4, "log", "fetch", "app", segment.name, to, cwd=server.data)
            killed += status is None
            self.assertFalse(status == 0 and not to.exists())
            if to.exists():
                self.assertTrue(to.read_bytes() == segment.read_bytes(), segment)
        print(f"{killed} fetches killed, and {aborted} of a server under recovery")
        self.assertGreater(killed + aborted, 0)
        self.conclude()

    def recover_with_a_killed_fetch(self, number):
        """A restore_command that was killed is no end of the log: recovery aborts, does not promote early, and can begin anew."""
        expected = self.server.dump()
        data = self.folder / f"recovering-{number}"
        self.restore(data.name, "--to", "latest")
        recovering = self.new_server(f"{data.name}-server", data=data)
        recovering.start(wait=False, **self.settings, archive_mode="off")
        time.sleep(self.random.uniform(0, 1.5))
        aborted = 0
        until = time.monotonic() + 10
        while not aborted and recovering.alive() and time.monotonic() < until:
            for process in self.fetches_into(data):
                try:
                    os.kill(process, signal.SIGKILL)
                    aborted = 1
                except ProcessLookupError:
                    pass
        if aborted:
            recovering.wait_ended()
            recovering.start(**self.settings, archive_mode="off")
        recovering.wait_recovered()
        self.assertEqual(expected, recovering.dump())
        recovering.stop()
        shutil.rmtree(data)
        return aborted

    def test_follow(self):
        self.begin_load()
        killed = 0
        for _ in range(ROUNDS):
            running = self.start("log", "follow", "app")
            time.sleep(self.random.uniform(0, 3))
            self.assertIsNone(running.process.poll(), running)
            running.kill()
            killed += 1
        self.end_load()
        self.server.wait_until(lambda: self.server.psql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgbench'")
                               == "0", "pgbench goes on")
        expected = self.server.dump()
        self.varve("log", "follow", "app", "--once")
        self.assertRestores(expected, "--to", "latest", check=False)
        # The slot stays, as the documentation says, for the next follower.
        slots = self.server.psql("SELECT slot_name FROM pg_replication_slots")
        self.assertIn(slots, (SLOT, ""))
        print(f"{killed} followers killed")
        self.conclude(slots=1 if slots else 0)

    def test_restore(self):
        server = self.server
        expected = server.dump()
        longest = 1.1 * self.seconds_of("restore", "app", "--target", self.folder / "whole")
        shutil.rmtree(self.folder / "whole")
        target = self.folder / "target"
        killed = whole = 0
        for number in range(ROUNDS):
            status, _ = self.kill_after(longest, "restore", "app", "--target", target,
                                        *(["--delta"] if target.exists() else []))
            if (target / "global" / "pg_control").exists():  # it comes last: all is there
                whole += 1
                restored = self.new_server(f"server-{number}", data=target)
                restored.start(**self.settings, archive_mode="off")
                restored.wait_recovered()
                self.assertEqual(expected, restored.dump())
                restored.stop()
                shutil.rmtree(target)
                continue
            self.assertIsNone(status)
            killed += 1
            if target.exists() and any(target.iterdir()):
                self.assertDoesNotStart(target)
                self.assertTrue((target / "varve-restore.unfinished").exists())
                if number % 3 == 0:  # not always over what is there
                    shutil.rmtree(target)
        print(f"{killed} restores killed, {whole} were done before")
        self.restore(target.name, *(["--delta"] if target.exists() else []))
        restored = self.new_server("target-server", data=target)
        restored.start(**self.settings, archive_mode="off")
        restored.wait_recovered()
        self.assertEqual(expected, restored.dump())
        self.amcheck(restored)
        restored.stop()
        self.conclude()

    def assertDoesNotStart(self, data):
        ended = subprocess.run(as_postgres(self.server.bin / "postgres", "-D", data, "-p", "1", "-c", "listen_addresses="),
                               stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, env=environment(), cwd="/")
        self.assertNotEqual(ended.returncode, 0, ended)


if __name__ == "__main__":
    main()
