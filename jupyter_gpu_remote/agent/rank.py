"""One process of a launch: runs a script as its main module, and ends with the process that started it."""

import ctypes
import os
import signal
import sys

ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
sys.argv = sys.argv[1:]
sys.path[0] = os.getcwd()  # noqa: PTH109  # Path is the script's to import
__file__ = sys.argv[0]
del ctypes, os, signal
with open(__file__, encoding="utf-8") as _script:  # noqa: PTH123
    _code = compile(_script.read(), __file__, "exec")
exec(_code)
