from __future__ import annotations

import base64
import json
import struct
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from jupyter_gpu_remote.config import GpuRemote
from jupyter_gpu_remote.errors import ConfigurationError, GpuRemoteError, MachineNotFoundError
from jupyter_gpu_remote.model import Machine, MachineState, Offer
from jupyter_gpu_remote.options import HelpRequested
from jupyter_gpu_remote.plain import plain_text
from jupyter_gpu_remote.registry import Registry
from jupyter_gpu_remote.shell_verbs import VERBS
from jupyter_gpu_remote.spend import midnight
from jupyter_gpu_remote.tables import duration, money, table
from jupyter_gpu_remote.verbs import Desk, split
from tests.fake_cloud import FakeProvider, install

S = MachineState
WIDGET = "application/vnd.jupyter.widget-view+json"
SPOT = Offer("fake", "a1", gpu="T4", count=1, region="west", zone="west-1", spot=True, price=0.5)


class Face:
    """A desk whose user is a test."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.questions: list[str] = []
        self.yes = True
        self.desk = Desk(
            prog="gpu",
            config=GpuRemote(),
            registry=Registry(),
            folder=Path.cwd(),
            notebook=None,
            say=self.said.append,
            report=lambda phase, text: None,
            progress=lambda done, total, what: None,
            launch=lambda request, config: self.said.append(f"launch {request.gpu}"),
            confirm=self._confirm,
        )

    def _confirm(self, question: str) -> bool:
        self.questions.append(question)
        return self.yes

    def do(self, line: str) -> str:
        """Carry out a line and return what it said."""
        self.said.clear()
        VERBS.parse(split(line), self.desk)()
        return "\n".join(self.said)

    def add(self, name: str, **fields: Any) -> Machine:
        """Write down a machine of the fake cloud."""
        values = {"state": S.CREATING, "created_at": time.time() - 3600, "provider_id": f"i-{name}", **fields}
        machine = replace(Machine(name, "fake", SPOT), **values)
        self.desk.registry.add(machine)
        return machine


@pytest.fixture
def face(monkeypatch: pytest.MonkeyPatch) -> Iterator[Face]:
    class Cloud(FakeProvider):
        hooks: dict[str, Any] = {}

    install(monkeypatch, Cloud)
    yield Face()


def refusal(face: Face, line: str) -> GpuRemoteError:
    with pytest.raises(GpuRemoteError) as e:
        face.do(line)
    return e.value


def test_an_unknown_verb_is_told_all_the_known_ones_and_the_nearest(face: Face) -> None:
    error = refusal(face, "lits")
    assert "attach, cancel, cost, cp, demo, doctor, down" in error.message
    assert error.hint == "Did you mean list?"


@pytest.mark.parametrize("verb", ["put", "get"])
def test_verbs_that_do_not_exist_are_refused(face: Face, verb: str) -> None:
    assert f"no verb {verb!r}" in refusal(face, verb).message


@pytest.mark.parametrize("name", VERBS.known)
def test_every_verb_has_help_that_begins_with_how_to_write_it(face: Face, name: str) -> None:
    with pytest.raises(HelpRequested) as help:
        face.do(f"{name} --help")
    assert f"gpu {name}" in str(help.value).splitlines()[0]


def test_help_lists_every_verb(face: Face) -> None:
    with pytest.raises(HelpRequested) as help:
        face.do("--help")
    for name in VERBS.known:
        assert f"\n  {name} " in str(help.value)


def test_an_open_quote_is_a_wrong_line() -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        split("down 'brave")


def test_the_only_machine_needs_no_name(face: Face) -> None:
    face.add("otter")
    assert face.desk.machine().name == "otter"


def test_one_of_several_machines_must_be_named(face: Face) -> None:
    face.add("otter")
    face.add("heron")
    assert "otter" in refusal(face, "down --yes").hint


def test_a_machine_is_also_known_by_its_providers_name(face: Face) -> None:
    face.add("otter", provider_id="user@host")
    assert face.desk.machine("user@host").name == "otter"


def test_a_misspelt_machine_is_guessed(face: Face) -> None:
    face.add("brave-otter")
    error = refusal(face, "down brave-oter")
    assert isinstance(error, MachineNotFoundError)
    assert error.hint == "Did you mean brave-otter?"


def test_a_machine_that_has_ended_says_that_it_costs_nothing(face: Face) -> None:
    face.add("otter", state=S.GONE, note="deleted", ended_at=time.time())
    error = refusal(face, "down otter")
    assert "has ended: deleted" in error.message
    assert "nothing" in error.billed


def test_the_json_of_a_machine_keeps_its_fields(face: Face) -> None:
    face.add("otter", state=S.READY)
    (machine,) = json.loads(face.do("list --json"))
    assert list(machine) == [
        "name", "state", "provider", "provider_id", "machine_type", "gpu", "count", "stand_in_for", "region",
        "zone", "spot", "price", "cost", "created_at", "ready_at", "note", "head",
    ]  # fmt: skip
    assert machine["state"] == "ready"
    assert machine["cost"] == pytest.approx(0.5, rel=0.01)


def test_the_list_shows_what_a_machine_is_and_costs(face: Face) -> None:
    face.add("otter")
    head, line = face.do("list").splitlines()
    assert head.split() == ["NAME", "MACHINE", "STATE", "UP", "COST"]
    assert line.split("  ")[0] == "otter"
    assert "T4 · fake west-1 · spot $0.50/h" in line
    assert "$0.50" in line


def test_without_machines_the_list_says_how_to_start_one(face: Face) -> None:
    assert face.do("list") == "No machine is running. `gpu up` starts one."


def test_up_passes_on_what_is_asked_for(face: Face) -> None:
    assert face.do("up --gpu a100") == "launch A100"


def test_the_cost_has_a_total_and_counts_machines_that_ended(face: Face) -> None:
    now = time.time()
    face.add("otter", state=S.READY)
    face.add("heron", state=S.GONE, created_at=now - 7200, ended_at=now - 3600)
    lines = face.do("cost").splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["heron", "otter", "total"]
    assert lines[-1].split() == ["total", "2", "h", "00", "min", "$1.00"]


def test_the_cost_is_added_up_by_notebook_and_by_day(face: Face) -> None:
    noon = midnight(time.time()) - 12 * 3600
    face.add("heron", state=S.GONE, created_at=noon, ended_at=noon + 3600)
    face.add("otter", state=S.READY, created_at=time.time() - 3600)
    face.desk.registry.bind("/notebooks/train.ipynb", "otter")
    assert "train.ipynb" in face.do("cost --by notebook") and "no notebook" in face.do("cost --by notebook")
    days = [json.loads(face.do("cost --by day --json"))[i]["day"] for i in (0, -1)]
    assert days == sorted(days) and days[0] == f"{datetime.fromtimestamp(noon):%Y-%m-%d}"


def test_the_cost_since_a_day_leaves_out_what_was_before(face: Face) -> None:
    now = time.time()
    face.add("heron", state=S.GONE, created_at=now - 3 * 86400, ended_at=now - 2 * 86400)
    assert face.do("cost --since 1") == "Nothing was spent in the last 1 days."


@pytest.mark.parametrize(
    "line", ["cost --since -1", "cost --since nan", "extend soon", "list otter", "down -x"]
)
def test_wrong_words_name_the_verb_and_its_help(face: Face, line: str) -> None:
    error = refusal(face, line)
    assert isinstance(error, ConfigurationError)
    assert error.hint == f"See gpu {line.split()[0]} --help."


def test_no_deletes_nothing(face: Face) -> None:
    face.add("otter")
    face.yes = False
    error = refusal(face, "down otter")
    assert "still running" in error.billed
    assert [m.name for m in face.desk.registry.machines()] == ["otter"]


def test_yes_on_the_line_asks_nothing(face: Face) -> None:
    face.add("otter")
    assert "otter is deleted" in face.do("down --yes")
    assert face.questions == []
    assert face.desk.registry.get("otter").state is S.GONE


def test_all_machines_are_deleted_at_once(face: Face) -> None:
    face.add("otter")
    face.add("heron")
    face.do("down --all")
    (question,) = face.questions
    assert "otter" in question and "heron" in question
    assert face.desk.registry.machines() == []


def test_all_and_a_name_contradict_each_other(face: Face) -> None:
    assert "Keep one" in refusal(face, "down otter --all").hint


def test_the_log_of_a_failed_launch_needs_no_name(face: Face) -> None:
    face.add("otter", state=S.CREATING)
    face.desk.registry.note("refused", "otter", "no capacity in west-1")
    face.desk.registry.update("otter", state=S.FAILED, note="no offers")
    said = face.do("logs")
    assert "refused  no capacity in west-1" in said
    assert "no offers" in said


def test_a_command_of_exec_must_be_there(face: Face) -> None:
    face.add("otter")
    assert "exec otter -- nvidia-smi" in refusal(face, "exec otter").hint


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (3599, "1 h 00 min"),
        (11100, "3 h 05 min"),
        (360000, "4 d 4 h"),
    ],
)
def test_time_spans_are_shown_as_people_say_them(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_small_amounts_show_that_they_grow() -> None:
    assert [money(0), money(0.00123), money(0.5), money(12.345)] == ["$0.00", "$0.0012", "$0.50", "$12.35"]


def test_a_column_without_content_is_left_out() -> None:
    assert table(("A", "B", "C"), [("1", "", "漢"), ("22", "", "x")]) == "A   C\n1   漢\n22  x"


def png(width: int, height: int) -> str:
    head = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height)
    return base64.b64encode(head + bytes(40)).decode()


@pytest.mark.parametrize(
    ("kind", "content", "shown"),
    [
        ("stream", {"name": "stdout", "text": "a\nb"}, "a\nb"),
        ("display_data", {"data": {"text/plain": "<F>", "image/png": png(640, 480)}}, "[image 640×480]\n"),
        ("display_data", {"data": {"image/svg+xml": "<svg/>"}}, "[image]\n"),
        ("display_data", {"data": {WIDGET: {}, "text/plain": "x"}}, "[widget]\n"),
        ("execute_result", {"data": {"text/plain": "42", "text/html": "<b>42</b>"}}, "42\n"),
        ("update_display_data", {"data": {"text/plain": ""}}, ""),
        ("display_data", {"data": {"text/html": "<b>"}}, "[text/html]\n"),
        ("error", {"ename": "E", "evalue": "v", "traceback": []}, "E: v\n"),
        ("status", {"execution_state": "idle"}, ""),
    ],
)  # fmt: skip
def test_outputs_are_shown_in_words(kind: str, content: dict[str, Any], shown: str) -> None:
    assert plain_text(kind, content) == shown
