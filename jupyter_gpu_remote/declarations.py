"""Where the packages of a notebook may be declared; asked before each cell, so it is quick to import."""

from __future__ import annotations

from pathlib import Path

DECLARING = (
    "uv.lock",
    "pylock.toml",
    "requirements.lock",
    "requirements.txt",
    "environment.yml",
    "environment.yaml",
    "pyproject.toml",
)
"""Files that may declare packages, in the order in which they count."""


def places(folder: Path) -> list[Path]:
    """Return the folders whose declarations count for a notebook in `folder`, nearest first.

    Those above count up to the top of the repository; without one, up to the user's home folder.
    """
    above = [folder, *folder.parents]
    top = next((i for i, place in enumerate(above) if (place / ".git").exists()), None)
    if top is None:
        home = Path.home().resolve()
        top = above.index(home) - 1 if home in above else 0
    return above[: max(top, 0) + 1]
