"""A job: a cell or a script that runs unattended, in a kernel of its own on its machine.

The machine has all that it puts out in its kernel's journal, so a job needs nobody here: whoever asks for it
later, in whichever process, reads it from there.
"""

from __future__ import annotations

import concurrent.futures
import threading
import time
from collections.abc import Callable
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..agent import wire
from ..config import GpuRemote
from ..errors import GpuRemoteError, JobError, KernelDiedError, MachineNotFoundError
from ..exchange.ledger import Ledger
from ..exchanging import exchange_with
from ..jobtable import JobRow, JobState
from ..kernel import RemoteKernel
from ..messages import Execution, Listener, Message
from ..raised import remote_error
from ..registry import Registry
from ..storage.kept import KeptOutputs, place_of
from ..storage.urls import Bucket
from ..sync.movers import silent
from ..synced import remote_folder_of
from .attach import Replay
from .outcome import refresh, refresh_one
from .visit import Visit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .begin import Running

_INTERRUPT_LIMIT = 5.0
"""Seconds that a cell may take to end after an interrupt, before its process is ended."""
_LOOK = 0.1
"""Seconds between two looks at what becomes of a job that is being cancelled."""

begun_here: dict[tuple[Path, int], Running] = {}
"""Jobs that this process has begun and that go on, by registry and number."""


class Outputs:
    """Passes a job's messages on, and keeps its result.

    Args:
        to: Who sees them.
    """

    def __init__(self, to: Listener | None = None) -> None:
        self.text = ""
        """What the last expression was."""
        self.begun = threading.Event()
        self._to = to

    def message(self, message: Message) -> None:
        """Take a message."""
        if message.channel == wire.IOPUB:
            if message.type == "execute_result":
                self.text = str(message.content["data"].get("text/plain", ""))
            elif message.type == "execute_input":
                self.begun.set()
        if self._to is not None:
            self._to.message(message)

    def connection(self, text: str) -> None:
        """Nothing is said of a connection that nobody waits for; it comes back by itself."""


class Job:
    """A job, also one that another process has begun; `run` is it where this one has.

    Args:
        row: What is written down of it.
        config: The user's settings.
        registry: Where that is written down.
    """

    def __init__(self, row: JobRow, config: GpuRemote, registry: Registry) -> None:
        self.id, self.machine, self.title = row.id, row.machine, row.title
        self.registry = registry
        self._config = config
        self.run = begun_here.get((registry.path, row.id))

    def __repr__(self) -> str:
        return f"Job {self.id} · {self.machine} · {self.title} · {self.row.state.value}"

    @property
    def row(self) -> JobRow:
        """What is known of it here, without asking its machine."""
        return self.registry.jobs.get(self.id)

    @property
    def state(self) -> str:
        """``running``, ``done``, ``failed``, ``cancelled`` or ``lost``."""
        if self.run is None:
            refresh(self.registry, self._config, [self.row])
        return self.row.state.value

    @property
    def done(self) -> bool:
        """Whether it has ended, however."""
        return self.state != JobState.RUNNING.value

    def wait(self, timeout: float | None = None) -> str:
        """Wait for its end; return its state.

        Args:
            timeout: Seconds; None for as long as it takes.

        Raises:
            TimeoutError: It goes on.
            GpuRemoteError: Its machine does not answer.
        """
        if self.run is not None:
            if not self.run.closed.wait(timeout):
                raise TimeoutError(f"Job {self.id} is still running.")
        elif not self.done:
            with self.replay(None) as (execution, _):
                self._wait_for(execution, timeout)
        return self.state

    def _wait_for(self, execution: Execution, timeout: float | None) -> None:
        if not concurrent.futures.wait((execution.future,), timeout).done:
            raise TimeoutError(f"Job {self.id} is still running.")
        self.note_end(execution)

    def result(self, timeout: float | None = None) -> str:
        """Wait for its end, and return what its last expression was, as text.

        Args:
            timeout: Seconds; None for as long as it takes.

        Raises:
            Exception: What it raised.
            TimeoutError: It goes on.
            JobError: It is lost.
            GpuRemoteError: Its machine does not answer.
        """
        if self.run is not None:
            self.wait(timeout)
            return _result(self.run.execution, self.run.outputs)
        with self.replay(None) as (execution, outputs):
            self._wait_for(execution, timeout)
            return _result(execution, outputs)

    def get(self, *names: str) -> Any:
        """Return variables that it has bound; a tuple where there are several names.

        Raises:
            VariableError: One does not exist there, or can't come here.
            JobError: Its variables are gone.
        """
        values: dict[str, Any] = {}
        with self._there() as there:
            patience = self._config.reconnect_timeout
            kernel = RemoteKernel(self.row.kernel, there.live.connect, None, Outputs(), patience)
            with closing(kernel):
                _open(kernel, self.row)
                cwd = remote_folder_of(there.live, Path(self.row.folder))
                where = there.live, kernel, cwd, self.registry, self._config, silent
                exchange = exchange_with(*where, values, Ledger(values))
                done = False
                while not done:
                    outgoing = exchange.pack("", get=names, auto=False)
                    asked = kernel.execute("", silent=True, store_history=False, gpu_remote=outgoing.wish)
                    done = exchange.settle(outgoing, asked.future.result())
        return values[names[0]] if len(names) == 1 else tuple(values[name] for name in names)

    def cancel(self) -> str:
        """End it, by an interrupt, or with its process where that does not help; return its state.

        Raises:
            GpuRemoteError: Its machine does not answer.
        """
        if self.done:
            return self.row.state.value
        row = self.row
        with self._there() as there:
            there.request("interrupt", kernel=row.kernel, cell=row.cell)
            end = time.monotonic() + _INTERRUPT_LIMIT
            while _runs(there, row) and time.monotonic() < end:
                time.sleep(_LOOK)
            if _runs(there, row):
                # before its kernel dies of it, which whoever watches would call a failure
                self.registry.jobs.end(self.id, JobState.CANCELLED)
                there.request("restart", kernel=row.kernel)
        self.registry.jobs.end(self.id, JobState.CANCELLED)
        return self.row.state.value

    def forget(self) -> None:
        """Remove it from the list, and its kernel from its machine, with its outputs and variables."""
        with suppress(GpuRemoteError), self._there() as there:
            there.request("stop", kernel=self.row.kernel)
        self.registry.jobs.forget(self.id)

    @contextmanager
    def replay(
        self, listener: Listener | None, begin: Callable[[Execution], None] = lambda _: None
    ) -> Iterator[tuple[Execution, Outputs]]:
        """Bring all its messages from its first one on, and go on with those to come.

        Args:
            listener: Gets them.
            begin: Called with its execution before the first one.
        """
        row, outputs = self.row, Outputs(listener)
        if (place := self._kept_in()) is not None:
            yield self._from(place, outputs, begin), outputs
            return
        with self._there() as there:
            try:
                connect, patience = there.live.connect, self._config.reconnect_timeout
                shown = Replay(row.kernel, connect, patience, outputs, row.cell)
            except GpuRemoteError as e:
                raise self._gone(e) from None
            with closing(shown.kernel):
                yield shown.start(begin), outputs

    def _kept_in(self) -> Bucket | None:
        """Return where its outputs are kept if its machine is gone."""
        with suppress(MachineNotFoundError):
            if self.registry.get(self.machine).state.final:
                return place_of(self.registry, self.machine, self.row.folder)
        return None

    def _from(self, place: Bucket, outputs: Outputs, begin: Callable[[Execution], None]) -> Execution:
        """Bring what a bucket has of it, and how it ended if that is there, too."""
        row, kept = self.row, KeptOutputs(place, self.row.kernel)
        execution, outcome = kept.show_cell(outputs, begin, row.cell)
        if outcome:
            refresh_one(self.registry, row, outcome)
        if outcome.get("status") == "ok":
            execution.future.set_result({"status": "ok"})
        else:
            execution.fail(
                JobError(
                    f"Job {self.id} is no more, nor is {row.machine}. What it put out until {kept.until} came"
                    f" from {place}.",
                    hint=f"`%remote cp {place} .` fetches its files.",
                )
            )
        return execution

    @contextmanager
    def _there(self) -> Iterator[Visit]:
        row = self.row
        try:
            machine = self.registry.get(row.machine)
            if machine.state.final:
                raise MachineNotFoundError(f"{row.machine} has ended.")
        except MachineNotFoundError as e:
            raise self._gone(e) from None
        with Visit(machine, self._config, self.registry) as there:
            yield there

    def _gone(self, why: GpuRemoteError) -> JobError:
        return JobError(f"What job {self.id} left cannot be had any more: {why.message}")

    def note_end(self, execution: Execution) -> None:
        """Write down what became of it; nothing where that is not known, as after a lost connection."""
        future = execution.future
        if not future.done():
            return
        error = future.exception()
        if isinstance(error, KernelDiedError):
            self.registry.jobs.end(self.id, JobState.FAILED, "its kernel died")
        elif error is None:
            reply = future.result()
            refresh_one(self.registry, self.row, {"status": reply["status"], "error": reply.get("ename", "")})


def _open(kernel: RemoteKernel, row: JobRow) -> None:
    try:
        kernel.open()
    except GpuRemoteError as e:
        raise JobError(f"The kernel of job {row.id} is gone, with its variables: {e.message}") from None


def _result(execution: Execution, outputs: Outputs) -> str:
    reply = execution.future.result()
    if reply["status"] != "ok":
        raise remote_error(reply, shown=False)
    return outputs.text


def _runs(there: Visit, row: JobRow) -> bool:
    told = there.request("outcomes", cells={row.kernel: row.cell})
    return bool(told.get(row.kernel, {}).get("status") == "running")
