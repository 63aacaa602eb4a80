"""Cells with the names that they read and bind, and notebooks with what a cell needs of them."""

from __future__ import annotations

import sys
import textwrap
from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        title: A few words for it.
        source: The cell.
        reads: The names it may look up from outside, separated by spaces.
        binds: The names it may bind.
        python: The oldest Python that has its syntax.
    """

    title: str
    source: str
    reads: str = ""
    binds: str = ""
    python: tuple[int, int] = (3, 10)

    def __post_init__(self) -> None:
        object.__setattr__(self, "source", textwrap.dedent(self.source).strip("\n"))


@dataclass(frozen=True)
class Notebook:
    """What ran before a cell, and what the cell needs of it.

    Attributes:
        title: A few words for it.
        before: Source that ran before.
        source: The cell.
        needs: The names it needs.
    """

    title: str
    before: str
    source: str
    needs: str

    def __post_init__(self) -> None:
        for field in ("before", "source"):
            object.__setattr__(self, field, textwrap.dedent(getattr(self, field)).strip("\n"))


ORDER = [
    Cell("two names", "x = a + b", "a b", "x"),
    Cell("bound, then read", "x = 1\nprint(x)", "", "x"),
    Cell("read, then bound", "print(x)\nx = 1", "x", "x"),
    Cell("read in its own assignment", "x = x + 1", "x", "x"),
    Cell("augmented assignment", "x += y", "x y", "x"),
    Cell("augmented after assignment", "x = 0\nx += 1", "", "x"),
    Cell("augmented item, then walrus", "a.x += (a := 1)", "a", "a"),
    Cell("augmented item", "d[k] += v", "d k v"),
    Cell("attribute set", "model.lr = rate", "model rate"),
    Cell("item set", "cache[key] = value", "cache key value"),
    Cell("chained assignment", "a = b = c", "c", "a b"),
    Cell("target read after value", "a = d[a] = 5", "d", "a"),
    Cell("unpacking", "a, *b = t\nprint(a, b)", "t", "a b"),
    Cell("nested unpacking", "(a, (b, [c, *d])), e.f = t", "t e", "a b c d"),
    Cell("swap", "a, b = b, a", "a b", "a b"),
    Cell("delete", "del tmp", "tmp", "tmp"),
    Cell("delete what was bound", "tmp = 1\ndel tmp", "", "tmp"),
    Cell("delete several", "del a, (b, c), d[i], e.f", "a b c d e i", "a b c"),
    Cell("bound again after delete", "del x\nx = 1\nx", "x", "x"),
    Cell("annotated assignment", "x: int = 3\nx", "", "x"),
    Cell("annotation alone", "x: Tensor\ny = x", "Tensor x", "y"),
    Cell("annotation after value", "x: x = 3", "", "x"),
    Cell("attributes are no names", "a.b.c.d(e.f)[g.h]", "a e g"),
    Cell("keyword arguments are no names", "f(x=y, *z, **w)", "f w y z"),
    Cell("slices", "a[b:c:d, ..., None]", "a b c d"),
    Cell("dict and set displays", "{a: b, **c}, {d, *e}", "a b c d e"),
    Cell("dict evaluates pair by pair", "{1: b, (b := 2): b}", "b", "b"),
    Cell("f-string with nested format", "print(f'{name!r:>{width}.{digits}} {n=}')", "digits n name width"),
    Cell("walrus", "if (k := fetch()): print(k)", "fetch", "k"),
    Cell("walrus read before", "print(k, (k := 1))", "k", "k"),
    Cell("walrus after and", "a and (b := 1)\nb", "a b", "b"),
    Cell("walrus first in and", "(b := f()) and b.x\nb", "f", "b"),
    Cell("walrus in one arm", "(u := 1) if c else 2\nu", "c u", "u"),
    Cell("walrus in both arms", "(u := 1) if c else (u := 2)\nu", "c", "u"),
    Cell("chained comparison", "a < (b := c) < d\nb", "a c d", "b"),
    Cell("walrus late in a comparison", "a < b < (c := d)\nc", "a b c d", "c"),
    Cell("import", "import numpy as np\nnp.zeros(n)", "n", "np"),
    Cell("import of a submodule", "import os.path\nos.path.join(p)", "p", "os"),
    Cell("import from", "from math import sin as s, cos\ns(cos(x))", "x", "s cos"),
    Cell("star import", "from math import *\nsin(x)", "sin x"),
    Cell("assert's message", "assert x, (y := msg)\ny", "x y msg", "y"),
    Cell("raise", "raise E(text) from cause", "E cause text"),
    Cell("nothing after raise", "raise E\nprint(x)", "E"),
    Cell("only builtins", "print(len(range(3)), sorted([1]), int('3'))"),
    Cell("names of the shell", "print(_, __, _3, _i, In, Out, __name__)\ndisplay(get_ipython())"),
    Cell("other dunder names", "print(__version__)", "__version__"),
    Cell("unicode", "größe = länge * 2", "länge", "größe"),
]

BLOCKS = [
    Cell("if and else", "if c:\n  z = 1\nelse:\n  z = 2\nprint(z)", "c", "z"),
    Cell("if alone", "if c:\n  z = 1\nprint(z)", "c z", "z"),
    Cell("elif without else", "if c:\n  z = 1\nelif d:\n  z = 2\nz", "c d z", "z"),
    Cell("elif with else", "if c:\n  z = 1\nelif d:\n  z = 2\nelse:\n  z = 3\nz", "c d", "z"),
    Cell("else raises", "if c:\n  z = 1\nelse:\n  raise E\nz", "c E", "z"),
    Cell("if main", "if __name__ == '__main__':\n  args = parse()\nargs", "parse", "args"),
    Cell("if missing, make it", "if 'm' not in globals():\n  m = load()\nm", "load m", "m"),
    Cell("for", "for i in range(n):\n  s = i\nprint(s)", "n s", "i s"),
    Cell("for target after it", "for i in xs: pass\nprint(i)", "i xs", "i"),
    Cell(
        "for reads what the last turn bound",
        "for x in xs:\n  if x: print(last)\n  last = x",
        "last xs",
        "last x",
    ),
    Cell("for with else", "for i in xs: pass\nelse:\n  z = 1\nz", "xs", "i z"),
    Cell("for with break and else", "for i in xs:\n  if i: break\nelse:\n  z = 1\nz", "xs z", "i z"),
    Cell("break after binding", "for i in xs:\n  z = i\n  break\nelse:\n  z = 0\nz", "xs", "i z"),
    Cell("for into an item", "for d[k] in xs: pass", "d k xs"),
    Cell("while", "while c: z = 1\nz", "c z", "z"),
    Cell("while with else", "while c: pass\nelse: z = 1\nz", "c", "z"),
    Cell("while true", "while True:\n  z = f()\n  if z: break\nz", "f", "z"),
    Cell("while with walrus", "while chunk := f():\n  use(chunk)\nchunk", "f use", "chunk"),
    Cell("continue", "for x in xs:\n  if x: continue\n  y = 1\ny", "xs y", "x y"),
    Cell("with", "with open(p) as h: d = h.read()\nd", "p", "d h"),
    Cell("with several", "with a as x, b(x) as (y, z.w): pass", "a b z", "x y"),
    Cell(
        "with suppress",
        "from contextlib import suppress\nwith suppress(E):\n  x = f()\nx",
        "E f x",
        "suppress x",
    ),
    Cell("try that binds in both", "try:\n  m = load()\nexcept E:\n  m = None\nm", "E load", "m"),
    Cell("try that passes", "try:\n  m = load()\nexcept E:\n  pass\nm", "E load m", "m"),
    Cell("try that raises", "try:\n  m = load()\nexcept E as e:\n  raise F from e\nm", "E F load", "e m"),
    Cell(
        "handler reads what may be bound",
        "try:\n  a = f()\n  b = g(a)\nexcept E:\n  print(a)",
        "E a f g",
        "a b",
    ),
    Cell("error's name", "try: f()\nexcept E as e: print(e)", "E f", "e"),
    Cell("try with else", "try: f()\nexcept E: raise\nelse: z = 1\nz", "E f", "z"),
    Cell("finally binds", "try: f()\nfinally: z = 1\nz", "f", "z"),
    Cell("finally reads", "try:\n  z = f()\nfinally:\n  print(z)\nz", "f z", "z"),
    Cell("except star", "try: f()\nexcept* E as g: h(g)", "E f h", "g", (3, 11)),
    Cell("match", "match cmd:\n  case [a, b]: print(a, b)\n  case _: pass", "cmd", "a b"),
    Cell("match with classes", "match p:\n  case Point(x=0, y=Y.z) as q if q.ok(r): q", "Point Y p r", "q"),
    Cell(
        "match a mapping",
        "match d:\n  case {K.a: v, **rest}: v, rest\n  case [*others]: others",
        "K d",
        "v rest others",
    ),
    Cell("match all ways bind", "match c:\n  case 1: z = 1\n  case other: z = other\nz", "c", "z other"),
    Cell("match some ways bind", "match c:\n  case 1: z = 1\n  case 2: z = 2\nz", "c z", "z"),
    Cell("async for", "async for x in stream:\n  use(x)", "stream use", "x"),
    Cell("async with and await", "async with lock as l:\n  r = await get(url)\nr", "get lock url", "l r"),
]

SCOPES = [
    Cell("function", "def f(y): return y * lr + g(y)\nlr = 1", "g", "f lr"),
    Cell("function called before", "def f(): return lr\nf()\nlr = 1", "lr", "f lr"),
    Cell("function called after", "def f(): return lr\nlr = 1\nf()", "", "f lr"),
    Cell("function calls function", "def f(): return g()\ndef g(): return z\nf()", "z", "f g"),
    Cell("functions that call each other", "def f(): return g()\ndef g(): return f()", "", "f g"),
    Cell("function bound in a branch", "def f(): return x\nif c: x = 1", "c x", "f x"),
    Cell("function replaced in a loop", "while f():\n  def f(): return z\nz = 1", "f z", "f z"),
    Cell(
        "function defined after its caller got away",
        "def f(): return g()\nfs = [f]\ndef g(): return z\nz = 1",
        "g z",
        "f fs g z",
    ),
    Cell("recursion", "def rec(n): return rec(n - 1) if n else 0\nrec(3)", "", "rec"),
    Cell(
        "recursion behind a cache",
        "import functools\n@functools.cache\ndef f(n): return f(n - 1)",
        "",
        "f functools",
    ),
    Cell("decorator may call", "@now\ndef f(): return x\nx = 1", "now x", "f x"),
    Cell("decorator that only keeps", "class A:\n  @property\n  def p(self): return x\nx = 1", "", "A x"),
    Cell("decorator with arguments", "@app.route(path)\ndef f(): pass", "app path", "f"),
    Cell("defaults", "def f(a=x, *, b=y): return a + b", "x y", "f"),
    Cell(
        "local names",
        "def f(a, *b, c=1, **d):\n  e = a\n  for g in b: pass\n  return a, b, c, d, e, g",
        "",
        "f",
    ),
    Cell("local bound later", "def f():\n  print(x)\n  x = 1", "", "f"),
    Cell("local import and walrus", "def f():\n  import os\n  if (y := os.name): return y", "", "f"),
    Cell("closure", "def o():\n  s = 1\n  def i(): return s + glob\n  return i", "glob", "o"),
    Cell("nonlocal", "def o():\n  n = 0\n  def i():\n    nonlocal n\n    n += step\n  return i", "step", "o"),
    Cell("global assigned", "def f():\n  global state\n  state = 1\n  return state", "", "f state"),
    Cell("global read first", "def f():\n  global n\n  n += 1", "n", "f n"),
    Cell(
        "global past a local",
        "def o():\n  x = 1\n  def i():\n    global x\n    return x\n  return i",
        "x",
        "o",
    ),
    Cell(
        "global in the middle",
        "def o():\n  x = 1\n  def m():\n    global x\n    x = 2\n    def i(): return x\n  return m",
        "",
        "o x",
    ),
    Cell("global deleted", "def f():\n  global x\n  del x", "x", "f x"),
    Cell("annotations", "def f(a: T, *b: U) -> V:\n  c: W = a\n  d: X\n  return c", "T U V", "f"),
    Cell(
        "annotations not evaluated",
        "from __future__ import annotations\ndef f(a: T) -> V:\n  pass\nx: W = 1",
        "",
        "annotations f x",
    ),
    Cell(
        "annotated with an own class",
        "class M:\n  def m(self): return K\ndef f(m: M) -> M: pass\nK = 1",
        "",
        "K M f",
    ),
    Cell("lambda", "f = lambda u, v=w: u + v + x", "w x", "f"),
    Cell("lambda bound, called later", "f = lambda u: u + v\nv = 1\nf(1)", "", "f v"),
    Cell("lambda given away", "sorted(xs, key=lambda r: r[col])\ncol = 1", "col xs", "col"),
    Cell("list comprehension", "[q * k for q in rows if q in ok]", "k ok rows"),
    Cell("comprehension's names are its own", "[i for i in xs]\ni", "i xs"),
    Cell("iterable of the same name", "x = [x for x in x]", "x", "x"),
    Cell("second iterable", "[b for a in xs for b in a.get(b2)]", "b2 xs"),
    Cell("second iterable reads its target", "[1 for a in xs for a in a]", "xs"),
    Cell("dict and set comprehensions", "{k: f(v) for k, v in d.items()}, {g(x) for x in s}", "d f g s"),
    Cell("walrus leaks from a comprehension", "any((hit := x) > lim for x in xs)\nhit", "hit lim xs", "hit"),
    Cell("walrus in a condition", "[y for x in xs if (y := f(x))]", "f xs", "y"),
    Cell("running total", "t = 0\n[t := t + v for v in vs]", "vs", "t"),
    Cell("walrus leaks into a function", "def f():\n  [y := x for x in xs]\n  return y", "xs", "f"),
    Cell("generator bound, run later", "g = (q * k for q in rows)\nk = 2\nlist(g)", "rows", "g k"),
    Cell("generator run at once", "s = sum(q * k for q in rows)\nk = 2", "k rows", "k s"),
    Cell("async comprehension", "r = [await f(x) async for x in stream]", "f stream", "r"),
    Cell("class", "class A(Base):\n  w = W\n  def m(self): return self.t + H", "Base H W", "A"),
    Cell("class keywords and decorator", "@deco\nclass A(metaclass=M, k=v): pass", "M deco v", "A"),
    Cell("class body runs at once", "class A:\n  x = y\ny = 1", "y", "A y"),
    Cell("methods run later", "class A:\n  def m(self): return y\ny = 1\nA().m()", "", "A y"),
    Cell("method called before", "class A:\n  def m(self): return y\nA().m()\ny = 1", "y", "A y"),
    Cell("class scope is not seen in methods", "class A:\n  k = 1\n  def m(self): return k", "k", "A"),
    Cell("class scope is seen in its body", "class A:\n  k = 1\n  j = k", "", "A"),
    Cell("class body falls through", "class A:\n  x = x", "x", "A"),
    Cell(
        "class in a function falls through", "def f():\n  x = 1\n  class A:\n    x = x\n  return A", "x", "f"
    ),
    Cell("class in a function closes over", "def f():\n  x = 1\n  class A:\n    y = x\n  return A", "", "f"),
    Cell("comprehension in a class", "class A:\n  ks = [1]\n  n = 2\n  a = [n for k in ks]", "n", "A"),
    Cell("class in a class", "class A:\n  x = 1\n  class B:\n    y = x", "x", "A"),
    Cell("class method calls its own class", "class N:\n  def add(self): return N()\nN().add()", "", "N"),
    Cell(
        "subclass of an own class",
        "class A:\n  def m(self): return h()\nclass B(A): pass\ndef h(): pass\nB().m()",
        "",
        "A B h",
    ),
    Cell(
        "subclass hook",
        "class A:\n  def __init_subclass__(cls): reg\nclass B(A): pass\nreg = 1",
        "reg",
        "A B reg",
    ),
    Cell(
        "dataclass",
        """
        from dataclasses import dataclass
        @dataclass
        class P:
          x: int
          y: T = d
          def s(self): return self.x * k
        k = 1
        """,
        "T d",
        "P dataclass k",
    ),
    Cell("super and __class__", "class A:\n  def m(self): return super().m(), __class__", "", "A"),
    Cell("shadowed builtin", "list = 3\nprint(list)", "", "list"),
    Cell("generator function", "def g():\n  yield from xs\n  y = yield n", "n xs", "g"),
    Cell("async function", "async def f():\n  async with a as b:\n    return await b.get(url)", "a url", "f"),
    Cell("type parameters", "def f[T: Bound](x: T) -> list[T]: return other(x)", "Bound other", "f", (3, 12)),
    Cell(
        "class with type parameters",
        "class A[T](Base[T]):\n  x: T\n  def m(self, y: T): return y",
        "Base",
        "A",
        (3, 12),
    ),
    Cell("type alias", "type X[T] = list[T] | Other | X", "Other", "X", (3, 12)),
]

STRINGS = [
    Cell("exec", "exec('y = x + 1')\ny", "x", "y"),
    Cell("eval", "z = eval('x + 1')", "x", "z"),
    Cell("eval with its own names", "eval('x + 1', {'x': y})", "y"),
    Cell("eval with globals", "eval('x + 1', globals())", "x"),
    Cell("exec of what can't be known", "exec(code)", "code"),
    Cell("exec of no Python", "exec('1 +')"),
    Cell("globals", "globals()['x'] + locals()['y'] + vars()['z']", "x y z"),
    Cell("globals set", "globals()['x'] = 1\nx", "", "x"),
    Cell("globals get", "globals().get('x', d)", "d x"),
    Cell("globals in a function", "def f():\n  x = 1\n  return globals()['x']", "x", "f"),
    Cell(
        "locals in a function",
        "def f(x):\n  locals()['y'] = 1\n  return locals()['x'], vars()['y']",
        "y",
        "f",
    ),
    Cell("globals deleted", "del globals()['x']", "x", "x"),
    Cell("query", "df.query('a > @limit and b in @names.values')", "df limit names"),
    Cell("query over lines", "df.query('''\n  a > @lo\n  and a < @hi\n''')", "df hi lo"),
    Cell("query in an f-string", "df.query(f'{col} > @limit')", "col df limit"),
    Cell("query by keyword", "df.query(expr='a > @limit', inplace=True)", "df limit"),
    Cell("query in a function", "def f(df):\n  low = 1\n  return df.query('@low < a < @high')", "high", "f"),
    Cell("frame eval", "df.eval('c = a + @x')", "df x"),
    Cell("pandas eval", "import pandas as pd\npd.eval('a + b.c')", "a b", "pd"),
    Cell("model eval", "model.eval()", "model"),
]

MAGICS = [
    Cell("matplotlib", "%matplotlib inline\ndf.plot()", "df"),
    Cell("load_ext and autoreload", "%load_ext autoreload\n%autoreload 2"),
    Cell("time", "%time r = fit(x)\nr", "fit x", "r"),
    Cell("timeit", "%timeit -n 10 -r3 f(x)", "f x"),
    Cell("timeit binds nothing", "%timeit y = f(x)\ny", "f x y"),
    Cell("timeit assigned", "t = %timeit -o f(x)", "f x", "t"),
    Cell("prun", "%prun -l 5 -s cumulative train(m)", "m train"),
    Cell("time of a negative", "%time -x + y", "x y"),
    Cell("timeit with joined options", "%timeit -qo -n3 f(-x)", "f x"),
    Cell("time with a long option", "%time --no-raise-error f(x)", "f x"),
    Cell("memit", "%memit -r 1 big(n)", "big n"),
    Cell("lprun", "%lprun -f helper -f mod.g main(x)", "helper main mod x"),
    Cell("in a function", "def f(a):\n  %timeit g(a, b)", "b g", "f"),
    Cell("in a loop", "for f in fs:\n    !wc {f} $opts", "fs opts", "f"),
    Cell("shell", "!ls {path} $name", "name path"),
    Cell("shell with an expression", "!head -n {n // 2} {paths[0]}", "n paths"),
    Cell("shell in single quotes", "!echo '$x' \"$y\"", "y"),
    Cell("shell with escapes", "!echo $$x {{y}} $z", "z"),
    Cell("shell with awk", "!awk '{print $1}' {path}"),
    Cell("shell assigned", "files = !ls {path}\nfiles", "path", "files"),
    Cell("shell captured", "!!cat $name", "name"),
    Cell("over lines", "!cat \\\n  {a} \\\n  {b}", "a b"),
    Cell("cd and env", "%cd {root}/data\n%env KEY=$value", "root value"),
    Cell("pip", "%pip install -q {package}", "package"),
    Cell("help", "x?\nf.g??", "f x"),
    Cell("help before", "?x", "x"),
    Cell("help for a magic", "%timeit?"),
    Cell("wildcard help", "np.*load*?"),
    Cell("pinfo", "%pinfo x.y", "x"),
    Cell("who", "%who\n%whos DataFrame"),
    Cell("store", "%store x y", "x y"),
    Cell("store back", "%store -r x\nx", "", "x"),
    Cell("xdel", "%xdel x", "x", "x"),
    Cell("run a script", "%run script.py --lr {lr}", "lr"),
    Cell("cell time", "%%time\nr = fit(x)\nr", "fit x", "r"),
    Cell("cell time with magics inside", "%%time\n%matplotlib inline\nr = !ls {p}", "p", "r"),
    Cell("cell timeit", "%%timeit -n 3 s = load()\nt = s + x", "load x"),
    Cell("cell capture", "%%capture --no-stderr out\nf(x)\ny = 1", "f x", "out y"),
    Cell("cell prun", "%%prun -q\ny = f(x)", "f x", "y"),
    Cell("cell in a cell", "%%time\n%%capture c\ny = x", "x", "c y"),
    Cell("cell of bash", "%%bash -s {arg}\necho $HOME {x}\ny=1", "arg"),
    Cell("cell of bash with output", "%%bash --out lines --err=errors\nls", "", "lines errors"),
    Cell("cell of another shell", "%%sh\nls $x"),
    Cell("cell of a script", "%%script $shell --out o\nx", "shell", "o"),
    Cell("cell of shell lines", "%%sx\nls {path}", "path"),
    Cell("cell to a file", "%%writefile {folder}/a.py\nimport x\ny = z", "folder"),
    Cell("cell of HTML", "%%html\n<b>{x}</b>"),
    Cell("cell of JavaScript", "%%javascript\nalert(x)"),
    Cell("cell of LaTeX", "%%latex\n$x$"),
    Cell("cell of perl", "%%perl\nprint x"),
    Cell("cell of R", "%%R -i df,n -o fit\nfit <- lm(y ~ x, df)", "df n", "fit"),
    Cell("remote cell", "%%remote --gpu A100 --in a,b --out c\nc = f(x)", "a b f x", "c"),
    Cell("unknown cell magic with Python", "%%heat -o\nf(x)", "f x"),
    Cell("unknown cell magic without", "%%sparql\nselect ?x where {?x a ?y}"),
    Cell("prompts pasted", ">>> y = x\n>>> print(y)", "x", "y"),
    Cell("indented", "    y = x\n    z = y", "x", "y z"),
    Cell("called by hand", "get_ipython().run_line_magic('time', 'f(x)')", "f x"),
    Cell(
        "run in the shell by hand", "get_ipython().system(f'ls {x}')\nget_ipython().ex('y = z')", "x z", "y"
    ),
    Cell("top-level await", "r = await fetch(url)", "fetch url", "r"),
]

BROKEN = [
    Cell("syntax error", "x = = a"),
    Cell("syntax error after good lines", "a = b\nc = ("),
    Cell("empty", ""),
    Cell("comment", "# x = y"),
    Cell("a cell that IPython stumbles over", "$=%\\"),
    Cell("null byte", "x = a\0"),
    Cell("automagic", "ls -l {x}"),
    Cell("too deep", "x = " + "(" * 300 + "a" + ")" * 300),
]

NOTEBOOKS = [
    Notebook("names that are there", "a = 1", "x = a + b + print(c)", "a"),
    Notebook("function and its globals", "lr = 1\ndef f(): return lr", "f()", "f lr"),
    Notebook("function of functions", "k = 1\ndef g(): return k\ndef f(): return g()", "f()", "f g k"),
    Notebook("bound by the cell", "lr = 1\ndef f(): return lr", "lr = 2\nf()", "f"),
    Notebook("bound by the cell too late", "lr = 1\ndef f(): return lr", "f()\nlr = 2", "f lr"),
    Notebook("bound in one branch", "lr = 1\nc = 1\ndef f(): return lr", "if c: lr = 2\nf()", "c f lr"),
    Notebook(
        "function bound by the cell",
        "k = 1\ndef g(): return k\ndef f(): return g()",
        "def g(): return 2\nf()",
        "f",
    ),
    Notebook("function of the cell calls", "k = 1\ndef f(): return k", "def h(): return f()\nh()", "f k"),
    Notebook(
        "both define it", "k = m = 1\ndef h(): return k\ndef f(): return h()", "def h(): return m\nf()", "f m"
    ),
    Notebook("functions that call each other", "def f(): return g()\ndef g(): return f()", "f()", "f g"),
    Notebook(
        "attributes are no names",
        "real = 1\nimport os\ndef f(x): return os.path.real(x).real",
        "f(1)",
        "f os",
    ),
    Notebook(
        "nested function", "k = 1\ndef f():\n  def g(): return [k for _ in ()]\n  return g", "f()", "f k"
    ),
    Notebook(
        "closure",
        "k = 1\ndef outer():\n  def g(): return k\n  def f(): return g()\n  return f\nf = outer()\ndel outer",
        "f()",
        "f k",
    ),
    Notebook(
        "wrapped",
        """
        import functools
        k = 1
        def deco(f):
          @functools.wraps(f)
          def w(): return f()
          return w
        @deco
        def f(): return k
        """,
        "f()",
        "f k",
    ),
    Notebook("cached", "import functools\nk = 1\n@functools.lru_cache\ndef f(): return k", "f()", "f k"),
    Notebook(
        "wrapped by a module",
        "import contextlib\nk = 1\n@contextlib.contextmanager\ndef f(): yield k",
        "with f(): pass",
        "f k",
    ),
    Notebook(
        "partial", "import functools\nk = 1\ndef g(x): return k\nf = functools.partial(g, 1)", "f()", "f k"
    ),
    Notebook(
        "default argument",
        "k = 1\ndef g(): return k\ndef f(h=g, *, i=lambda: j): return h()\nj = 1",
        "f()",
        "f j k",
    ),
    Notebook("lambda", "k = 1\nf = lambda: k", "f()", "f k"),
    Notebook(
        "generator and async", "k = m = 1\ndef g(): yield k\nasync def a(): return m", "g(), a()", "a g k m"
    ),
    Notebook("class", "k = 1\nclass A:\n  def m(self): return k", "A().m()", "A k"),
    Notebook(
        "kinds of methods",
        """
        a = b = c = d = 1
        class A:
          @property
          def p(self): return a
          @staticmethod
          def s(): return b
          @classmethod
          def c(cls): return c
          class In:
            def m(self): return d
        """,
        "A",
        "A a b c d",
    ),
    Notebook("instance", "k = 1\nclass A:\n  def m(self): return k\nx = A()", "x.m()", "k x"),
    Notebook("bound method", "k = 1\nclass A:\n  def m(self): return k\nf = A().m", "f()", "f k"),
    Notebook(
        "base class", "k = 1\nclass A:\n  def m(self): return k\nclass B(A): pass\nx = B()", "x.m()", "k x"
    ),
    Notebook(
        "metaclass",
        "k = 1\nclass M(type):\n  def __call__(cls): return k\nclass A(metaclass=M): pass",
        "A()",
        "A k",
    ),
    Notebook(
        "default factory",
        """
        from dataclasses import dataclass, field
        k = 1
        @dataclass
        class P:
          x: list = field(default_factory=lambda: [k])
        """,
        "P()",
        "P k",
    ),
    Notebook(
        "singledispatch",
        """
        import functools
        a = b = 1
        @functools.singledispatch
        def f(x): return a
        @f.register(int)
        def _(x): return b
        """,
        "f(1)",
        "a b f",
    ),
    Notebook(
        "cached property",
        "import functools\nk = 1\nclass A:\n  @functools.cached_property\n  def p(self): return k\nx = A()",
        "x.p",
        "k x",
    ),
    Notebook(
        "slots",
        "k = 1\nclass A:\n  __slots__ = 'f'\n  def __init__(self): self.f = lambda: k\nx = A()",
        "x.f()",
        "k x",
    ),
    Notebook("functions in containers", "a = b = 1\nfs = [lambda: a, {'x': lambda: b}]", "fs[0]()", "a b fs"),
    Notebook(
        "object of a module holds a function",
        "import types\nk = 1\nx = types.SimpleNamespace(f=lambda: k)",
        "x.f()",
        "k x",
    ),
    Notebook("function of a module", "import textwrap\nf = textwrap.dedent\nre = 1", "f('')", "f"),
    Notebook(
        "subclass of a class there", "k = 1\nclass A:\n  def m(self): return k", "class B(A): pass", "A k"
    ),
    Notebook("shadowed builtin", "list = [1]", "list[0]", "list"),
    Notebook(
        "shadowed builtin in a function",
        "len = lambda x: k\nk = 1\ndef f(): return len(())",
        "f()",
        "f k len",
    ),
    Notebook("own name of the kernel", "_ = 1\nIn = []\nexit = print", "_, In", ""),
    Notebook(
        "what IPython gives", "from IPython.display import display\nexit = display", "display(1), exit", ""
    ),
    Notebook("query in a function", "limit = 1\ndef f(df): return df.query('a > @limit')", "f(0)", "f limit"),
    Notebook("globals in a function", "k = 1\ndef f(): return globals()['k']", "f()", "f k"),
    Notebook("shell line", "path = '.'\nHOME = 1", "!ls {path}", "path"),
    Notebook("syntax error", "a = 1", "a = a +", ""),
]

CELLS = [
    cell for cell in (*ORDER, *BLOCKS, *SCOPES, *STRINGS, *MAGICS, *BROKEN) if sys.version_info >= cell.python
]
