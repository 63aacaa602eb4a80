"""Faces look for machines that nobody owns, in the background."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from jupyter_gpu_remote import reaper
from jupyter_gpu_remote.config import state_dir
from jupyter_gpu_remote.model import Machine, MachineState, Offer
from jupyter_gpu_remote.reaper import reap_in_background
from jupyter_gpu_remote.registry import Registry

RENTED = Offer("aws", "g4dn.xlarge", "T4", 1, region="r", zone="ra", price=1.0)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    commands: list[list[str]] = []

    def start(command: list[str], **options: Any) -> None:
        commands.append(command[2:])

    monkeypatch.setattr(reaper.subprocess, "Popen", start)
    return commands


def test_who_never_rented_anything_pays_nothing_for_reaping(started: list[list[str]]) -> None:
    registry = Registry()
    registry.add(Machine("mine", "local", Offer("local", "here"), state=MachineState.READY))
    reap_in_background(registry)
    assert not started


def test_a_rented_machine_is_reason_to_reap_once_in_a_while(started: list[list[str]]) -> None:
    registry = Registry()
    registry.add(Machine("otter", "aws", RENTED, state=MachineState.READY, created_at=time.time()))
    reap_in_background(registry)
    reap_in_background(registry)
    assert started == [["jupyter_gpu_remote.cli", "reap"]]


def test_a_launch_that_was_left_behind_is_reason_at_once(started: list[list[str]]) -> None:
    registry = Registry()
    registry.add(Machine("otter", "local", Offer("local", "here"), created_at=time.time()))
    with registry.lease("otter", 60):
        reap_in_background(registry)
    assert not started
    reap_in_background(registry)
    reap_in_background(registry)
    assert len(started) == 2


@pytest.mark.parametrize("days", [0, 30])
@pytest.mark.parametrize("state", [MachineState.GONE, MachineState.FAILED])
def test_a_machine_that_ended_lately_or_was_refused_is_reason_too(
    started: list[list[str]], state: MachineState, days: int
) -> None:
    registry = Registry()
    ended = time.time() - 60 - days * 86400
    registry.add(Machine("o", "aws", RENTED, state=state, created_at=ended, ended_at=ended))
    reap_in_background(registry)
    assert bool(started) == (days == 0)


def test_a_state_folder_that_cannot_be_used_stops_nobody(
    started: list[list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    registry = Registry()
    (state_dir() / "registry.sqlite").write_text("no database")
    reap_in_background(registry)
    assert not started
