"""Take the pictures of the documentation from the real thing: JupyterLab, in Chromium, with cells run.

``make screenshots`` writes them to docs/images. Needs a Chromium on PATH.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import nbformat
from playwright.sync_api import Page, sync_playwright

IMAGES = Path(__file__).parent.parent / "docs" / "images"
LIMIT = 90.0
"""Seconds for JupyterLab to start, and for the cells to end."""

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


@contextlib.contextmanager
def lab(folder: Path) -> Iterator[str]:
    """Run JupyterLab in `folder` and give its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ["--no-browser", f"--port={port}", "--IdentityProvider.token=", "--allow-root"]
    state = {"JUPYTER_GPU_REMOTE_DIR": str(folder / ".state"), "JUPYTER_CONFIG_DIR": str(folder / ".config")}
    server = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", *options],
        cwd=folder,
        env={**os.environ, **state},
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + LIMIT
        while True:
            try:
                urllib.request.urlopen(f"{address}/api", timeout=5)
                break
            except OSError:
                if time.monotonic() > end or server.poll() is not None:
                    raise
                time.sleep(0.2)
        yield address
    finally:
        command = [sys.executable, "-m", "jupyter_gpu_remote.cli", "down", "--all", "--yes"]
        subprocess.run(command, env={**os.environ, **state}, check=False, cwd=folder)
        server.terminate()
        server.wait()


def take(page: Page, address: str, name: str) -> None:
    """Open the notebook, run its cells, and take its picture."""
    page.goto(f"{address}/lab/tree/training.ipynb")
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=LIMIT * 1000)
    page.wait_for_selector('.jp-Notebook-ExecutionIndicator[data-status="idle"]', timeout=LIMIT * 1000)
    page.wait_for_timeout(5000)  # asked to run too early, JupyterLab asks for a kernel
    page.click("text=Run")
    page.click("text=Run All Cells")
    page.wait_for_selector("text=stand-in", timeout=LIMIT * 1000)
    page.wait_for_selector(".jp-OutputArea-output img", timeout=LIMIT * 1000)
    page.wait_for_function(
        f"document.querySelectorAll('.jp-InputPrompt').length >= {len(CELLS)} && "
        "![...document.querySelectorAll('.jp-InputPrompt')].some(p => p.textContent.includes('*'))",
        timeout=LIMIT * 1000,
    )
    page.add_style_tag(content=".Toastify { display: none }")  # JupyterLab's offer of news
    page.keyboard.press("Escape")
    page.locator(".jp-NotebookPanel:visible").screenshot(path=str(IMAGES / name))


def main() -> None:
    """Take every picture."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium:
        sys.exit("No Chromium here: apt-get install chromium")
    IMAGES.mkdir(exist_ok=True)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in CELLS])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name) / "experiment"
        folder.mkdir()
        nbformat.write(notebook, folder / "training.ipynb")
        sandbox = [] if os.geteuid() else ["--no-sandbox"]
        browser = playwright.chromium.launch(executable_path=chromium, args=sandbox)
        with lab(folder) as address:
            page = browser.new_page(viewport={"width": 1160, "height": 930}, device_scale_factor=1.5)
            take(page, address, "cell.png")
        browser.close()


if __name__ == "__main__":
    main()
