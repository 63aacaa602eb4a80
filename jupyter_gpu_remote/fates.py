"""What is said about a cell or a kernel that did not end as it should."""

from __future__ import annotations

from .errors import ConnectionLostError, KernelDiedError, KernelError, KernelStartError

RESTARTED = "it was restarted"
"""The cause of death that the agent gives when somebody asked for it."""

_BILLED = "The machine still runs."
_LOOK = "Look at the variables in the next `%%remote` cell, or run this one again."


def lost() -> KernelError:
    """Return the error for a cell that ended while no agent listened."""
    return KernelError(
        "The agent on the machine was killed or replaced while this cell ran. The cell has ended; "
        "what it printed meanwhile is lost, its variables are kept.",
        hint=_LOOK,
    )


def forgotten() -> KernelError:
    """Return the error for a cell whose end is no longer in the journal."""
    return KernelError("This cell has ended, but how is no longer known over there.", hint=_LOOK)


def silent(seconds: float, why: object) -> ConnectionLostError:
    """Return the error for cells whose machine has not answered for that long."""
    return ConnectionLostError(
        f"The machine did not answer for {seconds:.0f} s: {why}",
        billed="The machine may still run and be billed.",
        hint="`%remote attach` shows what the cell did once the machine is back; "
        "`%remote down` deletes the machine.",
    )


def gone(reason: object) -> KernelError:
    """Return the error for cells whose kernel was not there any more when the link came back."""
    return KernelError(
        f"The remote kernel is gone: {reason}.", billed=_BILLED, hint="Run the cell again to start a new one."
    )


def died(cause: str, again: bool) -> KernelDiedError:
    """Return the error for cells whose kernel died; `again` when a fresh one is running."""
    cause, _, words = cause.partition("; it said: ")
    return KernelDiedError(
        f"The remote kernel died: {cause}. Its variables are lost." + (f" It said: {words}" if words else ""),
        billed=_BILLED,
        hint="A fresh kernel is running there: run the cells again."
        if again
        else "Run the cell again to start a fresh kernel.",
    )


def never_started(cause: str, python: str) -> KernelStartError:
    """Return the error for a kernel that ended before it had said anything."""
    return KernelStartError(
        f"The remote kernel did not start: {cause}.",
        billed=_BILLED,
        hint=f"Try it over there: `{python} -m ipykernel --version`.",
    )


def refused(reason: str, started: bool) -> KernelStartError:
    """Return the error for a kernel that the agent could not start, or does not have."""
    full = "No space left" in reason
    return KernelStartError(
        f"The remote kernel {'could not be started' if started else 'is gone'}: {reason}.",
        billed=_BILLED,
        hint="Make room on its disk: `df -h ~` over there." if full else "Run the cell again.",
    )
