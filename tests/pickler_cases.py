"""Variables that must arrive as they were: what makes them, and what is true of them at both ends."""

from __future__ import annotations

from typing import NamedTuple


class Case(NamedTuple):
    """Variables, and what tells that they are right.

    Attributes:
        title: What is shown.
        names: Which are sent, with a space between.
        source: The cell that makes them.
        true: An expression that is true wherever they are.
        needs: Packages, with a space between.
    """

    title: str
    names: str
    source: str
    true: str
    needs: str = ""


PYTHON = [
    Case(
        "a closure",
        "f",
        """
def make(n):
    def add(x):
        return x + n
    return add
f = make(3)
""",
        "f(4) == 7",
    ),
    Case(
        "two closures share their cell",
        "up seen",
        """
def make():
    n = 0
    def up():
        nonlocal n
        n += 1
        return n
    return up, lambda: n
up, seen = make()
""",
        "up() == seen() and up() == seen()",
    ),
    Case(
        "a function inside a function that calls itself",
        "f",
        """
def make():
    def f(n):
        return 1 if n < 2 else n * f(n - 1)
    return f
f = make()
""",
        "f(5) == 120 and f.__closure__[0].cell_contents is f",
    ),
    Case(
        "a cell that is not bound yet",
        "f",
        """
def make():
    def f():
        return later
    if 0:
        later = 1
    return f
f = make()
""",
        "len(f.__closure__) == 1",
    ),
    Case("a lambda in a dict", "d", 'd = {"double": lambda x: 2 * x}', 'd["double"](4) == 8'),
    Case(
        "defaults, keyword defaults, annotations, attributes and a docstring",
        "f",
        """
def f(a: int, b=2, *, c: "str" = "c") -> list[int]:
    "Say so."
    return a, b, c
f.tag = 7
""",
        """
(f(1) == (1, 2, "c") and f.__kwdefaults__ == {"c": "c"} and f.__annotations__ == {
    "a": int,
    "c": "str",
    "return": list[int],
} and f.__doc__ == "Say so." and f.tag == 7)
""",
    ),
    Case(
        "a decorator that wraps",
        "one",
        """
import functools
def twice(f):
    @functools.wraps(f)
    def inner(*a):
        return 2 * f(*a)
    return inner
@twice
def one():
    return 1
""",
        'one() == 2 and one.__name__ == "one" and one.__wrapped__() == 1',
    ),
    Case(
        "a function with a cache",
        "f",
        """
import functools
@functools.lru_cache(maxsize=7)
def f(x):
    return [x]
f(1)
""",
        'f(2) is f(2) and f.cache_parameters() == {"maxsize": 7, "typed": False} and f.__name__ == "f"',
    ),
    Case(
        "a recursive function with a cache",
        "fib",
        """
import functools
@functools.cache
def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)
""",
        "fib(80) == 23416728348467685",
    ),
    Case(
        "a method with a cache",
        "a",
        """
import functools
class A:
    @functools.lru_cache
    def f(self, x):
        return x + 1
a = A()
""",
        "a.f(1) == 2",
    ),
    Case(
        "a cached property",
        "a",
        """
import functools
class A:
    @functools.cached_property
    def f(self):
        "F."
        return [1]
a = A()
""",
        'a.f is a.f and type(a).f.__doc__ == "F."',
    ),
    Case(
        "a partial",
        "p",
        """
from functools import partial
p = partial(lambda a, b: a - b, b=1)
""",
        "p(3) == 2",
    ),
    Case(
        "a function for each type",
        "f",
        """
import functools
@functools.singledispatch
def f(x):
    return "any"
@f.register
def _(x: int):
    return "int"
@f.register(list)
def _(x):
    return f(x[0]) + "s"
""",
        """
(f("a"), f(1), f([1]), f(True)) == ("any", "int", "ints", "int") and f.__name__ == "f" and set(
    f.registry
) == {object, int, list}
""",
    ),
    Case(
        "a context manager",
        "f g log",
        """
import contextlib
log = []
@contextlib.contextmanager
def f(x):
    log.append(x)
    yield x
def g():
    with f(3) as x:
        return x
""",
        "g() == 3 and log[-1] == 3",
    ),
    Case(
        "a bound method",
        "a m",
        """
class A:
    def __init__(self):
        self.x = 3
    def f(self):
        return self.x
a = A()
m = a.f
""",
        "m() == 3 and m.__self__ is a",
    ),
    Case(
        "a bound method of a list",
        "l add",
        """
l = [1]
add = l.append
""",
        "add(2) is None and l[-1] == 2 and add.__self__ is l",
    ),
    Case(
        "classes with super, properties, class and static methods",
        "b A B",
        """
class A:
    def __init__(self):
        self.x = 1
    @property
    def p(self):
        return self.x
    @p.setter
    def p(self, v):
        self.x = v
    @classmethod
    def c(cls):
        return cls.__name__
    @staticmethod
    def s():
        return "s"
    def __eq__(self, o):
        return o.x == self.x
    __hash__ = None
class B(A):
    def __init__(self):
        super().__init__()
        self.y = 2
b = B()
""",
        """
type(b) is B and B.__mro__[1] is A and (b.p, b.y, b.c(), B.s()) == (1, 2, "B", "s") and b == B()
""",
    ),
    Case(
        "a class whose methods name it",
        "n Node",
        """
class Node:
    def __init__(self, v, n=None):
        self.v, self.n = v, n
    def push(self, v):
        return Node(v, self)
n = Node(1).push(2)
""",
        "type(n.push(3)) is Node and n.n.v == 1",
    ),
    Case(
        "a dataclass",
        "p P fields replace asdict dataclass MISSING",
        """
from dataclasses import dataclass, field, fields, replace, asdict, make_dataclass, MISSING
@dataclass(order=True)
class P:
    x: int
    y: float = 0.5
    tags: list = field(default_factory=list)
p = P(1)
""",
        """
([f.name for f in fields(P)] == ["x", "y", "tags"] and p == P(1) and replace(p, x=2) > p and asdict(
    p
) == {"x": 1, "y": 0.5, "tags": []} and fields(P)[0].default is MISSING)
""",
    ),
    Case(
        "a dataclass that is derived from",
        "P derive dataclass",
        """
from dataclasses import dataclass, field, KW_ONLY
@dataclass
class P:
    x: int
    tags: list = field(default_factory=list)
    _: KW_ONLY
    z: int = 3
def derive():
    @dataclass
    class Q(P):
        y: int = 1
    return Q
""",
        """
repr(derive()(1)).endswith("Q(x=1, tags=[], z=3, y=1)") and derive()(1).tags is not derive()(1).tags
""",
    ),
    Case(
        "a frozen dataclass with slots",
        "p s P",
        """
from dataclasses import dataclass
@dataclass(frozen=True, slots=True)
class P:
    x: int
p = P(1)
s = {p: 1}
""",
        's[P(1)] == 1 and P.__slots__ == ("x",)',
    ),
    Case(
        "enums",
        "c f C F",
        """
import enum
class C(enum.Enum):
    RED = 1
    BLUE = 2
class F(enum.Flag):
    A = 1
    B = 2
c, f = C.RED, F.A | F.B
""",
        "c is C.RED and C(2) is C.BLUE and F.A in f",
    ),
    Case(
        "named tuples",
        "p q P Q",
        """
from collections import namedtuple
from typing import NamedTuple
P = namedtuple("P", "x y")
class Q(NamedTuple):
    x: int
    y: int = 2
p, q = P(1, 2), Q(1)
""",
        "p.x == 1 and type(p) is P and q.y == 2 and type(q) is Q and q._replace(x=5) == Q(5)",
    ),
    Case(
        "abstract classes",
        "b v A V",
        """
import abc
class A(abc.ABC):
    @abc.abstractmethod
    def f(self): ...
class B(A):
    def f(self):
        return 1
class V:
    pass
A.register(V)
b, v = B(), V()
""",
        'b.f() == 1 and isinstance(v, A) and A.__abstractmethods__ == {"f"}',
    ),
    Case(
        "generic classes, protocols and forward references",
        "b Box T Has",
        """
from typing import Generic, TypeVar, Protocol, Optional
T = TypeVar("T")
class Box(Generic[T]):
    def __init__(self, v: T, next: Optional["Box[T]"] = None) -> None:
        self.v = v
class Has(Protocol):
    v: int
b = Box[int](3)
""",
        "b.v == 3 and Box.__parameters__ == (T,) and type(b) is Box and Has._is_protocol",
    ),
    Case(
        "a generator function",
        "g",
        """
def g(n):
    for i in range(n):
        yield i
""",
        "list(g(3)) == [0, 1, 2]",
    ),
    Case(
        "a coroutine function",
        "f run asyncio threading",
        """
import asyncio, threading
async def f(x):
    await asyncio.sleep(0)
    return x
def run(coroutine):
    # in a thread: this one may have a loop that runs
    got = []
    thread = threading.Thread(target=lambda: got.append(asyncio.run(coroutine)))
    thread.start(); thread.join()
    return got[0]
""",
        "run(f(3)) == 3",
    ),
    Case(
        "slots, with names that are mangled",
        "a",
        """
class A:
    __slots__ = ("__x", "y")
    def __init__(self):
        self.__x, self.y = 1, 2
    def x(self):
        return self.__x
a = A()
""",
        "(a.x(), a.y) == (1, 2)",
    ),
    Case(
        "a class with a metaclass",
        "A M",
        """
class M(type):
    def __len__(cls):
        return 3
class A(metaclass=M):
    pass
""",
        "len(A) == 3 and type(A) is M",
    ),
    Case(
        "a descriptor and __init_subclass__",
        "b made",
        """
made = []
class D:
    def __set_name__(self, o, n):
        self.n = n
    def __get__(self, o, k):
        return self.n
class A:
    d = D()
    def __init_subclass__(cls):
        made.append(cls.__name__)
class B(A):
    pass
b = B()
""",
        'b.d == "d" and made == ["B"]',
    ),
    Case(
        "an exception with a cause",
        "e E",
        """
class E(Exception):
    pass
e = E("a", 1)
e.note = "n"
""",
        'e.args == ("a", 1) and type(e) is E and e.note == "n"',
    ),
    Case(
        "a callable object",
        "a",
        """
class A:
    def __call__(self, x):
        return x + 1
a = A()
""",
        "a(1) == 2",
    ),
    Case(
        "a list in two places",
        "l d",
        """
l = [1]
d = {"a": l, "b": l}
""",
        'd["a"] is d["b"] is l',
    ),
    Case(
        "two names for one list",
        "a b",
        """
a = [1]
b = a
""",
        "a is b",
    ),
    Case(
        "a list in itself",
        "l",
        """
l = [1]
l.append(l)
""",
        "l[1] is l",
    ),
    Case(
        "a dict that holds its holder",
        "d",
        """
d = {}
d["o"] = [d, {"d": d}]
""",
        'd["o"][1]["d"] is d',
    ),
    Case(
        "an object that knows its parent",
        "a",
        """
class A:
    pass
a = A()
a.b = A()
a.b.up = a
""",
        "a.b.up is a",
    ),
    Case(
        "collections",
        "c q o dd",
        """
from collections import *
c, q, o, dd = Counter("aab"), deque([1, 2], 3), OrderedDict(a=1), defaultdict(lambda: [7])
dd["x"]
""",
        'c["a"] == 2 and q.maxlen == 3 and list(o) == ["a"] and dd["x"] == [7] and dd["new"] == [7]',
    ),
    Case(
        "of the standard library",
        "v b t l r s state logging",
        """
import datetime, decimal, fractions, pathlib, re, uuid, io, zoneinfo, random, logging, types
v = [
    datetime.datetime(2020, 1, 1, tzinfo=zoneinfo.ZoneInfo("Europe/Paris")),
    decimal.Decimal("1.10"),
    fractions.Fraction(1, 3),
    pathlib.Path("a"),
    re.compile("a+"),
    uuid.UUID(int=1),
    range(3),
    slice(1, 2),
    1j,
    ...,
    NotImplemented,
    types.SimpleNamespace(a=1),
    frozenset("a"),
    bytearray(b"a"),
    2**80,
    type(None),
    int,
    list[int],
    int | None,
]
b, t, l = io.BytesIO(b"abc"), io.StringIO("abc"), logging.getLogger("x.y")
r = random.Random(1)
s = repr(v)
state = r.getstate()
""",
        """
(repr(
    v
) == s and b.read() + b.getvalue() == b"abcabc" and t.getvalue() == "abc" and l is logging.getLogger(
    "x.y"
) and r.getstate() == state and b.seek(0) == 0)
""",
    ),
    Case(
        "standard output",
        "l sys",
        """
import sys
class Log:
    def __init__(self):
        self.out, self.err = sys.stdout, sys.stderr
l = Log()
""",
        "l.out is sys.stdout and l.err is sys.stderr",
    ),
    Case(
        "modules",
        "p json ET",
        "import os.path as p, json, xml.etree.ElementTree as ET",
        'p.join("a", "b") and json.loads("1") == 1 and ET.Element("a").tag == "a"',
    ),
    Case(
        "a module made by the notebook",
        "m",
        r"""
import types
m = types.ModuleType("made")
exec("y = 2\ndef f(x): return x + y", vars(m))
""",
        "m.f(1) == 3",
    ),
    Case(
        "no value that is not itself",
        "s n l",
        """
s, n = ..., None
nan = float("nan")
l = [nan, nan]
""",
        "s is ... and n is None and l[0] != l[0]",
    ),
    Case(
        "text of all kinds",
        "t",
        't = ["é\\ud800", "x" * 3_000_000, b"\\0" * 3_000_000, ""]',
        't[0][1] == "\\ud800" and len(t[1]) == len(t[2]) == 3_000_000',
    ),
]


NUMPY = [
    Case(
        "an array, which may be written to",
        "a",
        """
import numpy as np
a = np.arange(6.0).reshape(2, 3)
""",
        "a.sum() == 15 and a.flags.writeable and a.flags.c_contiguous",
        "numpy",
    ),
    Case(
        "a large array, which may be written to",
        "a z",
        """
import numpy as np
a = np.arange(1e6)
z = np.zeros(2)
""",
        "a[-1] == 999999 and a.flags.writeable and a.dtype == float",
        "numpy",
    ),
    Case(
        "an array of several pieces",
        "a",
        """
import numpy as np
a = np.arange(3_000_000)
""",
        "(a[1:] - a[:-1] == 1).all() and len(a) == 3_000_000 and a.flags.writeable",
        "numpy",
    ),
    Case(
        "a view of an array",
        "a v",
        """
import numpy as np
a = np.zeros(10_000)
v = a[2:9000:2]
""",
        "not v.__setitem__(0, a[2] + 1) and a[2] == v[0] and v.base is not None and v.shape == (4499,)",
        "numpy",
    ),
    Case(
        "a view of a small array",
        "a v",
        """
import numpy as np
a = np.zeros(10)
v = a[2:9]
""",
        "not v.__setitem__(0, a[2] + 1) and a[2] == v[0]",
        "numpy",
    ),
    Case(
        "a view backwards",
        "a v",
        """
import numpy as np
a = np.arange(10)
v = a[::-2]
""",
        "not v.__setitem__(0, v[0] + 1) and a[9] == v[0] and v[1] == 7",
        "numpy",
    ),
    Case(
        "a view of a view, transposed",
        "a b v",
        """
import numpy as np
a = np.arange(24).reshape(2, 3, 4)
b = a[1]
v = b.T[1:]
""",
        '__import__("numpy").shares_memory(a, v) and v.shape == (3, 3) and (v == a[1].T[1:]).all()',
        "numpy",
    ),
    Case(
        "a view of an array in Fortran's order",
        "a v",
        """
import numpy as np
a = np.asfortranarray(np.arange(12).reshape(3, 4))
v = a[1:, 2]
""",
        "a.flags.f_contiguous and not v.__setitem__(0, v[0] + 100) and a[1, 2] == v[0] and v[1] == 10",
        "numpy",
    ),
    Case(
        "a view as another type",
        "a v",
        """
import numpy as np
a = np.arange(4.0)
v = a.view("u8")
""",
        'v[0] == a.view("u8")[0] and __import__("numpy").shares_memory(a, v)',
        "numpy",
    ),
    Case(
        "two views of what has no name",
        "b c",
        """
import numpy as np
a = np.zeros(10)
b, c = a[:6], a[4:]
del a
""",
        "not b.__setitem__(5, b[5] + 1) and c[1] == b[5]",
        "numpy",
    ),
    Case(
        "a broadcast view",
        "a v",
        """
import numpy as np
a = np.arange(3.0)
v = np.broadcast_to(a, (4, 3))
""",
        "v.shape == (4, 3) and v[3, 2] == 2 and not v.flags.writeable",
        "numpy",
    ),
    Case(
        "a read-only view of an array",
        "a v",
        """
import numpy as np
a = np.zeros(10)
v = a[1:]
v.flags.writeable = False
""",
        'a.flags.writeable and not v.flags.writeable and __import__("numpy").shares_memory(a, v)',
        "numpy",
    ),
    Case(
        "read-only arrays",
        "a b",
        """
import numpy as np
a, b = np.arange(10), np.arange(1e5)
a.flags.writeable = b.flags.writeable = False
""",
        "not a.flags.writeable and not b.flags.writeable and b[9] == 9",
        "numpy",
    ),
    Case(
        "a structured array",
        "a v",
        """
import numpy as np
a = np.zeros(5, [("x", "i4"), ("y", "f8", 2)])
a["x"] = 3
v = a["y"]
""",
        'a["x"].sum() == 15 and a.dtype.names == ("x", "y") and __import__("numpy").shares_memory(a, v)',
        "numpy",
    ),
    Case(
        "a record array",
        "a",
        """
import numpy as np
a = np.rec.array([(1, 2.0)], dtype=[("x", "i4"), ("y", "f8")])
""",
        "a.x[0] == 1 and a[0].y == 2",
        "numpy",
    ),
    Case(
        "arrays without size",
        "a b c",
        """
import numpy as np
a, b, c = np.zeros((0, 3)), np.array(3.5), np.zeros(0)[:0]
""",
        "a.shape == (0, 3) and b.shape == () and b == 3.5 and c.shape == (0,)",
        "numpy",
    ),
    Case(
        "two names for an array",
        "a b d",
        """
import numpy as np
a = np.zeros(30_000)
b = a
d = {"x": a}
""",
        'a is b is d["x"]',
        "numpy",
    ),
    Case(
        "a masked array",
        "a m",
        """
import numpy as np
a = np.ma.array([1, 2, 3], mask=[0, 1, 0])
m = np.ma.masked
""",
        "a.sum() == 4 and a[1] is m and a.mask[1]",
        "numpy",
    ),
    Case(
        "a matrix",
        "a",
        """
import numpy as np
a = np.matrix([[1, 2], [3, 4]])
""",
        "(a * a)[0, 0] == 7",
        "numpy",
    ),
    Case(
        "a class of arrays of the notebook",
        "a A",
        """
import numpy as np
class A(np.ndarray):
    pass
a = np.zeros(3).view(A)
""",
        "type(a) is A and a.sum() == 0",
        "numpy",
    ),
    Case(
        "an array of objects",
        "a l",
        """
import numpy as np
l = [1]
a = np.array([l, None, "x"], dtype=object)
""",
        'a[0] is l and a[2] == "x"',
        "numpy",
    ),
    Case(
        "dates",
        "a b",
        """
import numpy as np
a = np.array(["2020-01-01", "NaT"], "M8[ns]")
b = a[1:] - a[0]
""",
        'str(a[0])[:4] == "2020" and b.dtype == "m8[ns]"',
        "numpy",
    ),
    Case(
        "text",
        "a b",
        """
import numpy as np
a, b = np.array(["aé", "b"]), np.array([b"a", b"bcd"])
""",
        'a[0] == "aé" and b[1] == b"bcd"',
        "numpy",
    ),
    Case(
        "text of any length",
        "a",
        """
import numpy as np
a = np.array(["a" * 50, "b"], dtype=np.dtypes.StringDType())
""",
        'a[0] == "a" * 50 and a[1] == "b"',
        "numpy",
    ),
    Case(
        "the other byte order",
        "a",
        """
import numpy as np
a = np.arange(5, dtype=">i4")
""",
        'a.sum() == 10 and a.dtype.str == ">i4"',
        "numpy",
    ),
    Case(
        "scalars and types",
        "v r",
        """
import numpy as np
v = [
    np.float32(1.5),
    np.int64(3),
    np.dtype("f4"),
    np.bool_(True),
    np.datetime64("2020"),
    np.float16,
]
r = repr(v)
""",
        'repr(v) == r and type(v[0]).__name__ == "float32"',
        "numpy",
    ),
    Case(
        "random generators",
        "g c s",
        """
import numpy as np
g, s = np.random.default_rng(1), np.random.RandomState(2)
g.random(3)
import copy
c = copy.deepcopy(g)
""",
        "g.random() == c.random()",
        "numpy",
    ),
    Case(
        "a function that uses numpy's name",
        "f np",
        """
import numpy as np
def f(x):
    return np.sin(x)
""",
        "f(0) == 0",
        "numpy",
    ),
    Case(
        "a vectorized function",
        "f",
        """
import numpy as np
f = np.vectorize(lambda x: x + 1)
""",
        "f([1, 2])[1] == 3",
        "numpy",
    ),
]


FRAMES = [
    Case(
        "a frame of numbers",
        "d",
        """
import pandas as pd, numpy as np
d = pd.DataFrame({"a": np.arange(5000), "b": np.arange(5000.0)})
""",
        'd.a.sum() == 12497500 and d.dtypes.astype(str).tolist() == ["int64", "float64"]',
        "pandas",
    ),
    Case(
        "a frame that is written to",
        "d",
        """
import pandas as pd, numpy as np
d = pd.DataFrame({"a": np.arange(50000.0)})
""",
        """
(d.__setitem__("b", 1) is None and d.loc.__setitem__((0, "a"), 5.0) is None and d.a[
    0
] == 5 and d.drop(columns="b") is not d)
""",
        "pandas",
    ),
    Case(
        "a frame of text",
        "d",
        """
import pandas as pd
d = pd.DataFrame({"s": ["a", "b", None] * 3000})
""",
        'd.s[0] == "a" and d.s.isna().sum() == 3000 and d.s.str.upper()[1] == "B"',
        "pandas",
    ),
    Case(
        "text in objects",
        "d",
        """
import pandas as pd
d = pd.DataFrame({"s": pd.Series(["a", None, 3], dtype=object)})
""",
        'd.s.tolist() == ["a", None, 3] and d.s.dtype == object',
        "pandas",
    ),
    Case(
        "categories",
        "d",
        """
import pandas as pd
d = pd.Series(["a", "b", "a"], dtype="category")
""",
        'd.cat.categories.tolist() == ["a", "b"] and d.cat.codes.tolist() == [0, 1, 0]',
        "pandas",
    ),
    Case(
        "times with a zone",
        "d",
        """
import pandas as pd
d = pd.DataFrame({"t": pd.date_range("2020", periods=3, tz="Europe/Paris")})
d["n"] = d.t.dt.tz_localize(None)
""",
        'str(d.t.dt.tz) == "Europe/Paris" and d.n[1].day == 2',
        "pandas",
    ),
    Case(
        "an index of several levels",
        "d",
        """
import pandas as pd
d = pd.DataFrame(
    {"x": range(4)}, index=pd.MultiIndex.from_product([["a", "b"], [1, 2]], names=["l", "n"])
)
""",
        'd.loc[("b", 2), "x"] == 3 and d.index.names == ["l", "n"]',
        "pandas",
    ),
    Case(
        "nullable types",
        "d",
        """
import pandas as pd
d = pd.DataFrame(
    {
        "i": pd.array([1, None], "Int64"),
        "b": pd.array([True, None], "boolean"),
        "s": pd.array(["a", None], "string"),
    }
)
""",
        'd.i.sum() == 1 and d.isna().sum().sum() == 3 and str(d.i.dtype) == "Int64"',
        "pandas",
    ),
    Case(
        "arrow types",
        "d",
        """
import pandas as pd, pyarrow as pa
d = pd.DataFrame(
    {
        "l": pd.array([[1, 2], None], pd.ArrowDtype(pa.list_(pa.int64()))),
        "i": pd.array([1, 2], "int64[pyarrow]"),
    }
)
""",
        "list(d.l[0]) == [1, 2] and d.i.sum() == 3",
        "pandas pyarrow",
    ),
    Case(
        "periods, intervals, sparse columns",
        "d",
        """
import pandas as pd
d = pd.DataFrame(
    {
        "p": pd.period_range("2020", periods=3, freq="M"),
        "i": pd.interval_range(0, 3),
        "s": pd.arrays.SparseArray([0, 0, 1]),
    }
)
""",
        "d.p[2].month == 3 and 0.5 in d.i[0] and d.s.sum() == 1",
        "pandas",
    ),
    Case(
        "a part of a frame",
        "d h c",
        """
import pandas as pd, numpy as np
d = pd.DataFrame(np.arange(40000.0).reshape(-1, 4), columns=list("abcd"))
h, c = d.head(3), d["b"]
""",
        "h.shape == (3, 4) and c[1] == 5 and d.shape == (10000, 4)",
        "pandas",
    ),
    Case(
        "a series with attributes",
        "s",
        """
import pandas as pd
s = pd.Series([1, 2], name="n", index=["a", "b"])
s.attrs["unit"] = "m"
""",
        's.name == "n" and s["b"] == 2 and s.attrs == {"unit": "m"}',
        "pandas",
    ),
    Case(
        "a frame that is grouped, and a window",
        "g w",
        """
import pandas as pd
d = pd.DataFrame({"k": [1, 1, 2], "v": [1.0, 2.0, 3.0]})
g, w = d.groupby("k"), d.v.rolling(2)
""",
        "g.v.sum().tolist() == [3, 3] and w.sum()[2] == 5",
        "pandas",
    ),
    Case(
        "no value of pandas",
        "n t s pd",
        """
import pandas as pd
n, t, s = pd.NA, pd.NaT, pd.Timestamp("2020", tz="UTC")
""",
        "n is pd.NA and t is pd.NaT and s.year == 2020",
        "pandas",
    ),
    Case(
        "a class of frames of the notebook",
        "f F",
        """
import pandas as pd
class F(pd.DataFrame):
    @property
    def _constructor(self):
        return F
f = F({"a": [1]})
""",
        'type(f[["a"]]) is F',
        "pandas",
    ),
    Case(
        "polars",
        "d z s",
        """
import polars as pl
d = pl.DataFrame({"a": range(5000), "s": ["x", None] * 2500, "l": [[1]] * 5000})
z = d.lazy().select(pl.col("a") * 2)
s = d["s"]
""",
        """
(d["a"].sum() == 12497500 and z.collect()["a"][1] == 2 and s.null_count() == 2500 and d["l"][0][
    0
] == 1)
""",
        "polars",
    ),
    Case(
        "arrow",
        "t v a c",
        """
import pyarrow as pa
t = pa.table({"a": range(50000), "s": ["x", "yy"] * 25000})
v = t.slice(10, 5)
a = t["a"].chunk(0)
c = t.schema
""",
        """
(t["a"][49999].as_py() == 49999 and v["s"].to_pylist() == ["x", "yy", "x", "yy", "x"] and a[
    3
].as_py() == 3 and c == t.schema)
""",
        "pyarrow",
    ),
    Case(
        "pictures",
        "i p l",
        """
from PIL import Image
i = Image.new("RGB", (50, 40), (1, 2, 3))
p = i.convert("P")
l = i.crop((0, 0, 5, 5))
""",
        'i.size == (50, 40) and i.getpixel((3, 3)) == (1, 2, 3) and p.mode == "P" and l.size == (5, 5)',
        "PIL",
    ),
    Case(
        "sparse matrices",
        "a b",
        """
import scipy.sparse as sp
a, b = sp.eye(5000, format="csr"), sp.coo_array(([1.0], ([0], [1])), shape=(2, 2))
""",
        "a.sum() == 5000 and b.toarray()[0, 1] == 1 and a.data.flags.writeable",
        "scipy",
    ),
    Case(
        "a fitted pipeline",
        "m x p",
        """
import numpy as np
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, FunctionTransformer
from sklearn.ensemble import RandomForestClassifier
x = np.random.default_rng(0).random((200, 3))
y = x[:, 0] > 0.5
m = make_pipeline(
    FunctionTransformer(lambda v: v * 2),
    StandardScaler(),
    RandomForestClassifier(5, random_state=0),
).fit(x, y)
p = m.predict(x)
""",
        "(m.predict(x) == p).all() and not m.fit(x, p) is None",
        "sklearn",
    ),
    Case(
        "a trained model of xgboost",
        "m b x p",
        """
import numpy as np, xgboost as xgb
x = np.random.default_rng(0).random((200, 3))
m = xgb.XGBClassifier(n_estimators=3, nthread=1).fit(x, x[:, 0] > 0.5)
b = m.get_booster()
p = m.predict(x)
""",
        "(m.predict(x) == p).all() and b.num_boosted_rounds() == 3",
        "xgboost sklearn",
    ),
    Case(
        "a figure",
        "f",
        """
import matplotlib
matplotlib.use("agg")
from matplotlib.figure import Figure
f = Figure()
f.subplots().plot([1, 2])
""",
        "len(f.axes[0].lines) == 1",
        "matplotlib",
    ),
    Case(
        "a class with attrs",
        "a A attrs",
        """
import attrs
@attrs.define
class A:
    x: int
    y: list = attrs.field(factory=list)
a = A(1)
""",
        'a == A(1) and attrs.evolve(a, x=2).x == 2 and [f.name for f in attrs.fields(A)] == ["x", "y"]',
        "attrs",
    ),
]


TORCH = [
    Case(
        "a tensor",
        "t",
        """
import torch
t = torch.arange(6.0).reshape(2, 3)
""",
        "t.sum() == 15 and t.dtype.is_floating_point and not t.requires_grad and t.add_(0) is t",
        "torch",
    ),
    Case(
        "large and small, of all types",
        "v d",
        """
import torch
v = [
    torch.ones(n, dtype=d)
    for n in (0, 3, 20000)
    for d in (
        torch.bfloat16,
        torch.float16,
        torch.bool,
        torch.complex64,
        torch.int8,
        torch.float64,
        torch.uint8,
    )
]
d = [t.dtype for t in v]
""",
        "all(t.bool().all() for t in v) and [t.dtype for t in v] == d",
        "torch",
    ),
    Case(
        "a view",
        "t v w",
        """
import torch
t = torch.zeros(4, 5000)
v = t[1, ::2]
w = t.T
""",
        """
(v.fill_(v[0].item() + 1) is v and t[1, 0] == v[0] and t[1, 1] == 0 and w[0, 1] == v[
    0
] and w.shape == (5000, 4))
""",
        "torch",
    ),
    Case(
        "a small part of a large tensor",
        "v",
        """
import torch
t = torch.zeros(100, 100)
v = t[:, 3]
del t
""",
        "v.shape == (100,) and v.untyped_storage().nbytes() == 400 or v.stride() == (100,)",
        "torch",
    ),
    Case(
        "an expanded tensor",
        "t",
        """
import torch
t = torch.ones(3, 1).expand(3, 1000)
""",
        "t.sum() == 3000 and t.untyped_storage().nbytes() == 12",
        "torch",
    ),
    Case(
        "a parameter, with its gradient",
        "p q",
        """
import torch
p = torch.nn.Parameter(torch.ones(3))
(p * 2).sum().backward()
q = torch.nn.Parameter(torch.ones(2), requires_grad=False)
""",
        """
(type(p).__name__ == "Parameter" and p.requires_grad and p.grad.tolist() == [
    2,
    2,
    2,
] and not q.requires_grad)
""",
        "torch",
    ),
    Case(
        "a leaf that wants a gradient",
        "t",
        """
import torch
t = torch.ones(3, requires_grad=True)
t.tag = "x"
""",
        't.requires_grad and t.is_leaf and t.tag == "x" and t.grad is None',
        "torch",
    ),
    Case(
        "conjugates and negatives",
        "t n",
        """
import torch
t = torch.tensor([1 + 2j]).conj()
n = t.imag
""",
        "t[0].item() == 1 - 2j and n.item() == -2",
        "torch",
    ),
    Case(
        "scalars without shape, and no element",
        "a b",
        """
import torch
a, b = torch.tensor(3), torch.empty(0, 4)
""",
        "a.item() == 3 and a.shape == () and b.shape == (0, 4)",
        "torch",
    ),
    Case(
        "a tensor on meta",
        "t",
        """
import torch
t = torch.empty(3, 4, device="meta")
""",
        "t.is_meta and t.shape == (3, 4)",
        "torch",
    ),
    Case(
        "sparse tensors",
        "t r",
        """
import torch
t = torch.eye(3).to_sparse()
r = torch.eye(3).to_sparse_csr()
""",
        "t.to_dense().sum() == 3 and t.is_sparse and r.to_dense().sum() == 3",
        "torch",
    ),
    Case(
        "a quantized tensor",
        "t",
        """
import torch
t = torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)
""",
        "t.dequantize().sum() == 3 and t.is_quantized",
        "torch",
    ),
    Case(
        "a tensor made without gradients for ever",
        "t",
        """
import torch
with torch.inference_mode():
    t = torch.ones(3) * 2
""",
        "t.sum() == 6",
        "torch",
    ),
    Case(
        "devices, types and shapes",
        "v",
        """
import torch
v = [torch.device("cuda:0"), torch.float32, torch.Size([2]), torch.strided]
""",
        'str(v[0]) == "cuda:0" and v[2].numel() == 2 and str(v[1]) == "torch.float32"',
        "torch",
    ),
    Case(
        "a module and its optimizer",
        "net opt sched x step torch",
        """
import torch
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(4, 8)
        self.n = nn.BatchNorm1d(8)
        self.b = nn.Linear(8, 1)
    def forward(self, x):
        return self.b(torch.relu(self.n(self.a(x))))
net = Net()
opt = torch.optim.AdamW(net.parameters(), lr=0.01)
sched = torch.optim.lr_scheduler.StepLR(opt, 1, 0.5)
x = torch.ones(3, 4)
def step():
    opt.zero_grad()
    before = net.b.bias.item()
    net(x).sum().backward()
    opt.step()
    sched.step()
    return net.b.bias.item() != before
step()
""",
        """
(opt.param_groups[0]["params"][
    0
] is net.a.weight and sched.optimizer is opt and step() and opt.state[net.a.weight][
    "step"
] >= 1 and net.a.weight.grad is not None and net.training)
""",
        "torch",
    ),
    Case(
        "weights that are tied",
        "m",
        """
import torch
from torch import nn
e, l = nn.Embedding(9, 4), nn.Linear(4, 9, bias=False)
l.weight = e.weight
m = nn.Sequential(e, l)
""",
        "m[0].weight is m[1].weight and len(list(m.parameters())) == 1",
        "torch",
    ),
    Case(
        "a dict of state shares its memory",
        "m s",
        """
import torch
m = torch.nn.Linear(200, 200)
s = m.state_dict()
""",
        's["weight"].data_ptr() == m.weight.data_ptr() and s["bias"].data_ptr() == m.bias.data_ptr()',
        "torch",
    ),
    Case(
        "one memory, two parameters",
        "p q flat",
        """
import torch
flat = torch.zeros(6)
p, q = torch.nn.Parameter(flat[:3]), torch.nn.Parameter(flat[3:])
""",
        "flat.add_(1) is flat and p[0] == flat[0] and q[2] == flat[5]",
        "torch",
    ),
    Case(
        "random generators",
        "g s",
        """
import torch
g = torch.Generator().manual_seed(5)
torch.rand(3, generator=g)
s = g.get_state()
""",
        "bool((g.get_state() == s).all())",
        "torch",
    ),
    Case(
        "data and its loader",
        "d l a b torch",
        """
import torch
from torch.utils.data import Dataset, DataLoader, TensorDataset, random_split
class D(Dataset):
    def __len__(self):
        return 10
    def __getitem__(self, i):
        return torch.tensor([float(i)])
d = D()
l = DataLoader(d, batch_size=4, shuffle=True, generator=torch.Generator().manual_seed(1))
a, b = random_split(TensorDataset(torch.arange(10)), [7, 3])
""",
        """
l.dataset is d and sum(x.sum().item() for x in l) == 45 and len(a) == 7 and a.dataset is b.dataset
""",
        "torch",
    ),
    Case(
        "a function without gradients",
        "f g torch",
        """
import torch
@torch.no_grad()
def f(x):
    return x * 2
@torch.inference_mode()
def g(x):
    return x * 3
""",
        """
(not f(torch.ones(1, requires_grad=True)).requires_grad and g(
    torch.ones(1)
).item() == 3 and f.__name__ == "f")
""",
        "torch",
    ),
    Case(
        "a module with hooks, buffers and a lambda",
        "m torch",
        """
import torch
m = torch.nn.Linear(2, 2)
m.register_buffer("b", torch.ones(2))
m.register_forward_hook(lambda m, i, o: o * 0)
m.act = lambda x: x + 1
""",
        "m(torch.ones(1, 2)).sum() == 0 and m.b.sum() == 2 and m.act(1) == 2",
        "torch",
    ),
    Case(
        "a function of gradients of the notebook",
        "F f torch",
        """
import torch
class F(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2
    @staticmethod
    def backward(ctx, g):
        return g * 5
def f():
    t = torch.ones(1, requires_grad=True)
    F.apply(t).backward()
    return t.grad.item()
""",
        "f() == 5",
        "torch",
    ),
]
