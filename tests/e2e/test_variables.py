"""Variables go out with the cell that reads them, and come back when they are asked for."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.conftest import wait_for
from tests.notebooks import Notebook, Ran

from .own import store_of


def here(book: Notebook, code: str) -> str:
    """Run a cell here; return what it printed."""
    ran = book.run(code)
    assert not ran.error
    return ran.text


def there(book: Notebook, code: str, options: str = "") -> str:
    """Run a cell over there; return what it printed."""
    ran = book.remote(code, options)
    assert not ran.error
    return ran.text


@pytest.fixture(autouse=True)
def own_state(book: Notebook, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Have a test see the machines of its notebook."""
    state = here(book, "import os; print(os.environ['JUPYTER_GPU_REMOTE_DIR'])").strip()
    monkeypatch.setenv("JUPYTER_GPU_REMOTE_DIR", state)


# -- out ----------------------------------------------------------------------------------------------------


def test_a_cell_takes_along_what_it_reads(book: Notebook) -> None:
    here(book, "width, height = 3, 4")
    assert there(book, "print(width * height)") == "12\n"


def test_a_function_takes_along_what_it_looks_up(book: Notebook) -> None:
    here(
        book,
        "import math\nrate = 2\ndef half(x): return math.floor(x / rate)\ndef use(x): return half(x) + 1",
    )
    assert there(book, "print(use(9))") == "5\n"


def test_a_function_sees_the_notebook_over_there(book: Notebook) -> None:
    here(book, "factor = 2\ndef times(x): return x * factor")
    assert there(book, "factor = 10\nprint(times(3))") == "30\n"


def test_a_module_imported_here_is_imported_there(book: Notebook) -> None:
    here(book, "import collections as c\nfrom json import dumps")
    assert there(book, "print(dumps(c.Counter('aab')))") == '{"a": 2, "b": 1}\n'


def test_a_module_of_the_folder_goes_along(book: Notebook) -> None:
    (book.folder / "helpers.py").write_text(
        "class Box:\n    def __init__(self, inside): self.inside = inside\n"
    )
    here(book, "from helpers import Box\nbox = Box(7)")
    assert there(book, "print(type(box).__module__, box.inside)") == "helpers 7\n"


def test_a_class_of_the_notebook_stays_the_same_class(book: Notebook) -> None:
    here(book, "class Point:\n    def __init__(self, x): self.x = x\nfirst = Point(1)")
    there(book, "first.x")
    here(book, "second = Point(2)")
    assert there(book, "print(type(first) is type(second) is Point)") == "True\n"


def test_two_names_for_one_object_stay_one(book: Notebook) -> None:
    here(book, "one = [1]\nother = {'one': one}")
    assert there(book, "one.append(2)\nprint(other['one'], other['one'] is one)") == "[1, 2] True\n"


def test_a_thing_sent_before_is_referred_to_not_sent_again(book: Notebook) -> None:
    here(
        book,
        "class Model: weights = 0\nclass Optimizer:\n    def __init__(self, m): self.model = m\nm = Model()",
    )
    there(book, "m.weights = 5")
    here(book, "o = Optimizer(m)")
    assert there(book, "print(o.model is m, o.model.weights)") == "True 5\n"


def test_a_line_of_the_shell_takes_along_what_is_in_braces(book: Notebook) -> None:
    here(book, "word = 'hello'")
    assert there(book, "!echo {word} $word").split() == ["hello", "hello"]


def test_no_auto_in_sends_nothing(book: Notebook) -> None:
    here(book, "kept = 1")
    assert book.remote("kept", "--no-auto-in").error.startswith("NameError")


def test_a_cell_that_cannot_take_a_variable_along_does_not_run(book: Notebook) -> None:
    here(book, "import threading\nheld = {'inside': [threading.Lock()]}")
    ran = book.remote("print('ran', held)")
    assert ran.error.startswith("VariableError: held can't be sent: held['inside'][0] is a _thread.lock")
    assert not ran.text


def test_a_secret_goes_only_when_it_is_named(book: Notebook) -> None:
    here(book, "api_key = 'not for everybody'")
    assert "looks like a secret" in book.remote("print(api_key)").error
    assert there(book, "print(len(api_key))", "--in api_key") == "17\n"


def test_a_large_variable_goes_only_when_it_is_named(book: Notebook) -> None:
    here(book, "import random\nlarge = random.randbytes(101_000_000)")
    ran = book.remote("len(large)")
    assert "large, which has 101 MB" in ran.error and "--in large" in ran.error
    assert there(book, "print(len(large))", "--in large") == "101000000\n"
    assert there(book, "print(len(large))") == "101000000\n"


def test_a_name_that_is_not_here_cannot_be_sent(book: Notebook) -> None:
    assert "There is no variable nothing here" in book.remote("1", "--in nothing").error


def test_code_of_a_function_from_here_is_shown_in_its_traceback(book: Notebook) -> None:
    here(book, "def fails(x):\n    return x / 0  # this line")
    assert "# this line" in "\n".join(book.remote("fails(1)").reply["traceback"])


# -- whose is newer -----------------------------------------------------------------------------------------


def test_the_later_assignment_wins(book: Notebook) -> None:
    here(book, "turn = 'here'")
    assert there(book, "print(turn)\nturn = 'there'") == "here\n"
    here(book, "pass")
    assert there(book, "print(turn)") == "there\n"
    here(book, "turn = 'here again'")
    assert there(book, "print(turn)") == "here again\n"


def test_what_was_changed_over_there_is_not_overwritten_by_what_did_not_change_here(book: Notebook) -> None:
    here(book, "losses = []")
    there(book, "losses.append(1)")
    here(book, "step = 2")
    assert there(book, "losses.append(step)\nprint(losses)") == "[1, 2]\n"


def test_what_was_changed_here_in_place_goes_again(book: Notebook) -> None:
    here(book, "settings = {'a': 1}")
    there(book, "settings")
    here(book, "settings['a'] = 2")
    assert there(book, "print(settings)") == "{'a': 2}\n"


def test_a_name_assigned_to_the_same_value_over_there_counts_as_assigned(book: Notebook) -> None:
    here(book, "level = 5")
    there(book, "level")
    here(book, "level = 7")
    there(book, "level = 5")
    assert there(book, "print(level)") == "5\n"


def test_a_cell_that_failed_before_an_assignment_has_not_assigned(book: Notebook) -> None:
    here(book, "done = 'no'")
    assert book.remote("1 / 0\ndone = 'yes'").error
    assert there(book, "print(done)") == "no\n"


def test_after_a_restart_of_the_remote_kernel_everything_goes_again(book: Notebook) -> None:
    here(book, "steady = [1, 2]")
    there(book, "steady")
    assert not book.run("%remote restart").error
    book.remote("pass")  # tells that the kernel is another one
    assert there(book, "import os, sys, time\nprint(steady)") == "[1, 2]\n"


# -- back ---------------------------------------------------------------------------------------------------


def test_out_brings_a_variable_back(book: Notebook) -> None:
    there(book, "found = {'best': 3}", "--out found")
    assert here(book, "print(found)") == "{'best': 3}\n"


def test_get_and_put_move_variables_without_a_cell(book: Notebook) -> None:
    there(book, "answer = 42")
    here(book, "%remote get answer")
    assert here(book, "print(answer)") == "42\n"
    here(book, "question = 'why'\n%remote put question")
    assert there(book, "print(question)", "--no-auto-in") == "why\n"


def test_a_variable_that_came_back_is_not_sent_again(book: Notebook) -> None:
    there(book, "class Kept: pass\nkept = Kept()\nsame = kept", "--out kept")
    here(book, "pass")
    assert there(book, "print(kept is same)") == "True\n"


def test_a_large_variable_comes_back(book: Notebook) -> None:
    there(
        book,
        "import os\nnoise = os.urandom(30_000_000)\nimport hashlib\nprint(hashlib.md5(noise).hexdigest())",
    )
    told = book.remote("print(hashlib.md5(noise).hexdigest())", "--out noise").text
    assert here(book, "import hashlib; print(hashlib.md5(noise).hexdigest())") == told


def test_a_name_that_only_the_machine_has_is_told_of(book: Notebook) -> None:
    there(book, "only_there = 1")
    assert "`%remote get only_there` brings it here" in book.run("only_there + 1").error


def test_a_private_name_that_only_the_machine_has_is_told_of(book: Notebook) -> None:
    there(book, "_only_there = 1")
    assert "`%remote get _only_there` brings it here" in book.run("_only_there + 1").error


def test_a_private_name_assigned_over_there_is_the_newest(book: Notebook) -> None:
    here(book, "_level = 1")
    there(book, "_level = 2")
    assert there(book, "print(_level)") == "2\n"


def test_a_cell_that_uses_an_older_value_here_is_told_so(book: Notebook) -> None:
    here(book, "shown = 1\ndef show(): return shown")
    there(book, "shown = 2")
    warning = "The machine has a newer value of shown: `%remote get shown` brings it here.\n"
    assert book.run("show()").stream("stderr") == warning
    assert book.run("shown = 3\nshown").stream("stderr") == ""


def test_what_was_brought_here_is_not_told_of(book: Notebook) -> None:
    here(book, "brought = 1")
    there(book, "brought = 2")
    assert book.run("%remote get brought").stream("stderr") == ""
    assert book.run("brought").stream("stderr") == ""


def test_a_function_that_comes_back_brings_what_it_looks_up(book: Notebook) -> None:
    there(
        book,
        "import math as maths\nfrom json import dumps as as_text\nscale = 3\n"
        "def inner(x): return maths.floor(x) * scale\ndef outer(x): return as_text(inner(x))",
    )
    here(book, "%remote get outer")
    assert here(book, "print(outer(2.5))") == "6\n"


def test_what_a_function_looks_up_is_not_brought_where_the_newer_is_here(book: Notebook) -> None:
    there(book, "weight = 1\ndef weigh(): return weight")
    here(book, "weight = 2\n%remote get weigh")
    assert here(book, "print(weigh())") == "2\n"


def test_a_function_comes_back_without_what_cannot_come(book: Notebook) -> None:
    pid = here(book, "import os; print(os.getpid())").strip()
    (book.folder / "only_there.py").write_text(f"import os\nif os.getpid() == {pid}: raise ImportError")
    there(
        book,
        "import only_there, threading\nguard = threading.Lock()\ndef free():\n"
        "    return 'free'\n    only_there, guard",
    )
    here(book, "%remote get free")
    assert here(book, "print(free())") == "free\n"


def test_what_shares_objects_stays_together_although_it_is_fetched_bit_by_bit(book: Notebook) -> None:
    there(
        book,
        "class Layer: weight = 0\nclass Descent:\n    def __init__(self, layer): self.layer = layer\n"
        "layer = Layer(); descent = Descent(layer)",
    )
    here(book, "%remote get descent")
    here(book, "%remote get layer")
    assert here(book, "print(descent.layer is layer)") == "True\n"


def test_what_was_changed_here_is_not_overwritten_by_what_shares_objects_with_it(book: Notebook) -> None:
    there(
        book,
        "class Part: size = 0\nclass Whole:\n    def __init__(self, part): self.part = part\n"
        "part = Part(); whole = Whole(part)",
    )
    here(book, "%remote get whole part")
    here(book, "whole.name = 'changed here'\n%remote get part")
    assert here(book, "print(whole.name)") == "changed here\n"


def test_a_name_is_meant_as_python_reads_it(book: Notebook) -> None:
    there(book, "\u00b5 = 2")
    here(book, "%remote get \u00b5")
    assert here(book, "print(\u00b5)") == "2\n"


def test_getting_what_does_not_exist_speaks_of_no_cell(book: Notebook) -> None:
    told = book.run("%remote get nowhere").error
    assert "VariableError: nowhere did not come back: there is no variable nowhere over there." in told


def test_a_name_that_was_deleted_over_there_is_told_of_no_more(book: Notebook) -> None:
    there(book, "brief = 1")
    there(book, "del brief")
    assert book.run("brief").error == "NameError: name 'brief' is not defined"


def test_a_name_that_was_sent_and_deleted_over_there_is_not_sent_again(book: Notebook) -> None:
    here(book, "sent = 1")
    there(book, "sent")
    there(book, "del sent")
    assert book.remote("sent").error.startswith("NameError")


def test_a_name_that_nobody_has_is_an_ordinary_error(book: Notebook) -> None:
    assert book.run("nobody_has_this").error == "NameError: name 'nobody_has_this' is not defined"


def test_a_variable_that_does_not_exist_over_there_cannot_come_back(book: Notebook) -> None:
    assert "there is no variable nowhere over there" in book.remote("1", "--out nowhere").error


def test_what_cannot_be_pickled_over_there_is_named(book: Notebook) -> None:
    ran = book.remote(
        "import threading\nclass Holder: pass\nh = Holder(); h.lock = threading.Lock()", "--out h"
    )
    assert "h.lock is a _thread.lock" in ran.error


# -- what travels -------------------------------------------------------------------------------------------


def test_data_that_is_there_does_not_travel_again_after_a_restart_of_the_local_kernel(book: Notebook) -> None:
    make = "import random\nrandom.seed(1)\nblock = random.randbytes(3_000_000)"
    here(book, make)
    there(book, "len(block)")
    kept = {f.name: f.stat().st_ino for f in store_of().iterdir()}
    book.manager.restart_kernel(now=True)
    book.client.wait_for_ready(60)
    here(book, "%load_ext jupyter_gpu_remote")
    here(book, make)
    assert there(book, "print(len(block))") == "3000000\n"
    assert {f.name: f.stat().st_ino for f in store_of().iterdir()} == kept


@pytest.mark.parametrize(
    "make", ["random.randbytes(3_000_000)", "bytes(30_000_000)"], ids=["raw", "compressed"]
)
def test_data_that_went_there_does_not_travel_back(book: Notebook, make: str) -> None:
    moved = "print(__import__('jupyter_gpu_remote.magic').magic.cells().exchange.moved)"
    here(book, f"import random\nrandom.seed(5)\nround_trip = {make}")
    there(book, "again = {'same': round_trip}", "--in round_trip")
    before = int(here(book, moved))
    here(book, "%remote get again")
    assert int(here(book, moved)) - before < 10_000
    assert here(book, "print(again['same'] == round_trip)") == "True\n"


def test_older_values_that_came_back_take_no_room(book: Notebook) -> None:
    before = set(store_of().iterdir())
    for _ in range(3):
        there(book, "import os\ngrows = os.urandom(2_000_000)", "--out grows")
    new = set(store_of().iterdir()) - before
    assert len([file for file in new if file.stat().st_size >= 2_000_000]) == 1


def test_data_that_was_damaged_over_there_is_refused(book: Notebook) -> None:
    here(book, "import random\nrandom.seed(2)\nfresh = random.randbytes(2_000_000)")
    before = set(store_of().iterdir())
    there(book, "len(fresh)")
    new = max(set(store_of().iterdir()) - before, key=lambda file: file.stat().st_size)
    new.write_bytes(b"evil" + new.read_bytes()[4:])
    here(book, "again = fresh + b''")
    ran = book.remote("print('ran', len(again))")
    assert "not what was kept there" in ran.error and not ran.text
    assert there(book, "print(len(again))") == "2000000\n"


def test_data_that_was_thrown_away_over_there_is_sent_again(book: Notebook) -> None:
    here(book, "import random\nrandom.seed(3)\nlost = random.randbytes(2_000_000)")
    there(book, "len(lost)")
    for file in store_of().iterdir():
        file.unlink()
    here(book, "lost2 = lost + b''")
    assert there(book, "print(len(lost2))") == "2000000\n"


def test_a_file_that_the_machine_names_outside_of_the_store_is_not_fetched(book: Notebook) -> None:
    outside = book.folder.parent / "outside"
    lie = (
        "kernel = get_ipython().kernel\ngive = kernel._its_exchange.give\n"
        f"def lying(wish):\n    told = give(wish)\n    told['files']['../../../{outside.name}'] = 20 << 20\n"
        "    return told\n"
        "kernel._its_exchange.give = lying\nimport os\nfetched = os.urandom(400_000)"
    )
    there(book, lie)
    here(book, "%remote get fetched")
    there(book, "kernel._its_exchange.give = give\ndel kernel, give, lying")
    assert here(book, "print(len(fetched))") == "400000\n" and not outside.exists()


def test_a_forged_signature_is_refused_before_anything_is_opened(book: Notebook) -> None:
    here(book, "victim = 1")
    forge = (
        "from jupyter_gpu_remote.magic import cells\n"
        "exchange = cells().exchange\n"
        "key, exchange._key = exchange._key, bytes(32)"
    )
    here(book, forge)
    assert "wrong signature" in book.remote("victim").error
    here(book, "exchange._key = key")
    assert there(book, "print(victim)") == "1\n"


def test_the_key_is_readable_by_its_owner_alone(book: Notebook) -> None:
    key = store_of().with_name("store.key")
    assert key.stat().st_mode & 0o777 == 0o600 and store_of().stat().st_mode & 0o777 == 0o700


# -- faults -------------------------------------------------------------------------------------------------


def kernel_process(book: Notebook) -> psutil.Process:
    """Return the process of the remote kernel."""
    return psutil.Process(int(there(book, "import os\nprint(os.getpid())")))


def test_a_kernel_killed_while_it_receives_is_told_and_the_next_cell_sends_again(book: Notebook) -> None:
    victim = kernel_process(book)
    here(
        book,
        "import os\nclass Kill:\n"
        f"    def __reduce__(self): return os.kill, ({victim.pid}, {int(signal.SIGKILL)})\n",
    )
    here(book, "kill = Kill()\nplain = 3")
    assert "Kernel" in book.remote("kill").error
    assert there(book, "import os, sys, time\nprint(plain)") == "3\n"


def test_interrupting_while_the_kernel_opens_a_variable_ends_the_cell(book: Notebook) -> None:
    flag = book.folder / "opening"
    here(
        book,
        "import subprocess\nclass Slow:\n    def __reduce__(self):\n"
        f"        return subprocess.call, (['sh', '-c', 'touch {flag}; sleep 60'],)\nslow = Slow()",
    )
    cell = book.send("%%remote\nprint(slow)")
    wait_for(flag.exists, "the kernel to open the variable")
    book.interrupt()
    assert book.wait(cell).error.startswith("KeyboardInterrupt")
    assert there(book, "print(1)") == "1\n"


def test_ten_thousand_names_go_along(book: Notebook) -> None:
    here(book, "for i in range(10_000): globals()[f'n{i}'] = i")
    total = " + ".join(f"n{i}" for i in range(10_000))
    ran = book.remote(f"print(sum([{total.replace(' + ', ', ')}]))")
    assert ran.text == f"{sum(range(10_000))}\n"


# -- while a cell runs --------------------------------------------------------------------------------------


@pytest.fixture
def busy(book: Notebook, tmp_path: Path) -> Iterator[Callable[[], None]]:
    """Have a cell run over there that the notebook's kernel knows nothing of; give what ends it."""
    there(book, "early = 1")
    go = tmp_path / "go"
    code = f"print('begun', flush=True)\nwhile not os.path.exists({str(go)!r}): time.sleep(0.01)"
    running = book.send(f"%%remote\nimport os, time\n{code}\nlate = 2")
    book.wait(running, until=lambda ran: "begun" in ran.text)
    # to restart a kernel interrupts it first, and with it the cell
    os.kill(book.manager.provisioner.pid, signal.SIGKILL)
    book.manager.restart_kernel(now=True)
    book.client.wait_for_ready(60)
    here(book, "%load_ext jupyter_gpu_remote")
    yield go.touch
    go.touch()
    there(book, "import os, sys, time")


def waits(ran: Ran) -> bool:
    """Return whether a cell says that it waits for another one."""
    lines = [m["content"]["data"]["text/plain"] for m in ran.messages if "data" in m["content"]]
    return any("waiting for the cell that runs over there" in line for line in lines)


def test_getting_a_variable_waits_for_the_cell_that_runs_and_says_so(
    book: Notebook, busy: Callable[[], None]
) -> None:
    getting = book.send("%remote get late")
    so_far = book.wait(getting, until=waits)
    busy()
    assert not book.wait(getting, so_far=so_far).error
    assert here(book, "print(late)") == "2\n"


def test_interrupting_the_wait_leaves_the_cell_that_runs_alone(
    book: Notebook, busy: Callable[[], None]
) -> None:
    getting = book.send("%remote get early")
    so_far = book.wait(getting, until=waits)
    book.interrupt()
    assert book.wait(getting, so_far=so_far).error.startswith("KeyboardInterrupt")
    busy()
    assert there(book, "print(late)") == "2\n"
