"""What a machine gets to reach one bucket: configuration, and credentials that are good for nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .urls import Bucket

LIMIT = 20.0
"""Seconds that a cloud may take for an answer."""


@dataclass(frozen=True)
class Access:
    """The way to one bucket for a machine.

    Attributes:
        files: What rclone over there reads, by name.
        expires: When the credentials end, in Unix seconds; 0 for never.
    """

    files: Mapping[str, str]
    expires: float = 0.0


def open_access(bucket: Bucket, read_only: bool, role: str = "", share_keys: bool = False) -> Access:
    """Return what a machine needs to reach `bucket`, and nothing but it.

    Args:
        bucket: The bucket, or the folder in it.
        read_only: Whether nothing may be written.
        role: The AWS role to take on for it; empty for none.
        share_keys: Whether keys that can't be limited may go to the machine.

    Raises:
        StorageError: There is no such bucket, or the credentials of this computer are not good for it.
        ConfigurationError: There are no credentials, or no library for that cloud.
    """
    if bucket.scheme == "s3":
        from . import aws

        return aws.open_access(bucket, read_only, role, share_keys)
    if bucket.scheme == "gs":
        from . import gcp

        return gcp.open_access(bucket, read_only)
    return Access({"rclone.conf": config("local")})


def config(kind: str, **options: str) -> str:
    """Return rclone's configuration of a bucket."""
    lines = [f"{name} = {value}" for name, value in {"type": kind, **options}.items() if value]
    return "\n".join(["[bucket]", *lines, ""])
