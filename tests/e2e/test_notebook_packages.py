"""Packages that a notebook declares, imports or installs are there when its cells run on the machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.notebooks import Notebook, notebook
from tests.wheels import wheel


def declare(folder: Path, *requirements: str) -> None:
    """Declare packages that come from a folder which goes along."""
    wheel(folder / "index", "pip", "99")
    for name in ("tiny", "other", "later"):
        wheel(folder / "index", name, "1.0", code=f"answer = '{name} 1.0'")
    lines = ["--no-index", "--find-links ./index", *requirements]
    (folder / "requirements.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notebook]:
    """A notebook that declares a package which is not installed here."""
    folder = tmp_path_factory.mktemp("notebook")
    declare(folder, "tiny==1.0")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_GPU_REMOTE_DIR", str(tmp_path_factory.mktemp("state")))
        with notebook(folder) as opened:
            assert not opened.remote("import os").error
            yield opened


@pytest.fixture(autouse=True)
def own_state(book: Notebook, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have notebooks of a test see the machine of the first one."""
    state = book.run("import os; print(os.environ['JUPYTER_GPU_REMOTE_DIR'])").text.strip()
    monkeypatch.setenv("JUPYTER_GPU_REMOTE_DIR", state)


def test_what_the_folder_declares_can_be_imported_over_there(book: Notebook) -> None:
    assert book.run("import tiny").error.startswith("ModuleNotFoundError")
    assert book.remote("import tiny; print(tiny.answer)").text == "tiny 1.0\n"


def test_a_declaration_that_is_edited_counts_from_the_next_cell_on(book: Notebook) -> None:
    declare(book.folder, "tiny==1.0", "other==1.0")
    assert book.remote("import other; print(other.answer)").text == "other 1.0\n"


def test_what_a_remote_cell_installs_can_be_imported_in_the_next_one(book: Notebook) -> None:
    book.remote("%pip install later")
    assert book.remote("import later; print(later.answer)").text == "later 1.0\n"


def test_env_shows_both_versions(book: Notebook) -> None:
    book.remote("import tiny")
    shown = book.run("%remote env").text
    assert "From requirements.txt:" in shown
    (line,) = [line.split() for line in shown.splitlines() if line.startswith("tiny ")]
    assert line == ["tiny", "1.0", "only", "there"]


def test_env_none_installs_nothing(book: Notebook, tmp_path: Path) -> None:
    declare(tmp_path, "tiny==1.0")
    other = Notebook(tmp_path)
    try:
        other.run("%load_ext jupyter_gpu_remote")
        assert other.remote("import tiny", "--env none").error.startswith("ModuleNotFoundError")
    finally:
        other.close()


def test_a_notebook_that_runs_there_as_a_whole_has_its_packages(book: Notebook, tmp_path: Path) -> None:
    declare(tmp_path, "tiny==1.0")
    whole = Notebook(tmp_path, kernel_name="gpu-remote")
    try:
        assert whole.run("import tiny; print(tiny.answer)").text == "tiny 1.0\n"
    finally:
        whole.close()


def test_a_package_that_cannot_be_had_is_named_where_it_is_imported(book: Notebook, tmp_path: Path) -> None:
    declare(tmp_path, "tiny==1.0", "nowhere==3.0")
    other = Notebook(tmp_path)
    try:
        other.run("%load_ext jupyter_gpu_remote")
        assert other.remote("import tiny; print(tiny.answer)").text == "tiny 1.0\n"
        assert "nowhere of requirements.txt can't be had" in other.remote("import nowhere").error
    finally:
        other.close()
