"""Data kept under a keyed hash of its content: what is there need not travel again, nor can it be forged."""

from __future__ import annotations

import contextlib
import hmac
import itertools
import mmap
import os
import re
import secrets
import time
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

import zstandard
from blake3 import blake3

Data = bytes | bytearray | memoryview

PIECE = 256 << 20
"""Bytes of one blob at most. Smaller ones would have to be put together again."""
_MANY = 8 << 20
"""Bytes from which on it pays to hash on several cores."""
_PACKED = ".zst"
_NAME = re.compile("[0-9a-f]{64}")
_YOUNG = 3600.0
"""Seconds since its last use in which a blob is not thrown away: it may be about to be used."""


class MissingBlobError(LookupError):
    """A blob is not in the store."""


class ForgedBlobError(ValueError):
    """A blob is not what its name says: damaged, or made by somebody without the key."""


def pieces(data: Data) -> list[memoryview]:
    """Return `data` cut into what is kept as one blob each."""
    view = memoryview(data).cast("B")
    return [view[at : at + PIECE] for at in range(0, view.nbytes, PIECE)]


def name_of(data: Data, key: bytes) -> str:
    """Return the name of a blob: a hash of its content that only who has the key can make."""
    return blake3(
        data, key=key, max_threads=blake3.AUTO if memoryview(data).nbytes >= _MANY else 1
    ).hexdigest()


def signature(text: bytes, key: bytes) -> str:
    """Return what shows that somebody with the key wrote `text`."""
    return blake3(text, key=key).hexdigest()


def is_signed(text: bytes, said: str, key: bytes) -> bool:
    """Return whether `said` is the signature of `text`."""
    return hmac.compare_digest(signature(text, key).encode(), said.encode("utf-8", "replace"))


class Store:
    """A folder of blobs.

    Args:
        folder: Its place; made if need be.
        key: What names are made with.
    """

    def __init__(self, folder: Path, key: bytes) -> None:
        self.folder = folder
        self._key = key
        self._made: dict[tuple[str, ...], set[Path]] = {}
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def __contains__(self, name: str) -> bool:
        return any(path.exists() for path in self.paths(name))

    def file(self, name: str) -> Path:
        """Return the file of a blob that is here."""
        plain, packed = self.paths(name)
        return plain if plain.exists() else packed

    def replace(self, names: tuple[str, ...], blobs: Collection[str]) -> None:
        """Throw away what was made for an older value of variables: nobody asks for that again.

        Before anything is made for the new value: memory that has just been let go of is filled several times
        faster than other.

        Args:
            names: The variables.
            blobs: All that the new value needs, whether it is here or not.
        """
        used = {path for blob in blobs for path in self.paths(blob)}
        lacking = {path for blob in blobs if blob not in self for path in self.paths(blob)}
        older = self._made.get(names, set())
        self._made[names] = lacking | (older & used)
        for path in older - used:
            with contextlib.suppress(OSError):  # somewhere a file that is mapped can't be deleted
                path.unlink()

    def put(self, name: str, data: Data, packed: bool = False) -> None:
        """Keep a blob under its name; `packed` says that `data` is compressed."""
        for path in self.paths(name):
            with contextlib.suppress(FileNotFoundError):
                os.utime(path)
                return
        path = self.paths(name)[packed]
        new = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
        try:
            with new.open("wb", buffering=0) as file:
                new.chmod(0o600)
                left = memoryview(data).cast("B")
                while left:
                    left = left[file.write(left) :]
            new.replace(path)
        finally:
            new.unlink(missing_ok=True)

    def get(self, names: Sequence[str]) -> Data:
        """Return blobs in one piece of memory, which may be written to without changing what is kept.

        Raises:
            MissingBlobError: One is not here.
            ForgedBlobError: The content of one is not what its name says.
        """
        if len(names) == 1 and (data := self._mapped(names[0])) is not None:
            return data
        sizes = [self._size(name) for name in names]
        whole = bytearray(sum(sizes))
        ends = list(itertools.accumulate(sizes))
        with memoryview(whole) as view, ThreadPoolExecutor(2) as pool:
            rooms = [view[end - size : end] for size, end in zip(sizes, ends, strict=True)]
            list(pool.map(self._read, names, rooms))
            for room in rooms:
                room.release()
        return whole

    def _mapped(self, name: str) -> Data | None:
        """Return a blob that is kept as it is, without reading all of it into memory."""
        with contextlib.suppress(FileNotFoundError), self.paths(name)[0].open("rb") as file:
            os.utime(file.fileno())
            data: Data = bytearray()
            if os.fstat(file.fileno()).st_size:
                data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
            self._check(name, data)
            return data
        return None

    def _size(self, name: str) -> int:
        for path in self.paths(name):
            with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
                os.utime(file.fileno())
                if path.suffix != _PACKED:
                    return os.fstat(file.fileno()).st_size
                try:
                    size = zstandard.frame_content_size(file.read(18))  # a frame's header is no longer
                except zstandard.ZstdError:
                    size = -1
                if not 0 <= size <= PIECE:
                    self._forged(name)
                return size
        raise MissingBlobError(name)

    def _read(self, name: str, room: memoryview) -> None:
        plain, packed = self.paths(name)
        try:
            with plain.open("rb", buffering=0) as file:
                read = file.readinto(room)
        except FileNotFoundError:
            try:
                data = zstandard.ZstdDecompressor().decompress(packed.read_bytes(), PIECE)
                read, room[: len(data)] = len(data), data
            except FileNotFoundError:
                raise MissingBlobError(name) from None
            except (zstandard.ZstdError, ValueError):
                self._forged(name)
        if read != len(room):
            self._forged(name)
        self._check(name, room)

    def _check(self, name: str, data: Data) -> None:
        if name_of(data, self._key) != name:
            self._forged(name)

    def _forged(self, name: str) -> NoReturn:
        for path in self.paths(name):
            path.unlink(missing_ok=True)
        raise ForgedBlobError(f"the data under {name[:12]}… is not what was kept there")

    def trim(self, limit: int) -> None:
        """Throw away what was not used for longest, until at most `limit` bytes are kept, and all debris."""
        kept = []
        for path in self.folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                kept.append((path.stat().st_mtime, path.stat().st_size, path))
        total = sum(size for _, size, _ in kept)
        for used, size, path in sorted(kept):
            if used > time.time() - _YOUNG:
                break
            if total > limit or path.suffix == ".part":  # of a transfer that was cut
                path.unlink(missing_ok=True)
                total -= size

    def paths(self, name: str) -> tuple[Path, Path]:
        """Return where a blob is kept as it is, and where compressed."""
        if not _NAME.fullmatch(name):
            raise MissingBlobError(name)
        return self.folder / name, self.folder / (name + _PACKED)
