"""Requests as they come over HTTP: who may ask, what was sent, what is sent back."""

from __future__ import annotations

import asyncio
import functools
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from http.client import responses
from typing import Any
from urllib.parse import quote

from jupyter_core.utils import ensure_async
from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from tornado.iostream import StreamClosedError
from tornado.web import HTTPError, authenticated

from ..errors import GpuRemoteError
from . import schema
from .buckets import Download
from .hub import Hub
from .jobs import Job
from .problems import RefusedError, plain, problem, status_of
from .routes import ROUTES, Route
from .workers import Workers

BASE = "gpu-remote/api"
LARGEST = 64 * 1024
"""Bytes of the largest body that is read."""
_NOT_OURS = {"no_track_activity", "token", "_xsrf"}
"""Words of a URL's query that are for Jupyter Server."""
_CODES = {400: "invalid", 403: "forbidden", 404: "not-found", 405: "method", 413: "too-large"}


def handlers(hub: Hub) -> list[tuple[str, type[Handler], dict[str, Any]]]:
    """Return a handler for each path of `routes`, and one for all the other paths."""
    # a machine that does not answer keeps nobody waiting who does not ask for it
    places = {True: Workers("talks", 16), False: Workers("answers", 8)}
    shared = {"hub": hub, "places": places}
    found = []
    for path, methods in ROUTES.items():
        pattern = re.sub(r"{\w+}", "([^/]+)", path)
        found.append((f"/{BASE}/{pattern}/?", Handler, {"routes": methods, **shared}))
    return [*found, (f"/{BASE}(?:/.*)?", Handler, {"routes": {}, **shared})]


def _method() -> Callable[..., Awaitable[None]]:
    # one for each HTTP method: `authorized` remembers the action of the first request that it sees
    @authenticated  # type: ignore[untyped-decorator]  # untyped here
    @authorized  # type: ignore[untyped-decorator]
    async def answer(self: Handler, *path: str) -> None:
        await self.answer(path)

    method: Callable[..., Awaitable[None]] = answer
    return method


class Handler(APIHandler):  # type: ignore[misc]  # untyped here
    """Answers the requests to one path."""

    auth_resource = "gpu_remote"
    get, post, put, delete = _method(), _method(), _method(), _method()

    def initialize(self, routes: Mapping[str, Route], hub: Hub, places: Mapping[bool, Workers]) -> None:
        """Take what `handlers` made."""
        self._routes, self._hub, self._places = routes, hub, places

    @property
    def _track_activity(self) -> bool:
        # a page that only looks must not keep a server from being culled
        return bool(self.request.method != "GET")

    async def answer(self, path: tuple[str, ...]) -> None:
        """Answer the request, in a thread."""
        try:
            route = self._route()
            await self._check_right(route)
            if len(self.request.body) > LARGEST:
                raise RefusedError(413, "too-large", f"The request is larger than {LARGEST // 1024} kB.")
            sent = [self._sent(route)] if route.takes else []
            work = functools.partial(route.answer, self._hub, *path, *sent)
            said = await asyncio.wrap_future(self._places[route.visits].submit(work))
        except GpuRemoteError as e:
            self.set_status(status_of(e))
            self.finish(json.dumps(problem(e)))
            return
        if isinstance(said, Job):
            self.set_header("Location", f"{self.base_url}{BASE}/jobs/{said.id}")
            said = said.view()
        if isinstance(said, Download):
            await self._stream(said, self._places[route.visits])
        elif said is None:
            self.set_status(204)
            self.finish()
        else:
            self.set_status(route.status)
            self.finish(json.dumps(said))

    async def _check_right(self, route: Route) -> None:
        """See that who may only look at machines reads nothing else by it."""
        if route.private:
            asked = self.authorizer.is_authorized(self, self.current_user, "write", self.auth_resource)
            if not await ensure_async(asked):
                raise RefusedError(403, "forbidden", "You may look at machines, but not into buckets.")

    async def _stream(self, download: Download, workers: Workers) -> None:
        """Send a file, never faster than it is taken."""
        self.set_header("Content-Type", "application/octet-stream")
        self.set_header("Content-Length", str(download.size))
        self.set_header(
            "Content-Disposition", f"attachment; filename*=UTF-8''{quote(download.name, safe='')}"
        )
        try:
            while chunk := await asyncio.wrap_future(workers.submit(download.read)):
                self.write(chunk)
                await self.flush()
            self.finish(set_content_type="application/octet-stream")
        except StreamClosedError:
            pass  # nobody wants it any more
        finally:
            workers.submit(download.file.close)

    def _route(self) -> Route:
        if not self._routes:
            raise RefusedError(404, "not-found", f"There is nothing at {self.request.path}.")
        if self.request.method not in self._routes:
            known = ", ".join(self._routes)
            raise RefusedError(405, "method", f"This can't be done here; there are: {known}.")
        return self._routes[self.request.method]

    def _sent(self, route: Route) -> Any:
        if route.takes.endswith("Query"):
            return schema.read_query(route.takes, self._arguments())
        return schema.read_body(route.takes, self.request.body)

    def _arguments(self) -> dict[str, list[str]]:
        names = self.request.query_arguments.keys() - _NOT_OURS
        # a bare number is there to have nobody answer from a cache
        return {name: self.get_query_arguments(name) for name in names if not name.isdigit()}

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Tell what Jupyter Server refuses, and faults of ours, as problems."""
        error = (kwargs.get("exc_info") or (None, None))[1]
        if isinstance(error, HTTPError):
            what = error.log_message or responses.get(status_code, "It failed")
            said = plain(_CODES.get(status_code, "error"), f"{what}.".replace("..", "."))
        else:
            said = problem(error or Exception(responses.get(status_code, "")))
        self.finish(json.dumps(said))
