"""Where a test's repository is: a folder, or below an address of another kind of store.

$VARVE_TEST_ON names the variable that holds the address (VARVE_TEST_S3, as tests/services/with.py sets it); without
it the repository is a folder. Tests that look into the repository or plant damage in it do so through this.
"""

import os
import secrets
import shutil
import subprocess
import sys
from pathlib import Path

# What a store's driver finds its credentials by.
CREDENTIALS = ("AWS_", "AZURE_", "GOOGLE_", "CLOUDSDK_", "SSH_", "SSL_CERT_")


class FolderPlace:
    """A repository in a folder."""

    is_folder = True

    def __init__(self, folder):
        self.folder = Path(folder)
        self.url = str(folder)
        self.env = {}

    def names(self):
        """Every object, ascending."""
        return sorted(str(p.relative_to(self.folder)) for p in self.folder.rglob("*")
                      if p.is_file() and not p.name.startswith("."))

    def read(self, name):
        return (self.folder / name).read_bytes()

    def write(self, name, content):
        """Whether it is there or not."""
        path = self.folder / name
        os.chmod(path.parent, 0o700)
        if path.exists():
            path.unlink()
        path.write_bytes(content)

    def remove(self, name):
        (self.folder / name).unlink()

    def save(self, to):
        """A copy of all there is, in a new folder."""
        shutil.copytree(self.folder, to)

    def load(self, saved):
        """Just what save() found."""
        shutil.rmtree(self.folder)
        shutil.copytree(saved, self.folder)


class StorePlace:
    """A repository in a bucket or on a server, seen through the store's own driver (tests/tools/store_tool)."""

    is_folder = False

    def __init__(self, address, prefix=None):
        self.prefix = prefix or f"t-{secrets.token_hex(6)}"
        head, question, settings = address.partition("?")
        self.url = f"{head.rstrip('/')}/{self.prefix}{question}{settings}"
        self.env = {k: v for k, v in os.environ.items() if k.startswith(CREDENTIALS)}
        self.tool = os.environ.get("VARVE_STORE_TOOL") or sys.exit("set VARVE_STORE_TOOL=/path/to/store_tool")

    def run(self, *arguments, input=b""):
        done = subprocess.run([self.tool, self.url, *map(str, arguments)], env={**os.environ, **self.env}, input=input,
                              capture_output=True, timeout=300, check=False)
        if done.returncode != 0:
            raise AssertionError(f"store_tool {' '.join(map(str, arguments))}: {done.stderr.decode(errors='replace')}")
        return done.stdout

    def names(self):
        return self.run("list").decode().split()

    def read(self, name):
        return self.run("get", name)

    def write(self, name, content):
        self.run("put", name, input=content)

    def remove(self, name):
        self.run("remove", name)

    def save(self, to):
        Path(to).mkdir()
        self.run("download", to)

    def load(self, saved):
        self.run("upload", saved)


def new_place(folder):
    """The place of a new test; `folder` is where it would be as a folder."""
    variable = os.environ.get("VARVE_TEST_ON")
    if not variable:
        return FolderPlace(folder)
    address = os.environ.get(variable)
    if not address:
        sys.exit(f"{variable} is not set: run this below tests/services/with.py")
    return StorePlace(address)
