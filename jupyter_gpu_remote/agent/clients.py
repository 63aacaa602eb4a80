"""One connection of a client to the agent."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from . import wire
from .journal import Tail

if TYPE_CHECKING:
    from .kernels import Kernel

_RECORD_BYTES = 1 << 30
"""What a client may send as one record; it is in memory here until it is whole."""
_ANSWER_BYTES = 1 << 20
"""Unread answers beyond which nothing more is read from a client."""
_TURN_BYTES = 8 << 20
"""What one client gets before it is another's turn."""


class Client:
    """One connection: records come in, answers and the tail of a kernel's journal go out."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self.socket = connection
        self.decoder = wire.Decoder(_RECORD_BYTES)
        self.answers = bytearray()
        self.tail: Tail | None = None
        self.kernel: Kernel | None = None
        self.name = ""
        self.waits = False
        """Whether there is more to send as soon as the socket takes it."""
        self.events = 0
        """What the poller watches the socket for."""

    def answer(self, **value: Any) -> None:
        """Queue an answer; it goes between two records of the tail."""
        self.answers += wire.pack_json(wire.AGENT, value)

    @property
    def reads_answers(self) -> bool:
        """Whether more may be asked: a client that never reads must not fill our memory."""
        return len(self.answers) < _ANSWER_BYTES

    def flush(self) -> None:
        """Send until there is nothing more, the socket takes no more, or it is another's turn.

        Raises:
            OSError: The client is gone.
        """
        turn = _TURN_BYTES
        self.waits = False
        try:
            while turn > 0:
                if self.answers and (self.tail is None or self.tail.at_boundary()):
                    sent = self.socket.send(self.answers)
                    del self.answers[:sent]
                elif self.tail is not None and self.tail.pending():
                    sent = self.tail.send(self.socket)
                else:
                    return
                turn -= sent
        except BlockingIOError:
            pass
        self.waits = True
