"""Google's prices of today, from the Cloud Billing Catalog: asked for aside, and never waited for."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from .. import catalog
from ..catalog import Price
from ..catalog.cached import cached, kept, put
from ..catalog.gcp_rates import SKUS, price_of, read_rates
from .gcp_clients import Compute, endpoint

PRICES = "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDBILLING"
"""Environment variable with another endpoint; gcloud knows it too."""

_DAY = 86400.0
"""Seconds after which prices are asked for anew: Google changes those of spot machines once a day at most."""
_BETTER = 30 * _DAY
"""Seconds for which an old answer is better than what was shipped."""
_RETRY = 3600.0
"""Seconds before prices that could not be had are asked for again."""
_PAGE_LIMIT = 60.0
"""Seconds for one page of an answer."""
_WANTED = (
    "nextPageToken,skus(description,category(resourceGroup,usageType),serviceRegions,"
    "pricingInfo/pricingExpression/tieredRates/unitPrice)"
)
"""What `read_rates` reads; all that there is would be some 50 MB."""


def prices(compute: Compute) -> Mapping[str, Mapping[str, Price]]:
    """Return what Google said lately about prices, by machine type and region; empty where it did not."""
    # who calls Compute Engine somewhere else would not like to be known to Google either
    base = endpoint(PRICES) or ("" if compute.endpoint else "https://cloudbilling.googleapis.com")
    if not base:
        return {}
    key = f"gcp prices {base}"

    def ask() -> None:
        with suppress(Exception):  # no network, no permission, another format: the catalog has prices, too
            put(key, _read(_skus(compute, base)))

    def begin() -> bool:
        threading.Thread(target=ask, name="prices of Google Cloud", daemon=True).start()
        return True

    said = kept(key, _DAY)
    if said is None:
        cached(f"{key}, asked for", _RETRY, begin)
        said = kept(key, _BETTER) or {}
    return {name: {region: Price(*both) for region, both in there.items()} for name, there in said.items()}


def _read(skus: Iterator[Mapping[str, Any]]) -> dict[str, dict[str, tuple[float | None, float | None]]]:
    rates = read_rates(skus)
    regions = {region for _, region, _ in rates}
    found: dict[str, dict[str, tuple[float | None, float | None]]] = {}
    for machine in catalog.types("gcp"):
        for region in regions:
            price = price_of(machine, region, rates)
            if price != Price(None, None):
                found.setdefault(machine.machine_type, {})[region] = price.on_demand, price.spot
    return found


def _skus(compute: Compute, base: str) -> Iterator[Mapping[str, Any]]:
    import requests
    from google.auth.transport.requests import AuthorizedSession

    session = requests.Session() if base.startswith("http://") else AuthorizedSession(compute.credentials)
    asked = {"pageSize": "5000", "currencyCode": "USD", "fields": _WANTED}
    with session:
        while True:
            answer = session.get(f"{base}{SKUS}", params=asked, timeout=_PAGE_LIMIT)
            answer.raise_for_status()
            page = answer.json()
            yield from page.get("skus", ())
            if not page.get("nextPageToken"):
                return
            asked["pageToken"] = page["nextPageToken"]
