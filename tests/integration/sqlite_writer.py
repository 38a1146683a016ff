"""An application that knows nothing of Varve: commits at random, checkpoints and reopens its database as it likes.

    sqlite_writer.py DATABASE SECONDS SEED LOG [--gap SECONDS]

Each commit n adds row n to `marker` (whose digest chains over all before) beside other changes. LOG gets a line
"n before after" per commit: the wall clock around it.
"""

import hashlib
import random
import sqlite3
import sys
import time


def open_database(path):
    c = sqlite3.connect(path, timeout=30, isolation_level=None)
    c.execute("PRAGMA journal_mode=WAL").fetchall()
    return c


def prepare(c):
    c.executescript("""
        CREATE TABLE IF NOT EXISTS marker(n INTEGER PRIMARY KEY, digest TEXT);
        CREATE TABLE IF NOT EXISTS item(id INTEGER PRIMARY KEY, a INTEGER, b TEXT, c BLOB);
        CREATE INDEX IF NOT EXISTS item_a ON item(a);
    """)


def work(c, rng):
    for _ in range(rng.choice([1, 1, 2, 5, 40])):
        what = rng.random()
        if what < 0.6:
            c.execute("INSERT INTO item(a, b, c) VALUES (?, ?, ?)",
                      (rng.randrange(1000), "text %d" % rng.randrange(10**9), rng.randbytes(rng.choice([10, 200, 9000]))))
        elif what < 0.85:
            c.execute("UPDATE item SET b = ?, a = a + 1 WHERE id % 97 = ?", (str(rng.random()), rng.randrange(97)))
        else:
            c.execute("DELETE FROM item WHERE id IN (SELECT id FROM item ORDER BY random() LIMIT ?)", (rng.randrange(30),))
    if rng.random() < 0.02:
        c.execute("DROP INDEX IF EXISTS item_a")
        c.execute("CREATE INDEX item_a ON item(a)")


def main():
    path, seconds, seed, log = sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    gap = float(sys.argv[6]) if len(sys.argv) > 6 else 0.02
    rng = random.Random(seed)
    c = open_database(path)
    prepare(c)
    row = c.execute("SELECT n, digest FROM marker ORDER BY n DESC LIMIT 1").fetchone() or (0, "")
    n, digest = row
    end = time.time() + seconds
    with open(log, "a", buffering=1) as out:
        while time.time() < end:
            n += 1
            digest = hashlib.sha256(f"{digest}{n}".encode()).hexdigest()
            before = time.time()
            c.execute("BEGIN IMMEDIATE")
            work(c, rng)
            c.execute("INSERT INTO marker VALUES (?, ?)", (n, digest))
            c.execute("COMMIT")
            out.write(f"{n} {before:.6f} {time.time():.6f}\n")
            dice = rng.random()
            if dice < 0.03:
                c.execute("PRAGMA wal_checkpoint(%s)" % rng.choice(["PASSIVE", "FULL", "RESTART", "TRUNCATE"])).fetchall()
            elif dice < 0.05:
                c.close()
                c = open_database(path)
            time.sleep(rng.random() * 2 * gap)
    c.close()


if __name__ == "__main__":
    main()
