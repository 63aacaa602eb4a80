"""The machines as a small panel of widgets in the output of a cell."""

from __future__ import annotations

import html
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import ipywidgets as widgets

from . import spend
from .errors import GpuRemoteError
from .model import Machine, MachineState
from .tables import duration, money
from .verbs import Desk, down, there
from .verbs.overview import as_table
from .verbs.visit import Visit

_TICK = 1.0
_ASK_EVERY = 10.0
"""Seconds between two looks at how long a machine will wait for work."""
_SURE_WITHIN = 5.0
"""Seconds in which the second press of Delete must follow the first."""
_EXTRA_MINUTES = 30

_HUES = {MachineState.READY: "60,160,80", MachineState.BUSY: "70,120,220"}
_OTHER_HUE = "200,140,40"

_panel: Panel | None = None


def panel_for(desk: Desk) -> Panel:
    """Return the panel of this kernel, made anew if it was closed; it may be shown in several cells."""
    global _panel
    if _panel is None or _panel.closed:
        _panel = Panel(desk)
    return _panel


class Panel(widgets.VBox):  # type: ignore[misc]  # untyped here
    """The machines, what they cost, and buttons; a thread keeps it up to date until it is closed.

    Args:
        desk: The notebook that shows it.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._rows: dict[str, _Row] = {}
        self._head = widgets.HTML()
        self._problem = widgets.HTML()
        close = widgets.Button(icon="times", tooltip="Close this panel", layout={"width": "2.5em"})
        close.on_click(lambda _: self.close())
        self._top = widgets.HBox([self._head, close], layout={"justify_content": "space-between"})
        self._end = threading.Event()
        self._seen = -1
        super().__init__([self._top, self._problem])
        self._refresh()
        self._thread = threading.Thread(target=self._run, name="machines panel", daemon=True)
        self._thread.start()

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._end.is_set() or self.comm is None

    def close(self) -> None:
        """Take it away and stop its thread; the machines go on."""
        self._end.set()
        for row in self._rows.values():
            row.leave()
        super().close()

    def problem(self, error: BaseException | None) -> None:
        """Show an error with the next step, or take it away."""
        if error is None:
            self._problem.value = ""
            return
        message, billed, hint = str(error) or type(error).__name__, "", ""
        if isinstance(error, GpuRemoteError):
            message, billed, hint = error.message, error.billed, error.hint
        lines = [f"<b>{html.escape(message)}</b>"]
        lines += [html.escape(billed)] if billed else []
        lines += [f"Next: {html.escape(hint)}"] if hint else []
        style = "border-left:3px solid rgb(210,70,60);padding-left:.6em;line-height:1.4;white-space:pre-wrap"
        self._problem.value = f'<div role="alert" style="{style}">{"<br>".join(lines)}</div>'

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str]:
        bundle: dict[str, str] = super()._repr_mimebundle_(**kwargs)
        return {**bundle, "text/plain": as_table(self._desk)}

    def _run(self) -> None:
        while not self._end.wait(_TICK) and not self.closed:
            try:
                self._refresh()
            except GpuRemoteError as e:  # once a second
                self.problem(e)

    def _refresh(self) -> None:
        events = self._desk.registry.events(limit=1)
        newest = events[-1].id if events else 0
        if newest != self._seen:
            self._seen = newest
            self._show(self._desk.registry.machines())
        now, cost = time.time(), self._desk.registry.spent()
        for row in self._rows.values():
            row.tick(now, cost.get(row.machine.name, 0.0))
        machines = [row.machine for row in self._rows.values()]
        rate, so_far = sum(map(spend.rate, machines)), sum(cost.get(m.name, 0.0) for m in machines)
        text = f"{len(machines)} {'machine' if len(machines) == 1 else 'machines'}"
        if not machines:
            text = "No machine is running. <code>%remote up</code> starts one."
        elif rate:
            text += f" · {money(rate)}/h · {money(so_far)} so far"
        self._head.value = text

    def _show(self, machines: list[Machine]) -> None:
        rows = {}
        for machine in machines:
            row = self._rows.get(machine.name) or _Row(self, self._desk, machine)
            row.machine = machine
            rows[machine.name] = row
        for name in self._rows.keys() - rows.keys():
            self._rows[name].leave()
        self._rows = rows
        self.children = [self._top, *(row.box for row in rows.values()), self._problem]


class _Row:
    """One machine in the panel."""

    def __init__(self, panel: Panel, desk: Desk, machine: Machine) -> None:
        self.machine = machine
        self._panel = panel
        self._desk = replace(desk, say=self._say, report=self._report, progress=self._progress)
        self._figures = widgets.HTML(layout={"flex": "1 1 auto"})
        self._said = widgets.HTML()
        self._sure_until = 0.0
        self._visit: Visit | None = None
        self._asked_at = self._answered_at = 0.0
        self._idle_left: float | None = None
        self._delete = _button("Delete", "Delete this machine; its files are fetched first")
        name = machine.name
        self._buttons = [
            self._does("Pull", "Fetch changed files", lambda: there.pull(self._desk, name)),
            self._does(
                f"+{_EXTRA_MINUTES} min",
                f"Keep it for {_EXTRA_MINUTES} minutes from now",
                lambda: there.extend(self._desk, _EXTRA_MINUTES, name),
            ),
            self._does(
                "Restart kernel", "Start a fresh kernel there", lambda: there.restart(self._desk, name)
            ),
            self._delete,
        ]
        self._delete.on_click(lambda _: self._press_delete())
        line = widgets.HBox([self._figures, *self._buttons], layout={"flex_flow": "row wrap"})
        self.box = widgets.VBox([line, self._said])

    def tick(self, now: float, cost: float) -> None:
        """Bring the figures up to date; `cost` are dollars so far."""
        machine = self.machine
        hue = _HUES.get(machine.state, _OTHER_HUE)
        chip = (
            f"display:inline-block;padding:0 .6em;border-radius:.8em;background:rgba({hue},.22);"
            f"border:1px solid rgba({hue},.6)"
        )
        figures = [machine.offer.title, f"up {duration(now - machine.created_at)}"]
        if machine.offer.price:
            figures.append(money(cost))
        if self._idle_left is not None:
            left = self._idle_left - (now - self._answered_at)
            figures.append(f"ends in {duration(left)} if unused")
        text = f"<b>{html.escape(machine.name)}</b> {html.escape(' · '.join(figures))}"
        self._figures.value = (
            '<span style="color:var(--jp-ui-font-color1,inherit);font-variant-numeric:tabular-nums">'
            f'<span style="{chip}">{machine.state.value}</span> {text}</span>'
        )
        if self._sure_until and now > self._sure_until:
            self._calm()
        if machine.ready_at and now - self._asked_at > _ASK_EVERY:
            self._asked_at = now
            self._in_thread(self._ask)

    def leave(self) -> None:
        """Let go of the connection to the machine."""
        if self._visit is not None:
            self._visit.close()
            self._visit = None

    def _ask(self) -> None:
        """Ask the machine how long it will wait for work; one that does not answer has no such figure."""
        try:
            if self._visit is None:
                self._visit = Visit(self.machine, self._desk.config, self._desk.registry)
            self._idle_left = self._visit.request("status", 5.0).get("ends_in")
            self._answered_at = time.time()
        except GpuRemoteError:
            self._idle_left = None
            self.leave()

    def _does(self, label: str, tip: str, act: Callable[[], object]) -> Any:
        button = _button(label, tip)
        button.on_click(lambda _: self._act(act))
        return button

    def _press_delete(self) -> None:
        if time.time() < self._sure_until:
            self._calm()
            self._act(lambda: down.down(self._desk, self.machine.name))
            return
        self._sure_until = time.time() + _SURE_WITHIN
        self._delete.description = "Delete? files not fetched are lost"
        self._delete.button_style = "danger"

    def _calm(self) -> None:
        self._sure_until = 0.0
        self._delete.description, self._delete.button_style = "Delete", ""

    def _act(self, act: Callable[[], object]) -> None:
        """Do what a button says, in a thread: the kernel goes on meanwhile."""
        self._enable(False)
        self._panel.problem(None)

        def run() -> None:
            try:
                act()
            except Exception as e:  # there is no cell to raise it in
                self._panel.problem(e)
            finally:
                self._report("", "")
                self._asked_at = 0.0
                self._enable(True)

        self._in_thread(run)

    def _in_thread(self, run: Callable[[], None]) -> None:
        threading.Thread(target=run, name=f"panel {self.machine.name}", daemon=True).start()

    def _enable(self, yes: bool) -> None:
        for button in self._buttons:
            button.disabled = not yes

    def _say(self, text: str) -> None:
        self._said.value = f"<span style='opacity:.75'>{html.escape(text)}</span>"

    def _report(self, phase: str, text: str) -> None:
        if phase:
            self._say(f"{phase} · {text}")

    def _progress(self, done: int, total: int, what: str) -> None:
        if total:
            self._say(f"{what} · {done / total:.0%}")


def _button(label: str, tip: str) -> Any:
    return widgets.Button(description=label, tooltip=tip, layout={"width": "auto"})
