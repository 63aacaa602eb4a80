"""Notebooks as people write them end alike, whether their cells run here or by turns here and over there."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import need
from tests.notebooks import Notebook, Ran, notebook

TUTORIALS = sorted((Path(__file__).parent / "tutorials").glob("*.py"))
NEEDED = {
    "digits": ("sklearn", "matplotlib"),
    "training": ("torch", "matplotlib"),
    "frames": ("pandas", "matplotlib"),
    "animation": ("matplotlib",),
    "monte_carlo": ("numpy",),
}
"""Packages that a notebook needs beyond the standard library."""

_MAGIC = "__import__('jupyter_gpu_remote.magic').magic.cells().local.ledger"
_NAMES = "__import__('jupyter_gpu_remote.variables.names', fromlist=['names'])"


@dataclass(frozen=True)
class Cell:
    """A cell of a notebook.

    Attributes:
        source: What is in it.
        changes: The names whose objects it changes in place, which its author knows.
    """

    source: str
    changes: tuple[str, ...] = ()


@dataclass
class Course:
    """What a notebook gave from its first cell to its last.

    Attributes:
        outputs: Of each cell, as text.
        results: Its variable `results`.
        told: Names that had to be fetched, as the magic says.
        known: Names that had to be fetched, as only the author knows.
    """

    outputs: list[Any] = field(default_factory=list)
    results: Mapping[str, Any] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)
    known: list[str] = field(default_factory=list)


def cells_of(file: Path) -> list[Cell]:
    """Return the cells of a notebook in the percent format."""
    parts = re.split(r"^# %%(.*)\n", file.read_text(), flags=re.MULTILINE)[1:]
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return [Cell(source.strip(), tuple(re.findall(r"\w+", head)[1:])) for head, source in pairs]


def is_remote(number: int, parity: int | None) -> bool:
    """Return whether a cell runs over there; none does where there is no parity."""
    return parity is not None and number % 2 == parity


def run(book: Notebook, cells: Sequence[Cell], parity: int | None) -> Course:
    """Run a notebook, with ``%%remote`` on top of every second cell, as somebody does who knows it."""
    course = Course()
    changed: set[str] = set()
    for number, cell in enumerate(cells):
        if is_remote(number, parity):
            ran = book.remote(cell.source)
            changed |= set(cell.changes)
        else:
            if parity is not None:
                fetch(book, cell.source, changed, course)
            ran = run_here(book, cell.source, course)
        assert not ran.error, f"cell {number}: {cell.source}\n{ran.error}"
        course.outputs.append(seen(ran))
    fetch(book, "results", changed, course)
    course.results = json.loads(run_here(book, "import json; print(json.dumps(results))", course).text)
    return course


def fetch(book: Notebook, source: str, changed: set[str], course: Course) -> None:
    """Fetch what a cell needs and the machine has newer."""
    while True:
        reads = f"{_NAMES}.names_of({source!r}).reads | {_NAMES}.needed({source!r}, globals())"
        newer = look(book, f"[n for n in {reads} if {_MAGIC}.is_there(n)]")
        known = changed if changed & set(look(book, f"list({reads})")) else set()
        if not (names := sorted({*newer, *known})):
            return
        ran = book.run(f"%remote get {' '.join(names)}")
        assert not ran.error, f"for {source}\n{ran.error}"
        course.told += newer
        course.known += sorted(known - set(newer))
        changed.difference_update(names)


def look(book: Notebook, expression: str) -> list[str]:
    """Return the value of an expression in the local kernel, which does not count as a cell."""
    asked = book.run("", silent=True, user_expressions={"it": expression}).reply["user_expressions"]["it"]
    assert asked["status"] == "ok", asked
    value: list[str] = ast.literal_eval(asked["data"]["text/plain"])
    return value


def run_here(book: Notebook, source: str, course: Course) -> Ran:
    """Run a cell here, again where its error says what to fetch."""
    ran = book.run(source)
    while told := re.search(r"`%remote get (\w+)`", ran.error):
        course.told.append(told[1])
        assert not book.run(f"%remote get {told[1]}").error
        ran = book.run(source)
    return ran


def seen(ran: Ran) -> Any:
    """Return what a cell shows: its text, its result and its pictures."""
    # what is displayed under an id is the line that tells of the machine
    shown = [content["data"] for content in ran.of("display_data") if not content.get("transient")]
    results = [content["data"]["text/plain"] for content in ran.of("execute_result")]
    return [ran.text, *results, *(data.get("image/png", data["text/plain"]) for data in shown)]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Path, Course]]:
    """Give what the notebooks give that were run here alone."""
    yield {}


@pytest.mark.parametrize("parity", [1, 0], ids=["here first", "there first"])
@pytest.mark.parametrize("file", TUTORIALS, ids=lambda file: file.stem)
def test_a_notebook_run_by_turns_ends_as_it_does_here(
    file: Path, parity: int, here: dict[Path, Course], tmp_path: Path, record_property: Any
) -> None:
    for package in NEEDED.get(file.stem, ()):
        need(importlib.util.find_spec(package), package)
    cells = cells_of(file)
    for kind in (None, parity):
        folder = tmp_path / f"parity {kind}"
        folder.mkdir()
        if kind is None and file in here:
            continue
        with notebook(folder) as book:
            course = run(book, cells, kind)
        here.setdefault(file, course)
    record_property("told", course.told)
    record_property("known", course.known)
    assert course.results == here[file].results
    assert course.outputs == here[file].outputs
