"""The extension of Jupyter Server."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

from jupyter_server.extension.application import ExtensionApp
from traitlets.config import Config

from ..reaper import reap_in_background
from .handlers import handlers
from .hub import Hub
from .jobs import Job
from .watcher import Watcher

_SCHEMAS = Path(__file__).parent / "event_schemas"
MACHINE, JOB, RUN = (f"https://jupyter-gpu-remote/{kind}/v1" for kind in ("machine", "job", "run"))
_END_LIMIT = 20.0
"""Seconds that launches get to be undone when the server ends; what is left then is reaped later."""
_TOLD = ("id", "kind", "state", "machine", "phase", "step", "steps", "text")


class GpuRemoteServer(ExtensionApp):  # type: ignore[misc]  # untyped here
    """Machines for the clients of a Jupyter Server."""

    name = "jupyter_gpu_remote"
    hub: Hub

    def initialize_settings(self) -> None:
        """Make what the handlers work with."""
        server = self.serverapp
        for file in sorted(_SCHEMAS.glob("*.yaml")):
            server.event_logger.register_event_schema(file)
        self.hub = Hub(
            root=Path(getattr(server.contents_manager, "root_dir", "") or server.root_dir).resolve(),
            folder_of=server.kernel_manager.cwd_for_path,
            kernels=server.kernel_spec_manager.find_kernel_specs,
            given=Config({"GpuRemote": self.config.get("GpuRemote", {})}),
            tell=self._tell_of_job,
            tell_of_run=lambda notice: self._emit(RUN, notice),
        )
        self._watcher = Watcher(self.hub.registry, self._tell_of_machine, self.hub.look, self.hub.tidy)
        self._loop: asyncio.AbstractEventLoop | None = None

    def initialize_handlers(self) -> None:
        """Add the routes."""
        self.handlers.extend(handlers(self.hub))

    async def _start_jupyter_server_extension(self, serverapp: Any) -> None:
        self._loop = asyncio.get_running_loop()
        self._watcher.start()
        threading.Thread(target=self._reap, name="reap", daemon=True).start()

    async def stop_extension(self) -> None:
        """Undo launches that are under way, and let go of machines; these go on."""
        self._watcher.close()
        await asyncio.to_thread(self.hub.jobs.end, _END_LIMIT)
        await asyncio.to_thread(self.hub.close)
        self._loop = None

    def _reap(self) -> None:
        reap_in_background(self.hub.registry)
        self.hub.launches.take_over(self.hub.jobs)

    def _tell_of_machine(self, notice: dict[str, Any]) -> None:
        self._emit(MACHINE, notice)

    def _tell_of_job(self, job: Job) -> None:
        seen = job.view()
        self._emit(JOB, {name: seen[name] or "" if name == "machine" else seen[name] for name in _TOLD})

    def _emit(self, schema: str, data: dict[str, Any]) -> None:
        """Push an event, from any thread."""
        loop, logger = self._loop, self.serverapp.event_logger
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(lambda: logger.emit(schema_id=schema, data=data))
