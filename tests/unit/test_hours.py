"""Hours of the week by the local clock, those on which it is set included, and what keeps to them."""

import time
from collections.abc import Iterator
from datetime import datetime

import pytest

from config import ConfigError, Settings
from tools.core.hours import Opening, Spans, is_open, next_change

MONDAY = "2026-11-23"


def spans_of(text: str) -> Spans:
    return Settings.load({"ACTIVE_HOURS": text}).processor.active_hours.spans


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whose clock goes from 2:00 to 3:00 on 29 March 2026, and from 3:00 to 2:00 on 25 October."""
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "when", "expected"),
    [
        ("", f"{MONDAY} 12:00", True),
        ("22:00-08:00", f"{MONDAY} 07:59", True),
        ("22:00-08:00", f"{MONDAY} 08:00", False),
        ("22:00-08:00", f"{MONDAY} 22:00", True),
        ("22:00-08:00,Sat-Sun", "2026-11-28 12:00", True),  # a Saturday
        ("22:00-08:00,Sat-Sun", "2026-11-27 12:00", False),
        ("mon-fri 19:00-07:00", "2026-11-28 06:59", True),  # Friday's night
        ("mon-fri 19:00-07:00", "2026-11-28 19:00", False),
        ("Sun 22:00-06:00", f"{MONDAY} 05:59", True),  # over the end of the week
        ("Sat-Mon 09:00-10:00", f"{MONDAY} 09:30", True),
        ("09:00-24:00", f"{MONDAY} 23:59", True),
    ],
)
def test_hours_are_those_of_the_local_clock(text: str, when: str, expected: bool) -> None:
    assert is_open(spans_of(text), datetime.fromisoformat(when)) is expected


@pytest.mark.parametrize("text", ["8-22", "22:00-22:00", "25:00-08:00", "Xyz", "22:00-08:60", "Mon,", "24:00-08:00"])
def test_hours_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="ACTIVE_HOURS"):
        spans_of(text)


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize(
    ("text", "now", "change"),
    [
        ("22:00-08:00", "2026-11-23T12:00", "2026-11-23T22:00"),
        ("22:00-08:00", "2026-11-23T22:00", "2026-11-24T08:00"),
        ("Sat-Sun", "2026-11-23T00:00", "2026-11-28T00:00"),
        ("22:00-08:00", "2026-03-28T23:00", "2026-03-29T08:00"),  # a night of nine hours
        ("22:00-08:00", "2026-10-24T23:00", "2026-10-25T08:00"),  # and one of eleven
        ("02:15-02:45", "2026-03-29T00:00", "2026-03-30T02:15"),  # does not come on the 29th
    ],
)
def test_next_change_is_told_over_a_change_of_the_clock(text: str, now: str, change: str) -> None:
    spans, start = spans_of(text), datetime.fromisoformat(now).timestamp()
    found = next_change(spans, start)
    assert found is not None and datetime.fromtimestamp(found).isoformat(timespec="minutes") == change


@pytest.mark.usefixtures("berlin")
def test_hours_that_come_twice_count_twice() -> None:
    spans = spans_of("02:15-02:45")
    midnight = datetime.fromisoformat("2026-10-25T00:00").timestamp()
    inside = [minute for minute in range(300) if is_open(spans, datetime.fromtimestamp(midnight + 60 * minute))]
    assert inside == [*range(135, 165), *range(195, 225)]


def test_always_never_changes() -> None:
    assert next_change((), 0.0) is None and next_change(spans_of("Mon-Sun"), 0.0) is None


@pytest.mark.parametrize(
    ("text", "rate"),
    [("0", 0), ("5MB", 5_000_000), ("800k", 800_000), ("2 MiB/s", 2 << 20), ("1.5m", 1_500_000), ("250000", 250_000)],
)
def test_rates_take_units(text: str, rate: int) -> None:
    assert Settings.load({"DOWNLOAD_LIMIT": text}).processor.download_limit == rate


@pytest.mark.parametrize("text", ["fast", "-1", "10k", "5 apples", "1e9", "9999999999999k"])
def test_rates_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="UPLOAD_LIMIT"):
        Settings.load({"UPLOAD_LIMIT": text})


@pytest.mark.parametrize(
    ("hours", "end"),
    [
        (2, "2026-01-06T00:00:00"),  # begins at 22:00
        (10, "2026-01-06T08:00:00"),
        (12, "2026-01-07T00:00:00"),
        (10 * 60, "2026-03-06T08:00:00"),  # beyond a month by the share of the hours
    ],
)
def test_work_is_done_within_the_hours(hours: float, end: str) -> None:
    nightly = tuple((day * 1440 + 22 * 60, day * 1440 + 32 * 60) for day in range(7))
    start = datetime.fromisoformat("2026-01-05T12:00:00").timestamp()
    done = Opening(nightly)(start, hours * 3600)
    assert abs(done - datetime.fromisoformat(end).timestamp()) <= (1 if hours < 100 else 14 * 3600)


def test_work_without_hours_goes_on_always() -> None:
    assert Opening(())(1000.0, 50.0) == 1050.0
