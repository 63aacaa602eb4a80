"""Variables that must arrive as they were: what makes them, and what is true of them at both ends."""

from __future__ import annotations

from typing import NamedTuple


class Case(NamedTuple):
    """Variables, and what tells that they are right.

    Attributes:
        title: What is shown.
        source: The cell that makes them.
        names: Which are sent, with a space between.
        true: An expression that is true wherever they are.
        needs: Packages, with a space between.
    """

    title: str
    source: str
    names: str
    true: str
    needs: str = ""


PYTHON = [
    Case(
        "a closure",
        "def make(n):\n    def add(x): return x + n\n    return add\nf = make(3)",
        "f",
        "f(4) == 7",
    ),
    Case(
        "two closures share their cell",
        "def make():\n    n = 0\n    def up():\n        nonlocal n\n        n += 1\n        return n\n"
        "    return up, lambda: n\nup, seen = make()",
        "up seen",
        "up() == seen() and up() == seen()",
    ),
    Case(
        "a function inside a function that calls itself",
        "def make():\n    def f(n): return 1 if n < 2 else n * f(n - 1)\n    return f\nf = make()",
        "f",
        "f(5) == 120 and f.__closure__[0].cell_contents is f",
    ),
    Case(
        "a cell that is not bound yet",
        "def make():\n    def f(): return later\n    if 0: later = 1\n    return f\nf = make()",
        "f",
        "len(f.__closure__) == 1",
    ),
    Case("a lambda in a dict", "d = {'double': lambda x: 2 * x}", "d", "d['double'](4) == 8"),
    Case(
        "defaults, keyword defaults, annotations, attributes and a docstring",
        "def f(a: int, b=2, *, c: 'str' = 'c') -> list[int]:\n    'Say so.'\n    return a, b, c\nf.tag = 7",
        "f",
        "f(1) == (1, 2, 'c') and f.__kwdefaults__ == {'c': 'c'} and f.__annotations__ == "
        "{'a': int, 'c': 'str', 'return': list[int]} and f.__doc__ == 'Say so.' and f.tag == 7",
    ),
    Case(
        "a decorator that wraps",
        "import functools\ndef twice(f):\n    @functools.wraps(f)\n    def inner(*a): return 2 * f(*a)\n"
        "    return inner\n@twice\ndef one(): return 1",
        "one",
        "one() == 2 and one.__name__ == 'one' and one.__wrapped__() == 1",
    ),
    Case(
        "a function with a cache",
        "import functools\n@functools.lru_cache(maxsize=7)\ndef f(x): return [x]\nf(1)",
        "f",
        "f(2) is f(2) and f.cache_parameters() == {'maxsize': 7, 'typed': False} and f.__name__ == 'f'",
    ),
    Case(
        "a recursive function with a cache",
        "import functools\n@functools.cache\ndef fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)",
        "fib",
        "fib(80) == 23416728348467685",
    ),
    Case(
        "a method with a cache",
        "import functools\nclass A:\n    @functools.lru_cache\n    def f(self, x): return x + 1\na = A()",
        "a",
        "a.f(1) == 2",
    ),
    Case(
        "a cached property",
        "import functools\nclass A:\n    @functools.cached_property\n    def f(self):\n        'F.'\n        return [1]\na = A()",
        "a",
        "a.f is a.f and type(a).f.__doc__ == 'F.'",
    ),
    Case(
        "a partial", "from functools import partial\np = partial(lambda a, b: a - b, b=1)", "p", "p(3) == 2"
    ),
    Case(
        "a function for each type",
        "import functools\n@functools.singledispatch\ndef f(x): return 'any'\n@f.register\ndef _(x: int): return 'int'\n"
        "@f.register(list)\ndef _(x): return f(x[0]) + 's'",
        "f",
        "(f('a'), f(1), f([1]), f(True)) == ('any', 'int', 'ints', 'int') and f.__name__ == 'f'"
        " and set(f.registry) == {object, int, list}",
    ),
    Case(
        "a context manager",
        "import contextlib\nlog = []\n@contextlib.contextmanager\ndef f(x):\n    log.append(x)\n    yield x\n"
        "def g():\n    with f(3) as x: return x",
        "f g log",
        "g() == 3 and log[-1] == 3",
    ),
    Case(
        "a bound method",
        "class A:\n    def __init__(self): self.x = 3\n    def f(self): return self.x\na = A()\nm = a.f",
        "a m",
        "m() == 3 and m.__self__ is a",
    ),
    Case(
        "a bound method of a list",
        "l = [1]\nadd = l.append",
        "l add",
        "add(2) is None and l[-1] == 2 and add.__self__ is l",
    ),
    Case(
        "classes with super, properties, class and static methods",
        "class A:\n    def __init__(self): self.x = 1\n    @property\n    def p(self): return self.x\n"
        "    @p.setter\n    def p(self, v): self.x = v\n    @classmethod\n    def c(cls): return cls.__name__\n"
        "    @staticmethod\n    def s(): return 's'\n    def __eq__(self, o): return o.x == self.x\n    __hash__ = None\n"
        "class B(A):\n    def __init__(self):\n        super().__init__()\n        self.y = 2\nb = B()",
        "b A B",
        "type(b) is B and B.__mro__[1] is A and (b.p, b.y, b.c(), B.s()) == (1, 2, 'B', 's') and b == B()",
    ),
    Case(
        "a class whose methods name it",
        "class Node:\n    def __init__(self, v, n=None): self.v, self.n = v, n\n    def push(self, v): return Node(v, self)\n"
        "n = Node(1).push(2)",
        "n Node",
        "type(n.push(3)) is Node and n.n.v == 1",
    ),
    Case(
        "a dataclass",
        "from dataclasses import dataclass, field, fields, replace, asdict, make_dataclass, MISSING\n"
        "@dataclass(order=True)\nclass P:\n    x: int\n    y: float = 0.5\n    tags: list = field(default_factory=list)\np = P(1)",
        "p P fields replace asdict dataclass MISSING",
        "[f.name for f in fields(P)] == ['x', 'y', 'tags'] and p == P(1) and replace(p, x=2) > p"
        " and asdict(p) == {'x': 1, 'y': 0.5, 'tags': []} and fields(P)[0].default is MISSING",
    ),
    Case(
        "a dataclass that is derived from",
        "from dataclasses import dataclass, field, KW_ONLY\n"
        "@dataclass\nclass P:\n    x: int\n    tags: list = field(default_factory=list)\n    _: KW_ONLY\n    z: int = 3\n"
        "def derive():\n    @dataclass\n    class Q(P):\n        y: int = 1\n    return Q",
        "P derive dataclass",
        "repr(derive()(1)).endswith('Q(x=1, tags=[], z=3, y=1)') and derive()(1).tags is not derive()(1).tags",
    ),
    Case(
        "a frozen dataclass with slots",
        "from dataclasses import dataclass\n@dataclass(frozen=True, slots=True)\nclass P:\n    x: int\np = P(1)\ns = {p: 1}",
        "p s P",
        "s[P(1)] == 1 and P.__slots__ == ('x',)",
    ),
    Case(
        "enums",
        "import enum\nclass C(enum.Enum):\n    RED = 1\n    BLUE = 2\nclass F(enum.Flag):\n    A = 1\n    B = 2\n"
        "c, f = C.RED, F.A | F.B",
        "c f C F",
        "c is C.RED and C(2) is C.BLUE and F.A in f",
    ),
    Case(
        "named tuples",
        "from collections import namedtuple\nfrom typing import NamedTuple\nP = namedtuple('P', 'x y')\n"
        "class Q(NamedTuple):\n    x: int\n    y: int = 2\np, q = P(1, 2), Q(1)",
        "p q P Q",
        "p.x == 1 and type(p) is P and q.y == 2 and type(q) is Q and q._replace(x=5) == Q(5)",
    ),
    Case(
        "abstract classes",
        "import abc\nclass A(abc.ABC):\n    @abc.abstractmethod\n    def f(self): ...\nclass B(A):\n    def f(self): return 1\n"
        "class V: pass\nA.register(V)\nb, v = B(), V()",
        "b v A V",
        "b.f() == 1 and isinstance(v, A) and A.__abstractmethods__ == {'f'}",
    ),
    Case(
        "generic classes, protocols and forward references",
        "from typing import Generic, TypeVar, Protocol, Optional\nT = TypeVar('T')\nclass Box(Generic[T]):\n"
        "    def __init__(self, v: T, next: Optional['Box[T]'] = None) -> None: self.v = v\n"
        "class Has(Protocol):\n    v: int\nb = Box[int](3)",
        "b Box T Has",
        "b.v == 3 and Box.__parameters__ == (T,) and type(b) is Box and Has._is_protocol",
    ),
    Case("a generator function", "def g(n):\n    for i in range(n): yield i", "g", "list(g(3)) == [0, 1, 2]"),
    Case(
        "a coroutine function",
        "import asyncio\nasync def f(x):\n    await asyncio.sleep(0)\n    return x",
        "f asyncio",
        "asyncio.new_event_loop().run_until_complete(f(3)) == 3",
    ),
    Case(
        "slots, with names that are mangled",
        "class A:\n    __slots__ = ('__x', 'y')\n    def __init__(self): self.__x, self.y = 1, 2\n    def x(self): return self.__x\na = A()",
        "a",
        "(a.x(), a.y) == (1, 2)",
    ),
    Case(
        "a class with a metaclass",
        "class M(type):\n    def __len__(cls): return 3\nclass A(metaclass=M): pass",
        "A M",
        "len(A) == 3 and type(A) is M",
    ),
    Case(
        "a descriptor and __init_subclass__",
        "made = []\nclass D:\n    def __set_name__(self, o, n): self.n = n\n    def __get__(self, o, k): return self.n\n"
        "class A:\n    d = D()\n    def __init_subclass__(cls): made.append(cls.__name__)\nclass B(A): pass\nb = B()",
        "b made",
        "b.d == 'd' and made == ['B']",
    ),
    Case(
        "an exception with a cause",
        "class E(Exception):\n    pass\ne = E('a', 1)\ne.note = 'n'",
        "e E",
        "e.args == ('a', 1) and type(e) is E and e.note == 'n'",
    ),
    Case("a callable object", "class A:\n    def __call__(self, x): return x + 1\na = A()", "a", "a(1) == 2"),
    Case("a list in two places", "l = [1]\nd = {'a': l, 'b': l}", "l d", "d['a'] is d['b'] is l"),
    Case("two names for one list", "a = [1]\nb = a", "a b", "a is b"),
    Case("a list in itself", "l = [1]\nl.append(l)", "l", "l[1] is l"),
    Case("a dict that holds its holder", "d = {}\nd['o'] = [d, {'d': d}]", "d", "d['o'][1]['d'] is d"),
    Case(
        "an object that knows its parent", "class A: pass\na = A()\na.b = A()\na.b.up = a", "a", "a.b.up is a"
    ),
    Case(
        "collections",
        "from collections import *\nc, q, o, dd = Counter('aab'), deque([1, 2], 3), OrderedDict(a=1), defaultdict(lambda: [7])\ndd['x']",
        "c q o dd",
        "c['a'] == 2 and q.maxlen == 3 and list(o) == ['a'] and dd['x'] == [7] and dd['new'] == [7]",
    ),
    Case(
        "of the standard library",
        "import datetime, decimal, fractions, pathlib, re, uuid, itertools, io, zoneinfo, random, logging, types, threading\n"
        "v = [datetime.datetime(2020, 1, 1, tzinfo=zoneinfo.ZoneInfo('Europe/Paris')), decimal.Decimal('1.10'),"
        " fractions.Fraction(1, 3), pathlib.Path('a'), re.compile('a+'), uuid.UUID(int=1), range(3), slice(1, 2), 1j, ..., NotImplemented,"
        " types.SimpleNamespace(a=1), frozenset('a'), bytearray(b'a'), 2**80, type(None), int, list[int], int | None]\n"
        "b, t, l = io.BytesIO(b'abc'), io.StringIO('abc'), logging.getLogger('x.y')\nr = random.Random(1)\n"
        "s = repr(v)\nstate = r.getstate()",
        "v b t l r s state logging",
        "repr(v) == s and b.read() + b.getvalue() == b'abcabc' and t.getvalue() == 'abc' and l is logging.getLogger('x.y')"
        " and r.getstate() == state and b.seek(0) == 0",
    ),
    Case(
        "standard output",
        "import sys\nclass Log:\n    def __init__(self): self.out, self.err = sys.stdout, sys.stderr\nl = Log()",
        "l sys",
        "l.out is sys.stdout and l.err is sys.stderr",
    ),
    Case(
        "modules",
        "import os.path as p, json, xml.etree.ElementTree as ET",
        "p json ET",
        "p.join('a', 'b') and json.loads('1') == 1 and ET.Element('a').tag == 'a'",
    ),
    Case(
        "a module made by the notebook",
        "import types\nm = types.ModuleType('made')\nexec('y = 2\\ndef f(x): return x + y', vars(m))",
        "m",
        "m.f(1) == 3",
    ),
    Case(
        "no value that is not itself",
        "s, n = ..., None\nnan = float('nan')\nl = [nan, nan]",
        "s n l",
        "s is ... and n is None and l[0] != l[0]",
    ),
    Case(
        "text of all kinds",
        "t = ['é\\ud800', 'x' * 3_000_000, b'\\0' * 3_000_000, '']",
        "t",
        "t[0][1] == '\\ud800' and len(t[1]) == len(t[2]) == 3_000_000",
    ),
]

NUMPY = [
    Case(
        "an array, which may be written to",
        "import numpy as np\na = np.arange(6.0).reshape(2, 3)",
        "a",
        "a.sum() == 15 and a.flags.writeable and a.flags.c_contiguous",
        "numpy",
    ),
    Case(
        "a large array, which may be written to",
        "import numpy as np\na = np.arange(1e6)\nz = np.zeros(2)",
        "a z",
        "a[-1] == 999999 and a.flags.writeable and a.dtype == float",
        "numpy",
    ),
    Case(
        "an array of several pieces",
        "import numpy as np\na = np.arange(3_000_000)",
        "a",
        "(a[1:] - a[:-1] == 1).all() and len(a) == 3_000_000 and a.flags.writeable",
        "numpy",
    ),
    Case(
        "a view of an array",
        "import numpy as np\na = np.zeros(10_000)\nv = a[2:9000:2]",
        "a v",
        "not v.__setitem__(0, a[2] + 1) and a[2] == v[0] and v.base is not None and v.shape == (4499,)",
        "numpy",
    ),
    Case(
        "a view of a small array",
        "import numpy as np\na = np.zeros(10)\nv = a[2:9]",
        "a v",
        "not v.__setitem__(0, a[2] + 1) and a[2] == v[0]",
        "numpy",
    ),
    Case(
        "a view backwards",
        "import numpy as np\na = np.arange(10)\nv = a[::-2]",
        "a v",
        "not v.__setitem__(0, v[0] + 1) and a[9] == v[0] and v[1] == 7",
        "numpy",
    ),
    Case(
        "a view of a view, transposed",
        "import numpy as np\na = np.arange(24).reshape(2, 3, 4)\nb = a[1]\nv = b.T[1:]",
        "a b v",
        "np.shares_memory(a, v) and v.shape == (3, 3) and (v == a[1].T[1:]).all()".replace(
            "np.", "__import__('numpy')."
        ),
        "numpy",
    ),
    Case(
        "a view of an array in Fortran's order",
        "import numpy as np\na = np.asfortranarray(np.arange(12).reshape(3, 4))\nv = a[1:, 2]",
        "a v",
        "a.flags.f_contiguous and not v.__setitem__(0, v[0] + 100) and a[1, 2] == v[0] and v[1] == 10",
        "numpy",
    ),
    Case(
        "a view as another type",
        "import numpy as np\na = np.arange(4.0)\nv = a.view('u8')",
        "a v",
        "v[0] == a.view('u8')[0] and __import__('numpy').shares_memory(a, v)",
        "numpy",
    ),
    Case(
        "two views of what has no name",
        "import numpy as np\na = np.zeros(10)\nb, c = a[:6], a[4:]\ndel a",
        "b c",
        "not b.__setitem__(5, b[5] + 1) and c[1] == b[5]",
        "numpy",
    ),
    Case(
        "a broadcast view",
        "import numpy as np\na = np.arange(3.0)\nv = np.broadcast_to(a, (4, 3))",
        "a v",
        "v.shape == (4, 3) and v[3, 2] == 2 and not v.flags.writeable",
        "numpy",
    ),
    Case(
        "a read-only view of an array",
        "import numpy as np\na = np.zeros(10)\nv = a[1:]\nv.flags.writeable = False",
        "a v",
        "a.flags.writeable and not v.flags.writeable and __import__('numpy').shares_memory(a, v)",
        "numpy",
    ),
    Case(
        "read-only arrays",
        "import numpy as np\na, b = np.arange(10), np.arange(1e5)\na.flags.writeable = b.flags.writeable = False",
        "a b",
        "not a.flags.writeable and not b.flags.writeable and b[9] == 9",
        "numpy",
    ),
    Case(
        "a structured array",
        "import numpy as np\na = np.zeros(5, [('x', 'i4'), ('y', 'f8', 2)])\na['x'] = 3\nv = a['y']",
        "a v",
        "a['x'].sum() == 15 and a.dtype.names == ('x', 'y') and __import__('numpy').shares_memory(a, v)",
        "numpy",
    ),
    Case(
        "a record array",
        "import numpy as np\na = np.rec.array([(1, 2.0)], dtype=[('x', 'i4'), ('y', 'f8')])",
        "a",
        "a.x[0] == 1 and a[0].y == 2",
        "numpy",
    ),
    Case(
        "arrays without size",
        "import numpy as np\na, b, c = np.zeros((0, 3)), np.array(3.5), np.zeros(0)[:0]",
        "a b c",
        "a.shape == (0, 3) and b.shape == () and b == 3.5 and c.shape == (0,)",
        "numpy",
    ),
    Case(
        "two names for an array",
        "import numpy as np\na = np.zeros(30_000)\nb = a\nd = {'x': a}",
        "a b d",
        "a is b is d['x']",
        "numpy",
    ),
    Case(
        "a masked array",
        "import numpy as np\na = np.ma.array([1, 2, 3], mask=[0, 1, 0])\nm = np.ma.masked",
        "a m",
        "a.sum() == 4 and a[1] is m and a.mask[1]",
        "numpy",
    ),
    Case(
        "a matrix", "import numpy as np\na = np.matrix([[1, 2], [3, 4]])", "a", "(a * a)[0, 0] == 7", "numpy"
    ),
    Case(
        "a class of arrays of the notebook",
        "import numpy as np\nclass A(np.ndarray):\n    pass\na = np.zeros(3).view(A)",
        "a A",
        "type(a) is A and a.sum() == 0",
        "numpy",
    ),
    Case(
        "an array of objects",
        "import numpy as np\nl = [1]\na = np.array([l, None, 'x'], dtype=object)",
        "a l",
        "a[0] is l and a[2] == 'x'",
        "numpy",
    ),
    Case(
        "dates",
        "import numpy as np\na = np.array(['2020-01-01', 'NaT'], 'M8[ns]')\nb = a[1:] - a[0]",
        "a b",
        "str(a[0])[:4] == '2020' and b.dtype == 'm8[ns]'",
        "numpy",
    ),
    Case(
        "text",
        "import numpy as np\na, b = np.array(['aé', 'b']), np.array([b'a', b'bcd'])",
        "a b",
        "a[0] == 'aé' and b[1] == b'bcd'",
        "numpy",
    ),
    Case(
        "text of any length",
        "import numpy as np\na = np.array(['a' * 50, 'b'], dtype=np.dtypes.StringDType())",
        "a",
        "a[0] == 'a' * 50 and a[1] == 'b'",
        "numpy",
    ),
    Case(
        "the other byte order",
        "import numpy as np\na = np.arange(5, dtype='>i4')",
        "a",
        "a.sum() == 10 and a.dtype.str == '>i4'",
        "numpy",
    ),
    Case(
        "scalars and types",
        "import numpy as np\nv = [np.float32(1.5), np.int64(3), np.dtype('f4'), np.bool_(True), np.datetime64('2020'), np.float16]\nr = repr(v)",
        "v r",
        "repr(v) == r and type(v[0]).__name__ == 'float32'",
        "numpy",
    ),
    Case(
        "random generators",
        "import numpy as np\ng, s = np.random.default_rng(1), np.random.RandomState(2)\ng.random(3)\nimport copy\nc = copy.deepcopy(g)",
        "g c s",
        "g.random() == c.random()",
        "numpy",
    ),
    Case(
        "a function that uses numpy's name",
        "import numpy as np\ndef f(x): return np.sin(x)",
        "f np",
        "f(0) == 0",
        "numpy",
    ),
    Case(
        "a vectorized function",
        "import numpy as np\nf = np.vectorize(lambda x: x + 1)",
        "f",
        "f([1, 2])[1] == 3",
        "numpy",
    ),
]

FRAMES = [
    Case(
        "a frame of numbers",
        "import pandas as pd, numpy as np\nd = pd.DataFrame({'a': np.arange(5000), 'b': np.arange(5000.0)})",
        "d",
        "d.a.sum() == 12497500 and d.dtypes.astype(str).tolist() == ['int64', 'float64']",
        "pandas",
    ),
    Case(
        "a frame that is written to",
        "import pandas as pd, numpy as np\nd = pd.DataFrame({'a': np.arange(50000.0)})",
        "d",
        "d.__setitem__('b', 1) is None and d.loc.__setitem__((0, 'a'), 5.0) is None and d.a[0] == 5 and d.drop(columns='b') is not d",
        "pandas",
    ),
    Case(
        "a frame of text",
        "import pandas as pd\nd = pd.DataFrame({'s': ['a', 'b', None] * 3000})",
        "d",
        "d.s[0] == 'a' and d.s.isna().sum() == 3000 and d.s.str.upper()[1] == 'B'",
        "pandas",
    ),
    Case(
        "text in objects",
        "import pandas as pd\nd = pd.DataFrame({'s': pd.Series(['a', None, 3], dtype=object)})",
        "d",
        "d.s.tolist() == ['a', None, 3] and d.s.dtype == object",
        "pandas",
    ),
    Case(
        "categories",
        "import pandas as pd\nd = pd.Series(['a', 'b', 'a'], dtype='category')",
        "d",
        "d.cat.categories.tolist() == ['a', 'b'] and d.cat.codes.tolist() == [0, 1, 0]",
        "pandas",
    ),
    Case(
        "times with a zone",
        "import pandas as pd\nd = pd.DataFrame({'t': pd.date_range('2020', periods=3, tz='Europe/Paris')})\nd['n'] = d.t.dt.tz_localize(None)",
        "d",
        "str(d.t.dt.tz) == 'Europe/Paris' and d.n[1].day == 2",
        "pandas",
    ),
    Case(
        "an index of several levels",
        "import pandas as pd\nd = pd.DataFrame({'x': range(4)}, index=pd.MultiIndex.from_product([['a', 'b'], [1, 2]], names=['l', 'n']))",
        "d",
        "d.loc[('b', 2), 'x'] == 3 and d.index.names == ['l', 'n']",
        "pandas",
    ),
    Case(
        "nullable types",
        "import pandas as pd\nd = pd.DataFrame({'i': pd.array([1, None], 'Int64'), 'b': pd.array([True, None], 'boolean'), 's': pd.array(['a', None], 'string')})",
        "d",
        "d.i.sum() == 1 and d.isna().sum().sum() == 3 and str(d.i.dtype) == 'Int64'",
        "pandas",
    ),
    Case(
        "arrow types",
        "import pandas as pd, pyarrow as pa\nd = pd.DataFrame({'l': pd.array([[1, 2], None], pd.ArrowDtype(pa.list_(pa.int64()))), 'i': pd.array([1, 2], 'int64[pyarrow]')})",
        "d",
        "list(d.l[0]) == [1, 2] and d.i.sum() == 3",
        "pandas pyarrow",
    ),
    Case(
        "periods, intervals, sparse columns",
        "import pandas as pd\nd = pd.DataFrame({'p': pd.period_range('2020', periods=3, freq='M'), 'i': pd.interval_range(0, 3), 's': pd.arrays.SparseArray([0, 0, 1])})",
        "d",
        "d.p[2].month == 3 and 0.5 in d.i[0] and d.s.sum() == 1",
        "pandas",
    ),
    Case(
        "a part of a frame",
        "import pandas as pd, numpy as np\nd = pd.DataFrame(np.arange(40000.0).reshape(-1, 4), columns=list('abcd'))\nh, c = d.head(3), d['b']",
        "d h c",
        "h.shape == (3, 4) and c[1] == 5 and d.shape == (10000, 4)",
        "pandas",
    ),
    Case(
        "a series with attributes",
        "import pandas as pd\ns = pd.Series([1, 2], name='n', index=['a', 'b'])\ns.attrs['unit'] = 'm'",
        "s",
        "s.name == 'n' and s['b'] == 2 and s.attrs == {'unit': 'm'}",
        "pandas",
    ),
    Case(
        "a frame that is grouped, and a window",
        "import pandas as pd\nd = pd.DataFrame({'k': [1, 1, 2], 'v': [1., 2., 3.]})\ng, w = d.groupby('k'), d.v.rolling(2)",
        "g w",
        "g.v.sum().tolist() == [3, 3] and w.sum()[2] == 5",
        "pandas",
    ),
    Case(
        "no value of pandas",
        "import pandas as pd\nn, t, s = pd.NA, pd.NaT, pd.Timestamp('2020', tz='UTC')",
        "n t s pd",
        "n is pd.NA and t is pd.NaT and s.year == 2020",
        "pandas",
    ),
    Case(
        "a class of frames of the notebook",
        "import pandas as pd\nclass F(pd.DataFrame):\n    @property\n    def _constructor(self): return F\nf = F({'a': [1]})",
        "f F",
        "type(f[['a']]) is F",
        "pandas",
    ),
    Case(
        "polars",
        "import polars as pl\nd = pl.DataFrame({'a': range(5000), 's': ['x', None] * 2500, 'l': [[1]] * 5000})\nz = d.lazy().select(pl.col('a') * 2)\ns = d['s']",
        "d z s",
        "d['a'].sum() == 12497500 and z.collect()['a'][1] == 2 and s.null_count() == 2500 and d['l'][0][0] == 1",
        "polars",
    ),
    Case(
        "arrow",
        "import pyarrow as pa\nt = pa.table({'a': range(50000), 's': ['x', 'yy'] * 25000})\nv = t.slice(10, 5)\na = t['a'].chunk(0)\nc = t.schema",
        "t v a c",
        "t['a'][49999].as_py() == 49999 and v['s'].to_pylist() == ['x', 'yy', 'x', 'yy', 'x'] and a[3].as_py() == 3 and c == t.schema",
        "pyarrow",
    ),
    Case(
        "pictures",
        "from PIL import Image\ni = Image.new('RGB', (50, 40), (1, 2, 3))\np = i.convert('P')\nl = i.crop((0, 0, 5, 5))",
        "i p l",
        "i.size == (50, 40) and i.getpixel((3, 3)) == (1, 2, 3) and p.mode == 'P' and l.size == (5, 5)",
        "PIL",
    ),
    Case(
        "sparse matrices",
        "import scipy.sparse as sp\na, b = sp.eye(5000, format='csr'), sp.coo_array(([1.0], ([0], [1])), shape=(2, 2))",
        "a b",
        "a.sum() == 5000 and b.toarray()[0, 1] == 1 and a.data.flags.writeable",
        "scipy",
    ),
    Case(
        "a fitted pipeline",
        "import numpy as np\nfrom sklearn.pipeline import make_pipeline\nfrom sklearn.preprocessing import StandardScaler, FunctionTransformer\n"
        "from sklearn.ensemble import RandomForestClassifier\nx = np.random.default_rng(0).random((200, 3))\ny = x[:, 0] > .5\n"
        "m = make_pipeline(FunctionTransformer(lambda v: v * 2), StandardScaler(), RandomForestClassifier(5, random_state=0)).fit(x, y)\np = m.predict(x)",
        "m x p",
        "(m.predict(x) == p).all() and not m.fit(x, p) is None",
        "sklearn",
    ),
    Case(
        "a trained model of xgboost",
        "import numpy as np, xgboost as xgb\nx = np.random.default_rng(0).random((200, 3))\nm = xgb.XGBClassifier(n_estimators=3, nthread=1).fit(x, x[:, 0] > .5)\n"
        "b = m.get_booster()\np = m.predict(x)",
        "m b x p",
        "(m.predict(x) == p).all() and b.num_boosted_rounds() == 3",
        "xgboost sklearn",
    ),
    Case(
        "a figure",
        "import matplotlib\nmatplotlib.use('agg')\nfrom matplotlib.figure import Figure\nf = Figure()\nf.subplots().plot([1, 2])",
        "f",
        "len(f.axes[0].lines) == 1",
        "matplotlib",
    ),
    Case(
        "a class with attrs",
        "import attrs\n@attrs.define\nclass A:\n    x: int\n    y: list = attrs.field(factory=list)\na = A(1)",
        "a A attrs",
        "a == A(1) and attrs.evolve(a, x=2).x == 2 and [f.name for f in attrs.fields(A)] == ['x', 'y']",
        "attrs",
    ),
]

TORCH = [
    Case(
        "a tensor",
        "import torch\nt = torch.arange(6.).reshape(2, 3)",
        "t",
        "t.sum() == 15 and t.dtype.is_floating_point and not t.requires_grad and t.add_(0) is t",
        "torch",
    ),
    Case(
        "large and small, of all types",
        "import torch\nv = [torch.ones(n, dtype=d) for n in (0, 3, 20000) for d in (torch.bfloat16, torch.float16, torch.bool, torch.complex64, torch.int8, torch.float64, torch.uint8)]\nd = [t.dtype for t in v]",
        "v d",
        "all(t.bool().all() for t in v) and [t.dtype for t in v] == d",
        "torch",
    ),
    Case(
        "a view",
        "import torch\nt = torch.zeros(4, 5000)\nv = t[1, ::2]\nw = t.T",
        "t v w",
        "v.fill_(v[0].item() + 1) is v and t[1, 0] == v[0] and t[1, 1] == 0 and w[0, 1] == v[0] and w.shape == (5000, 4)",
        "torch",
    ),
    Case(
        "a small part of a large tensor",
        "import torch\nt = torch.zeros(100, 100)\nv = t[:, 3]\ndel t",
        "v",
        "v.shape == (100,) and v.untyped_storage().nbytes() == 400 or v.stride() == (100,)",
        "torch",
    ),
    Case(
        "an expanded tensor",
        "import torch\nt = torch.ones(3, 1).expand(3, 1000)",
        "t",
        "t.sum() == 3000 and t.untyped_storage().nbytes() == 12",
        "torch",
    ),
    Case(
        "a parameter, with its gradient",
        "import torch\np = torch.nn.Parameter(torch.ones(3))\n(p * 2).sum().backward()\nq = torch.nn.Parameter(torch.ones(2), requires_grad=False)",
        "p q",
        "type(p).__name__ == 'Parameter' and p.requires_grad and p.grad.tolist() == [2, 2, 2] and not q.requires_grad",
        "torch",
    ),
    Case(
        "a leaf that wants a gradient",
        "import torch\nt = torch.ones(3, requires_grad=True)\nt.tag = 'x'",
        "t",
        "t.requires_grad and t.is_leaf and t.tag == 'x' and t.grad is None",
        "torch",
    ),
    Case(
        "conjugates and negatives",
        "import torch\nt = torch.tensor([1 + 2j]).conj()\nn = t.imag",
        "t n",
        "t[0].item() == 1 - 2j and n.item() == -2",
        "torch",
    ),
    Case(
        "scalars without shape, and no element",
        "import torch\na, b = torch.tensor(3), torch.empty(0, 4)",
        "a b",
        "a.item() == 3 and a.shape == () and b.shape == (0, 4)",
        "torch",
    ),
    Case(
        "a tensor on meta",
        "import torch\nt = torch.empty(3, 4, device='meta')",
        "t",
        "t.is_meta and t.shape == (3, 4)",
        "torch",
    ),
    Case(
        "sparse tensors",
        "import torch\nt = torch.eye(3).to_sparse()\nr = torch.eye(3).to_sparse_csr()",
        "t r",
        "t.to_dense().sum() == 3 and t.is_sparse and r.to_dense().sum() == 3",
        "torch",
    ),
    Case(
        "a quantized tensor",
        "import torch\nt = torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)",
        "t",
        "t.dequantize().sum() == 3 and t.is_quantized",
        "torch",
    ),
    Case(
        "a tensor made without gradients for ever",
        "import torch\nwith torch.inference_mode():\n    t = torch.ones(3) * 2",
        "t",
        "t.sum() == 6",
        "torch",
    ),
    Case(
        "devices, types and shapes",
        "import torch\nv = [torch.device('cuda:0'), torch.float32, torch.Size([2]), torch.strided]",
        "v",
        "str(v[0]) == 'cuda:0' and v[2].numel() == 2 and str(v[1]) == 'torch.float32'",
        "torch",
    ),
    Case(
        "a module and its optimizer",
        "import torch\nfrom torch import nn\nclass Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.a = nn.Linear(4, 8)\n        self.n = nn.BatchNorm1d(8)\n"
        "        self.b = nn.Linear(8, 1)\n    def forward(self, x): return self.b(torch.relu(self.n(self.a(x))))\n"
        "net = Net()\nopt = torch.optim.AdamW(net.parameters(), lr=.01)\nsched = torch.optim.lr_scheduler.StepLR(opt, 1, .5)\nx = torch.ones(3, 4)\n"
        "def step():\n    opt.zero_grad()\n    before = net.b.bias.item()\n    net(x).sum().backward()\n    opt.step()\n    sched.step()\n    return net.b.bias.item() != before\nstep()",
        "net opt sched x step torch",
        "opt.param_groups[0]['params'][0] is net.a.weight and sched.optimizer is opt and step() and"
        " opt.state[net.a.weight]['step'] >= 1 and net.a.weight.grad is not None and net.training",
        "torch",
    ),
    Case(
        "weights that are tied",
        "import torch\nfrom torch import nn\ne, l = nn.Embedding(9, 4), nn.Linear(4, 9, bias=False)\nl.weight = e.weight\nm = nn.Sequential(e, l)",
        "m",
        "m[0].weight is m[1].weight and len(list(m.parameters())) == 1",
        "torch",
    ),
    Case(
        "a dict of state shares its memory",
        "import torch\nm = torch.nn.Linear(200, 200)\ns = m.state_dict()",
        "m s",
        "s['weight'].data_ptr() == m.weight.data_ptr() and s['bias'].data_ptr() == m.bias.data_ptr()",
        "torch",
    ),
    Case(
        "one memory, two parameters",
        "import torch\nflat = torch.zeros(6)\np, q = torch.nn.Parameter(flat[:3]), torch.nn.Parameter(flat[3:])",
        "p q flat",
        "flat.add_(1) is flat and p[0] == flat[0] and q[2] == flat[5]",
        "torch",
    ),
    Case(
        "random generators",
        "import torch\ng = torch.Generator().manual_seed(5)\ntorch.rand(3, generator=g)\ns = g.get_state()",
        "g s",
        "bool((g.get_state() == s).all())",
        "torch",
    ),
    Case(
        "data and its loader",
        "import torch\nfrom torch.utils.data import Dataset, DataLoader, TensorDataset, random_split\nclass D(Dataset):\n    def __len__(self): return 10\n    def __getitem__(self, i): return torch.tensor([float(i)])\n"
        "d = D()\nl = DataLoader(d, batch_size=4, shuffle=True, generator=torch.Generator().manual_seed(1))\na, b = random_split(TensorDataset(torch.arange(10)), [7, 3])",
        "d l a b torch",
        "l.dataset is d and sum(x.sum().item() for x in l) == 45 and len(a) == 7 and a.dataset is b.dataset",
        "torch",
    ),
    Case(
        "a function without gradients",
        "import torch\n@torch.no_grad()\ndef f(x): return x * 2\n@torch.inference_mode()\ndef g(x): return x * 3",
        "f g torch",
        "not f(torch.ones(1, requires_grad=True)).requires_grad and g(torch.ones(1)).item() == 3 and f.__name__ == 'f'",
        "torch",
    ),
    Case(
        "a module with hooks, buffers and a lambda",
        "import torch\nm = torch.nn.Linear(2, 2)\nm.register_buffer('b', torch.ones(2))\nm.register_forward_hook(lambda m, i, o: o * 0)\nm.act = lambda x: x + 1",
        "m torch",
        "m(torch.ones(1, 2)).sum() == 0 and m.b.sum() == 2 and m.act(1) == 2",
        "torch",
    ),
    Case(
        "a function of gradients of the notebook",
        "import torch\nclass F(torch.autograd.Function):\n    @staticmethod\n    def forward(ctx, x): return x * 2\n    @staticmethod\n    def backward(ctx, g): return g * 5\ndef f():\n    t = torch.ones(1, requires_grad=True)\n    F.apply(t).backward()\n    return t.grad.item()",
        "F f torch",
        "f() == 5",
        "torch",
    ),
]
