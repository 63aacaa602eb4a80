"""The kernel "Python (remote GPU)", through Jupyter's own test of kernels and as a frontend sees it."""

from __future__ import annotations

import tempfile

import jupyter_kernel_test
import pytest

from tests.notebooks import delete_all_machines


class TestRelayKernel(jupyter_kernel_test.KernelTests):
    """Jupyter's conformance test."""

    kernel_name = "gpu-remote"
    language_name = "python"
    file_extension = ".py"
    code_hello_world = "print('hello, world')"
    code_stderr = "import sys; print('test', file=sys.stderr)"
    completion_samples = [{"text": "zi", "matches": {"zip"}}]
    complete_code_samples = ["1", "print('hello, world')", "def f(x):\n  return x*2\n\n"]
    incomplete_code_samples = ["print('''hello", "def f(x):\n  x*2"]
    invalid_code_samples = ["import = 7q"]
    code_page_something = "zip?"
    code_generate_error = "raise ValueError('no')"
    code_execute_result = [{"code": "1+2+3", "result": "6"}]
    code_display_data = [
        {"code": "from IPython.display import HTML, display; display(HTML('<b>x</b>'))", "mime": "text/html"}
    ]
    code_history_pattern = "1?2*"
    # no "range": IPython itself answers one of the running session under the session number 0
    supported_history_operations = ("tail", "search")
    code_inspect_sample = "zip"
    code_clear_output = "from IPython.display import clear_output; clear_output()"

    @classmethod
    def setUpClass(cls) -> None:
        cls.patch = pytest.MonkeyPatch()
        cls.folder = tempfile.TemporaryDirectory()
        cls.patch.setenv("JUPYTER_GPU_REMOTE_DIR", f"{cls.folder.name}/state")
        cls.patch.chdir(cls.folder.name)
        super().setUpClass()
        cls.kc.execute_interactive("pass", timeout=60)  # until then, outputs tell of the launch

    @classmethod
    def tearDownClass(cls) -> None:
        super().tearDownClass()
        cls.patch.setenv("JUPYTER_GPU_REMOTE_DIR", f"{cls.folder.name}/state")
        delete_all_machines()
        cls.patch.undo()
        cls.folder.cleanup()
