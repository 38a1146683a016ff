#!/usr/bin/env python3
"""PostgreSQL 13 to 18: each version backed up, its log shipped and followed, and brought back."""

import pg_wal_server
from postgres_packaged import PackagedTest
from varve_harness import main


class Versions(PackagedTest):
    def test_backups_and_points(self):
        for version in pg_wal_server.VERSIONS:
            with self.subTest(version=version):
                self.backups_and_points(version)
            self.doCleanups()
            self.setUp()

    def backups_and_points(self, version):
        server = self.begin_with(version, "--wal-segsize=1")
        self.assertNotIn("error", self.varve("check", "app").out)
        server.psql("CREATE TABLE a(id int PRIMARY KEY, v text); INSERT INTO a SELECT i, md5(i::text) FROM generate_series(1, 30000) i;"
                    "CREATE TABLE gone(a int)")
        full = self.backup("full")
        server.psql("UPDATE a SET v = 'x' WHERE id % 500 = 0; CREATE DATABASE other")
        incremental = self.backup("incremental")
        self.assertEqual((incremental["changed_pages_from"], incremental["warnings"]), ("wal", []))
        self.assertLess(incremental["read"], full["read"])
        first = server.dump()
        server.psql("DELETE FROM a WHERE id % 7 = 0; VACUUM a")
        before = server.dump()
        xid = server.psql("BEGIN; SELECT txid_current(); DROP TABLE gone; COMMIT").splitlines()[0]
        latest = server.dump()
        self.varve("log", "follow", "app", "--once")
        self.assertRestoresTo(first, "--backup", incremental["id"])
        self.assertRestoresTo(before, "--to", f"before:{xid}")
        self.assertRestoresTo(latest, "--to", "latest")
        events = self.varve("history", "app", "--json").json["events"]
        self.assertEqual([e["xid"] for e in events if e["kind"] == "drop_table"], [xid])
        self.assertEqual(self.varve("verify", "--json").json["problems"], [])


if __name__ == "__main__":
    main()
