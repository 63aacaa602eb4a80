"""With a cell goes what the machine lacks, and nothing that it has."""

from __future__ import annotations

import importlib.util
import sys
import weakref
from collections.abc import Collection
from pathlib import Path
from typing import Any, cast

import pytest

from jupyter_gpu_remote.errors import VariableError
from jupyter_gpu_remote.exchange import packing
from jupyter_gpu_remote.exchange.blobs import Blobs
from jupyter_gpu_remote.exchange.ledger import Ledger
from jupyter_gpu_remote.exchange.packing import Packer
from jupyter_gpu_remote.variables import parcel, pickler, store
from jupyter_gpu_remote.variables.names import needed
from jupyter_gpu_remote.variables.store import Store

from ..conftest import need
from ..far_end import Notebook

KEY = bytes(32)


class Kept:
    """What the machine keeps: stands for `Blobs`."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def lacking(self, names: Collection[str]) -> set[str]:
        return {name for name in names if name not in self.store}


class Pair:
    """A notebook, and its kernel over there, in this process."""

    def __init__(self, folder: Path) -> None:
        self.notebook = Notebook()
        self.here = self.notebook.variables
        self.there: dict[str, Any] = {"__name__": "__main__"}
        self.store = Store(folder, KEY)
        self.ledger = Ledger(self.here)
        self._objects: weakref.WeakValueDictionary[tuple[str, int], Any] = weakref.WeakValueDictionary()

    def run(self, source: str) -> None:
        """Run a cell here."""
        self.ledger.epoch += 1
        self.notebook.run(source)
        self.ledger.ran_here(source, True)

    def pack(self, source: str = "", asked: Collection[str] = (), auto: bool = True) -> packing.Packed:
        """Return what would go with a cell."""
        packer = Packer(self.here, self.ledger, cast(Blobs, Kept(self.store)), KEY)
        return packer.pack({*asked, *(needed(source, self.here) if auto else ())}, asked, auto)

    def remote(self, source: str, asked: Collection[str] = (), auto: bool = True) -> set[str]:
        """Run a cell over there; return the names of what went with it."""
        packed = self.pack(source, asked, auto)
        for name, data in packed.blobs.items():
            self.store.put(name, data)
        for one in packed.parcels:
            values, memo = parcel.open_parcel(one, self.store.get, self.there, self._object)
            self.there.update(values)
            for place, value in memo.items():
                if pickler.is_thing(value):
                    self._objects[one.transfer, place] = value
        before = {name: id(value) for name, value in self.there.items()}
        exec(compile(source, "<there>", "exec", dont_inherit=True), self.there)
        assigned = [name for name, value in self.there.items() if before.get(name) != id(value)]
        self.ledger.ran_there(assigned)
        self.ledger.entries.update({n: e for n, e in packed.entries.items() if n not in assigned})
        return set(packed.entries)

    def _object(self, reference: pickler.Reference) -> Any:
        try:
            return self._objects[reference]
        except KeyError:
            raise pickler.LostReferenceError(reference) from None


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pair:
    made = Pair(tmp_path / "store")
    monkeypatch.setitem(sys.modules, "__main__", made.notebook.main)
    return made


def need_packages(*packages: str) -> None:
    for package in packages:
        need(importlib.util.find_spec(package), f"{package}, to send what is its")


# -- whose is newer -----------------------------------------------------------------------------------------


def test_what_a_cell_reads_goes_once(pair: Pair) -> None:
    pair.run("a, b = [1], 2")
    assert pair.remote("a, b") == {"a", "b"}
    assert pair.remote("a, b") == set()


def test_an_assignment_there_is_newer_than_an_earlier_one_here(pair: Pair) -> None:
    pair.run("a = [1]")
    pair.remote("a = a + [2]")
    pair.run("other = 1")
    assert pair.remote("a") == set()
    assert pair.there["a"] == [1, 2]


def test_an_assignment_here_is_newer_than_an_earlier_one_there(pair: Pair) -> None:
    pair.run("a = [1]")
    pair.remote("a = a + [2]")
    pair.run("a = [3]")
    assert pair.remote("a") == {"a"}
    assert pair.there["a"] == [3]


def test_an_assignment_of_the_same_value_here_is_newer_too(pair: Pair) -> None:
    pair.run("a = 1")
    pair.remote("a = a + 1")
    pair.run("a = 1")
    pair.remote("a")
    assert pair.there["a"] == 1


@pytest.mark.parametrize("change", ["a.append(2)", "a[0].append(2)", "a[0][0] = 5"])
def test_a_change_in_place_is_noticed(pair: Pair, change: str) -> None:
    pair.run("a = [[1]]")
    pair.remote("a")
    pair.run(change)
    assert pair.remote("a") == {"a"}
    assert pair.there["a"] == pair.here["a"]


def test_a_change_in_place_of_a_large_array_is_noticed(pair: Pair) -> None:
    need_packages("numpy")
    pair.run("import numpy as np\na = np.zeros(5_000_000)")
    pair.remote("a")
    pair.run("a[4_999_999] = 7")
    assert pair.remote("a") == {"a"}
    assert pair.there["a"][-1] == 7


def test_what_was_changed_in_place_there_and_not_here_is_not_overwritten(pair: Pair) -> None:
    pair.run("a = [1]")
    pair.remote("a.append(2)")
    pair.run("b = 1")
    assert pair.remote("a, b") == {"b"}
    assert pair.there["a"] == [1, 2]


def test_a_change_whose_transfer_failed_is_sent_with_the_next_cell(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "_CHEAP", -1)
    pair.run("a = [1]")
    pair.remote("a")
    pair.run("a.append(2)")
    pair.pack("a")  # and what was packed is lost
    assert pair.remote("a") == {"a"}


def test_what_takes_long_to_compare_is_compared_once_while_nothing_runs_here(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "_CHEAP", -1)
    pair.run("class A:\n    def __reduce__(self): made.append(1); return A, ()\nmade, a = [], A()")
    pair.remote("a", auto=True)
    pair.run("pass")
    pair.remote("a")
    count = len(pair.here["made"])
    pair.remote("a")
    assert len(pair.here["made"]) == count


def test_a_name_that_was_deleted_here_stays_there(pair: Pair) -> None:
    pair.run("a = [1]")
    pair.remote("a")
    pair.run("del a")
    assert pair.remote("a") == set()
    pair.run("a = [2]")
    assert pair.remote("a") == {"a"}


def test_what_is_asked_for_goes_though_the_newest_is_there(pair: Pair) -> None:
    pair.run("a = [1]")
    pair.remote("a = [2]", auto=False)
    assert pair.remote("a", asked=["a"]) == {"a"}
    assert pair.there["a"] == [1]


def test_without_automatic_sending_only_what_is_asked_for_goes(pair: Pair) -> None:
    pair.run("x, y = 1, 2\ndef f(): return x + y\ng = {'f': f}")
    assert pair.remote("", asked=["g", "x"], auto=False) == {"g", "x"}


def test_another_machine_gets_everything(pair: Pair) -> None:
    pair.run("a = [1]\nb = a")
    pair.remote("a, b")
    pair.ledger.forget()
    assert pair.remote("a, b") == {"a", "b"}


# -- what goes along ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "made",
    [
        "f",
        "[f]",
        "{'a': (f,)}",
        "functools.partial(f)",
        "functools.lru_cache(f)",
        "A().m",
        "A()",
        "lambda: f()",
    ],
)
def test_what_functions_look_up_goes_along_wherever_they_are(pair: Pair, made: str) -> None:
    pair.run(
        "import functools\nx = 3\ndef h(): return x\ndef f(): return h()\n"
        f"class A:\n    def m(self): return f()\nv = {made}"
    )
    assert {"v", "h", "x"} <= pair.remote("v")


def test_what_a_function_looks_up_goes_again_when_it_changed(pair: Pair) -> None:
    pair.run("x = [1]\nd = {'f': lambda: x}")
    pair.remote("d")
    pair.run("x.append(2)")
    assert pair.remote("r = d['f']()") == {"x"}
    assert pair.there["r"] == [1, 2]


# -- sharing ------------------------------------------------------------------------------------------------


def test_names_that_share_objects_share_them_there(pair: Pair) -> None:
    pair.run("a = [1]\nb = {'a': a}\nc = (b,)\nd = [2]")
    packed = pair.pack("a, b, c, d")
    assert sorted(sorted(one.names) for one in packed.parcels) == [["a", "b", "c"], ["d"]]
    pair.remote("a, b, c, d")
    assert pair.there["c"][0]["a"] is pair.there["a"]


@pytest.mark.parametrize("package", ["numpy", "torch"])
def test_views_in_two_names_share_their_memory_there(pair: Pair, package: str) -> None:
    need_packages(package)
    pair.run(f"import {package}\na = {package}.zeros(100)\nv = a[3:7]")
    pair.remote("a, v")
    pair.there["a"][3] = 5
    assert pair.there["v"][0] == 5


def test_a_view_of_what_is_there_refers_to_it(pair: Pair) -> None:
    need_packages("numpy")
    pair.run("import numpy as np\na = np.zeros(1_000_000)")
    pair.remote("a")
    pair.run("v = a[::2]")
    assert sum(memoryview(data).nbytes for data in pair.pack("v").blobs.values()) < 10_000
    assert pair.remote("v") == {"v"}
    pair.there["a"][2] = 5
    assert pair.there["v"][1] == 5


def test_what_refers_to_something_there_gets_it_as_it_is_there(pair: Pair) -> None:
    pair.run("class Model: pass\nclass Opt: pass\nm = Model()\nm.w = 1")
    pair.remote("m.w = 99")
    pair.run("o = Opt()\no.m = m")
    assert "m" not in pair.remote("o")
    assert pair.there["o"].m is pair.there["m"]
    assert pair.there["m"].w == 99


def test_an_optimizer_that_is_made_later_changes_the_model_there(pair: Pair) -> None:
    need_packages("torch")
    pair.run("import torch\nmodel = torch.nn.Linear(2, 1)")
    pair.remote("with torch.no_grad(): model.weight.fill_(7)")
    pair.run("opt = torch.optim.SGD(model.parameters(), lr=1.0)")
    assert "model" not in pair.remote("opt")
    assert pair.there["opt"].param_groups[0]["params"][0] is pair.there["model"].weight
    assert pair.there["model"].weight[0, 0] == 7


def test_a_model_that_only_changed_its_mode_keeps_its_weights_and_optimizer_there(pair: Pair) -> None:
    need_packages("torch")
    pair.run("import torch\nmodel = torch.nn.Linear(2, 1)\nopt = torch.optim.SGD(model.parameters(), lr=1.0)")
    pair.remote("with torch.no_grad(): model.weight.fill_(7)\nopt")
    pair.run("_ = model.eval()")
    assert pair.remote("model") == {"model"}
    assert pair.there["opt"].param_groups[0]["params"][0] is pair.there["model"].weight
    assert pair.there["model"].weight[0, 0] == 7 and not pair.there["model"].training


def test_what_changed_here_goes_again_with_what_shares_it(pair: Pair) -> None:
    pair.run("class A: pass\na = A()\na.x = 1\nb = [a]")
    pair.remote("a, b")
    pair.run("a.x = 2")
    assert pair.remote("b") == {"a", "b"}
    assert pair.there["b"][0] is pair.there["a"] and pair.there["a"].x == 2


@pytest.mark.parametrize("asked", [True, False])
def test_no_old_object_is_referred_to(pair: Pair, asked: bool) -> None:
    pair.run("class A: pass\na = A()\na.x = 1")
    pair.remote("a")
    pair.run("a.x = 2\nb = [a]")
    pair.remote("b", asked=["b"] if asked else [], auto=not asked)
    assert pair.there["b"][0].x == 2


def test_what_comes_without_its_company_refers_to_it_all_the_same(pair: Pair) -> None:
    pair.run("class A: pass\na = A()")
    pair.remote("a")
    pair.run("b = [a]")
    assert pair.remote("", asked=["b"], auto=False) == {"b"}
    assert pair.there["b"][0] is pair.there["a"]


def test_a_lost_reference_is_noticed_and_everything_goes_again(pair: Pair) -> None:
    pair.run("class A: pass\na = [A()]")
    pair.remote("a.clear()")
    pair.run("b = [a[0]]")
    with pytest.raises(pickler.LostReferenceError):
        pair.remote("b")
    pair.ledger.forget()
    assert pair.remote("b") == {"b"}
    assert type(pair.there["b"][0]).__name__ == "A"


# -- limits -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("made", ["bytes(2000)", "[float(i) for i in range(300)]", "bytearray(2000)"])
def test_what_is_large_goes_only_when_it_is_asked_for(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, made: str
) -> None:
    monkeypatch.setattr(packing, "AUTO_LIMIT", 1000)
    pair.run(f"a = {made}")
    with pytest.raises(VariableError, match="needs a, which has") as caught:
        pair.pack("a")
    assert "--in a" in str(caught.value)
    assert pair.remote("a", asked=["a"]) == {"a"}
    assert pair.remote("a") == set()


def test_a_large_array_that_is_there_but_for_a_little_goes_by_itself(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_packages("numpy")
    monkeypatch.setattr(packing, "AUTO_LIMIT", 10_000_000)
    monkeypatch.setattr(store, "PIECE", 8_000_000)
    pair.run("import numpy as np\na = np.arange(3_000_000)")
    pair.remote("a", asked=["a"])
    pair.run("a[0] = 7")
    assert pair.remote("a") == {"a"}


def test_a_frame_with_a_new_column_takes_only_that_along(pair: Pair) -> None:
    need_packages("pandas")
    pair.run("import pandas as pd, numpy as np\nd = pd.DataFrame({'a': np.arange(500_000)})")
    pair.remote("d")
    pair.run("d['b'] = np.arange(500_000.0)")
    packed = pair.pack("d")
    new = {name: data for name, data in packed.blobs.items() if name not in pair.store}
    assert sum(memoryview(data).nbytes for data in new.values()) < 4_000_000 * 1.2


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ("a_token = 'x'", "a_token looks like a secret"),
        ("import os\nenv = [os.environ]", r"env\[0\] looks like a secret \(os._Environ\)"),
        ("key = ['ghp_' + 'a' * 36]", "key looks like a secret"),
    ],
)
def test_a_secret_goes_only_when_it_is_asked_for(pair: Pair, source: str, named: str) -> None:
    pair.run(source)
    (name,) = {"a_token", "env", "key"} & pair.here.keys()
    with pytest.raises(VariableError, match=named):
        pair.pack(name)
    assert pair.remote("", asked=[name], auto=False) == {name}
    assert pair.remote(name) == set()
    pair.run("_ = " + {"a_token": "(a_token := 'y')", "env": "env.append(1)", "key": "key.append(2)"}[name])
    with pytest.raises(VariableError, match=named):
        pair.pack(name)


def test_what_cannot_be_sent_is_named(pair: Pair) -> None:
    pair.run("import threading\nclass A: pass\na = [A()]\na[0].lock = threading.Lock()")
    with pytest.raises(VariableError, match=r"a can't be sent: a\[0\]\.lock is a _thread\.lock"):
        pair.pack("a")


def test_ten_thousand_names_go_in_a_few_parcels(pair: Pair) -> None:
    pair.here.update({f"v{i}": i for i in range(10_000)})
    source = "\n".join(f"v{i}" for i in range(10_000))
    packed = pair.pack(source)
    assert len(packed.entries) == 10_000 and len(packed.parcels) == 1 and len(packed.blobs) <= 2
    assert len(pair.remote(source)) == 10_000
    assert pair.there["v9999"] == 9999
    assert pair.remote(source) == set()
