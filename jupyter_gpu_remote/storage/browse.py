"""Buckets read from here, with this computer's own credentials, through fsspec."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import ConfigurationError, StorageError
from ..sync.report import size
from .urls import Bucket, parse_bucket

_READ = {"s3": "s3:GetObject and s3:ListBucket", "gs": "storage.objects.get and storage.objects.list"}
_LIMITS: dict[str, dict[str, Any]] = {
    "s3": {"config_kwargs": {"connect_timeout": 10, "read_timeout": 30, "retries": {"max_attempts": 2}}},
    "gs": {"requests_timeout": 30},
}
"""How long a cloud may take for an answer, in seconds, as each library wants it."""
_WRITE = {"s3": "s3:PutObject", "gs": "storage.objects.create"}


@dataclass(frozen=True)
class Entry:
    """A file or folder in a bucket; `changed` in Unix seconds, None where that is not known."""

    name: str
    is_folder: bool
    size: int
    changed: float | None


def entries(bucket: Bucket) -> list[Entry]:
    """Return what is in a folder of a bucket, by name.

    Raises:
        StorageError: It can't be read.
        ConfigurationError: The library for that cloud is not installed.
    """
    files, path = _open(bucket)
    with _told(bucket, _READ):
        found = files.ls(path, detail=True)
    # some keep an empty object to stand for the folder itself
    within = (one for one in found if _path(one) != path.rstrip("/") or one["type"] != "directory")
    return [_entry(one) for one in sorted(within, key=_path)]


def _path(one: dict[str, Any]) -> str:
    return str(one["name"]).rstrip("/")


def _entry(one: dict[str, Any]) -> Entry:
    changed = one.get("LastModified") or one.get("mtime") or one.get("updated")
    if isinstance(changed, str):
        changed = datetime.fromisoformat(changed.replace("Z", "+00:00"))
    if isinstance(changed, datetime):
        changed = changed.timestamp()
    is_folder = one["type"] == "directory"
    return Entry(_path(one).rpartition("/")[2], is_folder, int(one.get("size") or 0), changed)


def listing(bucket: Bucket) -> list[tuple[str, str, str]]:
    """Return name, size and time of what is in a folder of a bucket, for people; errors as in `entries`."""
    return [
        (
            one.name + ("/" if one.is_folder else ""),
            "" if one.is_folder else size(one.size),
            datetime.fromtimestamp(one.changed).strftime("%Y-%m-%d %H:%M") if one.changed else "",
        )
        for one in entries(bucket)
    ]


def open_file(bucket: Bucket) -> tuple[int, BinaryIO]:
    """Return the size of a file of a bucket in bytes, and the file to read from.

    Raises:
        StorageError: It can't be read, or is a folder.
        ConfigurationError: The library for that cloud is not installed.
    """
    files, path = _open(bucket)
    with _told(bucket, _READ):
        found = files.info(path)
        if found["type"] == "directory":
            raise IsADirectoryError("it is a folder")
        return int(found["size"]), files.open(path, "rb")


def copy(source: str, target: str, folder: Path, report: Callable[[str, str], None]) -> str:
    """Copy a file, or a folder with all that is in it, and say in a line what came of it.

    Args:
        source: A URL of a bucket, or a path.
        target: The other of the two; what is a folder gets the source in it.
        folder: What paths start from.
        report: Told what is going on.

    Raises:
        StorageError: It can't be read or written.
        ConfigurationError: Not one of the two is in a bucket.
    """
    if ("://" in source) == ("://" in target):
        raise ConfigurationError(
            "One of the two must be in a bucket, the other one here.", hint="cp s3://bucket/file.csv ."
        )
    report("copying", f"{source} to {target}")
    if "://" in source:
        bucket = parse_bucket(source)
        files, path = _open(bucket)
        here = folder / Path(target).expanduser()
        with _told(bucket, _READ):
            is_folder = files.isdir(path)
            if here.is_dir():
                here = here / path.rstrip("/").rpartition("/")[2]
            files.get(f"{path.rstrip('/')}/" if is_folder else path, str(here), recursive=is_folder)
        return f"{source} is in {here}."
    bucket, here = parse_bucket(target), folder / Path(source).expanduser()
    if not here.exists():
        raise ConfigurationError(f"There is no {here}.")
    files, path = _open(bucket)
    if target.endswith("/") or not bucket.prefix:
        path = f"{path.rstrip('/')}/{here.name}"
    with _told(bucket, _WRITE):
        files.put(f"{here}{os.sep}" if here.is_dir() else str(here), path, recursive=here.is_dir())
    return f"{here} is in {bucket.scheme}://{path.lstrip('/')}."


def _open(bucket: Bucket) -> tuple[Any, str]:
    try:
        from fsspec.core import url_to_fs

        fresh = {} if bucket.scheme == "file" else {"use_listings_cache": False, "skip_instance_cache": True}
        files, path = url_to_fs(str(bucket), **fresh, **_LIMITS.get(bucket.scheme, {}))
    except ImportError as e:
        raise ConfigurationError(
            f"To read {bucket} from here, a library is needed: {e}.",
            hint="pip install 'jupyter_gpu_remote[storage]'",
        ) from e
    return files, path


@contextmanager
def _told(bucket: Bucket, permissions: dict[str, str]) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as e:
        raise StorageError(f"There is no {bucket}.", hint=f"See what there is: `ls {_above(bucket)}`.") from e
    except PermissionError as e:
        raise StorageError(
            f"{bucket}: access is denied ({e}).",
            hint=f"You need {permissions.get(bucket.scheme, 'the permission')} on it.",
        ) from e
    except Exception as e:  # each library has its own
        raise StorageError(f"{bucket}: {type(e).__name__}: {e}") from e


def _above(bucket: Bucket) -> str:
    return str(Bucket(bucket.scheme, bucket.name, bucket.prefix.rpartition("/")[0]))
