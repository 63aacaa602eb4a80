"""A sweep: a cell that is run once for each trial, on the workers of the kernel's Dask cluster.

Runs in the kernel's process. Dask schedules the trials, and runs those of lost workers again; this sees to
what is the user's: limits, results, the table.
"""

from __future__ import annotations

import contextlib
import pickle
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import trial as trialmodule
from . import trialplace, trialreports
from .outcome import is_killed, value_of, why
from .results import CANCELLED, FAILED, RUNNING, TIMED_OUT, WAITING, Trial, log_of
from .trial import Program

if TYPE_CHECKING:
    from distributed import Client, Future

    from .propose import Proposals

_TURN, _EACH = 0.03, 1e-6
"""Seconds between looks at what has come and what is due, and more for each trial that is to be looked at."""
_UNTOLD = 0.2
"""Seconds after the end of a trial in which its result may come by itself; then it is fetched."""
_FASTEST, _SLOWEST, _SHARE = 0.25, 2.0, 1 / 60
"""Seconds between two updates of the table, and their share of the time that the sweep has taken: what is
watched for hours need not change four times a second."""
_END_LIMIT, _RESTART_LIMIT = 3.0, 20.0
_BLAMED = 4
"""Workers that die with a trial before Dask fails it: three are forgiven."""


class Sweep:
    """The trials of a sweep on their way.

    Args:
        client: Of the cluster.
        program: What a trial runs.
        trials: All trials, in order; some may have ended in an earlier run.
        folder: Where their outputs are written.
        timeout: Seconds that a trial may take; 0 for any time.
        retries: How often one that fails is run again.
        proposals: Makes more trials, knowing the results of earlier ones.
        changed: Told, a few times a second at most, that there is something new to show.
        ended: Told of trials that have ended.
    """

    def __init__(
        self,
        client: Client,
        program: Program,
        trials: list[Trial],
        folder: Path,
        timeout: float = 0,
        retries: int = 0,
        proposals: Proposals | None = None,
        changed: Callable[[], None] = lambda: None,
        ended: Callable[[Sequence[Trial]], None] = lambda trials: None,
    ) -> None:
        self.trials = trials
        self._by_number = {trial.number: trial for trial in trials}
        self._client, self._program, self._folder = client, program, folder
        self._timeout, self._retries, self._proposals = timeout, retries, proposals
        self._changed, self._ended = changed, ended
        self._futures: dict[int, Future] = {}
        self._over: dict[int, float] = {}
        self._suspects: list[Trial] = []
        self._inbox: deque[Mapping[str, Any]] = deque()
        self.began = time.monotonic()
        self._shown = 0.0

    @property
    def elapsed(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self.began

    def run(self) -> None:
        """Run the trials until all have ended.

        Raises:
            KeyboardInterrupt: The user has had enough; what ran is cancelled.
        """
        import cloudpickle

        for module in (trialmodule, trialplace, trialreports):
            cloudpickle.register_pickle_by_value(module)  # workers lack it
        topic = self._program.topic
        self._client.subscribe_topic(topic, self._receive)
        try:
            self._pickled = cloudpickle.dumps(self._program)
            self._share()
            self._submit([trial for trial in self.trials if not trial.ended])
            self._propose()
            while self._futures or self._suspects:
                if not self._futures:
                    self._run_suspects()
                self._turn()
        except BaseException:
            self._cancel()
            raise
        finally:
            self._client.unsubscribe_topic(topic)
            self._futures.clear()
            del self._shared

    def _receive(self, event: tuple[float, Mapping[str, Any]]) -> None:
        """Take an event of a worker, in the client's thread."""
        news = event[1]
        self._inbox.extend({**message, "worker": news["worker"]} for message in news["messages"])

    def _share(self) -> None:
        """Bring the program to the workers; Dask makes it again where those that had it are gone."""
        import cloudpickle

        self._shared = self._client.submit(cloudpickle.loads, self._pickled, pure=False)

    def _run_suspects(self) -> None:
        """Run again what Dask blames: all of it once, then one after the other with nothing beside it."""
        self._share()  # it may have been blamed, too, and Dask forgets nothing
        once = [trial for trial in self._suspects if trial.suspected == 1]
        again = once or self._suspects[:1]
        self._suspects = [trial for trial in self._suspects if trial not in again]
        self._submit(again)

    def _submit(self, trials: Sequence[Trial]) -> None:
        from dask.utils import apply

        if not trials:
            return
        given = [(trial.number, dict(trial.params)) for trial in trials]
        # a group of their own, of which Dask gives a worker one more than it runs, and keeps the others back
        keys = [(f"trial-{self._program.topic}", trial.number, trial.suspected) for trial in trials]
        futures = self._client.map(
            apply, [self._shared] * len(given), given, key=keys, pure=False, retries=self._retries
        )
        self._futures.update(zip((trial.number for trial in trials), futures, strict=True))

    def _propose(self) -> None:
        """Have as many trials under way as there are workers, while there is something to try."""
        if self._proposals is None:
            return
        most = max(1, len(self._client.nthreads()))
        fresh: list[Trial] = []
        while len(self._futures) + len(fresh) < most:
            number = max(self._by_number, default=0) + 1
            params = self._proposals.next(number)
            if params is None:
                break
            fresh.append(Trial(number, params))
            self.trials.append(fresh[-1])
            self._by_number[number] = fresh[-1]
        self._submit(fresh)

    # -- what comes from the workers ------------------------------------------------------------------

    def _turn(self) -> None:
        """Take what has come, and do what is due."""
        time.sleep(_TURN + len(self._futures) * _EACH)
        # looked at before what they said is: of a failure it comes first
        over = {number for number, future in self._futures.items() if future.done()}
        told = {}
        while self._inbox:
            told.update(self._heard(self._inbox.popleft()))
        now = time.monotonic()
        self._over = {number: self._over.get(number, now) for number in over - told.keys()}
        late = [
            number
            for number, since in self._over.items()
            if now - since > _UNTOLD or self._futures[number].status != "finished"
        ]
        self._take(late, told)
        self._end_late_ones()
        pause = min(_SLOWEST, max(_FASTEST, (now - self.began) * _SHARE))
        if now - self._shown > pause:
            self._shown = now
            self._changed()

    def _heard(self, news: Mapping[str, Any]) -> dict[int, Any]:
        """Take what a trial says of itself; return its result, if that is there."""
        trial = self._by_number[news["trial"]]
        if trial.number not in self._futures:
            return {}
        if "machine" in news:
            if trial.attempts and trial.has_log:
                self._log(trial, b"\n[begins again]\n")
            trial.state, trial.run, trial.began = RUNNING, news["run"], time.monotonic()
            trial.machine, trial.worker, trial.reports = news["machine"], news["worker"], []
            trial.attempts += 1
        if news["run"] == trial.run:  # not of an attempt that is given up
            trial.reports.extend(news["reports"])
            if news["text"]:
                self._log(trial, news["text"])
        return {trial.number: pickle.loads(news["result"])} if "result" in news else {}

    def _log(self, trial: Trial, text: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / log_of(trial.number)).open("ab" if trial.has_log else "wb") as file:
            file.write(text)
        trial.has_log = True

    def _take(self, done: Sequence[int], told: Mapping[int, Any]) -> None:
        """Take the results of trials that have ended: what they told, or left with their worker."""
        futures = {number: self._futures.pop(number) for number in {*done, *told}}
        if not futures:
            return
        left = [n for n, future in futures.items() if n not in told and future.status == "finished"]
        results = {**told, **dict(zip(left, self._gathered([futures[n] for n in left]), strict=True))}
        ended = []
        for number, future in futures.items():
            trial = self._by_number[number]
            result = results.get(number)
            if result is None and future.status not in ("error", "cancelled"):
                self._futures[number] = future  # what had the result is gone, and Dask runs it again
                continue
            if self._may_be_innocent(trial, future):
                trial.state, trial.suspected = WAITING, trial.suspected + 1
                self._suspects.append(trial)
                continue
            self._settle(trial, future, result)
            ended.append(trial)
        self._tell(ended)
        self._propose()

    def _may_be_innocent(self, trial: Trial, future: Future) -> bool:
        """Return whether a trial may only have waited on the workers for whose deaths Dask blames it."""
        return is_killed(future) and trial.attempts < _BLAMED and trial.suspected < 2

    def _gathered(self, futures: Sequence[Future]) -> list[Any]:
        results = self._client.gather(list(futures), errors="skip") if futures else []
        return list(map(pickle.loads, results))

    def _settle(self, trial: Trial, future: Future, result: Mapping[str, Any] | None) -> None:
        if result is not None:
            trial.state, trial.seconds = result["state"], result["seconds"]
            trial.value, trial.error = value_of(result)
            trial.machine, trial.attempts = result["machine"], trial.attempts + (result["run"] != trial.run)
            return
        trial.seconds = time.monotonic() - trial.began if trial.began else None
        trial.state, trial.error = FAILED, why(future)

    def _tell(self, trials: Sequence[Trial]) -> None:
        if self._proposals is not None:
            for trial in trials:
                self._proposals.told(trial)
        self._ended(trials)

    # -- limits ---------------------------------------------------------------------------------------

    def _end_late_ones(self) -> None:
        now = time.monotonic()
        late = [
            trial
            for number in self._futures
            if (trial := self._by_number[number]).state == RUNNING and now - trial.began > self._timeout > 0
        ]
        if late:
            self._end(late, TIMED_OUT, f"It took longer than {self._timeout:g} s.")
            self._propose()

    def _cancel(self) -> None:
        """End all that runs, and what was to run."""
        self._end([t for t in self.trials if not t.ended], CANCELLED, "It was interrupted.")

    def _end(self, trials: Sequence[Trial], state: str, why: str) -> None:
        """End trials; a thread can't be ended, so those that run take their worker's process along."""
        workers = {trial.worker for trial in trials if trial.state == RUNNING}
        futures = [self._futures.pop(t.number) for t in trials if t.number in self._futures]
        for trial in trials:
            trial.seconds = time.monotonic() - trial.began if trial.state == RUNNING else None
            trial.state, trial.error = state, why
        self._client.cancel(futures, force=True)
        if workers:
            threading.Thread(target=self._restart, args=(sorted(workers),), daemon=True).start()
        self._tell(trials)

    def _restart(self, workers: list[str]) -> None:
        """End the processes of workers; their nannies start others."""
        with contextlib.suppress(Exception):  # one that is gone needs no end
            self._client.run(trialplace.end_process, workers=workers, wait=False, on_error="ignore")
            end = time.monotonic() + _END_LIMIT
            while time.monotonic() < end and (left := self._client.nthreads().keys() & workers):
                time.sleep(_TURN)
            if left:  # what runs there does not let go of the interpreter
                self._client.restart_workers(sorted(left), timeout=_RESTART_LIMIT, raise_for_error=False)
