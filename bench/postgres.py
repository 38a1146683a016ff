#!/usr/bin/env python3
"""Varve against what else people back a PostgreSQL cluster up with: one cluster, one run, ratios.

    bench/postgres.py [--size 1] [--rounds 2] [--only PART]… [--segments 48] [--alone | --without PEER…]
                      [--folder DIR] [--varve build/varve] [--json FILE]

A cluster of so many GiB (pgbench's accounts, events with JSON documents and random tokens, a small table of 50 MB), nobody
else at work in it. The tools take turns at each part; of several rounds the quickest counts.

    full         a backup of everything
    incremental  after 0, 1 and 10 % of the pages of both large tables have changed, chosen at random
    table        the small table into another database; a tool that cannot restores everything, and dumps it there
    restore      everything, into an empty folder; and the server on it, until it has replayed the log
    delta        the same over a restored cluster in which 1 % of the pages were changed since
    replay       a restored server brings the segments that were written since the backup
    push         those segments, ready in a folder, through the loop that a server's archiver is

Every restore is started and its tables' checksums compared with the source's. Repositories are local; zstd level 3, two
workers; varve and pgBackRest encrypt (varve by a passphrase, where it does not say otherwise). Besides Debian's pgBackRest,
the program that $PGBACKREST names takes part; the targets are measured against the newer one. Debian packages that are
missing are installed: postgresql-15 pgbackrest barman zstd rsync.
"""

import argparse
import filecmp
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests" / "integration"))
from postgres_server import Server, as_postgres, give_to_postgres  # noqa: E402
from postgres_report import Report  # noqa: E402
from postgres_tools import Barman, PgBackRest, PgBaseBackup, Varve  # noqa: E402
from usage import adopt_orphans, run, stored  # noqa: E402

PARTS = ("full", "incremental", "table", "restore", "delta", "replay", "push")
PEERS = ("pgbackrest", "pgbackrest-debian", "pg_basebackup", "barman")
CHANGES = (0, 1, 10)  # per cent
PROGRAMS = {"pgbackrest": "pgbackrest", "barman": "barman", "zstd": "zstd", "rsync": "rsync", "setpriv": "util-linux",
            "/usr/lib/postgresql/15/bin/postgres": "postgresql-15"}
HOUR = 3600
MEMORY = 256 << 20
SMALL = 50 << 20
BYTES_PER_ACCOUNT, BYTES_PER_EVENT = 153, 510
TABLES = ("pgbench_accounts", "events", "small")
MAKE = """
CREATE TABLE events(id bigint, kind text, at timestamptz, document jsonb, token bytea) WITH (fillfactor = 90);
INSERT INTO events SELECT i, (ARRAY['created','paid','packed','shipped'])[1 + i % 4], '2026-01-01'::timestamptz + i * interval '7 s',
    jsonb_build_object('actor', 'user ' || i % 9973, 'amount', i::bigint * 7919 % 100000, 'comment', repeat(md5((i % 100003)::text) || ' ', 6),
                       'channel', (ARRAY['web','app','phone'])[1 + i % 3]), decode(md5(i::text) || md5((i + 1)::text), 'hex')
    FROM generate_series(1, {events}) i;
ALTER TABLE events ADD PRIMARY KEY (id);
CREATE TABLE small AS SELECT i AS id, md5(i::text) AS name, repeat(md5((i % 1009)::text), 6) AS note FROM generate_series(1, {small}) i;
ALTER TABLE small ADD PRIMARY KEY (id);
CREATE DATABASE other;
"""


def install():
    missing = {package for program, package in PROGRAMS.items() if not shutil.which(program)}
    if not missing:
        return
    print("installing", *sorted(missing), flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for package in sorted(missing):
        done = subprocess.run(["apt-get", "-y", "-qq", "--no-install-recommends", "install", package], env=environment,
                              stdout=subprocess.DEVNULL)
        if done.returncode != 0:
            print(f"{package} cannot be had: what needs it is left out")


class Bench:
    def __init__(self, folder, arguments):
        self.folder, self.arguments = folder, arguments
        self.report = Report()
        os.chmod(folder, 0o755)
        self.program = folder / "varve"
        shutil.copy(arguments.varve, self.program)  # where the user postgres can look
        self.server = Server(folder / "pg")
        self.missed = folder / "missed"

    # The cluster ------------------------------------------------------------------------------------------------------

    def make_cluster(self):
        server, size = self.server, self.arguments.size * 2**30
        server.initdb()
        server.configure(shared_buffers="256MB", max_wal_size="8GB", checkpoint_timeout="1h", autovacuum="off",
                         archive_mode="on", archive_command=f"/bin/sh {self.folder}/archive.sh %p  # as pgbackrest asks", wal_keep_size="256MB")
        self.archive_nothing()
        server.start()
        rows = int((size - SMALL) / 2 / BYTES_PER_ACCOUNT)
        server.pgbench("-i", "-q", "-F", "90", "-s", str(max(1, rows // 100000)), timeout=HOUR)
        small = int(min(SMALL, size / 8) / 330)
        for statement in MAKE.format(events=int((size - SMALL) / 2 / BYTES_PER_EVENT), small=small).split(";\n"):
            server.psql(statement, timeout=HOUR)
        server.psql("VACUUM ANALYZE; CHECKPOINT", timeout=HOUR)
        self.bytes = int(server.psql("SELECT sum(pg_database_size(oid)) FROM pg_database"))

    def change(self, per_cent, server=None):
        """One row in that share of the pages of both large tables."""
        for table, column in (("pgbench_accounts", "abalance = abalance + 1"), ("events", "kind = 'returned'")):
            if per_cent:
                (server or self.server).psql(
                    f"UPDATE {table} SET {column} WHERE ctid = ANY (ARRAY(SELECT format('(%s,%s)', p, 1 + floor(random() * 10))::tid "
                    f"FROM generate_series(0, pg_relation_size('{table}') / 8192 - 1) p WHERE random() < {per_cent / 100}))",
                    timeout=HOUR)

    @staticmethod
    def state(server, tables=TABLES, database="postgres"):
        return [server.psql(f"SELECT count(*), sum(hashtextextended(t::text, 0)) FROM {t} t", database, timeout=HOUR) for t in tables]

    # Shipping ---------------------------------------------------------------------------------------------------------

    def archive_nothing(self):
        self.archive("exit 0")

    def archive_to(self, chosen, keep=False):
        """The tools chosen get the WAL as the server has it ready; for the others it is kept until catch_up()."""
        lines = []
        for n, tool in enumerate(t for t in self.tools if t.archives):
            missed = self.missed / str(n)
            lines.append(f'{tool.archive_command()} "$1"' if tool in chosen else f'{self.folder}/keep.sh {missed} "$1"')
        if keep:
            lines.append(f'{self.folder}/keep.sh {self.folder}/ready "$1"')
        self.archive(" && \\\n".join(lines))

    def archive(self, text):
        part = self.folder / "archive.sh.part"
        part.write_text(text + "\n")
        os.chmod(part, 0o644)
        part.rename(self.folder / "archive.sh")

    def catch_up(self):
        """All WAL is with every tool."""
        server = self.server
        self.archive_to(self.tools, keep=self.keep)
        for n, tool in enumerate(t for t in self.tools if t.archives):
            for path in sorted((self.missed / str(n)).iterdir()):
                subprocess.run(as_postgres("/bin/sh", "-c", f"{tool.push_missed()} {path}"), check=True, cwd="/")
                path.unlink()
        name = server.switch_wal()
        before = server.psql("SELECT last_archived_wal FROM pg_stat_archiver")
        # The last that the archiver tells of may be a backup's label, which it takes after later segments.
        done = server.data / "pg_wal" / "archive_status" / f"{name}.done"
        server.wait_until(lambda: done.exists() or before > name or
                          (server.psql("SELECT last_archived_wal FROM pg_stat_archiver") or "") >= name,
                          "the WAL was not shipped", 300)

    # The parts --------------------------------------------------------------------------------------------------------

    def begin(self):
        keep = self.folder / "keep.sh"
        keep.write_text('#!/bin/sh\ncp "$2" "$1/.part" && mv "$1/.part" "$1/${2##*/}"\n')
        os.chmod(keep, 0o755)
        tools = self.folder / "tools"
        self.keep = False
        self.tools = [Varve(tools / "varve", self.server, self.program)]
        self.add_peers(tools)
        for folder in [self.folder / "ready", *(self.missed / str(n) for n in range(len(self.tools)))]:
            folder.mkdir(parents=True)
            give_to_postgres(folder)
        for tool in self.tools:
            tool.set_up()
        self.varve, self.report.tools = self.tools[0], [t.name for t in self.tools]
        self.report.peer = next((t.name for t in self.tools if isinstance(t, PgBackRest)), None)
        self.catch_up()

    def add_peers(self, tools):
        without = PEERS if self.arguments.alone else self.arguments.without
        given = os.environ.get("PGBACKREST")
        programs = [given if "pgbackrest" not in without else None, None if "pgbackrest-debian" in without else shutil.which("pgbackrest")]
        for n, program in enumerate(filter(None, programs)):
            self.tools.append(PgBackRest(tools / f"pgbackrest-{n}", self.server, program))
        if not given and not self.arguments.alone:
            print("$PGBACKREST names no newer pgBackRest: only Debian's takes part, which keeps no block increments")
        if "pg_basebackup" not in without:
            self.tools.append(PgBaseBackup(tools / "pg_basebackup", self.server))
        if "barman" not in without and shutil.which("barman"):
            self.tools.append(Barman(tools / "barman", self.server))

    def back_up(self, part, kind):
        for tool in self.tools:
            before = stored(tool.repository)
            self.archive_to([tool])
            use = tool.back_up(kind)
            use["stored"] = stored(tool.repository) - before if tool.incremental else stored(tool.repository)
            self.report.add(part, tool.name, use)
        self.catch_up()

    def limits(self):
        files = [p for p in self.server.data.rglob("*") if p.is_file() and "pg_wal" not in p.parts]
        names = self.folder / "files"
        names.write_text("".join(f"{p}\0" for p in files))
        copy, packed = self.folder / "copy", self.folder / "packed"
        copy.mkdir()
        use = run("sh", "-c", f"xargs -0 cat <{names} | zstd -q -3 -T2 -o {packed} && sync {packed}")
        self.report.add("full", "zstd -3 -T2", use, stored=packed.stat().st_size)
        self.report.add("restore", "plain copy", run("sh", "-c", f"xargs -0 cp --parents -t {copy} <{names} && sync -f {copy}"))
        shutil.rmtree(copy)
        packed.unlink()

    def full(self):
        for _ in range(self.arguments.rounds if "full" in self.arguments.only else 1):
            self.back_up("full", "full")
            self.limits()

    def incremental(self):
        for _ in range(self.arguments.rounds):
            for per_cent in CHANGES:
                self.change(per_cent)
                self.catch_up()
                self.back_up(f"incremental, {per_cent} %", "incremental")

    def started(self, target):
        """A server on what was restored, its recovery over; and what that took."""
        server = Server(target.with_name(target.name + ".server"), data=target)
        begin = time.monotonic()
        server.start(archive_mode="off", shared_buffers="256MB")
        server.wait_recovered(HOUR)
        return server, time.monotonic() - begin

    def check(self, tool, server, expected, **more):
        if self.state(server, **more) != expected:
            sys.exit(f"{tool.name}: what it restored is not what was backed up")

    def table(self):
        expected = self.state(self.server, ["small"])
        into = f"{self.server.connection} dbname=other"
        for _ in range(self.arguments.rounds):
            self.report.add("table", self.varve.name, self.varve.table("postgres.public.small", into))
            self.check(self.varve, self.server, expected, tables=["small"], database="other")
            self.server.psql("DROP TABLE small", "other")

    def restore(self):
        expected = self.state(self.server)
        for number in range(self.arguments.rounds):
            for tool in self.tools:
                target = tool.folder / f"restored-{number}"
                use = tool.restore(target)
                self.report.add("restore", tool.name, use)
                server, wall = self.started(target)
                self.check(tool, server, expected)
                if isinstance(tool, PgBackRest):
                    self.other_way_to_table(tool, server, use["wall"] + wall)
                if tool.delta and number == self.arguments.rounds - 1:
                    self.restored[tool] = server
                    continue
                server.stop()
                shutil.rmtree(target)

    def other_way_to_table(self, tool, server, before):
        dump = (f"{server.bin}/pg_dump -h {server.folder} -p {server.port} -U postgres -t public.small | "
                f"{server.bin}/psql -qX -h {self.server.folder} -p {self.server.port} -U postgres -d other")
        use = run("sh", "-c", dump)
        self.report.add("table", tool.name, {**use, "wall": use["wall"] + before})
        self.server.psql("DROP TABLE small", "other")

    def delta(self):
        expected = self.state(self.server)
        for _ in range(self.arguments.rounds):
            for tool, server in self.restored.items():
                self.change(1, server)
                server.stop()
                self.report.add("delta", tool.name, tool.restore(server.data, delta=True))
                self.restored[tool], _ = self.started(server.data)
                self.check(tool, self.restored[tool], expected)

    def write_segments(self):
        """As many as are asked for, in every archive and in the folder ready."""
        self.keep = True
        self.catch_up()
        ready = self.folder / "ready"
        while len(list(ready.iterdir())) < self.arguments.segments:
            self.server.psql("CHECKPOINT")  # so that changes bring whole pages, as they mostly do
            self.server.pgbench("-N", "-n", "-c", "2", "-j", "2", "-t", "4000", timeout=HOUR)
        self.catch_up()
        self.keep = False

    def replay(self):
        expected = self.state(self.server)
        for _ in range(self.arguments.rounds):
            for tool, server in self.restored.items():
                server.stop()
                tool.restore(server.data, delta=True)
                self.restored[tool], wall = self.started(server.data)
                self.check(tool, self.restored[tool], expected)
                self.report.add("replay", tool.name, {"wall": wall})

    def push(self):
        segments = sorted(p for p in (self.folder / "ready").iterdir() if len(p.name) == 24)[:self.arguments.segments]
        for number in range(self.arguments.rounds):
            place = self.folder / f"push-{number}"
            for tool in self.pushers(place):
                use = self.through(tool, place / tool.folder.name / "data", segments)
                use["stored"] = stored(tool.repository)
                self.report.add("push", tool.name, use, segments=len(segments))
                fetched = place / tool.folder.name / "data" / "pg_wal" / "fetched"
                for path in segments[:: max(1, len(segments) // 4)]:
                    tool.fetch(path.name, fetched)
                    if not filecmp.cmp(path, fetched, shallow=False):
                        sys.exit(f"{tool.name}: {path.name} is not what was pushed")
                    fetched.unlink()
            shutil.rmtree(place)

    def pushers(self, place):
        yield Varve(place / "varve", self.server, self.program)
        tool = Varve(place / "varve-key", self.server, self.program, key_file=True)
        tool.name += ", key file"
        yield tool
        for n, known in enumerate(t for t in self.tools if isinstance(t, PgBackRest)):
            folder = place / f"pgbackrest-{n}"
            tool = PgBackRest(folder, self.server, known.program, data=folder / "data")
            self.ready_folder(folder / "data", [])
            subprocess.run(as_postgres(*tool.words("--no-online", "stanza-create")), check=True, cwd="/")
            yield tool

    def ready_folder(self, data, segments):
        (data / "pg_wal" / "archive_status").mkdir(parents=True, exist_ok=True)
        for name in ("PG_VERSION", "global/pg_control"):
            (data / name).parent.mkdir(exist_ok=True)
            shutil.copy(self.server.data / name, data / name)
        for path in segments:
            shutil.copy(path, data / "pg_wal")
            (data / "pg_wal" / "archive_status" / f"{path.name}.ready").touch()
        os.chmod(data, 0o700)
        give_to_postgres(data)

    def through(self, tool, data, segments):
        """As pgarch.c does: the oldest mark, the command by a shell, the mark renamed."""
        self.ready_folder(data, segments)
        loop = (f'cd {data}\nfor mark in pg_wal/archive_status/*.ready; do name=${{mark##*/}}; name=${{name%.ready}}\n'
                f'sh -c "$0 pg_wal/$name" && mv "$mark" "${{mark%.ready}}.done" || exit 1\ndone')
        return tool.run("sh", "-c", loop, tool.archive_command().replace('"', '\\"'))

    def run(self):
        only = self.arguments.only
        needed = set(only)
        if needed & {"delta", "replay"}:
            needed.add("restore")
        self.restored = {}
        self.make_cluster()
        print(f"a cluster of {self.bytes / 2**30:.2f} GiB", flush=True)
        self.begin()
        if needed - {"push"}:
            self.full()
        for part in PARTS[1:]:
            if part in ("replay", "push") and part in needed and not any((self.folder / "ready").iterdir()):
                self.write_segments()
            if part in needed:
                print(part, "…", flush=True)
                getattr(self, part)()
        self.report.show(self.bytes)

    def close(self):
        for server in [self.server, *self.restored.values()]:
            server.close()


def main():
    parser = argparse.ArgumentParser(description="Varve against other tools, on one PostgreSQL cluster.")
    parser.add_argument("--size", type=float, default=1, metavar="GIB")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--segments", type=int, default=48, help="of WAL, for replay and push")
    parser.add_argument("--only", action="append", choices=PARTS, metavar="PART", help=f"one of {' '.join(PARTS)}; may be repeated")
    parser.add_argument("--alone", action="store_true", help="varve only")
    parser.add_argument("--without", action="append", choices=PEERS, default=[], metavar="PEER", help=f"one of {' '.join(PEERS)}")
    parser.add_argument("--folder", help="where the work is done; ten times the cluster must fit (default: $TMPDIR)")
    parser.add_argument("--varve", default=str(HERE.parent / "build" / "varve"))
    parser.add_argument("--json", help="write every measurement to this file")
    arguments = parser.parse_args()
    arguments.only = arguments.only or list(PARTS)
    if not os.access(arguments.varve, os.X_OK):
        sys.exit(f"there is no {arguments.varve}: run ./build.sh")
    if not arguments.alone:
        install()
    adopt_orphans()
    with tempfile.TemporaryDirectory(prefix="varve-bench-postgres-", dir=arguments.folder) as name:
        bench = Bench(Path(name), arguments)
        try:
            bench.run()
        finally:
            bench.close()
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(bench.report.measurements(), indent=1))


if __name__ == "__main__":
    main()
