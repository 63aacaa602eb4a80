"""A JupyterLab or Notebook of its own, for tests and pictures; nothing of the user's is seen or touched."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LIMIT = 90.0
"""Seconds for a server to start, and for what a browser waits for."""
_SETTINGS = {
    "apputils-extension/notification.jupyterlab-settings": {"fetchNews": "false", "checkForUpdates": False},
}


@dataclass(frozen=True)
class Lab:
    """A server: its address with the token, the folder of its notebooks, its environment, its process."""

    address: str
    folder: Path
    environment: dict[str, str]
    log: Path

    def url(self, path: str) -> str:
        """Return the address of a page."""
        return f"{self.address}{path}?token=secret"

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run ``jupyter gpu-remote`` as the user of this server."""
        command = [sys.executable, "-m", "jupyter_gpu_remote.cli", *words]
        return subprocess.run(
            command, env=self.environment, cwd=self.folder, capture_output=True, text=True, timeout=LIMIT
        )


@contextlib.contextmanager
def lab(base: Path, app: str = "lab", base_url: str = "/", dark: bool = False) -> Iterator[Lab]:
    """Run JupyterLab, or Notebook, with everything of it under `base`; end its machines afterwards."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = base / "work"
    folder.mkdir(parents=True, exist_ok=True)
    places = {
        "JUPYTER_GPU_REMOTE_DIR": "state",
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "IPYTHONDIR": "ipython",
    }
    environment = {**os.environ, **{name: str(base / place) for name, place in places.items()}}
    settings = dict(_SETTINGS)
    if dark:
        settings["apputils-extension/themes.jupyterlab-settings"] = {"theme": "JupyterLab Dark"}
    for name, content in settings.items():
        path = base / "settings" / "@jupyterlab" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    options = [
        "--no-browser",
        "--allow-root",
        f"--port={port}",
        "--ServerApp.port_retries=0",
        "--IdentityProvider.token=secret",
        f"--ServerApp.base_url={base_url}",
        f"--ServerApp.root_dir={folder}",
    ]
    log = base / "server.log"
    with log.open("wb") as out:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab" if app == "lab" else "notebook", *options],
            cwd=folder,
            env=environment,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    it = Lab(f"http://127.0.0.1:{port}{base_url}", folder, environment, log)
    try:
        _wait(it, server)
        yield it
    finally:
        it.command("down", "--all", "--yes")
        server.terminate()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _wait(it: Lab, server: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + LIMIT
    while True:
        try:
            urllib.request.urlopen(it.url("api"), timeout=5).close()
            return
        except OSError:
            if time.monotonic() > end or server.poll() is not None:
                raise RuntimeError(f"the server did not start:\n{it.log.read_text()[-3000:]}") from None
            time.sleep(0.2)


def chromium() -> str:
    """Return the browser of this computer; empty when it has none."""
    return shutil.which("chromium") or shutil.which("google-chrome") or ""


def browser_options() -> dict[str, object]:
    """Return how Playwright is to start it."""
    flags = ["--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    return {"executable_path": chromium(), "args": [*flags, *([] if os.geteuid() else ["--no-sandbox"])]}
