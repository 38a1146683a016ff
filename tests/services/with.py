#!/usr/bin/env python3
"""Runs a command while real servers run beside it.

  tests/services/with.py NAME… -- COMMAND…

NAME is a module beside this file (s3, azure, gcs, sftp) with two functions:

  start(folder) -> {variable: text}   starts the service, its data below `folder` (an empty pathlib.Path), listening on
                                      free ports of 127.0.0.1 only; returns what the command finds in its environment,
                                      such as VARVE_TEST_S3. Raises common.Failed when it cannot.
  stop()                              ends what start() started, also after a start() that failed half-way

The services start in the order given and are stopped in any case; the status is the command's. Nothing is skipped: a
service that does not start is a failure. VARVE_KEEP=1 keeps the folders, to look at the logs.
"""

import importlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
import common  # noqa: E402


class Asked(Exception):
    """Asked to end, by a signal."""


def on_signal(number, _frame):
    raise Asked(number)


def run_with(names, command, base):
    started = []
    child = None
    try:
        env = dict(os.environ)
        for name in names:
            module = importlib.import_module(name)
            folder = base / name
            folder.mkdir()
            started.append(module)
            env.update(module.start(folder))
        child = subprocess.Popen(command, env=env)
        return child.wait()
    except Asked as asked:
        return 128 + asked.args[0]
    except common.Failed as failed:
        print(f"with.py: {started[-1].__name__} did not start: {failed}", file=sys.stderr)
        return 1
    except FileNotFoundError as absent:
        print(f"with.py: {absent}", file=sys.stderr)
        return 127
    finally:
        # A second signal must not keep the servers from being ended.
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        common.end(child)
        for module in reversed(started):
            try:
                module.stop()
            except Exception as error:  # the others are stopped all the same
                print(f"with.py: {module.__name__} did not stop: {error}", file=sys.stderr)


def main(arguments):
    if "--" not in arguments[1:-1]:
        print(__doc__, file=sys.stderr)
        return 2
    cut = arguments.index("--")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, on_signal)
    base = Path(tempfile.mkdtemp(prefix="varve-with-"))
    base.chmod(0o755)  # servers may run as users of their own
    try:
        return run_with(arguments[:cut], arguments[cut + 1:], base)
    finally:
        if os.environ.get("VARVE_KEEP"):
            print(f"with.py: kept {base}", file=sys.stderr)
        else:
            shutil.rmtree(base, ignore_errors=True)


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.exit(status if status >= 0 else 128 - status)
