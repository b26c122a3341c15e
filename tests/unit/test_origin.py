"""State files belong to a hub and its datasets: other settings start with their own, and find them again."""

import contextlib
import json
import os
from pathlib import Path

import pytest

from tools.core.errors import AlreadyRunning
from tools.core.queue_item import QueueItem
from tools.state import origin
from tools.state.monitor_state import MonitorState, MonitorStateFile
from tools.state.origin import Origin, read_origin, start
from tools.state.work_queue import WorkQueue

pytestmark = pytest.mark.another_user

ONE, OTHER = Origin("https://hub", "me/in", "me/out"), Origin("https://hub", "me/in", "me/elsewhere")


def begin(log_dir: Path, wanted: Origin, program: str = "processor") -> str:
    lock, news = start(log_dir, program, wanted)
    lock.release()
    return news


def put(log_dir: Path, folder: str) -> None:
    with WorkQueue(log_dir).transaction() as view:
        view.put(QueueItem(folder=folder, hash="h", file_count=1, total_size=9, added_time="2024-01-01T00:00:00"))
    MonitorStateFile(log_dir).save(MonitorState(repo=folder))
    (log_dir / "journal").mkdir(exist_ok=True)
    (log_dir / "journal" / f"{folder}.jsonl").write_text("{}\n")


def held(log_dir: Path) -> tuple[list[str], str, list[str]]:
    """Folders by queue, monitor state and journals."""
    items = [item.folder for item in WorkQueue(log_dir).read().items()]
    return items, MonitorStateFile(log_dir).load().repo, [path.stem for path in log_dir.glob("journal/*")]


NOTHING: tuple[list[str], str, list[str]] = ([], "", [])


@pytest.mark.parametrize("changed", ["endpoint", "input_repo", "output_repo"])
def test_other_settings_start_empty_and_the_first_ones_come_back(tmp_path: Path, changed: str) -> None:
    put(tmp_path, "A")
    other = Origin(**{"endpoint": "https://hub", "input_repo": "me/in", "output_repo": "me/out", changed: "x/y"})
    assert begin(tmp_path, ONE) == "" and held(tmp_path) == (["A"], "A", ["A"]), "of today: taken over"
    news = begin(tmp_path, other)
    assert "me/in -> me/out" in news and "started empty" in news and "\n" not in news
    assert held(tmp_path) == NOTHING and begin(tmp_path, other) == ""
    put(tmp_path, "B")
    assert "resumed" in begin(tmp_path, ONE) and held(tmp_path) == (["A"], "A", ["A"])
    assert "resumed" in begin(tmp_path, other) and held(tmp_path) == (["B"], "B", ["B"])
    assert read_origin(tmp_path) == other


def test_program_does_not_start_beside_one_of_other_settings_and_both_may_change_together(tmp_path: Path) -> None:
    put(tmp_path, "A")
    monitor, _ = start(tmp_path, "monitor", ONE)
    with pytest.raises(AlreadyRunning, match=rf"pid {os.getpid()}.*me/in -> me/out .*me/in -> me/elsewhere"):
        start(tmp_path, "processor", OTHER)
    assert begin(tmp_path, ONE) == "" and held(tmp_path)[0] == ["A"]
    monitor.release()
    monitor, news = start(tmp_path, "monitor", OTHER)
    assert news and begin(tmp_path, OTHER) == "" and held(tmp_path) == NOTHING
    monitor.release()


def test_program_that_may_not_start_leaves_the_name_plate_of_the_other_one(tmp_path: Path) -> None:
    monitor, _ = start(tmp_path, "monitor", ONE)
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(AlreadyRunning):
        start(tmp_path, "processor", OTHER)
    assert (tmp_path / ".monitor.pid").exists() and not (tmp_path / ".processor.pid").exists()
    assert {path.name for path in tmp_path.iterdir()} - set(before) <= {
        ".processor.lock",
        ".processing_queue.json.lock",
    }
    monitor.release()


class Killed(BaseException):
    """In the midst of it."""


@pytest.mark.parametrize("then", [ONE, OTHER])
def test_crash_at_any_move_loses_no_file_whatever_the_next_settings_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, then: Origin
) -> None:
    real, number = Path.replace, 0
    while True:
        log_dir = tmp_path / str(number)
        begin(log_dir, OTHER)
        put(log_dir, "B")
        begin(log_dir, ONE)
        put(log_dir, "A")
        left = [number]

        def replace(path: Path, target: Path, left: list[int] = left) -> Path:
            if not left[0]:
                raise Killed
            left[0] -= 1
            return real(path, target)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", replace)
            with contextlib.suppress(Killed):
                begin(log_dir, OTHER)
        begin(log_dir, then)
        name = "A" if then == ONE else "B"
        assert held(log_dir) == ([name], name, [name]), number
        begin(log_dir, OTHER if then == ONE else ONE)
        name = "B" if then == ONE else "A"
        assert held(log_dir) == ([name], name, [name]), number
        if left[0]:
            break
        number += 1
    assert number > 8


def test_origin_that_can_not_be_read_counts_as_none(tmp_path: Path) -> None:
    put(tmp_path, "A")
    for content in (b"", b"[]", b"{", b'{"endpoint": 1}'):
        (tmp_path / origin.ORIGIN_FILE).write_bytes(content)
        assert read_origin(tmp_path) is None and begin(tmp_path, ONE) == "" and held(tmp_path)[0] == ["A"]
    assert set(json.loads((tmp_path / origin.ORIGIN_FILE).read_bytes())) == {"endpoint", "input_repo", "output_repo"}
