"""Messages of a kernel, as a notebook keeps them below a cell."""

from __future__ import annotations

import json
from typing import Any

from jupyter_gpu_remote.agent import wire
from jupyter_gpu_remote.messages import Message
from jupyter_gpu_remote.server.celloutputs import CellOutputs


def outputs(*messages: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what is below a cell after messages: type and content of each."""
    cell = CellOutputs()
    for kind, content in messages:
        header = {"msg_type": kind, "msg_id": "m"}
        parts = [json.dumps(part).encode() for part in (header, {"msg_id": "p"}, {}, content)]
        cell.message(Message(wire.IOPUB, parts, [], header, {"msg_id": "p"}))
    return cell.all()


def stream(text: str, name: str = "stdout") -> tuple[str, dict[str, Any]]:
    return "stream", {"name": name, "text": text}


def shown(text: str, display_id: str = "", update: bool = False) -> tuple[str, dict[str, Any]]:
    transient = {"display_id": display_id} if display_id else {}
    content = {"data": {"text/plain": text}, "metadata": {}, "transient": transient}
    return "update_display_data" if update else "display_data", content


def texts(*messages: tuple[str, dict[str, Any]]) -> list[str]:
    return [one.get("text") or one["data"]["text/plain"] for one in outputs(*messages)]


def test_text_of_one_stream_is_one_output() -> None:
    assert texts(stream("a"), stream("b"), stream("c", "stderr"), stream("d")) == ["ab", "c", "d"]


def test_a_display_is_updated_in_its_place() -> None:
    said = shown("1 of 2", "bar"), stream("x"), shown("2 of 2", "bar", update=True), stream("y")
    assert texts(*said) == ["2 of 2", "xy"]


def test_what_was_cleared_is_gone() -> None:
    assert texts(stream("old"), ("clear_output", {"wait": False}), stream("new")) == ["new"]


def test_what_is_to_be_cleared_stays_until_something_follows() -> None:
    clear = "clear_output", {"wait": True}
    assert texts(stream("old"), clear) == ["old"]
    assert texts(stream("old"), stream("er"), clear, stream("new"), stream("er")) == ["newer"]


def test_results_and_errors_are_kept_as_they_came() -> None:
    result = {"data": {"text/plain": "3"}, "metadata": {}, "execution_count": 2}
    error = {"ename": "ValueError", "evalue": "no", "traceback": ["ValueError: no"]}
    kept = outputs(("execute_result", result), ("error", error), ("status", {"execution_state": "idle"}))
    assert [one["output_type"] for one in kept] == ["execute_result", "error"]


def test_what_is_returned_does_not_change_any_more() -> None:
    cell = CellOutputs()
    before = cell.all()
    header = {"msg_type": "stream", "msg_id": "m"}
    parts = [b"{}", b"{}", b"{}", json.dumps({"name": "stdout", "text": "a"}).encode()]
    cell.message(Message(wire.IOPUB, parts, [], header, {}))
    assert before == [] and len(cell.all()) == 1
