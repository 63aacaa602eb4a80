"""A notebook here and a process that stands for its kernel over there, without a kernel or a machine."""

from __future__ import annotations

import base64
import linecache
import pickle
import subprocess
import sys
import uuid
from collections.abc import Sequence
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
Exchange = importlib.import_module("_gpu_remote.agent.exchange").Exchange

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
            exchange, answer = Exchange(vars(main)), None
        elif what == "take":
            answer = exchange.take(*given)
        elif what == "give":
            answer = exchange.give(given)
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
    """A process with the kernel's side of the exchange.

    Args:
        folder: For its store.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "store"
        self.key = make_key(folder / "store.key")
        self.store = Store(self._folder, self.key)
        package = str(Path(jupyter_gpu_remote.__file__).parent)
        self._process = subprocess.Popen(
            [sys.executable, "-c", _CHILD, package], stdin=subprocess.PIPE, stdout=subprocess.PIPE
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
        wrapped, blobs = parcel.wrap(names, pickled, self.key, uuid.uuid4().hex)
        for name, data in blobs.items():
            self.store.put(name, data)
        self.take([wrapped.sign(self.key)])
        return pickled

    def take(self, parcels: Sequence[dict[str, str]]) -> None:
        """Have parcels taken whose data is in the store."""
        self._ask("take", ({"store": str(self._folder), "take": parcels}, []))

    def fetch(self, *names: str) -> None:
        """Bring variables here."""
        answer = self._ask("give", {"store": str(self._folder), "give": list(names), "rate": 1e9})
        if "failed" in answer:
            raise FarError(answer["failed"])
        inline = {name: base64.b64decode(text) for name, text in answer["parts"].items()}

        def data(blobs: Sequence[str]) -> Any:
            return bytearray().join(inline[b] for b in blobs) if inline else self.store.get(blobs)

        given = parcel.Parcel.read(answer["given"], self.key)
        self._notebook.variables.update(parcel.open_parcel(given, data, self._notebook.variables)[0])

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
