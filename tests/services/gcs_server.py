#!/usr/bin/env python3
"""Google Cloud Storage's JSON API for tests, stricter than the real one: nothing that the API's published description
does not name is accepted, every body must be as long and as summed as was said, and everything needs a token that has
not run out.

  gcs_server.py FOLDER      prints the port it listens on (127.0.0.1), and writes credential files below FOLDER

Kept to: objects insert (multipart, resumable), get, list, patch, delete; buckets get; OAuth (gcs_oauth.py). A path
/_test/… tells it how to misbehave; see Handler.control().
"""

import base64
import json
import random
import re
import secrets
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

import gcs_oauth
from gcs_state import (BUCKET_FIELDS, OBJECT_FIELDS, QUANTUM, ApiError, Bucket, State, Version, bad, check_conditions,
                       check_metadata, crc32c, crc_text, parse_json, patch_retention, select)

COMMON = {"alt", "fields", "prettyPrint", "userProject", "quotaUser"}
CONDITIONS = {"ifGenerationMatch", "ifMetagenerationMatch"}
SESSION_SECONDS = 7 * 24 * 3600
PIECE = 1 << 20


class Dropped(Exception):
    """The connection ends here, without an answer."""


class Fault:
    """What the next requests that match meet: see Handler.control()."""

    def __init__(self, said):
        self.said = said
        self.skip, self.times = said.pop("skip", 0), said.pop("times", 1)
        self.method, self.contains = said.pop("method", None), said.pop("contains", "")

    def takes(self, method, path, size):
        if self.times == 0 or self.method not in (None, method) or self.contains not in path:
            return False
        if "drop_after" in self.said and size == 0:
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.times -= 1
        return True


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 60
    server: "Server"

    def do(self):
        self.left = int(self.headers.get("Content-Length") or 0)
        self.fault = {}
        try:
            self.check_request()
            url = urlsplit(self.path)
            pairs = parse_qsl(url.query, keep_blank_values=True, strict_parsing=bool(url.query))
            self.query = dict(pairs)
            if len(self.query) != len(pairs):
                raise bad("A parameter comes twice")
            if url.path.startswith("/_test/"):
                return self.control(url.path.removeprefix("/_test/"))
            self.fault = self.server.next_fault(self.command, self.path, self.left)
            self.meet_fault()
            if "answer" in self.fault:
                said = self.fault["answer"]
                self.drain()
                return self.send(said["status"], said.get("headers", {}), said.get("body", "").encode())
            self.route(url.path)
        except ApiError as error:
            self.drain()
            self.send_json(error.body(), error.status, error.headers)
        except (Dropped, ConnectionError, TimeoutError):
            self.close_connection = True
            # A reset, as a broken connection is: not the orderly end that a server gives.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    def meet_fault(self):
        if self.fault.get("expire"):
            self.server.identities.expire_all()
        if self.fault.get("hold"):
            self.server.held += 1
            self.server.release.wait(30)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do

    def check_request(self):
        if "Transfer-Encoding" in self.headers or "Expect" in self.headers:
            raise bad("Neither Transfer-Encoding nor Expect is known here")
        if self.command in ("POST", "PUT", "PATCH") and "Content-Length" not in self.headers:
            raise ApiError(411, "required", "You must provide the Content-Length HTTP header.")
        if self.left and self.command in ("GET", "DELETE"):
            raise bad("A body where there must be none")

    def route(self, path):
        body = None
        if self.server.identities.paths.get((self.command, path)):
            body = self.read_all(1 << 16)
            status, headers, value = self.server.identities.answer(self.command, path, self.headers, body)
            return self.send_json(value, status, headers)
        upload = re.fullmatch(r"/upload/storage/v1/b/([^/]+)/o", path)
        if upload and "upload_id" in self.query:
            return self.session(unquote(upload[1]))
        if upload and self.command == "POST":
            return self.insert(unquote(upload[1]))
        found = re.fullmatch(r"/storage/v1/b/([^/]+)(/o)?(?:/([^/]+))?", path)
        if found:
            bucket, objects, name = unquote(found[1]), found[2], found[3]
            serve = {("GET", False, False): self.get_bucket, ("GET", True, False): self.list,
                     ("GET", True, True): self.get, ("DELETE", True, True): self.delete,
                     ("PATCH", True, True): self.patch}.get((self.command, bool(objects), name is not None))
            if serve:
                return serve(bucket, unquote(name)) if name else serve(bucket)
        raise ApiError(404, "notFound", "Not Found")

    def allow(self, permission, *parameters):
        """Who asks may do so, and asks nothing unknown."""
        self.server.identities.check(self.headers.get("Authorization"), permission)
        for name in self.query:
            if name not in COMMON and name not in parameters:
                raise bad(f"Unknown name \"{name}\": Cannot bind query parameter.")
        if self.query.get("alt", "json") not in (("json", "media") if permission == "storage.objects.get" else ("json",)):
            raise bad("Invalid value for alt", "invalidAltValue")

    # Buckets and objects

    def get_bucket(self, name):
        self.allow("storage.buckets.get", "projection")
        with self.server.state.lock:
            value = self.server.state.bucket(name, self.query.get("userProject")).resource()
        self.send_resource(value, BUCKET_FIELDS)

    def list(self, name):
        self.allow("storage.objects.list", "prefix", "pageToken", "maxResults", "versions", "projection")
        most = self.query.get("maxResults", "1000")
        if not re.fullmatch(r"\d{1,4}", most) or not 1 <= int(most) <= 1000:
            raise bad("Invalid value for maxResults: 1 to 1000")
        if self.query.get("versions", "false") not in ("true", "false"):
            raise bad("Invalid value for versions")
        versions, prefix = self.query.get("versions") == "true", self.query.get("prefix", "")
        after, serial = None, 0
        if "pageToken" in self.query:
            after, serial = self.server.read_page_token(self.query["pageToken"], name, prefix, versions)
        most = int(most)
        if self.server.small_pages:  # the service may give less than it was asked for, even nothing
            most = min(most, (serial * 3 + 2) % 5)
        with self.server.state.lock:
            bucket = self.server.state.bucket(name, self.query.get("userProject"))
            items, rest = bucket.list(prefix, versions, most, after)
            value = {"kind": "storage#objects", "items": [v.resource(bucket) for v in items]}
        if not items:
            del value["items"]
        if rest:
            value["nextPageToken"] = self.server.page_token(name, prefix, versions, rest, serial + 1)
        self.send_resource(value, {"kind", "items", "nextPageToken", "prefixes"})

    def generation(self):
        text = self.query.get("generation")
        if text is not None and not re.fullmatch(r"\d{1,19}", text):
            raise bad("Invalid value for generation")
        return None if text is None else int(text)

    def get(self, name, key):
        self.allow("storage.objects.get", "generation", "projection", *CONDITIONS)
        with self.server.state.lock:
            bucket = self.server.state.bucket(name, self.query.get("userProject"))
            version = bucket.find(key, self.generation())
            check_conditions(version, self.query)
            value = version.resource(bucket)
            body = open(version.path, "rb") if self.query.get("alt") == "media" else None
        if body is None:
            return self.send_resource(value, OBJECT_FIELDS)
        with body:
            self.send_media(value, body)

    def send_media(self, value, body):
        size, status, first, length = int(value["size"]), 200, 0, int(value["size"])
        headers = {"Content-Type": value["contentType"], "Cache-Control": value.get("cacheControl", "private, max-age=0"),
                   "X-Goog-Generation": value["generation"], "X-Goog-Metageneration": value["metageneration"],
                   "X-Goog-Hash": f"crc32c={value['crc32c']}", "X-Goog-Storage-Class": value["storageClass"],
                   "X-Goog-Stored-Content-Length": value["size"], "X-Goog-Stored-Content-Encoding": "identity"}
        if "Range" in self.headers:
            match = re.fullmatch(r"bytes=(\d{1,18})-(\d{1,18})?", self.headers["Range"])
            if not match or (match[2] and int(match[2]) < int(match[1])):
                raise bad("Invalid Range")
            first = int(match[1])
            if first >= size:
                raise ApiError(416, "requestedRangeNotSatisfiable", "Request range not satisfiable",
                               {"Content-Range": f"bytes */{size}"})
            length = min(int(match[2] or size - 1), size - 1) - first + 1
            status = 206
            headers["Content-Range"] = f"bytes {first}-{first + length - 1}/{size}"
        self.send_head(status, headers, length)
        body.seek(first)
        cut = self.fault.get("cut_answer", length)
        if cut < length:
            self.wfile.write(body.read(cut))
            raise Dropped
        if self.fault.get("damage"):
            damaged = bytearray(body.read(length))
            damaged[length // 2] ^= 1
            return self.wfile.write(damaged)
        self.wfile.flush()
        if length:
            self.connection.sendfile(body, first, length)

    def delete(self, name, key):
        self.allow("storage.objects.delete", "generation", *CONDITIONS)
        with self.server.state.lock:
            bucket = self.server.state.bucket(name, self.query.get("userProject"))
            version = bucket.find(key, self.generation())
            check_conditions(version, self.query)
            bucket.check_rate(key)
            if self.generation() is None:
                bucket.retire(version)
            else:
                version.check_unretained(bucket)
                bucket.drop(version)
        self.send(204, {}, b"")

    def patch(self, name, key):
        self.allow("storage.objects.update", "generation", "overrideUnlockedRetention", "projection", *CONDITIONS)
        if self.headers.get("Content-Type", "").split(";")[0] != "application/json":
            raise bad("Content-Type must be application/json")
        said = parse_json(self.read_all(1 << 16))
        if set(said) != {"retention"}:
            raise bad("Only the retention can be changed here")
        self.server.identities.check(self.headers.get("Authorization"), "storage.objects.setRetention")
        override = self.query.get("overrideUnlockedRetention") == "true"
        if override:
            self.server.identities.check(self.headers.get("Authorization"), "storage.objects.overrideUnlockedRetention")
        with self.server.state.lock:
            bucket = self.server.state.bucket(name, self.query.get("userProject"))
            version = bucket.find(key, self.generation())
            check_conditions(version, self.query)
            patch_retention(version, said["retention"], bucket, override)
            value = version.resource(bucket)
        self.send_resource(value, OBJECT_FIELDS)

    # Uploads

    def insert(self, name):
        kind = self.query.get("uploadType")
        self.allow("storage.objects.create", "uploadType", "name", "kmsKeyName", "projection", *CONDITIONS)
        if kind == "multipart":
            return self.send_resource(self.commit(name, self.query, *self.read_multipart()), OBJECT_FIELDS)
        if kind != "resumable":
            raise bad("Invalid value for uploadType", "wrongUrlForUpload")
        if self.headers.get("Content-Type") != "application/json; charset=UTF-8":
            raise bad("Content-Type must be application/json; charset=UTF-8")
        said = parse_json(self.read_all(1 << 16))
        self.described(name, self.query, said)
        total = self.headers.get("X-Upload-Content-Length", "")
        if not re.fullmatch(r"\d{1,15}", total):
            raise bad("X-Upload-Content-Length must say how much comes")
        if self.headers.get("X-Upload-Content-Type") != said.get("contentType"):
            raise bad("X-Upload-Content-Type and contentType differ")
        upload = secrets.token_urlsafe(60)
        path = self.server.state.new_file()
        path.touch()
        self.server.state.sessions[upload] = {
            "bucket": name, "query": self.query, "said": said, "path": path, "total": int(total), "size": 0, "crc": 0,
            "until": time.time() + SESSION_SECONDS, "lock": threading.Lock(), "done": None}
        # At the host that was asked, whatever lies before us.
        where = (f"http://{self.headers['Host']}/upload/storage/v1/b/{name}/o"
                 f"?uploadType=resumable&upload_id={upload}")
        self.send(200, {"Location": where, "X-GUploader-UploadID": upload}, b"")

    def described(self, name, query, said):
        """What is uploaded may be uploaded; returns the bucket and the retention."""
        if query.get("name", said.get("name")) != said.get("name"):
            raise bad("The name in the query and that in the metadata differ")
        if "kmsKeyName" in query and not re.fullmatch(r"projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+",
                                                      query["kmsKeyName"]):
            raise bad("Invalid Cloud KMS key name", "cloudKmsBadKey")
        with self.server.state.lock:
            bucket = self.server.state.bucket(name, query.get("userProject"))
            retention = check_metadata(said, bucket)
            live = bucket.live(said["name"])
            check_conditions(live, query)
        if "Authorization" in self.headers:  # a session is its own proof later on
            if retention:
                self.server.identities.check(self.headers["Authorization"], "storage.objects.setRetention")
            if live:
                self.server.identities.check(self.headers["Authorization"], "storage.objects.delete")
        return bucket, retention

    def commit(self, name, query, said, path, size, crc):
        try:
            if said.get("crc32c", crc_text(crc)) != crc_text(crc):
                raise bad(f"Provided CRC32C \"{said['crc32c']}\" doesn't match calculated CRC32C \"{crc_text(crc)}\".")
            with self.server.state.lock:
                bucket, retention = self.described(name, query, said)
                bucket.check_rate(said["name"])
                kms = {"kmsKeyName": query["kmsKeyName"]} if "kmsKeyName" in query else {}
                version = Version(said["name"], self.server.state.generation(), {**said, **kms}, path, size, crc)
                version.retention = retention
                bucket.insert(version)
                return version.resource(bucket)
        except ApiError:
            path.unlink()
            raise

    def read_multipart(self):
        match = re.fullmatch(r"multipart/related; boundary=([0-9A-Za-z'()+_,./:=?-]{1,70})", self.headers.get("Content-Type", ""))
        if not match:
            raise bad("Content-Type must be multipart/related; boundary=…")
        line, end = b"--" + match[1].encode() + b"\r\n", b"\r\n--" + match[1].encode() + b"--\r\n"

        def expect(wanted):
            if self.read_exactly(len(wanted)) != wanted:
                raise bad(f"Malformed multipart body: {wanted!r} is not where it must be", "badContent")
        expect(line + b"Content-Type: application/json; charset=UTF-8\r\n\r\n")
        text = b""
        while not text.endswith(b"\r\n" + line):
            if len(text) > 1 << 16:
                raise bad("Malformed multipart body: the metadata do not end", "badContent")
            text += self.read_exactly(1)
        said = parse_json(text[: -len(line) - 2])
        expect(f"Content-Type: {said.get('contentType')}\r\n\r\n".encode())
        path, size = self.server.state.new_file(), self.left - len(end)
        if size < 0:
            raise bad("Malformed multipart body: it ends early", "badContent")
        crc = self.read_to_file(path, 0, size, 0)
        expect(end)
        return said, path, size, crc

    def session(self, bucket):
        session = self.server.state.sessions.get(self.query["upload_id"])
        if self.query != {"uploadType": "resumable", "upload_id": self.query["upload_id"]}:
            raise bad("Unknown parameters for an upload session")
        if session is None or session["bucket"] != bucket:
            raise ApiError(404, "notFound", "No such upload session")
        if session["until"] < time.time() or self.fault.get("gone"):
            self.server.state.sessions.pop(self.query["upload_id"])
            raise ApiError(410, "gone", "The upload session is gone")
        with session["lock"]:
            if self.command == "DELETE":
                self.server.state.sessions.pop(self.query["upload_id"])
                return self.send(499, {}, b"")
            if self.command != "PUT":
                raise ApiError(405, "methodNotAllowed", "Method Not Allowed")
            self.put_part(session)

    def put_part(self, session):
        total, text = session["total"], self.headers.get("Content-Range", "")
        if re.fullmatch(rf"bytes \*/({total}|\*)", text):
            if self.left:
                raise bad("A query for the status has a body")
            return self.send_status(session)
        match = re.fullmatch(r"bytes (\d{1,15})-(\d{1,15})/(\d{1,15})", text)
        if not match or session["done"]:
            raise bad("Invalid Content-Range")
        first, last, said_total = (int(m) for m in match.groups())
        if said_total != total or first != session["size"] or last >= total or last - first + 1 != self.left:
            raise bad(f"Invalid request. There were {self.left} byte(s) in the request body, at {session['size']} of {total}; "
                      f"{text} was said.")
        if last + 1 < total and self.left % QUANTUM != 0:
            raise bad("A part that is not the last must be a multiple of 262144 bytes")
        self.receive_part(session, first)
        if session["size"] == total:
            try:
                session["done"] = self.commit(session["bucket"], session["query"], session["said"], session["path"],
                                              total, session["crc"])
            except ApiError:
                self.server.state.sessions.pop(self.query["upload_id"])
                raise
        self.send_status(session)

    def receive_part(self, session, first):
        """What arrives before a connection breaks is kept, to a multiple of 256 KiB."""
        arrived = [first, session["crc"]]

        def keep(size, crc):
            if size % QUANTUM == 0 or size == session["total"]:
                arrived[:] = size, crc
        try:
            self.read_to_file(session["path"], first, self.left, session["crc"], keep)
        finally:
            if self.fault.get("forget"):  # the service need not keep everything it received
                arrived = [first, session["crc"]]
            session["size"], session["crc"] = arrived

    def send_status(self, session):
        if session["done"]:
            return self.send_resource(session["done"], OBJECT_FIELDS, session["query"].get("fields"))
        self.send(308, {"Range": f"bytes=0-{session['size'] - 1}"} if session["size"] else {}, b"")

    # Bodies

    def read_exactly(self, size):
        if size > self.left:
            raise bad("The body is shorter than it must be", "badContent")
        data = self.rfile.read(size)
        self.left -= len(data)
        if len(data) < size:
            raise Dropped
        return data

    def read_all(self, most):
        if self.left > most:
            raise ApiError(413, "uploadTooLarge", "The body is too large")
        return self.read_exactly(self.left)

    def read_to_file(self, path, at, size, crc, keep=lambda size, crc: None):
        buffer = memoryview(bytearray(QUANTUM))
        drop_after = self.fault.get("drop_after")
        with open(path, "r+b" if at else "wb") as file:
            file.seek(at)
            file.truncate()
            end = at + size
            while at < end:
                whole = want = min(end - at, QUANTUM - at % QUANTUM)
                if drop_after is not None:
                    want = min(want, drop_after)
                    drop_after -= want
                n = self.rfile.readinto(buffer[:want]) if want else 0
                self.left -= n
                crc = crc32c(buffer[:n], crc)
                file.write(buffer[:n])
                at += n
                if n < whole:
                    raise Dropped
                keep(at, crc)
        return crc

    def drain(self):
        while self.left > 0:
            data = self.rfile.read(min(self.left, PIECE))
            if not data:
                raise Dropped
            self.left -= len(data)

    # Answers

    def send_resource(self, value, known, mask=None):
        mask = mask or self.query.get("fields")
        self.send_json(select(value, mask, known) if mask else value)

    def send_json(self, value, status=200, headers=None):
        body = json.dumps(value).encode()
        self.send(status, {"Content-Type": "application/json; charset=UTF-8", **(headers or {})}, body)

    def send(self, status, headers, body):
        self.send_head(status, headers, len(body))
        self.wfile.write(body[: self.fault.get("cut_answer", len(body))])
        if self.fault.get("cut_answer", len(body)) < len(body):
            raise Dropped

    def send_head(self, status, headers, length):
        if self.fault.get("lose_reply"):
            raise Dropped
        self.send_response(status)
        changed = {**headers, "Content-Length": None if status == 204 else str(length), **self.fault.get("alter", {})}
        for name, value in changed.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_):
        pass

    def control(self, what):
        """bucket {name, …}: makes one · fault {method, contains, skip, times, and one of: answer {status, headers, body},
        drop_after N (bytes of an upload's body), lose_reply, cut_answer N, alter {header: value}, gone, forget, damage,
        expire (all tokens, now), hold (until release)} · held: how many wait so · release · clear: no fault any more
        · expire: no token is good any more · lifetime {seconds} · small_pages {on} · rough {seed}
        · log: the requests since the last time"""
        said = parse_json(self.read_all(1 << 16)) if self.left else {}
        server, value = self.server, {}
        if what == "bucket":
            with server.state.lock:
                server.state.buckets[said["name"]] = Bucket(**said)
        elif what == "fault":
            server.faults.append(Fault(said))
        elif what == "clear":
            value = {"unused": len([f for f in server.faults if f.times > 0])}
            server.faults.clear()
            server.small_pages, server.rough, server.identities.lifetime = False, None, 3600
            server.held = 0
            server.release.clear()
        elif what == "held":
            value = {"held": server.held}
        elif what == "release":
            server.release.set()
        elif what == "expire":
            server.identities.expire_all()
        elif what == "lifetime":
            server.identities.lifetime = said["seconds"]
        elif what == "rough":
            server.rough = random.Random(said["seed"])
        elif what == "small_pages":
            server.small_pages = said["on"]
        elif what == "log":
            value = {"log": server.log, "tokens": server.identities.issued, "sessions": len(
                [s for s in server.state.sessions.values() if not s["done"]])}
            server.log = []
        else:
            raise ApiError(404, "notFound", what)
        self.send_json(value)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, folder):
        super().__init__(("127.0.0.1", 0), Handler)
        self.base = f"http://127.0.0.1:{self.server_port}"
        (folder / "bodies").mkdir()
        self.state = State(folder / "bodies")
        self.identities = gcs_oauth.Identities(folder, self.base)
        self.faults, self.faults_lock, self.log = [], threading.Lock(), []
        self.small_pages, self.rough = False, None
        self.held, self.release = 0, threading.Event()
        self.secret = secrets.token_urlsafe(9)

    def next_fault(self, method, path, size):
        with self.faults_lock:
            self.log.append(f"{method} {path}")
            for fault in self.faults:
                if fault.takes(method, path, size):
                    return fault.said
            return self.weather(size) if self.rough else {}

    def weather(self, size):
        """What befalls one request in seven when it is rough."""
        if self.rough.randrange(7):
            return {}
        return self.rough.choice([{"lose_reply": True}, {"answer": {"status": 503}}, {"answer": {"status": 500}},
                                  {"cut_answer": self.rough.randrange(3000)},
                                  {"drop_after": self.rough.randrange(size + 1)}])

    def page_token(self, *what):
        return base64.urlsafe_b64encode(json.dumps([self.secret, *what]).encode()).decode()

    def read_page_token(self, text, *expected):
        try:
            secret, *what, after, serial = json.loads(base64.urlsafe_b64decode(text))
        except ValueError:
            raise bad("Invalid page token") from None
        if secret != self.secret or what != list(expected):
            raise bad("Invalid page token: it is of another listing")
        return tuple(after), serial


def main():
    folder = Path(sys.argv[1])
    server = Server(folder)
    server.identities.write_files(folder)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
