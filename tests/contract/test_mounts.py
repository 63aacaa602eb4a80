"""Buckets mounted by a real agent on this computer, from a real S3 server."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path

import pytest

from jupyter_gpu_remote.storage.told import on_its_way
from tests.conftest import wait_for
from tests.emulators.gcs import Gcs
from tests.emulators.s3 import SECRET_KEY, S3Server
from tests.emulators.sts import Sts

from .rigs.storage import Machine, files, refused

# -- what can be done with files ----------------------------------------------------------------------


def test_what_is_written_is_in_the_bucket_after_a_flush(machine: Machine, bucket: Path) -> None:
    data = machine.mount(f"s3://{bucket.name}:{machine.home}/data")
    (data / "a.txt").write_text("one")
    (data / "deep" / "er").mkdir(parents=True)
    (data / "deep" / "er" / "b.txt").write_text("two")
    assert machine.flush() == []
    assert files(bucket) == {"a.txt": b"one", "deep/er/b.txt": b"two"}


def test_what_is_in_the_bucket_can_be_read(machine: Machine, bucket: Path) -> None:
    content = os.urandom(3_000_000)
    (bucket / "model.bin").write_bytes(content)
    data = machine.mount(f"s3://{bucket.name}:{machine.home}/data")
    assert (data / "model.bin").read_bytes() == content


def test_files_can_be_appended_to_renamed_and_deleted(machine: Machine, bucket: Path) -> None:
    data = machine.mount(f"s3://{bucket.name}:{machine.home}/data")
    for line in ("first\n", "second\n"):
        with (data / "log").open("a") as log:
            log.write(line)
    (data / "old").write_text("x")
    (data / "old").rename(data / "new")
    (data / "gone").write_text("y")
    assert machine.flush() == []
    with (data / "log").open("a") as log:
        log.write("third\n")
    (data / "new").rename(data / "newer")
    (data / "gone").unlink()
    assert machine.flush() == []
    assert files(bucket) == {"log": b"first\nsecond\nthird\n", "newer": b"x"}


def test_only_what_is_below_the_prefix_is_seen(machine: Machine, bucket: Path) -> None:
    (bucket / "mine").mkdir()
    (bucket / "mine" / "a").write_text("a")
    (bucket / "other").write_text("b")
    data = machine.mount(f"s3://{bucket.name}/mine:{machine.home}/data")
    (data / "new").write_text("n")
    machine.flush()
    assert [p.name for p in sorted(data.iterdir())] == ["a", "new"]
    assert sorted(files(bucket)) == ["mine/a", "mine/new", "other"]


@pytest.mark.timeout(300)
def test_many_small_files_arrive_whole(machine: Machine, bucket: Path) -> None:
    count = int(os.environ.get("MOUNT_FILES", "200"))  # 10,000 where there is time
    data = machine.mount(f"s3://{bucket.name}:{machine.home}/data")
    for n in range(count):
        (data / f"{n:05}").write_text(f"number {n}")
    assert machine.flush(240) == []
    assert files(bucket) == {f"{n:05}": f"number {n}".encode() for n in range(count)}


@pytest.mark.timeout(300)
def test_a_large_file_arrives_whole_and_can_be_read_elsewhere(
    new_machine: Callable[..., Machine], bucket: Path
) -> None:
    megabytes = int(os.environ.get("MOUNT_MEGABYTES", "96"))  # 5,000 where there is time
    writer, reader = new_machine(), new_machine()
    written, read, block = hashlib.sha256(), hashlib.sha256(), os.urandom(1 << 20)
    data = writer.mount(f"s3://{bucket.name}:{writer.home}/data")
    with (data / "large").open("wb") as file:
        for n in range(megabytes):
            part = n.to_bytes(8, "big") + block[8:]
            written.update(part)
            file.write(part)
    assert writer.flush(240) == []
    there = reader.mount(f"s3://{bucket.name}:{reader.home}/data:ro")
    with (there / "large").open("rb") as file:
        while part := file.read(1 << 20):
            read.update(part)
    assert read.digest() == written.digest()


def test_two_machines_see_what_the_other_writes(new_machine: Callable[..., Machine], bucket: Path) -> None:
    one, two = new_machine(), new_machine()
    here = one.mount(f"s3://{bucket.name}:{one.home}/data")
    there = two.mount(f"s3://{bucket.name}:{two.home}/data")
    (here / "from-one").write_text("1")
    one.flush()
    wait_for(lambda: (there / "from-one").exists(), "the other machine's file")
    assert (there / "from-one").read_text() == "1"
    (there / "from-two").write_text("2")
    two.flush()
    wait_for(lambda: (here / "from-two").exists(), "the other machine's file")


def test_several_buckets_can_be_mounted_at_once(machine: Machine, server: S3Server, tmp_path: Path) -> None:
    server.bucket("bucket-two")
    (tmp_path / "folder").mkdir()
    wanted = [
        f"s3://bucket-one:{machine.home}/one",
        f"s3://bucket-two:{machine.home}/two",
        f"file://{tmp_path}/folder:{machine.home}/three",
    ]
    machine.ensure(*wanted)
    assert sorted(Path(s["path"]).name for s in machine.mounts.look() if s["up"]) == ["one", "three", "two"]


def test_a_folder_of_the_machine_is_mounted_like_a_bucket(machine: Machine, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    data = machine.mount(f"file://{folder}:{machine.home}/data")
    (data / "a").write_text("a")
    assert machine.flush() == []
    assert files(folder) == {"a": b"a"}


def test_a_read_only_mount_refuses_writes(machine: Machine, bucket: Path) -> None:
    (bucket / "a").write_text("a")
    data = machine.mount(f"s3://{bucket.name}:{machine.home}/data:ro")
    assert (data / "a").read_text() == "a"
    with pytest.raises(OSError, match="Read-only"):
        (data / "b").write_text("b")


# -- Google Cloud -------------------------------------------------------------------------------------


@pytest.fixture
def google(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gcs]:
    google = Gcs(tmp_path / "google")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", google.url)
    yield google
    google.close()


def test_a_bucket_of_google_is_read_and_written(machine: Machine, google: Gcs) -> None:
    there, content = google.bucket("bucket-one"), os.urandom(20 << 20)
    (there / "in.bin").write_bytes(content)
    data = machine.mount(f"gs://bucket-one:{machine.home}/data")
    assert (data / "in.bin").read_bytes() == content
    (data / "deep").mkdir()
    (data / "deep" / "large").write_bytes(content)  # in pieces
    (data / "log").write_text("one\n")
    with (data / "log").open("a") as log:
        log.write("two\n")
    (data / "old").write_text("x")
    (data / "old").rename(data / "new")
    assert machine.flush() == []
    assert (there / "deep" / "large").read_bytes() == content
    assert ((there / "log").read_text(), (there / "new").read_text()) == ("one\ntwo\n", "x")
    assert not (there / "old").exists()
    (data / "in.bin").unlink()
    assert not (there / "in.bin").exists()


def test_many_small_files_reach_a_bucket_of_google(machine: Machine, google: Gcs) -> None:
    data = machine.mount(f"gs://bucket-one/run:{machine.home}/data")
    for n in range(200):
        (data / str(n)).write_text(str(n))
    assert machine.flush(60) == []
    assert files(google.bucket("bucket-one")) == {f"run/{n}": str(n).encode() for n in range(200)}


def test_a_write_that_google_denies_is_told_with_the_permission(machine: Machine, google: Gcs) -> None:
    data = machine.mount(f"gs://bucket-one:{machine.home}/data")
    google.denied = {"POST", "PUT"}
    (data / "a").write_text("a")
    said: list[str] = []
    wait_for(lambda: said.extend(machine.flush(1)) or "permission" in said[-1], "the reason")
    assert "the permission storage.objects.create is lacking" in said[-1]


def test_a_bucket_of_google_that_does_not_exist_is_told(machine: Machine, google: Gcs) -> None:
    assert "There is no bucket nothing" in refused(lambda: machine.mount(f"gs://nothing:{machine.home}/d"))


def test_a_token_of_google_is_renewed_without_mounting_again(machine: Machine, google: Gcs) -> None:
    place = machine.home / "data"

    def mount(token: str, lasts: float) -> None:
        until = datetime.fromtimestamp(time.time() + lasts, timezone.utc).isoformat()
        said = json.dumps({"access_token": token, "token_type": "Bearer", "expiry": until})
        lines = ["[bucket]", "type = google cloud storage", f"endpoint = {google.url}/storage/v1/"]
        conf = "\n".join(
            [*lines, "bucket_policy_only = true", "no_check_bucket = true", f"token = {said}", ""]
        )
        wanted = {"path": str(place), "url": "gs://bucket-one", "root": "bucket-one/", "read_only": False}
        answer = machine.request("mount", files={"rclone.conf": conf}, expires=time.time() + lasts, **wanted)
        assert "refused" not in answer

    mount("first", 13)  # what ends within ten seconds counts as over
    (place / "early").write_text("x")
    assert machine.flush() == []
    (rclone,) = machine.rclones()
    mount("second", 3600)
    google.tokens.clear()
    wait_for(lambda: [*place.iterdir()] and "second" in google.tokens, "the new token to be used", 60)
    assert [p.pid for p in machine.rclones()] == [rclone.pid]


# -- where it is mounted ------------------------------------------------------------------------------


def test_a_folder_that_is_not_empty_is_refused_and_left_as_it_is(machine: Machine, bucket: Path) -> None:
    place = machine.home / "data"
    place.mkdir()
    (place / "precious").write_text("mine")
    assert "is not empty" in refused(lambda: machine.mount(f"s3://{bucket.name}:{place}"))
    assert files(place) == {"precious": b"mine"}
    assert machine.mounts.look() == []


def test_the_folder_is_gone_after_unmounting_if_it_was_made_for_that(machine: Machine, bucket: Path) -> None:
    machine.mount(f"s3://{bucket.name}:{machine.home}/new")
    (machine.home / "old").mkdir()
    machine.mount(f"s3://{bucket.name}:{machine.home}/old")
    for name in ("new", "old"):
        machine.mounts.unmount(f"{machine.home}/{name}")
    assert [p.name for p in machine.home.iterdir()] == ["old"]
    (machine.home / "old" / "writable").touch()


def test_another_bucket_is_refused_where_one_is_mounted(machine: Machine, bucket: Path) -> None:
    machine.mount(f"s3://{bucket.name}:{machine.home}/data")
    said = refused(lambda: machine.mount(f"s3://bucket-one:{machine.home}/data"))
    assert f"s3://{bucket.name} is mounted at" in said


@pytest.mark.parametrize("place", ["~", "/", "~/..", "."])
def test_the_home_folder_is_nothing_to_mount_on(machine: Machine, bucket: Path, place: str) -> None:
    assert "holds your home folder" in refused(lambda: machine.mount(f"s3://{bucket.name}:{place}"))


def test_a_bucket_that_does_not_exist_is_told_before_anything_is_mounted(machine: Machine) -> None:
    said = refused(lambda: machine.mount(f"s3://no-such-bucket:{machine.home}/data"))
    assert "There is no bucket no-such-bucket" in said
    assert "--create" in said
    assert list(machine.home.iterdir()) == []


def test_a_machine_without_fuse_says_what_to_install(
    machine: Machine, bucket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    said = refused(lambda: machine.mount(f"s3://{bucket.name}:{machine.home}/data"))
    assert "fusermount3" in said
    assert "apt-get install -y fuse3" in said


# -- secrets ------------------------------------------------------------------------------------------


def test_secrets_lie_in_files_of_the_user_alone_and_in_no_argv(machine: Machine, bucket: Path) -> None:
    machine.mount(f"s3://{bucket.name}:{machine.home}/data")
    holding = [
        file
        for file in machine.agents.root.rglob("*")
        if file.is_file() and "cache" not in file.parts and SECRET_KEY in file.read_text(errors="replace")
    ]
    assert [file.name for file in holding] == ["credentials.json"]
    assert holding[0].stat().st_mode & 0o777 == 0o600
    (rclone,) = machine.rclones()
    assert SECRET_KEY not in " ".join(rclone.cmdline()) + str(rclone.environ())


def test_keys_that_cannot_be_limited_stay_here_unless_the_user_says_otherwise(
    new_machine: Callable[..., Machine], bucket: Path
) -> None:
    careful = new_machine(share_keys=False)
    said = refused(lambda: careful.mount(f"s3://{bucket.name}:{careful.home}/data"))
    assert "--share-keys" in said
    assert not (careful.agents.root / "mounts").exists()


def test_credentials_are_renewed_without_mounting_again(
    new_machine: Callable[..., Machine], bucket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = ("first-access", "first-secret"), ("second-access", "second-secret")
    server, sts = S3Server(tmp_path / "own", keys=(first,)), Sts(first, first, second, lasts=4)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.url)
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sts.url)
    try:
        machine = new_machine(share_keys=False)
        data = machine.mount(f"s3://bucket-one:{machine.home}/data")
        (data / "early").write_text("x")
        assert machine.flush() == []
        (rclone,) = machine.rclones()
        machine.mounts.renew()  # as from time to time
        server.stop()
        server.keys = (second,)  # the first ones have expired
        server.start()
        (data / "late").write_text("x")
        machine.mounts.renew()
        assert machine.flush() == []
        assert set(files(server.bucket("bucket-one"))) == {"early", "late"}
        assert [p.pid for p in machine.rclones()] == [rclone.pid]
    finally:
        server.close()
        sts.close()


# -- what is on its way -------------------------------------------------------------------------------


def test_what_is_on_its_way_is_named_until_it_is_there(
    machine: Machine, bucket: Path, server: S3Server
) -> None:
    data = machine.mount(f"s3://{bucket.name}:{machine.home}/data")
    with server.away():
        (data / "a.bin").write_bytes(bytes(5000))
        with (data / "b.bin").open("wb") as still_open:
            still_open.write(bytes(7000))
            still_open.flush()
            (state,) = machine.mounts.pending()
            assert sorted(state["names"]) == ["a.bin", "b.bin"]
            assert state["open"] == ["b.bin"]
            assert on_its_way([state]).startswith(f"2 files (12.0 kB) on the way to s3://{bucket.name}: ")
    assert machine.flush(60) == []
    assert machine.mounts.pending() == []
    assert sorted(files(bucket)) == ["a.bin", "b.bin"]


def test_what_does_not_make_it_is_named(machine: Machine, bucket: Path, server: S3Server) -> None:
    data = machine.mount(f"s3://{bucket.name}:{machine.home}/data")
    with server.away():
        (data / "lost.pt").write_bytes(bytes(100))
        assert machine.flush(0.5) == [f"not in s3://{bucket.name}: lost.pt"]


def test_a_mount_with_something_on_its_way_is_not_let_go(
    machine: Machine, bucket: Path, server: S3Server
) -> None:
    data = machine.mount(f"s3://{bucket.name}:{machine.home}/data")
    with server.away():
        (data / "a").write_text("a")
        assert "1 file is not in" in refused(lambda: machine.mounts.unmount(str(data)))
        machine.mounts.unmount(str(data), anyway=True)
    assert files(bucket) == {}
    machine.mount(f"s3://{bucket.name}:{data}")
    machine.flush()
    assert files(bucket) == {"a": b"a"}  # it was kept


def test_a_killed_machine_loses_exactly_what_was_said_to_be_on_its_way(
    machine: Machine, bucket: Path
) -> None:
    data = machine.mount(f"s3://{bucket.name}:{machine.home}/data")
    for n in range(5):
        (data / f"early{n}").write_text("x")
    assert machine.flush() == []
    for n in range(5):
        (data / f"late{n}").write_text("x")
    said = {name for state in machine.mounts.pending() for name in state["names"]}
    (rclone,) = machine.rclones()
    rclone.kill()
    machine.agents.kill()
    there = set(files(bucket))
    assert {f"early{n}" for n in range(5)} <= there
    assert {f"late{n}" for n in range(5)} - there <= said


def test_a_machine_whose_time_is_up_brings_all_to_the_bucket_before_it_ends_itself(
    machine: Machine, bucket: Path, server: S3Server, tmp_path: Path
) -> None:
    data = machine.mount(f"s3://{bucket.name}:{machine.home}/data")
    ended = tmp_path / "ended"
    with server.away():
        (data / "last").write_text("x")
        policy = {"idle": 0, "poweroff": ["cp", "-r", str(bucket), str(ended)], "ends_at": time.time()}
        (machine.agents.root / "policy.json").write_text(json.dumps(policy))
        wait_for(lambda: machine.request("status")["ends_in"] is not None, "the agent to know of its end")
    wait_for(ended.exists, "the machine to end itself", 60)
    assert files(ended) == {"last": b"x"}


# -- what happens to it -------------------------------------------------------------------------------


@pytest.mark.parametrize("noting", [False, True])
def test_a_mount_that_is_dropped_is_mounted_again_with_what_was_on_its_way(
    machine: Machine, bucket: Path, noting: bool
) -> None:
    data = machine.mount(f"s3://{bucket.name}:{machine.home}/data")
    (data / "a").write_text("a")
    (rclone,) = machine.rclones()
    rclone.kill()
    if noting:
        (note,) = (machine.agents.root / "mounts").glob("*/cache/vfsMeta/bucket/*/a")
        note.write_text("")  # so it is for a moment whenever rclone writes down what it has
    machine.ensure()  # as before a cell
    (data / "b").write_text("b")
    machine.flush()
    assert files(bucket) == {"a": b"a", "b": b"b"}


def test_a_file_that_was_being_written_over_does_not_get_its_old_content_back(
    machine: Machine, bucket: Path
) -> None:
    (bucket / "a").write_text("before")
    data = machine.mount(f"s3://{bucket.name}:{machine.home}/data")
    (rclone,) = machine.rclones()
    with suppress(OSError), (data / "a").open("w") as file:
        file.write("after")
        file.flush()
        rclone.kill()
    machine.ensure()
    assert machine.flush() == []
    assert files(bucket) == {"a": b"after"}


def test_a_mount_that_is_taken_away_is_seen_without_a_cell(machine: Machine, bucket: Path) -> None:
    data = machine.mount(f"s3://{bucket.name}:{machine.home}/data")
    subprocess.run(["fusermount3", "-u", "-z", data], check=True)
    wait_for(data.is_mount, "the mount to come back")


def test_files_in_the_bare_folder_are_not_hidden_and_the_next_cell_is_told(
    machine: Machine, bucket: Path
) -> None:
    data = machine.mount(f"s3://{bucket.name}:{machine.home}/data")
    machine.agents.signal(signal.SIGSTOP)
    subprocess.run(["fusermount3", "-u", "-z", data], check=True)
    (data / "stray").write_text("written meanwhile")  # root may write there, others may not
    machine.agents.signal(signal.SIGCONT)
    said = refused(machine.ensure)
    assert "is not mounted at" in said
    assert "is not empty" in said
    assert files(data) == {"stray": b"written meanwhile"}


def test_mounts_outlive_the_agent_and_a_newer_one_goes_on_with_them(machine: Machine, bucket: Path) -> None:
    data = machine.mount(f"s3://{bucket.name}:{machine.home}/data")
    (before,) = machine.rclones()
    machine.agents.kill()
    (data / "between").write_text("x")
    machine.agents.start()
    machine.agents.start("9.0.0")  # takes over
    assert machine.flush() == []
    assert files(bucket) == {"between": b"x"}
    assert [p.pid for p in machine.rclones()] == [before.pid]


def test_an_agent_that_starts_after_a_reboot_mounts_again_and_uploads(machine: Machine, bucket: Path) -> None:
    data = machine.mount(f"s3://{bucket.name}:{machine.home}/data")
    (data / "unsent").write_text("x")
    for process in machine.rclones():
        process.kill()
    machine.agents.kill()
    subprocess.run(["fusermount3", "-u", "-z", data], check=False)
    machine.agents.start()
    wait_for(data.is_mount, "the mount to come back")
    assert machine.flush() == []
    assert files(bucket) == {"unsent": b"x"}


def test_a_bucket_that_is_away_for_a_while_gets_all_that_was_written(
    machine: Machine, bucket: Path, server: S3Server
) -> None:
    data = machine.mount(f"s3://{bucket.name}:{machine.home}/data")
    (data / "before").write_text("1")
    with server.away():
        (data / "during").write_text("2")
    (data / "after").write_text("3")
    assert machine.flush(60) == []
    assert files(bucket) == {"before": b"1", "during": b"2", "after": b"3"}


def test_a_mount_fails_soon_where_the_machine_cannot_reach_the_bucket(machine: Machine, bucket: Path) -> None:
    files = {
        "rclone.conf": "[bucket]\ntype = s3\nprovider = Other\nenv_auth = true\nendpoint = http://127.0.0.1:9\n",
        "aws.config": "[default]\ncredential_process = /bin/cat credentials.json\n",
        "credentials.json": json.dumps({"Version": 1, "AccessKeyId": "a", "SecretAccessKey": "b"}),
    }
    place = f"{machine.home}/data"
    answer = machine.request(
        "mount", path=place, url="s3://x", root="x/", read_only=False, expires=0, files=files
    )
    assert "does not answer" in answer["refused"]
    assert not Path(place).exists()
