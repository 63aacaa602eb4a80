"""What a provider must do: five synchronous methods, and four more where its cloud allows them.

A provider knows its cloud and nothing else: no registry, no SSH, no notebook. It turns its SDK's errors
into `errors.ProviderError` and imports that SDK inside its methods. Register it under the entry point
group `ENTRY_POINTS`; `tests/contract/test_providers.py` is what it must pass.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from ..config import GpuRemote
from ..errors import ConfigurationError
from ..keys import key_folder
from ..model import Address, Description, GpuRequest, MachineSpec, Offer

ENTRY_POINTS = "jupyter_gpu_remote.providers_v1"


class Provider(ABC):
    """One place that has machines.

    Args:
        config: The user's settings.
    """

    name: ClassVar[str]

    def __init__(self, config: GpuRemote) -> None:
        self.config = config

    @abstractmethod
    def offers(self, request: GpuRequest) -> Sequence[Offer]:
        """Return what fits `request`, in any order; empty when nothing does.

        Raises:
            ProviderAuthError: There are no usable credentials.
        """

    @abstractmethod
    def create(self, offer: Offer, spec: MachineSpec) -> str:
        """Ask for a machine and return its id as soon as there is one.

        Calling again with the same `spec.token` returns the same id and rents nothing more.

        Raises:
            NoCapacityError, QuotaError, ProviderAuthError: See `errors`.
        """

    @abstractmethod
    def describe(self, provider_id: str) -> Description:
        """Return what is known of a machine; `Presence.GONE` when it does not exist."""

    @abstractmethod
    def machines(self) -> Sequence[Description]:
        """Return every machine here that carries our tags and is not gone."""

    @abstractmethod
    def delete(self, provider_id: str) -> None:
        """Start the removal of a machine with its disks; no error when it is gone already.

        Callers repeat this until `describe` says `GONE`.
        """

    def stop(self, provider_id: str) -> None:
        """Start to switch a machine off and keep its disk; it can be started again.

        Raises:
            ConfigurationError: This cloud has no such thing, or not for this machine; the message says why.
        """
        raise ConfigurationError(
            f"A machine of {self.name} can't be stopped and started again.",
            hint="`down` deletes it; what is in the notebook's folder is here.",
        )

    def start(self, provider_id: str) -> None:
        """Start to switch a stopped machine on again.

        Raises:
            NoCapacityError, QuotaError: It can't be had now.
        """
        raise ConfigurationError(f"A machine of {self.name} can't be stopped and started again.")

    def admit(self, provider_id: str, ingress: str) -> None:  # noqa: B027
        """Let these addresses (CIDR) connect by SSH in place of the earlier ones; nothing where all may."""

    def tidy(self) -> None:  # noqa: B027
        """Remove what was made for machines that are gone and costs nothing; reaping calls it."""


def address_of(name: str, host: str, user: str) -> Address | None:
    """Return how to log in to a machine that was given keys made here; None where they are not here."""
    folder = key_folder(name)
    try:
        host_key = (folder / "host.pub").read_text(encoding="utf-8").split()[:2]  # without its comment
    except OSError:
        return None
    return Address(host, 22, user, folder / "user", " ".join(host_key))


def _entries() -> Any:
    from importlib.metadata import entry_points  # 10 ms, which a notebook with a machine need not wait for

    return entry_points(group=ENTRY_POINTS)


def provider_names() -> list[str]:
    """Return the names of the installed providers, sorted."""
    return sorted({e.name for e in _entries()})


def load_provider(name: str, config: GpuRemote) -> Provider:
    """Return the provider called `name`.

    Raises:
        ConfigurationError: None is installed under that name, or it fails to import.
    """
    for entry in _entries().select(name=name):
        try:
            cls: type[Provider] = entry.load()
        except ImportError as e:
            raise ConfigurationError(f"The provider {name!r} cannot be imported: {e}.") from e
        return cls(config)
    known = ", ".join(provider_names()) or "none"
    raise ConfigurationError(f"There is no provider called {name!r}.", hint=f"Use one of: {known}.")
