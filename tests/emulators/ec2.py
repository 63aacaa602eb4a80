"""Amazon EC2 as boto3 sees it, on moto, in a server of its own; what moto lacks is answered here.

Faults are data: `Ec2.refuse`, `deny`, `throttle`, `lag`, `latency`. Whatever was asked is in `Ec2.calls`.
"""

from __future__ import annotations

import base64
import io
import itertools
import json
import os
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from jupyter_gpu_remote import catalog

from .hosts import Boot, Hosts

ACCOUNT = "123456789012"
ZONES = {"us-east-1": "abcdef", "us-west-2": "abcd", "eu-west-1": "abc"}
"""The regions that the account has enabled, and the letters of their zones: 13."""
IMAGES = {
    "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-22.04/latest/ami-id": "ami-0d1a",
    "/aws/service/canonical/ubuntu/server/22.04/stable/current/amd64/hvm/ebs-gp2/ami-id": "ami-0ca0",
}
ENOUGH = 10_000.0
"""Virtual cores that a quota allows unless a test says otherwise."""


@dataclass(frozen=True)
class Call:
    """One request that reached the cloud."""

    action: str
    region: str
    params: Mapping[str, Any]
    zone: str = ""


@dataclass
class _Refusal:
    where: str
    code: str
    status: int
    message: str
    action: str


@dataclass
class _Spot:
    """A spot request, as the cloud keeps it longer than the machine."""

    id: str
    region: str
    machine: str
    tags: Mapping[str, str]
    state: str = "active"
    status: str = "fulfilled"
    updated: datetime = field(default_factory=lambda: datetime.now(timezone.utc))

    def become(self, state: str, status: str) -> None:
        if self.state != "closed":
            self.state, self.status, self.updated = state, status, datetime.now(timezone.utc)


class Ec2:
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
        quotas: Virtual cores by the code of the quota, or by region and code.
    """

    def __init__(
        self, hosts: Hosts | None = None, zones: Mapping[str, str] = ZONES, bind: str = "127.0.0.1"
    ) -> None:
        self.hosts = hosts or Hosts()
        self.zones = {region: [region + letter for letter in letters] for region, letters in zones.items()}
        self.pace, self.latency, self.lag, self.busiest = 0.02, 0.0, 0, 0
        self._in_progress = 0
        self.prices: dict[tuple[str, str], float] = {}
        self.quotas: dict[str | tuple[str, str], float] = {}
        self._calls: list[Call] = []
        self._refusals: list[_Refusal] = []
        self._denied: set[str] = set()
        self._throttled: dict[str, int] = {}
        self._tokens: dict[tuple[str, str], tuple[str, bytes]] = {}
        self._asked: dict[str, int] = {}
        self._addresses: dict[str, str] = {}
        self._spot: dict[str, _Spot] = {}
        self._later: list[tuple[float, Callable[[], None]]] = []
        self._numbers = itertools.count(1)
        self._lock = threading.RLock()
        self._start_moto()
        self._serve(bind)

    def _start_moto(self) -> None:
        empty = Path(tempfile.gettempdir()) / "gpu-remote-no-images.json"
        empty.write_text("[]")
        # read when moto is imported: with its own images one look at them takes seconds
        os.environ["MOTO_AMIS_PATH"] = str(empty)
        os.environ["MOTO_EC2_LOAD_DEFAULT_AMIS"] = "false"
        from moto.backends import get_backend
        from moto.ec2.models.amis import Ami
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

        self._backends = get_backend("ec2")[ACCOUNT]
        for region in self.zones:
            backend = self._backends[region]
            backend.reset()
            for image in IMAGES.values():
                backend.amis[image] = Ami(backend, image, name=image, virtualization_type="hvm", public=True)
        self._moto = DomainDispatcherApplication(create_backend_app)

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
        self, where: str, code: str, status: int = 400, message: str = "", action: str = "RunInstances"
    ) -> None:
        """Answer an action with an error from now on: in a zone, in a region, or everywhere (``""``)."""
        self._refusals.append(_Refusal(where, code, status, message or f"It is {code}.", action))

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

    def machines(self) -> list[str]:
        """Return the ids of the machines that are billed."""
        return [m.id for m in self._machines() if m.state in ("pending", "running", "stopping", "stopped")]

    def leftovers(self) -> list[str]:
        """Return all that is left of any machine: itself, its disk, its spot request."""
        with self._lock:
            disks = [f"{v.id} of {r}" for r in self.zones for v in self._backends[r].volumes.values()]
            spot = [s.id for s in self._spot.values() if s.state in ("open", "active")]
            return self.machines() + disks + spot

    def groups(self) -> list[str]:
        """Return the names of the security groups that somebody made."""
        with self._lock:
            groups = [
                g for r in self.zones for by_id in self._backends[r].groups.values() for g in by_id.values()
            ]
            return [g.name for g in groups if g.name != "default"]

    def ingress(self, region: str, name: str) -> list[str]:
        """Return who may connect, as ``port address`` for each rule of a security group."""
        with self._lock:
            group = self._backends[region].get_security_group_from_name(name)
            ranges = [(rule.from_port, rule.ip_range) for rule in (group.ingress_rules if group else [])]
            return sorted(f"{port} {r.get('CidrIp') or r.get('CidrIpv6')}" for port, r in ranges)

    def notice(self, id: str) -> None:
        """Say that a spot machine will be taken back."""
        with self._lock:
            for spot in self._spot_of(id):
                spot.status = "marked-for-termination"
        self.hosts.notice(id)

    def preempt(self, id: str) -> None:
        """Take a spot machine back, now."""
        with self._lock:
            for spot in self._spot_of(id):
                spot.become("closed", "instance-terminated-no-capacity")
            self._end(id, "Server.SpotInstanceTermination", "Spot instance termination")

    def kill(self, id: str) -> None:
        """End a machine as broken hardware does."""
        with self._lock:
            self._end(id, "Server.InternalError", "Internal error on launch")

    def forget(self, id: str) -> None:
        """Know nothing of a machine any more that ended, as after an hour."""
        with self._lock:
            for region in self.zones:
                for reservation in self._backends[region].reservations.values():
                    reservation.instances = [m for m in reservation.instances if m.id != id]

    def settle(self) -> None:
        """Have every machine be at once where it is going to."""
        with self._lock:
            while self._later:
                self._go_on(float("inf"))

    def power_off(self, id: str) -> None:
        """Power a machine off from inside."""
        with self._lock:
            machine = self._machine(id)
            if machine is None or machine.state not in ("pending", "running"):
                return
            if machine.instance_initiated_shutdown_behavior == "terminate":
                self._end(id, "Client.InstanceInitiatedShutdown", "Instance initiated shutdown")
            else:
                self._address(machine, None)
                self._become(machine, "stopped")

    # the life of a machine

    def _machines(self) -> list[Any]:
        with self._lock:
            return [m for region in self.zones for m in self._backends[region].all_instances()]

    def _machine(self, id: str) -> Any:
        return next((m for m in self._machines() if m.id == id), None)

    def _spot_of(self, id: str) -> Iterable[_Spot]:
        return [spot for spot in self._spot.values() if spot.machine == id]

    def _become(self, machine: Any, state: str, then: Callable[[], None] | None = None) -> None:
        from moto.ec2.models.instances import InstanceState

        codes = {
            "pending": 0,
            "running": 16,
            "shutting-down": 32,
            "terminated": 48,
            "stopping": 64,
            "stopped": 80,
        }
        machine._state = InstanceState(state, codes[state])
        if then:
            self._later.append((time.monotonic() + self.pace, then))

    def _go_on(self, now: float = 0.0) -> None:
        """Do what is due by now; nothing happens that nobody sees."""
        now = now or time.monotonic()
        due = [step for at, step in self._later if at <= now]
        self._later = [(at, step) for at, step in self._later if at > now]
        for step in due:
            step()

    def _address(self, machine: Any, address: str | None) -> None:
        for nic in machine.nics.values():
            nic.public_ip = address

    def _began(self, id: str, call: Call) -> None:
        machine = self._machine(id)
        data = machine.user_data.decode() if machine.user_data is not None else ""
        if machine.lifecycle == "spot":
            spot = _Spot(
                f"sir-{next(self._numbers):08x}", call.region, id, _tags(call, "spot-instances-request")
            )
            self._spot[spot.id] = spot
            machine.spot_instance_request_id = spot.id
        attributes = {
            "meta-data/instance-type": machine.instance_type,
            "meta-data/placement/availability-zone": call.zone,
            "meta-data/placement/region": call.region,
        }
        self._addresses[id] = self.hosts.boot(Boot(id, "aws", data, attributes, lambda: self.power_off(id)))
        self._asked[id] = 0
        self._address(machine, None)
        self._become(machine, "pending", lambda: self._up(machine))

    def _up(self, machine: Any) -> None:
        if machine.state == "pending":
            self._address(machine, self._addresses[machine.id])
            self._become(machine, "running")

    def _end(self, id: str, code: str, message: str) -> None:
        from moto.ec2.models.instances import StateReason

        machine = self._machine(id)
        if machine.state in ("shutting-down", "terminated"):
            return
        machine.terminate()  # its disks
        machine.state_reason = StateReason(f"{code}: {message}", code)
        machine._reason = "" if code.startswith("Server.Spot") else f"{message} ({_now()})"
        self._going(machine)

    def _going(self, machine: Any) -> None:
        self.hosts.delete(machine.id)
        for spot in self._spot_of(machine.id):
            spot.become("closed", "instance-terminated-by-user")

        def gone() -> None:
            self._address(machine, None)
            self._become(machine, "terminated")

        self._become(machine, "shutting-down", gone)

    def _stopped(self, machine: Any) -> None:
        if machine.state != "stopping":
            return
        self.hosts.off(machine.id)
        self._address(machine, None)
        self._become(machine, "stopped")

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
            service = {"AmazonSSM": "ssm", "ServiceQuotasV20190624": "servicequotas"}.get(
                target.partition(".")[0]
            )
            status, kind, data = self._refused(call, service or "ec2") or self._own(call)
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

    def _refused(self, call: Call, service: str) -> tuple[int, str, bytes] | None:
        permission = f"{service}:{call.action}"
        if self._throttled.get(call.action, 0) > 0:
            self._throttled[call.action] -= 1
            return _error(service, 503, "RequestLimitExceeded", "Request limit exceeded.")
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
            return _error(service, 403, code, why)
        for r in self._refusals:
            if r.action == call.action and r.where in ("", call.region, call.zone):
                return _error(service, r.status, r.code, r.message)
        return None

    def _own(self, call: Call) -> tuple[int, str, bytes]:
        """Return the answer to what moto does not do, or not well; no data for what it does."""
        answer = getattr(self, f"_{re.sub('(?<=[a-z])(?=[A-Z])', '_', call.action).lower()}", None)
        return (answer(call) if answer else None) or (0, "", b"")

    def _from_moto(self, environ: dict[str, Any], call: Call) -> tuple[int, str, bytes]:
        token = (call.region, call.params.get("ClientToken", ""))
        asked = json.dumps({k: v for k, v in call.params.items() if not k.startswith("Signature")})
        if call.action == "RunInstances" and token[1] and token in self._tokens:
            earlier, data = self._tokens[token]
            if earlier != asked:
                return _error("ec2", 400, "IdempotentParameterMismatch", "Not what the token stands for.")
            return 200, "text/xml", data
        before = {m.id: m.state for m in self._machines()}
        heads: list[str] = []
        data = b"".join(self._moto(environ, lambda status, headers, info=None: heads.append(status)))
        status = int(heads[0].split()[0])
        ids = re.findall(rb"<instanceId>(i-\w+)</instanceId>", data) if status == 200 else []
        for id in (i.decode() for i in ids):
            machine = self._machine(id)
            if call.action == "RunInstances":
                self._began(id, call)
                self._tokens[token] = (asked, data)
            elif call.action == "TerminateInstances" and before[id] not in ("shutting-down", "terminated"):
                self._going(machine)
            elif call.action == "StopInstances":
                self._become(machine, "stopping", lambda m=machine: self._stopped(m))
            elif call.action == "StartInstances" and before[id] == "stopped":
                self.hosts.on(id)
                self._become(machine, "pending", lambda m=machine: self._up(m))
        return status, "text/xml", data

    def _lagging(self, call: Call) -> tuple[int, str, bytes] | None:
        for id in _listed(call, "InstanceId"):
            if id in self._asked and self._asked[id] < self.lag:
                self._asked[id] += 1
                return _error(
                    "ec2", 400, "InvalidInstanceID.NotFound", f"The instance ID '{id}' does not exist"
                )
        return None

    _describe_instances = _lagging

    def _terminate_instances(self, call: Call) -> tuple[int, str, bytes] | None:
        if late := self._lagging(call):
            return late
        machines = [self._machine(id) for id in _listed(call, "InstanceId")]
        if not all(m and m.state in ("shutting-down", "terminated") for m in machines):
            return None
        # moto would end them once more, and say that the user did it
        state = [
            {"instanceId": m.id, "previousState": {"name": m.state}, "currentState": {"name": m.state}}
            for m in machines
        ]
        return _xml(call, {"instancesSet": state})

    def _stop_instances(self, call: Call) -> tuple[int, str, bytes] | None:
        for id in _listed(call, "InstanceId"):
            if (machine := self._machine(id)) and machine.lifecycle == "spot":
                why = f"You can't stop the Spot Instance '{id}': its Spot request is a one-time request."
                return _error("ec2", 400, "UnsupportedOperation", why)
        return None

    def _start_instances(self, call: Call) -> tuple[int, str, bytes] | None:
        for id in _listed(call, "InstanceId"):
            if (machine := self._machine(id)) and machine.state not in ("pending", "running", "stopped"):
                why = f"The instance '{id}' is not in a state from which it can be started."
                return _error("ec2", 400, "IncorrectInstanceState", why)
        return None

    def _run_instances(self, call: Call) -> tuple[int, str, bytes] | None:
        backend, params = self._backends[call.region], call.params
        if params.get("ImageId") not in backend.amis:
            why = f"The image id '[{params.get('ImageId')}]' does not exist"
            return _error("ec2", 400, "InvalidAMIID.NotFound", why)
        if params.get("InstanceType") not in {t.machine_type for t in catalog.types("aws")}:
            return _error("ec2", 400, "InvalidParameterValue", "Invalid value for InstanceType.")
        if len(base64.b64decode(params.get("UserData", ""))) > 16384:
            return _error("ec2", 400, "InvalidParameterValue", "User data is limited to 16384 bytes")
        for key, group in params.items():
            if ".SecurityGroupId." in key and backend.get_security_group_from_id(group) is None:
                return _error(
                    "ec2", 400, "InvalidGroup.NotFound", f"The security group '{group}' does not exist"
                )
        if not call.zone:
            return _error("ec2", 400, "InvalidSubnetID.NotFound", "The subnet ID does not exist")
        return None

    def _delete_security_group(self, call: Call) -> tuple[int, str, bytes] | None:
        for m in self._backends[call.region].all_instances():
            used = {g.id for n in m.nics.values() for g in n.group_set} | {g.id for g in m.security_groups}
            if m.state != "terminated" and call.params.get("GroupId") in used:
                why = f"resource {call.params['GroupId']} has a dependent object"
                return _error("ec2", 400, "DependencyViolation", why)
        return None

    def _describe_regions(self, call: Call) -> tuple[int, str, bytes]:
        regions = [{"regionName": r, "regionEndpoint": f"ec2.{r}.amazonaws.com"} for r in self.zones]
        return _xml(call, {"regionInfo": regions})

    def _offered(self, call: Call) -> list[tuple[str, str]]:
        asked = [*_listed(call, "InstanceType"), *_filter(call, "instance-type")]
        known = [t.machine_type for t in catalog.types("aws")]
        return [(t, zone) for t in known if not asked or t in asked for zone in self.zones[call.region]]

    def _describe_instance_type_offerings(self, call: Call) -> tuple[int, str, bytes]:
        offered = [{"instanceType": t, "location": zone} for t, zone in self._offered(call)]
        return _xml(call, {"instanceTypeOfferingSet": offered})

    def _describe_spot_price_history(self, call: Call) -> tuple[int, str, bytes]:
        history = [
            {
                "instanceType": t,
                "availabilityZone": zone,
                "productDescription": "Linux/UNIX",
                "spotPrice": f"{self.prices.get((t, zone), 0.5):.6f}",
                "timestamp": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000Z"),
            }
            for t, zone in self._offered(call)
        ]
        return _xml(call, {"spotPriceHistorySet": history})

    def _describe_spot_instance_requests(self, call: Call) -> tuple[int, str, bytes]:
        machines, ids = _filter(call, "instance-id"), _listed(call, "SpotInstanceRequestId")
        found = [
            {
                "spotInstanceRequestId": s.id,
                "state": s.state,
                "status": {"code": s.status, "updateTime": s.updated.strftime("%Y-%m-%dT%H:%M:%S.000Z")},
                "instanceId": s.machine,
                "tagSet": [{"key": k, "value": v} for k, v in s.tags.items()],
            }
            for s in self._spot.values()
            if s.region == call.region
            and (not machines or s.machine in machines)
            and (not ids or s.id in ids)
        ]
        return _xml(call, {"spotInstanceRequestSet": found})

    def _cancel_spot_instance_requests(self, call: Call) -> tuple[int, str, bytes]:
        ids = _listed(call, "SpotInstanceRequestId")
        for id in ids:
            self._spot[id].become("cancelled", "request-canceled-and-instance-running")
        return _xml(
            call,
            {"spotInstanceRequestSet": [{"spotInstanceRequestId": i, "state": "cancelled"} for i in ids]},
        )

    def _get_parameter(self, call: Call) -> tuple[int, str, bytes]:
        if value := IMAGES.get(call.params["Name"]):
            return _json({"Parameter": {"Name": call.params["Name"], "Type": "String", "Value": value}})
        return _error("ssm", 400, "ParameterNotFound", "")

    def _get_service_quota(self, call: Call) -> tuple[int, str, bytes]:
        code = call.params["QuotaCode"]
        value = self.quotas.get((call.region, code), self.quotas.get(code, ENOUGH))
        return _json({"Quota": {"ServiceCode": "ec2", "QuotaCode": code, "QuotaName": code, "Value": value}})


def _now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M:%S GMT")


def _listed(call: Call, name: str) -> list[str]:
    return [v for k, v in call.params.items() if re.fullmatch(rf"{name}\.\d+", k)]


def _filter(call: Call, name: str) -> list[str]:
    p = call.params
    numbers = [k.split(".")[1] for k, v in p.items() if re.fullmatch(r"Filter\.\d+\.Name", k) and v == name]
    return [v for n in numbers for k, v in p.items() if k.startswith(f"Filter.{n}.Value.")]


def _tags(call: Call, kind: str) -> dict[str, str]:
    p = call.params
    for number in range(1, 9):
        if p.get(f"TagSpecification.{number}.ResourceType") == kind:
            start = f"TagSpecification.{number}.Tag."
            keys = {
                k[len(start) : -len(".Key")]: v
                for k, v in p.items()
                if k.startswith(start) and k.endswith(".Key")
            }
            return {v: p.get(f"{start}{n}.Value", "") for n, v in keys.items()}
    return {}


def _json(value: Mapping[str, Any], status: int = 200) -> tuple[int, str, bytes]:
    return status, "application/x-amz-json-1.1", json.dumps(value).encode()


def _xml(call: Call, value: Mapping[str, Any]) -> tuple[int, str, bytes]:
    name = f"{call.action}Response"
    text = f'<{name} xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">{_elements(value)}</{name}>'
    return 200, "text/xml", text.encode()


def _elements(value: Any) -> str:
    if isinstance(value, Mapping):
        return "".join(f"<{k}>{_elements(v)}</{k}>" for k, v in value.items())
    if isinstance(value, list):
        return "".join(f"<item>{_elements(v)}</item>" for v in value)
    return escape(str(value))


def _error(service: str, status: int, code: str, message: str) -> tuple[int, str, bytes]:
    if service != "ec2":
        return _json({"__type": code, "message": message}, 400)
    error = {"Errors": {"Error": {"Code": code, "Message": message}}, "RequestID": "emulated"}
    return status, "text/xml", f"<Response>{_elements(error)}</Response>".encode()
