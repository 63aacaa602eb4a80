"""A cable that takes its time, for kernels that have no netem."""

from __future__ import annotations

import fcntl
import os
import select
import struct
import threading
import time
from collections import deque
from contextlib import suppress

from .network import inside

_TUNSETIFF, _TAP, _NO_HEADER = 0x400454CA, 0x0002, 0x1000
_FRAME = 65536


class Cable:
    """A network card on this computer, joined to one in a namespace.

    Args:
        name: What the card here is called.
        pid: A process in the namespace, where the card is called ``eth0``.
        delay: Seconds that a frame takes, either way.
    """

    def __init__(self, name: str, pid: int, delay: float) -> None:
        self._delay = delay
        self._here, self._there = _card(name), inside(pid, lambda: _card("eth0"))
        self._end, self._ended = os.pipe()
        threading.Thread(target=self._carry, daemon=True).start()

    def close(self) -> None:
        """Take it out; both cards are gone a moment later."""
        os.close(self._ended)

    def _carry(self) -> None:
        peers = {self._here: self._there, self._there: self._here}
        under_way: deque[tuple[float, int, bytes]] = deque()
        poll = select.poll()
        for descriptor in (*peers, self._end):
            poll.register(descriptor, select.POLLIN)
        while True:
            wait = max(0, under_way[0][0] - time.monotonic()) * 1000 if under_way else None
            ready = [descriptor for descriptor, _ in poll.poll(wait)]
            if self._end in ready:
                break
            for descriptor in ready:
                with suppress(OSError):  # a card that is gone has nothing
                    frame = os.read(descriptor, _FRAME)
                    under_way.append((time.monotonic() + self._delay, peers[descriptor], frame))
            while under_way and under_way[0][0] <= time.monotonic():
                _, target, frame = under_way.popleft()
                with suppress(OSError):  # a card that is down takes nothing
                    os.write(target, frame)
        for descriptor in (*peers, self._end):
            os.close(descriptor)


def _card(name: str) -> int:
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH", name.encode(), _TAP | _NO_HEADER))
    return descriptor
