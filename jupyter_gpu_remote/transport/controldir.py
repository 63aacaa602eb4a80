"""Where the sockets of shared SSH connections lie."""

from __future__ import annotations

import os
import re
import stat
import tempfile
from pathlib import Path

from ..errors import TransportError

# OpenSSH binds a temporary name 17 bytes longer than ours; 104 bytes is the shortest sun_path there is.
_NAME_MAX = 32
_FOLDER_MAX = 104 - 1 - 17 - 1 - _NAME_MAX
PLAIN_PATH = re.compile(r"/[\w./+,@=-]{1,100}")
"""What ssh neither expands nor splits."""


def control_dir() -> Path:
    """Return the private folder of the control sockets, created on first use.

    Raises:
        TransportError: It exists and others could use it.
    """
    uid = os.geteuid()
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    folders = [Path(runtime, "gpu-remote")] if runtime else []
    folders += [Path(tempfile.gettempdir(), f"gpu-remote-{uid}"), Path(f"/tmp/gpu-remote-{uid}")]
    for folder in folders:
        if len(os.fsencode(folder)) > _FOLDER_MAX or not PLAIN_PATH.fullmatch(str(folder)):
            continue
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            info = folder.lstat()
        except OSError:
            continue
        if not stat.S_ISDIR(info.st_mode) or info.st_uid != uid or info.st_mode & 0o077:
            raise TransportError(
                f"{folder} is not a private folder of this user, so SSH connections cannot be kept there.",
                hint=f"Look who made it, then remove it: rm -r {folder}",
            )
        return folder
    raise TransportError(
        "There is no folder for SSH control sockets: tried " + ", ".join(map(str, folders)) + ".",
        hint="Set XDG_RUNTIME_DIR to a short path that only you can use.",
    )
