"""What can be had, as a notebook shows it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.notebooks import notebook


@pytest.mark.parametrize("kernel", ["python3", "gpu-remote"])
def test_offers_are_a_table_in_a_notebook(tmp_path: Path, kernel: str) -> None:
    with notebook(tmp_path, kernel_name=kernel) as book:
        (shown,) = book.run("%remote offers --cloud local").of("display_data")
    assert "this-computer" in shown["data"]["text/plain"]
    assert "<td>this-computer</td>" in shown["data"]["text/html"]
