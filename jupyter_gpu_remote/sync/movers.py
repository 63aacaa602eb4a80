"""How files travel: rsync, or a tar stream where there is none. Both end in `INCOMING`, complete.

A mover moves the content of plain files and nothing else; names, links, modes and deletions are the
manifest's. What cannot be read or is gone when its turn comes is simply not there at the end.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from ..agent.manifest import INCOMING, PRIVATE, Entry
from ..errors import ConnectionLostError, SyncError
from ..transport.base import Process, Transport
from .report import size

Progress = Callable[[int, int, str], None]
"""Called with bytes done, bytes in all, and what is going on."""


def silent(done: int, total: int, what: str) -> None:
    """Show no progress: nobody looks."""


Files = Mapping[str, Entry]

_END = 60.0
"""Seconds for tar to end once all is said."""

_BLOCK = 1 << 20
_LOST = {10, 12, 30, 35, 255}
"""rsync's exit codes for a connection that failed; 255 is ssh's own."""


class Mover(Protocol):
    """Moves files between two roots."""

    def push(self, files: Files) -> None:
        """Send files of the local folder."""

    def pull(self, files: Files) -> None:
        """Fetch files of the remote folder."""


class NoRsyncError(Exception):
    """There is no rsync over there."""


class Rsync:
    """rsync over the transport's own SSH connection.

    Args:
        transport: Gives the shell that reaches the machine.
        here: The local folder.
        there: The remote one.
        progress: Told how far it is.
    """

    def __init__(self, transport: Transport, here: Path, there: str, progress: Progress) -> None:
        self._shell = transport.rsync_shell or ()
        address = transport.address
        host = f"[{address.host}]" if ":" in address.host else address.host
        self._host = f"{address.user}@{host}" if address.user else host
        self._here = here
        self._there = there
        self._progress = progress

    def push(self, files: Files) -> None:
        """Send files of the local folder."""
        self._run(f"{self._here}/", f"{self._host}:{self._there}/{INCOMING}/", files, "sending")

    def pull(self, files: Files) -> None:
        """Fetch files of the remote folder."""
        (self._here / INCOMING).mkdir(parents=True, exist_ok=True)
        self._run(f"{self._host}:{self._there}/", f"{self._here}/{INCOMING}/", files, "receiving")

    def _run(self, source: str, target: str, files: Files, what: str) -> None:
        argv = [
            "rsync", "--files-from=-", "--from0", "--no-implied-dirs", "--times", "-s",
            # every file listed differs: the quick check would miss an edit within the same second
            "--ignore-times", "--copy-dest=../..", f"--partial-dir={PRIVATE}",
            "--info=progress2", "--outbuf=N", "--timeout=60", "-e", _rsh(self._shell), source, target,
        ]  # fmt: skip
        total = sum(entry.size for entry in files.values())
        with tempfile.TemporaryFile() as names, tempfile.TemporaryFile() as errors:
            names.write(b"".join(b"./" + os.fsencode(path) + b"\0" for path in files))
            names.seek(0)
            process = subprocess.Popen(
                argv,
                stdin=names,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, "LC_ALL": "C"},
            )
            try:
                self._follow(cast(BinaryIO, process.stdout), total, what)
                code = process.wait()
            finally:
                _end(process)
            errors.seek(0)
            said = errors.read().decode("utf-8", "replace").strip()
        # 23 and 24: some files could not be read or are gone; the rest has arrived
        if code in (0, 24) or (code == 23 and "No space left" not in said):
            return
        if code == 127 or re.search(r"rsync.*not found", said):
            raise NoRsyncError
        raise _failure(said, total, lost=code in _LOST)

    def _follow(self, stdout: BinaryIO, total: int, what: str) -> None:
        rest = b""
        while block := os.read(stdout.fileno(), 65536):
            *lines, rest = re.split(rb"[\r\n]", rest + block)
            for words in filter(None, map(bytes.split, lines[-2:])):
                if re.fullmatch(rb"[\d.,]+", words[0]):
                    self._progress(min(int(re.sub(rb"\D", b"", words[0])), total), total, what)


class Tar:
    """A tar stream through one command over there; for paramiko, and where rsync is missing.

    Args: As for `Rsync`.
    """

    def __init__(self, transport: Transport, here: Path, there: str, progress: Progress) -> None:
        self._transport = transport
        self._here = here
        self._there = there
        self._progress = progress

    def push(self, files: Files) -> None:
        """Send files of the local folder."""
        script = 'rm -rf "$1" && mkdir -p "$1" && exec tar -x -o -f - -C "$1"'
        process = self._transport.popen(["sh", "-c", script, "sh", f"{self._there}/{INCOMING}"])
        total = sum(entry.size for entry in files.values())
        try:
            with tarfile.open(
                fileobj=cast(BinaryIO, _Counted(process.stdin, total, "sending", self._progress)),
                mode="w|",
                bufsize=_BLOCK,
                format=tarfile.GNU_FORMAT,
                encoding="utf-8",
                errors="surrogateescape",
            ) as tar:
                for path in files:
                    self._add(tar, path)
            process.stdin.close()
            if process.wait(_END):
                raise OSError("tar on the machine failed")
        except OSError as e:
            raise self._broken(process, total, e) from e
        finally:
            process.kill()

    def pull(self, files: Files) -> None:
        """Fetch files of the remote folder."""
        script = 'cd "$1" && exec tar -c -f - --hard-dereference --no-recursion --null -T -'
        process = self._transport.popen(["sh", "-c", script, "sh", self._there])
        total = sum(entry.size for entry in files.values())
        incoming = self._here / INCOMING
        shutil.rmtree(incoming, ignore_errors=True)
        try:
            process.stdin.write(b"".join(b"./" + os.fsencode(path) + b"\0" for path in files))
            process.stdin.close()
            with tarfile.open(
                fileobj=cast(BinaryIO, _Counted(process.stdout, total, "receiving", self._progress)),
                mode="r|",
                bufsize=_BLOCK,
                encoding="utf-8",
                errors="surrogateescape",
            ) as tar:
                for member in tar:
                    path = member.name.removeprefix("./")
                    # a name that was not asked for could lead anywhere
                    if path in files and member.isreg():
                        self._take(tar, member, incoming / path)
            # 1 and 2 are tar's own: it could not read some files, and has sent the rest
            if process.wait(_END) not in (0, 1, 2):
                raise OSError("tar on the machine failed")
        except (OSError, tarfile.TarError) as e:
            raise self._broken(process, total, e) from e
        finally:
            process.kill()

    def _add(self, tar: tarfile.TarFile, path: str) -> None:
        try:
            file = (self._here / path).open("rb")
        except OSError:
            return
        with file:
            member = tar.gettarinfo(arcname=path, fileobj=file)
            if member.islnk():
                member.type, member.linkname = tarfile.REGTYPE, ""
                member.size = os.fstat(file.fileno()).st_size
            tar.addfile(member, _Padded(file))

    @staticmethod
    def _take(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        content = tar.extractfile(member)
        assert content is not None
        with (
            content,
            os.fdopen(
                os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, member.mode & 0o777), "wb"
            ) as out,
        ):
            shutil.copyfileobj(content, out, _BLOCK)
        os.utime(target, (member.mtime, member.mtime))

    def _broken(self, process: Process, total: int, error: Exception) -> Exception:
        if self._transport.alive():
            said = process.stderr.read().decode("utf-8", "replace").strip()
            return _failure(said or str(error), total, lost=not said)
        return _failure(str(error), total, lost=True)


class _Padded:
    """A file that never ends early: one that shrinks under way is filled up, and sent again."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, wanted: int = -1, /) -> bytes:
        return self._file.read(wanted).ljust(wanted, b"\0")


class _Counted:
    """A stream that tells how far it is."""

    def __init__(self, stream: BinaryIO, total: int, what: str, progress: Progress) -> None:
        self._stream = stream
        self._total = total
        self._what = what
        self._progress = progress
        self._done = 0

    def read(self, wanted: int = -1, /) -> bytes:
        data = self._stream.read(wanted)
        self._tell(len(data))
        return data

    def write(self, data: bytes, /) -> int:
        self._stream.write(data)
        self._tell(len(data))
        return len(data)

    def _tell(self, more: int) -> None:
        self._done += more
        self._progress(min(self._done, self._total), self._total, self._what)


@cache
def rsync_here() -> bool:
    """Return whether this system has an rsync that tells its progress; macOS comes with another."""
    try:
        said = subprocess.run(["rsync", "--version"], capture_output=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return False
    found = re.search(rb"rsync +version v?(\d+)\.(\d+)", said)
    return bool(found and (int(found[1]), int(found[2])) >= (3, 1))


def _rsh(argv: Sequence[str]) -> str:
    """Return `argv` quoted as rsync, which is no shell, takes ``-e`` apart."""
    return " ".join("'" + part.replace("'", "''") + "'" for part in argv)


def _end(process: subprocess.Popen[bytes]) -> None:
    cast(BinaryIO, process.stdout).close()
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _failure(said: str, total: int, lost: bool) -> Exception:
    if "No space left" in said or "Wrote only" in said:
        return SyncError(
            f"The disk is full: {size(total)} had to be copied. {said.splitlines()[0]}",
            hint="Make room, or name what need not travel in .gpuignore.",
        )
    if lost:
        return ConnectionLostError(
            f"The connection broke while files were copied: {said[-500:] or 'no answer'}",
            hint="Nothing is lost. Run it again to go on.",
        )
    return SyncError(f"Files could not be copied: {said[-1000:] or 'no reason given'}")
