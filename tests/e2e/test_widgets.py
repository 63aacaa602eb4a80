"""Widgets that were made over there work here, also while a cell runs."""

from __future__ import annotations

import contextlib
import queue
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.notebooks import LIMIT, Notebook, Ran

WIDGETS = """
import ipywidgets as widgets, threading
from IPython.display import display
said = []
slider = widgets.IntSlider(value=1, max=99)
slider.observe(lambda change: said.append(change.new), 'value')
moved = threading.Event()
slider.observe(lambda change: moved.set(), 'value')
slider
"""
BLOCKED = """
slider.value = 1
moved.clear()
print('begun')
assert moved.wait(30)
print('slider at', slider.value)
"""

Message = dict[str, Any]


def model_of(ran: Ran) -> str:
    """Return the id of the widget that a cell shows."""
    for content in ran.of("execute_result") + ran.of("display_data"):
        view = content["data"].get("application/vnd.jupyter.widget-view+json")
        if view:
            return str(view["model_id"])
    raise AssertionError(f"no widget in {ran}")


def comm(book: Notebook, kind: str, content: Message, buffers: list[bytes] | None = None) -> str:
    """Send a comm message as a frontend does and return the id of its request."""
    session = book.client.session
    message = session.msg(kind, content)
    session.send(book.client.shell_channel.socket, message, buffers=buffers)
    return str(message["header"]["msg_id"])


def update(book: Notebook, model: str, state: Message, buffers: list[bytes] | None = None) -> str:
    """Change the state of a widget as its view does; `buffers` are the value's content."""
    paths = [["value", number, "content"] for number in range(len(buffers or ()))]
    data = {"method": "update", "state": state, "buffer_paths": paths}
    return comm(book, "comm_msg", {"comm_id": model, "data": data}, buffers)


def messages_until(book: Notebook, end: Callable[[list[Message]], object]) -> list[Message]:
    """Collect what the kernel publishes until `end` holds of it."""
    found: list[Message] = []
    limit = time.monotonic() + LIMIT
    while not end(found):
        assert time.monotonic() < limit, f"so far: {[(m['msg_type'], m['content']) for m in found]}"
        with contextlib.suppress(queue.Empty):
            found.append(book.client.get_iopub_msg(timeout=0.1))
    return found


def idle(request: str) -> Callable[[list[Message]], bool]:
    """Return what tells whether the kernel is done with a request."""
    return lambda found: any(
        m["parent_header"].get("msg_id") == request and m["content"].get("execution_state") == "idle"
        for m in found
    )


def of(found: list[Message], request: str) -> list[tuple[str, Any]]:
    """Return what belongs to a request: states of the kernel by their name, else type and content."""
    return [
        (m["msg_type"], m["content"].get("execution_state") or m["content"])
        for m in found
        if m["parent_header"].get("msg_id") == request
    ]


@pytest.fixture(scope="module")
def slider(book: Notebook) -> str:
    """The model of a slider over there."""
    return model_of(book.remote(WIDGETS))


# -- a slider ---------------------------------------------------------------------------------------------


def test_a_slider_that_is_moved_calls_back_over_there(book: Notebook, slider: str) -> None:
    messages_until(book, idle(update(book, slider, {"value": 7})))
    assert book.remote("said[-1], slider.value").result == "(7, 7)"


def test_a_move_is_echoed_between_one_busy_and_one_idle(book: Notebook, slider: str) -> None:
    request = update(book, slider, {"value": 8})
    found = of(messages_until(book, idle(request)), request)
    states = [content for kind, content in found if kind == "status"]
    echoes = [content["data"]["method"] for kind, content in found if kind == "comm_msg"]
    assert (states, echoes) == (["busy", "idle"], ["echo_update"])


@pytest.mark.parametrize("above", ["%%remote", "%%timeit -n1 -r1\n%%remote"], ids=["awaited", "nested"])
def test_a_slider_calls_back_while_a_cell_runs(book: Notebook, slider: str, above: str) -> None:
    cell = book.send(f"{above}\n{BLOCKED}")
    book.wait(cell, until=lambda ran: "begun" in ran.text)
    move = update(book, slider, {"value": 21})
    found = messages_until(book, lambda found: idle(move)(found) and idle(cell)(found))
    printed = "".join(m["content"]["text"] for m in found if m["msg_type"] == "stream")
    assert "slider at 21" in printed
    assert [c for kind, c in of(found, move) if kind == "status"] == ["busy", "idle"]


def test_a_cell_hears_of_two_thousand_moves_and_still_prints(book: Notebook, slider: str) -> None:
    messages_until(book, idle(update(book, slider, {"value": 0})))
    cell = book.send("%%remote\nprint('begun')\nwhile slider.value < 99: time.sleep(0.01)\nprint('over')")
    ran = book.wait(cell, until=lambda ran: "begun" in ran.text)
    for move in range(2100):
        update(book, slider, {"value": move % 90})
        with contextlib.suppress(queue.Empty):  # a frontend that does not read is sent no more at some time
            while message := book.client.get_iopub_msg(timeout=0):
                ran.messages += [message] * (message["parent_header"].get("msg_id") == cell)
    update(book, slider, {"value": 99})
    assert book.wait(cell, so_far=ran).text == "begun\nover\n"


def test_what_a_callback_prints_belongs_to_the_move(book: Notebook) -> None:
    button = model_of(book.remote("b = widgets.Button()\nb.on_click(lambda _: print('clicked'))\nb"))
    click = comm(
        book, "comm_msg", {"comm_id": button, "data": {"method": "custom", "content": {"event": "click"}}}
    )
    found = of(messages_until(book, idle(click)), click)
    assert ("stream", {"name": "stdout", "text": "clicked\n"}) in found


def test_a_widget_made_in_a_nested_cell_works(book: Notebook, slider: str) -> None:
    made = book.run("get_ipython().run_cell_magic('remote', '', 't = widgets.Text(); display(t)')")
    messages_until(book, idle(update(book, model_of(made), {"value": "typed"})))
    assert book.remote("t.value").result == "'typed'"


def test_a_widget_in_a_captured_cell_works_once_it_is_shown(book: Notebook, slider: str) -> None:
    made = book.run("%%capture out\n%%remote\nt = widgets.Text(); display(t)")
    shown = book.run("out.show()")
    assert model_of(shown) in [content["comm_id"] for content in made.of("comm_open")]


# -- other widgets ----------------------------------------------------------------------------------------


def test_an_output_widget_takes_the_outputs_of_the_cell(book: Notebook, slider: str) -> None:
    request = book.send("%%remote\nout = widgets.Output()\nwith out: print('inside')\nprint('outside')")
    ran = book.wait(request)
    captured = [
        c["data"]["state"]["msg_id"] for c in ran.of("comm_msg") if "msg_id" in c["data"].get("state", {})
    ]
    assert captured == [request, ""]


def test_an_output_widget_takes_the_outputs_of_a_callback(book: Notebook, slider: str) -> None:
    code = "out = widgets.Output()\n@out.capture()\ndef say(_): print('said')\n"
    button = model_of(book.remote(f"{code}b = widgets.Button()\nb.on_click(say)\nb"))
    click = comm(
        book, "comm_msg", {"comm_id": button, "data": {"method": "custom", "content": {"event": "click"}}}
    )
    found = of(messages_until(book, idle(click)), click)
    states = [content["data"].get("state", {}) for kind, content in found if kind == "comm_msg"]
    captured = [state["msg_id"] for state in states if "msg_id" in state]
    assert captured == [click, ""]


def test_interact_runs_its_function_over_there(book: Notebook, slider: str) -> None:
    ran = book.remote("@widgets.interact(n=(0, 9))\ndef square(n): print(n * n)")
    models = {c["comm_id"]: c["data"]["state"] for c in ran.of("comm_open")}
    (model,) = [m for m, state in models.items() if state.get("_model_name") == "IntSliderModel"]
    move = update(book, model, {"value": 9})
    found = of(messages_until(book, idle(move)), move)
    assert ("stream", {"name": "stdout", "text": "81\n"}) in found


def test_a_progress_bar_moves_to_its_end(book: Notebook) -> None:
    ran = book.remote("from tqdm.notebook import tqdm\nfor _ in tqdm(range(5)): pass")
    values = [
        c["data"]["state"]["value"] for c in ran.of("comm_msg") if "value" in c["data"].get("state", {})
    ]
    assert 5.0 in values


def test_an_uploaded_file_arrives_over_there(book: Notebook, slider: str) -> None:
    model = model_of(book.remote("up = widgets.FileUpload()\nup"))
    file = {"name": "a.bin", "type": "", "size": 256, "last_modified": 0}
    messages_until(book, idle(update(book, model, {"value": [file]}, [bytes(range(256))])))
    assert (
        book.remote("up.value[0].name, bytes(up.value[0].content) == bytes(range(256))").result
        == "('a.bin', True)"
    )


def test_a_picture_arrives_as_it_is(book: Notebook, slider: str) -> None:
    ran = book.remote("picture = widgets.Image(value=bytes(range(256)))\npicture")
    model = model_of(ran)
    (opened,) = [m for m in ran.messages if m["msg_type"] == "comm_open" and m["content"]["comm_id"] == model]
    assert (opened["content"]["data"]["buffer_paths"], [bytes(b) for b in opened["buffers"]]) == (
        [["value"]],
        [bytes(range(256))],
    )


def test_a_plotly_figure_takes_a_relayout(book: Notebook, slider: str) -> None:
    ran = book.remote(
        "import plotly.graph_objects as go\nfigure = go.FigureWidget(go.Scatter(y=[3, 1, 2]))\nfigure"
    )
    assert not ran.error
    change = {"relayout_data": {"title.text": "moved"}, "source_view_id": "view"}
    messages_until(book, idle(update(book, model_of(ran), {"_js2py_relayout": change})))
    assert book.remote("figure.layout.title.text").result == "'moved'"


def test_an_anywidget_sends_bytes_both_ways(book: Notebook) -> None:
    ran = book.remote(
        "import anywidget, traitlets\n"
        "class Wave(anywidget.AnyWidget):\n"
        "    _esm = 'export default {}'\n"
        "    wave = traitlets.Any(b'abc').tag(sync=True)\n"
        "wave = Wave()\nwave"
    )
    model = model_of(ran)
    (opened,) = [
        m for m in ran.messages if m["content"].get("comm_id") == model and m["msg_type"] == "comm_open"
    ]
    assert [bytes(b) for b in opened["buffers"]] == [b"abc"]
    data = {"method": "update", "state": {}, "buffer_paths": [["wave"]]}
    messages_until(book, idle(comm(book, "comm_msg", {"comm_id": model, "data": data}, [b"\x00xyz"])))
    assert book.remote("bytes(wave.wave)").result == r"b'\x00xyz'"


# -- comms ------------------------------------------------------------------------------------------------


def comms_of(book: Notebook) -> dict[str, Any]:
    """Return the comms that the kernel lists."""
    request = book.client.comm_info()
    while True:
        reply = book.client.get_shell_msg(timeout=30)
        if reply["parent_header"]["msg_id"] == request:
            return dict(reply["content"]["comms"])


def test_a_page_finds_all_widgets_again_when_it_is_reloaded(book: Notebook, slider: str) -> None:
    local = model_of(book.run("import ipywidgets\nmine = ipywidgets.IntSlider(value=5)\nmine"))
    control = comm(
        book, "comm_open", {"comm_id": "control", "target_name": "jupyter.widget.control", "data": {}}
    )
    assert ("comm_close", {"comm_id": "control", "data": {}}) in of(
        messages_until(book, idle(control)), control
    )
    listed = comms_of(book)
    assert {slider, local} <= listed.keys() and listed[slider] == {"target_name": "jupyter.widget"}
    for model in (slider, local):
        asked = comm(book, "comm_msg", {"comm_id": model, "data": {"method": "request_state"}})
        found = of(messages_until(book, idle(asked)), asked)
        (state,) = [content["data"]["state"] for kind, content in found if kind == "comm_msg"]
        assert state["_model_name"] == "IntSliderModel"


def test_a_local_widget_works_beside_remote_ones(book: Notebook, slider: str) -> None:
    model = model_of(book.run("import ipywidgets\nmine = ipywidgets.IntSlider(value=5)\nmine"))
    messages_until(book, idle(update(book, model, {"value": 6})))
    assert book.run("mine.value").result == "6"


def test_a_widget_closed_over_there_is_closed_here(book: Notebook, slider: str) -> None:
    model = model_of(book.remote("t = widgets.Text()\nt"))
    assert [c["comm_id"] for c in book.remote("t.close()").of("comm_close")] == [model]
    assert model not in comms_of(book)


def test_a_comm_closed_here_is_closed_over_there(book: Notebook, slider: str) -> None:
    model = model_of(
        book.remote("t = widgets.Text()\nclosed = t.comm.on_close(lambda _: said.append('bye'))\nt")
    )
    messages_until(book, idle(comm(book, "comm_close", {"comm_id": model, "data": {}})))
    assert model not in comms_of(book)
    assert book.remote("said[-1]").result == "'bye'"
