"""``%%remote`` and ``%remote`` in IPython.

A top-level ``%%remote`` cell is rewritten to an awaited call, so that the local kernel goes on answering
frontends while the cell runs over there. Where that can't be (inside another magic, in a terminal) the
magic itself runs the cell and blocks. Only light modules are imported before the first use.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cells import RemoteCells

_OUTER = ("time", "capture")
"""Cell magics above ``%%remote`` that are applied around the await."""

_cells: RemoteCells | None = None


def load(shell: Any) -> None:
    """Register the magics with the IPython `shell`."""
    shell.register_magic_function(_line_magic, "line", "remote")
    shell.register_magic_function(_cell_magic, "cell", "remote")
    if _rewrite not in shell.input_transformers_cleanup:
        shell.input_transformers_cleanup.append(_rewrite)
    threading.Thread(target=_warm_up, args=(shell,), name="remote warm-up", daemon=True).start()


def _warm_up(shell: Any) -> None:
    """Do in the background what the first remote cell would wait for."""
    from . import cells  # noqa: F401  # takes a moment to import
    from .localside import warm_up

    warm_up(shell)


def unload(shell: Any) -> None:
    """Take the magics away and let go of the machine; it goes on."""
    global _cells
    with contextlib.suppress(ValueError):
        shell.input_transformers_cleanup.remove(_rewrite)
    for kind in ("line", "cell"):
        shell.magics_manager.magics[kind].pop("remote", None)
    if _cells is not None:
        _cells.close()
        _cells = None


def cells() -> RemoteCells:
    """Return what runs this kernel's remote cells."""
    global _cells
    if _cells is None:
        from IPython import get_ipython

        from .cells import RemoteCells

        _cells = RemoteCells(get_ipython())
    return _cells


async def run(line: str, cell: str, outer: tuple[tuple[str, str], ...] = ()) -> Any:
    """Run a top-level ``%%remote`` cell; called by the code that `_rewrite` makes."""
    with _applied(outer):
        return await cells().run(line, cell)


def _cell_magic(line: str, cell: str) -> Any:
    """Run this cell on another machine. `%%remote --help` lists the options."""
    return cells().run_blocking(line, cell)


def _line_magic(line: str) -> Any:
    """Look after machines. `%remote --help` lists the verbs."""
    return cells().verb(line)


def _rewrite(lines: list[str]) -> list[str]:
    """Turn a cell that begins with ``%%remote`` into one that awaits it."""
    text = "".join(lines)
    if "%%remote" not in text or not _is_whole_request(text):
        return lines
    outer: list[tuple[str, str]] = []
    rest = list(lines)
    while rest and (not rest[0].strip() or rest[0].lstrip().startswith("#")):
        del rest[0]
    while rest and rest[0].startswith("%%"):
        name, _, argument = rest.pop(0)[2:].strip().partition(" ")
        if name == "remote":
            call = f"run({argument!r}, {''.join(rest)!r}, {tuple(outer)!r})"
            return [f'await __import__("jupyter_gpu_remote.magic").magic.{call}\n']
        if name not in _OUTER or (name == "time" and argument):
            break
        outer.append((name, argument))
    return lines


def _is_whole_request(text: str) -> bool:
    """Return whether `text` is the cell a frontend sent, not the inside of another magic or a script."""
    from IPython import get_ipython
    from IPython.core.async_helpers import _asyncio_runner

    shell = get_ipython()
    kernel = getattr(shell, "kernel", None)
    request = kernel.get_parent("shell") if kernel else {}
    if request.get("header", {}).get("msg_type") != "execute_request":
        return False
    if not shell.autoawait or shell.loop_runner is not _asyncio_runner:
        return False
    return bool(request["content"]["code"].strip() == text.strip())


@contextlib.contextmanager
def _applied(outer: tuple[tuple[str, str], ...]) -> Iterator[None]:
    """Do around the remote cell what the magics above it would do around a local one."""
    with contextlib.ExitStack() as stack:
        for name, argument in outer:
            stack.enter_context(_timed() if name == "time" else _captured(argument))
        yield


@contextlib.contextmanager
def _timed() -> Iterator[None]:
    began = time.perf_counter()
    try:
        yield
    finally:
        print(f"Wall time: {time.perf_counter() - began:.3g} s")


@contextlib.contextmanager
def _captured(argument: str) -> Iterator[None]:
    from IPython import get_ipython
    from IPython.core.magic_arguments import parse_argstring
    from IPython.core.magics.execution import ExecutionMagics
    from IPython.utils.capture import capture_output

    wanted = parse_argstring(ExecutionMagics.capture, argument)
    with capture_output(not wanted.no_stdout, not wanted.no_stderr, not wanted.no_display) as captured:
        if wanted.output:
            get_ipython().user_ns[wanted.output] = captured
        yield
