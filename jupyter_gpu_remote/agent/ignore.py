"""The rules of one ``.gitignore``, matched byte for byte as git's wildmatch does.

The rules of a file become one regular expression in which the last rule is tried first, so a verdict
costs one match however many rules there are. `pathspec` differs from git in character classes, escapes,
``a**/b`` and trailing white space; `tests/unit/test_folder.py` holds this against ``git check-ignore``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import NamedTuple

RULE_FILES = (".gitignore", ".gpuignore")
"""In order: the second can take back what the first one says."""

_FILES = tuple(map(os.fsencode, RULE_FILES))

_CLASSES = {
    b"alnum": rb"0-9A-Za-z",
    b"alpha": rb"A-Za-z",
    b"blank": rb" \t",
    b"cntrl": rb"\x00-\x1f\x7f",
    b"digit": rb"0-9",
    b"graph": rb"\x21-\x7e",
    b"lower": rb"a-z",
    b"print": rb"\x20-\x7e",
    b"punct": rb"\x21-\x2f\x3a-\x40\x5b-\x60\x7b-\x7e",
    b"space": rb" \t\n\r\f\v",
    b"upper": rb"A-Z",
    b"xdigit": rb"0-9A-Fa-f",
}


class _Rule(NamedTuple):
    negated: bool
    by_name: bool
    """Matches the last part of a path, whatever is above it."""
    only_dirs: bool
    regex: bytes


class Rules:
    """The rules of one folder.

    Args:
        text: What its ignore files say, one after the other.
    """

    def __init__(self, text: bytes) -> None:
        rules = list(enumerate(r for r in map(_parse, _lines(text)) if r))[::-1]
        self._names = _Matcher([(i, r) for i, r in rules if r.by_name])
        self._paths = _Matcher([(i, r) for i, r in rules if not r.by_name])

    def verdict(self, path: bytes, name: bytes, is_dir: bool) -> bool | None:
        """Return whether an entry is ignored, None when no rule here speaks of it.

        Args:
            path: Its path, relative to the folder of these rules.
            name: The last part of `path`.
        """
        index, negated = max(self._names.first(name, is_dir), self._paths.first(path, is_dir))
        return None if index < 0 else not negated


def rules_in(folder: bytes, names: Collection[bytes] = _FILES) -> bytes:
    """Return what the ignore files of a folder say; like git, nothing when they are links or unreadable.

    Args:
        names: What is in the folder, where that is known.
    """
    texts = []
    for name in _FILES:
        if name in names:
            with suppress(OSError):
                fd = os.open(folder + b"/" + name, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
                with os.fdopen(fd, "rb") as file:
                    texts.append(file.read().removeprefix(b"\xef\xbb\xbf"))
    return b"\n".join(texts)


def is_ignored(rules: Sequence[tuple[bytes, int, Rules]], path: bytes, name: bytes, is_dir: bool) -> bool:
    """Return whether an entry is ignored: the rules closest to it, the last ones, speak first.

    Args:
        rules: Each with what to put before `path`, and how much of `path` to cut off before that.
    """
    for way, cut, some in reversed(rules):
        verdict = some.verdict(way + path[cut:], name, is_dir)
        if verdict is not None:
            return verdict
    return False


class _Matcher:
    """Finds the first of some rules that matches."""

    def __init__(self, rules: list[tuple[int, _Rule]]) -> None:
        of_files = [(i, r) for i, r in rules if not r.only_dirs]
        self._rules = (of_files, rules)
        self._regexes = (_alternatives(of_files), _alternatives(rules))

    def first(self, text: bytes, is_dir: bool) -> tuple[int, bool]:
        regex = self._regexes[is_dir]
        if regex and (match := regex.fullmatch(text)) and match.lastindex:
            index, rule = self._rules[is_dir][match.lastindex - 1]
            return index, rule.negated
        return -1, False


def _alternatives(rules: list[tuple[int, _Rule]]) -> re.Pattern[bytes] | None:
    return re.compile(b"|".join(b"(%s)" % r.regex for _, r in rules), re.DOTALL) if rules else None


def _lines(text: bytes) -> list[bytes]:
    lines = [line.removesuffix(b"\r") for line in text.split(b"\n")]
    return [re.sub(rb"(?s)^((?:[^\\ ]|\\.| +(?=[^ ]))*) *$", rb"\1", line) for line in lines]


def _parse(line: bytes) -> _Rule | None:
    if not line or line.startswith(b"#"):
        return None
    negated = line.startswith(b"!")
    pattern = line[negated:]
    only_dirs = pattern.endswith(b"/")
    pattern = pattern[: len(pattern) - only_dirs]
    by_name = b"/" not in pattern
    regex = _translate(pattern if by_name else pattern.removeprefix(b"/"), not by_name)
    return _Rule(negated, by_name, only_dirs, regex) if pattern and regex is not None else None


def _translate(pattern: bytes, is_path: bool) -> bytes | None:
    """Return the regex of a wildmatch pattern, None when it can match nothing."""
    out = []
    i = 0
    # git compares the part before the first special character first, so what follows starts a new pattern
    start = len(re.match(rb"[^*?\[\\]*", pattern)[0])  # type: ignore[index]
    while i < len(pattern):
        char = pattern[i : i + 1]
        i += 1
        if char == b"*":
            begin = i - 1
            while pattern[i : i + 1] == b"*":
                i += 1
            rest = pattern[i : i + 2]
            whole_part = (begin == start or pattern[begin - 1 : begin] == b"/") and (
                not rest or rest[:1] == b"/" or rest == b"\\/"
            )
            if not is_path:
                out.append(b".*")
            elif i - begin < 2 or not whole_part:
                out.append(b"[^/]*")
            elif rest[:1] == b"/":
                out.append(b"(?:.*/)?")
                i += 1
            else:
                out.append(b".*")
        elif char == b"?":
            out.append(b"[^/]" if is_path else b".")
        elif char == b"[":
            if not (found := _bracket(pattern, i)):
                return None
            out.append(b"(?!/)" + found[0])
            i = found[1]
        elif char == b"\\":
            if i == len(pattern):
                return None
            out.append(re.escape(pattern[i : i + 1]))
            i += 1
        else:
            out.append(re.escape(char))
    return b"".join(out)


def _bracket(pattern: bytes, i: int) -> tuple[bytes, int] | None:
    """Return the regex of the set that starts after ``[`` and where it ends, None for a broken one."""
    negated = pattern[i : i + 1] in (b"!", b"^")
    i += negated
    members: list[bytes] = []
    previous: int | None = None
    first = True
    while first or pattern[i : i + 1] != b"]":
        first = False
        char = pattern[i : i + 1]
        if not char:
            return None
        if char == b"-" and previous is not None and pattern[i + 1 : i + 2] not in (b"", b"]"):
            i += 1 + (pattern[i + 1 : i + 2] == b"\\")
            if i >= len(pattern):
                return None
            if previous <= pattern[i]:
                members.append(b"\\x%02x-\\x%02x" % (previous, pattern[i]))
            previous = None
        elif char == b"[" and pattern[i + 1 : i + 2] == b":":
            end = pattern.find(b"]", i + 2)
            if end < 0:
                return None
            if end > i + 2 and pattern[end - 1 : end] == b":":
                known = _CLASSES.get(pattern[i + 2 : end - 1])
                if known is None:
                    return None
                members.append(known)
                previous, i = None, end
            else:
                members.append(rb"\[")
                previous = ord("[")
        else:
            i += char == b"\\"
            if i >= len(pattern):
                return None
            members.append(b"\\x%02x" % pattern[i])
            previous = pattern[i]
        i += 1
    inside = b"".join(members)
    if not inside:
        return (b"." if negated else b"(?!)"), i + 1
    return b"[%s%s]" % (b"^" if negated else b"", inside), i + 1
