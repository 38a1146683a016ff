#!/usr/bin/env python3
"""weather.py against a server of the standard library: each fault does what it says, and nothing else."""

import collections
import concurrent.futures
import hashlib
import http.client
import http.server
import json
import socket
import subprocess
import sys
import threading
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from weather import Fault, Weather

BIG = bytes(range(256)) * 4096  # 1 MiB


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    seen = collections.deque()  # (method, path, hash of the body)

    def log_message(self, *_):
        pass

    def read_body(self):
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            out = b""
            while size := int(self.rfile.readline(), 16):
                out += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return out
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do(self):
        if self.path == "/refuse-early":
            return self.reply(403, b"no", Connection="close")
        body = self.read_body()
        if len(body) < int(self.headers.get("Content-Length", 0)):
            self.close_connection = True
            return None
        Handler.seen.append((self.command, self.path, hashlib.sha256(body).hexdigest()))
        if self.path == "/chunked":
            return self.reply_chunked(BIG)
        return self.reply(200, BIG if self.path == "/big" else b"%d bytes" % len(body))

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = do

    def reply(self, status, body, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def reply_chunked(self, body):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for at in range(0, len(body), 100_000):
            piece = body[at:at + 100_000]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        pass  # broken connections are what these tests are about


class WeatherTest(unittest.TestCase):
    def setUp(self):
        self.server = Server(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        self.addCleanup(thread.join, 10)
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        Handler.seen.clear()

    def weather(self, **options):
        weather = Weather(self.server.server_address[1], **options)
        weather.__enter__()
        self.addCleanup(weather.__exit__)
        return weather

    def connect(self, weather, timeout=5):
        connection = http.client.HTTPConnection("127.0.0.1", weather.port, timeout=timeout)
        self.addCleanup(connection.close)
        return connection

    def ask(self, where, method="GET", path="/", body=None, **options):
        """(status, body, headers); where: a Weather for a connection of its own, or a connection."""
        connection = self.connect(where) if isinstance(where, Weather) else where
        connection.request(method, path, body=body, **options)
        reply = connection.getresponse()
        return reply.status, reply.read(), reply.headers

    def assertBreaks(self, weather, *args, error=(ConnectionError, http.client.RemoteDisconnected), **options):
        with self.assertRaises(error):
            self.ask(weather, *args, **options)

    # --- fair ------------------------------------------------------------------------------------------------------
    def test_fair_weather_changes_nothing(self):
        weather = self.weather()
        connection = self.connect(weather)
        for _ in range(3):
            self.assertEqual(self.ask(connection, "PUT", "/a", BIG)[:2], (200, b"1048576 bytes"))
            self.assertEqual(self.ask(connection, path="/big")[:2], (200, BIG))
            self.assertEqual(self.ask(connection, path="/chunked")[:2], (200, BIG))
            self.assertEqual(self.ask(connection, "HEAD", "/big")[:2], (200, b""))
            self.assertEqual(self.ask(connection, "POST", "/c", iter([b"abc", b"def"]), encode_chunked=True)[:2],
                             (200, b"6 bytes"))
        self.assertEqual(weather.counts, {"PUT": 3, "GET": 6, "HEAD": 3, "POST": 3})
        self.assertEqual(weather.requests[0], ("PUT", "/a"))
        self.assertFalse(weather.struck)

    def test_an_early_reply_arrives(self):
        self.assertEqual(self.ask(self.weather(), "PUT", "/refuse-early", BIG * 4)[:2], (403, b"no"))

    def test_many_at_a_time(self):
        weather = self.weather()
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            for reply in pool.map(lambda i: self.ask(weather, "PUT", f"/{i}", b"x" * i), range(64)):
                self.assertEqual(reply[0], 200)
        self.assertEqual(weather.counts["PUT"], 64)

    # --- whom it strikes -------------------------------------------------------------------------------------------
    def test_rules_choose_by_method_path_and_number(self):
        weather = self.weather()
        rule = weather.set(Fault.STATUS, method="PUT", path="^/packs/", nth=2, status=500)
        weather.set(Fault.STATUS, method="GET", times=1, status=429)
        asked = [("PUT", "/packs/a"), ("PUT", "/other"), ("GET", "/packs/a"), ("PUT", "/packs/b"), ("PUT", "/packs/c"),
                 ("GET", "/")]
        self.assertEqual([self.ask(weather, *a)[0] for a in asked], [200, 200, 429, 500, 200, 200])
        self.assertEqual((rule.matched, rule.hits), (3, 1))
        self.assertEqual(weather.struck[Fault.STATUS], 2)
        weather.clear()
        self.assertEqual(self.ask(weather)[0], 200)

    def test_chance_follows_the_seed(self):
        def struck(seed):
            with Weather(self.server.server_address[1], seed=seed) as weather:
                weather.set(Fault.STATUS, probability=0.3)
                connection = self.connect(weather)
                return [self.ask(connection)[0] for _ in range(40)]

        self.assertEqual(struck(7), struck(7))
        self.assertNotEqual(struck(7), struck(8))
        self.assertTrue(3 < struck(7).count(503) < 25)

    # --- broken connections ----------------------------------------------------------------------------------------
    def test_refused(self):
        weather = self.weather()
        idle = self.connect(weather)
        self.ask(idle)
        weather.set(Fault.REFUSED, nth=1, seconds=0.5)
        self.assertBreaks(weather)
        self.assertBreaks(idle)
        self.assertBreaks(weather, error=ConnectionRefusedError)
        time.sleep(0.6)
        self.assertEqual(self.ask(weather)[0], 200)

    def test_resets(self):
        for fault, reaches_server in ((Fault.RESET_BEFORE, 0), (Fault.RESET_DURING, 0), (Fault.REPLY_LOST, 1)):
            with self.subTest(fault.name):
                Handler.seen.clear()
                weather = self.weather()
                weather.set(fault, method="PUT")
                self.assertBreaks(weather, "PUT", "/x", BIG)
                self.assertEqual(len(Handler.seen), reaches_server)
                self.assertEqual(self.ask(weather)[0], 200)

    def test_reset_after_the_request(self):
        weather = self.weather()
        weather.set(Fault.RESET_AFTER, method="PUT")
        self.assertBreaks(weather, "PUT", "/x", BIG)
        end = time.monotonic() + 5
        while not Handler.seen and time.monotonic() < end:
            time.sleep(0.01)
        self.assertEqual(len(Handler.seen), 1)

    def test_truncated(self):
        for path in ("/big", "/chunked"):
            weather = self.weather()
            weather.set(Fault.TRUNCATE, at=1000)
            with self.assertRaises(http.client.IncompleteRead) as caught:
                self.ask(weather, path=path)
            self.assertEqual(len(caught.exception.partial), 1000)

    # --- wrong replies ---------------------------------------------------------------------------------------------
    def test_short_with_a_length_that_agrees(self):
        weather = self.weather()
        weather.set(Fault.SHORT, at=1000)
        connection = self.connect(weather)
        for path in ("/big", "/chunked", "/big"):
            self.assertEqual(self.ask(connection, path=path)[:2], (200, BIG[:1000]))

    def test_flipped(self):
        weather = self.weather()
        weather.set(Fault.FLIPPED, at=70_000)
        weather.set(Fault.FLIPPED_REQUEST, method="PUT")
        expected = bytearray(BIG)
        expected[70_000] ^= 1
        for path in ("/big", "/chunked"):
            self.assertEqual(self.ask(weather, path=path)[1], expected)
        weather.clear()
        weather.set(Fault.FLIPPED_REQUEST, at=70_000)
        self.ask(weather, "PUT", "/x", BIG)
        self.assertEqual(Handler.seen[-1], ("PUT", "/x", hashlib.sha256(expected).hexdigest()))

    def test_duplicate(self):
        weather = self.weather()
        weather.set(Fault.DUPLICATE, method="PUT")
        connection = self.connect(weather)
        self.assertEqual(self.ask(connection, "PUT", "/x", BIG)[:2], (200, b"1048576 bytes"))
        self.assertEqual([seen[:2] for seen in Handler.seen], [("PUT", "/x")] * 2)
        self.assertEqual(Handler.seen[0], Handler.seen[1])
        self.assertEqual(self.ask(connection)[0], 200)

    def test_replies_of_its_own(self):
        weather = self.weather()
        weather.set(Fault.STATUS, nth=1, status=503, retry_after=7, body="busy")
        weather.set(Fault.EXPIRED, nth=1)
        weather.set(Fault.CAPTIVE, nth=1)
        weather.set(Fault.STATUS, nth=1, status=500, carried_out=True)
        connection = self.connect(weather)
        status, body, headers = self.ask(connection, "PUT", "/x", BIG)
        self.assertEqual((status, body, headers["Retry-After"]), (503, b"busy", "7"))
        self.assertIn(b"ExpiredToken", self.ask(connection, "PUT", "/x", BIG)[1])
        status, body, headers = self.ask(connection)
        self.assertEqual((status, headers.get_content_type()), (200, "text/html"))
        self.assertFalse(Handler.seen)
        self.assertEqual(self.ask(connection, "PUT", "/x", BIG)[0], 500)
        self.assertEqual(len(Handler.seen), 1)
        self.assertEqual(self.ask(connection)[0], 200)

    def test_skewed(self):
        weather = self.weather()
        weather.set(Fault.SKEWED, seconds=-7200)
        _, _, headers = self.ask(weather)
        said = time.mktime(time.strptime(headers["Date"], "%a, %d %b %Y %H:%M:%S GMT")) - time.timezone
        self.assertAlmostEqual(time.time() - said, 7200, delta=30)
        self.assertEqual(len(headers.get_all("Date")), 1)

    # --- slow ------------------------------------------------------------------------------------------------------
    def timed(self, *args, **options):
        begin = time.monotonic()
        self.ask(*args, **options)
        return time.monotonic() - begin

    def test_stalls(self):
        weather = self.weather()
        weather.set(Fault.STALL, nth=1, seconds=0.4)
        weather.set(Fault.STALL, nth=1, seconds=0.4, at=100)
        connection = self.connect(weather)
        for _ in range(2):
            self.assertGreater(self.timed(connection, path="/big"), 0.4)
        self.assertLess(self.timed(connection), 0.4)

    def test_slow_and_narrow(self):
        weather = self.weather()
        weather.set(Fault.SLOW, nth=1, bytes_per_second=2_000_000)
        self.assertGreater(self.timed(weather, path="/big"), 0.45)
        weather.bits_per_second = 16_000_000
        self.assertGreater(self.timed(weather, "PUT", "/x", BIG), 0.45)
        self.assertGreater(self.timed(weather, path="/big"), 0.45)

    def test_a_round_trip_delays_and_does_not_slow(self):
        weather = self.weather(latency_ms=100)
        connection = self.connect(weather)
        self.assertGreater(self.timed(connection), 0.2)  # one for the connection
        for path in ("/", "/big"):
            took = self.timed(connection, path=path)
            self.assertGreater(took, 0.1)
            self.assertLess(took, 0.7)

    # --- bytes -----------------------------------------------------------------------------------------------------
    def test_raw(self):
        weather = self.weather(raw=True)
        self.assertEqual(self.ask(weather, path="/big")[1], BIG)
        self.assertEqual(weather.counts, {"CONNECT": 1})
        weather.set(Fault.RESET_DURING, nth=1, at=5000)
        weather.set(Fault.TRUNCATE, nth=1, at=5000)
        weather.set(Fault.STALL, nth=1, at=5000, seconds=0.4)
        weather.set(Fault.FLIPPED, nth=1, at=5000)
        weather.set(Fault.RESET_BEFORE, nth=1)
        self.assertBreaks(weather, path="/big")
        self.assertBreaks(weather, path="/big", error=http.client.IncompleteRead)
        self.assertGreater(self.timed(weather, path="/big"), 0.4)
        self.assertEqual(sum(a != b for a, b in zip(self.ask(weather, path="/big")[1], BIG)), 1)
        self.assertBreaks(weather)
        weather.latency_ms = 100
        self.assertGreater(self.timed(weather), 0.2)

    # --- by hand ---------------------------------------------------------------------------------------------------
    def test_as_a_program(self):
        ports = []
        for _ in range(2):
            with socket.socket() as sock:
                sock.bind(("127.0.0.1", 0))
                ports.append(sock.getsockname()[1])
        program = subprocess.Popen([sys.executable, str(Path(__file__).with_name("weather.py")), "--listen", str(ports[0]),
                                    "--to", f"127.0.0.1:{self.server.server_address[1]}", "--control", str(ports[1])],
                                   stdout=subprocess.PIPE)
        try:
            program.stdout.readline()

            def control(path, **asked):
                connection = http.client.HTTPConnection("127.0.0.1", ports[1], timeout=5)
                connection.request("POST", path, json.dumps(asked))
                return json.loads(connection.getresponse().read())

            control("/set", fault="STATUS", status=429, nth=1)
            self.assertIn("STALL", control("/set", fault="NONE")["faults"])
            through = http.client.HTTPConnection("127.0.0.1", ports[0], timeout=5)
            self.assertEqual([self.ask(through)[0] for _ in range(2)], [429, 200])
            through.close()
            self.assertEqual(control("/"), {"counts": {"GET": 2}, "struck": {"STATUS": 1}})
        finally:
            program.terminate()
            self.assertEqual(program.wait(10), 0)
            program.stdout.close()


if __name__ == "__main__":
    unittest.main(verbosity=2)
