"""A disk that is full for a while: workspace and state files on a small file system of their own."""

import contextlib
import errno
import logging
import os
import shutil
import subprocess
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from tests.faults.world import CHECK, Disk, PassingHub, Points, World
from tools.core.errors import DiskFull
from tools.core.queue_item import Status
from tools.hub.client import HubClient

Usage = namedtuple("Usage", "free")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 48 MB of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root can mount a small disk")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path) -> Path:
    ballast = place / "ballast"
    with ballast.open("wb", buffering=0) as stream:
        try:
            while stream.write(b"x" * 4096):
                pass
        except OSError:
            return ballast
    raise AssertionError("the disk has no end")


def test_disk_that_fills_up_at_any_turn_loses_nothing_and_all_goes_on_once_there_is_room(small_disk: Path) -> None:
    """State files and workspace on one disk that is full for a while, from each turn on in its turn."""
    for full_at in range(0, 12):
        world = World(small_disk / "site")
        world.hub.put("me/in", {f"A/{n}.mp4": b"%d" % n * 1000 for n in range(3)} | {"B/1.mp4": b"b" * 1000})
        monitor = world.monitor(world.hub)
        engine = world.engine(world.hub)
        ballast: Path | None = None
        for turn in range(40):
            if turn == full_at:
                ballast = fill(small_disk)
            if turn == full_at + 4 and ballast:
                ballast.unlink()
            if turn % 3 == 0:
                monitor.turn()
            with contextlib.suppress(DiskFull):  # as the processor's loop does: said once, tried again
                engine.turn(0)
            world.clock.pass_time(CHECK * 4)
        assert {item.status for item in world.items().values()} == {Status.COMPLETED}, (full_at, world.items())
        assert set(world.items()) == {"A", "B"} and set(world.hub.published.values()) == {1}
        assert len(world.hub.published) == 4 and world.encoded_again() == []
        for path in sorted(world.top.rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()


class FullFor(Points):
    """No room for the writes among ``many`` points after ``first``."""

    first, many = 0, 6

    def pass_by(self, name: str) -> None:
        super().pass_by(name)
        writes = name.startswith(("before fsync", "before write", "before link", "before mkdir"))
        if writes and self.first < len(self.names) <= self.first + self.many:
            raise OSError(errno.ENOSPC, "No space left on device")


def test_write_that_finds_no_room_at_any_point_is_made_up_for(tmp_path: Path) -> None:
    for first in range(0, 400, 3):
        world, points = World(tmp_path / str(first)), FullFor()
        points.first = first
        world.hub.put("me/in", {"A/1.mp4": b"1", "A/2.mp4": b"2", "B/1.mp4": b"b"})
        hub = cast(HubClient, PassingHub(world.hub, points, []))
        with Disk(world.top, points).watched():
            monitor, engine = world.monitor(hub), world.engine(hub)
            for turn in range(30):
                if turn % 5 == 0:
                    monitor.turn()
                with contextlib.suppress(DiskFull, OSError):
                    engine.turn(0)
                world.clock.pass_time(CHECK * 4)
        assert [item.status for item in world.items().values()] == [Status.COMPLETED] * 2, (first, world.items())
        assert set(world.hub.published.values()) == {1} and len(world.hub.published) == 3, first
        assert world.encoded_again() == [], first


def test_small_folders_go_on_where_a_big_video_does_not_fit_and_the_wait_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Small ones come in all the while; then there is room, and later none again."""
    free = [30_000_000]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(free[0]))
    caplog.set_level(logging.INFO)
    world = World(tmp_path / "site")
    monitor, engine = world.monitor(world.hub), world.engine(world.hub)

    def upload_and_work(big: str, *small: str) -> None:
        world.hub.put("me/in", {f"{big}/1.mp4": big.encode() * 10_000_000}, big)
        for name in small:
            world.hub.put("me/in", {f"{name}/1.mp4": name.encode()}, name)
            for _ in range(15):
                monitor.check()
                engine.turn(0)
                world.clock.pass_time(CHECK)

    def states() -> set[tuple[str, Status]]:
        return {(item.folder, item.status) for item in world.items().values()}

    def told() -> list[str]:
        return [record.levelname for record in caplog.records if "not enough disk space" in record.getMessage()]

    upload_and_work("B", "a", "b", "c")
    assert states() == {("B", Status.PROCESSING), *((name, Status.COMPLETED) for name in "abc")}
    assert told() == ["WARNING"] and "0.05 GB needed" in str(engine.paused)
    assert not list(world.top.rglob("source*")), "its size alone told that it does not fit"
    free[0] = 1_000_000_000
    for _ in range(3):
        world.clock.pass_time(CHECK)
        engine.turn(0)
        engine.turn(0)
    assert ("B", Status.COMPLETED) in states() and engine.paused is None
    free[0] = 30_000_000
    upload_and_work("C", "d")
    assert told() == ["WARNING"] * 2 and ("d", Status.COMPLETED) in states()
    assert set(world.hub.published.values()) == {1} and world.encoded_again() == []
