"""The machines beside a notebook's, for its faces: what looks after them is loaded once there are any."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .config import GpuRemote
from .group import asks_for_others, workers_of
from .lent import Lent

if TYPE_CHECKING:
    from .crew import Crew
    from .environment import Needs
    from .notebook import Notebook
    from .together import Together
    from .verbs import Desk


@dataclass(frozen=True)
class Face:
    """What runs a notebook's cells, and speaks to its user.

    Attributes:
        desk: Returns where it speaks, and whose machines they are.
        needs: Returns the packages that the notebook needs, from the value of ``--env``.
        carry: Runs code in the notebook's kernel that is no cell, and waits for its end.
        warn: Shows what happens to machines, from any thread.
        done: Shows a last word in the status line.
    """

    desk: Callable[[], Desk]
    needs: Callable[[str], Needs | None]
    carry: Callable[[str], object]
    warn: Callable[[str], None]
    done: Callable[[str], None]


class Others:
    """The machines beside a notebook's.

    Args:
        face: What runs its cells.
    """

    def __init__(self, face: Face) -> None:
        self._face = face
        self._together: Together | None = None

    def before(self, notebook: Notebook, config: GpuRemote, cell: str) -> tuple[str, Crew | None]:
        """Have those there that a cell asks for which is about to run.

        Returns:
            What is to be run, and the machines that are for it alone, where it becomes a job.

        Raises:
            GpuRemoteError: See `Together.before`.
        """
        if self._together is None:
            assert notebook.live is not None
            if not (asks_for_others(config) or workers_of(notebook.registry, notebook.live.machine.name)):
                return cell, None
            from .together import Together

            self._together = Together(self._face)
        code = self._together.before(config, cell)
        return code, self._together.for_job() if config.detach else None

    def after(self, sync: bool) -> None:
        """Do what follows a cell; `sync` says whether the folder is kept the same."""
        if self._together is not None:
            self._together.after(sync)

    def lent(self, with_head: bool) -> Lent:
        """Return what deletes the machines that are launched for a sweep; see `Lent`."""
        return Lent(self._face.desk(), self._face.done, self._at_rest, with_head)

    def _at_rest(self) -> AbstractContextManager[Any]:
        return self._together.at_rest() if self._together else nullcontext()

    def close(self) -> None:
        """Let go of them; they go on."""
        if self._together is not None:
            self._together.close()
