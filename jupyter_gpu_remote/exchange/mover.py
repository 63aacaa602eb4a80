"""Move blobs between standard streams and a folder; run on the machine as ``python -c SOURCE WHAT FOLDER``.

A blob is a header (its name, whether it is compressed, how long it is) and its bytes. To ``send``, names
come on standard input, one a line. Imports nothing of ours.
"""

import io
import os
import struct
import sys
from pathlib import Path

HEADER = struct.Struct("<64s?Q")
PACKED = ".zst"
_PIECE = 1 << 20


def receive(folder: Path) -> None:
    """Write every blob on standard input into the folder; one that is cut short leaves nothing there."""
    source = io.BufferedReader(io.FileIO(0), _PIECE)
    room = memoryview(bytearray(_PIECE))
    while header := source.read(HEADER.size):
        name, packed, left = HEADER.unpack(header)
        path = folder / (name.decode() + PACKED * packed)
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            with part.open("wb", buffering=0) as file:
                while left:
                    got = source.readinto(room[: min(left, _PIECE)])
                    if not got:
                        return
                    left -= got
                    data = room[:got]
                    while data:
                        data = data[file.write(data) :]
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


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
