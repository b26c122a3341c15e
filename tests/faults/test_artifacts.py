"""A second output of each video, in a repo of its own, through the engine as it is: only its maker knows of it.

The kind exists in these tests alone: a file of frames beside each MKV. A crash may come at every point of the way from
job to journal to both commits; the next start must find what is missing, and do nothing twice.
"""

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import FakeConverter
from tests.faults.world import CountingHub, Points, World
from tools.core import artifact
from tools.core.artifact import ArtifactKind, Target
from tools.core.folder import RemoteFile
from tools.core.queue_item import Status
from tools.core.reuse import reused
from tools.hub.client import Progress
from tools.media.converter import Conversion, EncodeProgress, Held, unheld

FILES = {"A/1.mp4": b"1", "A/2.mp4": b"2", "A/3.mp4": b"3"}
MKVS = {"A/1.mkv": b"av1:1", "A/2.mkv": b"av1:2", "A/3.mkv": b"av1:3"}
FRAMES = {"A/1.frames.zip": b"frames of 1", "A/2.frames.zip": b"frames of 2", "A/3.frames.zip": b"frames of 3"}


@pytest.fixture
def frames(monkeypatch: pytest.MonkeyPatch) -> ArtifactKind:
    """A further member of the enum, for as long as the test lasts."""
    kind = str.__new__(ArtifactKind, "stills")
    kind._name_, kind._value_ = "STILLS", "stills"
    monkeypatch.setitem(ArtifactKind._value2member_map_, "stills", kind)
    monkeypatch.setitem(artifact.EXTENSIONS, kind, ".frames.zip")
    return kind


class FramingConverter(FakeConverter):
    """Leaves a file of frames beside each result."""

    def convert(
        self,
        source: Path,
        target: Path,
        *,
        on_progress: Callable[[EncodeProgress], None],
        stop: threading.Event,
        threads: int | None = None,
        held: Held = unheld,
    ) -> Conversion:
        content = source.read_bytes()
        made = super().convert(source, target, on_progress=on_progress, stop=stop, threads=threads, held=held)
        with target.with_suffix(".frames.zip").open("wb") as stream:
            stream.write(b"frames of " + content)
            stream.flush()
            os.fsync(stream.fileno())
        return made


class StoringHub(CountingHub):
    """Knows which contents were stored in which repo."""

    def __init__(self, world: World) -> None:
        super().__init__(world.clock)
        self.stored: set[tuple[str, bytes]] = set()

    def store_blob(self, repo: str, source: Path, sha256: str, size: int, progress: Progress) -> None:
        super().store_blob(repo, source, sha256, size, progress)
        self.stored.add((repo, source.read_bytes()))


def new_world(top: Path, frames: ArtifactKind) -> World:
    world = World(top, batch_size=3, other_repos={frames: "me/frames"}, converter=FramingConverter(durable=True))
    hub = StoringHub(world)
    for repo in ("me/in", "me/out", "me/frames"):
        hub.create_repo(repo)
    hub.put("me/in", dict(FILES))
    world.hub = hub
    return world


def check(world: World, where: object) -> None:
    assert world.items()["A"].status is Status.COMPLETED, where
    out = world.published()
    assert out.pop("A/metadata.jsonl").count(b"\n") == 3, where
    assert out == MKVS and world.published("me/frames") == FRAMES, where
    assert world.hub.commits_of("me/out") == world.hub.commits_of("me/frames") == 1, where
    assert world.encoded_again() == [] and world.leftovers() == [], where
    assert isinstance(world.hub, StoringHub)
    expected = {("me/out", mkv) for mkv in MKVS.values()} | {("me/frames", file) for file in FRAMES.values()}
    assert world.hub.stored == expected, where


@pytest.fixture
def tops(tmp_path: Path) -> Iterator[Path]:
    return (tmp_path / str(number) for number in range(10_000))


def test_each_output_is_committed_in_its_own_repo_whatever_point_a_crash_comes_at(
    frames: ArtifactKind, tops: Iterator[Path]
) -> None:
    world, points = new_world(next(tops), frames), Points()
    assert world.live(points)
    check(world, "no crash")
    for number in range(1, len(points.names) + 1):
        world, dying = new_world(next(tops), frames), Points(number)
        assert world.live(dying) or world.live(Points())
        check(world, dying.names[-1])


def test_crash_between_the_two_commits_is_healed_by_the_next_start(frames: ArtifactKind, tops: Iterator[Path]) -> None:
    world, points = new_world(next(tops), frames), Points()
    assert world.live(points)
    first, second = (number for number, name in enumerate(points.names, 1) if "after hub commit" in name)
    world = new_world(next(tops), frames)
    assert not world.live(Points(first)), "died when the hub had taken the first commit"
    assert (world.hub.commits_of("me/frames"), world.hub.commits_of("me/out")) == (1, 0), "the metadata come last"
    encoded = list(world.converter.encoded)
    assert world.live(Points()) and world.converter.encoded == encoded
    check(world, (first, second))


def test_blobs_that_the_hub_lost_of_the_second_output_are_sent_again(
    frames: ArtifactKind, tops: Iterator[Path]
) -> None:
    world, points = new_world(next(tops), frames), Points()
    assert world.live(points)
    before = next(number for number, name in enumerate(points.names, 1) if "before hub commit" in name)
    world = new_world(next(tops), frames)
    assert not world.live(Points(before))
    world.hub.lose_blobs()
    encoded = list(world.converter.encoded)
    assert world.live(Points()) and world.converter.encoded == encoded
    check(world, "lost")


def test_further_files_are_those_of_the_result_or_it_does_not_serve(frames: ArtifactKind) -> None:
    source = RemoteFile("B/1.mp4", 3, "5" * 64)
    record: Any = {"source_sha256": "5" * 64, "source_size": 3, "sha256": "a" * 64, "size": 7}
    targets = [Target(ArtifactKind.VIDEO, "me/out", "B/1.mkv"), Target(frames, "me/other", "B/1.frames.zip")]
    for beside in ({}, {frames: RemoteFile("x", 5, "")}):
        assert reused(record, "A/1.mkv", source, "me/in", targets, beside) is None
    found = reused(record, "A/1.mkv", source, "me/in", targets, {frames: RemoteFile("x", 5, "b" * 64)})
    assert found is not None and found.record["reused_from"] == "A/1.mkv" and found.record["source_path"] == "B/1.mp4"
    assert [(one.repo, one.path, one.sha256, one.size) for one in found.artifacts] == [
        ("me/out", "B/1.mkv", "a" * 64, 7),
        ("me/other", "B/1.frames.zip", "b" * 64, 5),
    ]
