"""Clocks that jump between two lives, and hours that come twice."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from config import Settings
from tests.fakes import FakeClock, MemoryHub
from tests.faults.world import CHECK, INTERVAL, STABLE, Points, World
from tools.core.folder import Folder
from tools.core.queue_item import Status, claim, give_back, is_due, local_time, new_item, with_sane_times
from tools.modelscope_monitor import ModelScopeMonitor
from tools.state.work_queue import WorkQueue

NOW = 1_700_000_000.0
ITEM = new_item(Folder("A", "h", 1, 1, 1, None, False), NOW)
AUTUMN = 1_729_990_800.0  # 2024-10-27 01:00 UTC: in Berlin 02:00 comes for the second time


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("given", [AUTUMN - 1800, AUTUMN + 1800, AUTUMN + 5400])
def test_wait_in_the_hour_that_comes_twice_is_neither_cut_short_nor_drawn_out(berlin: None, given: float) -> None:
    waiting = give_back(claim(ITEM, given), given + 60)
    assert not is_due(waiting, given + 59) and is_due(waiting, given + 62)


@pytest.mark.parametrize("back", [3600.0, 86400.0, 10 * 365 * 86400.0])
def test_item_of_a_clock_since_set_back_is_not_stuck(back: float) -> None:
    waiting = give_back(claim(replace(ITEM, added_time=local_time(NOW + back)), NOW + back), NOW + back + 60)
    mended = with_sane_times(waiting, NOW, STABLE)
    assert is_due(mended, NOW + STABLE + 120) and mended.added_time == local_time(NOW)
    assert with_sane_times(ITEM, NOW, STABLE) is ITEM


@pytest.mark.parametrize("jump", [-86400.0, 86400.0, -10 * 365 * 86400.0])
def test_clock_that_jumps_between_two_lives_leaves_no_item_waiting(tmp_path: Path, jump: float) -> None:
    world = World(tmp_path / "site")
    world.hub.put("me/in", {"A/1.mp4": b"1"})
    points = Points()
    assert world.live(points)
    with WorkQueue(world.log_dir).transaction() as view:
        view.put(give_back(claim(replace(ITEM, hash=world.items()["A"].hash), NOW), world.clock.now + CHECK))
    world.clock.now += jump
    assert world.live(Points())
    assert world.items()["A"].status is Status.COMPLETED


# --- the hub's clock -------------------------------------------------------------------------------------------------

HOUR = 3600.0
UPLOAD = (700.0, 1000.0, 1250.0)  # s at which a part of the folder is committed


class Watch:
    """The monitor over a hub with a clock of its own; both move together until one of them is set."""

    def __init__(self, log_dir: Path, skew: float) -> None:
        self.log_dir = log_dir
        self.clock, self.hubs_clock = FakeClock(NOW), FakeClock(NOW + skew)
        self.hub = MemoryHub(self.hubs_clock)
        self.hub.create_repo("me/in")
        self.restart()

    def restart(self) -> None:
        settings = Settings.load({"INPUT_REPO": "me/in", "LOG_DIR": str(self.log_dir)})
        self.monitor = ModelScopeMonitor(settings, hub=self.hub, clock=self.clock)

    def queued_at(self, set_at: dict[float, float], restarts: dict[float, float]) -> float:
        """The true second at which the folder is queued, uploaded as ``UPLOAD`` says. ``set_at``: when the hub's clock
        is set by how much; ``restarts``: when the monitor ends, and for how long it is away."""
        away_until = next_poll = 0.0
        for second in range(0, 4000, 10):
            self.hubs_clock.now += set_at.get(second, 0.0)
            if second in UPLOAD:
                self.hub.put("me/in", {f"A/{second}.mp4": b"x"}, str(second))
            if second in restarts:
                self.restart()
                next_poll = away_until = second + restarts[second]
            if second >= max(next_poll, away_until):
                next_poll = second + min(INTERVAL, self.monitor.turn())
                if WorkQueue(self.log_dir).read().items():
                    return float(second)
            for clock in (self.clock, self.hubs_clock):
                clock.pass_time(10)
        return float("inf")


@pytest.mark.parametrize("skew", [-10 * 365 * 24 * HOUR, -5 * HOUR, 5 * HOUR, 24 * HOUR])
def test_hub_whose_clock_is_hours_off_has_no_folder_queued_early_or_never(tmp_path: Path, skew: float) -> None:
    for number, restarts in enumerate(({}, {800.0: 300.0}, {1260.0: 20.0}, {1300.0: 900.0})):
        queued = Watch(tmp_path / str(number), skew).queued_at({}, restarts)
        back = max((when + away for when, away in restarts.items()), default=0.0)
        latest = max(back, UPLOAD[-1] + STABLE + INTERVAL) + 20
        assert UPLOAD[-1] + STABLE <= queued <= latest, (skew, restarts)


@pytest.mark.parametrize("step", [-24 * HOUR, -5 * HOUR, -200.0, -10.0, 10.0, 40.0, 200.0, 290.0, 5 * HOUR, 24 * HOUR])
def test_hub_whose_clock_is_set_has_no_folder_queued_early_or_never(tmp_path: Path, step: float) -> None:
    """At any moment of an upload, while the monitor polls or is away."""
    for number, when in enumerate(range(600, 2000, 50)):
        for restarts in ({}, {float(when - 20): 100.0}, {float(when): 400.0}):
            queued = Watch(tmp_path / f"{number}-{len(restarts)}-{when in restarts}", -HOUR).queued_at(
                {float(when): step}, restarts
            )
            late = sum(restarts.values()) + INTERVAL + 20  # the time that it is away counts for nothing if in doubt
            assert UPLOAD[-1] + STABLE <= queued <= UPLOAD[-1] + STABLE + late, (step, when, restarts)


def test_hour_that_comes_twice_makes_no_folder_early_and_keeps_no_item_waiting(berlin: None, tmp_path: Path) -> None:
    for number, begin in enumerate((AUTUMN - 3700, AUTUMN - 100, AUTUMN + 3500)):
        watch = Watch(tmp_path / str(number), 0.0)
        watch.clock.now = watch.hubs_clock.now = begin - UPLOAD[-1]
        queued = watch.queued_at({}, {1300.0: 60.0})
        assert UPLOAD[-1] + STABLE <= queued <= UPLOAD[-1] + STABLE + INTERVAL + 20
        world = World(tmp_path / f"site {number}")
        world.clock.now = begin
        world.hub.put("me/in", {"A/1.mp4": b"1"})
        assert world.live(Points(), rounds=20) and world.items()["A"].status is Status.COMPLETED
