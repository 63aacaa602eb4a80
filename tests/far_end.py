"""A notebook here and a process that stands for its kernel over there, without a kernel or a machine."""

from __future__ import annotations

import linecache
import pickle
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import jupyter_gpu_remote
from jupyter_gpu_remote.variables import parcel, pickler
from jupyter_gpu_remote.variables.key import make_key
from jupyter_gpu_remote.variables.store import Store

_CHILD = """
import importlib, importlib.util, os, pickle, sys, traceback
from pathlib import Path

# as agent/launcher.py does: ours has another name there
folder = Path(sys.argv[1])
spec = importlib.util.spec_from_file_location(
    "_gpu_remote", folder / "__init__.py", submodule_search_locations=[str(folder)]
)
sys.modules["_gpu_remote"] = importlib.util.module_from_spec(spec)
parcel, pickler, store = (
    importlib.import_module(f"_gpu_remote.variables.{name}") for name in ("parcel", "pickler", "store")
)
key = Path(sys.argv[2]).with_name("store.key").read_bytes()
kept = store.Store(Path(sys.argv[2]), key)

pipe = os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)
while True:
    try:
        what, given = pickle.load(sys.stdin.buffer)
    except EOFError:
        break
    try:
        if what == "begin":
            main = sys.modules["__main__"] = type(sys)("__main__")
            answer = None
        elif what == "take":
            values, _ = parcel.open_parcel(parcel.Parcel.read(given, key), kept.get, vars(main))
            answer = vars(main).update(values)
        elif what == "give":
            pickled = pickler.dump({name: vars(main)[name] for name in given}, vars(main))
            wrapped, blobs = parcel.wrap(given, pickled, key)
            for name, data in blobs.items():
                kept.put(name, data)
            answer = wrapped.sign(key)
        elif what == "run":
            answer = exec(compile(given, "<there>", "exec"), vars(main))
        else:
            answer = eval(given, vars(main))
        answer = pickle.dumps((True, answer))
    except Exception:
        answer = pickle.dumps((False, traceback.format_exc()))
    pipe.write(answer)
    pipe.flush()
"""


class FarError(Exception):
    """Something failed over there."""


class Notebook:
    """The notebook here; its module has to be `__main__` meanwhile."""

    def __init__(self) -> None:
        self.main = ModuleType("__main__")
        self.variables = vars(self.main)
        self._cells = 0

    def run(self, source: str) -> None:
        """Run a cell."""
        self._cells += 1
        name = f"<cell {self._cells} of {id(self)}>"
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
        exec(compile(source, name, "exec", dont_inherit=True), self.variables)


class FarEnd:
    """A process with variables, as a kernel over there.

    Args:
        folder: For its store.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "store"
        self.key = make_key(folder / "store.key")
        self.store = Store(self._folder, self.key)
        package = str(Path(jupyter_gpu_remote.__file__).parent)
        self._process = subprocess.Popen(
            [sys.executable, "-c", _CHILD, package, str(self._folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def end(self) -> None:
        """End the process."""
        with self._process:
            assert self._process.stdin
            self._process.stdin.close()

    def begin(self, notebook: Notebook) -> None:
        """Begin again, with no variables, for another notebook."""
        self._notebook = notebook
        self._ask("begin")

    def send(self, *names: str) -> pickler.Pickled:
        """Send variables there, in one transfer."""
        variables = self._notebook.variables
        pickled = pickler.dump({name: variables[name] for name in names}, variables)
        wrapped, blobs = parcel.wrap(names, pickled, self.key)
        for name, data in blobs.items():
            self.store.put(name, data)
        self._ask("take", wrapped.sign(self.key))
        return pickled

    def fetch(self, *names: str) -> None:
        """Bring variables here."""
        given = parcel.Parcel.read(self._ask("give", names), self.key)
        variables = self._notebook.variables
        variables.update(parcel.open_parcel(given, self.store.get, variables)[0])

    def run(self, source: str) -> None:
        """Run code there."""
        self._ask("run", source)

    def __call__(self, expression: str) -> Any:
        """Return what an expression is there."""
        return self._ask("eval", expression)

    def _ask(self, what: str, given: Any = None) -> Any:
        assert self._process.stdin and self._process.stdout
        pickle.dump((what, given), self._process.stdin)
        self._process.stdin.flush()
        fine, answer = pickle.load(self._process.stdout)
        if not fine:
            raise FarError(answer)
        return answer
