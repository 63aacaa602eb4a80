"""What a notebook needs installed, as far as can be told without a network.

What is declared counts: a PEP 723 block in a cell, else the nearest file that declares packages. What the
notebook imports, what is installed here, and what is not declared, is added in the version that is here.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from ..errors import ConfigurationError
from .conda import from_conda
from .declared import find, python_here, read_block, read_file
from .installed import Here, Installed
from .known import KERNEL_S_OWN, KNOWN, TAKE_VALUES
from .lines import Lines
from .modules import follow
from .reading import Reading, declaration, read_cell
from .versions import Row, compare, versions_here

__all__ = ["Needs", "Row", "compare", "needs", "versions_here"]


@dataclass(frozen=True)
class Needs:
    """What has to be installed for a notebook.

    Attributes:
        requirements: Lines for ``uv pip install``; paths in them start from the notebook's folder.
        python: The minor version of Python, as ``3.12``.
        source: Where the requirements stand, as words: ``requirements.txt``.
        notes: What can't be had, and what is done instead.
        modules: The top-level names that can be imported once all is installed; empty when not known.
        names: The packages that the requirements name.
    """

    requirements: tuple[str, ...] = ()
    python: str = ""
    source: str = ""
    notes: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """What tells an environment with these packages from others."""
        return hashlib.sha256(json.dumps([self.python, self.requirements]).encode()).hexdigest()[:16]


def needs(folder: Path, sources: Sequence[str], env: str = "auto") -> Needs:
    """Return what a notebook needs installed.

    Args:
        folder: The notebook's folder, which travels with it.
        sources: Its cells, with their magics, in order.
        env: ``auto``, a file that declares it all, or ``none``.

    Raises:
        ConfigurationError: A file, or a block in a cell, can't be read.
    """
    if env == "none":
        return Needs(python=python_here(), source="--env none")
    folder = folder.resolve()
    lines = Lines(folder)
    cells = Reading()
    for source in sources:
        cells.add(read_cell(source))
    block = next(filter(None, map(declaration, sources)), "")
    file: Path | None = None
    if env != "auto":
        file = folder / Path(env).expanduser()
        if not file.is_file():
            raise ConfigurationError(
                f"There is no file {file}.", hint="Name one with --env FILE, or leave it: --env auto."
            )
        read_file(file, lines)
        origin = file.name
    elif block:
        read_block(block, folder, lines)
        origin = "the “# /// script” block in a cell"
    elif file := find(folder):
        read_file(file, lines)
        origin = file.name
    else:
        origin = ""
    here = Here()
    reading = follow(folder, cells)
    _add_installs(reading, folder, here, lines)
    if env == "auto":
        _add_imported(reading, here, lines, origin)
    named = lines.named
    brought, whole = here.closure(named)
    modules: set[str] = set()
    if whole and not lines.has_unnamed:
        modules = {name.partition(".")[0] for package in brought.values() for name in package.modules}
    return Needs(
        requirements=tuple(lines),
        python=python_here(),
        source=origin or "packages installed here that the notebook imports",
        notes=tuple(lines.notes),
        modules=tuple(sorted(modules)),
        names=tuple(dict.fromkeys(canonicalize_name(requirement.name) for requirement in named)),
    )


def _add_installs(reading: Reading, folder: Path, here: Here, lines: Lines) -> None:
    """Add what cells install by themselves."""
    for words in reading.conda:
        specs, only_conda = from_conda(_targets(words, folder, lines))
        for spec in specs:
            lines.add(spec, folder, replace=True)
        if only_conda:
            lines.note(f"only conda has {', '.join(only_conda)}: not installed")
    for words in reading.pip:
        newest = {"-U", "--upgrade"} & set(words)
        for target in _targets(words, folder, lines):
            try:
                requirement = Requirement(target.removeprefix("-e "))
            except InvalidRequirement:
                lines.add(target, folder)
                continue
            name = canonicalize_name(requirement.name)
            is_plain = not (requirement.specifier or requirement.url or newest)
            if is_plain and name in lines:
                continue
            package = here.packages.get(name)
            if is_plain and package and not package.origin:
                requirement.specifier &= f"=={package.version}"  # type: ignore[operator,unused-ignore]
            if name not in KERNEL_S_OWN:
                lines.add(str(requirement), folder, replace=True)


def _targets(words: Sequence[str], folder: Path, lines: Lines) -> list[str]:
    """Return what an installation names; its options are dealt with."""
    found = []
    todo = list(words)
    while todo:
        word = todo.pop(0)
        if word in ("-r", "--requirement", "-e", "--editable") and todo:
            value = todo.pop(0)
            if word in ("-e", "--editable"):
                found.append(f"-e {value}")
            elif (folder / value).is_file():
                read_file(folder / value, lines)
        elif word in ("-i", "--index-url", "--extra-index-url", "-f", "--find-links") and todo:
            lines.option(f"{word} {todo.pop(0)}")
        elif word in TAKE_VALUES and todo:
            todo.pop(0)
        elif word.startswith("-"):
            lines.option(word)
        elif re.match(r"\d?[<>]", word):
            break  # where the output goes
        elif not set(word) & set("{}$`"):
            found.append(word)
    return found


def _add_imported(reading: Reading, here: Here, lines: Lines, origin: str) -> None:
    """Add what is imported and not declared, in the version that is installed here."""
    # what a declaration brings is of the version that it says
    declared = here.closure(lines.named)[0].keys() if origin else ()
    for module in sorted(reading.imports):
        top = module.partition(".")[0]
        if top in sys.stdlib_module_names or top.startswith("_"):
            continue
        owners = here.owners(module)
        if not owners:
            if module not in reading.optional:
                _add_missing(top, here, lines)
            continue
        for package in owners:
            if package.name in declared or package.name in KERNEL_S_OWN or package.name in lines:
                continue
            _add_package(package, lines)
            if origin and package.name in lines:
                lines.note(
                    f"{package.name} {package.version} is imported and installed here, "
                    f"but not in {origin}: added"
                )


def _add_package(package: Installed, lines: Lines) -> None:
    """Add a package as it is installed here."""
    origin, source = package.origin, package.source
    if vcs := origin.get("vcs_info"):
        below = f"#subdirectory={origin['subdirectory']}" if origin.get("subdirectory") else ""
        lines.add(f"{package.name} @ {vcs['vcs']}+{origin['url']}@{vcs['commit_id']}{below}", lines.folder)
    elif package.is_editable and source:
        if source.resolve().is_relative_to(lines.folder):
            lines.add(f"-e {source}", lines.folder)
        else:
            lines.note(
                f"{package.name} is run here from its source in {source}, outside the notebook's folder, "
                "and is not installed: move it in there, or install it from a git address"
            )
    elif source and source.exists() and source.resolve().is_relative_to(lines.folder):
        lines.add(str(source), lines.folder)
    elif source and source.is_dir():
        lines.note(
            f"{package.name} was installed here from {source}, which is not on the machine: not installed"
        )
    elif str(origin.get("url", "")).startswith("http"):
        lines.add(f"{package.name} @ {origin['url']}", lines.folder)
    else:
        # conda's packages name a folder that was only there when they were built
        lines.add(f"{package.name}=={package.version}", lines.folder)


def _add_missing(top: str, here: Here, lines: Lines) -> None:
    """Add what is imported and is not installed here, if the name tells what it is."""
    name = canonicalize_name(KNOWN.get(top, ""))
    if name and (name in lines or name in here.closure(lines.named)[0]):
        return
    if name:
        lines.add(name, lines.folder)
        lines.note(f"{name} is not installed here: the newest is taken")
    elif canonicalize_name(top) not in lines and not _is_found(top):
        lines.note(
            f"{top} is imported but not installed here: if a package has it, `%pip install` that in a cell"
        )


@functools.lru_cache(maxsize=1000)
def _is_found(top: str) -> bool:
    try:
        return importlib.util.find_spec(top) is not None
    except (ImportError, ValueError, AttributeError):
        return False
