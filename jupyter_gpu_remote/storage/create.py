"""New buckets: private, encrypted, tagged, and without the rest of uploads that were cut short."""

from __future__ import annotations

from typing import Any

from ..errors import ConfigurationError, StorageError
from .urls import Bucket

_TAG = "gpu-remote"
_DAYS = 7
"""Days after which the parts of an upload that was cut short are deleted; they cost and nobody sees them."""


def create_bucket(bucket: Bucket, region: str, days: int = 0) -> str:
    """Make a bucket and say in a line what it is like.

    Args:
        bucket: Its name; what is below is not made.
        region: Where; empty for the usual place of the user's account.
        days: After how many days its files are deleted; 0 for never.

    Raises:
        StorageError: It can't be made.
        ConfigurationError: It is none of a cloud's.
    """
    if bucket.scheme == "s3":
        where = _aws(bucket, region, days)
    elif bucket.scheme == "gs":
        where = _gcp(bucket, region, days)
    else:
        raise ConfigurationError(f"{bucket} is a folder of the machine.", hint="Make it there: mkdir.")
    stay = "stay until you delete them; a lifecycle rule of the bucket can do that by age, --days N makes one"
    if days:
        stay = f"are deleted {days} days after they were written, by a lifecycle rule of the bucket"
    return (
        f"Made the bucket {bucket.name} in {where}: private, encrypted, tagged {_TAG}; the rest of an upload"
        f" that was cut short is deleted after {_DAYS} days. Files {stay}."
    )


def _aws(bucket: Bucket, region: str, days: int) -> str:
    from botocore.exceptions import BotoCoreError, ClientError

    from . import aws

    session = aws.session()
    server = aws.server(session)
    region = region if region and not server else session.region_name or "us-east-1"
    s3 = aws.client(session, "s3", region_name=region)
    action = "s3:CreateBucket"
    try:
        place = {} if region == "us-east-1" else {"LocationConstraint": region}
        s3.create_bucket(
            Bucket=bucket.name, **({"CreateBucketConfiguration": place} if place and not server else {})
        )
        if server:
            return server
        for permission, call, what in _settings(days):
            action = permission
            getattr(s3, call)(Bucket=bucket.name, **what)
    except ClientError as e:
        code = e.response["Error"]["Code"]
        if code in ("BucketAlreadyExists", "BucketAlreadyOwnedByYou"):
            whose = "somebody else has one" if code == "BucketAlreadyExists" else "you have it already"
            raise StorageError(
                f"The bucket {bucket.name} was not made: {whose}.",
                hint="Leave out --create, or choose another.",
            ) from e
        raise aws.refusal(e, bucket, action) from e
    except BotoCoreError as e:
        raise StorageError(f"{bucket.name} was not made: {e}") from e
    return region


def _settings(days: int) -> list[tuple[str, str, dict[str, Any]]]:
    """Return permission, call and arguments for each thing that a new bucket of AWS is told."""
    private = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
    encrypted = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}, "BucketKeyEnabled": True}
    leftovers = {
        "ID": "cut-short-uploads",
        "Status": "Enabled",
        "Filter": {"Prefix": ""},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": _DAYS},
    }
    rules = [leftovers]
    if days:
        expired = {"ID": "expired", "Status": "Enabled", "Filter": {"Prefix": ""}}
        rules.append({**expired, "Expiration": {"Days": days}})
    return [
        (
            "s3:PutBucketPublicAccessBlock",
            "put_public_access_block",
            {"PublicAccessBlockConfiguration": dict.fromkeys(private, True)},
        ),
        (
            "s3:PutEncryptionConfiguration",
            "put_bucket_encryption",
            {"ServerSideEncryptionConfiguration": {"Rules": [encrypted]}},
        ),
        (
            "s3:PutBucketTagging",
            "put_bucket_tagging",
            {"Tagging": {"TagSet": [{"Key": _TAG, "Value": "storage"}]}},
        ),
        (
            "s3:PutLifecycleConfiguration",
            "put_bucket_lifecycle_configuration",
            {"LifecycleConfiguration": {"Rules": rules}},
        ),
    ]


def _gcp(bucket: Bucket, region: str, days: int) -> str:
    from . import gcp

    rules: list[dict[str, Any]] = [
        {"action": {"type": "AbortIncompleteMultipartUpload"}, "condition": {"age": _DAYS}}
    ]
    if days:
        rules.append({"action": {"type": "Delete"}, "condition": {"age": days}})
    wanted: dict[str, Any] = {
        "name": bucket.name,
        "iamConfiguration": {
            "uniformBucketLevelAccess": {"enabled": True},
            "publicAccessPrevention": "enforced",
        },
        "labels": {_TAG: "storage"},
        "lifecycle": {"rule": rules},
    }
    if region:
        wanted["location"] = region
    return gcp.create(bucket, wanted)
