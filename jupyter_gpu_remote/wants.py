"""When to look again at what a notebook needs installed: before each cell, almost always for nothing."""

from __future__ import annotations

import json
import os
import re
import site
import sys
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .declarations import DECLARING, places

if TYPE_CHECKING:
    from .environment import Needs

_TELLS = re.compile(r"\bimport\b|\binstall\b|///|\bimport_module\b|\bremote_client\b")
"""What a cell has in it that says something about packages."""


class Wants:
    """What one notebook needs installed, as it is known so far.

    Args:
        folder: The notebook's folder.
        file: The notebook, where that is known.
    """

    def __init__(self, folder: Path, file: Path | None = None) -> None:
        self._folder = folder
        self._file = file
        self._file_stamp: tuple[int, int] | None = None
        self._saved: list[str] = []
        self._run: dict[str, None] = {}
        self._stamp: Any = None
        self._needs: Needs | None = None
        self._places = dict.fromkeys(map(str, places(folder)), 0)
        self._declaring: list[str] = []
        self._installed = site.getsitepackages()

    def ran(self, source: str) -> None:
        """Take note of a cell, whichever side it runs on."""
        if _TELLS.search(source):
            self._run[source] = None

    def folder_changed(self) -> None:
        """Look again: a module of the folder may import something else now."""
        self._stamp = None

    def any(self, env: str) -> bool:
        """Return whether the notebook may need something; `current` tells, and takes longer."""
        return env != "none" and bool(env != "auto" or self._cells_saved() or self._run or self._declared())

    def current(self, env: str, modules: Collection[str] = ()) -> Needs | None:
        """Return what the notebook needs; None when nothing at all.

        Args:
            env: ``auto``, a file, or ``none``.
            modules: What else must be importable, since variables that travel are made of it.

        Raises:
            ConfigurationError: A declaration can't be read.
        """
        for module in modules:
            if module not in sys.stdlib_module_names and module.isidentifier():
                self.ran(f"import {module}")
        sources, declared = (*self._cells_saved(), *self._run), self._declared()
        if env == "none" or not (sources or declared or env != "auto"):
            return None
        stamp = (sources, env, declared, [_changed(path) for path in self._installed])
        if stamp != self._stamp:
            from .environment import needs  # takes a moment to import

            found = needs(self._folder, sources, env)
            self._needs, self._stamp = found if found.requirements else None, stamp
        return self._needs

    def _declared(self) -> list[tuple[str, int]]:
        """Return the files that declare packages, with when they were changed."""
        changed = {place: _changed(place) for place in self._places}
        if changed != self._places:  # only then are there other files
            self._places = changed
            candidates = [os.path.join(place, name) for place in changed for name in DECLARING]  # noqa: PTH118
            self._declaring = [file for file in candidates if _changed(file)]
        return [(file, _changed(file)) for file in self._declaring]

    def _cells_saved(self) -> list[str]:
        """Return the telling cells of the notebook as it was saved last."""
        if self._file is None:
            return []
        try:
            facts = self._file.stat()
            if (stamp := (facts.st_mtime_ns, facts.st_ino)) != self._file_stamp:
                cells = json.loads(self._file.read_bytes())["cells"]
                texts = ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
                self._saved, self._file_stamp = [t for t in texts if _TELLS.search(t)], stamp
        except (OSError, ValueError, KeyError, TypeError):
            return self._saved  # it is being written, or is no notebook
        return self._saved


def notebook_file(variables: dict[str, Any]) -> Path | None:
    """Return the file of the notebook, where the frontend tells: Jupyter Server, or VS Code."""
    path = variables.get("__vsc_ipynb_file__") or os.environ.get("JPY_SESSION_NAME", "")
    return Path(path) if str(path).endswith(".ipynb") else None


def _changed(path: str) -> int:
    """Return when a file was changed last, in nanoseconds; 0 when there is none."""
    try:
        return os.stat(path).st_mtime_ns  # noqa: PTH116  # asked before each cell: Path takes thrice the time
    except OSError:
        return 0
