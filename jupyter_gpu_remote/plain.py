"""Outputs of cells as a terminal shows them."""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping
from typing import Any

_PNG = b"\x89PNG\r\n\x1a\n"
_WIDGET = "application/vnd.jupyter.widget-view+json"


def plain_text(kind: str, content: Mapping[str, Any]) -> str:
    """Return what a message says, with its line end; empty for what shows nothing.

    Args:
        kind: Its message type.
        content: Its content.
    """
    if kind == "stream":
        return str(content["text"])
    if kind == "error":
        lines = content["traceback"] or [f"{content['ename']}: {content['evalue']}"]
        return "\n".join(lines) + "\n"
    if kind in ("display_data", "execute_result", "update_display_data"):
        shown = _bundle(content["data"])
        return f"{shown}\n" if shown else ""
    return ""


def _bundle(data: Mapping[str, Any]) -> str:
    if _WIDGET in data:
        return "[widget]"
    if any(kind.startswith("image/") for kind in data):
        return f"[image{_size(data.get('image/png', ''))}]"
    if "text/plain" in data:
        return str(data["text/plain"])
    return f"[{next(iter(data), 'nothing')}]"


def _size(png: str) -> str:
    head = base64.b64decode(png[:64])
    if not head.startswith(_PNG):
        return ""
    width, height = struct.unpack(">II", head[16:24])
    return f" {width}×{height}"
