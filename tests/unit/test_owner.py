"""Whose is what root makes in a folder of an ordinary user."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.core.folder import RemoteFile
from tools.core.queue_item import QueueItem
from tools.runtime.owner import make_folder, whose
from tools.state.journal import Event, Journal
from tools.state.progress import ProgressFile
from tools.state.singleton import Singleton
from tools.state.work_queue import WorkQueue

USER, GROUP = 12345, 12346


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("only root can make files that are another's")
    os.chown(tmp_path, USER, GROUP)
    yield tmp_path
    os.chown(tmp_path, 0, 0)


def test_everything_that_root_writes_into_a_user_s_folder_is_that_user_s(home: Path) -> None:
    log_dir = home / "deep" / "log"
    with WorkQueue(home / "--retry typed first").transaction():
        pass
    lock = Singleton(log_dir, "processor")
    lock.acquire()
    with WorkQueue(log_dir).transaction() as view:
        view.put(QueueItem(folder="A", hash="h", file_count=1, total_size=9, added_time="2024-01-01T00:00:00"))
    Journal(log_dir, "A").note(Event.ENCODING, RemoteFile("A/1.mp4", 1, "0" * 64))
    ProgressFile(log_dir).write(0.0, None, [])
    made = [path for path in home.rglob("*")]
    assert {path.parent.name for path in made} >= {"deep", "log", "journal"} and len(made) > 7
    assert {path.relative_to(home): path.lstat().st_uid for path in made if path.lstat().st_uid != USER} == {}
    lock.release()


def test_folder_that_is_there_keeps_its_owner(home: Path) -> None:
    (home / "mine").mkdir()
    make_folder(home / "mine")
    assert (home / "mine").stat().st_uid == os.geteuid()


def test_message_names_the_owner_of_what_is_there(tmp_path: Path) -> None:
    me = whose(tmp_path).split()[-1]
    assert whose(tmp_path / "a" / "b") == f"{tmp_path} belongs to {me}, this program runs as {me}"
