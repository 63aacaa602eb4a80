"""The hosts behind emulated clouds: real ones where this computer can have some."""

from __future__ import annotations

import atexit
import functools

from ...emulators.hosts import Hosts
from ...rig.hosts import NetnsHosts, missing


@functools.cache
def real_hosts() -> Hosts | None:
    """Return the hosts of this process, or None where it can't have any."""
    if missing():
        return None
    hosts = NetnsHosts()
    atexit.register(hosts.close)
    return hosts
