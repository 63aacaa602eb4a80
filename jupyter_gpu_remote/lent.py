"""The machines that are launched for a sweep: deleted at its end, after everything that can be saved."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .errors import GpuRemoteError
from .group import workers_of
from .messages import Execution
from .notebook import Notebook
from .tables import money

if TYPE_CHECKING:
    from .verbs import Desk


class Lent:
    """What a sweep leaves to be deleted, as a context: the machines that are launched in it.

    Where only the connection is lost under the sweep they stay, for it goes on over there.

    Args:
        desk: Where it speaks.
        done: Shows a last word in the status line.
        at_rest: Returns what keeps other threads from using machines beside the notebook's.
        with_head: Whether the notebook's machine is given back, too, when nothing else uses it.
    """

    def __init__(
        self,
        desk: Desk,
        done: Callable[[str], None],
        at_rest: Callable[[], AbstractContextManager[Any]],
        with_head: bool,
    ) -> None:
        self._desk = desk
        self._done = done
        self._at_rest = at_rest
        self._with_head = with_head
        self._before = set[str]()
        self.execution: Execution | None = None
        """The sweep, once it is on its way."""

    def __enter__(self) -> Lent:
        """Note which machines there are: they stay."""
        self._before = {machine.name for machine in self._desk.registry.machines()}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        """Delete those that were launched since, and say so; one that is used otherwise stays."""
        if self.execution is None or not self.execution.goes_on:
            self._give_back()

    def _give_back(self) -> None:
        from .verbs.down import delete

        notebook, registry = self._desk.notebook, self._desk.registry
        if notebook is None or notebook.live is None:
            return
        head = notebook.live.machine
        self._done("")  # what follows has a clock of its own
        lent = [m for m in workers_of(registry, head.name) if m.name not in self._before]
        stays = ""
        if self._with_head and head.name not in self._before and not registry.get(head.name).state.final:
            stays = self._use(notebook)
            lent += [] if stays else [head]
        if lent:
            silent = dataclasses.replace(self._desk, say=lambda text: None)  # the status line says it
            with self._at_rest():
                delete(silent, lent)
        spent = registry.spent()
        told = [
            f"{m.name} deleted" + (f", it cost {money(spent[m.name])}" if spent.get(m.name) else "")
            for m in lent
        ]
        told += [f"{head.name} stays until it is idle: {stays}"] if stays else []
        if told:
            self._done(" · ".join(told))

    def _use(self, notebook: Notebook) -> str:
        """Save what the head has; return why it can't be deleted."""
        from .verbs.down import what_is_lost

        assert notebook.live is not None and notebook.kernel is not None
        head = notebook.live.machine
        if any(
            machine == head.name and key != notebook.key
            for key, machine in notebook.registry.bindings().items()
        ):
            return "another notebook uses it"
        try:
            if len(notebook.kernel.request("status")["kernels"]) > 1:
                return "other kernels run there"
            lost = what_is_lost(self._desk, head, False)
        except GpuRemoteError as e:
            return e.message
        return "; ".join(lost)
