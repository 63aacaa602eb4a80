"""Buckets: mounted on a machine and read from here. A folder of this computer stands for one."""

from __future__ import annotations

import hashlib
import os
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..conftest import need, wait_for
from .served import Client, Server


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that stands for a bucket."""
    need(Path("/dev/fuse").exists() and shutil.which("fusermount3"), "FUSE (package fuse3)")
    return tmp_path_factory.mktemp("bucket")


@pytest.fixture(scope="module")
def launched(server: Server, bucket: Path) -> Iterator[Any]:
    """The launch of a machine with that bucket mounted."""
    asked = {"cloud": "local", "mount": [f"file://{bucket}:~/data"]}
    job = server.client().job(server.client().ask("POST", "launches", asked))
    assert job["state"] == "done", job
    yield job


def on_machine(server: Server, name: str, script: str) -> None:
    server.cli("exec", name, "--", "sh", "-c", script)


def test_a_launch_mounts_what_it_names_and_says_what_is_unsent(
    server: Server, client: Client, launched: Any, bucket: Path
) -> None:
    name = launched["machine"]
    (mount,) = client.get("MountList", f"machines/{name}/mounts")["mounts"]
    assert (mount["url"], mount["up"], mount["unsent"]) == (f"file://{bucket}", True, 0)
    assert mount["path"].endswith("/data")

    # what is still open cannot be sent
    writes = "exec > ~/data/log.txt; echo begun; while [ ! -e ~/go ]; do sleep 0.1; done"
    on_machine(server, name, f"({writes}) < /dev/null > /dev/null 2>&1 &")
    wait_for(lambda: client.get("MountList", f"machines/{name}/mounts")["mounts"][0]["open"], "the file")
    (mount,) = client.get("MountList", f"machines/{name}/mounts")["mounts"]
    assert (mount["unsent"], mount["names"], mount["open"]) == (1, ["log.txt"], ["log.txt"])
    job = client.job(client.ask("POST", f"machines/{name}/flush"))
    assert job["state"] == "failed" and "log.txt" in job["problem"]["message"]
    job = client.job(client.ask("DELETE", f"machines/{name}/mounts", path=mount["path"]))
    assert job["state"] == "failed" and job["problem"]["code"] == "storage"

    on_machine(server, name, "touch ~/go")
    mounts = f"machines/{name}/mounts"
    wait_for(lambda: not client.get("MountList", mounts)["mounts"][0]["open"], "the file to be closed")
    assert client.job(client.ask("POST", f"machines/{name}/flush"))["state"] == "done"
    assert (bucket / "log.txt").read_text() == "begun\n"
    assert client.job(client.ask("DELETE", f"machines/{name}/mounts", path=mount["path"]))["state"] == "done"
    assert client.get("MountList", f"machines/{name}/mounts") == {"mounts": [], "problem": None}


def test_a_bucket_is_mounted_later(client: Client, launched: Any, bucket: Path) -> None:
    path = f"machines/{launched['machine']}/mounts"
    assert client.job(client.ask("POST", path, {"mount": f"file://{bucket}:~/more:ro"}))["state"] == "done"
    (mount,) = [m for m in client.get("MountList", path)["mounts"] if m["path"].endswith("/more")]
    assert mount["read_only"]
    assert client.job(client.ask("DELETE", path, path=mount["path"], anyway="true"))["state"] == "done"


def test_a_bucket_that_cannot_be_mounted_costs_nobody_his_machine(client: Client) -> None:
    asked = {"cloud": "local", "mount": ["file:///no/such/folder:/"]}
    job = client.job(client.ask("POST", "launches", asked))
    assert job["state"] == "failed" and job["problem"]["code"] == "storage", job
    assert client.get("Machine", f"machines/{job['machine']}")["state"] == "ready"
    client.job(client.ask("DELETE", f"machines/{job['machine']}"))


def test_a_launch_that_names_no_bucket_is_refused(client: Client) -> None:
    answer = client.ask("POST", "launches", {"cloud": "local", "mount": ["nonsense"]})
    assert answer.status == 400 and "nonsense" in answer.conforms("Problem")["message"]


def test_folders_are_listed_one_by_one(client: Client, tmp_path: Path) -> None:
    (tmp_path / "runs" / "1").mkdir(parents=True)
    (tmp_path / "räum 1.csv").write_text("1,2\n")
    listed = client.get("BucketFolder", "buckets", url=f"file://{tmp_path}/")
    assert [(e["name"], e["folder"], e["size"]) for e in listed["entries"]] == [
        ("runs", True, None),
        ("räum 1.csv", False, 4),
    ]
    below = client.get("BucketFolder", "buckets", url=listed["entries"][0]["url"])
    assert [e["name"] for e in below["entries"]] == ["1"] and below["more"] == 0


def test_a_file_comes_whole_and_as_nothing_that_a_browser_opens(client: Client, tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    (tmp_path / "ü x.html").write_bytes(data)
    url = f"{client.url}gpu-remote/api/buckets/file?url=file://{tmp_path}/%C3%BC%20x.html"
    with urllib.request.urlopen(urllib.request.Request(url, headers=client.headers), timeout=30) as reply:
        got = reply.read()
        assert reply.headers["Content-Type"] == "application/octet-stream"
        assert reply.headers["Content-Disposition"] == "attachment; filename*=UTF-8''%C3%BC%20x.html"
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert hashlib.sha256(got).digest() == hashlib.sha256(data).digest()


def test_what_is_not_there_is_not_found(client: Client, tmp_path: Path) -> None:
    for path in ("buckets", "buckets/file"):
        answer = client.ask("GET", path, url=f"file://{tmp_path}/nothing")
        assert answer.status == 404 and answer.conforms("Problem")["hint"]


def test_clouds_say_whether_they_can_be_used_and_how_to_log_in(own_server: Server) -> None:
    client = own_server.start().client()
    clouds = {c["provider"]: c for c in client.get("CloudList", "clouds")["clouds"]}
    assert clouds["fake"]["state"] == "usable" and clouds["fake"]["login"] == ""
    assert (clouds["aws"]["state"], clouds["aws"]["login"]) == ("missing", "aws configure")
    assert (clouds["gcp"]["state"], clouds["gcp"]["title"]) == ("missing", "Google Cloud")
    assert clouds["gcp"]["problem"]["message"] and "local" not in clouds
