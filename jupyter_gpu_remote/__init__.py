"""Run notebook cells on remote GPU machines.

Everything here is imported on use: ``%load_ext jupyter_gpu_remote`` must stay under 60 ms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .remote import Remote as Remote

__all__ = ["Remote"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "Remote":
        from .remote import Remote

        return Remote
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def load_ipython_extension(ipython: Any) -> None:
    """Register ``%remote`` and ``%%remote`` with `ipython`."""
    from .magic import load

    load(ipython)


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    """Tell Jupyter Server what to load."""
    from .server import extension_points

    return extension_points()


def unload_ipython_extension(ipython: Any) -> None:
    """Take the magics away from `ipython`; machines and their kernels go on."""
    from .magic import unload

    unload(ipython)
