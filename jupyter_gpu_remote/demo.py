"""Running a notebook from the command line, cell by cell, on a machine made for it on this computer."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
from ipykernel.kernelspec import get_kernel_dict
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from nbclient import NotebookClient
from nbclient.exceptions import CellControlSignal, CellExecutionError, DeadKernelError

from .agent.folder import Folder
from .config import GpuRemote
from .errors import ConfigurationError, GpuRemoteError
from .fleet import Fleet
from .plain import plain_text
from .registry import Registry

_HERE = Path(__file__).parent
_START_LIMIT = 60
_CELL_LIMIT = 600
_FOLDER_LIMIT = 1 << 30
"""Bytes; a folder that is larger is hardly meant to be copied for this."""


def run_demo(notebook: Path | None) -> int:
    """Run a notebook, printing its cells and what they put out, and return the exit code.

    It runs in a copy of its folder, with a state folder of its own and without the user's settings, so
    it costs nothing and leaves nothing.

    Args:
        notebook: The notebook; None is the one that comes with the package.

    Raises:
        ConfigurationError: There is no such notebook, or it cannot be read.
        KeyboardInterrupt: The user had enough; its machine is gone.
    """
    source = notebook or _own_notebook()
    try:
        content = nbformat.read(source, as_version=4)
    except (OSError, ValueError, LookupError, AttributeError, nbformat.ValidationError) as e:
        raise ConfigurationError(
            f"The notebook {source} cannot be read: {e}.", hint="Name a notebook that Jupyter opens."
        ) from e
    with _signals(), tempfile.TemporaryDirectory(prefix="gpu-remote-demo-") as base:
        folder = Path(base) / (source.parent.resolve().name or "demo")
        folder.mkdir()
        if source.parent != _HERE:  # in a wheel the notebook stands alone
            _copy(source.parent.resolve(), folder)
        with _own_state(Path(base) / "state"):
            return _run(content, folder, source.name)


def _own_notebook() -> Path:
    for path in (_HERE.parent / "binder" / "demo.ipynb", _HERE / "demo.ipynb"):
        if path.exists():
            return path
    raise ConfigurationError("The demo notebook is missing.", hint="Install jupyter_gpu_remote again.")


def _copy(source: Path, target: Path) -> None:
    """Copy what a machine would get of a folder."""
    found = Folder(source).scan()
    if (total := sum(entry.size for entry in found.entries.values())) > _FOLDER_LIMIT:
        raise ConfigurationError(
            f"The folder {source} is too large to be copied for this: {total / 1e9:.1f} GB.",
            hint="Move the notebook to a folder with what it needs alone.",
        )
    for name, entry in sorted(found.entries.items()):
        if entry.kind == "d":
            (target / name).mkdir(parents=True, exist_ok=True)
        else:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / name, target / name, follow_symlinks=False)


@contextmanager
def _own_state(folder: Path) -> Iterator[None]:
    """Let this process and its kernel use a state folder of their own, then delete every machine in it."""
    before = dict(os.environ)
    os.environ.update(JUPYTER_GPU_REMOTE_DIR=str(folder), JUPYTER_NO_CONFIG="1")
    try:
        yield
    finally:
        try:
            _delete_machines()
        finally:
            os.environ.clear()
            os.environ.update(before)


def _delete_machines() -> None:
    registry = Registry()
    fleet = Fleet(GpuRemote(), registry)
    for machine in registry.machines():
        try:
            fleet.delete(machine.name, lambda phase, text: None)
        except GpuRemoteError as e:  # one must not keep the others
            print(e, file=sys.stderr)
    registry.close()


@contextmanager
def _signals() -> Iterator[None]:
    """Let a termination end this as Ctrl-C does, so that it cleans up; afterwards all is as it was."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _run(content: Any, folder: Path, name: str) -> int:
    try:
        asyncio.run(execute(content, folder, ThisPython()))
    except CellExecutionError:
        print(f"demo: {name} failed", file=sys.stderr)  # its error was printed
        return 1
    except (CellControlSignal, DeadKernelError) as e:
        print(f"demo: {name} failed: {e}", file=sys.stderr)
        return 1
    print("demo: ok")
    return 0


async def execute(
    content: Any, folder: Path, kernels: KernelSpecManager, limit: float | None = _CELL_LIMIT
) -> None:
    """Run a notebook in place, printing its cells and what they put out.

    Args:
        content: The notebook.
        folder: Where its kernel runs.
        kernels: Knows the kernel.
        limit: Seconds for a cell; None for any time.

    Raises:
        CellExecutionError: A cell failed; the outputs so far are in the notebook.
    """
    # the kernel is ours: nbclient would take Ctrl-C for itself, and report a dead kernel
    manager = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=kernels)
    await manager.start_kernel(cwd=str(folder), extra_arguments=["--log-level=ERROR"])
    kernel = manager.client()
    try:
        kernel.start_channels()
        await kernel.wait_for_ready(_START_LIMIT)
        kernel.allow_stdin = False
        client = _Printing(content, km=manager, timeout=limit)
        client.kc = kernel
        client.reset_execution_trackers()
        for index, cell in enumerate(content.cells):
            await client.async_execute_cell(cell, index)
    except DeadKernelError:
        if await manager.is_alive():  # nbclient's word for being cancelled
            raise KeyboardInterrupt from None
        raise
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # what follows is short, and must be done
        kernel.stop_channels()
        await manager.shutdown_kernel(now=True)


class ThisPython(KernelSpecManager):  # type: ignore[misc]  # untyped here
    """Knows one kernel: the Python that runs this, whatever else is installed under its name."""

    def get_kernel_spec(self, kernel_name: str) -> Any:
        return KernelSpec(resource_dir="", **get_kernel_dict())


class _Printing(NotebookClient):  # type: ignore[misc]  # untyped here
    """Prints each cell, and its outputs as they come."""

    _last = ""

    async def async_execute_cell(self, cell: Any, cell_index: int, *args: Any, **options: Any) -> Any:
        self._last = ""
        print(_source(cell), flush=True)
        return await super().async_execute_cell(cell, cell_index, *args, **options)

    def process_message(self, msg: Any, cell: Any, cell_index: int) -> Any:
        kind = msg["msg_type"]
        text = plain_text(kind, msg["content"])
        # a display that is updated with what it shows already says nothing new
        if text and not (kind == "update_display_data" and text == self._last):
            self._last = text
            print(text, end="", flush=True)
        return super().process_message(msg, cell, cell_index)


def _source(cell: Any) -> str:
    if cell.cell_type != "code":
        return f"\n{cell.source}"
    lines = cell.source.split("\n") if cell.source else [""]
    return "\n" + "\n".join(f"{'>>>' if n == 0 else '...'} {line}".rstrip() for n, line in enumerate(lines))
