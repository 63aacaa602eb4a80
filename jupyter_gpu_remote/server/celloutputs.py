"""What a cell has put out, as a notebook keeps it."""

from __future__ import annotations

import copy
import logging
from contextlib import suppress
from typing import Any

import nbformat.v4
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionComplete

from ..messages import Message

_TYPES = ("stream", "display_data", "update_display_data", "execute_result", "error", "clear_output")


class CellOutputs:
    """The outputs of one cell, made from messages as a frontend makes them."""

    def __init__(self) -> None:
        self._cell = nbformat.v4.new_code_cell()
        self._client = NotebookClient(nbformat.v4.new_notebook(cells=[self._cell]))
        self._client.log = logging.getLogger(__name__)
        self._client.reset_execution_trackers()
        self._client.clear_before_next_output = False
        self._texts: list[str] = []

    def message(self, message: Message) -> None:
        """Take a message of IOPub."""
        if message.type not in _TYPES:
            return
        content = message.content
        if message.type == "stream" and self._goes_on(content["name"]):
            self._texts.append(content["text"])
            return
        self._join()
        whole = {
            "msg_type": message.type,
            "header": message.header,
            "parent_header": message.parent,
            "metadata": message.metadata,
            "content": content,
        }
        with suppress(CellExecutionComplete):
            self._client.process_message(whole, self._cell, 0)

    def _goes_on(self, stream: str) -> bool:
        last = self._cell.outputs[-1:]
        goes_on = bool(last) and last[0].output_type == "stream" and last[0].name == stream
        return goes_on and not self._client.clear_before_next_output

    def all(self) -> list[dict[str, Any]]:
        """Return the outputs so far."""
        self._join()
        return copy.deepcopy(list(self._cell.outputs))

    def _join(self) -> None:
        """Put text that belongs to the last stream at its end, all at once."""
        if self._texts:
            self._cell.outputs[-1]["text"] += "".join(self._texts)
            self._texts.clear()
