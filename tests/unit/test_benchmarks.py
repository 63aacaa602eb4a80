"""The benchmarks' own parts: what they report, and the link they break."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchmarks import cable, report, rig, run
from benchmarks.measure import interleaved
from benchmarks.workplace import workplace

from ..conftest import need, wait_for

MACHINE: dict[str, Any] = {
    "machine_cpu": "a processor",
    "machine_cores": 2,
    "machine_kernel": "6.1",
    "version_python": "3.12.0",
    "version_openssh": "OpenSSH_9.9",
}


def row(text: str, start: str) -> str:
    """Return the line that begins so."""
    (line,) = (line for line in text.splitlines() if line.startswith(start))
    return line


def test_every_figure_that_has_a_bar_is_measured_by_exactly_one_part() -> None:
    measured = [key for part in run.PARTS.values() for key in part.keys]
    assert sorted(measured) == sorted(report.KEYS)


@pytest.mark.parametrize(
    ("key", "value", "verdict"),
    [
        ("warm_pass_vs_px", 0.99, "pass"),
        ("warm_pass_vs_px", 1.0, "miss"),
        ("load_ext_ms", 60.0, "pass"),
        ("load_ext_ms", 60.1, "miss"),
        ("pull_256mb_vs_ssh_cat", 0.85, "pass"),
        ("pull_256mb_vs_ssh_cat", 0.84, "miss"),
        ("import_cloud_sdks", 1, "miss"),
    ],
)
def test_a_figure_passes_or_misses_its_bar(key: str, value: float, verdict: str) -> None:
    assert row(report.text({**MACHINE, key: value}), key).endswith(verdict)


@pytest.mark.parametrize("how", ["skipped", "failed"])
def test_what_was_not_measured_says_why(how: str) -> None:
    figures = {**MACHINE, how: {"load_ext_ms": "there is no such thing here\nand more"}}
    assert row(report.text(figures), "load_ext_ms").endswith(f"{how}: there is no such thing here")


def test_the_readme_table_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{report.START}\noutdated\n{report.END}\nafter\n")
    report.into_readme(readme, {**MACHINE, "load_ext_ms": 12.3})
    report.into_readme(readme, {**MACHINE, "load_ext_ms": 45.6})
    text = readme.read_text()
    assert text.startswith(f"before\n{report.START}\n|")
    assert text.endswith(f"\n{report.END}\nafter\n")
    assert "45.6 ms" in row(text, "| `%load_ext")
    assert "outdated" not in text
    assert "12.3" not in text


def test_a_readme_without_marks_is_left_alone(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("nothing to replace")
    with pytest.raises(SystemExit, match="bench:start"):
        report.into_readme(readme, MACHINE)
    assert readme.read_text() == "nothing to replace"


def test_both_sides_take_turns_and_give_their_medians() -> None:
    order = []

    def side(name: str, seconds: list[float]) -> float:
        order.append(name)
        return seconds.pop(0)

    a, b = [100.0, 1.0, 3.0, 2.0], [100.0, 5.0, 5.0, 6.0]
    medians = interleaved({"a": lambda: side("a", a), "b": lambda: side("b", b)}, rounds=3, warm_up=1)
    assert medians == {"a": 2.0, "b": 5.0}
    assert order == ["a", "b"] * 4


def test_a_part_that_fails_leaves_a_line_and_the_others_their_figures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    need(shutil.which("sshd", path=os.environ["PATH"] + ":/usr/sbin"), "an OpenSSH server (openssh-server)")

    def failing(name: str, site: rig.Site, quick: bool) -> dict[str, float]:
        if name == "load":
            raise run.PartFailed("it broke")
        return {"warm_pass_vs_direct": 2.0}

    monkeypatch.setattr(run, "_measure", failing)
    figures = run.measure({"load_ext_ms", "warm_pass_vs_direct"}, quick=True)
    assert figures["failed"] == {"load_ext_ms": "it broke"}
    assert figures["warm_pass_vs_direct"] == 2.0


@pytest.mark.root
def test_connections_from_before_a_cut_are_reset_and_new_ones_work() -> None:
    need(os.geteuid() == 0 and os.access("/dev/net/tun", os.W_OK), "root and /dev/net/tun")
    need(shutil.which("ip"), "the command ip")
    with workplace() as work, rig.far(work, mtu=1500) as site:
        ssh = [*site.enter, "ssh", "-F", str(site.ssh_config), site.PLAIN]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        before = subprocess.Popen([*ssh, "echo up; cat"], text=True, **pipes)
        assert before.stdin and before.stdout
        assert before.stdout.readline() == "up\n"
        os.kill(site.cable_pid, cable.CUT)
        unreachable = subprocess.run([*ssh, "true"], capture_output=True, text=True)
        os.kill(site.cable_pid, cable.MEND)
        before.stdin.write("still there?\n")
        before.stdin.flush()
        wait_for(lambda: before.poll() is not None, "the old connection to end")
        again = subprocess.run([*ssh, "echo", "back"], capture_output=True, text=True)
    assert "timed out" in unreachable.stderr
    assert before.returncode == 255
    assert again.stdout == "back\n"


@pytest.mark.root
def test_the_long_link_leaves_nothing_behind() -> None:
    need(os.geteuid() == 0 and os.access("/dev/net/tun", os.W_OK), "root and /dev/net/tun")
    need(shutil.which("ip"), "the command ip")
    with workplace() as work, rig.far(work, mtu=1500) as site:
        assert Path("/run/netns", site.namespace).exists()
    assert not Path("/run/netns", site.namespace).exists()
    assert not Path(f"/proc/{site.cable_pid}").exists()


def test_without_root_the_long_link_is_skipped_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(rig.Skip, match="needs root"), rig.far(tmp_path, mtu=1500):
        pass
