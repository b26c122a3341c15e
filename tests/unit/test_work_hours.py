"""An engine whose machine keeps to hours: what waits, what stands still, what goes on."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from tests.fakes import FakeClock, FakeConverter, MemoryHub, Told
from tests.patience import until
from tests.unit.test_engine import Site
from tools.core.hours import OUTSIDE
from tools.processor.engine import Engine
from tools.processor.reporting import Progress
from tools.runtime import child
from tools.runtime.clock import SystemClock
from tools.stages.work_hours import HoursOptions

NIGHT = HoursOptions(spans=tuple((day * 1440 + 1320, day * 1440 + 1920) for day in range(7)))  # 22:00 to 8:00
NOON = datetime(2026, 11, 23, 12).timestamp()
EVENING = datetime(2026, 11, 23, 22).timestamp()


class WallClock(SystemClock):
    """Runs by itself but for the time of day."""

    now = NOON

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock() -> WallClock:
    return WallClock()


@pytest.fixture
def site(tmp_path: Path, clock: WallClock) -> Iterator[Site]:
    hub = MemoryHub(FakeClock())
    hub.create_repo("me/out")
    yield Site(tmp_path, hub, FakeConverter(), clock=clock, hours=NIGHT, observers=[Told()])
    child.suspend_patient(False)


def turned(engine: Engine, condition: Callable[[], object]) -> None:
    until(condition, "", lambda: engine.turn(0.01))


def stages(site: Site, engine: Engine) -> list[str]:
    engine._reported = None
    engine.report_progress()
    told = site.observers[0]
    assert isinstance(told, Told) and isinstance(told.events[-1], Progress)
    return sorted(job.stage for job in told.events[-1].jobs)


def test_outside_of_the_hours_videos_come_and_wait_and_are_encoded_within(site: Site, clock: WallClock) -> None:
    site.put({"A/1.mp4": b"1"}, "A")
    engine = site.engine()
    turned(engine, lambda: list((site.top / "work").rglob("source*")) and stages(site, engine) == ["waiting"])
    assert site.converter.encoded == []
    assert engine.paused == f"{OUTSIDE} until 2026-11-23T22:00: encode waits, encodes under way are suspended"
    clock.now = EVENING
    turned(engine, engine.is_idle)
    assert list(site.published("A")) == ["1.mkv", "metadata.jsonl"] and engine.paused is None
    engine.close(5)


@pytest.mark.parametrize("suspends", [True, False])
def test_encode_under_way_stands_still_or_finishes_and_the_next_one_waits(
    site: Site, clock: WallClock, suspends: bool
) -> None:
    site.hours = replace(NIGHT, suspends=suspends)
    clock.now = EVENING
    site.converter.hold.clear()
    site.put({"A/1.mp4": b"1", "A/2.mp4": b"2"}, "A")
    engine = site.engine()
    turned(engine, lambda: stages(site, engine) == ["encode", "waiting"])
    clock.now = NOON
    engine.turn(0)
    assert child._standstill.is_set() is suspends
    assert stages(site, engine) == (["suspended", "waiting"] if suspends else ["encode", "waiting"])
    site.converter.hold.set()  # the fake is no child, and ends
    turned(engine, lambda: stages(site, engine) == ["waiting"])
    assert len(site.converter.encoded) == 1
    clock.now = EVENING
    turned(engine, engine.is_idle)
    assert len(site.published("A")) == 3 and not child._standstill.is_set()
    engine.close(5)


def test_stages_that_are_named_keep_to_the_hours_too(site: Site) -> None:
    site.hours = replace(NIGHT, stages=("download", "encode", "upload"))
    site.put({"A/1.mp4": b"1"}, "A")
    engine = site.engine()
    turned(engine, lambda: stages(site, engine) == ["waiting"])
    assert not list((site.top / "work").rglob("source*"))
    engine.close(5)
