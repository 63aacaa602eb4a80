"""What a sweep runs over: what is typed, and the trials that come of it."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_gpu_remote.agent.space import expand
from jupyter_gpu_remote.config import GpuRemote
from jupyter_gpu_remote.errors import ConfigurationError
from jupyter_gpu_remote.options import parse as parse_options
from jupyter_gpu_remote.sweeps import parse, request, told, wanted

NAMES = st.sampled_from(["lr", "seed", "depth"])
LITERALS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


def trials(*texts: str, limit: int = 0, **lists: Any) -> list[dict[str, Any]]:
    return expand(parse.space(texts), limit, lists)


def refusal(*texts: str) -> str:
    with pytest.raises(ConfigurationError) as e:
        parse.space(texts)
    return str(e.value)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("lr=0.1,0.01", [0.1, 0.01]),
        ("lr=1e-4", [1e-4]),
        ("n=-1,+2", [-1, 2]),
        ("seed=range(3)", [0, 1, 2]),
        ("seed=range(2, 8, 3)", [2, 5]),
        ("seed=range(2),7", [0, 1, 7]),
        ("opt=adam,sgd", ["adam", "sgd"]),
        ("opt='adam',\"s,gd\"", ["adam", "s,gd"]),
        ("model=bert-base-uncased,google/t5-v1.1", ["bert-base-uncased", "google/t5-v1.1"]),
        ("path=/data/a.csv,s3://b/c", ["/data/a.csv", "s3://b/c"]),
        ("flag=True,None", [True, None]),
        ("shape=(1,2),[3,4]", [(1, 2), [3, 4]]),
        ("c={'a': 1, 'b': [2]}", [{"a": 1, "b": [2]}]),
        ("eq='a=b'", ["a=b"]),
        ("lr = 1 , 2 ", [1, 2]),
    ],
)
def test_values_are_read_as_they_are_typed(text: str, values: list[Any]) -> None:
    (name,) = {key for trial in trials(text) for key in trial}
    assert [trial[name] for trial in trials(text)] == values


@given(st.lists(LITERALS, min_size=1, max_size=4))
def test_any_literal_is_read_as_python_writes_it(values: list[Any]) -> None:
    assert [t["x"] for t in trials(f"x={','.join(map(repr, values))}")] == values


@given(st.text())
def test_whatever_is_typed_is_read_or_refused_and_never_run(text: str) -> None:
    for typed in (text, f"x={text}"):
        try:
            parse.space([typed])
        except ConfigurationError as e:
            assert e.hint


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("lr=", "no value"),
        ("lr", ""),
        ("2x=1", "can't be the name"),
        ("class=1", "can't be the name"),
        ("state=1", "results use"),
        ("report=1", "results use"),
        ("lr=np.logspace(1,2)", "make a list of dicts"),
        ("lr=__import__('os')", "not known here"),
        ("lr=range(n)", "not numbers"),
        ("lr=range(0)", "empty"),
        ("lr=range(1,5,0)", "whole numbers"),
        ("lr=log(1e-5)", "least and the greatest"),
        ("lr=log(1,0.1)", "least and the greatest"),
        ("lr=log(0,1)", "above 0"),
        ("lr=log(1,10),5", "among others"),
        ("n=randint(0.5,2)", "whole numbers"),
        ("x=true", "written True"),
        ("x=nan", "no number"),
        ("x=1e999", "too large"),
        ("x=0.1.2", "needs quotes"),
        ("x=2*3", "needs quotes"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_reason(text: str, why: str) -> None:
    if why:
        assert why in refusal(text)
    else:
        assert parse.space([text]) == [{"list": "lr"}]


def test_a_name_can_be_there_once_only() -> None:
    assert "twice" in refusal("lr=1", "lr=2")
    with pytest.raises(ValueError, match="a is there twice"):
        trials("configs", "a=1", configs=[{"a": 2}])


def test_trials_are_all_combinations_the_last_name_changing_first() -> None:
    assert trials("a=1,2", "b=x,y") == [
        {"a": 1, "b": "x"},
        {"a": 1, "b": "y"},
        {"a": 2, "b": "x"},
        {"a": 2, "b": "y"},
    ]


def test_a_list_of_dicts_is_combined_with_the_rest() -> None:
    configs = [{"a": 1, "b": 2}, {"a": 3}]
    assert trials("configs", "s=0,1", configs=configs) == [
        {"a": 1, "b": 2, "s": 0},
        {"a": 1, "b": 2, "s": 1},
        {"a": 3, "s": 0},
        {"a": 3, "s": 1},
    ]


@pytest.mark.parametrize(
    ("lists", "why"),
    [
        ({}, "no variable"),
        ({"configs": 3}, "not a list of dicts"),
        ({"configs": [1]}, "not a list of dicts"),
        ({"configs": []}, "empty"),
        ({"configs": [{"no name": 1}]}, "can't be the name"),
        ({"configs": [{"error": 1}]}, "results use"),
    ],
)
def test_a_list_that_is_no_space_is_refused(lists: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        trials("configs", **lists)


@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 12))
def test_some_of_a_grid_are_different_trials_and_the_same_each_time(limit: int, a: int, b: int) -> None:
    some = trials(f"a=range({a})", f"b=range({b})", limit=limit)
    assert len({tuple(trial.values()) for trial in some}) == min(limit, a * b)
    assert some == trials(f"a=range({a})", f"b=range({b})", limit=limit)


def test_a_grid_that_nobody_can_run_is_no_memory() -> None:
    huge = [f"{name}=range(1000)" for name in "abcdef"]
    assert len(trials(*huge, limit=3)) == 3
    with pytest.raises(ValueError, match="--max-trials"):
        trials(*huge)


@given(st.integers(1, 50), st.floats(1e-9, 1.0), st.floats(1.5, 1e6))
def test_what_is_drawn_lies_between_its_limits(count: int, low: float, high: float) -> None:
    drawn = trials(
        f"a=log({low!r},{high!r})", f"b=uniform({low!r},{high!r})", "n=randint(1,3)", "s=0,1", limit=count
    )
    assert len(drawn) == count
    assert all(low <= t["a"] <= high and low <= t["b"] <= high and t["n"] in (1, 2, 3) for t in drawn)
    assert [t["s"] for t in drawn] == [i % 2 for i in range(count)]


def test_log_draws_as_many_of_each_power_of_ten() -> None:
    powers = [math.floor(math.log10(t["x"])) for t in trials("x=log(1e-4,1)", limit=400)]
    assert all(60 < powers.count(power) < 140 for power in range(-4, 0))


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", None),
        ("loss > 2 after 100", ("loss", ">", 2.0, 100)),
        ("acc<=.5", ("acc", "<=", 0.5, 0)),
    ],
)
def test_a_rule_that_stops_trials_is_read(text: str, rule: Any) -> None:
    assert parse.rule(text) == rule


@pytest.mark.parametrize("text", ["loss", "loss > two", "loss > 2 after", "2 < loss", "a > 1; b"])
def test_a_rule_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="comparison and a number"):
        parse.rule(text)


def test_options_of_a_sweep_need_one_and_must_fit() -> None:
    def settings(line: str) -> GpuRemote:
        return parse_options(line, GpuRemote())[1]

    assert not wanted(settings(""))
    with pytest.raises(ConfigurationError, match="--retries needs a --sweep"):
        wanted(settings("--retries 2"))
    for line, why in [
        ("--sweep lr=log(1e-3,1)", "no end"),
        ("--sweep configs --optimize 'min loss'", "list of dicts"),
        ("--sweep a=1,2 --trials 3", "--optimize"),
        ("--sweep a=1,2 --launch torchrun", "--launch"),
    ]:
        with pytest.raises(ConfigurationError, match=why):
            request(settings(line), "")
    made = request(settings("--sweep lr=0.1,1 --timeout 2m --retries 1 --optimize 'max acc'"), "x")
    assert (made.limit, made.timeout, made.retries, made.goal) == (50, 120.0, 1, ("max", "acc"))


def test_a_dry_run_tells_the_number_and_the_first_few() -> None:
    config = GpuRemote(sweep=["a=range(9)", "configs"])
    lines = told(request(config, ""), {"configs": [{"b": 1}]}).splitlines()
    assert lines[:2] == ["9 trials:", "1  {'a': 0, 'b': 1}"]
    assert lines[-1] == "… and 4 more"
