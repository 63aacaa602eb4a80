"""Packages become importable in a kernel that runs already; an import that needs them waits for them.

Runs in the kernel's process, on nothing but the standard library.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import os
import re
import shutil
import site
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from .packages import FAILED, INSTALLING, READY, is_under_way, read
from .wanted import plain

_PAUSE = 0.05
_LOOK_EVERY = 1.0
"""Seconds between looks at whether somebody is still at work."""
_SHELL_LINE = re.compile(r"(?m)^[ \t]*(?:[\w, ]+=[ \t]*)?(?:!+|%(?:sx|system)\b|%(?=pip\b|uv\b))[ \t]*(.*)")
_SHELL_CELL = re.compile(r"\s*%%(?:!|bash\b|sh\b|script\b|sx\b|system\b)")
_PYTHON = re.compile(r"(?<![\w-])(?:python|pip|uv)[\d.]*(?![\w-])")

on_switch: list[Callable[[], None]] = []
"""Called when other packages can be imported than before."""

_BUILT_IN = {"alias", "cd", "export", "for", "if", "set", "source", "ulimit", "umask", "until", "while"}


class Packages:
    """The packages of this kernel's notebook.

    What they bring is on `sys.path` once they are installed, before the kernel's own packages. A module that
    the kernel has imported before stays as it is.
    """

    def __init__(self) -> None:
        self._file = ""
        self._stamp: tuple[int, int] | None = None
        self._state: dict[str, Any] = {}
        self._path = ""
        self._added: list[str] = []
        self._on_behalf = False
        self._own = sys.executable, os.environ.get("PATH", ""), os.environ.get("VIRTUAL_ENV")

    def activate(self, file: str, code: str = "") -> None:
        """Use the packages of an environment, from when on it is ready; those of another one until then.

        Call it before each cell. It returns at once, unless the cell runs Python in a shell, which can't wait
        by itself.

        Args:
            file: Where the environment's state lies; empty for none.
            code: The cell that is about to run.

        Raises:
            KeyboardInterrupt: The user does not want to wait.
        """
        if file != self._file:
            self._file, self._stamp, self._state = file, None, {}
        if not file:
            return self._switch("")
        if self not in sys.meta_path:
            sys.meta_path.insert(0, _First(self))
            sys.meta_path.append(self)
        if self._look() == INSTALLING and runs_python(code):
            self._wait()

    @property
    def has_failed(self) -> bool:
        """Whether the packages could not be installed, when that was last looked at."""
        return self._state.get("state") == FAILED

    @property
    def step(self) -> str:
        """What is being done, while they are installed."""
        return str(self._state.get("step", "")) if self._look() == INSTALLING else ""

    @contextlib.contextmanager
    def on_behalf(self) -> Iterator[None]:
        """Have imports in here wait as those of a cell do: of what is unpickled for it."""
        self._on_behalf = True
        try:
            yield
        finally:
            self._on_behalf = False

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a module that nobody else has found, once the packages are there.

        Raises:
            ModuleNotFoundError: It can't be there, for a reason that is known.
        """
        top, _, below = name.partition(".")
        # what a regular package lacks, no other package brings
        if not self._file or (below and getattr(sys.modules.get(name.rpartition(".")[0]), "__file__", None)):
            return None
        before, state = self._path, self._look()
        modules = self._state.get("modules")
        if (modules and top not in modules) or not (self._on_behalf or _is_for_user(sys._getframe(1))):
            return None
        if state == INSTALLING:
            self._wait()
        if self._path != before:
            for finder in sys.meta_path:
                found = None if finder is self else finder.find_spec(name, path, target)
                if found:
                    return found
        if reason := self._why_missing(top):
            raise ModuleNotFoundError(f"No module named {name!r}: {reason}", name=name)
        return None

    def wait_for(self, top: str) -> None:
        """Wait for a module that the packages bring, though the kernel's own Python may have it, too."""
        if not self._file or top not in (self._state.get("modules") or ()) or self._look() != INSTALLING:
            return
        if self._on_behalf or _is_for_user(sys._getframe(1)):
            self._wait()

    def _why_missing(self, top: str) -> str:
        source = self._state.get("source", "")
        if self._state.get("state") == FAILED:
            because = f"{self._state['error']} {self._state['hint']}"
            return f"the packages of {source} could not be installed. {because}"
        missing: dict[str, str] = self._state.get("missing") or {}
        # which package has a module of another name is known to nobody here
        certain = {name: why for name, why in missing.items() if plain(name) == plain(top)}
        if not certain and top in (self._state.get("modules") or ()):
            certain = missing
        reasons = (
            f"{name} of {source} can't be had for this machine ({why})" for name, why in certain.items()
        )
        return "; ".join(reasons)

    def _look(self) -> str:
        """Read how far the installation is, if that has changed; return it."""
        try:
            facts = Path(self._file).stat()
        except OSError:
            return ""
        if (stamp := (facts.st_mtime_ns, facts.st_ino)) != self._stamp:
            self._stamp, self._state = stamp, read(Path(self._file))
        state = str(self._state.get("state", ""))
        if state == READY:
            self._switch(self._state["path"])
        return state

    def _wait(self) -> None:
        """Wait for the end of the installation; say how far it is."""
        line, began = Line(), time.monotonic()
        looked = 0.0
        what = f"packages of {self._state['source']}" if self._state.get("source") else "packages"
        while self._look() == INSTALLING:
            waited = time.monotonic() - began
            if waited - looked > _LOOK_EVERY:
                looked = waited
                if not is_under_way(Path(self._file)) and self._look() == INSTALLING:
                    self._state.update(
                        state=FAILED, error="The installation ended half-way.", hint="Run the cell again."
                    )
                    break
            line.show(f"{what}: {self._state.get('step', '')} · {waited:.0f} s")
            time.sleep(_PAUSE)
        outcome = "ready" if self._state.get("state") == READY else "could not be installed"
        text = f"{what}: {outcome} after {time.monotonic() - began:.0f} s"
        line.show("\n".join([text, *(f"  {note}" for note in self._state.get("notes") or ())]))
        line.end()

    def _switch(self, path: str) -> None:
        """Put the environment at `path` in the place of the one before; empty for none."""
        if path == self._path:
            return
        executable, search, virtual = self._own
        sys.path[:] = [entry for entry in sys.path if entry not in self._added]
        self._path, self._added = path, []
        if path:
            self._added = _add_site(path)
            executable = os.path.join(path, "bin", "python")  # noqa: PTH118
            search = os.pathsep.join(filter(None, (os.path.dirname(executable), search)))  # noqa: PTH120
            virtual = path
        sys.executable, os.environ["PATH"] = executable, search
        if virtual:
            os.environ["VIRTUAL_ENV"] = virtual
        else:
            os.environ.pop("VIRTUAL_ENV", None)
        importlib.invalidate_caches()
        for told in on_switch:
            told()


class _First:
    """The finder that is asked before all others; finds nothing, but may wait until they do."""

    def __init__(self, packages: Packages) -> None:
        self._packages = packages

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> None:
        if path is None:
            self._packages.wait_for(name)


def _add_site(path: str) -> list[str]:
    """Add the packages of an environment before those that are there; return what `sys.path` has gained."""
    before = list(sys.path)
    for folder in sorted(Path(path).glob("lib/python*/site-packages")):
        site.addsitedir(str(folder))
    added = [entry for entry in sys.path if entry not in before]
    # after the standard library and the notebook's folder, as always
    where = next(
        (i for i, entry in enumerate(before) if entry.endswith(("site-packages", "dist-packages"))), None
    )
    where = len(before) if where is None else where
    sys.path[:] = [*before[:where], *added, *before[where:]]
    return added


def _is_for_user(frame: FrameType | None) -> bool:
    """Return whether an import comes from a cell; the kernel's own, and those of completion, can't wait."""
    variables = sys.modules["__main__"].__dict__
    while frame and frame.f_globals is not variables:
        frame = frame.f_back
    return frame is not None


def runs_python(code: str) -> bool:
    """Return whether a cell runs Python, or a command that isn't there yet, in a shell."""
    if _SHELL_CELL.match(code):
        return bool(_PYTHON.search(code))
    for match in _SHELL_LINE.finditer(code):
        command = match[1]
        words = [word for word in command.split() if "=" not in word]
        if _PYTHON.search(command) or (words and _is_missing(words[0])):
            return True
    return False


def _is_missing(command: str) -> bool:
    return (
        bool(re.fullmatch(r"[a-z][\w.-]*", command))
        and command not in _BUILT_IN
        and not shutil.which(command)
    )


class Line:
    """A line of text that changes in its place: a display in a notebook, else standard error."""

    def __init__(self) -> None:
        self._shown = ""
        self._id = uuid.uuid4().hex

    def show(self, text: str) -> None:
        """Show a text in the place of the one before; other threads than the first say nothing."""
        if text == self._shown or threading.current_thread() is not threading.main_thread():
            return
        began, self._shown = not self._shown, text
        if "IPython" in sys.modules and sys.modules["IPython"].get_ipython():
            from IPython.display import display

            display({"text/plain": text}, raw=True, display_id=self._id, update=not began)
        else:
            print(f"\r\x1b[K{text}" if sys.stderr.isatty() else text, end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        """End the line."""
        if self._shown and "IPython" not in sys.modules:
            print(file=sys.stderr)


def versions() -> dict[str, str]:
    """Return the version of each package that can be imported here, by its name."""
    found: dict[str, str] = {}
    for name, version in _distributions():
        found.setdefault(name, version)
    return found


def _distributions() -> Iterator[tuple[str, str]]:
    for distribution in importlib.metadata.distributions():
        try:
            yield plain(distribution.metadata["Name"]), distribution.version
        except (AttributeError, KeyError, TypeError):
            continue  # what is left of a package that was removed by half
