"""What a user does in JupyterLab, from launch to deletion, in a real browser on the local machine."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import wait_for
from tests.ui import journey
from tests.ui.lab import Lab, lab

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(params=["plain", "hub"])
def place(request: pytest.FixtureRequest, browser: Any, tmp_path: Path) -> Any:
    """Run JupyterLab as on a laptop, and as under JupyterHub in the dark theme."""
    if request.param == "plain":
        with lab(tmp_path) as it:
            yield it
    else:
        with lab(tmp_path, base_url="/user/x/", dark=True) as it:
            yield it


def machines(it: Lab) -> list[Any]:
    found: list[Any] = json.loads(it.command("list", "--json").stdout)
    return found


def layout_with_our_panel_in_front(request: Any) -> bool:
    if "api/workspaces" not in request.url or request.method != "PUT":
        return False
    left = request.post_data_json["data"]["layout-restorer:data"].get("left", {})
    return bool(left.get("current") == "jp-gpu-remote")


def test_a_notebook_is_taken_to_a_machine_and_back_home(place: Lab, page: Any) -> None:
    journey.write(place.folder, "train.ipynb", journey.PLOT_AND_WIDGET)
    journey.open_notebook(page, place, "train.ipynb")
    journey.open_panel(page)
    page.evaluate(WATCH_CHIPS)

    journey.launch(page)
    shown = page.evaluate("window.chips")
    assert any("/" in chip for chip in shown) and shown[-1] == "ready"
    assert journey.card(page).get_by_text("train.ipynb connected").is_visible()

    journey.run_cell(page)
    page.locator(".jp-OutputArea-output img").wait_for()
    page.locator(".jp-OutputArea-output .widget-slider").wait_for()
    home = page.locator(".jp-OutputArea-output", has_text="in ").last.inner_text()
    assert home.strip() != f"in {place.folder}"

    wait_for((place.folder / "plot.png").exists, "the file to come back")
    page.locator('[data-id="filebrowser"]').click()
    page.locator(".jp-DirListing-item", has_text="plot.png").wait_for()
    with page.expect_request(layout_with_our_panel_in_front):
        page.locator('[data-id="jp-gpu-remote"]').click()
    page.keyboard.press("Control+s")

    page.reload()
    journey.card(page, "ready").get_by_text("train.ipynb connected").wait_for()
    journey.kernel(page, "remote GPU")
    journey.run_cell(page)

    journey.delete(page)
    assert machines(place) == []
    page.get_by_role("button", name="Try the local machine").wait_for()


WATCH_CHIPS = """() => {
  window.chips = [];
  const look = () => {
    const chip = document.querySelector('.jp-GpuRemote-chip')?.textContent;
    if (chip && chip !== window.chips.at(-1)) window.chips.push(chip);
  };
  new MutationObserver(look).observe(document.querySelector('.jp-GpuRemote'),
    { subtree: true, childList: true, characterData: true });
}"""


BACKGROUND = """\
%%remote --cloud local --detach
import os, time
print("one", flush=True)
while not os.path.exists("go"):
    time.sleep(0.05)
print("two")"""


@pytest.fixture
def laptop(browser: Any, tmp_path: Path) -> Any:
    """Run JupyterLab."""
    with lab(tmp_path) as it:
        yield it


def test_a_background_cell_gets_its_output_though_its_kernel_was_killed(laptop: Lab, page: Any) -> None:
    first = "import os; print(os.getpid())\n%load_ext jupyter_gpu_remote"
    journey.write(laptop.folder, "train.ipynb", first, BACKGROUND)
    journey.open_notebook(page, laptop, "train.ipynb")
    cells = page.locator(".jp-NotebookPanel:visible .jp-CodeCell")
    journey.run_cell(page)
    kernel = int(cells.nth(0).locator(".jp-OutputArea-output").first.inner_text())
    journey.run_cell(page, 1)
    output = cells.nth(1).locator(".jp-OutputArea").first
    output.get_by_text("one", exact=True).wait_for()
    output.get_by_text("runs on").wait_for()

    os.kill(kernel, signal.SIGKILL)
    output.get_by_text("· running").wait_for()  # from here on it is the page that looks after it
    (machine,) = machines(laptop)
    touch = "for d in ~/gpu-remote/*/; do touch $d/go; done"
    laptop.command("exec", machine["name"], "--", "sh", "-c", touch)
    output.get_by_text("· done").wait_for()
    assert output.inner_text().split()[:2] == ["one", "two"]
