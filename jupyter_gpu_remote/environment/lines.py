"""Requirement lines on their way to a machine: which replace which, and what of them holds over there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

_HASH = re.compile(r"\s+--hash[= ]\S+")
_LOCAL = re.compile(r"(==\s*[\w.!]+)\+[\w.]+")
"""A build, as of 2.5.1+cu121."""
_BUILDS = re.compile(
    r"nvidia-(cublas|cuda-|cudnn|cufft|cufile|curand|cusolver|cusparse|nccl|nvjitlink|nvshmem|nvtx|nvvm)"
    r"|(pytorch-)?triton$|jax-cuda|cuda-(bindings|pathfinder|toolkit)$"
)
_BRINGERS = {"torch", "jax", "tensorflow"}
"""What brings the `_BUILDS` that fit the machine."""
_INDEXES = re.compile(
    r"(-i|-f|--index-url|--extra-index-url|--find-links|--index|--default-index)(?:[ =]+)(\S+)"
)
_LONG = {"-i": "--index-url", "-f": "--find-links"}
_OPTIONS = re.compile(r"--(no-index|pre|prefer-binary)$|--(no-binary|only-binary)[ =]")


class Lines:
    """The lines for ``uv pip install``, by the name of what they bring.

    Args:
        folder: The notebook's folder: only paths in there exist on the machine.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notes: list[str] = []
        self._options: list[str] = []
        self._named: dict[str, list[str]] = {}

    def __iter__(self) -> Iterator[str]:
        names = _BRINGERS & self._named.keys()
        yield from self._options
        for name, lines in self._named.items():
            if not (names and _BUILDS.match(name)):
                yield from lines

    def __contains__(self, name: str) -> bool:
        return name in self._named

    @property
    def named(self) -> list[Requirement]:
        """The requirements that have a name."""
        found = []
        for lines in self._named.values():
            for line in lines:
                try:
                    found.append(Requirement(line))
                except InvalidRequirement:
                    continue
        return found

    @property
    def has_unnamed(self) -> bool:
        """Whether there is a path or an address that does not say what it brings."""
        return any(not name[:1].isalnum() for name in self._named)

    def note(self, text: str) -> None:
        """Say something once."""
        if text not in self.notes:
            self.notes.append(text)

    def option(self, line: str, base: Path | None = None) -> None:
        """Add an index or another option; PyTorch's own indexes are for the machine to choose.

        Args:
            line: It.
            base: The folder that its paths start from; the notebook's by default.
        """
        if match := _INDEXES.match(line):
            name, value = match.groups()
            if "download.pytorch.org" in value:
                return
            if name in ("-f", "--find-links") and "://" not in value:
                if (inside := self._inside(value, base or self.folder)) is None:
                    self.note(f"the folder {value} of --find-links is not on the machine")
                    return
                value = f"./{inside}"
            line = f"{_LONG.get(name, name)} {value}"
        elif not _OPTIONS.match(line):
            return
        if line not in self._options:
            self._options.append(line)

    def add(self, line: str, base: Path, *, replace: bool = False) -> None:
        """Add what stands on one line of a requirements file.

        Args:
            line: The line, without comments.
            base: The folder that its paths start from.
            replace: Whether it takes the place of what was asked of that package before.
        """
        line = _HASH.sub("", line).strip()
        editable = re.match(r"(-e|--editable)[ =]+", line)
        if line.startswith("-") and not editable:
            return self.option(line, base)
        target = line[editable.end() :].strip() if editable else line
        try:
            requirement = Requirement(target)
        except InvalidRequirement:
            return self._add_unnamed(target, base, "-e " if editable else "")
        name = canonicalize_name(requirement.name)
        if requirement.url and requirement.url.startswith("file:"):
            path = unquote(urlsplit(requirement.url).path)
            return self._add_path(path, base, "-e " if editable else "", name)
        self._put(name, target if requirement.url else _LOCAL.sub(r"\1", target), replace)

    def _put(self, name: str, line: str, replace: bool = False) -> None:
        lines = self._named.setdefault(name, [])
        if replace:
            lines.clear()
        if line not in lines:
            lines.append(line)

    def _add_unnamed(self, target: str, base: Path, prefix: str) -> None:
        if "://" in target and not target.startswith("file:"):
            self._put(f"<{target}>", prefix + target)
        elif (
            target.startswith("file:")
            or "/" in target
            or target.endswith((".whl", ".gz", ".zip"))
            or target == "."
        ):
            path = unquote(urlsplit(target).path) if target.startswith("file:") else target
            self._add_path(path, base, prefix, path)
        else:
            self.note(f"“{target}” can't be understood and is left out")

    def _add_path(self, path: str, base: Path, prefix: str, name: str) -> None:
        """Add what lies on this computer, if it travels with the folder."""
        extras = match[0] if (match := re.search(r"\[[\w, -]+\]$", path)) else ""
        inside = self._inside(path.removesuffix(extras), base)
        if inside is None:
            found = Path(base, path.removesuffix(extras)).resolve()
            self.note(
                f"{name} lies outside the notebook's folder, in {found}, and is not installed: "
                "move it in there, or install it from a git address"
            )
            return
        self._put(f"<{inside}>", f"{prefix}./{inside}{extras}")

    def _inside(self, path: str, base: Path) -> str | None:
        """Return the way from the notebook's folder to a path in it; None for others."""
        found = Path(base, path).resolve()
        return found.relative_to(self.folder).as_posix() if found.is_relative_to(self.folder) else None
