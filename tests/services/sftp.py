"""A private OpenSSH server that gives out SFTP only: its own host keys, its own user key, nothing of the machine's.

  VARVE_TEST_SFTP         the address of an empty folder there, with the settings to reach it
  VARVE_TEST_SFTP_FOLDER  sshd_config, host keys and the user's key, for tests that start further servers from them
"""

import getpass
import os
import shutil
import subprocess
from pathlib import Path

import common

CONFIG = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_ed25519
HostKey {folder}/host_ecdsa
PidFile none
AuthorizedKeysFile {folder}/authorized_keys
StrictModes no
UsePAM no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
AllowTcpForwarding no
Subsystem sftp internal-sftp
ForceCommand internal-sftp
"""

_server = None


def start(folder):
    global _server
    sshd = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:" + os.environ.get("PATH", ""))
    if sshd is None:
        raise common.Failed("there is no sshd: install openssh-server")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where it locks its helpers in
    for name, kind in (("host_ed25519", "ed25519"), ("host_ecdsa", "ecdsa"), ("user", "ed25519")):
        common.run("ssh-keygen", "-q", "-t", kind, "-N", "", "-C", name, "-f", folder / name)
    shutil.copy(folder / "user.pub", folder / "authorized_keys")
    port = common.free_port()
    (folder / "sshd_config").write_text(CONFIG.format(port=port, folder=folder))
    with open(folder / "known_hosts", "w") as known:
        for name in ("host_ed25519", "host_ecdsa"):
            kind, key = (folder / f"{name}.pub").read_text().split()[:2]
            known.write(f"[127.0.0.1]:{port} {kind} {key}\n")
    data = folder / "data"
    data.mkdir()
    log = folder / "sshd.log"
    _server = subprocess.Popen([sshd, "-D", "-f", folder / "sshd_config", "-E", log], stdin=subprocess.DEVNULL)
    common.wait_for_port(port, process=_server, log=log)
    return {
        "VARVE_TEST_SFTP": f"sftp://{getpass.getuser()}@127.0.0.1:{port}{data}?identity_file={folder}/user"
                           f"&known_hosts={folder}/known_hosts&agent=false",
        "VARVE_TEST_SFTP_FOLDER": str(folder),
    }


def stop():
    global _server
    common.end(_server)
    _server = None
