"""Functions that run on a machine, called from Python: in a script, a test, or a notebook."""

from __future__ import annotations

import functools
import queue
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from traitlets.config import Config

from .calls import CALL, SWEEP, Hear, RemoteTraceback, Worker
from .config import GpuRemote, load_settings
from .errors import ConfigurationError, did_you_mean
from .fleet import Fleet
from .options import request
from .reaper import reap_in_background
from .registry import Registry
from .status import StatusLine, in_terminal
from .sweeps import OPTIONS, PACKAGES, called
from .sweeps.called import Space, Trial, of_function, trial_of
from .sync.movers import silent
from .synced import too_wide
from .verbs.visit import Visit, machine_for
from .wants import Wants

P = ParamSpec("P")
T = TypeVar("T")

_NOT_HERE = ("in_", "out", "auto_in", "detach", "dry_run", "machines", "launch", "engine", *OPTIONS)
"""Options of a cell that mean nothing for a function."""


class Remote:
    """A machine that runs functions.

    Found or launched when this is made. Closed, as at the end of a ``with`` statement, it is deleted if it
    was launched here.

    Args:
        folder: The folder that is kept the same on both sides; None is the current one.
        workers: How many functions run at the same time, each in a process of its own.
        keep: Whether the machine is left to end itself when nobody uses it; the next `Remote` of the same
            folder finds it.
        options: Those of ``%%remote``, by the same names: ``gpu="A100"``, ``max_price=2.5``.

    Raises:
        ConfigurationError: An option is unknown, or has a wrong value.
        GpuRemoteError: No machine is to be had.
    """

    def __init__(
        self, *, folder: str | Path | None = None, workers: int = 1, keep: bool = False, **options: Any
    ) -> None:
        self._config = _settings(options)
        self.folder = Path(folder or Path.cwd()).resolve()
        self._keep = keep
        self._registry = Registry()
        reap_in_background(self._registry)
        before = {machine.name for machine in self._registry.machines()}
        status = StatusLine(in_terminal)
        key = f"{self.folder}:python"
        machine = machine_for(request(self._config), self._config, self._registry, key, status.phase)
        status.end()
        self.machine: str = machine.name
        """The name of the machine."""
        self._launched = machine.name not in before
        self._there = Visit(machine, self._config, self._registry)
        self._sync = None
        if self._config.sync and not too_wide(self.folder):
            self._sync = self._there.sync(self.folder, silent)
            self._sync.remote_changed()
        self._wants = Wants(self.folder)
        self._pool = ThreadPoolExecutor(max(1, workers), "remote call")
        self._own = threading.local()
        self._workers: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        self._calls: set[Worker] = set()
        self._lock = threading.Lock()
        self._closed = False

    def __repr__(self) -> str:
        return f"<Remote {self.machine}{', closed' if self._closed else ''}>"

    def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function on the machine and return its value; what it prints is printed here.

        Raises:
            Exception: What the function raised; its cause has the traceback from there.
            VariableError: The function, an argument or the value can't travel.
            GpuRemoteError: The machine does not answer.
        """
        return self._result(self.submit(function, *args, **kwargs))

    def submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have a function called as soon as a worker is free, and return its future."""
        return self._pool.submit(self._do, (function, args, kwargs))

    def map(self, function: Callable[..., T], *iterables: Iterable[Any]) -> list[T]:
        """Call a function for each item, as ``map`` does; return the values in the order of the items."""
        futures = [self.submit(function, *items) for items in zip(*iterables, strict=False)]
        try:
            return [self._result(future) for future in futures]
        except BaseException:
            for future in futures:
                future.cancel()
            raise

    def sweep(
        self,
        function: Callable[..., Any],
        space: Space,
        *,
        max_trials: int = 0,
        timeout: float = 0,
        retries: int = 0,
        stop: str = "",
        optimize: str = "",
        progress: Callable[[Trial], object] | None = None,
        resume: bool = False,
    ) -> list[Trial]:
        """Call a function for each combination of values, on all GPUs of the machine, or else its cores.

        A function that takes ``report`` is given one: ``report(step=1, loss=0.5)``.

        Args:
            function: Is called with the values by their names, each time in a process that nothing else uses.
            space: ``{"lr": [0.1, 0.01], "seed": range(5)}``; a text is read as after ``--sweep lr=``, such as
                ``"log(1e-5, 1e-1)"``. Or a list of dicts.
            max_trials: The most trials; 0 for all.
            timeout: Seconds that one may take; 0 for any time.
            retries: How often one that fails is run again.
            stop: Ends one early: ``"loss > 2 after 100"``.
            optimize: Chooses values by the results so far: ``"min loss"``; `max_trials` says how many times.
            progress: Told of each trial that has ended, from another thread.
            resume: Whether trials that ended well in an earlier call, also of another process, are not run
                again: of a function of this name over this space. Their values are as JSON keeps them.

        Returns:
            The trials, in order; those too that failed.

        Raises:
            ConfigurationError: The space can't be read.
            GpuRemoteError: The machine does not answer, or the trials could not begin.
        """
        sweep, lists = of_function(space, max_trials, timeout, retries, stop, optimize)
        self._wants.ran(PACKAGES[bool(optimize)])
        called.begin(function, sweep, lists, self.folder, resume)
        hear = functools.partial(called.take, folder=self.folder, progress=progress)
        rows = self._result(self._pool.submit(self._do, (function, sweep, lists), SWEEP, hear))
        return [trial_of(row, sweep["name"]) for row in rows]

    def interrupt(self) -> None:
        """Interrupt the functions that run there."""
        with self._lock:
            for worker in self._calls:
                worker.kernel.interrupt()

    def close(self) -> None:
        """Wait for what runs, end the processes there, and give back a machine that was launched here."""
        if self._closed:
            return
        self._closed = True
        self._pool.shutdown(wait=True)
        while not self._workers.empty():
            self._workers.get().close()
        if self._sync is not None:
            self._sync.close()
        self._there.close()
        if self._launched and not self._keep:
            Fleet(self._config, self._registry).delete(self.machine, lambda phase, text: None)
        self._registry.close()

    def __enter__(self) -> Remote:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, KeyboardInterrupt):
            self._pool.shutdown(wait=False, cancel_futures=True)
            self.interrupt()
        self.close()

    def _result(self, future: Future[T]) -> T:
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            self.interrupt()
            raise

    def _do(self, work: tuple[Any, ...], code: str = CALL, hear: Hear = lambda content: None) -> Any:
        """Do some work, in the thread of a worker."""
        worker: Worker | None = getattr(self._own, "worker", None)
        if worker is None or not worker.kernel.is_open:
            worker = self._own.worker = Worker(
                self._there, self.folder, self._registry, self._config, self._wants, self._lock
            )
            self._workers.put(worker)
        if self._sync is not None:
            self._warn(self._sync.push().warnings())
        with self._lock:
            self._calls.add(worker)
        try:
            worker.printer.hear = hear
            well, value, told = worker.call(work, code)
        finally:
            with self._lock:
                self._calls.discard(worker)
            if worker.files_changed and self._sync is not None:
                self._sync.remote_changed()
                self._warn(self._sync.pull().warnings())
        if not well:
            raise value from RemoteTraceback(told)
        return value

    @staticmethod
    def _warn(warnings: list[str]) -> None:
        for warning in warnings:
            print(warning, file=sys.stderr)


def _settings(given: dict[str, Any]) -> GpuRemote:
    known = set(GpuRemote.class_traits(option=lambda tag: tag is not None)) - set(_NOT_HERE)
    for name in given:
        if name not in known:
            raise ConfigurationError(f"There is no option {name!r}.", hint=did_you_mean(name, known))
    return load_settings(Config({"GpuRemote": given}))
