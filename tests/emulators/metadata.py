"""The metadata services that machines in AWS and Google Cloud see at 169.254.169.254."""

from __future__ import annotations

import json
import secrets
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import socket
from urllib.parse import parse_qsl, urlsplit

from .hosts import Boot

_NOTICE = timedelta(minutes=2)
"""How long before it takes a spot machine back AWS says so."""
_LONGEST_TOKEN = 21600
"""Seconds that a token of AWS may last."""


@dataclass(frozen=True)
class Request:
    """What a machine asks; the names of headers are in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Answer:
    """What it is told."""

    status: int
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


class Metadata(ABC):
    """What one machine may know about itself."""

    @abstractmethod
    def answer(self, request: Request) -> Answer:
        """Answer a request; this may take as long as a long poll lasts."""

    @abstractmethod
    def notice(self) -> None:
        """Say from now on that the machine will be taken back."""

    def release(self) -> None:  # noqa: B027
        """Answer whoever waits now."""


class AwsMetadata(Metadata):
    """Version 2 of the service: nothing is told without a token."""

    def __init__(self, boot: Boot) -> None:
        self._values = {"meta-data/instance-id": boot.id, "user-data": boot.user_data, **boot.attributes}
        self._tokens: dict[str, float] = {}

    def answer(self, request: Request) -> Answer:
        if "x-forwarded-for" in request.headers:
            return Answer(403)
        if request.method == "PUT":
            return self._token(request)
        if self._tokens.get(request.headers.get("x-aws-ec2-metadata-token", ""), 0) < time.monotonic():
            return Answer(401)
        path = request.path.removeprefix("/latest/").rstrip("/")
        if value := self._values.get(path):
            return Answer(200, value)
        below = [p.removeprefix(f"{path}/") for p in self._values if p.startswith(f"{path}/")]
        names = sorted({p.partition("/")[0] for p in below})
        return Answer(200, "\n".join(names)) if names else Answer(404)

    def _token(self, request: Request) -> Answer:
        if request.path != "/latest/api/token":
            return Answer(404)
        seconds = request.headers.get("x-aws-ec2-metadata-token-ttl-seconds", "")
        if not seconds.isdigit() or not 1 <= int(seconds) <= _LONGEST_TOKEN:
            return Answer(400)
        token = secrets.token_urlsafe(40)
        self._tokens[token] = time.monotonic() + int(seconds)
        return Answer(200, token, {"X-aws-ec2-metadata-token-ttl-seconds": seconds})

    def notice(self) -> None:
        now = datetime.now(timezone.utc)
        said, end = (f"{t:%Y-%m-%dT%H:%M:%SZ}" for t in (now, now + _NOTICE))
        self._values |= {
            "meta-data/events/recommendations/rebalance": json.dumps({"noticeTime": said}),
            "meta-data/spot/instance-action": json.dumps({"action": "terminate", "time": end}),
            "meta-data/spot/termination-time": end,
        }


class GcpMetadata(Metadata):
    """Nothing is told without its header; a value can be waited for."""

    def __init__(self, boot: Boot) -> None:
        self._values = {
            "instance/name": boot.id,
            "instance/preempted": "FALSE",
            "instance/maintenance-event": "NONE",
            "instance/attributes/user-data": boot.user_data,
            **boot.attributes,
        }
        self._changed = threading.Condition()
        self._releases = 0

    def answer(self, request: Request) -> Answer:
        flavor = {"Metadata-Flavor": "Google"}
        if request.path == "/":
            return Answer(200, "computeMetadata/\n", flavor)
        if request.headers.get("metadata-flavor") != "Google" or "x-forwarded-for" in request.headers:
            return Answer(403, "", flavor)
        path = request.path.removeprefix("/computeMetadata/v1/")
        body = self._changed_value(path, request.query) if request.method == "GET" else None
        if body is None:
            return Answer(404, "", flavor)
        return Answer(200, body, flavor | {"ETag": self._etag(body)})

    def _changed_value(self, path: str, query: Mapping[str, str]) -> str | None:
        """Return a value, once it is not the one that the client knows already."""
        with self._changed:
            first = self._value(path, query)
            if query.get("wait_for_change") != "true" or first is None:
                return first
            known = query.get("last_etag") or self._etag(first)
            limit = float(query["timeout_sec"]) if "timeout_sec" in query else None
            before = self._releases
            self._changed.wait_for(
                lambda: self._releases != before or self._etag(self._value(path, query)) != known, limit
            )
            return self._value(path, query)

    def _value(self, path: str, query: Mapping[str, str]) -> str | None:
        if path and not path.endswith("/"):
            return self._values.get(path)
        below = {p[len(path) :]: v for p, v in self._values.items() if p.startswith(path)}
        if query.get("recursive") == "true":
            return json.dumps(_tree(below))
        names = {name + ("/" if slash else "") for name, slash, _ in (p.partition("/") for p in below)}
        return "".join(f"{name}\n" for name in sorted(names)) if names else None

    @staticmethod
    def _etag(body: str | None) -> str:
        return f"{hash(body) % 2**64:016x}"

    def notice(self) -> None:
        with self._changed:
            self._values["instance/preempted"] = "TRUE"
            self._changed.notify_all()

    def release(self) -> None:
        with self._changed:
            self._releases += 1
            self._changed.notify_all()


def _tree(values: Mapping[str, str]) -> dict[str, object]:
    """Return values by path as nested objects, with names as Google Cloud has them there."""
    tree: dict[str, object] = {}
    for path, value in values.items():
        name, _, rest = path.partition("/")
        # the keys of attributes are the user's own; all others lose their dashes
        if rest and name == "attributes":
            tree.setdefault(name, {})[rest] = value  # type: ignore[index]
        elif rest:
            tree[name] = _tree({p[len(name) + 1 :]: v for p, v in values.items() if p.startswith(f"{name}/")})
        else:
            head, *more = name.split("-")
            tree[head + "".join(word.capitalize() for word in more)] = value
    return tree


def metadata_of(boot: Boot) -> Metadata:
    """Return the metadata of a machine, as its cloud has it."""
    return {"aws": AwsMetadata, "gcp": GcpMetadata}[boot.cloud](boot)


class Service(ThreadingHTTPServer):
    """Metadata over HTTP, at a socket that listens already.

    Args:
        metadata: What to tell.
        listener: The socket; it is closed in the end.
    """

    def __init__(self, metadata: Metadata, listener: socket) -> None:
        super().__init__(("", 0), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.metadata = metadata
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def handle_error(self, request: object, client_address: object) -> None:
        # a machine may die in the middle of a sentence
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]

    def close(self) -> None:
        """Answer no more."""
        self.shutdown()
        self.server_close()
        self.metadata.release()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Service

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, url.path, dict(parse_qsl(url.query)), headers)
        answer = self.server.metadata.answer(request)
        body = answer.body.encode()
        self.send_response(answer.status)
        for name, value in {**answer.headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_PUT = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass
