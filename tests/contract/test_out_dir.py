"""Folders of a machine that are copied into a bucket while cells run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jupyter_gpu_remote.config import GpuRemote
from jupyter_gpu_remote.messages import Message
from jupyter_gpu_remote.storage.kept import KeptOutputs
from jupyter_gpu_remote.storage.urls import parse_bucket
from tests.conftest import wait_for
from tests.emulators.s3 import S3Server

from .rigs.storage import Machine, files, refused


@pytest.fixture
def results(machine: Machine) -> Path:
    """The folder over there that is copied."""
    return machine.notebook / "results"


class Told:
    """Keeps what cells printed."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def message(self, message: Message) -> None:
        if message.type == "stream":
            self.texts.append(message.content["text"])

    def connection(self, text: str) -> None:
        pass


def copy(machine: Machine, text: str) -> str:
    """Have what a cell with ``--out-dir`` asks for done, and return where it is copied to."""
    machine.mounts.ensure(GpuRemote(**machine.settings, out_dir=[text]), lambda phase, said: None)
    return str(machine.mounts.look()[0]["url"])


def test_what_is_written_is_copied_with_nobody_asking(machine: Machine, bucket: Path, results: Path) -> None:
    copy(machine, f"results=s3://{bucket.name}/kept")
    (results / "deep").mkdir()
    (results / "deep" / "model é.bin").write_bytes(b"weights")
    wait_for(lambda: files(bucket) == {"kept/deep/model é.bin": b"weights"}, "the file in the bucket", 60)


def test_each_run_has_a_number_of_its_own(machine: Machine, bucket: Path, results: Path) -> None:
    (bucket / "run-7").mkdir()
    (bucket / "run-7" / "old").touch()
    (bucket / "run-x").mkdir()
    out = f"results=s3://{bucket.name}/run-{{n}}"
    assert copy(machine, out) == f"s3://{bucket.name}/run-8"
    (results / "a").write_text("of the eighth")
    assert copy(machine, out) == f"s3://{bucket.name}/run-9"
    (results / "b").write_text("of the ninth")
    assert machine.flush() == []
    assert files(bucket) == {"run-7/old": b"", "run-8/a": b"of the eighth", "run-9/b": b"of the ninth"}


def test_what_was_there_before_a_numbered_run_is_none_of_its_results(
    machine: Machine, bucket: Path, results: Path
) -> None:
    results.mkdir(parents=True)
    (results / "old").touch()
    copy(machine, f"results=s3://{bucket.name}/run-{{n}}")
    (results / "new").touch()
    assert machine.flush() == []
    assert files(bucket) == {"run-1/new": b""}


def test_without_a_number_the_bucket_gets_all_that_the_folder_has(machine: Machine, bucket: Path) -> None:
    (machine.notebook / ".git").mkdir(parents=True)
    (machine.notebook / ".git" / "HEAD").touch()
    (machine.notebook / "train.py").write_text("pass")
    copy(machine, f".=s3://{bucket.name}")
    assert machine.flush() == []
    assert files(bucket) == {"train.py": b"pass"}


def test_a_file_that_changed_is_copied_again_and_one_that_was_deleted_stays(
    machine: Machine, bucket: Path, results: Path
) -> None:
    copy(machine, f"results=s3://{bucket.name}/kept")
    (results / "log").write_text("one\n")
    (results / "gone").write_text("once here")
    assert machine.flush() == []
    with (results / "log").open("a") as log:
        log.write("two\n")
    (results / "gone").unlink()
    assert machine.flush() == []
    assert files(bucket) == {"kept/log": b"one\ntwo\n", "kept/gone": b"once here"}


def test_what_is_not_there_yet_is_named(
    machine: Machine, bucket: Path, results: Path, server: S3Server
) -> None:
    copy(machine, f"results=s3://{bucket.name}/kept")
    with server.away():
        (results / "late").write_text("late")
        assert "late" in " ".join(machine.flush(limit=2))
        said = refused(lambda: machine.mounts.unmount(str(results)))
        assert "1 file is not in" in said
    assert machine.flush() == []
    assert files(bucket) == {"kept/late": b"late"}


def test_a_later_agent_goes_on_with_what_is_not_there_yet(
    machine: Machine, bucket: Path, results: Path
) -> None:
    copy(machine, f"results=s3://{bucket.name}/kept")
    (results / "a").write_text("a")
    machine.agents.kill()
    (results / "b").write_text("b")
    assert machine.flush() == []
    assert files(bucket) == {"kept/a": b"a", "kept/b": b"b"}


def test_what_cells_put_out_is_kept_beside_the_folder_while_they_run(machine: Machine, bucket: Path) -> None:
    url = copy(machine, f".=s3://{bucket.name}/kept")
    seen = machine.agents.kernel(cwd=str(machine.notebook))
    seen.run("print('of the cell before')")
    cell = seen.kernel.execute("import time\nfor n in range(9999): print('line', n); time.sleep(.05)")
    wait_for(lambda: b"line 20\\n" in b"".join(files(bucket).values()), "the outputs in the bucket", 60)
    machine.agents.end()
    told = Told()
    kept = KeptOutputs(parse_bucket(url), "notebook")
    assert kept.show(told, kept.cells()[cell.msg_id], cell.msg_id) == {}
    assert "".join(told.texts).startswith("".join(f"line {n}\n" for n in range(21)))
    assert list(kept.cells())[-1] == cell.msg_id


def test_a_bucket_that_does_not_exist_is_told(machine: Machine) -> None:
    assert "no-such-bucket" in refused(lambda: copy(machine, "results=s3://no-such-bucket/run-{n}"))


def test_a_folder_of_the_machine_is_copied_to_like_a_bucket(
    machine: Machine, tmp_path: Path, results: Path
) -> None:
    copy(machine, f"results=file://{tmp_path}/kept")
    (results / "a").write_text("a")
    assert machine.flush() == []
    assert files(tmp_path / "kept") == {"a": b"a"}


@pytest.mark.parametrize(
    "text",
    ["results", "=s3://bucket", "/abs=s3://bucket", "../up=s3://bucket", "r=nowhere", "r=s3://bucket/{n}/x"],
)
def test_what_is_no_folder_or_bucket_is_refused_with_an_example(
    new_machine: Callable[..., Any], text: str
) -> None:
    said = refused(lambda: copy(new_machine(), text))
    assert "s3://bucket/" in said
