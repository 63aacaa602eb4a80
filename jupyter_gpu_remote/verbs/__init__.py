"""What ``%remote VERB`` and ``jupyter gpu-remote VERB`` do: each verb once, for both."""

# importing them registers their verbs, in the order in which help lists them
from . import overview, offered, spending, there, down, standby, mount, jobs  # noqa: I001
from .desk import Desk
from .words import NAME, SHARED, Verbs, argument, split

__all__ = [
    "NAME",
    "SHARED",
    "Desk",
    "Verbs",
    "argument",
    "down",
    "jobs",
    "mount",
    "offered",
    "overview",
    "spending",
    "split",
    "standby",
    "there",
]
