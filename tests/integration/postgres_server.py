"""A real PostgreSQL server for the integration tests: in a temporary folder, on a free port of 127.0.0.1 and a socket.

    server = Server(self.path("pg"))          # or Server() for a temporary folder
    server.initdb()
    server.start(archive_mode="on", archive_command="…")
    server.psql("CREATE TABLE t(a int)")
    server.dump()                             # pg_dumpall: the independent oracle
    server.stop()                             # kill(): as a power cut

Run as root, everything of it runs as, and belongs to, the user postgres, since PostgreSQL refuses to run as root; the
folders above must let that user in. Every wait has an end.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

TIMEOUT = float(os.environ.get("VARVE_TEST_TIMEOUT", "120"))
VERSION = 15


class PostgresError(AssertionError):
    """A program of PostgreSQL failed; the text is what it said."""


def binaries(version=VERSION):
    folder = Path(os.environ.get("PGBIN") or f"/usr/lib/postgresql/{version}/bin")
    if not (folder / "postgres").exists():
        raise PostgresError(f"PostgreSQL {version} is not installed: apt-get install postgresql-{version}")
    return folder


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def as_postgres(*command):
    """The command line that runs a program as the user postgres, where we are root."""
    if os.geteuid() != 0:
        return [str(c) for c in command]
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", *[str(c) for c in command]]


def environment():
    """Without what would lead libpq elsewhere."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
    env["LC_ALL"] = "C.UTF-8"
    return env


def run(*command, text=None, timeout=TIMEOUT, check=True):
    """Runs a program to its end: what it wrote to standard output."""
    done = subprocess.run([str(c) for c in command], input=text, capture_output=True, text=True, timeout=timeout,
                          env=environment(), cwd="/")
    if check and done.returncode != 0:
        raise PostgresError(f"$ {' '.join(str(c) for c in command)}\nexit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def without_random_words(dump):
    """A dump's lines "\\restrict …" differ from one to the next."""
    return "".join(l for l in dump.splitlines(True) if not l.startswith(("\\restrict ", "\\unrestrict ")))


def give_to_postgres(path):
    """Makes the user postgres the owner of a file or of a folder with all in it."""
    if os.geteuid() != 0:
        return
    user = pwd.getpwnam("postgres")
    os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)
    for folder, folders, files in os.walk(path):
        for name in folders + files:
            os.chown(Path(folder) / name, user.pw_uid, user.pw_gid, follow_symlinks=False)


class Server:
    """One cluster. `folder` holds its data directory ("data"), its socket and its log ("log")."""

    def __init__(self, folder=None, version=VERSION, data=None):
        self._own = folder is None
        self.folder = Path(folder) if folder else Path(tempfile.mkdtemp(prefix="varve-pg-", dir="/tmp"))
        self.folder.mkdir(parents=True, exist_ok=True)
        give_to_postgres(self.folder)
        self.data = Path(data) if data else self.folder / "data"
        self.bin = binaries(version)
        self.port = free_port()
        self.log = self.folder / "log"
        self.pid = None

    # Life ---------------------------------------------------------------------------------------------------------

    def initdb(self, *arguments, checksums=True):
        run(*as_postgres(self.bin / "initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "--no-sync",
                         "--locale=C.UTF-8", "-E", "UTF8", *(["--data-checksums"] if checksums else []), *arguments))
        return self

    def configure(self, **settings):
        """Settings that stay, at the end of postgresql.conf."""
        with open(self.data / "postgresql.conf", "a") as f:
            for key, value in settings.items():
                quoted = str(value).replace("\\", "\\\\").replace("'", "''")
                f.write(f"{key} = '{quoted}'\n")
        return self

    def start(self, wait=True, **settings):
        """Starts the server itself. `wait`: until it lets one in (a hot standby too)."""
        if self.alive():
            raise PostgresError("the server runs already")
        fixed = {"port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": self.folder,
                 "fsync": "off", "logging_collector": "off", "log_destination": "stderr"}
        options = [x for k, v in {**fixed, **settings}.items() for x in ("-c", f"{k}={v}")]
        with open(self.log, "ab") as log:
            process = subprocess.Popen(as_postgres(self.bin / "postgres", "-D", self.data, *options), stdin=subprocess.DEVNULL,
                                       stdout=log, stderr=log, env=environment(), cwd="/", start_new_session=True)
        self._process = process
        self.pid = process.pid
        if wait:
            self.wait_until(lambda: self.answers(), "it lets nobody in")
        return self

    def stop(self, mode="fast"):
        """Ends it in order (fast, smart, immediate); fine when it has ended."""
        self._signal({"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}[mode])
        return self

    def kill(self):
        """As a power cut would: the postmaster and all its children at once."""
        if self.alive():
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(TIMEOUT)
            for child in self._backends():
                os.kill(child, signal.SIGKILL)
        self.pid = None
        # A server that starts again waits until nobody is attached to the old one's memory.
        return self

    def close(self):
        """At the test's end: nothing runs on, and a folder of our own goes."""
        if self.alive():
            self.stop("immediate")
        if self._own:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def alive(self):
        return self.pid is not None and self._process.poll() is None

    def _signal(self, number):
        if not self.alive():
            self.pid = None
            return
        os.kill(self.pid, number)
        self._process.wait(TIMEOUT)
        self.pid = None

    def _backends(self):
        """Processes of this cluster that are left: their working folder is the data directory."""
        out = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and Path(os.readlink(entry / "cwd")) == self.data.resolve():
                    out.append(int(entry.name))
            except OSError:
                pass
        return out

    # Talking to it --------------------------------------------------------------------------------------------------

    @property
    def connection(self):
        """For a source's `connection`, and for psql -d."""
        return f"host={self.folder} port={self.port} user=postgres"

    @property
    def address(self):
        return f"postgres:{self.connection}"

    def _client(self, program, *arguments, **more):
        return run(self.bin / program, "-h", self.folder, "-p", self.port, "-U", "postgres", *arguments, **more)

    def psql(self, sql, database="postgres", timeout=TIMEOUT):
        """What psql prints, without the last line break: rows as "a|b" lines."""
        out = self._client("psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", database, "-f", "-", text=sql, timeout=timeout)
        return out[:-1] if out.endswith("\n") else out

    def answers(self):
        if not self.alive():
            raise PostgresError(f"the server ended:\n{self.tail()}")
        try:
            return self.psql("SELECT 1", timeout=10) == "1"
        except (PostgresError, subprocess.TimeoutExpired):
            return False

    def dump(self, *arguments):
        """pg_dumpall: everything, as SQL."""
        return without_random_words(self._client("pg_dumpall", *arguments))

    def dump_table(self, table, database="postgres"):
        return without_random_words(self._client("pg_dump", "-d", database, "-t", table))

    def pgbench(self, *arguments, database="postgres", timeout=TIMEOUT):
        """pgbench("-i", "-s", "2") makes its tables; pgbench("-T", "5", "-c", "2") runs it."""
        return self._client("pgbench", *arguments, database, timeout=timeout)

    def start_pgbench(self, *arguments, database="postgres"):
        """The same beside the test: a Popen, to be ended by the caller."""
        return subprocess.Popen([str(self.bin / "pgbench"), "-h", str(self.folder), "-p", str(self.port), "-U", "postgres",
                                 *[str(a) for a in arguments], database], stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL, env=environment(), cwd="/")

    def lsn(self):
        return self.psql("SELECT pg_current_wal_insert_lsn()")

    def switch_wal(self):
        """Ends the segment, so that it is archived."""
        return self.psql("SELECT pg_walfile_name(pg_switch_wal())")

    def check_pages(self):
        """pg_checksums --check on the stopped cluster; fails when a page is wrong."""
        return run(*as_postgres(self.bin / "pg_checksums", "--check", "-D", self.data))

    # Waiting ----------------------------------------------------------------------------------------------------------

    def wait_until(self, condition, otherwise, seconds=TIMEOUT):
        until = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > until:
                raise PostgresError(f"after {seconds:.0f} s {otherwise}:\n{self.tail()}")
            time.sleep(0.05)

    def wait_recovered(self, seconds=TIMEOUT):
        """Until its recovery is over and it is writable."""
        self.wait_until(lambda: self.answers() and self.psql("SELECT pg_is_in_recovery()") == "f", "it still recovers", seconds)

    def wait_ended(self, seconds=TIMEOUT):
        """Until the process has ended: its exit code."""
        status = self._process.wait(seconds)
        self.pid = None
        return status

    def tail(self, lines=30):
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
