"""Scripts and whole notebooks that run on a machine, started from a command line."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .config import GpuRemote
from .errors import ConfigurationError, GpuRemoteError, KernelDiedError
from .messages import Execution, Listener
from .model import GpuRequest, Machine
from .synced import too_wide
from .verbs.begin import Running, Work, begin
from .verbs.desk import Desk
from .verbs.job import Job
from .verbs.visit import Visit, machine_for
from .waiting import on_interrupt
from .wants import Wants

if TYPE_CHECKING:
    from .exchange import Exchange, Outgoing

_FAILED, _INTERRUPTED = 1, 130
_LOOK = 0.05
"""Seconds between looking whether Ctrl-C was pressed, where nothing wakes us."""
_SCRIPT = """\
import runpy, sys
sys.argv[:] = {argv!r}
sys.path.insert(0, {folder!r})
try:
    runpy.run_path({path!r}, run_name="__main__")
except SystemExit as end:
    if end.code not in (None, 0):
        raise
"""


def run_script(
    desk: Desk, request: GpuRequest, config: GpuRemote, path: Path, words: list[str], to: Listener
) -> int:
    """Run a script in a kernel of its own; return the exit code, at once when it is to be detached.

    Args:
        desk: Where this is said.
        request: The machine that is wanted.
        config: The user's settings.
        path: The script.
        words: What follows it.
        to: Gets its outputs.
    """
    if config.sweep:
        raise ConfigurationError(
            "A script can't be swept: --sweep binds names, which a cell has.",
            hint="Use %%remote --sweep in a notebook, or Remote.sweep in a script of yours.",
        )
    folder, inside = _place(desk, path)
    source = path.read_text(errors="replace")
    key = str(path.resolve())
    machine = machine_for(request, config, desk.registry, key, desk.report)
    desk.report("", "")
    _push(desk, machine, config, folder)

    def pack(exchange: Exchange) -> Outgoing:
        wants = Wants(folder)
        wants.ran(source)
        return exchange.pack("", auto=False, needs=lambda modules: wants.current(config.env, modules))

    def ended(job: Job, run: Running) -> None:
        if config.sync and run.execution.files_changed and not config.detach:
            _pull(desk, run.there, folder)

    code = _SCRIPT.format(argv=[str(inside), *words], folder=str(inside.parent), path=str(inside))
    title = " ".join([str(inside), *words])
    work = Work(code, title, key, folder, {}, pack, once=True)
    if config.detach:
        job = begin(machine, config, desk.registry, work)
        desk.say(
            f"job {job.id} runs on {machine.name}: `{desk.prog} attach {job.id}` shows it, "
            f"`{desk.prog} cancel {job.id}` ends it"
        )
        return 0
    presses = _Presses()
    with on_interrupt(presses.take):
        job = begin(machine, config, desk.registry, work, to, presses.aim, ended)
        return _follow(desk, job, presses)


class _Presses:
    """What Ctrl-C does: interrupts the cell once there is one; pressed again, leaves it to itself."""

    def __init__(self) -> None:
        self.left = False
        self._cell: tuple[Running, Execution] | None = None
        self._pressed = False

    def aim(self, run: Running, execution: Execution) -> None:
        """Interrupt this cell from now on."""
        self._cell = run, execution

    def take(self, *_: object) -> None:
        """Take a Ctrl-C."""
        if self._cell is None:
            raise KeyboardInterrupt
        self.left, self._pressed = self._pressed, True
        run, execution = self._cell
        threading.Thread(target=run.kernel.interrupt, args=(execution.msg_id,), daemon=True).start()


def _follow(desk: Desk, job: Job, presses: _Presses) -> int:
    """Wait for the end of a job; return its exit code."""
    run = job.run
    assert run is not None
    while not run.closed.wait(_LOOK):
        if presses.left:
            desk.say(f"\njob {job.id} goes on: `{desk.prog} cancel {job.id}` ends it")
            return _INTERRUPTED
    if run.problem:
        desk.say(run.problem)
    try:
        reply = run.execution.future.result()
    except KernelDiedError as e:
        e.hint = "Run it again."
        raise
    if reply.get("ename") == "KeyboardInterrupt":
        return _INTERRUPTED
    return 0 if reply["status"] == "ok" else _FAILED


def _place(desk: Desk, path: Path) -> tuple[Path, Path]:
    """Return the folder that goes with a file, and the file's place in it."""
    if not path.is_file():
        raise ConfigurationError(
            f"There is no file {path}.", hint=f"For example: {desk.prog} run --gpu A100 train.py -- --lr 0.1"
        )
    full, here = path.resolve(), desk.folder.resolve()
    folder = here if full.is_relative_to(here) else full.parent
    if why := too_wide(folder):
        raise ConfigurationError(why.replace("the notebook", "the file"), hint="Go to that folder then.")
    return folder, full.relative_to(folder)


def _push(desk: Desk, machine: Machine, config: GpuRemote, folder: Path) -> None:
    if config.sync:
        with (
            Visit(machine, config, desk.registry) as there,
            closing(there.sync(folder, desk.progress)) as sync,
        ):
            sync.remote_changed()
            for warning in sync.push().warnings():
                print(warning, file=sys.stderr)
        desk.report("", "")


def _pull(desk: Desk, there: Visit, folder: Path) -> None:
    try:
        with closing(there.sync(folder, desk.progress)) as sync:
            sync.remote_changed()
            warnings = sync.pull().warnings()
    except GpuRemoteError as e:
        warnings = [f"Its files could not be fetched: {e}"]
    desk.report("", "")
    for warning in warnings:
        print(warning, file=sys.stderr)


def run_notebook(desk: Desk, request: GpuRequest, config: GpuRemote, path: Path, words: list[str]) -> int:
    """Run a whole notebook, printing what it does; the executed copy is written beside it.

    Raises:
        ConfigurationError: It can't be read, or not run in that way.
    """
    if words or config.detach:
        raise ConfigurationError(
            "A notebook takes no arguments and can't be detached.", hint="Detach its cells: %%remote --detach"
        )
    import nbformat
    from nbclient.exceptions import CellControlSignal, CellExecutionError, DeadKernelError

    from .demo import execute

    _place(desk, path)
    path = path.resolve()
    try:
        content = nbformat.read(path, as_version=4)
    except (OSError, ValueError, LookupError, AttributeError, nbformat.ValidationError) as e:
        raise ConfigurationError(
            f"The notebook {path} cannot be read: {e}.", hint="Name a notebook that Jupyter opens."
        ) from e
    machine = machine_for(request, config, desk.registry, str(path), desk.report)
    desk.report("", "")
    executed = path.with_name(f"{path.stem}.executed.ipynb")
    try:
        with _environment(JPY_SESSION_NAME=str(path)):
            asyncio.run(execute(content, path.parent, _relay_kernels(machine.name), limit=None))
    except CellExecutionError:
        return _FAILED  # its error was printed
    except (CellControlSignal, DeadKernelError) as e:
        print(f"{path.name} failed: {e}", file=sys.stderr)
        return _FAILED
    finally:
        nbformat.write(content, executed)
        desk.say(f"\n{executed.name} has all outputs.")
    return 0


def _relay_kernels(machine: str) -> Any:
    """Return what knows one kernel, a relay to that machine."""
    from ipykernel.kernelspec import get_kernel_dict
    from jupyter_client.kernelspec import KernelSpec, KernelSpecManager

    command = [
        sys.executable,
        "-m",
        "jupyter_gpu_remote.kernelapp",
        "-f",
        "{connection_file}",
        "--on",
        machine,
    ]

    class Relay(KernelSpecManager):  # type: ignore[misc]  # untyped here
        def get_kernel_spec(self, kernel_name: str) -> Any:
            return KernelSpec(resource_dir="", **{**get_kernel_dict(), "argv": command, "metadata": {}})

    return Relay()


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
