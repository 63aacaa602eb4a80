"""What a new machine is told at its first boot, and the guard that ends it when nobody cares."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from jupyter_gpu_remote.bootstrap import ALIVE, GUARD, user_data
from jupyter_gpu_remote.keys import make_key_pair
from jupyter_gpu_remote.model import MachineSpec

from ..conftest import wait_for

EVIL = [
    "'",
    '"',
    "\n",
    "\r\n",
    "$(reboot)",
    "`reboot`",
    "; reboot",
    "{{ x }}",
    "\\",
    "- a: b",
    "#",
    "ünï",
    "😀",
]
LIMIT_OF_EC2 = 16 * 1024
"""Bytes of user data that EC2 takes, before base64."""


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> MachineSpec:
    folder = tmp_path_factory.mktemp("keys")
    make_key_pair(folder / "host", "brave-otter host")
    return MachineSpec(
        "brave-otter", "t", make_key_pair(folder / "user", "me"), folder / "user", folder / "host"
    )


def told(spec: MachineSpec, **more: Any) -> dict[str, Any]:
    """Return what cloud-init makes of the user data."""
    text = user_data(spec, **more)
    assert text.startswith("#cloud-config\n")
    config: dict[str, Any] = yaml.safe_load(text)
    return config


def files(spec: MachineSpec) -> dict[str, dict[str, Any]]:
    return {f["path"]: f for f in told(spec)["write_files"]}


def but(spec: MachineSpec, **changes: Any) -> MachineSpec:
    return MachineSpec(**{**vars(spec), **changes})


def test_the_host_key_made_here_is_the_only_one(spec: MachineSpec) -> None:
    config = told(spec)
    assert config["ssh_deletekeys"] is True
    assert config["ssh_genkeytypes"] == ["ed25519"]
    assert config["ssh_keys"] == {
        "ed25519_private": spec.host_key_file.read_text(),
        "ed25519_public": spec.host_key_file.with_name("host.pub").read_text(),
    }


def test_our_key_and_nothing_else_lets_in(spec: MachineSpec) -> None:
    config = told(spec)
    (user,) = config["users"]
    assert (user["name"], user["ssh_authorized_keys"]) == ("ubuntu", [spec.user_key])
    assert config["ssh_pwauth"] is False and user["lock_passwd"] is True
    assert told(spec, user="somebody")["users"][0]["name"] == "somebody"


def test_nothing_holds_the_lock_of_dpkg(spec: MachineSpec) -> None:
    assert files(spec)["/etc/apt/apt.conf.d/99-gpu-remote"]["content"] == 'APT::Periodic::Enable "0";\n'
    assert told(spec)["package_update"] is False is told(spec)["package_upgrade"]


def test_the_guard_is_started_by_name_without_a_shell(spec: MachineSpec) -> None:
    assert told(spec)["runcmd"] == [["systemd-run", "--unit=gpu-remote-guard", GUARD]]
    assert files(spec)[GUARD]["permissions"] == "0755"


def test_the_guard_comes_back_after_a_stop_and_a_start(spec: MachineSpec) -> None:
    script = files(spec)["/var/lib/cloud/scripts/per-boot/gpu-remote-guard"]
    assert script["permissions"] == "0755"
    subprocess.run(["sh", "-n"], input=script["content"].encode(), check=True)


def test_the_private_key_of_the_user_stays_here(spec: MachineSpec) -> None:
    for secret in spec.key_file.read_text().splitlines()[3:-1]:  # before that it is as in any key
        assert secret not in user_data(spec)


def test_what_is_told_is_small_enough(spec: MachineSpec) -> None:
    assert len(user_data(spec).encode()) < LIMIT_OF_EC2 / 2


TEXTS = st.one_of(
    st.lists(st.sampled_from(EVIL) | st.text(st.characters(exclude_categories=["Cs"])), max_size=9).map(
        "".join
    ),
    st.sampled_from([10_000 * "x", 3_333 * "'\n$", 2_500 * "ünï😀"]),
)


@given(text=TEXTS)
def test_any_text_arrives_as_it_is_and_changes_nothing_else(spec: MachineSpec, text: str) -> None:
    plain, odd = (
        told(spec),
        told(but(spec, user_key=text, name=text, token=text, tags={text: text}), user=text),
    )
    (user,) = odd.pop("users")
    plain.pop("users")
    assert (user["name"], user["ssh_authorized_keys"]) == (text, [text])
    assert odd == plain


class Guard:
    """The guard of a machine, in a folder, with its own idea of time and of powering off."""

    def __init__(self, folder: Path, spec: MachineSpec) -> None:
        self.folder = folder
        self.alive = folder / "home" / "ubuntu" / ".gpu-remote" / "host" / "abc" / "alive"
        self.alive.parent.mkdir(parents=True)
        self.off = folder / "off"
        written = files(spec)
        settings = json.loads(written["/etc/gpu-remote-guard.json"]["content"])
        stub = folder / "poweroff"
        stub.write_text(f'#!/bin/sh\necho "off $*" >> {self.off}\n')
        stub.chmod(0o755)
        settings |= {"alive": f"{folder}{ALIVE}", "every": 0.02, "poweroff": [str(stub)]}
        self.settings = settings
        (folder / "guard").write_text(written[GUARD]["content"])
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, **settings: Any) -> None:
        (self.folder / "settings.json").write_text(json.dumps(self.settings | settings))
        argv = [sys.executable, self.folder / "guard", self.folder / "settings.json"]
        self.process = subprocess.Popen(argv, stdout=(self.folder / "log").open("wb"))

    def said(self) -> str:
        return (self.folder / "log").read_text()


@pytest.fixture
def guard(tmp_path: Path, spec: MachineSpec) -> Iterator[Guard]:
    guard = Guard(tmp_path, but(spec, max_seconds=3600.0))
    yield guard
    if guard.process:
        guard.process.kill()
        guard.process.wait()


def test_a_machine_whose_client_never_came_powers_itself_off(guard: Guard) -> None:
    guard.start(silence=0.1)
    wait_for(guard.off.exists, "the power to go off")
    assert "nobody cared" in guard.said()


def test_a_machine_whose_agent_died_powers_itself_off(guard: Guard) -> None:
    guard.alive.touch()
    guard.start(silence=0.1)
    wait_for(guard.off.exists, "the power to go off")


def test_a_machine_that_ran_for_its_longest_time_powers_itself_off(guard: Guard) -> None:
    guard.alive.touch()
    guard.start(silence=1000, max_seconds=0.1)
    wait_for(guard.off.exists, "the power to go off")
    assert "that it may" in guard.said()


def test_a_machine_that_an_agent_cares_for_goes_on(guard: Guard) -> None:
    guard.start(silence=2, max_seconds=0)
    assert guard.process
    end = time.monotonic() + 3
    while time.monotonic() < end:
        guard.alive.touch()
        assert guard.process.poll() is None and not guard.off.exists()


def test_a_clock_that_is_set_does_not_end_a_machine(guard: Guard) -> None:
    guard.start(silence=2, max_seconds=0)
    end, day = time.monotonic() + 3, 0
    guard.alive.touch()
    while time.monotonic() < end:
        day += 1
        os.utime(guard.alive, (day * 86400, day * 86400))
        assert not guard.off.exists()


def test_a_power_that_stays_on_is_switched_off_again_harder(guard: Guard) -> None:
    guard.start(silence=0.05)
    wait_for(lambda: guard.off.exists() and "--force --force" in guard.off.read_text(), "harder attempts")
    said = guard.off.read_text().splitlines()
    assert said[:5] == ["off ", "off ", "off --force", "off --force", "off --force --force"]


def test_the_limits_of_the_spec_reach_the_guard(guard: Guard) -> None:
    assert guard.settings["max_seconds"] == 3600
    assert (guard.settings["silence"], guard.settings["every"]) == (900, 0.02)
