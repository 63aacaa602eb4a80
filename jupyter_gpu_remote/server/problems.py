"""Errors as clients of the server see them: a status, and a `Problem` of the schema."""

from __future__ import annotations

from typing import Any

from ..errors import (
    BudgetError,
    ConfigurationError,
    ConflictError,
    GpuRemoteError,
    JobError,
    MachineNotFoundError,
    RegistryError,
    StorageError,
    TransportTimeoutError,
)

_STATUSES: tuple[tuple[type[GpuRemoteError], int], ...] = (
    (ConflictError, 409),
    (RegistryError, 503),
    (BudgetError, 409),
    (MachineNotFoundError, 404),
    (JobError, 404),
    (ConfigurationError, 400),
    (TransportTimeoutError, 504),
    (GpuRemoteError, 502),  # the machine or its cloud
)


_CAUSES: dict[type[BaseException], int] = {
    FileNotFoundError: 404,
    PermissionError: 403,
    IsADirectoryError: 400,
    NotADirectoryError: 400,
}
"""Of what a bucket could not do."""


class RefusedError(GpuRemoteError):
    """A request that is refused as such.

    Args:
        status: The HTTP status.
        code: One word for it.
        message: What is wrong with it.
        hint: The next step.
    """

    def __init__(self, status: int, code: str, message: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status, self.code = status, code


def status_of(error: GpuRemoteError) -> int:
    """Return the HTTP status that goes with an error."""
    if isinstance(error, StorageError):
        why = error.__cause__
        return next((status for kind, status in _CAUSES.items() if isinstance(why, kind)), 502)
    if isinstance(error, RefusedError):
        return error.status
    return next(status for kind, status in _STATUSES if isinstance(error, kind))


def problem(error: BaseException) -> dict[str, Any]:
    """Return an error as the schema has it."""
    if isinstance(error, GpuRemoteError):
        return plain(error.code, error.message, error.billed, error.hint)
    return plain(
        "error",
        f"This is a fault of ours: {type(error).__name__}: {error}",
        "A machine may still run; the list of machines tells.",
        "The server's log has the details.",
    )


def plain(code: str, message: str, billed: str = "", hint: str = "") -> dict[str, Any]:
    """Return a problem from its parts."""
    return {"code": code, "message": message, "billed": billed, "hint": hint}
