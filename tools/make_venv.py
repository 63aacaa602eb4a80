"""Make a virtual environment with pip in it, also where Python comes without ensurepip (bare Debian).

Runs on whatever `python3` there is, so this file keeps to syntax that an old one can read.
"""

import os
import shutil
import subprocess
import sys

OLDEST = (3, 10)


def works(*command):
    """Return whether `command` runs and exits with 0, whatever it prints."""
    try:
        return subprocess.call(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0
    except OSError:
        return False


def newer_python():
    """Return a new enough Python on PATH, or None."""
    for minor in range(14, OLDEST[1] - 1, -1):
        path = shutil.which("python3.%d" % minor)
        if path and works(path, "-c", ""):
            return path
    return None


def ways(target):
    """Yield the ways to make it, each a list of commands, the plainest first."""
    this = sys.executable
    if works(this, "-m", "ensurepip", "--version"):
        yield [[this, "-m", "venv", target]]
    if works(this, "-m", "virtualenv", "--version"):
        yield [[this, "-m", "virtualenv", "--quiet", target]]
    if works(this, "-m", "pip", "--version"):
        python = os.path.join(target, "bin", "python")
        yield [
            [this, "-m", "venv", "--without-pip", target],
            [this, "-m", "pip", "--quiet", "--python", python, "install", "pip"],
        ]
    # after pip: uv does not read its configuration
    if shutil.which("uv"):
        yield [["uv", "venv", "--seed", "--quiet", "--python", this, target]]
    if os.geteuid() == 0 and shutil.which("apt-get") and this.startswith("/usr/bin/"):
        yield [
            ["apt-get", "-qq", "update"],
            ["apt-get", "-qq", "install", "--yes", "python%d.%d-venv" % sys.version_info[:2]],
            [this, "-m", "venv", target],
        ]


def main(target):
    """Make `target`; exit with a sentence that says what to do when it can't be."""
    if sys.version_info < OLDEST:
        newer = newer_python()
        if newer is None:
            sys.exit(
                "Python 3.10 or newer is needed; this is %s (%s). Next: make PYTHON=/path/to/python3"
                % (sys.version.split()[0], sys.executable)
            )
        os.execv(newer, [newer] + sys.argv)
    if works(os.path.join(target, "bin", "python"), "-m", "pip", "--version"):
        return
    for commands in ways(target):
        shutil.rmtree(target, ignore_errors=True)
        if all(subprocess.call(command) == 0 for command in commands):
            return
    sys.exit(
        "%s cannot make a virtual environment: it has neither ensurepip, virtualenv nor a recent pip, and "
        "there is no uv on PATH. Next: install python3-venv (Debian, Ubuntu), or put uv on PATH, or "
        "make PYTHON=/another/python3" % sys.executable
    )


if __name__ == "__main__":
    main(sys.argv[1])
