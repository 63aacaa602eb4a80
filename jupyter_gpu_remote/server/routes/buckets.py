"""Buckets: mounted on machines, and read from here."""

from __future__ import annotations

from typing import Any

from ...errors import GpuRemoteError
from ..buckets import Download, folder_view, mount_view
from ..hub import Hub
from ..jobs import Job
from ..problems import problem
from .machines import the_usable
from .table import route


@route("GET", "machines/{name}/mounts", "MountList", visits=True)
def mounts(hub: Hub, name: str) -> dict[str, Any]:
    """Return what is mounted on a machine, and what is on its way to buckets."""
    one = the_usable(hub, name)
    try:
        states = hub.visits.talk(one, lambda there: there.mounts.look())
    except GpuRemoteError as e:
        return {"mounts": [], "problem": problem(e)}
    return {"mounts": [mount_view(state) for state in states], "problem": None}


@route("POST", "machines/{name}/mounts", "Job", takes="MountRequest", status=202)
def mount(hub: Hub, name: str, body: dict[str, Any]) -> Job:
    """Begin to mount a bucket."""
    return hub.mount(the_usable(hub, name).name, body["mount"], body.get("create", False))


@route("DELETE", "machines/{name}/mounts", "Job", takes="UnmountQuery", status=202)
def unmount(hub: Hub, name: str, query: dict[str, Any]) -> Job:
    """Begin to unmount a bucket."""
    return hub.unmount(the_usable(hub, name).name, query["path"], query.get("anyway", False))


@route("POST", "machines/{name}/flush", "Job", status=202)
def flush(hub: Hub, name: str) -> Job:
    """Begin to bring all that was written to its buckets."""
    return hub.flush(the_usable(hub, name).name)


@route("GET", "buckets", "BucketFolder", takes="BucketQuery", visits=True, private=True)
def bucket(hub: Hub, query: dict[str, Any]) -> dict[str, Any]:
    """Return what is in a folder of a bucket."""
    return folder_view(query["url"])


@route("GET", "buckets/file", takes="BucketQuery", visits=True, private=True)
def bucket_file(hub: Hub, query: dict[str, Any]) -> Download:
    """Return a file of a bucket."""
    return Download.open(query["url"])
