"""Real hosts on this computer, in namespaces: what stands behind an emulated cloud whose machines live."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..emulators.hosts import Boot, Hosts
from .host import Host, Site
from .network import WayOut, cgroup_root, claim_bridge

_HERE = Path(__file__).parent
_PASSED_ON = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX")
"""What this computer's user says about package indexes holds for hosts too."""
_UBUNTU = 1000
"""The number of the user that packages are downloaded by."""
_TRY = """
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/merged
mount -t overlay -o lowerdir=/usr,upperdir=/mnt/upper,workdir=/mnt/work overlay /mnt/merged
ip link set lo up
"""


def missing() -> str:
    """Return what this computer lacks for a rig; empty when nothing."""
    if os.geteuid() != 0:
        return "root"
    for program in ("ip", "sshd", "rsync", "unshare", "setpriv"):
        if not shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin"):
            return f"the program {program}"
    if not Path("/bin").is_symlink():
        return "a system whose programs are all in /usr"
    cgroup = cgroup_root() / f"gpu-remote-{os.getpid()}"
    try:
        cgroup.mkdir()
    except OSError as e:
        return f"cgroups of version 2 that can be made: {e}"
    killable = (cgroup / "cgroup.kill").exists()
    cgroup.rmdir()
    if not killable:
        return "cgroups that can be killed (Linux 5.14)"
    namespaces = ["--net", "--mount", "--pid", "--fork", "--uts", "--ipc"]
    tried = subprocess.run(
        ["unshare", *namespaces, "sh", "-ec", _TRY], capture_output=True, text=True, check=False
    )
    return f"namespaces and overlayfs: {tried.stderr.strip()}" if tried.returncode else ""


@dataclass(frozen=True)
class Gpu:
    """A GPU that a host says it has; memory in MiB, use in percent."""

    name: str = "NVIDIA A100-SXM4-40GB"
    memory: int = 40960
    used: int = 0
    use: int = 0

    def line(self, index: int) -> str:
        """Return what `nvml.c` and ``nvidia-smi`` read."""
        uuid = f"GPU-00000000-0000-0000-0000-{index:012}"
        return f"{uuid}|{self.name}|{self.memory}|{self.used}|{self.use}|40|{50 + 3 * self.use}"


class NetnsHosts(Hosts):
    """Hosts in namespaces, one after the other at the addresses of a network of their own.

    They run this computer's programs on disks of their own, and their cloud's metadata service is all they
    know. The process that makes this may die of anything: what it made is swept up.

    Attributes:
        bridge: The bridge that they are plugged into.
        folder: Where their disks are.
        gateway: This computer's address as they know it; what listens there, they reach.
        delay: Seconds that a packet takes, to or from hosts that are booted from now on.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="gpu-remote-rig-"))
        self.bridge, network = claim_bridge()
        self._cgroup = cgroup_root() / f"gpu-remote-{self.bridge}"
        self._cgroup.mkdir()
        self._broom = subprocess.Popen(
            [_HERE / "broom.sh", self._cgroup, self.bridge, self.folder],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        self.gateway = f"{network}.1"
        self._way_out = WayOut(self.gateway)
        shared = Path(sys.prefix, "rig-cache")
        shared.mkdir(exist_ok=True)
        os.chown(shared, _UBUNTU, _UBUNTU)
        settings = {
            "HTTPS_PROXY": self._way_out.url,
            "NO_PROXY": f"169.254.169.254,localhost,127.0.0.1,{self.gateway}",
            "UV_CACHE_DIR": "/var/cache/uv",
            **{name: os.environ[name] for name in _PASSED_ON if name in os.environ},
        }
        installed = Path(sysconfig.get_path("platlib"))
        where = self.folder, self._cgroup, self.bridge, self.gateway
        self._site = Site(*where, shared, installed, settings)
        self.delay = 0.0
        self._free = deque(range(10, 250))
        self._lock = threading.Lock()
        self._hosts: dict[str, Host] = {}
        self._make_layer()

    def _make_layer(self) -> None:
        """Put together what hosts have instead of, or besides, this computer's programs."""
        layer = self.folder / "layer"
        shutil.copytree(_HERE / "guest", layer)
        (layer / "usr" / "lib").mkdir()
        if compiler := shutil.which("cc"):  # without one, hosts have no NVML
            library = layer / "usr" / "lib" / "libnvidia-ml.so.1"
            subprocess.run([compiler, "-shared", "-fPIC", "-o", library, _HERE / "nvml.c"], check=True)
        become_root = layer / "usr" / "libexec" / "become-root"
        become_root.parent.mkdir()
        shutil.copy(shutil.which("setpriv") or "", become_root)
        # whoever made these files, and with what umask
        subprocess.run(["chmod", "-R", "u=rwX,go=rX", layer], check=True)
        os.chown(become_root, 0, 27)  # the group sudo
        become_root.chmod(0o4750)

    def boot(self, boot: Boot) -> str:
        with self._lock:
            number = self._free.popleft()
            host = self._hosts[boot.id] = Host(self._site, boot, number, self.delay)
        host.on()
        return host.address

    def off(self, id: str) -> None:
        self._hosts[id].off()

    def on(self, id: str) -> None:
        self._hosts[id].on()

    def delete(self, id: str) -> None:
        with self._lock:
            host = self._hosts.pop(id, None)
        if host:
            host.delete()
            self._free.append(host.number)

    def notice(self, id: str) -> None:
        self._hosts[id].metadata.notice()

    def freeze(self, id: str) -> None:
        """Stop all that runs on it, without closing anything."""
        self._hosts[id].freeze(True)

    def thaw(self, id: str) -> None:
        """Undo `freeze`."""
        self._hosts[id].freeze(False)

    def cut(self, id: str) -> None:
        """Have every packet to and from it get lost."""
        self._hosts[id].plug(False)

    def mend(self, id: str) -> None:
        """Undo `cut`."""
        self._hosts[id].plug(True)

    def isolate(self, id: str, alone: bool = True) -> None:
        """Have it not reach others that are isolated; this computer reaches it. Or undo that."""
        self._hosts[id].isolate(alone)

    def fill(self, id: str) -> None:
        """Have no room left on its disk."""
        self._hosts[id].fill(True)

    def clear(self, id: str) -> None:
        """Undo `fill`."""
        self._hosts[id].fill(False)

    def kill(self, id: str) -> None:
        """End it like a power cut: nothing more is heard of it, and its cloud does not know."""
        self._hosts[id].kill()

    def gpus(self, id: str, gpus: Sequence[Gpu] | None) -> None:
        """Have it say so of its GPUs from now on; None is a driver that is not loaded."""
        table = self.root(id) / "etc" / "gpus"
        if gpus is None:
            table.unlink(missing_ok=True)
            return
        new = table.with_suffix(".new")
        new.write_text("".join(f"{gpu.line(index)}\n" for index, gpu in enumerate(gpus)))
        new.chmod(0o644)
        new.replace(table)

    def root(self, id: str) -> Path:
        """Return its file system as it sees it, while it is on."""
        return Path(f"/proc/{self._hosts[id].pid}/root")

    def console(self, id: str) -> str:
        """Return what it has said since its first boot."""
        return self._hosts[id].console.read_text(errors="replace")

    def close(self) -> None:
        """Take everything away."""
        for id in list(self._hosts):
            self.delete(id)
        self._way_out.close()
        assert self._broom.stdin
        self._broom.stdin.close()
        self._broom.wait(30)
