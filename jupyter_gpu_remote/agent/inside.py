"""What is added to an ipykernel: the notebook's variables and packages come with the cell that needs them.

Runs in the kernel's process. A request that runs a cell may carry a ``gpu_remote`` in its content, and its
reply then has one too.
"""

from __future__ import annotations

import builtins
import sys
import uuid
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from ipykernel.ipkernel import IPythonKernel

if TYPE_CHECKING:
    from .exchange import Exchange
    from .imports import Packages

FIELD = "gpu_remote"


def remote_client() -> Any:
    """Return a `distributed.Client` whose workers are the GPUs of this notebook's machines, or else cores.

    The same one each time; workers have the notebook's packages and folder, and end with its kernel.
    """
    from .cluster import remote_client

    return remote_client()


class Kernel(IPythonKernel):  # type: ignore[misc]
    """An ipykernel whose cells bring variables along and give some back."""

    _exchange: Exchange | None = None
    _packages: Packages | None = None

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._instance = uuid.uuid4().hex
        self._own_python = sys.executable
        self._environments: dict[str, str] = {}
        builtins.remote_client = remote_client  # type: ignore[attr-defined]

    async def do_execute(self, code: str, silent: bool, *args: Any, **options: Any) -> dict[str, Any]:
        """Run a cell, after taking what it brings."""
        request = self.get_parent("shell")
        wish = request["content"].get(FIELD)
        if wish is None:
            reply: dict[str, Any] = await super().do_execute(code, silent, *args, **options)
            return reply
        try:
            if refused := self._prepare(wish, code) or self._take(wish, request["buffers"]):
                return self._not_run(refused)
        except KeyboardInterrupt:
            return self._not_run({"refused": "interrupted"})
        except Exception as e:  # without a reply the client would wait for ever
            return self._not_run({"refused": "failed", "text": f"{type(e).__name__}: {e}"})
        before = {name: id(value) for name, value in self.shell.user_ns.items()}
        reply = await super().do_execute(code, silent, *args, **options)
        reply[FIELD] = self._bound(wish, before, reply["status"] == "ok")
        if wish.get("give") and reply["status"] == "ok":
            try:
                reply[FIELD].update(self._its_exchange.give(wish))
            except KeyboardInterrupt:
                reply[FIELD]["failed"] = "it was interrupted"
            except Exception as e:
                reply[FIELD]["failed"] = f"{type(e).__name__}: {e}"
        return reply

    @property
    def _its_exchange(self) -> Exchange:
        from .exchange import Exchange  # the first cell should not wait for the pickler unless it needs it

        if self._exchange is None:
            self._exchange = Exchange(self.shell.user_ns)
        return self._exchange

    def _prepare(self, wish: dict[str, Any], code: str) -> dict[str, Any] | None:
        """Use the packages that the notebook needs; return why the cell can't be run, if it can't."""
        if wish.get("instance") not in (None, self._instance):
            return {"refused": "fresh"}
        key = wish.get("packages", "")
        if not key and self._packages is None:
            return None
        if "needs" in wish:
            from .packages import ensure

            state = ensure(wish["needs"], self._own_python, wish["folder"])
            if state.get("lacks"):
                return {"refused": "uv", "architecture": state["architecture"], "libc": state["libc"]}
            self._environments[key] = state["file"]
        if self._packages is None:
            from .imports import Packages

            self._packages = Packages()
        self._packages.activate(self._environments.get(key, ""), code)
        return None

    def _take(self, wish: dict[str, Any], parts: list[memoryview]) -> dict[str, Any] | None:
        """Take what a request brings; return why the cell can't be run, if it can't."""
        if wish.get("take"):
            from .exchange import Refused

            try:
                with self._packages.on_behalf() if self._packages else nullcontext():
                    self._its_exchange.take(wish, parts)
            except Refused as e:
                return {"refused": e.why, "text": str(e)}
        return None

    def _bound(self, wish: dict[str, Any], before: dict[str, int], succeeded: bool) -> dict[str, Any]:
        """Return what a cell has bound; only its source tells of a name bound to what it was bound to."""
        variables = self.shell.user_ns
        bound = {name for name, value in variables.items() if before.get(name) != id(value)}
        if succeeded:
            bound.update(name for name in wish.get("binds", ()) if name in variables)
        answer: dict[str, Any] = {
            "instance": self._instance,
            "assigned": sorted(bound),
            "deleted": sorted(before.keys() - variables.keys()),
        }
        if self._packages and self._packages.has_failed:
            answer["packages_failed"] = True
        if wish.get("versions"):
            from .imports import versions

            answer["versions"] = versions()
            answer["step"] = self._packages.step if self._packages else ""
        if wish.get("instance", "") is None:
            answer["names"] = list(variables)
        return answer

    def _not_run(self, why: dict[str, Any]) -> dict[str, Any]:
        """Return the reply to a request whose cell was not run; no error, which would end what waits."""
        reply = {"status": "ok", "execution_count": self.shell.execution_count, "payload": []}
        return {**reply, "user_expressions": {}, FIELD: {**why, "instance": self._instance}}
