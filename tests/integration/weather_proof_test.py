"""Bad weather between varve and a store, under the real commands: what fails is tried again, and all ends right.

Runs below tests/services/with.py with $VARVE_TEST_ON, on stores that speak HTTP. $VARVE_ROUNDS (50): of the long test; with
few, what waits for minutes is left out.
"""

import collections
import os
import random
import sqlite3
import subprocess
import time
import unittest

import bad_weather
from varve_harness import VarveTest, dump, main
from weather import Fault

ROUNDS = int(os.environ.get("VARVE_ROUNDS", "50"))
LONG = ROUNDS >= 50
# How many more requests may reach the proxy than are needed. 6 of 100 fail and are sent again; a put whose fate is not known
# costs a read as well.
MOST_REQUESTS = 1.3
# Past the clock of the machine: what the time would be if it were off.
CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
static long off(void) { const char* text = getenv("CLOCK_OFF"); return text ? atol(text) : 0; }
int clock_gettime(clockid_t id, struct timespec* t) {
  static int (*real)(clockid_t, struct timespec*);
  if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
  int r = real(id, t);
  if (id == CLOCK_REALTIME) t->tv_sec += off();
  return r;
}
time_t time(time_t* out) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  if (out) *out = t.tv_sec;
  return t.tv_sec;
}
int gettimeofday(struct timeval* restrict t, void* restrict zone) {
  struct timespec s;
  clock_gettime(CLOCK_REALTIME, &s);
  t->tv_sec = s.tv_sec;
  t->tv_usec = s.tv_nsec / 1000;
  return 0;
}
"""


class WeatherProof(VarveTest):
    def setUp(self):
        super().setUp()
        self.rng = random.Random(5)
        self.weather = bad_weather.before(self, seed=23)
        if not self.weather:
            self.skipTest("not a store that is reached over HTTP")
        self.dialect = {"s3": "s3", "gs": "gcs", "azure": "azure"}[self.place.url.split(":")[0]]
        self.varve("init")
        c = sqlite3.connect(self.path("app.db"), isolation_level=None)
        c.execute("PRAGMA journal_mode=WAL").fetchall()
        c.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT)")
        c.execute("BEGIN")
        for i in range(20000):
            c.execute("INSERT INTO t VALUES (?, ?)", (i, self.rng.randbytes(50).hex()))
        c.execute("COMMIT")
        c.close()

    def change(self):
        c = sqlite3.connect(self.path("app.db"), isolation_level=None)
        c.execute("UPDATE t SET v = ? WHERE id % 400 = ?", (str(self.rng.random()), self.rng.randrange(400)))
        c.close()

    def total(self):
        return sum(self.weather.counts.values())

    def restored(self):
        self.varve("restore", "sqlite:app.db", "--target", "back.db")
        self.assertSameDatabase("app.db", "back.db")
        self.path("back.db").unlink()

    def round(self, *arguments):
        """Requests it took."""
        before = self.total()
        self.change()
        self.varve("backup", "sqlite:app.db", *arguments)
        self.restored()
        self.varve("expire", "sqlite:app.db", "--keep-last", "3")
        self.varve("gc", "--now")
        return self.total() - before

    def test_rounds_in_a_storm(self):
        # In cycles that begin with a full backup: each incremental leaves a pack, and the next asks for one more.
        cycle = 5

        def cycles(count):
            return sum(self.round("--type", "incremental" if n % cycle else "full") for n in range(count * cycle)) / count

        cycles(1)  # until as much expires as is new
        before = cycles(1)
        bad_weather.storm(self.weather)
        stormy = cycles(ROUNDS // cycle)
        struck = self.weather.struck
        self.weather.clear()
        # The records of a collection are kept for 30 days, and each backup and collection reads them.
        fair = (before + cycles(1)) / 2
        print(f"\n{self.dialect}: {fair:.1f} requests for {cycle} rounds in fair weather, {stormy:.1f} in the storm; "
              f"{ROUNDS} rounds, struck: {({f.name: n for f, n in struck.items()})}", flush=True)
        self.varve("verify")
        self.restored()
        self.assertGreater(sum(struck.values()), 1.5 * ROUNDS)
        self.assertLessEqual(stormy, MOST_REQUESTS * fair)
        # Nothing that a storm broke off is left: no pin, and no pack that nobody needs.
        gone = self.varve("gc", "--now", "--json").json["gc"]
        self.assertEqual((gone["packs_condemned"], gone["packs_removed"]), (0, 0), gone)

    def test_copies_in_a_storm(self):
        """Both of a copy's ends behind it."""
        copy = self.env["VARVE_REPO"].replace(self.place.prefix, f"{self.place.prefix}-copy")
        bad_weather.storm(self.weather)
        for n in range(ROUNDS):
            self.change()
            self.varve("backup", "sqlite:app.db")
            copied = self.varve("copy", "--to", copy, "--json").json["copy"]
            self.assertEqual((copied["backups"], copied["problems"]), (1, []))
            self.varve("restore", "sqlite:app.db", "--target", "back.db", "--repo", copy)
            self.assertSameDatabase("app.db", "back.db")
            self.path("back.db").unlink()
            if n % 4 == 3:
                self.varve("expire", "sqlite:app.db", "--keep-last", "2")
                self.varve("gc", "--now")
        self.assertGreater(sum(self.weather.struck.values()), 1.5 * ROUNDS)
        self.weather.clear()
        self.varve("verify", "--repo", copy)
        again = self.varve("copy", "--to", copy, "--json").json["copy"]
        self.assertEqual((again["backups"], again["problems"]), (0, []))

    def test_connections_refused(self):
        self.weather.set(Fault.REFUSED, nth=[4, 9, 15], seconds=0.7)
        self.round()
        self.assertEqual(self.weather.struck[Fault.REFUSED], 3)
        self.restored()

    def test_nobody_there(self):
        self.varve("backup", "sqlite:app.db")
        self.weather.set(Fault.REFUSED, seconds=3600)
        for command in (["backup", "sqlite:app.db"], ["restore", "sqlite:app.db", "--target", "back.db"], ["list"]):
            outcome = self.varve(*command, status=5)
            self.assertLess(outcome.seconds, 60, outcome)
            self.assertFails(outcome, 5, "127.0.0.1")
        self.assertFalse(self.path("back.db").exists())

    def test_a_page_in_place_of_an_answer(self):
        self.varve("backup", "sqlite:app.db")
        self.weather.set(Fault.CAPTIVE, nth=[2, 5, 8, 11, 14], times=5)
        self.round()
        self.assertEqual(self.weather.struck[Fault.CAPTIVE], 5)
        self.weather.clear()
        # And when there is nothing else: no repository is not what that means, nor an empty one, nor a success.
        for status in (200, 302, 403, 511):
            self.weather.set(Fault.CAPTIVE, status=status)
            for command in (["backup", "sqlite:app.db"], ["list"], ["gc", "--now"]):
                if not LONG and status != 200:
                    continue
                outcome = self.varve(*command, status=5)
                self.assertLess(outcome.seconds, 90, outcome)
                self.assertNotIn("varve init", outcome.err)
            self.weather.clear()
        self.restored()

    def test_a_token_that_has_expired(self):
        self.varve("backup", "sqlite:app.db")
        if self.dialect == "s3":
            # Keys from a file do not expire by themselves: what no new credential mends is told as it is, wherever it strikes.
            for nth in (1, 2, 3, 5, 8):
                rule = self.weather.set(Fault.EXPIRED, nth=nth, dialect="s3")
                outcome = self.varve("restore", "sqlite:app.db", "--target", "back.db", status=5)
                self.assertEqual(rule.hits, 1)
                self.assertIn("ExpiredToken", outcome.err)
                self.assertNotIn("recovery kit", outcome.err)
                self.weather.clear()
            return
        before = self.total()
        self.weather.set(Fault.EXPIRED, dialect=self.dialect, nth=[3, 9])
        self.restored()
        taken = self.total() - before
        self.weather.clear()
        self.assertEqual(self.weather.struck[Fault.EXPIRED], 2)
        before = self.total()
        self.restored()
        self.assertLessEqual(taken, self.total() - before + 4)

    def test_a_token_that_stays_expired(self):
        self.weather.set(Fault.EXPIRED, dialect=self.dialect)
        before = self.total()
        outcome = self.varve("backup", "sqlite:app.db", status=5)
        self.assertLess(outcome.seconds, 30, outcome)
        self.assertLessEqual(self.total() - before, 4, "what a new token does not mend is not asked for ever")

    def test_a_clock_that_is_wrong(self):
        source, library = self.path("clock.c"), self.path("clock.so")
        source.write_text(CLOCK)
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"], check=True, timeout=60)
        self.varve("backup", "sqlite:app.db")
        for off in (-3600, 3600):
            wrong = {"LD_PRELOAD": library, "CLOCK_OFF": off}
            self.change()
            outcome = self.run_varve("backup", "sqlite:app.db", "--json", env=wrong)
            if self.dialect == "gcs" and outcome.status:
                # Google takes no statement of tomorrow, and does not tell the time with its refusal.
                self.assertEqual(outcome.status, 5, outcome)
                continue
            self.assertEqual(outcome.status, 0, outcome)
            # By its name: what is "latest" is a matter of the clock that is wrong.
            self.varve("restore", "sqlite:app.db", "--backup", outcome.json["backup"]["id"], "--target", "back.db", env=wrong)
            self.assertSameDatabase("app.db", "back.db")
            self.path("back.db").unlink()
        self.varve("verify")

    def test_a_reply_with_another_date(self):
        self.weather.set(Fault.SKEWED, seconds=7200)
        self.round()

    @unittest.skipUnless(LONG, "waits for half a minute, several times")
    def test_a_stall_is_noticed(self):
        self.varve("backup", "sqlite:app.db")
        for rule in ({"method": "GET", "path": "packs", "nth": 1, "at": 1000}, {"method": "PUT|POST", "nth": 2}):
            self.weather.set(Fault.STALL, **rule)
            self.change()
            begun = time.monotonic()
            self.varve("backup", "sqlite:app.db")
            self.restored()
            took = time.monotonic() - begun
            self.weather.clear()
            self.assertTrue(25 < took < 60, took)
        self.assertEqual(self.weather.struck[Fault.STALL], 2)

    @unittest.skipUnless(LONG, "takes a while")
    def test_a_follower_in_a_storm(self):
        bad_weather.storm(self.weather)
        follower = self.start("log", "follow", "sqlite:app.db", "--quiet")
        self.eventually(lambda: "followed now" in self.run_varve("status", "sqlite:app.db").out, timeout=60)
        for _ in range(40):
            self.change()
            time.sleep(0.25)
        expected = dump(self.path("app.db"))
        self.assertEqual(follower.stop(), 0, follower)
        self.weather.clear()
        self.varve("restore", "sqlite:app.db", "--target", "back.db", "--to", "latest")
        self.assertEqual(dump(self.path("back.db")), expected)
        self.varve("verify")

    def test_no_storm_of_our_own(self):
        """A store that throttles everything is asked ever more seldom."""
        self.weather.set(Fault.STATUS, status=503)
        before, begun = self.total(), time.monotonic()
        self.varve("list", status=5)
        self.assertLessEqual(self.total() - before, 8)
        self.weather.clear()
        self.weather.set(Fault.STATUS, status=503, retry_after=2, nth=[2, 5])
        begun = time.monotonic()
        self.varve("backup", "sqlite:app.db")
        self.assertGreaterEqual(time.monotonic() - begun, 4, "what a store asks for is waited for")
        seen = collections.Counter(self.weather.requests)
        self.assertGreater(len(seen), 0)


if __name__ == "__main__":
    main()
