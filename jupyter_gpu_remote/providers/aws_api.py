"""Calls to AWS: who we are there, in which regions, and again when AWS is busy."""

from __future__ import annotations

import functools
import hashlib
import os
import random
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from ..catalog.cached import cached, forget
from ..errors import ProviderAuthError, ProviderError, RulesOut
from .aws_errors import LOGIN, THROTTLED, UNSURE, refusal

T = TypeVar("T")

DAY = 86400.0
_ATTEMPTS = 5
"""Calls until AWS counts as too busy."""
_PAUSE = 0.25
"""Seconds; each pause between two calls is twice as long as the one before, the last one four seconds."""
AT_ONCE = 16
"""Regions, or other things, that are asked at the same time."""
_ALWAYS_ON = ("us-east-1", "us-west-2", "eu-west-1")
"""Regions that every account has, for when the user's own does not answer."""
_RENTS = {"RunInstances"}
"""Actions after whose failure there may be something that is billed."""
_PERMISSIONS = {"service-quotas": "servicequotas"}
"""Services that permissions know by another name."""


class Api:
    """AWS, for the account that the user's own configuration leads to.

    Raises:
        ProviderAuthError: There are no credentials; nothing was asked to find that out.
    """

    def __init__(self) -> None:
        if not _configured():
            raise _no_credentials()
        from botocore.credentials import RefreshableCredentials
        from botocore.exceptions import BotoCoreError

        self._session, self._lock = _session(_settings())
        try:
            with self._lock:
                credentials = self._session.get_credentials()
        except BotoCoreError as e:
            raise _failed(e) from e
        if credentials is None:
            _session.cache_clear()  # so that a login from now on counts
            raise _no_credentials()
        self.home: str = self._session.region_name or "us-east-1"
        # short-lived keys change, and tell nothing about the account; the profile does
        lasting = "" if isinstance(credentials, RefreshableCredentials) else credentials.access_key
        known_by = f"{os.environ.get('AWS_ENDPOINT_URL', '')} {self._session.profile_name} {lasting}"
        self._account = hashlib.sha256(known_by.encode()).hexdigest()[:16]

    def call(self, service: str, region: str, action: str, **params: Any) -> dict[str, Any]:
        """Return AWS's answer.

        Raises:
            ProviderError: AWS refused; `cloud_code` is its code. One that fails, or does not answer, rules
                the region out, unless it may have rented something out all the same.
        """
        from botocore.exceptions import BotoCoreError, ClientError, ConnectTimeoutError, HTTPClientError
        from botocore.exceptions import ConnectionError as NoConnection
        from botocore.exceptions import EndpointConnectionError as NobodyThere
        from botocore.parsers import ResponseParserError

        client = self._client(service, region)
        method = getattr(client, client_method(action))
        unsure = False  # whether AWS may have done it, though it did not say so
        for attempt in range(_ATTEMPTS):
            if attempt:
                time.sleep(_PAUSE * 2**attempt * random.uniform(0.5, 1.0))
            try:
                answer: dict[str, Any] = method(**params)
                return answer
            except ClientError as e:
                problem = e.response.get("Error", {})
                permission = f"{_PERMISSIONS.get(service, service)}:{action}"
                error = refusal(problem.get("Code", ""), problem.get("Message", ""), permission, region)
                error.__cause__ = e
                unsure = unsure or error.cloud_code in UNSURE
                if error.cloud_code not in THROTTLED | UNSURE:
                    break
            except (HTTPClientError, NoConnection, ResponseParserError) as e:
                why = "nothing that can be read" if isinstance(e, ResponseParserError) else e
                error = ProviderError(
                    f"AWS does not answer in {region}: {why}.",
                    hint="Check the network connection, try again.",
                    rules_out=RulesOut.REGION,
                )
                error.__cause__ = e
                unsure = unsure or not isinstance(e, (NobodyThere, ConnectTimeoutError))
                if attempt:  # each took seconds
                    break
            except BotoCoreError as e:
                error = _failed(e, region)
                break
        if unsure and action in _RENTS and error.rules_out is RulesOut.REGION:
            error.rules_out = None  # whatever there may be of a machine must be looked for
        if isinstance(error, ProviderAuthError) and error.rules_out is RulesOut.CLOUD:
            _session.cache_clear()  # so that a login from now on counts
        raise error

    def pages(self, service: str, region: str, action: str, key: str, **params: Any) -> list[Any]:
        """Return what all pages of an answer have under `key`."""
        found: list[dict[str, Any]] = []
        while True:
            answer = self.call(service, region, action, **params)
            found += answer.get(key, [])
            if not answer.get("NextToken"):
                return found
            params["NextToken"] = answer["NextToken"]

    def kept(self, what: str, seconds: float, make: Callable[[], T]) -> T:
        """Return what is known of this account, asked anew when it is older than `seconds`."""
        return cached(f"aws {self._account} {what}", seconds, make)

    def forget(self, what: str) -> None:
        """Ask anew next time."""
        forget(f"aws {self._account} {what}")

    def regions(self) -> list[str]:
        """Return the regions that the account has enabled."""

        def ask() -> list[str]:
            errors: list[ProviderError] = []
            for region in dict.fromkeys([self.home, *_ALWAYS_ON]):
                try:
                    answer = self.call("ec2", region, "DescribeRegions")
                    return sorted(r["RegionName"] for r in answer["Regions"])
                except ProviderError as e:
                    errors.append(e)
                    if isinstance(errors[0], ProviderAuthError):
                        break
            if errors[0].cloud_code == "AuthFailure":  # where it is on for sure, it is about who we are
                errors[0].rules_out, errors[0].hint = RulesOut.CLOUD, f"Log in again: {LOGIN}."
            raise errors[0]

        return self.kept("regions", DAY, ask)

    def everywhere(self, regions: Iterable[str], ask: Callable[[str], T], strict: bool = False) -> list[T]:
        """Return what each region answers; one that is closed to this account has no answer.

        Args:
            regions: Where to ask.
            ask: Called with a region, in a thread.
            strict: Whether one that fails for another reason is an error.

        Raises:
            ProviderError: None answered, or, if `strict`, one failed.
        """
        regions = list(regions)
        answers: list[T] = []
        errors: list[ProviderError] = []

        def attempt(region: str) -> T | ProviderError:
            try:
                return ask(region)
            except ProviderError as e:
                return e

        with ThreadPoolExecutor(max(1, min(AT_ONCE, len(regions)))) as pool:
            for answer in pool.map(attempt, regions):
                if isinstance(answer, ProviderError):
                    errors.append(answer)
                else:
                    answers.append(answer)
        serious = [e for e in errors if strict and not isinstance(e, ProviderAuthError)]
        if serious or (errors and not answers):
            raise (serious or errors)[0]
        return answers

    def _client(self, service: str, region: str) -> Any:
        with self._lock:
            return _client(self._session, service, region)


def client_method(action: str) -> str:
    """Return boto3's name for an action."""
    from botocore import xform_name

    return str(xform_name(action))


def _configured() -> bool:
    """Return whether there may be credentials: most who have none need not wait for the SDK to say so."""
    names = [
        *("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE"),
        *("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
    ]
    files = {"AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials", "AWS_CONFIG_FILE": "~/.aws/config"}
    files["BOTO_CONFIG"] = "~/.boto"
    paths = (Path(os.environ.get(name) or usual).expanduser() for name, usual in files.items())
    return any(map(os.environ.get, names)) or any(path.exists() for path in paths) or _is_ec2()


def _no_credentials() -> ProviderAuthError:
    return ProviderAuthError(
        "AWS: no credentials. Looked for AWS_ACCESS_KEY_ID, AWS_PROFILE, ~/.aws/credentials and"
        " ~/.aws/config.",
        hint="Log in: aws configure, or aws sso login.",
    )


def _settings() -> tuple[str, ...]:
    """Return what decides who we are: a session is for one such answer."""
    names = [
        *("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION"),
        *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
        *("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"),
    ]
    return tuple(os.environ.get(name, "") for name in names)


@functools.lru_cache(maxsize=1)
def _session(settings: tuple[str, ...]) -> tuple[Any, threading.Lock]:
    """Return a session, whose making takes a third of a second, and what its users must hold."""
    import boto3
    import botocore.session
    from botocore.exceptions import BotoCoreError

    session = botocore.session.get_session()
    session.set_config_variable("metadata_service_timeout", 1)
    session.set_config_variable("metadata_service_num_attempts", 1)
    try:
        if not _is_ec2():
            # nobody answers there, and to find that out takes seconds
            session.get_component("credential_provider").remove("iam-role")
        return boto3.Session(botocore_session=session), threading.Lock()
    except BotoCoreError as e:
        raise _failed(e) from e


@functools.lru_cache(maxsize=128)
def _client(session: Any, service: str, region: str) -> Any:
    from botocore.config import Config

    # what is repeated, and how often, is for the table to say: botocore repeats a lack of capacity too
    config = Config(
        connect_timeout=5, read_timeout=20, retries={"total_max_attempts": 1}, max_pool_connections=AT_ONCE
    )
    return session.client(service, region_name=region, config=config)


def _is_ec2() -> bool:
    try:
        return Path("/sys/class/dmi/id/sys_vendor").read_text().strip() == "Amazon EC2"
    except OSError:
        return False


def _failed(error: Exception, region: str = "") -> ProviderError:
    """Return our error for one that the SDK has with itself: with credentials, mostly."""
    from botocore import exceptions as e

    about_us = (
        *(e.NoCredentialsError, e.PartialCredentialsError, e.CredentialRetrievalError, e.SSOError),
        *(e.TokenRetrievalError, e.ProfileNotFound, e.ConfigParseError, e.InvalidConfigError),
    )
    if isinstance(error, about_us):
        made: ProviderError = ProviderAuthError(
            f"AWS: the credentials cannot be used: {error}", hint=f"Log in again: {LOGIN}."
        )
    else:
        made = ProviderError(f"A call to AWS{f' in {region}' if region else ''} failed: {error}")
    made.__cause__ = error
    return made
