"""The verbs that switch a machine off and on again."""

from __future__ import annotations

from ..errors import GpuRemoteError
from ..tables import money
from .desk import Desk
from .down import what_is_lost
from .visit import attach_to
from .words import NAME, SHARED, argument

_MONTH = 730.0
"""Hours, as clouds count them."""


@SHARED.verb(
    "Switch a machine off and keep its disk; first its files are fetched. Variables are lost.",
    NAME,
    argument("--yes", action="store_true", help="ask nothing, also when something is lost by it"),
)
def stop(desk: Desk, name: str = "", yes: bool = False) -> None:
    """Stop a machine."""
    machine = desk.machine(name)
    for loss in what_is_lost(desk, machine, yes):
        desk.say(f"{machine.name}: {loss}")
    if desk.confirm is not None and not yes and not desk.confirm(f"Stop {machine.name}?"):
        raise GpuRemoteError("Nothing was stopped.", billed=f"{machine.name} still runs.")
    notebook = desk.notebook
    if notebook is not None and notebook.live is not None and notebook.live.machine.name == machine.name:
        notebook.detach()
    desk.fleet.stop(machine.name, desk.report)
    desk.report("", "")
    price = machine.offer.stopped_price or 0.0
    disk = f"Its disk costs {money(price)}/h ({money(price * _MONTH)} a month) until" if price else "Until"
    desk.say(
        f"{machine.name} is stopped. {disk} `{desk.prog} down {machine.name}`;"
        f" `{desk.prog} start {machine.name}` brings it back."
    )


@SHARED.verb("Switch a stopped machine on again.", NAME)
def start(desk: Desk, name: str = "") -> None:
    """Start a stopped machine."""
    machine = desk.machine(name)

    def prepare(started: object) -> None:
        live = attach_to(desk.registry.get(machine.name), desk.config, desk.registry)
        try:
            live.open(desk.report)
        finally:
            live.close()

    desk.fleet.start(machine.name, desk.report, prepare)
    desk.report("", "")
    desk.say(f"{machine.name} is ready.")
