"""What goes with a cell, and comes back after it: variables, and the packages that the notebook needs."""

from __future__ import annotations

import base64
import functools
import importlib
from collections.abc import Callable, Collection, Mapping, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from ..errors import GpuRemoteError, VariableError
from ..variables.names import names_of, needed, without_own
from .ledger import Ledger

if TYPE_CHECKING:
    from ..environment import Needs
    from ..variables.store import Data
    from .blobs import Blobs
    from .packing import Packed, Packer

_REFUSALS = 3
"""How often in a row a cell is packed and sent again."""
_NEAR = 1e9
"""Bytes a second, on a machine itself: too fast to compress anything for."""
_STORE_LIMIT = 5 << 30
"""Bytes that may be kept here of what came back and was not used lately."""


@dataclass
class Outgoing:
    """What goes with one cell.

    Attributes:
        wish: For the ``gpu_remote`` of the request.
        parts: Data that goes with it.
        packed: The variables, if there are any.
        so_far: What has happened when a variable does not come back, to begin a sentence with.
    """

    wish: dict[str, Any]
    parts: Sequence[Data] = ()
    packed: Packed | None = None
    so_far: str = ""


def alone(source: str, namespace: Mapping[str, Any]) -> Outgoing | None:
    """Return what goes with a cell that takes no variables along; None when it does."""
    if needed(source, namespace):
        return None
    return Outgoing({"instance": None, "binds": sorted(names_of(source).surely)})


class Exchange:
    """The variables of a notebook and of its kernel over there.

    Args:
        namespace: The notebook's variables here.
        ledger: Which end has the newest of each; outlives a connection.
        open_blobs: Gives the data of variables over there; called when there is something to send or fetch.
        folder: Where that lies over there.
        key: The machine's key.
        cwd: The notebook's folder over there.
        bring_uv: Brings uv there, for an architecture and a C library.
        distrusted: Returns why nothing is taken from the machine; nothing when it is trusted.
    """

    def __init__(
        self,
        namespace: MutableMapping[str, Any],
        ledger: Ledger,
        open_blobs: Callable[[], Blobs],
        folder: str,
        key: bytes,
        cwd: str,
        bring_uv: Callable[[str, str], None],
        distrusted: Callable[[], str],
    ) -> None:
        self.ledger = ledger
        self._namespace = namespace
        self._open_blobs = open_blobs
        self._folder = folder
        self._key = key
        self._cwd = cwd
        self._bring_uv = bring_uv
        self._told: set[str] = set()
        self._distrusted = distrusted
        self._instance: str | None = None
        self._refusals = 0

    @functools.cached_property
    def _blobs(self) -> Blobs:
        return self._open_blobs()

    def _packer(self) -> Packer:
        from .packing import Packer  # the pickler takes a moment to import

        return Packer(self._namespace, self.ledger, self._blobs, self._key)

    @property
    def moved(self) -> int:
        """Bytes of data that have travelled, apart from small variables."""
        return self._blobs.moved

    # -- out ------------------------------------------------------------------------------------------

    def pack(
        self,
        source: str,
        put: Sequence[str] = (),
        get: Sequence[str] = (),
        auto: bool = True,
        needs: Callable[[Collection[str]], Needs | None] = lambda modules: None,
    ) -> Outgoing:
        """Return what is to go with a cell, after bringing there what is too large for that.

        Args:
            source: The cell.
            put: Variables to send whatever their size.
            get: Variables to bring back after the cell.
            auto: Whether to send what the cell reads.
            needs: Returns the packages that the notebook needs, given modules that its variables need.

        Raises:
            VariableError: A variable can't travel; nothing has run.
            TransportError: The machine does not answer.
        """
        if get and (why := self._distrusted()):
            raise VariableError(why, hint="`%remote trust` if the machine is your own.")
        if absent := [name for name in put if name not in self._namespace]:
            raise VariableError(f"There is no variable {', '.join(absent)} here.", hint="Check the name.")
        names = set(put) | (needed(source, self._namespace) if auto else set())
        wish: dict[str, Any] = {"instance": self._instance, "store": self._folder}
        if surely := names_of(source).surely:
            wish["binds"] = sorted(surely)
        outgoing = Outgoing(wish, so_far="The cell has run, but " if source else "")
        if names:
            self._add(outgoing, names, put, auto)
        if get:
            wish.update(give=list(get), rate=self._blobs.rate, **self._here(outgoing))
        if wanted := needs(outgoing.packed.modules if outgoing.packed else ()):
            wish["packages"] = wanted.key
            if wanted.key not in self._told:
                wish.update(needs=asdict(wanted), folder=self._cwd)
        return outgoing

    def lend(self, names: Sequence[str]) -> Outgoing:
        """Return what has the kernel lend variables to another kernel of its machine, through its store."""
        lending = {"give": list(names), "rate": _NEAR, "current": [], "same": []}
        return Outgoing({"instance": self._instance, "store": self._folder, **lending})

    @property
    def is_new(self) -> bool:
        """Whether the kernel has not said yet which variables it has."""
        return self._instance is None

    def _here(self, outgoing: Outgoing) -> dict[str, Any]:
        """Return what is known to be here, for what comes back to go with it."""
        packer = self._packer()
        sent = outgoing.packed.entries.keys() if outgoing.packed else set()
        return {
            "current": [name for name in self._namespace if not self.ledger.is_there(name)],
            "same": sorted({*packer.same(), *sent}),
        }

    def _add(self, outgoing: Outgoing, names: set[str], asked: Sequence[str], follow: bool) -> None:
        from ..variables.parcel import INLINE
        from .blobs import size_of

        packed = self._packer().pack(names, asked, follow)
        if not packed.parcels:
            return
        outgoing.packed = packed
        outgoing.wish["take"] = [one.sign(self._key) for one in packed.parcels]
        if sum(map(size_of, packed.blobs.values())) <= INLINE:
            outgoing.parts = list(packed.blobs.values())
        else:
            self._blobs.push(packed.blobs)

    # -- back -----------------------------------------------------------------------------------------

    def settle(self, outgoing: Outgoing, reply: Mapping[str, Any]) -> bool:
        """Take note of what the kernel says of the variables, and take those that it gives.

        Args:
            outgoing: What went with the cell.
            reply: The content of the execute reply.

        Returns:
            Whether all is well; otherwise the cell was not run, and is to be packed and sent again.

        Raises:
            VariableError: The kernel could not take or give a variable.
            KeyboardInterrupt: It was interrupted before the cell began.
        """
        answer = reply.get("gpu_remote")
        if answer is None:
            return True
        if refused := answer.get("refused"):
            self._refusals += 1
            self._refused(refused, answer)
            return False
        self._refusals = 0
        if self._instance != answer["instance"]:
            self._instance = answer["instance"]
            self.ledger.ran_there(
                name for name in without_own(answer.get("names", ())) if name not in self._namespace
            )
        if answer.get("packages_failed"):
            self._told.clear()  # the next cell has them tried again
        elif "packages" in outgoing.wish:
            self._told.add(outgoing.wish["packages"])
        self.ledger.ran_there(without_own(answer["assigned"]))
        self.ledger.deleted_there(answer["deleted"])
        if outgoing.packed:
            for name, entry in outgoing.packed.entries.items():
                if name not in answer["assigned"]:
                    self.ledger.entries[name] = entry
        if failed := answer.get("failed"):
            listed = ", ".join(outgoing.wish["give"])
            raise VariableError(
                f"{outgoing.so_far}{listed} did not come back: {failed}.",
                hint=f"Once it can be had there: `%remote get {' '.join(outgoing.wish['give'])}`.",
            )
        if "given" in answer:
            self._take(outgoing, answer)
        return True

    def _refused(self, why: str, answer: Mapping[str, Any]) -> None:
        if why == "interrupted":
            raise KeyboardInterrupt
        if why == "uv" and self._refusals <= _REFUSALS:
            self._bring_uv(answer["architecture"], answer["libc"])
            return
        if why == "failed" or self._refusals > _REFUSALS:
            raise VariableError(
                f"The cell was not run: {answer.get('text') or why}.",
                billed="The machine still runs.",
                hint="Run it again; `%remote restart` gives a fresh kernel, `%remote logs` tells more.",
            )
        # another kernel, or what it was believed to have is gone: what is known of it is wrong
        self.ledger.forget()
        self._told.clear()
        if "_blobs" in self.__dict__:
            self._blobs.forget()
        self._instance = answer["instance"] if why == "fresh" else self._instance

    def _take(self, outgoing: Outgoing, answer: Mapping[str, Any]) -> None:
        from ..variables import parcel, store

        said = outgoing.so_far + ", ".join(outgoing.wish["give"])
        try:
            given = parcel.Parcel.read(answer["given"], self._key)
            inline = {n: base64.b64decode(text) for n, text in answer["parts"].items()}
            if any(store.name_of(data, self._key) != name for name, data in inline.items()):
                raise store.ForgedBlobError("its data is not what it should be")
            if not inline:
                self._blobs.here.trim(_STORE_LIMIT)
                for name, data in self._packer().lend(given.blobs).items():
                    self._blobs.here.put(name, data)
                # what the machine calls its files is not signed: only names that the parcel has
                expected = {path.name for blob in given.blobs for path in self._blobs.here.paths(blob)}
                self._blobs.here.replace(given.names, given.blobs)
                self._blobs.pull({f: size for f, size in answer["files"].items() if f in expected})

            fetched: list[tuple[Sequence[str], Data]] = []

            def fetch(blobs: Sequence[str]) -> Data:
                data = bytearray().join(inline[b] for b in blobs) if inline else self._blobs.here.get(blobs)
                fetched.append((blobs, data))
                return data

            values, memo = parcel.open_parcel(given, fetch, self._namespace)
        except (parcel.UnsignedError, store.ForgedBlobError) as e:
            raise VariableError(f"{said} was refused: {e}.") from None
        except OSError as e:
            raise VariableError(f"{said} can't be kept here: {e.strerror}.") from None
        except GpuRemoteError:
            raise
        except Exception as e:  # whatever the classes of the user's values raise
            raise VariableError(
                f"{said} can't be made here: {type(e).__name__}: {e}.",
                hint="The variables are still over there; a package that they need may be missing here.",
            ) from e
        self._namespace.update(values)
        for name, (module, path) in answer["imports"].items():
            with suppress(Exception):  # it may not be installed here, and not be needed either
                found = importlib.import_module(module)
                self._namespace[name] = attrgetter(path)(found) if path else found
                self.ledger.entries.pop(name, None)
        # the other end has what came, whatever has become of it here meanwhile: that need not be hashed again
        hashed = {place: blobs for blobs, data in fetched if (place := parcel.place_of(data))}
        packer = self._packer()
        for name in given.names:
            self.ledger.entries[name] = packer.known(name, memo, given.transfer, hashed)
