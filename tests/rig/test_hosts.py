from __future__ import annotations

import ast
import json
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from jupyter_gpu_remote.deploy import ensure_agent
from jupyter_gpu_remote.errors import EnvironmentBuildError
from jupyter_gpu_remote.keys import make_key_pair
from jupyter_gpu_remote.transport import open_transport

from ..conftest import need, wait_for
from .guests import Guest
from .hosts import Gpu, NetnsHosts
from .network import cgroup_root

pytestmark = pytest.mark.root

Booting = Callable[..., Guest]
_SILENCE = 0.5
"""Seconds in which a host that can speak would have spoken."""


def connected(guest: Guest) -> socket.socket:
    """Return a connection to a host's sshd, which has said its first word."""
    connection = socket.create_connection((guest.address.host, 22), timeout=_SILENCE)
    assert connection.recv(100).startswith(b"SSH-")
    return connection


@pytest.mark.parametrize("cloud", ["aws", "gcp"])
def test_a_host_boots_with_the_keys_of_its_user_data(boot: Booting, cloud: str) -> None:
    guest = boot(cloud).ready()
    assert guest.run("id -un; sudo -n id -un; hostname; python3 -c 'print(1)'; rsync --version").split()[
        :4
    ] == ["ubuntu", "root", guest.id, "1"]


def test_the_guard_of_last_resort_runs_after_each_boot(boot: Booting, hosts: NetnsHosts) -> None:
    guest = boot()
    active = "systemctl is-active gpu-remote-guard || true"
    wait_for(lambda: guest.ready().run(active) == "active\n", "the guard to run")
    hosts.off(guest.id)
    hosts.on(guest.id)
    wait_for(lambda: guest.ready().run(active) == "active\n", "the guard to run again")


def test_a_wrong_key_is_refused(boot: Booting, tmp_path: Path) -> None:
    guest = boot().ready()
    make_key_pair(tmp_path / "wrong", "wrong")
    command = [str(tmp_path / "wrong") if w == str(guest.address.key_file) else w for w in guest.ssh("true")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 255 and "Permission denied" in done.stderr


def test_four_hosts_live_beside_each_other(boot: Booting) -> None:
    guests = [boot() for _ in range(4)]
    assert [guest.ready().run("hostname").strip() for guest in guests] == [g.id for g in guests]
    assert len({guest.address.host for guest in guests}) == 4


def test_user_data_is_carried_out_once(boot: Booting, hosts: NetnsHosts) -> None:
    script = "#!/bin/sh\necho booted >> /home/ubuntu/said"
    guest = boot(
        write_files=[
            {"path": "/etc/note", "content": "hello\n", "permissions": "0600"},
            {"path": "/var/lib/cloud/scripts/per-boot/x", "content": script, "permissions": "0755"},
        ],
        runcmd=[
            ["sh", "-c", "cat /etc/note >> /home/ubuntu/said"],
            ["systemd-run", "--unit=x", "sleep", "99"],
        ],
    ).ready()
    wait_for(lambda: "systemd-run" in hosts.console(guest.id), "the last command to be run")
    assert guest.run("cat said").split() == ["booted", "hello"]
    assert guest.run("stat -c %a%U /etc/note; systemctl is-active x").split() == ["600root", "active"]
    hosts.off(guest.id)
    hosts.on(guest.id)
    guest.ready()
    wait_for(lambda: hosts.console(guest.id).count("per-boot") == 2, "the script of each boot to be run")
    assert guest.run("cat said").split() == ["booted", "hello", "booted"]
    assert guest.run("systemctl is-active x || true") == "inactive\n"


def test_a_host_sees_nothing_of_this_computers_users(boot: Booting) -> None:
    guest = boot().ready()
    assert guest.run("ls /home").split() == ["ubuntu"]
    assert not guest.run("sudo ls -A /root /tmp /srv | grep -v :").split()
    here = str(Path(__file__).resolve())
    assert guest.run(f"test -e {here} || echo none").strip() == "none"


def test_a_host_that_is_off_is_silent_and_keeps_its_disk(boot: Booting, hosts: NetnsHosts) -> None:
    guest = boot().ready()
    guest.run("echo kept > file")
    with connected(guest) as connection:
        hosts.off(guest.id)
        assert connection.recv(100) == b""  # its processes end as they should
    with pytest.raises(TimeoutError):
        socket.create_connection((guest.address.host, 22), timeout=_SILENCE)
    assert not guest.ended
    hosts.on(guest.id)
    assert guest.ready().run("cat file") == "kept\n"


def test_a_host_that_powers_itself_off_tells_its_cloud(boot: Booting) -> None:
    guest = boot().ready()
    assert subprocess.run(guest.ssh("poweroff"), capture_output=True, timeout=30, check=False).returncode == 1
    subprocess.run(guest.ssh("sudo", "poweroff"), timeout=30, check=False)
    wait_for(lambda: guest.ended, "the host to end")
    assert not guest.answers()


def test_a_shutdown_can_be_put_off_and_called_off(boot: Booting) -> None:
    guest = boot().ready()
    guest.run("sudo shutdown -h +10; systemctl is-active scheduled-shutdown; sudo shutdown -c")
    assert guest.run("systemctl is-active scheduled-shutdown || true") == "inactive\n"
    guest.run("sudo systemd-run --unit=end --on-active=1s poweroff")
    wait_for(lambda: guest.ended, "the host to end")


def test_packets_get_lost_on_a_cut_link_until_it_is_mended(boot: Booting, hosts: NetnsHosts) -> None:
    guest = boot().ready()
    with subprocess.Popen(guest.ssh("cat"), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as cat:
        assert cat.stdin and cat.stdout
        cat.stdin.write(b"one\n")
        cat.stdin.flush()
        assert cat.stdout.readline() == b"one\n"
        hosts.cut(guest.id)
        with pytest.raises(TimeoutError):
            socket.create_connection((guest.address.host, 22), timeout=_SILENCE)
        cat.stdin.write(b"two\n")
        cat.stdin.flush()
        hosts.mend(guest.id)
        assert cat.stdout.readline() == b"two\n"
        cat.stdin.close()


def test_a_frozen_host_does_not_answer_until_it_is_thawed(boot: Booting, hosts: NetnsHosts) -> None:
    guest = boot().ready()
    hosts.freeze(guest.id)
    with socket.create_connection((guest.address.host, 22), timeout=_SILENCE) as connection:
        with pytest.raises(TimeoutError):
            connection.recv(4)
        hosts.thaw(guest.id)
        connection.settimeout(30)
        assert connection.recv(4) == b"SSH-"


@pytest.mark.parametrize("frozen", [False, True])
def test_a_host_that_is_killed_says_nothing_more(boot: Booting, hosts: NetnsHosts, frozen: bool) -> None:
    guest = boot().ready()
    with connected(guest) as connection:
        if frozen:
            hosts.freeze(guest.id)
        hosts.kill(guest.id)
        connection.sendall(b"is anybody there?")
        with pytest.raises(TimeoutError):
            connection.recv(1)
    assert not guest.ended


def test_a_disk_can_be_full(boot: Booting, hosts: NetnsHosts) -> None:
    guest = boot().ready()
    hosts.fill(guest.id)
    assert "No space left" in guest.run("head -c 100000 /dev/zero 2>&1 >file || true")
    hosts.clear(guest.id)
    guest.run("head -c 100000 /dev/zero > file")


def test_packets_take_as_long_as_they_are_told_to(boot: Booting, hosts: NetnsHosts) -> None:
    hosts.delay = 0.1
    try:
        guest = boot()
    finally:
        hosts.delay = 0.0
    guest.ready()
    with socket.socket() as connection:
        connection.settimeout(0.15)  # less than the way there and back
        with pytest.raises(TimeoutError):
            connection.connect((guest.address.host, 22))


def test_gpus_are_told_as_a_test_has_them(boot: Booting, hosts: NetnsHosts) -> None:
    guest = boot().ready()
    ask = "nvidia-smi --query-gpu=name,memory.used,utilization.gpu --format=csv,noheader,nounits"
    assert guest.run(ask) == "NVIDIA A100-SXM4-40GB, 0, 0\n"
    hosts.gpus(guest.id, [Gpu(used=1000, use=70), Gpu("NVIDIA L4", 23034)])
    assert guest.run(ask).splitlines() == ["NVIDIA A100-SXM4-40GB, 1000, 70", "NVIDIA L4, 0, 0"]
    hosts.gpus(guest.id, None)
    assert "couldn't communicate" in guest.run(f"{ask} || true")


_NVML = """
import ctypes
nvml = ctypes.CDLL("libnvidia-ml.so.1")
rates, device = (ctypes.c_uint * 2)(), ctypes.c_void_p()
codes = [nvml.nvmlInit_v2(), nvml.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(device))]
if not any(codes):
    nvml.nvmlDeviceGetUtilizationRates(device, rates)
print(codes[0], rates[0])
"""


def test_nvml_tells_of_the_same_gpus(boot: Booting, hosts: NetnsHosts) -> None:
    need(shutil.which("cc"), "a C compiler")
    guest = boot().ready()
    hosts.gpus(guest.id, [Gpu(use=70)])
    assert guest.run("python3 -", input=_NVML) == "0 70\n"
    hosts.gpus(guest.id, None)
    assert guest.run("python3 -", input=_NVML) == "9 0\n"


# -- the metadata service ---------------------------------------------------------------------------

AWS = "/latest/meta-data"
GCP = "/computeMetadata/v1/instance"
GOOGLE = {"Metadata-Flavor": "Google"}


def ask(guest: Guest, path: str, headers: dict[str, str], method: str = "GET") -> tuple[int, str, str]:
    """Have a host ask its metadata service; return the status, the body and the ETag."""
    script = f"""
import http.client
connection = http.client.HTTPConnection("169.254.169.254", timeout=60)
connection.request({method!r}, {path!r}, headers={headers!r})
answer = connection.getresponse()
print((answer.status, answer.read().decode(), answer.headers.get("ETag", "")))
"""
    status, body, etag = ast.literal_eval(guest.run("python3 -", input=script))
    return status, body, etag


def token(guest: Guest) -> dict[str, str]:
    """Have a host get a token from AWS's metadata service; return the header for it."""
    header = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
    return {"X-aws-ec2-metadata-token": ask(guest, "/latest/api/token", header, "PUT")[1]}


def test_aws_tells_nothing_without_a_token(boot: Booting) -> None:
    guest = boot("aws").ready()
    assert ask(guest, f"{AWS}/instance-id", {})[0] == 401
    assert ask(guest, f"{AWS}/instance-id", {"X-aws-ec2-metadata-token": "made up"})[0] == 401
    assert ask(guest, "/latest/api/token", {}, "PUT")[0] == 400
    known = token(guest)
    assert ask(guest, f"{AWS}/instance-id", known)[:2] == (200, guest.id)
    assert ask(guest, "/latest/user-data", known)[1].startswith("#cloud-config")
    assert ask(guest, f"{AWS}/nothing", known)[0] == 404


def test_google_tells_nothing_without_its_header(boot: Booting) -> None:
    guest = boot("gcp").ready()
    assert ask(guest, f"{GCP}/name", {})[0] == 403
    assert ask(guest, f"{GCP}/name", GOOGLE)[:2] == (200, guest.id)
    assert ask(guest, f"{GCP}/attributes/user-data", GOOGLE)[1].startswith("#cloud-config")
    assert ask(guest, f"{GCP}/attributes/", GOOGLE)[1].split() == ["user-data"]
    assert json.loads(ask(guest, f"{GCP}/?recursive=true", GOOGLE)[1])["maintenanceEvent"] == "NONE"
    assert ask(guest, f"{GCP}/nothing", GOOGLE)[0] == 404


def test_a_notice_of_aws_is_seen(boot: Booting, hosts: NetnsHosts) -> None:
    guest = boot("aws").ready()
    known = token(guest)
    paths = [f"{AWS}/spot/instance-action", f"{AWS}/events/recommendations/rebalance"]
    assert [ask(guest, path, known)[0] for path in paths] == [404, 404]
    hosts.notice(guest.id)
    action = json.loads(ask(guest, paths[0], known)[1])
    assert action["action"] == "terminate"
    left = datetime.fromisoformat(action["time"].replace("Z", "+00:00")) - datetime.now(timezone.utc)
    assert timedelta(0) < left <= timedelta(minutes=2)
    assert ask(guest, paths[1], known)[0] == 200


def test_a_notice_of_google_is_seen_by_who_waits_for_it(boot: Booting, hosts: NetnsHosts) -> None:
    guest = boot("gcp").ready()
    path = f"{GCP}/preempted?wait_for_change=true"
    status, body, etag = ask(guest, f"{path}&last_etag=0", GOOGLE)
    assert (status, body) == (200, "FALSE")
    assert ask(guest, f"{path}&last_etag={etag}&timeout_sec=0", GOOGLE)[1] == "FALSE"
    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(ask, guest, f"{path}&last_etag={etag}", GOOGLE)
        hosts.notice(guest.id)
        assert answer.result(60)[:2] == (200, "TRUE")


# -- what hosts are for, and what is left of them ---------------------------------------------------


def test_the_agent_can_be_installed_on_a_host(boot: Booting) -> None:
    guest = boot().ready()
    transport = open_transport(guest.address)
    transport.open()
    try:
        agent = ensure_agent(transport, "", lambda text: None)
    except EnvironmentBuildError as e:
        need("could not" not in str(e) and "can't" not in str(e), f"a package index: {e}")
        raise
    finally:
        transport.close()
    assert agent.python.startswith("/home/ubuntu/.gpu-remote/env/")


_DRIVER = """
import sys
from tests.emulators.hosts import Boot
from tests.rig.hosts import Gpu, NetnsHosts
hosts = NetnsHosts()
for name in ("a", "b"):
    hosts.boot(Boot(name, "aws", ""))
hosts.kill("b")
print(hosts.bridge, hosts.folder, flush=True)
sys.stdin.readline()
hosts.close()
"""


@pytest.mark.parametrize("how", ["close", "SIGTERM", "SIGKILL"])
def test_nothing_is_left_when_the_rig_ends(hosts: NetnsHosts, how: str) -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", _DRIVER]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=root, stdin=pipe, stdout=pipe, text=True) as driver:
        assert driver.stdin and driver.stdout
        bridge, folder = driver.stdout.readline().split()
        assert bridge != hosts.bridge
        if how == "close":
            driver.stdin.write("\n")
            driver.stdin.flush()
        else:
            driver.send_signal(getattr(signal, how))
    places = [Path("/sys/class/net", bridge), Path(folder), cgroup_root() / f"gpu-remote-{bridge}"]
    wait_for(lambda: not any(place.exists() for place in places), f"{places} to be gone")
    assert folder not in Path("/proc/self/mounts").read_text()
    assert not list(Path("/sys/class/net").glob(f"{bridge}-*"))
