"""The rigs of all providers that are installed."""

from __future__ import annotations

from .aws import AwsRig
from .gcp import GcpRig
from .providers import LocalRig, ProviderRig, SshRig

RIGS: list[type[ProviderRig]] = [AwsRig, GcpRig, LocalRig, SshRig]
