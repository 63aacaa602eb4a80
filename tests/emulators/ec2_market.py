"""What an emulated EC2 offers, and for how much: of what moto knows little."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from typing import Any

from jupyter_gpu_remote import catalog

from .ec2_wire import Answer, Call, error, filtered, json_answer, listed, xml_answer

IMAGES = {
    "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-22.04/latest/ami-id": "ami-0d1a",
    "/aws/service/canonical/ubuntu/server/22.04/stable/current/amd64/hvm/ebs-gp2/ami-id": "ami-0ca0",
}
ENOUGH = 10_000.0
"""Virtual cores that a quota allows unless a test says otherwise."""
A_PAGE = 2
"""Products that one answer holds; AWS's holds up to a hundred."""


class Market:
    """Regions, machine types, prices, quotas and images.

    Args:
        zones: The regions, each with the letters of its zones.
    """

    def __init__(self, zones: Mapping[str, str]) -> None:
        self.zones = {region: [region + letter for letter in letters] for region, letters in zones.items()}
        self.prices: dict[tuple[str, str], float] = {}
        self.list_prices: dict[tuple[str, str], float] = {}
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

    def _get_products(self, call: Call) -> Answer:
        wanted = {f["Field"]: f["Value"] for f in call.params["Filters"] if f["Type"] == "TERM_MATCH"}
        products = [
            product
            for (machine_type, region), price in self.list_prices.items()
            for product in _products(machine_type, region, price)
            if wanted.items() <= product["product"]["attributes"].items()
        ]
        start = int(call.params.get("NextToken", 0))
        answer = {"FormatVersion": "aws_v1", "PriceList": [json.dumps(p) for p in products[start:][:A_PAGE]]}
        more = {"NextToken": str(start + A_PAGE)} if products[start + A_PAGE :] else {}
        return json_answer({**answer, **more})

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


def _products(machine_type: str, region: str, price: float) -> Iterator[dict[str, Any]]:
    """Give what the price list has of a type in a region: at `price` for everybody, dearer for the others."""
    ordinary = {
        "servicecode": "AmazonEC2",
        "instanceType": machine_type,
        "regionCode": region,
        "locationType": "AWS Region",
        "operatingSystem": "Linux",
        "tenancy": "Shared",
        "preInstalledSw": "NA",
        "capacitystatus": "Used",
        "marketoption": "OnDemand",
    }
    others = [
        {"operatingSystem": "Windows"},
        {"tenancy": "Dedicated"},
        {"preInstalledSw": "SQL Std"},
        {"capacitystatus": "UnusedCapacityReservation"},
        {"marketoption": "CapacityBlock"},
        {"locationType": "AWS Local Zone"},
    ]
    for number, other in enumerate([{}, *others], 1):
        sku = f"{machine_type}-{region}-{number}"
        per_hour = {"unit": "Hrs", "pricePerUnit": {"USD": f"{price * number:.10f}"}}
        reserved = {"unit": "Quantity", "pricePerUnit": {"USD": "4711"}}
        terms = {
            "OnDemand": {
                f"{sku}.JRTCKXETXF": {"sku": sku, "priceDimensions": {f"{sku}.6YS6EN2CT7": per_hour}}
            },
            "Reserved": {
                f"{sku}.38NPMPTW36": {"sku": sku, "priceDimensions": {f"{sku}.2TG2D8R56U": reserved}}
            },
        }
        product = {"productFamily": "Compute Instance", "sku": sku, "attributes": {**ordinary, **other}}
        yield {"product": product, "serviceCode": "AmazonEC2", "terms": terms}
