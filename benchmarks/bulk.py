"""Files of some size, ours against ssh and cat with the same cipher, each over a connection that is up."""

from __future__ import annotations

import contextlib
import getpass
import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks import peers
from benchmarks.frontend import CellFailed
from benchmarks.measure import Figures, interleaved, ms, timed
from benchmarks.rig import Site

Copy = Callable[[Path, Path], object]


def loopback(site: Site, quick: bool) -> Figures:
    """Copy 256 MB back and out."""
    pull = _medians(site, "pull", 256, 1 if quick else 7)
    push = _medians(site, "push", 256, 1 if quick else 7)
    return {
        "pull_256mb_vs_ssh_cat": pull["ssh_cat"] / pull["remote"],
        "push_256mb_vs_ssh_cat": push["ssh_cat"] / push["remote"],
        **ms(pull, "pull_256mb"),
        **ms(push, "push_256mb"),
    }


def long_link(site: Site, quick: bool) -> Figures:
    """Copy 64 MB back over the long cable, whose delay one channel's window cannot fill."""
    pull = _medians(site, "pull", 64, 1 if quick else 5)
    ratio = pull["ssh_cat"] / pull["remote"]
    return {"pull_64mb_at_80ms_vs_one_openssh_channel": ratio, **ms(pull, "pull_64mb_at_80ms")}


def _medians(site: Site, way: str, megabytes: int, rounds: int) -> dict[str, float]:
    from jupyter_gpu_remote.model import Address
    from jupyter_gpu_remote.transport import open_transport

    address = Address(site.host, site.port, getpass.getuser(), site.key, site.host_key)
    memory = Path("/dev/shm")  # not a disk: that would be what is measured
    with (
        tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None, prefix="bench-") as folder,
        contextlib.closing(open_transport(address)) as transport,
    ):
        transport.open()
        peers.open_master(site)
        source, target = Path(folder, "source"), Path(folder, "target")
        source.write_bytes(os.urandom(megabytes * 1_000_000))

        def once(copy: Copy) -> float:
            target.unlink(missing_ok=True)
            seconds = timed(lambda: copy(source, target))
            if target.stat().st_size != source.stat().st_size:
                raise CellFailed(f"{way}: the copy is not as long as the original")
            return seconds

        copies: dict[str, Copy]
        if way == "pull":
            copies = {
                "remote": lambda a, b: transport.get(str(a), b),
                "ssh_cat": lambda a, b: peers.cat_pull(site, a, b),
            }
        else:
            copies = {
                "remote": lambda a, b: transport.put(a, str(b)),
                "ssh_cat": lambda a, b: peers.cat_push(site, a, b),
            }
        return interleaved({name: partial(once, copy) for name, copy in copies.items()}, rounds)
