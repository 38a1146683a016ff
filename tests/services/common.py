"""What the services of the tests share."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent


class Failed(Exception):
    """A service did not start; the text says what a person needs to know."""


def cache_folder():
    """Where what is fetched for the services is kept from run to run."""
    folder = Path(os.environ.get("VARVE_SERVICES") or Path.home() / ".cache" / "varve-services")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for_port(port, seconds=30, process=None, log=None):
    """Until someone listens there; an end of `process` (a Popen) before that is a failure."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if process is not None and process.poll() is not None:
            raise Failed(f"{process.args[0]} ended with {process.returncode}{_tail(log)}")
        with socket.socket() as s:
            s.settimeout(1)
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise Failed(f"nothing listens on 127.0.0.1:{port} after {seconds} s{_tail(log)}")


def run(*command, seconds=120, env=None):
    """Runs a helper to its end; what it prints passes through."""
    try:
        done = subprocess.run([str(c) for c in command], timeout=seconds, env={**os.environ, **(env or {})},
                              stdin=subprocess.DEVNULL, stdout=sys.stderr)
    except subprocess.TimeoutExpired:
        raise Failed(f"{command[0]} took longer than {seconds} s") from None
    if done.returncode != 0:
        raise Failed(f"{command[0]} ended with {done.returncode}")


def end(process, seconds=5):
    """Ends a Popen: asked first, then killed."""
    if process is None or process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(seconds)


def _tail(log):
    if log is None or not Path(log).exists():
        return ""
    return ":\n" + "\n".join(Path(log).read_text(errors="replace").splitlines()[-20:])
