"""Scene frames in a dataset of their own, through the real engine: crashes at every point, two commits, one archive.

In = out + quarantined for both datasets: a video whose frames fail is published all the same, and named.
"""

import io
import json
import shutil
import tarfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.faults.world import EXTENSIONS, CountingHub, InlineExecutor, Points, World
from tools.cluster.plain_result import decode, encode
from tools.core.artifact import ArtifactKind
from tools.core.card import frames_card
from tools.core.errors import HubError, HubRejected, HubUnavailable, MachineError, ProbeError
from tools.core.folder import RemoteFile, group_folders
from tools.core.frames import END
from tools.core.ordering import add_now
from tools.core.planning import VideoJob
from tools.core.queue_item import Status
from tools.core.record import METADATA
from tools.hub.client import Operation, Progress
from tools.processor.build import local_executor
from tools.processor.executor import Deliver, LocalExecutor, Note, _LocalContext
from tools.stages.job_context import JobTools
from tools.state.work_queue import WorkQueue

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


def queue_again(world: World, folder: str = "A") -> None:
    """As ``--frames-only`` and ``--add`` do."""
    head = world.hub.head("me/in")
    assert head is not None
    listed = group_folders(world.hub.list_files("me/in", head.commit_id), EXTENSIONS, "")[folder]
    with WorkQueue(world.log_dir).transaction() as view:
        view.put(add_now(view.get(folder), listed, world.clock.time()))


def converted_without_frames(top: Path) -> World:
    """A folder that was published before FRAMES_REPO was set, and is queued again since."""
    world = new_world(top)
    frames, world.other_repos = world.other_repos, {}
    assert world.live(Points())
    world.other_repos = frames
    queue_again(world)
    return world


def test_folder_that_is_queued_again_gets_its_frames_of_the_published_mkvs_whatever_point_a_crash_comes_at(
    tops: Iterator[Path],
) -> None:
    expected = {path: b"av1:" + content for path, content in PICTURES.items()}

    def check_again(world: World, where: object) -> None:
        item = world.items()["A"]
        assert (item.status, item.videos_done, item.scenes, item.frames) == (Status.COMPLETED, 3, 2, 2), where
        assert len(world.converter.encoded) == 3, (where, "nothing is encoded again")
        assert archives(world) == {"A/A_part01of01.tar": expected}, where
        # Of the one that shows no picture, the record came to say so.
        assert (world.hub.commits_of("me/out"), world.hub.commits_of("me/frames")) == (2, 1), where
        assert world.leftovers() == [], where

    world, points = converted_without_frames(next(tops)), Points()
    assert world.live(points)
    check_again(world, "no crash")
    steps = ("hub download", "replace part.mkv", "unlink published.mkv", "replace converted", "unlink joined.tar")
    firsts = [points.names.index(next(name for name in points.names if f"after {step}" in name)) for step in steps]
    commits = [number for number, name in enumerate(points.names) if "hub commit" in name]
    assert len(commits) == 4, "before and after the commit of pictures, and that of the record"
    for number in (1 + place for place in (*firsts, *commits)):
        world, dying = converted_without_frames(next(tops)), Points(number)
        assert world.live(dying) or world.live(Points())
        check_again(world, (number, dying.names[-1]))
    encoded = list(world.converter.encoded)
    queue_again(world)
    points = Points()
    assert world.live(points) and world.converter.encoded == encoded
    assert points.names.count("before hub download") == 0, "not even the one that showed no picture"
    assert (world.hub.commits_of("me/out"), world.hub.commits_of("me/frames")) == (2, 1)


@pytest.mark.parametrize(
    ("error", "tries", "tries_later"), [(ProbeError("no MKV"), 1, 0), (MachineError("killed"), 3, 3)]
)
def test_published_video_stays_so_whatever_becomes_of_its_frames(
    tmp_path: Path, error: Exception, tries: int, tries_later: int
) -> None:
    world = converted_without_frames(tmp_path)
    tried: list[Path] = []

    def fail(stage: str, source: Path, stop: threading.Event) -> None:
        if stage == "frames" and source.read_bytes() == MKVS["A/2.mkv"]:
            tried.append(source)
            raise error

    world.converter._during = fail
    assert world.live(Points())
    for expected in (tries, tries_later):
        item = world.items()["A"]
        assert (item.status, item.videos_done, item.quarantined) == (Status.COMPLETED, 3, ())
        assert archives(world) == {"A/A_part01of01.tar": {"A/1.mp4": MKVS["A/1.mkv"]}}
        assert len(tried) == expected and world.leftovers() == []
        tried.clear()
        queue_again(world)
        assert world.live(Points())
    records = [json.loads(line) for line in world.published()[f"A/{METADATA}"].splitlines()]
    assert ["no frames" in record["warnings"] for record in records] == [False, not tries_later, True]
    world.hub.put("me/in", {"B/2.mp4": FILES["A/2.mp4"]})  # the same bytes: nothing was found out about them
    assert world.live(Points()) and world.items()["B"].status is Status.COMPLETED


@pytest.mark.parametrize("lost", [2, 1])
def test_videos_whose_frames_were_lost_with_the_work_folder_are_published_at_once_and_get_them_later(
    tops: Iterator[Path], caplog: pytest.LogCaptureFixture, lost: int
) -> None:
    world, points = new_world(next(tops)), Points()
    assert world.live(points)
    before = next(number for number, name in enumerate(points.names, 1) if name == "before hub commit")
    world = new_world(next(tops))
    assert not world.live(Points(before))
    there = [file for file in (world.top / "work").rglob("result.tar") if file.stat().st_size > len(END)]
    for file in there[:lost]:
        shutil.rmtree(file.parent)
    assert world.live(Points())
    assert world.items()["A"].status is Status.COMPLETED and len(world.converter.encoded) == 3
    assert world.published().keys() == {*MKVS, f"A/{METADATA}"}
    assert sum(map(len, archives(world).values())) == 2 - lost
    said = [record.getMessage() for record in caplog.records if "without their scene frames" in record.getMessage()]
    assert len(said) == 1 and "--frames-only" in said[0] and f"videos={lost}" in said[0]
    queue_again(world)
    assert world.live(Points()) and len(world.converter.encoded) == 3
    assert sum(map(len, archives(world).values())) == 2 and world.leftovers() == []


class RefusingHub(CountingHub):
    """Takes no commit of frames."""

    def commit(self, repo: str, operations: Sequence[Operation], message: str) -> str:
        if repo == "me/frames":
            raise HubRejected("no such pictures here", status=400)
        return super().commit(repo, operations, message)


def test_hub_that_refuses_frames_keeps_no_video_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    world = new_world(tmp_path)
    use_hub(world, RefusingHub(world.clock), dict(FILES))
    assert world.live(Points())
    item = world.items()["A"]
    assert (item.status, item.videos_done, item.quarantined, item.frames) == (Status.COMPLETED, 3, (), 0)
    assert world.published().keys() == {*MKVS, f"A/{METADATA}"}
    assert "no such pictures here" in caplog.text and world.leftovers() == []


def test_what_an_ffmpeg_lacked_is_made_once_another_has_it_and_nothing_is_downloaded_for_it_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = new_world(tmp_path, {"A/1.mp4": b"one", "A/2.mp4": b"an hdr"})

    def round(lacks: set[str]) -> tuple[int, int, list[str], int]:
        """Downloads of MKVs, pictures that are there, what the records say, commits of MKVs; afterwards."""
        world.converter.lacks = lacks
        if world.items():
            queue_again(world)
        points = Points()
        assert world.live(points)
        assert world.items()["A"].status is Status.COMPLETED and world.leftovers() == []
        records = [json.loads(line) for line in world.published()[f"A/{METADATA}"].splitlines()]
        found = sum(map(len, archives(world).values())) if world.published("me/frames") else 0
        said = [
            record["warnings"].removeprefix("frames were not made: they need an ffmpeg with ") for record in records
        ]
        return points.names.count("before hub download"), found, said, world.hub.commits_of("me/out")

    assert round({"libwebp", "zscale"}) == (2, 0, ["libwebp", "libwebp, zscale"], 1), "the sources"
    assert round({"libwebp"}) == (0, 0, ["libwebp", "libwebp, zscale"], 1)
    assert "A/1.mp4: frames were not made: they need an ffmpeg with libwebp" in caplog.text
    assert round({"zscale"}) == (1, 1, ["", "libwebp, zscale"], 2)
    assert round({"zscale"}) == (0, 1, ["", "libwebp, zscale"], 2)
    assert round(set()) == (1, 2, ["", ""], 3)
    assert round(set()) == (0, 2, ["", ""], 3) and len(world.converter.encoded) == 2
    before = new_world(tmp_path / "hdr", {"A/2.mp4": b"an hdr"})
    frames, before.other_repos = before.other_repos, {}
    assert before.live(Points())
    before.other_repos, world = frames, before
    assert round({"zscale"}) == (1, 0, ["zscale"], 2), "that it is HDR is not known before"
    assert round({"zscale"}) == (0, 0, ["zscale"], 2)
    assert round(set()) == (1, 1, [""], 3) and len(world.converter.encoded) == 1


class MadeAnewHub(CountingHub):
    """Its dataset of frames is deleted and made anew after the first batch."""

    def commit(self, repo: str, operations: Sequence[Operation], message: str) -> str:
        made = super().commit(repo, operations, message)
        if repo == "me/out" and self.commits_of(repo) == 1:
            del self._repos["me/frames"]
            self.create_repo("me/frames")
        return made


class LameHub(CountingHub):
    """Answers to a verb with an error, for the dataset of frames alone, and for blobs that have ``of`` in them."""

    error: HubError = HubUnavailable("no frames today", status=500)
    verb, of = "commit", b""

    def commit(self, repo: str, operations: Sequence[Operation], message: str) -> str:
        self._fail("commit", repo)
        return super().commit(repo, operations, message)

    def store_blob(self, repo: str, source: Path, sha256: str, size: int, progress: Progress) -> None:
        if self.of in source.read_bytes():
            self._fail("store_blob", repo)
        super().store_blob(repo, source, sha256, size, progress)

    def _fail(self, verb: str, repo: str) -> None:
        if (verb, repo) == (self.verb, "me/frames"):
            raise self.error


def use_hub(world: World, hub: CountingHub, files: dict[str, bytes]) -> None:
    world.hub = hub
    for repo in ("me/in", "me/out", "me/frames"):
        hub.create_repo(repo)
    hub.put("me/in", files)


def test_dataset_of_frames_that_is_created_again_meanwhile_gets_those_of_later_batches_and_keeps_no_video_back(
    tmp_path: Path,
) -> None:
    world = new_world(tmp_path, batch_size=1)
    use_hub(world, MadeAnewHub(world.clock), {"A/1.mp4": b"one", "A/2.mp4": b"two"})
    assert world.live(Points())
    item = world.items()["A"]
    assert (item.status, item.videos_done, item.quarantined) == (Status.COMPLETED, 2, ())
    assert archives(world) == {"A/A_part01of02.tar": {"A/2.mp4": b"two"}} and world.leftovers() == []
    queue_again(world)
    assert world.live(Points()) and len(world.converter.encoded) == 2
    assert sum(map(len, archives(world).values())) == 2


@pytest.mark.parametrize(
    ("verb", "of", "error"),
    [
        ("commit", b"", LameHub.error),
        ("store_blob", b"two", LameHub.error),
        ("store_blob", b"", HubRejected("too odd for me", status=400)),
    ],
)
def test_dataset_of_frames_alone_that_fails_to_the_last_has_no_video_quarantined(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, verb: str, of: bytes, error: HubError
) -> None:
    world = cluster_world(tmp_path)
    hub = LameHub(world.clock)
    hub.verb, hub.of, hub.error = verb, of, error
    use_hub(world, hub, FILES)
    world.max_attempts = 1 if verb == "commit" else 3
    assert world.live(Points())
    item = world.items()["A"]
    assert (item.status, item.videos_done, item.quarantined) == (Status.COMPLETED, 3, ())
    assert item.frames == int(of == b"two"), "of the other one"
    assert world.published().keys() == {*MKVS, f"A/{METADATA}"} and len(world.converter.encoded) == 3
    said = [one.getMessage() for one in caplog.records if "--frames-only makes them" in one.getMessage()]
    assert said and all(str(error) in line for line in said)


def test_archives_that_can_t_be_joined_are_published_one_per_video(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = new_world(tmp_path)

    def block(stage: str, source: Path, stop: threading.Event) -> None:
        (source.parent / "joined.tar").mkdir(exist_ok=True)

    world.converter._during = block
    assert world.live(Points())
    assert world.items()["A"].status is Status.COMPLETED
    assert archives(world) == {
        "A/A_part01of01.tar": {"A/1.mp4": b"one"},
        "A/A_part01of01-2.tar": {"A/2.mp4": b"two"},
    }
    assert "each video keeps its own" in caplog.text and world.leftovers() == []


def test_batch_larger_than_an_archive_may_be_is_split(tmp_path: Path) -> None:
    world = new_world(tmp_path, {f"A/{n}.mp4": b"%d" % n for n in range(5)}, batch_size=5)
    world.frame_archive = 6 * 1024
    assert world.live(Points())
    found, files = archives(world), world.published("me/frames")
    assert found.keys() == {f"A/A_part01of01{piece}.tar" for piece in ("", "-2", "-3")}
    assert [len(one) for _, one in sorted(found.items())] == [2, 2, 1] or len(found) == 3
    assert all(len(files[path]) <= world.frame_archive for path in found)


def test_bytes_that_are_published_under_another_name_are_used_again_with_their_pictures(tmp_path: Path) -> None:
    world = new_world(tmp_path)
    assert world.live(Points())
    first = archives(world)
    world.hub.put("me/in", {"B/again.mp4": b"one"})
    assert world.live(Points())
    assert world.items()["B"].status is Status.COMPLETED and len(world.converter.encoded) == 3
    assert world.published()["B/again.mkv"] == MKVS["A/1.mkv"] and archives(world) == first


def test_dataset_card_is_made_once_and_never_overwritten(tmp_path: Path) -> None:
    world = new_world(tmp_path, {"A/1.mp4": b"one"})
    world.endpoint = "http://hub"
    assert world.live(Points())
    first = world.published("me/frames")["README.md"]
    assert first == frames_card("me/frames", "me/in", "http://hub")
    for number, content in enumerate((b"what a person wrote", first)):
        world.hub.put("me/frames", {"README.md": content})
        world.hub.put("me/in", {f"B{number}/2.mp4": b"two %d" % number})
        world.endpoint = "http://another"
        assert world.live(Points())
        assert world.published("me/frames")["README.md"] == content
        assert f"B{number}/B{number}_part01of01.tar" in world.published("me/frames")


class FarExecutor(InlineExecutor):
    """As a worker of a cluster: its files are not here, and what it tells comes as plain data."""

    def _work(self, job: VideoJob, context: _LocalContext) -> None:
        deliver, self._deliver = self._deliver, lambda result: deliver(decode(encode(result), job))
        try:
            super()._work(job, context)
        finally:
            self._deliver = deliver

    def artifact_file(self, folder: str, source: RemoteFile, kind: ArtifactKind) -> Path | None:
        return None


class ClusterWorld(World):
    """Its jobs run elsewhere."""

    def _executor(self, tools: JobTools, deliver: Deliver, note: Note) -> LocalExecutor:
        tools.joins = frozenset()
        return local_executor(tools, deliver, note, FarExecutor)


def cluster_world(top: Path) -> ClusterWorld:
    world = ClusterWorld(top, batch_size=3, other_repos={ArtifactKind.FRAMES: "me/frames"})
    world.hub.put("me/in", dict(FILES))
    return world


def test_archives_of_workers_are_committed_as_they_stored_them_and_nothing_is_downloaded_twice(tmp_path: Path) -> None:
    world, points = cluster_world(tmp_path / "a"), Points()
    assert world.live(points)
    assert points.names.count("before hub download") == 3, "the sources"
    assert points.names.count("before hub store_blob") == 6, "an MKV and an archive each, also an empty one"
    assert archives(world) == {
        "A/A_part01of01.tar": {"A/1.mp4": b"one"},
        "A/A_part01of01-2.tar": {"A/2.mp4": b"two"},
    }
    without = cluster_world(tmp_path / "b")
    frames, without.other_repos = without.other_repos, {}
    assert without.live(Points())
    without.other_repos = frames
    queue_again(without)
    points = Points()
    assert without.live(points) and len(without.converter.encoded) == 3
    assert points.names.count("before hub download") == points.names.count("before hub store_blob") == 3
    assert [list(one) for one in archives(without).values()] == [["A/2.mp4"], ["A/1.mp4"]]


def test_archive_of_a_worker_that_the_hub_lost_keeps_no_video_back(tops: Iterator[Path]) -> None:
    world, points = cluster_world(next(tops)), Points()
    assert world.live(points)
    before = next(number for number, name in enumerate(points.names, 1) if name == "before hub commit")
    world = cluster_world(next(tops))
    assert not world.live(Points(before))
    one = next(sha256 for sha256, content in world.hub._blobs.items() if content.endswith(END) and b"two" in content)
    del world.hub._blobs[one]
    assert world.live(Points()) and len(world.converter.encoded) == 3
    assert world.published().keys() == {*MKVS, f"A/{METADATA}"}
    assert archives(world) == {"A/A_part01of01.tar": {"A/1.mp4": b"one"}}
