"""What a notebook needs installed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import uv

from jupyter_gpu_remote.environment import Needs, Row, compare, needs, versions_here
from jupyter_gpu_remote.environment.installed import Here
from jupyter_gpu_remote.errors import ConfigurationError

PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"


class Site:
    """A folder with packages, made by hand, that this Python finds first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(
        self, name: str, version: str, *files: str, requires: tuple[str, ...] = (), origin: Any = None
    ) -> Path:
        info = self.folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        head = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {r}" for r in requires)]
        (info / "METADATA").write_text("\n".join(head) + "\n\nRequires-Dist: what-the-readme-says\n")
        for file in files:
            (self.folder / file).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / file).touch()
        (info / "RECORD").write_text("".join(f"{file},,\n" for file in files))
        if origin:
            (info / "direct_url.json").write_text(json.dumps(origin))
        return info


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    folder = tmp_path / "lib" / "site-packages"
    folder.mkdir(parents=True)
    monkeypatch.syspath_prepend(str(folder))
    return Site(folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "repo" / "notebooks"
    (folder.parent / ".git").mkdir(parents=True)
    folder.mkdir()
    return folder


def lines(folder: Path, *cells: str, env: str = "auto") -> list[str]:
    return list(needs(folder, cells, env).requirements)


# -- what is imported -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cell",
    [
        "import abc_tool",
        "import abc_tool.inner as t, os",
        "from abc_tool import thing",
        "def f():\n    import abc_tool",
        "%%remote --gpu A100\n%%time\nimport abc_tool",
        "%matplotlib -l\nx = !ls\nimport abc_tool",
        "await something()\nimport abc_tool",
        "try:\n    import abc_tool\nexcept ImportError:\n    abc_tool = None",
        "import importlib\nimportlib.import_module('abc_tool')",
        "class A:\n    if True:\n        import abc_tool",
        "%%capture out\nimport abc_tool",
        "abc?\nimport abc_tool",
    ],
)
def test_what_is_imported_is_needed_in_the_version_that_is_here(site: Site, folder: Path, cell: str) -> None:
    site.add("abc-dist", "1.5", "abc_tool/__init__.py", "abc_tool/inner.py")
    assert "abc-dist==1.5" in lines(folder, cell)


@pytest.mark.parametrize(
    "cell",
    [
        "import os, sys, json.decoder",
        "from __future__ import annotations",
        "import IPython, ipywidgets, jupyter_gpu_remote",
        "try:\n    import xyz_missing\nexcept ImportError:\n    pass",
        "import contextlib\nwith contextlib.suppress(ImportError):\n    import xyz_missing",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import xyz_missing",
        "%%html\nimport xyz_missing",
        "text = '''\nimport xyz_missing\n'''",
        "this is not Python",
        "%%bash\necho import xyz_missing",
    ],
)
def test_what_is_there_anyway_or_may_be_missing_is_not_needed(folder: Path, cell: str) -> None:
    found = needs(folder, [cell])
    assert found.requirements == () and found.notes == ()


def test_a_package_is_found_by_a_name_that_is_not_its_own(site: Site, folder: Path) -> None:
    site.add("scikit-thing", "2", "skthing/__init__.py", "skthing/a/b.py")
    site.add("single", "3", "one_file.py")
    site.add("binary", "4", "fast.cpython-311-x86_64-linux-gnu.so")
    assert lines(folder, "import skthing.a.b, one_file, fast") == [
        "binary==4",
        "single==3",
        "scikit-thing==2",
    ]


def test_packages_that_share_a_namespace_are_told_apart(site: Site, folder: Path) -> None:
    site.add("acme-cloud-storage", "1", "acme/cloud/storage/__init__.py")
    site.add("acme-cloud-vision", "2", "acme/cloud/vision/__init__.py", "acme/cloud/vision/deep/x.py")
    assert lines(folder, "from acme.cloud import vision") == ["acme-cloud-vision==2"]


def test_a_module_of_the_folder_is_followed_and_not_installed(site: Site, folder: Path) -> None:
    site.add("far", "7", "far/__init__.py")
    site.add("helper", "9", "helper/__init__.py")
    (folder / "pkg").mkdir()
    (folder / "helper.py").write_text("from pkg import deep")
    (folder / "pkg" / "__init__.py").write_text("from . import deep")
    (folder / "pkg" / "deep.py").write_text("from .deeper import f")
    (folder / "pkg" / "deeper.py").write_text("def f():\n    import far, helper")
    assert lines(folder, "import helper") == ["far==7"]


def test_a_folder_of_data_does_not_hide_a_package(site: Site, folder: Path) -> None:
    site.add("datasets-dist", "1", "datasets/__init__.py")
    (folder / "datasets").mkdir()
    (folder / "datasets" / "a.csv").touch()
    assert lines(folder, "import datasets") == ["datasets-dist==1"]


@pytest.mark.parametrize("cell", ["!python train.py --fast", "%run train.py", "%%bash\npython train.py"])
def test_a_script_that_is_run_is_followed(site: Site, folder: Path, cell: str) -> None:
    site.add("far", "7", "far/__init__.py")
    (folder / "train.py").write_text("import far")
    assert lines(folder, cell) == ["far==7"]


def test_a_module_that_a_cell_writes_is_read_there_and_not_installed(site: Site, folder: Path) -> None:
    site.add("far", "7", "far/__init__.py")
    found = needs(folder, ["%%writefile lib/mine.py\nimport far", "import mine\nfrom lib import mine"])
    assert found.requirements == ("far==7",) and found.notes == ()


def test_modules_that_import_each_other_end(folder: Path) -> None:
    (folder / "one_m.py").write_text("import two_m")
    (folder / "two_m.py").write_text("import one_m")
    assert lines(folder, "import one_m") == []


def test_a_package_that_is_not_here_is_added_if_its_name_is_known(folder: Path, site: Site) -> None:
    found = needs(folder, ["import vllm"])
    assert found.requirements == ("vllm",) and "not installed here" in found.notes[0]


def test_no_stranger_of_an_unknown_name_is_installed(folder: Path) -> None:
    found = needs(folder, ["import xyz_missing"])
    assert found.requirements == () and "%pip install" in found.notes[0] and "xyz_missing" in found.notes[0]


# -- how it was installed ---------------------------------------------------------------------------


def test_a_git_installation_stays_at_its_commit(site: Site, folder: Path) -> None:
    vcs = {"vcs": "git", "commit_id": "abc123", "requested_revision": "main"}
    site.add("gitty", "0.1", "gitty.py", origin={"url": "https://git.example/x.git", "vcs_info": vcs})
    assert lines(folder, "import gitty") == ["gitty @ git+https://git.example/x.git@abc123"]


@pytest.mark.parametrize("kind", ["pth", "finder"])
def test_an_editable_installation_inside_the_folder_becomes_a_path(
    site: Site, folder: Path, kind: str
) -> None:
    (folder / "libs" / "src" / "editlib").mkdir(parents=True)
    (folder / "libs" / "src" / "editlib" / "__init__.py").touch()
    origin = {"url": f"file://{folder}/libs", "dir_info": {"editable": True}}
    name = "_edit.pth" if kind == "pth" else "__editable___edit_finder.py"
    site.add("editable-lib", "0.1", name, origin=origin)
    source = folder / "libs" / "src"
    text = (
        f"{source}\n" if kind == "pth" else f"MAPPING: dict[str, str] = {{'editlib': '{source}/editlib'}}\n"
    )
    (site.folder / name).write_text(text)
    assert lines(folder, "import editlib") == ["-e ./libs"]


def test_an_editable_installation_elsewhere_is_named(site: Site, folder: Path, tmp_path: Path) -> None:
    origin = {"url": f"file://{tmp_path}/elsewhere", "dir_info": {"editable": True}}
    site.add("editable-lib", "0.1", "editlib.py", origin=origin)
    found = needs(folder, ["import editlib"])
    assert found.requirements == () and f"{tmp_path}/elsewhere" in found.notes[0]


def test_a_package_that_conda_built_is_taken_as_released(site: Site, folder: Path) -> None:
    site.add("built", "1.2", "built.py", origin={"url": "file:///croot/built_17/work", "dir_info": {}})
    assert lines(folder, "import built") == ["built==1.2"]


def test_the_machine_chooses_builds(site: Site, folder: Path) -> None:
    site.add("torch", "2.5.1+cu121", "torch/__init__.py")
    (folder / "requirements.txt").write_text(
        "--extra-index-url https://download.pytorch.org/whl/cu121\ntorch==2.5.1+cu121\ntriton==3.1\n"
        "nvidia-cublas-cu12==12.1.3.1\nnvidia-ml-py==12.0\n"
    )
    assert lines(folder) == ["torch==2.5.1", "nvidia-ml-py==12.0"]
    (folder / "requirements.txt").unlink()
    assert lines(folder, "import torch") == ["torch==2.5.1"]


# -- what cells install -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cell",
    [
        "%pip install -q xyz-dist",
        "!pip install xyz-dist > /dev/null 2>&1",
        "!uv pip install --python x xyz-dist",
        "! cd . && python -m pip install xyz-dist ; ls",
        "%%bash\npip3 install xyz-dist",
        "%%remote\n%pip install xyz-dist",
        "if True:\n    !pip install xyz-dist",
        "%conda install -y -c conda-forge xyz-dist",
        "%uv pip install xyz-dist",
    ],
)
def test_what_a_cell_installs_is_needed(folder: Path, cell: str) -> None:
    assert lines(folder, cell) == ["xyz-dist"]


def test_what_a_cell_installs_keeps_its_version(folder: Path) -> None:
    assert lines(folder, "%pip install 'abc[x,y]>=2,<3' git+https://git.example/a.git") == [
        "abc[x,y]<3,>=2",
        "git+https://git.example/a.git",
    ]


def test_what_a_cell_installs_is_of_the_version_that_it_got_here(site: Site, folder: Path) -> None:
    site.add("got", "3.1", "got.py")
    assert lines(folder, "%pip install got") == ["got==3.1"]
    assert lines(folder, "%pip install -U got") == ["got"]


def test_a_cell_that_installs_another_version_overrules_the_file(folder: Path) -> None:
    (folder / "requirements.txt").write_text("abc==1\nother\n")
    assert lines(folder, "%pip install abc==2", "%pip install other") == ["abc==2", "other"]


def test_a_cell_may_install_a_file_of_requirements(folder: Path) -> None:
    (folder / "more").write_text("x")
    (folder / "need.txt").write_text("abc==1\n")
    assert lines(folder, "%pip install -r need.txt") == ["abc==1"]


# -- what is declared -------------------------------------------------------------------------------

BLOCK = '# /// script\n# requires-python = ">=3.9"\n# dependencies = ["blockdep>=1"]\n# ///\n'


def test_the_first_that_declares_counts(folder: Path) -> None:
    found = []
    files = {
        "pyproject.toml": '[project]\nname="p"\nversion="1"\ndependencies=["from-pyproject"]\n',
        "environment.yml": "dependencies: [from-conda]\n",
        "requirements.txt": "from-requirements\n",
        "pylock.toml": '[[packages]]\nname="from-pylock"\nversion="1"\n',
    }
    for name, content in files.items():
        (folder / name).write_text(content)
        found += lines(folder)
    found += lines(folder, "x = 1", BLOCK)
    assert found == ["from-pyproject", "from-conda", "from-requirements", "from-pylock==1", "blockdep>=1"]


def test_the_nearest_file_counts_up_to_the_top_of_the_repository(folder: Path) -> None:
    (folder.parents[1] / "requirements.txt").write_text("outside\n")
    assert lines(folder) == []
    (folder.parent / "requirements.txt").write_text("above\n")
    assert lines(folder) == ["above"]
    (folder / "environment.yml").write_text("dependencies: [near]\n")
    assert lines(folder) == ["near"]


def test_a_pyproject_that_only_sets_up_tools_declares_nothing(folder: Path) -> None:
    (folder / "pyproject.toml").write_text("[tool.ruff]\nline-length = 100\n")
    assert needs(folder, []).source.startswith("packages installed here")


def test_what_is_imported_and_here_but_not_declared_is_added_and_said(site: Site, folder: Path) -> None:
    site.add("declared", "1", "declared.py", requires=("below>=1", "never; extra == 'x'"))
    site.add("below", "2", "below.py")
    site.add("forgotten", "3", "forgotten.py")
    (folder / "requirements.txt").write_text("declared\n")
    found = needs(folder, ["import declared, below, forgotten"])
    assert found.requirements == ("declared", "forgotten==3")
    assert "forgotten 3" in found.notes[0] and "requirements.txt" in found.notes[0]


def test_a_requirements_file_is_read_with_what_it_includes(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "requirements.txt").write_text(
        "-r sub/more.txt\n-c sub/limits.txt\n# nothing\nabc >= 1  # why\nhashed==1 \\\n    --hash=sha256:aa\n"
        "--index-url https://index.example/simple\nmarked; python_version < '4'\n-r requirements.txt\n"
    )
    (folder / "sub" / "more.txt").write_text("included\n")
    (folder / "sub" / "limits.txt").write_text("abc<5\nnot-asked-for<2\n")
    assert lines(folder) == [
        "--index-url https://index.example/simple",
        "included",
        "abc >= 1",
        "abc<5",
        "hashed==1",
        "marked; python_version < '4'",
    ]


def test_paths_are_those_of_the_folder_and_others_are_named(folder: Path) -> None:
    (folder.parent / "requirements.txt").write_text(
        "-e ./notebooks/lib[x]\n./other\nwhl @ file:///tmp/a.whl\n"
    )
    found = needs(folder, [])
    assert found.requirements == ("-e ./lib[x]",) and len(found.notes) == 2


def test_a_conda_file_is_taken_as_far_as_the_index_goes(folder: Path) -> None:
    (folder / "environment.yml").write_text(
        "channels: [x]\ndependencies:\n  - python=3.11\n  - pytorch=2.5.1=cuda_1\n\n"
        "  - conda-forge::numpy=1.26\n"
        "  - pandas>=2,<3\n  - cudatoolkit=11\n  - libgcc-ng\n  - scipy 1.11.4\n  - pip\n  - mkl\n"
        "  - pip:\n    - abc==1\n    - -e ./lib\n"
    )
    found = needs(folder, [])
    assert found.requirements == (
        "torch==2.5.1", "numpy==1.26.*", "pandas>=2,<3", "scipy==1.11.4", "abc==1", "-e ./lib",
    )  # fmt: skip
    assert found.notes[0].startswith("only conda has cudatoolkit, libgcc-ng, mkl")


def test_a_project_s_sources_and_groups_count(folder: Path) -> None:
    (folder / "pyproject.toml").write_text(
        '[project]\nname="p"\nversion="1"\ndependencies=["a>=1", "b[x]"]\n'
        '[dependency-groups]\ndev=["c", {include-group="more"}]\nmore=["d"]\n'
        '[tool.uv.sources]\nb={git="https://git.example/b", tag="v1"}\na={index="i"}\nd={path="lib"}\n'
        '[[tool.uv.index]]\nurl="https://index.example/simple"\n'
    )
    assert lines(folder) == [
        "--index https://index.example/simple",
        "a>=1",
        "b[x] @ git+https://git.example/b@v1",
        "c",
        "./lib",
    ]


def test_a_uv_lock_gives_the_versions_that_it_holds(folder: Path) -> None:
    (folder / "pyproject.toml").write_text(
        '[project]\nname="p"\nversion="0"\nrequires-python=">=3.10"\ndependencies=["sub"]\n'
        '[tool.uv.sources]\nsub={path="sub", editable=true}\n'
    )
    (folder / "sub").mkdir()
    (folder / "sub" / "pyproject.toml").write_text('[project]\nname="sub"\nversion="1"\n')
    subprocess.run([uv.find_uv_bin(), "lock", "-q", "--offline", "--directory", folder], check=True)
    found = needs(folder, [])
    assert found.requirements == ("-e ./sub",) and found.source == "uv.lock"


def test_a_broken_uv_lock_is_named_and_the_project_is_taken(folder: Path) -> None:
    (folder / "pyproject.toml").write_text('[project]\nname="p"\nversion="0"\ndependencies=["abc"]\n')
    (folder / "uv.lock").write_text("version = 1\nnonsense")
    found = needs(folder, [])
    assert found.requirements == ("abc",) and "uv.lock can't be read" in found.notes[0]


def test_a_file_that_is_named_is_all_that_counts(site: Site, folder: Path) -> None:
    site.add("forgotten", "3", "forgotten.py")
    (folder / "requirements.txt").write_text("abc\n")
    (folder / "gpu.txt").write_text("only-this\n")
    assert lines(folder, "import forgotten", env="gpu.txt") == ["only-this"]
    assert lines(folder, "import forgotten", env="none") == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("pyproject.toml", "[project\n"),
        ("environment.yml", "dependencies: [a\n"),
        ("environment.yml", "dependencies: 3\n"),
        ("pylock.toml", "[[packages]]\nversion='1'\n"),
        ("requirements.txt", "-r missing.txt\n"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_the_way_on(folder: Path, name: str, content: str) -> None:
    (folder / name).write_text(content)
    with pytest.raises(ConfigurationError, match=name) as caught:
        needs(folder, [])
    assert "--env none" in caught.value.hint


@pytest.mark.parametrize("env", ["nothing.txt", "train.csv"])
def test_a_file_that_is_none_is_refused(folder: Path, env: str) -> None:
    (folder / "train.csv").touch()
    with pytest.raises(ConfigurationError, match=env):
        needs(folder, [], env)


def test_another_python_that_is_asked_for_is_noted(folder: Path) -> None:
    cell = '# /// script\n# requires-python = "<3.9"\n# dependencies = []\n# ///'
    found = needs(folder, [cell])
    assert found.python == PYTHON and "<3.9" in found.notes[0]


# -- the key, and what can be imported --------------------------------------------------------------


def test_the_key_is_that_of_what_is_installed(folder: Path) -> None:
    (folder / "requirements.txt").write_text("abc\n")
    before = needs(folder, []).key
    assert needs(folder, ["x = 1", "import os"]).key == before
    (folder / "requirements.txt").write_text("abc==2\n")
    assert needs(folder, []).key != before
    assert Needs(("abc",), "3.10").key != Needs(("abc",), "3.11").key


def test_what_can_be_imported_is_told_if_all_of_it_is_known(site: Site, folder: Path) -> None:
    site.add("top", "1", "top_m.py", requires=("low",))
    site.add("low", "1", "low_m/__init__.py", "acme/low/__init__.py")
    assert needs(folder, ["import top_m"]).modules == ("acme", "low_m", "top_m")
    assert needs(folder, ["import top_m", "%pip install unknown-here"]).modules == ()
    other_system = "%pip install 'unknown-here; sys_platform == \"none\"'"
    assert needs(folder, ["import top_m", other_system]).modules == ("acme", "low_m", "top_m")


def test_the_packages_that_are_asked_for_are_named(folder: Path) -> None:
    (folder / "requirements.txt").write_text("--pre\nAbc_d[x]>=1; python_version > '3'\n-e ./lib\n")
    assert needs(folder, []).names == ("abc-d",)


def test_the_versions_of_this_side_are_those_that_can_be_imported(site: Site) -> None:
    site.add("some-dist", "1.5", "some_m.py")
    assert versions_here()["some-dist"] == "1.5" and versions_here()["pytest"] == pytest.__version__


def test_a_package_installed_meanwhile_is_noticed(site: Site, folder: Path) -> None:
    assert lines(folder, "import later_m") == []
    site.add("later", "1", "later_m.py")
    assert lines(folder, "import later_m") == ["later==1"]


def test_the_packages_of_this_python_are_found_as_importlib_finds_them() -> None:
    import importlib.metadata

    here = Here()
    for module, names in importlib.metadata.packages_distributions().items():
        regular = [name for name in names if importlib.metadata.distribution(name).read_text("RECORD")]
        if module.isidentifier() and len(regular) == 1 and not module.startswith("_"):
            found = {package.name for package in here.owners(module)} or {
                package.name
                for name, package in here.packages.items()
                if any(m.startswith(f"{module}.") for m in package.modules)
            }
            assert regular[0].lower().replace("_", "-").replace(".", "-") in found, module


# -- both sides -------------------------------------------------------------------------------------


def test_versions_of_both_sides_stand_side_by_side() -> None:
    rows = compare(
        {"Numpy": "2.0", "torch": "2.5.1+cpu", "here": "1", "scipy": "1"},
        {"numpy": "2.0", "torch": "2.5.1+cu124", "scipy": "2", "there_only": "1"},
        ["numpy", "torch", "here", "scipy", "there-only", "nowhere"],
    )
    assert [(row, row.remark) for row in rows] == [
        (Row("here", "1", ""), "only here"),
        (Row("scipy", "1", "2"), "differs"),
        (Row("there-only", "", "1"), "only there"),
        (Row("torch", "2.5.1+cpu", "2.5.1+cu124"), "other build"),
        (Row("numpy", "2.0", "2.0"), ""),
    ]
