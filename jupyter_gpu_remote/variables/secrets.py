"""What is never sent without being asked for by name: keys, tokens, passwords, the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any

_TELLING = re.compile(
    r"(^|_)(password|passwd|passphrase|secret|secrets|token|credentials?|auth|api_?key|access_?key|private_?key)(_|$)",
    re.IGNORECASE,
)
"""Names whose text is a secret, of variables here and in the environment."""
_FORMATS = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY-----"
    rb"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"  # AWS
    rb"|\bgh[pousr]_[0-9A-Za-z]{36}|\bgithub_pat_[0-9A-Za-z_]{60}"  # GitHub
    rb"|\bhf_[0-9A-Za-z]{30}"  # Hugging Face
    rb"|\bsk-(?:ant-|proj-)?[0-9A-Za-z_-]{32}"  # OpenAI, Anthropic
    rb"|\bxox[abprs]-[0-9A-Za-z-]{20}"  # Slack
    rb"|\bAIza[0-9A-Za-z_-]{35}\b"  # Google
    rb"|\bya29\.[0-9A-Za-z_-]{30}"  # Google OAuth
)
"""What the keys of well-known services look like."""
_CLASSES = (
    ("botocore.", ("Credentials", "Session")),
    ("boto3.", ("Session",)),
    ("google.auth", ("Credentials",)),
    ("google.oauth2", ("Credentials",)),
    ("azure.identity", ("Credential",)),
    ("paramiko", ("Key", "Agent")),
    ("cryptography.", ("PrivateKey",)),
)
"""Modules, and parts of the names of their classes, whose objects hold credentials."""
_SHORTEST = 12
"""Characters of an environment variable's value that are worth finding again."""

_LONGEST = 1 << 20
"""Bytes of a piece of a pickle in which secrets are looked for: larger ones are data, and take seconds."""


def is_secret_object(value: Any) -> bool:
    """Return whether `value` is the environment or an object made to hold credentials."""
    kind = type(value)
    if value is os.environ or (value is getattr(os, "environb", None)):
        return True
    module = kind.__module__
    return any(
        module.startswith(start) and any(part in kind.__name__ for part in parts) for start, parts in _CLASSES
    )


def tells_secret(name: str, value: Any) -> bool:
    """Return whether the variable `name` holds a secret by what it is called."""
    return isinstance(value, (str, bytes)) and bool(value) and bool(_TELLING.search(name))


def secret_in(stream: Sequence[bytes | bytearray | memoryview]) -> str:
    """Return what secret text there is in a pickle stream, in a few words; empty when there is none."""
    own = {
        name: value.encode("utf-8", "surrogateescape")
        for name, value in os.environ.items()
        if _TELLING.search(name) and len(value) >= _SHORTEST
    }
    for data in stream:
        if len(data) > _LONGEST:
            continue
        for name, value in own.items():
            if value in bytes(data):
                return f"the value of the environment variable {name}"
        if _FORMATS.search(data):
            return "the key of a service"
    return ""
