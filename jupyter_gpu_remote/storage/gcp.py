"""Buckets of Google Cloud: a token for one of them alone."""

from __future__ import annotations

import json
import os
from datetime import timezone
from typing import Any

from ..errors import ConfigurationError, StorageError
from .access import LIMIT, Access, config
from .urls import Bucket

EMULATOR = "STORAGE_EMULATOR_HOST"
"""Environment variable with another endpoint; Google's libraries know it too."""
_EMULATED = "emulated"
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_PROJECT = "GOOGLE_CLOUD_PROJECT"
_LOGIN = "gcloud auth application-default login"


def boundary(bucket: Bucket, read_only: bool) -> dict[str, Any]:
    """Return what a token is limited to: this bucket, and what is below the prefix."""
    role = "roles/storage.objectViewer" if read_only else "roles/storage.objectAdmin"
    rule: dict[str, Any] = {
        "availableResource": f"//storage.googleapis.com/projects/_/buckets/{bucket.name}",
        "availablePermissions": [f"inRole:{role}"],
    }
    if bucket.prefix:
        objects = _quoted(f"projects/_/buckets/{bucket.name}/objects/{bucket.below}")
        listed = "api.getAttribute('storage.googleapis.com/objectListPrefix', '')"
        below = f"resource.name.startsWith({objects}) || {listed}.startsWith({_quoted(bucket.below)})"
        rule["availabilityCondition"] = {"expression": below}
    return {"accessBoundary": {"accessBoundaryRules": [rule]}}


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def open_access(bucket: Bucket, read_only: bool) -> Access:
    """Return what a machine needs to reach a bucket; arguments and errors as `access.open_access`."""
    server = os.environ.get(EMULATOR, "").rstrip("/")
    token, expires = (_EMULATED, 0.0) if server else _limited_token(bucket, read_only)
    _look(bucket, token, server)
    text = json.dumps(
        {"access_token": token, "token_type": "Bearer", **({"expiry": _when(expires)} if expires else {})}
    )
    options = {"bucket_policy_only": "true", "no_check_bucket": "true", "token": text}
    endpoint = f"{server}/storage/v1/" if server else ""
    return Access({"rclone.conf": config("google cloud storage", endpoint=endpoint, **options)}, expires)


def _when(seconds: float) -> str:
    from datetime import datetime

    return datetime.fromtimestamp(seconds, timezone.utc).isoformat()


def _limited_token(bucket: Bucket, read_only: bool) -> tuple[str, float]:
    import google.auth
    from google.auth import downscoped
    from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
    from google.auth.transport.requests import Request

    try:
        source, _ = google.auth.default(scopes=[_SCOPE])
        (rule,) = boundary(bucket, read_only)["accessBoundary"]["accessBoundaryRules"]
        condition = rule.get("availabilityCondition")
        limits = downscoped.CredentialAccessBoundary(
            rules=[
                downscoped.AccessBoundaryRule(
                    available_resource=rule["availableResource"],
                    available_permissions=rule["availablePermissions"],
                    availability_condition=condition and downscoped.AvailabilityCondition(**condition),
                )
            ]
        )
        limited = downscoped.Credentials(source_credentials=source, credential_access_boundary=limits)
        limited.refresh(Request())
    except DefaultCredentialsError as e:
        raise ConfigurationError("There are no Google Cloud credentials.", hint=f"Log in: {_LOGIN}.") from e
    except GoogleAuthError as e:
        raise StorageError(
            f"Google Cloud gives no token for {bucket}: {e}", hint=f"Log in again: {_LOGIN}."
        ) from e
    return str(limited.token), limited.expiry.replace(tzinfo=timezone.utc).timestamp()


def _look(bucket: Bucket, token: str, server: str) -> None:
    """See that the bucket is there and that the token is good for it."""
    import requests

    base = server or "https://storage.googleapis.com"
    try:
        answer = requests.get(
            f"{base}/storage/v1/b/{bucket.name}/o",
            params={"maxResults": "1", "prefix": bucket.below},
            headers={"Authorization": f"Bearer {token}"},
            timeout=LIMIT,
        )
    except requests.RequestException as e:
        raise StorageError(f"{bucket} cannot be reached from here: {e}", hint="Check the network.") from e
    if answer.status_code == 404:
        raise StorageError(
            f"There is no bucket {bucket.name}.", hint=f"`%remote mount --create {bucket}:PATH` makes it."
        )
    if answer.status_code in (401, 403):
        permission = "storage.objects.list"
        raise StorageError(
            f"{bucket}: you lack the permission {permission} on the bucket {bucket.name}.",
            hint=f"Have somebody grant you roles/storage.objectUser there; a token for one bucket also needs"
            f" uniform bucket-level access. Or log in again: {_LOGIN}.",
        )
    if not answer.ok:
        raise StorageError(f"{bucket}: {answer.status_code} {answer.text[:300]}")


def create(bucket: Bucket, wanted: dict[str, Any]) -> str:
    """Make a bucket as Google's reference describes it, and return where it is.

    Raises:
        StorageError: It can't be made.
        ConfigurationError: There are no credentials, or no project is named.
    """
    import google.auth
    import requests
    from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
    from google.auth.transport.requests import Request

    server, project, token = os.environ.get(EMULATOR, "").rstrip("/"), os.environ.get(_PROJECT, ""), _EMULATED
    try:
        if not server:
            credentials, found = google.auth.default(scopes=[_SCOPE])
            credentials.refresh(Request())
            project, token = project or found or "", credentials.token
        answer = requests.post(
            f"{server or 'https://storage.googleapis.com'}/storage/v1/b",
            params={"project": project},
            json=wanted,
            headers={"Authorization": f"Bearer {token}"},
            timeout=LIMIT,
        )
    except DefaultCredentialsError as e:
        raise ConfigurationError("There are no Google Cloud credentials.", hint=f"Log in: {_LOGIN}.") from e
    except (GoogleAuthError, requests.RequestException) as e:
        raise StorageError(f"{bucket.name} was not made: {e}") from e
    if answer.status_code == 409:
        raise StorageError(
            f"The bucket {bucket.name} was not made: there is one of that name.",
            hint="Leave out --create if it is yours, or choose another name.",
        )
    if answer.status_code in (401, 403):
        raise StorageError(
            f"{bucket.name} was not made: you lack the permission storage.buckets.create in {project}.",
            hint="Have somebody grant you roles/storage.admin there.",
        )
    if not answer.ok:
        raise StorageError(f"{bucket.name} was not made: {answer.status_code} {answer.text[:300]}")
    return str(answer.json().get("location", "")).lower() or "the usual place of the project"
