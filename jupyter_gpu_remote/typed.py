"""A cell as it was typed into a kernel that lies on a machine: what is for the machine, and what for us.

A notebook written for ``%%remote`` runs there unchanged.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from .errors import ConfigurationError

_LOAD = re.compile(r"%(?:re)?load_ext\s+jupyter_gpu_remote\s*")
_VERB = re.compile(r"%remote(?:\s+(.*))?")
_CELL = re.compile(r"%%remote(?:\s+(.*))?")


@dataclass(frozen=True)
class Typed:
    """A cell.

    Attributes:
        code: What runs over there.
        options: What follows ``%%remote``; None where the cell does not begin with that.
        verbs: The lines of a cell that is made of ``%remote`` lines alone.
    """

    code: str
    options: str | None = None
    verbs: list[str] = field(default_factory=list)


def read_cell(code: str) -> Typed:
    """Take a cell apart.

    Raises:
        ConfigurationError: ``%remote`` lines stand among other code.
    """
    if "remote" not in code:
        return Typed(code)
    lines = code.splitlines(keepends=True)
    lines = ["\n" if _LOAD.fullmatch(line.strip()) else line for line in lines]
    code = "".join(lines)
    said = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    verbs = [match[1] or "" for line in said if (match := _VERB.fullmatch(line))]
    if verbs and len(verbs) == len(said):
        return Typed(code, verbs=verbs)
    if _has_verb(code):
        raise ConfigurationError(
            "This notebook runs on the machine as a whole, and %remote is for this side of it.",
            hint="Put the %remote lines into a cell of their own.",
        )
    for at, line in enumerate(lines):
        if match := _CELL.fullmatch(line.strip()):
            return Typed("".join(lines[:at] + lines[at + 1 :]), options=match[1] or "")
        if line.strip() and not line.startswith(("%%", "#")):
            break
    return Typed(code)


def _has_verb(code: str) -> bool:
    """Return whether IPython would read one of the lines as ``%remote``, rather than as part of a string."""
    if "%remote" not in code.replace("%%remote", ""):
        return False
    from IPython.core.inputtransformer2 import TransformerManager

    call = "get_ipython().run_line_magic('remote'"
    return call not in code and call in TransformerManager().transform_cell(code)
