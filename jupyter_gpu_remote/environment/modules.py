"""The modules in a notebook's folder that its cells import, and what those import in turn."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path

from .reading import Reading, read_module

_MOST = 500
"""Files that are followed; a folder with more is no notebook's own code."""
_LARGEST = 1_000_000
"""Bytes of a file that people write."""


def follow(folder: Path, reading: Reading) -> Reading:
    """Return what is read in cells, with what the modules and scripts of the folder add.

    Names of modules that lie in the folder are left out of its imports.
    """
    search = Search(folder)
    search.take(reading, None)
    search.run()
    return search.found


class Search:
    """Follows imports from file to file.

    Args:
        folder: The notebook's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.found = Reading()
        self._folder = folder
        inside = (Path(entry).resolve() for entry in sys.path if entry)
        self._roots = list(
            dict.fromkeys([folder, *(p for p in inside if p.is_relative_to(folder) and _is_code(p))])
        )
        self._todo: list[Path] = []
        self._seen: set[Path] = set()

    def run(self) -> None:
        """Read until nothing new is found."""
        while self._todo and len(self._seen) < _MOST:
            file = self._todo.pop()
            if file in self._seen:
                continue
            self._seen.add(file)
            try:
                if file.stat().st_size > _LARGEST:
                    continue
                source = file.read_text("utf-8")
            except (OSError, ValueError):
                continue
            self.take(read_module(source), file)

    def take(self, reading: Reading, file: Path | None) -> None:
        """Take in what a file, or a cell, needs."""
        local = {name for name in reading.imports if self._is_here(name, self._roots)}
        local |= {name for name in reading.imports if name.partition(".")[0] in reading.written}
        for name in reading.relative if file else ():
            base = file.parent if file else self._folder
            dots = len(name) - len(name.lstrip("."))
            for _ in range(dots - 1):
                base = base.parent
            self._is_here(name.lstrip("."), [base])
        for name in reading.scripts:
            self._enter(self._folder / name)
        self.found.add(
            Reading(
                imports=reading.imports - local,
                optional=reading.optional - local,
                pip=reading.pip,
                conda=reading.conda,
            )
        )

    def _is_here(self, name: str, roots: Iterable[Path]) -> bool:
        """Return whether a module lies below one of `roots`; its files are followed."""
        parts = name.split(".")
        for root in roots:
            path, here = root, False
            for part in parts:
                path = path / part
                if path.with_suffix(".py").is_file():
                    self._enter(path.with_suffix(".py"))
                    here = True
                    break
                if (path / "__init__.py").is_file():
                    self._enter(path / "__init__.py")
                    here = True
                elif not _is_code(path):
                    break
                else:
                    here = True
            if here:
                return True
        return False

    def _enter(self, file: Path) -> None:
        if file.is_file() and file.resolve().is_relative_to(self._folder):
            self._todo.append(file)


def _is_code(folder: Path) -> bool:
    """Return whether a folder without ``__init__.py`` holds modules, and not an environment's packages."""
    if "site-packages" in folder.parts:
        return False
    try:
        with os.scandir(folder) as entries:
            return any(entry.name.endswith(".py") for entry in entries)
    except OSError:
        return False
