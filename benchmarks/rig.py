"""The places where things are measured: a real sshd on loopback, and one at the end of a long cable."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import cable
from benchmarks.workplace import ending, home_of_sites

CIPHER = "aes128-gcm@openssh.com"
RTT = 0.080
"""Seconds there and back over the long cable."""


class Skip(Exception):
    """This cannot be measured on this machine; says why."""


@dataclass(frozen=True)
class Site:
    """A machine to reach by SSH and how the peers reach it.

    Attributes:
        work: The `workplace`.
        host: Where its sshd listens.
        port: On which port.
        key: Private key that may log in.
        host_key: The machine's public key.
        ssh_config: Settings for plain ssh with two aliases: `PLAIN` and, over a shared master, `SHARED`.
        namespace: Network namespace that clients must run in; empty for this process's own.
        cable_pid: The process to send `cable.CUT` and `cable.MEND` to; 0 without a cable.
    """

    work: Path
    host: str
    port: int
    key: Path
    host_key: str
    ssh_config: Path
    namespace: str = ""
    cable_pid: int = 0

    PLAIN = "bench-plain"
    SHARED = "bench-shared"

    def dump(self) -> str:
        """Return this site as text for `load`."""
        return json.dumps({k: str(v) if isinstance(v, Path) else v for k, v in asdict(self).items()})

    @classmethod
    def load(cls, text: str) -> Site:
        """Return the site that `dump` wrote."""
        fields = json.loads(text)
        for name in ("work", "key", "ssh_config"):
            fields[name] = Path(fields[name])
        return cls(**fields)

    @property
    def enter(self) -> list[str]:
        """What to put in front of a command for it to see the machine."""
        return ["ip", "netns", "exec", self.namespace] if self.namespace else []

    @property
    def destination(self) -> str:
        """The machine as ``user@host:port``."""
        return f"{getpass.getuser()}@{self.host}:{self.port}"


def _write_sshd_config(site: Site) -> Path:
    config = site.work / f"sshd_config_{site.host}"
    config.write_text(f"""\
ListenAddress {site.host}
Port {site.port}
HostKey {site.work}/host_key
AuthorizedKeysFile {site.key}.pub
PasswordAuthentication no
KbdInteractiveAuthentication no
StrictModes no
UsePAM no
PidFile none
MaxStartups 100
MaxSessions 100
SetEnv HOME={home_of_sites(site.work)}
Subsystem sftp internal-sftp
""")
    return config


def _write_ssh_config(site: Site) -> None:
    known = site.work / f"known_hosts_{site.host}"
    where = site.host if site.port == 22 else f"[{site.host}]:{site.port}"
    known.write_text(f"{where} {site.host_key}\n")
    # the second alias is set up as sshpyk's README recommends
    site.ssh_config.write_text(f"""\
Host bench-*
  HostName {site.host}
  Port {site.port}
  User {getpass.getuser()}
  IdentityFile {site.key}
  IdentitiesOnly yes
  UserKnownHostsFile {known}
  StrictHostKeyChecking yes
  BatchMode yes
  LogLevel ERROR
  Ciphers {CIPHER}
  ServerAliveInterval 5
  ServerAliveCountMax 120000
  TCPKeepAlive yes
  ConnectionAttempts 1
  ConnectTimeout 5

Host {site.SHARED}
  ControlMaster auto
  ControlPath {site.work}/cm_%C
  ControlPersist 10m
""")


def _wait_for_ssh(site: Site, limit: float = 20) -> None:
    end = time.monotonic() + limit
    argv = [*site.enter, "ssh", "-F", str(site.ssh_config), site.PLAIN, "true"]
    while True:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=limit)
        if done.returncode == 0:
            return
        if time.monotonic() > end:
            raise RuntimeError(f"sshd does not answer: {done.stderr.strip()}")
        time.sleep(0.05)


@contextlib.contextmanager
def _sshd(site: Site, server: str = "") -> Iterator[None]:
    program = shutil.which("sshd", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))
    if not program:
        raise Skip("there is no sshd here")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd, when root, insists on it
    _write_ssh_config(site)
    config = _write_sshd_config(site)
    enter = ["ip", "netns", "exec", server] if server else []
    with ending([*enter, program, "-D", "-f", str(config), "-E", str(site.work / "sshd.log")]):
        _wait_for_ssh(site)
        try:
            yield
        finally:
            subprocess.run(["ssh", "-F", site.ssh_config, "-O", "exit", site.SHARED], capture_output=True)


def _site(work: Path, host: str, port: int, namespace: str = "", cable_pid: int = 0) -> Site:
    host_key = (work / "host_key.pub").read_text().strip()
    ssh_config = work / f"ssh_config_{host}"
    return Site(work, host, port, work / "key", host_key, ssh_config, namespace, cable_pid)


@contextlib.contextmanager
def near(work: Path) -> Iterator[Site]:
    """Give a machine on loopback.

    Args:
        work: A `workplace`.
    """
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    site = _site(work, "127.0.0.1", port)
    with _sshd(site):
        yield site


@contextlib.contextmanager
def far(work: Path, mtu: int) -> Iterator[Site]:
    """Give a machine `RTT` seconds away, in a network namespace of its own.

    Args:
        work: A `workplace`.
        mtu: Bytes that a packet on the way may have.

    Raises:
        Skip: There are no namespaces to be had here.
    """
    if os.geteuid() != 0:
        raise Skip("the 80 ms link needs root")
    if not os.access("/dev/net/tun", os.W_OK):
        raise Skip("the 80 ms link needs /dev/net/tun")
    if not shutil.which("ip"):
        raise Skip("the 80 ms link needs the command ip")
    name = f"b{os.getpid()}"
    argv = [sys.executable, cable.__file__, name, str(RTT / 2 * 1e3), str(mtu)]
    process = subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdin and process.stdout
    try:
        if process.stdout.readline() != "ready\n":
            raise Skip("the 80 ms link could not be made: see the message above")
        client, server = cable.namespaces(name)
        site = _site(work, cable.SERVER_IP, 22, client, process.pid)
        with _sshd(site, server):
            yield site
    finally:
        process.stdin.close()
        process.wait(20)
