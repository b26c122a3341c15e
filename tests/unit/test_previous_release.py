"""State files that an earlier release left, as they were: ``tests/previous_release``, of 25 November 2026 (3c6225b).

It was stopped while it worked: one folder published, one refused, one with a video stored and three to do, one waiting.
"""

import json
import shutil
from pathlib import Path

import pytest

from tests.programs import HubAddress, environment, run_program
from tools.core.queue_item import Status
from tools.state.journal import Journal
from tools.state.monitor_state import MonitorStateFile
from tools.state.origin import Origin, start
from tools.state.work_queue import WorkQueue

LEFT = Path(__file__).resolve().parent.parent / "previous_release"


@pytest.fixture
def log_dir(tmp_path: Path) -> Path:
    shutil.copytree(LEFT, tmp_path / "log")
    return tmp_path / "log"


def test_queue_monitor_s_state_and_journal_are_taken_over(log_dir: Path) -> None:
    start(log_dir, "processor", Origin("https://hub", "me/in", "me/out")).lock.release()
    items = {item.folder: item for item in WorkQueue(log_dir).read().items()}
    state = MonitorStateFile(log_dir).read()
    journal = Journal(log_dir, "番剧B").history()
    assert {folder: item.status for folder, item in items.items()} == {
        "番剧A": Status.COMPLETED,
        "坏": Status.FAILED,
        "番剧B": Status.PENDING,
        "番剧C": Status.PENDING,
    }
    assert [one.path for one in items["坏"].quarantined] == ["坏/1.mp4"] and items["番剧A"].videos_done == 2
    assert state.settled.keys() == {"番剧A", "坏"} and state.folders.keys() == items.keys()
    stored = {path for (path, _), video in journal.items() if video.stored is not None}
    assert stored == {"番剧B/1.mp4"}, "it is not encoded again"
    assert not any(video.crashes for video in journal.values()), "being stopped is no death"


def test_programs_show_it(log_dir: Path) -> None:
    env = environment(HubAddress("http://127.0.0.1:1", "none"), log_dir.parent)
    done = run_program("queue_processor.py", "--status", "--json", env=env)
    assert done.returncode == 0 and not done.stderr
    assert json.loads(done.stdout)["counts"]["pending"] == 2
    shown = run_program("modelscope_monitor.py", "--queue", env=env)
    assert shown.returncode == 0 and shown.stdout.index("番剧B") < shown.stdout.index("番剧C"), shown
