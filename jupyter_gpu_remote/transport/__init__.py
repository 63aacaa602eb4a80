"""SSH to a machine: OpenSSH where there is one, paramiko elsewhere."""

from __future__ import annotations

import os
import shutil

from ..errors import ConfigurationError
from ..model import Address
from .base import Transport

KINDS = ("auto", "openssh", "paramiko")


def open_transport(address: Address, kind: str = "auto") -> Transport:
    """Return a transport to the machine at `address`, for `open` to connect.

    Args:
        address: Where it is.
        kind: One of `KINDS`; "auto" takes OpenSSH where there is one that can share a connection.

    Raises:
        ConfigurationError: `kind` is none of them.
    """
    if kind == "auto":
        # OpenSSH for Windows has no ControlMaster
        kind = "openssh" if os.name == "posix" and shutil.which("ssh") else "paramiko"
    if kind == "openssh":
        from .openssh import OpenSshTransport

        return OpenSshTransport(address)
    if kind == "paramiko":
        from .paramiko import ParamikoTransport

        return ParamikoTransport(address)
    raise ConfigurationError(
        f"There is no transport called {kind!r}.", hint=f"Use one of: {', '.join(KINDS)}."
    )
