"""Ended at any instant, a full disk, a failing disk: every committed backup restores, and what was there stays."""

import itertools
import os
import random
import shutil
import sqlite3
import subprocess
import time
from pathlib import Path

from varve_harness import VarveTest, dump, main


class Crash(VarveTest):
    def setUp(self):
        super().setUp()
        self.rng = random.Random(3)
        self.init()
        self.expected = {}
        c = sqlite3.connect(self.path("app.db"), isolation_level=None)
        c.execute("PRAGMA journal_mode=WAL").fetchall()
        c.executescript("CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT); BEGIN;")
        for i in range(20000):
            c.execute("INSERT INTO t VALUES (?, ?)", (i, self.rng.randbytes(50).hex()))
        c.execute("COMMIT")
        c.close()

    def change(self):
        c = sqlite3.connect(self.path("app.db"), isolation_level=None)
        c.execute("UPDATE t SET v = ? WHERE id % 400 = ?", (str(self.rng.random()), self.rng.randrange(400)))
        c.close()

    def backup(self, **options):
        outcome = self.run_varve("backup", "sqlite:app.db", "--json", **options)
        if outcome.status == 0:
            self.expected[outcome.json["backup"]["id"]] = dump(self.path("app.db"))
        return outcome

    def listed(self):
        return {b["id"] for s in self.varve("list", "--json").json["sources"] for b in s["backups"]}

    def check_all(self, only=None):
        """Every backup there is restores to its state; those reported done are all there."""
        listed = self.listed()
        self.assertLessEqual(set(self.expected), listed)
        for i in sorted(listed) if only is None else only:
            self.varve("restore", "sqlite:app.db", "--backup", i, "--target", "back.db")
            got = dump(self.path("back.db"))
            if i in self.expected:
                self.assertEqual(got, self.expected[i], i)
            self.path("back.db").unlink()
        self.assertEqual([p.name for p in self.folder.iterdir() if "varve-restore" in p.name], [])

    def calls(self, *arguments):
        """How many changes to the disk a command makes."""
        count = self.path("count")
        self.varve(*arguments, env={"VARVE_TEST_FAULT": f"count:{count}"})
        return int(count.read_text())

    def test_killed_at_every_write_of_a_backup(self):
        self.backup()
        self.change()
        total = self.calls("backup", "sqlite:app.db")
        for n in range(1, total + 1):
            self.change()
            outcome = self.backup(env={"VARVE_TEST_FAULT": f"kill@{n}"})
            self.assertEqual(outcome.status, -9, outcome)
            if n % 6 == 0:
                self.check_all(sorted(self.listed())[-2:])
        self.assertEqual(self.backup().status, 0)
        self.check_all()
        self.varve("verify")

    def test_killed_at_every_write_of_a_follow(self):
        """Once where it goes on with its log, once where it begins with a base."""
        follow = ["log", "follow", "sqlite:app.db", "--once"]
        self.varve(*follow)
        for going_on in (True, False):
            keep = sqlite3.connect(self.path("app.db"), isolation_level=None)  # so that the WAL stays
            keep.execute("SELECT count(*) FROM t").fetchall()
            for n in itertools.count(1):
                self.change()
                if not going_on:
                    keep.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
                outcome = self.run_varve(*follow, env={"VARVE_TEST_FAULT": f"kill@{n}"})
                if outcome.status == 0:
                    break
                self.assertEqual(outcome.status, -9, outcome)
                if n % 3 == 0:
                    self.change()
                    self.varve(*follow)
                    self.assertLatest()
            keep.close()
            self.assertGreater(n, 8)
            self.assertLatest()
        self.varve("verify")

    def assertLatest(self):
        self.varve("restore", "sqlite:app.db", "--target", "back.db")
        self.assertEqual(dump(self.path("back.db")), dump(self.path("app.db")))
        self.path("back.db").unlink()

    def test_killed_at_random_moments(self):
        self.backup()
        killed = 0
        for _ in range(100):
            self.change()
            command = self.rng.choice(["backup"] * 6 + ["expire", "gc", "restore"])
            arguments = {"backup": ["backup", "sqlite:app.db"], "expire": ["expire", "sqlite:app.db", "--keep-last", "6"],
                         "gc": ["gc", "--now"], "restore": ["restore", "sqlite:app.db", "--target", "back.db", "--force"]}[command]
            running = self.start(*arguments)
            time.sleep(self.rng.uniform(0, 0.25))
            if running.process.poll() is None:
                killed += 1
            running.kill()
            if command == "restore" and self.path("back.db").exists():
                dump(self.path("back.db"))  # whole, or not there
        self.assertGreater(killed, 30)
        self.expected = {i: e for i, e in self.expected.items() if i in self.listed()}  # expire may have taken some
        self.assertEqual(self.backup().status, 0)
        for leftover in self.folder.glob("back.db*"):
            leftover.unlink()
        self.varve("restore", "sqlite:app.db", "--target", "back.db")  # takes away what killed restores left
        self.path("back.db").unlink()
        self.check_all()
        self.varve("verify")

    def test_killed_at_every_write_of_expire_and_collection(self):
        for _ in range(5):
            self.backup()
            self.change()
        self.backup()
        saved = self.path("saved")
        self.place.save(saved)
        newest = list(self.expected)[-1]  # ids of one second are in no order
        for command in (["expire", "sqlite:app.db", "--keep-last", "2"], ["gc", "--now"]):
            if command[0] == "gc":
                self.varve("expire", "sqlite:app.db", "--keep-last", "2")
                shutil.rmtree(saved)
                self.place.save(saved)
            total = self.calls(*command)
            self.assertGreater(total, 0)
            for n in range(1, total + 1):
                self.place.load(saved)
                self.run_varve(*command, env={"VARVE_TEST_FAULT": f"kill@{n}"})
                listed = self.listed()
                self.assertIn(newest, listed)
                self.expected = {i: e for i, e in self.expected.items() if i in listed}
                self.check_all([newest, sorted(listed)[0]])
                self.varve("verify")
                # And it can be done again.
                self.varve(*command)
                self.varve("verify")

    def test_a_full_disk(self):
        self.backup()
        self.change()
        total = self.calls("backup", "sqlite:app.db")
        for n in range(1, total + 1, 2):
            self.change()
            outcome = self.backup(env={"VARVE_TEST_FAULT": f"enospc@{n}"})
            if not self.place.is_folder and n >= total - 1:
                continue  # the pin's removal and the audit trail: it was committed before
            self.assertEqual(outcome.status, 5, outcome)
            self.assertIn("space", outcome.out + outcome.err)
        for n in range(1, total + 1, 3):
            self.change()
            self.assertIn(self.backup(env={"VARVE_TEST_FAULT": f"eio@{n}"}).status, (0, 5))
        self.assertEqual(self.backup().status, 0)
        self.check_all()
        self.varve("verify")

    def test_a_truly_full_disk(self):
        """A file system of 3 MiB, where mounting is allowed; elsewhere a limit on the size of files."""
        small = self.path("small")
        small.mkdir()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(small)], capture_output=True,
                                 timeout=20, check=False).returncode == 0
        if mounted:
            self.addCleanup(subprocess.run, ["umount", "-l", str(small)], timeout=20, check=False)
            self.varve("init", "--repo", small / "repository")
            c = sqlite3.connect(self.path("big.db"), isolation_level=None)
            c.execute("CREATE TABLE t(x)")
            c.execute("INSERT INTO t VALUES (randomblob(6000000))")
            c.close()
            out = self.varve("backup", "sqlite:big.db", "--repo", small / "repository", status=5)
            self.assertIn("space", out.err)
            small_db = self.path("small.db")
            self.sql("small.db", "CREATE TABLE t(x); INSERT INTO t VALUES (1);")
            self.varve("backup", f"sqlite:{small_db}", "--repo", small / "repository")
            # A restore onto the full disk leaves nothing behind.
            self.varve("backup", "sqlite:big.db")
            self.varve("restore", "sqlite:big.db", "--target", small / "big.db", status=5)
            self.assertEqual(sorted(p.name for p in small.iterdir()), ["repository"])
        else:
            limited = ["prlimit", "--fsize=1000000", self.binary, "backup", "sqlite:app.db"]
            run = subprocess.run(limited, env=self.env, cwd=self.folder, capture_output=True, timeout=60, check=False)
            self.assertNotEqual(run.returncode, 0)
            self.assertEqual(self.listed(), set())

    def test_restore_killed_at_every_write(self):
        self.backup()
        self.change()
        after = dump(self.path("app.db"))
        total = self.calls("restore", "sqlite:app.db", "--target", "back.db")
        self.path("back.db").unlink()
        self.assertGreater(total, 8)
        for n in range(1, total + 1):
            shutil.copyfile(self.path("app.db"), self.path("live.db"))
            self.run_varve("restore", "sqlite:app.db", "--target", "live.db", "--force", env={"VARVE_TEST_FAULT": f"kill@{n}"})
            # The old, the new, or (for the instant between two renames) the old under its kept name; never a part.
            kept = [p for p in self.folder.glob("live.db.before-restore-*") if not p.name.endswith(("-wal", "-shm"))]
            states = [dump(p) for p in [self.path("live.db"), *kept] if p.exists()]
            self.assertTrue(states)
            self.assertTrue(any(s == after for s in states))
            for p in self.folder.glob("live.db*"):
                p.unlink()
        self.varve("restore", "sqlite:app.db", "--target", "live.db")
        self.assertEqual([p.name for p in self.folder.iterdir() if "varve-restore" in p.name], [])

    def test_two_collectors_and_writers_at_once(self):
        self.backup()
        end = time.time() + 12
        writers = []
        while time.time() < end:
            self.change()
            running = [self.start("backup", "sqlite:app.db", "--json") for _ in range(2)]
            running.append(self.start("gc", "--now"))
            running.append(self.start("expire", "sqlite:app.db", "--keep-last", "3"))
            for r in running:
                self.assertIn(r.wait(60), (0, 5, 7), r)
            writers += running[:2]
        self.expected = {}
        self.check_all()
        self.varve("verify")
        self.assertTrue(any(w.process.returncode == 0 for w in writers))


if __name__ == "__main__":
    main()
