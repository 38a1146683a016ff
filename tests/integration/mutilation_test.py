"""A damaged repository: every flipped bit, cut or lost object is found and named; a restore is exact or refused."""

import json
import random
import sqlite3
from pathlib import Path

from varve_harness import VarveTest, dump, main


class Mutilation(VarveTest):
    def setUp(self):
        super().setUp()
        self.rng = random.Random(17)
        self.init()
        self.expected = {}
        self.sql("app.db", "CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT);"
                           "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n+1 FROM c WHERE n<3000) INSERT INTO t SELECT n, hex(randomblob(40)) FROM c;")
        for i in range(3):
            self.sql("app.db", f"UPDATE t SET v = v || {i} WHERE id % 40 = {i}")
            b = self.varve("backup", "sqlite:app.db", "--json").json["backup"]
            self.expected[b["id"]] = dump(self.path("app.db"))
        self.sound = self.path("sound")
        self.place.save(self.sound)

    def objects(self):
        """What a restore or the next backup depends on; the audit trail is checked too, but nothing rests on it."""
        names = self.place.names()
        if self.place.is_folder:
            return names
        # Beyond a network one of each kind stands for the others: what is found does not depend on the store.
        return sorted({n.split("/")[0]: n for n in names}.values())

    def heal(self):
        self.place.load(self.sound)

    def write(self, name, content):
        self.place.write(name, content)

    def restores_are_exact_or_refused(self):
        exact = set()
        for i, expected in self.expected.items():
            out = self.run_varve("restore", "sqlite:app.db", "--backup", i, "--target", "back.db")
            if out.status == 0:
                self.assertEqual(dump(self.path("back.db")), expected, i)
                self.path("back.db").unlink()
                exact.add(i)
            else:
                self.assertIn(out.status, (2, 3, 4), out)
                self.assertRegex(out.err, "(?m)^error: ", out)
                self.assertFalse(self.path("back.db").exists())
            self.assertEqual([p.name for p in self.folder.iterdir() if "varve-restore" in p.name], [])
        return exact

    def found(self, name, kinds=None):
        """verify fails, names the object, and what it says of the rest is true."""
        out = self.run_varve("verify", "--json")
        exact = self.restores_are_exact_or_refused()
        if name in ("varve.json",) or name.startswith("keys/"):
            self.assertNotEqual(out.status, 0, out)  # nothing opens without them, and that is said
            return
        self.assertEqual(out.status, 4, out)
        report = out.json
        self.assertIn(name, [p["object"] for p in report["problems"]], out)
        if "restorable" in report:
            self.assertLessEqual({r.split("/")[-1] for r in report["restorable"]}, exact, out)
            self.assertLessEqual(set(self.expected) - exact, {r.split("/")[-1] for r in report["broken"]}, out)
        text = self.run_varve("verify")
        self.assertEqual(text.status, 4)
        self.assertIn(name, text.out + text.err)

    def test_a_sound_repository(self):
        report = self.varve("verify", "--json").json
        self.assertEqual(report["problems"], [])
        self.assertEqual(self.restores_are_exact_or_refused(), set(self.expected))

    def test_a_bit_flipped(self):
        for name in self.objects():
            content = (self.sound / name).read_bytes()
            for at in {0, len(content) // 2, len(content) - 1, self.rng.randrange(len(content))}:
                with self.subTest(object=name, at=at):
                    bad = bytearray(content)
                    bad[at] ^= 1 << self.rng.randrange(8)
                    self.write(name, bytes(bad))
                    self.found(name)
                    self.heal()

    def test_cut_short_and_lengthened(self):
        for name in self.objects():
            content = (self.sound / name).read_bytes()
            for bad in (b"", content[:-1], content[:len(content) // 2], content + b"\0"):
                with self.subTest(object=name, size=len(bad)):
                    self.write(name, bad)
                    self.found(name)
                    self.heal()

    def test_missing(self):
        for name in self.objects():
            if name.startswith("events/"):
                continue  # an event that is gone leaves no trace, and nothing rests on it
            with self.subTest(object=name):
                self.place.remove(name)
                out = self.run_varve("verify", "--json")
                exact = self.restores_are_exact_or_refused()
                if "/backups/" in name:  # a backup taken away whole is no backup any more: the others must be intact
                    self.assertEqual(len(exact), len(self.expected) - 1)
                else:
                    self.assertNotEqual(out.status, 0, out)
                    if name.startswith("packs/"):
                        self.assertIn(name, [p["object"] for p in out.json["problems"]])
                self.heal()

    def test_swapped(self):
        names = self.objects()
        for folder in ("packs/", "sources/"):
            of_kind = [n for n in names if n.startswith(folder)]
            for a, b in zip(of_kind, of_kind[1:]):
                with self.subTest(a=a, b=b):
                    self.write(a, (self.sound / b).read_bytes())
                    self.write(b, (self.sound / a).read_bytes())
                    self.found(a)
                    self.heal()

    def test_of_another_repository(self):
        other = self.path("other")
        self.varve("init", "--repo", other)
        for i in range(3):
            self.varve("backup", "sqlite:app.db", "--repo", other)
        foreign = {p.relative_to(other).parts[0]: p for p in sorted(other.rglob("*")) if p.is_file()}
        for name in self.objects():
            source = foreign.get(Path(name).parts[0])
            if source is None:
                continue
            with self.subTest(object=name):
                self.write(name, source.read_bytes())
                self.found(name)
                self.heal()

    def test_replayed_from_an_older_time(self):
        """An older manifest under a newer name, an older pack in a newer one's place."""
        manifests = [n for n in self.place.names() if "/backups/" in n]
        self.write(manifests[-1], (self.sound / manifests[0]).read_bytes())
        self.found(manifests[-1])

    def test_the_wrong_passphrase(self):
        out = self.varve("list", env={"VARVE_PASSPHRASE": "wrong"}, status=2)
        self.assertRegex(out.err, "(?m)^error: .*passphrase")
        self.assertRegex(out.err, "(?m)^hint: ")

    def test_a_newer_format(self):
        config = json.loads(self.place.read("varve.json"))
        config["format"] = 99
        self.write("varve.json", json.dumps(config).encode())
        out = self.varve("list", status=2)
        self.assertIn("newer", out.err)


class MutilationOfALog(VarveTest):
    """The same for a followed source: any point that is asked for comes back exactly, or is refused."""

    def setUp(self):
        super().setUp()
        self.rng = random.Random(23)
        self.env.pop("VARVE_PASSPHRASE")
        key = self.path("repository.key")
        self.init("--key-file", key, "--generate")
        self.key = ["--key-file", str(key)]
        self.sql("app.db", "CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT);"
                           "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n+1 FROM c WHERE n<300) INSERT INTO t SELECT n, hex(randomblob(40)) FROM c;")
        keep = sqlite3.connect(self.path("app.db"), isolation_level=None)  # so that the WAL stays
        self.addCleanup(keep.close)
        keep.execute("INSERT INTO t VALUES (301, 'a WAL that has begun: an empty one tells nobody what became of it')")
        self.states = {}
        for txn in range(1, 6):
            if txn > 1:
                keep.execute("UPDATE t SET v = v || ? WHERE id % 40 = ?", (txn, txn))
            self.varve("log", "follow", "sqlite:app.db", "--once", *self.key)
            self.states[txn] = dump(self.path("app.db"))
        self.sound = self.path("sound")
        self.place.save(self.sound)
        self.assertEqual(self.points_are_exact_or_refused(), {"latest", "end", 2, 5, "table"})

    def points_are_exact_or_refused(self):
        exact = set()
        for point, txn in (("latest", 5), ("end", 1), (2, 2), (5, 5), ("table", 5)):
            to = f"txn:{point}" if isinstance(point, int) else "latest" if point == "table" else point
            only = ["--table", "t"] if point == "table" else []
            out = self.run_varve("restore", "sqlite:app.db", "--to", to, "--target", "back.db", *only, *self.key)
            if out.status == 0:
                self.assertEqual(dump(self.path("back.db")), self.states[txn], out)
                self.path("back.db").unlink()
                exact.add(point)
            else:
                self.assertIn(out.status, (2, 3, 4, 8), out)
                self.assertRegex(out.err, "(?m)^error: ", out)
                self.assertRegex(out.err, "(?m)^hint: ", out)
                self.assertFalse(self.path("back.db").exists())
        return exact

    def test_each_object(self):
        names = [n for n in self.place.names() if n.startswith(("sources/", "packs/"))]
        self.assertEqual(sum("/log/" in n and "/mark-" not in n for n in names), 4, names)
        self.assertEqual(sum("/mark-" in n for n in names), 1, names)
        for i, name in enumerate(names):
            content = (self.sound / name).read_bytes()
            flipped = bytearray(content)
            flipped[self.rng.randrange(len(content))] ^= 1 << self.rng.randrange(8)
            changes = {"flipped": bytes(flipped), "cut": content[:self.rng.randrange(len(content))], "missing": None,
                       "swapped": (self.sound / names[i - 1]).read_bytes()}
            for how, bad in changes.items():
                with self.subTest(object=name, how=how):
                    if bad is None:
                        self.place.remove(name)
                    else:
                        self.place.write(name, bad)
                    exact = self.points_are_exact_or_refused()
                    if "/log/" in name:
                        self.assertIn("end", exact)  # the base stands by itself
                    if "/mark-" in name:
                        self.assertEqual(len(exact), 5)
                    verified = self.run_varve("verify", "--json", *self.key)
                    if not ("/mark-" in name and how == "missing"):  # nothing rests on it
                        self.assertEqual(verified.status, 4, verified)
                        if how != "missing":
                            self.assertIn(name, [p["object"] for p in verified.json["problems"]])
                    self.place.load(self.sound)


if __name__ == "__main__":
    main()
