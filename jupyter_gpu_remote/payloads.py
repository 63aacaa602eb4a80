"""What a remote cell asks of its frontend with its reply: a pager, a next cell, the end of its kernel."""

from __future__ import annotations

from concurrent import futures
from typing import Any

from .kernel import RemoteKernel
from .messages import new_id

_EXIT_LIMIT = 5.0
"""Seconds to wait for a kernel that ends itself."""


def carry_out(payload: dict[str, Any], shell: Any, kernel: RemoteKernel | None) -> str:
    """Do what a remote cell asks.

    Args:
        payload: One of the payloads of its execute reply.
        shell: The IPython shell in whose cell it ran.
        kernel: The one that ran it.

    Returns:
        What the user is to know; mostly nothing.
    """
    source = payload.get("source")
    if source == "page":
        from IPython.core import page

        page.page(payload["data"], start=payload.get("start", 0))
    elif source == "set_next_input":
        shell.set_next_input(payload["text"], replace=payload.get("replace", False))
    elif source == "ask_exit" and not payload.get("keepkernel") and kernel:
        death = kernel.follow(new_id()).future
        futures.wait((death,), _EXIT_LIMIT)  # or it would come in the middle of the next cell
        death.cancel()
        return "The cell ended the remote kernel; its variables are gone. The next cell starts afresh."
    return ""
