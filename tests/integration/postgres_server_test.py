"""The PostgreSQL servers that other tests use are real: they start, keep rows through a power cut, and go."""

import unittest
from pathlib import Path

from postgres_server import PostgresError, Server


class PostgresServerTest(unittest.TestCase):
    def setUp(self):
        self.server = Server()
        self.addCleanup(self.server.close)
        self.server.initdb()

    def test_life(self):
        s = self.server.start(work_mem="5MB")
        self.assertEqual(s.psql("SHOW work_mem"), "5MB")
        s.pgbench("-i", "-q", "-s", "1")
        before = s.dump()
        self.assertIn("pgbench_accounts", before)
        self.assertIn("pgbench_accounts", s.dump_table("pgbench_accounts"))
        s.stop().start()
        self.assertEqual(s.dump(), before)
        s.kill().start()
        self.assertEqual(s.dump(), before)
        s.pgbench("-n", "-t", "10")
        self.assertNotEqual(s.dump(), before)
        self.assertRegex(s.switch_wal(), "^[0-9A-F]{24}$")
        s.stop()
        self.assertIn("Bad checksums:  0", s.check_pages())
        with self.assertRaises(PostgresError):
            s.psql("SELECT 1")

    def test_says_why_it_does_not_start(self):
        self.server.configure(shared_preload_libraries="no_such_library")
        with self.assertRaisesRegex(PostgresError, "no_such_library"):
            self.server.start()

    def test_leaves_nothing(self):
        folder = self.server.start().folder
        self.server.close()
        self.assertFalse(Path(folder).exists())


if __name__ == "__main__":
    unittest.main()
