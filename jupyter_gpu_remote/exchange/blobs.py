"""The blobs of variables on one machine, as seen from here: asked for, pushed, pulled, each at most once."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import BinaryIO

from ..errors import ConnectionLostError, TransportError, VariableError
from ..transport.base import Process, Transport
from ..variables import codec
from ..variables.store import Data, Store
from . import mover

Progress = Callable[[int, int, str], None]

_SOURCE = Path(mover.__file__).read_text()
_PIECE = 1 << 20
_FIRST_RATE = 50e6
"""Bytes a second that a link is believed to take until it was measured."""
_MEASURABLE = 1 << 20
_PAUSE = 1.0
_ASK_AT_ONCE = 5000
"""Names that one question to the agent holds."""


def size_of(data: Data) -> int:
    """Return the bytes of a blob."""
    return memoryview(data).nbytes


class Blobs:
    """Blobs over there and the copies of them here.

    Args:
        transport: The way there.
        python: An interpreter over there.
        folder: Where they are kept over there.
        missing: Asks the agent which of these names are not there.
        here: Where they are kept here.
        progress: Told how far a transfer is.
        patience: Seconds to go on trying when the connection is lost.
    """

    def __init__(
        self,
        transport: Transport,
        python: str,
        folder: str,
        missing: Callable[[list[str]], list[str]],
        here: Store,
        progress: Progress,
        patience: float,
    ) -> None:
        self.rate = _FIRST_RATE
        self.moved = 0
        self.here = here
        self._transport = transport
        self._argv = [python, "-I", "-c", _SOURCE]
        self._folder = folder
        self._missing = missing
        self._progress = progress
        self._patience = patience
        self._there: set[str] = set()

    def lacking(self, names: Collection[str]) -> set[str]:
        """Return which of `names` the machine does not have."""
        unknown = sorted(set(names) - self._there)
        lacking: set[str] = set()
        for at in range(0, len(unknown), _ASK_AT_ONCE):
            lacking.update(self._missing(unknown[at : at + _ASK_AT_ONCE]))
        self._there.update(set(unknown) - lacking)
        return lacking

    def forget(self) -> None:
        """Believe no longer that anything is there."""
        self._there.clear()

    def push(self, blobs: Mapping[str, Data]) -> None:
        """Bring blobs there that are not there yet; goes on after a cut with what had not arrived.

        Raises:
            VariableError: They can't be kept over there.
            TransportError: The machine does not answer any more.
        """

        def some(names: set[str]) -> int:
            return sum(size_of(blobs[name]) for name in names)

        def send(process: Process, queue: list[str], count: Callable[[int], None]) -> None:
            with contextlib.suppress(BrokenPipeError, ConnectionError):  # how it ended says why
                while name := _next(queue):
                    packed, data = codec.pack(blobs[name], self.rate)
                    process.stdin.write(mover.HEADER.pack(name.encode(), packed, size_of(data)))
                    view = memoryview(data).cast("B")
                    for at in range(0, view.nbytes, _PIECE):
                        process.stdin.write(view[at : at + _PIECE])
                    count(size_of(blobs[name]))
                    self.moved += view.nbytes
                process.stdin.close()

        self._move("receive", "sending variables", lambda: self.lacking(blobs), some, send)
        self._there.update(blobs)

    def pull(self, sizes: Mapping[str, int]) -> None:
        """Bring blobs here that are not here yet; goes on after a cut.

        Args:
            sizes: Their names, with about how large each is.

        Raises:
            VariableError: They can't be kept here.
            TransportError: The machine does not answer any more.
        """

        def receive(process: Process, queue: list[str], count: Callable[[int], None]) -> None:
            asking = threading.Thread(target=_ask, args=(process, queue), daemon=True)
            asking.start()
            while header := _read(process.stdout, mover.HEADER.size):
                name, packed, size = mover.HEADER.unpack(header)
                data = _read(process.stdout, size)
                if len(data) < size:
                    break
                self.here.put(name.decode(), data, packed)
                count(sizes[name.decode()])
                self.moved += size
            asking.join()

        def wanted() -> set[str]:
            return {name for name in sizes if name not in self.here}

        self._move("send", "fetching variables", wanted, lambda some: sum(sizes[n] for n in some), receive)
        self._there.update(sizes)

    def _move(
        self,
        what: str,
        title: str,
        left: Callable[[], set[str]],
        size: Callable[[set[str]], int],
        work: Callable[[Process, list[str], Callable[[int], None]], None],
    ) -> None:
        """Work until nothing is left to do, through lost connections."""
        total, before, since = 0, 0, time.monotonic()
        while True:
            try:
                if not (todo := left()):
                    return
                total = total or size(todo)
                before = total - size(todo)
                self._attempt(what, title, todo, before, total, work)
                since = time.monotonic()
            except ConnectionLostError:
                if time.monotonic() - since > self._patience:
                    raise
                self._progress(before, total, f"{title} · connection lost, trying again")
                time.sleep(_PAUSE)
                with contextlib.suppress(TransportError):
                    self._transport.open()

    def _attempt(
        self,
        what: str,
        title: str,
        todo: set[str],
        before: int,
        total: int,
        work: Callable[[Process, list[str], Callable[[int], None]], None],
    ) -> None:
        queue, moved, began = sorted(todo), [before], time.monotonic()

        def count(size: int) -> None:
            moved[0] += size

        start = self.moved
        lanes = self._transport.lanes(total - before)
        processes: list[Process] = []
        with ThreadPoolExecutor(len(lanes)) as pool:
            try:
                ends: set[Future[None]] = set()
                for lane in lanes:
                    process = lane.popen([*self._argv, what, self._folder])
                    processes.append(process)
                    ends.add(pool.submit(_run, process, queue, count, work))
                while ends:
                    done, ends = wait(ends, timeout=0.1, return_when="FIRST_COMPLETED")
                    for end in done:
                        end.result()
                    self._progress(moved[0], total, title)
            except BaseException:
                queue.clear()
                for process in processes:
                    process.kill()
                raise
            finally:
                for process in processes:
                    process.close()
        if self.moved - start >= _MEASURABLE:
            self.rate = (self.moved - start) / max(time.monotonic() - began, 1e-3)


def _run(
    process: Process,
    queue: list[str],
    count: Callable[[int], None],
    work: Callable[[Process, list[str], Callable[[int], None]], None],
) -> None:
    work(process, queue, count)
    said = process.stderr.read().decode("utf-8", "replace").strip()
    if code := process.wait(60):
        if "No space left" in said:
            raise VariableError(
                "The disk of the machine is full: the variables could not be kept there.",
                billed="The machine still runs.",
                hint="Make room: `!df -h ~` in a remote cell; `!rm` what is no longer needed.",
            )
        raise VariableError(
            f"Moving variables failed on the machine: {said.rpartition(chr(10))[2] or f'exit code {code}'}.",
            billed="The machine still runs.",
        )


def _next(queue: list[str]) -> str:
    try:
        return queue.pop()
    except IndexError:
        return ""


def _ask(process: Process, queue: list[str]) -> None:
    with contextlib.suppress(OSError, ValueError):
        while name := _next(queue):
            process.stdin.write(name.encode() + b"\n")
        process.stdin.close()


def _read(source: BinaryIO, size: int) -> bytearray:
    """Return so many bytes, fewer at the end."""
    data = bytearray(size)
    done = 0
    with memoryview(data) as view:
        while done < size and (got := source.readinto(view[done:])):  # type: ignore[attr-defined]
            done += got
    return data if done == size else data[:done]
