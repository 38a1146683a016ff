#!/usr/bin/env python3
"""tools/read_repository.py, written from docs/format/ alone, restores what varve stored: the documents are enough."""

import os
import random
import subprocess
import sys
from pathlib import Path

from varve_harness import VarveTest, main

READER = Path(os.environ.get("VARVE_SOURCE", Path(__file__).resolve().parents[2])) / "tools" / "read_repository.py"


class ReadRepository(VarveTest):
    def read(self, *arguments, status=0, options=()):
        run = subprocess.run([sys.executable, str(READER), *map(str, options), str(self.repo), *map(str, arguments)],
                             env=self.env, cwd=self.folder, capture_output=True, text=True, timeout=120, check=False)
        self.assertEqual(run.returncode, status, msg=f"{run.stdout}\n{run.stderr}")
        return run.stdout if status == 0 else run.stderr

    def make(self, name="app.db"):
        self.sql(name, "CREATE TABLE orders(id INTEGER PRIMARY KEY, note TEXT); CREATE TABLE blobs(b BLOB);"
                       "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<20000)"
                       "INSERT INTO orders SELECT i, 'note ' || (i * 7919 % 4001) FROM n;"
                       "INSERT INTO blobs VALUES (randomblob(300000)), (zeroblob(200000));")

    def change(self, round_number, name="app.db"):
        self.sql(name, f"UPDATE orders SET note = 'round {round_number}' WHERE id % 97 = {round_number};"
                       f"INSERT INTO blobs VALUES (randomblob({20000 * round_number}));"
                       f"DELETE FROM orders WHERE id % 501 = {round_number};")

    def backup(self, options=()):
        return self.varve("backup", "app.db", "--json", *options).json["backup"]

    def check_chain(self, options=()):  # the same of both programs
        self.make()
        states = {}
        for round_number in range(4):
            if round_number:
                self.change(round_number)
            if round_number == 3:
                self.sql("app.db", "VACUUM; SELECT 1;")
            backup = self.backup(options)
            states[backup["id"]] = self.dump("app.db")
        source = backup["source"]
        listed = self.read("list", options=options)
        for backup_id, dump in states.items():
            self.assertIn(backup_id, listed)
            self.read("restore", source, f"out-{backup_id}", "--backup", backup_id, options=options)
            self.assertEqual(self.dump(f"out-{backup_id}/app.db"), dump)
        return source

    def test_a_chain_under_a_passphrase(self):
        self.init()
        source = self.check_chain()
        self.env["VARVE_PASSPHRASE"] = "another"
        self.assertIn("opens none", self.read("list", status=1))
        del self.env["VARVE_PASSPHRASE"]
        self.path("secret").write_text("correct horse battery staple\n")
        self.assertIn(source, self.read("list", options=["--passphrase-file", "secret"]))

    def test_a_chain_under_a_key_file(self):
        self.varve("init", "--encryption", "key-file", "--key-file", "app.key", "--generate", env={"VARVE_PASSPHRASE": None})
        del self.env["VARVE_PASSPHRASE"]
        self.check_chain(options=["--key-file", "app.key"])

    def test_a_chain_without_encryption(self):
        del self.env["VARVE_PASSPHRASE"]
        self.varve("init", "--encryption", "none")
        self.check_chain()

    def pieces(self):
        """(first, last) of each piece of the log."""
        return [(int(p.name[:16], 16), int(p.name[17:], 16)) for p in self.repo.glob("sources/*/log/*/0*")]

    def test_a_followed_log_with_merged_pieces(self):
        self.init()
        self.make()
        follower = self.start("log", "follow", "app.db", "--batch", "20")
        self.eventually(lambda: list(self.repo.glob("sources/*/backups/*")), what="the base")
        for round_number in range(1, 5):
            before = len(self.pieces())
            self.change(round_number)
            self.eventually(lambda: len(self.pieces()) > before, what="a piece")

        def commit_until_merged():
            self.sql("app.db", "UPDATE orders SET note = note || '.' WHERE id % 1009 = 3")
            pieces = self.pieces()
            return any(a[0] <= b[0] and b[1] <= a[1] and a != b for a in pieces for b in pieces)

        self.eventually(commit_until_merged, timeout=60, what="a merged piece", every=0.03)
        self.assertEqual(follower.stop(), 0, msg=f"\n{follower}")
        source = next(self.repo.glob("sources/*")).name
        self.varve("restore", source, "--target", "varve-latest.db")
        self.assertSameDatabase("app.db", "varve-latest.db")
        self.read("restore", source, "latest")
        self.assertSameDatabase("app.db", "latest/app.db")
        first, last = min(self.pieces())[0], max(p[1] for p in self.pieces())
        for txn in random.Random(1).sample(range(first, last + 1), 3):
            self.varve("restore", source, "--to", f"txn:{txn}", "--target", f"varve-{txn}.db")
            self.read("restore", source, f"reader-{txn}", "--txn", txn)
            self.assertSameDatabase(f"varve-{txn}.db", f"reader-{txn}/app.db")

    def test_a_flipped_bit_is_told(self):
        self.init()
        self.make()
        backup = self.backup()
        pack = next(self.repo.glob("packs/*/*"))
        data = bytearray(pack.read_bytes())
        data[len(data) // 3] ^= 4
        pack.chmod(0o600)
        pack.write_bytes(data)
        self.assertIn("checksum", self.read("restore", backup["source"], "out", status=1))


if __name__ == "__main__":
    main()
