"""What the server pushes."""

from __future__ import annotations

import json
import threading
import time
from types import TracebackType
from typing import Any

import websocket

from .served import TOKEN, Server

MACHINE, JOB, RUN = (f"https://jupyter-gpu-remote/{kind}/v1" for kind in ("machine", "job", "run"))


class Events:
    """Listens to the server's event socket, as JupyterLab does.

    Args:
        server: The server.
    """

    def __init__(self, server: Server) -> None:
        url = f"ws://127.0.0.1:{server.port}{server.base}api/events/subscribe"
        self.seen: list[dict[str, Any]] = []
        self._socket = websocket.create_connection(url, header={"Authorization": f"token {TOKEN}"})
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while True:
            try:
                text = self._socket.recv()
            except (OSError, websocket.WebSocketException):
                return
            if text:
                self.seen.append({**json.loads(text), "seen_at": time.time()})

    def of(self, schema: str, **values: Any) -> list[dict[str, Any]]:
        """Return what came of one kind, with these values in it."""
        ours = [e for e in self.seen if e["schema_id"] == schema]
        return [e for e in ours if values.items() <= e.items()]

    def __enter__(self) -> Events:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
        self._thread.join(5)
