"""``jupyter gpu-remote``: the verbs on a command line."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jupyter_core.application import JupyterApp
from traitlets import List

from . import __version__, options
from .config import GpuRemote, load_settings
from .errors import ConfigurationError, GpuRemoteError
from .model import GpuRequest, Machine
from .reaper import reap_in_background
from .registry import Registry
from .shell_verbs import VERBS
from .status import CellStatus, in_terminal
from .verbs import Desk
from .verbs.visit import machine_for

_PROG = "jupyter gpu-remote"
_OK, _FAILED, _USAGE, _INTERRUPTED = 0, 1, 2, 130

_HELP = """\
Run notebook cells on remote GPU machines, and look after those machines.

{verbs}

Options for every verb:
  --debug            show tracebacks and what is done
  --config FILE      more settings, beside jupyter_gpu_remote_config.py
  --GpuRemote.X=Y    one setting
  --generate-config  write a settings file with every setting in it, commented out
  --help-all         all settings
  --version          the version
"""


class GpuRemoteApp(JupyterApp):  # type: ignore[misc]  # untyped here
    """The command; what stands before and among the words of a verb and is not the verb's is ours."""

    name = "jupyter-gpu-remote"
    description = "Run notebook cells on remote GPU machines, and look after those machines."
    version = __version__
    classes = List([GpuRemote])
    flags = {
        **{name: flag for name, flag in JupyterApp.flags.items() if name in ("generate-config", "y")},
        "debug": ({"GpuRemote": {"debug": True}, "Application": {"log_level": 10}}, "show tracebacks"),
    }
    aliases = {"config": "JupyterApp.config_file"}
    words: list[str] = []

    def parse_command_line(self, argv: Sequence[str] | None = None) -> None:
        """Take our own options out, and leave the verb with its words."""
        mine, self.words = _parted(sys.argv[1:] if argv is None else argv)
        super().parse_command_line(mine)

    def print_help(self, classes: bool = False) -> None:
        """Print the verbs; with `classes`, all settings as well."""
        print(_HELP.format(verbs=VERBS.help(_PROG)))
        if classes:
            print(GpuRemote.class_get_help())

    def start(self) -> int:
        """Carry out the verb and return the exit code."""
        if self.generate_config:
            self.write_default_config()
            return _OK
        if not self.words:
            self.print_help()
            return _USAGE
        debug = bool(self.config.GpuRemote.get("debug"))
        try:
            settings = load_settings(self.config)
            debug = settings.debug
            act = VERBS.parse(self.words, _desk(settings))
        except options.HelpRequested as help:
            print(help)
            return _OK
        except ConfigurationError as e:
            return _tell(e, debug, _USAGE)
        try:
            return int(act() or _OK)
        except BrokenPipeError:
            raise
        except Exception as e:
            return _tell(e, debug, _FAILED)


def _parted(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the options of the command, and the verb with all that follows it."""
    mine: list[str] = []
    words: list[str] = []
    left = list(argv)
    while left:
        word = left.pop(0)
        if word == "--":
            words += [word, *left]
            break
        if word == "--config" and left:
            mine.append(f"--config={left.pop(0)}")
        elif word in ("--debug", "--generate-config", "--help-all", "--version", "-y") or (
            word.startswith("--config=") or word.partition("=")[0].startswith("--GpuRemote.")
        ):
            mine.append(word)
        elif word in ("-h", "--help") and not words:
            mine.append("--help")
        else:
            words.append(word)
    return mine, words


def _desk(settings: GpuRemote) -> Desk:
    registry = Registry()
    if "reap" not in sys.argv:
        reap_in_background(registry)
    status = CellStatus(lambda: in_terminal)

    def launch(request: GpuRequest, config: GpuRemote) -> Machine:
        machine = machine_for(request, config, registry, "", status.report)
        status.report("")
        print(f"{machine.offer.title} · {machine.name} · ready in {status.seconds:.1f} s")
        print(f"Use it in a notebook: %%remote --on {machine.name}")
        return machine

    return Desk(
        prog=_PROG,
        config=settings,
        registry=registry,
        folder=Path.cwd(),
        notebook=None,
        say=print,
        report=status.report,
        progress=status.progress,
        launch=launch,
        confirm=_confirm,
    )


def _confirm(question: str) -> bool:
    if not sys.stdin.isatty():
        raise ConfigurationError(
            f"There is no terminal to answer the question: {question}", hint="Add --yes to answer it."
        )
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")


def _tell(error: Exception, debug: bool, code: int) -> int:
    """Print an error for people, and return the exit code."""
    if debug:
        traceback.print_exception(error)
    elif isinstance(error, GpuRemoteError):
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    else:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        print("This is a fault of ours. Next: add --debug to see where it happened.", file=sys.stderr)
    return code


def main(argv: Sequence[str] | None = None) -> Any:
    """Run the command and return its exit code: 0 fine, 1 failed, 2 wrong usage, 130 Ctrl-C."""
    try:
        app = GpuRemoteApp()
        app.initialize(argv)
        code = app.start()
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # whoever read our output has left; without this Python would complain once more at its exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return _FAILED
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return _INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
