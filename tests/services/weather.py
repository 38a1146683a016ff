#!/usr/bin/env python3
"""Bad weather between a client and a server: a proxy that breaks what passes through it, as asked.

In a test, beside the program under test:

    with Weather(server_port) as weather:                    # HTTP/1.1: S3, Azure, Google
        weather.set(Fault.REPLY_LOST, method="PUT", nth=3)   # the third PUT from now on
        weather.set(Fault.STATUS, probability=0.05, status=503, retry_after=1)
        weather.latency_ms = 40
        …  # the client goes to weather.port
        self.assertEqual(weather.struck[Fault.REPLY_LOST], 1)

    Weather(port, raw=True)                                  # bytes, whatever they mean: SFTP, TLS

By hand: weather.py --listen PORT --to HOST:PORT --control PORT, then
    curl -d '{"fault": "STALL", "seconds": 5, "method": "GET"}' localhost:CONTROL/set
    curl -d '{"latency_ms": 50, "bits_per_second": 1e8}' localhost:CONTROL/conditions
    curl localhost:CONTROL/            # what was counted
    curl -d '' localhost:CONTROL/clear

With a seed, and requests one after the other, it strikes the same requests again.
"""

import argparse
import asyncio
import collections
import enum
import json
import random
import re
import signal
import socket
import threading

from weather_wire import Bucket, Gone, Head, Outlet, Side
from weather_http import HttpExchanges
from weather_raw import pass_raw


class Fault(enum.Enum):
    """What can befall a request. In raw mode (those marked) a connection, after `at` bytes of the server's."""

    def __new__(cls, doc):
        member = object.__new__(cls)
        member._value_ = len(cls.__members__)
        member.__doc__ = doc
        return member

    REFUSED = "Every connection is reset, and new ones are refused for `seconds` (1). Raw too."
    RESET_BEFORE = "The connection is reset when the head of the request is read; the server hears nothing. Raw: at once."
    RESET_DURING = "The connection is reset after `at` bytes (half) of the request's body reached the server. Raw: after `at`."
    RESET_AFTER = "The connection is reset when the server has the whole request, before its reply."
    REPLY_LOST = "The server carries the request out; its reply is read, and the connection to the client reset instead."
    SLOW = "The bodies of request and reply pass at `bytes_per_second` (10000). Raw too."
    STALL = "Nothing passes for `seconds` (3600): before the reply, or after `at` bytes of its body. Raw: after `at`."
    TRUNCATE = "The reply ends, with its connection, after `at` bytes (half) of its body. Raw: after `at`."
    SHORT = "The reply has only `at` bytes (half) of its body, and a Content-Length that agrees."
    DUPLICATE = "The server gets the request twice. The client gets its reply to the second; with `reply=1`, to the first."
    STATUS = ("The reply is `status` (503), with `retry_after`, `body` and `headers` as given; the server hears nothing, "
              "unless `carried_out=True`.")
    EXPIRED = "The reply that `dialect` (s3, azure, gcs) has for credentials that have expired."
    SKEWED = "The Date of the reply is off by `seconds` (3600)."
    FLIPPED = "The bit 0x01 of byte `at` (middle) of the reply's body is flipped. Raw: of what the server says."
    FLIPPED_REQUEST = "The same on the way to the server: of the request's body."
    CAPTIVE = "A hotel's page instead of a reply: HTML with `status` (200); the server hears nothing."


class Rule:
    """One fault, and the requests that it befalls. `hits` tells how many so far."""

    def __init__(self, fault, method, path, nth, times, probability, settings):
        self.fault, self.settings = fault, settings
        self._method = re.compile(method) if method else None
        self._path = re.compile(path) if path else None
        self._nth = {nth} if isinstance(nth, int) else nth
        self._times, self._probability = times, probability
        self.matched = self.hits = 0

    def strikes(self, method, target, chance):
        if self._method and not self._method.fullmatch(method):
            return False
        if self._path and not self._path.search(target):
            return False
        self.matched += 1
        if self._times is not None and self.hits >= self._times:
            return False
        if self._nth is not None and self.matched not in self._nth:
            return False
        if self._probability < 1 and chance.random() >= self._probability:
            return False
        self.hits += 1
        return True

    def get(self, name, otherwise=None):
        value = self.settings.get(name)
        return otherwise if value is None else value


class Weather:
    """The proxy, in a thread of its own from `with` to the end of it. What it is told holds from the next request on.

    port: where it listens. counts: requests by method (raw: "CONNECT" for a connection). requests: the last ones, as
    (method, target). struck: how often each fault befell.
    """

    def __init__(self, to_port, to_host="127.0.0.1", *, raw=False, port=0, seed=1, latency_ms=0, bits_per_second=0):
        self._to, self._raw, self._asked_port = (to_host, to_port), raw, port
        self.latency_ms = latency_ms  # a round trip's, added; halves each way
        self._up, self._down = Bucket(), Bucket()
        self.bits_per_second = bits_per_second
        self._chance = random.Random(seed)
        self._lock = threading.Lock()
        self._rules = []
        self.counts, self.struck = collections.Counter(), collections.Counter()
        self.requests = collections.deque(maxlen=10000)
        self._listener = None
        self._connections = set()

    # --- what a test says ----------------------------------------------------------------------------------------
    def set(self, fault, *, method=None, path=None, nth=None, times=None, probability=1.0, **settings):
        """Adds a rule; the first that strikes a request decides. method and path: regular expressions (the whole method,
        a part of the target). nth: a number or several, counted from 1 among the requests that match; times: at most."""
        rule = Rule(fault, method, path, nth, times, probability, settings)
        with self._lock:
            self._rules.append(rule)
        return rule

    def clear(self):
        """Fair weather: no faults, no delay, no limit. The counters stay."""
        with self._lock:
            self._rules.clear()
        self.latency_ms = self.bits_per_second = 0

    @property
    def bits_per_second(self):
        """Of the whole proxy, each way; 0: as fast as it goes."""
        return int(self._up.rate * 8)

    @bits_per_second.setter
    def bits_per_second(self, rate):
        self._up.rate = self._down.rate = rate / 8

    def choose(self, method, target):
        """The rule that strikes this request, or None; counts it."""
        with self._lock:
            self.counts[method] += 1
            self.requests.append((method, target))
            for rule in self._rules:
                if rule.strikes(method, target, self._chance):
                    self.struck[rule.fault] += 1
                    return rule
        return None

    # --- its life ------------------------------------------------------------------------------------------------
    def __enter__(self):
        self._listener = self._listen(self._asked_port)
        self.port = self._listener.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="weather", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._main.cancel)
        self._thread.join(10)
        if self._thread.is_alive():
            raise RuntimeError("the weather does not end")

    def _run(self):
        asyncio.set_event_loop(self._loop)
        self._main = self._loop.create_task(self._live())
        try:
            self._loop.run_until_complete(self._main)
        except asyncio.CancelledError:
            pass
        finally:
            self._close_door()
            self._loop.run_until_complete(self._end_all())
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

    async def _live(self):
        self._open_door()
        await asyncio.Event().wait()

    @staticmethod
    def _listen(port):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(256)
        listener.setblocking(False)
        return listener

    def _open_door(self):
        if self._listener is None:
            self._listener = self._listen(self.port)
        self._loop.add_reader(self._listener, self._accept)

    def _close_door(self):
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
        self._listener = None

    def _accept(self):
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return
        task = self._loop.create_task(self._serve(sock))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _end_all(self, tasks=None):
        tasks = (asyncio.all_tasks() if tasks is None else tasks) - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def refuse(self, seconds):
        """Nobody listens for so long, and nobody is connected any more."""
        self._close_door()
        await self._end_all(self._connections)
        self._loop.call_later(seconds, self._open_door)

    # --- a connection --------------------------------------------------------------------------------------------
    async def reach_server(self):
        sock = socket.socket()
        sock.setblocking(False)
        try:
            await self._loop.sock_connect(sock, self._to)
        except BaseException:
            sock.close()
            raise
        return Side(sock)

    def delay(self):
        return self.latency_ms / 2000

    def to_server(self, side):
        return Outlet(side, self.delay, [self._up])

    def to_client(self, side):
        return Outlet(side, self.delay, [self._down])

    async def _serve(self, sock):
        client = Side(sock)
        try:
            await asyncio.sleep(self.delay() * 2)  # the round trip of a connection's beginning
            if self._raw:
                await pass_raw(self, client)
            else:
                await HttpExchanges(self, client).run()
        except (Gone, OSError, ValueError):
            client.close(reset=True)  # what is no HTTP, too
        except asyncio.CancelledError:
            client.close(reset=True)
            raise
        finally:
            client.close()


async def control(weather, sock):
    """One request to the control port."""
    side = Side(sock)
    try:
        head = Head(await side.until(b"\r\n\r\n"))
        asked = b""
        while len(asked) < (head.length or 0):
            asked += bytes(await side.some())
        asked = json.loads(asked or b"{}")
        if head.target == "/set":
            weather.set(Fault[asked.pop("fault")], **asked)
        elif head.target == "/conditions":
            for name in ("latency_ms", "bits_per_second"):
                if name in asked:
                    setattr(weather, name, asked[name])
        elif head.target == "/clear":
            weather.clear()
        status, answer = "200 OK", {"counts": weather.counts, "struck": {f.name: n for f, n in weather.struck.items()}}
    except (KeyError, TypeError, ValueError, re.error) as e:
        status, answer = "400 Bad Request", {"error": repr(e), "faults": {f.name: f.__doc__ for f in Fault}}
    body = json.dumps(answer, indent=2).encode() + b"\n"
    await side.send(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
    side.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--listen", type=int, required=True, metavar="PORT")
    parser.add_argument("--to", required=True, metavar="HOST:PORT")
    parser.add_argument("--control", type=int, required=True, metavar="PORT")
    parser.add_argument("--raw", action="store_true", help="bytes, not HTTP")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    host, port = options.to.rsplit(":", 1)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with Weather(int(port), host, raw=options.raw, port=options.listen, seed=options.seed) as weather:

        listener = Weather._listen(options.control)

        async def serve_control():
            with listener:
                while True:
                    sock, _ = await asyncio.get_running_loop().sock_accept(listener)
                    try:
                        await asyncio.wait_for(control(weather, sock), 10)
                    except (OSError, Gone, asyncio.TimeoutError):
                        sock.close()

        asyncio.run_coroutine_threadsafe(serve_control(), weather._loop)
        print(f"listening on 127.0.0.1:{weather.port}, control on 127.0.0.1:{options.control}", flush=True)
        stop.wait()


if __name__ == "__main__":
    main()
