"""What the disk here says about the folder: the rules above it, and names that it cannot tell apart."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from ..agent.ignore import RULE_FILES, rules_in
from ..agent.manifest import Outer


def is_rules(path: str) -> bool:
    """Return whether the file at `path` says what to ignore."""
    return path.rpartition("/")[2] in RULE_FILES


def rules_above(root: Path) -> Outer:
    """Return the ignore rules between the top of the git repository that `root` is in and `root`."""
    above = [root, *root.parents]
    top = next((i for i, folder in enumerate(above) if os.path.lexists(folder / ".git")), 0)
    texts = [(folder, rules_in(os.fsencode(folder))) for folder in above[top:0:-1]]
    return [
        (f"{root.relative_to(folder).as_posix()}/", text.decode("latin-1")) for folder, text in texts if text
    ]


def clashing(root: Path, arriving: Iterable[str], present: Iterable[str]) -> dict[str, str]:
    """Return those of `arriving` that this disk would take for another name, with the reason."""
    if not ignores_case(root):
        return {}
    clashes: dict[str, str] = {}
    taken = {_fold(path): path for path in present}
    for path in sorted(arriving):
        parent = path.rpartition("/")[0]
        other = taken.setdefault(_fold(path), path)
        if parent in clashes:
            clashes[path] = clashes[parent]
        elif other != path:
            clashes[path] = f"this disk cannot tell it from {other}"
    return clashes


def ignores_case(root: Path) -> bool:
    """Return whether the disk that `root` is on takes ``A`` and ``a`` for the same name."""
    other = root.with_name(root.name.swapcase())
    return other.name != root.name and other.exists() and other.samefile(root)


def _fold(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()
