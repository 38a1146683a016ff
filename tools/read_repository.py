#!/usr/bin/env python3
"""The last resort: reads a Varve repository without Varve, from what docs/format/ says alone.

    tools/read_repository.py FOLDER list
    tools/read_repository.py FOLDER restore SOURCE TARGET [--backup ID] [--txn N]
    tools/read_repository.py FOLDER dump OBJECT

FOLDER is the repository's folder, or a copy of its bucket. TARGET is a folder that is not there yet. Without --backup the
newest backup and all of the log after it are restored, with it that backup's own state; --txn N replays the log to there.
The passphrase is read from $VARVE_PASSPHRASE or --passphrase-file, a key file from --key-file.

Needs Python 3.9 and the libraries libcrypto (OpenSSL 3), libsodium, libzstd, libxxhash; nothing else, and nothing of Varve's.
"""

import argparse
import base64
import ctypes
import ctypes.util
import hashlib
import json
import os
import struct
import sys
from pathlib import Path

KINDS = {0: "index", 1: "pages", 2: "map segment", 3: "file table", 4: "log head", 5: "log pages"}
INDEX_NONCE = 1 << 32


class Damaged(Exception):
    pass


def need(condition, what):
    if not condition:
        raise Damaged(what)


def library(name):
    found = ctypes.util.find_library(name)
    if not found:
        sys.exit(f"error: lib{name} is not installed")
    return ctypes.CDLL(found)


# --- primitives: docs/format/README.md, "Conventions" ---
def digest(data, key=b""):
    return hashlib.blake2b(data, digest_size=32, key=key).digest()


def derive(key, context, info):
    return digest(context.encode() + b"\0" + info, key)


class Hash128(ctypes.Structure):
    _fields_ = [("low", ctypes.c_uint64), ("high", ctypes.c_uint64)]


def checksum(data):
    xxhash = library("xxhash")
    xxhash.XXH3_128bits.restype = Hash128
    h = xxhash.XXH3_128bits(data, ctypes.c_size_t(len(data)))
    return struct.pack("<QQ", h.low, h.high)


def open_gcm(key, nonce, aad, sealed):
    need(len(sealed) >= 16, "sealed bytes are too short")
    c = library("crypto")
    c.EVP_CIPHER_CTX_new.restype = c.EVP_aes_256_gcm.restype = ctypes.c_void_p
    context, out, n = ctypes.c_void_p(c.EVP_CIPHER_CTX_new()), ctypes.create_string_buffer(len(sealed)), ctypes.c_int()
    text, tag = sealed[:-16], sealed[-16:]
    ok = c.EVP_DecryptInit_ex(context, ctypes.c_void_p(c.EVP_aes_256_gcm()), None, key, struct.pack("<QI", nonce, 0)) == 1
    ok = ok and c.EVP_DecryptUpdate(context, None, ctypes.byref(n), aad, len(aad)) == 1
    ok = ok and (not text or c.EVP_DecryptUpdate(context, out, ctypes.byref(n), text, len(text)) == 1)
    ok = ok and c.EVP_CIPHER_CTX_ctrl(context, 0x11, 16, tag) == 1  # EVP_CTRL_AEAD_SET_TAG
    ok = ok and c.EVP_DecryptFinal_ex(context, ctypes.create_string_buffer(16), ctypes.byref(n)) == 1
    c.EVP_CIPHER_CTX_free(context)
    need(ok, "bytes do not authenticate")
    return out.raw[:len(text)]


def open_unencrypted(key, nonce, aad, sealed):
    need(len(sealed) >= 16, "sealed bytes are too short")
    plain = sealed[:-16]
    need(digest(struct.pack("<QQ", nonce, len(aad)) + aad + plain, key)[:16] == sealed[-16:], "bytes do not authenticate")
    return plain


def decompress(codec, data, size):
    if codec == 0:
        out = data
    elif codec in (1, 2):
        buffer = ctypes.create_string_buffer(max(1, size))
        if codec == 1:
            zstd = library("zstd")
            zstd.ZSTD_decompress.restype = ctypes.c_size_t
            n = zstd.ZSTD_decompress(buffer, ctypes.c_size_t(size), data, ctypes.c_size_t(len(data)))
        else:
            n = library("lz4").LZ4_decompress_safe(data, buffer, len(data), size)
        need(n == size, "bytes do not decompress")
        out = buffer.raw[:size]
    else:
        raise Damaged(f"codec {codec} is not known")
    need(len(out) == size, "decompressed bytes have another size")
    return out


# --- protobuf's wire format: fields by number, each a list of numbers or bytes in the order they came ---
def varint(data, at):
    value = shift = 0
    while True:
        need(at < len(data) and shift < 70, "a number is cut short")
        value |= (data[at] & 127) << shift
        shift, at = shift + 7, at + 1
        if data[at - 1] < 128:
            return value, at


class Message(dict):
    def __init__(self, data):
        super().__init__()
        at = 0
        while at < len(data):
            tag, at = varint(data, at)
            if tag & 7 == 0:
                value, at = varint(data, at)
            else:
                if tag & 7 == 2:
                    size, at = varint(data, at)
                else:
                    need(tag & 7 in (1, 5), "a field is of no known type")
                    size = 8 if tag & 7 == 1 else 4
                need(at + size <= len(data), "a field is cut short")
                value, at = data[at:at + size], at + size
            self.setdefault(tag >> 3, []).append(value)

    def number(self, field, default=0):
        return self.get(field, [default])[-1]

    def signed(self, field):  # int64
        value = self.number(field)
        return value - (1 << 64) if value >> 63 else value

    def bytes(self, field):
        return self.get(field, [b""])[-1]

    def text(self, field):
        return self.bytes(field).decode()

    def numbers(self, field):  # packed or not
        out = []
        for value in self.get(field, []):
            if isinstance(value, int):
                out.append(value)
                continue
            at = 0
            while at < len(value):
                number, at = varint(value, at)
                out.append(number)
        return out

    def zigzag(self, field):
        return [(n >> 1) ^ -(n & 1) for n in self.numbers(field)]

    def messages(self, field):
        return [Message(value) for value in self.get(field, [])]


# --- the repository: README.md, keys.md, envelope.md ---
class Repository:
    def __init__(self, folder, passphrase, key_file):
        self.folder = Path(folder)
        text = self.read("varve.json")
        self.config = self.checked_json("varve.json", text)
        need(self.config["format"] == 1 and not self.config["features"]["read"], "a newer format than this reader's")
        self.id = bytes.fromhex(self.config["id"])
        self.packs = {}
        if self.config["encryption"] == "none":
            self.encryption, self.unseal = 0, open_unencrypted
            self.root = derive(bytes(32), "varve unencrypted root 1", self.id)
        else:
            need(self.config["encryption"] == "aes-256-gcm", "an unknown encryption")
            self.encryption, self.unseal = 1, open_gcm
            self.root = self.unwrap(digest(text), passphrase, key_file)

    def read(self, name):
        try:
            return (self.folder / name).read_bytes()
        except FileNotFoundError:
            raise Damaged(f"{name} is missing") from None

    def names(self, folder):
        return sorted(p.name for p in (self.folder / folder).iterdir()) if (self.folder / folder).is_dir() else []

    @staticmethod
    def checked_json(name, text):
        at = text.rfind(b'  "checksum"')
        expected = b'  "checksum": "' + digest(text[:at])[:16].hex().encode() + b'"\n}\n'
        need(at > 0 and text[at:] == expected, f"{name}: its checksum does not match")
        return json.loads(text)

    def unwrap(self, config_digest, passphrase, key_file):
        for name in self.names("keys"):
            o = self.checked_json(name, self.read(f"keys/{name}"))
            if o["repository"] != self.config["id"] or o["id"] != name:
                continue
            if o["kind"] == "passphrase" and passphrase:
                sodium, a, master = library("sodium"), o["argon2id"], ctypes.create_string_buffer(32)
                need(a["passes"] <= 32 and a["memory"] <= 1 << 30, f"keys/{name}: impossible parameters")
                sodium.sodium_init()
                need(sodium.crypto_pwhash(master, ctypes.c_ulonglong(32), passphrase, ctypes.c_ulonglong(len(passphrase)),
                                          base64.b64decode(a["salt"]), ctypes.c_ulonglong(a["passes"]),
                                          ctypes.c_size_t(a["memory"]), 2) == 0, "Argon2id failed")
                master = master.raw
            elif o["kind"] == "key-file" and key_file:
                need(key_file.startswith(b"VARVE-KEY-1 "), "the key file is none of Varve's")
                master = base64.b64decode(key_file[12:].strip())
            else:
                continue
            binding = self.id + o["id"].encode()
            if derive(master, "varve key check 1", binding)[:16] != base64.b64decode(o["check"]):
                continue
            aad = b"varve key 1\0" + self.id + config_digest
            aad += b"".join(o[k].encode() + b"\0" for k in ("id", "kind", "label", "created"))
            return open_gcm(derive(master, "varve key wrap 1", binding), 0, aad, base64.b64decode(o["wrapped"]))
        sys.exit("error: the passphrase or key file given opens none of the repository's keys")

    def object(self, kind, name):
        data = self.read(name)
        need(len(data) >= 80 and data[:8] == b"VARVOBJ1", f"{name}: is no object of Varve's")
        need(checksum(data[:-16]) == data[-16:], f"{name}: its checksum does not match")
        need(data[8] == self.encryption, f"{name}: is sealed in another way than its repository")
        key = derive(self.root, "varve object 1", self.id + data[16:48])
        aad = b"varve object 1\0" + data[:16] + self.id + kind.encode() + b"\0" + name.encode()
        return Message(decompress(data[9], self.unseal(key, 0, aad, data[48:-16]), struct.unpack_from("<I", data, 12)[0]))

    def pack(self, pack_id, info=None):
        if pack_id not in self.packs:
            while len(self.packs) >= 8:  # whole packs are held: a few
                self.packs.pop(next(iter(self.packs)))
            name = f"packs/{pack_id[0] ^ pack_id[15]:02x}/{pack_id.hex()}"
            pack = Pack(self, name)
            need(pack.id == pack_id, f"{name}: is another pack")
            if info:
                need(len(pack.data) == info.number(2) and pack.checksum == info.bytes(3), f"{name}: is another pack")
            self.packs[pack_id] = pack
        return self.packs[pack_id]


# --- pack.md ---
class Pack:
    def __init__(self, repository, name):
        self.repository, self.name, self.data = repository, name, repository.read(name)
        footer = self.data[-64:]
        need(len(self.data) >= 72 and self.data[:8] == b"VARVPAK1" and footer[56:] == b"VARVEND1", f"{name}: is no pack")
        offset, stored, plain, self.frame_count, codec, encryption = struct.unpack_from("<QIIIBB", footer)
        self.id, self.checksum = footer[24:40], footer[40:56]
        need(encryption == repository.encryption, f"{name}: is sealed in another way than its repository")
        need(checksum(self.data[:-24]) == self.checksum, f"{name}: its checksum does not match")
        need(offset + stored + 64 == len(self.data), f"{name}: its footer does not fit")
        self.key = derive(repository.root, "varve pack 1", repository.id + self.id)
        index = Message(self.frame_bytes(INDEX_NONCE, 0, offset, stored, codec, plain))
        need(index.text(1) == name, f"{name}: its index is of another object")
        sizes = iter(index.numbers(8))
        self.frames, self.slots, at = [], [], 8
        columns = [index.numbers(f) for f in (2, 3, 4, 5, 6, 7)]
        for number, (stored, plain, kind, codec, slots, slot_size) in enumerate(zip(*columns)):
            self.frames.append((number, kind, at, stored, codec, plain))
            within = 0
            for _ in range(slots):
                size = slot_size or next(sizes)
                self.slots.append((number, within, size))
                within += size
            need(within == plain, f"{name}: slots do not fill a frame")
            at += stored
        need(at == offset and len({len(c) for c in columns}) == 1, f"{name}: frames do not fill it")
        self.last = (None, b"")

    def frame_bytes(self, nonce, kind, offset, stored, codec, plain):
        aad = b"varve frame 1\0" + self.repository.id + self.id + struct.pack("<QB", nonce, kind)
        try:
            return decompress(codec, self.repository.unseal(self.key, nonce, aad, self.data[offset:offset + stored]), plain)
        except Damaged as e:
            raise Damaged(f"{self.name}, frame at {offset}: {e}") from None

    def slot(self, ordinal, kind):
        need(ordinal < len(self.slots), f"{self.name}: has no slot {ordinal}")
        frame, within, size = self.slots[ordinal]
        need(self.frames[frame][1] == kind, f"{self.name}: slot {ordinal} holds something else")
        if self.last[0] != frame:
            self.last = (frame, self.frame_bytes(*self.frames[frame]))
        return self.last[1][within:within + size]


# --- manifest.md, file-table.md, page-map.md ---
class Backup:
    def __init__(self, repository, source, backup):
        self.repository, self.manifest = repository, repository.object("manifest", f"sources/{source}/backups/{backup}")
        need((self.manifest.text(1), self.manifest.text(2)) == (backup, source), f"{backup}: is another backup's manifest")
        self.packs = {p.bytes(1): p for p in self.manifest.messages(25)}
        self.pack_ids = [p.bytes(1) for p in self.manifest.messages(25)]

    def slot(self, pack_id, ordinal, kind):
        need(pack_id in self.packs, "a reference to a pack that the manifest does not list")
        return self.repository.pack(pack_id, self.packs[pack_id]).slot(ordinal, kind)

    def files(self):
        """Each file's message, and the packs its numbers refer to."""
        for ref in self.manifest.messages(26):
            place = Message(ref.bytes(1))
            table = Message(self.slot(self.pack_ids[place.number(1) - 1], place.number(2), 3))
            need(len(table.get(2, [])) == ref.number(4), "a part of the file table is another")
            for f in table.messages(2):
                yield f, table.get(1, [])

    def runs(self, file, packs):
        """(first page, pages, pack id or None for zeros, first slot) of the whole file."""
        page = 0
        for s in file.messages(10):
            if 1 in s:
                place = Message(s.bytes(1))
                segment = Message(self.slot(packs[place.number(1) - 1], place.number(2), 2))
                ids = segment.get(3, [])
            else:
                segment, ids = Message(s.bytes(3)), packs
            need(segment.number(1) == page, "a map covers other pages than it should")
            after = {}
            for count, pack, skip in zip(segment.numbers(4), segment.numbers(5), segment.zigzag(6)):
                first = after.get(pack, 0) + skip
                yield page, count, ids[pack - 1] if pack else None, first
                after[pack], page = first + count, page + count
            need(page == segment.number(1) + segment.number(2), "a map does not cover its pages")

    def restore_file(self, file, packs, out):
        size, page_size = file.number(3), file.number(4)
        out.truncate(size)
        covered = 0
        for page, count, pack_id, slot in self.runs(file, packs):
            covered = page + count
            for i in range(count if pack_id else 0):
                data = self.slot(pack_id, slot + i, 1)
                need(len(data) == min(page_size, size - (page + i) * page_size), "a page has the wrong length")
                out.seek((page + i) * page_size)
                out.write(data)
        need(covered == -(-size // page_size), "the maps do not cover the file")


# --- log.md, sqlite-page-set.md ---
def log_path(repository, source, epoch, first_txn, last_txn):
    """The names of the pieces that lead from first_txn to last_txn (None: to the end)."""
    folder = f"sources/{source}/log/{epoch}"
    pieces = [(int(n[:16], 16), int(n[17:], 16), f"{folder}/{n}") for n in repository.names(folder) if len(n) == 33]
    at, path = first_txn, []
    while at != last_txn:
        next_ones = [p for p in pieces if p[0] <= at + 1 and p[1] > at]
        whole = [p for p in next_ones if last_txn is None or p[1] <= last_txn]
        if not next_ones:
            need(last_txn is None, f"the log has a gap after txn:{at}")
            break
        piece = max(whole, key=lambda p: p[1]) if whole else min(next_ones, key=lambda p: p[1])
        path.append(piece[2])
        if not whole:
            break
        at = piece[1]
    return path


def replay(repository, name, until, opened):
    piece = Pack(repository, name)
    head = Message(piece.slot(0, 4))
    _, source, _, epoch, numbers = name.split("/")
    need((head.text(1), head.text(2)) == (source, epoch), f"{name}: is another's piece")
    need(f"{head.number(3):016x}-{head.number(4):016x}" == numbers, f"{name}: is another piece")
    page_set = Message(head.bytes(8))
    databases, merged, slot = page_set.messages(1), page_set.number(7), 0
    need(not merged or until is None or page_set.number(4) <= until, f"{name}: the single commits are gone")
    for commit in page_set.messages(2):
        database = databases[commit.number(3)]
        file, page_size, page = opened[database.bytes(1)], database.number(2), 0
        wanted = until is None or commit.number(1) <= until
        for page_step, slot_step in zip(commit.numbers(6), commit.zigzag(7)):
            page, slot = page + page_step, slot + slot_step + 1
            if wanted:
                file.seek((page - 1) * page_size)
                file.write(piece.slot(slot - 1 + 1, 5))  # slot 0 of the pack is the head
        if wanted:
            file.truncate(commit.number(4) * page_size)


def restore(repository, source, target, wanted, txn):
    backups = [Backup(repository, source, b) for b in repository.names(f"sources/{source}/backups")]
    need(backups, f"there is no backup of {source}")

    def anchor(b):  # the transaction that the backup's state includes
        data = Message(b.manifest.bytes(27)) if b.manifest.text(22) else {}
        return data.number(2) if 2 in data else None

    usable = [b for b in backups if wanted in (None, b.manifest.text(1))]
    if txn is not None:
        usable = [b for b in usable if anchor(b) is not None and anchor(b) <= txn]
    need(usable, "there is no such backup, or none that the log leads on from")
    base = max(usable, key=lambda b: b.manifest.signed(9))
    os.mkdir(target)
    opened = {}
    for file, packs in base.files():
        path = file.bytes(1)
        need(path and not path.startswith(b"/") and not set(path.split(b"/")) & {b"", b".", b".."}, "an unsafe path")
        place = Path(os.fsdecode(os.path.join(os.fsencode(target), path)))
        if file.number(2) == 1:
            place.mkdir(parents=True, exist_ok=True)
        elif file.number(2) == 2:
            os.symlink(file.bytes(9), place)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            opened[path] = open(place, "w+b")
            base.restore_file(file, packs, opened[path])
    begin = anchor(base)
    if begin is not None and (wanted is None or txn is not None):
        for name in log_path(repository, source, base.manifest.text(22), begin, txn):
            replay(repository, name, txn, opened)
    for file in opened.values():
        file.close()
    print(f"restored {base.manifest.text(1)} of {source}: {len(opened)} files")


def dump(repository, name):
    """The frames and slots of a pack or log piece, after everything in it has been checked and decoded."""
    pack = Pack(repository, name)
    print(f"{name}: {len(pack.data)} bytes, id {pack.id.hex()}")
    for number, kind, offset, stored, codec, plain in pack.frames:
        data = pack.frame_bytes(number, kind, offset, stored, codec, plain)
        slots = [s[2] for s in pack.slots if s[0] == number]
        print(f"frame {number}: {KINDS[kind]}, {stored} bytes at {offset}, codec {codec}, {plain} bytes in slots {slots}")
        print(f"    {data[:48].hex(' ')}{' …' if plain > 48 else ''}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--passphrase-file")
    parser.add_argument("--key-file")
    parser.add_argument("folder")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list")
    commands.add_parser("dump").add_argument("object")
    sub = commands.add_parser("restore")
    sub.add_argument("source")
    sub.add_argument("target")
    sub.add_argument("--backup")
    sub.add_argument("--txn", type=int)
    a = parser.parse_args()
    passphrase = os.environb.get(b"VARVE_PASSPHRASE", b"")
    if a.passphrase_file:
        passphrase = Path(a.passphrase_file).read_bytes().split(b"\n")[0]
    try:
        repository = Repository(a.folder, passphrase, Path(a.key_file).read_bytes() if a.key_file else b"")
        if a.command == "restore":
            restore(repository, a.source, a.target, a.backup, a.txn)
        elif a.command == "dump":
            dump(repository, a.object)
        else:
            for source in repository.names("sources"):
                for backup in repository.names(f"sources/{source}/backups"):
                    m = Backup(repository, source, backup).manifest
                    print(f"{source}  {backup}  {m.text(4)}  {m.number(12)} bytes  {m.text(11)}")
    except (Damaged, struct.error, IndexError, KeyError, ValueError) as e:
        sys.exit(f"error: {e}")


if __name__ == "__main__":
    main()
