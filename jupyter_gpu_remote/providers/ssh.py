"""Machines the user already has, reached as their own ``ssh`` would reach them."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..config import state_dir
from ..errors import ConfigurationError, ProviderError
from ..model import Address, Description, GpuRequest, MachineSpec, Offer, Presence
from ..offers import rank
from .base import Provider


class SshProvider(Provider):
    """Hosts named by ``--on`` or ``c.GpuRemote.ssh_hosts``; nothing is rented and nothing deleted there.

    The id of a machine is its SSH destination. What we keep of it is one small file here.
    """

    name = "ssh"

    def offers(self, request: GpuRequest) -> Sequence[Offer]:
        """Return the named hosts; their GPUs are unknown, so whatever is asked for by name is believed.

        Raises:
            ConfigurationError: ssh is asked for and no host is named, or a name is no SSH destination.
        """
        asked = request.cloud == self.name
        hosts = [request.on] if asked and request.on else list(self.config.ssh_hosts)
        if asked and not hosts:
            raise ConfigurationError(
                "No machine is named to reach by SSH.",
                hint="Add --on user@host, or set c.GpuRemote.ssh_hosts.",
            )
        if request.gpu and not asked:
            return []  # a host whose GPUs we do not know answers only who asks for it
        count = request.count if request.gpu else 0
        for host in hosts:
            parse_destination(host)
        return rank((Offer(self.name, host, gpu=request.gpu, count=count) for host in hosts), request)

    def create(self, offer: Offer, spec: MachineSpec) -> str:
        destination = offer.machine_type
        parse_destination(destination)
        record = {
            "destination": destination,
            "name": spec.name,
            "token": spec.token,
            "tags": dict(spec.tags),
        }
        file = _file(destination)
        handle, temporary = tempfile.mkstemp(prefix=".", dir=file.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as out:
                json.dump(record, out)
            os.link(temporary, file)  # one of several at once makes it
        except FileExistsError:
            there = _read(file)
            if there is None:  # let go of at this moment
                return self.create(offer, spec)
            if there["token"] != spec.token:
                raise ProviderError(
                    f"{destination} is in use already, as the machine {there['name']}.",
                    hint=f"Use it with --on {there['name']}, or let go of it first: "
                    f"jupyter gpu-remote down {there['name']}.",
                ) from None
        finally:
            Path(temporary).unlink()
        return destination

    def describe(self, provider_id: str) -> Description:
        record = _read(_file(provider_id))
        return _description(record) if record else Description(provider_id, provider_id, Presence.GONE)

    def machines(self) -> Sequence[Description]:
        records = (_read(file) for file in sorted(_folder().glob("*.json")))
        return [_description(record) for record in records if record]

    def delete(self, provider_id: str) -> None:
        """Forget the machine; it is not ours to remove."""
        _file(provider_id).unlink(missing_ok=True)


def parse_destination(text: str) -> Address:
    """Return where `text` leads: ``[user@]host[:port]``, ``ssh://…`` or an alias of the SSH configuration.

    Raises:
        ConfigurationError: It is no SSH destination.
    """
    match = re.fullmatch(
        r"(?:ssh://)?(?:(?P<user>[^@\s\x00-\x1f-][^@\s\x00-\x1f]*)@)?"
        r"(?:\[(?P<six>[0-9A-Fa-f:.%\w]+)\]|(?P<host>[^-@:/\[\]\s\x00-\x1f][^@:/\[\]\s\x00-\x1f]*)"
        r"|(?P<bare>[0-9A-Fa-f]*:[0-9A-Fa-f.]*:[0-9A-Fa-f:.%\w]*))(?::(?P<port>\d{1,5}))?/?",
        text,
    )
    port = int(match["port"] or 0) if match else 0
    if not match or port > 65535:
        raise ConfigurationError(
            f"{text!r} is no SSH destination.", hint="Write it as user@host, host:port or an alias."
        )
    return Address(match["six"] or match["host"] or match["bare"], port, match["user"] or "")


def _description(record: dict[str, Any]) -> Description:
    destination = record["destination"]
    return Description(
        destination,
        record["name"],
        Presence.RUNNING,
        parse_destination(destination),
        tags=record["tags"],
    )


def _folder() -> Path:
    folder = state_dir() / "ssh"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _file(destination: str) -> Path:
    return _folder() / f"{quote(destination, safe='@')}.json"


def _read(file: Path) -> dict[str, Any] | None:
    try:
        record: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return record
