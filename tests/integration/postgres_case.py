"""What the tests with PostgreSQL share: a real server that ships its WAL into a repository, and servers on what was
restored from it. As root, everything of it runs as the user postgres, varve too."""

import os
import shutil
import tempfile
from pathlib import Path

from postgres_server import PostgresError, Server, as_postgres, give_to_postgres, run
from varve_harness import PASSPHRASE, VarveTest


class PostgresTest(VarveTest):
    def setUp(self):
        super().setUp()
        # The build may lie where the user postgres cannot look.
        program = self.folder / "bin" / "varve"
        program.parent.mkdir()
        shutil.copy(self.binary, program)
        os.chmod(program, 0o755)
        self.program = program
        self.binary = self.folder / "bin" / "run"
        self.binary.write_text(f"#!/bin/sh\nexec {' '.join(as_postgres(program))} \"$@\"\n")
        os.chmod(self.binary, 0o755)
        self.binary = str(self.binary)
        self.secret = self.folder / "passphrase"
        self.secret.write_text(PASSPHRASE + "\n")
        os.chmod(self.secret, 0o600)
        give_to_postgres(self.folder)
        self.env.pop("VARVE_PASSPHRASE")
        self.env.pop("VARVE_REPO")
        self.env["VARVE_CONFIG"] = str(self.folder / "varve.toml")
        self.server = self.new_server("pg")

    def new_server(self, name, **options):
        server = Server(self.folder / name, **options)
        self.addCleanup(server.close)
        return server

    def configure(self, server=None, name="app", more=""):
        server = server or self.server
        text = (f'[repository.main]\nurl = "{self.place.url}"\npassphrase_file = "{self.secret}"\n{more}\n'
                f'[source.{name}]\nengine = "postgres"\nconnection = "{server.connection}"\nrepositories = ["main"]\n')
        (self.folder / "varve.toml").write_text(text)
        give_to_postgres(self.folder / "varve.toml")

    def archiving(self, name="app"):
        """The settings of a server that ships its WAL."""
        return {"archive_mode": "on", "archive_command": f"{self.program} --config {self.folder}/varve.toml log push {name} %p"}

    def begin(self, *initdb, checksums=True, **settings):
        """A repository, and a running server that ships its WAL into it."""
        self.settings = settings  # what replays its WAL needs as much
        self.server.initdb(*initdb, checksums=checksums)
        self.configure()
        self.init("--repo", "main")
        self.server.start(**{**self.archiving(), **settings})
        return self.server

    def backup(self, kind="auto"):
        return self.varve("backup", "app", "--type", kind, "--json").json["backup"]

    def shipped(self, server=None):
        """Ends the WAL's segment and waits until everything is in the repository."""
        server = server or self.server
        name = server.switch_wal()
        before = server.psql("SELECT last_archived_wal FROM pg_stat_archiver")
        server.wait_until(lambda: (server.psql("SELECT last_archived_wal FROM pg_stat_archiver") or "") >= name or
                          before > name, "the WAL was not shipped")

    def restore(self, target, *arguments, status=0, **options):
        return self.varve("restore", "app", "--target", self.folder / target, *arguments, status=status, **options)

    def restored(self, target, *arguments, mapped=()):
        """A running server on what was restored, its recovery over."""
        self.restore(target, *arguments)
        server = self.new_server(f"{target}-server", data=self.folder / target)
        server.start(**{**getattr(self, "settings", {}), "archive_mode": "off"})
        server.wait_recovered()
        return server

    def assertRestores(self, expected_dump, *arguments, check=True):
        """What a restore to this point gives is, by the server's own dump, what it was."""
        self.count = getattr(self, "count", 0) + 1
        server = self.restored(f"restored-{self.count}", *arguments)
        self.assertEqual(expected_dump, server.dump(), msg=f"restored by {arguments}")
        if check:
            self.amcheck(server)
        server.stop()
        shutil.rmtree(server.data)

    @staticmethod
    def amcheck(server):
        run(server.bin / "pg_amcheck", "-h", server.folder, "-p", server.port, "-U", "postgres", "--all", "--heapallindexed",
            "--install-missing", timeout=300)


__all__ = ["PostgresError", "PostgresTest", "Server", "as_postgres", "give_to_postgres", "run", "Path", "tempfile"]
