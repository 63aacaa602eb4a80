"""The names that a cell reads and binds, and what it needs of a notebook."""

from __future__ import annotations

import builtins
import dis
import keyword
import re
import subprocess
import sys
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_gpu_remote.variables.names import globals_of, names_of, needed

from ..names_cases import CELLS, NOTEBOOKS, Cell, Notebook
from ..names_programs import programs
from ..names_watched import NAMES, Chance, Watched

_IDENTIFIER = re.compile(r"[^\W\d]\w*")


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return the namespace of an empty notebook."""
    module = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", module)
    return vars(module)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Keep Python from warning of what random programs do."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def compiles(source: str) -> bool:
    try:
        compile(source, "<cell>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, MemoryError):
        return False
    return True


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.title)
def test_a_cell_reads_and_binds_what_it_should(cell: Cell) -> None:
    names = names_of(cell.source)
    assert names.reads == set(cell.reads.split())
    assert names.binds == set(cell.binds.split())


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.title)
def test_a_cell_needs_what_it_and_its_functions_read(notebook: Notebook, main: dict[str, Any]) -> None:
    exec(notebook.before, main)
    assert needed(notebook.source, main) == set(notebook.needs.split())


# -- against what really happens --------------------------------------------------------------------------


@pytest.mark.parametrize("cell", [c for c in CELLS if compiles(c.source)], ids=lambda cell: cell.title)
def test_a_cell_that_runs_looks_up_nothing_else(cell: Cell) -> None:
    known = {*dir(builtins), *keyword.kwlist, "_", "__", "_3", "_i", "In", "Out", "display", "get_ipython"}
    outer = sorted({*_IDENTIFIER.findall(cell.source)} - known - {"__name__", "__class__"})
    names = names_of(cell.source)
    for seed in range(20):
        namespace = Watched(Chance(seed), outer)
        namespace.watch()
        namespace.run(cell.source)
        assert namespace.looked_up <= names.reads
        assert "import *" in cell.source or namespace.changed() <= names.binds


def test_random_cells_look_up_nothing_else() -> None:
    for source in programs(1500):
        names = names_of(source)
        for seed in range(4):
            namespace = Watched(Chance(seed))
            namespace.watch()
            namespace.run(source)
            assert namespace.looked_up <= names.reads, source
            assert namespace.changed() <= names.binds, source


def test_random_cells_after_random_notebooks_look_up_nothing_else() -> None:
    befores = [*programs(200, "define klass bind assign")]
    for i, source in enumerate(programs(600)):
        for seed in range(3):
            namespace = Watched(Chance(seed))
            namespace.run(befores[i % len(befores)])
            namespace.watch()
            needs = needed(source, namespace)
            namespace.watch()
            namespace.run(source)
            assert namespace.looked_up <= needs, f"{befores[i % len(befores)]}\n# then\n{source}"


def test_random_cells_are_not_said_to_read_everything() -> None:
    said = really = 0
    for source in programs(400):
        said += len(names_of(source).reads & set(NAMES))
        looked_up: set[str] = set()
        for seed in range(8):
            namespace = Watched(Chance(seed))
            namespace.watch()
            namespace.run(source)
            looked_up |= namespace.looked_up
        really += len(looked_up)
    assert really > said / 2


def test_globals_of_code_are_those_that_dis_finds() -> None:
    def expected(code: types.CodeType) -> set[str]:
        loads = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"}
        found = {str(x.argval) for x in dis.get_instructions(code) if x.opname in loads}
        return found.union(*(expected(c) for c in code.co_consts if isinstance(c, types.CodeType)))

    for module in (dis, re, subprocess, types):
        code = compile(Path(module.__file__ or "").read_text(), "module", "exec")
        assert globals_of(code) == expected(code)


# -- large cells ------------------------------------------------------------------------------------------


def test_ten_thousand_names_are_all_found() -> None:
    source = "\n".join(f"b{i} = a{i}" for i in range(10_000))
    names = names_of(source)
    assert len(names.reads) == len(names.binds) == 10_000


def test_many_branches_of_many_names_are_walked() -> None:
    source = "\n".join(f"x{i} = y\nif x{i}:\n  z{i} = x{i - 1 if i else 0}" for i in range(2_500))
    assert names_of(source).reads == {"y"}


def test_a_long_sum_is_walked_to_its_end() -> None:
    assert names_of("x = first + " + "a + " * 400 + "last").reads == {"first", "a", "last"}


def test_a_long_chain_of_elif_is_walked_to_its_end() -> None:
    branches = "".join(f"elif x == {i}: y = {i}\n" for i in range(200))
    assert names_of(f"if x: y = 1\n{branches}else: y = last\ny").reads == {"x", "last"}


def test_a_long_chain_of_calls_is_followed_to_its_end() -> None:
    source = "".join(f"def f{i}(): return f{i + 1}()\n" for i in range(3_000))
    assert names_of(f"{source}f0()").reads == {"f3000"}


def test_a_long_chain_of_functions_of_the_notebook_is_followed_to_its_end(main: dict[str, Any]) -> None:
    exec("".join(f"def f{i}(): return f{i + 1}()\n" for i in range(3_000)) + "f3000 = print", main)
    assert len(needed("f0()", main)) == 3_001


def test_code_too_deep_to_walk_has_no_names() -> None:
    deep = "x = " + "[" * 90 + "a" + "]" * 90
    assert names_of(deep).reads == {"a"}
    assert names_of("x = " + "-" * 100_000 + "a").reads <= {"a"}
    assert names_of("x = " + "lambda: " * 2_000 + "a").reads <= {"a"}


def test_a_notebook_that_holds_itself_comes_to_an_end(main: dict[str, Any]) -> None:
    exec("k = 1\nx = [lambda: k]\nx.append(x)\nclass A: pass\nA.a = A()\nA.a.x = x", main)
    assert needed("A", main) == {"A", "k"}


def test_importing_does_not_import_ipython() -> None:
    code = "import sys, jupyter_gpu_remote.variables.names; print('IPython' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "False", done.stderr
