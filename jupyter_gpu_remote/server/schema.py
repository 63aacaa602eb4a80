"""What clients send, checked before it is used; `schema.json` says what is allowed."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator

from .problems import RefusedError

_SHOWN = 200
"""Letters of a wrong value that are worth showing."""


@functools.cache
def schema() -> Mapping[str, Any]:
    """Return the whole schema."""
    text = (files(__package__) / "schema.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


@functools.cache
def validator(name: str) -> Draft202012Validator:
    """Return what checks one of the schema's definitions."""
    return Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": schema()["$defs"]})


def fields(name: str) -> Mapping[str, Mapping[str, Any]]:
    """Return the properties of a definition."""
    found: Mapping[str, Mapping[str, Any]] = schema()["$defs"][name].get("properties", {})
    return found


def check(name: str, value: Any) -> None:
    """Make sure that a value is what a definition says.

    Raises:
        RefusedError: It is not; the message says where.
    """
    for error in validator(name).iter_errors(value):
        place = ".".join(map(str, error.absolute_path))
        message = error.message if len(error.message) < _SHOWN else error.message[:_SHOWN] + "…"
        raise _wrong(f"{place}: {message}" if place else message, name)


def read_body(name: str, body: bytes) -> Any:
    """Return the JSON of a request's body, checked; nothing at all stands for an empty object.

    Raises:
        RefusedError: It is none, or not what the definition says.
    """
    try:
        value = json.loads(body.decode("utf-8") or "{}", parse_constant=_no_number)
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # half a surrogate pair is no text
    except (ValueError, RecursionError) as e:
        raise _wrong(f"the body is no JSON ({e})", name) from e
    check(name, value)
    return value


def read_query(name: str, arguments: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return a URL's query with the types that a definition gives its fields, checked.

    Raises:
        RefusedError: It is not what the definition says.
    """
    known, found = fields(name), dict[str, Any]()
    for field, values in arguments.items():
        found[field] = _typed(values[-1], known.get(field, {}).get("type", "string"))
    check(name, found)
    return found


def _typed(text: str, kind: str | Sequence[str]) -> Any:
    """Return what `text` stands for, or `text` itself where that is nothing of the kind."""
    kinds = [kind] if isinstance(kind, str) else kind
    try:
        value = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return text
    for one in kinds:
        if one != "string" and Draft202012Validator({"type": one}).is_valid(value):
            return value
    return text


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number")


def _wrong(what: str, name: str) -> RefusedError:
    return RefusedError(
        400, "invalid", f"The request cannot be understood: {what}.", f"See {name} in the API."
    )
