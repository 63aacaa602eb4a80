"""What the tests in a browser need: Chromium, a built bundle, a server of its own."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_core.paths import jupyter_path

from tests.conftest import need
from tests.ui.lab import Lab, browser_options, chromium, lab

BUNDLE = Path("labextensions", "jupyter-gpu-remote", "package.json")


def _is_ours(message: Any) -> bool:
    """Whether an error on the console is not another extension's, nor of a network that changed."""
    if message.type != "error" or "ERR_NETWORK_CHANGED" in message.text:
        return False
    return not message.text.startswith("Failed to load") or "gpu-remote" in message.location["url"]


def _need_all() -> None:
    for module in ("jupyterlab", "notebook", "playwright"):
        need(importlib.util.find_spec(module), f"{module} is not installed: pip install {module}")
    need(chromium(), "no Chromium on PATH: apt-get install chromium")
    need(
        any((Path(at) / BUNDLE).exists() for at in jupyter_path()),
        "the part for JupyterLab is not built: make labextension",
    )


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Start Chromium."""
    _need_all()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(**browser_options())
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """Open an empty page, and fail when an error of ours was written to its console."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(60_000)
    said: list[str] = []
    page.on("console", lambda m: said.append(f"{m.text} ({m.location})") if _is_ours(m) else None)
    page.on("pageerror", lambda error: said.append(f"uncaught: {error}"))
    yield page
    context.close()
    assert said == [], "\n".join(said)


@pytest.fixture(scope="module")
def server(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Run JupyterLab as most people do."""
    with lab(tmp_path_factory.mktemp("lab")) as it:
        yield it
