"""A bucket mounted on rented machines: real hosts, a real S3 server, and a user who is not root."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from jupyter_gpu_remote.model import MachineState
from jupyter_gpu_remote.registry import Registry
from tests.conftest import need, wait_for
from tests.emulators.s3 import S3Server
from tests.emulators.sts import Sts
from tests.notebooks import Notebook, notebook

from .clouds import Aws
from .hosts import NetnsHosts

LIMITED = ("limited-access", "limited-secret")
MOUNTED = "--gpu T4 --mount s3://bucket-one/run:/data"


@pytest.fixture
def cloud(hosts: NetnsHosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    need(Path("/usr/bin/fusermount3").exists(), "FUSE (package fuse3)")
    cloud = Aws(hosts, tmp_path, monkeypatch)
    yield cloud
    cloud.close()


@pytest.fixture
def server(
    hosts: NetnsHosts, cloud: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[S3Server]:
    own = cloud.environment["AWS_ACCESS_KEY_ID"], cloud.environment["AWS_SECRET_ACCESS_KEY"]
    server = S3Server(tmp_path / "buckets", hosts.gateway, (LIMITED, own))
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.url)
    yield server
    server.close()


@pytest.fixture
def sts(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sts]:
    sts = Sts(LIMITED)
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sts.url)
    yield sts
    sts.close()


@pytest.fixture
def book(sts: Sts, tmp_path: Path) -> Iterator[Notebook]:
    (tmp_path / "work").mkdir()
    with notebook(tmp_path / "work") as book:
        yield book


def there(server: S3Server) -> set[str]:
    """Return the names of what is in the bucket."""
    folder = server.bucket("bucket-one") / "run"
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def test_a_user_who_is_not_root_gets_a_bucket_at_the_path_that_was_asked_for(
    book: Notebook, server: S3Server, sts: Sts
) -> None:
    content = os.urandom(5_000_000)
    (server.bucket("bucket-one") / "run").mkdir()
    (server.bucket("bucket-one") / "run" / "in.bin").write_bytes(content)
    (server.bucket("bucket-one") / "other.txt").write_text("nobody's business")
    code = "import os\nos.mkdir('/data/out')\nos.rename('/data/in.bin', '/data/out/b.bin')\n"
    code += (
        "open('/data/a', 'w').write('1'); open('/data/a', 'a').write('2')\nprint(sorted(os.listdir('/data')))"
    )
    ran = book.remote(code, MOUNTED)
    assert (ran.error, ran.text) == ("", "['a', 'out']\n")
    assert "All that was written" in book.run("%remote flush").text
    folder = server.bucket("bucket-one") / "run"
    assert ((folder / "a").read_text(), (folder / "out" / "b.bin").read_bytes()) == ("12", content)
    assert [asked["Action"] for asked in sts.asked] == ["GetFederationToken"]
    objects = sts.asked[0]["Policy"]["Statement"][1]
    assert objects["Resource"] == ["arn:aws:s3:::bucket-one/run/*"]


WRITES = """import hashlib, os
written = hashlib.sha256()
with open("/data/large", "wb") as file:
    for n in range({megabytes}):
        part = n.to_bytes(8, "big") * (1 << 17)
        written.update(part)
        file.write(part)
os.mkdir("/data/small")
for n in range({count}):
    with open(f"/data/small/{{n}}", "w") as file:
        file.write(f"number {{n}}")
print(written.hexdigest())"""


@pytest.mark.timeout(900)
def test_many_small_files_and_a_large_one_arrive_whole(book: Notebook, server: S3Server) -> None:
    count, megabytes = (10_000, 5_000) if os.environ.get("GPU_REMOTE_SLOW") else (100, 50)
    ran = book.wait(
        book.send(f"%%remote {MOUNTED}\n{WRITES.format(count=count, megabytes=megabytes)}"), limit=800
    )
    assert not ran.error, ran.error
    assert not book.wait(book.send("%remote flush"), limit=800).error
    folder = server.bucket("bucket-one") / "run"
    small = {path.name: path.read_text() for path in (folder / "small").iterdir()}
    assert small == {str(n): f"number {n}" for n in range(count)}
    with (folder / "large").open("rb") as file:
        digest = hashlib.sha256()
        while part := file.read(1 << 20):
            digest.update(part)
    assert f"{digest.hexdigest()}\n" == ran.text


def test_no_lasting_key_reaches_the_machine(book: Notebook, hosts: NetnsHosts, cloud: Aws) -> None:
    assert not book.remote("pass", MOUNTED).error
    lasting = cloud.environment["AWS_ACCESS_KEY_ID"].encode()
    home = hosts.root(cloud.machines[0]) / "home" / "ubuntu"
    files = [f for f in home.rglob("*") if f.is_file() and not f.is_symlink() and f.stat().st_size < 1 << 20]
    assert any(LIMITED[1].encode() in f.read_bytes() for f in files)
    assert not [f for f in files if lasting in f.read_bytes()]


def test_a_killed_machine_loses_exactly_what_was_said_to_be_on_its_way(
    book: Notebook, server: S3Server, hosts: NetnsHosts, cloud: Aws
) -> None:
    assert not book.remote("for n in range(5): open(f'/data/early{n}', 'w').write('x')", MOUNTED).error
    assert not book.run("%remote flush").error
    server.stop()  # so that nothing of what follows can slip through
    ran = book.remote("for n in range(3): open(f'/data/late{n}', 'w').write('x')")
    assert not ran.error
    assert "3 files (3 B) on the way to s3://bucket-one/run: late0, late1, late2" in str(ran.messages)
    hosts.kill(cloud.machines[0])
    server.start()
    assert there(server) == {f"early{n}" for n in range(5)}


def test_what_is_on_its_way_at_a_spot_notice_is_there_before_the_machine_goes(
    book: Notebook, server: S3Server, cloud: Aws
) -> None:
    # what is in a folder must be known before something is put there; for a while it is then
    assert not book.remote("import os; os.listdir('/data')", MOUNTED).error
    (machine,) = Registry().machines()
    server.stop()
    code = "for n in range(20): open(f'/data/{n}', 'wb').write(os.urandom(1_000_000))"
    assert "on the way to" in str(book.remote(code).messages)
    cloud.take_back(cloud.machines[0])
    server.start()
    wait_for(
        lambda: Registry().get(machine.name).state is MachineState.PREEMPTED, "the machine to be gone", 110
    )
    assert there(server) == {str(n) for n in range(20)}
    assert "all files are here" in Registry().get(machine.name).note
    assert "not in s3" not in Registry().get(machine.name).note


def test_what_cannot_be_brought_to_the_bucket_within_the_notice_is_named(
    book: Notebook, server: S3Server, cloud: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    book.run("from jupyter_gpu_remote.storage import mounts; mounts.Mounts.flush.__defaults__ = (3.0, 3.0)")
    # what is in a folder must be known before something is put there; for a while it is then
    assert not book.remote("import os; os.listdir('/data')", MOUNTED).error
    (machine,) = Registry().machines()
    server.stop()
    assert not book.remote("open('/data/lost.pt', 'w').write('x')").error
    cloud.take_back(cloud.machines[0])
    wait_for(
        lambda: Registry().get(machine.name).state is MachineState.PREEMPTED, "the machine to be gone", 110
    )
    assert "not in s3://bucket-one/run" in Registry().get(machine.name).note
    assert "lost.pt" in Registry().get(machine.name).note


def test_a_bucket_that_is_away_while_a_cell_writes_gets_it_all(book: Notebook, server: S3Server) -> None:
    code = (
        "import time\nfor n in range(12):\n    open(f'/data/{n}', 'w').write('x'); time.sleep(0.5); print(n)"
    )
    request = book.send(f"%%remote {MOUNTED}\n{code}")
    book.wait(request, until=lambda ran: "3" in ran.text)
    server.stop()
    ran = book.wait(request, until=lambda ran: "7" in ran.text)
    server.start()
    assert not book.wait(request, so_far=ran).error
    assert not book.run("%remote flush").error
    assert there(server) == {str(n) for n in range(12)}


def test_nobody_writes_into_the_bare_folder_of_a_mount_that_was_dropped(
    book: Notebook, server: S3Server
) -> None:
    code = (
        "import subprocess\nsubprocess.run(['fusermount3', '-uz', '/data'], check=True)\n"
        "try:\n    open('/data/stray', 'w')\nexcept OSError as e:\n    print(type(e).__name__)"
    )
    assert book.remote(code, MOUNTED).text == "PermissionError\n"
    assert not book.remote("open('/data/kept', 'w').write('x')").error  # it was mounted again
    assert not book.run("%remote flush").error
    assert there(server) == {"kept"}


def test_two_machines_work_on_one_bucket(book: Notebook, server: S3Server, tmp_path: Path) -> None:
    assert not book.remote("open('/data/one', 'w').write('1')", MOUNTED).error
    assert not book.run("%remote flush").error
    (tmp_path / "second").mkdir()
    with notebook(tmp_path / "second") as second:
        ran = second.remote("print(open('/data/one').read()); open('/data/two', 'w').write('2')", MOUNTED)
        assert (ran.error, ran.text) == ("", "1\n")
        assert not second.run("%remote flush").error
    assert there(server) == {"one", "two"}


def test_a_stopped_machine_has_brought_all_to_the_bucket(book: Notebook, server: S3Server) -> None:
    code = "for n in range(30): open(f'/data/{n}', 'w').write('x')"
    assert not book.remote(code, f"{MOUNTED} --on-demand").error
    assert not book.run("%remote stop --yes").error
    assert there(server) == {str(n) for n in range(30)}
    (machine,) = Registry().machines()
    assert not book.run(f"%remote start {machine.name}").error
    ran = book.remote("import os; print(len(os.listdir('/data')))", f"{MOUNTED} --on-demand")
    assert (ran.error, ran.text) == ("", "30\n")


def test_a_machine_that_can_install_nothing_gets_rclone_from_here(book: Notebook, server: S3Server) -> None:
    # a uv that finds nothing, as without an index
    code = "from pathlib import Path\nuv = Path.home() / '.gpu-remote' / 'bin' / 'uv'\n"
    assert not book.remote(code + "uv.write_text('#!/bin/sh\\nexit 1\\n')", "--gpu T4").error
    ran = book.run("%remote mount s3://bucket-one/run:/data")
    assert "is mounted at /data" in ran.text, ran.error
    assert not book.remote("open('/data/a', 'w').write('x')").error
    assert not book.run("%remote flush").error
    assert there(server) == {"a"}


KEPT = """
import pathlib, subprocess, time
pathlib.Path("model.pt").write_text("weights")
for n in range(600):
    print("line", n, flush=True)
    if n == 3:  # nobody gets through to the machine from now on
        subprocess.run("exec 2>&-; sudo pkill sshd", shell=True)
    time.sleep(0.1)
"""


def test_what_a_lost_machine_put_out_while_nobody_saw_it_comes_from_the_bucket(
    book: Notebook, server: S3Server, hosts: NetnsHosts, cloud: Aws
) -> None:
    bucket = server.bucket("bucket-one")
    # how long a machine may take to answer that does not any more
    book.run(
        "from jupyter_gpu_remote.transport.openssh import OpenSshTransport as T; T.open.__defaults__ = (5,)"
    )
    request = book.send(f"%%remote --gpu T4 --out-dir .=s3://bucket-one/kept\n{KEPT}")

    def kept() -> str:
        return "".join(f.read_bytes().decode(errors="replace") for f in bucket.rglob("*.journal"))

    wait_for(lambda: "line 20\\n" in kept(), "the outputs to be in the bucket")
    hosts.kill(cloud.machines[0])
    cloud.ec2.preempt(cloud.machines[0])
    ran = book.wait(request)
    assert "came from s3://bucket-one/kept" in ran.error
    shown = [int(line.split()[1]) for line in ran.text.splitlines()]
    assert shown == list(range(len(shown))) and len(shown) > 20
    assert (bucket / "kept" / "model.pt").read_text() == "weights"
