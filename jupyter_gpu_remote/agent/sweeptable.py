"""The live table of a sweep: as HTML for notebooks, as text for terminals. All of it is the user's data."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Sequence
from typing import Any

from .results import CANCELLED, DONE, FAILED, RUNNING, STATES, STOPPED, TIMED_OUT, WAITING, Trial, log_of

_LIVE = 40
"""Rows while it runs; a page takes several updates a second of these."""
_ALL = 1000
"""Rows at the end."""
_TEXT_ROWS = 20
_POINTS = 40
_WIDTH, _HEIGHT = 88, 16
"""Pixels of a sparkline."""
_BARS = "▁▂▃▄▅▆▇█"
_LONG = 60
"""Characters of a cell."""
_COLOURS = {
    RUNNING: "--jp-brand-color1, #1976d2",
    DONE: "--jp-success-color1, #388e3c",
    STOPPED: "--jp-warn-color1, #f57c00",
    FAILED: "--jp-error-color1, #d32f2f",
    TIMED_OUT: "--jp-error-color1, #d32f2f",
    CANCELLED: "--jp-border-color1, #9e9e9e",
    WAITING: "--jp-border-color2, #bdbdbd",
}
_BOX = "max-height:26em;overflow:auto;font-size:var(--jp-code-font-size,13px)"
_CELL = "text-align:left;white-space:nowrap"


def bundle(trials: Sequence[Trial], folder: str, elapsed: float, over: str = "") -> dict[str, str]:
    """Return the table in both forms.

    Args:
        trials: All trials, in their order.
        folder: The folder of the sweep, as a link from the notebook.
        elapsed: Seconds since it began.
        over: The last word on a sweep that has ended.
    """
    line = over or progress(trials, elapsed)
    shown = trials[:_ALL] if over else choose(trials, _LIVE)
    hidden = len(trials) - len(shown)
    text = as_text(trials, line, bool(over))
    return {"text/plain": text, "text/html": _as_html(trials, shown, hidden, line, folder)}


def progress(trials: Sequence[Trial], elapsed: float) -> str:
    """Return how far a sweep is, in a line."""
    counts = count(trials)
    ended = sum(trial.ended for trial in trials)
    told = [f"{ended} of {len(trials)} trials"]
    told += [f"{counts[state]} {state}" for state in STATES if state not in (DONE, WAITING) and counts[state]]
    told += [f"{counts[WAITING]} left"] if counts[WAITING] else []
    told.append(span(elapsed))
    took = [trial.seconds for trial in trials if trial.seconds is not None and not trial.kept]
    if took and counts[RUNNING] and ended < len(trials):
        left = sum(took) / len(took) * (counts[WAITING] + counts[RUNNING] / 2) / counts[RUNNING]
        told.append(f"about {span(left)} to go")
    return " · ".join(told)


def count(trials: Sequence[Trial]) -> Counter[str]:
    """Return how many trials are in each state."""
    return Counter(trial.state for trial in trials)


def choose(trials: Sequence[Trial], most: int) -> Sequence[Trial]:
    """Return the trials to show: what runs, what ended last (failures before others), what is to come."""
    running = [trial for trial in trials if trial.state == RUNNING]
    ended = sorted((t for t in trials if t.ended), key=lambda t: -(t.began + (t.seconds or 0)))
    bad = [trial for trial in ended if trial.state in (FAILED, TIMED_OUT)][: most // 8]
    told = {trial.number for trial in bad}
    good = [trial for trial in ended if trial.number not in told]
    # not all of the room for what runs
    latest = good[: max(most // 8, most - len(running) - len(bad))]
    room = most - len(bad) - len(latest)
    waiting = [trial for trial in trials if trial.state == WAITING]
    return [*running[:room], *bad, *latest, *waiting][:most]


def span(seconds: float) -> str:
    """Return a time as people read it."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s"


def short(value: Any) -> str:
    """Return a value in few characters."""
    try:
        text = (
            f"{value:.4g}" if isinstance(value, float) else value if isinstance(value, str) else repr(value)
        )
    except Exception:  # whatever the user's object does
        text = f"<{type(value).__name__}>"
    text = " ".join(text.split())
    return text if len(text) <= _LONG else f"{text[: _LONG - 1]}…"


def curve(trial: Trial) -> tuple[str, list[float]]:
    """Return the metric that a trial reported first, and its course in few points."""
    name = next(
        (n for report in trial.reports for n, v in report.items() if n != "step" and _is_number(v)), ""
    )
    values = [report[name] for report in trial.reports if _is_number(report.get(name))] if name else []
    every = max(1, len(values) // _POINTS)
    return name, [*values[::every], values[-1]] if every > 1 else values


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < float("inf")


def _last(trial: Trial) -> str:
    """Return the latest news of a trial."""
    if trial.state in (FAILED, TIMED_OUT, CANCELLED) and trial.error:
        return short(trial.error.strip().splitlines()[-1])
    told = [f"{name} {short(value)}" for name, value in trial.metrics.items()]
    if trial.value is not None:
        told.append(f"→ {short(trial.value)}")
    return "  ".join(told)


def _columns(trials: Sequence[Trial]) -> list[str]:
    return list(dict.fromkeys(name for trial in trials for name in trial.params))


def _cells(trial: Trial, names: Sequence[str]) -> list[str]:
    """Return what stands in the row of a trial."""
    state = trial.state + (f" ({trial.attempts}.)" if trial.attempts > 1 else "")
    elapsed = trial.elapsed
    facts = [state, trial.machine, "" if elapsed is None else span(elapsed)]
    return [
        str(trial.number),
        *(short(trial.params[name]) if name in trial.params else "" for name in names),
        *facts,
        _last(trial),
    ]


def as_text(trials: Sequence[Trial], line: str, over: bool) -> str:
    """Return the table as text."""
    shown = trials if over and len(trials) <= _TEXT_ROWS else choose(trials, _TEXT_ROWS)
    names = _columns(shown)
    rows = [["", *names, "", "", "", ""]]
    rows += [[*_cells(trial, names), _spark_text(curve(trial)[1])] for trial in shown]
    rows[0].append("")
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    more = [f"… and {len(trials) - len(shown)} more"] if len(shown) < len(trials) else []
    return "\n".join([line, *lines, *more])


def _spark_text(values: Sequence[float]) -> str:
    values = values[:: max(1, len(values) // 10)]
    if len(values) < 2:
        return ""
    low, high = min(values), max(values)
    return "".join(_BARS[int((v - low) / ((high - low) or 1) * (len(_BARS) - 1))] for v in values)


def _spark(values: Sequence[float]) -> str:
    """Return a sparkline as SVG, in the colour of the text."""
    if len(values) < 2:
        return ""
    low, high = min(values), max(values)
    across, up = (_WIDTH - 4) / (len(values) - 1), (_HEIGHT - 4) / ((high - low) or 1)
    points = [(2 + i * across, _HEIGHT - 2 - (v - low) * up) for i, v in enumerate(values)]
    line = " ".join(f"{x:.0f},{y:.1f}" for x, y in points)
    x, y = points[-1]
    return (
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" style="vertical-align:middle" aria-hidden="true">'
        f'<polyline points="{line}" fill="none" stroke="currentColor" opacity=".7"/>'
        f'<circle cx="{x:.0f}" cy="{y:.1f}" r="2" fill="currentColor"/></svg>'
    )


def _as_html(trials: Sequence[Trial], shown: Sequence[Trial], hidden: int, line: str, folder: str) -> str:
    names = _columns(shown)
    metric = next((name for trial in shown if (name := curve(trial)[0])), "")
    head = ["", *names, "state", "machine", "time", "last reported", metric]
    rows = [_row("th", map(html.escape, head))]
    for trial in shown:
        number, *middle, last = _cells(trial, names)
        state = len(names)
        cells = [html.escape(cell) for cell in middle]
        cells[state] = f'<span style="color:var({_COLOURS[trial.state]})">●</span> {cells[state]}'
        if trial.has_log:
            link = html.escape(f"{folder}/{log_of(trial.number)}")
            number = f'<a href="{link}" target="_blank" title="its output">{number}</a>'
        rows.append(_row("td", [number, *cells, html.escape(last), _spark(curve(trial)[1])]))
    more = f"<div>… and {hidden} more</div>" if hidden else ""
    table = f'<table style="margin:0">{"".join(rows)}</table>' if shown else ""
    return f'<div>{_bar(trials)}<div>{html.escape(line)}</div><div style="{_BOX}">{table}</div>{more}</div>'


def _row(tag: str, cells: Any) -> str:
    inside = "".join(f'<{tag} style="{_CELL}">{cell}</{tag}>' for cell in cells)
    return f"<tr>{inside}</tr>"


def _bar(trials: Sequence[Trial]) -> str:
    """Return a bar that shows how much is in which state."""
    counts, total = count(trials), len(trials) or 1
    parts = [
        f'<span style="width:{100 * counts[state] / total:.2f}%;background:var({_COLOURS[state]})"></span>'
        for state in (DONE, STOPPED, FAILED, TIMED_OUT, CANCELLED, RUNNING, WAITING)
        if counts[state]
    ]
    style = "display:flex;height:6px;max-width:40em;margin:4px 0;border-radius:3px;overflow:hidden"
    return f'<div style="{style}">{"".join(parts)}</div>'
