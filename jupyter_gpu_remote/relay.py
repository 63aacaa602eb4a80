"""Messages of a remote kernel on their way to the local kernel's frontends, and back.

The local kernel never sees the code that runs over there; it lends its IOPub and its request ids. Remote
outputs are sent raw, with the local cell as their parent.
"""

from __future__ import annotations

import queue
from collections.abc import Callable
from pathlib import Path
from typing import Any

from IPython.core.error import StdinNotImplementedError

from .agent import wire
from .comms import Comms
from .kernel import Execution, Message, RemoteKernel
from .sinks import Parent, ToFrontends, ToPython
from .sweeps import record

_END_OF_FILE = "\x04"
_REMEMBERED = 2000
"""Requests whose late outputs (threads, callbacks) still find their cell."""


class Beside:
    """Relays for another kernel, `remote`, than the notebook's own to cells of the notebook."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self.remote: RemoteKernel | None = None

    def message(self, message: Message) -> None:
        """Relay one message."""
        self._relay.message(message, self.remote)

    def connection(self, text: str) -> None:
        """Nothing is said: no cell waits for it."""


class Relay:
    """Between one remote kernel and the local kernel whose cells it runs.

    Args:
        shell: The local IPython shell, in a kernel or in a terminal.
        status: Shows news about the connection.
    """

    def __init__(self, shell: Any, status: Callable[[str], None]) -> None:
        self._shell = shell
        self._local = getattr(shell, "kernel", None)
        self._status = status
        self._folder = Path.cwd()
        self._remote: RemoteKernel | None = None
        self._frontends = ToFrontends(self._local) if self._local else None
        self._parents: dict[str, Parent] = {}
        self._sinks: dict[str, ToPython] = {}
        self._counts: dict[str, int] = {}
        self._in_place: set[str] = set()
        self._comms = Comms(self._local, self._frontends, self._remember)
        self.input_requests: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self.wake: Callable[[], Any] = lambda: None

    def serve(self, remote: RemoteKernel) -> None:
        """Relay for this kernel from now on."""
        self._remote = remote
        self._comms.serve(remote)

    def begin(self, execution: Execution, whole: bool = False) -> None:
        """Let the outputs of `execution` appear in the cell that runs now; call in the main thread.

        Args:
            execution: The remote cell.
            whole: Whether the local cell is nothing but this one, so that nothing can catch its error and
                it can be shown where it happened among the outputs.
        """
        self._counts[execution.msg_id] = self._shell.displayhook.prompt_count
        self._remember(execution.msg_id, self._local.get_parent("shell") if self._local else {})
        sink = ToPython(self._shell, self._frontends)
        if sink.is_needed:
            self._sinks[execution.msg_id] = sink
        elif whole:
            self._in_place.add(execution.msg_id)

    def end(self, execution: Execution) -> bool:
        """Note that the cell is over; what its threads still print goes on to appear in it.

        Returns:
            Whether its error, if there was one, is where frontends show it.
        """
        request = execution.msg_id
        self._counts.pop(request, None)
        self._sinks.pop(request, None)
        shown = request in self._in_place
        self._in_place.discard(request)
        return shown

    def _remember(self, msg_id: str, parent: Parent) -> None:
        self._parents[msg_id] = {"header": parent.get("header", {})}
        if len(self._parents) > _REMEMBERED:
            # a slider can make any number of requests while a cell runs
            del self._parents[next(request for request in self._parents if request not in self._counts)]

    # -- from the remote kernel, in its thread --------------------------------------------------------

    def message(self, message: Message, remote: RemoteKernel | None = None) -> None:
        """Relay one message, of `remote` or else of the notebook's own kernel."""
        if message.channel == wire.STDIN:
            self.input_requests.put(message)
            self.wake()
        elif message.channel == wire.CONTROL:
            self._comms.take_subshell(message)
        elif message.channel == wire.IOPUB:
            self._relay_output(message, remote or self._remote)

    def connection(self, text: str) -> None:
        """Show news about the connection."""
        self._status(text)

    def _relay_output(self, message: Message, remote: RemoteKernel | None) -> None:
        kind, request = message.type, message.parent_id
        if kind == record.MESSAGE:
            record.take(self._folder, message.content)
            return
        parent = self._parents.get(request)
        if parent is None or kind in ("execute_input", "iopub_welcome"):
            return
        if kind == "status":
            if message.content["execution_state"] == "idle":
                self._comms.answered(request, parent)
            return
        if kind == "error" and request not in self._in_place and request in self._counts:
            return  # it is raised here
        if kind.startswith("comm_"):
            message = self._comms.track(message, remote, self._parents)
        sink = self._sinks.get(request) or self._frontends
        if sink is not None:
            sink.send(message, parent, self._counts.get(request, 0))

    def close(self) -> None:
        """Leave the local kernel as it was."""
        self._comms.close()

    # -- input() --------------------------------------------------------------------------------------

    @property
    def can_ask(self) -> bool:
        """Whether whoever sent the local cell answers questions."""
        return self._local is None or bool(self._local._allow_stdin)

    def answer_input(self) -> None:
        """Put every waiting question of the remote cell to the user; call in the main thread."""
        while True:
            try:
                question = self.input_requests.get_nowait()
            except queue.Empty:
                return
            content = question.content
            ask = self._ask_password if content.get("password") else self._ask
            try:
                value = ask(content.get("prompt", ""))
            except (EOFError, StdinNotImplementedError):
                value = _END_OF_FILE
            if self._remote is not None:
                self._remote.send(wire.STDIN, "input_reply", {"value": value}, parent=question.header)

    def _ask(self, prompt: str) -> str:
        return str(self._local.raw_input(prompt) if self._local else input(prompt))

    def _ask_password(self, prompt: str) -> str:
        import getpass

        return str(self._local.getpass(prompt) if self._local else getpass.getpass(prompt))
