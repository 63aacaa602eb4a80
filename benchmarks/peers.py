"""The others, each in its best documented configuration."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.frontend import CellFailed, Frontend
from benchmarks.rig import Site, Skip

_KERNEL = "bench-sshpyk"


def ssh(site: Site, alias: str, *argv: str, stdin: Any = None, stdout: Any = None) -> None:
    """Run ssh with the site's settings."""
    command = ["ssh", "-F", str(site.ssh_config), alias, *argv]
    subprocess.run(command, check=True, timeout=300, stdin=stdin, stdout=stdout)


def open_master(site: Site) -> None:
    """Have a shared connection to the site up."""
    ssh(site, site.SHARED, "true")


def close_master(site: Site) -> None:
    """Have no shared connection to the site."""
    argv = ["ssh", "-F", str(site.ssh_config), "-O", "exit", site.SHARED]
    subprocess.run(argv, capture_output=True, timeout=30)


def cat_pull(site: Site, source: Path, target: Path) -> None:
    """Do ``ssh host cat source > target`` over the shared connection."""
    with target.open("wb") as out:
        ssh(site, site.SHARED, "cat", str(source), stdout=out)


def cat_push(site: Site, source: Path, target: Path) -> None:
    """Do ``ssh host 'cat > target' < source`` over the shared connection."""
    with source.open("rb") as data:
        ssh(site, site.SHARED, f"cat > {target}", stdin=data)


def rsync(site: Site, source: Path, target: Path) -> None:
    """Do ``rsync -a source/ host:target/`` over the shared connection."""
    shell = f"ssh -F {site.ssh_config}"
    argv = ["rsync", "-a", "--delete", "-e", shell, f"{source}/", f"{site.SHARED}:{target}/"]
    subprocess.run(argv, check=True, timeout=300)


class Sshpyk:
    """sshpyk with a shared master, as its README recommends.

    Args:
        site: The machine to run kernels on.
    """

    def __init__(self, site: Site) -> None:
        self.site = site
        program = Path(sys.executable).with_name("sshpyk")
        if not program.exists():
            raise Skip("sshpyk is not installed")
        subprocess.run(
            [program, "add", "--kernel-name", _KERNEL, "--display-name", _KERNEL, "--language", "python",
             "--ssh-host-alias", site.SHARED, "--ssh-config", site.ssh_config,
             "--remote-python", sys.executable, "--remote-kernel-name", "python3", "--replace"],
            check=True, capture_output=True, timeout=60,
        )  # fmt: skip

    def kernel(self) -> Frontend:
        """Return a frontend to a new kernel over there, once it is ready."""
        open_master(self.site)
        return Frontend(self.site.work, _KERNEL)

    @staticmethod
    def look_after(frontend: Frontend) -> None:
        """Ask whether the kernel lives, as Jupyter Server does; that is when sshpyk mends its tunnels."""
        try:
            frontend.manager.is_alive()
        except Exception:  # whatever it fails with while the link is cut, the next look may go well
            traceback.print_exc()

    def start(self, warm: bool) -> float:
        """Return the seconds from nothing to the reply to the first cell.

        Args:
            warm: Whether the shared connection is there before.
        """
        (open_master if warm else close_master)(self.site)
        start = time.perf_counter()
        with Frontend(self.site.work, _KERNEL, ready=False) as frontend:
            frontend.first_reply("pass")
            return time.perf_counter() - start


@contextlib.contextmanager
def px_frontend(site: Site) -> Iterator[Frontend]:
    """Give a frontend to a kernel in which ``%%px`` runs on one ipyparallel engine, started by SSH."""
    if not find_spec("ipyparallel"):
        raise Skip("ipyparallel is not installed")
    ssh_args = ["-F", str(site.ssh_config)]
    setup = f"""
import logging, ipyparallel
cluster = ipyparallel.Cluster(engines="ssh", n=1, controller_ip="127.0.0.1", log_level=logging.ERROR)
cluster.config.SSHEngineSetLauncher.engines = {{{site.PLAIN!r}: 1}}
cluster.config.SSHLauncher.ssh_args = {ssh_args!r}
cluster.config.SSHLauncher.scp_args = {ssh_args!r}
cluster.config.SSHLauncher.remote_python = {sys.executable!r}
client = await cluster.start_and_connect(activate=True)
client.wait_for_engines(1, timeout=60, interactive=False)
"""
    with Frontend(site.work) as frontend:
        frontend.time(setup)
        try:
            yield frontend
        finally:
            with contextlib.suppress(CellFailed):
                frontend.run("client.close(); await cluster.stop_cluster()", limit=30)
