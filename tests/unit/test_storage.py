"""What a machine is given of a bucket, and what is said when it can't be."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_gpu_remote.config import GpuRemote
from jupyter_gpu_remote.errors import ConfigurationError, GpuRemoteError, StorageError
from jupyter_gpu_remote.options import parse
from jupyter_gpu_remote.storage import aws, gcp
from jupyter_gpu_remote.storage.access import open_access
from jupyter_gpu_remote.storage.faults import explain
from jupyter_gpu_remote.storage.told import left_behind, on_its_way
from jupyter_gpu_remote.storage.urls import Bucket, Wanted, parse_bucket, parse_mount
from tests.emulators.s3 import SECRET_KEY, S3Server
from tests.emulators.sts import Sts

ARN = "arn:aws:s3:::data"
KEYS = ("given-access", "given-secret")


# -- what people write --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "bucket", "path", "read_only"),
    [
        ("s3://data:/data", Bucket("s3", "data"), "/data", False),
        ("s3://data/a/b/:~/data", Bucket("s3", "data", "a/b"), "~/data", False),
        ("gs://data/a b:/x:ro", Bucket("gs", "data", "a b"), "/x", True),
        ("file:///srv/data:data", Bucket("file", "", "srv/data"), "data", False),
        ("s3://data/run:1:/data", Bucket("s3", "data", "run:1"), "/data", False),
    ],
)
def test_a_mount_says_what_goes_where(text: str, bucket: Bucket, path: str, read_only: bool) -> None:
    assert parse_mount(text) == Wanted(bucket, path, read_only)
    assert parse_bucket(str(bucket)) == bucket


@pytest.mark.parametrize(
    "text",
    ["s3://data", "data:/data", "/data", "s3://:/data", "s3://data:", "az://data:/x", "s3://d/../e:/x", ""],
)
def test_what_is_no_mount_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigurationError) as e:
        parse_mount(text)
    assert "s3://bucket" in e.value.hint


def test_mounts_can_be_given_more_than_once() -> None:
    config = parse("--mount s3://a:/a --mount gs://b:~/b:ro", GpuRemote())[1]
    assert config.mount == ["s3://a:/a", "gs://b:~/b:ro"]


# -- what credentials are limited to ------------------------------------------------------------------


def test_the_policy_names_the_bucket_and_what_is_below_the_prefix_alone() -> None:
    listing, objects, key = aws.policy(Bucket("s3", "data", "run/one"), read_only=False)["Statement"]
    assert listing == {
        "Effect": "Allow",
        "Action": ["s3:ListBucket"],
        "Resource": [ARN],
        "Condition": {"StringLike": {"s3:prefix": ["run/one", "run/one/*"]}},
    }
    assert objects["Resource"] == [f"{ARN}/run/one/*"]
    assert {"s3:GetObject", "s3:PutObject", "s3:DeleteObject"} <= set(objects["Action"])
    assert key["Condition"] == {"StringLike": {"kms:EncryptionContext:aws:s3:arn": [ARN, f"{ARN}/run/one/*"]}}


def test_the_policy_of_a_read_only_mount_lets_nobody_write() -> None:
    actions = {a for s in aws.policy(Bucket("s3", "data"), read_only=True)["Statement"] for a in s["Action"]}
    assert actions == {"s3:ListBucket", "s3:GetObject", "kms:Decrypt"}


def test_signs_that_mean_more_in_a_policy_stand_for_themselves() -> None:
    statements = aws.policy(Bucket("s3", "data", "a*b?c${d}"), read_only=True)["Statement"]
    assert statements[1]["Resource"] == [f"{ARN}/a${{*}}b${{?}}c${{$}}{{d}}/*"]


def test_the_policy_is_small_enough_for_aws() -> None:
    longest = Bucket("s3", "b" * 63, "p" * 200)
    assert len(json.dumps(aws.policy(longest, False), separators=(",", ":"))) < 2048


def test_a_token_of_google_is_limited_to_the_bucket_and_the_prefix() -> None:
    (rule,) = gcp.boundary(Bucket("gs", "data", "run"), read_only=False)["accessBoundary"][
        "accessBoundaryRules"
    ]
    assert rule == {
        "availableResource": "//storage.googleapis.com/projects/_/buckets/data",
        "availablePermissions": ["inRole:roles/storage.objectAdmin"],
        "availabilityCondition": {
            "expression": "resource.name.startsWith('projects/_/buckets/data/objects/run/') || "
            "api.getAttribute('storage.googleapis.com/objectListPrefix', '').startsWith('run/')"
        },
    }


def test_a_token_for_a_read_only_mount_lets_nobody_write() -> None:
    (rule,) = gcp.boundary(Bucket("gs", "data"), read_only=True)["accessBoundary"]["accessBoundaryRules"]
    assert rule["availablePermissions"] == ["inRole:roles/storage.objectViewer"]


def test_quotes_in_a_prefix_end_no_condition() -> None:
    (rule,) = gcp.boundary(Bucket("gs", "data", "it's"), read_only=True)["accessBoundary"][
        "accessBoundaryRules"
    ]
    assert "objects/it\\'s/" in rule["availabilityCondition"]["expression"]


# -- credentials --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = S3Server(tmp_path_factory.mktemp("s3") / "buckets", keys=(KEYS,))
    yield server
    server.close()


@pytest.fixture
def account(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.be_known(monkeypatch)


@pytest.fixture
def sts(account: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sts]:
    sts = Sts(KEYS)
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sts.url)
    yield sts
    sts.close()


ONE = Bucket("s3", "bucket-one", "run")


def refused(bucket: Bucket, **options: Any) -> GpuRemoteError:
    with pytest.raises(GpuRemoteError) as e:
        open_access(bucket, False, **options)
    return e.value


def test_a_users_machine_gets_credentials_for_half_a_day_and_one_prefix(sts: Sts) -> None:
    access = open_access(ONE, read_only=False)
    (asked,) = sts.asked
    assert asked["Action"] == "GetFederationToken"
    assert asked["Policy"] == aws.policy(ONE, False)
    assert 11.9 * 3600 < access.expires - time.time() < 12.1 * 3600
    keys = json.loads(access.files["credentials.json"])
    assert (keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"]) == (*KEYS, "a-token")
    assert not any(SECRET_KEY in text for text in access.files.values())


def test_a_role_is_taken_on_where_one_is_named(sts: Sts) -> None:
    role = "arn:aws:iam::123456789012:role/storage"
    open_access(ONE, read_only=True, role=role)
    (asked,) = sts.asked
    assert (asked["Action"], asked["RoleArn"], asked["Policy"]) == ("AssumeRole", role, aws.policy(ONE, True))


def test_who_is_logged_in_for_a_while_only_is_told_to_name_a_role(sts: Sts) -> None:
    sts.who = "arn:aws:sts::123456789012:assumed-role/Admin/me"
    error = refused(ONE)
    assert "assumed-role/Admin/me" in error.message
    assert "storage_role" in error.hint


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("AccessDenied", "sts:GetFederationToken"),
        ("ExpiredToken", "have expired"),
        ("InvalidClientTokenId", "are not known there"),
    ],
)
def test_a_refusal_names_what_is_lacking(sts: Sts, code: str, said: str) -> None:
    sts.refuses = code
    error = refused(ONE)
    assert isinstance(error, StorageError)
    assert said in error.message
    assert error.hint


def test_keys_that_the_server_does_not_know_are_told_before_a_machine_gets_them(sts: Sts) -> None:
    sts._keys[0] = ("unknown-access", "unknown-secret")
    assert "not known there" in refused(ONE).message or "permission" in refused(ONE).message


def test_own_keys_go_to_a_machine_only_where_the_user_says_so(account: None) -> None:
    error = refused(ONE)
    assert "cannot be limited to s3://bucket-one/run" in error.message
    assert "--share-keys" in error.hint
    access = open_access(ONE, False, share_keys=True)
    assert json.loads(access.files["credentials.json"])["SecretAccessKey"] == SECRET_KEY
    assert access.expires == 0


def test_no_credentials_at_all_are_told_with_where_they_were_looked_for(
    account: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    error = refused(ONE)
    assert "AWS_ACCESS_KEY_ID" in error.message
    assert "aws configure" in error.hint


def test_a_missing_bucket_is_told_with_how_to_make_it(sts: Sts) -> None:
    assert "--create s3://no-such-bucket" in refused(Bucket("s3", "no-such-bucket")).hint


# -- what went wrong over there -----------------------------------------------------------------------

PUT = "vfs cache: failed to upload try #1, will retry: operation error S3: PutObject, https response error"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (f"{PUT} StatusCode: 403, api error AccessDenied: Access Denied", "permission s3:PutObject"),
        (f"{PUT} StatusCode: 400, api error ExpiredToken: expired", "credentials have expired"),
        ("couldn't fetch token: token expired and there's no refresh token", "credentials have expired"),
        (
            "googleapi: Error 403: x does not have storage.objects.create access",
            "permission storage.objects.create",
        ),
        ("dial tcp 1.2.3.4:443: connect: connection refused", "does not answer"),
        (f"{PUT} StatusCode: 400, api error EntityTooLarge: too large", "EntityTooLarge, too large"),
        ("", ""),
    ],
)
def test_what_rclone_writes_is_told_as_people_understand_it(said: str, told: str) -> None:
    assert told in explain(said)
    assert bool(explain(said)) == bool(said)


def state(**more: Any) -> dict[str, Any]:
    plain = {"url": "s3://b", "path": "/data", "up": True, "why": "", "error": "", "open": []}
    return {**plain, "names": ["a", "b"], "count": 2, "bytes": 64_000_000, **more}


def test_what_is_on_its_way_is_told_in_a_line() -> None:
    assert on_its_way([state()]) == "2 files (64.0 MB) on the way to s3://b: a, b"
    many = state(names=[str(n) for n in range(9)], count=900, open=["3"])
    assert (
        on_its_way([many]) == "900 files (64.0 MB) on the way to s3://b: 0, 1, 2 and 897 more; still open: 3"
    )
    assert on_its_way([state(count=0)]) == ""


def test_what_was_left_behind_is_told_by_name_with_the_reason() -> None:
    error = f"{PUT} StatusCode: 403, api error AccessDenied: no"
    assert left_behind([state(error=error, open=["b"])]) == [
        "not in s3://b: the permission s3:PutObject is lacking: a, b (still open)"
    ]
