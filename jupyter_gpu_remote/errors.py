"""Every error this package raises on purpose, as one tree.

::

    GpuRemoteError
    ├── ConfigurationError        a wrong option, unknown provider, missing dependency or credentials
    ├── ProviderError             a cloud said no
    │   ├── NoCapacityError       nothing there to rent now: another place may have it
    │   ├── QuotaError            the account may not rent this much
    │   ├── ProviderAuthError     the cloud does not accept who we are
    │   ├── MachineNotFoundError  no machine of that name or id
    │   ├── MachinePreemptedError the cloud took the machine back
    │   └── BudgetError           a limit the user set forbids it
    ├── TransportError            SSH did not work
    │   ├── HostKeyError          the machine is not the one we were told it is
    │   ├── SshAuthError          the machine does not accept our key
    │   ├── TransportTimeoutError no answer in time
    │   └── ConnectionLostError   it worked, then stopped
    ├── SyncError                 files could not go out or come back
    ├── StorageError              a bucket could not be mounted or drained
    ├── EnvironmentBuildError     Python or packages could not be set up over there
    ├── KernelError               the remote kernel did not start, or died
    │   ├── KernelStartError
    │   └── KernelDiedError
    ├── VariableError             a variable could not travel
    └── RegistryError             the local state file cannot be used
        └── ConflictError         another process works on that machine, or changed it first

What the user's own code raises over there is output, not one of these.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable


class GpuRemoteError(Exception):
    """Say what failed and why; `billed` and `hint` finish the picture.

    Args:
        message: What failed and why, one or two sentences.
        hint: The next step, as something the user can type or do.
        billed: What still costs money, as a sentence; empty when nothing does or could.
    """

    code = "error"

    def __init__(self, message: str, *, hint: str = "", billed: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.billed = billed

    def __str__(self) -> str:
        lines = [self.message]
        if self.billed:
            lines.append(f"Cost: {self.billed}")
        if self.hint:
            lines.append(f"Next: {self.hint}")
        return "\n".join(lines)


class ConfigurationError(GpuRemoteError):
    """A wrong option, an unknown provider, a missing dependency or missing credentials."""

    code = "configuration"


class RulesOut(str, enum.Enum):
    """Which offers need not be tried any more after one was refused."""

    OFFER = "offer"
    """This one: another zone or machine type may do."""
    ZONE = "zone"
    """Those of this GPU in this zone, spot or on demand as this one was."""
    MARKET = "market"
    """Those of this GPU in this region, spot or on demand as this one was."""
    REGION = "region"
    """All of this region."""
    GPU = "gpu"
    """Those of this GPU anywhere in this cloud."""
    CLOUD = "cloud"
    """All of this cloud."""


class ProviderError(GpuRemoteError):
    """A cloud refused, or answered what it should not.

    Args:
        message: What failed and why.
        hint: The next step.
        billed: What still costs money.
        rules_out: What a launch does next; None ends it, for trying elsewhere would not help.
        cloud_code: The cloud's own code for it.
    """

    code = "provider"
    default_rules_out: RulesOut | None = None

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        billed: str = "",
        rules_out: RulesOut | None = None,
        cloud_code: str = "",
    ) -> None:
        super().__init__(message, hint=hint, billed=billed)
        self.rules_out = rules_out or self.default_rules_out
        self.cloud_code = cloud_code


class NoCapacityError(ProviderError):
    """Nothing to rent there now; another zone, region or cloud may have it."""

    code = "no-capacity"
    default_rules_out = RulesOut.OFFER


class QuotaError(ProviderError):
    """The account may not rent this much there."""

    code = "quota"
    default_rules_out = RulesOut.MARKET


class ProviderAuthError(ProviderError):
    """The cloud does not accept the credentials, or they lack a permission."""

    code = "provider-auth"
    default_rules_out = RulesOut.CLOUD


class MachineNotFoundError(ProviderError):
    """There is no machine of that name or id."""

    code = "machine-not-found"


class MachinePreemptedError(ProviderError):
    """The cloud took the machine back."""

    code = "preempted"


class BudgetError(ProviderError):
    """A limit that the user set forbids it."""

    code = "budget"


class TransportError(GpuRemoteError):
    """SSH to the machine did not work."""

    code = "transport"


class HostKeyError(TransportError):
    """The machine that answered is not the one we were told it is."""

    code = "host-key"


class SshAuthError(TransportError):
    """The machine does not accept our key."""

    code = "ssh-auth"


class TransportTimeoutError(TransportError):
    """No answer came in time."""

    code = "timeout"


class ConnectionLostError(TransportError):
    """The connection worked, then stopped."""

    code = "connection-lost"


class SyncError(GpuRemoteError):
    """Files could not go out or come back."""

    code = "sync"


class StorageError(GpuRemoteError):
    """A bucket could not be mounted or drained."""

    code = "storage"


class EnvironmentBuildError(GpuRemoteError):
    """Python or packages could not be set up on the machine."""

    code = "environment"


class KernelError(GpuRemoteError):
    """The remote kernel cannot be used."""

    code = "kernel"


class KernelStartError(KernelError):
    """The remote kernel did not start."""

    code = "kernel-start"


class KernelDiedError(KernelError):
    """The remote kernel ended while it was needed."""

    code = "kernel-died"


class JobError(GpuRemoteError):
    """There is no such job, or what it left is gone."""

    code = "job"


class VariableError(GpuRemoteError):
    """A variable could not travel."""

    code = "variable"


class RegistryError(GpuRemoteError):
    """The local state file cannot be used."""

    code = "registry"


class ConflictError(RegistryError):
    """Another process works on that machine, or changed it first."""

    code = "conflict"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a hint that names the one of `known` that `word` was meant to be, or else them all."""
    import difflib

    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1)
    if close:
        return f"Did you mean {close[0]}?"
    return f"There are: {', '.join(known)}." if known else ""
