"""How verbs are registered, and how a line of words becomes one."""

from __future__ import annotations

import argparse
import functools
import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .. import options
from ..errors import ConfigurationError, did_you_mean
from ..tables import table
from .desk import Desk


@dataclass(frozen=True)
class Verb:
    """A verb, and what may follow it.

    Attributes:
        act: Does it.
        help: What it does, in a line.
        arguments: As for ``add_argument``.
        asks: Whether the options of ``%%remote`` follow it, before and after its own.
        command: Whether a command may follow it, after ``--``.
    """

    act: Callable[..., Any]
    help: str
    arguments: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = ()
    asks: bool = False
    command: bool = False

    def parse(self, name: str, words: Sequence[str], desk: Desk) -> Callable[[], Any]:
        """Return what carries it out as `words` say.

        Raises:
            ConfigurationError: They are not what may follow it.
            HelpRequested: They ask for help.
        """
        prog = f"{desk.prog} {name}"
        words, command = _cut(words) if self.command else (words, [])
        parser = _Parser(prog=prog, description=self.help, add_help=False, allow_abbrev=False)
        for names, how in self.arguments:
            parser.add_argument(*names, **how)
        if self.asks:
            asked = "-h" in words or "--help" in words
            own, words = (argparse.Namespace(), words) if asked else _part(parser, words)
            try:
                request, config = options.parse(words, desk.config, prog)
            except options.HelpRequested as e:
                more = parser.format_help().partition("options:")[2]
                raise options.HelpRequested(f"{e}\nonly here:{more}" if more else str(e)) from None
            after = {"command": command} if self.command else {}
            return functools.partial(self.act, desk, request, config, **vars(own), **after)
        if self.command:
            parser.usage = parser.format_usage()[len("usage: ") :].strip() + " -- COMMAND"
        if "-h" in words or "--help" in words:
            raise options.HelpRequested(parser.format_help())
        given = vars(parser.parse_args(words))
        if self.command:
            given["command"] = command
        return functools.partial(self.act, desk, **given)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise ConfigurationError(f"{self.prog}: {message}.", hint=f"See {self.prog} --help.")


def _part(parser: argparse.ArgumentParser, words: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Return what is the verb's own of words among which options of ``%%remote`` stand, and those."""
    foreign = options.foreign(words)
    own, left = parser.parse_known_args(foreign)
    taken = Counter(foreign) - Counter(left)
    rest = []
    for word in words:
        if taken[word]:
            taken[word] -= 1
        else:
            rest.append(word)
    return own, rest


def _cut(words: Sequence[str]) -> tuple[list[str], list[str]]:
    words = list(words)
    at = words.index("--") if "--" in words else len(words)
    return words[:at], words[at + 1 :]


def argument(*names: str, **how: Any) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Describe an argument as ``add_argument`` takes it."""
    return names, how


NAME = argument(
    "name", nargs="?", default="", metavar="NAME", help="the machine; not needed where there is only one"
)


@dataclass
class Verbs:
    """The verbs of one face, in the order in which help lists them."""

    known: dict[str, Verb] = field(default_factory=dict)

    def verb(
        self, help: str, *arguments: Any, name: str = "", **more: Any
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Register a function as a verb of its name."""

        def register(act: Callable[..., Any]) -> Callable[..., Any]:
            self.known[name or act.__name__] = Verb(act, help, arguments, **more)
            return act

        return register

    def parse(self, words: Sequence[str], desk: Desk) -> Callable[[], Any]:
        """Return what carries out the line `words`.

        Raises:
            ConfigurationError: There is no such verb, or something wrong follows it.
            HelpRequested: The line asks for help.
        """
        if not words or words[0] in ("-h", "--help", "help"):
            raise options.HelpRequested(self.help(desk.prog))
        name, *rest = words
        if name not in self.known:
            known = ", ".join(sorted(self.known))
            near = did_you_mean(name, self.known)
            hint = f"See {desk.prog} --help." if near.startswith("There") else near
            raise ConfigurationError(f"There is no verb {name!r}. There are: {known}.", hint=hint)
        return self.known[name].parse(name, rest, desk)

    def help(self, prog: str) -> str:
        """Return a list of the verbs."""
        lines = table(("", ""), [(f"  {name}", verb.help) for name, verb in self.known.items()])
        return f"{prog} VERB ...\n{lines}\n\n{prog} VERB --help tells more about one of them."


def number(text: str) -> float:
    """Return a positive number.

    Raises:
        ValueError: `text` is none.
    """
    value = float(text)
    if not 0 < value < 1e6:
        raise ValueError(text)
    return value


def split(line: str) -> list[str]:
    """Return the words of a line as a shell would see them."""
    try:
        return shlex.split(line)
    except ValueError as e:
        raise ConfigurationError(f"The line cannot be read: {e}.", hint=f"Check the quotes in: {line}") from e


SHARED = Verbs()
"""The verbs of both faces."""
