"""Install packages with uv: ``python -m jupyter_gpu_remote.agent.installer STATE LOCK``, a job on its input.

What cannot be had as it is asked for is taken in another version, and left out when there is none; either
is said.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .packages import FAILED, READY, read, write
from .wanted import Wanted, plain

_LIMIT = 3600.0
"""Seconds for one run of uv: packages of gigabytes, on a slow line."""
_ASKED = re.compile(r"you require ([A-Za-z0-9][\w.-]*\w|\w)")
_DEPENDS = re.compile(r"depends? on ([A-Za-z0-9][\w.-]*\w|\w)")
_FAILED = re.compile(r"(?:[Ff]ailed to [a-z ]*|because )`([A-Za-z0-9][\w.-]*\w|\w)")
_NO_ROOM = re.compile(r"No space left|os error 28|Disk quota exceeded")
_NO_WRITING = re.compile(r"Read-only file system|Permission denied")
_NO_NETWORK = re.compile(
    r"error sending request|dns error|Request failed after|tcp connect|timed out|Failed to fetch"
)
_TORCH_INDEX = "download.pytorch.org"


class CannotInstall(Exception):
    """Nothing of it can be installed; `hint` is the next step."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def _absolute(line: str, folder: str) -> str:
    """Return a line with the whole path of the folder that it searches; uv would start from its own list."""
    option, here, inside = line.partition("--find-links ./")
    return line if option or not here else f"--find-links {Path(folder, inside).as_uri()}"


class Installation:
    """The building of one environment.

    Args:
        file: Its state.
        lock: The descriptor of its lock, which every process at work on it holds.
        job: ``requirements``, ``python``, ``folder``, ``uv`` and ``cuda``.
    """

    def __init__(self, file: Path, lock: int, job: Mapping[str, Any]) -> None:
        self._file, self._lock, self._job = file, lock, job
        self._state = read(file)
        self._target = file.with_suffix("")
        self._new = self._target.with_suffix(".new")
        self._wanted = [Wanted(_absolute(line, job["folder"]), job["cuda"]) for line in job["requirements"]]
        self._notes: list[str] = []
        self._count, self._loading = 0, list[str]()

    def run(self) -> None:
        """Build it, and say how that ended."""
        try:
            for old in (self._new, self._target):
                if old.exists():
                    shutil.rmtree(old)  # of one that was killed, or broken
            self._step("making an environment")
            python = self._job["python"]
            code, said = self._uv(["venv", "--relocatable", "--clear", "--python", python, str(self._new)])
            if code:
                raise _hopeless(said)
            self._install()
            notes = [*self._state["notes"], *self._notes, *self._differences()]
            self._new.rename(self._target)
            missing = {w.name or w.asked: w.reason for w in self._wanted if w.left_out}
            self._write(state=READY, step="", path=str(self._target), notes=notes, missing=missing)
        except CannotInstall as e:
            self._fail(str(e), e.hint)
        except OSError as e:
            hopeless = _hopeless(str(e))
            self._fail(str(hopeless), hopeless.hint)

    def _fail(self, error: str, hint: str) -> None:
        shutil.rmtree(self._new, ignore_errors=True)
        self._write(state=FAILED, step="", error=error, hint=hint)

    def _write(self, **changes: Any) -> None:
        self._state.update(changes)
        write(self._file, self._state)

    def _step(self, text: str) -> None:
        if text != self._state.get("step"):
            self._write(step=text)

    def _install(self) -> None:
        """Run uv until it succeeds; each time one more requirement is relaxed."""
        pip = Wanted("pip", 0)  # so that %pip works
        self._wanted.append(pip)
        backend = ["--torch-backend=auto"]
        listed = self._new / "requirements.txt"
        while True:
            listed.write_text("".join(f"{w.line}\n" for w in self._wanted if w.line), "utf-8")
            self._step("finding out which packages that takes")
            python = str(self._new / "bin" / "python")
            code, said = self._uv(["pip", "install", "--python", python, *backend, "-r", str(listed)])
            if not code:
                break
            if backend and ("--torch-backend" in said or _TORCH_INDEX in said):
                backend = []
                if _TORCH_INDEX in said:
                    self._notes.append(
                        "PyTorch's own index can't be reached from the machine: the general build is taken"
                    )
                continue
            self._relax(said)
        self._wanted.remove(pip)

    def _relax(self, said: str) -> None:
        said = re.sub(r"\s+", " ", said)  # uv breaks lines
        if _NO_ROOM.search(said) or _NO_WRITING.search(said):
            raise _hopeless(said)
        left = [w for w in self._wanted if w.line and not w.is_option]
        culprits = []
        for w in left:
            place = w.place
            if place and "://" not in place:
                place = os.path.normpath(Path(self._job["folder"], place))
                if not Path(place).exists():
                    raise CannotInstall(
                        f"{w.place} is not in the notebook's folder on the machine.",
                        "See that `.gitignore` and `.gpuignore` let it sync; then run the cell again.",
                    )
            if place and place in said:
                culprits.append(w)
        if not culprits:
            asked, depends = (set(map(plain, found.findall(said))) for found in (_ASKED, _DEPENDS))
            # of two that do not go together, the one that the other one needs gives way
            for names in (asked & depends, asked, set(map(plain, _FAILED.findall(said)))):
                culprits = culprits or [w for w in left if w.name in names]
        if not culprits:
            raise _hopeless(said)
        for w in culprits:
            w.relax(_reason(said))

    def _differences(self) -> Iterator[str]:
        """Yield what was done instead of what was asked for."""
        versions = {}
        for info in self._new.glob("lib/python*/site-packages/*.dist-info"):
            name, _, version = info.name.removesuffix(".dist-info").partition("-")
            versions[plain(name)] = version
        for w in self._wanted:
            if w.left_out:
                yield f"{w.asked} can't be had for this machine and is left out: {w.reason}"
            elif w.reason:
                instead = versions.get(w.name, "nothing")
                yield f"{w.asked} can't be had for this machine: {instead} instead ({w.reason})"

    # -- uv -----------------------------------------------------------------------------------------

    def _uv(self, arguments: Sequence[str]) -> tuple[int, str]:
        """Run uv; what it says moves the step on. Return its exit code and all that it said."""
        # certificates of the system: a machine behind a company's proxy knows that proxy's
        env = {**os.environ, "UV_SYSTEM_CERTS": "1", "UV_NATIVE_TLS": "1", "NO_COLOR": "1"}
        env.pop("UV_NO_PROGRESS", None)
        said = []
        folder = Path(self._job["folder"])
        with subprocess.Popen(
            [self._job["uv"], *arguments],
            cwd=folder if folder.is_dir() else "/",
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[self._lock],
            text=True,
            errors="replace",
        ) as uv:
            assert uv.stdout is not None
            limit = threading.Timer(_LIMIT, uv.kill)
            limit.daemon = True
            limit.start()
            for line in uv.stdout:
                print(line, end="", flush=True)
                said.append(line)
                self._hear(line.strip())
            limit.cancel()
        return uv.returncode, "".join(said)

    def _hear(self, line: str) -> None:
        """Make a step out of what uv says."""
        verb, _, rest = line.partition(" ")
        if verb == "Resolved":
            self._count = int(rest.partition(" ")[0])
        elif verb == "Prepared":
            self._loading.clear()
        elif verb in ("Downloading", "Building"):
            self._loading.append(rest.partition("==")[0] if verb == "Building" else rest)
        elif verb in ("Downloaded", "Built"):
            name = rest.partition("==")[0]
            self._loading = [p for p in self._loading if p.split(" ")[0] != name]
        else:
            return
        packages = f"{self._count} package{'s' if self._count != 1 else ''}"
        loading = ", ".join(self._loading[:3]) + (" …" if len(self._loading) > 3 else "")
        self._step(f"installing {packages}" + (f": {loading}" if loading else ""))


def _reason(said: str) -> str:
    """Return what uv gives as the reason, on one line."""
    text = re.sub(r"\s+", " ", said.partition("cause:")[2] or said.partition("─▶")[2] or said)
    text = re.split(r", we can conclude|cause:|hint:|├─▶|╰─▶", text)[0]
    text = re.sub(r" and you require .*", "", text).strip().removeprefix("Because ").rstrip(".,")
    return text[:300]


def _hopeless(said: str) -> CannotInstall:
    """Return the error for what no other version can help against."""
    if _NO_ROOM.search(said):
        return CannotInstall(
            "The disk of the machine is full.",
            "Make room over there: `df -h ~`, `uv cache clean`; then run the cell again.",
        )
    if _NO_WRITING.search(said):
        return CannotInstall(_tail(said), "The home folder over there must be writable.")
    if _NO_NETWORK.search(said):
        return CannotInstall(
            f"The package index can't be reached from the machine: {_tail(said)}",
            "Check the network over there; then run the cell again.",
        )
    return CannotInstall(
        f"uv could not install them: {_tail(said)}", "Change what is asked for, or use --env none."
    )


def _tail(said: str) -> str:
    return re.sub(r"\s+", " ", said).strip()[-600:]


if __name__ == "__main__":
    os.umask(0o077)
    Installation(Path(sys.argv[1]), int(sys.argv[2]), json.load(sys.stdin)).run()
