"""The folder on the machine, asked through the agent."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import cast

from ..agent.manifest import (
    Applied,
    Changes,
    Content,
    Manifest,
    Outer,
    applied_from,
    manifest_from,
    pack,
    unpack,
)


class AgentFolder:
    """A `RemoteFolder` whose every answer comes from `agent.folder.answer` over there.

    Args:
        ask: Carries a question and its packed argument to the agent and returns its answer.
    """

    def __init__(self, ask: Callable[[str, bytes], bytes]) -> None:
        self._ask = ask

    def scan(self, outer: Outer = ()) -> Manifest:
        """Return what the folder holds, without what must not be made here."""
        return manifest_from(self._ask("scan", pack(list(outer))))

    def digest(self, paths: Iterable[str]) -> dict[str, str]:
        """Return a hash of the content of each file that can be read."""
        return cast("dict[str, str]", unpack(self._ask("digest", pack(list(paths)))))

    def read(self, paths: Iterable[str]) -> Content:
        """Return small files whole."""
        return {p: (mode, text) for p, (mode, text) in unpack(self._ask("read", pack(list(paths)))).items()}

    def apply(self, changes: Changes) -> Applied:
        """Put changes in place."""
        return applied_from(self._ask("apply", pack(changes)))
