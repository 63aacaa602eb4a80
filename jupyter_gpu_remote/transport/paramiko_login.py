"""How paramiko finds the machine, makes sure it is the right one, and logs in."""

from __future__ import annotations

import contextlib
import getpass
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paramiko
from paramiko.common import cMSG_CHANNEL_OPEN, cMSG_CHANNEL_REQUEST

from ..errors import ConfigurationError, SshAuthError, TransportError
from ..model import Address
from . import diagnosis
from .login import learnt_file

_STREAMLOCAL = "direct-streamlocal@openssh.com"
# what paramiko logs as an error, tracebacks included, we raise or expect
_log = logging.getLogger("jupyter_gpu_remote.paramiko")
_log.setLevel(logging.CRITICAL)
_ALIVE_EVERY = 5.0
_ALIVE_LIMIT = 15.0


class Connection(paramiko.Transport):
    """paramiko's connection, with the two requests that it lacks and an end to silence."""

    def __init__(self, sock: Any, carrier: Connection | None = None) -> None:
        super().__init__(sock)
        self.daemon = True
        self.set_log_channel(_log.name)
        self._carrier = carrier
        self._unix = threading.local()
        ciphers = self.get_security_options().ciphers
        fast = tuple(c for c in ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com") if c in ciphers)
        self.get_security_options().ciphers = fast + tuple(c for c in ciphers if c not in fast)

    def close(self) -> None:
        super().close()
        if self._carrier:
            self._carrier.close()

    def open_unix(self, path: str, timeout: float) -> paramiko.Channel:
        """Open a channel to the unix socket `path` over there."""
        self._unix.path = path
        try:
            return self.open_channel(_STREAMLOCAL, timeout=timeout)
        finally:
            self._unix.path = None

    def _send_user_message(self, data: Any) -> None:
        # `open_channel` knows the fields of its own kinds only; this kind's are added on the way out
        path = getattr(self._unix, "path", None)
        if path is not None and data.asbytes()[:1] == cMSG_CHANNEL_OPEN:
            data.add_string(path)
            data.add_string("")
            data.add_int(0)
        parent: Any = super()
        parent._send_user_message(data)

    def start_command(self, line: str, timeout: float) -> paramiko.Channel:
        """Run `line` on a new channel, without the wait for the answer that has no limit in paramiko."""
        channel = self.open_session(timeout=timeout)
        message = paramiko.Message()
        message.add_byte(cMSG_CHANNEL_REQUEST)
        message.add_int(channel.remote_chanid)
        message.add_string("exec")
        message.add_boolean(False)
        message.add_string(line)
        self._send_user_message(message)
        return channel

    def keep_alive(self) -> None:
        """Ask now and then whether the machine is there, and close when it does not answer."""

        def ask() -> None:
            while self.is_active():
                limit = threading.Timer(_ALIVE_LIMIT, self.close)
                limit.daemon = True
                limit.start()
                self.global_request("keepalive@openssh.com", wait=True)
                limit.cancel()
                time.sleep(_ALIVE_EVERY)

        threading.Thread(target=ask, name="ssh-keepalive", daemon=True).start()


class ParamikoLogin:
    """One machine, as paramiko reaches it.

    Args:
        address: Where it is; without a key file the user's SSH configuration applies.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self._config: Any = {}
        if address.uses_ssh_config:
            config = paramiko.SSHConfig()
            for path in (Path.home() / ".ssh" / "config", Path("/etc/ssh/ssh_config")):
                with contextlib.suppress(OSError), path.open() as file:
                    try:
                        config.parse(file)
                    except paramiko.ConfigParseError as e:
                        raise ConfigurationError(f"{path} cannot be read: {e}.") from e
            self._config = config.lookup(address.host)
        self.host = str(self._config.get("hostname", address.host))
        self.port = address.port or int(self._config.get("port", 22))
        self.user = address.user or str(self._config.get("user", getpass.getuser()))

    def connect(self, deadline: float) -> Connection:
        """Return a connection that is logged in.

        Raises:
            TransportError: As `Transport.open` says.
        """
        connection: Connection | None = None
        try:
            connection = Connection(*self._socket(deadline))
            connection.banner_timeout = connection.auth_timeout = _left(deadline)
            self._handshake(connection, deadline)
            self._authenticate(connection, deadline)
        except TimeoutError:
            _close(connection)
            raise diagnosis.no_answer(self.address, _ALIVE_LIMIT) from None
        except (OSError, EOFError, paramiko.SSHException) as e:
            _close(connection)
            if time.monotonic() > deadline:
                raise diagnosis.no_answer(self.address, _ALIVE_LIMIT) from e
            raise diagnosis.unreachable(self.address, str(e) or type(e).__name__) from e
        except BaseException:
            _close(connection)
            raise
        connection.keep_alive()
        return connection

    def _socket(self, deadline: float) -> tuple[Any, Connection | None]:
        """Return what reaches the machine, and the connection that carries it if one does."""
        jump = self._config.get("proxyjump", "none")
        if jump != "none":
            user, _, place = jump.rpartition("@")
            host, _, port = place.partition(":")
            if "," in jump:
                raise TransportError(
                    f"{self.address.host} is behind more than one jump host.",
                    hint="Install OpenSSH for that.",
                )
            through = ParamikoLogin(Address(host, int(port or 0), user)).connect(deadline)
            channel = through.open_channel(
                "direct-tcpip", (self.host, self.port), ("", 0), timeout=_left(deadline)
            )
            return channel, through
        if self._config.get("proxycommand", "none") != "none":
            return paramiko.ProxyCommand(self._config["proxycommand"]), None
        sock = socket.create_connection((self.host, self.port), timeout=_left(deadline))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock, None

    def _handshake(self, connection: Connection, deadline: float) -> None:
        """Agree on keys, and make sure that the machine is the right one."""
        known = self._known_keys()
        options = connection.get_security_options()
        if known:
            kinds = {kind.replace("ssh-rsa", "rsa-sha2-512") for kind in known}
            first = tuple(t for t in options.key_types if t in kinds)
            options.key_types = first + tuple(t for t in options.key_types if t not in kinds)
        connection.start_client(timeout=_left(deadline))
        if not connection.initial_kex_done:
            raise TimeoutError
        key = connection.get_remote_server_key()
        if known:
            if known.get(key.get_name()) != key.get_base64():
                raise diagnosis.wrong_host_key(self.address)
            return
        if str(self._config.get("stricthostkeychecking", "ask")) in ("yes", "true"):
            raise diagnosis.unknown_host_key(self.address)
        fd = os.open(learnt_file(), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(fd, "w") as file:
            file.write(f"{self._known_name} {key.get_name()} {key.get_base64()}\n")

    @property
    def _known_name(self) -> str:
        name = self.host if self.port == 22 else f"[{self.host}]:{self.port}"
        return str(self._config.get("hostkeyalias", name))

    def _known_keys(self) -> dict[str, str]:
        """Return the keys that the machine may show, by type; empty when it has none yet."""
        if self.address.host_key:
            kind, key = self.address.host_key.split()[:2]
            return {kind: key}
        files = [learnt_file()]
        if self.address.uses_ssh_config:
            theirs = self._config.get("userknownhostsfile", "~/.ssh/known_hosts ~/.ssh/known_hosts2")
            files += [Path(f).expanduser() for f in theirs.split()]
            files.append(Path("/etc/ssh/ssh_known_hosts"))
        keys: dict[str, str] = {}
        for file in files:
            if file.is_file():
                found: Any = paramiko.HostKeys(str(file)).lookup(self._known_name) or {}
                keys.update({kind: key.get_base64() for kind, key in found.items()})
        return keys

    def _authenticate(self, connection: Connection, deadline: float) -> None:
        for key in self._keys():
            done = threading.Event()
            connection.auth_publickey(self.user, key, done)
            if not done.wait(_left(deadline)):
                raise TimeoutError
            if connection.is_authenticated():
                return
            if not connection.is_active():
                break
        raise diagnosis.refused_login(self.address)

    def _keys(self) -> Iterator[paramiko.PKey]:
        if self.address.key_file:
            try:
                yield paramiko.PKey.from_path(self.address.key_file)
            except (OSError, ValueError, TypeError, paramiko.SSHException) as e:
                raise SshAuthError(f"The key {self.address.key_file} cannot be used: {e}.") from e
            return
        if str(self._config.get("identitiesonly", "no")) != "yes":
            yield from paramiko.Agent().get_keys()
        standard = [f"~/.ssh/id_{kind}" for kind in ("ed25519", "ecdsa", "rsa")]
        for name in self._config.get("identityfile", standard):
            # one that is missing or has a passphrase is passed over, as ssh does when it may not ask
            with contextlib.suppress(OSError, ValueError, TypeError, paramiko.SSHException):
                yield paramiko.PKey.from_path(Path(name).expanduser())


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _close(connection: Connection | None) -> None:
    if connection:
        connection.close()
