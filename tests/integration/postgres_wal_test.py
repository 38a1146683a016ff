"""What Varve reads in PostgreSQL's write-ahead log, against what PostgreSQL itself says of it and against the files."""

import json
import os
import re
import subprocess
import time
import unittest
from pathlib import Path

import pg_wal_server
from pg_wal_server import Server

TOOL = os.environ.get("VARVE_WAL_TOOL", "build/tests/wal_tool")

WORK = """
CREATE TABLE a(id int PRIMARY KEY, v text, w text);
INSERT INTO a SELECT i, repeat('x', i % 90), NULL FROM generate_series(1, 5000) i;
CREATE TABLE wide(id int, v text);
ALTER TABLE wide ALTER v SET STORAGE EXTERNAL;
INSERT INTO wide SELECT i, repeat(chr(65 + i % 26), 30000) FROM generate_series(1, 30) i;
CREATE INDEX ON a USING gin (to_tsvector('simple', v));
CREATE INDEX ON a USING hash (v);
CREATE INDEX ON a USING brin (id);
CREATE INDEX ON a USING spgist (v);
CREATE INDEX ON a USING gist (int4range(id, id + 1));
CREATE SEQUENCE s; SELECT nextval('s');
CREATE UNLOGGED TABLE u(id int);
INSERT INTO u SELECT generate_series(1, 100);
CHECKPOINT;
UPDATE a SET w = 'changed' WHERE id % 7 = 0;
DELETE FROM a WHERE id % 11 = 0;
BEGIN; INSERT INTO a VALUES (10001, 'one'); SAVEPOINT x; INSERT INTO a VALUES (10002, 'two'); ROLLBACK TO x;
SAVEPOINT y; INSERT INTO a VALUES (10003, 'three'); COMMIT;
BEGIN; DELETE FROM a; ROLLBACK;
COPY a(id, v) FROM stdin;
20001	x
20002	y
20003	z
\\.
INSERT INTO a VALUES (20001, 'again') ON CONFLICT DO NOTHING;
VACUUM a;
CREATE TABLE gone(id int); INSERT INTO gone SELECT generate_series(1, 1000);
TRUNCATE gone; INSERT INTO gone VALUES (1);
BEGIN; CREATE TABLE temporary_thing(id int); INSERT INTO temporary_thing VALUES (1); ROLLBACK;
DROP TABLE gone;
BEGIN; INSERT INTO a VALUES (30001, 'prepared'); PREPARE TRANSACTION 'p1';
COMMIT PREPARED 'p1';
BEGIN; INSERT INTO a VALUES (30002, 'prepared'); PREPARE TRANSACTION 'p2';
ROLLBACK PREPARED 'p2';
SELECT pg_logical_emit_message(false, 'test', repeat('m', 200000));
CREATE DATABASE other;
DROP DATABASE other;
SELECT pg_create_restore_point('here');
SELECT pg_switch_wal();
INSERT INTO a SELECT i, md5(i::text) FROM generate_series(50001, 60000) i;
VACUUM FULL a;
CLUSTER a USING a_pkey;
DELETE FROM a WHERE id > 55000; VACUUM a;
"""


def lsn(text):
    high, low = text.split("/")
    return int(high, 16) << 32 | int(low, 16)


def raw_tool(command, segment_size, *more):
    done = subprocess.run([TOOL, command, str(segment_size), *(str(m) for m in more)], capture_output=True, text=True,
                          timeout=300)
    if done.returncode != 0:
        raise AssertionError(done.stderr)
    return done.stdout


def tool(*arguments):
    return [json.loads(line) for line in raw_tool(*arguments).splitlines()]


class Case(unittest.TestCase):
    maxDiff = 4000

    def server(self, version, *initdb, segment_mib=16, **settings):
        if segment_mib != 16:
            initdb = (*initdb, f"--wal-segsize={segment_mib}")
        settings = {"max_prepared_transactions": "10", "wal_keep_size": "4GB", **settings}
        server = Server(version, *initdb, **settings)
        self.addCleanup(server.close)
        server.segment_size = segment_mib << 20
        return server


FORKS = {"main": 0, "fsm": 1, "vm": 2, "init": 3}


def waldump(server, segments):
    """As tuples, of PostgreSQL's own reader."""
    out = subprocess.run([str(server.bin / "pg_waldump"), "--bkp-details", str(segments[0]), str(segments[-1])],
                         capture_output=True, text=True, timeout=300).stdout
    records = []
    head = re.compile(r"rmgr: (\S+) +len \(rec/tot\): +\d+/ *(\d+), tx: +(\d+), lsn: (\S+), prev (\S+), desc: (\S+)")
    block = re.compile(r"blkref #\d+: rel (\d+)/(\d+)/(\d+) (?:fork|forknum) ?(\w+) blk (\d+)( \(FPW[^)]*\))?")
    for line in out.splitlines():
        if m := head.match(line):
            records.append((m[1], int(m[2]), int(m[3]), lsn(m[4]), lsn(m[5]), []))
            line = line[m.end():]
        for m in block.finditer(line):
            records[-1][5].append([int(m[1]), int(m[2]), int(m[3]), FORKS[m[4]], int(m[5]), m[6] is not None])
    return records


RMGRS = ("XLOG Transaction Storage CLOG Database Tablespace MultiXact RelMap Standby Heap2 Heap Btree Hash Gin Gist "
         "Sequence SPGist BRIN CommitTs ReplicationOrigin Generic LogicalMessage").split()


class Records(Case):
    def compare_with_waldump(self, server):
        segments = server.segments()
        expected = waldump(server, segments)
        self.assertGreater(len(expected), 10000)
        whole = raw_tool("records", server.segment_size, 0, *segments)
        for part in (1000003, 8192, 37):
            self.assertTrue(raw_tool("records", server.segment_size, part, *segments) == whole, part)
        *records, stop, end = [json.loads(line) for line in whole.splitlines()]
        self.assertIn(stop["stop"], ("zeros", "stale"), stop)
        self.assertEqual(end["version"], server.version)
        got = [(RMGRS[r["rmid"]], r["length"], r["xid"], lsn(r["lsn"]), lsn(r["prev"]),
                [[*b[:5], bool(b[5])] for b in r["blocks"]]) for r in records]
        for g, e in zip(got, expected):
            self.assertEqual(g, e)
        self.assertEqual(len(got), len(expected))

    def test_every_record_is_as_the_server_says(self):
        for segment_mib, settings in ((16, {}), (1, {"wal_compression": "lz4"}), (64, {"wal_compression": "pglz"}),
                                      (1, {"wal_level": "logical", "wal_compression": "zstd",
                                           "wal_consistency_checking": "all"})):
            with self.subTest(segment=segment_mib, **settings):
                server = self.server(15, *(["-k"] if segment_mib != 64 else []), segment_mib=segment_mib, **settings)
                server.start()
                server.sql(WORK)
                server.kill()
                server.start()
                server.sql("INSERT INTO a SELECT i FROM generate_series(100001, 100100) i")
                server.stop()
                self.compare_with_waldump(server)


    def test_every_record_of_other_versions_is_as_the_server_says(self):
        for version in (16, 17, 18):
            with self.subTest(version=version):
                server = self.server(version, "-k", segment_mib=1, wal_compression="pglz")
                server.start()
                server.sql(WORK)
                server.sql("CREATE EXTENSION pg_walinspect; CHECKPOINT")
                begin = server.sql("SELECT pg_current_wal_flush_lsn()")
                server.sql("UPDATE a SET w = 'again' WHERE id % 3 = 0; DROP TABLE wide; SELECT pg_switch_wal();"
                           "INSERT INTO a SELECT i FROM generate_series(200001, 200100) i; VACUUM a")
                end = server.sql("SELECT pg_current_wal_flush_lsn()")
                blocks = {}
                for row in server.sql(
                        "SELECT start_lsn, reltablespace, reldatabase, relfilenode, relforknumber, relblocknumber,"
                        f"(block_fpi_length > 0)::int FROM pg_get_wal_block_info('{begin}', '{end}')"
                        "ORDER BY start_lsn, block_id").splitlines():
                    at, *block = row.split("|")
                    blocks.setdefault(at, []).append([int(b) for b in block])
                expected = [
                    (at, end_of, int(length), int(main), int(xid), blocks.get(at, []))
                    for at, end_of, length, main, xid in (row.split("|") for row in server.sql(
                        "SELECT start_lsn, end_lsn, record_length, main_data_length, xid::text FROM "
                        f"pg_get_wal_records_info('{begin}', '{end}') ORDER BY start_lsn").splitlines())]
                server.stop()
                self.assertGreater(len(expected), 3000)
                got = [(r["lsn"], r["end"], r["length"], r["main"], r["xid"],
                        [[*b[:5], int(b[5])] for b in r["blocks"]])
                       for r in tool("records", server.segment_size, 0, *server.segments())
                       if "xid" in r and lsn(begin) <= lsn(r["lsn"]) and lsn(r["end"]) <= lsn(end)]
                self.assertEqual(len(got), len(expected))
                for g, e in zip(got, expected):
                    self.assertEqual(g, e)


RELATION = re.compile(r"(\d+)(_fsm|_vm|_init)?(?:\.(\d+))?\Z")
SUFFIXES = {None: 0, "_fsm": 1, "_vm": 2, "_init": 3}


def relation_files(data):
    """{(tablespace, database, relation, fork): [the pages of all its segments]}; what is unlogged is left out."""
    folders = [(1664, 0, data / "global")]
    folders += [(1663, int(p.name), p) for p in (data / "base").iterdir() if p.name.isdigit()]
    for space in (data / "pg_tblspc").iterdir():
        folders += [(int(space.name), int(p.name), p) for p in space.glob("PG_*/*") if p.name.isdigit()]
    out = {}
    for tablespace, database, folder in folders:
        names = sorted(p.name for p in folder.iterdir())
        unlogged = {n[:-5] for n in names if n.endswith("_init")}
        found = {}
        for name in names:
            if (m := RELATION.match(name)) and (m[1] not in unlogged or m[2] == "_init"):
                found.setdefault((tablespace, database, int(m[1]), SUFFIXES[m[2]]), {})[int(m[3] or 0)] = folder / name
        for key, parts in found.items():
            content = b"".join(parts[i].read_bytes() for i in sorted(parts))
            out[key] = [content[i:i + 8192] for i in range(0, len(content), 8192)]
    return out


def redo(data):
    control = (data / "global" / "pg_control").read_bytes()
    return int.from_bytes(control[40:48], "little")


class Changes:
    """What `wal_tool join` says."""

    def __init__(self, lines):
        self.commits = [line for line in lines if "commit" in line]
        self.events = [line for line in lines if "event" in line]
        self.files = {tuple(line["file"]): line for line in lines if "limit" in line}
        self.whole = {tuple(line["whole"]) for line in lines if "whole" in line}
        self.broken = [bytes.fromhex(line["broken"]).decode() for line in lines if "broken" in line]
        self.blocks = {key: {b for first, n in f["runs"] for b in range(first, first + n)}
                       for key, f in self.files.items()}
        self.end = lines[-1]

    def changed(self, key, block):
        if key[:2] in self.whole:
            return True
        f = self.files.get(key)
        return f is not None and (0 <= f["limit"] <= block or block in self.blocks[key])


class Joining(Case):
    def join(self, server, begin, part=0):
        segments = [p for p in server.segments()
                    if int(p.name[8:16], 16) << 32 | int(p.name[16:], 16) * server.segment_size
                    >= begin - begin % server.segment_size]
        return Changes(tool("join", server.segment_size, part, f"{begin >> 32:X}/{begin & 0xffffffff:X}", *segments))


class ChangedBlocks(Joining):
    def check(self, spgist, before, after, changes):
        """`spgist`: file nodes of such indexes. What their first page remembers of pages with room is a hint that no record
        tells: after a crash it is old too."""
        self.assertEqual(changes.broken, [])
        different = 0
        for key, pages in after.items():
            if key[3] == 1 or key not in before:
                continue
            for block, (old, new) in enumerate(zip(before[key], pages)):
                if old != new and not (block == 0 and key[2] in spgist):
                    different += 1
                    self.assertTrue(changes.changed(key, block), (key, block))
        self.assertGreater(different, 300)
        return different

    def change(self, server):
        """Everything that changes files, a crash among it."""
        server.sql("UPDATE a SET w = 'more' WHERE id % 5 = 0; DELETE FROM a WHERE id BETWEEN 300 AND 700;"
                   "INSERT INTO a SELECT i, md5(i::text) FROM generate_series(300001, 301000) i; TRUNCATE wide;"
                   "CREATE TABLE fresh AS SELECT * FROM a LIMIT 1000; CREATE INDEX ON fresh(v);"
                   "DELETE FROM tail WHERE id > 500;")
        server.sql("UPDATE kept SET v = md5(id::text), w = 'x' WHERE id % 20 = 0; DELETE FROM kept WHERE id % 23 = 0;"
                   "UPDATE wide_kept SET v = v || 'more' WHERE id % 9 = 0;"
                   "SELECT id FROM kept WHERE id % 100 = 1 FOR UPDATE; SELECT * FROM kept WHERE id % 70 = 1 FOR SHARE")
        server.sql("VACUUM kept; INSERT INTO kept SELECT i, md5(i::text) FROM generate_series(400001, 402000) i")
        server.sql("VACUUM a; VACUUM (TRUNCATE) tail; ALTER TABLE fresh SET TABLESPACE elsewhere")
        server.sql("BEGIN; CREATE TABLE never AS SELECT * FROM a; ROLLBACK; DROP DATABASE IF EXISTS copied")
        if server.version >= 15:
            server.sql("CREATE DATABASE copied TEMPLATE template1 STRATEGY file_copy")
        else:
            server.sql("CREATE DATABASE copied TEMPLATE template1")
        server.sql("CREATE TABLE there(id int); INSERT INTO there SELECT generate_series(1, 10000)", "copied")
        server.sql("VACUUM there; DELETE FROM there WHERE id = 77", "copied")
        server.sql("REINDEX TABLE a; VACUUM FULL pg_class; CLUSTER fresh USING fresh_v_idx; ANALYZE")
        server.sql("BEGIN; DROP TABLE fresh; PREPARE TRANSACTION 'drops'")
        server.kill()
        server.start()
        server.sql("COMMIT PREPARED 'drops'; CREATE UNLOGGED TABLE un(id int); ALTER TABLE un SET LOGGED;"
                   "DELETE FROM seen WHERE id = 5; SELECT nextval('s'); DROP INDEX a_v_idx; ALTER DATABASE copied SET TABLESPACE elsewhere")
        server.sql("SELECT pg_switch_wal(); UPDATE a SET w = 'last' WHERE id % 50 = 0")

    def prepare(self, version, **settings):
        server = self.server(version, "-k", **settings)
        server.start()
        server.sql(WORK)
        place = server.folder / "elsewhere"
        server.run("mkdir", place)
        server.sql(f"CREATE TABLESPACE elsewhere LOCATION '{place}'")
        server.sql("CREATE TABLE tail AS SELECT i AS id, repeat('t', 500) AS v FROM generate_series(1, 3000) i;"
                   "CREATE TABLE seen AS SELECT i AS id FROM generate_series(1, 2000) i; CREATE DATABASE copied")
        server.sql("CREATE TABLE kept (LIKE a INCLUDING ALL); INSERT INTO kept SELECT * FROM a;"
                   "CREATE TABLE wide_kept AS SELECT i AS id, 'x' || repeat(md5(i::text), 300) AS v "
                   "FROM generate_series(1, 300) i; VACUUM (FREEZE) seen; VACUUM tail; VACUUM kept")
        server.stop()
        return server

    def test_every_page_that_differs_is_named(self):
        for version in pg_wal_server.VERSIONS:
            with self.subTest(version=version):
                server = self.prepare(version, segment_mib=1 if version % 2 else 16, track_commit_timestamp="on")
                before, begin = relation_files(server.data), redo(server.data)
                server.start()
                seen = server.sql("SELECT pg_relation_filenode('seen')")
                spgist = [int(n) for n in server.sql("SELECT pg_relation_filenode(c.oid) FROM pg_class c JOIN pg_am m ON "
                                                     "m.oid = c.relam WHERE amname = 'spgist'").splitlines()]
                self.change(server)
                server.stop()
                after = relation_files(server.data)
                whole = self.join(server, begin)
                self.check(spgist, before, after, whole)
                # A deletion clears a bit of the visibility map, which no block reference tells.
                map_pages = [key for key in after if key[2] == int(seen) and key[3] == 2]
                self.assertTrue(map_pages and whole.changed(map_pages[0], 0))
                small = self.join(server, begin, 8 * 8192)
                self.check(spgist, before, after, small)
                for part in (65536 + 1024, 5000, 999992, 12 * 8192):
                    other = self.join(server, begin, part)
                    self.assertEqual(other.files, small.files, part)
                    self.assertEqual(other.whole, small.whole, part)
                    self.assertEqual(other.commits, small.commits, part)
                    self.assertEqual(other.events, small.events, part)
                    self.assertEqual(other.broken, [], part)
                self.assertEqual(whole.commits, small.commits)


    def test_the_servers_own_summaries_name_nothing_else(self):
        """PostgreSQL 17 summarizes its log itself; what it does not name are pages of visibility maps that records change
        without a reference."""
        for version in (17, 18):
            with self.subTest(version=version):
                server = self.prepare(version, summarize_wal="on", wal_summary_keep_time="0")
                begin = redo(server.data)
                server.start()
                self.change(server)
                server.sql("CHECKPOINT")
                end = redo(server.data)
                deadline = time.monotonic() + 60
                while lsn(server.sql("SELECT max(end_lsn) FROM pg_available_wal_summaries()")) < end:
                    self.assertLess(time.monotonic(), deadline)
                    time.sleep(0.1)
                theirs, limits = {}, {}
                for row in server.sql(
                        "SELECT reltablespace, reldatabase, relfilenode, relforknumber, relblocknumber, is_limit_block::int "
                        "FROM pg_available_wal_summaries() s, pg_wal_summary_contents(tli, start_lsn, end_lsn) "
                        f"WHERE s.start_lsn >= '{begin >> 32:X}/{begin & 0xffffffff:X}' AND "
                        f"s.end_lsn <= '{end >> 32:X}/{end & 0xffffffff:X}'").splitlines():
                    *key, block, is_limit = (int(n) for n in row.split("|"))
                    key = tuple(key)
                    if is_limit:
                        limits[key] = min(block, limits.get(key, block))
                    else:
                        theirs.setdefault(key, set()).add(block)
                server.stop()
                ours = self.join(server, begin, 1 << 20)
                self.assertEqual(ours.broken, [])
                self.assertGreater(sum(map(len, theirs.values())), 1000)
                for key, blocks in theirs.items():
                    for block in blocks:
                        self.assertTrue(ours.changed(key, block), (key, block))
                # What the log holds after the last summary: a shutdown checkpoint only.
                for key, blocks in ours.blocks.items():
                    if key[3] != 2:
                        self.assertLessEqual(blocks, theirs.get(key, set()), key)
                        limit = ours.files[key]["limit"]
                        self.assertEqual(limits.get(key, -1), limit, key)
                self.assertEqual({key[:2] for key in limits if key[2] == 0}, ours.whole)

    def test_a_time_of_minimal_logging_is_told(self):
        for version in (13, 15, 18):
            with self.subTest(version=version):
                server = self.server(version, "-k")
                server.start()
                server.sql("CREATE TABLE t(id int)")
                server.stop()
                begin = redo(server.data)
                server.set(wal_level="minimal", max_wal_senders="0")
                server.start()
                server.sql("BEGIN; CREATE TABLE x(id int); INSERT INTO x SELECT generate_series(1, 10000); COMMIT")
                server.stop()
                server.set(wal_level="replica")
                server.start()
                server.stop()
                changes = self.join(server, begin)
                self.assertEqual(len(changes.broken), 1)
                self.assertIn("wal_level=minimal", changes.broken[0])


class History(Joining):
    def test_each_commit_with_its_time_and_rows(self):
        for version in pg_wal_server.VERSIONS:
            with self.subTest(version=version):
                server = self.server(version, "-k", segment_mib=1, track_commit_timestamp="on",
                                     wal_level="logical" if version % 2 else "replica")
                server.start()
                server.sql("CREATE TABLE t(id int PRIMARY KEY, v text); CREATE TABLE plain(id int); CHECKPOINT")
                begin = redo(server.data)
                expected = {}

                def run(sql, *, inserted=0, updated=0, deleted=0):
                    """`sql` is one transaction that ends with the question for its id."""
                    xid = int(server.sql(sql).splitlines()[-1])
                    node = int(server.sql("SELECT pg_relation_filenode('t')"))
                    expected[xid] = [node, inserted, updated, deleted]
                    return xid

                me = "SELECT txid_current(); COMMIT;"
                run(f"BEGIN; INSERT INTO t SELECT i, 'x' FROM generate_series(1, 1000) i; {me}", inserted=1000)
                run(f"BEGIN; UPDATE t SET v = repeat('y', 300) WHERE id <= 500; {me}", updated=500)
                run(f"BEGIN; DELETE FROM t WHERE id <= 100; {me}", deleted=100)
                run("BEGIN; INSERT INTO t VALUES (2001); SAVEPOINT a; INSERT INTO t VALUES (2002), (2003); ROLLBACK TO a;"
                    "SAVEPOINT b; DELETE FROM t WHERE id = 200; SAVEPOINT c; UPDATE t SET v = 'z' WHERE id = 201;"
                    f"RELEASE b; {me}", inserted=1, updated=1, deleted=1)
                run("BEGIN; COPY t FROM stdin;\n" + "".join(f"{i}\tc\n" for i in range(3000, 3700)) + f"\\.\n{me}",
                    inserted=700)
                run(f"BEGIN; INSERT INTO t VALUES (3001), (4000) ON CONFLICT (id) DO NOTHING; {me}", inserted=1)
                prepared = run("BEGIN; DELETE FROM t WHERE id > 3600; SELECT txid_current(); PREPARE TRANSACTION 'p';",
                               deleted=99 + 1)
                # It stays open over a restart and more log than a piece.
                server.sql("INSERT INTO plain SELECT generate_series(1, 50000)")
                server.stop()
                server.start()
                server.sql("COMMIT PREPARED 'p'")
                gone = int(server.sql("BEGIN; DELETE FROM t; SELECT txid_current(); ROLLBACK;").splitlines()[-1])
                server.sql("SELECT pg_create_restore_point('now or never')")
                old = server.sql("SELECT pg_relation_filenode('plain')")
                truncation = int(server.sql("BEGIN; TRUNCATE plain; SELECT txid_current(); COMMIT").splitlines()[-1])
                dropped = server.sql("SELECT pg_relation_filenode('plain')")
                drop = int(server.sql("BEGIN; DROP TABLE plain; SELECT txid_current(); COMMIT").splitlines()[-1])
                times = {xid: server.sql(f"SELECT to_char(pg_xact_commit_timestamp('{xid}') AT TIME ZONE 'UTC', "
                                         "'YYYY-MM-DD\"T\"HH24:MI:SS.US')") for xid in expected}
                server.stop()
                for part in (0, 65536, 100000, 4096):
                    history = self.join(server, begin, part)
                    self.assertEqual(history.broken, [])
                    commits = {c["xid"]: c for c in history.commits}
                    self.assertEqual(len(commits), len(history.commits))
                    self.assertNotIn(gone, commits)
                    for xid, rows in expected.items():
                        self.assertIn(rows, commits[xid]["rows"], (part, xid))
                        self.assertEqual(commits[xid]["time"][:-1].ljust(26, "0"), times[xid])
                        self.assertTrue(commits[xid]["complete"])
                    self.assertIn(int(old), commits[truncation]["dropped"])
                    self.assertIn(int(dropped), commits[drop]["dropped"])
                    self.assertEqual(len(commits[truncation]["truncated"]), version % 2)
                    self.assertIn(["restore_point", b"now or never".hex()],
                                  [[e["event"], e["text"]] for e in history.events])
                self.assertIn(prepared, commits)


if __name__ == "__main__":
    unittest.main()
