"""How long the hub is left alone between two tries, over a clock that moves at once."""

import math
import random
import statistics

import pytest

from tests.fakes import FakeClock
from tools.core.errors import HubForbidden, HubRejected, HubUnavailable, IntegrityError, Stopped
from tools.hub.retrying import Backoff


def waits(backoff: Backoff, clock: FakeClock, exc: Exception) -> list[float]:
    """What was slept until it gave up."""
    clock.slept.clear()

    def fail() -> None:
        raise exc

    with pytest.raises(type(exc)):
        backoff.retry("do", fail)
    return clock.slept.copy()


def test_waits_double_up_to_the_cap_and_are_spread_evenly_over_their_upper_half() -> None:
    clock, chance = FakeClock(), random.Random(1)
    backoff = Backoff(clock, attempts=9, base=1.0, cap=60.0, patience=math.inf, random=chance.random)
    runs = [waits(backoff, clock, HubUnavailable("down")) for _ in range(2000)]
    most = [1, 2, 4, 8, 16, 32, 60, 60]
    for full, seen in zip(most, zip(*runs, strict=True), strict=True):
        shares = [wait / full for wait in seen]
        assert 0.5 <= min(shares) < 0.51 and 0.99 < max(shares) <= 1.0
        assert statistics.mean(shares) == pytest.approx(0.75, abs=0.01)
        quarters = [sum(low <= share < low + 0.125 for share in shares) for low in (0.5, 0.625, 0.75, 0.875)]
        assert min(quarters) > 0.2 * len(runs), "clients that failed together must not come back together"


def test_two_clients_that_fail_at_the_same_time_come_back_at_different_times() -> None:
    clock = FakeClock()
    assert waits(Backoff(clock), clock, HubUnavailable("x")) != waits(Backoff(clock), clock, HubUnavailable("x"))


def test_retry_after_of_the_server_counts_if_it_is_longer_and_only_then() -> None:
    clock = FakeClock()
    backoff = Backoff(clock, attempts=4, random=lambda: 1.0)
    assert waits(backoff, clock, HubUnavailable("x", retry_after=10)) == [10, 10, 10]
    assert waits(backoff, clock, HubUnavailable("x", retry_after=2)) == [2, 2, 4]
    assert waits(backoff, clock, HubUnavailable("x", retry_after=-5)) == [1, 2, 4]


def test_wait_that_is_long_is_left_to_the_caller_who_has_other_work() -> None:
    clock = FakeClock()
    backoff = Backoff(clock, random=lambda: 1.0)
    error = HubUnavailable("busy", retry_after=1700)
    assert waits(backoff, clock, error) == [] and error.retry_after == 1700
    assert waits(backoff, clock, HubUnavailable("x", retry_after=12)) == [12, 12], "nor many that make a long one"
    assert sum(waits(backoff, clock, HubUnavailable("x"))) == 31, "its own waits are short enough"


def test_what_does_not_pass_is_not_tried_again_and_wrong_content_three_times() -> None:
    clock = FakeClock()
    for exc in (HubForbidden("no", status=401), HubRejected("no", status=422), Stopped("stop")):
        assert waits(Backoff(clock), clock, exc) == []
    assert len(waits(Backoff(clock), clock, IntegrityError("differs"))) == 2


def test_what_was_given_up_inside_is_not_tried_again_outside() -> None:
    clock = FakeClock()
    calls = 0

    def page() -> None:
        nonlocal calls
        calls += 1
        raise HubUnavailable("down")

    inner, outer = Backoff(clock), Backoff(clock)
    with pytest.raises(HubUnavailable):
        outer.retry("list", lambda: inner.retry("page", page))
    assert calls == 6


def test_stop_during_a_wait_ends_it() -> None:
    clock = FakeClock()
    clock.stopping = True
    with pytest.raises(Stopped):
        Backoff(clock).retry("do", lambda: (_ for _ in ()).throw(HubUnavailable("down")))
    assert len(clock.slept) == 1
