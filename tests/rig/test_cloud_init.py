"""The true user data, under the true cloud-init and systemd: one machine in qemu, which takes minutes."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator

import pytest

from jupyter_gpu_remote.bootstrap import user_data
from jupyter_gpu_remote.keys import make_key_pair
from jupyter_gpu_remote.model import MachineSpec

from ..conftest import need, wait_for

MIRROR = os.environ.get("GPU_REMOTE_DEBIAN_MIRROR", "http://deb.debian.org/debian")
PACKAGES = (
    "cloud-init,dbus,ifupdown,iproute2,isc-dhcp-client,linux-image-cloud-amd64,openssh-server,python3"
    ",sudo,systemd-sysv,udev"
)
BOOT_LIMIT = 900.0
"""Seconds; without the help of a processor a boot takes one or two minutes, and more beside other tests."""
SHORT = {"max_seconds": 1, "every": 1}

Shell = Callable[[str], str]


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> MachineSpec:
    folder = tmp_path_factory.mktemp("keys")
    make_key_pair(folder / "host", "host")
    return MachineSpec("m1", "t", make_key_pair(folder / "user", "me"), folder / "user", folder / "host")


@pytest.fixture(scope="module")
def qemu(
    spec: MachineSpec, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Boot a Debian with the user data; return its process, and the port at which it answers."""
    if os.environ.get("GPU_REMOTE_SLOW") != "1":
        pytest.skip("takes minutes: set GPU_REMOTE_SLOW=1")
    need(os.geteuid() == 0, "root")
    for program in ("qemu-system-x86_64", "mmdebstrap", "mkfs.ext4"):
        need(shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin"), f"the program {program}")
    folder = tmp_path_factory.mktemp("qemu")
    root, disk = folder / "root", folder / "disk"
    subprocess.run(
        ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={PACKAGES}", "bookworm", root, MIRROR],
        check=True,
    )
    # an image has the language that it is set to
    (root / "etc" / "cloud" / "cloud.cfg.d" / "99-image.cfg").write_text("locale: false\n")
    seed = root / "var" / "lib" / "cloud" / "seed" / "nocloud"
    seed.mkdir(parents=True)
    (seed / "user-data").write_text(user_data(spec))
    (seed / "meta-data").write_text("instance-id: i-1\n")
    subprocess.run(["mkfs.ext4", "-q", "-d", root, disk, "4G"], check=True)
    kernel = next((root / "boot").glob("vmlinuz-*")).rename(folder / "kernel")
    initrd = next((root / "boot").glob("initrd.img-*")).rename(folder / "initrd")
    shutil.rmtree(root)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    argv = ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-smp", "2", "-m", "1024", "-display", "none"]
    argv += ["-kernel", str(kernel), "-initrd", str(initrd)]
    argv += ["-append", "root=/dev/vda rw console=ttyS0 net.ifnames=0 ds=nocloud"]
    argv += ["-drive", f"file={disk},if=virtio,format=raw", "-serial", f"file:{folder / 'console'}"]
    argv += ["-nic", f"user,model=virtio-net-pci,hostfwd=tcp:127.0.0.1:{port}-:22"]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL) as process:
        yield process, port
        process.kill()
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def shell(qemu: tuple[subprocess.Popen[bytes], int], spec: MachineSpec) -> Shell:
    """Return what runs a command over there, with our key and insisting on the host key made here."""
    known = spec.key_file.with_name("known_hosts")
    known.write_text(f"machine {spec.host_key_file.with_name('host.pub').read_text()}")
    argv = ["ssh", "-F", "none", "-i", str(spec.key_file), "-p", str(qemu[1]), "-o", "BatchMode=yes"]
    argv += ["-o", "HostKeyAlias=machine", "-o", f"UserKnownHostsFile={known}", "-o", "ConnectTimeout=60"]
    argv += ["-o", "StrictHostKeyChecking=yes", "-o", "IdentitiesOnly=yes", "ubuntu@127.0.0.1"]

    def run(command: str) -> str:
        return subprocess.run(
            [*argv, command], stdout=subprocess.PIPE, text=True, timeout=120, check=False
        ).stdout

    wait_for(lambda: run("echo up") == "up\n", "the machine to let us in", BOOT_LIMIT)
    wait_for(lambda: run("ls /run/cloud-init/result.json"), "cloud-init to be done", BOOT_LIMIT)
    return run


pytestmark = pytest.mark.timeout(2 * BOOT_LIMIT + 600)


def test_nothing_in_the_user_data_fails(shell: Shell) -> None:
    said = json.loads(shell("sudo cat /run/cloud-init/result.json"))
    assert said["v1"]["errors"] == []
    assert shell("sudo cloud-init schema --system").startswith("Valid cloud-config")


def test_the_user_becomes_root_without_a_password(shell: Shell) -> None:
    assert shell("sudo -n id -u") == "0\n"


def test_passwords_let_nobody_in_and_there_is_one_host_key(shell: Shell) -> None:
    assert shell("sudo sshd -T | grep ^passwordauthentication") == "passwordauthentication no\n"
    assert shell("ls /etc/ssh/ssh_host_*_key") == "/etc/ssh/ssh_host_ed25519_key\n"


def test_no_updates_run_by_themselves(shell: Shell) -> None:
    assert 'APT::Periodic::Enable "0";' in shell("apt-config dump")


def test_the_guard_runs(shell: Shell) -> None:
    assert shell("systemctl is-active gpu-remote-guard") == "active\n"


def test_after_another_boot_the_guard_runs_and_powers_off(
    qemu: tuple[subprocess.Popen[bytes], int], shell: Shell
) -> None:
    settings = json.loads(shell("cat /etc/gpu-remote-guard.json")) | SHORT
    shell(f"echo '{json.dumps(settings)}' | sudo tee /etc/gpu-remote-guard.json; sync; sudo reboot")
    wait_for(lambda: qemu[0].poll() is not None, "the machine to power itself off", BOOT_LIMIT)
    assert qemu[0].returncode == 0
