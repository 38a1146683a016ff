#!/usr/bin/env python3
"""Varve against what else people back a SQLite file up with: one changing file, one run, ratios.

    bench/sqlite.py [--mib 1024] [--rounds 3] [--folder DIR] [--varve build/varve] [--json FILE]

Each tool takes a full backup of the same database, then an incremental one after 0.2 % of the orders (and as many accounts)
have changed at random, and restores the latter. Tools take turns; of several rounds the median is shown. Everything restored
is compared with the source by SQLite's own .sha3sum. Repositories are local, encrypted where the tool can (varve, restic,
borg), compressed by zstd at about level 3. Nobody writes during a backup, which only varve, .backup and VACUUM INTO
would tolerate. Debian packages that are missing are installed: sqlite3 zstd restic borgbackup.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
SHARE = 0.002
PHASES = ("full", "incremental", "restore")


def install():
    programs = {"sqlite3": "sqlite3", "zstd": "zstd", "restic": "restic", "borg": "borgbackup"}
    missing = [package for program, package in programs.items() if not shutil.which(program)]
    if missing:
        print("installing", *missing)
        subprocess.run(["apt-get", "-y", "-qq", "--no-install-recommends", "install", *missing], check=True,
                       stdout=subprocess.DEVNULL, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})


def run(*argv, env=None, cwd=None, stdin=None):
    """Runs a program; what it used, its children included."""
    with tempfile.TemporaryFile() as err:
        begin = time.monotonic()
        process = subprocess.Popen([str(a) for a in argv], env={**os.environ, **(env or {})}, cwd=cwd, stdin=stdin,
                                   stdout=subprocess.DEVNULL, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.monotonic() - begin
        if process.returncode != 0:
            err.seek(0)
            sys.exit(f"{' '.join(map(str, argv))} failed:\n{err.read().decode(errors='replace')[-2000:]}")
    return {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "rss": usage.ru_maxrss * 1024}


def together(*uses):
    return {"wall": sum(u["wall"] for u in uses), "cpu": sum(u["cpu"] for u in uses), "rss": max(u["rss"] for u in uses)}


def stored(folder):
    return sum(p.stat().st_size for p in Path(folder).rglob("*") if p.is_file() and not p.is_symlink())


def sha3(path):
    return subprocess.run(["sqlite3", "-readonly", str(path), ".sha3sum"], check=True, capture_output=True, text=True).stdout


class Varve:
    name = "varve"

    def __init__(self, folder, program):
        self.program, self.repository = program, folder / "repository"
        self.env = {"VARVE_PASSPHRASE": "benchmark", "VARVE_REPO": str(self.repository)}
        run(program, "init", env=self.env)

    def back_up(self, db, phase):
        return run(self.program, "backup", f"sqlite:{db}", "--type", phase, env=self.env)

    def restore(self, target):
        source = os.listdir(self.repository / "sources")[0]
        return run(self.program, "restore", source, "--target", target, env=self.env)


class SqliteBackup:
    name = "sqlite3 .backup"

    def __init__(self, folder, _):
        self.repository = folder / "copies"
        self.repository.mkdir()

    def back_up(self, db, phase):
        self.copy = self.repository / f"{phase}.db"
        use = run("sqlite3", db, f".backup '{self.copy}'")
        return together(use, run("sync", self.copy))

    def restore(self, target):
        return together(run("cp", self.copy, target), run("sync", target))


class VacuumZstd:
    name = "VACUUM INTO + zstd"

    def __init__(self, folder, _):
        self.repository, self.scratch = folder / "copies", folder / "scratch.db"
        self.repository.mkdir()

    def back_up(self, db, phase):
        self.copy = self.repository / f"{phase}.zst"
        uses = [run("sqlite3", db, f"VACUUM INTO '{self.scratch}'"),
                run("zstd", "-3", "-T2", "-q", "--rm", self.scratch, "-o", self.copy)]
        return together(*uses, run("sync", self.copy))

    def restore(self, target):
        return together(run("zstd", "-d", "-q", self.copy, "-o", target), run("sync", target))


class Restic:
    name = "restic"

    def __init__(self, folder, _):
        self.repository, self.out = folder / "repository", folder / "out"
        self.env = {"RESTIC_PASSWORD": "benchmark", "RESTIC_REPOSITORY": str(self.repository),
                    "RESTIC_CACHE_DIR": str(folder / "cache")}
        run("restic", "init", env=self.env)

    def back_up(self, db, phase):
        del phase  # it knows by itself
        self.db = db
        return run("restic", "backup", db, env=self.env)

    def restore(self, target):
        use = run("restic", "restore", "latest", "--target", self.out, env=self.env)
        os.rename(str(self.out) + str(self.db), target)
        return use


class Borg:
    name = "borg"

    def __init__(self, folder, _):
        self.repository, self.out = folder / "repository", folder / "out"
        self.out.mkdir()
        self.env = {"BORG_PASSPHRASE": "benchmark", "BORG_REPO": str(self.repository), "BORG_BASE_DIR": str(folder / "base"),
                    "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes"}
        run("borg", "init", "-e", "repokey-blake2", env=self.env)

    def back_up(self, db, phase):
        self.db, self.archive = db, phase
        return run("borg", "create", "-C", "zstd,3", f"::{phase}", db, env=self.env)

    def restore(self, target):
        use = run("borg", "extract", f"::{self.archive}", env=self.env, cwd=self.out)
        os.rename(str(self.out) + str(self.db), target)
        return use


TOOLS = (Varve, SqliteBackup, VacuumZstd, Restic, Borg)


def one_round(folder, number, db, varve, results):
    """Every tool, full, then the change, then every tool again."""
    tools = []
    for tool in TOOLS:
        place = folder / f"round-{number}" / tool.__name__
        place.mkdir(parents=True)
        tools.append((tool(place, varve), place))
    for phase in PHASES:
        if phase == "incremental":
            subprocess.run([HERE / "make_database.py", db, "--change", str(SHARE), "--seed", str(number)], check=True)
        if phase == "restore":
            expected = sha3(db)
        for tool, place in tools:
            before = stored(tool.repository)
            target = place / "restored.db"
            use = tool.restore(target) if phase == "restore" else tool.back_up(db, phase)
            use["stored"] = stored(tool.repository) - before
            if phase == "restore" and sha3(target) != expected:
                sys.exit(f"{tool.name}: what it restored is not what was backed up")
            results.setdefault((tool.name, phase), []).append(use)
    shutil.rmtree(folder / f"round-{number}")


def show(results, db_size):
    print(f"database of {db_size / 2**20:.0f} MiB; {SHARE:.1%} of rows changed; × is relative to varve\n")
    header = f"{'':20}{'':>12} {'wall s':>8} {'×':>6} {'cpu s':>8} {'×':>6} {'peak MiB':>9} {'stored MiB':>11} {'×':>6}"
    for phase in PHASES:
        print(header.replace(" " * 32, f"{phase:32}", 1))
        base = None
        for tool in TOOLS:
            uses = results[(tool.name, phase)]
            middle = {k: statistics.median(u[k] for u in uses) for k in uses[0]}
            base = base or middle

            def times(key):
                return f"{middle[key] / base[key]:6.2f}" if base[key] > 0 else "      "

            print(f"  {tool.name:30} {middle['wall']:8.2f} {times('wall')} {middle['cpu']:8.2f} {times('cpu')} "
                  f"{middle['rss'] / 2**20:9.0f} {middle['stored'] / 2**20:11.1f} {times('stored')}")
        print()


def main():
    parser = argparse.ArgumentParser(description="Varve against other tools, on one SQLite file.")
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", help="where the work is done; three times the database must fit (default: $TMPDIR)")
    parser.add_argument("--varve", default=str(HERE.parent / "build" / "varve"))
    parser.add_argument("--json", help="write every measurement to this file")
    a = parser.parse_args()
    if not os.access(a.varve, os.X_OK):
        sys.exit(f"there is no {a.varve}: run ./build.sh")
    install()
    with tempfile.TemporaryDirectory(prefix="varve-bench-sqlite-", dir=a.folder) as name:
        folder = Path(name)
        db, results = folder / "app.db", {}
        subprocess.run([HERE / "make_database.py", db, str(a.mib)], check=True)
        for number in range(a.rounds):
            one_round(folder, number, db, os.path.abspath(a.varve), results)
        show(results, db.stat().st_size)
    if a.json:
        Path(a.json).write_text(json.dumps({f"{t} {p}": u for (t, p), u in results.items()}, indent=1))


if __name__ == "__main__":
    main()
