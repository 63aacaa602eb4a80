"""Verbs that only a command line has, or has in another way than a notebook."""

from __future__ import annotations

import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
from concurrent import futures
from contextlib import suppress
from pathlib import Path

from .agent import wire
from .config import GpuRemote
from .errors import ConfigurationError
from .kernel import Message, RemoteKernel
from .model import GpuRequest
from .plain import plain_text
from .tables import table
from .transport.commands import ENDING
from .verbs import NAME, SHARED, Desk, Verbs, argument, there
from .verbs.attach import Replay
from .verbs.job import Job
from .verbs.jobs import job_of, number_of

SPEC = "gpu-remote"
_END_LIMIT = 5.0

VERBS = Verbs(dict(SHARED.known))
verb = VERBS.verb


@verb("Open a terminal on the machine, or run a command there in it.", NAME, command=True)
def ssh(desk: Desk, name: str, command: list[str]) -> int:
    """Become the ``ssh`` that logs in."""
    argv = there.ssh_command(desk.machine(name), command)
    if os.name != "posix" or shutil.which(argv[0]) is None:
        try:
            return subprocess.run(argv, check=False).returncode
        except FileNotFoundError as e:
            raise ConfigurationError(
                "There is no ssh on this computer.", hint=f"Use {desk.prog} exec, which needs none."
            ) from e
    sys.stdout.flush()
    os.execvp(argv[0], argv)


@verb(
    "Run a command on a machine; its exit code becomes ours.",
    argument("name", metavar="NAME", help="the machine"),
    command=True,
    name="exec",
)
def execute(desk: Desk, name: str, command: list[str]) -> int:
    """Run a command with our streams."""
    if not command:
        raise ConfigurationError(
            "There is no command.", hint=f"Write it after --: {desk.prog} exec {name} -- nvidia-smi"
        )
    sys.stdout.flush()
    with there.visit(desk, desk.machine(name)) as machine:
        process = machine.live.transport.popen(
            command,
            stdin=None if sys.stdin is None or sys.stdin.isatty() else sys.stdin.buffer,
            stdout=sys.stdout.buffer,
        )
        if sys.stdin is None or sys.stdin.isatty():
            process.stdin.close()
        errors = threading.Thread(
            target=shutil.copyfileobj, args=(process.stderr, sys.stderr.buffer), daemon=True
        )
        errors.start()
        try:
            code = process.wait()
        except BaseException:
            process.kill()
            for thread in threading.enumerate():
                if thread.name == ENDING:  # it must reach the machine before we are gone
                    thread.join(_END_LIMIT)
            raise
        errors.join(5)
    sys.stderr.flush()
    return code


class Terminal:
    """Prints what a cell puts out; keeps what it asks."""

    def __init__(self) -> None:
        self.questions: queue.SimpleQueue[Message] = queue.SimpleQueue()

    def message(self, message: Message) -> None:
        """Print a message."""
        if message.channel == wire.STDIN:
            self.questions.put(message)
        elif message.channel == wire.IOPUB:
            print(plain_text(message.type, message.content), end="", flush=True)

    def connection(self, text: str) -> None:
        """Print news about the connection."""
        if text:
            print(text, file=sys.stderr)


@verb(
    "Show a job, or the cell that runs over there or ran last; Ctrl-C leaves it running.",
    argument("name", nargs="?", default="", metavar="N|NAME", help="the job's number; else the machine"),
)
def attach(desk: Desk, name: str) -> int:
    """Print the outputs of a cell from its first on, until it ends."""
    terminal = Terminal()
    if (number := number_of(name)) is not None:
        return watch(job_of(desk, number), terminal)
    with there.visit(desk, desk.machine(name)) as machine:
        kernel_id = there.kernel_of(desk, machine)
        replay = Replay(kernel_id, machine.live.connect, desk.config.reconnect_timeout, terminal)
        if replay.empty:
            desk.say(
                f"There is nothing to attach to: the kernel on {machine.live.machine.name} has run no cell."
            )
            return 0
        try:
            execution = replay.start()
            if replay.question is not None:
                terminal.questions.put(replay.question)
            while not execution.future.done():
                with suppress(futures.TimeoutError):
                    execution.future.exception(0.05)
                with suppress(queue.Empty):
                    _answer(replay.kernel, terminal.questions.get_nowait())
            return 0 if execution.future.result()["status"] == "ok" else 1
        finally:
            replay.kernel.close()


def watch(job: Job, terminal: Terminal) -> int:
    """Print a job from its first output on, until it ends; 1 when it failed."""
    with job.replay(terminal) as (execution, _):
        while not execution.future.done():
            futures.wait((execution.future,), 0.05)
        job.note_end(execution)
        return 0 if execution.future.result()["status"] == "ok" else 1


def _answer(kernel: RemoteKernel, question: Message) -> None:
    from getpass import getpass

    content = question.content
    ask = getpass if content.get("password") else input
    kernel.send(wire.STDIN, "input_reply", {"value": ask(content.get("prompt", ""))}, parent=question.header)


@verb(
    "Run a script or a notebook on a machine: run train.py --gpu A100 -- --lr 0.1",
    argument("file", metavar="FILE", help="it; a notebook comes back as NAME.executed.ipynb"),
    asks=True,
    command=True,
)
def run(desk: Desk, request: GpuRequest, config: GpuRemote, file: str, command: list[str]) -> int:
    """Run a file to its end, or with --detach as a job."""
    from .runs import run_notebook, run_script

    if Path(file).suffix == ".ipynb":
        return run_notebook(desk, request, config, Path(file), command)
    return run_script(desk, request, config, Path(file), command, Terminal())


@verb("End what died processes left behind, here and in the clouds.")
def reap(desk: Desk) -> None:
    """Bring registry and clouds together, and remove kernels and sockets of machines that are gone."""
    from .doctor import control_sockets
    from .server.kernelspecs import refresh

    said = desk.fleet.reap()
    with suppress(OSError):
        refresh(desk.registry)
    _, stale = control_sockets()
    for path in stale:
        path.unlink(missing_ok=True)
    if stale:
        said.append(f"{len(stale)} sockets of SSH connections that are gone: removed.")
    desk.say("\n".join(said) or "Nothing was left behind.")


@verb("Check that everything needed is here; each problem comes with a next step.")
def doctor(desk: Desk) -> int:
    """Check this computer."""
    from .doctor import checks

    failed = 0
    for check in checks(desk.config, desk.registry):
        desk.say(f"{'ok  ' if check.ok else 'FAIL' if check.needed else 'note'}  {check.text}")
        if not check.ok:
            failed += check.needed
            desk.say(f"      Next: {check.hint}")
    return 1 if failed else 0


@verb(
    'Install, list or remove the kernel "Python (remote GPU)" of this Python.',
    argument(
        "action", choices=["install", "list", "remove"], metavar="install|list|remove", help="what to do"
    ),
)
def kernelspec(desk: Desk, action: str) -> None:
    """Look after the kernelspec of the relay kernel."""
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    manager = KernelSpecManager()
    if action == "install":
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(shutil.copytree(Path(__file__).parent / "kernelspec", Path(folder) / SPEC))
            where = manager.install_kernel_spec(str(copy), SPEC, prefix=sys.prefix)
        desk.say(f"Installed {SPEC} in {where}.")
        return
    try:
        spec = manager.get_kernel_spec(SPEC)
    except NoSuchKernel as e:
        raise ConfigurationError(
            f"The kernel {SPEC} is not installed.", hint=f"{desk.prog} kernelspec install"
        ) from e
    if action == "list":
        desk.say(table(("NAME", "SHOWN AS", "FOLDER"), [(SPEC, spec.display_name, spec.resource_dir)]))
    else:
        desk.say(f"Removed {manager.remove_kernel_spec(SPEC)}.")


@verb(
    "Run the demo notebook, or another one, on a machine made for it on this computer.",
    argument("notebook", nargs="?", metavar="NOTEBOOK", help="a notebook; its folder is copied"),
)
def demo(desk: Desk, notebook: str | None) -> int:
    """Run a notebook and print what it does."""
    from .demo import run_demo

    return run_demo(Path(notebook) if notebook else None)
