"""One OpenSSH ControlMaster for each machine, shared by all our processes of this user.

Everything about it lives in a private folder under one short name: the socket ``NAME``, the lock
``NAME.lock``, the pinned key ``NAME.hosts``, the socket ``NAME.p`` by which it is probed and one
``NAME.HASH`` for each unix socket that is forwarded.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import select
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import ConfigurationError, TransportTimeoutError
from ..model import Address
from . import diagnosis
from .controldir import PLAIN_PATH, control_dir
from .login import Login, environment, options

# Nobody can listen there: the refusal takes exactly one round trip and starts nothing.
_NOWHERE = "/dev/null/probe"
_SETTLE = 5.0


class Master:
    """The ssh process that holds a connection, and its files.

    Args:
        address: The machine.
        lane: Empty for the connection that all processes share, else a name for one of our own.
    """

    def __init__(self, address: Address, lane: str = "") -> None:
        self.address = address
        self.login = Login(address)
        self.path = control_dir() / (self.login.digest + lane)
        self._persist = 60 if lane else 600
        self._login: threading.Thread | None = None

    def _beside(self, suffix: str) -> Path:
        return self.path.with_name(f"{self.path.name}.{suffix}")

    @property
    def client(self) -> list[str]:
        """The argv, host excluded, of an ssh that uses this connection and can never make its own."""
        never = options("ControlMaster=no", "ProxyCommand=false", "BatchMode=yes", "LogLevel=ERROR")
        return ["ssh", "-F", "none", "-T", "-S", str(self.path), *never]

    def listening(self) -> bool:
        """Return whether a process holds the control socket."""
        held = _connect(self.path)
        if held:
            held.close()
        return held is not None

    @contextmanager
    def locked(self, deadline: float) -> Iterator[None]:
        """Keep our other processes out.

        Raises:
            TransportTimeoutError: Another one was in until `deadline`.
        """
        import fcntl

        path = self._beside("lock")
        while True:
            with path.open("a") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    # `remove` may have deleted it between our open and our lock
                    held = path.stat().st_ino == os.fstat(file.fileno()).st_ino
                except (BlockingIOError, FileNotFoundError):
                    held = False
                if held:
                    yield
                    return
            if time.monotonic() > deadline:
                raise TransportTimeoutError(
                    f"Another process was busy connecting to {self.address.host} all the time.",
                    hint=f"If there is none: rm {path}",
                )
            time.sleep(0.02)

    def start(self, timeout: float) -> None:
        """Log in and leave a master behind; call it locked, with none running.

        Raises:
            TransportError: As `Transport.open` says.
        """
        end = time.monotonic() + timeout
        self._unlink_sockets()
        argv = [
            *self.login.argv(timeout, self._beside("hosts")),
            *options(
                f"ControlPersist={self._persist}", "StreamLocalBindMask=0177", "StreamLocalBindUnlink=yes"
            ),
            *("-M", "-S", str(self.path), "--", self.address.host),
            # not only a test: a connection that never had an exec channel keeps Nagle's delay of 40 ms
            "true",
        ]
        # no pipe: a master of an older OpenSSH keeps it open
        with tempfile.TemporaryFile() as said:
            try:
                process = subprocess.Popen(
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=said,
                    start_new_session=True,
                    env=environment(),
                )
            except FileNotFoundError as e:
                raise ConfigurationError(
                    "There is no ssh on this computer.", hint="Install OpenSSH, or use paramiko."
                ) from e
            try:
                code = self._await_login(process, end, timeout)
            except BaseException:
                process.kill()
                process.wait()
                self.kill()
                raise
            said.seek(0)
            text = said.read().decode(errors="replace").strip()
        if code:
            self.kill()
            raise diagnosis.from_openssh(self.address, code, text, timeout)
        self._forward(self._beside("p"), _NOWHERE, end - time.monotonic())

    def _await_login(self, process: subprocess.Popen[bytes], end: float, timeout: float) -> int:
        """Return 0 as soon as the control socket is there, or else the code that ssh ends with."""
        while (code := process.poll()) is None:
            if self.listening():
                # its command goes on behind our back: nobody needs to wait two round trips for `true`
                self._login = threading.Thread(target=process.wait, name="ssh login", daemon=True)
                self._login.start()
                return 0
            if time.monotonic() > end:
                raise diagnosis.no_answer(self.address, timeout)
            time.sleep(0.005)
        return code

    def settle(self) -> None:
        """Wait until the command of our login has ended: where one session is allowed, it is that one."""
        if self._login is not None:
            self._login.join(_SETTLE)
            self._login = None

    def _forward(self, local: Path, remote: str, timeout: float) -> None:
        local.unlink(missing_ok=True)
        argv = [*self.client, "-O", "forward", "-L", f"{local}:{remote}", "gpu-remote"]
        try:
            done = subprocess.run(argv, capture_output=True, timeout=max(timeout, 1), start_new_session=True)
        except subprocess.TimeoutExpired:
            raise diagnosis.no_answer(self.address, timeout) from None
        if done.returncode:
            raise diagnosis.lost(self.address)

    def connect(self, remote: str, timeout: float, sure: bool) -> socket.socket | None:
        """Return a connection to the unix socket `remote` over there; None when it was refused.

        No process after the first time; one round trip when it must be `sure`. A forward says nothing when
        the far end is reached and hangs up when it is not. The machine answers in order, so once the refusal
        of a probe sent right behind is here, the refusal of this one would be too.

        Raises:
            ConnectionLostError, TransportTimeoutError: The connection broke or froze.
        """
        if not PLAIN_PATH.fullmatch(remote):
            return None
        local = self._beside(hashlib.sha256(remote.encode()).hexdigest()[:8])
        stream = _connect(local)
        if stream is None:
            with self.locked(time.monotonic() + timeout):
                stream = _connect(local)
                if stream is None:
                    self._forward(local, remote, timeout)
                    stream = _connect(local)
        if stream is None:
            raise diagnosis.lost(self.address)
        if not sure:
            return stream
        try:
            self.probe(timeout)
        except BaseException:
            stream.close()
            raise
        hung_up = select.poll()
        hung_up.register(stream, select.POLLIN)
        # the two refusals may reach us in either order within one turn of ssh's loop
        if not hung_up.poll(5) or stream.recv(1, socket.MSG_PEEK):
            return stream
        stream.close()
        return None

    def probe(self, timeout: float) -> float:
        """Return the seconds of one round trip through the connection.

        Raises:
            ConnectionLostError: There is no connection.
            TransportTimeoutError: No answer within `timeout` seconds.
        """
        start = time.monotonic()
        probe = _connect(self._beside("p"))
        if probe is None:
            raise diagnosis.lost(self.address)
        with probe:
            probe.settimeout(timeout)
            try:
                probe.recv(1)
            except TimeoutError:
                raise diagnosis.no_answer(self.address, timeout) from None
            except ConnectionError:
                pass
        if not self.listening():
            raise diagnosis.lost(self.address)
        return time.monotonic() - start

    def kill(self, *, lanes: bool = False) -> None:
        """End the master and every ssh that hangs on it, whatever state they are in; also of its `lanes`."""
        import psutil

        mine = re.compile(re.escape(str(self.path)) + (r"(?!\w)" if lanes else r"(?![\w.-])"))
        for process in psutil.process_iter():  # its `info` would be shared with other threads
            with contextlib.suppress(psutil.Error):  # it has ended, or is not ours to look at
                if process.name() != "ssh" or not mine.search(" ".join(process.cmdline())):
                    continue
                end = time.monotonic() + 5
                process.kill()
                # as a zombie it has let go of everything; when it is reaped is not ours to say
                while process.status() != psutil.STATUS_ZOMBIE and time.monotonic() < end:
                    time.sleep(0.005)
        self._unlink_sockets()

    def _unlink_sockets(self) -> None:
        """Delete the sockets of a master that is dead; ssh leaves those of its forwards."""
        for path in (self.path, *self.path.parent.glob(f"{self.path.name}.*")):
            if path.is_socket():
                path.unlink(missing_ok=True)

    def remove(self, timeout: float) -> None:
        """End the master and the lanes of every process, and delete their files."""
        self.kill(lanes=True)  # who is connecting in vain lets go of the lock
        with self.locked(time.monotonic() + timeout):
            self.kill(lanes=True)
            for path in self.path.parent.glob(f"{self.path.name}[.-]*"):
                path.unlink(missing_ok=True)


def _connect(path: Path) -> socket.socket | None:
    s = socket.socket(socket.AF_UNIX)
    # a frozen listener whose queue is full would hold us for ever
    s.settimeout(1)
    try:
        s.connect(str(path))
    except OSError:
        s.close()
        return None
    s.settimeout(None)
    return s
