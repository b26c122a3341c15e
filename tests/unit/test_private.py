"""A work folder is ours, or not used: whoever made it first, and wherever links in it lead."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from config import ROOT
from tools.core.errors import AlreadyRunning, WorkspaceError
from tools.report.checks import check_work_dir
from tools.runtime.files import replace_durably
from tools.runtime.private import FolderLock, distrust
from tools.stages.workspace import Workspace

STRANGER = 12345


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Path]:
    """A folder of somebody's with something in it, which a test must find again."""
    kept = tmp_path / "victim" / "0123456789abcdef0123" / "letter.txt"
    kept.parent.mkdir(parents=True)
    kept.write_text("dear")
    yield tmp_path / "victim"
    assert kept.read_text() == "dear"


def use(space: Workspace) -> None:
    """Everything that deletes."""
    space.sweep(())
    space.sweep(("A",))
    space.remove("0123456789abcdef0123/0123456789abcdef0123")
    space.remove_item("A")
    space.clear()
    space.rest()
    assert space.held() == {}


@pytest.mark.another_user
def test_folder_is_made_for_us_alone_and_what_was_ours_is_closed(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        Workspace(tmp_path / "a" / "work", 0).prepare()
        (tmp_path / "open").mkdir(0o777)
        (tmp_path / "open" / "videos").mkdir(0o777)
        Workspace(tmp_path / "open", 0).prepare()
    finally:
        os.umask(before)
    modes = [(tmp_path / name).stat().st_mode & 0o777 for name in ("a", "a/work", "open", "open/videos")]
    assert modes == [0o755, 0o700, 0o755, 0o700]


@pytest.mark.another_user
def test_links_inside_are_neither_followed_nor_used(tmp_path: Path, victim: Path) -> None:
    space = Workspace(tmp_path / "work", 0)
    space.prepare()
    (space.root / "videos").symlink_to(victim)
    use(space)
    with pytest.raises(WorkspaceError, match="is a link or a file"):
        space.prepare()
    (space.root / "videos").unlink()
    (space.root / "videos").mkdir()
    (space.root / "videos" / "0123456789abcdef0123").symlink_to(victim / "0123456789abcdef0123")
    use(space)
    assert not (space.root / "videos").exists()


@pytest.mark.parametrize("kind", ["folder", "link", "videos"])
def test_what_a_stranger_made_first_is_not_used_and_the_doctor_says_so(tmp_path: Path, victim: Path, kind: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make files that are another's")
    root = tmp_path / "work"
    if kind == "link":
        root.symlink_to(victim)
        os.chown(root, STRANGER, STRANGER, follow_symlinks=False)
    else:
        root.mkdir()
        (root / "videos").symlink_to(victim)
        os.chown(root if kind == "folder" else root / "videos", STRANGER, STRANGER, follow_symlinks=False)
    with pytest.raises(WorkspaceError, match=f"can't use WORK_DIR={root}: .*belongs to"):
        Workspace(root, 0).prepare()
    use(Workspace(root, 0))
    if kind != "videos":
        found = check_work_dir(root)
        assert not found.ok and "belongs to" in found.seen and found.advice


def test_folder_of_root_in_which_everybody_may_write_needs_the_sticky_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make files that are another's")
    monkeypatch.setattr(os, "geteuid", lambda: STRANGER)
    for mode, refusal in ((0o777, "everybody may write into it"), (0o1777, ""), (0o775, "")):
        tmp_path.chmod(mode)
        assert distrust(tmp_path) == refusal


@pytest.mark.another_user
def test_second_holder_of_a_folder_is_told_the_first_one_s_pid_and_nothing_is_left_in_it(tmp_path: Path) -> None:
    code = "import sys, pathlib; from tools.runtime.private import FolderLock;"
    code += "FolderLock(pathlib.Path(sys.argv[1]), 'processor').acquire(); print(flush=True); input()"
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(AlreadyRunning, match=f"pid {holder.pid}.*WORK_DIR={tmp_path}"):
            FolderLock(tmp_path, "processor").acquire()
        holder.kill()
    lock = FolderLock(tmp_path, "processor")
    lock.acquire()
    lock.acquire()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.another_user
def test_folder_that_took_the_place_of_the_held_one_is_held_again(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    lock = FolderLock(work, "processor")
    lock.acquire()
    work.rename(tmp_path / "gone")
    work.mkdir()
    lock.acquire()
    with pytest.raises(AlreadyRunning):
        FolderLock(work, "processor").acquire()


@pytest.mark.another_user
def test_link_that_waits_under_the_temporary_name_is_not_written_through(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("theirs")
    (tmp_path / "state.json.tmp").symlink_to(other)
    replace_durably(tmp_path / "state.json", b"ours")
    assert other.read_text() == "theirs" and (tmp_path / "state.json").read_bytes() == b"ours"
    assert not (tmp_path / "state.json").is_symlink()
