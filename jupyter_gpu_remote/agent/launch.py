"""A cell run as a script by ``torchrun``, on this machine and others.

Runs in the kernel's process. Rank 0's output becomes the cell's, as it comes; that of every rank is in a file
in the notebook's folder afterwards.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO

from .cluster import ADDRESS, MACHINE, own_address, visible_gpus

FOLDER = "torchrun-logs"
_LOOK = 0.05
"""Seconds between two looks at what rank 0 has written."""
_OTHERS = 2.0
"""Seconds that a failure elsewhere may take to be known here: one that ends brings others down."""
_END_LIMIT = 5.0
"""Seconds that the processes may take to end when they are told to."""
_LAST = 12
"""Lines of a failed rank that its error shows."""
_FAILED = re.compile(r"rank\s*:\s*(\d+)\s*\(local_rank:\s*(\d+)\)\s*exitcode\s*:\s*(-?\d+)")


class RankFailed(Exception):
    """A process of a launch has failed; the message names it and ends in the last lines that it wrote."""

    def _render_traceback_(self) -> list[str]:
        return str(self).splitlines()


def torchrun(script: str, name: str, number: int, machines: int, address: str, port: int) -> None:
    """Run a script in a process for each GPU, or one where there is none.

    Args:
        script: Its source.
        name: What the launch is called.
        number: Which of the machines this is; 0 has rank 0.
        machines: How many there are.
        address: Machine 0, as the others reach it.
        port: Where it listens.

    Raises:
        RankFailed: A process here has failed.
        ImportError: There is no torch.
    """
    # waits for it, where the packages are still being installed
    if importlib.util.find_spec("torch") is None:
        raise ImportError("There is no torch on the machine: import it in a cell, or add it to the packages.")
    processes = len(visible_gpus()) or 1
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "cell.py"
        file.write_text(script, "utf-8")
        own = os.environ.get(ADDRESS) or own_address()
        argv = [
            *(sys.executable, "-m", "torch.distributed.run"),
            *(f"--nnodes={machines}", f"--node-rank={number}", f"--nproc-per-node={processes}"),
            *(f"--master-addr={address}", f"--master-port={port}", f"--local-addr={own}"),
            *(
                "--redirects=3",
                f"--log-dir={folder}/logs",
                str(Path(__file__).with_name("rank.py")),
                str(file),
            ),
        ]
        paths = os.pathsep.join(entry for entry in sys.path if entry)
        with (Path(folder) / "torchrun").open("w+b") as said:
            process = subprocess.Popen(
                argv,
                env={**_defaults(own), **os.environ, "PYTHONPATH": paths, "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )
            ranks = _Ranks(Path(folder) / "logs")
            if number:
                print(f"{processes} processes", flush=True)
            note = _note(name)
            try:
                while process.poll() is None and not note.exists():
                    time.sleep(_LOOK)
                    ranks.show(bool(number))
                if process.poll() is None:
                    _end(process)
                elif process.returncode and not number:
                    _wait_for(note)
            except KeyboardInterrupt:
                _end(process)
                raise
            finally:
                ranks.show(bool(number))
                ranks.keep(Path(FOLDER) / name, number, processes)
            said.seek(0)
            if process.returncode:
                failed = ranks.failure(said.read().decode(errors="replace"), process.returncode)
                raise _told(note, failed)


def _note(name: str) -> Path:
    """Return the file in which it is told what has failed elsewhere."""
    return Path.home() / ".gpu-remote" / "cluster" / f"{name}.failed"


def _wait_for(note: Path) -> None:
    end = time.monotonic() + _OTHERS
    while not note.exists() and time.monotonic() < end:
        time.sleep(_LOOK)


def _told(note: Path, own: RankFailed) -> RankFailed:
    """Return the error for what has failed elsewhere and here, what came from outside first."""
    with contextlib.suppress(OSError):
        elsewhere = note.read_text("utf-8")
        note.unlink()
        if "torchrun on" in str(own):  # it was ended here because of that
            return RankFailed(elsewhere)
        both = sorted([elsewhere, str(own)], key=lambda text: "was killed" not in text.partition("\n")[0])
        return RankFailed("\n\n".join(both))
    return own


def _defaults(own: str) -> dict[str, str]:
    """Return what the processes' environment has, unless the user says otherwise."""
    import psutil

    found = psutil.net_if_addrs().items()
    # by default they go by the machine's name, which often leads nowhere
    interface = next((name for name, has in found if any(a.address == own for a in has)), "")
    names = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME", "TP_SOCKET_IFNAME") if interface else ()
    return {"OMP_NUM_THREADS": "1", **dict.fromkeys(names, interface)}


def _end(process: subprocess.Popen[bytes]) -> None:
    """End all processes; they have had the interrupt too."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_END_LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()  # and its processes end with it
        process.wait()


class _Ranks:
    """What the processes of this machine write.

    Args:
        folder: Where ``torchrun`` keeps it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[str, IO[str]] = {}

    def _file(self, local: int, stream: str) -> Path | None:
        return next(self._folder.glob(f"*/attempt_0/{local}/{stream}.log"), None)

    def show(self, elsewhere: bool) -> None:
        """Print what rank 0 has written since the last time, unless it is elsewhere."""
        if elsewhere:
            return
        for stream, to in (("stdout", sys.stdout), ("stderr", sys.stderr)):
            if stream not in self._open and (file := self._file(0, stream)):
                self._open[stream] = file.open(encoding="utf-8", errors="replace", newline="")
            if stream in self._open and (text := self._open[stream].read()):
                print(text, end="", file=to, flush=True)

    def keep(self, folder: Path, number: int, processes: int) -> None:
        """Write a file for each rank into the notebook's folder."""
        for opened in self._open.values():
            opened.close()
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            for local in range(processes):
                text = "".join(
                    file.read_text(errors="replace")
                    for stream in ("stdout", "stderr")
                    if (file := self._file(local, stream))
                )
                (folder / f"rank-{number * processes + local}.txt").write_text(text)

    def failure(self, said: str, code: int) -> RankFailed:
        """Return the error for the process that failed first, by what ``torchrun`` has said."""
        machine = os.environ.get(MACHINE) or os.uname().nodename
        cause = said.rpartition("Root Cause")[2]
        found = _FAILED.search(cause) or _FAILED.search(said)
        if not found:
            last = "\n".join(said.strip().splitlines()[-_LAST:])
            return RankFailed(f"torchrun on {machine} ended with code {code}.\n{last}")
        rank, local, code = map(int, found.groups())
        names = {s.value: s.name for s in signal.Signals}
        how = f"was killed by {names.get(-code, -code)}" if code < 0 else f"ended with code {code}"
        file = self._file(local, "stderr")
        wrote = file.read_text(errors="replace").strip().splitlines()[-_LAST:] if file else []
        return RankFailed("\n".join([f"Rank {rank} on {machine} {how}.", *wrote]))
