"""Which addresses may connect to a rented machine: this computer's, as the internet sees it."""

from __future__ import annotations

import ipaddress
import queue
import threading
import urllib.request

from .catalog.cached import cached, forget
from .config import GpuRemote
from .errors import ConfigurationError

_ASKED = ("https://checkip.amazonaws.com", "https://api.ipify.org", "https://ifconfig.me/ip")
"""Services that answer with the address of whoever asks, as plain text."""
_LIMIT = 5.0
_KEPT = 300.0
"""Seconds; how long they are waited for, and for how long the answer is believed."""


def ingress(config: GpuRemote, fresh: bool = False) -> str:
    """Return who may connect, in CIDR notation.

    Args:
        config: The user's settings.
        fresh: Whether to ask even if the answer was known a moment ago.

    Raises:
        ConfigurationError: The setting is no address, or this computer's can't be found out.
    """
    if config.ingress != "auto":
        try:
            return str(ipaddress.ip_network(config.ingress, strict=False))
        except ValueError as e:
            raise ConfigurationError(
                f"c.GpuRemote.ingress can't be used: {e}.", hint="Write it as 203.0.113.7 or 203.0.113.0/24."
            ) from None
    if fresh:
        forget("address")
    return cached("address", _KEPT, _ask)


def _ask() -> str:
    answers: queue.SimpleQueue[str] = queue.SimpleQueue()

    def ask(url: str) -> None:
        try:
            with urllib.request.urlopen(url, timeout=_LIMIT) as answer:
                text = answer.read(100).decode("ascii", "replace").strip()
            answers.put(str(ipaddress.ip_network(ipaddress.IPv4Address(text))))
        except (OSError, ValueError):
            answers.put("")

    for url in _ASKED:
        threading.Thread(target=ask, args=(url,), daemon=True).start()
    try:
        for _ in _ASKED:
            if found := answers.get(timeout=2 * _LIMIT):
                return found
    except queue.Empty:
        pass
    raise ConfigurationError(
        "This computer's address on the internet could not be found out, so nobody could be let in.",
        hint='Set it: c.GpuRemote.ingress = "203.0.113.7" in jupyter_gpu_remote_config.py.',
    )
