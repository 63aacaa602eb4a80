"""Keep the notebook's folder and its copy on the machine in step, losing nothing on either side."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from ..agent.changes import IN_THE_WAY
from ..agent.folder import Folder
from ..agent.manifest import Applied, Changes, Manifest, Outer
from ..agent.watch import watch
from ..errors import SyncError
from ..transport.base import Transport
from .carrier import Carrier
from .disk import clashing, is_rules, rules_above
from .movers import Progress, silent
from .plan import Pair, Plan, among, compare
from .record import Record
from .report import RemoteFolder, Report, sizes

_ROUNDS = 6
"""Rules first, conflicts set aside, a change in between: more rounds than these are somebody else writing."""


class FolderSync:
    """One local folder and its copy on one machine.

    A file changed on both sides is never overwritten: the local one keeps its name on both sides, the
    remote one gets ``name.remote-<time>``. Safe to use from several threads and processes.

    Args:
        local_root: The folder here.
        remote: The folder there.
        transport: Carries the files.
        remote_root: Absolute path of the folder there.
        state_file: Where both sides are remembered as they were when in step; its folder must exist.
        progress: Told bytes done, bytes in all and what is going on.
    """

    def __init__(
        self,
        local_root: Path,
        remote: RemoteFolder,
        transport: Transport,
        remote_root: str,
        state_file: Path,
        progress: Progress | None = None,
    ) -> None:
        self._root = local_root.resolve()
        self._watch = watch(str(self._root))
        self._local = Folder(self._root, self._watch)
        self._remote = remote
        self._carrier = Carrier(transport, self._root, remote_root, progress or silent)
        self._record = Record(state_file)
        self._ident = ""
        self._lock = threading.Lock()
        self._outer: Outer = ()
        self._here = Manifest()
        self._there = Manifest()
        self._here_unknown = True
        self._there_unknown = True
        self._push_due = True
        self._pull_due = True
        self._hopeless: dict[str, Pair] = {}
        self._again: set[str] = set()
        self._told: set[tuple[str, str]] = set()

    def push(self) -> Report:
        """Bring over there what changed here; costs microseconds when nothing did.

        Raises:
            SyncError: A disk is full, or a folder cannot be used.
            ConnectionLostError: The connection broke; the next push resumes.
        """
        if not self._push_due and not self._local.changed():
            return Report()
        with self._lock:
            ident, self._ident = self._ident, ""
            if ident and ident == self._expected():
                self._push_due = False
                return Report()
            self._push_due = True
            report = self._run(outward=True)
            self._push_due = False
        return report

    def expects(self) -> str:
        """Return the id that the folder there must have for the first push to have nothing to do.

        Empty when there is something to push. It is only asked whether the folder here is as it was when both
        were in step: then there is nothing to push, whatever the other one holds.
        """
        with self._lock:
            return self._expected()

    def meet(self, ident: str, in_step: bool) -> None:
        """Take note of the id of the folder there, and whether it was found to be what `expects` said."""
        with self._lock:
            self._ident = ident
            self._push_due = self._push_due and not in_step

    def _expected(self) -> str:
        with self._record.held():
            self._look_here(rules_above(self._root), anew=True)
            was = {path: here for path, (here, _) in self._record.pairs.items() if here}
            return self._record.ident if was == self._here.entries else ""

    def pull(self) -> Report:
        """Bring here what changed there; costs microseconds when nothing did.

        Raises: As for `push`.
        """
        if not self._pull_due:
            return Report()
        with self._lock:
            # first, so that a change over there in the meantime is not forgotten
            self._pull_due = False
            try:
                return self._run(outward=False)
            except BaseException:
                self._pull_due = True
                raise

    def pending(self) -> tuple[dict[str, int | None], dict[str, int | None]]:
        """Return what a push would send and a pull would bring: paths with sizes, None for what was deleted.

        Raises: As for `push`.
        """
        with self._lock, self._record.held():
            self._look(True, outward=True)
            plan = self._plan()
            here, there = self._here.entries, self._there.entries
            return sizes([*plan.out, *plan.both], here), sizes([*plan.back, *plan.both], there)

    def remote_changed(self) -> None:
        """Note that something changed over there; called when the agent says so."""
        self._there_unknown = True
        self._pull_due = True

    def close(self) -> None:
        """Stop watching."""
        self._watch.close()

    def _run(self, outward: bool) -> Report:
        report = Report()
        crossing, tried = set[str](), set[str]()
        self._again.clear()
        with self._record.held() as anew:
            for _ in range(_ROUNDS):
                self._look(anew, outward)
                plan = self._plan()
                anew = True
                if plan.both:
                    crossing |= self._set_aside(plan.both, report)
                    continue
                out, back = self._worth(plan.out), self._worth(plan.back)
                # a conflict crosses both ways, whichever way this run goes
                if outward:
                    self._pull_due = self._pull_due or bool(back)
                    back = among(back, crossing)
                else:
                    self._push_due = self._push_due or bool(out)
                    out = among(out, crossing)
                rules = {p for p in (*out, *back) if is_rules(p) and p not in tried}
                if rules:
                    # first: what new rules leave out must not look as if it were deleted
                    tried |= rules
                    out, back = [p for p in out if p in rules], [p for p in back if p in rules]
                else:
                    # rules that could not travel leave the sides at odds about what is ignored
                    if any(map(is_rules, plan.out)):
                        out = [p for p in out if p in self._here.entries]
                    if any(map(is_rules, plan.back)):
                        back = [p for p in back if p in self._there.entries]
                late = self._move(True, out, report) | self._move(False, back, report)
                arrived = {*report.sent, *report.received}
                report.kept += [p for p in plan.kept if p in arrived]
                if not rules and not late:
                    break
            else:
                raise SyncError(
                    "Files keep changing on both sides while they are synced.",
                    hint="Wait for the cell that writes them, then push or pull again.",
                )
            self._name_refused(report)
        return report

    def _look(self, anew: bool, outward: bool) -> None:
        """Bring what we know of both sides up to date, as far as it is not."""
        outer = rules_above(self._root)
        anew = anew or outer != self._outer
        self._look_here(outer, anew)
        if anew or self._there_unknown:
            self._there_unknown = False
            self._pull_due = self._pull_due or outward
            try:
                self._there = self._remote.scan(outer)
            except BaseException:
                self._there_unknown = True
                raise
        self._record.begin(self._there.ident)
        if not self._here.entries and len(self._record.pairs) > 1:
            # more likely a disk that is not mounted than a wish to delete everything
            self._record.forget()

    def _look_here(self, outer: Outer, anew: bool) -> None:
        self._outer = outer
        if anew or self._here_unknown or self._local.changed():
            self._here_unknown = self._push_due = True
            try:
                self._here = self._local.scan(outer)
            except OSError as e:
                raise SyncError(
                    f"The folder {self._root} cannot be read: {e.strerror}.",
                    hint="Put it back; nothing was changed on the machine.",
                ) from e
            self._here_unknown = False

    def _plan(self) -> Plan:
        here, there = self._here, self._there
        unknown = {*here.refused, *there.refused, *here.skipped, *there.skipped}
        plan = compare(here.entries, there.entries, self._record.pairs, unknown)
        for path in plan.same:
            self._record.set(path, here.entries.get(path), there.entries.get(path))
        alike = [
            p for p in plan.both if here.entries[p][:2] == there.entries[p][:2] == ("f", here.entries[p].size)
        ]
        if alike:
            ours, theirs = self._local.digest(alike), self._remote.digest(alike)
            for path in [p for p in alike if p in ours and ours[p] == theirs.get(p)]:
                self._record.set(path, here.entries[path], there.entries[path])
                plan.both.remove(path)
        plan.both = self._worth(plan.both)
        return plan

    def _worth(self, paths: Iterable[str]) -> list[str]:
        """Return `paths` without those refused before that have not changed since."""
        return sorted(p for p in paths if self._hopeless.get(p) != self._pair(p))

    def _pair(self, path: str) -> Pair:
        return self._here.entries.get(path), self._there.entries.get(path)

    def _set_aside(self, paths: Collection[str], report: Report) -> set[str]:
        """Give the remote one of each conflict its other name, over there; return both names."""
        stamp = time.strftime("%Y%m%d-%H%M%S")
        names = {path: f"{path}.remote-{stamp}" for path in paths}
        there = self._there.entries
        applied = self._remote.apply(Changes(rename={p: (new, there[p]) for p, new in names.items()}))
        for path in applied.now:
            self._record.set(path, None, None)
            report.conflicts[path] = names[path]
        self._refuse(applied.refused, report)
        return {*applied.now, *(names[path] for path in applied.now)}

    def _move(self, outward: bool, paths: Collection[str], report: Report) -> set[str]:
        """Bring `paths` to the other side; return those that changed in the meantime."""
        clashes = {} if outward else clashing(self._root, paths, self._here.entries)
        paths = [p for p in paths if p not in clashes]
        source, target = (self._here, self._there) if outward else (self._there, self._here)
        made = {p: source.entries[p] for p in paths if p in source.entries}
        free = self._there.free if outward else self._local.free()
        content = self._carrier.carry(outward, made, self._local if outward else self._remote, free)
        applied = Applied()
        if paths:
            applied = (self._remote if outward else self._local).apply(
                Changes(
                    remove={p: target.entries[p] for p in paths if p not in made},
                    make={p: (entry, target.entries.get(p)) for p, entry in made.items()},
                    content=content,
                )
            )
        for path, now in applied.now.items():
            was, wanted = target.entries.pop(path, None), made.get(path)
            if now:
                target.entries[path] = now
            self._record.set(path, *self._pair(path))
            if wanted is None and was and was.kind != "d":
                report.deleted.append(path)
            elif wanted and wanted.kind != "d":
                (report.sent if outward else report.received).append(path)
                report.bytes += wanted.size
        return self._refuse({**applied.refused, **clashes}, report)

    def _refuse(self, refused: Mapping[str, str], report: Report) -> set[str]:
        """Give up on what is refused; return what only changed in the meantime, and gets one more try."""
        late = {p for p, why in refused.items() if why == IN_THE_WAY} - self._again
        self._again |= late
        for path in refused.keys() - late:
            self._hopeless[path] = self._pair(path)
            report.refused[path] = refused[path]
        return late

    def _name_refused(self, report: Report) -> None:
        """Add to the report what a side could not tell of, once in the life of this object."""
        for path, why in (*self._here.refused.items(), *self._there.refused.items()):
            if (path, why) not in self._told:
                self._told.add((path, why))
                report.refused[path] = why
