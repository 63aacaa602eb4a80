"""The face of Jupyter Server: what the sidebar asks for, told over HTTP and pushed as events.

`routes` says what can be asked, `schema.json` what is sent. Nothing that blocks runs in the server's event
loop: `workers` has threads for it, `jobs` for what takes minutes.
"""

from __future__ import annotations

from typing import Any


def extension_points() -> list[dict[str, Any]]:
    """Return what Jupyter Server is to load."""
    from .app import GpuRemoteServer  # imports Jupyter Server, which others than it can do without

    return [{"module": "jupyter_gpu_remote.server.app", "app": GpuRemoteServer}]
