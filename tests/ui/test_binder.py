"""The demo as Binder shows it: the notebook with the panel beside it, and every cell runs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.ui import journey
from tests.ui.lab import LIMIT, lab

BINDER = Path(__file__).parents[2] / "binder"


@pytest.mark.timeout(300)
def test_the_demo_opens_with_the_panel_and_runs(browser: Any, tmp_path: Path) -> None:
    with lab(tmp_path) as it:
        shutil.copytree(BINDER, it.folder / "binder")
        command = [sys.executable, "-m", "jupyterlab.labapp", "workspaces", "import"]
        subprocess.run(
            [*command, str(BINDER / "workspace.json")],
            env=it.environment,
            check=True,
            capture_output=True,
            timeout=LIMIT,
        )
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.set_default_timeout(60_000)
        page.goto(it.url("lab/tree/binder/demo.ipynb"))
        journey.wait_for_kernel(page)
        page.locator(".jp-GpuRemote h2").wait_for()
        page.get_by_text("Run", exact=True).first.click()
        page.get_by_text("Run All Cells", exact=True).click()
        page.get_by_text("it costs nothing any more").wait_for(timeout=180_000)
        assert page.locator(".jp-OutputArea-output[data-mime-type*='error']").count() == 0
        assert (it.folder / "binder" / "losses.csv").exists()
        page.close()
