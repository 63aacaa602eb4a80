"""What an emulated EC2 is asked, and how it answers."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any
from xml.sax.saxutils import escape

Answer = tuple[int, str, bytes]
"""Status, content type, body."""


@dataclass(frozen=True)
class Call:
    """One request that reached the cloud."""

    action: str
    region: str
    params: Mapping[str, Any]
    zone: str = ""


def now() -> str:
    """Return the time as EC2 writes it into sentences."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M:%S GMT")


def listed(call: Call, name: str) -> list[str]:
    """Return the values of a parameter that is a list."""
    return [v for k, v in call.params.items() if re.fullmatch(rf"{name}\.\d+", k)]


def filtered(call: Call, name: str) -> list[str]:
    """Return the values that a filter lets pass; none where nothing is filtered by it."""
    p = call.params
    numbers = [k.split(".")[1] for k, v in p.items() if re.fullmatch(r"Filter\.\d+\.Name", k) and v == name]
    return [v for n in numbers for k, v in p.items() if k.startswith(f"Filter.{n}.Value.")]


def tags_of(call: Call, kind: str) -> dict[str, str]:
    """Return the tags that something is to be made with."""
    p = call.params
    for number in range(1, 9):
        if p.get(f"TagSpecification.{number}.ResourceType") == kind:
            start = f"TagSpecification.{number}.Tag."
            keys = {
                k[len(start) : -len(".Key")]: v
                for k, v in p.items()
                if k.startswith(start) and k.endswith(".Key")
            }
            return {v: p.get(f"{start}{n}.Value", "") for n, v in keys.items()}
    return {}


def json_answer(value: Mapping[str, Any], status: int = 200) -> Answer:
    """Return an answer of the newer services."""
    return status, "application/x-amz-json-1.1", json.dumps(value).encode()


def xml_answer(call: Call, value: Mapping[str, Any]) -> Answer:
    """Return an answer of EC2."""
    name = f"{call.action}Response"
    text = f'<{name} xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">{_elements(value)}</{name}>'
    return 200, "text/xml", text.encode()


def _elements(value: Any) -> str:
    if isinstance(value, Mapping):
        return "".join(f"<{k}>{_elements(v)}</{k}>" for k, v in value.items())
    if isinstance(value, list):
        return "".join(f"<item>{_elements(v)}</item>" for v in value)
    return escape(str(value))


def error(service: str, status: int, code: str, message: str) -> Answer:
    """Return a refusal, as the service writes it."""
    if service != "ec2":
        return json_answer({"__type": code, "message": message}, 400)
    errors = {"Errors": {"Error": {"Code": code, "Message": message}}, "RequestID": "emulated"}
    return status, "text/xml", f"<Response>{_elements(errors)}</Response>".encode()
