"""Azure Blob Storage: Azurite, with one account and two containers.

VARVE_TEST_AZURE is the address, by a shared key that is checked; VARVE_TEST_AZURE_TLS is the same service over TLS,
where tokens are taken too: their times and audience are checked, their signature is not.
"""

import base64
import datetime
import email.utils
import hashlib
import hmac
import http.client
import os
import secrets
import shutil
import ssl
import subprocess

import common

VERSION = "3.35.0"  # the last for Node 20
ACCOUNT = "varvetest"
KEY = base64.b64encode(secrets.token_bytes(64)).decode()
CONTAINER = "varve-test"
_processes = []


def program():
    """Azurite's blob service, fetched once into the cache."""
    place = common.cache_folder() / f"azurite-{VERSION}"
    main = place / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
    stamp = place / ".varve-complete"
    if stamp.exists():
        return main
    if shutil.which("npm") is None:
        raise common.Failed("npm is missing, which fetches Azurite: apt-get install nodejs npm")
    fresh = place.with_name(f"{place.name}.{os.getpid()}")
    fresh.mkdir(parents=True, exist_ok=True)
    common.run("npm", "install", "--no-audit", "--no-fund", "--prefix", fresh, f"azurite@{VERSION}", seconds=600)
    (fresh / ".varve-complete").write_text("")
    try:
        if place.exists():
            shutil.rmtree(place)
        fresh.rename(place)
    except OSError:  # another run was quicker
        shutil.rmtree(fresh, ignore_errors=True)
        if not stamp.exists():
            raise
    return main


def start(folder):
    tls = folder / "tls"
    tls.mkdir()
    common.run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", tls / "key.pem", "-out",
               tls / "cert.pem", "-days", "30", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1")
    plain = launch(folder / "plain")
    secure = launch(folder / "secure", "--cert", tls / "cert.pem", "--key", tls / "key.pem", "--oauth", "basic")
    wait_and_make(plain)
    wait_and_make(secure, tls / "cert.pem")
    address = "azure://" + CONTAINER + "?endpoint=%s://127.0.0.1:%d/" + ACCOUNT
    return {
        "VARVE_TEST_AZURE": address % ("http", plain["port"]),
        "VARVE_TEST_AZURE_TLS": address % ("https", secure["port"]) + f"&ca_file={tls / 'cert.pem'}",
        **credentials(),
    }


def credentials():
    return {
        "AZURE_STORAGE_KEY": KEY,
        "AZURE_STORAGE_ACCOUNT": ACCOUNT,
        # What this machine's user has set must not reach the tests.
        **{name: "" for name in ("AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_SAS_TOKEN", "AZURE_CLIENT_ID",
                                 "AZURE_CLIENT_SECRET", "AZURE_TENANT_ID", "AZURE_FEDERATED_TOKEN_FILE",
                                 "AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_AUTHORITY_HOST", "IDENTITY_ENDPOINT",
                                 "IDENTITY_HEADER")},
    }


def launch(data, *options):
    data.mkdir()
    port = common.free_port()
    log = data.with_suffix(".log")
    env = {k: v for k, v in os.environ.items() if k != "NODE_OPTIONS"} | {"AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY}"}
    command = ["node", program(), "--blobHost", "127.0.0.1", "--blobPort", port, "-l", data, "--silent",
               "--disableTelemetry", *options]
    with open(log, "wb") as output:
        process = subprocess.Popen([str(c) for c in command], env=env, stdin=subprocess.DEVNULL, stdout=output,
                                   stderr=subprocess.STDOUT)
    _processes.append(process)
    return {"port": port, "process": process, "log": log}


def wait_and_make(server, certificate=None):
    common.wait_for_port(server["port"], 60, server["process"], server["log"])
    answer = request(server["port"], "PUT", f"/{ACCOUNT}/{CONTAINER}", {"restype": "container"}, certificate=certificate)
    if answer[0] != 201:
        raise common.Failed(f"the container could not be made: {answer}")


def stop():
    for process in _processes:
        common.end(process)


def request(port, method, path, query=None, body=b"", headers=None, certificate=None, raw=False):
    """One request by Shared Key, written apart from the driver's own so that they check each other.

    Returns status and text; `raw`: status, headers (names in lower case) and bytes.
    """
    sent = {"x-ms-date": email.utils.format_datetime(datetime.datetime.now(datetime.timezone.utc), usegmt=True),
            "x-ms-version": "2021-12-02", **(headers or {})}
    lower = {k.lower(): v for k, v in sent.items()}
    lower["content-length"] = str(len(body)) if body else ""
    names = ("content-encoding content-language content-length content-md5 content-type date if-modified-since "
             "if-match if-none-match if-unmodified-since range").split()
    lines = [method, *(lower.get(n, "") for n in names)]
    lines += [f"{n}:{lower[n]}" for n in sorted(lower) if n.startswith("x-ms-")]
    lines += [f"/{ACCOUNT}{path}", *(f"{k}:{v}" for k, v in sorted((query or {}).items()))]
    signature = hmac.new(base64.b64decode(KEY), "\n".join(lines).encode(), hashlib.sha256).digest()
    sent["Authorization"] = f"SharedKey {ACCOUNT}:{base64.b64encode(signature).decode()}"
    sent["Content-Length"] = str(len(body))
    if certificate is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    else:
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=30,
                                                 context=ssl.create_default_context(cafile=str(certificate)))
    try:
        text = "&".join(f"{k}={v}" for k, v in (query or {}).items())
        connection.request(method, path + (f"?{text}" if text else ""), body, sent)
        answer = connection.getresponse()
        content = answer.read()
        if raw:
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, content
        return answer.status, content.decode(errors="replace")
    finally:
        connection.close()
