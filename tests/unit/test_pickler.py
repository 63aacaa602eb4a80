"""Values that are pickled arrive as they were, or are named."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_gpu_remote.variables import blame, pickler, rebuild

from ..conftest import need
from ..far_end import FarEnd, FarError, Notebook
from ..pickler_cases import FRAMES, NUMPY, PYTHON, TORCH, Case


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarEnd]:
    end = FarEnd(tmp_path_factory.mktemp("machine"))
    yield end
    end.end()


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Notebook:
    notebook = Notebook()
    monkeypatch.setitem(sys.modules, "__main__", notebook.main)
    return notebook


@pytest.fixture
def there(process: FarEnd, here: Notebook) -> FarEnd:
    process.begin(here)
    return process


def need_packages(*packages: str) -> None:
    for package in packages:
        need(importlib.util.find_spec(package), f"{package}, to send what is its")


def dump(notebook: Notebook, *names: str, **options: Any) -> pickler.Pickled:
    return pickler.dump({name: notebook.variables[name] for name in names}, notebook.variables, **options)


def size(pickled: pickler.Pickled) -> int:
    return sum(memoryview(data).nbytes for data in (*pickled.segments, *pickled.buffers))


@pytest.mark.parametrize("case", PYTHON + NUMPY + FRAMES + TORCH, ids=lambda case: case.title)
def test_variables_are_the_same_there_and_back_again(here: Notebook, there: FarEnd, case: Case) -> None:
    need_packages(*case.needs.split())
    names = case.names.split()
    here.run(case.source)
    there.send(*names)
    assert there(f"bool({case.true})")
    there.fetch(*names)
    assert eval(case.true, here.variables)
    there.send(*names)
    assert there(f"bool({case.true})")


# -- functions and classes ----------------------------------------------------------------------------------


def test_a_function_sees_the_variables_over_there(here: Notebook, there: FarEnd) -> None:
    here.run("lr = 1\ndef f(): return lr")
    there.send("lr", "f")
    there.run("lr = 5")
    assert there("f()") == 5
    there.run("g = f")
    there.fetch("g")
    assert eval("g()", here.variables) == 1


def test_a_method_changes_the_variables_over_there(here: Notebook, there: FarEnd) -> None:
    here.run("n = 0\nclass A:\n    def up(self):\n        global n\n        n += 1\na = A()")
    there.send("n", "a")
    there.run("a.up()")
    assert there("n") == 1
    assert here.variables["n"] == 0


def test_a_class_is_one_class_over_several_transfers_and_back(here: Notebook, there: FarEnd) -> None:
    here.run("class A: pass\na, b = A(), A()\nkind = A")
    there.send("a", "A")
    there.send("b")
    assert there("type(a) is type(b) is A")
    there.run("c = A()")
    there.fetch("c")
    assert eval("type(c) is A is kind", here.variables)


def test_a_class_that_is_defined_again_is_another_one(here: Notebook, there: FarEnd) -> None:
    here.run("class A:\n    x = 1\na = A()")
    there.send("A", "a")
    here.run("class A:\n    x = 2\nb = A()")
    there.send("A", "b")
    assert there("(a.x, b.x, A.x, type(a) is A, type(b) is A)") == (1, 2, 2, False, True)


def test_a_method_that_is_put_into_a_class_arrives(here: Notebook, there: FarEnd) -> None:
    here.run("class A: pass\na = A()")
    there.send("a")
    here.run("A.f = lambda self: 3")
    there.send("a")
    assert there("a.f()") == 3


def test_classes_are_not_registered_twice(here: Notebook, there: FarEnd) -> None:
    here.run(
        "kinds = []\nclass A:\n    def __init_subclass__(cls, key):\n        kinds.append((key, cls))\n"
        "class B(A, key='b'): pass"
    )
    there.send("kinds", "B", "A")
    assert there("kinds == [('b', B)]")
    there.run("class C(A, key='c'): pass")
    assert there("[key for key, _ in kinds]") == ["b", "c"]


def test_objects_with_slots_have_no_dict_over_there_either(here: Notebook, there: FarEnd) -> None:
    here.run("class A:\n    __slots__ = 'x'\na = A()\na.x = 1")
    there.send("a")
    assert there("(a.x, hasattr(a, '__dict__'))") == (1, False)


def test_what_came_back_changes_nothing_in_others_of_its_class(here: Notebook, there: FarEnd) -> None:
    here.run(
        "import enum\nclass E(enum.Enum):\n    A = 1\n"
        "class A:\n    kind = E.A\n    def __init__(self, x: int = 1): self.x = x\n"
        "    @property\n    def y(self): return self.x + len('text')\na, b = A(), A()"
    )
    before = dump(here, "b").segments
    there.send("a")
    there.fetch("a")
    assert dump(here, "b").segments == before


def test_a_module_of_the_notebooks_folder_is_imported_over_there(
    here: Notebook, there: FarEnd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "helpers_of_a_test.py").write_text("seen = []\ndef f(x):\n    seen.append(x)\n    return x\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    here.run("import helpers_of_a_test as h\nfrom helpers_of_a_test import f\ndef g(x): return f(x)")
    there.run(f"import sys\nsys.path.insert(0, {str(tmp_path)!r})")
    there.send("h", "f", "g")
    try:
        assert there("g(3) == 3 and h.seen == [3] and f is h.f")
        assert here.variables["h"].seen == []
    finally:
        del sys.modules["helpers_of_a_test"]
        there.run("del sys.modules['helpers_of_a_test'], sys.path[0]")


def test_source_lines_are_there_for_tracebacks_and_inspect(here: Notebook, there: FarEnd) -> None:
    here.run("def fails(x):\n    return x / 0  # this line\n")
    there.send("fails")
    assert there("__import__('inspect').getsource(fails)").endswith("# this line\n")
    with pytest.raises(FarError, match="# this line"):
        there("fails(1)")


# -- memory -------------------------------------------------------------------------------------------------


def test_a_small_part_of_a_large_array_does_not_bring_it_along(here: Notebook) -> None:
    need_packages("numpy")
    here.run("import numpy as np\nlarge = np.zeros((1000, 1000))\npart = large[3]")
    assert size(dump(here, "part")) < 20_000


@pytest.mark.parametrize("package", ["numpy", "torch"])
def test_some_rows_of_a_large_table_do_not_bring_it_along(here: Notebook, package: str) -> None:
    need_packages(package)
    here.run(f"import {package}\nlarge = {package}.zeros((1000, 1000))\nrows = [large[i] for i in range(9)]")
    assert size(dump(here, "rows")) < 200_000


@pytest.mark.parametrize("package", ["numpy", "torch"])
def test_a_table_and_its_rows_go_once(here: Notebook, package: str) -> None:
    need_packages(package)
    here.run(f"import {package}\nlarge = {package}.zeros((1000, 100))\nrows = [large[i] for i in range(9)]")
    assert size(dump(here, "rows", "large")) < (810_000 if package == "numpy" else 410_000)


def test_a_map_of_a_file_arrives_as_an_array(here: Notebook, there: FarEnd, tmp_path: Path) -> None:
    need_packages("numpy")
    here.run(
        f"import numpy as np\na = np.memmap({str(tmp_path / 'map')!r}, mode='w+', shape=50_000)\na[:] = 7"
    )
    there.send("a")
    assert there("type(a).__name__, int(a.sum()), a.shape") == ("ndarray", 350_000, (50_000,))


def test_large_memory_is_not_copied_into_the_stream(here: Notebook) -> None:
    need_packages("numpy", "pandas", "torch")
    here.run(
        "import numpy as np, pandas as pd, torch\na = np.zeros(100_000)\nd = pd.DataFrame({'a': a})\n"
        "s = pd.Series(['text'] * 100_000)\nt = torch.nn.Linear(300, 300)\nv = a[::2]"
    )
    for name in "adstv":
        assert sum(map(len, dump(here, name).segments)) < 20_000, name


def test_what_was_on_a_gpu_arrives_on_the_cpu_where_there_is_none() -> None:
    need_packages("torch")
    import torch

    need(not torch.cuda.is_available(), "a machine without a GPU")
    memory = rebuild.storage(bytearray(torch.ones(4).numpy().tobytes()), "cuda:0")
    made = rebuild.tensor(memory, torch.float32, 0, (2, 2), (2, 1), False)
    assert made.device.type == "cpu"
    assert made.tolist() == [[1, 1], [1, 1]]


# -- what can't be ------------------------------------------------------------------------------------------

NAMED = [
    ("v = threading.Lock()", "v", "_thread.lock"),
    ("v = [1, {'a': (threading.Lock(),)}]", "v[1]['a'][0]", "_thread.lock"),
    ("class A: pass\nv = A()\nv.b = A()\nv.b.lock = threading.RLock()", "v.b.lock", "_thread.RLock"),
    (
        "class A:\n    __slots__ = ['__x']\n    def __init__(self): self.__x = threading.Lock()\nv = A()",
        "v._A__x",
        "_thread.lock",
    ),
    ("class A:\n    lock = threading.Lock()\nv = A()", "v.lock", "_thread.lock"),
    ("def f(): return (lambda lock: lambda: lock)(threading.Lock())\nv = f()", "v.<lock>", "_thread.lock"),
    ("def v(x=1, *, lock=threading.Lock()): pass", "v.__kwdefaults__['lock']", "_thread.lock"),
    ("import functools\nv = functools.partial(print, threading.Lock())", "v.args[0]", "_thread.lock"),
    (
        "class A:\n    def f(self): pass\nv = A().f\nv.__self__.lock = threading.Lock()",
        "v.__self__.lock",
        "_thread.lock",
    ),
    ("v = {threading.Lock(): 1}", "v.keys()[", "_thread.lock"),
    ("import collections\nv = collections.deque([threading.Lock()])", "v[0]", "_thread.lock"),
    ("v = (i for i in 'abc')", "v", "generator"),
    ("async def f(): pass\nv = [f()]\nv[0].close()", "v[0]", "coroutine"),
    ("v = {'log': open('/dev/null')}", "v['log']", "_io.TextIOWrapper"),
    ("v = open('/dev/null', 'rb')", "v", "_io.BufferedReader"),
    ("import socket\nv = socket.socket()", "v", "socket.socket"),
    ("v = threading.current_thread()", "v.", "_thread.lock"),
    ("import sqlite3\nv = [sqlite3.connect(':memory:')]", "v[0]", "sqlite3.Connection"),
    ("import subprocess\nv = subprocess.Popen(['true'])\nv.wait()", "v._waitpid_lock", "_thread.lock"),
    ("import concurrent.futures as c\nv = c.ThreadPoolExecutor()", "v.", "_queue.SimpleQueue"),
    ("class A:\n    def __reduce__(self): raise RuntimeError('not me')\nv = {'a': A()}", "v['a']", "A"),
    ("class A:\n    def __getstate__(self): raise ValueError('no')\nv = [A()]", "v[0]", "A"),
    (
        "class A:\n    def __getattr__(self, name): raise RuntimeError(name)\nv = [A(), threading.Lock()]",
        "v[",
        "",
    ),
    ("import weakref\nclass A: pass\na = A()\nv = [weakref.ref(a)]", "v[0]", "weakref.ReferenceType"),
    ("import sys\nv = [sys._getframe()]", "v[0]", "frame"),
    ("v = []\nfor _ in range(100_000): v = [v]", "v", "list"),
]  # fmt: skip
FRAMES_NAMED = [
    ("import numpy as np\nv = np.array([1, threading.Lock()], dtype=object)", "v[1]", "_thread.lock"),
    (
        "import pandas as pd\nv = pd.DataFrame({'a': [1, 2], 'b': [1, threading.Lock()]})",
        "v['b']",
        "_thread.lock",
    ),
    ("import torch\nv = {'loss': (torch.ones(1, requires_grad=True) * 2)}", "v['loss']", "torch.Tensor"),
    ("import torch\nv = torch.nn.Linear(1, 1)\nv.lock = threading.Lock()", "v.lock", "_thread.lock"),
]


@pytest.mark.parametrize(("source", "path", "kind"), NAMED + FRAMES_NAMED)
@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::ResourceWarning")
def test_what_cannot_be_pickled_is_named_by_path_and_type(
    here: Notebook, source: str, path: str, kind: str
) -> None:
    need_packages(*(name for name in ("numpy", "pandas", "torch") if f"import {name}" in source))
    here.run(f"import threading\n{source}")
    with pytest.raises(pickler.UnpicklableError) as caught:
        dump(here, "v")
    told = blame.path_to(caught.value.culprit, {"v": here.variables["v"]})
    assert told.startswith(path) and (told == path or path[-1] in ".[" or "[" in told)
    assert blame.type_name(caught.value.culprit).startswith(kind)


def test_what_is_hidden_is_not_said_to_be_the_variable_itself(here: Notebook) -> None:
    here.run(
        "import threading\nclass A:\n    def __reduce__(self): return A, (threading.Lock(),)\nv, w = A(), 1"
    )
    with pytest.raises(pickler.UnpicklableError) as caught:
        dump(here, "v")
    assert blame.path_to(caught.value.culprit, {"v": here.variables["v"]}) == "something in v"


def test_no_code_of_the_user_runs_to_find_a_path(here: Notebook) -> None:
    here.run(
        "import threading\nran = []\n"
        "class A:\n    def __getattr__(self, n): ran.append(n); raise KeyError(n)\n"
        "    def __repr__(self): ran.append('repr'); raise ValueError\nlock = threading.Lock()\n"
        "v = {A(): [A()], 'l': [lock]}\nran.clear()"
    )
    assert blame.path_to(here.variables["lock"], {"v": here.variables["v"]}) == "v['l'][0]"
    assert "__self__" not in here.variables["ran"] and "func" not in here.variables["ran"]


def test_a_stream_that_becomes_too_long_is_given_up_early(here: Notebook) -> None:
    class Costly:
        made = 0

        def __reduce__(self) -> Any:
            Costly.made += 1
            return bytes, (b"%d" % Costly.made * 1000,)

    here.variables["v"] = [Costly() for _ in range(10_000)]
    with pytest.raises(pickler.TooLargeError):
        dump(here, "v", limit=1_000_000)
    assert Costly.made < 1000


def test_an_array_of_two_gigabytes_is_pickled_without_a_copy(here: Notebook) -> None:
    need_packages("numpy")
    psutil = pytest.importorskip("psutil")
    need(psutil.virtual_memory().available > 6 << 30, "6 GB of memory")
    here.run("import numpy as np\na = np.zeros(2**31 + 8, 'u1')\na[-1] = 7")
    pickled = dump(here, "a")
    assert [buffer.nbytes for buffer in pickled.buffers] == [2**31 + 8]
    import numpy as np

    assert np.shares_memory(np.frombuffer(pickled.buffers[0], "u1"), here.variables["a"])
    loaded, _ = pickler.load(b"".join(pickled.segments), pickled.buffers, {})
    assert loaded["a"][-1] == 7


def test_a_reference_is_the_object_that_is_there_already(here: Notebook) -> None:
    here.run("class A: pass\na = A()\nb = [a, a]")
    reference = {id(here.variables["a"]): ("t", 3)}
    pickled = dump(here, "b", references=reference)
    known = object()
    loaded, _ = pickler.load(b"".join(pickled.segments), [], {}, lambda r: known if r == ("t", 3) else None)
    assert loaded["b"] == [known, known]
    with pytest.raises(pickler.LostReferenceError):
        pickler.load(b"".join(pickled.segments), [], {})


def test_only_what_can_be_found_again_is_a_thing(here: Notebook) -> None:
    here.run("class A: pass\nclass S:\n    __slots__ = ()\na, s = A(), S()\ndef f(): pass")
    things = [name for name in ("A", "a", "s", "f") if pickler.is_thing(here.variables[name])]
    assert things == ["a"]
    assert not any(map(pickler.is_thing, (1, "a", [], {}, {1}, sys)))
