"""The one live line that tells what a launch, a transfer or a lost connection is doing."""

from __future__ import annotations

import html
import sys
import time
import uuid
from collections.abc import Callable
from typing import Any

_BAR = 20
_EVERY = 0.1
"""Seconds between two updates; a faster one would only cost."""


def megabytes(size: float) -> str:
    """Return a size as people read it."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if size >= 100 or unit == "B" else f"{size:.1f} {unit}"


def bar(done: int, total: int) -> str:
    """Return a progress bar in characters, with its figures."""
    share = min(1.0, done / total) if total else 0.0
    filled = round(share * _BAR)
    return f"{'█' * filled}{'░' * (_BAR - filled)} {share:4.0%} of {megabytes(total)}"


def in_cell(publish: Callable[[str, dict[str, Any]], None]) -> Callable[[str], None]:
    """Return what shows the line as an output of a cell that changes in place.

    Args:
        publish: Sends a message of the given type and content for that cell.
    """
    style = "font-family:var(--jp-code-font-family,monospace);font-size:smaller;opacity:.75"
    transient: dict[str, str] = {}

    def show(text: str) -> None:
        kind = "update_display_data" if transient else "display_data"
        transient.setdefault("display_id", uuid.uuid4().hex)  # most cells have nothing to show
        markup = f'<span style="{style}">{html.escape(text)}</span>' if text else ""
        data = {"text/plain": text, "text/html": markup}
        publish(kind, {"data": data, "metadata": {}, "transient": transient})

    return show


def in_terminal(text: str) -> None:
    """Show the line on standard error, in place where that is a terminal."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
    elif text:
        print(text, file=sys.stderr, flush=True)


def for_shell(shell: Any) -> Callable[[str], None]:
    """Return what shows the line for the cell that the IPython `shell` runs now."""
    kernel = getattr(shell, "kernel", None)
    if kernel is None:
        return in_terminal
    parent = kernel.get_parent("shell")

    def publish(kind: str, content: dict[str, Any]) -> None:
        topic = kernel._topic(kind)
        kernel.session.send(kernel.iopub_socket, kind, content, parent=parent, ident=topic)

    return in_cell(publish)


class StatusLine:
    """A line that changes in place; nothing appears until there is something to say.

    Args:
        show: Puts a text in its place; None keeps the line unseen until it is to `appear`.
    """

    def __init__(self, show: Callable[[str], None] | None = None) -> None:
        self._place = show
        self._text = ""
        self._began = time.monotonic()
        self._shown = False
        self._phase = ""
        self._moving_since: float | None = None
        self._at = 0.0

    @property
    def seconds(self) -> float:
        """Seconds since the line was made."""
        return time.monotonic() - self._began

    def appear(self, show: Callable[[str], None]) -> None:
        """Show an unseen line in this place from now on."""
        if self._place is None:
            self._place = show
            if self._text:
                show(self._text)

    def _show(self, text: str) -> None:
        if text != self._text:
            self._text = text
            if self._place is not None:
                self._place(text)

    def phase(self, phase: str, text: str = "") -> None:
        """Show what is going on now, with the time it has taken so far."""
        now = time.monotonic()
        if now - self._at < _EVERY and phase == self._phase:
            return
        self._at, self._phase, self._shown = now, phase, True
        elapsed = f"{self.seconds:.0f} s" if self.seconds >= 1 else ""
        self._show(" · ".join(filter(None, (phase, text, elapsed))))

    def progress(self, phase: str, done: int, total: int) -> None:
        """Show a progress bar, once it has taken longer than a second."""
        if self._moving_since is None:
            self._moving_since = time.monotonic()
        if time.monotonic() - self._moving_since > 1:
            self.phase(phase, bar(done, total))

    def end_progress(self) -> None:
        """Take the bar away again, if one has appeared."""
        if self._moving_since is not None and self._phase:
            self.end()
        self._moving_since = None

    def end(self, text: str = "") -> None:
        """Leave `text` as the last word; without one, take the line away."""
        if text or self._shown:
            self._show(text)
            self._shown = bool(text)


class CellStatus:
    """What is told in the cell that runs now, as one line; and that its machine will end, as another.

    Args:
        place: Returns what shows a text in that cell; None as long as there is no cell.
    """

    def __init__(self, place: Callable[[], Callable[[str], None] | None]) -> None:
        self._place = place
        self._warned = False
        self.new_cell()

    def new_cell(self) -> None:
        """Tell everything in the cell that runs now."""
        self._line = StatusLine(self._place())
        if not self._warned:
            self._warning = self._place()  # other threads know no cell

    def appear(self) -> None:
        """Show in the cell that runs now what has been told without one."""
        if show := self._place():
            self._line.appear(show)

    def report(self, phase: str, text: str = "") -> None:
        """Show what is going on, from any thread; nothing, when there is no phase."""
        self._line.phase(phase, text) if phase else self._line.end()

    @property
    def seconds(self) -> float:
        """Seconds since the line was begun."""
        return self._line.seconds

    def ready(self, text: str) -> None:
        """Leave `text` and how long it took as the last word of this line, and go on in another."""
        self.done(f"{text} · ready in {self.seconds:.1f} s")

    def done(self, text: str) -> None:
        """Leave `text` as the last word of this line, and go on in another."""
        self._line.end(text)
        self._line = StatusLine(self._place())

    def progress(self, done: int, total: int, what: str) -> None:
        """Show how far a transfer is."""
        self._line.progress(what, done, total)

    def end_progress(self) -> None:
        """Take that away again."""
        self._line.end_progress()

    def warn(self, text: str) -> None:
        """Show that the machine will end, or take that away again, from any thread."""
        if self._warning is not None and (text or self._warned):
            self._warning(text)
            self._warned = bool(text)
