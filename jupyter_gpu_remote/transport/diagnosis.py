"""What a failed connection means, in words: the same for every transport."""

from __future__ import annotations

import re
import shlex
import subprocess

from ..config import state_dir
from ..errors import ConnectionLostError, HostKeyError, SshAuthError, TransportError, TransportTimeoutError
from ..model import Address


def place(address: Address) -> str:
    """Return the machine as people write it."""
    user = f"{address.user}@" if address.user else ""
    return user + address.host + (f":{address.port}" if address.port not in (0, 22) else "")


def by_hand(address: Address, *options: str) -> str:
    """Return the command that logs in there in a terminal."""
    port = ("-p", str(address.port)) if address.port not in (0, 22) else ()
    user = f"{address.user}@" if address.user else ""
    return shlex.join(["ssh", *options, *port, user + address.host])


def _forget(address: Address) -> str:
    """Return the command that forgets the host key by which a machine is known."""
    name = address.host if address.port in (0, 22) else f"[{address.host}]:{address.port}"
    file = state_dir() / "known_hosts"
    look = ["ssh-keygen", "-F", name, "-f", str(file)]  # names may be hashed in it
    ours = subprocess.run(look, capture_output=True, timeout=30, check=False).returncode == 0
    return shlex.join(["ssh-keygen", "-R", name, *(["-f", str(file)] if ours else [])])


def wrong_host_key(address: Address) -> HostKeyError:
    """Return the error for a machine that shows another host key than it should."""
    expected = "the one it was created with" if address.host_key else "the one it was known by"
    return HostKeyError(
        f"{place(address)} shows another host key than {expected}, so it may be another machine: a new one "
        "under the same address, or somebody between you and it. Nothing was sent to it.",
        hint="If you know why it changed, forget the old key: "
        + ("`%remote down`, then run the cell again." if address.host_key else _forget(address)),
    )


def unknown_host_key(address: Address) -> HostKeyError:
    """Return the error for a machine whose key nobody vouches for, where the user insists on that."""
    return HostKeyError(
        f"The host key of {place(address)} is not known, and your SSH configuration accepts only known ones.",
        hint=f"Log in once by hand and confirm the key: {by_hand(address)}",
    )


def refused_login(address: Address, said: str = "") -> SshAuthError:
    """Return the error for a machine that accepts none of our keys."""
    tried = str(address.key_file) if address.key_file else "the keys of your SSH configuration and agent"
    return SshAuthError(
        f"{place(address)} does not accept the login; tried {tried}."
        + (f" SSH said: {said}" if said else ""),
        hint="Check the user name and that the machine has the public key."
        if address.key_file
        else f"Make this work in a terminal first: {by_hand(address, '-o', 'BatchMode=yes')}",
    )


def no_answer(address: Address, seconds: float) -> TransportTimeoutError:
    """Return the error for silence."""
    return TransportTimeoutError(
        f"{place(address)} did not answer within {seconds:.3g} s.",
        hint="Check that the machine runs and that a firewall lets SSH through.",
    )


def still_running(address: Address, program: str, seconds: float) -> TransportTimeoutError:
    """Return the error for a command that takes too long."""
    return TransportTimeoutError(
        f"{program} on {place(address)} did not end within {seconds:.3g} s and was stopped."
    )


def lost(address: Address) -> ConnectionLostError:
    """Return the error for a connection that is no more."""
    return ConnectionLostError(
        f"The SSH connection to {place(address)} is gone.",
        hint="What runs over there goes on; run the cell again to reconnect.",
    )


def nobody_listens(address: Address, path: str, why: str) -> TransportError:
    """Return the error for a unix socket that cannot be reached."""
    return TransportError(
        f"Nobody answers at {path} on {place(address)}: {why or 'the connection was refused'}."
    )


def unreachable(address: Address, said: str) -> TransportError:
    """Return the error for a machine to which there is no connection at all."""
    return TransportError(
        f"{place(address)} cannot be reached by SSH: {said or 'ssh gave no reason'}",
        hint="Check that the machine runs and that its SSH server listens there.",
    )


def from_openssh(address: Address, code: int, said: str, seconds: float) -> TransportError:
    """Return the error that the output of a failed ssh describes.

    Args:
        address: The machine.
        code: The exit code of ssh; 255 is its own, any other the remote command's.
        said: What it wrote to stderr.
        seconds: How long it was given.
    """
    if code != 255:
        return TransportError(
            f"{place(address)} accepts the login but does not run commands: code {code}. {said}".rstrip(),
            hint="Check the login shell of that user, and forced commands.",
        )
    last = "; ".join(line.strip() for line in said.splitlines()[-3:])
    if re.search(r"no \S+ host key is known", said, re.I):
        return wrong_host_key(address) if address.host_key else unknown_host_key(address)
    if re.search(
        r"host key verification failed|host identification has changed|revoked host key", said, re.I
    ):
        return wrong_host_key(address)
    if re.search(r"permission denied \(|too many authentication failures|no more auth", said, re.I):
        return refused_login(address, last)
    if re.search(r"timed out|timeout", said, re.I):
        return no_answer(address, seconds)
    return unreachable(address, last)
