"""A real OpenSSH server on loopback that a test may cut, freeze, kill and start again."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from jupyter_gpu_remote.model import Address

from .conftest import need, wait_for


def make_key(path: Path) -> Path:
    """Create an ed25519 key pair at `path` and ``path.pub``."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", path], check=True)
    return path


class Sshd:
    """An sshd of the current user with its own host key, login key, port and log.

    Args:
        folder: Where its files go; must exist.
        options: Lines of ``sshd_config`` beyond the defaults, such as ``{"MaxSessions": "1"}``.
    """

    def __init__(self, folder: Path, options: Mapping[str, str] | None = None) -> None:
        program = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
        need(program and shutil.which("ssh-keygen"), "an OpenSSH server (openssh-server)")
        self._program = str(program)
        self._folder = folder
        self._options = dict(options or {})
        self._process: subprocess.Popen[bytes] | None = None
        self.key_file = make_key(folder / "login_key")
        self.host_key_file = make_key(folder / "host_key")
        self.port = 0
        self.home = folder / "home"
        self.home.mkdir()
        authorized = folder / "authorized_keys"
        authorized.write_bytes(self.key_file.with_suffix(".pub").read_bytes())
        authorized.chmod(0o600)
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)

    @property
    def host_key(self) -> str:
        """The public host key, as it is pinned."""
        return " ".join(self.host_key_file.with_suffix(".pub").read_text().split()[:2])

    @property
    def address(self) -> Address:
        """The way in, with the login key and the pinned host key."""
        return Address("127.0.0.1", self.port, getpass.getuser(), self.key_file, self.host_key)

    @property
    def log(self) -> str:
        """Everything the server has said."""
        return (self._folder / "log").read_text(errors="replace")

    def start(self) -> Sshd:
        """Start the server, on the port it had before if any, and wait until it answers."""
        if not self.port:
            with socket.create_server(("127.0.0.1", 0)) as free:
                self.port = free.getsockname()[1]
        options = {
            "ListenAddress": "127.0.0.1",
            "Port": str(self.port),
            "HostKey": str(self.host_key_file),
            "AuthorizedKeysFile": str(self._folder / "authorized_keys"),
            "PidFile": "none",
            "StrictModes": "no",
            "PasswordAuthentication": "no",
            "KbdInteractiveAuthentication": "no",
            "UsePAM": "no",
            "PermitRootLogin": "prohibit-password",
            "MaxStartups": "100",
            "LogLevel": "VERBOSE",
            # the login shell's own files are not part of any test
            "SetEnv": f"HOME={self.home}",
            "Subsystem": "sftp internal-sftp",
            **self._options,
        }
        config = self._folder / "sshd_config"
        config.write_text("".join(f"{k} {v}\n" for k, v in options.items()))
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, "-D", "-e", "-f", str(config)], stdin=subprocess.DEVNULL, stderr=log
            )
        wait_for(self._answers, "sshd to answer: " + self.log)
        return self

    def _answers(self) -> bool:
        assert self._process and self._process.poll() is None, self.log
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as s:
                return s.recv(4) == b"SSH-"
        except OSError:
            return False

    def sessions(self) -> list[psutil.Process]:
        """Return the server's processes for its connections, without the users' commands."""
        if self._process is None:
            return []
        found = []
        for child in psutil.Process(self._process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if child.name().startswith("sshd"):
                    found.append(child)
        return found

    def cut(self) -> None:
        """Kill every connection; the server goes on listening."""
        self._signal(self.sessions(), signal.SIGKILL)

    def freeze(self) -> None:
        """Stop every connection without closing it; new ones are served."""
        self._signal(self.sessions(), signal.SIGSTOP)

    def freeze_all(self) -> None:
        """Stop the listener too: the kernel accepts, and nobody answers."""
        assert self._process
        self._signal([psutil.Process(self._process.pid), *self.sessions()], signal.SIGSTOP)

    def thaw(self) -> None:
        """Undo `freeze` and `freeze_all`."""
        if self._process and self._process.poll() is None:
            self._signal([psutil.Process(self._process.pid), *self.sessions()], signal.SIGCONT)

    def stop(self) -> None:
        """Kill the server and every connection; `start` brings it back on the same port."""
        if self._process is None:
            return
        self.cut()
        self._process.kill()
        self._process.wait(10)
        self._process = None

    @staticmethod
    def _signal(processes: list[psutil.Process], number: int) -> None:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)
