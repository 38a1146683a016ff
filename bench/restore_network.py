#!/usr/bin/env python3
"""A whole restore over a network, against the line: the share of it that the restore uses.

    bench/restore_network.py [--mib 1024] [--mbit 1000] [--rtt 20] [--rounds 3] [--folder DIR] [--varve build/varve] [--json FILE]

The store is a real S3 server (tests/services/s3.py) behind a proxy that lets so many bits a second through and answers so many
milliseconds late. A database of random bytes, which nothing can compress, is backed up past the proxy; then curl fetches
all packs through it, eight at a time and whole (the line), and varve restores the database through it to DIR. They take turns;
the median of the ratios is shown. The restore's time is all that a person waits for: the key's derivation, manifest and maps, and
the file on the disk included. What is restored is compared with the source byte for byte. 85 % are promised.
"""

import argparse
import datetime
import filecmp
import hashlib
import hmac
import json
import os
import re
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import xml.etree.ElementTree as ET
from pathlib import Path

HERE = Path(__file__).resolve().parent
SERVICES = HERE.parent / "tests" / "services"
sys.path.insert(0, str(SERVICES))
sys.dont_write_bytecode = True
import s3  # noqa: E402
from weather import Weather  # noqa: E402

BUCKET, PREFIX, PROMISED = "varve-plain", "restore-network", 0.85


def make_database(path, mib):
    """Rows of random bytes; without a WAL, so that the file itself is the state."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.executescript("PRAGMA journal_mode = DELETE; PRAGMA synchronous = OFF; CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB)")
    for _ in range(mib // 64):
        connection.execute("WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 16384) "
                           "INSERT INTO t(v) SELECT randomblob(4000) FROM n")
    connection.close()


def presigned(host, key):
    """A URL that curl can get without knowing how to sign."""
    stamp = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{stamp[:8]}/{s3.REGION}/s3/aws4_request"
    query = urllib.parse.urlencode({"X-Amz-Algorithm": "AWS4-HMAC-SHA256", "X-Amz-Credential": f"{s3.ACCESS_KEY}/{scope}",
                                    "X-Amz-Date": stamp, "X-Amz-Expires": "3600", "X-Amz-SignedHeaders": "host"})
    canonical = f"GET\n/{BUCKET}/{key}\n{query}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD"
    to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    secret = b"AWS4" + s3.SECRET_KEY.encode()
    for part in (*scope.split("/"), to_sign):
        secret = hmac.new(secret, part.encode(), hashlib.sha256).digest()
    return f"http://{host}/{BUCKET}/{key}?{query}&X-Amz-Signature={secret.hex()}"


def list_packs(port):
    """Names and sizes."""
    out, token = {}, ""
    while True:
        query = {"list-type": "2", "prefix": f"{PREFIX}/packs/"} | ({"continuation-token": token} if token else {})
        text = s3.request(port, "GET", f"/{BUCKET}", urllib.parse.urlencode(sorted(query.items()), quote_via=urllib.parse.quote, safe=""))
        root = ET.fromstring(re.sub(rb' xmlns="[^"]+"', b"", text))
        out |= {c.findtext("Key"): int(c.findtext("Size")) for c in root.iter("Contents")}
        token = root.findtext("NextContinuationToken") or ""
        if not token:
            return out


def timed(*argv, env=None):
    begin = time.monotonic()
    process = subprocess.Popen([str(a) for a in argv], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    err = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - begin
    if os.waitstatus_to_exitcode(status) != 0:
        sys.exit(f"{argv[0]} failed:\n{err.decode(errors='replace')[-2000:]}")
    return {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "rss": usage.ru_maxrss * 1024}


def fetch_all(port, packs):
    argv = ["curl", "-sSf", "--no-progress-meter", "-Z", "--parallel-max", "8"]
    for key in packs:
        argv += ["-o", "/dev/null", presigned(f"127.0.0.1:{port}", key)]
    return timed(*argv)


def measure(options, folder):
    s3.SECRET_KEY = os.environ["AWS_SECRET_ACCESS_KEY"]
    direct = int(re.search(r"127\.0\.0\.1:(\d+)", os.environ["VARVE_TEST_S3"])[1])
    env = {**os.environ, "VARVE_PASSPHRASE": "a line is a line", "HOME": str(folder)}

    def at(port):
        return f"s3://{BUCKET}/{PREFIX}?endpoint=http://127.0.0.1:{port}&path_style=true&region={s3.REGION}&provider=ceph"

    source = folder / "app.db"
    make_database(source, options.mib)
    timed(options.varve, "init", "--repo", at(direct), env=env)
    timed(options.varve, "backup", f"sqlite:{source}", "--repo", at(direct), env=env)
    packs = list_packs(direct)
    size = sum(packs.values())
    print(f"{size / 2**20:.0f} MiB in {len(packs)} packs, {options.mbit} Mbit/s, {options.rtt} ms there and back", flush=True)
    rounds = []
    with Weather(direct, latency_ms=options.rtt, bits_per_second=options.mbit * 1e6) as weather:
        for number in range(1, options.rounds + 1):
            line = fetch_all(weather.port, packs)
            asked = sum(weather.counts.values())
            target = folder / f"back{number}.db"
            restore = timed(options.varve, "restore", f"sqlite:{source}", "--target", target, "--repo", at(weather.port), env=env)
            if not filecmp.cmp(source, target, shallow=False):
                sys.exit("what was restored is not what was backed up")
            target.unlink()
            one = {"line_mbit": size * 8e-6 / line["wall"], "restore_mbit": size * 8e-6 / restore["wall"],
                   "ratio": line["wall"] / restore["wall"], "requests": sum(weather.counts.values()) - asked,
                   "rss_mib": restore["rss"] / 2**20, "cpu": restore["cpu"], "wall": restore["wall"]}
            rounds.append(one)
            print(f"line {one['line_mbit']:.0f} Mbit/s, restore {one['restore_mbit']:.0f} Mbit/s: {one['ratio']:.1%}; "
                  f"{one['wall']:.1f} s, processor {one['cpu']:.1f} s, {one['requests']} requests, {one['rss_mib']:.0f} MiB", flush=True)
    ratio = statistics.median(r["ratio"] for r in rounds)
    print(f"the restore uses {ratio:.1%} of the line (promised: {PROMISED:.0%})")
    if options.json:
        Path(options.json).write_text(json.dumps({"mbit": options.mbit, "rtt_ms": options.rtt, "bytes": size, "ratio": ratio,
                                                  "rounds": rounds}, indent=1))
    return 0 if ratio >= PROMISED else 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--mbit", type=float, default=1000)
    parser.add_argument("--rtt", type=float, default=20, metavar="MS")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", help="where the databases are, before and after")
    parser.add_argument("--varve", default=HERE.parent / "build" / "varve")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    if "VARVE_TEST_S3" not in os.environ:
        return subprocess.call([sys.executable, str(SERVICES / "with.py"), "s3", "--", sys.executable, __file__, *sys.argv[1:]])
    with tempfile.TemporaryDirectory(prefix="varve-line-", dir=options.folder) as folder:
        return measure(options, Path(folder))


if __name__ == "__main__":
    sys.exit(main())
