"""What is asked of machines: moto does it, and what moto does not do, or not well, is done here."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable
from typing import Any

from jupyter_gpu_remote import catalog

from .ec2_machines import Machines
from .ec2_wire import Answer, Call, error, filtered, listed, xml_answer
from .hosts import Hosts


class Actions(Machines):
    """Machines, for who has only the wire; arguments as theirs."""

    def __init__(self, hosts: Hosts, regions: Iterable[str]) -> None:
        super().__init__(hosts, regions)
        self._tokens: dict[tuple[str, str], tuple[str, bytes]] = {}

    def _from_moto(self, environ: dict[str, Any], call: Call) -> Answer:
        token = (call.region, call.params.get("ClientToken", ""))
        asked = json.dumps({k: v for k, v in call.params.items() if not k.startswith("Signature")})
        if call.action == "RunInstances" and token[1] and token in self._tokens:
            earlier, data = self._tokens[token]
            if earlier != asked:
                return error("ec2", 400, "IdempotentParameterMismatch", "Not what the token stands for.")
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

    def _lagging(self, call: Call) -> Answer | None:
        for id in listed(call, "InstanceId"):
            if id in self._asked and self._asked[id] < self.lag:
                self._asked[id] += 1
                return error(
                    "ec2", 400, "InvalidInstanceID.NotFound", f"The instance ID '{id}' does not exist"
                )
        return None

    _describe_instances = _lagging

    def _terminate_instances(self, call: Call) -> Answer | None:
        if late := self._lagging(call):
            return late
        machines = [self._machine(id) for id in listed(call, "InstanceId")]
        if not all(m and m.state in ("shutting-down", "terminated") for m in machines):
            return None
        # moto would end them once more, and say that the user did it
        state = [
            {"instanceId": m.id, "previousState": {"name": m.state}, "currentState": {"name": m.state}}
            for m in machines
        ]
        return xml_answer(call, {"instancesSet": state})

    def _stop_instances(self, call: Call) -> Answer | None:
        for id in listed(call, "InstanceId"):
            if (machine := self._machine(id)) and machine.lifecycle == "spot":
                why = f"You can't stop the Spot Instance '{id}': its Spot request is a one-time request."
                return error("ec2", 400, "UnsupportedOperation", why)
        return None

    def _start_instances(self, call: Call) -> Answer | None:
        for id in listed(call, "InstanceId"):
            if (machine := self._machine(id)) and machine.state not in ("pending", "running", "stopped"):
                why = f"The instance '{id}' is not in a state from which it can be started."
                return error("ec2", 400, "IncorrectInstanceState", why)
        return None

    def _run_instances(self, call: Call) -> Answer | None:
        backend, params = self._backends[call.region], call.params
        if params.get("ImageId") not in backend.amis:
            why = f"The image id '[{params.get('ImageId')}]' does not exist"
            return error("ec2", 400, "InvalidAMIID.NotFound", why)
        if params.get("InstanceType") not in {t.machine_type for t in catalog.types("aws")}:
            return error("ec2", 400, "InvalidParameterValue", "Invalid value for InstanceType.")
        if len(base64.b64decode(params.get("UserData", ""))) > 16384:
            return error("ec2", 400, "InvalidParameterValue", "User data is limited to 16384 bytes")
        for key, group in params.items():
            if ".SecurityGroupId." in key and backend.get_security_group_from_id(group) is None:
                return error(
                    "ec2", 400, "InvalidGroup.NotFound", f"The security group '{group}' does not exist"
                )
        if not call.zone:
            return error("ec2", 400, "InvalidSubnetID.NotFound", "The subnet ID does not exist")
        return None

    def _delete_security_group(self, call: Call) -> Answer | None:
        for m in self._backends[call.region].all_instances():
            used = {g.id for n in m.nics.values() for g in n.group_set} | {g.id for g in m.security_groups}
            if m.state != "terminated" and call.params.get("GroupId") in used:
                why = f"resource {call.params['GroupId']} has a dependent object"
                return error("ec2", 400, "DependencyViolation", why)
        return None

    def _describe_spot_instance_requests(self, call: Call) -> Answer:
        machines, ids = filtered(call, "instance-id"), listed(call, "SpotInstanceRequestId")
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
        return xml_answer(call, {"spotInstanceRequestSet": found})

    def _cancel_spot_instance_requests(self, call: Call) -> Answer:
        ids = listed(call, "SpotInstanceRequestId")
        for id in ids:
            self._spot[id].become("cancelled", "request-canceled-and-instance-running")
        return xml_answer(
            call,
            {"spotInstanceRequestSet": [{"spotInstanceRequestId": i, "state": "cancelled"} for i in ids]},
        )
