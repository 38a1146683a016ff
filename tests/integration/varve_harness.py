"""What the integration tests share: the program under test, a folder that goes away, and the database's own witness.

A test file is a python3 unittest; ctest gives it the program in $VARVE:

    from varve_harness import VarveTest, main

    class MyTest(VarveTest):
        def test_it(self):
            self.sql("app.db", "CREATE TABLE t(a); INSERT INTO t VALUES (1);")
            self.init()
            backup = self.varve("backup", "app.db", "--json").json["backup"]
            self.varve("restore", "--backup", backup["id"], "--target", "back.db")
            self.assertSameDatabase("app.db", "back.db")

    if __name__ == "__main__":
        main()

Every wait has an end. Nothing is shared between tests, so that they may run side by side.
"""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

from varve_place import new_place

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "services"))  # from weather import Fault, Weather

TIMEOUT = float(os.environ.get("VARVE_TEST_TIMEOUT", "120"))
PASSPHRASE = "correct horse battery staple"


def varve_binary():
    """$VARVE, or a build of this source tree."""
    given = os.environ.get("VARVE")
    if given:
        return str(Path(given).resolve())
    root = Path(__file__).resolve().parents[2]
    for place in ("build-dev/varve", "build/varve"):
        if (root / place).exists():
            return str(root / place)
    sys.exit("no varve to test: set VARVE=/path/to/varve")


class Outcome:
    """How a run of varve ended."""

    def __init__(self, arguments, status, out, err, seconds):
        self.arguments, self.status, self.out, self.err, self.seconds = arguments, status, out, err, seconds

    @property
    def json(self):
        """The one JSON object on standard output."""
        try:
            return json.loads(self.out)
        except ValueError as e:
            raise AssertionError(f"not one JSON object ({e}):\n{self}") from e

    def __str__(self):
        line = "varve " + " ".join(self.arguments)
        return f"$ {line}\nexit {self.status}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


class Running:
    """A varve that runs beside the test (log follow). Ended at the test's end at the latest."""

    def __init__(self, arguments, process, out, err):
        self.arguments, self.process, self._out, self._err = arguments, process, out, err

    @property
    def out(self):
        return Path(self._out).read_text(errors="replace")

    @property
    def err(self):
        return Path(self._err).read_text(errors="replace")

    def wait(self, timeout=TIMEOUT):
        """The exit status (negative: ended by that signal)."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
            raise AssertionError(f"still running after {timeout} s:\n{self}")

    def stop(self, signal_number=signal.SIGTERM, timeout=TIMEOUT):
        """Asks it to stop, waits, and gives the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal_number)
        return self.wait(timeout)

    def kill(self):
        """As a power cut would: no chance to tidy up."""
        self.process.kill()
        self.process.wait(10)

    def __str__(self):
        line = "varve " + " ".join(self.arguments)
        return f"$ {line}\nexit {self.process.poll()}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


def dump(path):
    """The database as SQLite itself tells it: the oracle of every restore. Fails on a damaged one."""
    run = subprocess.run(["sqlite3", "-readonly", str(path), "PRAGMA integrity_check;", ".dump"],
                         capture_output=True, timeout=TIMEOUT, check=False)
    text = run.stdout.decode("utf-8", "surrogateescape")
    if run.returncode != 0 or not text.startswith("ok\n"):
        raise AssertionError(f"sqlite3 does not read {path}: {text[:300]} {run.stderr.decode(errors='replace')[:300]}")
    return text


class VarveTest(unittest.TestCase):
    maxDiff = 4000

    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="varve-test-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.repo = self.folder / "repository"
        self.place = new_place(self.repo)
        (self.folder / "home").mkdir()
        (self.folder / "tmp").mkdir()
        self.env = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "HOME": str(self.folder / "home"),
            "TMPDIR": str(self.folder / "tmp"),
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
            "VARVE_REPO": self.place.url,
            "VARVE_PASSPHRASE": PASSPHRASE,
        }
        self.env.update(self.place.env)
        # A sanitizer's settings reach the program under test.
        self.env.update({k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS") or k == "LLVM_PROFILE_FILE"})
        self.binary = varve_binary()

    # --- the program -------------------------------------------------------------------------------------------
    def run_varve(self, *arguments, env=None, input=None, timeout=TIMEOUT, cwd=None, binary=None):
        """Runs varve to its end, whatever that is. `env` adds to the environment; None as a value takes out."""
        arguments = [str(a) for a in arguments]
        start = time.monotonic()
        try:
            run = subprocess.run([binary or self.binary, *arguments], env=self._environment(env), cwd=cwd or self.folder,
                                 input=input.encode() if isinstance(input, str) else (input or b""),
                                 capture_output=True, timeout=timeout, check=False)
        except subprocess.TimeoutExpired as e:
            raise AssertionError(f"varve {' '.join(arguments)}: no end after {timeout} s\n"
                                 f"{(e.stdout or b'').decode(errors='replace')}\n"
                                 f"{(e.stderr or b'').decode(errors='replace')}") from e
        return Outcome(arguments, run.returncode, run.stdout.decode(errors="surrogateescape"),
                       run.stderr.decode(errors="surrogateescape"), time.monotonic() - start)

    def varve(self, *arguments, status=0, **options):
        """Runs varve and expects this exit status (a number, or several)."""
        outcome = self.run_varve(*arguments, **options)
        expected = status if isinstance(status, (tuple, list, set)) else (status,)
        self.assertIn(outcome.status, expected, msg=f"\n{outcome}")
        return outcome

    def start(self, *arguments, env=None, cwd=None):
        """Starts varve beside the test: a Running."""
        arguments = [str(a) for a in arguments]
        out = tempfile.NamedTemporaryFile(dir=self.folder / "tmp", prefix="out-", delete=False)
        err = tempfile.NamedTemporaryFile(dir=self.folder / "tmp", prefix="err-", delete=False)
        with out, err:
            process = subprocess.Popen([self.binary, *arguments], env=self._environment(env), cwd=cwd or self.folder,
                                       stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        running = Running(arguments, process, out.name, err.name)

        def end():
            if process.poll() is None:
                process.kill()
                process.wait(10)

        self.addCleanup(end)
        return running

    def init(self, *arguments, **options):
        """A repository at self.place, for the passphrase in the environment."""
        return self.varve("init", *arguments, **options)

    def eventually(self, condition, timeout=30, what="it", every=0.05):
        """Waits until condition() gives something true, and gives that."""
        end = time.monotonic() + timeout
        while True:
            value = condition()
            if value:
                return value
            if time.monotonic() > end:
                self.fail(f"{what} did not happen within {timeout} s")
            time.sleep(every)

    def _environment(self, extra):
        env = dict(self.env)
        for key, value in (extra or {}).items():
            if value is None:
                env.pop(key, None)
            else:
                env[key] = str(value)
        return env

    # --- the database ------------------------------------------------------------------------------------------
    def path(self, name):
        """Relative names are in the test's folder."""
        return self.folder / name

    def sql(self, name, statements, wal=True):
        """Runs statements on a database of the test's folder, made when it is not there. Of a single one: its rows."""
        new = not self.path(name).exists()
        connection = sqlite3.connect(self.path(name), timeout=30, isolation_level=None)
        try:
            if new and wal:
                connection.execute("PRAGMA journal_mode=WAL").fetchall()
            if ";" in statements.strip()[:-1]:
                connection.executescript(statements)
                return []
            return connection.execute(statements).fetchall()
        finally:
            connection.close()

    def dump(self, name):
        return dump(self.path(name))

    def assertSameDatabase(self, expected, actual):
        self.assertEqual(dump(self.path(expected)), dump(self.path(actual)))

    # --- what a failure looks like -----------------------------------------------------------------------------
    def assertFails(self, outcome, status, message, hint=None):
        """The exit status, `error: …message…`, and `hint: …hint…` on standard error; nothing on standard output."""
        self.assertEqual(outcome.status, status, msg=f"\n{outcome}")
        self.assertRegex(outcome.err, r"(?m)^error: ", msg=f"\n{outcome}")
        self.assertIn(message, outcome.err, msg=f"\n{outcome}")
        if hint is not None:
            self.assertRegex(outcome.err, r"(?m)^hint: ", msg=f"\n{outcome}")
            self.assertIn(hint, outcome.err, msg=f"\n{outcome}")


def main():
    unittest.main(verbosity=2)
