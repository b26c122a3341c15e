"""Room on the local disk: held in bytes before anything is written, never given away twice."""

import re
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from tools.core.errors import DiskFull
from tools.core.folder import RemoteFile
from tools.stages.workspace import HUB_CACHE, Workspace

pytestmark = pytest.mark.another_user

FLOOR = 1000


Usage = namedtuple("Usage", "free")


class Disk:
    """``size`` bytes in all; what lies below ``top`` is taken from them."""

    def __init__(self, top: Path, size: int) -> None:
        self.top, self.size = top, size

    def usage(self, path: Path) -> Usage:
        used = sum(found.stat().st_size for found in self.top.rglob("*") if found.is_file())
        return Usage(self.size - used)


@pytest.fixture
def space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Room for 100 bytes above the floor."""
    monkeypatch.setattr(shutil, "disk_usage", Disk(tmp_path, FLOOR + 100).usage)
    return Workspace(tmp_path, FLOOR)


def folder(space: Workspace, name: str) -> Path:
    made = space.root / name
    made.mkdir()
    return made


def test_room_that_one_video_holds_is_not_given_to_another(space: Workspace) -> None:
    with space.reserved(folder(space, "a"), 70):
        with pytest.raises(DiskFull) as caught, space.reserved(folder(space, "b"), 31):
            pass
        assert (caught.value.needed, caught.value.free) == (31, 30)
        with space.reserved(space.root / "b", 30):
            pass
    with space.reserved(space.root / "b", 100):
        pass


def test_what_is_written_of_a_reservation_counts_once(space: Workspace) -> None:
    with space.reserved(folder(space, "a"), 70):
        (space.root / "a" / "source.mp4").write_bytes(bytes(50))
        with space.reserved(folder(space, "b"), 30):
            pass


def test_what_an_earlier_attempt_left_needs_no_room_again(space: Workspace) -> None:
    (folder(space, "a") / "source.mp4").write_bytes(bytes(80))
    with space.reserved(space.root / "a", 100):
        pass
    with pytest.raises(DiskFull), space.reserved(space.root / "a", 101):
        pass


def test_part_of_a_download_counts_once_however_deep_the_sdk_puts_it(space: Workspace) -> None:
    part = folder(space, "a") / "part" / "A" / "1.mp4.incomplete"
    part.parent.mkdir(parents=True)
    part.write_bytes(bytes(80))
    with space.reserved(space.root / "a", 90):
        with space.reserved(folder(space, "b"), 10):
            pass
        with pytest.raises(DiskFull), space.reserved(space.root / "b", 11):
            pass


def test_what_others_put_on_the_disk_lowers_what_there_is_and_never_the_floor(space: Workspace, tmp_path: Path) -> None:
    (tmp_path / "theirs").write_bytes(bytes(90))
    with space.reserved(folder(space, "a"), 10):
        pass
    with pytest.raises(DiskFull), space.reserved(space.root / "a", 11):
        pass


def test_sweep_deletes_what_belongs_to_no_item_that_is_kept_and_nothing_else(tmp_path: Path) -> None:
    space = Workspace(tmp_path / "work", 0)
    space.prepare()
    mine, other = (space.file_folder(name, RemoteFile(f"{name}/1.mp4", 1, "s")) for name in ("A", "B"))
    (space.root / HUB_CACHE).mkdir()
    space.rest()
    assert mine.is_dir() and other.is_dir() and (space.root / HUB_CACHE).is_dir(), "something waits to be resumed"
    space.sweep(["A"])
    assert mine.is_dir() and not other.exists()
    space.sweep([])
    assert not mine.exists() and not (space.root / HUB_CACHE).exists()
    space.prepare()
    (space.root / HUB_CACHE).mkdir()
    space.rest()
    assert not (space.root / HUB_CACHE).exists()


@pytest.mark.parametrize(("size", "shown"), [(999, "0.00"), (9_990_000_000, "9.99"), (10_000_000_000, "10")])
def test_sizes_are_told_in_gb(space: Workspace, size: int, shown: str) -> None:
    with pytest.raises(DiskFull, match=rf"{re.escape(shown)} GB"), space.reserved(folder(space, "a"), size):
        pass
