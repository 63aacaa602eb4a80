"""The packages installed here, found by the names under which they are imported.

`importlib.metadata.packages_distributions` reads every file name of every package at each call; this
reads each package once for as long as it does not change.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import json
import os
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

_NAMESPACE_DEPTH = 3
"""google.cloud.storage is one package, google.cloud.bigquery another."""
_CODE = (".py", ".so", ".pyd")
_FINDER = re.compile(r"^MAPPING[^=\n]*= *(\{.*\})", re.MULTILINE)


@dataclass(frozen=True)
class Installed:
    """One package that is installed here.

    Attributes:
        name: Its normalised name.
        version: Its version.
        folder: Its ``.dist-info``, or ``.egg-info``.
    """

    name: str
    version: str
    folder: Path

    @property
    def origin(self) -> Mapping[str, Any]:
        """Where it came from, if not from an index: the content of ``direct_url.json``."""
        return _origin(self.folder)

    @property
    def source(self) -> Path | None:
        """The folder or file here that it was installed from."""
        url = str(self.origin.get("url", ""))
        return Path(unquote(urlsplit(url).path)) if url.startswith("file:") else None

    @property
    def is_editable(self) -> bool:
        """Whether it is run from its source."""
        return bool(self.origin.get("dir_info", {}).get("editable"))

    @property
    def modules(self) -> frozenset[str]:
        """What it can be imported as: top-level names, and dotted ones below a namespace of many packages."""
        return _modules(self.folder)

    def requires(self, extras: Iterable[str] = ()) -> tuple[Requirement, ...]:
        """Return what it needs itself, here, with those extras."""
        return _requires(self.folder, frozenset(extras))


class Here:
    """All packages of this Python.

    Args:
        path: Folders as in `sys.path`, which it is by default.
    """

    def __init__(self, path: Iterable[str] | None = None) -> None:
        self.packages: dict[str, Installed] = {}
        for folder in sys.path if path is None else path:
            try:
                changed = Path(folder or ".").stat().st_mtime_ns
            except OSError:
                continue
            for package in _packages(folder or ".", changed):
                self.packages.setdefault(package.name, package)
        self._owners: dict[str, list[Installed]] | None = None

    def owners(self, module: str) -> list[Installed]:
        """Return the packages that `module`, a dotted name, comes from."""
        if self._owners is None:
            owners = defaultdict(list)
            for package in self.packages.values():
                for name in package.modules:
                    owners[name].append(package)
            self._owners = dict(owners)
        parts = module.split(".")
        for depth in range(min(len(parts), _NAMESPACE_DEPTH), 0, -1):
            if found := self._owners.get(".".join(parts[:depth])):
                return found
        return []

    def closure(self, requirements: Iterable[Requirement]) -> tuple[dict[str, Installed], bool]:
        """Return what the requirements bring, by name, and whether all of it is installed here."""
        found: dict[str, Installed] = {}
        todo = [r for r in requirements if r.marker is None or r.marker.evaluate()]
        whole, seen = True, set()
        while todo:
            requirement = todo.pop()
            name = canonicalize_name(requirement.name)
            if (mark := (name, frozenset(requirement.extras))) in seen:
                continue
            seen.add(mark)
            package = self.packages.get(name)
            if package is None:
                whole = False
                continue
            found[name] = package
            todo += package.requires(requirement.extras)
        return found, whole


@functools.lru_cache(maxsize=64)
def _packages(folder: str, changed: int) -> tuple[Installed, ...]:
    found = []
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208  # names are all that is wanted, and there may be many
    except OSError:
        return ()
    for name in names:
        stem, dot, kind = name.rpartition(".")
        if dot and kind in ("dist-info", "egg-info"):
            title, _, version = stem.partition("-")
            found.append(Installed(canonicalize_name(title), version.partition("-py")[0], Path(folder, name)))
    return tuple(found)


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8", "replace")
    except OSError:
        return ""


@functools.lru_cache(maxsize=2000)
def _origin(folder: Path) -> Mapping[str, Any]:
    try:
        origin = json.loads(_text(folder / "direct_url.json") or "{}")
    except ValueError:
        return {}
    return origin if isinstance(origin, dict) else {}


@functools.lru_cache(maxsize=2000)
def _requires(folder: Path, extras: frozenset[str]) -> tuple[Requirement, ...]:
    found = []
    head = (_text(folder / "METADATA") or _text(folder / "PKG-INFO")).partition("\n\n")[0]
    for line in head.splitlines():
        if not line.startswith("Requires-Dist:"):
            continue
        with contextlib.suppress(InvalidRequirement):
            requirement = Requirement(line.partition(":")[2].strip())
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
                found.append(requirement)
    return tuple(found)


@functools.lru_cache(maxsize=2000)
def _modules(folder: Path) -> frozenset[str]:
    files = [line.partition(",")[0].strip('"') for line in _text(folder / "RECORD").splitlines()]
    # a .pth or a finder of an editable package leads to what is imported
    for file in [f for f in files if "/" not in f and f.endswith((".pth", "_finder.py"))]:
        files += _led_to(folder.parent / file)
    regular = {f.partition("/")[0] for f in files if f.endswith("/__init__.py") and f.count("/") == 1}
    found = set(regular)
    for file in files:
        if not file.endswith(_CODE) or file.startswith(("..", "__editable__")):
            continue
        *folders, last = file.split("/")
        if not folders or folders[0] not in regular:
            stem = [] if last == "__init__.py" else [last.partition(".")[0]]
            parts = [*folders, *stem][:_NAMESPACE_DEPTH]
            if all(map(str.isidentifier, parts)):
                found.add(".".join(parts))
    if not found:
        found.update(_text(folder / "top_level.txt").split())
    return frozenset(found)


def _led_to(file: Path) -> list[str]:
    """Return the modules, as files, that a ``.pth`` or a finder adds."""
    if file.suffix == ".py":
        match = _FINDER.search(_text(file))
        try:
            return (
                [f"{name.replace('.', '/')}/__init__.py" for name in ast.literal_eval(match[1])]
                if match
                else []
            )
        except (ValueError, SyntaxError):
            return []
    found = []
    for line in _text(file).splitlines():
        if (root := file.parent / line.strip()).is_dir() and not line.startswith(("#", "import")):
            found += [p.name for p in root.glob("*.py") if p.stem != "setup"]
            found += [p.relative_to(root).as_posix() for p in root.glob("*/__init__.py")]
    return found
