"""The SSH server that is a `local` machine: ``python -m jupyter_gpu_remote.providers.local_server DIR``.

It behaves as sshd does where that matters: exact exit codes, streams with back-pressure, forwards, and
a process group that is hung up on when its connection goes. Its environment is the machine's; everything
started here inherits it.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import sys
import termios
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import asyncssh

from .local_folder import end_processes, read

# bytes; fewer and larger steps, since each costs a turn of the event loop
WINDOW = 8 << 20
PACKET = 128 << 10
BUFFER = 1 << 20


class Server(asyncssh.SSHServer):  # type: ignore[misc]  # untyped here
    """Lets whoever logged in reach ports and unix sockets."""

    def connection_requested(self, *where: object) -> bool:
        return True

    def unix_connection_requested(self, path: str) -> bool:
        return True


class Files(asyncssh.SFTPServer):  # type: ignore[misc]  # untyped here
    """SFTP that ends with an exit code, without which ``scp`` reports a failure."""

    def exit(self) -> None:
        if not self.channel.is_closing():
            self.channel.exit(0)


async def execute(process: Any) -> None:
    """Run what one session asks for, as sshd does; `process` is an ``asyncssh.SSHServerProcess``."""
    if process.subsystem:
        process.stderr.write(f"no subsystem {process.subsystem}\n".encode())
        process.exit(127)
        return
    shell = os.environ.get("SHELL", "/bin/sh")
    argv = [shell, "-l"] if process.command is None else ["/bin/sh", "-c", process.command]
    environment = dict(os.environ)
    on_terminal = process.term_type is not None  # it may have no name
    if on_terminal:
        environment["TERM"] = process.term_type or "dumb"
        ours, theirs = _terminal()
    else:
        ours, theirs = _pipes()
    try:
        child = await asyncio.create_subprocess_exec(
            *argv,
            stdin=theirs[0],
            stdout=theirs[1],
            stderr=theirs[2],
            env=environment,
            cwd=os.environ["HOME"],
            start_new_session=True,
            preexec_fn=_take_terminal if on_terminal else None,
        )
    except OSError as e:
        for fd in ours:
            os.close(fd)
        process.stderr.write(f"{argv[0]}: {e}\n".encode())
        process.exit(126)
        return
    finally:
        for fd in set(theirs):
            os.close(fd)
    process.channel.set_write_buffer_limits(BUFFER)
    # no end-of-file goes to the client before the exit code: it would close the channel and miss it
    await process.redirect(None, *ours[1:], send_eof=False)
    to_stdin = process.redirect_stdin if on_terminal else partial(_feed, process.stdin)
    fed = asyncio.ensure_future(to_stdin(ours[0]))
    ended = asyncio.ensure_future(child.wait())
    cut = asyncio.ensure_future(process.channel.wait_closed())
    while not ended.done() and not process.is_closing():
        # a close that comes while the child does not read its input shows in is_closing() alone
        await asyncio.wait((ended, cut), timeout=1, return_when=asyncio.FIRST_COMPLETED)
    if not ended.done():
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGHUP)
    code = await ended
    # everything it wrote comes first; its background children keep the session open, as with sshd
    with suppress(OSError, asyncssh.Error):
        await process.stdout.drain()
        await process.stderr.drain()
    if not process.is_closing():
        process.exit(code if code >= 0 else 128 - code)
    await process.wait_closed()
    await fed


async def _feed(source: Any, fd: int) -> None:
    """Write what the client sends, an ``asyncssh.SSHReader``, to the pipe `fd`, then close it.

    A redirection loses the end: it refills asyncio's pipe transport and closes it from within that
    transport's own write, which then takes its buffer for empty.
    """
    loop = asyncio.get_running_loop()
    pipe = os.fdopen(fd, "wb", buffering=0)
    transport, protocol = await loop.connect_write_pipe(
        lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), pipe
    )
    writer = asyncio.StreamWriter(transport, protocol, None, loop)
    while True:
        try:
            data = await source.read(BUFFER)
        except (asyncssh.BreakReceived, asyncssh.SignalReceived, asyncssh.TerminalSizeChanged):
            continue
        except (OSError, asyncssh.Error):
            break
        if not data:
            break
        with suppress(OSError):  # nobody reads it any more: the rest is taken and dropped
            if not writer.is_closing():
                writer.write(data)
                await writer.drain()
    writer.close()


def _pipes() -> tuple[list[int], list[int]]:
    """Return our and the child's ends of its stdin, stdout and stderr."""
    pipes = [os.pipe() for _ in range(3)]
    if sys.platform == "linux":
        for _, write in pipes[:2]:
            with suppress(OSError):  # the system's limit for all pipes of a user
                fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, BUFFER)
    (in_read, in_write), (out_read, out_write), (err_read, err_write) = pipes
    return [in_write, out_read, err_read], [in_read, out_write, err_write]


def _terminal() -> tuple[list[int], list[int]]:
    """Return the same for a terminal, where everything comes out of stdout."""
    ours, theirs = os.openpty()
    return [os.dup(ours), ours], [theirs, theirs, theirs]


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


async def serve(directory: Path) -> None:
    """Serve until the machine's folder is gone, then end what still runs on it."""
    machine = read(directory / "machine.json")
    os.chdir(os.environ["HOME"])
    acceptor = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=Server,
        server_host_keys=[machine["host_key_file"]],
        authorized_client_keys=asyncssh.import_authorized_keys(machine["user_key"]),
        password_auth=False,
        kbdint_auth=False,
        host_based_auth=False,
        gss_host=None,
        agent_forwarding=False,
        process_factory=execute,
        sftp_factory=Files,
        encoding=None,
        line_editor=False,
        window=WINDOW,
        max_pktsize=PACKET,
    )
    address = {"port": acceptor.get_port(), "python": sys.executable}
    unfinished = directory / ".address.json"
    unfinished.write_text(json.dumps(address), encoding="utf-8")
    unfinished.replace(directory / "address.json")
    while (directory / "machine.json").exists():
        await asyncio.sleep(5)
    end_processes(directory)


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
