"""The table of what can be had."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from jupyter_gpu_remote.config import GpuRemote
from jupyter_gpu_remote.errors import ConfigurationError, ProviderAuthError
from jupyter_gpu_remote.model import GpuRequest, Offer
from jupyter_gpu_remote.offers import rank
from jupyter_gpu_remote.options import HelpRequested
from jupyter_gpu_remote.registry import Registry
from jupyter_gpu_remote.tables import Table
from jupyter_gpu_remote.verbs import SHARED, Desk, split
from tests.fake_cloud import FakeProvider, install

SPOT = Offer("east", "g6", "L4", 1, 24, cpus=8, memory=32, region="one", zone="one-a", spot=True, price=0.25)
LISTED = replace(SPOT, spot=False, price=1.0)
ELSEWHERE = replace(SPOT, provider="west", machine_type="g2", region="two", zone="two-b", price=0.5)

Do = Callable[[str], Table]


def cloud(provider: str, offered: Sequence[Offer] | Exception) -> type[FakeProvider]:
    class Cloud(FakeProvider):
        name = provider

        def offers(self, request: GpuRequest) -> Sequence[Offer]:
            if isinstance(offered, Exception):
                raise offered
            return rank(offered, request)

    return Cloud


def words(line: str) -> str:
    return " ".join(line.split())


@pytest.fixture
def do() -> Do:
    said: list[str] = []
    desk = Desk(
        prog="gpu",
        config=GpuRemote(),
        registry=Registry(),
        folder=Path.cwd(),
        notebook=None,
        say=said.append,
        report=lambda phase, text: None,
        progress=lambda done, total, what: None,
        launch=lambda request, config: None,
    )

    def do(line: str) -> Table:
        SHARED.parse(split(line), desk)()
        return said.pop()  # type: ignore[return-value]

    return do


def test_one_line_has_the_price_in_both_markets_and_what_spot_saves(
    do: Do, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, cloud("east", [LISTED, SPOT]))
    head, line = do("offers --gpu L4").splitlines()
    assert words(head) == "GPU MEMORY VCPU RAM CLOUD WHERE MACHINE TYPE SPOT ON DEMAND SPOT SAVES"
    assert words(line) == "L4 24 GB 8 32 GB east one-a g6 $0.25/h $1.00/h 75%"


def test_the_list_price_of_a_region_holds_in_each_of_its_zones(
    do: Do, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, cloud("east", [SPOT, replace(LISTED, zone="")]))
    assert "$0.25/h  $1.00/h    75%" in do("offers --gpu L4").splitlines()[1]


def test_the_offers_of_all_clouds_come_cheapest_first(do: Do, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, cloud("west", [ELSEWHERE]), cloud("east", [LISTED, SPOT]))
    lines = do("offers --gpu L4").splitlines()
    assert ["east" in lines[1], "west" in lines[2]] == [True, True]


def test_who_asks_for_one_market_sees_one_price(do: Do, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, cloud("east", [LISTED, SPOT]))
    shown = do("offers --gpu L4 --on-demand")
    assert "$1.00/h" in shown
    assert "SPOT" not in shown


def test_a_cloud_that_failed_is_told_below_with_the_next_step(
    do: Do, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = ProviderAuthError("no credentials.", hint="gcloud auth login")
    install(monkeypatch, cloud("east", [SPOT]), cloud("gcp", error))
    assert do("offers --gpu L4").splitlines()[-1] == "gcp: no credentials. Next: gcloud auth login"


def test_a_long_table_is_cut_and_says_how_to_see_the_rest(do: Do, monkeypatch: pytest.MonkeyPatch) -> None:
    many = [replace(SPOT, zone=f"one-{n}", price=float(n)) for n in range(1, 31)]
    install(monkeypatch, cloud("east", many))
    assert do("offers --gpu L4").splitlines()[-1] == "and 10 more: add --all"
    assert len(do("offers --gpu L4 --all").splitlines()) == 31


def test_a_notebook_shows_the_same_as_html(do: Do, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, cloud("east", [SPOT]), cloud("gcp", ConfigurationError("<no> project")))
    shown = do("offers --gpu L4")
    assert "<td>$0.25/h</td>" in shown.html
    assert "<div>gcp: &lt;no&gt; project</div>" in shown.html


def test_programs_get_every_offer_and_failure_as_json(do: Do, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, cloud("east", [LISTED, SPOT]), cloud("gcp", ConfigurationError("no project")))
    answer = json.loads(do("offers --gpu L4 --json"))
    assert [(o["machine_type"], o["spot"], o["price"]) for o in answer["offers"]] == [
        ("g6", True, 0.25),
        ("g6", False, 1.0),
    ]
    assert answer["failed"] == {"gcp": "no project"}


def test_what_costs_nothing_is_called_free(do: Do, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, cloud("local", [Offer("local", "this-computer", stand_in_for="L4")]))
    line = do("offers --gpu L4 --cloud local").splitlines()[1]
    assert words(line) == "CPU stand-in for L4 local this-computer free"


def test_help_names_the_options_of_a_launch_and_its_own(do: Do) -> None:
    with pytest.raises(HelpRequested) as help:
        do("offers --help")
    assert "--max-price" in str(help.value)
    assert "--json" in str(help.value)
