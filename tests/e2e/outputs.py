"""Run cells through nbclient, and tell whether two runs gave the same outputs."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from queue import Empty
from typing import Any

import nbformat
from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.channels import AsyncZMQSocketChannel
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from traitlets import Type

from .cells import Cell

Output = dict[str, Any]

WIDGET = "application/vnd.jupyter.widget-view+json"
ANSI = r"(?:\x1b\[[\d;]*m)*"
NUMBER = r"\d+(?:\.\d+)?(?:e[+-]?\d+)?"
UNIT = r"(?:ns|µs|us|μs|ms|s|min|h)"

# What may differ between two runs of the same cell, and nothing else. Each pattern can begin at few places
# only, so that a line of a megabyte takes no time.
MOVING = [
    # numbering: a cell's place in the history, the file a cell is compiled under
    (re.compile(rf"(Cell{ANSI} {ANSI}In ?{ANSI})\[\d+\]"), r"\1[n]"),
    (re.compile(r"<ipython-input-\d+-[0-9a-f]+>"), "<cell>"),
    (re.compile(r"(?<![\w/.\-])[\w/.\-]*/ipykernel_\d+/\d+\.py"), "<cell>"),
    (re.compile(r"\(\d+\.py, line "), "(<cell>, line "),
    (re.compile(r"\bThread-\d+\b"), "Thread-n"),
    # addresses and ids
    (re.compile(r"\b0x[0-9a-f]{6,16}\b"), "0xADDRESS"),
    (re.compile(r"\b[0-9a-f]{32}\b"), "ID"),
    (re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "ID"),
    # how deep the kernel stands when it runs a cell
    (re.compile(r"(skipping similar frames[^\n]*\()\d+( times\))"), r"\1N\2"),
    # timings: a progress bar's redraws and rate, %time, %timeit
    (re.compile(r"(?:^|(?<=[\r\n]))[^\r\n]*\r(?=[^\r\n]*\d+%\|)"), ""),
    (re.compile(r"\[[\d:]+(?:<|&lt;)[\d:]+,[\s\d.?]+(?:it/s|s/it)\]"), "[RATE]"),
    (re.compile(r"\|[^|\r\n]*\|(?= \d+/\d+ \[RATE\])"), "|BAR|"),  # as wide as the rate leaves room for
    (re.compile(r"(CPU times: )[^\n]*"), r"\1TIME"),
    (re.compile(r"(Wall time: )[^\n]*"), r"\1TIME"),
    (re.compile(rf"(?<![\d.]){NUMBER} {UNIT} ± {NUMBER} {UNIT}"), "TIME"),
]


class _ShellChannel(AsyncZMQSocketChannel):
    """Looks for messages now and then: nbclient sends on this socket, for the Output widget, while it waits
    on it, and what comes meanwhile may wake nobody."""

    async def get_msg(self, timeout: float | None = None) -> dict[str, Any]:
        clock = asyncio.get_running_loop().time
        end = clock() + (float("inf") if timeout is None else timeout)
        while clock() < end:
            if await self.socket.poll(200):
                return await self._recv()
        raise Empty


class _Client(AsyncKernelClient):
    shell_channel_class = Type(_ShellChannel)


class _Manager(AsyncKernelManager):
    client_factory = Type(_Client)


def run(
    cells: Sequence[Cell], folder: Path, *, first: str = "pass", top: str = "", timeout: int = 120
) -> dict[str, list[Output]]:
    """Run `cells` one after the other in one new kernel.

    Args:
        cells: What to run; a cell's setup is a cell of its own before it.
        folder: Working folder of the kernel.
        first: Source of a cell that is run before all others.
        top: A line put on top of each, such as ``%%remote``.
        timeout: Seconds a cell may take.

    Returns:
        The outputs of each cell by its name, and those of a setup by ``NAME, setup``. Widgets stand there
        with their whole state instead of an id. Two output types are ours: ``payload``, what the kernel asks
        of the frontend (pager, next cell), and ``failed``, that the kernel called the cell a failure, so
        that Run All stops there.
    """
    sources = {}
    for cell in cells:
        if cell.setup:
            sources[f"{cell.name}, setup"] = top + cell.setup
        sources[cell.name] = top + cell.code
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source) for source in [first, *sources.values()]]
    )
    answers: dict[int, list[Output]] = {}

    def keep_answer(cell: object, cell_index: int, execute_reply: Mapping[str, Any]) -> None:
        content = execute_reply["content"]
        answers[cell_index] = [{"output_type": "payload", **item} for item in content.get("payload", [])]
        if content["status"] != "ok":
            answers[cell_index].append(
                {"output_type": "failed", "ename": content.get("ename"), "evalue": content.get("evalue")}
            )

    NotebookClient(
        notebook,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        allow_errors=True,
        timeout=timeout,
        on_cell_executed=keep_answer,
        kernel_manager_class=_Manager,
    ).execute()
    widgets = notebook.metadata.get("widgets", {}).get("application/vnd.jupyter.widget-state+json", {})
    models = widgets.get("state", {})
    return {
        name: [_with_widgets(dict(output), models) for output in notebook.cells[index].outputs]
        + answers[index]
        for index, name in enumerate(sources, 1)
    }


def _with_widgets(output: Output, models: Mapping[str, Any]) -> Output:
    """Put the state of a widget where its id stands, and that of the widgets in it."""

    def resolve(value: Any, above: tuple[str, ...]) -> Any:
        if isinstance(value, str) and value.startswith("IPY_MODEL_"):
            return model(value.removeprefix("IPY_MODEL_"), above)
        if isinstance(value, Mapping):
            return {key: resolve(item, above) for key, item in value.items()}
        if isinstance(value, list):
            return [resolve(item, above) for item in value]
        return value

    def model(model_id: str, above: tuple[str, ...]) -> Any:
        if model_id in above:
            return "the widget around it"
        if model_id not in models:
            return "no such widget"
        found = models[model_id]
        state = {key: resolve(value, (*above, model_id)) for key, value in found["state"].items()}
        return {"model": found["model_name"], "state": state, "buffers": found.get("buffers", [])}

    data = output.get("data", {})
    if WIDGET in data:
        return {**output, "data": {**data, WIDGET: model(data[WIDGET]["model_id"], ())}}
    return output


def normalize(outputs: Iterable[Output], folders: Sequence[str] = ()) -> list[Output]:
    """Return `outputs` without what two runs of the same cell may differ in.

    That is numbering, memory addresses, random ids, timings and how a stream was cut into messages; see
    `MOVING`. Text, order, kinds, metadata and colours stay.

    Args:
        outputs: The outputs of a cell, as nbformat has them.
        folders: The working folder as this run may print it, to be read as ``FOLDER``.
    """
    merged: list[Output] = []
    for output in outputs:
        last = merged[-1] if merged else {}
        if output["output_type"] == "stream" == last.get("output_type") and output["name"] == last["name"]:
            last["text"] += output["text"]
        else:
            merged.append(dict(output))
    for output in merged:
        if "execution_count" in output:
            output["execution_count"] = "n"
    longest_first = sorted(folders, key=len, reverse=True)
    return [_clean(output, longest_first) for output in merged]


def _clean(value: Any, folders: Sequence[str]) -> Any:
    """Apply `MOVING` to every text in `value`."""
    if isinstance(value, str):
        for folder in folders:
            value = value.replace(folder, "FOLDER")
        for pattern, replacement in MOVING:
            value = pattern.sub(replacement, value)
        return value
    if isinstance(value, Mapping):
        return {key: _clean(item, folders) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item, folders) for item in value]
    return value


def kinds(outputs: Iterable[Output]) -> tuple[str, ...]:
    """Return what each output is: stdout, stderr, result, display, the name of an error, page, failed …"""
    return tuple(map(_kind, normalize(outputs)))


def _kind(output: Output) -> str:
    match output["output_type"]:
        case "execute_result":
            return "result"
        case "display_data":
            return "display"
        case "stream":
            return str(output["name"])
        case "error":
            return str(output["ename"])
        case "payload":
            return str(output["source"])
        case other:
            return str(other)


def same(
    local: Iterable[Output],
    remote: Iterable[Output],
    *,
    local_folders: Sequence[str] = (),
    remote_folders: Sequence[str] = (),
) -> list[str]:
    """Return how `remote` differs from `local`, a sentence each; empty when they are the same."""
    ours, theirs = normalize(local, local_folders), normalize(remote, remote_folders)
    if len(ours) != len(theirs):
        return [f"{len(ours)} outputs here, {len(theirs)} there: {kinds(ours)} and {kinds(theirs)}"]
    return [
        f"output {number}, {difference}"
        for number, (a, b) in enumerate(zip(ours, theirs, strict=True))
        for difference in _differences(a, b, a["output_type"])
    ]


def _differences(a: Any, b: Any, where: str) -> list[str]:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        missing = [f"{where}: only here: {key}" for key in a if key not in b]
        extra = [f"{where}: only there: {key}" for key in b if key not in a]
        inner = [d for key in a if key in b for d in _differences(a[key], b[key], f"{where}.{key}")]
        return missing + extra + inner
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return [
            d for i, (x, y) in enumerate(zip(a, b, strict=True)) for d in _differences(x, y, f"{where}[{i}]")
        ]
    if a == b:
        return []
    if isinstance(a, str) and isinstance(b, str):
        at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
        begin = max(0, at - 40)
        return [f"{where}: at character {at}: {a[begin : at + 80]!r} here, {b[begin : at + 80]!r} there"]
    return [f"{where}: {str(a)[:200]} here, {str(b)[:200]} there"]
