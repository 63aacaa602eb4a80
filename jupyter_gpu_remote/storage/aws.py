"""Buckets of AWS, and of servers that speak like S3: credentials for one of them alone."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import urlsplit

from ..errors import ConfigurationError, GpuRemoteError, StorageError
from .access import LIMIT, Access, config
from .urls import Bucket

_FEDERATED = 12 * 3600
"""Seconds that the credentials of a user are good for: as long as a machine lives unless told otherwise."""
_TAKEN_ON = 3600
"""Seconds; AWS gives a role that is taken on by another role no more."""
_NAME = "gpu-remote"
_READ = ["s3:GetObject"]
_WRITE = ["s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired"}
_UNKNOWN = {
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
}
_DENIED = {"AccessDenied", "AccessDeniedException", "403", "AllAccessDisabled", "Forbidden"}
_MISSING = {"NoSuchBucket", "404", "NotFound"}


def policy(bucket: Bucket, read_only: bool, partition: str = "aws") -> dict[str, Any]:
    """Return the policy that session credentials are limited by: this bucket, and what is below the prefix.

    Args:
        bucket: The bucket, or the folder in it.
        read_only: Whether nothing may be written.
        partition: Of AWS: ``aws``, ``aws-cn`` or ``aws-us-gov``.
    """
    arn = f"arn:{partition}:s3:::{bucket.name}"
    objects = f"{arn}/{_literal(bucket.below)}*"
    listing: dict[str, Any] = {"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": [arn]}
    if bucket.prefix:
        prefix = _literal(bucket.prefix)
        listing["Condition"] = {"StringLike": {"s3:prefix": [prefix, f"{prefix}/*"]}}
    return {
        "Version": "2012-10-17",
        "Statement": [
            listing,
            {"Effect": "Allow", "Action": _READ if read_only else _READ + _WRITE, "Resource": [objects]},
            {  # where a key of KMS encrypts the bucket
                "Effect": "Allow",
                "Action": ["kms:Decrypt"] if read_only else ["kms:Decrypt", "kms:GenerateDataKey"],
                "Resource": ["*"],
                "Condition": {"StringLike": {"kms:EncryptionContext:aws:s3:arn": [arn, objects]}},
            },
        ],
    }


def _literal(text: str) -> str:
    """Return what stands for `text` itself in a policy, where some characters stand for others."""
    return re.sub(r"[*?$]", lambda sign: f"${{{sign[0]}}}", text)


def open_access(bucket: Bucket, read_only: bool, role: str, share_keys: bool) -> Access:
    """Return what a machine needs to reach a bucket; arguments and errors as `access.open_access`."""
    own = session()
    address = server(own)
    if address and not _has_sts(own):
        keys = _own_keys(own, bucket, address, share_keys)
        expires = 0.0
    else:
        keys, expires = _limited_keys(own, bucket, read_only, role)
    region = _look(bucket, keys, address, own)
    files = {
        "rclone.conf": config(
            "s3",
            provider="Other" if address else "AWS",
            env_auth="true",
            region=region,
            endpoint=address,
            force_path_style="true" if address else "",
            # made by nobody in passing; and to look for it would need one more permission
            no_check_bucket="true",
        ),
        "aws.config": "[default]\ncredential_process = /bin/cat credentials.json\n",
        "credentials.json": json.dumps({"Version": 1, **keys}),
    }
    return Access(files, expires)


def session() -> Any:
    """Return the session of this computer's own credentials.

    Raises:
        ConfigurationError: There are none.
        StorageError: They can't be used.
    """
    import boto3
    from botocore.exceptions import BotoCoreError

    try:
        own = boto3.Session()
        found = own.get_credentials()
    except BotoCoreError as e:
        raise _unusable(e) from e
    if found is None:
        raise ConfigurationError(
            "S3: no credentials. Looked for AWS_ACCESS_KEY_ID, AWS_PROFILE, ~/.aws/credentials and"
            " ~/.aws/config.",
            hint="Log in: aws configure, or aws sso login.",
        )
    return own


def _unusable(error: Exception) -> GpuRemoteError:
    return StorageError(
        f"S3: the credentials of this computer cannot be used: {error}",
        hint="Log in again: aws configure, or aws sso login.",
    )


def client(own: Any, service: str, **options: Any) -> Any:
    """Return a client that waits for no answer without end."""
    from botocore.config import Config

    limits = Config(connect_timeout=LIMIT / 4, read_timeout=LIMIT, retries={"total_max_attempts": 3})
    region = options.pop("region_name", "") or own.region_name or "us-east-1"
    return own.client(service, region_name=region, config=limits, **options)


def server(own: Any) -> str:
    """Return the address of the S3 server that the environment or the profile names; empty for AWS itself."""
    url = str(client(own, "s3").meta.endpoint_url)
    return "" if _is_aws(url) else url


def _has_sts(own: Any) -> bool:
    """Return whether a service that gives limited credentials is named as well."""
    return not _is_aws(str(client(own, "sts").meta.endpoint_url))


def _is_aws(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn", ".api.aws"))


def _own_keys(own: Any, bucket: Bucket, address: str, share_keys: bool) -> dict[str, str]:
    """Return the keys of this computer, if they may go to the machine."""
    if not share_keys:
        raise StorageError(
            f"The keys for {address} cannot be limited to {bucket}: no service that does it is known.",
            hint="Name one with AWS_ENDPOINT_URL_STS; or, with keys that are good for this bucket alone, let"
            " the machine have them: --share-keys.",
        )
    found = own.get_credentials().get_frozen_credentials()
    keys = {"AccessKeyId": found.access_key, "SecretAccessKey": found.secret_key}
    return {**keys, "SessionToken": found.token} if found.token else keys


def _limited_keys(own: Any, bucket: Bucket, read_only: bool, role: str) -> tuple[dict[str, str], float]:
    from botocore.exceptions import BotoCoreError, ClientError

    sts = client(own, "sts")
    action = "sts:GetCallerIdentity"
    try:
        who = str(sts.get_caller_identity()["Arn"])
        limits = json.dumps(policy(bucket, read_only, who.split(":")[1]), separators=(",", ":"))
        if role:
            action = "sts:AssumeRole"
            answer = sts.assume_role(
                RoleArn=role, RoleSessionName=_NAME, Policy=limits, DurationSeconds=_TAKEN_ON
            )
        elif ":assumed-role/" in who or ":federated-user/" in who:
            raise StorageError(
                f"{who} is logged in for a while only, so AWS gives no credentials for {bucket} alone.",
                hint="Name a role that you may take on and that may use the bucket:"
                ' c.GpuRemote.storage_role = "arn:aws:iam::…:role/…".',
            )
        else:
            action = "sts:GetFederationToken"
            seconds = _TAKEN_ON if who.endswith(":root") else _FEDERATED
            answer = sts.get_federation_token(Name=_NAME, Policy=limits, DurationSeconds=seconds)
    except ClientError as e:
        raise refusal(e, bucket, action, on=role or "*") from e
    except BotoCoreError as e:
        raise _unusable(e) from e
    given = answer["Credentials"]
    keys = {name: str(given[name]) for name in ("AccessKeyId", "SecretAccessKey", "SessionToken")}
    return {**keys, "Expiration": given["Expiration"].isoformat()}, given["Expiration"].timestamp()


def _look(bucket: Bucket, keys: dict[str, str], address: str, own: Any) -> str:
    """See that the bucket is there and that `keys` are good for it; return its region."""
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    limited = boto3.Session(
        keys["AccessKeyId"],
        keys["SecretAccessKey"],
        keys.get("SessionToken"),
        region_name=own.region_name,
    )
    s3 = client(limited, "s3", endpoint_url=address or None)
    try:
        region = "" if address else _region(client(own, "s3"), bucket)
        if region:
            s3 = client(limited, "s3", region_name=region)
        s3.list_objects_v2(Bucket=bucket.name, Prefix=bucket.below, MaxKeys=1)
        return region or own.region_name or "us-east-1"
    except ClientError as e:
        raise refusal(e, bucket, "s3:ListBucket") from e
    except BotoCoreError as e:
        raise StorageError(f"{bucket} cannot be reached from here: {e}", hint="Check the network.") from e


def _region(s3: Any, bucket: Bucket) -> str:
    from botocore.exceptions import ClientError

    try:
        return str(s3.head_bucket(Bucket=bucket.name).get("BucketRegion", ""))
    except ClientError as e:
        if e.response["Error"]["Code"] in _MISSING:
            raise
        headers = e.response["ResponseMetadata"].get("HTTPHeaders", {})
        return str(headers.get("x-amz-bucket-region", ""))


def refusal(error: Any, bucket: Bucket, permission: str, on: str = "") -> StorageError:
    """Return our error for one of S3 or STS.

    Args:
        error: A `ClientError`.
        bucket: The bucket.
        permission: What was asked for, as policies call it.
        on: The ARN that it is needed on; empty for the bucket's.
    """
    said = error.response.get("Error", {})
    code, text = str(said.get("Code", "")), str(said.get("Message", ""))
    if code in _MISSING:
        return StorageError(
            f"There is no bucket {bucket.name}, or it is not yours.",
            hint=f"`%remote mount --create {bucket}:PATH` makes it.",
        )
    if code in _EXPIRED:
        return StorageError(
            f"The credentials of this computer for {bucket} have expired.",
            hint="Log in again: aws sso login, or aws configure.",
        )
    if code in _UNKNOWN:
        return StorageError(
            f"{bucket}: the keys of this computer are not known there ({code}).", hint="Check: aws configure."
        )
    if code in _DENIED:
        where = on or f"arn:aws:s3:::{bucket.name}"
        return StorageError(
            f"{bucket}: you lack the permission {permission} on {where}. {text}".strip(),
            hint=f"Have {permission} on {where} added to the policy of your user or role.",
        )
    return StorageError(f"{bucket}: {code} {text}".strip())
