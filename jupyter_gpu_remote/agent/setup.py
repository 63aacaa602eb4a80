"""Set up a machine from nothing but a Python 3: the agent's files, uv, an environment, the agent itself.

Run as ``python3 -I -c SOURCE JSON`` with bytes on standard input where a step needs them. It runs on the
machine's own Python, so it keeps to what Python 3.7 knows. Prints one JSON object.
"""

import gzip
import io
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import zlib

ROOT = os.path.expanduser("~/.gpu-remote")


def environment(key):
    """Return the Python of the environment called `key`."""
    return os.path.join(ROOT, "env", key, "bin", "python")


def start(options):
    """Start the agent if all it needs is there; tell what is missing otherwise."""
    bundle = os.path.join(ROOT, "agent", options["bundle"])
    python = options["python"] or environment(options["environment"])
    missing = [
        name
        for name, path in (("bundle", bundle), ("environment", python))
        if not os.path.exists(path)
    ]
    result = {
        "home": os.path.expanduser("~"),
        "python": python,
        "system": platform.system(),
        "architecture": platform.machine(),
        "libc": platform.libc_ver()[0],
        "version": list(sys.version_info[:3]),
        "missing": missing,
    }
    if not missing:
        with open(os.path.join(ROOT, "policy.json"), "w") as file:
            json.dump(options["policy"], file)
        run = subprocess.run(
            [python, "-m", "jupyter_gpu_remote.agent", ROOT, options["version"]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=bundle,
            timeout=60,
        )
        if run.returncode:
            result["error"] = run.stderr.decode("utf-8", "replace")[-2000:] or "exit %d" % run.returncode
        else:
            result["agent"] = json.loads(run.stdout.decode())
    return result


def bundle(options):
    """Unpack the agent's files from standard input."""
    target = os.path.join(ROOT, "agent", options["bundle"])
    new = "%s.%d" % (target, os.getpid())
    os.makedirs(new, mode=0o700)
    with tarfile.open(fileobj=io.BytesIO(sys.stdin.buffer.read()), mode="r:gz") as archive:
        archive.extractall(new)
    try:
        os.rename(new, target)
    except OSError:
        shutil.rmtree(new)  # somebody else was first
    return {}


def uv(options):
    """Write uv, gzipped on standard input."""
    folder = os.path.join(ROOT, "bin")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    new = os.path.join(folder, "uv.%d" % os.getpid())
    with open(new, "wb") as file:
        with gzip.GzipFile(fileobj=sys.stdin.buffer) as source:
            shutil.copyfileobj(source, file, 1 << 20)
    os.chmod(new, 0o700)
    os.rename(new, os.path.join(folder, "uv"))
    return {}


def build(options):
    """Build the environment with uv; its progress goes to standard error."""
    tool = os.path.join(ROOT, "bin", "uv")
    if not os.path.exists(tool):
        return {"missing": ["uv"]}
    target = os.path.join(ROOT, "env", options["environment"])
    new = "%s.%d" % (target, os.getpid())
    # certificates of the system: a machine behind a company's proxy knows that proxy's
    env = dict(os.environ, UV_SYSTEM_CERTS="1", UV_NATIVE_TLS="1", UV_NO_PROGRESS="1")
    wanted = options["interpreter"]
    # uv fetches an interpreter where there is none; if it can't, the machine's own will do
    for choice in (wanted, sys.executable):
        made = subprocess.run([tool, "venv", "--relocatable", "--clear", "--python", choice, new], env=env)
        if made.returncode == 0:
            break
    else:
        return {"error": "no Python %s can be had there" % wanted}
    install = [tool, "pip", "install", "--python", os.path.join(new, "bin", "python")]
    installed = subprocess.run(install + options["requirements"], env=env)
    if installed.returncode:
        shutil.rmtree(new, ignore_errors=True)
        return {"error": "uv could not install " + " ".join(options["requirements"])}
    try:
        os.rename(new, target)
    except OSError:
        shutil.rmtree(new)
    return {}


STEPS = {"start": start, "bundle": bundle, "uv": uv, "build": build}

if __name__ == "__main__":
    os.umask(0o077)
    given = json.loads(sys.argv[1])
    try:
        answer = STEPS[given.pop("step")](given)
    except (OSError, subprocess.SubprocessError, tarfile.TarError, zlib.error) as e:
        answer = {"error": str(e)}
    print(json.dumps(answer))
