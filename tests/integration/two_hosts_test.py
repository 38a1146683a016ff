"""Two hosts back one source up into one repository, a third collects, and one of them is frozen in between: nothing is lost.

A host here is a process with a name of its own (unshare --uts, as root; elsewhere its home and working folder alone). A frozen one
is stopped by SIGSTOP for longer than every grace there is, and woken by SIGCONT: it goes on with what it knew.
"""

import hashlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import time

from varve_harness import VarveTest, main
from varve_harness import dump as whole_dump

ROUNDS = int(os.environ.get("VARVE_ROUNDS", "6"))


def dump(path):
    """A digest of the database's own dump."""
    return hashlib.sha256(whole_dump(path).encode("utf-8", "surrogateescape")).hexdigest()


def can_unshare():
    return subprocess.run(["unshare", "--uts", "true"], capture_output=True, timeout=20, check=False).returncode == 0


class TwoHosts(VarveTest):
    def setUp(self):
        super().setUp()
        self.rng = random.Random(17)
        self.named = can_unshare()
        self.init()
        self.expected = {}
        for host in ("alpha", "beta", "gamma"):
            self.path(host).mkdir()
        c = sqlite3.connect(self.path("app.db"), isolation_level=None)
        c.execute("PRAGMA journal_mode=WAL").fetchall()
        c.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB)")
        c.execute("WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000) "
                  "INSERT INTO t(v) SELECT randomblob(3000) FROM n")
        c.close()

    def change(self):
        c = sqlite3.connect(self.path("app.db"), isolation_level=None, timeout=30)
        c.execute("UPDATE t SET v = randomblob(3000) WHERE id % 20 = ?", (self.rng.randrange(20),))
        c.close()

    def on(self, host, *arguments):
        """Starts varve on that host."""
        binary, env = self.binary, {"HOME": self.path(host)}
        if self.named:
            script = self.path(host) / "varve"
            if not script.exists():
                script.write_text(f'#!/bin/sh\nexec unshare --uts sh -c \'hostname {host} && exec "$0" "$@"\' "{binary}" "$@"\n')
                script.chmod(0o755)
            self.binary = str(script)
        try:
            return self.start(*arguments, env=env, cwd=self.path(host))
        finally:
            self.binary = binary

    def backup_on(self, host, *more):
        return self.on(host, "backup", f"sqlite:{self.path('app.db')}", "--json", *more)

    def done(self, running, statuses):
        self.assertIn(running.wait(120), statuses, running)
        return running.process.returncode == 0

    def note(self, running, *states):
        """What was reported done must be there ever after, with one of these states."""
        backup = json.loads(running.out)["backup"]
        self.expected[backup["id"]] = states
        return backup

    def listed(self):
        return {b["id"] for s in self.varve("list", "--json").json["sources"] for b in s["backups"]}

    def source(self):
        return self.varve("list", "--json").json["sources"][0]["name"]

    def check_all(self):
        listed = self.varve("list", "--json").json["sources"]
        self.assertEqual(len(listed), 1, "one source, whoever backs it up")
        there = {b["id"] for b in listed[0]["backups"]}
        self.assertLessEqual(set(self.expected), there)
        for backup in sorted(there):
            self.varve("restore", listed[0]["name"], "--backup", backup, "--target", "back.db")
            if backup in self.expected:
                self.assertIn(dump(self.path("back.db")), self.expected[backup], backup)
            self.path("back.db").unlink()
        self.assertEqual(self.varve("verify", "--json").json["problems"], [])

    def frozen(self, running, after):
        """Stopped in the middle; whether it was still at work."""
        time.sleep(after)
        if running.process.poll() is not None:
            return False
        running.process.send_signal(signal.SIGSTOP)
        time.sleep(0.05)
        return running.process.poll() is None

    def thaw(self, running):
        running.process.send_signal(signal.SIGCONT)

    def test_side_by_side(self):
        """Both at once, while the third collects all the time."""
        for round_number in range(ROUNDS):
            self.change()
            state = dump(self.path("app.db"))
            writers = [self.backup_on("alpha"), self.backup_on("beta", *(["--type", "full"] if round_number % 3 == 2 else []))]
            collectors = []
            while any(w.process.poll() is None for w in writers):
                collector = self.on("gamma", "gc", "--grace", "0s")
                self.done(collector, (0,))
                collectors.append(collector)
            for writer in writers:
                # 7: what it built on was condemned under its hands. It says so, and there is no backup.
                if self.done(writer, (0, 7)):
                    self.note(writer, state)
            if round_number == 0 and self.named:
                hosts = self.path("hosts.txt")
                hosts.write_text(self.varve("show", self.source(), sorted(self.expected)[0]).out)
                self.assertRegex(hosts.read_text(), "alpha|beta")
            if round_number % 2 == 1:
                self.varve("expire", self.source(), "--keep-last", "2")
                listed = self.listed()
                self.expected = {i: s for i, s in self.expected.items() if i in listed}
            self.varve("gc", "--grace", "0s")
        self.assertTrue(self.expected)
        self.check_all()

    def freeze_and_collect(self, after, take_pin_away):
        """alpha is frozen in a backup; beta backs up, gamma expires and collects until nothing is left to collect; then alpha
        wakes. Whether it really was frozen at work."""
        self.change()
        state = dump(self.path("app.db"))
        pins = set(self.pins())
        sleeper = self.backup_on("alpha", "--type", self.rng.choice(["full", "auto"]))
        if not self.frozen(sleeper, after):
            if self.done(sleeper, (0, 7)):
                self.note(sleeper, state)
            return False
        self.change()
        meanwhile = dump(self.path("app.db"))
        other = self.backup_on("beta")
        if self.done(other, (0, 7)):
            self.note(other, meanwhile)
        before = self.listed()
        self.varve("expire", self.source(), "--keep-last", "1")
        expired = before - self.listed()  # the sleeper's, too, if it fell asleep with its manifest put
        self.expected = {i: s for i, s in self.expected.items() if i not in expired}
        if take_pin_away:
            for pin in set(self.pins()) - pins:
                self.place.remove(pin)  # as the runbook says, of a host that is gone for good
        for _ in range(3):
            self.done(self.on("gamma", "gc", "--grace", "0s"), (0,))
        if take_pin_away:
            self.done(self.on("gamma", "gc", "--now"), (0,))
        self.thaw(sleeper)
        if self.done(sleeper, (0, 7)):
            made = self.note(sleeper, state, meanwhile)  # it may have fallen asleep before it looked at the database
            if made["id"] in expired:
                del self.expected[made["id"]]
        return True

    def pins(self):
        return [n for n in self.place.names() if n.startswith("pins/")]

    def freezing(self, take_pin_away):
        first = self.backup_on("alpha")
        self.assertTrue(self.done(first, (0,)))
        took = self.timed_backup()
        frozen = 0
        for n in range(ROUNDS):
            frozen += self.freeze_and_collect(took * (n + 0.5) / ROUNDS, take_pin_away)
            self.check_all()
        self.assertGreater(frozen, ROUNDS // 3, "too few were at work when they were stopped")

    def timed_backup(self):
        state = dump(self.path("app.db"))
        begun = time.monotonic()
        running = self.backup_on("alpha", "--type", "full")
        self.assertTrue(self.done(running, (0,)))
        self.note(running, state)
        return time.monotonic() - begun

    def test_one_sleeps(self):
        self.freezing(False)

    def test_one_sleeps_and_is_taken_for_dead(self):
        self.freezing(True)

    def test_a_collector_sleeps(self):
        """gamma falls asleep while it collects; what it condemned is not needed, what is needed meanwhile it spares."""
        for n in range(ROUNDS):
            self.change()
            state = dump(self.path("app.db"))
            writer = self.backup_on("beta", "--type", "full")
            if self.done(writer, (0, 7)):
                self.note(writer, state)
            if n % 2:
                self.varve("expire", self.source(), "--keep-last", "1")
                listed = self.listed()
                self.expected = {i: s for i, s in self.expected.items() if i in listed}
            collector = self.on("gamma", "gc", "--grace", "0s")
            asleep = self.frozen(collector, 0.02 + 0.06 * n)
            self.change()
            state = dump(self.path("app.db"))
            writers = [self.backup_on("alpha"), self.backup_on("beta")]
            for writer in writers:
                if self.done(writer, (0, 7)):
                    self.note(writer, state)
            second = self.on("alpha", "gc", "--grace", "0s")
            self.done(second, (0,))
            if asleep:
                self.thaw(collector)
            self.done(collector, (0, 7))
        self.check_all()

    def test_a_follower_sleeps_past_its_lease(self):
        """alpha follows and is frozen; beta takes over; alpha wakes: every moment that either reported is there."""
        follower = self.on("alpha", "log", "follow", f"sqlite:{self.path('app.db')}", "--quiet")
        status = ["status", f"sqlite:{self.path('app.db')}"]
        self.eventually(lambda: "followed now" in self.run_varve(*status).out, timeout=60)
        self.change()
        time.sleep(2)
        follower.process.send_signal(signal.SIGSTOP)
        self.change()
        # A full backup on another host, while the follower's connection to the database sleeps.
        state = dump(self.path("app.db"))
        other = self.backup_on("beta")
        if self.done(other, (0, 7)):
            self.note(other, state)
        self.done(self.on("gamma", "gc", "--grace", "0s"), (0,))
        self.done(self.on("gamma", "gc", "--grace", "0s"), (0,))
        follower.process.send_signal(signal.SIGCONT)
        self.change()
        final = dump(self.path("app.db"))
        time.sleep(3)
        self.assertIn(follower.stop(), (0, 7), follower)
        self.check_all()
        if follower.process.returncode == 0:
            self.varve("restore", self.source(), "--to", "latest", "--target", "latest.db")
            self.assertEqual(dump(self.path("latest.db")), final)


if __name__ == "__main__":
    main()
