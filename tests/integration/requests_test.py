"""What a backup and a restore cost at a store: requests counted on their way, and memory. Below tests/services/with.py, on stores
that speak HTTP; on a folder, memory alone."""

import filecmp
import os
import re
import sqlite3
import subprocess
import time
import unittest

import bad_weather
from varve_harness import VarveTest, main

MIB = 1 << 20
MEMORY = 256 * MIB
# Put once for each backup, whatever its size: pin, manifest, the line in the audit trail.
FIXED_PUTS = 4
# As many small packs may a backup refer to (src/repo/backup_writer.h).
SMALL_PACKS = 32
SECOND = re.compile(r"/backups/\d{8}-\d{6}")


def is_listing(request):
    method, target = request
    return method == "GET" and bool(re.search(r"[?&](list-type=2|comp=list|prefix=|versions)", target))


def manifests(cost):
    return [target for method, target in cost["seen"] if method == "GET" and "/backups/" in target]


class Requests(VarveTest):
    def setUp(self):
        super().setUp()
        self.weather = bad_weather.before(self)
        if not self.weather and not self.place.is_folder:
            self.skipTest("not a store that is reached over HTTP")
        self.init()

    def grow(self, mib):
        """By rows that nothing can compress."""
        c = sqlite3.connect(self.path("app.db"), isolation_level=None)
        c.executescript("PRAGMA synchronous=OFF; CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, v BLOB)")
        for _ in range(mib // 4):
            c.execute("WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1024) INSERT INTO t(v) SELECT randomblob(4000) FROM n")
        c.close()

    def measured(self, *arguments):
        """What it used: seconds, bytes of memory, and what it asked of the store."""
        before = dict(self.weather.counts) if self.weather else {}
        if self.weather:
            self.weather.requests.clear()
        process = subprocess.Popen([self.binary, *map(str, arguments)], env=self._environment({}), cwd=self.folder,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        with process.stdout:
            text = process.stdout.read().decode(errors="replace")
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        self.assertEqual(process.returncode, 0, text)
        self.assertLessEqual(usage.ru_maxrss * 1024, MEMORY, text)
        seen = list(self.weather.requests) if self.weather else []
        counts = {m: n - before.get(m, 0) for m, n in (self.weather.counts if self.weather else {}).items()}
        out = {"text": text, "rss": usage.ru_maxrss / 1024, "puts": counts.get("PUT", 0) + counts.get("POST", 0),
               "gets": counts.get("GET", 0), "lists": sum(map(is_listing, seen)), "all": sum(counts.values()), "seen": seen}
        print(f"\n{arguments[0]}: {out['rss']:.0f} MiB resident, {out['all']} requests, {out['puts']} puts, {out['lists']} listings",
              end="", flush=True)
        return out

    def stored(self):
        return max((b for s in self.varve("list", "--json").json["sources"] for b in s["backups"]),
                   key=lambda b: b["finished_at"])["stored"]

    def test_a_backup_costs_little(self):
        self.grow(4)
        small = self.measured("backup", "sqlite:app.db", "--type", "full")
        self.grow(508)
        large = self.measured("backup", "sqlite:app.db", "--type", "full")
        packs = self.stored() / (16 * MIB)
        # One page in a hundred.
        self.sql("app.db", "UPDATE t SET v = randomblob(4000) WHERE id % 100 = 7")
        little = self.measured("backup", "sqlite:app.db")
        restore = self.measured("restore", "sqlite:app.db", "--target", "back.db")
        # Not by their dumps: what this process holds would count as the memory of those that it starts.
        self.assertTrue(filecmp.cmp(self.path("app.db"), self.path("back.db"), shallow=False))
        verified = self.measured("verify")
        self.assertIn("no problems", verified["text"])
        if not self.weather:
            return
        self.assertLessEqual(large["puts"], packs + FIXED_PUTS)
        self.assertLessEqual(little["puts"], self.stored() / (16 * MIB) + 1 + FIXED_PUTS)
        self.assertEqual(large["lists"], small["lists"], "listings follow the size of the database")
        self.assertLessEqual(little["lists"], small["lists"] + 1, "its parent is found by a listing")
        self.assertLessEqual(little["all"], small["all"] + 40, [r for r in little["seen"]])
        # 8 MiB at a time, and an index for each pack.
        self.assertLessEqual(restore["gets"], 512 / 7 + 2 * 512 / 32 + 60)

    def test_the_hundredth_backup_costs_what_the_second_did(self):
        if not self.weather:
            self.skipTest("nothing to count on a folder")
        self.grow(4)
        costs = []
        for n in range(1, 101):
            self.sql("app.db", f"UPDATE t SET v = randomblob(4000) WHERE id = {n * 9}")
            costs.append(self.measured("backup", "sqlite:app.db", "--type", "incremental" if n > 1 else "full"))
        print(f"\nrequests: {[c['all'] for c in costs]}", flush=True)
        second = costs[1]
        for n, cost in enumerate(costs[2:], 3):
            self.assertEqual(cost["puts"], second["puts"])
            self.assertEqual(cost["lists"], second["lists"])
            # The newest manifest alone; those of one second have no order but their content's.
            self.assertEqual(len({SECOND.search(m)[0] for m in manifests(cost)}), 1, cost["seen"])
            # One index for each small pack, until they are folded, and for each pack that this left.
            self.assertLessEqual(cost["all"] - len(manifests(cost)),
                                 second["all"] - len(manifests(second)) + SMALL_PACKS + n // SMALL_PACKS)
        restored = self.measured("restore", "sqlite:app.db", "--target", "back.db")
        self.assertLessEqual(restored["gets"], 100 + 2 * SMALL_PACKS + 20)

    def check_listings(self, requests):
        """None but of the lease, when it is renewed: every five seconds at most."""
        listings = [r for r in requests if is_listing(r)]
        self.assertTrue(all("leases" in target for _, target in listings), listings)
        self.assertLessEqual(len(listings), 6, listings)

    def test_a_follower_at_rest_asks_for_nothing(self):
        if not self.weather:
            self.skipTest("nothing to count on a folder")
        self.grow(4)
        self.sql("app.db", "PRAGMA journal_mode=WAL")
        follower = self.start("log", "follow", "sqlite:app.db", "--quiet")
        self.eventually(lambda: "followed now" in self.run_varve("status", "sqlite:app.db").out, timeout=60)
        time.sleep(2)
        self.weather.requests.clear()
        time.sleep(20)
        at_rest = list(self.weather.requests)
        self.assertLessEqual(len(at_rest), 12, at_rest)
        self.check_listings(at_rest)
        self.weather.requests.clear()
        for n in range(20):
            self.sql("app.db", f"UPDATE t SET v = randomblob(100) WHERE id = {n + 1}")
            time.sleep(0.5)
        busy = list(self.weather.requests)
        self.assertLessEqual(len(busy), 3 * 20 + 12, busy)
        self.check_listings(busy)
        self.assertEqual(follower.stop(), 0, follower)


if __name__ == "__main__":
    unittest.TestCase.maxDiff = 4000
    main()
