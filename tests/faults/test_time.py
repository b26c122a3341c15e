"""Clocks that jump between two lives, and hours that come twice."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.world import CHECK, STABLE, Points, World
from tools.core.folder import Folder
from tools.core.queue_item import Status, claim, give_back, is_due, local_time, new_item, with_sane_times
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
