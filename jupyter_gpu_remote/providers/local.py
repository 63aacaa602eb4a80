"""This computer as a machine: an SSH server of its own, with its own home."""

from __future__ import annotations

import os
import re
import site
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ..config import state_dir
from ..errors import ConfigurationError, ProviderError
from ..model import Address, Description, GpuRequest, MachineSpec, Offer, Presence
from ..offers import rank, vendor_gpu
from . import local_folder
from .base import Provider
from .local_folder import end_processes, lives, locked, make, marks, read, remove, start

# what a machine takes over from here; the rest of the user's environment is none of its business
_INHERITED = re.compile(
    r"PATH|LANG|LANGUAGE|LC_\w+|TZ|USER|LOGNAME|SHELL|TMPDIR|(LD|DYLD)_LIBRARY_PATH|CUDA_\w+|SSL_CERT_\w+"
    r"|(http|https|no)_proxy|(HTTP|HTTPS|NO)_PROXY"
)


class LocalProvider(Provider):
    """Machines on this computer, with the NVIDIA GPUs that are really here."""

    name = "local"

    def offers(self, request: GpuRequest) -> Sequence[Offer]:
        """Return this computer; without the GPU that is asked for, as a stand-in that says so."""
        import psutil

        cpus, memory = psutil.cpu_count() or 1, psutil.virtual_memory().total / 2**30
        here = Offer(self.name, "this-computer", cpus=cpus, memory=memory)
        gpus = [(g.name, g.memory) for g in installed_gpus()]
        real = []
        for gpu, gpu_memory in dict.fromkeys(gpus):
            there = gpus.count((gpu, gpu_memory))
            count = min(there, request.count) if request.gpu else there
            real.append(replace(here, gpu=gpu, count=count, gpu_memory=gpu_memory))
        return rank(real, request) or rank([replace(here, stand_in_for=request.gpu)], request)

    def create(self, offer: Offer, spec: MachineSpec) -> str:
        root = _root()
        with locked(root):
            known = {read(d / "machine.json")["token"]: d for d in _folders(root)}
            directory = known.get(spec.token)
            if not directory:
                if not _usable(spec.name):
                    raise ConfigurationError(
                        f"{spec.name!r} is no name for a machine.", hint="Use letters, digits, - and _."
                    )
                directory = root / spec.name
                if directory in known.values():
                    raise ProviderError(
                        f"There is a machine called {spec.name} on this computer already.",
                        hint=f"Take another name, or remove it: jupyter gpu-remote down {spec.name}.",
                    )
                make(directory, _machine(directory, offer, spec))
            start(directory)
        return directory.name

    def describe(self, provider_id: str) -> Description:
        root = _root()
        with locked(root, shared=True):
            if _usable(provider_id) and (root / provider_id / "machine.json").exists():
                return _describe(root / provider_id)
        return Description(provider_id, provider_id, Presence.GONE)

    def machines(self) -> Sequence[Description]:
        root = _root()
        with locked(root, shared=True):
            found = [_describe(directory) for directory in _folders(root)]
        return [d for d in found if d.presence is not Presence.GONE]

    def delete(self, provider_id: str) -> None:
        """End everything that runs on the machine and remove its folder."""
        if _usable(provider_id):
            directory = _root() / provider_id
            end_processes(directory)
            remove(directory)


@dataclass(frozen=True)
class Gpu:
    """One GPU of this computer; `memory` in GiB."""

    name: str
    memory: float
    uuid: str


def installed_gpus() -> list[Gpu]:
    """Return the NVIDIA GPUs that programs started here may use.

    Raises:
        ProviderError: There is a driver, and it does not answer.
    """
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    gpus = []
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    try:
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            uuid = pynvml.nvmlDeviceGetUUID(handle)
            words = (allowed or "").replace(" ", "").split(",")
            if allowed is not None and not any(w and (w == str(index) or uuid.startswith(w)) for w in words):
                continue
            memory = 0.0
            with suppress(pynvml.NVMLError):  # not told where the GPU shares the computer's memory
                memory = pynvml.nvmlDeviceGetMemoryInfo(handle).total / 2**30
            gpus.append(Gpu(vendor_gpu(pynvml.nvmlDeviceGetName(handle), memory), memory, uuid))
    except pynvml.NVMLError as e:
        raise ProviderError(
            f"The NVIDIA driver does not tell about its GPUs: {e}.", hint="See what nvidia-smi says."
        ) from e
    finally:
        pynvml.nvmlShutdown()
    return gpus


def _machine(directory: Path, offer: Offer, spec: MachineSpec) -> dict[str, object]:
    """Return what is written down about a new machine."""
    environment = {k: v for k, v in os.environ.items() if _INHERITED.fullmatch(k)}
    if offer.gpu:
        fitting = [g.uuid for g in installed_gpus() if (g.name, g.memory) == (offer.gpu, offer.gpu_memory)]
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(fitting[: offer.count])
    elif offer.stand_in_for:
        environment["CUDA_VISIBLE_DEVICES"] = ""
    if path := os.environ.get("PYTHONPATH"):
        environment["PYTHONPATH"] = os.pathsep.join(str(Path(p).absolute()) for p in path.split(os.pathsep))
    public = spec.host_key_file.with_name(spec.host_key_file.name + ".pub")
    return {
        "name": spec.name,
        "token": spec.token,
        "tags": dict(spec.tags),
        "user_key": spec.user_key,
        "key_file": str(spec.key_file),
        "host_key_file": str(spec.host_key_file),
        "host_key": " ".join(public.read_text().split()[:2]),  # without its comment
        "environment": {
            **environment,
            **marks(directory),
            "HOME": str(directory / "home"),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', os.defpath)}",
            # packages of the user's own stay importable from another home
            "PYTHONUSERBASE": site.getuserbase(),
        },
    }


def _describe(directory: Path) -> Description:
    machine = read(directory / "machine.json")
    address, python = None, ""
    if lives(directory):
        presence = Presence.PENDING
        with suppress(FileNotFoundError):
            server = read(directory / "address.json")
            presence, python = Presence.RUNNING, server["python"]
            user = machine["environment"].get("LOGNAME", "user")  # any will do: the key decides
            key_file = Path(machine["key_file"])
            address = Address("127.0.0.1", server["port"], user, key_file, machine["host_key"])
    else:
        # without a log it was never started: whoever began calls create again
        presence = Presence.GONE if (directory / "server.log").exists() else Presence.PENDING
    poweroff = (sys.executable, "-m", local_folder.__name__, str(directory))
    return Description(directory.name, machine["name"], presence, address, python, machine["tags"], poweroff)


def _root() -> Path:
    root = state_dir().resolve() / "machines"
    root.mkdir(mode=0o700, exist_ok=True)
    return root


def _folders(root: Path) -> list[Path]:
    return [file.parent for file in sorted(root.glob("*/machine.json")) if _usable(file.parent.name)]


def _usable(name: str) -> bool:
    return bool(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", name))
