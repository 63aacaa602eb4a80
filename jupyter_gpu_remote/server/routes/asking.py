"""Prices, clouds, money, what happened, and what the form starts with."""

from __future__ import annotations

from typing import Any

from ... import __version__
from ...config import GpuRemote
from ...errors import ConfigurationError
from ...offers import GPUS
from ...providers.base import provider_names
from .. import schema
from ..hub import Hub
from ..problems import problem
from ..views import activity, spend_view
from .table import route


@route("GET", "offers", "OfferList", takes="OfferQuery", visits=True)
def offers(hub: Hub, query: dict[str, Any]) -> dict[str, Any]:
    """Return what can be had now."""
    return hub.offered.look(query)


@route("GET", "clouds", "CloudList", takes="CloudsQuery", visits=True)
def clouds(hub: Hub, query: dict[str, Any]) -> dict[str, Any]:
    """Return which clouds can be used."""
    return hub.clouds.look(query.get("fresh", False))


@route("GET", "spend", "Spend", takes="SpendQuery")
def spent(hub: Hub, query: dict[str, Any]) -> dict[str, Any]:
    """Return what machines have cost."""
    budget = _settings(hub)[0].daily_budget
    return spend_view(hub.registry, query.get("by", "machine"), query.get("since"), budget)


@route("GET", "activity", "Activity", takes="ActivityQuery")
def happened(hub: Hub, query: dict[str, Any]) -> dict[str, Any]:
    """Return what happened."""
    return activity(hub.registry, query.get("since"), query.get("limit", 200))


@route("GET", "settings", "Settings")
def settings(hub: Hub) -> dict[str, Any]:
    """Return what the launch form starts with."""
    config, why = _settings(hub)
    names = [name for name in schema.fields("LaunchRequest") if name != "notebook"]
    return {
        "version": __version__,
        "gpus": [{"name": name, "memory": list(memory)} for name, memory in GPUS.items()],
        "clouds": provider_names(),
        "defaults": {name: getattr(config, name) for name in names},
        "help": {name: config.traits()[name].help for name in names},
        "daily_budget": config.daily_budget,
        "problem": why,
    }


def _settings(hub: Hub) -> tuple[GpuRemote, dict[str, Any] | None]:
    """Return the user's settings, or the built-in ones and why."""
    try:
        return hub.settings(), None
    except ConfigurationError as e:
        return GpuRemote(), problem(e)
