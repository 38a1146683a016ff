"""S3: a Ceph gateway (rgw.sh) with three buckets: plain, versioned, and with Object Lock.

The addresses are VARVE_TEST_S3, VARVE_TEST_S3_TLS (the plain one again), VARVE_TEST_S3_VERSIONED and
VARVE_TEST_S3_LOCKED.
"""

import datetime
import hashlib
import hmac
import http.client
import os
import secrets

import common

ACCESS_KEY = "varve-test"
SECRET_KEY = secrets.token_hex(20)
REGION = "us-east-1"
_folder = None


def start(folder):
    global _folder
    _folder = folder
    port, tls_port = common.free_port(), common.free_port()
    # The first run extracts the gateway, some 750 MB.
    common.run(common.HERE / "rgw.sh", "start", folder, port, tls_port, seconds=900,
               env={"RGW_ACCESS_KEY": ACCESS_KEY, "RGW_SECRET_KEY": SECRET_KEY})
    make_bucket(port, "varve-plain")
    make_bucket(port, "varve-versioned")
    request(port, "PUT", "/varve-versioned", "versioning=", body=b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>")
    make_bucket(port, "varve-locked", {"x-amz-bucket-object-lock-enabled": "true"})
    address = f"s3://varve-%s?endpoint=http://127.0.0.1:{port}&path_style=true&region={REGION}&provider=ceph"
    return {
        "VARVE_TEST_S3": address % "plain",
        "VARVE_TEST_S3_TLS": f"s3://varve-plain?endpoint=https://127.0.0.1:{tls_port}&provider=ceph&ca_file={folder}/cert.pem",
        "VARVE_TEST_S3_VERSIONED": address % "versioned",
        "VARVE_TEST_S3_LOCKED": address % "locked",
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_EC2_METADATA_DISABLED": "true",
        # What this machine's user has set must not reach the tests.
        "AWS_SESSION_TOKEN": "",
        "AWS_PROFILE": "",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }


def stop():
    if _folder is not None:
        common.run(common.HERE / "rgw.sh", "stop", _folder, seconds=60)


def make_bucket(port, name, headers=None):
    request(port, "PUT", f"/{name}", headers=headers)


def request(port, method, path, query="", body=b"", headers=None):
    """One request with Signature Version 4, written apart from the driver's own so that they check each other."""
    now = datetime.datetime.now(datetime.timezone.utc)
    stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    sent = {k.lower(): v for k, v in (headers or {}).items()}
    sent |= {"host": f"127.0.0.1:{port}", "x-amz-date": stamp, "x-amz-content-sha256": hashlib.sha256(body).hexdigest()}
    names = ";".join(sorted(sent))
    canonical = "\n".join([method, path, query, *(f"{n}:{sent[n]}" for n in sorted(sent)), "", names,
                           sent["x-amz-content-sha256"]])
    scope = f"{day}/{REGION}/s3/aws4_request"
    to_sign = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = b"AWS4" + SECRET_KEY.encode()
    for part in (*scope.split("/"), to_sign):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    sent["authorization"] = (f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/{scope}, SignedHeaders={names}, "
                             f"Signature={key.hex()}")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path + (f"?{query}" if query else ""), body, sent)
        answer = connection.getresponse()
        text = answer.read()
        if answer.status // 100 != 2:
            raise common.Failed(f"{method} {path}?{query}: {answer.status} {text.decode(errors='replace')[:500]}")
        return text
    finally:
        connection.close()
