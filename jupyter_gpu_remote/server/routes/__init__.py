"""What can be asked of the server: a function for each method and path, called in a thread.

A function gets the hub, then the parts of the path that are in braces, then what was sent, read and checked
by the definition of the schema that the route names. It returns what is sent back.
"""

from __future__ import annotations

from . import asking, buckets, machines, notebooks, work
from .table import ROUTES, Route

__all__ = ["ROUTES", "Route", "asking", "buckets", "machines", "notebooks", "work"]
