"""What a program used: wall time, CPU and resident memory, with everything that it started, what went on behind it too."""

import ctypes
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
INTERVAL = 0.05  # seconds between two looks at the memory


def adopt_orphans():
    """From now on what a program leaves running is our child when it ends: so we can wait for it and know what it used."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def children():
    """{process: its children}, of the whole machine."""
    out = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            parent = int(Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        out.setdefault(parent, []).append(int(entry))
    return out


def resident(pid):
    """Bytes; what is shared is shared out."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def started_by(roots):
    tree, out, todo = children(), [], list(roots)
    while todo:
        pid = todo.pop()
        out.append(pid)
        todo += tree.get(pid, [])
    return out


class Meter:
    """Of all that becomes our child while it runs, and their children. Of a tree: the highest sum that was seen."""

    def __enter__(self):
        self._before, self._times, self._begin = self._ours(), os.times(), time.monotonic()
        self.rss, self.wall, self._stop = 0, None, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _ours(self):
        return set(children().get(os.getpid(), []))

    def _watch(self):
        while not self._stop.wait(INTERVAL):
            self.rss = max(self.rss, sum(resident(p) for p in started_by(self._ours() - self._before)))

    def done(self):
        """The time ends here; what still runs behind is waited for at the end, for its CPU only."""
        self.wall = time.monotonic() - self._begin

    def __exit__(self, *failed):
        if self.wall is None:
            self.done()
        self._stop.set()
        self._thread.join()
        if failed[0] is None:
            for pid in self._ours() - self._before:
                os.waitpid(pid, 0)
        now = os.times()
        self.cpu = now.children_user + now.children_system - self._times.children_user - self._times.children_system

    def use(self):
        return {"wall": self.wall, "cpu": self.cpu, "rss": self.rss}


def run(*argv, env=None, cwd=None, stdin=None, stdout=None):
    """Runs a program to its end; ends the benchmark when it fails."""
    with tempfile.TemporaryFile() as err, Meter() as meter:
        process = subprocess.Popen([str(a) for a in argv], env={**os.environ, **(env or {})}, cwd=cwd, stdin=stdin,
                                   stdout=stdout or subprocess.DEVNULL, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        meter.done()
        if process.returncode != 0:
            err.seek(0)
            sys.exit(f"{' '.join(map(str, argv))} failed:\n{err.read().decode(errors='replace')[-4000:]}")
    use = meter.use()
    use["rss"] = max(use["rss"], usage.ru_maxrss * 1024)
    return use


def together(*uses):
    return {"wall": sum(u["wall"] for u in uses), "cpu": sum(u["cpu"] for u in uses), "rss": max(u["rss"] for u in uses)}


def stored(folder):
    """Bytes of all files; what hard links share counts once."""
    sizes = {}
    for path in Path(folder).rglob("*"):
        if path.is_file() and not path.is_symlink():
            status = path.stat()
            sizes[status.st_dev, status.st_ino] = status.st_size
    return sum(sizes.values())
