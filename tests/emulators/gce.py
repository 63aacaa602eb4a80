"""A small Compute Engine: the part of its REST API that we use, with faults as data."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from .hosts import Boot, Hosts

PROJECT = "emulated-project"
ZONES = (
    "us-central1-a", "us-central1-b", "us-central1-f",
    "us-east1-c", "us-east1-d",
    "us-west1-a", "us-west1-b",
)  # fmt: skip

_GPUS: Mapping[str, tuple[str, int]] = {
    **{f"g2-standard-{n}": ("NVIDIA_L4_GPUS", 1) for n in (4, 8, 12, 16, 32)},
    "g2-standard-24": ("NVIDIA_L4_GPUS", 2),
    **{f"a2-highgpu-{n}g": ("NVIDIA_A100_GPUS", n) for n in (1, 2, 4, 8)},
    **{f"a2-ultragpu-{n}g": ("NVIDIA_A100_80GB_GPUS", n) for n in (1, 2, 4, 8)},
    "a3-highgpu-1g": ("NVIDIA_H100_GPUS", 1),
}
"""What machine types have GPUs of, and how many."""
_MACHINES = (*_GPUS, "e2-standard-2", "e2-standard-4", "n1-standard-4", "n1-standard-8", "n1-standard-16")
_ATTACHED = {
    "nvidia-tesla-t4": "NVIDIA_T4_GPUS",
    "nvidia-tesla-p100": "NVIDIA_P100_GPUS",
    "nvidia-tesla-v100": "NVIDIA_V100_GPUS",
}
_METRICS = sorted({metric for metric, _ in _GPUS.values()} | set(_ATTACHED.values()))
_IMAGE_SIZE = 50
_LABEL = re.compile(r"[a-z0-9_-]{0,63}")
_STOCK_OUT = (
    "The zone 'projects/{project}/zones/{zone}' does not have enough resources available to fulfill the"
    " request. Try a different zone, or try again later."
)


class Refused(Exception):
    """What is answered with an HTTP error."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


@dataclass
class Fault:
    """One thing that goes wrong.

    Attributes:
        what: The permission that the call needs, as a regular expression.
        where: The path of the call, as a regular expression.
        code: What it fails with: a reason of HTTP errors, or a code of operations.
        message: Its text; ``{zone}``, ``{region}`` and ``{project}`` stand for those of the call.
        status: The HTTP status; 0 when the call is accepted and its operation fails.
        times: How often.
    """

    what: str
    where: str
    code: str
    message: str
    status: int = 0
    times: float = float("inf")


@dataclass
class Machine:
    """A machine as the API shows it, and what is known beside."""

    shown: dict[str, Any]
    lock: threading.Lock = field(default_factory=threading.Lock)
    wanted: bool = True
    address: str = ""

    def runs(self) -> None:
        """Show it as running, with the address that it has only then."""
        self.shown["networkInterfaces"][0]["accessConfigs"][0]["natIP"] = self.address
        self.shown["status"] = "RUNNING"

    def is_off(self) -> None:
        """Show it as off."""
        self.shown["networkInterfaces"][0]["accessConfigs"][0].pop("natIP", None)
        self.shown.update(status="TERMINATED", lastStopTimestamp=_now())


@dataclass(frozen=True)
class Call:
    """A call that was made."""

    method: str
    path: str
    query: Mapping[str, str]
    body: Mapping[str, Any]

    def match(self, pattern: str) -> re.Match[str] | None:
        return re.fullmatch(pattern, self.path)


class Gce:
    """The service, at `url`, with machines on `hosts`.

    Attributes:
        calls: The calls so far, as ``METHOD path`` below the project.
        zones: What types each zone has.
        delay: Seconds that an operation takes.
        page: The most entries of a list that one answer has.
        image_families: Those that there are.
        price_list: The entries of the Cloud Billing Catalog; None refuses to tell them.
    """

    def __init__(self, hosts: Hosts | None = None) -> None:
        self.hosts = hosts or Hosts()
        self.calls: list[str] = []
        self.price_list: list[dict[str, Any]] | None = None
        self.zones: dict[str, set[str]] = {zone: {*_MACHINES, *_ATTACHED} for zone in ZONES}
        self.delay = 0.02
        self.page = 500
        self.image_families = {"common-cu129-ubuntu-2204-nvidia-580"}
        self.machines: dict[tuple[str, str], Machine] = {}
        self.firewalls: dict[str, dict[str, Any]] = {}
        self._limits: dict[tuple[str, str], float] = {}
        self._faults: list[Fault] = []
        self._operations: dict[str, dict[str, Any]] = {}
        self._requests: dict[str, str] = {}
        self._lock = threading.RLock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def environment(self) -> dict[str, str]:
        """What a program must be told to use this."""
        return {
            # as gcloud wants it, with a path
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE": f"{self.url}/compute/v1/",
            "GOOGLE_CLOUD_PROJECT": PROJECT,
        }

    @property
    def price_environment(self) -> dict[str, str]:
        """What a program must be told besides, to learn prices here."""
        return {"CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDBILLING": self.url}

    def close(self) -> None:
        """End the service and every machine."""
        self._server.shutdown()
        self._server.server_close()
        for machine in list(self.machines.values()):
            machine.wanted = False
            with machine.lock:
                self.hosts.delete(machine.shown["name"])

    # What goes wrong

    def fail(self, fault: Fault) -> None:
        """Let a fault happen from now on."""
        self._faults.append(fault)

    def mend(self) -> None:
        """Let no fault happen any more."""
        self._faults.clear()

    def exhaust(self, zone: str = "", times: float = float("inf")) -> None:
        """Have nothing left in a zone, or in all; new machines fail in their operation."""
        where = f".*/zones/{zone or '[^/]+'}/.*"
        self.fail(
            Fault(
                "compute.instances.(create|start)",
                where,
                "ZONE_RESOURCE_POOL_EXHAUSTED",
                _STOCK_OUT,
                times=times,
            )
        )

    def limit(self, metric: str, limit: float, region: str = "") -> None:
        """Set a quota; without a region it is the project's."""
        self._limits[region, metric] = limit

    def refuse_quota(self, metric: str, region: str = "") -> None:
        """Refuse machines for a quota that is said to be large enough; without a region, the project's."""
        scope = "in region {region}" if region else "globally"
        where = f".*/zones/{region or '[^/]+'}-[^/]+/.*"
        message = f"Quota '{metric}' exceeded.  Limit: 0.0 {scope}."
        self.fail(Fault("compute.instances.create", where, "quotaExceeded", message, 403))

    def deny(self, permission: str) -> None:
        """Take a permission away."""
        message = f"Required '{permission}' permission for 'projects/{PROJECT}'"
        self.fail(Fault(re.escape(permission), ".*", "forbidden", message, 403))

    def limit_rate(self, times: int) -> None:
        """Turn the next calls down as too many."""
        self.fail(Fault(".*", ".*", "rateLimitExceeded", "Rate Limit Exceeded", 403, times))

    def preempt(self, name: str, after: float = 0.0) -> None:
        """Take a machine back `after` seconds from now, telling it at once."""
        zone, machine = next((z, m) for (z, n), m in self.machines.items() if n == name)
        self.hosts.notice(name)

        def take() -> None:
            time.sleep(after)
            if not machine.wanted:
                return
            machine.shown["status"] = "STOPPING"
            self._operate("compute.instances.preempted", f"zones/{zone}/instances/{name}", zone)
            if machine.shown["scheduling"].get("instanceTerminationAction") == "DELETE":
                self._destroy(zone, name)
            else:
                with machine.lock:
                    self.hosts.off(name)
                machine.is_off()

        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        if not after:
            thread.join()

    def power_off(self, name: str) -> None:
        """Power a machine off from inside."""
        machine = next(m for (_, n), m in self.machines.items() if n == name)
        with machine.lock:
            self.hosts.off(name)
        machine.is_off()

    def vanish(self, name: str) -> None:
        """Have a machine be gone without a word, as after somebody's deletion long ago."""
        zone = next(z for z, n in self.machines if n == name)
        self._destroy(zone, name)

    def count(self, call: str) -> int:
        """Return how many calls matched a regular expression."""
        return sum(bool(re.fullmatch(call, c)) for c in self.calls)

    @property
    def permissions(self) -> set[str]:
        """The permissions that calls need."""
        return {permission for _, _, permission, _ in self._routes()}

    @property
    def inserted(self) -> list[str]:
        """The zones in which a machine was asked for, in that order."""
        found = (re.fullmatch(r"POST /zones/([^/]+)/instances", call) for call in self.calls)
        return [match[1] for match in found if match]

    # Operations

    def _operate(
        self,
        kind: str,
        target: str,
        zone: str,
        work: Callable[[], object] | None = None,
        fault: Fault | None = None,
    ) -> dict[str, Any]:
        """Begin an operation, which does `work` after a while; without any it is done at once."""
        with self._lock:
            name = f"operation-{len(self._operations)}"
            operation = self._operations[name] = {
                "kind": "compute#operation",
                "id": str(len(self._operations) + 1),
                "name": name,
                "operationType": kind,
                "status": "RUNNING" if work or fault else "DONE",
                "insertTime": _now(),
                "targetLink": f"{self.url}/compute/v1/projects/{PROJECT}/{target}",
                **({"zone": zone, "endTime": _now()} if zone and not work and not fault else {"zone": zone}),
            }

        def go() -> None:
            time.sleep(self.delay)
            if fault:
                errors = [{"code": fault.code, "message": fault.message}]
                operation.update({"error": {"errors": errors}, "httpErrorStatusCode": 503})
            elif work:
                work()
            operation.update(status="DONE", endTime=_now())

        if work or fault:
            threading.Thread(target=go, daemon=True).start()
        return operation

    def _filtered(self, items: Iterable[Any], call: Call) -> list[Any]:
        text = call.query.get("filter", "")
        match = re.fullmatch(r'([\w.-]+?)(?: (eq) "(.*)"|:\*| = "?(.*?)"?)', text)
        if text and not match:
            raise Refused(400, "invalid", f"Invalid value for field 'filter': '{text}'.")

        def fits(item: Mapping[str, Any]) -> bool:
            if not match:
                return True
            name, regex, equal = match[1], match[3], match[4]
            top, _, rest = name.partition(".")
            value = item.get(top, {}).get(rest) if rest else item.get(top)
            if regex is not None:
                return bool(re.fullmatch(regex, value or ""))
            return value is not None if equal is None else value == equal

        return [item for item in items if fits(item)]

    def _list(self, items: Iterable[Any], call: Call) -> dict[str, Any]:
        found = self._filtered(items, call)
        return self._page(found, call) | {"kind": "compute#list"}

    def _aggregate(self, field_: str, by_zone: Mapping[str, Iterable[Any]], call: Call) -> dict[str, Any]:
        flat = [(zone, i) for zone, items in by_zone.items() for i in self._filtered(items, call)]
        page = self._page(flat, call)
        scopes: dict[str, Any] = {
            f"zones/{zone}": {"warning": {"code": "NO_RESULTS_ON_PAGE"}} for zone in by_zone
        }
        for zone, item in page["items"]:
            scopes[f"zones/{zone}"] = {field_: [*scopes[f"zones/{zone}"].get(field_, []), item]}
        return page | {"items": scopes}

    def _page(self, items: list[Any], call: Call) -> dict[str, Any]:
        start, size = (
            int(call.query.get("pageToken", 0)),
            min(self.page, int(call.query.get("maxResults", 500))),
        )
        page: dict[str, Any] = {"items": items[start : start + size]}
        if start + size < len(items):
            page["nextPageToken"] = str(start + size)
        return page

    # Calls

    def _answer(self, call: Call) -> dict[str, Any]:
        if call.path == "/v1/services/6F81-5844-456A/skus":
            return self._prices(call)
        for method, pattern, permission, handler in self._routes():
            match = call.match(pattern)
            if match and call.method == method:
                fault = self._fault(permission, call)
                if fault and fault.status:
                    raise Refused(fault.status, fault.code, fault.message)
                answer: dict[str, Any] = handler(call, fault, *match.groups())
                return answer
        raise Refused(404, "notFound", f"The resource '{call.path}' was not found")

    def _fault(self, permission: str, call: Call) -> Fault | None:
        with self._lock:
            for fault in self._faults:
                if (
                    fault.times > 0
                    and re.fullmatch(fault.what, permission)
                    and re.fullmatch(fault.where, call.path)
                ):
                    fault.times -= 1
                    zone = next(iter(re.findall(r"/zones/([^/]+)", call.path)), "")
                    words = {"zone": zone, "region": zone.rpartition("-")[0], "project": PROJECT}
                    text = fault.message.format(**words)
                    return Fault(fault.what, fault.where, fault.code, text, fault.status)
        return None

    def _routes(self) -> list[tuple[str, str, str, Callable[..., Any]]]:
        zone, name = r"/zones/([^/]+)", r"([^/]+)"
        return [
            ("GET", "", "compute.projects.get", self._project),
            ("GET", "/regions", "compute.regions.list", self._regions),
            ("GET", "/aggregated/machineTypes", "compute.machineTypes.list", self._machine_types),
            ("GET", "/aggregated/acceleratorTypes", "compute.acceleratorTypes.list", self._accelerators),
            ("GET", "/aggregated/instances", "compute.instances.list", self._instances),
            ("POST", f"{zone}/instances", "compute.instances.create", self._insert),
            ("GET", f"{zone}/instances/{name}", "compute.instances.get", self._get),
            ("DELETE", f"{zone}/instances/{name}", "compute.instances.delete", self._delete),
            ("POST", f"{zone}/instances/{name}/stop", "compute.instances.stop", self._stop),
            ("POST", f"{zone}/instances/{name}/start", "compute.instances.start", self._start),
            ("GET", f"{zone}/operations", "compute.zoneOperations.list", self._list_operations),
            ("GET", f"{zone}/operations/{name}", "compute.zoneOperations.get", self._operation),
            ("GET", "/global/firewalls", "compute.firewalls.list", self._list_firewalls),
            ("POST", "/global/firewalls", "compute.firewalls.create", self._insert_firewall),
            ("PATCH", f"/global/firewalls/{name}", "compute.firewalls.update", self._patch_firewall),
            ("DELETE", f"/global/firewalls/{name}", "compute.firewalls.delete", self._delete_firewall),
        ]

    def _prices(self, call: Call) -> dict[str, Any]:
        if self.price_list is None:
            raise Refused(403, "SERVICE_DISABLED", "Cloud Billing API has not been used in project 1 before.")
        start, size = int(call.query.get("pageToken") or 0), min(self.page, int(call.query["pageSize"]))
        following = str(start + size) if start + size < len(self.price_list) else ""
        return {"skus": self.price_list[start : start + size], "nextPageToken": following}

    def _project(self, call: Call, fault: object) -> dict[str, Any]:
        return {"name": PROJECT, "quotas": [self._quota("GPUS_ALL_REGIONS", "")]}

    def _regions(self, call: Call, fault: object) -> dict[str, Any]:
        names = sorted({zone.rpartition("-")[0] for zone in self.zones})
        metrics = [p + m for m in _METRICS for p in ("", "PREEMPTIBLE_")]
        return self._list(
            [
                {"name": n, "status": "UP", "quotas": [self._quota(m, n) for m in ("CPUS", *metrics)]}
                for n in names
            ],
            call,
        )

    def _quota(self, metric: str, region: str) -> dict[str, Any]:
        used = 0.0
        for (zone, _), machine in self.machines.items():
            if zone.startswith(region) and machine.shown["status"] != "TERMINATED":
                used += _uses(machine.shown).get(metric, 0)
        # as Google's: what was never asked for is 0 for spot, which then counts as all others do
        limit = self._limits.get((region, metric), 0.0 if metric.startswith("PREEMPTIBLE") else 16.0)
        return {"metric": metric, "limit": limit, "usage": used}

    def _machine_types(self, call: Call, fault: object) -> dict[str, Any]:
        types = {z: [{"name": n} for n in sorted(names - set(_ATTACHED))] for z, names in self.zones.items()}
        return self._aggregate("machineTypes", types, call)

    def _accelerators(self, call: Call, fault: object) -> dict[str, Any]:
        types = {z: [{"name": n} for n in sorted(names & set(_ATTACHED))] for z, names in self.zones.items()}
        return self._aggregate("acceleratorTypes", types, call)

    def _instances(self, call: Call, fault: object) -> dict[str, Any]:
        there = {z: [m.shown for (at, _), m in list(self.machines.items()) if at == z] for z in self.zones}
        return self._aggregate("instances", there, call)

    def _insert(self, call: Call, fault: Fault | None, zone: str) -> dict[str, Any]:
        body, request = dict(call.body), f"{zone} {call.query.get('requestId')}"
        name = str(body["name"])
        with self._lock:
            if request in self._requests:
                return self._operations[self._requests[request]]
            if (zone, name) in self.machines:
                raise Refused(409, "alreadyExists", f"The resource '{self._path(zone, name)}' already exists")
            self._check(zone, body)
            if not fault:
                machine = self.machines[zone, name] = Machine(
                    {
                        **body,
                        "id": str(len(self._operations) + 1000),
                        "status": "PROVISIONING",
                        "creationTimestamp": _now(),
                    }
                )
            operation = self._operate(
                "insert",
                f"zones/{zone}/instances/{name}",
                zone,
                None if fault else lambda: self._boot(zone, machine),
                fault,
            )
            self._requests[request] = operation["name"]
            return operation

    def _check(self, zone: str, body: Mapping[str, Any]) -> None:
        """Refuse what Google refuses."""

        def invalid(field_: str, why: str) -> Refused:
            return Refused(400, "invalid", f"Invalid value for field 'resource.{field_}': {why}")

        name, scheduling = body["name"], body.get("scheduling", {})
        if not re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", name):
            raise invalid("name", f"'{name}'.")
        if body["machineType"].rpartition("/")[2] not in self.zones.get(zone, ()):
            raise invalid("machineType", f"'{body['machineType']}'. The referenced resource does not exist.")
        for attached in body.get("guestAccelerators", []):
            kind = attached["acceleratorType"].rpartition("/")[2]
            if kind not in self.zones[zone]:
                path = f"projects/{PROJECT}/zones/{zone}/acceleratorTypes/{kind}"
                raise Refused(404, "notFound", f"The resource '{path}' was not found")
        for key, value in body.get("labels", {}).items():
            if not (_LABEL.fullmatch(value) and _LABEL.fullmatch(key) and key[0].isalpha()):
                raise invalid("labels", f"'{key}={value}'.")
        if _uses(body) and scheduling.get("onHostMaintenance") != "TERMINATE":
            raise Refused(
                400, "badRequest", "Instances with guest accelerators do not support live migration."
            )
        bounded = "maxRunDuration" in scheduling or scheduling.get("provisioningModel") == "SPOT"
        if "instanceTerminationAction" in scheduling and not bounded:
            raise invalid("scheduling.instanceTerminationAction", "it needs a time limit or spot.")
        disk = body["disks"][0]["initializeParams"]
        if disk["sourceImage"].rpartition("/")[2] not in self.image_families:
            raise invalid(
                "disks[0].initializeParams.sourceImage", "The referenced image resource cannot be found."
            )
        if int(disk["diskSizeGb"]) < _IMAGE_SIZE:
            raise invalid("disks[0].initializeParams.diskSizeGb", "smaller than the image.")
        if body["networkInterfaces"][0]["network"] != "global/networks/default":
            raise Refused(404, "notFound", "The resource 'global/networks/other' was not found")
        region = zone.rpartition("-")[0]
        for metric, count in _uses(body).items():
            where = "" if metric == "GPUS_ALL_REGIONS" else region
            quota = self._quota(metric, where)
            if metric.startswith("PREEMPTIBLE") and not quota["limit"]:
                continue
            if quota["usage"] + count > quota["limit"]:
                scope = f"in region {where}" if where else "globally"
                message = f"Quota '{metric}' exceeded.  Limit: {quota['limit']} {scope}."
                raise Refused(403, "quotaExceeded", message)

    def _boot(self, zone: str, machine: Machine) -> None:
        shown = machine.shown
        attributes = {i["key"]: i.get("value", "") for i in shown.get("metadata", {}).get("items", [])}
        spot = shown.get("scheduling", {}).get("provisioningModel") == "SPOT"
        boot = Boot(
            shown["name"],
            "gcp",
            attributes.pop("user-data", ""),
            {
                **{f"instance/attributes/{k}": v for k, v in attributes.items()},
                "instance/zone": f"projects/1/zones/{zone}",
                "instance/scheduling/preemptible": "TRUE" if spot else "FALSE",
            },
            machine.is_off,
        )
        with machine.lock:
            if not machine.wanted:
                return
            shown["status"] = "STAGING"
            machine.address = self.hosts.boot(boot)
            if shown["status"] == "STAGING":
                machine.runs()

    def _known(self, zone: str, name: str) -> Machine:
        if (zone, name) not in self.machines:
            raise Refused(404, "notFound", f"The resource '{self._path(zone, name)}' was not found")
        return self.machines[zone, name]

    @staticmethod
    def _path(zone: str, name: str) -> str:
        return f"projects/{PROJECT}/zones/{zone}/instances/{name}"

    def _get(self, call: Call, fault: object, zone: str, name: str) -> dict[str, Any]:
        return self._known(zone, name).shown

    def _delete(self, call: Call, fault: Fault | None, zone: str, name: str) -> dict[str, Any]:
        machine = self._known(zone, name)
        machine.shown["status"] = "STOPPING"
        machine.wanted = False
        target = f"zones/{zone}/instances/{name}"
        return self._operate("delete", target, zone, lambda: self._destroy(zone, name), fault)

    def _destroy(self, zone: str, name: str) -> None:
        machine = self.machines.get((zone, name))
        if machine:
            machine.wanted = False
            with machine.lock:
                self.hosts.delete(name)
            self.machines.pop((zone, name), None)

    def _stop(self, call: Call, fault: Fault | None, zone: str, name: str) -> dict[str, Any]:
        machine = self._known(zone, name)
        scratch = any(disk.get("type") == "SCRATCH" for disk in machine.shown["disks"])
        if scratch and call.query.get("discardLocalSsd", "").lower() != "true":
            raise Refused(
                400, "invalid", "Required parameter 'discardLocalSsd' for a machine with local SSDs."
            )
        machine.shown["status"] = "STOPPING"

        def off() -> None:
            with machine.lock:
                self.hosts.off(name)
            machine.is_off()

        return self._operate("stop", f"zones/{zone}/instances/{name}", zone, off, fault)

    def _start(self, call: Call, fault: Fault | None, zone: str, name: str) -> dict[str, Any]:
        machine = self._known(zone, name)
        if machine.shown["status"] != "TERMINATED":
            raise Refused(400, "resourceNotReady", f"The resource '{self._path(zone, name)}' is not ready")
        if not fault:
            machine.shown["status"] = "STAGING"

        def on() -> None:
            with machine.lock:
                self.hosts.on(name)
                machine.runs()

        return self._operate("start", f"zones/{zone}/instances/{name}", zone, on, fault)

    def _list_operations(self, call: Call, fault: object, zone: str) -> dict[str, Any]:
        return self._list([o for o in list(self._operations.values()) if o["zone"] == zone], call)

    def _operation(self, call: Call, fault: object, zone: str, name: str) -> dict[str, Any]:
        return self._operations[name]

    def _list_firewalls(self, call: Call, fault: object) -> dict[str, Any]:
        return self._list(list(self.firewalls.values()), call)

    def _insert_firewall(self, call: Call, fault: Fault | None) -> dict[str, Any]:
        name = str(call.body["name"])
        with self._lock:
            if name in self.firewalls:
                raise Refused(409, "alreadyExists", f"The resource 'global/firewalls/{name}' already exists")
            self.firewalls[name] = dict(call.body)
        return self._operate("insert", f"global/firewalls/{name}", "")

    def _firewall(self, name: str) -> dict[str, Any]:
        if name not in self.firewalls:
            raise Refused(404, "notFound", f"The resource 'global/firewalls/{name}' was not found")
        return self.firewalls[name]

    def _patch_firewall(self, call: Call, fault: Fault | None, name: str) -> dict[str, Any]:
        self._firewall(name).update(call.body)
        return self._operate("patch", f"global/firewalls/{name}", "")

    def _delete_firewall(self, call: Call, fault: Fault | None, name: str) -> dict[str, Any]:
        with self._lock:
            self._firewall(name)
            del self.firewalls[name]
        return self._operate("delete", f"global/firewalls/{name}", "")

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        gce = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                url = urlsplit(self.path)
                prefix = f"/compute/v1/projects/{PROJECT}"
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                path = unquote(url.path).removeprefix(prefix)
                call = Call(self.command, path, dict(parse_qsl(url.query)), json.loads(body or b"{}"))
                gce.calls.append(f"{call.method} {call.path}")
                try:
                    status, answer = 200, gce._answer(call)
                except Refused as e:
                    detail = {"message": str(e), "domain": "global", "reason": e.reason}
                    status = e.status
                    answer = {"error": {"code": status, "message": str(e), "errors": [detail]}}
                data = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json; charset=UTF-8")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_POST = do_PATCH = do_DELETE = do_GET

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler


def _uses(body: Mapping[str, Any]) -> dict[str, float]:
    """Return what a machine takes from which quotas."""
    machine_type = body["machineType"].rpartition("/")[2]
    gpus = [_GPUS[machine_type]] if machine_type in _GPUS else []
    attached = [(a["acceleratorType"], a["acceleratorCount"]) for a in body.get("guestAccelerators", [])]
    gpus += [(_ATTACHED[kind.rpartition("/")[2]], count) for kind, count in attached]
    used: dict[str, float] = {}
    for metric, count in gpus:
        spot = body.get("scheduling", {}).get("provisioningModel") == "SPOT"
        used[f"PREEMPTIBLE_{metric}" if spot else metric] = count
        used["GPUS_ALL_REGIONS"] = count
    return used


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
