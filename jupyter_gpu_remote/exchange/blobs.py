"""The blobs of variables on one machine, as seen from here: asked for, pushed, pulled, each at most once."""

from __future__ import annotations

import contextlib
import functools
import io
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
_LARGE = 16 << 20
"""Bytes from which on a blob comes back as a file, over several connections where that is faster."""
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

        def send(process: Process, queue: list[str], count: Callable[[int], None]) -> None:
            with contextlib.suppress(OSError, io.UnsupportedOperation):
                mover.widen(process.stdin.fileno())
            with contextlib.suppress(BrokenPipeError, ConnectionError):  # how it ended says why
                while name := _next(queue):
                    packed, data = codec.pack(blobs[name], self.rate)
                    view = memoryview(data).cast("B")
                    process.stdin.write(mover.HEADER.pack(name.encode(), packed, view.nbytes))
                    for at in range(0, view.nbytes, _PIECE):
                        process.stdin.write(piece := view[at : at + _PIECE])
                        self.moved += len(piece)
                        count(size_of(blobs[name]) * len(piece) // view.nbytes)
                process.stdin.close()

        def attempt(todo: set[str], done: Callable[[int], None], size: int) -> None:
            self._with_processes("receive", todo, send, done, size)

        self._move("sending variables", lambda: self.lacking(blobs), lambda n: size_of(blobs[n]), attempt)
        self._there.update(blobs)

    def pull(self, files: Mapping[str, int]) -> None:
        """Bring blobs here that are not here yet; goes on after a cut.

        Args:
            files: The files that they are in over there, with their sizes.

        Raises:
            VariableError: They can't be kept over there.
            TransportError: The machine does not answer any more.
            OSError: They can't be kept here.
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
                self.moved += size
                count(size)
            asking.join()

        def attempt(todo: set[str], done: Callable[[int], None], size: int) -> None:
            if small := {file.partition(".")[0] for file in todo if files[file] < _LARGE}:
                self._with_processes("send", small, receive, done, 0)
            for file in (file for file in todo if files[file] >= _LARGE):
                told = _Count(done).at
                self._transport.get(f"{self._folder}/{file}", self.here.folder / file, told)
                self.moved += files[file]

        def left() -> set[str]:
            return {file for file in files if file.partition(".")[0] not in self.here}

        self._move("fetching variables", left, lambda file: files[file], attempt)
        self._there.update(file.partition(".")[0] for file in files)

    def _move(
        self,
        title: str,
        left: Callable[[], set[str]],
        size: Callable[[str], int],
        attempt: Callable[[set[str], Callable[[int], None], int], None],
    ) -> None:
        """Work until nothing is left to do, through lost connections."""
        total, since = 0, time.monotonic()
        tried: set[str] = set()
        while True:
            try:
                if not (todo := left()):
                    return
                if todo == tried:
                    raise VariableError(
                        f"{title.capitalize()} failed: {len(todo)} of them did not stay where they went.",
                        billed="The machine still runs.",
                        hint="Something may delete them from the store: run the cell again.",
                    )
                sizes = sum(map(size, todo))
                total = total or sizes
                count = functools.partial(self._count, [total - sizes], total, title)
                began, before = time.monotonic(), self.moved
                attempt(todo, count, sizes)
                tried = todo
                since = time.monotonic()
                if self.moved - before >= _MEASURABLE:
                    self.rate = (self.moved - before) / max(since - began, 1e-3)
            except ConnectionLostError:
                if time.monotonic() - since > self._patience:
                    raise
                self._progress(0, total, f"{title} · connection lost, trying again")
                time.sleep(_PAUSE)
                with contextlib.suppress(TransportError):
                    self._transport.open()

    def _count(self, done: list[int], total: int, title: str, moved: int) -> None:
        done[0] += moved
        self._progress(done[0], total, title)

    def _with_processes(
        self,
        what: str,
        todo: set[str],
        work: Callable[[Process, list[str], Callable[[int], None]], None],
        done: Callable[[int], None],
        size: int,
    ) -> None:
        """Have `work` do what there is with processes over there, side by side where that is faster."""
        queue, moved = sorted(todo), [0]

        def count(size: int) -> None:  # in any thread
            moved[0] += size

        lanes = self._transport.lanes(size)
        processes: list[Process] = []
        with ThreadPoolExecutor(len(lanes)) as pool:
            try:
                ends: set[Future[None]] = set()
                for lane in lanes:
                    process = lane.popen([*self._argv, what, self._folder])
                    processes.append(process)
                    ends.add(pool.submit(_run, process, queue, count, work))
                told = 0
                while ends:
                    finished, ends = wait(ends, timeout=0.1, return_when="FIRST_COMPLETED")
                    for end in finished:
                        end.result()
                    so_far = moved[0]
                    done(so_far - told)
                    told = so_far
            except BaseException:
                queue.clear()
                for process in processes:
                    process.kill()
                raise
            finally:
                for process in processes:
                    process.close()


class _Count:
    """Turns how far something is into how much was added.

    Args:
        add: Told what was added.
    """

    def __init__(self, add: Callable[[int], None]) -> None:
        self._add = add
        self._told = 0

    def at(self, done: int, total: int) -> None:
        """Take note of how far it is."""
        self._add(done - self._told)
        self._told = done


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
            hint="Run the cell again: what has arrived is not sent twice.",
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
