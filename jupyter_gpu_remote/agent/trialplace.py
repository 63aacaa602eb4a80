"""What a trial of a sweep may touch of its process: its outputs, folder and modules.

Pickled by value, as `trial` is.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .trialreports import Reports

_MOST_OUTPUT = 32 << 20
"""Bytes of output that a trial's log takes."""


class Output:
    """Takes all that the process puts out while a trial runs, also what its children do.

    Args:
        reports: Sends it.
    """

    def __init__(self, reports: Reports) -> None:
        self._reports = reports
        self._sent = 0

    def __enter__(self) -> Output:
        self._file = tempfile.TemporaryFile()  # closed below
        self._before = sys.stdout, sys.stderr
        for stream in self._before:
            stream.flush()
        self._descriptors = [os.dup(1), os.dup(2)]
        for descriptor in (1, 2):
            os.dup2(self._file.fileno(), descriptor)
        sys.stdout = sys.stderr = open(os.dup(self._file.fileno()), "w", 1, "utf-8", "replace")
        self._reports.more = self._more
        return self

    def __exit__(self, kind: object, *error: object) -> None:
        sys.stdout.close()
        sys.stdout, sys.stderr = self._before
        for descriptor, before in enumerate(self._descriptors, 1):
            os.dup2(before, descriptor)
            os.close(before)
        self._reports.end(well=kind is None)
        self._file.close()

    def write(self, text: str) -> None:
        """Add something to it."""
        sys.stderr.write(text)

    def _more(self) -> bytes:
        """Return what has come since the last time."""
        room = _MOST_OUTPUT - self._sent
        there = os.fstat(self._file.fileno()).st_size - self._sent
        text = os.pread(self._file.fileno(), min(room, there), self._sent) if room > 0 < there else b""
        self._sent += len(text)
        return text + (b"\n[the rest is left out]\n" if len(text) == room > 0 else b"")


class Place:
    """The folder and the modules of a trial; what it changes of them is undone.

    Args:
        folder: The notebook's folder.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def __enter__(self) -> Place:
        self._cwd, self._main, self._modules = os.getcwd(), sys.modules["__main__"], set(sys.modules)
        if os.path.isdir(self._folder):
            os.chdir(self._folder)
            if self._folder not in sys.path:
                sys.path.insert(0, self._folder)
        return self

    def main(self, namespace: dict[str, Any]) -> None:
        """Let what looks for ``__main__``, as pickle does, find the trial's variables."""
        module = types.ModuleType("__main__")
        module.__dict__.update(namespace)
        sys.modules["__main__"] = module

    def __exit__(self, *error: object) -> None:
        sys.modules["__main__"] = self._main
        os.chdir(self._cwd)
        # the user's own modules are as fresh as the cell
        inside = self._folder + os.sep
        for name in sys.modules.keys() - self._modules:
            file = str(getattr(sys.modules[name], "__file__", ""))
            if file.startswith(inside) and "site-packages" not in file:
                del sys.modules[name]


async def end_process() -> None:
    """End this process, and those that it has started; a coroutine, as for others Dask waits."""
    import psutil

    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            child.kill()
    os.kill(os.getpid(), signal.SIGKILL)
