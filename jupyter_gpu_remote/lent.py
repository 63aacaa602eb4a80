"""The machines that are launched for a sweep: deleted at its end, after everything that can be saved."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING

from .errors import GpuRemoteError
from .group import workers_of
from .tables import money

if TYPE_CHECKING:
    from .cells import RemoteCells
    from .together import Together


class Lent:
    """What a sweep leaves to be deleted.

    Args:
        cells: What runs the notebook's cells; the machines that there are now stay.
    """

    def __init__(self, cells: RemoteCells) -> None:
        self._cells = cells
        self._before = {machine.name for machine in cells.notebook.registry.machines()}

    def give_back(self, together: Together | None) -> None:
        """Delete those that were launched since, and say so; one that is used otherwise stays.

        Args:
            together: What looks after machines beside the notebook's, if there have been any.
        """
        from .line import desk_of
        from .verbs.down import delete

        cells, notebook = self._cells, self._cells.notebook
        if notebook.live is None:
            return
        head, registry = notebook.live.machine, notebook.registry
        cells.status.done("")  # what follows has a clock of its own
        lent = [m for m in workers_of(registry, head.name) if m.name not in self._before]
        stays = ""
        if head.name not in self._before and not registry.get(head.name).state.final:
            stays = self._use()
            lent += [] if stays else [head]
        if lent:
            # the status line says it
            desk = dataclasses.replace(desk_of(cells), say=lambda text: None)
            with together.at_rest() if together else contextlib.nullcontext():
                delete(desk, lent)
        spent = registry.spent()
        told = [
            f"{m.name} deleted" + (f", it cost {money(spent[m.name])}" if spent.get(m.name) else "")
            for m in lent
        ]
        told += [f"{head.name} stays until it is idle: {stays}"] if stays else []
        if told:
            cells.status.done(" · ".join(told))

    def _use(self) -> str:
        """Save what the head has; return why it can't be deleted."""
        from .line import desk_of
        from .verbs.down import what_is_lost

        notebook = self._cells.notebook
        assert notebook.live is not None
        head = notebook.live.machine
        if any(
            machine == head.name and key != notebook.key
            for key, machine in notebook.registry.bindings().items()
        ):
            return "another notebook uses it"
        try:
            assert notebook.kernel is not None
            if len(notebook.kernel.request("status")["kernels"]) > 1:
                return "other kernels run there"
            lost = what_is_lost(desk_of(self._cells), head, False)
        except GpuRemoteError as e:
            return e.message
        return "; ".join(lost)
