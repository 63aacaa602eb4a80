"""The sidebar and what is around it, in a real browser on the local machine."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_gpu_remote.model import MachineState
from tests.conftest import need, wait_for
from tests.ui import fleet, journey
from tests.ui.lab import Lab, lab

pytestmark = pytest.mark.timeout(240)
FIND_OVERFLOW = """() => {
  const panel = document.querySelector('.jp-GpuRemote');
  const edge = panel.getBoundingClientRect().right + 0.5;
  return [...panel.querySelectorAll('*')]
    .filter(e => e.getBoundingClientRect().right > edge).map(e => e.outerHTML.slice(0, 100));
}"""

FOCUSED = """() => {
  const it = document.activeElement;
  if (!it.closest('.jp-GpuRemote') || getComputedStyle(it).outlineStyle === 'none') return '';
  return it.outerHTML.slice(0, 200);
}"""
FOCUSABLE = """() => [...document.querySelectorAll(
    '.jp-GpuRemote :is(button, a, summary, input, select, [tabindex="0"])')]
  .filter(e => !e.disabled && e.checkVisibility()).map(e => e.outerHTML.slice(0, 200))"""


@pytest.fixture
def opened(server: Lab, page: Any) -> Iterator[Any]:
    """Open a fresh notebook and the sidebar; end every machine afterwards."""
    name = f"notebook{len(list(server.folder.glob('*.ipynb')))}.ipynb"
    journey.write(server.folder, name, "x = 40\nlock = open(os.devnull) if 0 else 1", "print(x + 2)")
    journey.open_notebook(page, server, name)
    journey.open_panel(page)
    yield page
    ended = server.command("down", "--all", "--yes")
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_a_machine_of_the_command_line_appears_and_goes(opened: Any, server: Lab) -> None:
    assert server.command("up", "--cloud", "local").returncode == 0
    name = journey.card(opened, "ready").get_attribute("data-machine")
    server.command("down", name, "--yes")
    opened.locator(".jp-GpuRemote-card").wait_for(state="detached")


def test_a_cell_is_sent_to_a_machine(opened: Any) -> None:
    journey.run_cell(opened)
    opened.get_by_role("button", name="Try the local machine").click()
    journey.card(opened, "ready")
    opened.locator(".jp-Notebook .jp-CodeCell").nth(1).locator(".cm-content").click()
    opened.locator(".jp-NotebookPanel:visible .jp-cell-toolbar [data-command='gpu-remote:run-cell']").click()
    opened.locator(".jp-OutputArea-output", has_text="42").wait_for()
    assert opened.locator(".jp-Notebook .jp-CodeCell").nth(1).inner_text().count("%%remote") == 1


def test_variables_go_along_when_a_kernel_is_switched(opened: Any) -> None:
    journey.run_cell(opened)
    opened.get_by_role("button", name="Try the local machine").click()
    journey.card(opened, "ready").get_by_role("button", name="Run here").click()
    dialog = opened.locator(".jp-Dialog")
    dialog.get_by_text("stay behind").first.wait_for()
    dialog.get_by_text("Take the variables along").click()
    dialog.get_by_role("button", name="Run there").click()
    journey.kernel(opened, "remote GPU")
    journey.run_cell(opened, 1)
    opened.locator(".jp-OutputArea-output", has_text="42").wait_for()

    journey.card(opened).get_by_role("button", name="Leave").click()
    journey.kernel(opened, "Python 3")


def test_the_notebooks_toolbar_leads_to_a_machine(opened: Any) -> None:
    opened.get_by_role("button", name="Try the local machine").click()
    journey.card(opened, "ready")
    opened.locator(".jp-NotebookPanel-toolbar [data-command='gpu-remote:choose-machine']").click()
    opened.locator(".jp-Dialog").get_by_role("button", name="Ok").click()
    journey.kernel(opened, "remote GPU")


def test_terminal_logs_and_status_bar_know_a_machine(opened: Any) -> None:
    opened.get_by_role("button", name="Try the local machine").click()
    card = journey.card(opened, "ready")
    opened.locator(".jp-GpuRemote-cost", has_text="1 machine, free").wait_for()
    card.get_by_role("button", name="Logs").click()
    opened.locator(".jp-GpuRemote-log pre", has_text="preparing").wait_for()
    card.get_by_role("button", name="Terminal").click()
    opened.locator(".jp-Terminal").wait_for()
    opened.locator('[data-id="jp-running-sessions"]').click()
    opened.locator(".jp-RunningSessions-item", has_text="local").first.wait_for()


def test_a_launch_that_cannot_be_says_why_and_what_next(opened: Any) -> None:
    opened.locator('select[name="gpu"]').select_option("A100")
    opened.locator('select[name="cloud"]').select_option("aws")
    alert = opened.locator(".jp-GpuRemote-form [role=alert]")
    alert.get_by_text("Next:").wait_for()
    alert.get_by_role("button", name="Try the local machine").wait_for()


def test_the_form_is_kept_when_the_page_is_loaded_again(opened: Any) -> None:
    opened.locator('select[name="cloud"]').select_option("local")
    with opened.expect_request(lambda request: "api/workspaces" in request.url and request.method == "PUT"):
        opened.locator('input[name="idle"]').fill("45")
    opened.reload()
    journey.open_panel(opened)
    opened.wait_for_function("document.querySelector('input[name=idle]').value === '45'")


@pytest.fixture(params=[False, True], ids=["light", "dark"])
def crowd(request: pytest.FixtureRequest, browser: Any, tmp_path: Path) -> Iterator[Lab]:
    """Run JupyterLab beside machines in all kinds of states."""
    states = (MachineState.READY, MachineState.BOOTING, MachineState.PREEMPTED, MachineState.FAILED)
    with lab(tmp_path, dark=request.param) as it:
        for number, state in enumerate(states):
            note = "No machine could be had: the account may rent 0 vCPUs of that kind."
            fleet.put(tmp_path / "state", f"calm-otter-{number}", fleet.A100, state, note)
        fleet.put_jobs(tmp_path / "state", "calm-otter-0")
        yield it


def widen(page: Any, width: int) -> None:
    """Drag the sidebar's edge."""
    box = page.locator(".jp-GpuRemote").bounding_box()
    page.mouse.move(box["x"] + box["width"] + 2, 600)
    page.mouse.down()
    page.mouse.move(box["x"] + width + 2, 600, steps=3)
    page.mouse.up()
    wait_for(lambda: abs(page.locator(".jp-GpuRemote").bounding_box()["width"] - width) < 5, "the new width")


def tabbed_through(page: Any) -> list[str]:
    """Press Tab from the panel's first button until the panel is left; return what was reached and seen."""
    page.locator(".jp-GpuRemote-head button").first.focus()
    page.keyboard.press("Tab")  # a focus that a program gives shows no ring
    page.keyboard.press("Shift+Tab")
    reached: list[str] = []
    while label := page.evaluate(FOCUSED):
        reached.append(label)
        page.keyboard.press("Tab")
    return reached


def test_the_panel_can_be_read_by_everybody(crowd: Lab, page: Any) -> None:
    from axe_playwright_python.sync_playwright import Axe

    journey.write(crowd.folder, "a.ipynb", "1")
    journey.open_notebook(page, crowd, "a.ipynb")
    journey.open_panel(page)
    page.get_by_text("calm-otter-3").first.wait_for()
    for section in ("prices", "files", "buckets", "activity"):
        page.locator(f'[data-section="{section}"] summary').click()
    page.locator('[data-section="prices"] [role=alert]').wait_for()
    found = Axe().run(page, context=".jp-GpuRemote").response["violations"]
    assert [v for v in found if v["impact"] in ("serious", "critical")] == []
    for width in (250, 320):
        widen(page, width)
        assert page.evaluate(FIND_OVERFLOW) == []
    assert tabbed_through(page) == page.evaluate(FOCUSABLE)


def test_a_job_is_watched_and_cancelled(opened: Any, server: Lab) -> None:
    (server.folder / "counts.py").write_text("import time\nprint('step 1', flush=True)\ntime.sleep(600)\n")
    assert server.command("run", "--detach", "--cloud", "local", "counts.py").returncode == 0
    job = opened.locator(".jp-GpuRemote-item", has_text="counts.py")
    job.get_by_role("button", name="Output of job").click()
    opened.locator(".jp-GpuRemote-log pre", has_text="step 1").wait_for()
    job.get_by_role("button", name="Cancel job").click()
    opened.locator(".jp-Dialog").get_by_role("button", name="Cancel the job").click()
    opened.locator(".jp-GpuRemote-item[data-state='cancelled']").wait_for()
    opened.locator(".jp-toast-message", has_text="was cancelled").wait_for()


def test_a_bucket_is_mounted_looked_into_and_unmounted(opened: Any, server: Lab, tmp_path: Path) -> None:
    need(Path("/dev/fuse").exists() and shutil.which("fusermount3"), "FUSE (package fuse3)")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "result.csv").write_text("1,2\n")
    opened.locator('input[name="mount"]').fill(f"file://{tmp_path}:~/data")
    opened.locator('select[name="cloud"]').select_option("local")
    journey.launch(opened)
    opened.locator('[data-section="buckets"] summary').first.click()
    mount = opened.locator("[data-mount]")
    mount.get_by_text(f"file://{tmp_path}").click()
    opened.locator(".jp-GpuRemote-tree summary", has_text="runs/").click()
    with opened.expect_download() as download:
        opened.get_by_role("link", name="Download result.csv").click()
    assert download.value.path().read_text() == "1,2\n"
    mount.get_by_role("button", name="Unmount").click()
    opened.locator(".jp-Dialog").get_by_role("button", name="Unmount").click()
    mount.wait_for(state="detached")
