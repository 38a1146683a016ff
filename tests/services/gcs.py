"""Google Cloud Storage, as gcs_server.py plays it, with buckets of each kind.

VARVE_TEST_GCS is the address of the plain one; gs://varve-versioned, -locked (object retention), -locked-versioned, -payer
(requester pays) and -policy (a retention policy of the bucket's own) are beside it.
"""

import json
import subprocess
import sys
import urllib.request

import common

_process = None

BUCKETS = [
    {"name": "varve-plain"},
    {"name": "varve-versioned", "versioning": True},
    {"name": "varve-locked", "object_retention": True},
    {"name": "varve-locked-versioned", "object_retention": True, "versioning": True},
    {"name": "varve-payer", "requester_pays": True},
    {"name": "varve-policy", "retention_period": 3600},
    {"name": "varve-rate", "rate_limit": True},
]


def start(folder):
    global _process
    log = folder / "log"
    _process = subprocess.Popen([sys.executable, str(common.HERE / "gcs_server.py"), str(folder)], text=True,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=open(log, "w"))
    port = _process.stdout.readline().strip()
    if not port:
        raise common.Failed(f"gcs_server.py ended:\n{log.read_text()[-2000:]}")
    for bucket in BUCKETS:
        request = urllib.request.Request(f"http://127.0.0.1:{port}/_test/bucket", json.dumps(bucket).encode(), method="POST")
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10).close()
    return {
        "VARVE_TEST_GCS": f"gs://varve-plain?endpoint=http://127.0.0.1:{port}",
        "VARVE_TEST_GCS_FILES": str(folder),  # writer.json, retainer.json, person.json, federated.json, …
        "GOOGLE_APPLICATION_CREDENTIALS": str(folder / "writer.json"),
        "GCE_METADATA_HOST": f"127.0.0.1:{port}",
    }


def stop():
    common.end(_process)
