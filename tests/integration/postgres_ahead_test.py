"""What one call of `log push` or `log fetch` does for those that follow: shipped and fetched ahead, and never wrong for it."""

import random
import shutil
import subprocess
import time
import unittest

from postgres_case import PostgresTest


class Ahead(PostgresTest):
    COUNT = 12

    def setUp(self):
        super().setUp()
        self.begin(wal_keep_size="1GB")
        self.server.psql("CREATE TABLE t(i int, v text); INSERT INTO t SELECT i, md5(i::text) FROM generate_series(1, 1000) i")

    @staticmethod
    def aside(data):
        return data / "pg_wal" / "varve"

    def write_segments(self, count=COUNT):
        """So many, full, in the server's pg_wal: their names."""
        names = []
        for i in range(count):
            self.server.psql(f"INSERT INTO t SELECT {i}, md5(random()::text) FROM generate_series(1, 20000)")
            names.append(self.server.switch_wal())
        return names

    def killed(self, *arguments):
        process = self.start(*arguments).process
        time.sleep(random.uniform(0.05, 1.2))
        process.kill()
        process.wait(60)

    def original(self, name):
        return (self.server.data / "pg_wal" / name).read_bytes()

    def without_repository(self):
        """As long as it lasts nobody reaches it."""
        class Away:
            def __enter__(away):
                self.place.folder.rename(self.folder / "away")

            def __exit__(away, *_):
                (self.folder / "away").rename(self.place.folder)
        return Away()


class Push(Ahead):
    def setUp(self):
        super().setUp()
        self.shipped()
        # From now on they pile up.
        self.server.configure(archive_command="exit 1")
        self.server.stop()
        self.server.start(archive_mode="on", wal_keep_size="1GB")
        self.names = self.write_segments()

    def push(self, name, status=0):
        return self.varve("log", "push", "app", self.server.data / "pg_wal" / name, "--json", status=status)

    def test_what_was_shipped_ahead_is_answered_for_without_the_repository(self):
        done = self.push(self.names[0]).json["push"]
        self.assertTrue(done["stored"])
        self.assertEqual(done["ahead"], self.COUNT - 1)
        with self.without_repository():
            for name in self.names[1:]:
                self.assertFalse(self.push(name).json["push"]["stored"])
            self.varve("log", "push", "app", self.server.data / "pg_wal" / self.names[0], status=3)
        for name in self.names:  # it is the truth
            fetched = self.folder / "pg" / "data" / "pg_wal" / "fetched"
            self.varve("log", "fetch", "app", name, fetched)
            self.assertEqual(fetched.read_bytes(), self.original(name))

    def test_a_file_that_changed_since_is_looked_at(self):
        self.push(self.names[0])
        path = self.server.data / "pg_wal" / self.names[3]
        content = bytearray(path.read_bytes())
        content[5000] ^= 1
        path.write_bytes(content)
        self.push(self.names[3], status=7)
        self.assertEqual(self.push(self.names[4]).status, 0)

    def test_another_repository_is_another_matter(self):
        self.push(self.names[0])
        other = self.folder / "other"
        self.varve("init", "--repo", other, "--passphrase-file", self.secret)
        path = self.server.data / "pg_wal" / self.names[2]
        done = self.varve("log", "push", "app", path, "--json", "--repo", other, "--passphrase-file", self.secret)
        self.assertTrue(done.json["push"]["stored"])

    def test_killed_at_any_moment_it_never_says_more_than_there_is(self):
        for _ in range(8):
            self.killed("log", "push", "app", self.server.data / "pg_wal" / self.names[0])
            with self.without_repository():
                answered = [n for n in self.names[1:] if self.push(n, status=(0, 3)).status == 0]
            for name in answered[:3]:
                fetched = self.folder / "pg" / "data" / "pg_wal" / "fetched"
                self.varve("log", "fetch", "app", name, fetched, "--ahead", "0")
                self.assertEqual(fetched.read_bytes(), self.original(name))


class Fetch(Ahead):
    def setUp(self):
        super().setUp()
        self.backup()
        self.names = self.write_segments()
        self.shipped()
        self.dump = self.server.dump()
        self.restore("restored")
        self.data = self.folder / "restored"

    def fetch(self, name, *more, status=0, target="RECOVERYXLOG"):
        path = self.data / "pg_wal" / target
        done = self.varve("log", "fetch", "app", name, path, *more, status=status)
        if status == 0:
            self.assertEqual(path.read_bytes(), self.original(name), msg=name)
            path.unlink()
        return done

    def kept(self):
        folder = self.aside(self.data)
        return sorted(p.name for p in folder.iterdir() if len(p.name) == 24) if folder.exists() else []

    def test_a_recovery_in_a_row_fetches_more_and_more(self):
        self.fetch(self.names[0])
        self.assertEqual(self.kept(), self.names[1:3])
        with self.without_repository():
            self.fetch(self.names[1])
            self.fetch(self.names[2])
            self.fetch(self.names[3], status=200)
        self.assertEqual(self.kept(), [])
        self.fetch(self.names[3])
        self.assertEqual(self.kept(), self.names[4:8])
        # Elsewhere in the log it begins anew.
        self.fetch(self.names[1])
        self.assertEqual(self.kept(), sorted({*self.names[2:4], *self.names[4:8]}))
        self.fetch(self.names[0], "--ahead", "1")
        self.assertIn(self.names[1], self.kept())

    def test_what_was_kept_goes_when_the_recovery_ends(self):
        self.fetch(self.names[0])
        self.assertTrue(self.kept())
        self.fetch("00000002.history", status=1)
        self.assertFalse(self.aside(self.data).exists())
        self.fetch(self.names[0])
        self.fetch("0000000100000000000000F0", status=1)
        self.assertFalse(self.aside(self.data).exists())

    def test_what_is_not_whole_is_fetched_anew(self):
        for damage in (lambda b: b[:-1], lambda b: b[:100], lambda b: b"", lambda b: b[:70000] + b"\0" * (len(b) - 70000)):
            self.fetch(self.names[0])
            path = self.aside(self.data) / self.names[1]
            path.write_bytes(damage(path.read_bytes()))
            self.fetch(self.names[1])
        # Of another cluster's recovery, another place in the log.
        self.fetch(self.names[0])
        (self.aside(self.data) / self.names[1]).rename(self.aside(self.data) / self.names[2])
        self.fetch(self.names[2])

    def test_the_end_of_the_log_is_where_it_is(self):
        last = self.names[-1]
        self.fetch(last)
        with self.without_repository():
            self.fetch("0000000100000000000000F0", status=200)
        self.fetch("0000000100000000000000F0", status=1)

    def test_two_at_once(self):
        def run(target):
            script = " && ".join(f"{self.binary} log fetch app {n} {self.data}/pg_wal/{target} --ahead 4 && "
                                 f"cmp {self.data}/pg_wal/{target} {self.server.data}/pg_wal/{n}" for n in self.names)
            return subprocess.Popen(["sh", "-c", script], env=self._environment(None), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        both = [run("one"), run("two")]
        for process in both:
            out, _ = process.communicate(timeout=300)
            self.assertEqual(process.returncode, 0, msg=out)

    def test_killed_at_any_moment_the_recovery_is_right(self):
        for i in range(12):
            self.killed("log", "fetch", "app", self.names[i % 4], self.data / "pg_wal" / "x")
        server = self.new_server("restored-server", data=self.data)
        server.start(archive_mode="off")
        server.wait_recovered()
        self.assertEqual(server.dump(), self.dump)
        self.assertFalse(self.aside(self.data).exists())
        server.stop()
        shutil.rmtree(self.data)


if __name__ == "__main__":
    unittest.main()
