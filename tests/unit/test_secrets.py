"""Secrets are recognised, and ordinary things are not taken for them."""

from __future__ import annotations

import importlib.util
import os
from typing import Any

import pytest

from jupyter_gpu_remote.variables import pickler
from jupyter_gpu_remote.variables.secrets import in_environment, secret_among, secret_in, tells_secret

from ..conftest import need


def found(value: Any) -> str:
    return secret_in(pickler.dump({"v": value}, {}).segments, in_environment())


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "db_password",
        "PASSWORD",
        "passwd",
        "passphrase",
        "secret",
        "client_secret",
        "token",
        "HF_TOKEN",
        "github_token",
        "access_token",
        "accessToken",
        "authToken",
        "dbPassword",
        "credentials",
        "credential",
        "auth",
        "api_key",
        "apikey",
        "API_KEY",
        "openai_api_key",
        "apiKey",
        "OPENAI_API_KEY",
        "aws_secret_access_key",
        "access_key",
        "private_key",
        "privateKey",
    ],
)
def test_a_name_tells_that_text_is_a_secret(name: str) -> None:
    assert tells_secret(name, "abc")
    assert tells_secret(name, b"abc")


@pytest.mark.parametrize(
    "name",
    [
        "tokens",
        "tokenizer",
        "tokenized",
        "tokenization",
        "token2id",
        "tokenize",
        "author",
        "authors",
        "authority",
        "keys",
        "key",
        "secretary",
        "passwordless_x",
        "passenger",
        "monkey",
        "api_keyboard",
        "accession",
        "primary_key",
        "x",
        "text",
        "detokenize",
        "secretion",
    ],
)
def test_ordinary_names_tell_nothing(name: str) -> None:
    assert not tells_secret(name, "abc")


@pytest.mark.parametrize("value", [["a", "b"], 3, {"a": 1}, None, "", print, [1]])
def test_only_text_is_a_secret_by_its_name(value: Any) -> None:
    assert not tells_secret("token", value)


LETTERS = "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7bC0fG" * 6

KEYS = [
    "-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n-----END OPENSSH PRIVATE KEY-----",
    "-----BEGIN PRIVATE KEY-----",
    "AKIA" + "ABCDEFGHIJKLMNOP",
    "ASIA" + "ABCDEFGHIJKLMNOP",
    "ghp_" + LETTERS[:36],
    "github_pat_" + LETTERS[:82],
    "hf_" + LETTERS[:34],
    *("sk-" + LETTERS[:n] for n in (32, 45, 48, 62, 94, 105)),
    "sk-ant-" + LETTERS[:101],
    "sk-proj-" + LETTERS[:156],
    "xoxb-" + LETTERS[:51],
    "AIza" + LETTERS[:35],
    "ya29." + LETTERS[:100],
]


@pytest.mark.parametrize("key", KEYS, ids=lambda key: f"{key[:8]} {len(key)}")
@pytest.mark.parametrize("encoded", [False, True])
def test_keys_of_services_are_found_at_any_depth(key: str, encoded: bool) -> None:
    value = key.encode() if encoded else key
    assert found(value)
    assert found([{"a": (1, value)}])
    assert found(f"key = '{key}'")


@pytest.mark.parametrize("size", [0, 10_000, 3_000_000])
def test_keys_are_found_beside_other_data(size: int) -> None:
    assert found({"text": "word " * size, "key": KEYS[4], "more": [str(i) for i in range(size // 10)]})


@pytest.mark.parametrize(
    "value",
    [
        "risk-" + "a" * 40,
        "task-" + LETTERS[:40],
        "self_" + LETTERS[:34],
        "wolf_" + LETTERS[:34],
        "sk-learn is short",
        "XAKIAABCDEFGHIJKLMNOP",
        "-----BEGIN PUBLIC KEY-----",
        "AKIAabcdefghijklmnop",
        list(range(10_000)),
        {"token_count": [1, 2, 3], "password": None},
        [f"https://host.invalid/{i}" for i in range(1000)],
        bytes(range(256)) * 100,
    ],
    ids=lambda value: str(value)[:20],
)
def test_ordinary_data_holds_no_key(value: Any) -> None:
    assert not found(value)


def test_a_frame_with_a_column_called_tokens_holds_no_secret() -> None:
    need(importlib.util.find_spec("pandas"), "pandas, to make a frame")
    import pandas

    assert not found(pandas.DataFrame({"token_count": [1, 2], "token": ["the", "a"], "password": ["x", "y"]}))


def test_values_of_the_environment_are_found_at_any_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "correct-horse-battery")
    assert "SOME_API_KEY" in found([{"a": "Bearer correct-horse-battery"}])
    assert "SOME_API_KEY" in found(dict(os.environ))
    assert "SOME_API_KEY" in found(b"correct-horse-battery")


def test_short_and_ordinary_values_of_the_environment_are_not_looked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SOME_TOKEN", "short")
    monkeypatch.setenv("SOME_FOLDER", "/a/long/enough/path")
    assert not found(["short", "/a/long/enough/path"])


def test_the_environment_itself_is_a_secret() -> None:
    assert secret_among([1, os.environ]) == [os.environ]
    assert secret_among([1, dict(os.environ)]) == []


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("botocore.credentials", "RefreshableCredentials"),
        ("boto3.session", "Session"),
        ("google.oauth2.credentials", "Credentials"),
        ("google.auth.compute_engine.credentials", "Credentials"),
        ("azure.identity._credentials.default", "DefaultAzureCredential"),
        ("paramiko.rsakey", "RSAKey"),
        ("cryptography.hazmat.bindings._rust.openssl.rsa", "RSAPrivateKey"),
    ],
)
def test_objects_that_hold_credentials_are_secrets(module: str, name: str) -> None:
    value = type(name, (), {"__module__": module})()
    assert secret_among([[], value, "text"]) == [value]


@pytest.mark.parametrize(
    ("module", "name"),
    [("__main__", "Credentials"), ("botocore.model", "Shape"), ("keras", "Session"), (None, "Session")],
)
def test_other_objects_are_not(module: str | None, name: str) -> None:
    assert not secret_among([type(name, (), {"__module__": module})()])
