"""A notebook on machines of both clouds: real SSH to real hosts behind emulated control planes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jupyter_gpu_remote import bootstrap
from jupyter_gpu_remote.config import load_settings
from jupyter_gpu_remote.fleet import Fleet
from jupyter_gpu_remote.model import GpuRequest, MachineState
from jupyter_gpu_remote.registry import Registry
from tests.conftest import wait_for
from tests.notebooks import Notebook, notebook

from .clouds import CLOUDS, Cloud
from .hosts import NetnsHosts

S = MachineState
slow = pytest.mark.skipif(
    not os.environ.get("GPU_REMOTE_SLOW"), reason="takes minutes: set GPU_REMOTE_SLOW to run it"
)


@pytest.fixture(params=CLOUDS, ids=lambda cls: cls.name)
def cloud(
    request: pytest.FixtureRequest, hosts: NetnsHosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Cloud]:
    cloud: Cloud = request.param(hosts, tmp_path, monkeypatch)
    yield cloud
    cloud.close()


@pytest.fixture
def book(cloud: Cloud, tmp_path: Path) -> Iterator[Notebook]:
    folder = tmp_path / "work"
    folder.mkdir()
    with notebook(folder) as book:
        yield book


def test_a_cell_that_asks_for_a_gpu_goes_from_nothing_to_its_output_and_leaves_nothing(
    book: Notebook, cloud: Cloud
) -> None:
    (book.folder / "data.txt").write_text("from here")
    ran = book.remote("print(open('data.txt').read())\nopen('made', 'w').write('there')", "--gpu T4")
    assert (ran.error, ran.text) == ("", "from here\n")
    assert (book.folder / "made").read_text() == "there"
    (machine,) = Registry().machines()
    assert machine.offer.spot and machine.offer.provider == cloud.name and machine.ends_at
    assert not book.run("%remote down --yes").error
    assert (cloud.leftovers, cloud.created) == ([], 1)
    assert sum(Registry().spent().values()) > 0


def test_a_machine_is_stopped_and_started_with_its_disk(book: Notebook, cloud: Cloud) -> None:
    assert not book.remote("open('/home/ubuntu/kept', 'w').write('still here')", "--gpu T4 --on-demand").error
    (machine,) = Registry().machines()
    stopped = book.run("%remote stop --yes")
    assert not stopped.error and "costs" in stopped.text
    assert Registry().get(machine.name).state is S.STOPPED
    refused = book.remote("print('ran')")
    assert f"%remote start {machine.name}" in refused.error and not refused.text
    started = book.run(f"%remote start {machine.name}")
    assert not started.error, started.error
    assert (
        book.remote("print(open('/home/ubuntu/kept').read())", "--gpu T4 --on-demand").text == "still here\n"
    )
    assert not book.run("%remote down --yes").error
    assert cloud.leftovers == []


def test_a_machine_that_is_taken_back_is_told_saved_and_ended(book: Notebook, cloud: Cloud) -> None:
    assert not book.remote("x = 1", "--gpu T4").error
    (machine,) = Registry().machines()
    write = "open('result', 'w').write('worth keeping')\nprint('on')\nimport time; time.sleep(300)"
    request = book.send(f"%%remote\n{write}")
    book.wait(request, until=lambda ran: "on" in ran.text)
    cloud.take_back(cloud.machines[0])
    ran = book.wait(request, until=lambda ran: "takes" in str(ran.messages))
    assert machine.name in str(ran.messages)
    wait_for(lambda: Registry().get(machine.name).state is S.PREEMPTED, "the machine to be written off")
    assert (book.folder / "result").read_text() == "worth keeping"
    assert "all files are here" in Registry().get(machine.name).note
    wait_for(lambda: not cloud.machines, "the cloud to have taken it")
    assert "taken back" in book.wait(request).error
    assert book.remote("print('ran')").text == "ran\n"
    assert [m.name == machine.name for m in Registry().machines()] == [False]


def test_a_machine_whose_time_is_up_ends_itself_with_nobody_there(cloud: Cloud, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    book = Notebook(folder)
    book.run("%load_ext jupyter_gpu_remote")
    # less than five minutes are left, so the warning comes at once
    request = book.send("%%remote --gpu T4 --max-hours 0.7m\nimport time\ntime.sleep(600)")
    book.wait(request, until=lambda ran: "is used up" in str(ran.messages) or ran.reply)
    book.client.stop_channels()
    book.manager.shutdown_kernel(now=True)
    (machine,) = Registry().machines()
    wait_for(lambda: not cloud.running, "the machine to switch itself off", 90)
    assert time.time() >= machine.ends_at
    Fleet(load_settings(), Registry()).reap()
    assert cloud.leftovers == [] and Registry().machines() == []


@slow
def test_a_machine_whose_laptop_died_ends_itself_and_not_while_a_cell_runs(
    cloud: Cloud, tmp_path: Path
) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    book = Notebook(folder)
    book.run("%load_ext jupyter_gpu_remote")
    began = time.time()
    request = book.send("%%remote --gpu T4 --idle 0.4m\nprint('on')\nimport time\ntime.sleep(150)")
    assert book.wait(request, until=lambda ran: "on" in ran.text).text == "on\n"
    book.client.stop_channels()
    book.manager.shutdown_kernel(now=True)
    wait_for(lambda: not cloud.running, "the machine to switch itself off", 500)
    assert time.time() - began > 150
    Fleet(load_settings(), Registry()).reap()
    assert cloud.leftovers == [] and Registry().machines() == []


def test_a_machine_that_is_never_set_up_ends_itself(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # what the launching process would have done after the machine was made never happens
    monkeypatch.setattr(bootstrap, "SILENCE", 3)
    monkeypatch.setattr(bootstrap, "EVERY", 0.2)
    fleet = Fleet(load_settings(), Registry())
    fleet.launch(GpuRequest(gpu="T4", cloud=cloud.name), "", lambda phase, text: None, lambda machine: None)
    assert cloud.running
    wait_for(lambda: not cloud.running, "the machine to switch itself off", 60)
