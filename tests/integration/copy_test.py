"""Copies of a repository: each restores by itself, whatever cut the copying and whatever ran beside it."""

import json
import os
import random
import shutil
import sqlite3
import time

from varve_harness import VarveTest, dump, main
from varve_place import FolderPlace, StorePlace


class CopyBase(VarveTest):
    def setUp(self):
        super().setUp()
        self.rng = random.Random(11)
        self.copy = self.folder / "offsite"
        self.init()
        self.expected = {}
        c = sqlite3.connect(self.path("app.db"), isolation_level=None)
        c.execute("PRAGMA journal_mode=WAL").fetchall()
        c.executescript("CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT); BEGIN;")
        for i in range(6000):
            c.execute("INSERT INTO t VALUES (?, ?)", (i, self.rng.randbytes(40).hex()))
        c.execute("COMMIT")
        c.close()

    def change(self):
        c = sqlite3.connect(self.path("app.db"), isolation_level=None, timeout=30)
        c.execute("UPDATE t SET v = ? WHERE id % 300 = ?", (str(self.rng.random()), self.rng.randrange(300)))
        c.close()

    def backup(self, *arguments):
        b = self.varve("backup", "app.db", "--json", *arguments).json["backup"]
        self.expected[b["id"]] = dump(self.path("app.db"))
        return b["id"]

    def copies(self, *arguments, **options):
        return self.varve("copy", "--to", self.copy, "--json", *arguments, **options).json["copy"]

    def listed(self, repo):
        return {b["id"] for s in self.varve("list", "--json", "--repo", repo).json["sources"] for b in s["backups"]}

    def check_copy(self, everything=True):
        """The copy alone: every backup of it is exact, and verify finds nothing."""
        there = self.listed(self.copy)
        if everything:
            self.assertLessEqual(set(self.expected), there)
        for i in sorted(there & set(self.expected)):
            self.varve("restore", "app.db", "--backup", i, "--target", "back.db", "--repo", self.copy)
            self.assertEqual(dump(self.path("back.db")), self.expected[i], i)
            self.path("back.db").unlink()
        self.varve("verify", "--repo", self.copy)


class CopyTest(CopyBase):
    def test_the_original_is_gone(self):
        self.backup()
        self.change()
        self.backup()
        first = self.copies()
        self.assertTrue(first["created"])
        self.assertEqual(first["backups"], 2)
        self.assertEqual(first["problems"], [])
        again = self.copies()
        self.assertEqual((again["objects"], again["bytes"], again["created"]), (0, 0, False))
        self.change()
        last = self.backup()
        more = self.copies()
        self.assertEqual(more["backups"], 1)
        self.assertLess(more["bytes"], first["bytes"] / 3)
        text = self.varve("copy", "--to", self.copy).out
        self.assertRegex(text, r"(?m)^copied 0 objects, 0 B in .* to file://.*; \d+ were there already$")
        shutil.rmtree(self.repo)
        self.check_copy()
        self.varve("restore", "app.db", "--target", "latest.db", "--repo", self.copy)
        self.assertEqual(dump(self.path("latest.db")), self.expected[last])
        # And life goes on in the copy.
        self.change()
        self.varve("backup", "app.db", "--repo", self.copy)
        self.varve("verify", "--repo", self.copy)

    def test_without_the_key(self):
        self.backup()
        self.change()
        self.backup()
        env = {"VARVE_PASSPHRASE": None}
        out = self.varve("copy", "--to", self.copy, env=env)
        self.assertIn("without a key: checked for damage, not for forgery", out.out)
        self.check_copy()
        self.varve("gc", "--repo", self.copy)
        self.varve("copy", "--to", self.copy, env={"VARVE_PASSPHRASE": "wrong"}, status=2)

    def test_chosen_sources(self):
        self.backup()
        self.sql("other.db", "CREATE TABLE x(a); INSERT INTO x VALUES (1);")
        self.varve("backup", "other.db")
        done = self.copies("app.db")
        self.assertEqual(done["backups"], 1)
        self.assertEqual(self.copies("--source", "app.db")["objects"], 0)
        names = [s["name"] for s in self.varve("list", "--json", "--repo", self.copy).json["sources"]]
        self.assertEqual(len(names), 1)
        self.check_copy()
        self.assertFails(self.run_varve("copy", "--to", self.copy, "ap.db"), 3, "there is no source \"ap.db\"")

    def test_refused(self):
        self.backup()
        self.varve("init", "--repo", self.path("other"))
        self.assertFails(self.run_varve("copy", "--to", self.path("other")), 7, "holds another repository", "empty place")
        self.path("things").mkdir()
        self.path("things/cat.jpg").write_text("meow")
        self.assertFails(self.run_varve("copy", "--to", self.path("things")), 7, "cat.jpg", "empty place")
        self.assertFails(self.run_varve("copy", "--to", self.repo), 2, "itself")
        self.path("link").symlink_to(self.repo)
        self.assertFails(self.run_varve("copy", "--to", self.path("link")), 2, "the same place")
        self.assertFails(self.run_varve("copy", "--from", self.path("things"), "--to", self.copy), 3, "no repository")
        self.assertFails(self.run_varve("copy"), 2, "copy to where?", "--to")
        self.assertEqual(list(self.repo.glob("copies/*")), [])

    def test_killed_at_every_write(self):
        for _ in range(2):
            self.backup()
            self.change()
        count = self.path("count")
        self.varve("copy", "--to", self.path("scratch"), env={"VARVE_TEST_FAULT": f"count:{count}"})
        total = int(count.read_text())
        for n in range(1, total + 1, 2):
            cut = self.run_varve("copy", "--to", self.copy, env={"VARVE_TEST_FAULT": f"kill@{n}"})
            # Packs whose random names begin alike share a folder, so a run may have some writes fewer.
            self.assertIn(cut.status, (-9,) if n < total * 0.9 else (-9, 0), cut)
            if n % 10 == 1:
                opened = self.run_varve("list", "--repo", self.copy)
                self.assertIn(opened.status, (0, 3, 8), opened)
                self.copies()
                self.check_copy()
                self.assertEqual(list(self.copy.glob("copies/*")), [], "pins of dead copies are removed")
            shutil.rmtree(self.copy)
        self.copies()
        # A later run, into a copy that is in use.
        saved = self.path("saved")
        shutil.copytree(self.copy, saved)
        self.backup()
        self.varve("copy", "--to", self.copy, env={"VARVE_TEST_FAULT": f"count:{count}"})
        for n in range(1, int(count.read_text()) + 1):
            shutil.rmtree(self.copy)
            shutil.copytree(saved, self.copy)
            self.run_varve("copy", "--to", self.copy, env={"VARVE_TEST_FAULT": f"kill@{n}"})
            self.varve("verify", "--repo", self.copy)
        self.copies()
        self.check_copy()

    def test_beside_backups_expiry_and_collections_at_both_ends(self):
        self.backup()
        self.copies()
        end = time.time() + 8
        done = rounds = 0
        while time.time() < end or rounds < 4:
            self.change()
            running = [self.start("backup", "app.db"), self.start("copy", "--to", self.copy),
                       self.start("gc", "--now"), self.start("expire", "app.db", "--keep-last", "2"),
                       self.start("gc", "--grace", "0s", "--repo", self.copy),
                       self.start("expire", "app.db", "--keep-last", "4", "--repo", self.copy)]
            if rounds % 2:
                time.sleep(self.rng.uniform(0, 0.3))
                running[1].kill()
            rounds += 1
            for r in running:
                self.assertIn(r.wait(60), (0, 5, 7, -9), r)
            done += running[1].process.returncode == 0
            self.varve("verify", "--repo", self.copy)
        self.assertGreater(done, 0)
        self.expected = {}
        self.copies()
        self.backup()
        self.copies()
        self.check_copy()

    def test_following(self):
        self.backup()
        follower = self.start("log", "follow", "app.db", "--quiet", "--batch", "50")
        copier = self.start("copy", "--to", self.copy, "--follow", "--every", "1s")
        self.eventually(lambda: (self.copy / "varve.json").exists(), what="the first copy")
        for _ in range(10):
            self.change()
            time.sleep(0.2)
        state = dump(self.path("app.db"))

        def caught_up():
            out = self.run_varve("restore", "app.db", "--target", "back.db", "--force", "--repo", self.copy)
            return out.status == 0 and dump(self.path("back.db")) == state
        self.eventually(caught_up, what="the copy of the log", every=0.5)
        self.varve("verify", "--repo", self.copy)
        self.assertEqual(copier.stop(), 0, copier)
        self.assertEqual(follower.stop(), 0, follower)
        self.assertIn("copied", copier.out)
        self.assertEqual(list(self.copy.glob("copies/*")), [])

    def test_following_tells_when_it_lags(self):
        self.backup()
        self.copies()
        shutil.move(self.repo, self.path("away"))
        copier = self.start("copy", "--to", self.copy, "--follow", "--every", "1s", "--alarm", "2s")
        self.eventually(lambda: "lags" in copier.err, what="the alarm")
        self.assertIn("was not copied", copier.err)
        shutil.move(self.path("away"), self.repo)
        self.backup()
        self.eventually(lambda: "copied" in copier.out, what="the copy")
        self.assertEqual(copier.stop(), 0, copier)

    def test_following_ends_at_once_where_it_never_will(self):
        self.backup()
        self.varve("init", "--repo", self.path("other"))
        follow = ("copy", "--every", "1s", "--to")
        self.assertFails(self.run_varve(*follow, self.path("other")), 7, "holds another repository", "empty place")
        self.assertFails(self.run_varve(*follow, self.copy, env={"VARVE_PASSPHRASE": "wrong"}), 2, "wrong passphrase")
        self.assertFails(self.run_varve(*follow, self.copy, "--dry-run"), 2, "--dry-run")
        self.assertFails(self.run_varve("copy", "--to", self.copy, "--alarm", "1h"), 2, "--alarm", "--every")

    def test_damage(self):
        self.backup()
        self.change()
        newest = self.backup()
        sound = self.path("sound")
        shutil.copytree(self.repo, sound)
        pack = max(self.repo.glob("packs/*/*"), key=lambda p: p.stat().st_mtime_ns)
        bad = bytearray(pack.read_bytes())
        bad[len(bad) // 2] ^= 8
        pack.unlink()
        pack.write_bytes(bytes(bad))
        out = self.copies(status=4)
        name = str(pack.relative_to(self.repo))
        self.assertEqual([(p["object"], p["kind"]) for p in out["problems"]], [(name, "damaged")])
        self.assertEqual([a.split("/")[-1] for a in out["problems"][0]["affects"]], [newest])
        text = self.varve("copy", "--to", self.copy, status=4).out
        self.assertIn(name, text)
        self.assertIn(f"not copied because of it: app", text)
        self.check_copy(everything=False)
        shutil.rmtree(self.repo)
        shutil.copytree(sound, self.repo)
        self.copies()
        self.check_copy()
        # Damage at the copy, mended from the original; then the other way round.
        for repo, other in ((self.copy, self.repo), (self.repo, self.copy)):
            pack = sorted(repo.glob("packs/*/*"))[0]
            pack.chmod(0o600)
            pack.write_bytes(b"x" + pack.read_bytes()[1:])
            self.varve("copy", "--from", other, "--to", repo, "--deep", status=4)
            mended = self.varve("copy", "--from", other, "--to", repo, "--deep", "--repair", "--json").json["copy"]
            self.assertEqual(mended["repaired"], 1)
            self.varve("verify", "--repo", repo)

    def test_a_plan(self):
        (self.path("varve.toml")).write_text(f"""
[repository.main]
url = "{self.repo}"
[repository.offsite]
url = "{self.copy}"
[repository.vault]
url = "{self.path('vault')}"
[source.shop]
engine = "sqlite"
path = "app.db"
repositories = ["main"]
plan = "gold"
[plan.gold]
copies = ["offsite", "vault"]
""")
        env = {"VARVE_REPO": None}
        self.varve("backup", "shop", env=env)
        warned = self.varve("check", "shop", env=env).out
        self.assertIn("its copy offsite lacks", warned)
        out = self.varve("copy", env=env).out
        self.assertEqual(out.count("copied "), 2, out)
        for place in (self.copy, self.path("vault")):
            self.varve("restore", "shop", "--target", "back.db", "--force", "--repo", place, env=env)
            self.assertSameDatabase("app.db", "back.db")
        self.assertIn("its copy offsite has every backup", self.varve("check", "shop", env=env).out)
        self.varve("copy", "shop", env=env)
        lines = self.varve("copy", "shop", "--json", env=env).out.splitlines()
        self.assertEqual([json.loads(line)["copy"]["to"] for line in lines],
                         [f"file://{self.copy}", f"file://{self.path('vault')}"])


class FallbackTest(CopyBase):
    """A restore takes each object from where it is intact."""

    def setUp(self):
        super().setUp()
        self.backup()
        self.change()
        self.newest = self.backup()
        self.copies()

    def restore(self, *arguments, source="app.db", env=None):
        out = self.varve("restore", source, "--target", "back.db", *arguments, env=env)
        self.assertEqual(dump(self.path("back.db")), self.expected[self.newest])
        self.path("back.db").unlink()
        return out

    def spoil(self, repo, pattern):
        for p in repo.glob(pattern):
            content = bytearray(p.read_bytes())
            content[len(content) // 2] ^= 1
            p.unlink()
            p.write_bytes(bytes(content))

    def test_object_by_object(self):
        self.spoil(self.repo, "packs/*/*")
        self.assertFails(self.run_varve("restore", "app.db", "--target", "back.db"), 4, "packs/")
        out = self.restore("--fallback", self.copy)
        self.assertRegex(out.err, "objects? came from")
        told = self.restore("--fallback", self.copy, "--json").json["restore"]["notes"]
        self.assertIn("did not have them intact", json.dumps(told))
        # Other objects are spoilt in the copy: between them the two have everything.
        self.spoil(self.copy, "sources/*/backups/*")
        self.spoil(self.copy, "keys/*")
        self.spoil(self.copy, "varve.json")
        self.restore("--fallback", self.copy)
        self.spoil(self.copy, "packs/*/*")
        self.assertFails(self.run_varve("restore", "app.db", "--target", "back.db", "--fallback", self.copy), 4, "packs/")
        self.assertFalse(self.path("back.db").exists())

    def test_a_backup_that_only_the_copy_has(self):
        for p in self.repo.glob("sources/*/backups/*"):
            p.unlink()
        self.varve("restore", "app.db", "--target", "back.db", status=3)
        self.restore("--fallback", self.copy)
        listed = self.varve("list", "app.db", "--json", "--fallback", self.copy).json
        self.assertEqual({b["id"] for b in listed["sources"][0]["backups"]}, set(self.expected))
        self.varve("show", "app.db", self.newest, "--fallback", self.copy)
        self.varve("status", "--fallback", self.copy)
        self.varve("history", "app.db", "--fallback", self.copy)

    def test_all_is_gone(self):
        shutil.rmtree(self.repo)
        out = self.restore("--fallback", self.copy)
        self.assertIn("cannot be opened", out.err)
        self.repo.mkdir()  # the disk was replaced
        self.restore("--fallback", self.copy)
        self.varve("restore", "app.db", "--target", "back.db", "--fallback", self.path("nowhere"), status=(3, 4))

    def test_another_repository_is_not_read(self):
        other = self.path("other")
        self.varve("init", "--repo", other)
        self.varve("backup", "app.db", "--repo", other)
        out = self.restore("--fallback", other, "--fallback", self.copy)
        self.assertIn("holds another repository", out.err)

    def test_by_configuration(self):
        self.path("varve.toml").write_text(f"""
[repository.main]
url = "{self.repo}"
[repository.offsite]
url = "{self.copy}"
[source.shop]
engine = "sqlite"
path = "app.db"
repositories = ["main"]
plan = "gold"
[plan.gold]
copies = ["offsite"]
""")
        env = {"VARVE_REPO": None}
        # It was backed up before there was a configuration.
        name = self.varve("list", "--json", env=env).json["sources"][0]["name"]
        self.restore(source=name, env=env)
        self.spoil(self.repo, "packs/*/*")
        out = self.restore(source=name, env=env)
        self.assertIn("did not have them intact", out.err)
        self.varve("verify", env=env, status=4)  # of the repository alone
        # Who names a repository means that one.
        self.varve("restore", name, "--target", "back.db", "--repo", "main", env=env, status=4)
        shutil.rmtree(self.repo)
        self.varve("list", env=env)
        self.restore(source=name, env=env)


class BetweenStoresTest(CopyBase):
    """From a folder through every kind of store that tests/services/with.py runs, and back into a folder."""

    KINDS = ("VARVE_TEST_S3", "VARVE_TEST_AZURE", "VARVE_TEST_GCS", "VARVE_TEST_SFTP")
    AT_WORK = ("pins/", "leases/", "gc/", "copies/", "probe/", ".varve-tmp/")

    def setUp(self):
        super().setUp()
        self.places = [FolderPlace(self.repo)]
        self.places += [StorePlace(os.environ[k]) for k in self.KINDS if os.environ.get(k)]
        self.places.append(FolderPlace(self.copy))
        for place in self.places:
            self.env.update(place.env)
        self.follow_a_while()

    def follow_a_while(self):
        """A backup, the log of some commits, and a backup."""
        self.backup()
        follower = self.start("log", "follow", "app.db", "--quiet", "--batch", "50")
        self.eventually(lambda: "followed now" in self.run_varve("status", "app.db").out, what="the follower")
        for _ in range(3):
            self.change()
            time.sleep(0.2)
        self.assertEqual(follower.stop(), 0, follower)
        self.change()
        self.backup()

    def lasting(self, place):
        # The copy's own trail has more to tell than the original's.
        return {n for n in place.names() if not n.startswith(self.AT_WORK) and not n.startswith("events/")}

    def hop(self, a, b, **options):
        return self.varve("copy", "--from", a.url, "--to", b.url, "--json", **options).json["copy"]

    def check_alone(self, place):
        for i, state in self.expected.items():
            self.varve("restore", "app.db", "--backup", i, "--target", "back.db", "--repo", place.url)
            self.assertEqual(dump(self.path("back.db")), state, f"{i} from {place.url}")
            self.path("back.db").unlink()
        self.varve("verify", "--repo", place.url)

    def test_from_one_to_the_next(self):
        for a, b in zip(self.places, self.places[1:]):
            for _ in range(3):
                cut = self.start("copy", "--from", a.url, "--to", b.url, "--workers", "1")
                time.sleep(self.rng.uniform(0.02, 0.4))
                cut.kill()
                opened = self.run_varve("list", "--repo", b.url)
                self.assertIn(opened.status, (0, 3, 8), opened)
            # Without the key, as a host does that only carries.
            done = self.hop(a, b, env={"VARVE_PASSPHRASE": None})
            self.assertEqual(done["problems"], [])
            self.assertEqual(self.lasting(a), self.lasting(b))
            self.check_alone(b)
            again = self.hop(a, b)
            self.assertEqual((again["objects"], again["created"]), (0, False), again)
        self.change()
        self.backup()
        for a, b in zip(self.places, self.places[1:]):
            more = self.hop(a, b)
            self.assertEqual((more["backups"], more["problems"]), (1, []))
            self.assertEqual(self.lasting(a), self.lasting(b))
            self.varve("gc", "--repo", b.url)
        self.check_alone(self.places[-1])

    def test_each_has_lost_something(self):
        """Of what all have between them everything is restored; the object that none has intact is named."""
        for a, b in zip(self.places, self.places[1:]):
            self.hop(a, b)
        newest = list(self.expected)[-1]
        names = sorted(n for n in self.lasting(self.places[0]) if n.startswith(("packs/", "keys/", "varve")) or newest in n)
        for i, name in enumerate(names):
            for j, place in enumerate(self.places):
                if j != i % len(self.places):
                    place.remove(name)
        others = [w for p in self.places[1:] for w in ("--fallback", p.url)]
        restore = ("restore", "app.db", "--backup", newest, "--target", "back.db", *others)
        self.varve(*restore)
        self.assertEqual(dump(self.path("back.db")), self.expected[newest])
        self.path("back.db").unlink()
        manifest = next(n for n in names if newest in n)
        holder = self.places[names.index(manifest) % len(self.places)]
        content = bytearray(holder.read(manifest))
        content[len(content) // 2] ^= 1
        holder.write(manifest, bytes(content))
        self.assertFails(self.run_varve(*restore), 4, manifest)
        self.assertFalse(self.path("back.db").exists())


if __name__ == "__main__":
    main()
