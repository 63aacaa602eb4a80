"""Answers of the clouds that stay true for a while, kept between processes."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from ..config import state_dir

T = TypeVar("T")


def cached(key: str, seconds: float, make: Callable[[], T]) -> T:
    """Return what is kept for `key`, or what `make` returns, which is then kept.

    Args:
        key: Names the value; all that it depends on (account, region, type) belongs in it.
        seconds: How old it may be.
        make: Makes the value, which must be JSON. What it raises is raised, and nothing is kept.

    Returns:
        The value as JSON gives it back, whether kept or new: tuples have become lists.
    """
    with suppress(LookupError):
        value: T = _read(key, seconds)
        return value
    return put(key, make())


def kept(key: str, seconds: float) -> Any:
    """Return what is kept for `key` and is at most `seconds` old, or None."""
    with suppress(LookupError):
        return _read(key, seconds)
    return None


def put(key: str, value: T) -> T:
    """Keep a value for `key`, and return it as JSON gives it back."""
    text = json.dumps({"key": key, "at": time.time(), "value": value})
    with suppress(OSError):  # a full disk is no reason to fail: the value is at hand
        _write(_path(key), text)
    made: T = json.loads(text)["value"]
    return made


def forget(key: str) -> None:
    """Keep nothing for `key` any more."""
    _path(key).unlink(missing_ok=True)


def _read(key: str, seconds: float) -> Any:
    with suppress(OSError, ValueError, TypeError, KeyError):  # missing, or not what we wrote
        kept = json.loads(_path(key).read_bytes())
        if kept["key"] == key and 0 <= time.time() - kept["at"] <= seconds:
            return kept["value"]
    raise LookupError(key)


def _path(key: str) -> Path:
    return state_dir() / "cache" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    # mkstemp gives the file to its owner alone; the rename shows readers the old one or the new one
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".new")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
