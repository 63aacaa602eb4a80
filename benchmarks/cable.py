"""A long link between two network namespaces, made of two TUN devices and this process.

For kernels without netem. Every packet is carried after a fixed delay; bandwidth is not limited. The link
can be cut and put back: what was in flight is lost, and connections from before the cut are answered with
a reset afterwards, as by a router that restarted. Run as a process of its own (``python cable.py NAME
DELAY_MS MTU``), so that nothing here holds packets up: it says ``ready``, obeys `CUT` and
`MEND`, and ends with everything it made when its stdin closes.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import struct
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

CLIENT_IP, SERVER_IP = "10.99.0.1", "10.99.0.2"
CUT, MEND = signal.SIGUSR1, signal.SIGUSR2

_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_SYN, _RST, _ACK = 0x02, 0x04, 0x10

_BURST = 64
"""Packets taken from one device before looking at what is due."""

Flow = frozenset[bytes] | None


def namespaces(name: str) -> tuple[str, str]:
    """Return the names of the client's and the server's network namespace."""
    return f"{name}c", f"{name}s"


def flow_of(packet: bytes) -> Flow:
    """Return what tells a TCP connection from all others, in both directions alike; None if not TCP."""
    if packet[0] >> 4 != 4 or packet[9] != 6:
        return None
    tcp = (packet[0] & 15) * 4
    return frozenset((packet[12:16] + packet[tcp : tcp + 2], packet[16:20] + packet[tcp + 2 : tcp + 4]))


def opens_connection(packet: bytes) -> bool:
    """Return whether a packet is the first of a TCP connection, from either side."""
    return packet[9] == 6 and packet[0] >> 4 == 4 and bool(packet[(packet[0] & 15) * 4 + 13] & _SYN)


def checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071) of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total


def reset_for(packet: bytes) -> bytes | None:
    """Return the reset that ends the connection a TCP packet belongs to; None when it needs none."""
    start = (packet[0] & 15) * 4
    sport, dport, seq, ack, offset, flags = struct.unpack("!HHIIBB", packet[start : start + 14])
    if flags & _RST:
        return None
    if flags & _ACK:
        numbers, answer = (ack, 0), _RST
    else:
        length = len(packet) - start - (offset >> 4) * 4 + bool(flags & _SYN)
        numbers, answer = (0, (seq + length) & 0xFFFFFFFF), _RST | _ACK
    ends = packet[16:20] + packet[12:16]
    tcp = struct.pack("!HHIIBBHHH", dport, sport, *numbers, 5 << 4, answer, 0, 0, 0)
    tcp = tcp[:16] + struct.pack("!H", checksum(ends + struct.pack("!BBH", 0, 6, 20) + tcp)) + tcp[18:]
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 40, 0, 0, 64, 6, 0) + ends
    return ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:] + tcp


class Cable:
    """Carry packets between two TUN devices.

    Args:
        ends: The devices, not blocking.
        delay: Seconds each packet takes, in either direction.
    """

    def __init__(self, ends: tuple[int, int], delay: float) -> None:
        self.other_end = {ends[0]: ends[1], ends[1]: ends[0]}
        self.delay = delay
        self.on_the_way: deque[tuple[float, int, bytes]] = deque()
        self.is_cut = False
        self.seen: set[Flow] = set()
        self.forgotten: set[Flow] = set()

    def cut(self) -> None:
        """Lose every packet from now on, and forget the connections there are."""
        self.is_cut = True
        self.on_the_way.clear()
        self.forgotten |= self.seen
        self.seen.clear()

    def mend(self) -> None:
        """Carry packets again."""
        self.is_cut = False

    def carry(self, stop: int) -> None:
        """Carry packets until `stop` can be read from."""
        # one thread: at a thousand packets in a blink, threads would wait for each other
        sources = [*self.other_end, stop]
        while True:
            wait = max(0.0, self.on_the_way[0][0] - time.monotonic()) if self.on_the_way else None
            ready = select.select(sources, [], [], wait)[0]
            if stop in ready:
                return
            for source in ready:
                self._take(source)
            now = time.monotonic()
            while self.on_the_way and self.on_the_way[0][0] <= now:
                _, target, packet = self.on_the_way.popleft()
                os.write(target, packet)

    def _take(self, source: int) -> None:
        due, target = time.monotonic() + self.delay, self.other_end[source]
        for _ in range(_BURST):
            try:
                packet = os.read(source, 65536)
            except BlockingIOError:
                return
            if self._passes(source, packet):
                self.on_the_way.append((due, target, packet))

    def _passes(self, source: int, packet: bytes) -> bool:
        if self.is_cut:
            return False
        if self.forgotten and flow_of(packet) in self.forgotten:
            answer = reset_for(packet)
            if answer:
                os.write(source, answer)
            return False
        # looking at those that open a connection is enough, and costs the others little
        if opens_connection(packet):
            self.seen.add(flow_of(packet))
        return True


def _tun(name: str) -> int:
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH", name.encode(), _IFF_TUN | _IFF_NO_PI))
    return fd


def _ip(*args: str, check: bool = True) -> None:
    subprocess.run(["ip", *args], check=check)


def main(name: str, delay_ms: float, mtu: int) -> None:
    """Join two new namespaces until stdin closes."""
    ends = list(zip(namespaces(name), (CLIENT_IP, SERVER_IP), strict=True))
    try:
        devices = []
        for ns, address in ends:
            devices.append(_tun(ns))
            _ip("netns", "add", ns)
            _ip("link", "set", ns, "netns", ns)
            _ip("-n", ns, "addr", "add", f"{address}/24", "dev", ns)
            _ip("-n", ns, "link", "set", ns, "mtu", str(mtu), "txqueuelen", "5000", "up")
            _ip("-n", ns, "link", "set", "lo", "up")
        cable = Cable((devices[0], devices[1]), delay_ms / 1e3)
        signal.signal(CUT, lambda *_: cable.cut())
        signal.signal(MEND, lambda *_: cable.mend())
        print("ready", flush=True)
        cable.carry(sys.stdin.fileno())
    finally:
        for ns, _ in ends:
            if Path("/run/netns", ns).exists():
                _ip("netns", "del", ns, check=False)


if __name__ == "__main__":
    # the rig ends this by closing stdin; a signal meant for the whole group must not skip the clean-up
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))
