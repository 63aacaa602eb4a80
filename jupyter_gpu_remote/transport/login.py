"""What OpenSSH is told in order to log in, and by which key it knows the machine."""

from __future__ import annotations

import hashlib
import json
import math
import os
import subprocess
from functools import cached_property
from pathlib import Path

from ..config import state_dir
from ..model import Address
from . import diagnosis

_ALWAYS = (
    "BatchMode=yes",
    # first choice only, the defaults stay behind it: 1.6 times as fast as the first of them
    "Ciphers=^aes128-gcm@openssh.com",
    "ClearAllForwardings=yes",
    "ConnectionAttempts=1",
    "ForwardX11=no",
    "GlobalKnownHostsFile=none",
    "LogLevel=ERROR",
    "PermitLocalCommand=no",
    "RemoteCommand=none",
    "RequestTTY=no",
    "ServerAliveCountMax=3",
    "ServerAliveInterval=5",
    "UpdateHostKeys=no",
)
_OUR_KEY_ALONE = (
    "GSSAPIAuthentication=no",
    "IdentitiesOnly=yes",
    "IdentityAgent=none",
    "PreferredAuthentications=publickey",
)


def environment() -> dict[str, str]:
    """Return an environment in which no ssh, a jump host's included, asks anything."""
    return {**os.environ, "SSH_ASKPASS_REQUIRE": "never"}


def options(*values: str) -> list[str]:
    """Return `values` as options of ssh."""
    return [word for value in values for word in ("-o", value)]


def learnt_file() -> Path:
    """Return the file of the host keys we have learnt ourselves."""
    return state_dir() / "known_hosts"


class Login:
    """One machine, as OpenSSH is told about it."""

    def __init__(self, address: Address) -> None:
        self.address = address
        key = [address.host, address.port, address.user, str(address.key_file), address.host_key]
        self.digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:12]

    def argv(self, timeout: float, pinned: Path) -> list[str]:
        """Return the ssh that logs in, up to and without the host.

        Args:
            timeout: Seconds until the machine must have answered.
            pinned: Where to write the pinned host key, if there is one.
        """
        mine = [f"ConnectTimeout={max(1, math.ceil(timeout))}"]
        if self.address.host_key:
            alias = f"gpu-remote-{self.digest}"
            pinned.write_text(f"{alias} {self.address.host_key}\n")
            mine += [f"HostKeyAlias={alias}", f"UserKnownHostsFile={pinned}", "StrictHostKeyChecking=yes"]
        else:
            insists = self._resolved.get("stricthostkeychecking") in (["true"], ["yes"])
            files = " ".join('"{}"'.format(str(f).replace("%", "%%")) for f in self._known_hosts())
            mine += [
                f"UserKnownHostsFile={files}",
                f"StrictHostKeyChecking={'yes' if insists else 'accept-new'}",
            ]
        if self.address.key_file:
            mine += [*_OUR_KEY_ALONE, f"IdentityFile={self.address.key_file}"]
        return ["ssh", *self._where, *options(*_ALWAYS, *mine)]

    @property
    def _where(self) -> list[str]:
        a = self.address
        return [
            *([] if a.uses_ssh_config else ["-F", "none"]),
            *(["-p", str(a.port)] if a.port else []),
            *(["-l", a.user] if a.user else []),
        ]

    @cached_property
    def _resolved(self) -> dict[str, list[str]]:
        """What ssh makes of this machine with the configuration that applies."""
        argv = ["ssh", "-G", *self._where, "--", self.address.host]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30, env=environment())
        if done.returncode:
            raise diagnosis.from_openssh(self.address, 255, done.stderr.strip(), 30)
        lines = (line.split() for line in done.stdout.splitlines())
        return {words[0]: words[1:] for words in lines if words}

    def _known_hosts(self) -> list[Path]:
        """Our own file, to which ssh adds a new key, before those the user trusts."""
        theirs: list[str] = []
        if self.address.uses_ssh_config:
            for name in ("userknownhostsfile", "globalknownhostsfile"):
                theirs += self._resolved.get(name, [])
        return [learnt_file(), *(Path(f).expanduser() for f in theirs if f != "none")]

    def host_key(self) -> str:
        """Return the key by which the machine is known, as type and base64; empty when it is not."""
        if self.address.host_key:
            return self.address.host_key
        name, port = self._resolved["hostname"][0], self._resolved["port"][0]
        name = self._resolved.get("hostkeyalias", [name if port == "22" else f"[{name}]:{port}"])[0]
        for file in self._known_hosts():
            argv = ["ssh-keygen", "-F", name, "-f", str(file)]
            found = subprocess.run(argv, capture_output=True, text=True, timeout=30).stdout
            keys = [line.split()[1:3] for line in found.splitlines() if not line.startswith(("#", "@"))]
            # ssh asks a server for its ed25519 key first
            for words in sorted(keys, key=lambda w: "ed25519" not in w[0]):
                return " ".join(words)
        return ""
