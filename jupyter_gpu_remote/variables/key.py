"""The key that makes the names of blobs and the signatures of parcels; one for each machine, kept there."""

from __future__ import annotations

import contextlib
import secrets
from pathlib import Path

_BYTES = 32
"""What blake3 takes as a key."""


def make_key(file: Path) -> bytes:
    """Return the key in `file`, made if there is none; readable by its owner alone."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    while True:
        with contextlib.suppress(FileNotFoundError):
            if len(key := file.read_bytes()) == _BYTES:
                return key
            file.unlink()  # damaged: what it made is of no use any more
        new = file.with_name(f"{file.name}.{secrets.token_hex(4)}")
        new.touch(mode=0o600)
        new.write_bytes(secrets.token_bytes(_BYTES))
        with contextlib.suppress(FileExistsError):
            file.hardlink_to(new)  # unlike a rename this fails if another process was first
        new.unlink()
