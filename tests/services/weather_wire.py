"""The wire under weather.py: sockets of an event loop, HTTP/1.1 messages as they pass, delay and bandwidth."""

import asyncio
import collections
import socket
import struct
import time

PIECE = 256 << 10
MOST_HEAD = 256 << 10
MOST_QUEUED = 64 << 20  # on its way by the delay, per direction: the product of bandwidth and delay


class Gone(Exception):
    """The other side closed the connection where more was to come."""


class Side:
    """One end of a connection that passes through: a non-blocking socket with what was read too much."""

    def __init__(self, sock):
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self.loop = asyncio.get_running_loop()
        self.unread = b""
        self._buffer = memoryview(bytearray(PIECE))

    async def some(self, most=PIECE):
        """Up to `most` bytes, b"" at the end. Good until the next call."""
        if self.unread:
            out, self.unread = self.unread[:most], self.unread[most:]
            return out
        n = await self.loop.sock_recv_into(self.sock, self._buffer[:most])
        return self._buffer[:n]

    async def until(self, mark):
        """The bytes to `mark` and with it; b"" when the connection ends before the first of them."""
        at = 0
        while (found := self.unread.find(mark, max(0, at - len(mark)))) < 0:
            at = len(self.unread)
            if at > MOST_HEAD:
                raise Gone("too long a head")
            n = await self.loop.sock_recv_into(self.sock, self._buffer)
            if n == 0:
                if at == 0:
                    return b""
                raise Gone("the connection ended in the middle of a head")
            self.unread += self._buffer[:n]
        found += len(mark)
        out, self.unread = self.unread[:found], self.unread[found:]
        return out

    async def send(self, data):
        await self.loop.sock_sendall(self.sock, data)

    def has_ended(self):
        """Whether a connection that should be silent was closed (or says what nobody asked for)."""
        try:
            self.sock.recv(1, socket.MSG_PEEK)
            return True
        except BlockingIOError:
            return False
        except OSError:
            return True

    def end_of_sending(self):
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self, reset=False):
        if self.sock.fileno() < 0:
            return
        self.loop.remove_reader(self.sock.fileno())
        self.loop.remove_writer(self.sock.fileno())
        if reset:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


class Head:
    """The head of a request or a response. Lines that nobody changes pass as they came."""

    def __init__(self, raw):
        first, *self.lines = raw[:-4].split(b"\r\n")
        self.first = first.decode("latin-1")

    @property
    def method(self):
        return self.first.split(" ")[0]

    @property
    def target(self):
        return (self.first.split(" ") + [""])[1]

    @property
    def status(self):
        return int(self.target or 0)

    def get(self, name):
        for line in self.lines:
            key, _, value = line.partition(b":")
            if key.strip().lower() == name.lower().encode():
                return value.strip().decode("latin-1")
        return None

    def set(self, name, value):
        """None takes it out."""
        self.lines = [line for line in self.lines if line.partition(b":")[0].strip().lower() != name.lower().encode()]
        if value is not None:
            self.lines.append(f"{name}: {value}".encode("latin-1"))

    @property
    def chunked(self):
        return "chunked" in (self.get("transfer-encoding") or "").lower()

    @property
    def length(self):
        """What Content-Length says; None when it says nothing."""
        value = self.get("content-length")
        return None if value is None or self.chunked else int(value)

    @property
    def closes(self):
        said = (self.get("connection") or "").lower()
        return "close" in said or ("HTTP/1.0" in self.first and "keep-alive" not in said)

    def __bytes__(self):
        return b"\r\n".join([self.first.encode("latin-1"), *self.lines, b"", b""])


def reply_has_body(method, reply):
    return method != "HEAD" and reply.status >= 200 and reply.status not in (204, 304)


async def body_of(side, head, to_end=False):
    """The bytes of a body without their framing, piece by piece. to_end: a reply without a length ends with its connection."""
    if head.chunked:
        while True:
            size = int((await side.until(b"\r\n") or b"x").split(b";")[0], 16)
            if size == 0:
                break
            async for piece in exactly(side, size):
                yield piece
            await side.until(b"\r\n")
        while await side.until(b"\r\n") not in (b"\r\n", b""):
            pass  # trailers
    elif head.length is not None:
        async for piece in exactly(side, head.length):
            yield piece
    elif to_end:
        while piece := await side.some():
            yield piece


async def exactly(side, size):
    while size > 0:
        piece = await side.some(min(size, PIECE))
        if not piece:
            raise Gone("the connection ended in the middle of a body")
        size -= len(piece)
        yield piece


class Bucket:
    """Bytes a second, shared by all who take from it. 0: as many as there are."""

    def __init__(self, rate=0):
        self.rate = rate
        self._free_at = 0.0

    def piece(self):
        """How much to take at a time, so that it flows."""
        return PIECE if not self.rate else int(min(PIECE, max(256, self.rate / 50)))

    async def take(self, size):
        if not self.rate:
            return
        now = time.monotonic()
        self._free_at = max(self._free_at, now - 0.01) + size / self.rate
        if self._free_at > now:
            await asyncio.sleep(self._free_at - now)


class Outlet:
    """Sends to a side, no faster than the buckets say, and everything `delay()` seconds later: what follows does not wait."""

    def __init__(self, side, delay, buckets):
        self.side, self.delay, self.buckets = side, delay, buckets
        self.extra = None  # a bucket for one exchange
        self._queue = collections.deque()
        self._queued = 0
        self._moved = asyncio.Event()
        self._sender = None
        self._failure = None

    async def write(self, data):
        buckets = [b for b in (*self.buckets, self.extra) if b is not None and b.rate]
        if not buckets and not self.delay() and not self._queue:
            await self.side.send(data)
            return
        data = memoryview(bytes(data))
        step = min([PIECE, *(b.piece() for b in buckets)])
        for at in range(0, len(data), step):
            piece = data[at:at + step]
            for bucket in buckets:
                await bucket.take(len(piece))
            await self._put(piece)

    async def _put(self, piece):
        if not self.delay() and not self._queue:
            await self.side.send(piece)
            return
        while self._queued > MOST_QUEUED and self._failure is None:
            self._moved.clear()
            await self._moved.wait()
        if self._failure is not None:
            raise Gone(str(self._failure))
        self._queue.append((time.monotonic() + self.delay(), piece))
        self._queued += len(piece)
        if self._sender is None:
            self._sender = asyncio.ensure_future(self._send_queue())

    async def _send_queue(self):
        try:
            while self._queue:
                due, piece = self._queue[0]
                if (wait := due - time.monotonic()) > 0:
                    await asyncio.sleep(wait)
                await self.side.send(piece)
                self._queue.popleft()
                self._queued -= len(piece)
                self._moved.set()
        except OSError as e:
            self._failure = e
            self._queue.clear()
        finally:
            self._sender = None
            self._moved.set()

    async def flush(self):
        while self._sender is not None:
            self._moved.clear()
            await self._moved.wait()
        if self._failure is not None:
            raise Gone(str(self._failure))

    def drop(self):
        if self._sender is not None:
            self._sender.cancel()
