"""What is asked of uv for one requirement: as it was declared, then as far as it can be had."""

from __future__ import annotations

import re

_LINE = re.compile(r"([A-Za-z0-9][\w.-]*)\s*(\[[^\]]*\])?\s*(@[^;]*(?=\s;)|@.*|[^;]*)(;.*)?")
_EXTRAS = {"jax": {12: "cuda12", 13: "cuda13"}, "tensorflow": {12: "and-cuda", 13: "and-cuda"}}
"""The extra by which a package uses a GPU, by CUDA version; PyTorch is uv's own `--torch-backend`."""
_FIRST_CUDA13 = (0, 8)
"""Of jax."""


def plain(name: str) -> str:
    """Return a package's normalised name."""
    return re.sub(r"[-_.]+", "-", name).lower()


class Wanted:
    """One line of the requirements, as it was asked for and as far as it can be had."""

    def __init__(self, asked: str, cuda: int) -> None:
        self.asked = asked
        self.reason = ""
        """Why it can't be had as it was asked for."""
        self.left_out = False
        match = (
            _LINE.fullmatch(asked)
            if not asked.startswith("-") and "://" not in asked.partition("@")[0]
            else None
        )
        name, extras, version, marker = match.groups() if match else ("", "", asked, "")
        self.name = plain(name)
        self._start, self._version, self._end = name + (extras or ""), (version or "").strip(), marker or ""
        if extra := _EXTRAS.get(self.name, {}).get(min(cuda, 13)):
            if extra == "cuda13" and _pin(self._version) < _FIRST_CUDA13:
                extra = "cuda12"
            inside = [
                e for e in re.split(r"[\[\],\s]+", extras or "") if e and not e.startswith(("cuda", "cpu"))
            ]
            self._start = f"{name}[{','.join([*inside, extra])}]"

    @property
    def is_option(self) -> bool:
        """Whether it is one of uv's options, and no package."""
        return self.asked.startswith("--")

    @property
    def place(self) -> str:
        """The address or the path that it comes from, if it names one."""
        if self.name and self._version[:1] != "@":
            return ""
        place = re.sub(r"^-e |\[[\w, -]+\]$|#.*$", "", self._version[1:].strip() if self.name else self.asked)
        return re.sub(r"^git\+|@[^/@]*$", "", place)

    @property
    def line(self) -> str:
        """What to ask uv for now; empty when it is left out."""
        if self.left_out:
            return ""
        if not self.name:
            return self.asked
        return " ".join(filter(None, (self._start, self._version, self._end)))

    def relax(self, reason: str) -> None:
        """Ask for less: any version, then nothing."""
        self.reason = self.reason or reason
        if self.name and self._version and self._version[:1] != "@":
            self._version = ""
        else:
            self.left_out = True


def _pin(version: str) -> tuple[int, ...]:
    match = re.match(r"===?\s*(\d+)\.(\d+)", version)
    return (int(match[1]), int(match[2])) if match else (10**6,)
