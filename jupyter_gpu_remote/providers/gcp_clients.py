"""The way to Compute Engine: whose credentials, which project, which endpoint, and no wait without end."""

from __future__ import annotations

import functools
import ipaddress
import os
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..errors import ConfigurationError, ProviderAuthError, ProviderError
from .gcp_errors import LOGIN, failed_operation, logged_out, passing, refusal

ENDPOINT = "CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE"
"""Environment variable with another endpoint; gcloud knows it too."""

PROJECT = "GOOGLE_CLOUD_PROJECT"

CALL_LIMIT = 20.0
"""Seconds that one call may take."""

REPEAT_LIMIT = 15.0
"""Seconds to go on repeating a call that a busy cloud or a bad network turned down."""

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"


class Compute:
    """The Compute Engine API of one project, in our errors.

    Requests are given as fields, as in Google's reference but with underscores.
    """

    def __init__(self, project: str, credentials: Any, endpoint: str) -> None:
        self.project = project
        self.credentials = credentials
        self.endpoint = endpoint
        self._clients: dict[str, Any] = {}

    def ask(self, service: str, method: str, **fields: Any) -> Any:
        """Return the answer of a method such as ``Instances``, ``get``.

        Raises:
            ProviderError: It was refused, or there was no answer in time.
        """
        return self._ask(service, method, fields)

    def ask_all(self, service: str, method: str, **fields: Any) -> list[Any]:
        """Return all items of a method that lists, over all its pages; errors as in `ask`."""
        try:
            return list(self._ask(service, method, fields))
        except Exception as e:  # a later page
            raise refusal(e, self.project) from e

    def _ask(self, service: str, method: str, fields: dict[str, Any]) -> Any:
        from google.api_core.retry import Retry

        retry = Retry(predicate=passing, initial=0.1, multiplier=2, maximum=4, timeout=REPEAT_LIMIT)
        call = getattr(self._client(service), method)
        try:
            return call(request={"project": self.project, **fields}, retry=retry, timeout=CALL_LIMIT)
        except Exception as e:
            raise refusal(e, self.project) from e

    def finish(self, operation: Any, zone: str, limit: float) -> bool:
        """Wait until an operation in `zone` is done, for at most `limit` seconds; return whether it is.

        Raises:
            ProviderError: It failed. That we could not ask is not that: what was begun goes on without us.
        """
        end, pause = time.monotonic() + limit, 0.05
        while operation.status.name != "DONE":
            if time.monotonic() > end:
                return False
            time.sleep(pause)
            pause = min(pause * 1.5, 2.0)
            try:
                operation = self.ask("ZoneOperations", "get", zone=zone, operation=operation.name)
            except ProviderError:
                return False
        if error := failed_operation(operation, self.project):
            raise error
        return True

    def _client(self, service: str) -> Any:
        if service not in self._clients:
            from google.api_core.client_options import ClientOptions
            from google.cloud import compute_v1

            options = ClientOptions(api_endpoint=self.endpoint or None)
            made = getattr(compute_v1, f"{service}Client")(
                credentials=self.credentials, client_options=options
            )
            self._clients[service] = made
        return self._clients[service]


def connect() -> Compute:
    """Return the API of the user's project.

    Raises:
        ProviderAuthError: There are no credentials; the message says where they were looked for.
        ConfigurationError: No project is named, or the endpoint can't be used.
    """
    account = _account_file()
    changed = account.stat().st_mtime_ns if account.is_file() else 0
    return _connect(endpoint(ENDPOINT), os.environ.get(PROJECT, ""), account, changed)


@functools.lru_cache(maxsize=4)  # a client costs a tenth of a second; another login makes another one
def _connect(base: str, project: str, account: Path, changed: int) -> Compute:
    if base.startswith("http://"):
        from google.auth.credentials import AnonymousCredentials

        credentials = AnonymousCredentials()
    else:
        credentials, found = _credentials(account)
        project = project or found
    if not project:
        raise ConfigurationError(
            "There are Google Cloud credentials, but no project is named.",
            hint=f"Set {PROJECT}, or: gcloud config set project NAME.",
        )
    return Compute(project, credentials, base)


def _credentials(account: Path) -> tuple[Any, str]:
    """Return the application default credentials and their project; empty where they have none."""
    # without a file the SDK asks the metadata server, for which it waits long where there is none
    if not account.is_file() and not _at_google():
        named = " (named by GOOGLE_APPLICATION_CREDENTIALS)" if _named_account() else ""
        raise ProviderAuthError(
            f"No Google Cloud credentials: no file {account}{named}, and this computer is not one of"
            " Google's.",
            hint=f"Log in: {LOGIN}.",
        )
    import google.auth
    from google.auth.exceptions import GoogleAuthError

    try:
        credentials, project = google.auth.default(scopes=[_SCOPE])
    except GoogleAuthError as e:
        raise logged_out(str(e)) from e
    return credentials, project or ""


def _account_file() -> Path:
    """Return where application default credentials are, if there are any."""
    if named := _named_account():
        return Path(named)
    if folder := os.environ.get("CLOUDSDK_CONFIG"):
        return Path(folder) / "application_default_credentials.json"
    home = Path(os.environ.get("APPDATA", "")) if os.name == "nt" else Path.home() / ".config"
    return home / "gcloud" / "application_default_credentials.json"


def _named_account() -> str:
    return os.environ.get("GOOGLE_APPLICATION_CREDENTIALS", "")


def _at_google() -> bool:
    try:
        return Path("/sys/class/dmi/id/product_name").read_text().startswith("Google")
    except OSError:
        return False


def endpoint(variable: str) -> str:
    """Return scheme, host and port of the endpoint that a variable names (gcloud's has a path as well).

    Raises:
        ConfigurationError: It can't be used.
    """
    if not (named := os.environ.get(variable, "")):
        return ""
    parts = urlsplit(named)
    if not (parts.scheme == "https" or (parts.scheme == "http" and _near(parts.hostname or ""))):
        raise ConfigurationError(
            f"{variable} is {named!r}: only https, or http to a private address, can be used.",
            hint=f"Unset {variable} to use Google's own.",
        )
    return f"{parts.scheme}://{parts.netloc}"


def _near(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return address.is_private or address.is_loopback
