"""Machines the user already has."""

from __future__ import annotations

from pathlib import Path

import pytest

from jupyter_gpu_remote.config import GpuRemote
from jupyter_gpu_remote.errors import ConfigurationError, ProviderError
from jupyter_gpu_remote.model import Address, GpuRequest, MachineSpec
from jupyter_gpu_remote.providers.ssh import SshProvider, parse_destination


@pytest.mark.parametrize(
    ("text", "host", "port", "user"),
    [
        ("box", "box", 0, ""),
        ("me@box.example.org", "box.example.org", 0, "me"),
        ("me@10.0.0.1:2222", "10.0.0.1", 2222, "me"),
        ("box:22", "box", 22, ""),
        ("ssh://me@box:22", "box", 22, "me"),
        ("ssh://box/", "box", 0, ""),
        ("[fe80::1%eth0]:22", "fe80::1%eth0", 22, ""),
        ("me@::1", "::1", 0, "me"),
        ("größe", "größe", 0, ""),
        ("DOMAIN\\me@box", "box", 0, "DOMAIN\\me"),
    ],
)
def test_a_destination_is_read_as_ssh_reads_it(text: str, host: str, port: int, user: str) -> None:
    assert parse_destination(text) == Address(host, port, user)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-oProxyCommand=reboot",
        "me@-oProxyCommand=reboot",
        "-me@box",
        "a b",
        "box\nHost *",
        "box:99999",
        "box:port",
        "a@b@c",
        "@box",
        "box/path",
    ],
)
def test_what_is_no_destination_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="no SSH destination"):
        parse_destination(text)


def test_the_users_own_keys_and_configuration_are_used() -> None:
    assert parse_destination("box").uses_ssh_config


def spec(token: str) -> MachineSpec:
    return MachineSpec(f"machine-{token}", token, "", Path("unused"), Path("unused"))


def test_a_host_named_for_one_request_comes_before_those_of_the_settings() -> None:
    provider = SshProvider(GpuRemote(ssh_hosts=["box", "other"]))
    offers = provider.offers(GpuRequest(cloud="ssh", on="me@here:2222"))
    assert [o.machine_type for o in offers] == ["me@here:2222"]


def test_every_host_of_the_settings_is_an_offer() -> None:
    provider = SshProvider(GpuRemote(ssh_hosts=["box", "other"]))
    assert [o.machine_type for o in provider.offers(GpuRequest())] == ["box", "other"]


def test_a_gpu_asked_for_by_ssh_is_believed() -> None:
    (offer,) = SshProvider(GpuRemote()).offers(GpuRequest(cloud="ssh", on="box", gpu="A100", count=4))
    assert (offer.gpu, offer.count, offer.price) == ("A100", 4, 0)


def test_a_gpu_asked_for_anywhere_is_not_promised_by_an_unknown_host() -> None:
    assert list(SshProvider(GpuRemote(ssh_hosts=["box"])).offers(GpuRequest(gpu="A100"))) == []


def test_ssh_without_a_host_is_refused_with_how_to_name_one() -> None:
    with pytest.raises(ConfigurationError, match="No machine is named"):
        SshProvider(GpuRemote()).offers(GpuRequest(cloud="ssh"))


def test_a_name_of_another_machine_is_no_ssh_host() -> None:
    assert list(SshProvider(GpuRemote()).offers(GpuRequest(on="my-a100"))) == []


def test_a_host_in_use_under_another_name_is_refused_with_that_name() -> None:
    provider = SshProvider(GpuRemote())
    (offer,) = provider.offers(GpuRequest(cloud="ssh", on="box"))
    provider.create(offer, spec("1"))
    with pytest.raises(ProviderError, match="in use already, as the machine machine-1"):
        provider.create(offer, spec("2"))


def test_a_host_that_was_let_go_may_be_used_again() -> None:
    provider = SshProvider(GpuRemote())
    (offer,) = provider.offers(GpuRequest(cloud="ssh", on="box"))
    provider.delete(provider.create(offer, spec("1")))
    assert provider.create(offer, spec("2")) == "box"


def test_a_port_and_a_user_are_kept_apart_between_machines() -> None:
    provider = SshProvider(GpuRemote(ssh_hosts=["a@box", "b@box", "a@box:23"]))
    for number, offer in enumerate(provider.offers(GpuRequest())):
        provider.create(offer, spec(str(number)))
    assert sorted(m.provider_id for m in provider.machines()) == ["a@box", "a@box:23", "b@box"]
