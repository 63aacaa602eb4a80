"""The notice that a cloud gives before it takes a spot machine back, as its metadata service tells it."""

from __future__ import annotations

import http.client
import json
import os
import threading
import time
from collections.abc import Callable
from datetime import datetime

Answer = tuple[int, str, str]
"""Status, text and ETag."""

_HOST = "169.254.169.254"
_GCP_PATH = "/computeMetadata/v1/instance/preempted"
_EVERY = 2.0
"""Seconds between two questions to AWS, which gives two minutes' notice."""
_LIMIT = 5.0
_WAIT = 60.0
"""Seconds; what an answer may take, and how long Google's service is asked to wait with one."""
_GCP_WARNING = 30.0
"""Seconds that Google Cloud leaves a machine after its notice."""
_TOKEN_FOR = 21600
"""Seconds that a token for the AWS service is good for, the most there is."""


def _ask(host: str, method: str, path: str, headers: dict[str, str], limit: float = _LIMIT) -> Answer:
    connection = http.client.HTTPConnection(host, timeout=limit)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read(10_000).decode("utf-8", "replace"), answer.headers.get("ETag", "")
    finally:
        connection.close()


def wait_aws() -> float:
    """Wait for the notice of AWS; return when the machine will be taken (Unix seconds)."""
    said = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", "").removeprefix("http://").rstrip("/")
    host, token = said or _HOST, ""
    while True:
        try:
            if not token:
                wanted = {"X-aws-ec2-metadata-token-ttl-seconds": str(_TOKEN_FOR)}
                status, text, _ = _ask(host, "PUT", "/latest/api/token", wanted)
                token = text if status == 200 else ""
            path = "/latest/meta-data/spot/instance-action"
            status, text, _ = _ask(host, "GET", path, {"X-aws-ec2-metadata-token": token})
            if status == 200:
                at = str(json.loads(text)["time"]).replace("Z", "+00:00")
                return datetime.fromisoformat(at).timestamp()
            if status == 401:
                token = ""
        except (OSError, http.client.HTTPException, ValueError, KeyError):
            pass  # the next answer may be better
        time.sleep(_EVERY)


def wait_gcp() -> float:
    """Wait for the notice of Google Cloud; return when the machine will be taken (Unix seconds)."""
    host, path, since = os.environ.get("GCE_METADATA_HOST") or _HOST, _GCP_PATH, ""
    while True:
        try:
            status, text, etag = _ask(
                host, "GET", path + since, {"Metadata-Flavor": "Google"}, _WAIT + _LIMIT
            )
            if status == 200 and text.strip() == "TRUE":
                return time.time() + _GCP_WARNING
            # the answer comes when there is another one
            since = f"?wait_for_change=true&timeout_sec={_WAIT:.0f}&last_etag={etag}" if etag else ""
        except (OSError, http.client.HTTPException):
            since = ""
        if not since:
            time.sleep(_EVERY)


_WAITS: dict[str, Callable[[], float]] = {"aws": wait_aws, "gcp": wait_gcp}


class Notice:
    """Waits for the notice in a thread.

    Attributes:
        at: When the machine will be taken; 0 as long as nobody has said so.

    Args:
        cloud: Whose metadata service to ask.
        wake: Called, in the thread, when there is a notice.
    """

    def __init__(self, cloud: str, wake: Callable[[], None]) -> None:
        self.at = 0.0
        self._wake = wake
        self._wait = _WAITS[cloud]
        threading.Thread(target=self._run, name="notice", daemon=True).start()

    def _run(self) -> None:
        self.at = self._wait()
        self._wake()
