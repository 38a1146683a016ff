"""A reader of docs/format/{README,keys,envelope}.md that shares nothing with Varve but the libraries below it."""

import base64
import ctypes
import hashlib
import json
import struct
from pathlib import Path

_sodium = ctypes.CDLL("libsodium.so.23")
_zstd = ctypes.CDLL("libzstd.so.1")
_xxhash = ctypes.CDLL("libxxhash.so.0")
_sodium.sodium_init()
_zstd.ZSTD_decompress.restype = ctypes.c_size_t


class _Hash128(ctypes.Structure):
    _fields_ = [("low", ctypes.c_uint64), ("high", ctypes.c_uint64)]


_xxhash.XXH3_128bits.restype = _Hash128


def blake2b(data, key=b""):
    return hashlib.blake2b(data, digest_size=32, key=key).digest()


def derive(key, context, info):
    return blake2b(context + b"\0" + info, key)


def xxh3_128(data):
    h = _xxhash.XXH3_128bits(data, ctypes.c_size_t(len(data)))
    return struct.pack("<QQ", h.low, h.high)


def open_aes256gcm(key, sealed, aad):
    """Nonce 0."""
    out = ctypes.create_string_buffer(max(len(sealed) - 16, 1))
    if _sodium.crypto_aead_aes256gcm_decrypt(out, None, None, sealed, ctypes.c_ulonglong(len(sealed)), aad,
                                             ctypes.c_ulonglong(len(aad)), bytes(12), key) != 0:
        raise ValueError("does not authenticate")
    return out.raw[:len(sealed) - 16]


def open_unencrypted(key, sealed, aad):
    content = sealed[:-16]
    if blake2b(struct.pack("<QQ", 0, len(aad)) + aad + content, key)[:16] != sealed[-16:]:
        raise ValueError("does not authenticate")
    return content


def argon2id(passphrase, params):
    out = ctypes.create_string_buffer(32)
    salt = base64.b64decode(params["salt"])
    if _sodium.crypto_pwhash(out, ctypes.c_ulonglong(32), passphrase, ctypes.c_ulonglong(len(passphrase)), salt,
                             ctypes.c_ulonglong(params["passes"]), ctypes.c_size_t(params["memory"]), 2) != 0:
        raise ValueError("Argon2id failed")
    return out.raw


def checked_json(path):
    """The object, and its bytes."""
    text = Path(path).read_bytes()
    tail = len(b'  "checksum": "' + b"0" * 32 + b'"\n}\n')
    line = b'  "checksum": "' + blake2b(text[:-tail])[:16].hex().encode() + b'"\n}\n'
    if text[-tail:] != line:
        raise ValueError(f"{path}: its checksum does not match")
    return json.loads(text), text


def fields(message):
    """A protobuf message as (number, value): an int, or bytes."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        tag = varint()
        kind = tag & 7
        if kind == 0:
            yield tag >> 3, varint()
        elif kind == 1:
            yield tag >> 3, message[at:at + 8]
            at += 8
        elif kind == 2:
            size = varint()
            yield tag >> 3, message[at:at + size]
            at += size
        else:
            raise ValueError(f"a field of kind {kind}")


class Reader:
    """An open repository in a folder. passphrase or key_file: bytes; neither for an unencrypted one."""

    def __init__(self, folder, passphrase=None, key_file=None):
        self.folder = Path(folder)
        self.config, text = checked_json(self.folder / "varve.json")
        if self.config["format"] != 1 or self.config["features"]["read"]:
            raise ValueError("a newer format")
        self.id = bytes.fromhex(self.config["id"])
        if self.config["encryption"] == "none":
            self.root = derive(bytes(32), b"varve unencrypted root 1", self.id)
        else:
            self.root = self._unwrap(blake2b(text), passphrase, key_file)

    def _unwrap(self, config_digest, passphrase, key_file):
        for path in sorted((self.folder / "keys").iterdir()):
            key, _ = checked_json(path)
            if key["kind"] == "passphrase" and passphrase is not None:
                master = argon2id(passphrase, key["argon2id"])
            elif key["kind"] == "key-file" and key_file is not None:
                master = base64.b64decode(key_file.removeprefix(b"VARVE-KEY-1 "))
            else:
                continue
            binding = bytes.fromhex(key["repository"]) + key["id"].encode()
            if derive(master, b"varve key check 1", binding)[:16] != base64.b64decode(key["check"]):
                continue
            aad = b"varve key 1\0" + self.id + config_digest
            aad += b"".join(key[name].encode() + b"\0" for name in ("id", "kind", "label", "created"))
            return open_aes256gcm(derive(master, b"varve key wrap 1", binding), base64.b64decode(key["wrapped"]), aad)
        raise ValueError("no key fits")

    def read(self, kind, name):
        """The content of a small object."""
        data = (self.folder / name).read_bytes()
        encryption, codec, zero, size = struct.unpack("<BBHI", data[8:16])
        if data[:8] != b"VARVOBJ1" or zero != 0 or xxh3_128(data[:-16]) != data[-16:]:
            raise ValueError(f"{name}: damaged")
        aad = b"varve object 1\0" + data[:16] + self.id + kind.encode() + b"\0" + name.encode()
        key = derive(self.root, b"varve object 1", self.id + data[16:48])
        content = (open_aes256gcm if encryption == 1 else open_unencrypted)(key, data[48:-16], aad)
        if codec == 1:
            out = ctypes.create_string_buffer(max(size, 1))
            n = _zstd.ZSTD_decompress(out, ctypes.c_size_t(size), content, ctypes.c_size_t(len(content)))
            content = out.raw[:n] if n <= size else b""
        if len(content) != size:
            raise ValueError(f"{name}: damaged")
        return content

    def names(self, pattern):
        return sorted(str(p.relative_to(self.folder)) for p in self.folder.glob(pattern) if p.is_file())
