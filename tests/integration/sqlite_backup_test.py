"""Backups of every type over a database that changes unkindly: each restores to the database's own dump."""

import random
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
import unittest
from pathlib import Path

from varve_harness import PASSPHRASE, VarveTest, dump, main


class Chain(VarveTest):
    def setUp(self):
        super().setUp()
        self.rng = random.Random(7)
        self.init()

    def fill(self, name, rows, page_size=4096, wal=True):
        c = sqlite3.connect(self.path(name), isolation_level=None)
        c.execute(f"PRAGMA page_size={page_size}")
        if wal:
            c.execute("PRAGMA journal_mode=WAL").fetchall()
        c.executescript("CREATE TABLE t(id INTEGER PRIMARY KEY, k INTEGER, v TEXT, w TEXT);"
                        "CREATE TABLE s(a TEXT PRIMARY KEY, b) WITHOUT ROWID; BEGIN;")
        for i in range(rows):
            c.execute("INSERT INTO t VALUES (?,?,?,?)", (i, self.rng.randrange(10**6), "value %d" % self.rng.randrange(10**8),
                                                         self.rng.randbytes(60).hex()))
        c.execute("COMMIT")
        c.executescript("CREATE INDEX t_k ON t(k); CREATE INDEX t_v ON t(v);")
        c.close()

    def chain(self, wal, page_size):
        self.fill("app.db", 20000, page_size, wal)
        changes = [
            ("full", ""),
            ("incremental", "UPDATE t SET v = 'x' || v WHERE id % 500 = 3;"),
            ("incremental", "DROP INDEX t_v; INSERT INTO s SELECT id, v FROM t WHERE id % 50 = 0;"),
            ("differential", "DELETE FROM t WHERE id BETWEEN 3000 AND 9000;"),
            ("incremental", "VACUUM;"),
            ("auto", "CREATE TABLE blob_table(x); INSERT INTO blob_table SELECT randomblob(70000) FROM t LIMIT 20;"),
            ("full", "DROP TABLE blob_table; PRAGMA user_version = 5;"),
            ("incremental", "UPDATE s SET b = NULL; CREATE VIEW v AS SELECT * FROM s;"),
        ]
        made = []
        for kind, change in changes:
            c = sqlite3.connect(self.path("app.db"), isolation_level=None)
            c.executescript(change)
            # The connection stays open while the backup runs: the WAL is not folded in.
            backup = self.varve("backup", "sqlite:app.db", "--type", kind, "--json").json["backup"]
            made.append((backup, dump(self.path("app.db"))))
            c.close()
        for i, (backup, expected) in enumerate(made):
            self.varve("restore", "sqlite:app.db", "--backup", backup["id"], "--target", f"back{i}.db")
            self.assertEqual(dump(self.path(f"back{i}.db")), expected, backup)
        types = [b["type"] for b, _ in made]
        self.assertEqual(types[:5], ["full", "incremental", "incremental", "differential", "incremental"])
        self.assertEqual(types[6], "full")
        self.varve("verify")

    def test_wal(self):
        self.chain(True, 4096)

    def test_rollback_journal(self):
        self.chain(False, 1024)

    def test_largest_pages(self):
        self.chain(True, 65536)

    def test_incremental_costs_what_changed(self):
        self.fill("app.db", 200000)
        full = self.varve("backup", "sqlite:app.db", "--json").json["backup"]
        c = sqlite3.connect(self.path("app.db"), isolation_level=None)
        before = Path(self.path("app.db")).read_bytes()
        c.execute("BEGIN")
        for _ in range(300):
            c.execute("UPDATE t SET w = ? WHERE id = ?", (self.rng.randbytes(60).hex(), self.rng.randrange(200000)))
        c.execute("COMMIT")
        c.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        c.close()
        after = Path(self.path("app.db")).read_bytes()
        changed = [after[i:i + 4096] for i in range(0, len(after), 4096) if after[i:i + 4096] != before[i:i + 4096]]
        # What a compressor makes of just the changed pages, in runs as long as a frame's.
        packed = sum(len(subprocess.run(["zstd", "-3", "-c"], input=b"".join(changed[i:i + 16]), capture_output=True,
                                        check=True, timeout=60).stdout) for i in range(0, len(changed), 16))
        one = self.varve("backup", "sqlite:app.db", "--json").json["backup"]
        self.assertEqual(one["type"], "incremental")
        self.assertLessEqual(one["stored"], 1.1 * packed + 8192, (one, len(changed)))
        self.assertLess(one["stored"], full["stored"] / 20)
        again = self.varve("backup", "sqlite:app.db", "--json").json["backup"]
        self.assertLess(again["stored"], 16384)
        for b in (one, again):
            self.varve("restore", "sqlite:app.db", "--backup", b["id"], "--target", b["id"] + ".db")
            self.assertSameDatabase("app.db", b["id"] + ".db")

    def test_while_others_write(self):
        self.fill("app.db", 50000)
        log = self.path("writes")
        writer = subprocess.Popen([sys.executable, str(Path(__file__).with_name("sqlite_writer.py")), str(self.path("app.db")),
                                   "12", "3", str(log)])
        try:
            self.eventually(lambda: log.exists() and log.stat().st_size > 0)
            ids = [self.varve("backup", "sqlite:app.db", "--json").json["backup"]["id"] for _ in range(6)]
        finally:
            self.assertEqual(writer.wait(60), 0)
        counts = []
        for i in ids:
            self.varve("restore", "sqlite:app.db", "--backup", i, "--target", i + ".db")
            dump(self.path(i + ".db"))  # integrity
            rows = self.sql(i + ".db", "SELECT n FROM marker ORDER BY n")
            self.assertEqual([r[0] for r in rows], list(range(1, len(rows) + 1)))
            counts.append(len(rows))
        self.assertEqual(counts, sorted(counts))

    def test_two_at_once(self):
        self.fill("app.db", 30000)
        results = []
        threads = [threading.Thread(target=lambda: results.append(self.run_varve("backup", "sqlite:app.db", "--json")))
                   for _ in range(3)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertTrue(any(r.status == 0 for r in results), "\n".join(map(str, results)))
        for n, r in enumerate(results):
            self.assertIn(r.status, (0, 7), r)
            if r.status == 0:
                self.varve("restore", "sqlite:app.db", "--backup", r.json["backup"]["id"], "--target", f"r{n}.db")
                self.assertSameDatabase("app.db", f"r{n}.db")
        self.varve("verify")

    def test_on_a_second_machine(self):
        self.fill("app.db", 5000)
        self.varve("backup", "sqlite:app.db")
        expected = dump(self.path("app.db"))
        away = self.path("elsewhere")
        away.mkdir()
        if self.place.is_folder:
            shutil.move(self.repo, away / "bucket")
        address = f"file://{away}/bucket" if self.place.is_folder else self.place.url
        self.path("app.db").unlink()
        binary = shutil.copy(self.binary, away / "varve")
        env = {"VARVE_REPO": None, "VARVE_PASSPHRASE": PASSPHRASE, "HOME": str(away)}
        listed = self.varve("list", "--repo", address, "--json", env=env, cwd=away, binary=binary).json
        name = listed["sources"][0]["name"]
        self.varve("restore", name, "--repo", address, "--target", "app.db", env=env, cwd=away, binary=binary)
        self.assertEqual(dump(away / "app.db"), expected)

    def test_several_databases_by_a_glob(self):
        self.path("data").mkdir()
        for i in range(5):
            self.fill(f"data/tenant {i}.db", 500 + i)
        (self.path("data") / "notes.db").write_text("no database")
        backup = self.varve("backup", "sqlite:data/*.db", "--json").json["backup"]
        self.varve("restore", backup["source"], "--target", "back")
        for i in range(5):
            self.assertSameDatabase(f"data/tenant {i}.db", f"back/tenant {i}.db")
        self.assertFalse(self.path("back/notes.db").exists())

    def test_one_table(self):
        self.fill("app.db", 20000)
        self.sql("app.db", "CREATE TRIGGER tr AFTER DELETE ON t BEGIN INSERT INTO s VALUES (old.id, 1); END; SELECT 1;")
        self.varve("backup", "sqlite:app.db")
        expected = subprocess.run(["sqlite3", str(self.path("app.db")), ".dump t"], capture_output=True, check=True, timeout=60).stdout
        self.sql("app.db", "DROP TABLE t")
        got = self.varve("restore", "sqlite:app.db", "--table", "t", "--target", "t.db", "--json").json["restore"]
        self.assertEqual(subprocess.run(["sqlite3", str(self.path("t.db")), ".dump t"], capture_output=True, check=True,
                                        timeout=60).stdout, expected)
        self.varve("restore", "sqlite:app.db", "--table", "t", "--into", "app.db", "--as", "t_back")
        self.assertEqual(self.sql("app.db", "SELECT count(*), sum(k) FROM t_back"), self.sql("t.db", "SELECT count(*), sum(k) FROM t"))
        self.assertIn("fetched", got)

    def test_an_existing_target_is_kept(self):
        self.fill("app.db", 100)
        self.varve("backup", "sqlite:app.db")
        before = dump(self.path("app.db"))
        self.sql("app.db", "DELETE FROM t; INSERT INTO t VALUES (1,1,'after','')")
        after = dump(self.path("app.db"))
        refused = self.varve("restore", "sqlite:app.db", "--target", "app.db", status=7)
        self.assertIn("--force", refused.err)
        self.assertEqual(dump(self.path("app.db")), after)
        # Open elsewhere: a restore under a running application would be lost or worse.
        c = sqlite3.connect(self.path("app.db"), isolation_level=None)
        c.execute("SELECT * FROM t").fetchall()
        self.varve("restore", "sqlite:app.db", "--target", "app.db", "--force", status=7)
        c.close()
        self.varve("restore", "sqlite:app.db", "--target", "app.db", "--force")
        self.assertEqual(dump(self.path("app.db")), before)
        kept = list(self.folder.glob("app.db.before-restore-*"))
        self.assertEqual([dump(k) for k in kept if not str(k).endswith(("-wal", "-shm"))], [after])

    def test_an_old_wal_does_not_leak_into_a_restore(self):
        self.fill("app.db", 100)
        self.varve("backup", "sqlite:app.db")
        expected = dump(self.path("app.db"))
        # A crashed application leaves its WAL behind.
        crash = ("import sqlite3,os; c=sqlite3.connect('app.db',isolation_level=None);"
                 "c.execute('PRAGMA wal_autocheckpoint=0'); c.execute(\"UPDATE t SET v='lost'\"); os._exit(0)")
        subprocess.run([sys.executable, "-c", crash], cwd=self.folder, check=True, timeout=60)
        self.assertTrue(self.path("app.db-wal").exists())
        self.path("app.db").unlink()
        self.varve("restore", "sqlite:app.db", "--target", "app.db", "--force")
        self.assertEqual(dump(self.path("app.db")), expected)


if __name__ == "__main__":
    main()
