"""What an emulated EC2 offers, and for how much: of what moto knows little."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone

from jupyter_gpu_remote import catalog

from .ec2_wire import Answer, Call, error, filtered, json_answer, listed, xml_answer

IMAGES = {
    "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-22.04/latest/ami-id": "ami-0d1a",
    "/aws/service/canonical/ubuntu/server/22.04/stable/current/amd64/hvm/ebs-gp2/ami-id": "ami-0ca0",
}
ENOUGH = 10_000.0
"""Virtual cores that a quota allows unless a test says otherwise."""


class Market:
    """Regions, machine types, prices, quotas and images.

    Args:
        zones: The regions, each with the letters of its zones.
    """

    def __init__(self, zones: Mapping[str, str]) -> None:
        self.zones = {region: [region + letter for letter in letters] for region, letters in zones.items()}
        self.prices: dict[tuple[str, str], float] = {}
        self.quotas: dict[str | tuple[str, str], float] = {}

    def _describe_regions(self, call: Call) -> Answer:
        regions = [{"regionName": r, "regionEndpoint": f"ec2.{r}.amazonaws.com"} for r in self.zones]
        return xml_answer(call, {"regionInfo": regions})

    def _offered(self, call: Call) -> list[tuple[str, str]]:
        asked = [*listed(call, "InstanceType"), *filtered(call, "instance-type")]
        known = [t.machine_type for t in catalog.types("aws")]
        return [(t, zone) for t in known if not asked or t in asked for zone in self.zones[call.region]]

    def _describe_instance_type_offerings(self, call: Call) -> Answer:
        offered = [{"instanceType": t, "location": zone} for t, zone in self._offered(call)]
        return xml_answer(call, {"instanceTypeOfferingSet": offered})

    def _describe_spot_price_history(self, call: Call) -> Answer:
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
        return xml_answer(call, {"spotPriceHistorySet": history})

    def _get_parameter(self, call: Call) -> Answer:
        if value := IMAGES.get(call.params["Name"]):
            return json_answer({"Parameter": {"Name": call.params["Name"], "Type": "String", "Value": value}})
        return error("ssm", 400, "ParameterNotFound", "")

    def _get_service_quota(self, call: Call) -> Answer:
        code = call.params["QuotaCode"]
        value = self.quotas.get((call.region, code), self.quotas.get(code, ENOUGH))
        return json_answer(
            {"Quota": {"ServiceCode": "ec2", "QuotaCode": code, "QuotaName": code, "Value": value}}
        )
