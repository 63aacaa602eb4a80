"""The table of a sweep, and its results as they are kept."""

from __future__ import annotations

import json
import math
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from jupyter_gpu_remote.agent.results import CANCELLED, DONE, FAILED, RUNNING, STOPPED, Trial, as_row, history
from jupyter_gpu_remote.agent.sweeptable import bundle, choose, progress
from jupyter_gpu_remote.sweeps import record

HOSTILE = "<script>alert(1)</script>\"'&\n\x1b[31m"


def trial(number: int, state: str = DONE, **facts: Any) -> Trial:
    return Trial(number, facts.pop("params", {"x": number}), state, **facts)


class Tags(HTMLParser):
    """Collects which elements there are."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.seen.append(tag)


def test_nothing_of_the_user_becomes_markup() -> None:
    reports = [{"step": 1, HOSTILE: 1.0}, {"step": 2, HOSTILE: 0.5, "note": HOSTILE}]
    facts = {"machine": HOSTILE, "value": HOSTILE, "reports": reports, "has_log": True}
    ours = trial(1, params={"x": HOSTILE}, **facts)
    lost = trial(2, FAILED, params={"x": HOSTILE}, error=HOSTILE)
    shown = bundle([ours, lost], "sweeps/it", 1.0)["text/html"]
    known = {"div", "span", "table", "tr", "th", "td", "a", "svg", "polyline", "circle"}
    assert set(Tags(shown).seen) <= known
    assert "&lt;script&gt;" in shown


def test_five_hundred_running_trials_are_a_small_table() -> None:
    trials = [
        trial(n, RUNNING, began=n, reports=[{"step": i, "loss": i / 7} for i in range(1000)])
        for n in range(1, 501)
    ]
    shown = bundle(trials, "sweeps/it", 1.0)["text/html"]
    assert shown.count("<tr>") == 41
    assert "460 more" in shown
    assert len(shown) < 60_000
    assert bundle(trials, "sweeps/it", 1.0, "over")["text/html"].count("<tr>") == 501


def test_of_many_trials_those_are_shown_that_tell_something() -> None:
    trials = [trial(n, began=n, seconds=1.0) for n in range(1, 200)]
    trials += [trial(200 + n, RUNNING, began=200) for n in range(4)] + [
        trial(300 + n, "waiting") for n in range(99)
    ]
    trials[3].state = FAILED
    shown = choose(trials, 20)
    assert [t.number for t in shown][:7] == [200, 201, 202, 203, 4, 199, 198]
    assert len(shown) == 20
    assert [t.number for t in choose(trials[-60:], 20)] == list(range(339, 359))


def test_a_line_says_how_far_it_is() -> None:
    trials = [trial(1, seconds=10.0), trial(2, FAILED, seconds=10.0), trial(3, RUNNING), trial(4, "waiting")]
    assert progress(trials, 20) == "2 of 4 trials · 1 running · 1 failed · 1 left · 20 s · about 15 s to go"


def test_a_row_keeps_parameters_and_metrics_apart() -> None:
    ours = trial(1, params={"lr": 0.1}, reports=[{"step": 0, "lr": 0.05, "value": 3, "loss": 1}], value=7)
    row = as_row(ours.plain(), "sweeps/it")
    assert (row["lr"], row["last_lr"], row["value"], row["last_value"], row["loss"]) == (0.1, 0.05, 7, 3, 1)
    assert history([ours.plain()]) == [{"trial": 1, "step": 0, "lr": 0.05, "value": 3, "loss": 1}]


def kept(number: int, state: str = DONE) -> str:
    return json.dumps(trial(number, state, value=math.nan).plain())


def test_each_result_is_written_once_however_often_it_comes(tmp_path: Path) -> None:
    record.begin(tmp_path, "it", {"digest": "d", "trials": 3})
    for _ in range(2):
        record.take(tmp_path, {"sweep": "it", "trials": [kept(1), kept(2, CANCELLED)]})
    record.take(tmp_path, {"sweep": "it", "trials": [kept(2, STOPPED)]})
    (file,) = tmp_path.glob("sweeps/*/results.jsonl")
    assert len(file.read_text().splitlines()) == 4
    found = record.latest(tmp_path, "d")
    assert found is not None
    assert [row["trial"] for row in found.good] == [1, 2]


def test_a_line_that_was_torn_is_left_out(tmp_path: Path) -> None:
    record.begin(tmp_path, "it", {"digest": "d", "trials": 3})
    record.take(tmp_path, {"sweep": "it", "trials": [kept(1), kept(2)]})
    (file,) = tmp_path.glob("sweeps/*/results.jsonl")
    file.write_bytes(file.read_bytes()[:-20])
    assert [row["trial"] for row in record.read(file).good] == [1]
    record.take(tmp_path, {"sweep": "it", "trials": [kept(2), kept(3)]})
    assert [row["trial"] for row in record.read(file).good] == [1, 2, 3]


@pytest.mark.parametrize("name", ["../it", "/etc", "a/b", "", "A", "other"])
def test_a_machine_cannot_make_us_write_elsewhere(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "folder"
    record.begin(folder, "it", {"digest": "d"})
    before = sorted(map(str, tmp_path.rglob("*")))
    record.take(folder, {"sweep": name, "trials": [kept(1)]})
    assert sorted(map(str, tmp_path.rglob("*"))) == before


def test_the_latest_record_with_results_is_the_one_to_go_on_with(tmp_path: Path) -> None:
    for name in ("first", "second"):
        record.begin(tmp_path, name, {"digest": "d", "trials": 2})
    record.take(tmp_path, {"sweep": "first", "trials": [kept(1)]})
    found = record.latest(tmp_path, "d")
    assert found is not None and found.path.parent.name == "first"
    assert record.latest(tmp_path, "other") is None


def test_what_is_no_plain_data_is_kept_as_text() -> None:
    row = trial(1, value={1, 2}).plain()
    assert json.loads(json.dumps(row))["value"] == "{1, 2}"
