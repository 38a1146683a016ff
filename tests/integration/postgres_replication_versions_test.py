#!/usr/bin/env python3
"""PostgreSQL over the replication protocol, with a server of each major version: its command and its stream differ. The
rows, as SQL counts and sums them up, are the oracle."""

import shutil

import pg_wal_server
from postgres_case import PostgresTest, Server, give_to_postgres
from postgres_server import binaries
from varve_harness import main

ROWS = ("SELECT md5(string_agg(t::text, ',' ORDER BY aid)) FROM pgbench_accounts t",
        "SELECT count(*), sum(delta) FROM pgbench_history", "SELECT md5(string_agg(t::text, ',' ORDER BY a)) FROM spaced t",
        "SELECT md5(string_agg(t::text, ',' ORDER BY a)) FROM placed t")


class AnyServer(Server):
    """Of a version whose package has no client programs."""

    def _client(self, program, *arguments, **more):
        own, self.bin = self.bin, binaries()
        try:
            return super()._client(program, *arguments, **more)
        finally:
            self.bin = own

    def start_pgbench(self, *arguments, **more):
        own, self.bin = self.bin, binaries()
        try:
            return super().start_pgbench(*arguments, **more)
        finally:
            self.bin = own


class Versions(PostgresTest):
    def any_server(self, name, programs, **options):
        server = AnyServer(self.folder / name, **options)
        server.bin = programs
        self.addCleanup(server.close)
        return server

    def programs(self, version):
        native = self.folder / f"native-{version}"
        shutil.copytree(pg_wal_server.programs(version).parent, native, symlinks=True)
        return native / "bin"

    def test_each(self):
        self.init_done = False
        for version in pg_wal_server.VERSIONS:
            with self.subTest(version=version):
                self.one(version)

    def one(self, version):
        programs = binaries() if version == pg_wal_server.SYSTEM else self.programs(version)
        server = self.any_server(f"pg{version}", programs)
        server.initdb()
        name = f"app{version}"
        (self.folder / "varve.toml").write_text(
            f'[repository.main]\nurl = "{self.place.url}"\npassphrase_file = "{self.secret}"\n\n'
            f'[source.{name}]\nengine = "postgres"\nrepositories = ["main"]\naccess = "replication"\nread_rate = "200MiB"\n'
            f'connection = "host=127.0.0.1 port={server.port} user=varve dbname=postgres"\n')
        give_to_postgres(self.folder / "varve.toml")
        if not self.init_done:
            self.init("--repo", "main")
            self.init_done = True
        in_place = version >= 16
        more = {"allow_in_place_tablespaces": "on"} if version >= 15 else {}
        server.start(**self.archiving(name), **more)
        server.psql("CREATE ROLE varve LOGIN REPLICATION")
        space = self.folder / f"space{version}"
        space.mkdir()
        give_to_postgres(space)
        server.psql(f"CREATE TABLESPACE fast LOCATION '{space}'")
        server.psql("CREATE TABLE spaced(a int) TABLESPACE fast; INSERT INTO spaced SELECT generate_series(1, 5000)")
        if in_place:
            server.psql("SET allow_in_place_tablespaces = on; CREATE TABLESPACE inside LOCATION ''")
        server.psql(f"CREATE TABLE placed(a int) {'TABLESPACE inside' if in_place else ''}; "
                    "INSERT INTO placed SELECT generate_series(1, 3000)")
        server.psql("CREATE UNLOGGED TABLE fleeting AS SELECT generate_series(1, 3000) AS a")
        server.pgbench("-i", "-s", "1")
        backups = []
        for kind in ("full", "incremental"):
            load = server.start_pgbench("-n", "-T", "60", "-c", "2", "-R", "60")
            outcome = self.varve("backup", name, "--type", kind, "--json").json["backup"]
            self.assertEqual(outcome["type"], kind)
            self.assertEqual(len(outcome["warnings"]), 0 if kind == "full" else 1, msg=outcome)
            load.terminate()
            load.wait(30)
            server.wait_until(lambda: server.psql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgbench'")
                              == "0", "pgbench goes on")
            point = f"after-{kind}"
            rows = [server.psql(sql) for sql in ROWS]
            server.psql(f"SELECT pg_create_restore_point('{point}')")
            backups.append((outcome["id"], point, rows))
        self.shipped(server)
        if version == 15:  # the server would leave it out
            server.psql("CREATE TABLESPACE inside LOCATION ''")
            self.assertFails(self.run_varve("backup", name), 2, "does not send the tablespace inside", "made in place")
        server.stop()
        for backup, point, rows in backups:
            target = self.folder / f"restored-{backup}"
            self.varve("restore", name, "--target", target, "--to", f"name:{point}", "--backup", backup, "--tablespace-map",
                       f"{space}={space}-{point}")
            restored = self.any_server(f"server-{backup}", programs, data=target)
            restored.start(archive_mode="off", **more)
            restored.wait_recovered()
            self.assertEqual([restored.psql(sql) for sql in ROWS], rows)
            restored.stop()
            shutil.rmtree(target)
        self.assertEqual(self.varve("verify", "--json").json["problems"], [])


if __name__ == "__main__":
    main()
