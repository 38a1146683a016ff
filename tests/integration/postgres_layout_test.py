#!/usr/bin/env python3
"""PostgreSQL as Debian lays it out: its configuration lies outside of the data directory. What is restored starts by
itself, on a host that has nothing of that, and stands where it was told to."""

import os
import shutil

from postgres_case import PostgresTest, as_postgres, give_to_postgres, run
from varve_harness import main


class Started(PostgresTest):
    """By `restore --start`, so that it is no child of the test's."""

    def started(self, name, *arguments):
        server = self.new_server(f"{name}-server", data=self.folder / name)
        out = self.restore(name, "--start", "--port", str(server.port), *arguments)
        server.folder = server.data  # where its socket is
        self.addCleanup(self.end, server)
        return server, out

    @staticmethod
    def end(server):
        if (server.data / "postmaster.pid").exists():
            run(*as_postgres(server.bin / "pg_ctl", "-D", server.data, "-m", "immediate", "-w", "-t", "60", "stop"))


class Points(Started):
    def test_what_happens_at_the_point(self):
        server = self.begin()
        server.psql("CREATE TABLE t AS SELECT 1 AS a")
        self.backup()
        server.psql("INSERT INTO t VALUES (2); SELECT pg_create_restore_point('here'); INSERT INTO t VALUES (3)")
        self.shipped()
        content = "SELECT string_agg(a::text, ' ' ORDER BY a) FROM t"

        promoted, out = self.started("promoted", "--to", "name:here")
        self.assertIn(f"the server is running, port {promoted.port}", out.err)
        self.assertEqual(promoted.psql(content), "1 2")
        promoted.psql("INSERT INTO t VALUES (4)")
        self.assertEqual(self.varve("restore", "app", "--target", promoted.data, "--delta", status=7).status, 7)

        paused, out = self.started("paused", "--to", "name:here", "--action", "pause")
        self.assertIn("waits at the point", out.err)
        self.assertEqual(paused.psql(content), "1 2")
        self.assertEqual(paused.psql("SELECT pg_is_in_recovery() AND pg_is_wal_replay_paused()"), "t")
        paused.psql("SELECT pg_wal_replay_resume()")
        paused.wait_until(lambda: paused.psql("SELECT pg_is_in_recovery()") == "f", "it does not go on")

        off, out = self.started("off", "--to", "name:here", "--action", "shutdown")
        self.assertIn("has shut down at the point", out.err)
        self.assertFalse((off.data / "postmaster.pid").exists())

        standby, out = self.started("standby", "--standby")
        self.assertEqual(standby.psql(content), "1 2 3")
        server.psql("INSERT INTO t VALUES (5)")
        self.shipped()
        standby.wait_until(lambda: standby.psql(content) == "1 2 3 5", "the standby does not follow")

        for point, status in (("name:nowhere", 3), ("lsn:F/0", 8)):
            self.restore("never", "--start", "--port", "20001", "--to", point, status=status)
            self.assertFalse((self.folder / "never").exists())


class DebianLayout(Started):
    def begin_outside(self):
        server = self.server
        server.initdb()
        etc = self.folder / "etc" / "main"
        (etc / "conf.d" / "deeper").mkdir(parents=True)
        (etc / "empty.d").mkdir()
        for name in ("postgresql.conf", "pg_hba.conf", "pg_ident.conf"):
            shutil.move(server.data / name, etc / name)
        with open(etc / "postgresql.conf", "a") as f:
            f.write(f"data_directory = '{server.data}'\nhba_file = '{etc}/pg_hba.conf'\t# hosts\nident_file = '{etc}/pg_ident.conf'\n"
                    f"external_pid_file = '{etc}/main.pid'\ninclude_dir = 'conf.d'\ninclude_dir '{etc}/empty.d'\nwork_mem = '5MB'\n"
                    f"include '{etc}/last.conf'\n")
        (etc / "conf.d" / "10.conf").write_text(f"work_mem = '6MB'\nmaintenance_work_mem = '21MB'\ninclude 'deeper/more.conf'\n")
        (etc / "conf.d" / "deeper" / "more.conf").write_text(f"temp_buffers = '9MB'\ninclude '{etc}/once.conf'\n")
        (etc / "once.conf").write_text("geqo_threshold = 13\n")
        (etc / "last.conf").write_text("cursor_tuple_fraction = 0.5\n")
        with open(etc / "pg_hba.conf", "a") as f:
            f.write("host all outsider 127.0.0.1/32 reject\n")
        give_to_postgres(self.folder / "etc")
        self.etc = etc
        self.configure()
        self.init("--repo", "main")
        server.start(config_file=etc / "postgresql.conf", **self.archiving())
        server.psql("ALTER SYSTEM SET random_page_cost = 2.5")
        server.psql("SELECT pg_reload_conf()")
        server.psql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS a")

    SETTINGS = ("SELECT string_agg(name || '=' || setting, ' ' ORDER BY name) FROM pg_settings WHERE name IN ('work_mem', "
                "'maintenance_work_mem', 'temp_buffers', 'geqo_threshold', 'cursor_tuple_fraction', 'random_page_cost')")

    def test_it_starts_by_itself(self):
        self.begin_outside()
        self.backup()
        expected = self.server.dump()
        settings = self.server.psql(self.SETTINGS)
        self.assertIn("geqo_threshold=13", settings)
        hba = self.server.psql("SELECT string_agg(user_name::text, ' ' ORDER BY line_number) FROM pg_hba_file_rules")
        self.assertIn("outsider", hba)
        self.shipped()
        self.server.stop()
        shutil.rmtree(self.etc.parent)

        restored, out = self.started("restored")
        self.assertIn("the configuration, which lay outside of the data directory, is in it now", out.err)
        self.assertIn("conf.d/10.conf", out.err)
        self.assertEqual(restored.psql(self.SETTINGS), settings)
        self.assertEqual(restored.psql("SELECT string_agg(user_name::text, ' ' ORDER BY line_number) FROM pg_hba_file_rules"), hba)
        self.assertEqual(restored.psql("SELECT setting FROM pg_settings WHERE name = 'hba_file'"), str(restored.data / "pg_hba.conf"))
        self.assertEqual(restored.dump(), expected)
        self.end(restored)
        for name in ("postgresql.conf", "pg_hba.conf", "conf.d/deeper/more.conf", "empty.d"):
            status = os.stat(restored.data / name)
            self.assertEqual(status.st_uid, os.stat(restored.data).st_uid, name)
            self.assertEqual(status.st_mode & 0o077, 0, name)
        # And once more, over it.
        self.restore("restored", "--delta")
        restored.start(archive_mode="off")
        restored.wait_recovered()
        self.assertEqual(restored.psql(self.SETTINGS), settings)
        self.assertEqual(restored.dump(), expected)


if __name__ == "__main__":
    main()
