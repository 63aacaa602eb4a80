"""Which kernels there are: started, adopted, watched, replaced, ended."""

from __future__ import annotations

import functools
import re
import shutil
import signal
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

from . import process
from .folder import Folder
from .kernels import Kernel
from .loop import Loop
from .spare import Spare
from .watch import watch as watch_folder

_YOUNG = 10.0
"""Seconds: a kernel that dies younger and has run nothing would only die again."""
_SPENT = "it was restarted"
_KERNEL_NAME = re.compile(r"[\w-][\w.:@+-]{0,149}")


class Keeper:
    """The kernels of one machine, and the folders they work in.

    Args:
        root: Folder of everything the agent keeps.
        sockets: Folder for unix sockets.
        loop: Tells when a kernel has sent something or has ended.
        on_end: Called with a kernel that has ended for good; its journal is deleted afterwards.
    """

    def __init__(self, root: Path, sockets: Path, loop: Loop, on_end: Callable[[Kernel], None]) -> None:
        self.kernels: dict[str, Kernel] = {}
        self.spare = Spare(root / "spare", sockets)
        self.folders: dict[str, Folder] = {}
        self._root = root
        self._sockets = sockets
        self._loop = loop
        self._on_end = on_end

    def kernel(self, name: str) -> Kernel:
        """Return the kernel called `name`; raise `LookupError` when there is none."""
        if name not in self.kernels:
            raise LookupError(f"there is no kernel {name}")
        return self.kernels[name]

    def journals(self, path: str) -> dict[str, Path]:
        """Return the journals of the kernels that work in the folder `path`, by a name each has for good."""
        mine = [kernel for kernel in list(self.kernels.values()) if kernel.facts["cwd"] == path]
        return {f"{kernel.id}-{kernel.facts['birth'][:12]}": kernel.journal.folder for kernel in mine}

    def hand_over_at(self, marks: Mapping[str, str]) -> None:
        """Leave what kernels publish after these marks to the next agent; without one, to nobody."""
        for kernel in self.kernels.values():
            kernel.hand_over_at, kernel.handed_over = marks.get(kernel.id, ""), False

    def folder(self, path: str) -> Folder:
        """Return the one `Folder` of a path, which knows whether it has changed since it was scanned."""
        if path not in self.folders:
            self.folders[path] = Folder(Path(path), watch_folder(path), create=True)
        return self.folders[path]

    def adopt(self, kernels: list[Kernel], crashed: bool) -> None:
        """Take over kernels that an earlier agent started; their sockets are open.

        Args:
            kernels: The kernels.
            crashed: Whether that agent ended by itself, so that nobody listened for a while.
        """
        for kernel in kernels:
            kernel.open_journal()
            kernel.heard, kernel.has_run = True, bool(kernel.cells.executions)
            self.kernels[kernel.id] = kernel
            self._attend(kernel)
            if crashed and kernel.cells.running:
                kernel.event(unheard=list(kernel.cells.running))
            kernel.ask_what_is_over()
            self.spare.want(kernel.facts["python"])

    def start(
        self, name: str, python: str, cwd: str, env: dict[str, str], watch: bool = False, once: bool = False
    ) -> Kernel:
        """Start a kernel, out of the spare one if that fits; its process ends after a cell that runs `once`.

        Raises:
            ValueError: The name can be no file's.
            OSError: There is no such Python, or the folder cannot be made.
        """
        if not _KERNEL_NAME.fullmatch(name):
            raise ValueError(f"{name!r} can't be the name of a kernel")
        folder = self._root / "kernels" / name
        shutil.rmtree(folder, ignore_errors=True)  # of a kernel that is gone
        Path(cwd).mkdir(parents=True, exist_ok=True)
        kernel = self.spare.take(python, env)
        try:
            if kernel:
                kernel.assign(name, folder, cwd, env)
            else:
                kernel = Kernel(name, folder, self._sockets)
                kernel.start(python, cwd, env)
                kernel.open_journal()
            kernel.facts.update(birth=uuid.uuid4().hex, watched=watch, once=once)
            kernel.process.save()
        except OSError:
            if kernel:
                kernel.disconnect()
                kernel.process.remove()
            raise
        self.kernels[name] = kernel
        self._attend(kernel)
        self.spare.want(python)
        return kernel

    def look_around(self) -> None:
        """Notice what no event tells: a process that hangs as it starts, and on an old Linux its end."""
        for kernel in list(self.kernels.values()):
            age = time.time() - kernel.facts["created"]
            if not kernel.heard and age > process.START_LIMIT:
                kernel.process.end_for(f"it said nothing in the {age:.0f} s after its start")
            over = any(outcome["status"] != "refused" for outcome in kernel.cells.outcomes.values())
            if kernel.facts.get("once") and over and not kernel.cells.running:
                kernel.facts["once"] = False
                self.respawn(kernel, _SPENT)  # what it held of memory, here and on the GPU, is free again
            if kernel.process.pidfd < 0 and not kernel.process.alive():
                self._died(kernel)

    def _attend(self, kernel: Kernel) -> None:
        for channel, zmq_socket in kernel.sockets.items():
            self._loop.listen(zmq_socket, functools.partial(self._receive, kernel, channel))
        if kernel.process.pidfd >= 0:
            self._loop.listen(kernel.process.pidfd, lambda _: self._died(kernel))
        if kernel.facts.get("watched"):
            kernel.work = self.folder(kernel.facts["cwd"])

    @staticmethod
    def _receive(kernel: Kernel, channel: int, _: int) -> None:
        kernel.receive(channel)

    def _detach(self, kernel: Kernel) -> None:
        for zmq_socket in kernel.sockets.values():
            self._loop.ignore(zmq_socket)
        if kernel.process.pidfd >= 0:
            self._loop.ignore(kernel.process.pidfd)
        kernel.disconnect()

    def _died(self, kernel: Kernel) -> None:
        kernel.drain()
        cause = kernel.process.cause_of_death()
        if words := kernel.process.last_words():
            cause += f"; it said: {words}"
        age = time.time() - kernel.facts["created"]
        if kernel.heard and (kernel.has_run or age > _YOUNG):
            self.respawn(kernel, cause)
        else:
            self.end(kernel, cause)

    def respawn(self, kernel: Kernel, cause: str) -> None:
        """Replace a kernel's process, and say why."""
        self._detach(kernel)
        kernel.process.signal(signal.SIGKILL)
        facts = kernel.facts
        try:
            kernel.start(facts["python"], facts["cwd"], facts["env"])
        except OSError as e:
            return self.end(kernel, f"{cause}, and could not be started again: {e}")
        kernel.cells.died(time.time())
        kernel.event(died=cause, again=True, at=time.time())
        self._attend(kernel)

    def end(self, kernel: Kernel, cause: str) -> None:
        """End a kernel for good, and say why."""
        if self.kernels.pop(kernel.id, None) is None:
            return
        self._detach(kernel)
        kernel.event(died=cause, again=False, started=kernel.heard)
        self._on_end(kernel)
        kernel.process.remove()
