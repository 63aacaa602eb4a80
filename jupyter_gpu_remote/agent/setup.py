"""Set up a machine from nothing but a Python 3: the agent's files, uv, an environment, the agent itself.

Run as ``python3 -I -c SOURCE JSON`` with bytes on standard input where a step needs them. It runs on the
machine's own Python, so it keeps to what Python 3.7 knows. Prints one JSON object.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"
import contextlib
import fcntl
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
OLDEST = (3, 10)
"""The oldest Python that the agent runs on."""


def place(kind, name):
    """Return where the agent's files, or an environment, of that name lie."""
    return os.path.join(ROOT, kind, name)


def has_files(options):
    """Return whether all of the agent's files are there and whole."""
    folder = place("agent", options["bundle"])
    try:
        return all(os.path.getsize(os.path.join(folder, f)) == size for f, size in options["files"].items())
    except OSError:
        return False


def environment(options):
    """Return the Python of the environment."""
    return os.path.join(place("env", options["environment"]), "bin", "python")


def has_uv():
    """Return whether there is a uv that runs."""
    try:
        subprocess.run([place("bin", "uv"), "--version"], check=True, stdout=subprocess.DEVNULL, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def state():
    """Return the folder of the agent of this host: a home may be shared by many."""
    return place("host", platform.node() or "unnamed")


def start(options):
    """Start the agent if all it needs is there; tell what is missing otherwise."""
    python = options["python"] or environment(options)
    missing = [] if has_files(options) else ["bundle"]
    if not os.path.exists(python):
        missing += ["environment"] if has_uv() else ["environment", "uv"]
    result = {
        "home": os.path.expanduser("~"),
        "python": python,
        "system": platform.system(),
        "architecture": platform.machine(),
        "libc": platform.libc_ver()[0],
        "state": state(),
        "missing": missing,
    }
    if missing:
        return result
    os.makedirs(state(), mode=0o700, exist_ok=True)
    policy = os.path.join(state(), "policy.json")
    with open("%s.%d" % (policy, os.getpid()), "w") as file:
        json.dump(options["policy"], file)
    os.replace(file.name, policy)
    run = subprocess.run(
        [python, "-m", "jupyter_gpu_remote.agent", state(), options["version"]],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=place("agent", options["bundle"]),
        timeout=70,
    )
    if run.returncode:
        result["step"] = "start"
        result["error"] = run.stderr.decode("utf-8", "replace")[-2000:] or "exit %d" % run.returncode
    else:
        result["agent"] = json.loads(run.stdout.decode())
    return result


@contextlib.contextmanager
def alone(target):
    """Make something at the path that is given here, which then becomes `target`; one process at a time."""
    os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
    with open(os.path.join(ROOT, "setting-up"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        new = target + ".new"
        remove(new)  # of one that was killed
        try:
            yield new
            if os.path.exists(new):
                remove(target)  # broken, or it would not be made again
                os.rename(new, target)
        finally:
            remove(new)


def remove(path):
    """Delete a file or a folder, if there is one."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def copy(options):
    """Unpack the agent's files and uv from standard input: a tar of so many bytes, then a gzipped program."""
    archive = sys.stdin.buffer.read(options["archive"])
    if archive:
        with alone(place("agent", options["bundle"])) as new:
            if not has_files(options):
                with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as files:
                    files.extractall(new)
    if sys.stdin.buffer.peek(1):  # type: ignore[union-attr]
        with alone(place("bin", "uv")) as new:
            with open(new, "wb") as file, gzip.GzipFile(fileobj=sys.stdin.buffer) as source:
                shutil.copyfileobj(source, file, 1 << 20)
            os.chmod(new, 0o700)
    return {}


def build(options):
    """Build the environment with uv, which says how on standard error; then start the agent."""
    with alone(place("env", options["environment"])) as new:
        if not os.path.exists(environment(options)):  # or somebody else was first
            try:
                failed = make_environment(place("bin", "uv"), new, options)
            except BaseException:
                remove(new)
                raise
            if failed:
                return failed
    # what is imported for the first time is compiled, half of the time in which a kernel starts: beside the
    # agent that can be done with what the kernel imports last
    subprocess.Popen(
        [environment(options), "-I", "-c", "import IPython, debugpy.server"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
    )
    return start(options)


def make_environment(tool, new, options):
    """Build the environment at `new`; nothing is left there when that fails."""
    # certificates of the system: a machine behind a company's proxy knows that proxy's
    env = dict(os.environ, UV_SYSTEM_CERTS="1", UV_NATIVE_TLS="1", UV_NO_PROGRESS="1")
    # uv looks for an interpreter that fits, and fetches one where there is none; where it can't, or need not,
    # the machine's own will do
    own = [sys.executable] if sys.version_info >= OLDEST else []
    fits = "%d.%d" % sys.version_info[:2] == options["interpreter"]
    choices = own + [options["interpreter"]] if fits else [options["interpreter"]] + own
    for choice in choices:
        made = subprocess.run([tool, "venv", "--relocatable", "--clear", "--python", choice, new], env=env)
        if made.returncode == 0:
            break
    else:
        remove(new)
        if len(choices) > 1:
            return {"error": "uv could not make an environment"}
        names = (options["interpreter"], "%d.%d" % sys.version_info[:2], "%d.%d" % OLDEST)
        return {"error": "Python %s can't be fetched; the machine's own is %s, and %s is needed" % names}
    python = os.path.join(new, "bin", "python")
    install = [tool, "pip", "install", "--python", python] + options["requirements"]
    # what is in uv's cache is good enough: to ask the index for newer ones takes a second
    silent = subprocess.DEVNULL
    cached = subprocess.run(install + ["--offline"], env=env, stdout=silent, stderr=silent).returncode == 0
    if not cached and subprocess.run(install, env=env).returncode:
        remove(new)
        return {"error": "uv could not install " + ", ".join(options["requirements"])}
    return {}


STEPS = {"start": start, "copy": copy, "build": build}

if __name__ == "__main__":
    os.umask(0o077)
    given = json.loads(sys.argv[1])
    try:
        answer = STEPS[given.pop("step")](given)
    except (OSError, EOFError, subprocess.SubprocessError, tarfile.TarError, zlib.error) as e:
        answer = {"error": str(e) or type(e).__name__}
    print("\n" + json.dumps(answer))
