"""What Varve reads in PostgreSQL's write-ahead log, against what PostgreSQL itself says of it and against the files."""

import json
import os
import re
import subprocess
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


if __name__ == "__main__":
    unittest.main()
