"""Jupyter Notebook 7: no sidebar of its own in front, but the same buttons and kernels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.ui import journey
from tests.ui.lab import lab


@pytest.mark.timeout(240)
def test_a_notebook_is_taken_to_a_machine_by_its_toolbar(browser: Any, tmp_path: Path) -> None:
    with lab(tmp_path, app="notebook") as it:
        journey.write(it.folder, "train.ipynb", "print(6 * 7)")
        assert it.command("up", "--cloud", "local").returncode == 0
        page = browser.new_page()
        page.set_default_timeout(60_000)
        page.goto(it.url("notebooks/train.ipynb"))
        page.wait_for_selector(journey.IDLE)
        page.locator("[data-command='gpu-remote:choose-machine']").click()
        page.locator(".jp-Dialog").get_by_role("button", name="Ok").click()
        page.locator(".jp-KernelName, .jp-Toolbar-kernelName", has_text="remote GPU").first.wait_for()
        page.wait_for_selector(journey.IDLE)
        journey.run_cell(page)
        page.locator(".jp-OutputArea-output", has_text="42").wait_for()

        page.locator(".lm-MenuBar-item", has_text="View").click()
        page.locator(".lm-Menu-item", has_text="Left Sidebar").first.hover()
        page.locator(".lm-Menu-item", has_text="GPU machines").click()
        journey.card(page, "ready").get_by_text("train.ipynb connected").wait_for()
        page.close()
