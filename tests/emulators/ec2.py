"""Amazon EC2 as boto3 sees it, on moto, in a server of its own; what moto lacks is answered here.

Faults are data: `Ec2.refuse`, `deny`, `throttle`, `lag`, `latency`. Whatever was asked is in `Ec2.calls`.
"""

from __future__ import annotations

import io
import json
import math
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from .ec2_actions import Actions
from .ec2_machines import ACCOUNT
from .ec2_market import Market
from .ec2_wire import Answer, Call, error
from .hosts import Hosts

ZONES = {"us-east-1": "abcdef", "us-west-2": "abcd", "eu-west-1": "abc"}
"""The regions that the account has enabled, and the letters of their zones: 13."""

SERVICES = {
    "AmazonSSM": "ssm",
    "AWSPriceListService": "pricing",
    "ServiceQuotasV20190624": "servicequotas",
}
"""What permissions call the services that are asked in JSON."""


@dataclass
class _Refusal:
    where: str
    code: str
    status: int
    message: str
    action: str
    times: float


class Ec2(Market, Actions):
    """A cloud with one account; several processes may use it by `environment`.

    Args:
        hosts: What its machines are.
        zones: Its regions, each with the letters of its zones.
        bind: The address that it listens at.

    Attributes:
        url: Where it is.
        environment: What makes boto3 use it.
        pace: Seconds that a machine takes from one state to the next.
        latency: Seconds that every call takes.
        busiest: The most calls that were in progress at the same time.
        lag: How many times a new machine is asked for in vain, as it is not known everywhere yet.
        prices: Dollars an hour by type and zone of spot machines; others cost half a dollar.
        list_prices: Dollars an hour by type and region of machines on demand; others are not listed.
        quotas: Virtual cores by the code of the quota, or by region and code.
    """

    def __init__(
        self, hosts: Hosts | None = None, zones: Mapping[str, str] = ZONES, bind: str = "127.0.0.1"
    ) -> None:
        Market.__init__(self, zones)
        Actions.__init__(self, hosts or Hosts(), zones)
        self.latency, self.busiest = 0.0, 0
        self._in_progress = 0
        self._calls: list[Call] = []
        self._refusals: list[_Refusal] = []
        self._denied: set[str] = set()
        self._throttled: dict[str, int] = {}
        self._serve(bind)

    def _serve(self, bind: str) -> None:
        from werkzeug.serving import WSGIRequestHandler, make_server

        class Handler(WSGIRequestHandler):
            protocol_version = "HTTP/1.1"

            def log(self, type: str, message: str, *args: Any) -> None:
                pass

        self._server = make_server(bind, 0, self._answer, threaded=True, request_handler=Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://{bind}:{self._server.server_port}"
        self.environment = {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "AKIAEMULATED",
            "AWS_SECRET_ACCESS_KEY": "nobody's",
            "AWS_DEFAULT_REGION": next(iter(self.zones)),
            # nothing of the user's own
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "NO_PROXY": f"{os.environ.get('NO_PROXY', '')},{bind}",
        }

    def close(self) -> None:
        """Take all machines away, and stop answering."""
        self._server.shutdown()
        self._server.server_close()
        for machine in self._machines():
            self.hosts.delete(machine.id)

    # what a test asks and decrees

    def calls(self, *actions: str) -> list[Call]:
        """Return what was asked so far, in order; of these actions, where some are named."""
        with self._lock:
            return [c for c in self._calls if not actions or c.action in actions]

    def forget_calls(self) -> None:
        """Count anew."""
        with self._lock:
            self._calls.clear()

    def refuse(
        self,
        where: str,
        code: str,
        status: int = 400,
        message: str = "",
        action: str = "RunInstances",
        times: float = math.inf,
    ) -> None:
        """Answer an action (or all: ``""``) with an error: in a zone, in a region, or everywhere (``""``)."""
        self._refusals.append(_Refusal(where, code, status, message or f"It is {code}.", action, times))

    def deny(self, permission: str) -> None:
        """Take a permission (``ec2:RunInstances``) away from the user."""
        self._denied.add(permission)

    def relent(self) -> None:
        """Refuse and deny nothing any more."""
        self._refusals.clear()
        self._denied.clear()
        self._throttled.clear()

    def throttle(self, action: str, times: int) -> None:
        """Answer an action so many times that there were too many requests."""
        self._throttled[action] = times

    # answers

    def _answer(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        with self._lock:
            self._in_progress += 1
            self.busiest = max(self.busiest, self._in_progress)
        time.sleep(self.latency)
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        with self._lock:
            self._in_progress -= 1
            self._go_on()
            call = self._call(environ, body)
            self._calls.append(call)
            target = environ.get("HTTP_X_AMZ_TARGET", "")
            service = SERVICES.get(target.partition(".")[0], "ec2")
            status, kind, data = self._refused(call, service) or self._own(call)
            if not data:
                status, kind, data = self._from_moto(environ, call)
        start(f"{status} -", [("Content-Type", kind), ("Content-Length", str(len(data)))])
        return [data]

    def _call(self, environ: Mapping[str, Any], body: bytes) -> Call:
        scope = re.search(r"Credential=[^/]+/\d+/([^/]+)/", environ.get("HTTP_AUTHORIZATION", ""))
        region = scope[1] if scope else ""
        if target := environ.get("HTTP_X_AMZ_TARGET", ""):
            return Call(target.partition(".")[2], region, json.loads(body or b"{}"))
        params = dict(parse_qsl(body.decode(), keep_blank_values=True))
        subnet = params.get("SubnetId") or params.get("NetworkInterface.1.SubnetId")
        subnets = {
            s.id: s.availability_zone for z in self._backends[region].subnets.values() for s in z.values()
        }
        return Call(params.get("Action", ""), region, params, subnets.get(subnet, ""))

    def _refused(self, call: Call, service: str) -> Answer | None:
        permission = f"{service}:{call.action}"
        if self._throttled.get(call.action, 0) > 0:
            self._throttled[call.action] -= 1
            return error(service, 503, "RequestLimitExceeded", "Request limit exceeded.")
        if permission in self._denied:
            code = "UnauthorizedOperation" if service == "ec2" else "AccessDeniedException"
            why = f"User: arn:aws:iam::{ACCOUNT}:user/me is not authorized to perform: {permission}"
            why += f" on resource: arn:aws:{service}:{call.region}:{ACCOUNT}:* because no identity-based"
            why += f" policy allows the {permission} action"
            if service == "ec2":
                why = (
                    f"You are not authorized to perform this operation. {why}. Encoded authorization failure"
                )
                why += " message: " + "xyz" * 200
            return error(service, 403, code, why)
        for r in self._refusals:
            if r.times and r.action in ("", call.action) and r.where in ("", call.region, call.zone):
                r.times -= 1
                return error(service, r.status, r.code, r.message)
        return None

    def _own(self, call: Call) -> Answer:
        """Return the answer to what moto does not do, or not well; no data for what it does."""
        answer = getattr(self, f"_{re.sub('(?<=[a-z])(?=[A-Z])', '_', call.action).lower()}", None)
        return (answer(call) if answer else None) or (0, "", b"")
