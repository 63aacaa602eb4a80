"""Notebooks, and the machines that they use."""

from __future__ import annotations

from typing import Any

from ...errors import ConfigurationError
from ..hub import Hub
from .machines import the_usable
from .table import route


@route("GET", "binding", "KernelSwitch", takes="BindingQuery")
def binding(hub: Hub, query: dict[str, Any]) -> dict[str, Any]:
    """Return which machine a notebook uses."""
    return hub.switch(_notebook(query))


@route("PUT", "binding", "KernelSwitch", takes="BindingRequest")
def bind(hub: Hub, body: dict[str, Any]) -> dict[str, Any]:
    """Have a notebook use a machine."""
    path = _notebook(body)
    one = the_usable(hub, body["machine"])
    hub.registry.bind(hub.key_of(path), one.name)
    return hub.switch(path)


@route("DELETE", "binding", takes="BindingQuery", status=204)
def unbind(hub: Hub, query: dict[str, Any]) -> None:
    """Have a notebook use no machine."""
    hub.registry.unbind(hub.key_of(_notebook(query)))


def _notebook(sent: dict[str, Any]) -> str:
    path: str = sent["notebook"].strip("/")
    if not path:
        raise ConfigurationError("No notebook is named.", hint="Send its path in the contents API.")
    return path
