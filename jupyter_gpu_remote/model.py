"""The things everybody talks about: requests, offers, machines and their states.

Frozen and stdlib only, so that every layer may import them. Times are Unix seconds, prices US dollars
an hour, sizes GiB, unless a name says otherwise.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path


class MachineState(str, enum.Enum):
    """Where a machine is in its life; `TRANSITIONS` says what may follow."""

    REQUESTED = "requested"
    CREATING = "creating"
    BOOTING = "booting"
    CONNECTING = "connecting"
    PREPARING = "preparing"
    READY = "ready"
    BUSY = "busy"
    STOPPING = "stopping"
    STOPPED = "stopped"
    DELETING = "deleting"
    GONE = "gone"
    PREEMPTED = "preempted"
    FAILED = "failed"

    @property
    def final(self) -> bool:
        """Whether nothing of the machine exists any more, so nothing is billed."""
        return self in (MachineState.GONE, MachineState.PREEMPTED, MachineState.FAILED)


_S = MachineState
_LAUNCH = (_S.REQUESTED, _S.CREATING, _S.BOOTING, _S.CONNECTING, _S.PREPARING, _S.READY)
_ENDING = frozenset({_S.DELETING, _S.PREEMPTED, _S.FAILED})

TRANSITIONS: Mapping[MachineState, frozenset[MachineState]] = {
    **{a: frozenset({b}) | _ENDING for a, b in pairwise(_LAUNCH)},
    # what is taken back before it is ready is replaced by the next offer; what was stopped is stopped again
    **{
        a: frozenset({b, _S.CREATING, _S.STOPPED}) | _ENDING
        for a, b in ((_S.BOOTING, _S.CONNECTING), (_S.CONNECTING, _S.PREPARING), (_S.PREPARING, _S.READY))
    },
    _S.READY: frozenset({_S.BUSY, _S.CONNECTING, _S.STOPPING}) | _ENDING,
    _S.BUSY: frozenset({_S.READY, _S.CONNECTING, _S.STOPPING}) | _ENDING,
    _S.STOPPING: frozenset({_S.STOPPED}) | _ENDING,
    _S.STOPPED: frozenset({_S.BOOTING}) | _ENDING,
    # a delete is repeated until the machine is not found
    _S.DELETING: frozenset({_S.GONE, _S.PREEMPTED, _S.FAILED}),
    _S.GONE: frozenset(),
    _S.PREEMPTED: frozenset(),
    _S.FAILED: frozenset(),
}


@dataclass(frozen=True)
class GpuRequest:
    """What the user asked for; an empty field means "any"."""

    gpu: str = ""
    count: int = 1
    cloud: str = ""
    on: str = ""
    region: str = ""
    zone: str = ""
    spot: bool | None = None
    max_price: float | None = None
    cpus: int = 0
    memory: float = 0.0
    disk: float = 0.0

    @property
    def costs_money(self) -> bool:
        """Whether a machine may be rented for this: only when a GPU or a paid cloud is named."""
        return self.cloud not in ("local", "ssh") and bool(self.gpu or self.cloud)


@dataclass(frozen=True)
class Offer:
    """Something that can be had at a price.

    Attributes:
        gpu: Our name for it (`offers.vendor_gpu`).
        gpu_memory: Memory of each GPU.
        price: While it runs, its disk included.
        stopped_price: While it is stopped, when its disk is all that is kept; None when it can't be stopped.
        stand_in_for: The GPU that was asked for when this is a CPU that plays its part.
    """

    provider: str
    machine_type: str
    gpu: str = ""
    count: int = 0
    gpu_memory: float = 0.0
    cpus: int = 0
    memory: float = 0.0
    region: str = ""
    zone: str = ""
    spot: bool = False
    price: float = 0.0
    stopped_price: float | None = None
    stand_in_for: str = ""

    @property
    def title(self) -> str:
        """The offer in a few words, as in the status line of a launch."""
        if self.stand_in_for:
            what = f"CPU stand-in for {self.stand_in_for}"
        elif self.gpu:
            what = self.gpu + (f" ×{self.count}" if self.count > 1 else "")
        else:
            what = "CPU"
        where = " ".join(filter(None, (self.provider, self.zone or self.region)))
        if not self.price:
            return f"{what} · {where} · free"
        return f"{what} · {where} · {'spot ' if self.spot else ''}${self.price:.2f}/h"


@dataclass(frozen=True)
class Address:
    """How to reach a machine by SSH.

    Attributes:
        host: Host name or address, or an alias of the user's SSH configuration.
        port: TCP port; 0 leaves it to the SSH configuration.
        user: Login name; empty leaves it to the SSH configuration.
        key_file: Private key made for this machine; None uses the user's own keys and agent.
        host_key: The machine's public key (``ssh-ed25519 AAAA…``), pinned. Empty: learnt at the first
            connection and pinned from then on.
    """

    host: str
    port: int = 22
    user: str = ""
    key_file: Path | None = None
    host_key: str = ""

    @property
    def uses_ssh_config(self) -> bool:
        """Whether the user's own SSH configuration applies (aliases, ProxyJump, agent)."""
        return self.key_file is None


@dataclass(frozen=True)
class MachineSpec:
    """What a provider is told to create.

    Attributes:
        name: Our name for it, unique, fit for a tag or a host name.
        token: Makes `create` idempotent: the same token never rents twice.
        user_key: Public key that may log in.
        key_file: Its private half, here.
        host_key_file: Private host key for the machine; its public half is beside it as ``.pub``.
        tags: What reaping goes by.
        disk: Size of its disk; 0 for what the image needs.
        max_seconds: Seconds after which the cloud itself is to delete it, where the cloud can; 0 for never.
        ingress: The addresses that may connect by SSH, in CIDR notation; empty for none.
        beside: Whether it works beside another one: machines that were made here may reach each other then.
    """

    name: str
    token: str
    user_key: str
    key_file: Path
    host_key_file: Path
    tags: Mapping[str, str] = field(default_factory=dict)
    disk: float = 0.0
    max_seconds: float = 0.0
    ingress: str = ""
    beside: bool = False


class Presence(str, enum.Enum):
    """What a provider knows about a machine, without logging in."""

    PENDING = "pending"
    RUNNING = "running"
    STOPPED = "stopped"
    GONE = "gone"
    PREEMPTED = "preempted"


@dataclass(frozen=True)
class Description:
    """A provider's answer about one machine.

    Attributes:
        python: An interpreter over there that kernels should use as it is; empty means one is built.
        poweroff: The command by which the machine ends itself when it is idle; without one it is not ours
            to end.
        notice: Whose metadata service over there tells that the machine will be taken back: ``aws``,
            ``gcp``, or empty for nobody's.
        ended_at: When it ended, where the cloud still knows; 0 otherwise.
    """

    provider_id: str
    name: str
    presence: Presence
    address: Address | None = None
    python: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    poweroff: Sequence[str] = ()
    notice: str = ""
    ended_at: float = 0.0


@dataclass(frozen=True)
class Machine:
    """One machine as the registry knows it; immutable, a change makes a new one.

    Attributes:
        ends_at: When it ends whatever it does; 0 for never.
        ingress: The addresses that may connect by SSH; empty where all may.
        head: The machine that it works beside, for the same notebook; empty for one that stands alone.
    """

    name: str
    provider: str
    offer: Offer
    state: MachineState = MachineState.REQUESTED
    provider_id: str = ""
    token: str = ""
    address: Address | None = None
    python: str = ""
    poweroff: Sequence[str] = ()
    notice: str = ""
    ends_at: float = 0.0
    ingress: str = ""
    head: str = ""
    trusted: bool = False
    home: str = ""
    agent_socket: str = ""
    created_at: float = 0.0
    ready_at: float = 0.0
    ended_at: float = 0.0
    note: str = ""
