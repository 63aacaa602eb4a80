"""The panel that ``%remote`` shows: real widgets, pressed and read as a frontend does."""

from __future__ import annotations

import contextlib
import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_gpu_remote.model import Machine, MachineState, Offer
from jupyter_gpu_remote.registry import Registry
from tests.notebooks import LIMIT, Notebook, notebook

_VIEW = "application/vnd.jupyter.widget-view+json"


class Frontend:
    """What a browser knows of the widgets of a kernel."""

    def __init__(self, book: Notebook) -> None:
        self.book = book
        self.widgets: dict[str, dict[str, Any]] = {}
        self.shown: list[dict[str, Any]] = []
        self.updates = 0

    def show(self) -> dict[str, Any]:
        """Run ``%remote`` and return the bundle that it displays."""
        before = len(self.shown)
        self.book.send("%remote")
        self.until(lambda: len(self.shown) > before, "the panel")
        return self.shown[-1]

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Take messages until `condition` holds."""
        end = time.monotonic() + LIMIT
        while not condition():
            if time.monotonic() > end:
                pytest.fail(f"waited for {what}; there is: {self.text}")
            with contextlib.suppress(queue.Empty):
                self._take(self.book.client.get_iopub_msg(timeout=0.1))

    def _take(self, message: dict[str, Any]) -> None:
        kind, content = message["msg_type"], message["content"]
        if kind == "comm_open":
            self.widgets[content["comm_id"]] = dict(content["data"]["state"])
        elif kind == "comm_msg" and content["data"].get("method") == "update":
            self.updates += 1
            self.widgets[content["comm_id"]].update(content["data"]["state"])
        elif kind == "comm_close":
            self.widgets.pop(content["comm_id"], None)
        elif kind == "display_data" and _VIEW in content["data"]:
            self.shown.append(content["data"])

    @property
    def text(self) -> str:
        """All texts of the panel, without their markup."""
        return re.sub(r"<[^>]*>", "", " | ".join(w.get("value") or "" for w in self._seen("HTMLModel")))

    def _seen(self, model: str) -> list[dict[str, Any]]:
        """Return the widgets of a kind that can be reached from the panel that was shown last."""
        found, left = [], [self.shown[-1][_VIEW]["model_id"]] if self.shown else []
        while left:
            widget = self.widgets.get(left.pop(), {})
            left += [child.removeprefix("IPY_MODEL_") for child in widget.get("children", ())]
            if widget.get("_model_name") == model:
                found.append(widget)
        return found

    def button(self, label: str) -> dict[str, Any] | None:
        """Return the button with that label, or that tooltip."""
        buttons = self._seen("ButtonModel")
        return next((b for b in buttons if label in (b["description"], b["tooltip"])), None)

    def press(self, label: str) -> None:
        """Press a button."""
        button = self.button(label)
        assert button is not None, f"no button {label}"
        comm_id = next(i for i, w in self.widgets.items() if w is button)
        content = {
            "comm_id": comm_id,
            "data": {"method": "custom", "content": {"event": "click"}, "buffers": []},
        }
        client = self.book.client
        client.shell_channel.send(client.session.msg("comm_msg", content))


@pytest.fixture
def panel(tmp_path: Path) -> Iterator[Frontend]:
    with notebook(tmp_path) as book:
        yield Frontend(book)


def bought(name: str, price: float) -> None:
    """Write down a machine that costs money, which nobody asks how it is."""
    offer = Offer("aws", "p4d", gpu="A100", count=1, zone="us-east-1a", region="us-east-1", price=price)
    Registry().add(Machine(name, "aws", offer, state=MachineState.BOOTING, created_at=time.time()))


def test_where_widgets_are_not_shown_there_is_the_table(panel: Frontend) -> None:
    panel.book.run("%remote up")
    assert panel.show()["text/plain"].splitlines()[0].startswith("NAME")


def test_without_machines_it_says_how_to_start_one(panel: Frontend) -> None:
    panel.show()
    assert "No machine is running. %remote up starts one." in panel.text


def test_the_cost_ticks(panel: Frontend) -> None:
    bought("dear-otter", 3600)
    panel.show()
    panel.until(lambda: "A100 · aws us-east-1a · $3600.00/h" in panel.text, "the machine")
    first = panel.text
    panel.until(lambda: panel.text != first and "so far" in panel.text, "another cost")
    Registry().update("dear-otter", state=MachineState.FAILED)


def test_a_machine_appears_and_goes_by_itself(panel: Frontend) -> None:
    panel.show()
    bought("dear-otter", 1)
    panel.until(lambda: "dear-otter" in panel.text and "booting" in panel.text, "the machine")
    Registry().update("dear-otter", state=MachineState.FAILED)
    panel.until(lambda: "dear-otter" not in panel.text, "it to go")


def test_it_shows_how_long_a_machine_waits_and_gives_it_more(panel: Frontend) -> None:
    panel.book.remote("1")
    panel.show()
    panel.press("+30 min")
    panel.until(lambda: "stays for at least 30 min" in panel.text, "the answer")
    panel.until(lambda: "ends in 30 min if unused" in panel.text, "the time left")


def test_files_are_fetched_at_the_press_of_a_button(panel: Frontend) -> None:
    panel.book.remote("1")
    (machine,) = Registry().machines()
    (folder,) = Path(machine.home).glob("gpu-remote/*")
    (folder / "late.txt").write_text("kept")
    panel.show()
    panel.press("Pull")
    panel.until(lambda: "1 file received" in panel.text, "the files")
    assert (panel.book.folder / "late.txt").read_text() == "kept"


def test_the_kernel_is_restarted_at_the_press_of_a_button(panel: Frontend) -> None:
    panel.book.remote("kept = 1")
    panel.show()
    panel.press("Restart kernel")
    panel.until(lambda: "A fresh kernel is running." in panel.text, "the fresh kernel")
    assert panel.book.remote("kept").error.startswith("NameError")


def test_delete_asks_before_it_deletes(panel: Frontend) -> None:
    panel.book.remote("1")
    panel.show()
    panel.press("Delete")
    sure = "Delete? files not fetched are lost"
    panel.until(lambda: panel.button(sure), "the question")
    assert len(Registry().machines()) == 1
    panel.press(sure)
    panel.until(lambda: "No machine is running" in panel.text, "the deletion")
    assert Registry().machines() == []


def test_an_unanswered_question_is_taken_back(panel: Frontend) -> None:
    panel.book.remote("1")
    panel.show()
    panel.press("Delete")
    panel.until(lambda: panel.button("Delete? files not fetched are lost"), "the question")
    panel.until(lambda: panel.button("Delete"), "it to be taken back")
    assert len(Registry().machines()) == 1


def test_what_goes_wrong_is_shown_with_the_next_step(panel: Frontend) -> None:
    bought("dear-otter", 1)
    panel.show()
    panel.press("Restart kernel")
    panel.until(lambda: "dear-otter is booting and cannot be used now." in panel.text, "the error")
    assert "Next: " in panel.text
    panel.until(lambda: panel.button("Restart kernel")["disabled"] is False, "the button")  # type: ignore[index]
    Registry().update("dear-otter", state=MachineState.FAILED)


def test_a_name_with_markup_in_it_stays_text(panel: Frontend) -> None:
    bought("<img src=x onerror=alert(1)>", 1)
    panel.show()
    panel.until(lambda: panel._seen("HTMLModel"), "the panel")
    assert not any("<img" in (w.get("value") or "") for w in panel._seen("HTMLModel"))
    Registry().update("<img src=x onerror=alert(1)>", state=MachineState.FAILED)


def test_the_panel_is_the_same_in_two_cells(panel: Frontend) -> None:
    assert panel.show()[_VIEW] == panel.show()[_VIEW]


def test_a_closed_panel_stops_and_the_next_one_is_new(panel: Frontend) -> None:
    first = panel.show()[_VIEW]
    panel.press("Close this panel")
    panel.until(lambda: first["model_id"] not in panel.widgets, "the panel to close")
    threads = "import threading; print([t.name for t in threading.enumerate()])"
    ended = threading.Event()
    while "machines panel" in panel.book.run(threads).text:
        assert not ended.wait(0.1)
    assert panel.show()[_VIEW] != first


def test_the_kernel_goes_on_while_a_button_works(panel: Frontend) -> None:
    panel.book.remote("1")
    panel.show()
    panel.press("Pull")
    assert panel.book.run("1 + 1").result == "2"


def test_without_a_kernel_it_is_a_table(tmp_path: Path) -> None:
    magic = "get_ipython().run_line_magic"
    lines = f"{magic}('load_ext', 'jupyter_gpu_remote'); {magic}('remote', '')"
    ran = subprocess.run(
        [sys.executable, "-m", "IPython", "--simple-prompt", "-c", lines],
        capture_output=True, text=True, timeout=LIMIT, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert ran.stdout == "No machine is running. `%remote up` starts one.\n"
