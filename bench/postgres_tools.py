"""The tools that bench/postgres.py compares: how each is set up, backs up, restores and ships WAL. Every one's programs run
as the user of the cluster."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "integration"))
from postgres_server import as_postgres, give_to_postgres  # noqa: E402
from usage import run, together  # noqa: E402

SECRET = "a secret of the benchmark"


def quietly(*argv, **more):
    done = subprocess.run([str(a) for a in as_postgres(*argv)], capture_output=True, text=True, cwd="/", **more)
    if done.returncode != 0:
        sys.exit(f"{shlex.join(str(a) for a in argv)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def version_in(text):
    return re.search(r"\d+(\.\d+)+", text)[0]


class Tool:
    """`folder` is its own. `server` is the cluster."""

    incremental, delta, archives = True, True, True

    def __init__(self, folder, server):
        self.folder, self.server = folder, server
        self.repository = folder / "repository"
        self.repository.mkdir(parents=True)
        give_to_postgres(folder)

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text)
        os.chmod(path, 0o600)
        give_to_postgres(self.folder)
        return path

    def run(self, *argv):
        return run(*as_postgres(*argv), cwd="/")


class Varve(Tool):
    name = "varve"

    def __init__(self, folder, server, program, key_file=False):
        super().__init__(folder, server)
        self.program = program
        secret = self.write("secret", SECRET + "\n")
        how = f'key_file = "{folder}/key"\nencryption = "key-file"' if key_file else f'passphrase_file = "{secret}"'
        self.configuration = self.write("varve.toml", f"""
[repository.main]
url = "{self.repository}"
{how}
[source.app]
engine = "postgres"
connection = "{server.connection}"
repositories = ["main"]
""")
        quietly(*self.words("init", "--repo", "main", *(["--key-file", folder / "key", "--generate"] if key_file else [])))

    def words(self, *more):
        return [self.program, "--config", self.configuration, "--no-progress", *more]

    def set_up(self):
        pass

    def archive_command(self):
        return shlex.join(str(w) for w in self.words("log", "push", "app"))

    push_missed = archive_command

    def back_up(self, kind):
        return self.run(*self.words("backup", "app", "--type", kind, "--workers", 2, "--level", 3))

    def restore(self, target, delta=False):
        return self.run(*self.words("restore", "app", "--target", target, "--workers", 2, *(["--delta"] if delta else [])))

    def table(self, name, into):
        return self.run(*self.words("restore", "app", "--table", name, "--to", "latest", "--into-connection", into, "--scratch",
                                    self.folder / "scratch"))

    def fetch(self, name, target):
        quietly(*self.words("log", "fetch", "app", name, target))


class PgBackRest(Tool):
    def __init__(self, folder, server, program, data=None):
        super().__init__(folder, server)
        self.program = program
        self.version = version_in(subprocess.run([program, "version"], capture_output=True, text=True, check=True).stdout)
        self.name = f"pgBackRest {self.version}"
        self.block = tuple(int(n) for n in self.version.split(".")) >= (2, 46)
        (folder / "spool").mkdir()
        self.configuration = self.write("pgbackrest.conf", f"""
[global]
repo1-path={self.repository}
repo1-cipher-type=aes-256-cbc
repo1-cipher-pass={SECRET}
repo1-bundle=y
{"repo1-block=y" if self.block else ""}
compress-type=zst
compress-level=3
process-max=2
repo1-retention-full=99
start-fast=y
archive-async=y
spool-path={folder}/spool
lock-path={folder}
log-level-file=off
log-level-console=warn
[app]
pg1-path={data or server.data}
pg1-port={server.port}
pg1-socket-path={server.folder}
pg1-user=postgres
""")

    def words(self, *more):
        return [self.program, f"--config={self.configuration}", "--stanza=app", *more]

    def set_up(self):
        quietly(*self.words("stanza-create"))

    def archive_command(self):
        return shlex.join(str(w) for w in self.words("archive-push"))

    def push_missed(self):
        return shlex.join(str(w) for w in self.words("--no-archive-async", "archive-push"))

    def back_up(self, kind):
        return self.run(*self.words(f"--type={'incr' if kind == 'incremental' else 'full'}", "backup"))

    def restore(self, target, delta=False):
        target.mkdir(mode=0o700, exist_ok=True)
        os.chown(target, *self._owner())
        return self.run(*self.words(f"--pg1-path={target}", *(["--delta"] if delta else []), "restore"))

    def _owner(self):
        status = os.stat(self.server.data)
        return status.st_uid, status.st_gid

    def fetch(self, name, target):
        quietly(*self.words("--no-archive-async", "archive-get", name, target))


class PgBaseBackup(Tool):
    """Everything each time: before PostgreSQL 17 it knows no incremental backup. It does not encrypt."""

    name, incremental, delta, archives = "pg_basebackup", False, False, False

    def set_up(self):
        self.number = 0

    def back_up(self, kind):
        self.number += 1
        self.last = self.repository / str(self.number)
        for old in self.repository.iterdir():
            shutil.rmtree(old)
        use = self.run(self.server.bin / "pg_basebackup", "-d", self.server.connection, "-D", self.last, "-Ft", "-X", "fetch",
                       "-c", "fast", "--no-manifest", "--compress=client-zstd:level=3,workers=2")
        return use

    def restore(self, target, delta=False):
        target.mkdir(mode=0o700)
        give_to_postgres(target)
        use = self.run("tar", "--zstd", "-xf", self.last / "base.tar.zst", "-C", target)
        return together(use, run("sync", "-f", target))


class Barman(Tool):
    """By rsync, with hard links to files that did not change. It neither compresses nor encrypts."""

    delta = False

    def __init__(self, folder, server):
        super().__init__(folder, server)
        self.name = "barman " + version_in(subprocess.run(["barman", "--version"], capture_output=True, text=True, check=True).stdout)
        (folder / "configuration.d").mkdir()
        self.incoming = self.repository / "app" / "incoming"
        self.configuration = self.write("barman.conf", f"""
[barman]
barman_user = postgres
barman_home = {self.repository}
configuration_files_directory = {folder}/configuration.d
log_file = {folder}/barman.log
log_level = WARNING
[app]
description = the benchmark
conninfo = {server.connection} dbname=postgres
backup_method = local-rsync
parallel_jobs = 2
reuse_backup = link
archiver = on
immediate_checkpoint = true
backup_options = concurrent_backup
""")
        self.incoming.mkdir(parents=True)
        give_to_postgres(self.repository)

    def words(self, *more):
        return ["barman", "-c", self.configuration, *more]

    def set_up(self):
        pass

    def archive_command(self):
        return f"{self.folder.parents[1]}/keep.sh {self.incoming}"

    push_missed = archive_command

    def back_up(self, kind):
        quietly(*self.words("archive-wal", "app"))
        return self.run(*self.words("backup", "--wait", "--reuse-backup", "link" if kind == "incremental" else "off", "app"))

    def restore(self, target, delta=False):
        quietly(*self.words("archive-wal", "app"))
        use = self.run(*self.words("recover", "--jobs", 2, "app", "latest", target))
        return together(use, run("sync", "-f", target))
