"""Widgets, and other comms, of remote kernels.

They are answered by us, not by the local kernel: their messages are taken in the thread that receives shell
messages, so they pass while a cell runs.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Mapping
from typing import Any

from .agent import wire
from .kernel import Message, RemoteKernel
from .messages import new_id
from .sinks import Parent, ToFrontends

_WIDGET_CONTROL = "jupyter.widget.control"


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


class Comms:
    """Between the comms of remote kernels and the frontends of the local one.

    Args:
        local: The local kernel; None in a terminal.
        frontends: What shows messages there.
        remember: Lets what comes for a request (its id) appear under the message given with it.
    """

    def __init__(
        self, local: Any, frontends: ToFrontends | None, remember: Callable[[str, Parent], None]
    ) -> None:
        self._local = local
        self._frontends = frontends
        self._remember = remember
        self._remote: RemoteKernel | None = None
        self._callbacks: set[str] = set()
        self._comms: dict[str, RemoteComm] = {}
        self._subshells: dict[str, str | None] = {}
        self._subshells_asked: dict[str, str] = {}
        self._held: list[dict[str, Any]] = []
        self._asking = threading.Lock()
        if local is not None:
            self._take_comm_messages()

    def serve(self, remote: RemoteKernel) -> None:
        """Take this for the notebook's own kernel from now on."""
        before, self._remote = self._remote, remote
        self._subshells.pop(remote.id, None)
        with self._asking:  # whom was asked is gone, with what waited for the answer
            self._subshells_asked.clear()
            self._held.clear()
        for comm_id, comm in list(self._comms.items()):
            if comm.remote is before:
                self._forget(comm_id)

    # -- from the remote kernel, in its thread --------------------------------------------------------

    def track(self, message: Message, remote: RemoteKernel | None, parents: Mapping[str, Parent]) -> Message:
        """Take note of a comm message of `remote`; return it as it is to be shown.

        Args:
            message: It.
            remote: The kernel that sent it.
            parents: The local requests that stand for those over there.
        """
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
            self._forget(comm_id)
        state = (content.get("data") or {}).get("state")
        if isinstance(state, dict) and state.get("msg_id") in parents:
            # an Output widget captures by the id of the request, which is another one here
            state["msg_id"] = parents[state["msg_id"]]["header"].get("msg_id", "")
            message.parts[3] = json.dumps(content).encode()
        return message

    def _forget(self, comm_id: str) -> None:
        self._comms.pop(comm_id, None)
        if self._local is not None:
            self._local.comm_manager.comms.pop(comm_id, None)

    def answered(self, request: str, parent: Parent) -> None:
        """Note that the remote kernel is done with a request."""
        if request in self._callbacks:
            # the frontend counts one idle for each comm message it sent
            self._callbacks.discard(request)
            self._publish_status("idle", parent)

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
            self._forget(comm_id)
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

    def take_subshell(self, reply: Message) -> None:
        """Send what was held until there is a thread for it beside the running cell."""
        with self._asking:
            kernel_id = self._subshells_asked.pop(reply.parent_id, "")
            if not kernel_id:
                return
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
            self._forget(message["content"]["comm_id"])
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
