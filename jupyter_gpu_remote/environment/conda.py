"""What a conda environment file asks for, as packages of the Python index."""

from __future__ import annotations

import re
from collections.abc import Iterable

_OTHER_NAMES = {
    "blosc": "",
    "brotli-python": "brotli",
    "dask-core": "dask",
    "faiss": "faiss-cpu",
    "graphviz": "",
    "importlib_metadata": "importlib-metadata",
    "jupyter_client": "jupyter-client",
    "matplotlib-base": "matplotlib",
    "msgpack-python": "msgpack",
    "opencv": "opencv-python-headless",
    "py-opencv": "opencv-python-headless",
    "py-xgboost": "xgboost",
    "py-xgboost-gpu": "xgboost",
    "pyarrow-core": "pyarrow",
    "pytables": "tables",
    "pytorch": "torch",
    "pytorch-gpu": "torch",
    "pytorch-cpu": "torch",
    "pytorch-lightning": "pytorch-lightning",
    "python-graphviz": "graphviz",
    "python-kaleido": "kaleido",
    "ruamel_yaml": "ruamel.yaml",
    "seaborn-base": "seaborn",
    "tensorflow-base": "tensorflow",
    "tensorflow-gpu": "tensorflow",
    "xarray-core": "xarray",
}
"""Where conda and the index differ; empty for what only has its name from there."""
_NOT_PYTHON = re.compile(
    r"_|lib(?!rosa|sass|tmux|cst|clang$)|(gcc|gxx|gfortran|binutils|ld_impl|sysroot|compilers?|clang|llvm-openmp)\b"
    r"|(cuda|cudatoolkit|cudnn|nccl|pytorch-cuda|pytorch-mutex|blas|openblas|mkl|intel-openmp|nomkl|tbb)(-|$)"
    r"|(cmake|make|ninja|git|curl|wget|ffmpeg|openssl|ca-certificates|sqlite|zlib|bzip2|xz|tk|readline|ncurses"
    r"|nodejs|openjdk|r|r-.*|perl|rust|go|hdf5|netcdf4-c|gdal|geos|proj|openmpi|mpich|swig|pkg-config|texlive.*"
    r"|zstd|lz4-c|freetype|boost.*|eigen|icu|cairo|pango|python_abi|tzdata)$"
)
_PYTHON_ITSELF = {"python", "pip", "setuptools", "wheel", "conda", "mamba"}
_SPEC = re.compile(r"(?:[\w./:-]+::)?([A-Za-z0-9_.-]+)\s*(.*)")

_EXACT = re.compile(r"(={0,2})\s*(\d[\w.!]*?)(\.?\*)?(?:[\s=]+([\w.*]+))?")
_RANGE = re.compile(r"(\s*(>=|<=|>|<|!=|~=)\s*[\w.*]+\s*,?)+")


def from_conda(specs: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return what conda specs are as requirements, and the names of those that only conda has."""
    found, only_conda = [], []
    for spec in specs:
        match = _SPEC.fullmatch(re.sub(r"\s*(#|\[).*", "", spec).strip().strip("\"'"))
        if match is None or (name := match[1].lower()) in _PYTHON_ITSELF:
            continue
        other = _OTHER_NAMES.get(name, name)
        if not other or (name not in _OTHER_NAMES and _NOT_PYTHON.match(name)):
            only_conda.append(name)
        else:
            found.append(other + _version(match[2]))
    return found, only_conda


def _version(text: str) -> str:
    """Return conda's ``=1.2`` or ``>=1,<2``, perhaps with a build after it, as a specifier."""
    text = text.strip()
    if match := _EXACT.fullmatch(text):
        sign, version, star, build = match.groups()
        return f"=={version}" + (".*" if star or (sign == "=" and not build) else "")
    return text.replace(" ", "") if _RANGE.fullmatch(text) else ""
