"""What files beside a notebook declare: locks, requirements, conda environments, projects."""

from __future__ import annotations

import functools
import importlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from ..declarations import DECLARING, places
from ..errors import ConfigurationError
from .conda import from_conda
from .lines import Lines

_tomllib = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
_EXPORT_LIMIT = 20.0
"""Seconds; it takes some ten milliseconds."""


def python_here() -> str:
    """Return the minor version of Python that both sides run."""
    return f"{sys.version_info[0]}.{sys.version_info[1]}"


def find(folder: Path) -> Path | None:
    """Return the file that declares what a notebook in `folder` needs: the nearest, then the most exact."""
    for place in places(folder):
        for name in DECLARING:
            if (place / name).is_file() and (name != "pyproject.toml" or _declares(place / name)):
                return place / name
    return None


def read_file(file: Path, lines: Lines) -> None:
    """Add what a file declares.

    Raises:
        ConfigurationError: It can't be read, or is of no kind that is known.
    """
    reader = _READERS.get(file.name) or _ENDINGS.get(file.suffix)
    if reader is None:
        kinds = ", ".join(_READERS)
        raise ConfigurationError(
            f"{file.name} declares no packages in a way that is known.", hint=f"Known are: {kinds}."
        )
    try:
        reader(file, lines)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as e:
        raise ConfigurationError(
            f"{file} can't be read: {e!r}.",
            hint="Mend it, or go without it: --env none, or --env ANOTHER_FILE.",
        ) from e


def read_block(text: str, base: Path, lines: Lines) -> None:
    """Add what a PEP 723 block declares.

    Raises:
        ConfigurationError: It is not TOML.
    """
    try:
        block = _tomllib.loads(text)
    except ValueError as e:
        raise ConfigurationError(f"The “# /// script” block in a cell is not TOML: {e}.") from e
    _check_python(str(block.get("requires-python", "")), lines)
    _add_all(block.get("dependencies", []), block, base, lines)


def _read_toml(file: Path) -> dict[str, Any]:
    return _load(file, file.stat().st_mtime_ns)


@functools.lru_cache(maxsize=32)
def _load(file: Path, changed: int) -> dict[str, Any]:
    content: dict[str, Any] = _tomllib.loads(file.read_text("utf-8"))
    return content


def _check_python(wanted: str, lines: Lines) -> None:
    try:
        if wanted and not SpecifierSet(wanted).contains(f"{python_here()}.99", prereleases=True):
            lines.note(
                f"Python {wanted} is asked for; the machine runs {python_here()}, as this notebook does"
            )
    except InvalidSpecifier:
        lines.note(f"requires-python = “{wanted}” can't be understood")


def _add_all(requirements: Iterable[str], project: Mapping[str, Any], base: Path, lines: Lines) -> None:
    """Add requirements of a TOML file, with where uv is told to take them from."""
    uv = project.get("tool", {}).get("uv", {})
    for index in uv.get("index", []):
        if not index.get("explicit"):
            lines.option(f"{'--default-index' if index.get('default') else '--index'} {index.get('url', '')}")
    sources = {_plain(name): source for name, source in uv.get("sources", {}).items()}
    for line in requirements:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            lines.note(f"“{line}” can't be understood and is left out")
            continue
        source = sources.get(_plain(requirement.name))
        lines.add(_from_source(requirement, source) if isinstance(source, dict) else line, base)


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _from_source(requirement: Requirement, source: Mapping[str, Any]) -> str:
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    marker = f" ; {requirement.marker}" if requirement.marker else ""
    if git := source.get("git"):
        at = next((f"@{source[key]}" for key in ("rev", "tag", "branch") if key in source), "")
        below = f"#subdirectory={source['subdirectory']}" if "subdirectory" in source else ""
        return f"{requirement.name}{extras} @ git+{git}{at}{below}{marker}"
    if url := source.get("url"):
        return f"{requirement.name}{extras} @ {url}{marker}"
    if path := source.get("path"):
        return f"{'-e ' if source.get('editable') else ''}./{path}{extras}"
    return str(requirement)


def _uv_lock(file: Path, lines: Lines) -> None:
    project = file.with_name("pyproject.toml")
    changed = tuple(f.stat().st_mtime_ns if f.exists() else 0 for f in (file, project))
    said, failed = _export(file.parent, changed)
    if failed:
        lines.note(f"uv.lock can't be read ({failed}): pyproject.toml is taken instead")
        return _pyproject(project, lines)
    uv = _read_toml(project).get("tool", {}).get("uv", {}) if project.exists() else {}
    _add_all([], {"tool": {"uv": {"index": uv.get("index", [])}}}, file.parent, lines)
    for line in said.splitlines():
        lines.add(line, file.parent)


@functools.lru_cache(maxsize=8)
def _export(folder: Path, changed: tuple[int, ...]) -> tuple[str, str]:
    """Return the requirements in a ``uv.lock``, and why there are none."""
    import uv

    command = [
        uv.find_uv_bin(),
        "export",
        "--frozen",
        "--offline",
        "--no-hashes",
        "--no-header",
        "--no-annotate",
    ]
    try:
        done = subprocess.run(
            [*command, "--no-emit-project", "--quiet", "--directory", str(folder)],
            capture_output=True,
            text=True,
            timeout=_EXPORT_LIMIT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as e:
        return "", str(e)
    return (done.stdout, "") if done.returncode == 0 else ("", " ".join(done.stderr.split())[-300:])


def _pylock(file: Path, lines: Lines) -> None:
    for package in _read_toml(file).get("packages", []):
        name, marker = package["name"], package.get("marker", "")
        if vcs := package.get("vcs"):
            target = f"{name} @ {vcs['type']}+{vcs.get('url', '')}@{vcs['commit-id']}"
        elif folder := package.get("directory"):
            lines.add(f"{'-e ' if folder.get('editable') else ''}./{folder['path']}", file.parent)
            continue
        elif archive := package.get("archive"):
            target = f"{name} @ {archive['url']}" if "url" in archive else f"./{archive['path']}"
        else:
            target = f"{name}=={package['version']}" if "version" in package else name
        lines.add(f"{target} ; {marker}" if marker else target, file.parent)


def _requirements(file: Path, lines: Lines) -> None:
    constraints: list[str] = []
    for line in _included(file, set(), constraints):
        lines.add(line, file.parent)
    for line in constraints:
        name = _plain(re.split(r"[^\w.-]", line, maxsplit=1)[0])
        if name in lines:
            lines.add(line, file.parent)


def _included(file: Path, seen: set[Path], constraints: list[str]) -> list[str]:
    """Return the lines of a requirements file and of those that it includes."""
    if file.resolve() in seen:
        return []
    seen.add(file.resolve())
    found: list[str] = []
    for line in re.sub(r"\\\r?\n", " ", file.read_text("utf-8")).splitlines():
        line = re.sub(r"(^|\s)#.*", "", line).strip()
        if match := re.match(r"(-r|--requirement|-c|--constraint)[ =]*(\S+)", line):
            more = _included(file.parent / match[2], seen, constraints)
            (found if match[1] in ("-r", "--requirement") else constraints).extend(more)
        elif line:
            found.append(line)
    return found


def _conda(file: Path, lines: Lines) -> None:
    import yaml  # type: ignore[import-untyped,unused-ignore]

    try:
        content = yaml.safe_load(file.read_text("utf-8")) or {}
    except yaml.YAMLError as e:
        raise ValueError(" ".join(str(e).split())) from e
    wanted = content.get("dependencies") or [] if isinstance(content, dict) else []
    requirements, only_conda = from_conda(spec for spec in wanted if isinstance(spec, str))
    for line in requirements:
        lines.add(line, file.parent)
    for part in wanted:
        for line in part.get("pip") or [] if isinstance(part, dict) else []:
            if match := re.match(r"(-r|--requirement)[ =]*(\S+)", line):
                _requirements(file.parent / match[2], lines)
            else:
                lines.add(line, file.parent, replace=True)
    if only_conda:
        lines.note(
            f"only conda has {', '.join(only_conda)}: not installed; the machine's own or the wheels' will do"
        )


def _declares(file: Path) -> bool:
    """Return whether a ``pyproject.toml`` says what is needed; many only hold the settings of tools."""
    try:
        content = _read_toml(file)
    except (OSError, ValueError):
        return True  # so that somebody says what is wrong with it
    return bool(
        content.get("project", {}).get("dependencies") or content.get("dependency-groups", {}).get("dev")
    )


def _pyproject(file: Path, lines: Lines) -> None:
    content = _read_toml(file)
    project = content.get("project", {})
    _check_python(str(project.get("requires-python", "")), lines)
    # uv and others install the group "dev" with a project, too
    groups = content.get("dependency-groups", {})
    _add_all([*project.get("dependencies", []), *_group(groups, "dev", set())], content, file.parent, lines)


def _group(groups: Mapping[str, Any], name: str, seen: set[str]) -> list[str]:
    found: list[str] = []
    for item in groups.get(name, []) if name not in seen else []:
        more = (
            [item] if isinstance(item, str) else _group(groups, item.get("include-group", ""), seen | {name})
        )
        found += more
    return found


_READERS: dict[str, Callable[[Path, Lines], None]] = {
    "uv.lock": _uv_lock,
    "pylock.toml": _pylock,
    "requirements.lock": _requirements,
    "requirements.txt": _requirements,
    "environment.yml": _conda,
    "environment.yaml": _conda,
    "pyproject.toml": _pyproject,
}

_ENDINGS = {
    ".txt": _requirements,
    ".lock": _requirements,
    ".in": _requirements,
    ".yml": _conda,
    ".yaml": _conda,
}
