"""What a launch makes of a cloud's refusals: which offers are left to try, and what is said when none is."""

from __future__ import annotations

from collections.abc import Sequence

from .errors import MachinePreemptedError, NoCapacityError, ProviderError, RulesOut
from .model import Offer, Presence

Refusal = tuple[Offer, ProviderError]

_LINES = 8
"""Lines that the places tried may take in an error."""


def rules_out(refusal: Refusal, other: Offer) -> bool:
    """Return whether an offer need not be tried any more after another one was refused."""
    failed, error = refusal
    if failed.provider != other.provider:
        return False
    same_region = failed.region == other.region
    same_gpu = failed.gpu == other.gpu
    same_kind = same_gpu and failed.spot == other.spot
    return {
        None: failed == other,
        RulesOut.OFFER: failed == other,
        RulesOut.ZONE: same_region and failed.zone == other.zone and same_kind,
        RulesOut.MARKET: same_region and same_kind,
        RulesOut.REGION: same_region,
        RulesOut.GPU: same_gpu,
        RulesOut.CLOUD: True,
    }[error.rules_out]


def all_refused(refused: Sequence[Refusal]) -> ProviderError:
    """Return the error for a launch that found nothing: each place tried, with the cloud's own code."""
    if len(refused) == 1:
        return refused[0][1]
    kinds = {type(e) for _, e in refused}
    kind = kinds.pop() if len(kinds) == 1 else NoCapacityError
    said: dict[tuple[str, str, str], list[str]] = {}
    for offer, error in refused:
        market = "spot" if offer.spot else "on demand"
        what = f"{offer.machine_type} {market}: {error.cloud_code or error.message}"
        places = said.setdefault((offer.provider, offer.region, what), [])
        if (zone := offer.zone.removeprefix(offer.region)) not in places:
            places.append(zone)
    lines = [
        f"\n  {provider} {region}{' '.join(places) if len(places) == 1 else f'({chr(32).join(places)})'}"
        f" {what}"
        for (provider, region, what), places in said.items()
    ]
    if len(lines) > _LINES:
        lines[_LINES - 1 :] = [f"\n  and {len(lines) - _LINES + 1} more; `%remote logs` lists them"]
    hints = {e.hint: None for _, e in refused if e.hint}
    return kind(
        f"None of {len(refused)} offers could be had:{''.join(lines)}",
        hint=" ".join([*hints][:2]) or "Try again later, another --gpu or --region, or --spot-or-on-demand.",
    )


def ended_early(name: str, provider: str, presence: Presence) -> MachinePreemptedError:
    """Return the error for a machine that is no more before it was ready."""
    how = "was taken back by" if presence is Presence.PREEMPTED else f"is {presence.value} at"
    return MachinePreemptedError(
        f"{name} {how} {provider} while it started.",
        hint="Run the cell again, or use --on-demand.",
        rules_out=RulesOut.OFFER,
        cloud_code="preempted while it started"
        if presence is Presence.PREEMPTED
        else "ended while it started",
    )
