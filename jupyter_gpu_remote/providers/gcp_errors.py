"""What a refusal by Google Cloud means for the next step: one table, for HTTP errors and operations."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from ..errors import (
    MachineNotFoundError,
    NoCapacityError,
    ProviderAuthError,
    ProviderError,
    QuotaError,
    RulesOut,
)

LOGIN = "gcloud auth application-default login"

# An operation writes its codes in capitals, an HTTP error its reasons in camel case.
_NOT_HERE = {
    "ZONE_RESOURCE_POOL_EXHAUSTED",
    "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS",
    "insufficientCapacity",
    "RESOURCE_NOT_FOUND",
    "UNSUPPORTED_OPERATION",
}
_BUSY = {"RESOURCE_NOT_READY", "resourceNotReady"}
_TOO_FAST = {"RESOURCE_OPERATION_RATE_EXCEEDED", "rateLimitExceeded", "userRateLimitExceeded"}
_QUOTA = {"QUOTA_EXCEEDED", "quotaExceeded"}
_DISABLED = {"SERVICE_DISABLED", "accessNotConfigured"}
_DENIED = {"IAM_PERMISSION_DENIED", "forbidden", "PERMISSIONS_ERROR"}
# a zone that lacks a type answers 404, as it does for a machine that is not there
_TYPE = re.compile(r"/zones/[^/']+/(acceleratorTypes|machineTypes|diskTypes)/")
_PERMISSION = re.compile(r"compute\.\w+\.\w+")


def passing(error: Exception) -> bool:
    """Return whether an HTTP call that failed like this is worth repeating in a moment."""
    import requests
    from google.api_core.exceptions import GoogleAPICallError
    from google.auth.exceptions import TransportError

    if isinstance(error, GoogleAPICallError):
        codes = _codes(error)
        return bool(codes & (_BUSY | _TOO_FAST)) or (
            error.code in (429, 500, 502, 503, 504) and not codes & _NOT_HERE
        )
    return isinstance(error, (requests.ConnectionError, requests.Timeout, TransportError))


def repeatable(error: ProviderError) -> bool:
    """Return whether the operation that ended like this is worth repeating in a moment."""
    return error.cloud_code in _BUSY | _TOO_FAST


def refusal(error: Exception, project: str) -> Exception:
    """Return our error for one that the SDK raised; what is neither Google's nor the network's stays."""
    import requests
    from google.api_core.exceptions import GoogleAPICallError, RetryError
    from google.auth.exceptions import GoogleAuthError, TransportError

    if isinstance(error, RetryError) and isinstance(error.cause, Exception):
        return refusal(error.cause, project)
    if isinstance(error, GoogleAPICallError):
        texts = [str(e["message"]) for e in error.errors if isinstance(e, dict) and e.get("message")]
        text = texts[0] if texts else str(error.message)
        return classify(_codes(error), text, int(error.code or 0), project)
    if isinstance(error, GoogleAuthError) and not isinstance(error, TransportError):
        return logged_out(str(error.args[0] if error.args else error))
    if isinstance(error, (requests.RequestException, TransportError, RetryError)):
        # whether a machine was made is not known then, so nothing is ruled out and the launch is undone
        return ProviderError(
            f"Google Cloud does not answer: {error}.", hint="Check the network connection, then try again."
        )
    return error


def failed_operation(operation: Any, project: str) -> ProviderError | None:
    """Return our error for an operation that is done, or None when it went well."""
    errors = list(operation.error.errors)
    if not errors:
        return None
    codes = {e.code for e in errors if e.code}
    return classify(codes, errors[0].message, operation.http_error_status_code or 0, project)


def classify(codes: Iterable[str], text: str, status: int, project: str) -> ProviderError:
    """Return our error.

    Args:
        codes: Google's codes and reasons for it.
        text: Its sentence about it.
        status: The HTTP status; 0 for an operation.
        project: The user's project, for the hint.
    """
    codes = set(codes)
    text = re.sub(r"\s+", " ", text).strip().rstrip(".")
    code = min(codes, default=f"HTTP {status}", key=lambda c: (c.islower(), c))
    if codes & _NOT_HERE or _TYPE.search(text):
        # what is sold out in a zone is the GPU, whatever type of machine it is attached to
        return NoCapacityError(f"Nothing to be had: {text}.", rules_out=RulesOut.ZONE, cloud_code=code)
    if codes & _QUOTA:
        return _quota(text, code, project)
    if codes & (_BUSY | _TOO_FAST) or status == 429:
        # refused for sure, so another place may be tried
        place = RulesOut.OFFER if codes & _BUSY else RulesOut.CLOUD
        return ProviderError(
            f"Google Cloud is busy: {text}.",
            hint="Try again in a minute.",
            rules_out=place,
            cloud_code=next(iter(codes & (_BUSY | _TOO_FAST)), code),
        )
    if status == 401:
        return logged_out(text, code)
    if status == 403 or codes & (_DENIED | _DISABLED) or "access denied" in text:
        return ProviderAuthError(
            f"Google Cloud refuses: {text}.", hint=_access_hint(codes, text, project), cloud_code=code
        )
    if status == 412 or "constraints/" in text:
        return ProviderAuthError(
            f"A policy of your organisation forbids it: {text}.",
            hint=f"Ask who administers it for an exception for project {project}, or use another project:"
            " GOOGLE_CLOUD_PROJECT.",
            cloud_code=code,
        )
    if status == 404 and "/instances/" in text:
        return MachineNotFoundError(f"Google Cloud has no such machine: {text}.", cloud_code=code)
    if status >= 500:
        # something may have been made all the same, so nothing is ruled out and the launch is undone
        return ProviderError(
            f"Google Cloud has a problem of its own: {text}.",
            hint="Try again in some minutes; https://status.cloud.google.com tells of larger ones.",
            cloud_code=code,
        )
    hint = "Trying elsewhere would not help. Please report it, with this text."
    if "networks/default" in text:
        hint = f"Make the network: gcloud compute networks create default --project {project}."
    return ProviderError(f"Google Cloud did not accept the request: {text}.", hint=hint, cloud_code=code)


def logged_out(why: str, code: str = "") -> ProviderAuthError:
    """Return the error for credentials that are there and not accepted."""
    return ProviderAuthError(
        f"Google Cloud does not accept the credentials: {why.strip().rstrip('.')}.",
        hint=f"Log in again: {LOGIN}.",
        cloud_code=code,
    )


def quota_hint(project: str) -> str:
    """Return where to ask for more."""
    return (
        f"Ask for more at https://console.cloud.google.com/iam-admin/quotas?project={project}, or use another"
        " --gpu or --region."
    )


def _quota(text: str, code: str, project: str) -> QuotaError:
    if "ALL_REGIONS" in text or "globally" in text:
        scope = RulesOut.GPU
    else:
        # addresses and disks run out for a region, whatever the GPU
        scope = RulesOut.MARKET if "GPUS" in text else RulesOut.REGION
    return QuotaError(f"{text}.", hint=quota_hint(project), rules_out=scope, cloud_code=code)


def _access_hint(codes: set[str], text: str, project: str) -> str:
    if codes & _DISABLED or "has not been used in project" in text:
        return f"Switch the API on: gcloud services enable compute.googleapis.com --project {project}."
    if "BILLING_DISABLED" in codes or "billing" in text.lower():
        return f"Link a billing account: https://console.cloud.google.com/billing/linkedaccount?project={project}"
    missing = _PERMISSION.search(text)
    what = missing[0] if missing else "what it asks for"
    return f"Have {what} granted to you in project {project}; docs/gcp.md has a role with all that is needed."


def _codes(error: Any) -> set[str]:
    reasons = {str(e.get("reason", "")) for e in error.errors if isinstance(e, dict)}
    return (reasons | {error.reason or ""}) - {""}
