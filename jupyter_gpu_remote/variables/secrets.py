"""What is never sent without being asked for by name: keys, tokens, passwords, the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_TELLING = re.compile(
    r"(^|_)(password|passwd|passphrase|secret|secrets|token|credentials?|auth|api_?key|access_?key|private_?key)(_|$)",
    re.IGNORECASE,
)
"""Names whose text is a secret, of variables here and in the environment."""
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
"""Where a word begins in ``accessToken``."""
_FORMATS = [
    re.compile(text)  # each begins with plain text, for which re has a fast search
    for text in (
        rb"-----BEGIN [A-Z ]*PRIVATE KEY-----",
        rb"AKIA[0-9A-Z]{16}(?![0-9A-Za-z])",  # AWS
        rb"ASIA[0-9A-Z]{16}(?![0-9A-Za-z])",
        rb"gh[pousr]_[0-9A-Za-z]{36}",  # GitHub
        rb"github_pat_[0-9A-Za-z_]{60}",
        rb"hf_[0-9A-Za-z]{30}",  # Hugging Face
        rb"sk-(?:ant-|proj-)?[0-9A-Za-z_-]{32}",  # OpenAI, Anthropic
        rb"xox[abprs]-[0-9A-Za-z-]{20}",  # Slack
        rb"AIza[0-9A-Za-z_-]{35}",  # Google
        rb"ya29\.[0-9A-Za-z_-]{30}",  # Google OAuth
    )
]
"""What the keys of well-known services look like."""
_BEFORE = re.compile(rb"(?s:^|[^0-9A-Za-z]|[\x8cC].)\Z")
"""What may stand before one: no other letter, but for the length of a short text in a pickle."""
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


def secret_among(objects: Iterable[Any]) -> list[Any]:
    """Return the first object that is the environment or was made to hold credentials, if there is one."""
    by_kind = {type(value): value for value in objects}
    return [value for kind, value in by_kind.items() if _holds_credentials(kind)][:1]


def _holds_credentials(kind: type) -> bool:
    module, name = str(kind.__module__), kind.__name__
    return kind is type(os.environ) or any(
        module.startswith(start) and any(part in name for part in parts) for start, parts in _CLASSES
    )


def tells_secret(name: str, value: Any) -> bool:
    """Return whether the variable `name` holds a secret by what it is called."""
    words = _HUMP.sub("_", name)
    return isinstance(value, (str, bytes)) and bool(value) and bool(_TELLING.search(words))


def in_environment() -> dict[str, bytes]:
    """Return the secrets that the environment holds, by name."""
    return {
        name: value.encode("utf-8", "surrogateescape")
        for name, value in os.environ.items()
        if _TELLING.search(name) and len(value) >= _SHORTEST
    }


def secret_in(stream: Sequence[bytes | bytearray | memoryview], own: Mapping[str, bytes]) -> str:
    """Return what secret text there is in a pickle stream, in a few words; empty when there is none.

    Args:
        stream: It.
        own: What `in_environment` returns.
    """
    for data in map(bytes, stream):
        for name, value in own.items():
            if value in data:
                return f"the value of the environment variable {name}"
        for form in _FORMATS:
            if any(_BEFORE.search(data[max(0, m.start() - 2) : m.start()]) for m in form.finditer(data)):
                return "the key of a service"
    return ""
