"""A kernelspec for each machine that can be used: files, which every frontend finds."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from jupyter_core.paths import jupyter_data_dir

from ..model import Machine, MachineState
from ..owner import installation
from ..registry import Registry

PERMANENT = "gpu-remote"
"""The kernelspec in the wheel: whichever machine the notebook is bound to."""
_S = MachineState


def usable(machine: Machine) -> bool:
    """Return whether a kernel can be had on a machine now."""
    return bool(machine.ready_at) and machine.state in (_S.READY, _S.BUSY, _S.CONNECTING, _S.PREPARING)


def spec_name(machine: str) -> str:
    """Return the name of the kernelspec of a machine."""
    return f"{PERMANENT}-{machine}"


def refresh(registry: Registry) -> None:
    """Make the kernelspecs those of the machines that can be used now; others' are left alone.

    Raises:
        OSError: They can't be written.
    """
    folder = Path(jupyter_data_dir()) / "kernels"
    # before the machines: what becomes usable in between is not taken for a leftover
    there = _ours(folder)
    wanted = {spec_name(m.name): _spec(m) for m in registry.machines() if usable(m)}
    for name in there.keys() - wanted.keys():
        shutil.rmtree(folder / name, ignore_errors=True)
    for name, spec in wanted.items():
        if there.get(name) != spec:
            _write(folder / name, spec)


def _spec(machine: Machine) -> dict[str, Any]:
    offer = machine.offer
    what = f"CPU (for {offer.stand_in_for})" if offer.stand_in_for else offer.gpu or "CPU"
    count = f" ×{offer.count}" if offer.count > 1 else ""
    where = f"{offer.provider} spot" if offer.spot else offer.provider
    return {
        "argv": [
            sys.executable,
            "-m",
            "jupyter_gpu_remote.kernelapp",
            "--on",
            machine.name,
            "-f",
            "{connection_file}",
        ],
        "display_name": f"Python on {what}{count} ({where}, {machine.name})",
        "language": "python",
        "interrupt_mode": "message",
        "metadata": {
            "debugger": True,
            "gpu_remote": {"machine": machine.name, "installation": installation()},
        },
    }


def _ours(folder: Path) -> dict[str, Any]:
    """Return the kernelspecs that were written for machines of this registry."""
    found = {}
    for file in folder.glob(f"{PERMANENT}-*/kernel.json"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            spec = json.loads(file.read_text(encoding="utf-8"))
            if spec["metadata"]["gpu_remote"]["installation"] == installation():
                found[file.parent.name] = spec
    return found


def _write(folder: Path, spec: dict[str, Any]) -> None:
    """Put a kernelspec in place, whole at any moment."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(Path(__file__).parents[1] / "kernelspec" / "logo-svg.svg", folder)
    handle, temporary = tempfile.mkstemp(dir=folder)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(spec, file, indent=1)
    Path(temporary).replace(folder / "kernel.json")
