"""Buckets made, listed and copied from here."""

from __future__ import annotations

import builtins
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from jupyter_gpu_remote.errors import ConfigurationError, StorageError
from jupyter_gpu_remote.storage.browse import copy, listing
from jupyter_gpu_remote.storage.create import create_bucket
from jupyter_gpu_remote.storage.urls import Bucket, parse_bucket
from tests.emulators.s3 import ACCESS_KEY, SECRET_KEY, S3Server


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    pytest.importorskip("s3fs")
    for name in [n for n in os.environ if n.startswith("AWS_")]:
        monkeypatch.delenv(name)
    server = S3Server(tmp_path / "buckets")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.url)
    yield server
    server.close()


def put(server: S3Server, name: str, text: str) -> None:
    file = server.bucket("bucket-one") / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def quiet(phase: str, text: str) -> None:
    pass


def test_a_folder_of_a_bucket_is_listed(server: S3Server) -> None:
    put(server, "run/a.txt", "12345")
    put(server, "run/deep/b.txt", "1")
    rows = listing(parse_bucket("s3://bucket-one/run"))
    assert [(name, size) for name, size, _ in rows] == [("a.txt", "5 B"), ("deep/", "")]


def test_files_and_folders_are_copied_both_ways(server: S3Server, tmp_path: Path) -> None:
    put(server, "run/a.txt", "there")
    put(server, "run/deep/b.txt", "deeper")
    copy("s3://bucket-one/run/a.txt", ".", tmp_path, quiet)
    assert (tmp_path / "a.txt").read_text() == "there"
    copy("s3://bucket-one/run", "whole", tmp_path, quiet)
    assert (tmp_path / "whole" / "deep" / "b.txt").read_text() == "deeper"
    (tmp_path / "here.txt").write_text("from here")
    said = copy("here.txt", "s3://bucket-one/run/", tmp_path, quiet)
    assert "s3://bucket-one/run/here.txt" in said
    assert (server.bucket("bucket-one") / "run" / "here.txt").read_text() == "from here"


def test_what_is_not_there_is_told_with_where_to_look(server: S3Server, tmp_path: Path) -> None:
    with pytest.raises(StorageError) as e:
        copy("s3://bucket-one/run/nothing", ".", tmp_path, quiet)
    assert "ls s3://bucket-one/run" in e.value.hint


def test_one_of_the_two_must_be_in_a_bucket(tmp_path: Path) -> None:
    for source, target in (("a", "b"), ("s3://a/b", "s3://c/d")):
        with pytest.raises(ConfigurationError):
            copy(source, target, tmp_path, quiet)


def test_a_library_that_is_missing_is_named_with_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def fake(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith(("s3fs", "fsspec")):
            raise ImportError(f"No module named {name!r}")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", fake)
    with pytest.raises(ConfigurationError) as e:
        listing(Bucket("s3", "bucket-one"))
    assert "jupyter_gpu_remote[storage]" in e.value.hint


# -- new buckets --------------------------------------------------------------------------------------


@pytest.fixture
def amazon(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in [n for n in os.environ if n.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with mock_aws():
        yield boto3.client("s3", region_name="us-east-1")


@pytest.mark.parametrize("region", ["", "eu-central-1"])
def test_a_new_bucket_is_private_encrypted_and_tagged(amazon: Any, region: str) -> None:
    said = create_bucket(Bucket("s3", "new-bucket"), region)
    assert (region or "us-east-1") in said and "lifecycle" in said
    private = amazon.get_public_access_block(Bucket="new-bucket")["PublicAccessBlockConfiguration"]
    assert set(private.values()) == {True}
    (rule,) = amazon.get_bucket_encryption(Bucket="new-bucket")["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    assert amazon.get_bucket_tagging(Bucket="new-bucket")["TagSet"] == [
        {"Key": "gpu-remote", "Value": "storage"}
    ]
    (rule,) = amazon.get_bucket_lifecycle_configuration(Bucket="new-bucket")["Rules"]
    assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}
    assert amazon.head_bucket(Bucket="new-bucket")["BucketRegion"] == (region or "us-east-1")


def test_a_new_bucket_deletes_its_files_by_age_where_that_is_wanted(amazon: Any) -> None:
    assert "deleted 30 days after" in create_bucket(Bucket("s3", "new-bucket"), "", days=30)
    _, rule = amazon.get_bucket_lifecycle_configuration(Bucket="new-bucket")["Rules"]
    assert (rule["Status"], rule["Expiration"]) == ("Enabled", {"Days": 30})


def test_a_bucket_that_there_is_already_is_told(amazon: Any) -> None:
    amazon.create_bucket(Bucket="new-bucket", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    with pytest.raises(StorageError, match="was not made"):
        create_bucket(Bucket("s3", "new-bucket"), "eu-central-1")
