"""Who may connect to the machines created from here: firewall rules that go by a network tag of ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from ..errors import ProviderError
from ..owner import installation
from .gcp_clients import Compute


def rule_name() -> str:
    """Return the name of our rule, and of the network tag that it goes by."""
    return f"gpu-remote-{installation()[:16]}"


def rules(compute: Compute) -> Mapping[str, Sequence[str]]:
    """Return who each rule of ours is about: addresses, or a tag."""
    listed = compute.ask_all("Firewalls", "list", filter=f'name eq "{rule_name()}(-deny|-among)?"')
    return {r.name: list(r.source_ranges or r.source_tags) for r in listed}


def admit(compute: Compute, ingress: str, among: bool = False) -> None:
    """Let `ingress` connect by SSH to the machines created from here, and nobody else.

    With `among`, they may also reach each other. Not waited for: rules work after seconds, and no machine
    boots as quickly.
    """
    rule = rule_name()
    ssh, everything = [{"I_p_protocol": "tcp", "ports": ["22"]}], [{"I_p_protocol": "all"}]
    common = {"network": "global/networks/default", "direction": "INGRESS", "target_tags": [rule]}
    wanted: dict[str, dict[str, Any]] = {
        # the second overrules default-allow-ssh, which new projects have, and the like; the first the second
        rule: {"priority": 900, "allowed": ssh, "source_ranges": [ingress] if ingress else []},
        f"{rule}-deny": {"priority": 901, "denied": everything, "source_ranges": ["0.0.0.0/0"]},
    }
    if among:
        wanted[f"{rule}-among"] = {"priority": 900, "allowed": everything, "source_tags": [rule]}
    there = rules(compute)
    for name, firewall in wanted.items():
        sources = firewall.get("source_ranges", [rule])
        try:
            if sources == there.get(name, []):
                continue
            if not sources:
                compute.ask("Firewalls", "delete_unary", firewall=name)
            elif name in there:
                changed = {"source_ranges": sources}
                compute.ask("Firewalls", "patch_unary", firewall=name, firewall_resource=changed)
            else:
                made = {"name": name, **common, **firewall}
                compute.ask("Firewalls", "insert_unary", firewall_resource=made)
        except ProviderError as e:
            if e.cloud_code not in ("alreadyExists", "notFound"):  # another process was as fast
                raise


def remove_rules(compute: Compute) -> None:
    """Remove all rules of ours."""
    for rule in (rule_name(), f"{rule_name()}-deny", f"{rule_name()}-among"):
        with suppress(ProviderError):  # it is not there, most likely
            compute.ask("Firewalls", "delete_unary", firewall=rule)
