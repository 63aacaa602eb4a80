"""Whatever is typed or called by a name reaches a cloud as text, or is refused as one of our errors."""

from __future__ import annotations

import dataclasses
import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jupyter_gpu_remote import options
from jupyter_gpu_remote.config import GpuRemote
from jupyter_gpu_remote.errors import GpuRemoteError
from jupyter_gpu_remote.fleet import Fleet
from jupyter_gpu_remote.keys import make_key_pair
from jupyter_gpu_remote.model import GpuRequest, MachineSpec
from jupyter_gpu_remote.providers.base import Provider, load_provider
from jupyter_gpu_remote.registry import Registry
from tests.emulators.ec2 import Ec2
from tests.emulators.gce import Gce

NASTY = [
    "'",
    '"',
    "`",
    "$(reboot)",
    ";reboot",
    "\n",
    "\r\n",
    "\0",
    "\\",
    "{{",
    "%s",
    "ünï",
    "🦦",
    "-rf",
    "../..",
]
HOSTILE = st.one_of(
    st.text(max_size=60),
    st.lists(st.sampled_from(NASTY), min_size=1, max_size=6).map("".join),
    st.sampled_from(["x" * 10_000, "'" * 10_000, "$(" * 5_000]),
)
QUICK = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(params=["aws", "gcp"])
def cloud(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ec2 | Gce]:
    emulator: Ec2 | Gce = Ec2() if request.param == "aws" else Gce()
    for name, value in emulator.environment.items():
        monkeypatch.setenv(name, value)
    yield emulator
    emulator.close()


def name_of(cloud: Ec2 | Gce) -> str:
    return "gcp" if isinstance(cloud, Gce) else "aws"


def provider(cloud: Ec2 | Gce) -> Provider:
    return load_provider(name_of(cloud), GpuRemote())


@QUICK
@given(text=HOSTILE, field=st.sampled_from(["region", "zone", "on"]))
def test_a_place_that_is_no_place_is_refused_as_one_of_our_errors(
    cloud: Ec2 | Gce, text: str, field: str
) -> None:
    request = GpuRequest(gpu="T4", cloud=name_of(cloud), **{field: text or "x"})  # type: ignore[arg-type]
    with pytest.raises(GpuRemoteError):
        Fleet(GpuRemote(), Registry()).plan(request)


@QUICK
@given(text=HOSTILE)
def test_an_id_that_no_machine_has_is_gone(cloud: Ec2 | Gce, text: str) -> None:
    assert provider(cloud).describe(text).presence.value == "gone"
    provider(cloud).delete(text)


@QUICK
@given(text=HOSTILE)
def test_tags_come_back_as_they_were_or_are_refused(cloud: Ec2 | Gce, text: str, tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    key = make_key_pair(folder / "user", "m1")
    make_key_pair(folder / "host", "m1")
    request = GpuRequest(gpu="T4", cloud=name_of(cloud), spot=True)
    offer = next(iter(provider(cloud).offers(request)))
    files = folder / "user", folder / "host"
    spec = MachineSpec(
        "m1", uuid.uuid4().hex, f"{key} {text}", *files, {"note": text}, ingress="192.0.2.9/32"
    )
    try:
        created = provider(cloud).create(offer, spec)
    except GpuRemoteError:
        return
    # what XML has no way to say is not kept
    kept = provider(cloud).describe(created).tags["note"]
    assert [c for c in kept if c.isprintable()] == [c for c in text if c.isprintable()]
    provider(cloud).delete(created)


@QUICK
@given(
    words=st.lists(HOSTILE, max_size=4),
    option=st.sampled_from(["--gpu", "--region", "--idle", "--max-price", "--mount", "--in"]),
)
def test_any_line_of_options_is_read_or_refused(words: list[str], option: str) -> None:
    try:
        request, _ = options.parse([option, *words], GpuRemote())
    except (GpuRemoteError, options.HelpRequested):
        return
    assert json.dumps(dataclasses.asdict(request))
