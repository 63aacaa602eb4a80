"""Figures and tables as people read them in a terminal."""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Sequence


def money(dollars: float) -> str:
    """Return an amount; a small one with the digits that show it grow."""
    return f"${dollars:.2f}" if dollars >= 0.1 or not dollars else f"${dollars:.4f}"


def duration(seconds: float) -> str:
    """Return a time span: ``40 s``, ``12 min``, ``3 h 05 min``, ``2 d 4 h``."""
    seconds = max(0, round(seconds))
    if seconds < 60:
        return f"{seconds} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours < 1:
        return f"{minutes} min"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if days else f"{hours} h {minutes:02d} min"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows in columns under their heads; columns in which nothing stands are left out."""
    columns = [column for column in zip(head, *rows, strict=True) if any(column[1:])]
    widths = [max(map(_width, column)) for column in columns]
    lines = zip(*columns, strict=True)
    return "\n".join(
        "  ".join(
            cell + " " * (width - _width(cell)) for cell, width in zip(line, widths, strict=True)
        ).rstrip()
        for line in lines
    )


class Rich(str):
    """A text that a notebook shows as HTML."""

    html: str


class Table(Rich):
    """A table.

    Args:
        head: The heads of its columns.
        rows: Its lines.
        below: Lines that follow it, each a paragraph.
    """

    def __new__(cls, head: Sequence[str], rows: Sequence[Sequence[str]], below: Sequence[str] = ()) -> Table:
        """Make both forms of it."""
        self = super().__new__(cls, "\n".join([table(head, rows), *below]))
        columns = [column for column in zip(head, *rows, strict=True) if any(column[1:])]
        first, *lines = zip(*columns, strict=True)
        paragraphs = "".join(f"<div>{html.escape(text)}</div>" for text in below)
        body = "".join(_line("td", line) for line in lines)
        self.html = f"<table><thead>{_line('th', first)}</thead><tbody>{body}</tbody></table>{paragraphs}"
        return self


def _line(tag: str, cells: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<{tag}>{html.escape(cell)}</{tag}>' for cell in cells)}</tr>"


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
