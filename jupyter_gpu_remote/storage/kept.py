"""What the cells of a machine that is gone have put out, from the bucket where it was kept.

Beside the copy of a notebook's folder lie the journals of the kernels that worked in it. What is read of them
is shown, and nothing else: variables never come from a bucket.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from ..agent import wire
from ..agent.manifest import OUTPUTS
from ..errors import GpuRemoteError, StorageError
from ..messages import Execution, Listener, Message
from ..registry import Registry
from .browse import Entry, entries, open_file
from .urls import Bucket, parse_bucket

_EVENT = "kept"
_SUFFIX = ".journal"


def note_place(registry: Registry, machine: str, folder: str | Path, url: str) -> None:
    """Write down that the copy of a folder on a machine is kept in a bucket, with what its cells put out."""
    if url != str(place_of(registry, machine, folder)):
        text = f"{folder} and what its cells put out are kept in {url}"
        registry.note(_EVENT, machine, text, {"folder": str(folder), "url": url})


def place_of(registry: Registry, machine: str, folder: str | Path) -> Bucket | None:
    """Return where the copy of a folder on a machine is kept; None where it is not."""
    for event in reversed(registry.events(limit=5000)):
        if (event.kind, event.machine, event.data.get("folder")) == (_EVENT, machine, str(folder)):
            return parse_bucket(event.data["url"])
    return None


class KeptOutputs:
    """The journal of one kernel, as far as it was in its bucket when the machine ended.

    Args:
        place: Where the folder is kept that the kernel worked in.
        kernel: The kernel.

    Raises:
        StorageError: There is none.
        ConfigurationError: The library to read it with is not installed.
    """

    def __init__(self, place: Bucket, kernel: str) -> None:
        journals = _in(place, OUTPUTS)
        names = [one.name for one in entries(journals) if one.name.rpartition("-")[0] == kernel]
        found = [
            (_in(journals, name), segments) for name in names if (segments := _segments(_in(journals, name)))
        ]
        if not found:
            raise StorageError(f"Nothing that was put out is in {place}.")
        # one kernel after the other may have had that name
        self._folder, self._segments = max(found, key=lambda one: _changed(one[1]))
        self.until = f"{datetime.fromtimestamp(_changed(self._segments)):%H:%M:%S}"
        """When the last of it came into the bucket, for people."""

    def cells(self) -> dict[str, int]:
        """Return the last cells that were begun, by message id, with the number of the record at which."""
        begun: dict[str, int] = {}
        for record in self._records(self._segments[-1]):
            if record.channel == wire.EVENT:
                event = json.loads(record.parts[0])
                begun.update(event.get("checkpoint", {}).get("executions", ()))
                if "execute" in event:
                    begun[event["execute"]] = event["at"]
        return begun

    def show_cell(
        self, listener: Listener, begin: Callable[[Execution], None], cell: str = ""
    ) -> tuple[Execution, Mapping[str, Any]]:
        """Show one cell from its first output on.

        Args:
            listener: Gets what it put out.
            begin: Called with its execution before that.
            cell: Its message id; empty for the last one.

        Returns:
            Its execution, and how it ended; nothing where that was not known yet.
        """
        begun = self.cells()
        execution = Execution(cell or next(reversed(begun), ""))
        begin(execution)
        ended = self.show(listener, begun.get(execution.msg_id, 0), execution.msg_id)
        return execution, ended.get(execution.msg_id, {})

    def show(self, listener: Listener, since: int, cell: str = "") -> dict[str, Mapping[str, Any]]:
        """Pass on what was put out.

        Args:
            listener: Gets it.
            since: The number of the record to begin with.
            cell: The message id of the cell that is meant; empty for all.

        Returns:
            How cells ended, by message id; see `agent.kernels.Kernel.outcomes`.
        """
        ended: dict[str, Mapping[str, Any]] = {}
        for record in self._since(since):
            if record.channel == wire.EVENT:
                event = json.loads(record.parts[0])
                if "finished" in event:
                    ended[event["finished"]] = event["outcome"]
            elif record.channel == wire.IOPUB:
                message = Message.of(record)
                # what answers widgets is gone
                if cell in ("", message.parent_id) and not message.type.startswith("comm_"):
                    listener.message(message)
        return ended

    def _since(self, since: int) -> Iterator[wire.Record]:
        starts = [_first(segment) for segment in self._segments]
        for segment, following in zip(self._segments, [*starts[1:], since + 1], strict=True):
            if following > since:
                yield from (record for record in self._records(segment) if record.sequence >= since)

    def _records(self, segment: Entry) -> Iterator[wire.Record]:
        """Yield the whole records of a segment: the last one there may be torn."""
        _, file = open_file(_in(self._folder, segment.name))
        with file:
            data = file.read()
        try:
            yield from wire.Decoder().feed(data)
        except ValueError as e:
            raise StorageError(f"{segment.name} in {self._folder} is damaged: {e}.") from e


def bring(place: Bucket, kernel: str, since: int, listener: Listener) -> str:
    """Show what a kernel has put out after the record `since`, and say in a sentence what came of it."""
    try:
        kept = KeptOutputs(place, kernel)
        ended = kept.show(listener, since)
    except GpuRemoteError as e:
        return f"What was put out since could not be had from {place}: {e.message}"
    over = " The cell had ended by then." if ended else ""
    return f"What was put out until {kept.until} came from {place}.{over}"


def _in(bucket: Bucket, name: str) -> Bucket:
    return Bucket(bucket.scheme, bucket.name, bucket.below + name)


def _segments(folder: Bucket) -> list[Entry]:
    found = [one for one in entries(folder) if one.name.removesuffix(_SUFFIX).isdigit()]
    return sorted(found, key=_first)


def _first(segment: Entry) -> int:
    return int(segment.name.removesuffix(_SUFFIX))


def _changed(segments: list[Entry]) -> float:
    return max(segment.changed or 0.0 for segment in segments)
