"""The key that makes the names of blobs and the signatures of parcels; one for each machine, kept there."""

from __future__ import annotations

import contextlib
import os
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
        new = file.with_name(f"{file.name}.{os.getpid()}")
        new.touch(mode=0o600)
        new.write_bytes(secrets.token_bytes(_BYTES))
        new.replace(file)
