"""Messages of a remote kernel on their way to the local kernel's frontends, and back.

The local kernel never sees the code that runs over there; it lends its IOPub and its request ids. Remote
outputs are sent raw, with the local cell as their parent. Widgets made over there are answered by us, not
by the local kernel: their messages are taken in the thread that receives shell messages, so they pass
while a cell runs.
"""

from __future__ import annotations

import contextlib
import json
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from IPython.core.error import StdinNotImplementedError

from .agent import wire
from .kernel import Execution, Message, RemoteKernel
from .messages import new_id
from .sinks import Parent, ToFrontends, ToPython
from .sweeps import record

_WIDGET_CONTROL = "jupyter.widget.control"
_END_OF_FILE = "\x04"
_REMEMBERED = 2000
"""Requests whose late outputs (threads, callbacks) still find their cell."""


class RemoteComm:
    """Stands in the local comm manager for a comm of the remote kernel, so that frontends can list it."""

    def __init__(self, comm_id: str, target_name: str, remote: RemoteKernel | None) -> None:
        self.comm_id = comm_id
        self.target_name = target_name
        self.remote = remote

    def handle_msg(self, message: Any) -> None:
        """Nothing comes here: the relay takes the message before."""

    def handle_close(self, message: Any) -> None:
        """Nothing comes here: the relay takes the message before."""

    def close(self, *args: Any, **kwargs: Any) -> None:
        """Leave the remote comm alone when the local kernel shuts down."""


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
        self._callbacks: set[str] = set()
        self._comms: dict[str, RemoteComm] = {}
        self._subshells: dict[str, str | None] = {}
        self._subshells_asked: dict[str, str] = {}
        self._held: list[dict[str, Any]] = []
        self._asking = threading.Lock()
        self.input_requests: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self.wake: Callable[[], Any] = lambda: None
        if self._local is not None:
            self._take_comm_messages()

    def serve(self, remote: RemoteKernel) -> None:
        """Relay for this kernel from now on."""
        before, self._remote = self._remote, remote
        self._subshells.pop(remote.id, None)
        with self._asking:  # whom was asked is gone, with what waited for the answer
            self._subshells_asked.clear()
            self._held.clear()
        for comm_id, comm in list(self._comms.items()):
            if comm.remote is before:
                self._forget_comm(comm_id)

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
            if message.parent_id in self._subshells_asked:
                self._take_subshell(message)
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
            if request in self._callbacks and message.content["execution_state"] == "idle":
                # the frontend counts one idle for each comm message it sent
                self._callbacks.discard(request)
                self._publish_status("idle", parent)
            return
        if kind == "error" and request not in self._in_place and request in self._counts:
            return  # it is raised here
        if kind.startswith("comm_"):
            message = self._track_comm(message, remote)
        sink = self._sinks.get(request) or self._frontends
        if sink is not None:
            sink.send(message, parent, self._counts.get(request, 0))

    def _track_comm(self, message: Message, remote: RemoteKernel | None) -> Message:
        content = message.content
        comm_id = content["comm_id"]
        if message.type == "comm_open":
            comm = self._comms[comm_id] = RemoteComm(comm_id, content["target_name"], remote)
            if self._local is not None:
                self._local.comm_manager.comms[comm_id] = comm
            if remote and remote.id not in self._subshells:
                self._subshells[remote.id] = None
                asked = remote.send(wire.CONTROL, "create_subshell_request", {})
                self._subshells_asked[asked] = remote.id
        elif message.type == "comm_close":
            self._forget_comm(comm_id)
        state = (content.get("data") or {}).get("state")
        if isinstance(state, dict) and state.get("msg_id") in self._parents:
            # an Output widget captures by the id of the request, which is another one here
            state["msg_id"] = self._parents[state["msg_id"]]["header"].get("msg_id", "")
            message.parts[3] = json.dumps(content).encode()
        return message

    def _forget_comm(self, comm_id: str) -> None:
        self._comms.pop(comm_id, None)
        if self._local is not None:
            self._local.comm_manager.comms.pop(comm_id, None)

    # -- from the frontends, in the thread that receives shell messages -------------------------------

    def _take_comm_messages(self) -> None:
        """Look at shell messages before the kernel does.

        That is in its thread for them, or, in an ipykernel that has none, in the main thread, which is free
        for it while a cell is awaited.
        """
        local: Any = self._local
        stream = local.shell_stream
        receive = self._receive = stream._recv_callback

        def receive_or_relay(frames: Any) -> Any:
            return None if self._comms and self._relay_comm(frames) else receive(frames)

        stream.io_loop.add_callback(stream.on_recv, receive_or_relay, copy=False)

    def close(self) -> None:
        """Leave the local kernel as it was."""
        for comm_id in list(self._comms):
            self._forget_comm(comm_id)
        if self._local is not None:
            stream = self._local.shell_stream
            stream.io_loop.add_callback(stream.on_recv, self._receive, copy=False)

    def _relay_comm(self, frames: Any) -> bool:
        """Relay a comm message if it is for a remote comm; return whether it was."""
        local: Any = self._local
        session = local.session
        with contextlib.suppress(Exception):  # what can't be read is the local kernel's to complain about
            _, parts = session.feed_identities(frames, copy=False)
            kind = session.unpack(parts[1].bytes)["msg_type"]
            if kind not in ("comm_msg", "comm_close", "comm_open"):
                return False
            if kind == "comm_open":
                return self._refuse_control(session.unpack(parts[4].bytes), session.unpack(parts[1].bytes))
            if session.unpack(parts[4].bytes)["comm_id"] not in self._comms:
                return False
            self._to_remote(session.deserialize(parts, copy=False))
            return True
        return False

    def _take_subshell(self, reply: Message) -> None:
        """Send what was held until there is a thread for it beside the running cell."""
        with self._asking:
            kernel_id = self._subshells_asked.pop(reply.parent_id)
            self._subshells[kernel_id] = reply.content.get("subshell_id")
            held, self._held = self._held, []
        for message in held:
            self._send_on(message)

    def _to_remote(self, message: dict[str, Any]) -> None:
        comm = self._comms.get(message["content"]["comm_id"])
        with self._asking:
            if comm and comm.remote and comm.remote.id in self._subshells_asked.values():
                # on the main thread it would wait for the cell, which may wait for it
                self._held.append(message)
                return
        self._send_on(message)

    def _send_on(self, message: dict[str, Any]) -> None:
        comm, kind = self._comms.get(message["content"]["comm_id"]), message["header"]["msg_type"]
        remote = comm.remote if comm else self._remote
        self._publish_status("busy", message)
        if remote is None or not remote.is_open:
            self._publish_status("idle", message)
            return
        request = new_id()
        self._callbacks.add(request)
        self._remember(request, message)
        if kind == "comm_close":
            self._forget_comm(message["content"]["comm_id"])
        remote.send(
            wire.SHELL,
            kind,
            message["content"],
            metadata=message["metadata"],
            buffers=message.get("buffers", ()),
            # beside the running cell; without one on the main thread, where plots and the like belong
            subshell=self._subshells.get(remote.id) if remote.executions else None,
            msg_id=request,
        )

    def _refuse_control(self, content: dict[str, Any], header: dict[str, Any]) -> bool:
        """Close the comm by which a reloaded page asks for all widgets at once.

        The local kernel would answer with its own alone; refused, the page asks for each one it can list.
        """
        if content.get("target_name") != _WIDGET_CONTROL or self._frontends is None:
            return False
        parent = {"header": header}
        self._publish_status("busy", parent)
        self._frontends.publish("comm_close", {"comm_id": content["comm_id"], "data": {}}, parent)
        self._publish_status("idle", parent)
        return True

    def _publish_status(self, state: str, parent: Parent) -> None:
        if self._frontends is not None:
            self._frontends.publish("status", {"execution_state": state}, parent)

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
