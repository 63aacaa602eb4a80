"""Names that have to be known."""

from __future__ import annotations

KERNEL_S_OWN = frozenset({
    "comm", "debugpy", "ipykernel", "ipython", "ipywidgets", "jupyter-client", "jupyter-core",
    "jupyter-gpu-remote", "pip", "setuptools", "traitlets", "uv", "wheel",
})  # fmt: skip
"""Packages that every kernel over there has, or can do without."""

FOR_NAMES = {"remote_client": ("distributed", "cryptography")}
"""Modules that a name needs which kernels over there have from the start."""

_LIKE_THEIR_MODULES = (
    "accelerate", "cryptography", "datasets", "diffusers", "distributed", "einops", "flax", "jax", "keras",
    "lightgbm", "lightning", "matplotlib", "numba", "numpy", "optax", "pandas", "plotly", "polars",
    "pyarrow", "ray", "requests", "safetensors", "scipy", "seaborn", "sentence_transformers", "statsmodels",
    "tensorflow", "timm", "tokenizers", "torch", "torchaudio", "torchvision", "tqdm", "transformers",
    "triton", "vllm", "xgboost",
)  # fmt: skip
KNOWN = {
    "PIL": "pillow",
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python-headless",
    "dateutil": "python-dateutil",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
    **{name: name for name in _LIKE_THEIR_MODULES},
}
"""Packages by module that are installed over there although they aren't here; of any other module the
package may be a stranger's."""

TAKE_VALUES = frozenset({
    "-c", "-n", "-p", "-t", "--abi", "--cache-dir", "--channel", "--implementation", "--log", "--name",
    "--platform", "--prefix", "--progress-bar", "--proxy", "--python", "--python-version", "--report",
    "--retries", "--root", "--src", "--target", "--timeout", "--trusted-host", "--upgrade-strategy",
})  # fmt: skip
"""Options of pip and conda whose value is no package."""
