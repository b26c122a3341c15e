"""The same bytes are never fetched, encoded or sent twice; and never is something taken for them that is not."""

import hashlib
import json
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.faults.world import Points, World
from tools.core.errors import EncoderStalled, HubRejected, HubUnavailable, ProbeError
from tools.core.folder import RemoteFile
from tools.core.queue_item import Status, retry
from tools.core.reuse import Rule
from tools.hub.client import Operation
from tools.state.results import RESULTS_FILE, forgive
from tools.state.work_queue import WorkQueue

SEASON = {"A/1.mp4": b"one", "A/2.mp4": b"two", "A/3.mp4": b"three"}
Files = Mapping[str, bytes | None]


@pytest.fixture
def top() -> Iterator[Path]:
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder) / "site"


def settled(top: Path) -> World:
    """A season that was published."""
    world = World(top, batch_size=30)
    world.hub.put("me/in", dict(SEASON))
    assert world.live(Points())
    assert len(world.converter.encoded) == 3
    return world


def calls_of(world: World, change: Files) -> Counter[str]:
    """How often the hub was asked for what, and how much was encoded, from a commit of an uploader to the end."""
    before, points = len(world.converter.encoded), Points()
    world.clock.pass_time(10_000)
    world.hub.put("me/in", change)
    assert world.live(points)
    calls = Counter(name.split()[-1] for name in points.names if name.startswith("before hub "))
    calls["encode"] = len(world.converter.encoded) - before
    return calls


NOTHING = {"download": 0, "store_blob": 0, "encode": 0}


def work_of(world: World, change: Files) -> dict[str, int]:
    """Of that what costs."""
    calls = calls_of(world, change)
    return {what: calls[what] for what in NOTHING}


def all_of(count: int) -> dict[str, int]:
    return dict.fromkeys(NOTHING, count)


def records(world: World, folder: str) -> dict[str, dict[str, Any]]:
    """By source path."""
    lines = world.published()[f"{folder}/metadata.jsonl"].decode().splitlines()
    return {record["source_path"]: record for record in map(json.loads, lines)}


def moved(where: Callable[[str], str]) -> Files:
    return {path: None for path in SEASON} | {where(path): content for path, content in SEASON.items()}


@pytest.mark.parametrize(
    ("change", "there"),
    [
        (moved(lambda path: path.replace("A/", "B/")), "B"),
        (moved(lambda path: path.replace("A/", "A/第 ")), "A"),
        (moved(lambda path: path.replace("A/", "番剧 (2024)/第 0")), "番剧 (2024)"),
        (moved(lambda path: f"series/{path}"), "series/A"),
        ({"B/" + path[2:]: content for path, content in SEASON.items()}, "B"),
        ({"A/copy of " + path[2:]: content for path, content in SEASON.items()}, "A"),
    ],
    ids=["folder renamed", "files renamed", "both renamed", "moved down", "copied", "copied within the folder"],
)
def test_bytes_under_another_name_cost_no_transfer_and_no_encode(top: Path, change: Files, there: str) -> None:
    world = settled(top)
    old = records(world, "A")
    assert work_of(world, change) == NOTHING
    item = world.items()[there]
    new = {path: record for path, record in records(world, there).items() if change.get(path)}
    assert item.status is Status.COMPLETED and (item.videos_done, item.videos_reused) == (
        len(item_of(change, world)),
        3,
    )
    assert len(new) == 3
    for path, record in new.items():
        (before,) = (one for one in old.values() if one["source_sha256"] == record["source_sha256"])
        name = path.rpartition("/")[2].replace("mp4", "mkv")
        by_name = {key: record[key] for key in ("series", "season", "episode", "path")}
        assert record == {
            **before,
            **by_name,
            "file_name": name,
            "source_path": path,
            "reused_from": f"A/{before['file_name']}",
        }
        assert world.published()[f"{there}/{name}"] == b"av1:" + (change[path] or b"")
    assert world.leftovers() == []


def item_of(change: Files, world: World) -> list[str]:
    """The sources of the folder that changed, as it is now."""
    folder = next(path.rpartition("/")[0] for path, content in change.items() if content)
    head = world.hub.head("me/in")
    assert head is not None
    return [file.path for file in world.hub.list_folder("me/in", head.commit_id, folder)]


def test_content_replaced_under_the_same_name_and_size_is_noticed_and_looked_up(top: Path) -> None:
    world = settled(top)
    assert work_of(world, {"A/1.mp4": b"ONE"}) == all_of(1)
    assert world.published()["A/1.mkv"] == b"av1:ONE" and world.items()["A"].status is Status.COMPLETED
    assert work_of(world, {"A/1.mp4": b"two"}) == NOTHING
    assert world.published()["A/1.mkv"] == b"av1:two" and records(world, "A")["A/1.mp4"]["reused_from"] == "A/2.mkv"
    with WorkQueue(world.log_dir).transaction() as view:  # a version that knew nothing of contents
        view.put(replace(world.items()["A"], contents=""))
    assert work_of(world, {"A/x.txt": b"x"}) == NOTHING
    assert work_of(world, {"A/1.mp4": b"uno"}) == all_of(1)
    assert work_of(world, {"B/9.mp4": b"nine"}) == all_of(1)
    with WorkQueue(world.log_dir).transaction() as view:  # somebody takes it out of the queue
        view.remove("A")
    assert work_of(world, {"A/1.mp4": b"UNO"}) == all_of(1)


def test_bytes_of_a_hub_that_tells_no_sha256_are_known_after_the_download(top: Path) -> None:
    world = settled(top)
    listed = world.hub.list_folder

    def silent(repo: str, commit: str, folder: str) -> list[RemoteFile]:
        return [f._replace(sha256="") if repo == "me/in" else f for f in listed(repo, commit, folder)]

    world.hub.list_folder = silent  # type: ignore[method-assign]
    assert work_of(world, {"B/1.mp4": b"one"}) == {"download": 1, "store_blob": 0, "encode": 0}
    assert records(world, "B")["B/1.mp4"]["reused_from"] == "A/1.mkv"
    assert world.published()["B/1.mkv"] == b"av1:one" and world.leftovers() == []


def test_lost_index_is_built_from_the_hub_and_an_unchanged_repo_is_not_read_again(top: Path) -> None:
    world = settled(top)
    (world.log_dir / RESULTS_FILE).unlink()
    assert work_of(world, {f"B/{n}.mp4": content for n, content in enumerate(SEASON.values())}) == NOTHING
    (world.log_dir / RESULTS_FILE).write_bytes(b"no database" * 1000)
    assert work_of(world, {f"C/{n}.mp4": content for n, content in enumerate(SEASON.values())}) == NOTHING
    calls = calls_of(world, {"D/new.mp4": b"new", "D/old.mp4": b"one"})
    assert (calls["encode"], calls["list_files"]) == (1, 1), "the monitor's: our own commits need not be found out"


@pytest.mark.parametrize(
    ("rule", "options", "encodes"),
    [
        (Rule.SAME_SETTINGS, {"crf": 24.0}, 3),
        (Rule.SAME_SETTINGS, {"crf": 30.0}, 0),
        (Rule.ANY_AV1, {"crf": 24.0}, 0),
        (Rule.OFF, {"crf": 30.0}, 3),
    ],
)
def test_settings_changed_in_between_decide(top: Path, rule: Rule, options: dict[str, Any], encodes: int) -> None:
    world = World(top, batch_size=30)
    world.converter.options = {"crf": 30.0}
    world.hub.put("me/in", dict(SEASON))
    assert world.live(Points())
    world.reuse, world.converter.options = rule, options
    assert work_of(world, moved(lambda path: path.replace("A/", "B/"))) == all_of(encodes)


def test_record_of_an_older_version_tells_no_options_and_counts_if_any_will_do(top: Path) -> None:
    world = settled(top)
    rewrite(world, lambda record: record.pop("options"))
    assert work_of(world, {"B/1.mp4": b"one"}) == all_of(1)
    world.reuse = Rule.ANY_AV1
    assert work_of(world, {"C/2.mp4": b"two"}) == NOTHING


def rewrite(world: World, change: Callable[[dict[str, Any]], object]) -> None:
    """Somebody edits the record of the first video on the hub."""
    lines = [json.loads(line) for line in world.published()["A/metadata.jsonl"].splitlines()]
    for line in lines:
        change(line)
    text = "".join(json.dumps(line) + "\n" for line in lines)
    world.hub.put("me/out", {"A/metadata.jsonl": text.encode()})


OTHER = hashlib.sha256(b"av1:two").hexdigest()
FORGED: dict[str, Callable[[dict[str, Any]], object]] = {
    "another file's content": lambda record: record.update(sha256=OTHER),
    "a file of another name": lambda record: record.update(file_name="2.mkv"),
    "a file outside": lambda record: record.update(file_name="../B/1.mkv"),
    "another size": lambda record: record.update(size=record["size"] + 1),
    "another source size": lambda record: record.update(source_size=4),
    "another repo's": lambda record: record.update(source_repo="you/in"),
    "no digest": lambda record: record.update(sha256="x"),
    "nothing measured": lambda record: record.update(frames=0),
    "no duration": lambda record: record.pop("duration_s"),
    "odd options": lambda record: record.update(options="[" * 9999),
}


@pytest.mark.parametrize("forged", FORGED)
def test_forged_record_is_passed_over(top: Path, forged: str) -> None:
    world = settled(top)
    rewrite(world, lambda record: FORGED[forged](record) if record["source_path"] == "A/1.mp4" else None)
    assert work_of(world, {"B/1.mp4": b"one", "B/2.mp4": b"two"}) in (
        all_of(1),
        all_of(2),  # which of two records of one file is right is not known
    )
    assert world.published()["B/1.mkv"] == b"av1:one" and not records(world, "B")["B/1.mp4"]["reused_from"]


def test_planted_record_of_bytes_that_were_never_here_is_passed_over(top: Path) -> None:
    world = settled(top)
    line = records(world, "A")["A/1.mp4"]
    planted = {**line, "source_path": "A/9.mp4", "source_sha256": hashlib.sha256(b"nine").hexdigest(), "source_size": 4}
    text = world.published()["A/metadata.jsonl"] + json.dumps(planted).encode() + b"\n"
    world.hub.put("me/out", {"A/metadata.jsonl": text})
    assert work_of(world, {"B/9.mp4": b"nine"}) == all_of(1), "one file can't be the result of two contents"
    assert world.published()["B/9.mkv"] == b"av1:nine"


@pytest.mark.parametrize(
    "planted",
    [
        b'"options": "\\ud800"',
        b'"options": "\xff"',
        b'"other": "{\\"source_path\\": [1]}"',
        b'"source_repo": "\\ud800"',
    ],
)
def test_odd_row_of_a_stranger_stops_no_folder(top: Path, planted: bytes) -> None:
    world = settled(top)
    line = json.dumps({**records(world, "A")["A/1.mp4"], "source_path": "A/9.mp4"}).encode()
    odd = line.rstrip(b"}") + b", " + planted + b"}\n"
    world.hub.put("me/out", {"A/metadata.jsonl": world.published()["A/metadata.jsonl"] + odd})
    work_of(world, {"B/9.mp4": b"nine"})
    assert world.items()["B"].status is Status.COMPLETED and world.published()["B/9.mkv"] == b"av1:nine"
    work_of(world, {"A/10.mp4": b"ten"})
    assert world.items()["A"].status is Status.COMPLETED and world.published()["A/10.mkv"] == b"av1:ten"


def test_metadata_that_came_otherwise_than_listed_are_read_again_the_next_time(
    top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, cut = settled(top), True
    (world.log_dir / RESULTS_FILE).unlink()
    real = world.hub.read_file

    def read_file(repo: str, commit: str, path: str) -> bytes | None:
        return b"" if cut and path == "A/metadata.jsonl" else real(repo, commit, path)

    monkeypatch.setattr(world.hub, "read_file", read_file)
    assert work_of(world, {"B/1.mp4": b"one"})["encode"] == 1
    cut = False
    assert work_of(world, {"C/2.mp4": b"two", "C/new.mp4": b"new"})["encode"] == 1


@pytest.mark.parametrize("came", [None, b"", b"{}\n"])
def test_metadata_that_never_come_as_listed_are_asked_for_twice_and_then_not_until_they_change(
    top: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, came: bytes | None
) -> None:
    world, asked = settled(top), 0
    (world.log_dir / RESULTS_FILE).unlink()
    real = world.hub.read_file

    def read_file(repo: str, commit: str, path: str) -> bytes | None:
        nonlocal asked
        asked += path == "A/metadata.jsonl"
        return came if path == "A/metadata.jsonl" else real(repo, commit, path)

    monkeypatch.setattr(world.hub, "read_file", read_file)
    of_monitor, listings = 1, []
    for number in range(4):
        listings.append(calls_of(world, {f"B{number}/{number}.mp4": b"%d" % number})["list_files"] - of_monitor)
    assert (asked, listings) == (2, [1, 1, 0, 0])
    assert caplog.text.count("A/metadata.jsonl of me/out can't be read as listed") == 1
    monkeypatch.undo()
    assert work_of(world, {"C/0.mp4": b"0"}) == NOTHING, "those of other folders are known"
    rewrite(world, lambda record: record.update(encoder="another row, the same results"))
    assert work_of(world, {"C/1.mp4": b"one"}) == NOTHING


@pytest.mark.parametrize(("failures", "encodes"), [(2, 0), (1000, 3)])
def test_index_that_can_not_be_read_now_is_waited_for_a_few_times_and_then_done_without(
    top: Path, monkeypatch: pytest.MonkeyPatch, failures: int, encodes: int
) -> None:
    world, failed = settled(top), 0
    (world.log_dir / RESULTS_FILE).unlink()
    real = world.hub.list_files

    def list_files(repo: str, commit: str) -> Iterator[RemoteFile]:
        nonlocal failed
        if repo == "me/out" and failed < failures:
            failed += 1
            raise HubUnavailable("busy", status=502)
        return real(repo, commit)

    def list_folder(repo: str, commit: str, folder: str) -> list[RemoteFile]:
        return [file for file in real(repo, commit) if file.folder == folder]

    monkeypatch.setattr(world.hub, "list_files", list_files)
    monkeypatch.setattr(world.hub, "list_folder", list_folder)
    world.clock.pass_time(10_000)
    world.hub.put("me/in", moved(lambda path: path.replace("A/", "B/")))
    assert world.live(Points()) and len(world.converter.encoded) == 3 + encodes
    item = world.items()["B"]
    assert failed == min(failures, 3) and item.status is Status.COMPLETED and not item.quarantined


@pytest.mark.parametrize("gone", ["the file", "the blob", "the blob, found out by the commit"])
def test_result_that_is_gone_from_the_hub_is_made_again(top: Path, gone: str) -> None:
    world = settled(top)
    sha256 = hashlib.sha256(b"av1:one").hexdigest()
    if gone == "the file":
        world.hub.put("me/out", {"A/1.mkv": None})
    else:
        del world.hub._blobs[sha256]
        if "commit" in gone:
            world.hub.lacks = lambda repo, blobs: set()  # type: ignore[method-assign]
    assert work_of(world, {"B/1.mp4": b"one", "B/2.mp4": b"two"})["encode"] in {1, 2}
    assert world.published()["B/1.mkv"] == b"av1:one" and world.items()["B"].status is Status.COMPLETED


@pytest.mark.parametrize("trouble", ["a blob was lost", "a path is refused"])
def test_what_was_reused_is_made_by_nobody_because_the_hub_refuses_its_batch_for_another(
    top: Path, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    world = settled(top)
    real, asked = world.hub.commit, 0

    def commit(repo: str, operations: Sequence[Operation], message: str) -> str:
        nonlocal asked
        asked += 1
        paths = {one.path for one in operations}
        if trouble == "a blob was lost" and asked == 1:
            world.hub.lose_blobs()
        if trouble == "a path is refused" and "B/new.mkv" in paths:
            raise HubRejected("B/new.mkv is not welcome", status=400)
        return real(repo, operations, message)

    monkeypatch.setattr(world.hub, "commit", commit)
    work = work_of(world, {"B/1.mp4": b"one", "B/2.mp4": b"two", "B/new.mp4": b"new"})
    assert set(world.converter.encoded[3:]) == {b"new"} and work["download"] == work["encode"]
    there = {path for path in world.published() if path.startswith("B/") and path.endswith(".mkv")}
    assert there == {"B/1.mkv", "B/2.mkv"} | ({"B/new.mkv"} if "lost" in trouble else set())
    assert set(world.hub.published.values()) == {1}


def test_equal_files_are_encoded_once_within_a_folder_and_in_two_at_a_time(top: Path) -> None:
    world = World(top, batch_size=30)
    world.hub.put("me/in", {"A/1.mp4": b"one", "A/opening.mp4": b"same", "A/credits.mp4": b"same", "B/op.mp4": b"same"})
    points = Points()
    assert world.live(points)
    assert sorted(world.converter.encoded) == [b"one", b"same"]
    assert sum(name == "before hub download" for name in points.names) == 2
    assert {item.status for item in world.items().values()} == {Status.COMPLETED}
    assert sum(item.videos_reused for item in world.items().values()) == 2


def test_second_of_two_equal_files_does_its_own_if_the_first_fails(top: Path) -> None:
    world = World(top, batch_size=30)
    world.hub.put("me/in", {"A/1.mp4": b"same", "A/2.mp4": b"same"})
    world.converter.troubles[b"same"] = [EncoderStalled("stalled once")]
    assert world.live(Points())
    assert world.converter.encoded == [b"same", b"same"], "one failed, one became the result of both"
    assert world.items()["A"].status is Status.COMPLETED and world.items()["A"].videos_reused == 1


def test_bytes_known_to_be_bad_are_quarantined_at_once_until_retry_or_a_new_version(top: Path) -> None:
    world = World(top)
    world.converter.refused[b"bad"] = ProbeError("no video in it")
    world.hub.put("me/in", {"A/3.mp4": b"bad", "A/4.mp4": b"bad"})
    assert world.live(Points())
    assert world.converter.encoded == [b"bad"]
    assert [q.cause for q in world.items()["A"].quarantined] == [
        "no video in it",
        "same bytes as A/3.mp4: no video in it",
    ]
    assert work_of(world, {"B/3.mp4": b"bad"}) == NOTHING
    (known,) = world.items()["B"].quarantined
    assert known.cause == "same bytes as A/3.mp4: no video in it"
    with WorkQueue(world.log_dir).transaction() as view:
        view.put(retry(world.items()["B"]))
    forgive(world.log_dir, [known.sha256])
    assert work_of(world, {"C/fine.mp4": b"fine"})["encode"] == 2
    assert world.items()["B"].quarantined[0].cause == "no video in it"
    world.version = "2"
    assert work_of(world, {"D/3.mp4": b"bad"})["encode"] == 1
    del world.converter.refused[b"bad"]
    world.version = "3"
    assert work_of(world, {"E/3.mp4": b"bad"}) == all_of(1)
    assert work_of(world, {"F/3.mp4": b"bad"}) == NOTHING


def renamed_after_a_crash(top: Path, crash_at: list[int], *, power: bool) -> int:
    """A season renamed, with a copy of one and an equal new pair; lives that die, one that does not. Points passed."""
    world = settled(top)
    world.clock.pass_time(10_000)
    world.max_attempts += len(crash_at)
    world.lost_answers = ["commit"]
    new: Files = {"B/n1.mp4": b"new", "B/n2.mp4": b"new", "C/1.mp4": b"one", "C/n.mp4": b"new"}
    world.hub.put("me/in", {**moved(lambda path: path.replace("A/", "B/")), **new})
    passed = 0
    for number in crash_at:
        points = Points(number)
        if world.live(points, power=power):
            break
        passed = passed or len(points.names)
    points = Points()
    assert world.live(points)
    where = crash_at, power
    assert {name: item.status for name, item in world.items().items() if name != "A"} == {
        "B": Status.COMPLETED,
        "C": Status.COMPLETED,
    }, where
    for path, content in {**moved(lambda path: path.replace("A/", "B/")), **new}.items():
        if content:
            assert world.published()[path.replace("mp4", "mkv")] == b"av1:" + content, where
    assert set(world.converter.encoded) == {b"one", b"two", b"three", b"new"}, where
    assert world.encoded_again() == [] and all(world.converter.encoded.count(c) == 1 for c in SEASON.values()), where
    assert set(world.hub.published.values()) == {1}, where
    assert world.leftovers() == [], where
    shutil.rmtree(top)
    return passed or len(points.names)


@pytest.mark.parametrize("power", [False, True], ids=["killed", "power_cut"])
def test_crash_at_every_point_makes_nothing_twice_and_nothing_wrong(top: Path, power: bool) -> None:
    total = renamed_after_a_crash(top, [], power=power)
    chance = random.Random(power)
    for number in sorted(chance.sample(range(1, total + 1), min(total, 30))):
        renamed_after_a_crash(top, [number], power=power)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("power", [False, True], ids=["killed", "power_cut"])
def test_crash_at_really_every_point(top: Path, power: bool) -> None:
    for number in range(1, renamed_after_a_crash(top, [], power=power) + 1):
        renamed_after_a_crash(top, [number], power=power)
