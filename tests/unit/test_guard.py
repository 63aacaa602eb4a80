"""When a machine ends itself, over days of simulated use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from jupyter_gpu_remote.agent.guard import AWAY, PRESENT, STUCK, Policy, Use, end_of

HOUR = 3600.0
POLICY = Policy(idle=0.5 * HOUR, poweroff=("poweroff",), ends_at=12 * HOUR + 1)
STEP = 10.0

Scene = Callable[[float], Use]


def lifetime(scene: Scene, policy: Policy = POLICY, kept_until: float = 0.0) -> tuple[float, str]:
    """Return the seconds that a machine lives on which happens what `scene` says of each moment, and why."""
    now = 0.0
    while now < 48 * HOUR:
        end = end_of(scene(now), policy, 0.0, kept_until, now)
        if end and end.at <= now:
            return now, end.why
        now += STEP
    return float("inf"), ""


def idle_with_client(client_until: float, active_until: float = 60.0) -> Scene:
    return lambda now: Use(active_at=min(now, active_until), client_at=min(now, client_until))


def busy(client_until: float, cell_until: float, works: bool, gpu_known: bool) -> Scene:
    def scene(now: float) -> Use:
        done = now >= cell_until
        unseen = cell_until if done and cell_until > client_until else 0.0
        return Use(
            busy=not done,
            active_at=cell_until if done else 1.0,
            worked_at=min(now, cell_until) if works else 1.0,
            client_at=min(now, client_until),
            unseen=unseen,
            gpu_known=gpu_known,
        )

    return scene


def test_a_laptop_that_dies_with_an_idle_kernel_costs_five_minutes() -> None:
    end, why = lifetime(idle_with_client(client_until=HOUR, active_until=HOUR))
    assert end == HOUR + AWAY and "nobody is connected" in why


def test_a_user_who_reads_has_the_idle_time() -> None:
    end, why = lifetime(idle_with_client(client_until=48 * HOUR, active_until=60))
    assert end == 60 + POLICY.idle and "30 min" in why


def test_a_machine_that_nobody_came_to_ends_in_a_quarter_of_an_hour() -> None:
    assert lifetime(lambda now: Use()) == (900.0, "nobody came to use it")


def test_training_with_the_laptop_closed_goes_on_to_the_hard_limit() -> None:
    end, why = lifetime(busy(client_until=60, cell_until=20 * HOUR, works=True, gpu_known=True))
    assert end >= POLICY.ends_at and "used up" in why


def test_what_nobody_has_seen_yet_is_kept_for_as_long_as_it_took() -> None:
    end, _ = lifetime(busy(client_until=60, cell_until=3 * HOUR, works=True, gpu_known=True))
    assert end == 6 * HOUR


def test_a_short_cell_that_nobody_has_seen_is_kept_no_longer_than_an_idle_machine() -> None:
    end, _ = lifetime(busy(client_until=60, cell_until=100, works=True, gpu_known=True))
    assert end == 100 + AWAY


def test_a_stuck_cell_that_nobody_watches_ends_after_an_hour() -> None:
    end, why = lifetime(busy(client_until=60, cell_until=48 * HOUR, works=False, gpu_known=True))
    assert end == 60 + STUCK and "no sign of work" in why


def test_a_silent_cell_is_kept_while_the_use_of_the_gpu_is_unknown() -> None:
    end, why = lifetime(busy(client_until=60, cell_until=48 * HOUR, works=False, gpu_known=False))
    assert "used up" in why and end >= POLICY.ends_at


def test_a_silent_cell_is_kept_while_somebody_watches() -> None:
    end, why = lifetime(busy(client_until=48 * HOUR, cell_until=48 * HOUR, works=False, gpu_known=True))
    assert "used up" in why and end >= POLICY.ends_at


def test_extending_keeps_an_unused_machine_but_not_past_the_hard_limit() -> None:
    scene = idle_with_client(client_until=60)
    assert lifetime(scene, kept_until=5 * HOUR)[0] == 5 * HOUR
    assert lifetime(scene, kept_until=40 * HOUR)[1].endswith("used up")


def test_a_machine_that_is_not_ours_to_end_is_never_ended() -> None:
    assert lifetime(lambda now: Use(), replace(POLICY, poweroff=()))[0] == float("inf")


def test_without_an_idle_time_only_the_hard_limit_ends_a_machine() -> None:
    assert "used up" in lifetime(lambda now: Use(), replace(POLICY, idle=0.0))[1]


TIMES = st.floats(0, 20 * HOUR)
USES = st.builds(Use, st.booleans(), TIMES, TIMES, TIMES, TIMES, st.booleans())


@given(use=USES, now=TIMES, kept=TIMES)
def test_a_busy_machine_that_is_watched_never_ends_before_the_hard_limit(
    use: Use, now: float, kept: float
) -> None:
    watched = replace(use, busy=True, client_at=now - PRESENT / 2)
    end = end_of(watched, POLICY, 0.0, kept, now)
    assert end is not None and end.at == POLICY.ends_at


@given(use=USES, now=TIMES, kept=TIMES)
def test_whatever_happens_the_hard_limit_holds(use: Use, now: float, kept: float) -> None:
    end = end_of(use, POLICY, 0.0, kept, now)
    assert end is not None and end.at <= POLICY.ends_at


@given(use=USES, kept=TIMES)
def test_an_abandoned_machine_always_ends_though_it_has_no_hard_limit(use: Use, kept: float) -> None:
    abandoned = replace(use, busy=False)
    end = end_of(abandoned, replace(POLICY, ends_at=0.0), 0.0, kept, 100 * HOUR)
    assert end is not None and end.at < 100 * HOUR
