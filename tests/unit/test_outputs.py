"""The comparison of outputs must see what matters and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.outputs import kinds, normalize, same


def stream(text: str, name: str = "stdout") -> dict[str, Any]:
    return {"output_type": "stream", "name": name, "text": text}


def result(**data: Any) -> dict[str, Any]:
    return {"output_type": "execute_result", "execution_count": 1, "metadata": {}, "data": data}


def error(*lines: str) -> dict[str, Any]:
    return {"output_type": "error", "ename": "E", "evalue": "v", "traceback": list(lines)}


@pytest.mark.parametrize(
    ("here", "there"),
    [
        ([stream("a")], [stream("b")]),
        ([stream("a")], [stream("a", "stderr")]),
        ([stream("a")], []),
        ([stream("a")], [stream("a"), stream("a")]),
        ([stream("a"), result(t="1")], [result(t="1"), stream("a")]),
        ([result(t="1")], [result(u="1")]),
        ([result(t=[1, 2])], [result(t=[1, 3])]),
        ([result(t="1")], [{**result(t="1"), "metadata": {"t": {"w": 1}}}]),
        ([error("\x1b[31mE\x1b[39m")], [error("E")]),
        ([error("one", "two")], [error("one")]),
    ],
    ids=["text", "stream", "lost", "doubled", "order", "type", "value", "metadata", "colour", "traceback"],
)
def test_a_difference_is_seen(here: list[dict[str, Any]], there: list[dict[str, Any]]) -> None:
    assert same(here, there)


@pytest.mark.parametrize(
    ("here", "there"),
    [
        ([stream("a"), stream("b")], [stream("ab")]),
        ([result(t="<object at 0x7f01d2c3a4b0>")], [result(t="<object at 0x7fffd2c3a4b0>")]),
        (
            [error("\x1b[36mCell\x1b[39m \x1b[32mIn[3]\x1b[39m, line 1")],
            [error("\x1b[36mCell\x1b[39m \x1b[32mIn[12]\x1b[39m, line 1")],
        ),
        ([stream("/tmp/ipykernel_1/23.py:1: W")], [stream("/var/tmp/ipykernel_45/6.py:1: W")]),
        (
            [stream("\r  0%| | 0/2\r100%|#| 2/2 [00:00<00:00, 12.5it/s]\n")],
            [stream("\r100%|##| 2/2 [00:01<00:00,  1.53s/it]\n")],
        ),
        ([stream("9 ns ± 1.5 ns per loop")], [stream("1.1 µs ± 0 ns per loop")]),
        (
            [stream("CPU times: user 1 ms\nWall time: 2 s\n")],
            [stream("CPU times: user 3 s\nWall time: 4 s\n")],
        ),
    ],
    ids=["cuts", "address", "number", "file", "bar", "timeit", "time"],
)
def test_what_moves_between_two_runs_is_no_difference(
    here: list[dict[str, Any]], there: list[dict[str, Any]]
) -> None:
    assert same(here, there) == []


def test_each_run_may_stand_in_a_folder_of_its_own() -> None:
    here, there = [stream("/a/folder/m.py and ~/folder")], [stream("/b/m.py and /b")]
    assert same(here, there, local_folders=["/a/folder", "~/folder"], remote_folders=["/b"]) == []


def test_a_difference_is_told_with_its_place() -> None:
    assert same([stream("abc")], [stream("abX")]) == [
        "output 0, stream.text: at character 2: 'abc' here, 'abX' there"
    ]


def test_kinds_name_outputs_in_order() -> None:
    outputs = [stream("a"), stream("b"), error(), {"output_type": "payload", "source": "page"}]
    assert kinds(outputs) == ("stdout", "E", "page")


def test_normalizing_leaves_the_outputs_alone() -> None:
    outputs = [stream("a"), stream("b")]
    normalize(outputs)
    assert outputs == [stream("a"), stream("b")]
