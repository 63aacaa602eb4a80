"""Buckets, and folders in them, as people write them."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass

from ..errors import ConfigurationError

_URL = re.compile(r"(?:(?P<scheme>s3|gs)://(?P<name>[a-z0-9][a-z0-9._-]{1,220})/*|file://(?=/))(?P<rest>.*)")
NUMBER = "{n}"
"""Stands for the number of a run, at the end of the URL of a folder that results are copied to."""
_OUT = "For example: --out-dir results=s3://bucket/run-{n}, or for all: --out-dir .=gs://bucket/kept."
_EXAMPLE = "For example: --mount s3://bucket/folder:/data, or gs://bucket:~/data:ro to write nothing."


@dataclass(frozen=True)
class Bucket:
    """A bucket, or a folder in one; or a folder of the machine, which behaves like one.

    Attributes:
        scheme: ``s3``, ``gs`` or ``file``.
        name: The bucket's name; empty for a folder of the machine.
        prefix: The folder in it, without slashes at its ends; empty for all of the bucket.
    """

    scheme: str
    name: str
    prefix: str = ""

    def __str__(self) -> str:
        if self.scheme == "file":
            return f"file:///{self.prefix}"
        return f"{self.scheme}://{self.name}" + (f"/{self.prefix}" if self.prefix else "")

    @property
    def below(self) -> str:
        """How the names of all objects in it begin."""
        return f"{self.prefix}/" if self.prefix else ""

    @property
    def root(self) -> str:
        """What rclone calls it."""
        return f"/{self.prefix}" if self.scheme == "file" else f"{self.name}/{self.below}"


@dataclass(frozen=True)
class Wanted:
    """A mount that somebody asks for; or, where it `copies`, a folder that is to be copied into a bucket."""

    bucket: Bucket
    path: str
    read_only: bool = False
    copies: bool = False

    @property
    def reach(self) -> Bucket:
        """What of the bucket the machine must reach for it: a number is found beside the others."""
        if NUMBER not in self.bucket.prefix:
            return self.bucket
        return Bucket(self.bucket.scheme, self.bucket.name, self.bucket.prefix.rpartition("/")[0])


def parse_bucket(text: str) -> Bucket:
    """Return the bucket that a URL names.

    Raises:
        ConfigurationError: It names none.
    """
    match = _URL.fullmatch(text)
    rest = match["rest"].strip("/") if match else ""
    if not match or any(part in (".", "..") for part in rest.split("/")) or not rest.isprintable():
        raise ConfigurationError(
            f"{text!r} is no bucket.", hint="Write s3://bucket/folder, gs://bucket/folder or file:///folder."
        )
    return Bucket(match["scheme"] or "file", match["name"] or "", rest)


def parse_mount(text: str) -> Wanted:
    """Return what ``URL:PATH`` or ``URL:PATH:ro`` asks for.

    Raises:
        ConfigurationError: It is no such thing.
    """
    place, read_only = (text[:-3], True) if text.endswith(":ro") else (text, False)
    url, _, path = place.rpartition(":")
    if "://" not in url or not path or path.startswith("//") or not path.isprintable():
        raise ConfigurationError(f"{text!r} does not say what to mount, and where.", hint=_EXAMPLE)
    return Wanted(parse_bucket(url), path, read_only)


def parse_out_dir(text: str, folder: str) -> Wanted:
    """Return what ``NAME=URL`` asks for.

    Args:
        text: The name of a folder, and the bucket that it is to be copied to.
        folder: Where the notebook's folder lies on the machine.

    Raises:
        ConfigurationError: It is no such thing.
    """
    name, _, url = text.partition("=")
    parts = posixpath.normpath(name).split("/")
    if not name or not url or posixpath.isabs(name) or ".." in parts or not name.isprintable():
        raise ConfigurationError(
            f"{text!r} does not say which folder of the notebook goes to which bucket.", hint=_OUT
        )
    bucket = parse_bucket(url)
    if NUMBER in bucket.prefix.rpartition("/")[0] or bucket.prefix.count(NUMBER) > 1:
        raise ConfigurationError(f"In {url!r}, {NUMBER} must be in the last part, once.", hint=_OUT)
    return Wanted(bucket, posixpath.normpath(posixpath.join(folder, name)), copies=True)
