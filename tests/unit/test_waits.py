"""What the hub wants to be left alone with: until when, what it holds up, and when it is no reason any more."""

import pytest

from tests.fakes import FakeClock, Told
from tools.core.errors import HubRejected, HubUnavailable
from tools.core.queue_item import local_time
from tools.core.retry import LONGEST, AskedToWait, asked_to_wait
from tools.processor.reporting import HubWait
from tools.processor.waits import Waits

BUSY, DOWN = AskedToWait(100.0, True), AskedToWait(100.0, False)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def waits(clock: FakeClock, told: Told) -> Waits:
    return Waits(clock, told)


def test_only_a_hub_that_says_for_how_long_asks_to_wait_and_an_hour_at_most() -> None:
    assert asked_to_wait(HubUnavailable("x", retry_after=1700, status=429)) == AskedToWait(1700, True)
    assert asked_to_wait(HubUnavailable("x", retry_after=5, status=503)) == AskedToWait(5, False)
    assert asked_to_wait(HubUnavailable("x", retry_after=1e9)) == AskedToWait(3600, False)
    for error in (HubUnavailable("x"), HubUnavailable("x", retry_after=0), HubRejected("x")):
        assert asked_to_wait(error) is None


def test_what_is_asked_is_told_once_and_shown_until_it_is_over(waits: Waits, clock: FakeClock, told: Told) -> None:
    assert waits.asked("publish", "A/1", "x", None) == (0.0, False) and waits.reason is None
    now = clock.monotonic()
    assert waits.asked("publish", "A/1", "429", BUSY) == (now + 100, True)
    assert waits.reason is not None and waits.reason.startswith("publish of A/1 waits until ")
    assert [(one.kind, one.about, one.state, one.until) for one in waits.shown()] == [
        ("publish", "A/1", "waiting", clock.time() + 100)
    ]
    clock.pass_time(100)
    assert waits.reason is None and waits.shown() == []
    assert waits.asked("publish", "A/1", "429", BUSY) == (now + 200, True), "the account's, however often"
    assert [type(event) for event in told.events] == [HubWait]
    waits.worked("publish", "A/1")
    assert waits.shown() == []


def test_wait_that_was_kept_in_vain_is_no_explanation_a_second_time(waits: Waits, clock: FakeClock) -> None:
    assert waits.asked("download", "A/1.mp4", "503", DOWN)[1] is True
    clock.pass_time(100)
    until, is_all = waits.asked("download", "A/1.mp4", "503", DOWN)
    assert (until, is_all) == (clock.monotonic() + 100, False), "kept all the same"
    waits.worked("download", "A/1.mp4")
    assert waits.asked("download", "A/1.mp4", "503", DOWN)[1] is True


def test_two_of_a_kind_that_wait_hold_up_the_kind_until_the_first_may_be_tried(waits: Waits, clock: FakeClock) -> None:
    waits.asked("publish", "A/1", "429", BUSY)
    waits.asked("open", "B", "429", BUSY)
    assert waits.held() == frozenset()
    clock.pass_time(10)
    waits.asked("publish", "B/1", "429", BUSY)
    assert waits.held() == {"publish"}
    clock.pass_time(90)
    assert waits.held() == frozenset(), "the first may be tried again"
    waits.asked("publish", "A/1", "429", BUSY)
    assert waits.held() == {"publish"}
    waits.worked("publish", "A/1")
    assert waits.held() == frozenset()


def test_reason_names_what_may_be_tried_first_and_counts_the_others(waits: Waits, clock: FakeClock) -> None:
    waits.asked("publish", "A/1", "429 of A", AskedToWait(300.0, True))
    assert waits.reason == f"publish of A/1 waits until {local_time(clock.time() + 300)}: 429 of A"
    waits.asked("open", "B", "503 of B", AskedToWait(200.0, False))
    assert waits.reason is not None and waits.reason.startswith("open of B and 1 more waits until ")
    waits.asked("upload", "C/1.mkv", "429 of C", AskedToWait(400.0, True))
    clock.pass_time(50)
    assert waits.reason == f"open of B and 2 more waits until {local_time(clock.time() + 150)}: 503 of B"
    assert [one.cause for one in waits.shown()] == ["429 of A", "503 of B", "429 of C"]


def test_wait_is_told_with_its_end_and_forgotten_once_it_was_over_for_long(
    waits: Waits, clock: FakeClock, told: Told
) -> None:
    waits.asked("download", "A/1.mp4", "503", DOWN)
    assert told.events == [HubWait("download", "A/1.mp4", "503", local_time(clock.time() + 100))]
    clock.pass_time(100 + LONGEST - 1)
    assert waits.shown() == []
    assert waits.asked("download", "A/1.mp4", "503", DOWN) == (clock.monotonic() + 100, False), "it is known still"
    clock.pass_time(100 + LONGEST)
    assert waits.shown() == []
    assert waits.asked("download", "A/1.mp4", "503", DOWN) == (clock.monotonic() + 100, True), "of another time"
    assert len(told.events) == 2
