"""The buckets and objects of the Google Cloud Storage that gcs_server.py plays: generations, preconditions, retention.

Bodies are files; what is said of them is in memory. Every method that reads or changes a bucket is called under
`State.lock`.
"""

import base64
import bisect
import ctypes
import datetime
import json
import re
import threading
import time
from pathlib import Path

QUANTUM = 256 * 1024  # a part of a resumable upload that is not the last is a multiple of it

# What may be said of an object that is uploaded, and what an answer says. Anything else is refused.
WRITABLE = {"name", "contentType", "cacheControl", "crc32c", "storageClass", "retention", "metadata"}
OBJECT_FIELDS = {"kind", "id", "name", "bucket", "generation", "metageneration", "contentType", "cacheControl", "crc32c",
                 "size", "storageClass", "timeCreated", "updated", "timeDeleted", "retention", "retentionExpirationTime",
                 "metadata", "kmsKeyName", "contentEncoding", "etag", "md5Hash", "temporaryHold", "eventBasedHold"}
BUCKET_FIELDS = {"kind", "id", "name", "location", "storageClass", "versioning", "objectRetention", "retentionPolicy",
                 "billing", "timeCreated", "softDeletePolicy", "metageneration"}
CLASSES = {"STANDARD", "NEARLINE", "COLDLINE", "ARCHIVE"}


class ApiError(Exception):
    """An answer that is no success, as the JSON API words it."""

    def __init__(self, status, reason, message, headers=None):
        super().__init__(message)
        self.status, self.reason, self.message, self.headers = status, reason, message, headers or {}

    def body(self):
        one = {"domain": "global", "reason": self.reason, "message": self.message}
        return {"error": {"errors": [one], "code": self.status, "message": self.message}}


def bad(message, reason="invalid"):
    return ApiError(400, reason, message)


def load_crc32c():
    """CRC-32C: of the Intel storage library (Debian: libisal2), at some GB/s; else in Python, at some MB/s."""
    try:
        function = ctypes.CDLL("libisal.so.2").crc32_iscsi
    except OSError:
        table = []
        for n in range(256):
            for _ in range(8):
                n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
            table.append(n)

        def slow(view, before=0):
            crc = before ^ 0xFFFFFFFF
            for byte in view:
                crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
            return crc ^ 0xFFFFFFFF
        return slow
    function.restype = ctypes.c_uint32
    function.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32]

    def fast(view, before=0):
        """view: a writable memoryview."""
        if len(view) == 0:
            return before
        held = (ctypes.c_char * len(view)).from_buffer(view)
        return function(ctypes.addressof(held), len(view), before ^ 0xFFFFFFFF) ^ 0xFFFFFFFF
    return fast


crc32c = load_crc32c()
assert crc32c(memoryview(bytearray(b"123456789"))) == 0xE3069283


def crc_text(value):
    return base64.b64encode(value.to_bytes(4, "big")).decode()


def now():
    return datetime.datetime.now(datetime.timezone.utc)


def to_text(moment):
    """Milliseconds, as the service's own times have them."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03}Z"


def parse_time(text):
    if not isinstance(text, str) or not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z", text):
        raise bad(f"Invalid value for a date-time: {text!r}")
    return datetime.datetime.fromisoformat(text[:-1].ljust(26, "0") if "." in text else text[:-1]).replace(
        tzinfo=datetime.timezone.utc)


class Version:
    """One generation of an object."""

    def __init__(self, name, generation, said, path, size, crc):
        self.name, self.generation, self.metageneration = name, generation, 1
        self.said, self.path, self.size, self.crc = said, path, size, crc
        self.retention = None  # (mode, moment)
        self.created = self.updated = now()
        self.deleted = None

    def resource(self, bucket):
        out = {"kind": "storage#object", "id": f"{bucket.name}/{self.name}/{self.generation}", "name": self.name,
               "bucket": bucket.name, "generation": str(self.generation), "metageneration": str(self.metageneration),
               "contentType": self.said.get("contentType", "application/octet-stream"), "size": str(self.size),
               "storageClass": self.said.get("storageClass", "STANDARD"), "crc32c": crc_text(self.crc),
               "timeCreated": to_text(self.created), "updated": to_text(self.updated)}
        for key in ("cacheControl", "metadata", "kmsKeyName", "contentEncoding"):
            if key in self.said:
                out[key] = self.said[key]
        if self.deleted:
            out["timeDeleted"] = to_text(self.deleted)
        if self.retention:
            out["retention"] = {"mode": self.retention[0],
                                "retainUntilTime": self.retention[1].strftime("%Y-%m-%dT%H:%M:%S.%fZ")}
        expires = self.expires(bucket)
        if expires:
            out["retentionExpirationTime"] = expires.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return out

    def expires(self, bucket):
        ends = [self.retention[1]] if self.retention else []
        if bucket.retention_period:
            ends.append(self.created + datetime.timedelta(seconds=bucket.retention_period))
        return max(ends, default=None)

    def check_unretained(self, bucket):
        expires = self.expires(bucket)
        if expires and expires > now():
            raise ApiError(403, "retentionPolicyNotMet", f"Object '{bucket.name}/{self.name}' is subject to a retention "
                           f"configuration and cannot be deleted, overwritten or archived until {expires.isoformat()}")


class Bucket:
    def __init__(self, name, versioning=False, object_retention=False, requester_pays=False, retention_period=0,
                 rate_limit=False):
        self.name = name
        self.versioning, self.object_retention, self.requester_pays = versioning, object_retention, requester_pays
        self.retention_period = retention_period  # seconds, of a bucket's own policy
        self.rate_limit = rate_limit              # one write a second to one name
        self.names = []                           # sorted as bytes are: all names are checked to be UTF-8
        self.versions = {}                        # name -> [Version], oldest first
        self.last_write = {}

    def resource(self):
        out = {"kind": "storage#bucket", "id": self.name, "name": self.name, "location": "EUROPE-WEST3",
               "storageClass": "STANDARD", "metageneration": "1"}
        if self.versioning:
            out["versioning"] = {"enabled": True}
        if self.object_retention:
            out["objectRetention"] = {"mode": "Enabled"}
        if self.requester_pays:
            out["billing"] = {"requesterPays": True}
        if self.retention_period:
            out["retentionPolicy"] = {"retentionPeriod": str(self.retention_period), "isLocked": False}
        return out

    def live(self, name):
        for version in reversed(self.versions.get(name, [])):
            if version.deleted is None:
                return version
        return None

    def find(self, name, generation):
        """KeyError-free: ApiError 404."""
        if generation is None:
            found = self.live(name)
        else:
            found = next((v for v in self.versions.get(name, []) if v.generation == generation), None)
        if found is None:
            raise ApiError(404, "notFound", f"No such object: {self.name}/{name}")
        return found

    def check_rate(self, name):
        if not self.rate_limit:
            return
        at = time.monotonic()
        if at - self.last_write.get(name, -10) < 1:
            raise ApiError(429, "rateLimitExceeded", f"The object {self.name}/{name} exceeded the rate limit for object "
                           "mutation operations (create, update, and delete). Please reduce your request rate.")
        self.last_write[name] = at

    def insert(self, version):
        """Makes it the live one; what was live is archived or gone."""
        old = self.live(version.name)
        if old:
            self.retire(old, overwritten=True)
        if version.name not in self.versions:
            bisect.insort(self.names, version.name, key=str.encode)
        self.versions.setdefault(version.name, []).append(version)

    def retire(self, version, overwritten=False):
        """A removal that names no generation."""
        if not self.versioning:
            version.check_unretained(self)
            self.drop(version, keep_name=overwritten)
        else:
            version.deleted = now()

    def drop(self, version, keep_name=False):
        left = self.versions[version.name]
        left.remove(version)
        Path(version.path).unlink(missing_ok=True)
        if not left and not keep_name:
            del self.versions[version.name]
            self.names.remove(version.name)

    def list(self, prefix, versions, most, after):
        """(items, the place to go on from or None); after: (name, generation)."""
        items = []
        start = max(prefix, after[0] if after else "", key=str.encode)
        for name in self.names[bisect.bisect_left(self.names, start.encode(), key=str.encode):]:
            if not name.startswith(prefix):
                break
            for version in self.versions[name]:
                if after and (name.encode(), version.generation) <= (after[0].encode(), after[1]):
                    continue
                if version.deleted is not None and not versions:
                    continue
                if len(items) == most:
                    return items, (items[-1].name, items[-1].generation) if items else after or ("", 0)
                items.append(version)
        return items, None


class State:
    def __init__(self, folder):
        self.folder = Path(folder)
        self.lock = threading.RLock()
        self.buckets = {}
        self.sessions = {}
        self._generation = 0
        self._file = 0

    def bucket(self, name, user_project):
        if name not in self.buckets:
            raise ApiError(404, "notFound", "The specified bucket does not exist.")
        bucket = self.buckets[name]
        if bucket.requester_pays and not user_project:
            raise bad("Bucket is a requester pays bucket but no user project provided.", "required")
        return bucket

    def new_file(self):
        with self.lock:
            self._file += 1
            return self.folder / f"{self._file}.body"

    def generation(self):
        self._generation = max(self._generation + 1, time.time_ns() // 1000)
        return self._generation


def check_conditions(version, query):
    """version: the one that is asked for, or None."""
    for name, attribute in (("ifGenerationMatch", "generation"), ("ifMetagenerationMatch", "metageneration")):
        if name not in query:
            continue
        if not re.fullmatch(r"\d{1,19}", query[name]):
            raise bad(f"Invalid value for {name}")
        if int(query[name]) != (getattr(version, attribute) if version else 0):
            raise ApiError(412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold.")


def check_metadata(said, bucket):
    """What an upload says of its object; nothing unknown, nothing that the bucket cannot hold."""
    for key in said:
        if key not in WRITABLE:
            raise bad(f"Unknown name \"{key}\"")
    name = said.get("name")
    if not isinstance(name, str) or not 1 <= len(name.encode()) <= 1024 or re.search(r"[\r\n]", name):
        raise bad("Invalid object name")
    if said.get("storageClass", "STANDARD") not in CLASSES:
        raise bad("Invalid storage class")
    if "crc32c" in said and not re.fullmatch(r"[A-Za-z0-9+/]{6}==", str(said["crc32c"])):
        raise bad("Invalid crc32c")
    if "retention" in said:
        return check_retention(said["retention"], bucket)
    return None


def check_retention(said, bucket):
    if not bucket.object_retention:
        raise bad("The bucket is not enabled for object retention.")
    if not isinstance(said, dict) or set(said) != {"mode", "retainUntilTime"} or said["mode"] not in ("Locked", "Unlocked"):
        raise bad("Invalid retention configuration")
    until = parse_time(said["retainUntilTime"])
    if until <= now():
        raise bad("The retainUntilTime must be in the future.")
    return said["mode"], until


def patch_retention(version, said, bucket, override):
    wanted = check_retention(said, bucket)
    held = version.retention
    weaker = held and (wanted[1] < held[1] or (held[0] == "Locked") > (wanted[0] == "Locked"))
    if held and held[0] == "Locked" and weaker:
        raise ApiError(403, "forbidden", "A locked retention configuration cannot be reduced or removed.")
    if held and held[0] == "Unlocked" and (weaker or wanted[0] == "Locked") and not override:
        raise ApiError(403, "forbidden", "overrideUnlockedRetention must be true to change this retention configuration.")
    version.retention = wanted
    version.metageneration += 1
    version.updated = now()


def select(value, mask, known):
    """The parts of a JSON value that the parameter `fields` names: "items(name,size),nextPageToken"."""
    wanted, depth, start = {}, 0, 0
    for at, c in enumerate(mask + ","):
        depth += (c == "(") - (c == ")")
        if c == "," and depth == 0:
            match = re.fullmatch(r"([A-Za-z0-9]+)(?:\((.+)\)|/([A-Za-z0-9/]+))?", mask[start:at])
            if not match or match[1] not in known:
                raise bad(f"Invalid field selection {mask[start:at]}", "invalidParameter")
            wanted[match[1]] = match[2] or match[3]
            start = at + 1
    if depth:
        raise bad(f"Invalid field selection {mask}", "invalidParameter")
    out = {}
    for key, inner in wanted.items():
        if key not in value:
            continue
        if inner is None:
            out[key] = value[key]
        elif isinstance(value[key], list):
            out[key] = [select(item, inner, OBJECT_FIELDS) for item in value[key]]
        else:
            out[key] = select(value[key], inner, {"enabled", "mode", "retainUntilTime", "retentionPeriod", "requesterPays"})
    return out


def parse_json(text, most=1 << 20):
    if len(text) > most:
        raise bad("Request Too Large")
    try:
        value = json.loads(text)
    except ValueError:
        raise bad("Parse Error", "parseError") from None
    if not isinstance(value, dict):
        raise bad("Parse Error", "parseError")
    return value
