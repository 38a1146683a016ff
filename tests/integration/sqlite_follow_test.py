"""Following: any moment of a writer that knows nothing of Varve comes back, and nothing is ever missed."""

import hashlib
import random
import sqlite3
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

from varve_harness import VarveTest, dump, main

WRITER = str(Path(__file__).with_name("sqlite_writer.py"))


def iso(t):
    return datetime.fromtimestamp(t, timezone.utc).isoformat(timespec="microseconds").replace("+00:00", "Z")


class Follow(VarveTest):
    def setUp(self):
        super().setUp()
        self.rng = random.Random(11)
        self.init()
        self.log = self.path("writes")
        self.restores = 0

    def follow(self, *arguments):
        running = self.start("log", "follow", "sqlite:app.db", *arguments)
        self.addCleanup(lambda: print(running) if self.failed() else None)
        return running

    def failed(self):
        outcome = getattr(self, "_outcome", None)
        return bool(outcome and getattr(outcome, "errors", None) and any(e for _, e in outcome.errors))

    def write(self, seconds, seed, gap=0.02):
        return subprocess.Popen([sys.executable, WRITER, str(self.path("app.db")), str(seconds), str(seed), str(self.log),
                                 "--gap", str(gap)])

    def commits(self):
        return [(int(n), float(b), float(a)) for n, b, a in (l.split() for l in self.log.read_text().splitlines() if l.count(" ") == 2)]

    def restore(self, *arguments, status=0):
        self.restores += 1
        target = f"moment{self.restores}.db"
        outcome = self.varve("restore", "sqlite:app.db", *arguments, "--target", target, status=status)
        return target, outcome

    def last(self, name):
        """The number of commits in a restored database, which must be exactly a prefix."""
        dump(self.path(name))  # integrity_check
        digest = ""
        rows = self.sql(name, "SELECT n, digest FROM marker ORDER BY n")
        for i, (n, d) in enumerate(rows, 1):
            digest = hashlib.sha256(f"{digest}{i}".encode()).hexdigest()
            self.assertEqual((n, d), (i, digest))
        return len(rows)

    def check_moment(self, t, commits):
        target, _ = self.restore("--to", iso(t))
        n = self.last(target)
        at_least = max([c for c, _, after in commits if after <= t - 1.0], default=0)
        at_most = max([c for c, before, _ in commits if before <= t], default=0)
        self.assertGreaterEqual(n, at_least, iso(t))
        self.assertLessEqual(n, at_most, iso(t))
        self.path(target).unlink()
        return n

    def test_any_moment(self):
        self.sql("app.db", "CREATE TABLE first(x); INSERT INTO first VALUES (1);")
        follower = self.follow()
        self.eventually(lambda: self.varve("list", "--json").json["sources"], what="a base")
        writer = self.write(30, 5)
        self.assertEqual(writer.wait(90), 0)
        time.sleep(1.0)
        commits = self.commits()
        self.assertGreater(len(commits), 200)
        # The exposure: killed without warning a second after the last commit, everything is there.
        follower.kill()
        target, _ = self.restore()
        self.assertEqual(self.last(target), commits[-1][0])
        self.assertSameDatabase("app.db", target)
        begin = commits[0][1]
        listed = self.varve("list", "--json").json["sources"][0]["windows"]
        self.assertTrue(any(w["from"] <= iso(begin + 1) and w["to"] >= iso(commits[-1][1]) for w in listed), listed)
        for _ in range(25):
            self.check_moment(self.rng.uniform(begin + 0.5, commits[-1][2]), commits)
        # Single commits, by number.
        for _ in range(8):
            events = self.varve("history", "sqlite:app.db", "--table", "marker", "--json").json["events"]
            event = self.rng.choice([e for e in events if e["kind"] == "insert"])
            txn = int(event["position"].split(":")[1])
            a, _ = self.restore("--to", f"txn:{txn}")
            b, _ = self.restore("--to", f"before:{txn}")
            self.assertEqual(self.last(a), self.last(b) + 1)
        self.varve("verify")

    def test_killed_and_started_again(self):
        self.sql("app.db", "CREATE TABLE first(x);")
        writer = self.write(25, 6)
        while writer.poll() is None:
            follower = self.follow()
            time.sleep(self.rng.uniform(0.5, 3))
            follower.kill()
            if self.rng.random() < 0.3:
                time.sleep(self.rng.uniform(0, 1))
        follower = self.follow("--once")
        self.assertEqual(follower.wait(60), 0, follower)
        commits = self.commits()
        target, _ = self.restore()
        self.assertEqual(self.last(target), commits[-1][0])
        self.assertSameDatabase("app.db", target)
        # Every window that is listed is true.
        for window in self.varve("list", "--json").json["sources"][0]["windows"]:
            start, end = (datetime.fromisoformat(window[k].replace("Z", "+00:00")).timestamp() for k in ("from", "to"))
            for t in {start, end, self.rng.uniform(start, end)}:
                if t >= commits[0][2]:
                    target, _ = self.restore("--to", iso(t))
                    self.last(target)
                    self.path(target).unlink()
        self.varve("verify")

    def test_stopped_in_good_order_goes_on_without_a_base(self):
        self.sql("app.db", "CREATE TABLE t(x);")
        keep = sqlite3.connect(self.path("app.db"), isolation_level=None)  # so that the WAL stays
        keep.execute("SELECT * FROM t").fetchall()
        follower = self.follow()
        self.eventually(lambda: self.varve("list", "--json").json["sources"])
        keep.execute("INSERT INTO t VALUES (1)")
        self.assertEqual(follower.stop(), 0, follower)
        keep.execute("INSERT INTO t VALUES (2)")
        again = self.follow()
        self.eventually(lambda: "going on after" in again.out, what="following on")
        keep.execute("INSERT INTO t VALUES (3)")
        self.assertEqual(again.stop(), 0, again)
        backups = self.varve("list", "--json").json["sources"][0]["backups"]
        self.assertEqual(len(backups), 1, again)
        target, _ = self.restore()
        self.assertSameDatabase("app.db", target)
        keep.close()

    def test_a_second_follower_is_refused(self):
        self.sql("app.db", "CREATE TABLE t(x);")
        follower = self.follow()
        self.eventually(lambda: self.varve("list", "--json").json["sources"])
        second = self.varve("log", "follow", "sqlite:app.db", "--once", status=7)
        self.assertIn("follow", second.err)
        self.assertEqual(follower.stop(), 0)

    def test_a_backup_beside_a_follower_is_a_base_for_later_moments(self):
        self.sql("app.db", "CREATE TABLE first(x);")
        follower = self.follow()
        self.eventually(lambda: self.varve("list", "--json").json["sources"])
        writer = self.write(8, 9)
        time.sleep(3)
        backup = self.varve("backup", "sqlite:app.db", "--json").json["backup"]
        self.assertRegex(backup["stop_position"], r"^txn:\d+$")
        self.assertEqual(writer.wait(60), 0)
        time.sleep(1)
        self.assertEqual(follower.stop(), 0)
        commits = self.commits()
        outcome = self.varve("restore", "sqlite:app.db", "--to", iso(commits[-1][2]), "--target", "late.db", "--json").json
        self.assertEqual(outcome["restore"]["backup"], backup["id"])
        target, _ = self.restore()
        self.assertSameDatabase("app.db", target)

    def test_unkind_changes_under_a_follower(self):
        self.sql("app.db", "CREATE TABLE t(id INTEGER PRIMARY KEY, x); "
                           "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n+1 FROM c WHERE n<20000) INSERT INTO t SELECT n, hex(randomblob(40)) FROM c;")
        follower = self.follow()
        self.eventually(lambda: self.varve("list", "--json").json["sources"])
        states = []
        for change in ("DELETE FROM t WHERE id % 3 = 0", "VACUUM", "CREATE INDEX i ON t(x)", "DROP TABLE t", "VACUUM",
                       "CREATE TABLE t(y); INSERT INTO t VALUES (1);"):
            self.sql("app.db", change)
            time.sleep(1.2)
            states.append((time.time(), dump(self.path("app.db"))))
            time.sleep(0.3)
        self.assertEqual(follower.stop(), 0, follower)
        for t, expected in states:
            target, _ = self.restore("--to", iso(t))
            self.assertEqual(dump(self.path(target)), expected)

    def test_a_database_that_is_away_for_a_moment(self):
        self.sql("app.db", "CREATE TABLE t(x); INSERT INTO t VALUES (1);")
        follower = self.follow()
        self.eventually(lambda: "laid" in follower.out, what="a base")
        for file in self.folder.glob("app.db*"):
            file.unlink()
        self.eventually(lambda: "cannot be followed now" in follower.out, what="the absence")
        self.path("app.db").write_bytes(b"half a copy, and no database")
        time.sleep(0.7)
        self.path("app.db").unlink()
        self.sql("app.db", "CREATE TABLE t(x); INSERT INTO t VALUES (2);")
        self.eventually(lambda: follower.out.count("laid") == 2, what="a new base")
        self.sql("app.db", "INSERT INTO t VALUES (3)")
        time.sleep(1)
        self.assertEqual(follower.stop(), 0, follower)
        target, _ = self.restore()
        self.assertSameDatabase("app.db", target)

    def test_a_database_that_is_copied_over_in_place(self):
        self.sql("app.db", "CREATE TABLE t(x); INSERT INTO t VALUES (1);", wal=False)
        follower = self.follow()
        self.eventually(lambda: "laid" in follower.out, what="a base")
        self.sql("app.db", "INSERT INTO t VALUES (2)", wal=False)
        whole = self.path("app.db").read_bytes()
        with self.path("app.db").open("r+b") as file:  # cp, stopped between the first pages
            file.write(b"half a copy, and no database" * 100)
        self.eventually(lambda: "cannot be followed now" in follower.out, what="the copy to be noticed")
        with self.path("app.db").open("r+b") as file:
            file.write(whole)
        self.eventually(lambda: follower.out.count("laid") == 2, what="a new base")
        self.assertEqual(follower.stop(), 0, follower)
        target, _ = self.restore()
        self.assertSameDatabase("app.db", target)

    def test_a_table_as_of_the_second_before_it_was_dropped(self):
        self.sql("app.db", "CREATE TABLE orders(id INTEGER PRIMARY KEY, v); CREATE INDEX o ON orders(v);")
        follower = self.follow()
        self.eventually(lambda: self.varve("list", "--json").json["sources"])
        c = sqlite3.connect(self.path("app.db"), isolation_level=None)
        for i in range(50):
            c.execute("INSERT INTO orders VALUES (?, ?)", (i, "v%d" % i))
        expected = list(c.iterdump())
        c.execute("DELETE FROM orders WHERE id >= 10")
        c.execute("DROP TABLE orders")
        c.close()
        time.sleep(1)
        self.assertEqual(follower.stop(), 0)
        events = self.varve("history", "sqlite:app.db", "--table", "orders", "--json").json["events"]
        deleted = [e for e in events if e["kind"] == "delete"]
        self.assertEqual([e["rows"] for e in deleted], [40], events)
        self.assertIn("drop_table", [e["kind"] for e in events])
        txn = deleted[0]["position"].split(":")[1]
        self.varve("restore", "sqlite:app.db", "--table", "orders", "--to", f"before:{txn}", "--target", "orders.db")
        self.assertEqual(list(sqlite3.connect(self.path("orders.db")).iterdump()), expected)

    def test_a_moment_that_was_not_followed_is_refused_with_the_nearest(self):
        self.sql("app.db", "CREATE TABLE t(x);")
        self.varve("backup", "sqlite:app.db")
        out = self.varve("restore", "sqlite:app.db", "--to", iso(time.time() - 3600), "--target", "x.db", status=8)
        self.assertRegex(out.err, r"hint: .*nearest recoverable")
        self.assertFalse(self.path("x.db").exists())

    def test_rollback_journal(self):
        self.sql("app.db", "CREATE TABLE marker(n INTEGER PRIMARY KEY); ", wal=False)
        follower = self.follow()
        self.eventually(lambda: self.varve("list", "--json").json["sources"])
        c = sqlite3.connect(self.path("app.db"), timeout=30, isolation_level=None)
        times = []
        for n in range(1, 60):
            c.execute("INSERT INTO marker VALUES (?)", (n,))
            times.append(time.time())
            time.sleep(0.1)
        c.close()
        time.sleep(1.2)
        self.assertEqual(follower.stop(), 0, follower)
        target, _ = self.restore()
        self.assertSameDatabase("app.db", target)
        for t in self.rng.sample(times, 5):
            target, _ = self.restore("--to", iso(t + 0.5))
            n = self.sql(target, "SELECT count(*), max(n) FROM marker")[0]
            self.assertEqual(n[0], n[1] or 0)
            self.assertGreaterEqual(n[0], sum(x <= t - 0.6 for x in times))


if __name__ == "__main__":
    main()
