"""Move blobs between standard streams and a folder; run on the machine as ``python -c SOURCE WHAT FOLDER``.

A blob is a header (its name, whether it is compressed, how long it is) and its bytes. To ``send``, names
come on standard input, one a line. Imports nothing of ours.
"""

import contextlib
import errno
import os
import struct
import sys
from pathlib import Path

HEADER = struct.Struct("<64s?Q")
PACKED = ".zst"
_PIECE = 1 << 20
_F_SETPIPE_SZ = 1031
"""Of Linux; `fcntl` has it from Python 3.10 on."""


def receive(folder: Path) -> None:
    """Write every blob on standard input into the folder; one that is cut short leaves nothing there."""
    widen(0)
    while header := exactly(HEADER.size):
        name, packed, left = HEADER.unpack(header)
        path = folder / (name.decode() + PACKED * packed)
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            with part.open("wb", buffering=0) as file:
                while left:
                    moved = move(file.fileno(), min(left, _PIECE))
                    if not moved:
                        return
                    left -= moved
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


def widen(pipe: int) -> None:
    """Let a pipe hold more, so that whoever fills it waits less often."""
    with contextlib.suppress(OSError, ImportError):  # not everywhere are pipes of this kind
        import fcntl

        fcntl.fcntl(pipe, _F_SETPIPE_SZ, _PIECE)


def exactly(size: int) -> bytes:
    """Return so many bytes of standard input; fewer, or none, at its end."""
    data = b""
    while len(data) < size and (got := os.read(0, size - len(data))):
        data += got
    return data if len(data) == size else b""


def move(target: int, size: int) -> int:
    """Move up to `size` bytes from standard input into a file; return how many."""
    try:
        return os.splice(0, target, size)
    except (AttributeError, OSError) as e:
        if isinstance(e, OSError) and e.errno != errno.EINVAL:
            raise
    data = os.read(0, size)  # it is no pipe, or not on Linux
    view = memoryview(data)
    while view:
        view = view[os.write(target, view) :]
    return len(data)


def send(folder: Path) -> None:
    """Write the blobs of the folder that are asked for to standard output."""
    for line in sys.stdin.buffer:
        name = line.strip()
        path = folder / name.decode()
        packed = not path.exists()
        with path.with_name(path.name + PACKED * packed).open("rb") as file:
            os.utime(file.fileno())
            size = os.fstat(file.fileno()).st_size
            sys.stdout.buffer.write(HEADER.pack(name, packed, size))
            sys.stdout.buffer.flush()
            sent = 0
            while sent < size:
                sent += os.sendfile(1, file.fileno(), sent, size - sent)


if __name__ == "__main__":
    os.umask(0o077)
    place = Path(sys.argv[2])
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        {"receive": receive, "send": send}[sys.argv[1]](place)
    except OSError as e:
        sys.exit(e.strerror)
