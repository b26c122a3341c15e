"""A crash before and after every single write, fsync, rename, link and hub call, with and without a power cut."""

import hashlib
import json
import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.world import Crash, Points, World
from tools.core.errors import EncoderStalled, ProbeError
from tools.core.queue_item import Status

FILES = {"A/1.mp4": b"1", "A/2.mp4": b"2", "A/3.mp4": b"3", "A/10.mp4": b"broken", "B/1.mp4": b"b", "B/x.txt": b""}
GOOD = {path: content for path, content in FILES.items() if path.endswith("mp4") and content != b"broken"}


def new_world(top: Path) -> World:
    world = World(top)
    world.hub.put("me/in", dict(FILES))
    world.converter.refused[b"broken"] = ProbeError("no video in it")
    world.converter.troubles[b"3"] = [EncoderStalled("stalled once")]
    world.lost_answers = ["commit"]
    return world


def check_after_crash(world: World) -> None:
    path = world.log_dir / "processing_queue.json"
    if path.exists():
        json.loads(path.read_bytes())


def check_settled(world: World, where: object) -> None:
    assert {name: item.status for name, item in world.items().items()} == {
        "A": Status.FAILED,
        "B": Status.COMPLETED,
    }, where
    assert [(q.path, q.cause) for q in world.items()["A"].quarantined] == [("A/10.mp4", "no video in it")], where
    for item in world.items().values():
        assert item.videos_done + len(item.quarantined) == item.videos_total, (where, item)
    published = world.published()
    for path, content in GOOD.items():
        assert published[path.replace("mp4", "mkv")] == b"av1:" + content, where
    assert set(world.hub.published.values()) == {1} and len(world.hub.published) == len(GOOD), where
    records = [json.loads(line) for name in "AB" for line in published[f"{name}/metadata.jsonl"].splitlines()]
    assert sorted((r["source_path"], r["sha256"]) for r in records) == sorted(
        (path, hashlib.sha256(b"av1:" + content).hexdigest()) for path, content in GOOD.items()
    ), where
    assert world.encoded_again() == [], where
    assert world.leftovers() == [], where


def crash_and_restart(top: Path, crash_at: list[int], *, power: bool) -> list[str]:
    """Lives that die at these points, and one that goes to the end; the names of the points of the first."""
    world = new_world(top)
    world.max_attempts += len(crash_at)  # so many deaths in a row are no video's fault here
    first: list[str] = []
    where = []
    for number in crash_at:
        points = Points(number)
        if world.live(points, power=power):
            break
        where.append(points.names[-1])
        first = first or points.names
        check_after_crash(world)
    points = Points()
    assert world.live(points)
    check_settled(world, (crash_at, where, power))
    shutil.rmtree(top)
    return first or points.names


@pytest.fixture
def top() -> Iterator[Path]:
    """In memory where there is such a place: hundreds of lives write a lot."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder) / "site"


def test_a_life_without_a_crash_passes_hundreds_of_points(top: Path) -> None:
    names = crash_and_restart(top, [], power=False)
    verbs = {name.split()[1] for name in names}
    assert len(names) > 300 and verbs >= {"fsync", "write", "replace", "link", "unlink", "mkdir", "hub"}
    calls = {name.split()[2] for name in names if " hub " in name}
    assert calls >= {"head", "list_files", "list_folder", "read_file", "download", "store_blob", "commit"}


@pytest.mark.parametrize("power", [False, True], ids=["killed", "power_cut"])
def test_crash_at_every_point_loses_nothing_and_does_nothing_twice(top: Path, power: bool) -> None:
    total = len(crash_and_restart(top, [], power=power))
    for number in range(1, total + 1):
        crash_and_restart(top, [number], power=power)


def test_crash_while_recovering_from_a_crash_loses_nothing(top: Path) -> None:
    chance = random.Random(11)
    total = len(crash_and_restart(top, [], power=False))
    for _ in range(60):
        crash_and_restart(top, [chance.randint(1, total) for _ in range(3)], power=chance.random() < 0.5)


@pytest.mark.parametrize("power", [False, True], ids=["killed", "power_cut"])
def test_video_that_takes_the_machine_down_is_quarantined_after_the_last_attempt(top: Path, power: bool) -> None:
    world = World(top)
    world.hub.put("me/in", dict(FILES))
    world.converter.refused[b"broken"] = Crash("poison")
    for attempt in range(world.max_attempts):
        assert not world.live(Points(), power=power), "died in the midst of it"
        assert world.converter.encoded.count(b"broken") == attempt + 1
    assert world.live(Points())
    (poison,) = world.items()["A"].quarantined
    assert poison.path == "A/10.mp4" and "died 3 times" in poison.cause
    assert set(world.hub.published.values()) == {1} and len(world.hub.published) == len(GOOD)
    assert world.encoded_again() == [] and world.leftovers() == []


@pytest.mark.slow
def test_thousands_of_crashes_in_a_row_lose_nothing(top: Path) -> None:
    chance = random.Random(12)
    total = len(crash_and_restart(top, [], power=False))
    for _ in range(3000):
        crash_and_restart(top, [chance.randint(1, total) for _ in range(4)], power=chance.random() < 0.5)
