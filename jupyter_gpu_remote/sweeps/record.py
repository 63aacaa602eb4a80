"""Results of sweeps, kept here as they come: ``sweeps/NAME/results.jsonl`` beside the notebook.

The machine may be gone with the next message. The first line says what was swept, each further one is a trial
that has ended.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..agent.results import GOOD

MESSAGE = "gpu_remote_sweep"
"""The type of the messages in which results come."""
FOLDER = "sweeps"
_FILE = "results.jsonl"
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,80}")


@dataclass
class Record:
    """The results of one sweep.

    Attributes:
        path: Their file.
        about: What was swept.
        trials: Those that have ended, by number; the latest of each.
    """

    path: Path
    about: dict[str, Any]
    trials: dict[int, dict[str, Any]] = field(default_factory=dict)

    @property
    def good(self) -> list[dict[str, Any]]:
        """The trials that ended well, in order."""
        return [self.trials[n] for n in sorted(self.trials) if self.trials[n]["state"] in GOOD]


def begin(folder: Path, name: str, about: Mapping[str, Any]) -> None:
    """Begin the record of a sweep, or go on with it."""
    path = folder / FOLDER / name / _FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.write_text(json.dumps(about) + "\n")


def take(folder: Path, content: Mapping[str, Any]) -> None:
    """Write down results that a message has brought, each once, however often it comes.

    Args:
        folder: The notebook's.
        content: The message's.
    """
    name = str(content["sweep"])
    path = folder / FOLDER / name / _FILE
    if not _NAME.fullmatch(name) or not path.exists():  # a machine can't make us write elsewhere
        return
    known = read(path).trials
    fresh = [trial for trial in map(json.loads, content["trials"]) if known.get(trial["trial"]) != trial]
    lines = list(map(json.dumps, fresh))
    if lines:
        with path.open("a+b") as file:
            file.seek(max(0, file.tell() - 1))
            torn = file.read() != b"\n"
            file.write(b"\n" * torn + "".join(f"{line}\n" for line in lines).encode())


def read(path: Path) -> Record:
    """Return what is written down; a line that was torn when this computer went down is left out."""
    record = Record(path, {})
    for line in path.read_text().splitlines():
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if "trial" in found:
            record.trials[found["trial"]] = found
        elif not record.about:
            record.about = found
    return record


def latest(folder: Path, digest: str) -> Record | None:
    """Return the latest record of the sweep with that digest that has a trial which ended well."""
    files = sorted((folder / FOLDER).glob(f"*/{_FILE}"), key=lambda path: -path.stat().st_mtime)
    for path in files:
        with path.open() as file:
            mine = digest in file.readline()
        if mine and (found := read(path)).good:
            return found
    return None
