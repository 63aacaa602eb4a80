"""A real Jupyter Server with our extension, in a process of its own, and a browser without a screen."""

from __future__ import annotations

import http.cookiejar
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jupyter_gpu_remote.registry import Registry
from jupyter_gpu_remote.server.schema import validator

from ..conftest import wait_for

ROOT = Path(__file__).parents[2]
TOKEN = "a-token"
LIMIT = 30
ENTRY = "[jupyter_gpu_remote.providers_v1]\nfake = tests.server.slow_cloud:SlowProvider\n"


@dataclass
class Answer:
    """What came back."""

    status: int
    body: Any
    headers: Any

    def conforms(self, definition: str) -> Any:
        """Return the body, which must be what the schema's definition says."""
        errors = [e.message for e in validator(definition).iter_errors(self.body)]
        assert not errors, (errors, self.body)
        return self.body


class Client:
    """Somebody who asks a server.

    Args:
        url: The server's, with its base.
        headers: Sent with each request.
    """

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        self.url, self.headers = url, headers
        self.cookies = http.cookiejar.CookieJar()
        self._open = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.cookies)).open

    def fetch(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        """Ask for any path of the server."""
        request = urllib.request.Request(self.url + path, body, {**self.headers, **headers}, method=method)
        try:
            reply = self._open(request, timeout=LIMIT)
        except urllib.error.HTTPError as e:
            reply = e
        with reply:
            text = reply.read()
            is_json = "json" in reply.headers.get("Content-Type", "")
            found = json.loads(text) if text and is_json else text.decode()
            return Answer(reply.status, found, reply.headers)

    def ask(self, method: str, path: str, body: Any = None, /, **query: Any) -> Answer:
        """Ask for a path of our API."""
        data = None if body is None else json.dumps(body).encode()
        asked = f"?{urllib.parse.urlencode(query)}" if query else ""
        return self.fetch(method, f"gpu-remote/api/{path}{asked}", data)

    def get(self, definition: str, path: str, /, **query: Any) -> Any:
        """Return the body of a good answer, which must be what the definition says."""
        answer = self.ask("GET", path, **query)
        assert answer.status == 200, answer
        return answer.conforms(definition)

    def job(self, answer: Answer, limit: float = LIMIT) -> Any:
        """Return the job that an answer began, when it has ended."""
        assert answer.status == 202, answer
        id = answer.conforms("Job")["id"]
        seen: list[Any] = []

        def ended() -> bool:
            seen[:] = [self.get("Job", f"jobs/{id}")]
            return bool(seen[0]["ended_at"])

        wait_for(ended, f"the end of {answer.body['kind']}", limit)
        return seen[0]


@dataclass
class Server:
    """The server; it has a state folder and kernels of its own.

    Attributes:
        folder: Everything it may write to.
        base: Its base_url.
        options: More words of its command line.
    """

    folder: Path
    base: str = "/"
    options: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    port: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        for name in ("root", "state", "data", "home", "plugin/slow_cloud-1.dist-info"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        info = self.folder / "plugin" / "slow_cloud-1.dist-info"
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: slow-cloud\nVersion: 1\n")
        (info / "entry_points.txt").write_text(ENTRY)
        self.registry = Registry(self.folder / "state" / "registry.sqlite")

    @property
    def env(self) -> dict[str, str]:
        """The environment of everything that belongs to it."""
        mine = {
            "HOME": self.folder / "home",
            "JUPYTER_CONFIG_DIR": self.folder / "config",
            "JUPYTER_DATA_DIR": self.folder / "data",
            "JUPYTER_RUNTIME_DIR": self.folder / "runtime",
            "JUPYTER_GPU_REMOTE_DIR": self.folder / "state",
            "PYTHONPATH": os.pathsep.join([str(self.folder / "plugin"), str(ROOT)]),
        }
        return {**os.environ, **{name: str(value) for name, value in mine.items()}}

    @property
    def kernels(self) -> Path:
        """Where kernelspecs of the user are."""
        return self.folder / "data" / "kernels"

    def start(self) -> Server:
        """Start it and wait until it answers."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        others = ("jupyterlab", "jupyter_lsp", "notebook", "notebook_shim", "ipyparallel")
        argv = [sys.executable, "-m", "jupyter_server", "--no-browser", "--allow-root", f"--port={self.port}"]
        argv += [f"--IdentityProvider.token={TOKEN}", f"--ServerApp.base_url={self.base}"]
        argv += [f"--ServerApp.root_dir={self.folder / 'root'}", "--ServerApp.port_retries=0", *self.options]
        argv += [f"--ServerApp.jpserver_extensions={name}=False" for name in others]
        log = (self.folder / "log").open("ab")
        self.process = subprocess.Popen(argv, stdout=log, stderr=log, env=self.env, cwd=self.folder)
        log.close()
        wait_for(self._answers, "the server to answer", LIMIT)
        return self

    def _answers(self) -> bool:
        assert self.process is not None and self.process.poll() is None, self.log()
        try:
            return self.client().fetch("GET", "api").status == 200
        except OSError:
            return False

    def client(self, token: str | None = TOKEN) -> Client:
        """Return somebody who sends that token."""
        headers = {} if token is None else {"Authorization": f"token {token}"}
        return Client(f"http://127.0.0.1:{self.port}{self.base}", headers)

    def cli(self, *words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run ``jupyter gpu-remote`` beside it."""
        argv = [sys.executable, "-m", "jupyter_gpu_remote.cli", *words]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, env=self.env, cwd=cwd)
        assert done.returncode == 0, done.stderr
        return done

    def log(self) -> str:
        """Return what it wrote."""
        return (self.folder / "log").read_text()

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it and wait until it is gone."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(LIMIT)
            self.process = None

    def close(self) -> None:
        """End it, with all its machines."""
        self.end()
        (self.folder / "state" / "go").touch()
        for machine in self.registry.machines():
            if machine.provider == "local":
                self.cli("down", machine.name, "--yes")
        self.registry.close()
