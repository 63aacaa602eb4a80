"""What a user does on the page, as steps that tests and pictures share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat

from tests.ui.lab import Lab

PLOT_AND_WIDGET = """\
import ipywidgets, os
import matplotlib.pyplot as plt
%matplotlib inline
plt.plot([3, 1, 2])
plt.savefig("plot.png")
slider = ipywidgets.IntSlider(value=3, max=12, description="epoch")
display(slider)
print("in", os.getcwd())"""
IDLE = '.jp-NotebookPanel:visible .jp-Notebook-ExecutionIndicator[data-status="idle"]'


def write(folder: Path, name: str, *cells: str) -> None:
    """Make a notebook."""
    made = [nbformat.v4.new_code_cell(source) for source in cells]
    notebook = nbformat.v4.new_notebook(cells=made)
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, folder / name)


def open_notebook(page: Any, it: Lab, name: str) -> None:
    """Open a notebook in a JupyterLab with nothing else in it, and wait for its kernel."""
    page.goto(it.url(f"lab/workspaces/{Path(name).stem}/tree/{name}"))
    wait_for_kernel(page)


def wait_for_kernel(page: Any) -> None:
    """Wait until JupyterLab would run a cell without asking for a kernel."""
    page.wait_for_selector(IDLE)  # seen, but it stands there before there is a kernel, too
    page.locator("#jp-main-statusbar", has_text="(ipykernel) | Idle").wait_for()


def open_panel(page: Any) -> None:
    """Show the sidebar, unless it is shown."""
    page.locator('[data-id="jp-gpu-remote"]').wait_for()
    # a layout that is restored meanwhile shows it by itself, and a click would hide it
    for _ in range(5):
        if not page.locator(".jp-GpuRemote h2").is_visible():
            page.locator('[data-id="jp-gpu-remote"]').click()
        page.wait_for_timeout(500)
    page.wait_for_selector('.jp-GpuRemote button[type="submit"]:not([disabled])')


def card(page: Any, state: str = "") -> Any:
    """Return the card of the one machine, in a state."""
    wanted = f'[data-state="{state}"]' if state else ""
    found = page.locator(f".jp-GpuRemote-card[data-machine]{wanted}")
    found.wait_for()
    return found


def launch(page: Any) -> None:
    """Press the button of the form and wait until the notebook runs on the machine."""
    page.get_by_role("button", name="Launch and run this notebook").click()
    card(page, "ready")
    kernel(page, "remote GPU")


def kernel(page: Any, name: str) -> None:
    """Wait until the notebook has a kernel of that name, ready for work."""
    page.locator(".jp-NotebookPanel:visible .jp-Toolbar-kernelName", has_text=name).wait_for()
    page.wait_for_selector(IDLE)


def run_cell(page: Any, number: int = 0) -> None:
    """Run a cell and wait until it has ended."""
    cell = page.locator(".jp-NotebookPanel:visible .jp-Notebook .jp-CodeCell").nth(number)
    cell.locator(".cm-content").click()
    page.keyboard.press("Control+Enter")
    page.wait_for_function(
        "n => /\\[\\d+\\]/.test([...document.querySelectorAll("
        "'.jp-NotebookPanel:not(.lm-mod-hidden) .jp-CodeCell .jp-InputPrompt')][n].textContent)",
        arg=number,
    )


def delete(page: Any) -> None:
    """Press the bin of the one machine, confirm, and wait until its card is gone."""
    card(page).get_by_role("button", name="Delete…").click()
    dialog = page.locator(".jp-Dialog")
    dialog.get_by_text("Lost:").wait_for()
    dialog.get_by_role("button", name="Delete").click()
    page.locator(".jp-GpuRemote-card").wait_for(state="detached")
