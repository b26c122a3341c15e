"""``MIRROR=1`` takes out what left the input, and each way in which it could delete wrongly deletes nothing."""

import hashlib
import json
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.world import Points, World
from tools.core.errors import HubUnavailable
from tools.core.folder import RemoteFile
from tools.core.mirror import digest_of
from tools.core.queue_item import Status
from tools.core.redo import redo_with
from tools.core.sidecar import SidecarRules
from tools.hub.client import Operation, Remove
from tools.processor.mirror_look import MirrorRules, look
from tools.state.mirror_file import MirrorFile
from tools.state.orders import OrdersFile
from tools.state.work_queue import WorkQueue

QUIET = 700.0  # s, more than a folder is stable after
INPUT = {
    "A/1.mp4": b"one",
    "A/2.mp4": b"two",
    "A/2.ass": b"text of two",
    "A/3.mp4": b"three",
    "B/1.mp4": b"B one",
    "B/C/1.mp4": b"C one",
}


@pytest.fixture
def world() -> Iterator[World]:
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield published(Path(folder) / "site")


def published(top: Path) -> World:
    world = World(top, batch_size=30, mirror_percent=50.0, sidecars=SidecarRules(frozenset({"*.ass"}), 1000))
    world.hub.put("me/in", dict(INPUT))
    world.hub.put("me/out", {"README.md": b"mine", "A/notes.txt": b"mine", "A/extra.mkv": b"mine"})
    live(world)
    assert {"A/1.mkv", "A/2.mkv", "A/2.ass", "A/3.mkv", "B/1.mkv", "B/C/1.mkv"} <= world.published().keys()
    return world


def live(world: World, times: int = 1) -> None:
    """Both programs, until all is settled and was seen; then the time passes after which what is gone may go."""
    for _ in range(times):
        assert world.live(Points())
        world.clock.pass_time(QUIET)


def change(world: World, files: dict[str, bytes | None]) -> None:
    world.clock.pass_time(QUIET)
    world.hub.put("me/in", files)


def rows(world: World, folder: str) -> list[str]:
    content = world.published().get(f"{folder}/metadata.jsonl", b"")
    return [json.loads(line)["source_path"] for line in content.splitlines()]


def removals(world: World) -> list[list[str]]:
    """What each commit that removed anything removed, seen from now on."""
    seen: list[list[str]] = []
    commit = world.hub.commit

    def noted(repo: str, operations: Sequence[Operation], message: str) -> str:
        if gone := [one.path for one in operations if isinstance(one, Remove)]:
            seen.append(gone)
        return commit(repo, operations, message)

    world.hub.commit = noted  # type: ignore[method-assign]
    return seen


def hold(world: World, folder: str, held: bool) -> None:
    with WorkQueue(world.log_dir).transaction() as view:
        item = view.get(folder)
        assert item is not None
        view.put(replace(item, held=held))


def nothing_goes(world: World, before: dict[str, bytes], rounds: int = 3) -> None:
    live(world, rounds)
    left = before.items() - world.published().items()
    assert {path for path, _ in left} <= {"A/metadata.jsonl", "B/metadata.jsonl"} and not removals(world), left
    assert before.keys() <= world.published().keys()


def test_what_left_goes_with_its_row_in_one_commit_once_it_is_gone_for_long(world: World) -> None:
    before, seen = world.published(), removals(world)
    change(world, {"A/2.mp4": None, "A/2.ass": None})
    live(world)
    assert world.published() == before, "seen once is not enough"
    live(world)
    after = world.published()
    assert before.keys() - after.keys() == {"A/2.mkv", "A/2.ass", "A/sidecars.jsonl"}
    assert rows(world, "A") == ["A/1.mp4", "A/3.mp4"]
    assert seen == [["A/2.ass", "A/2.mkv", "A/sidecars.jsonl"]]
    assert all(after[path] == content for path, content in before.items() if path in after and "jsonl" not in path)
    assert not MirrorFile(world.log_dir).read().gone
    live(world, 2)
    assert world.published() == after
    change(world, {"A/2.mp4": INPUT["A/2.mp4"]})
    live(world)
    assert "A/2.mkv" in world.published() and rows(world, "A") == ["A/1.mp4", "A/2.mp4", "A/3.mp4"]


def test_nothing_goes_without_the_setting(world: World) -> None:
    world.mirror_percent = None
    before = world.published()
    change(world, {"A/2.mp4": None, "B/1.mp4": None})
    nothing_goes(world, before)


def test_folder_that_left_goes_and_comes_back_as_it_was(world: World) -> None:
    seen = removals(world)
    change(world, {"B/1.mp4": None})
    live(world, 3)
    assert "B/metadata.jsonl" not in world.published() and "B/1.mkv" not in world.published()
    assert "B/C/1.mkv" in world.published() and seen == [["B/1.mkv", "B/metadata.jsonl"]]
    world.hub.put("me/in", {"B/1.mp4": INPUT["B/1.mp4"]})
    live(world, 2)
    assert world.published()["B/1.mkv"] == b"av1:B one" and world.items()["B"].status is Status.COMPLETED


def test_folder_that_keeps_no_video_comes_back_as_it_was(world: World) -> None:
    change(world, {"A/1.mp4": None, "A/2.mp4": None, "A/3.mp4": None})
    world.mirror_percent = 100
    live(world, 3)
    assert {path for path in world.published() if path.startswith("A/")} == {
        *("A/2.ass", "A/sidecars.jsonl", "A/notes.txt", "A/extra.mkv")
    }
    world.hub.put("me/in", {path: INPUT[path] for path in ("A/1.mp4", "A/2.mp4", "A/3.mp4")})
    live(world, 2)
    assert rows(world, "A") == ["A/1.mp4", "A/2.mp4", "A/3.mp4"]


def test_renamed_folder_stays_until_it_is_published_under_its_new_name(world: World) -> None:
    encoded, seen = len(world.converter.encoded), removals(world)
    change(world, {"B/1.mp4": None, "New/1.mp4": INPUT["B/1.mp4"]})
    world.monitor(world.hub).check()
    world.clock.pass_time(QUIET)
    assert world.monitor(world.hub).check() == ["New"]
    hold(world, "New", True)
    live(world, 3)
    assert "B/1.mkv" in world.published() and not seen
    hold(world, "New", False)
    live(world, 3)
    assert world.published()["New/1.mkv"] == b"av1:B one" and "B/1.mkv" not in world.published()
    assert len(world.converter.encoded) == encoded and seen == [["B/1.mkv", "B/metadata.jsonl"]]
    (row,) = (json.loads(line) for line in world.published()["New/metadata.jsonl"].splitlines())
    assert row["reused_from"] == "B/1.mkv"


@pytest.mark.parametrize("left", [{}, {"README.md": b"hello"}])
def test_empty_input_is_nobodys_order(world: World, left: dict[str, bytes | None]) -> None:
    world.mirror_percent = 100
    before = world.published()
    change(world, {**dict.fromkeys(INPUT), **left})
    nothing_goes(world, before)


def test_replaced_repo_waits_for_a_person_who_confirms_just_what_was_shown(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    before = world.published()
    change(world, {**dict.fromkeys(INPUT), **{f"Z/{n}.mp4": b"other %d" % n for n in range(3)}})
    nothing_goes(world, before)
    held = MirrorFile(world.log_dir).read().held
    assert held is not None and (held.videos, held.files, held.percent) == (5, 6, 50.0)
    said = [one for one in caplog.records if one.levelname == "ERROR" and "MIRROR_MAX_PERCENT" in one.getMessage()]
    assert len(said) == 3, "once for each life"
    with OrdersFile(world.log_dir).transaction() as orders:
        orders.mirror = "0" * 16
    nothing_goes(world, before, 2)
    assert not OrdersFile(world.log_dir).read().mirror
    rules = MirrorRules(
        input_repo="me/in", output_repo="me/out", extensions=frozenset({"mp4", "mkv"}), percent=50, quiet=600
    )
    found = look(world.hub, rules, world.log_dir)
    assert digest_of(found.gone) == held.digest
    with OrdersFile(world.log_dir).transaction() as orders:
        orders.mirror = held.digest
    live(world, 2)
    kept = {"README.md", "A/notes.txt", "A/extra.mkv"}
    assert {path for path in world.published() if not path.startswith("Z/")} == kept


def test_what_goes_bit_by_bit_counts_together(world: World) -> None:
    world.mirror_percent = 25.0
    change(world, {"A/1.mp4": None})
    live(world, 3)
    assert "A/1.mkv" not in world.published(), "one of five"
    before = world.published()
    change(world, {"A/3.mp4": None})
    nothing_goes(world, before, 4)
    assert MirrorFile(world.log_dir).read().held is not None
    world.clock.pass_time(86400)
    live(world, 2)
    assert "A/3.mkv" not in world.published()


def edited(world: World, folder: str, edit: Callable[[dict[str, object]], None]) -> None:
    """As if the rows of the folder were another's."""
    lines = [json.loads(line) for line in world.published()[f"{folder}/metadata.jsonl"].splitlines()]
    for line in lines:
        edit(line)
    world.hub.put("me/out", {f"{folder}/metadata.jsonl": b"".join(json.dumps(one).encode() + b"\n" for one in lines)})


@pytest.mark.parametrize("repo", ["other/in", ""])
def test_what_another_input_repo_published_or_nobody_knows_who_stays(world: World, repo: str) -> None:
    edited(world, "A", lambda row: row.update(source_repo=repo))
    before = world.published()
    change(world, {"A/1.mp4": None})
    world.mirror_percent = 100
    nothing_goes(world, before)
    assert "A/1.mp4" in rows(world, "A")


def test_rows_and_files_of_another_input_repo_outlive_those_of_ours(world: World) -> None:
    """Also a result that both count as theirs, and a sidecar; their lines stay as they are."""
    theirs = {"A/theirs.mkv": b"video of theirs", "A/theirs.ass": b"text of theirs"}
    ours = {path: world.published()[path] for path in ("A/metadata.jsonl", "A/sidecars.jsonl")}
    row = {"source_repo": "other/in", "duration_s": 1.0}
    told = [
        {**row, **_about("A/theirs.mkv", b"video of theirs"), "source_path": "A/theirs.mp4"},
        {**row, **_about("A/3.mkv", world.published()["A/3.mkv"]), "source_path": "A/3.mp4"},
    ]
    beside = {**_about("A/theirs.ass", b"text of theirs"), "source_path": "A/theirs.ass", "source_repo": "other/in"}
    lists = {"A/metadata.jsonl": told, "A/sidecars.jsonl": [beside]}
    world.hub.put("me/out", theirs | {path: ours[path] + _lines(more) for path, more in lists.items()})
    change(world, {"A/2.mp4": None, "A/2.ass": None, "A/3.mp4": None, "A/theirs.mp4": b"x", "A/theirs.ass": b"y"})
    live(world)
    change(world, {"A/theirs.mp4": None, "A/theirs.ass": None})
    world.mirror_percent = 100
    live(world, 3)
    after = world.published()
    assert {"A/2.mkv", "A/2.ass"}.isdisjoint(after) and theirs.items() <= after.items() and "A/3.mkv" in after
    assert json.loads(after["A/sidecars.jsonl"]) == beside
    left = [json.loads(line) for line in after["A/metadata.jsonl"].splitlines()]
    assert {(one["source_repo"], one["file_name"]) for one in left if one["source_path"] != "A/1.mp4"} == {
        *(("other/in", "theirs.mkv"), ("other/in", "3.mkv"), ("me/in", "3.mkv"))
    }


def _about(path: str, content: bytes) -> dict[str, object]:
    sha256 = hashlib.sha256(content).hexdigest()
    return {"file_name": path.rpartition("/")[2], "sha256": sha256, "size": len(content)}


def _lines(entries: Sequence[dict[str, object]]) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in entries)


def test_file_that_two_rows_name_stays(world: World) -> None:
    edited(world, "A", lambda row: row.update(file_name="1.mkv") if row["source_path"] == "A/3.mp4" else None)
    change(world, {"A/1.mp4": None})
    live(world, 3)
    assert "A/1.mkv" in world.published()


def test_file_that_somebody_put_in_the_place_of_ours_stays(world: World) -> None:
    world.hub.put("me/out", {"A/1.mkv": b"a person's", "A/2.ass": b"a person's"})
    before = world.published()
    change(world, {"A/1.mp4": None, "A/2.ass": None, "A/2.mp4": b"changed"})
    live(world, 3)
    assert world.published()["A/1.mkv"] == before["A/1.mkv"] and world.published()["A/2.ass"] == b"a person's"


def test_redo_under_way_keeps_the_old_file(world: World) -> None:
    change(world, {"A/1.mp4": None})
    live(world)
    with WorkQueue(world.log_dir).transaction() as view:
        item = view.get("A")
        assert item is not None
        view.put(replace(item, status=Status.PENDING, redo=redo_with({"crf": 20}), held=True))
    before = world.published()
    nothing_goes(world, before)


def test_source_that_comes_back_in_time_costs_nothing(world: World) -> None:
    before, seen = world.published(), removals(world)
    for _ in range(3):
        change(world, {"A/1.mp4": None})
        assert world.live(Points())
        assert MirrorFile(world.log_dir).read().gone
        change(world, {"A/1.mp4": INPUT["A/1.mp4"]})
        assert world.live(Points())
        assert not MirrorFile(world.log_dir).read().gone
    assert world.published() == before and not seen


class _Partial:
    """Listings of the whole input lack folder A while ``is_on``, or break off there; that of the folder itself is
    right."""

    def __init__(self, world: World, *, is_on: bool, fails: bool = False) -> None:
        files = world.hub.list_files
        self.is_on = is_on

        def list_files(repo: str, commit: str) -> Iterator[RemoteFile]:
            for file in files(repo, commit):
                if repo == "me/in" and self.is_on and file.folder == "A":
                    if fails:
                        raise HubUnavailable("the listing broke off")
                    continue
                yield file

        def list_folder(repo: str, commit: str, folder: str) -> list[RemoteFile]:
            return [file for file in files(repo, commit) if file.folder == folder]

        world.hub.list_files = list_files  # type: ignore[method-assign]
        world.hub.list_folder = list_folder  # type: ignore[method-assign]


@pytest.mark.parametrize("fails", [False, True], ids=["lacks half", "breaks off"])
def test_partial_listing_that_the_monitor_did_not_see_is_nobodys_order(world: World, fails: bool) -> None:
    world.mirror_percent = 100
    before = world.published()
    change(world, {"Z/1.mp4": b"new"})
    live(world)
    partial = _Partial(world, is_on=False, fails=fails)
    for _ in range(3):
        engine = world.engine(world.hub)
        partial.is_on = True
        for _ in range(5):
            engine.turn(0)
        engine.close(0)
        world.clock.pass_time(QUIET)
    partial.is_on = False
    assert before.items() <= world.published().items() and not MirrorFile(world.log_dir).read().gone


def test_partial_listing_that_the_monitor_saw_too_is_nobodys_order(world: World) -> None:
    """The folder asked for by itself is there."""
    world.mirror_percent = 100
    before = world.published()
    change(world, {"Z/1.mp4": b"new"})
    _Partial(world, is_on=True)
    live(world, 4)
    assert before.items() <= world.published().items()
    assert "differ" in MirrorFile(world.log_dir).read().waits


def test_input_that_moves_before_the_commit_keeps_all(world: World) -> None:
    change(world, {"A/1.mp4": None})
    live(world)
    before, read_file = world.published(), world.hub.read_file

    def moved(repo: str, commit: str, path: str) -> bytes | None:
        if repo == "me/out" and path == "A/metadata.jsonl":
            world.hub.read_file = read_file  # type: ignore[method-assign]
            world.hub.put("me/in", {"A/1.mp4": INPUT["A/1.mp4"]})
        return read_file(repo, commit, path)

    world.hub.read_file = moved  # type: ignore[method-assign]
    live(world, 3)
    assert world.published() == before


def test_what_somebody_adds_between_our_reading_and_our_commit_is_put_back(world: World) -> None:
    change(world, {"A/1.mp4": None})
    live(world)
    commit, theirs = world.hub.commit, b'{"file_name": "extra.mkv", "note": "mine"}\n'

    def late(repo: str, operations: Sequence[Operation], message: str) -> str:
        if any(isinstance(one, Remove) for one in operations):
            world.hub.commit = commit  # type: ignore[method-assign]
            metadata = world.published()["A/metadata.jsonl"]
            world.hub.put("me/out", {"A/1.mkv": b"a person's", "A/metadata.jsonl": theirs + metadata}, "theirs")
        return commit(repo, operations, message)

    world.hub.commit = late  # type: ignore[method-assign]
    live(world, 3)
    assert world.published()["A/1.mkv"] == b"a person's"
    assert world.published()["A/metadata.jsonl"].startswith(theirs)
    assert b"A/1.mp4" not in world.published()["A/metadata.jsonl"]


def test_crash_at_any_point_takes_out_what_left_and_nothing_else(world: World) -> None:
    chance, total = random.Random(1), 0
    tries = [0, *(chance.random() for _ in range(11))]
    for share in tries:
        with tempfile.TemporaryDirectory(dir=world.top.parent) as folder:
            site = published(Path(folder) / "site")
            before = site.published()
            change(site, {"A/2.mp4": None, "A/2.ass": None, "B/1.mp4": None})
            live(site)
            site.lost_answers = ["commit"] if share > 0.5 else []
            points = Points(round(1 + share * (total - 1)) if share else 0)
            is_whole = site.live(points)
            total = total or len(points.names)
            assert is_whole or share
            site.clock.pass_time(QUIET)
            live(site, 3)
            assert before.keys() - site.published().keys() == {
                *("A/2.mkv", "A/2.ass", "A/sidecars.jsonl", "B/1.mkv", "B/metadata.jsonl")
            }, (share, points.names[-1])
            assert rows(site, "A") == ["A/1.mp4", "A/3.mp4"] and not MirrorFile(site.log_dir).read().base
