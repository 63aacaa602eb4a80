"""Take the pictures of the documentation from the real thing: JupyterLab, in Chromium, with cells run.

``make screenshots`` writes them to docs/images. Needs a Chromium on PATH.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import nbformat
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

from tests.ui import journey
from tests.ui.lab import LIMIT, Lab, browser_options, chromium, lab

IMAGES = Path(__file__).parent.parent / "docs" / "images"

CELLS = [
    "%load_ext jupyter_gpu_remote",
    """%%remote --gpu A100 --cloud local
import os
import numpy as np
from tqdm.notebook import tqdm

losses = []
for step in tqdm(range(60)):
    losses.append(np.exp(-step / 15) + 0.04 * np.random.default_rng(step).normal())
print("process", os.getpid(), "in", os.getcwd().replace(os.path.expanduser("~"), "~"))""",
    """%%remote
import matplotlib.pyplot as plt

plt.figure(figsize=(6, 2))
plt.plot(losses, color="#f37726")
plt.savefig("loss.png")    # it appears in the folder here""",
    "%remote",
]
SWEEP = [
    "%load_ext jupyter_gpu_remote",
    """%%remote --cloud local --machines 2 --sweep lr=log(1e-3,1) --max-trials 8 --stop "loss > 2 after 15"
import random, time

loss = 1.0
for step in range(40):
    loss *= 1 + random.uniform(-0.2, 0.12) if lr < 0.4 else 1.06
    report(step=step, loss=loss)
    time.sleep(0.05)
loss""",
]
RAN = "![...document.querySelectorAll('.jp-InputPrompt')].some(p => p.textContent.includes('*'))"


def take_all(browser: Browser, it: Lab, theme: str) -> None:
    """Take the pictures of one theme."""
    page = ran(browser, it, "training.ipynb", (1280, 930), ".jp-OutputArea-output img")
    if theme == "light":
        page.locator(".jp-NotebookPanel:visible").screenshot(path=str(IMAGES / "cell.png"))
    journey.open_panel(page)
    journey.card(page).get_by_text("unused: ").wait_for()
    page.screenshot(path=str(IMAGES / f"lab-{theme}.png"))
    journey.card(page).get_by_role("button", name="Delete…").click()
    page.locator(".jp-Dialog").get_by_text("nothing is left to fetch").wait_for()
    page.locator(".jp-Dialog-content").screenshot(path=str(IMAGES / f"delete-{theme}.png"))
    page.locator(".jp-Dialog").get_by_role("button", name="Delete").click()
    page.locator(".jp-GpuRemote-card").wait_for(state="detached")
    page.set_viewport_size({"width": 1280, "height": 830})
    page.locator(".jp-GpuRemote").screenshot(path=str(IMAGES / f"first-{theme}.png"))
    page.close()


def take_sweep(browser: Browser, it: Lab) -> None:
    """Take the picture of a sweep's table."""
    page = ran(browser, it, "sweep.ipynb", (1300, 720), "text=deleted")
    page.locator(".jp-NotebookPanel:visible").screenshot(path=str(IMAGES / "sweep.png"))
    page.close()


def ran(browser: Browser, it: Lab, name: str, size: tuple[int, int], result: str) -> Page:
    """Return a page with a notebook whose cells have run; of their outputs, `result` selects one."""
    viewport: ViewportSize = {"width": size[0], "height": size[1]}
    page = browser.new_page(viewport=viewport, device_scale_factor=1.5)
    page.set_default_timeout(LIMIT * 1000)
    page.goto(it.url(f"lab/tree/{name}"))
    journey.wait_for_kernel(page)
    page.add_style_tag(content=".Toastify { display: none }")
    page.click("text=Run")
    page.click("text=Run All Cells")
    page.wait_for_selector(result)
    page.wait_for_function(RAN)
    page.keyboard.press("Escape")
    return page


def notebook(cells: list[str]) -> nbformat.NotebookNode:
    """Return a notebook of such cells."""
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    made.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return made


def main() -> None:
    """Take every picture."""
    if not chromium():
        sys.exit("No Chromium here: apt-get install chromium")
    IMAGES.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(**browser_options())
        for theme in ("light", "dark"):
            with tempfile.TemporaryDirectory() as base, lab(Path(base), dark=theme == "dark") as it:
                nbformat.write(notebook(CELLS), it.folder / "training.ipynb")
                take_all(browser, it, theme)
        with tempfile.TemporaryDirectory() as base, lab(Path(base), dark=False) as it:
            nbformat.write(notebook(SWEEP), it.folder / "sweep.ipynb")
            take_sweep(browser, it)
        browser.close()


if __name__ == "__main__":
    main()
