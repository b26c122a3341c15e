"""Scene frames in a dataset of their own, through the real engine: crashes at every point, two commits, one archive.

In = out + quarantined for both datasets: a video whose frames fail is published all the same, and named.
"""

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.world import Points, World
from tools.core.artifact import ArtifactKind
from tools.core.queue_item import Status
from tools.core.record import METADATA

FILES = {"A/1.mp4": b"one", "A/2.mp4": b"two", "A/3.mp4": b"has none!"}
MKVS = {path.replace(".mp4", ".mkv"): b"av1:" + content for path, content in FILES.items()}
PICTURES = {"A/1.mp4": b"one", "A/2.mp4": b"two"}


def new_world(top: Path, files: dict[str, bytes] | None = None, batch_size: int = 3) -> World:
    world = World(top, batch_size=batch_size, other_repos={ArtifactKind.FRAMES: "me/frames"})
    world.hub.put("me/in", dict(files or FILES))
    return world


def archives(world: World) -> dict[str, dict[str, bytes]]:
    """Of each archive the picture's content by source path, as its JSON and the table say."""
    files = world.published("me/frames")
    rows = {
        row["key"]: row
        for path in files
        if path.endswith(METADATA)
        for row in map(json.loads, files[path].splitlines())
    }
    found: dict[str, dict[str, bytes]] = {}
    for path, content in files.items():
        if not path.endswith(".tar"):
            continue
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            inside = {one.name: tar.extractfile(one).read() for one in tar}  # type: ignore[union-attr]
        for name in inside:
            if name.endswith(".json"):
                key = name.removesuffix(".json")
                row = rows.pop(key)
                assert row == {"archive": path.rpartition("/")[2], **json.loads(inside[name])}
                found.setdefault(path, {})[row["source_path"]] = inside[f"{key}.webp"]
    assert not rows, "rows without a picture"
    return found


def check(world: World, where: object) -> None:
    assert world.items()["A"].status is Status.COMPLETED, where
    out = world.published()
    records = [json.loads(line) for line in out.pop(f"A/{METADATA}").splitlines()]
    assert out == MKVS, where
    assert [record["source_path"] for record in records if "no frames" in record["warnings"]] == ["A/3.mp4"], where
    assert archives(world) == {"A/A_part01of01.tar": PICTURES}, where
    assert world.hub.commits_of("me/out") == world.hub.commits_of("me/frames") == 1, where
    assert world.encoded_again() == [] and world.leftovers() == [], where


@pytest.fixture
def tops(tmp_path: Path) -> Iterator[Path]:
    return (tmp_path / str(number) for number in range(10_000))


def test_crash_at_any_point_from_the_encode_to_the_second_commit_loses_and_doubles_nothing(
    tops: Iterator[Path],
) -> None:
    world, points = new_world(next(tops)), Points()
    assert world.live(points)
    check(world, "no crash")
    begin = next(number for number, name in enumerate(points.names, 1) if "part.mkv" in name)
    steps = ("after replace", "after unlink", "after hub", "before hub commit")
    dying_at = [number for number, name in enumerate(points.names, 1) if number >= begin and name.startswith(steps)]
    assert sum("hub commit" in points.names[number - 1] for number in dying_at) == 4, "two commits, before and after"
    for number in dying_at:
        world, dying = new_world(next(tops)), Points(number)
        assert world.live(dying) or world.live(Points())
        check(world, (number, dying.names[-1]))


def test_archive_is_of_a_batch_and_what_comes_later_gets_one_of_its_own(tmp_path: Path) -> None:
    files = {f"番剧A/第 {n}.5 集.mp4": b"%d" % n for n in range(1, 6)}
    world = new_world(tmp_path, files, batch_size=2)
    assert world.live(Points())
    first = archives(world)
    assert [(path, len(found)) for path, found in sorted(first.items())] == [
        ("番剧A/番剧A_part01of03.tar", 2),
        ("番剧A/番剧A_part02of03.tar", 2),
        ("番剧A/番剧A_part03of03.tar", 1),
    ]
    world.hub.put("me/in", {"番剧A/第 9 集.mp4": b"9"})
    assert world.live(Points())
    second = archives(world)
    assert second.pop("番剧A/番剧A_part04of04.tar") == {"番剧A/第 9 集.mp4": b"9"} and second == first


def test_video_of_known_bytes_takes_the_pictures_that_are_there(tmp_path: Path) -> None:
    world = new_world(tmp_path, {"A/1.mp4": b"same", "A/2.mp4": b"same", "A/3.mp4": b"other"})
    assert world.live(Points())
    assert world.items()["A"].status is Status.COMPLETED and len(world.converter.encoded) == 2
    ((_, found),) = archives(world).items()
    assert sorted(found.values()) == [b"other", b"same"]
