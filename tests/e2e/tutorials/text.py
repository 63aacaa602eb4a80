# %%
import collections
import json
import re
from collections import Counter, defaultdict, namedtuple
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path

# %%
TEXT = """\
2024-03-01 08:12:44 INFO  web: GET /index.html 200 in 12 ms
2024-03-01 08:12:45 INFO  web: GET /logo.png 200 in 3 ms
2024-03-01 08:12:47 ERROR db: connection lost: timeout after 30 s
2024-03-01 08:13:02 WARN  web: GET /search?q=tea 200 in 950 ms
2024-03-01 08:13:05 INFO  db: connected again
2024-03-01 08:13:09 ERROR web: GET /admin 403 in 2 ms
2024-03-01 08:13:11 INFO  jobs: cleaned 14 files
"""
Path("server.log").write_text(TEXT)

# %%
LINE = re.compile(
    r"""
    (?P<date>\S+)\ (?P<time>\S+)\ (?P<level>[A-Z]+)\s+(?P<source>\w+):\ (?P<text>.*)
    """,
    re.VERBOSE,
)
LINE.match(TEXT).group("level", "source")


# %%
class Level(Enum):
    INFO = auto()
    WARN = auto()
    ERROR = auto()

    @property
    def is_bad(self):
        return self is not Level.INFO


Request = namedtuple("Request", "path status ms")


@dataclass(order=True)
class Entry:
    when: str
    level: Level = field(compare=False)
    source: str
    text: str
    words: list[str] = field(default_factory=list, repr=False, compare=False)

    def __post_init__(self):
        self.words = re.findall(r"[a-z]{3,}", self.text.lower())


# %%
def parse(lines):
    for line in lines:
        if match := LINE.match(line):
            yield Entry(
                f"{match['date']}T{match['time']}", Level[match["level"]], match["source"], match["text"]
            )


with open("server.log") as file:
    entries = list(parse(file))
entries[2]

# %%
by_source = defaultdict(list)
for entry in entries:
    by_source[entry.source].append(entry)
{source: len(of_it) for source, of_it in by_source.items()}

# %%
words = Counter(word for entry in entries for word in entry.words)
for word, count in words.most_common(3):
    print(f"{word:>10} {'#' * count}")


# %%
def requests(entries):
    pattern = r"GET (\S+) (\d+) in (\d+) ms"
    return [Request(m[1], int(m[2]), int(m[3])) for entry in entries if (m := re.search(pattern, entry.text))]


slowest = max(requests(by_source["web"]), key=lambda request: request.ms)
slowest

# %%
bad = [entry for entry in entries if entry.level.is_bad]
levels = {entry.level for entry in entries}
print(len(bad), sorted(level.name for level in levels), Level.ERROR in levels)

# %% changes: words, by_source
words.update(["again", "again"])
by_source["nobody"]
recent = collections.deque((entry.text for entry in entries), maxlen=2)
recent

# %%
shown = re.sub(r"\d+", lambda match: "#" * len(match[0]), slowest.path + " " + entries[0].text)
report = Path("report.json")
report.write_text(json.dumps({"bad": [e.text for e in bad], "shown": shown}, indent=1))
print(shown)

# %%
lines = get_ipython().getoutput("wc -l < report.json")
again = json.loads(report.read_text())
same = [Entry(e.when, e.level, e.source, e.text) == e for e in entries]
lines

# %%
results = {
    "entries": [str(entry) for entry in entries],
    "sources": {source: len(of_it) for source, of_it in by_source.items()},
    "words": sorted(words.items()),
    "slowest": slowest._asdict(),
    "bad": again["bad"],
    "recent": list(recent),
    "levels": sorted(level.name for level in levels),
    "kept": [entry.level is Level[entry.level.name] for entry in entries],
    "sorted": [entry.when for entry in sorted(entries, reverse=True)],
    "same": all(same),
    "lines": lines,
}
