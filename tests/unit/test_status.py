"""The line that changes in place."""

from __future__ import annotations

from jupyter_gpu_remote.status import StatusLine


def test_what_it_shows_already_is_not_sent_again() -> None:
    sent: list[str] = []
    line = StatusLine(sent.append)
    for _ in range(2):
        line.end("ready")
    line.end()
    line.end("ready")
    assert sent == ["ready", "", "ready"]
