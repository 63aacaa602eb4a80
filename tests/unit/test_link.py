"""The link to the agent."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from jupyter_gpu_remote.agent import wire
from jupyter_gpu_remote.errors import GpuRemoteError
from jupyter_gpu_remote.link import Link
from tests.conftest import wait_for


class Peer:
    """Notes what it is told, in order."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def hello(self, unacknowledged: list[str]) -> Mapping[str, Any]:
        return {}

    def welcome(self, answer: Mapping[str, Any]) -> None:
        self.told.append("welcome")

    def take(self, record: wire.Record) -> None:
        self.told.append(f"record {record.sequence}")

    def news(self, text: str) -> None:
        pass

    def over(self, error: GpuRemoteError) -> None:
        pass


def test_records_in_one_piece_with_the_answer_are_taken_after_it() -> None:
    ours, theirs = socket.socketpair()
    stream = SimpleNamespace(
        recv=ours.recv, sendall=ours.sendall, close=lambda: ours.shutdown(socket.SHUT_RDWR)
    )

    def agent() -> None:
        (request,) = wire.Decoder().feed(theirs.recv(1 << 20))
        answer = {"id": json.loads(request.parts[0])["id"], "result": {"known": []}}
        records = [wire.pack(wire.IOPUB, [b"{}"] * 4, sequence) for sequence in (7, 8)]
        theirs.sendall(b"".join([wire.pack_json(wire.AGENT, answer), *records]))

    threading.Thread(target=agent, daemon=True).start()
    peer = Peer()
    link = Link(lambda sure: stream, peer, patience=1)
    link.open()
    wait_for(lambda: len(peer.told) == 3, "both records")
    link.close(GpuRemoteError("over"))
    assert peer.told == ["welcome", "record 7", "record 8"]
