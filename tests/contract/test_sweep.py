"""Sweeps on a real Dask cluster of this computer."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from jupyter_gpu_remote.agent.results import Trial, as_row
from jupyter_gpu_remote.agent.sweepcell import SweepFailed, Swept, packed, plan
from jupyter_gpu_remote.sweeps import parse
from tests.conftest import wait_for

if TYPE_CHECKING:
    from distributed import Client


@pytest.fixture(scope="module")
def shared() -> Iterator[Client]:
    """A cluster with two workers, a process each."""
    from distributed import Client, LocalCluster

    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        yield client


@pytest.fixture
def client(shared: Client) -> Client:
    """That cluster with both its workers: the test before may have ended one."""
    shared.wait_for_workers(2, timeout=60)
    return shared


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the notebook."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Seen:
    """A sweep, what it showed and what it sent."""

    def __init__(
        self, client: Client, source: str, *space: str, names: dict[str, Any] | None = None, **more: Any
    ) -> None:
        sweep = {"axes": parse.space(space), "name": "it", "limit": 0, "timeout": 0, "retries": 0}
        sweep |= {"stop": None, "goal": None, "known": [], **more}
        namespace = {} if names is None else names
        self.tables: list[Mapping[str, str]] = []
        self.sent: list[dict[str, Any]] = []
        self.trials = plan(sweep, {})
        values = packed(namespace, namespace)
        self.swept = Swept(client, sweep, self.trials, source, values, self.tables.append, self._take)

    def _take(self, content: Mapping[str, Any]) -> None:
        self.sent += content["trials"]

    def run(self) -> list[Trial]:
        """Run it; return its trials."""
        self.swept.run()
        return self.trials

    @property
    def states(self) -> list[str]:
        """The state of each trial."""
        return [trial.state for trial in self.trials]


def log(number: int) -> str:
    """Return what a trial has put out."""
    return Path("sweeps", "it", f"trial-{number:03d}.txt").read_text()


def test_a_trial_has_its_own_variables_and_none_of_those_before(client: Client) -> None:
    cell = "seen = 'left' in globals(), given\nleft = 1\ngiven.append(x)\nseen"
    trials = Seen(client, cell, "x=range(6)", names={"given": []}).run()
    assert [trial.value for trial in trials] == [(False, [x]) for x in range(6)]


def test_functions_of_the_notebook_see_what_is_swept(client: Client) -> None:
    names: dict[str, Any] = {"__name__": "__main__", "base": 10}
    exec("def inner(): return base * x\ndef outer(): return inner() + 1", names)
    del names["__builtins__"]
    trials = Seen(client, "outer()", "x=1,2", names=names).run()
    assert [trial.value for trial in trials] == [11, 21]


def test_modules_of_the_folder_are_fresh_in_each_trial(client: Client, folder: Path) -> None:
    (folder / "helper.py").write_text("count = 0\n")
    trials = Seen(client, "import helper\nhelper.count += 1\nhelper.count", "x=range(6)").run()
    assert [trial.value for trial in trials] == [1] * 6


def test_all_output_is_in_the_file_of_its_trial_also_that_of_programs(client: Client) -> None:
    cell = "import subprocess, sys\nprint('from', x)\nsubprocess.run(['echo', 'program'])\n"
    cell += "sys.stderr.write('err')"
    Seen(client, cell, "x=1,2").run()
    assert [log(1), log(2)] == ["from 1\nprogram\nerr", "from 2\nprogram\nerr"]


def test_magics_and_awaits_work_in_a_trial(client: Client) -> None:
    from IPython.core.inputtransformer2 import TransformerManager

    cell = "!echo shell {x}\nimport asyncio\nawait asyncio.sleep(0, x)"
    (trial,) = Seen(client, TransformerManager().transform_cell(cell), "x=7").run()
    assert trial.value == 7
    assert "shell 7" in log(1)


def test_reports_stream_while_a_trial_runs_and_end_in_its_row(client: Client, folder: Path) -> None:
    cell = """
import numpy, pathlib, time
print("begun")
report(step=0, loss=numpy.float32(0.5))
while not pathlib.Path("go").exists(): time.sleep(0.01)
report(step=1, loss=0.25, acc=1)
"""
    seen = Seen(client, cell, "x=1")
    thread = threading.Thread(target=seen.run)
    thread.start()
    wait_for(lambda: any("loss 0.5" in t["text/plain"] for t in seen.tables), "the report in the table")
    assert log(1) == "begun\n"
    (folder / "go").touch()
    thread.join(30)
    (trial,) = seen.trials
    assert trial.reports == [{"step": 0, "loss": 0.5}, {"step": 1, "loss": 0.25, "acc": 1}]
    row = as_row(trial.plain(), "f")
    assert (row["loss"], row["acc"], row["retries"]) == (0.25, 1, 0)


def test_a_rule_stops_the_trial_that_breaks_it_alone(client: Client) -> None:
    cell = """
for i in range(100):
    try: report(step=i, loss=float('nan') if x == 3 else x)
    except Exception: pass
"""
    seen = Seen(client, cell, "x=1,2,3", stop=("loss", ">", 1.5, 10))
    seen.run()
    assert seen.states == ["done", "stopped", "stopped"]
    assert [len(trial.reports) for trial in seen.trials] == [100, 11, 11]


def test_a_trial_that_takes_too_long_is_ended_and_the_others_go_on(client: Client) -> None:
    seen = Seen(client, "import time\ntime.sleep(600 if x == 0 else 0)\nx", "x=range(5)", timeout=1)
    seen.run()
    assert seen.states == ["timed out", "done", "done", "done", "done"]
    client.wait_for_workers(2, timeout=60)


def test_a_worker_killed_in_the_middle_costs_no_trial_and_counts_none_twice(
    client: Client, folder: Path
) -> None:
    cell = """
import os, pathlib, time
pathlib.Path(f"pid-{os.getpid()}").touch()
for step in range(5):
    report(step=step, loss=x)
    time.sleep(0.02)
print("done", x)
x
"""
    seen = Seen(client, cell, "x=range(20)")
    thread = threading.Thread(target=seen.run)
    thread.start()
    wait_for(lambda: len(seen.sent) >= 3, "some trials to be done")
    pid = int(next(folder.glob("pid-*")).name[4:])
    os.kill(pid, signal.SIGKILL)
    thread.join(60)
    assert seen.states == ["done"] * 20
    assert [trial.value for trial in seen.trials] == list(range(20))
    assert sorted(trial["trial"] for trial in seen.sent) == list(range(1, 21))
    assert all(len(trial.reports) == 5 for trial in seen.trials)
    assert sum(trial.attempts for trial in seen.trials) >= 20
    client.wait_for_workers(2, timeout=60)


def test_a_trial_that_kills_its_workers_is_a_row_with_the_reason(client: Client) -> None:
    cell = "import os, signal\nif x == 1: os.kill(os.getpid(), signal.SIGKILL)\nx"
    seen = Seen(client, cell, "x=range(3)")
    seen.run()
    assert seen.states == ["done", "failed", "done"], [trial.error for trial in seen.trials]
    assert "ended the process" in seen.trials[1].error
    client.wait_for_workers(2, timeout=60)


def test_a_trial_that_fails_is_run_again_as_often_as_asked(client: Client, folder: Path) -> None:
    cell = """
import pathlib
tries = pathlib.Path(f"tries-{x}")
tries.write_text(tries.read_text() + "i" if tries.exists() else "i")
if x == 0 or len(tries.read_text()) < 2: raise OSError("not yet")
"""
    seen = Seen(client, cell, "x=0,1", retries=2)
    seen.run()
    assert seen.states == ["failed", "done"]
    assert [trial.attempts for trial in seen.trials] == [3, 2]
    assert seen.trials[0].error.startswith("Traceback")
    assert 'File "<trial>", line 5' in seen.trials[0].error
    assert seen.trials[0].error.endswith("OSError: not yet\n")


@pytest.mark.parametrize(
    ("cell", "error"),
    [
        ("1 +", "SyntaxError"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("class E(Exception):\n  def __str__(self): 1 / 0\nraise E", "E"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("def f(): f()\nf()", "RecursionError"),
    ],
)
def test_whatever_ends_a_trial_is_told(client: Client, cell: str, error: str) -> None:
    (trial,) = Seen(client, cell, "x=1").run()
    assert trial.state == "failed"
    assert error in trial.error


def test_values_that_cannot_travel_are_kept_as_text(client: Client) -> None:
    cell = "import threading\n{0: threading.Lock(), 1: b'x' * (5 << 20), 2: {'a': [1]}}[x]"
    locked, large, plain = [trial.value for trial in Seen(client, cell, "x=0,1,2").run()]
    assert locked.startswith("<unlocked")
    assert (len(large), plain) == (1000, {"a": [1]})


def test_a_variable_that_cannot_be_pickled_is_named_before_anything_runs() -> None:
    with pytest.raises(SweepFailed, match="lock can't go to the workers"):
        packed({}, {"ok": 1, "lock": threading.Lock()})


def test_an_interrupt_cancels_what_runs_and_leaves_the_workers_free(client: Client) -> None:
    seen = Seen(client, "import time\nif x: time.sleep(600)\nx", "x=0,1,1,1")

    def interrupt() -> None:
        wait_for(lambda: seen.states.count("running") == 2 and seen.states[0] == "done", "two to run")
        signal.raise_signal(signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        seen.run()
    assert seen.states == ["done"] + ["cancelled"] * 3
    assert seen.tables[-1]["text/plain"].startswith("interrupted")
    began = time.monotonic()
    client.wait_for_workers(2, timeout=60)
    assert client.submit(int, 7).result(60) == 7
    assert time.monotonic() - began < 60


def test_values_are_chosen_by_the_results_so_far(client: Client) -> None:
    goal = ("min", "loss")
    seen = Seen(
        client, "report(loss=(x - 3) ** 2 + (k == 'b'))", "x=uniform(0,10)", "k=a,b", goal=goal, limit=30
    )
    trials = seen.run()
    assert len(trials) == 30
    best = min(trials, key=lambda trial: trial.metrics["loss"])
    assert best.metrics["loss"] < 1
    late = [abs(trial.params["x"] - 3) for trial in trials[20:]]
    early = [abs(trial.params["x"] - 3) for trial in trials[:10]]
    assert sum(late) / len(late) < sum(early) / len(early)


def test_what_is_known_already_is_not_run_again(client: Client) -> None:
    first = Seen(client, "import pathlib\nif x == 2: raise ValueError\nx", "x=1,2,3")
    first.run()
    again = Seen(client, "x * 10", "x=1,2,3", known=[t for t in first.sent if t["state"] == "done"])
    assert [trial.value for trial in again.run()] == [1, 20, 3]
    assert [trial["trial"] for trial in again.sent] == [2]
    other = Seen(client, "x * 10", "x=4,5,6", known=first.sent)
    assert [trial.value for trial in other.run()] == [40, 50, 60]
