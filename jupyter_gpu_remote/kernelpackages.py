"""The packages of a notebook that runs as a whole on a machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .exchange.ledger import Ledger
from .notebook import Notebook
from .wants import Wants, notebook_file

if TYPE_CHECKING:
    from .environment import Needs


class Bringer:
    """Has the machine install what the cells need."""

    def __init__(self) -> None:
        self._wants = Wants(Path.cwd(), notebook_file({}))
        self._brought: tuple[Any, int, str] | None = None

    def bring(self, notebook: Notebook, env: str) -> dict[str, Any]:
        """Tell the machine which packages the notebook needs, unless it knows.

        Returns:
            What a cell's request has to have, so that it uses them.

        Raises:
            ConfigurationError: A declaration can't be read.
            GpuRemoteError: The machine can't be told.
        """
        needs = self.needs(env)
        kernel = notebook.kernel
        if needs is None or kernel is None:
            return {}
        if (wanted := (kernel, kernel.deaths, needs.key)) != self._brought:
            nothing: dict[str, Any] = {}
            exchange = notebook.open_exchange(nothing, Ledger(nothing))
            done = False
            while not done:
                outgoing = exchange.pack("", auto=False, needs=lambda modules: needs)
                told = kernel.execute("", silent=True, store_history=False, gpu_remote=outgoing.wish)
                done = exchange.settle(outgoing, told.future.result())
            self._brought = wanted
        return {"gpu_remote": {"packages": needs.key}}

    def will_run(self, code: str) -> None:
        """Take note of what is about to run."""
        self._wants.ran(code)

    def needs(self, env: str) -> Needs | None:
        """Return what the notebook needs.

        Raises:
            ConfigurationError: A declaration can't be read.
        """
        return self._wants.current(env)

    def folder_changed(self) -> None:
        """Look again: a module of the folder may import something else now."""
        self._wants.folder_changed()

    def ran(self, reply: dict[str, Any]) -> None:
        """Take note of how a cell ended; packages that could not be installed are tried again."""
        if reply.get("gpu_remote", {}).get("packages_failed"):
            self._brought = None
