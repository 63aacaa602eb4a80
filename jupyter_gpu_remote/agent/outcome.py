"""What a future of Dask's says of its trial."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distributed import Future


def value_of(result: Mapping[str, Any]) -> tuple[Any, str]:
    """Return the value of a trial that ended well, and why it can't be had."""
    if "pickled" not in result:
        return result["value"], ""
    import cloudpickle

    try:
        return cloudpickle.loads(result["pickled"]), ""
    except Exception as error:  # whatever its classes raise
        return None, f"Its value can't be made here: {type(error).__name__}: {error}"


def is_killed(future: Future) -> bool:
    """Return whether Dask blames a trial for the death of its workers."""
    from distributed import KilledWorker

    return future.status == "error" and isinstance(future.exception(), KilledWorker)


def why(future: Future) -> str:
    """Return why a trial failed."""
    if future.status != "error":
        return "The cluster has ended."
    if is_killed(future):
        return (
            "It ended the process that ran it, each time it was begun: too little memory, or a crash. "
            f"Its last worker was {future.exception().last_worker.name}."
        )
    error = future.exception()
    return str(error) if isinstance(error, RuntimeError) else f"{type(error).__name__}: {error}"
