"""Azure Blob Storage with versions and version-level immutability, which Azurite has not: a proxy that adds them to it.

VARVE_TEST_AZURE_LOCKS is the address. What the proxy does follows Microsoft's published description; where that leaves
room it takes what is harder for a client:

  - a write makes a new current version, and what was current a previous one, also under a policy;
  - a removal without a version makes the current one a previous one, also under a policy, and frees nothing;
  - a version under a policy or a legal hold cannot be removed (409 BlobImmutableDueToPolicy), and the current version
    cannot be removed by its name at all (403 OperationNotAllowedOnRootBlob);
  - a locked policy can be extended, never shortened or unlocked; dates that have passed are refused.

Signatures are checked here as well, with code of the tests. Versions lie in memory.
"""

import base64
import datetime
import email.utils
import hashlib
import hmac
import http.client
import itertools
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from xml.sax.saxutils import escape

import azure
import common

UNTIL, MODE, HOLD = "x-ms-immutability-policy-until-date", "x-ms-immutability-policy-mode", "x-ms-legal-hold"
_server = None
_upstream = None


def start(folder):
    global _server, _upstream
    _upstream = azure.launch(folder / "data")
    azure.wait_and_make(_upstream)
    _server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=_server.serve_forever, daemon=True).start()
    port = _server.server_address[1]
    return {"VARVE_TEST_AZURE_LOCKS":
            f"azure://{azure.CONTAINER}?endpoint=http://127.0.0.1:{port}/{azure.ACCOUNT}",
            **azure.credentials()}


def stop():
    if _server is not None:
        _server.shutdown()
        _server.server_close()
    if _upstream is not None:
        common.end(_upstream["process"])


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.lock = threading.RLock()
        self.versions = {}  # blob -> [Version], the oldest first
        self.ids = itertools.count()
        self.last_id = ""

    def new_id(self):
        """A moment to a tenth of a microsecond, later than all before."""
        now = datetime.datetime.now(datetime.timezone.utc)
        made = now.strftime("%Y-%m-%dT%H:%M:%S.%f") + f"{next(self.ids) % 10}Z"
        if made <= self.last_id:
            head, digits = self.last_id[:20], int(self.last_id[20:-1]) + 1
            made = f"{head}{digits:07d}Z"
        self.last_id = made
        return made


class Version:
    def __init__(self, name, content, headers):
        self.id, self.content = name, content
        self.modified = headers["last-modified"]
        self.md5 = headers.get("content-md5")
        self.current = True
        self.until = self.mode = None
        self.hold = False

    def is_held(self):
        return self.hold or (self.until is not None and self.until > datetime.datetime.now(datetime.timezone.utc))

    def headers(self):
        out = {"x-ms-version-id": self.id}
        if self.current:
            out["x-ms-is-current-version"] = "true"
        if self.until is not None:
            out[UNTIL] = email.utils.format_datetime(self.until, usegmt=True)
            out[MODE] = self.mode
        if self.hold:
            out[HOLD] = "true"
        return out


class Refused(Exception):
    pass


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def handle_any(self):
        path, _, text = self.path.partition("?")
        self.query = dict(urllib.parse.parse_qsl(text, keep_blank_values=True))
        self.route = path
        self.blob = urllib.parse.unquote(path.split("/", 3)[3]) if path.count("/") >= 3 else None
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            self.check_signature()
            self.answer(*self.carry_out())
        except Refused as refused:
            status, code = refused.args
            self.answer(status, {"x-ms-error-code": code}, b"" if self.command == "HEAD" else
                        f"<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>no</Message></Error>".encode())

    do_GET = do_HEAD = do_PUT = do_DELETE = do_POST = handle_any

    def answer(self, status, headers, content):
        self.send_response_only(status)
        sent = {"date": email.utils.formatdate(usegmt=True), "x-ms-request-id": "proxy", "x-ms-version": "2021-12-02",
                "content-length": str(len(content)), **{k.lower(): v for k, v in headers.items()}}
        for name, value in sent.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def check_signature(self):
        given = {k.lower(): v.strip() for k, v in self.headers.items()}
        given["content-length"] = str(len(self.body)) if self.body else ""
        names = ("content-encoding content-language content-length content-md5 content-type date if-modified-since "
                 "if-match if-none-match if-unmodified-since range").split()
        lines = [self.command, *(given.get(n, "") for n in names)]
        lines += [f"{n}:{given[n]}" for n in sorted(given) if n.startswith("x-ms-")]
        lines += [f"/{azure.ACCOUNT}{self.route}", *(f"{k}:{v}" for k, v in sorted(self.query.items()))]
        made = hmac.new(base64.b64decode(azure.KEY), "\n".join(lines).encode(), hashlib.sha256).digest()
        if given.get("authorization") != f"SharedKey {azure.ACCOUNT}:{base64.b64encode(made).decode()}":
            raise Refused(403, "AuthenticationFailed")

    def carry_out(self):
        comp, version = self.query.get("comp"), self.query.get("versionid")
        with self.server.lock:
            if self.blob is None:
                if comp == "list" and self.query.get("include") == "versions":
                    return self.list_versions()
                return self.forward()
            if self.command == "PUT" and comp == "immutabilityPolicies":
                return self.set_policy()
            if self.command == "PUT" and comp == "legalhold":
                self.current().hold = self.headers[HOLD] == "true"
                return 200, {HOLD: self.headers[HOLD]}, b""
            if self.command == "PUT" and comp in (None, "blocklist"):
                return self.write()
            if self.command == "DELETE":
                return self.remove_version(version) if version else self.remove_current()
            if self.command in ("GET", "HEAD"):
                return self.read_version(version) if version else self.read_current()
        return self.forward()

    def setup(self):
        super().setup()
        self.upstream = http.client.HTTPConnection("127.0.0.1", _upstream["port"], timeout=60)

    def finish(self):
        self.upstream.close()
        super().finish()

    def forward(self):
        self.upstream.request(self.command, self.path, self.body, dict(self.headers.items()))
        answer = self.upstream.getresponse()
        content = answer.read()
        hop = ("connection", "keep-alive", "transfer-encoding", "date")
        headers = {k.lower(): v for k, v in answer.getheaders()}
        return answer.status, {k: v for k, v in headers.items() if k not in hop}, content

    def kept(self):
        return self.server.versions.setdefault(self.blob, [])

    def current(self):
        for version in self.kept():
            if version.current:
                return version
        raise Refused(404, "BlobNotFound")

    def policy(self):
        """Date and mode of the request; None where it has none."""
        until, mode = self.headers.get(UNTIL), self.headers.get(MODE)
        if until is None and mode is None:
            return None
        if until is None or mode not in ("unlocked", "locked"):
            raise Refused(400, "InvalidHeaderValue")
        try:
            date = datetime.datetime.strptime(until, "%a, %d %b %Y %H:%M:%S GMT")
        except ValueError:
            raise Refused(400, "InvalidHeaderValue") from None
        date = date.replace(tzinfo=datetime.timezone.utc)
        if date <= datetime.datetime.now(datetime.timezone.utc):
            raise Refused(400, "InvalidHeaderValue")
        return date, mode

    def write(self):
        policy = self.policy()
        status, headers, content = self.forward()
        if status != 201:
            return status, headers, content
        answer = azure.request(_upstream["port"], "GET", self.route, raw=True)
        version = Version(self.server.new_id(), answer[2], answer[1])
        if policy:
            version.until, version.mode = policy
        for other in self.kept():
            other.current = False
        self.kept().append(version)
        return status, {**headers, "x-ms-version-id": version.id}, content

    def set_policy(self):
        version, (date, mode) = self.current(), self.policy()
        if version.mode == "locked" and (mode != "locked" or date < version.until):
            raise Refused(409, "BlobImmutableDueToPolicy")  # the published text names no code for this
        version.until, version.mode = date, mode
        return 200, {UNTIL: self.headers[UNTIL], MODE: mode}, b""

    def remove_current(self):
        status, headers, content = self.forward()
        if status == 202:
            self.current().current = False
        return status, headers, content

    def remove_version(self, name):
        if "x-ms-delete-snapshots" in self.headers:
            raise Refused(400, "InvalidHeaderValue")
        for version in self.kept():
            if version.id != name:
                continue
            if version.current:
                raise Refused(403, "OperationNotAllowedOnRootBlob")
            if version.is_held():
                raise Refused(409, "BlobImmutableDueToPolicy")
            self.kept().remove(version)
            return 202, {}, b""
        raise Refused(404, "BlobNotFound")

    def read_current(self):
        status, headers, content = self.forward()
        if status // 100 == 2:
            headers = {**headers, **self.current().headers()}
        return status, headers, content

    def read_version(self, name):
        found = [v for v in self.kept() if v.id == name]
        if not found:
            raise Refused(404, "BlobNotFound")
        version, size = found[0], len(found[0].content)
        headers = {"Last-Modified": version.modified, "Content-Type": "application/octet-stream", **version.headers()}
        if self.command == "HEAD":
            return 200, {**headers, "Content-Length": str(size)}, b""
        asked = self.headers.get("x-ms-range")
        if asked is None:
            return 200, {**headers, **({"Content-MD5": version.md5} if version.md5 else {})}, version.content
        first, _, last = asked.removeprefix("bytes=").partition("-")
        first, last = int(first), min(int(last or size), size - 1)
        if first >= size:
            return 416, {"Content-Range": f"bytes */{size}", "x-ms-error-code": "InvalidRange"}, b""
        return 206, {**headers, "Content-Range": f"bytes {first}-{last}/{size}"}, version.content[first:last + 1]

    def list_versions(self):
        prefix, most = self.query.get("prefix", ""), int(self.query.get("maxresults", 5000))
        after = base64.urlsafe_b64decode(self.query.get("marker", "")).decode()
        entries = [(f"{name}\n{v.id}", name, v) for name in sorted(self.server.versions) if name.startswith(prefix)
                   for v in self.server.versions[name]]
        entries = [e for e in entries if e[0] > after]
        page, more = entries[:most], len(entries) > most
        xml = "".join(
            f"<Blob><Name>{escape(name)}</Name><VersionId>{v.id}</VersionId>"
            + ("<IsCurrentVersion>true</IsCurrentVersion>" if v.current else "")
            + f"<Properties><Last-Modified>{v.modified}</Last-Modified><Content-Length>{len(v.content)}</Content-Length>"
            "<BlobType>BlockBlob</BlobType></Properties></Blob>" for _, name, v in page)
        marker = base64.urlsafe_b64encode(page[-1][0].encode()).decode() if more else ""
        text = (f"<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults><Blobs>{xml}</Blobs>"
                f"<NextMarker>{marker}</NextMarker></EnumerationResults>")
        return 200, {"Content-Type": "application/xml"}, text.encode()
