"""What people are told of buckets that a machine uses: what is on its way, what did not get there."""

from __future__ import annotations

from collections.abc import Sequence

from ..sync.report import size
from .faults import explain
from .mounts import State

_NAMED = 3
"""Files that are named in a line."""


def on_its_way(states: Sequence[State]) -> str:
    """Return in a line what is not in its bucket yet; empty when all is."""
    return " · ".join(_what(state) for state in states if state["count"])


def _what(state: State) -> str:
    count, names = state["count"], list(state["names"][:_NAMED])
    more = f" and {count - len(names)} more" if count > len(names) else ""
    files = f"{count} {'file' if count == 1 else 'files'} ({size(state['bytes'])})"
    text = f"{files} on the way to {state['url']}: {', '.join(names)}{more}"
    if state["open"]:
        text += f"; still open: {', '.join(state['open'][:_NAMED])}"
    if why := explain(state["error"]):
        text += f"; {why}"
    return text


def left_behind(states: Sequence[State]) -> list[str]:
    """Return in sentences, by name, what did not reach its bucket."""
    said = []
    for state in states:
        why = explain(state["error"] or state["why"])
        if not state["up"]:
            said.append(f"{state['url']} is not mounted any more, what was last written may be lost: {why}")
            continue
        names = [f"{name} (still open)" if name in state["open"] else name for name in state["names"]]
        more = f" and {state['count'] - len(names)} more" if state["count"] > len(names) else ""
        because = f": {why}" if why else ""
        said.append(f"not in {state['url']}{because}: {', '.join(names)}{more}")
    return said
