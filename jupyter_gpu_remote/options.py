"""The options of ``%%remote`` and of the command line: one parser, made from the settings.

A trait of `GpuRemote` tagged `option` is an option of the same name; the tag is the word for its value in
the help text.
"""

from __future__ import annotations

import argparse
import functools
import re
import shlex
import unicodedata
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from traitlets import Bool, Float, Int, List, TraitError, TraitType

from .config import GpuRemote
from .errors import ConfigurationError, did_you_mean
from .model import GpuRequest

_OPPOSITES = {"spot": "--on-demand"}
_NUMBER = re.compile(r"\$?(\d+\.?\d*|\.\d+)(?:/h|gb?)?", re.IGNORECASE)
_TIME = re.compile(r"(\d+\.?\d*|\.\d+)\s*(m|h)?(?:in|ours?|inutes?)?", re.IGNORECASE)
_MINUTES = {"m": 1.0, "h": 60.0}

_EXAMPLES = """\
examples:
  {prog} --gpu A100                       the cheapest A100 of all your clouds
  {prog} --gpu H100:8 --spot --max-price 20
  {prog} --cloud local                    this computer, to try it for nothing
  {prog} --cloud ssh --on user@host       a machine that you have already
"""


class HelpRequested(Exception):
    """The user asked for help; its text is the help to show."""


def parse(
    line: str | Sequence[str], config: GpuRemote, prog: str = "%%remote"
) -> tuple[GpuRequest, GpuRemote]:
    """Read options, and return what they ask for and the settings with them applied.

    Args:
        line: The options as typed, or as an argv without the command.
        config: The user's settings; not changed.
        prog: What the options follow, for the help text.

    Raises:
        ConfigurationError: An option is unknown, lacks its value or has a wrong one.
        HelpRequested: ``-h`` or ``--help`` is among them.
    """
    given = vars(_read(_split(line), prog))
    applied = type(config)(**{name: getattr(config, name) for name in config.traits(config=True)})
    for name, value in given.items():
        trait = applied.traits()[name]
        try:
            setattr(applied, name, _convert(trait, value))
        except (TraitError, ValueError):
            raise ConfigurationError(
                f"{_option(name)} needs {_wanted(trait)}, not {value!r}.",
                hint=f"For example: {_option(name)} {'2h' if trait.metadata.get('unit') else '4'}",
            ) from None
    return request(applied), applied


def request(config: GpuRemote) -> GpuRequest:
    """Return what the settings ask for.

    Raises:
        ConfigurationError: They name an unknown GPU.
    """
    values = {f.name: getattr(config, f.name) for f in fields(GpuRequest) if f.name != "count"}
    if config.gpu:
        from .offers import parse_gpu

        values["gpu"], values["count"] = parse_gpu(config.gpu)
    values["on"] = config.on.partition(",")[0].strip()  # the others work beside it
    return GpuRequest(**values)


def names(listed: str) -> list[str]:
    """Return the names of a list with commas."""
    # as Python reads them
    return [unicodedata.normalize("NFKC", name) for part in listed.split(",") if (name := part.strip())]


def help_text(prog: str = "%%remote") -> str:
    """Return all options with their meaning and a few examples."""
    return f"{prog} [options]\n\n{_parser().format_help()}\n{_EXAMPLES.format(prog=prog)}"


@functools.lru_cache(1)
def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        usage=argparse.SUPPRESS,
        add_help=False,
        allow_abbrev=False,
        exit_on_error=False,
        argument_default=argparse.SUPPRESS,
        formatter_class=functools.partial(argparse.HelpFormatter, max_help_position=28, width=100),
    )
    machine = parser.add_argument_group("which machine")
    run = parser.add_argument_group("how it runs")
    asked = [f.name for f in fields(GpuRequest)]
    traits = GpuRemote.class_traits(option=lambda tag: tag is not None)
    for name in sorted(traits, key=lambda n: (asked.index(n) if n in asked else len(asked), n)):
        trait = traits[name]
        group = machine if name in asked else run
        text = trait.help.replace("%", "%%")
        if isinstance(trait, Bool):
            # without a default, help shows the one that changes something
            on, off = group.add_mutually_exclusive_group(), trait.default_value is True
            on.add_argument(
                _option(name), dest=name, action="store_true", help=argparse.SUPPRESS if off else text
            )
            opposite = _OPPOSITES.get(name, f"--no-{_option(name)[2:]}")
            shown = f"Not: {text[0].lower()}{text[1:]}" if off else argparse.SUPPRESS
            on.add_argument(opposite, dest=name, action="store_false", help=shown)
        else:
            again = "append" if isinstance(trait, List) else "store"
            group.add_argument(
                _option(name), dest=name, action=again, metavar=trait.metadata["option"], help=text
            )
    run.add_argument("-h", "--help", action="store_true", help="Show this.")
    return parser


def _split(line: str | Sequence[str]) -> list[str]:
    if not isinstance(line, str):
        return list(line)
    try:
        return shlex.split(line)
    except ValueError as e:
        raise ConfigurationError(
            f"The options cannot be read: {e}.", hint=f"Check the quotes in: {line}"
        ) from e


def foreign(words: Sequence[str]) -> list[str]:
    """Return the words that are neither options of ours nor their values."""
    try:
        return _parser().parse_known_args(list(words))[1]
    except argparse.ArgumentError:
        return list(words)  # `parse` tells what is wrong


def _read(words: list[str], prog: str) -> argparse.Namespace:
    if "-h" in words or "--help" in words:
        raise HelpRequested(help_text(prog))
    try:
        known, unknown = _parser().parse_known_args(words)
    except argparse.ArgumentError as e:
        option = e.argument_name
        if e.message.startswith("expected"):
            raise ConfigurationError(f"{option} needs a value.", hint=f"See {prog} --help.") from None
        if e.message.startswith("ignored"):
            raise ConfigurationError(f"{option} takes no value.", hint=f"Write just {option}.") from None
        raise ConfigurationError(f"{option} is {e.message}.", hint="Keep one of the two.") from None
    for word in unknown:
        name = word.lower().partition("=")[0]
        if re.match(r"[-\u2010-\u2015\u2212]", name):  # a word processor makes one dash of two
            options = [o for o in _parser()._option_string_actions if o.startswith("--")]
            raise ConfigurationError(f"There is no option {word!r}.", hint=did_you_mean(name, options))
        raise ConfigurationError(
            f"{word!r} stands where an option is expected.",
            hint="Options start with two dashes (--gpu A100); quote a value that has spaces in it; "
            "put commas between the names of variables (--in a,b).",
        )
    return known


def _convert(trait: TraitType[Any, Any], value: Any) -> Any:
    if not isinstance(trait, (Int, Float)):
        return value
    if unit := trait.metadata.get("unit"):
        time = _TIME.fullmatch(value)
        if not time:
            raise ValueError(value)
        return float(time[1]) * _MINUTES[(time[2] or unit).lower()] / _MINUTES[unit]
    number = _NUMBER.fullmatch(value)
    if not number:
        raise ValueError(value)
    return int(number[1]) if isinstance(trait, Int) else float(number[1])


def _wanted(trait: TraitType[Any, Any]) -> str:
    if trait.metadata.get("unit"):
        return "a time (90m, 2h)"
    return f"{'a whole' if isinstance(trait, Int) else 'a'} number, not negative"


def _option(name: str) -> str:
    return "--" + name.rstrip("_").replace("_", "-")
