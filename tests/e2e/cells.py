"""Real notebook cells whose outputs must be the same wherever they run.

Each stands alone, reads nothing from the network, and gives the same outputs each time, save for what
`outputs.normalize` takes away. Modules they need are in the ``test`` extra.
"""

from __future__ import annotations

import sys
import textwrap
from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        name: A few words for it.
        code: Its source.
        expect: The kinds of its outputs in order, as `outputs.kinds` names them.
        setup: Source of a cell to run before it.
        python: The oldest Python it works with.
    """

    name: str
    code: str
    expect: tuple[str, ...] = ("stdout",)
    setup: str = ""
    python: tuple[int, int] = (3, 10)

    def __post_init__(self) -> None:
        object.__setattr__(self, "code", textwrap.dedent(self.code).strip("\n"))


STREAMS = [
    Cell("print", "print('hello')"),
    Cell("print without newline", "print('a', end=''); print('b', end='')"),
    Cell("stderr", "import sys; print('oops', file=sys.stderr)", ("stderr",)),
    Cell(
        "stdout and stderr in turn",
        """
        import sys
        for i in range(3):
            print('out', i, flush=True)
            print('err', i, file=sys.stderr, flush=True)
        """,
        ("stdout", "stderr") * 3,
    ),
    Cell(
        "flush between waits",
        """
        import time
        for i in range(4):
            print(i, end=' ', flush=True)
            time.sleep(0.05)
        """,
    ),
    Cell("write and its result", "import sys; sys.stdout.write('x\\n')", ("stdout", "result")),
    Cell("writelines", "import sys; sys.stdout.writelines(['a\\n', 'b\\n'])"),
    Cell("nothing at all", "x = 1", ()),
    Cell("only a comment", "# nothing to do", ()),
    Cell("unicode", "print('naïve 漢字 😀 e\\u0301 \\u202eright to left\\u202c')"),
    Cell("control characters", "print('a\\tb\\x07c\\x00d\\x1b[31mred\\x1b[0m\\x0c')"),
    Cell("carriage returns", "for i in range(5): print(f'\\r{i} of 4', end='', flush=True)"),
    Cell("backspaces", "print('abc\\b\\bX')"),
    Cell("windows line ends", "print('a\\r\\nb\\r\\n', end='')"),
    Cell("ten thousand lines", "for i in range(10_000): print(i)"),
    Cell("a line of a megabyte", "print('0123456789abcdef' * 65536)"),
    Cell("a hundred flushes", "for i in range(100): print(i, flush=True)"),
    Cell(
        "is it a terminal", "import sys; print(sys.stdout.isatty(), sys.stdin is None, sys.stdout.encoding)"
    ),
    Cell(
        "a thread that prints and is joined",
        """
        import threading
        t = threading.Thread(target=lambda: print('from a thread', flush=True))
        t.start(); t.join()
        """,
    ),
    Cell(
        "redirected output",
        """
        import contextlib, io
        with contextlib.redirect_stdout(io.StringIO()) as f:
            print('caught')
        print('got', f.getvalue())
        """,
    ),
    Cell(
        "logging",
        "import logging; logging.getLogger('corpus').warning('careful: %s', 1)",
        ("stderr",),
    ),
    Cell(
        "a warning",
        """
        import warnings
        warnings.warn('old', DeprecationWarning, stacklevel=1)
        """,
        ("stderr",),
    ),
    Cell(
        "tqdm as text",
        "from tqdm import tqdm\nfor _ in tqdm(range(20), ncols=60): pass",
        ("stderr",),
    ),
    Cell(
        "a child process's output",
        """
        import subprocess, sys
        print(subprocess.run([sys.executable, '-c', 'print(6 * 7)'], capture_output=True, text=True).stdout)
        """,
    ),
]

RESULTS = [
    Cell("integer", "6 * 7", ("result",)),
    Cell("None shows nothing", "None", ()),
    Cell("semicolon hides it", "42;", ()),
    Cell("text", "'it\\'s \"quoted\"\\n'", ("result",)),
    Cell("bytes", "bytes(range(256))", ("result",)),
    Cell("a large dictionary", "{i: str(i) * 3 for i in range(200)}", ("result",)),
    Cell("nested containers", "[{'a': (1, 2, {3}), 'b': [None, ..., 1j]}] * 12", ("result",)),
    Cell("a recursive list", "a = []; a.append(a); a", ("result",)),
    Cell("a long integer", "10 ** 4000", ("result",)),
    Cell("a function", "def f(x):\n    'doc'\n    return x\nf", ("result",)),
    Cell("an object's address", "object()", ("result",)),
    Cell(
        "dataclass",
        """
        from dataclasses import dataclass
        @dataclass
        class Point:
            x: int
            y: float = 0.5
        Point(1)
        """,
        ("result",),
    ),
    Cell("print then result", "print('first'); 'second'", ("stdout", "result")),
    Cell("the last result", "_ + 1", ("result",), setup="41"),
    Cell(
        "display hook by hand",
        "import sys; sys.displayhook(7)\nprint('then')",
        ("result", "stdout"),
    ),
    Cell(
        "every expression",
        "1\n'two'\n[3]",
        ("result",) * 3,
        setup="get_ipython().ast_node_interactivity = 'all'",
    ),
    Cell(
        "only the last expression",
        "1\n2",
        ("result",),
        setup="get_ipython().ast_node_interactivity = 'last_expr'",
    ),
    Cell(
        "a repr for each format",
        """
        class Rich:
            def __repr__(self): return 'plain'
            def _repr_html_(self): return '<b>html</b>'
            def _repr_latex_(self): return r'$\\alpha$'
            def _repr_markdown_(self): return '*md*'
            def _repr_json_(self): return {'a': [1, None]}
            def _repr_svg_(self): return '<svg xmlns="http://www.w3.org/2000/svg"/>'
        Rich()
        """,
        ("result",),
    ),
    Cell(
        "mimebundle with metadata",
        """
        class Bundle:
            def _repr_mimebundle_(self, include=None, exclude=None):
                data = {'text/plain': 'p', 'application/vnd.own+json': {'k': [1, 2]}}
                return data, {'text/plain': {'m': 1}}
        Bundle()
        """,
        ("result",),
    ),
    Cell(
        "a repr that fails",
        """
        class Broken:
            def __repr__(self):
                raise RuntimeError('no repr')
        Broken()
        """,
        ("RuntimeError", "failed"),
    ),
    Cell(
        "an html repr that fails",
        """
        class Half:
            def _repr_html_(self):
                raise ValueError('no html')
            def __repr__(self): return 'half'
        Half()
        """,
        ("ValueError", "result", "failed"),
    ),
    Cell("numpy array", "import numpy as np; np.arange(12.0).reshape(3, 4) / 7", ("result",)),
    Cell(
        "data frame",
        "import pandas as pd; pd.DataFrame({'a': range(100), 'b': [x / 3 for x in range(100)], 'ü': 'z'})",
        ("result",),
    ),
    Cell(
        "series", "import pandas as pd; pd.Series([1.5, None, 3], index=list('xyz'), name='s')", ("result",)
    ),
    Cell(
        "styled data frame",
        "import pandas as pd; pd.DataFrame({'a': [1, 2]}).style.set_uuid('u').highlight_max(axis=0)",
        ("result",),
    ),
]

DISPLAYS = [
    Cell("html", "from IPython.display import HTML, display; display(HTML('<b>bold</b>'))", ("display",)),
    Cell(
        "svg",
        "from IPython.display import SVG; SVG('<svg xmlns=\"http://www.w3.org/2000/svg\"/>')",
        ("result",),
    ),
    Cell(
        "latex",
        "from IPython.display import Latex, Math, display; display(Math('x^2'), Latex('$y$'))",
        ("display",) * 2,
    ),
    Cell("markdown", "from IPython.display import Markdown; Markdown('# Title\\n* one')", ("result",)),
    Cell(
        "json", "from IPython.display import JSON; JSON({'a': [1, {'b': None}]}, expanded=True)", ("result",)
    ),
    Cell(
        "javascript",
        "from IPython.display import Javascript, display; display(Javascript('1 + 1'))",
        ("display",),
    ),
    Cell("code", "from IPython.display import Code; Code('x = 1', language='python')", ("result",)),
    Cell(
        "image from bytes",
        """
        import base64
        from IPython.display import Image
        Image(base64.b64decode('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9'
                               'awAAAABJRU5ErkJggg=='), width=20, height=10)
        """,
        ("result",),
    ),
    Cell(
        "image by address",
        "from IPython.display import Image; Image(url='picture.png', width=5)",
        ("result",),
    ),
    Cell(
        "jpeg",
        """
        import io
        from PIL import Image as Picture
        from IPython.display import Image
        f = io.BytesIO(); Picture.new('RGB', (8, 8), 'red').save(f, 'JPEG'); Image(f.getvalue())
        """,
        ("result",),
    ),
    Cell("pillow picture", "from PIL import Image as Picture; Picture.new('L', (4, 4), 128)", ("result",)),
    Cell(
        "audio",
        "import numpy as np\nfrom IPython.display import Audio\nAudio(np.arange(80.0), rate=8000)",
        ("result",),
    ),
    Cell("iframe", "from IPython.display import IFrame; IFrame('page.html', 100, 50)", ("result",)),
    Cell("pretty", "from IPython.display import Pretty, display; display(Pretty('as it is'))", ("display",)),
    Cell(
        "raw bundle with metadata",
        """
        data = {'text/plain': 'p', 'application/x-own': 'v'}
        display(data, raw=True, metadata={'application/x-own': {'w': 1}})
        """,
        ("display",),
    ),
    Cell("display of several", "display(1, 'two', [3])", ("display",) * 3),
    Cell(
        "prints around a display",
        "print('before'); display('mid'); print('after')",
        ("stdout", "display", "stdout"),
    ),
    Cell(
        "update of a display",
        "h = display('old', display_id=True); print('x'); h.update('new')",
        ("display", "stdout"),
    ),
    Cell(
        "update from a later cell",
        "from IPython.display import update_display; update_display('new', display_id='corpus')",
        (),
        setup="display('old', display_id='corpus')",
    ),
    Cell(
        "one id shown twice",
        "display('a', display_id='twice'); display('b', display_id='twice');",
        ("display",) * 2,
    ),
    Cell(
        "clear output",
        "from IPython.display import clear_output\nprint('gone'); clear_output(); print('stays')",
    ),
    Cell(
        "clear output at the next output",
        """
        from IPython.display import clear_output
        for i in range(5):
            clear_output(wait=True)
            print('step', i)
        """,
    ),
    Cell(
        "clear that waits for nothing",
        "from IPython.display import clear_output\nprint('stays'); clear_output(wait=True)",
    ),
    Cell(
        "progress bar of IPython",
        "from IPython.display import ProgressBar\nfor _ in ProgressBar(3): pass",
        ("display",),
    ),
    Cell(
        "matplotlib figures",
        """
        %matplotlib inline
        import matplotlib.pyplot as plt
        for n in (1, 2):
            plt.figure(figsize=(2, 1), dpi=50)
            plt.plot(range(5), [x ** n for x in range(5)])
        plt.show()
        print('after')
        """,
        ("display", "display", "stdout"),
    ),
    Cell(
        "matplotlib figure at the cell's end",
        """
        %matplotlib inline
        import matplotlib.pyplot as plt
        plt.figure(figsize=(2, 1)); plt.hist([1, 2, 2])
        """,
        ("result", "display"),
    ),
    Cell(
        "matplotlib as svg",
        """
        %matplotlib inline
        %config InlineBackend.figure_formats = ['svg']
        %config InlineBackend.print_figure_kwargs = {'metadata': {'Date': None}}
        import matplotlib.pyplot as plt
        with plt.rc_context({'svg.hashsalt': 'corpus'}):
            plt.figure(figsize=(2, 1)); plt.bar([1, 2], [3, 4]); plt.show()
        %config InlineBackend.figure_formats = ['png']
        %config InlineBackend.print_figure_kwargs = {'bbox_inches': 'tight'}
        """,
        ("display",),
    ),
    Cell(
        "plotly",
        """
        import plotly.graph_objects as go
        go.Figure(go.Scatter(x=[1, 2], y=[3, 4])).show('plotly_mimetype')
        """,
        ("display",),
    ),
]

WIDGETS = [
    Cell("slider", "import ipywidgets as w; w.IntSlider(value=3, max=9, description='n')", ("result",)),
    Cell(
        "box of widgets",
        """
        import ipywidgets as w
        row = w.HBox([w.Button(description='go'), w.Text('t')])
        w.VBox([row, w.Dropdown(options=[('a', 1), ('b', 2)]), w.HTML('<i>')])
        """,
        ("result",),
    ),
    Cell(
        "observer and link",
        """
        import ipywidgets as w
        a, b = w.IntSlider(), w.IntText()
        link = w.jslink((a, 'value'), (b, 'value'))
        a.observe(lambda change: print('now', change['new']), 'value')
        display(a, b)
        a.value = 42
        """,
        ("display", "display", "stdout"),
    ),
    Cell(
        "picture widget",
        "import ipywidgets as w; w.Image(value=bytes(range(256)) * 64, format='png')",
        ("result",),
    ),
    Cell(
        "output widget",
        """
        import ipywidgets as w
        out = w.Output()
        display(out)
        with out:
            print('inside'); display({'text/plain': 'shown', 'text/html': '<b>shown</b>'}, raw=True)
        print('outside')
        """,
        ("display", "stdout"),
    ),
    Cell(
        "output widget that is cleared and catches an error",
        """
        import ipywidgets as w
        out = w.Output()
        display(out)
        @out.capture(clear_output=True)
        def f(x): print(x); return 1 / x
        f(1)
        f(0)
        """,
        ("display",),
    ),
    Cell(
        "interact",
        "import ipywidgets as w\n@w.interact(x=(0, 10))\ndef show(x=5): print('x is', x)",
        ("display",),
    ),
    Cell(
        "tqdm as a widget",
        "from tqdm.notebook import tqdm\nfor _ in tqdm(range(10)): pass\nprint('done')",
        ("display", "stdout"),
    ),
    Cell("closed widget", "import ipywidgets as w\nb = w.Button(); display(b); b.close()", ("display",)),
    Cell(
        "anywidget",
        """
        import anywidget, traitlets
        class Counter(anywidget.AnyWidget):
            _esm = 'export default {render({model, el}) { el.textContent = model.get("n"); }}'
            n = traitlets.Int(0).tag(sync=True)
        c = Counter(n=1); c.n = 5; c
        """,
        ("result",),
    ),
]

ASYNC = [
    Cell("await at the top", "import asyncio; await asyncio.sleep(0.01, 'slept')", ("result",)),
    Cell(
        "async for and with",
        """
        import contextlib
        @contextlib.asynccontextmanager
        async def room():
            print('in'); yield 'r'; print('out')
        async def numbers():
            for i in range(3): yield i
        async with room() as r:
            async for i in numbers(): print(r, i)
        """,
    ),
    Cell(
        "gathered tasks",
        """
        import asyncio
        async def work(n):
            await asyncio.sleep(n / 50); print('done', n, flush=True); return n * n
        await asyncio.gather(*(work(n) for n in (3, 1, 2)))
        """,
        ("stdout", "result"),
    ),
    Cell(
        "an error in a coroutine",
        """
        async def bad():
            raise KeyError('async')
        await bad()
        """,
        ("KeyError", "failed"),
    ),
]

MAGICS = [
    Cell("shell command", "!echo hello; echo error >&2; printf 'no newline'"),
    Cell("shell with a variable", 'word = "it\'s here"\n!echo {word!r}'),
    Cell("shell exit code", "!exit 3\nprint(_exit_code)"),
    Cell(
        "shell into a variable",
        "!mkdir -p listed && touch listed/b listed/a\nfiles = !ls listed\nfiles",
        ("result",),
    ),
    Cell("captured shell", "%sx printf 'a\\nb'", ("result",)),
    Cell("bash cell", "%%bash\nfor i in 1 2; do echo $i; done; echo bad >&2", ("stdout", "stderr")),
    Cell("bash cell that fails", "%%bash\necho first\nexit 4", ("stdout", "CalledProcessError", "failed")),
    Cell("html cell", "%%html\n<b>x</b>", ("display",)),
    Cell("latex cell", "%%latex\n$x^2$", ("display",)),
    Cell("markdown cell", "%%markdown\n*x*", ("display",)),
    Cell("javascript cell", "%%javascript\n1 + 1", ("display",)),
    Cell(
        "captured cell",
        "print(repr(caught.stdout), len(caught.outputs)); caught.show()",
        ("stdout", "display"),
        setup="%%capture caught\nprint('inside'); display('shown')",
    ),
    Cell("written file", "%%writefile note.txt\nline 1\nline 2"),
    Cell("read back", "print(open('back.txt').read())", setup="%%writefile back.txt\nsome text"),
    Cell(
        "import of a written module",
        "import corpus_module; corpus_module.answer()",
        ("result",),
        setup="%%writefile corpus_module.py\ndef answer(): return 42",
    ),
    Cell("change of folder", "%mkdir -p inner\n%cd inner\n%cd ..", ("stdout",)),
    Cell(
        "environment",
        "%env CORPUS=one\nimport os; print(os.environ['CORPUS'])\n%env CORPUS",
        ("stdout", "result"),
    ),
    Cell("time of a line", "%time sum(range(1000))", ("stdout", "result")),
    Cell("time of a cell", "%%time\nprint('work')\n7", ("stdout", "result")),
    Cell("timeit", "%timeit -n 2 -r 2 pass"),
    Cell("who", "%who int", setup="%reset -sf\none, two = 1, 2"),
    Cell("names with values", "%whos", setup="%reset -sf\nnumber, word = 1, 'x'"),
    Cell(
        "run of a script",
        """
        %run script.py 1 2
        """,
        setup="%%writefile script.py\nimport sys; print(sys.argv)",
    ),
    Cell("precision", "%precision 3\n1 / 3", ("result",)),
    Cell("back to full precision", "%precision\n1 / 3", ("result",)),
    Cell("help", "len?", ("page",)),
    Cell("help with source", "def documented(x):\n    'Return x.'\n    return x\ndocumented??", ("page",)),
    Cell("help for a magic", "%cd?", ("page",)),
    Cell("search by wildcard", "str.is*?", ("page",)),
    Cell("python's own help", "help(divmod)"),
    Cell("next cell", "get_ipython().set_next_input('x = 1')", ("set_next_input",)),
    Cell("loaded file", "%load loaded.py", ("set_next_input",), setup="%%writefile loaded.py\nx = 1"),
    Cell("page", "from IPython.core.page import page; page('long text')", ("page",)),
    Cell("no pretty printing", "%pprint\n[1, [2, 3]]\n%pprint", ("stdout",)),
    Cell("unknown magic", "%nosuchmagic", ("stderr", "failed")),
    Cell("unknown cell magic", "%%nosuchmagic\n1", ("stderr", "failed")),
    Cell("wrong use of a magic", "%cd /no/such/folder/at/all"),
    Cell("auto-call off", "%autocall 0"),
]

ERRORS = [
    Cell("division by zero", "1 / 0", ("ZeroDivisionError", "failed")),
    Cell("output before an error", "print('got here'); [][1]", ("stdout", "IndexError", "failed")),
    Cell("syntax error", "print('a'\nx = = 1", ("SyntaxError", "failed")),
    Cell("indentation error", "if True:\nprint('x')", ("IndentationError", "failed")),
    Cell("unknown name", "no_such_name", ("NameError", "failed")),
    Cell("unknown module", "import no_such_module", ("ModuleNotFoundError", "failed")),
    Cell(
        "error in a function of an earlier cell",
        "outer(0)",
        ("ZeroDivisionError", "failed"),
        setup="def inner(x):\n    return 1 / x\ndef outer(x):\n    return inner(x)",
    ),
    Cell(
        "error in a module of the folder",
        "import corpus_broken; corpus_broken.fail()",
        ("AttributeError", "failed"),
        setup="%%writefile corpus_broken.py\ndef fail():\n    return None.x",
    ),
    Cell(
        "error with a cause",
        "try:\n    {}['k']\nexcept KeyError as e:\n    raise RuntimeError('outer') from e",
        ("RuntimeError", "failed"),
    ),
    Cell(
        "error while handling one",
        """
        try:
            1 / 0
        except Exception:
            int('x')
        """,
        ("ValueError", "failed"),
    ),
    Cell(
        "error with its context hidden",
        "try:\n    1 / 0\nexcept Exception:\n    raise OSError(2, 'gone') from None",
        ("FileNotFoundError", "failed"),
    ),
    Cell("own exception", "class Own(Exception): pass\nraise Own('mine', 2)", ("Own", "failed")),
    Cell(
        "exception that renders itself",
        """
        class Rendered(Exception):
            def _render_traceback_(self): return ['only this line']
        raise Rendered('x')
        """,
        ("Rendered", "failed"),
    ),
    Cell(
        "exception whose text fails",
        """
        class Unprintable(Exception):
            def __str__(self):
                raise TypeError('no text')
        raise Unprintable
        """,
        ("TypeError", "TypeError", "failed"),
    ),
    Cell(
        "exception group",
        "raise ExceptionGroup('two', [ValueError(1), TypeError('b')])",
        ("stderr", "failed"),
        python=(3, 11),
    ),
    Cell(
        "exception with a note",
        "e = ValueError('v'); e.add_note('look here'); raise e",
        ("ValueError", "failed"),
        python=(3, 11),
    ),
    Cell("assertion", "x = 3\nassert x == 4, f'{x} is not four'", ("AssertionError", "failed")),
    Cell("system exit", "raise SystemExit(3)", ("SystemExit", "stderr", "failed")),
    Cell("keyboard interrupt", "raise KeyboardInterrupt", ("KeyboardInterrupt", "failed")),
    Cell(
        "deep recursion",
        """
        def down(n):
            return down(n + 1) if n < 30 else 1 / 0
        down(0)
        """,
        ("ZeroDivisionError", "failed"),
    ),
    Cell(
        "a very long traceback",
        """
        calls = [lambda: 1 / 0]
        for _ in range(60):
            calls.append(lambda f=calls[-1]: f())
        calls[-1]()
        """,
        ("ZeroDivisionError", "failed"),
    ),
    Cell("a very long message", "raise ValueError('x' * 100_000)", ("ValueError", "failed")),
    Cell("unicode in an error", "raise ValueError('naïve 漢字 😀')", ("ValueError", "failed")),
    Cell(
        "a warning made an error",
        """
        import warnings
        with warnings.catch_warnings():
            warnings.simplefilter('error')
            warnings.warn('strict')
        """,
        ("UserWarning", "failed"),
    ),
    Cell("the last traceback again", "%tb", ("ZeroDivisionError",), setup="0 / 0"),
    Cell("traceback in a few lines", "%xmode Minimal\n1 / 0", ("stdout", "ZeroDivisionError", "failed")),
    Cell("traceback in full", "%xmode Context\n1 / 0", ("stdout", "ZeroDivisionError", "failed")),
    Cell(
        "traceback by hand",
        "import traceback\ntry:\n    1 / 0\nexcept ZeroDivisionError:\n    traceback.print_exc()",
        ("stderr",),
    ),
    Cell(
        "error in a thread",
        "import threading\nt = threading.Thread(target=lambda: 1 / 0); t.start(); t.join()",
        ("stderr",),
    ),
]

CELLS = [
    cell
    for group in (STREAMS, RESULTS, ASYNC, MAGICS, ERRORS, DISPLAYS, WIDGETS)
    for cell in group
    if sys.version_info >= cell.python
]
