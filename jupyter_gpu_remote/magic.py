"""``%%remote`` and ``%remote`` in IPython.

A top-level ``%%remote`` cell is rewritten to an awaited call, so that the local kernel goes on answering
frontends while the cell runs over there. Where that can't be (inside another magic, in a terminal) the
magic itself runs the cell and blocks. Only light modules are imported before the first use.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
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


def unload(shell: Any) -> None:
    """Take the magics away and let go of the machine; it goes on."""
    global _cells
    with contextlib.suppress(ValueError):
        shell.input_transformers_cleanup.remove(_rewrite)
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


async def run(line: str, cell: str, outer: tuple[tuple[str, str], ...] = ()) -> None:
    """Run a top-level ``%%remote`` cell; called by the code that `_rewrite` makes."""
    with _applied(outer):
        await cells().run(line, cell)


def _cell_magic(line: str, cell: str) -> None:
    """Run this cell on another machine. `%%remote --help` lists the options."""
    cells().run_blocking(line, cell)


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
        if name not in _OUTER:
            break
        outer.append((name, argument))
    return lines


def _is_whole_request(text: str) -> bool:
    """Return whether `text` is the cell a frontend sent, not the inside of another magic or a script."""
    from IPython import get_ipython

    kernel = getattr(get_ipython(), "kernel", None)
    request = kernel.get_parent("shell") if kernel else {}
    if request.get("header", {}).get("msg_type") != "execute_request":
        return False
    return bool(request["content"]["code"].strip() == text.strip())


@contextlib.contextmanager
def _applied(outer: tuple[tuple[str, str], ...]) -> Iterator[None]:
    """Do around the remote cell what the magics above it would do around a local one."""
    import time

    from IPython import get_ipython

    began = time.perf_counter()
    with contextlib.ExitStack() as stack:
        for name, argument in outer:
            if name == "capture":
                from IPython.utils.capture import capture_output

                captured = stack.enter_context(capture_output())
                if variable := argument.strip():
                    get_ipython().user_ns[variable] = captured
        try:
            yield
        finally:
            if any(name == "time" for name, _ in outer):
                print(f"Wall time: {time.perf_counter() - began:.3g} s")


@contextlib.contextmanager
def on_interrupt(act: Callable[..., Any]) -> Iterator[None]:
    """Let Ctrl-C (the interrupt button) call `act` within the block, in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, act)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def is_captured() -> bool:
    """Return whether what Python prints goes elsewhere than to the frontends."""
    from IPython import get_ipython
    from IPython.core.displaypub import CapturingDisplayPublisher

    shell = get_ipython()
    if getattr(shell, "kernel", None) is None:
        return True
    from ipykernel.iostream import OutStream

    return not isinstance(sys.stdout, OutStream) or isinstance(shell.display_pub, CapturingDisplayPublisher)
