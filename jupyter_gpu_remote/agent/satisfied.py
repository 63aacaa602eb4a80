"""Tell whether a Python has what a notebook needs: run by that Python, ``python satisfied.py REQUIREMENTS``.

`packaging` is there: ipykernel needs it.
"""

from __future__ import annotations

import sys

del sys.path[0]  # this file's folder

import importlib.metadata  # noqa: E402
import json  # noqa: E402
from collections.abc import Iterable  # noqa: E402

from packaging.requirements import InvalidRequirement, Requirement  # noqa: E402


def are_met(lines: Iterable[str]) -> bool:
    """Return whether each line is met, with what its extras bring; options are passed over."""
    todo = [(line, "") for line in lines if not line.startswith("--")]
    seen = set()
    while todo:
        line, extra = todo.pop()
        if (line, extra) in seen:
            continue
        seen.add((line, extra))
        try:
            wanted = Requirement(line)
            if wanted.marker and not wanted.marker.evaluate({"extra": extra}):
                continue
            found = importlib.metadata.distribution(wanted.name)
        except (InvalidRequirement, importlib.metadata.PackageNotFoundError):
            return False
        if not wanted.specifier.contains(found.version, prereleases=True):
            return False
        if wanted.url and not _is_from(found, wanted.url):
            return False
        todo += [
            (needed, name) for name in wanted.extras for needed in found.requires or () if "extra" in needed
        ]
    return True


def _is_from(found: importlib.metadata.Distribution, url: str) -> bool:
    origin = json.loads(found.read_text("direct_url.json") or "{}")
    if vcs := origin.get("vcs_info"):
        known = f"{vcs['vcs']}+{origin['url']}@{vcs['commit_id']}"
        return url.partition("#")[0] == known
    return bool(origin.get("url") == url)


if __name__ == "__main__":
    print(json.dumps(are_met(json.loads(sys.argv[1]))))
