"""Where a verb is used: a notebook, or a command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..config import GpuRemote
from ..errors import ConfigurationError, MachineNotFoundError
from ..fleet import Fleet
from ..model import GpuRequest, Machine
from ..notebook import Notebook
from ..registry import Registry


@dataclass(frozen=True)
class Desk:
    """Where a verb is used, and how it speaks to the user there.

    Attributes:
        prog: What a verb follows: ``%remote`` or ``jupyter gpu-remote``.
        config: The user's settings.
        registry: What is known of machines here.
        folder: The folder that `push` and `pull` are about.
        notebook: The notebook; None on a command line.
        say: Shows a text.
        report: Called with a phase and a text, for the status line; with an empty phase, ends it.
        progress: Told bytes done, bytes in all and what is going on.
        launch: Makes a machine ready for use here, and returns it; None where nothing is launched.
        confirm: Puts a question and returns whether the answer was yes; None where nothing is asked.
    """

    prog: str
    config: GpuRemote
    registry: Registry
    folder: Path
    notebook: Notebook | None
    say: Callable[[str], None]
    report: Callable[[str, str], None]
    progress: Callable[[int, int, str], None]
    launch: Callable[[GpuRequest, GpuRemote], Machine | None]
    confirm: Callable[[str], bool] | None = None

    @property
    def fleet(self) -> Fleet:
        """All machines."""
        return Fleet(self.config, self.registry)

    def machine(self, name: str = "") -> Machine:
        """Return the machine called `name`; without a name, this notebook's, or the only one.

        Raises:
            MachineNotFoundError: There is none.
            ConfigurationError: There are several.
        """
        running = self.registry.machines()
        if name:
            for machine in running:
                if machine.provider_id == name:
                    return machine
            machine = self.registry.get(name)
            if machine.state.final:
                why = machine.note or machine.state.value
                raise MachineNotFoundError(f"{name} has ended: {why}.", billed="It costs nothing any more.")
            return machine
        bound = self.registry.binding(self.notebook.key) if self.notebook else None
        heads = [machine for machine in running if not machine.head]
        mine = [machine for machine in running if machine.name == bound] or heads
        if not mine:
            raise MachineNotFoundError("No machine is running.", hint=f"`{self.prog} up` starts one.")
        if len(mine) > 1:
            names = ", ".join(machine.name for machine in mine)
            raise ConfigurationError("It is not clear which machine is meant.", hint=f"Name one: {names}.")
        return mine[0]
