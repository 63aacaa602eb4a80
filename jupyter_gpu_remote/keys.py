"""SSH keys made here: to log in to a machine, and for a machine to be known by."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from .config import state_dir
from .errors import ConfigurationError


def key_folder(name: str) -> Path:
    """Return where the keys of a machine are kept while it exists: ``user`` and ``host``."""
    return state_dir() / "keys" / name


def make_key_pair(path: Path, comment: str) -> str:
    """Make an ed25519 key pair, or keep the one that is there.

    Keeping it lets a launch that was cut short be repeated with the key it began with.

    Args:
        path: The private half (mode 0600, no passphrase); the public one is beside it as ``.pub``.
        comment: What the key is for; ends the public line.

    Returns:
        The public line, ``ssh-ed25519 AAAA… comment``.

    Raises:
        ConfigurationError: There is a file at `path` that is no private key.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        made = Ed25519PrivateKey.generate().private_bytes(
            form.Encoding.PEM, form.PrivateFormat.OpenSSH, form.NoEncryption()
        )
        _write_once(path, made)
    try:
        private = form.load_ssh_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as e:
        raise ConfigurationError(
            f"{path} is not a private SSH key that can be used: {e}.",
            hint="Move that file away; a new key is then made in its place.",
        ) from e
    public = private.public_key().public_bytes(form.Encoding.OpenSSH, form.PublicFormat.OpenSSH)
    line = " ".join([public.decode(), *comment.split()])
    _write_once(path.with_name(path.name + ".pub"), f"{line}\n".encode())
    return line


def _write_once(path: Path, data: bytes) -> None:
    """Write `data` to `path` whole or not at all; what is there already stays."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        # unlike a rename, a link never replaces
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()
