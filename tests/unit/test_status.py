"""What ``--status`` shows of failures, what it says of those that it does not show, and that it counts as others do."""

import json
from pathlib import Path
from typing import Any

import pytest

from tools.core.eta import Eta, Rest
from tools.core.past import VideoLine
from tools.core.queue_item import CANCELLED, Quarantined, QueueItem, Status, to_json
from tools.report import cells
from tools.report.cells import rows_of
from tools.report.fitted import fitted
from tools.report.glance import clock
from tools.report.health import count_items
from tools.report.losses import losses
from tools.report.outlook import Outlook
from tools.report.status import SHOWN, status_json, status_text
from tools.state.work_queue import Overview, WorkQueue

_LISTS: dict[str, Any] = {"confined": [], "hub": [], "jobs": [], "workers": []}
NOTHING: dict[str, Any] = {"updated": 0.0, "paused": None, "slots": None, **_LISTS}
ADDED = "2026-01-01T00:00:00"


def item(name: str, status: Status = Status.FAILED, error: str | None = None, *videos: Quarantined) -> QueueItem:
    return QueueItem(
        folder=name, hash="h", file_count=1, total_size=1, added_time=ADDED, status=status, error=error,
        quarantined=videos,
    )  # fmt: skip


def shown(*items: QueueItem, **changes: Any) -> list[str]:
    overview = Overview.of(items, SHOWN, SHOWN)
    return status_text(overview, NOTHING | changes, 0.0, True).splitlines()


def test_failures_that_are_not_shown_are_counted() -> None:
    lines = shown(*(item(f"F{number}") for number in range(40)))
    assert sum(line.startswith("failed ") for line in lines) == SHOWN
    assert [line for line in lines if "more" in line] == ["… and 30 more, see --status --failed"]
    assert not [line for line in shown(item("F")) if "more" in line]


def test_videos_that_are_not_shown_are_counted() -> None:
    causes = [Quarantined(f"F/{number}.mp4", "cut") for number in range(SHOWN + 2)]
    lines = shown(item("F", Status.FAILED, "no", *causes))
    assert "    … and 2 more, see --status --all" in lines


@pytest.mark.parametrize(
    ("video", "advice"),
    [
        (Quarantined("F/1.mp4", "cut"), "Upload a better file; --retry changes nothing"),
        (Quarantined("F/1.mp4", "out of memory (tried 3 times)", is_spent=True), "--retry 'F 1'"),
        (Quarantined("F/1.mp4", "the hub refused it", result_kept=True), "--retry 'F 1'"),
    ],
)
def test_advice_below_a_failure_is_what_helps(video: Quarantined, advice: str) -> None:
    lines = shown(item("F 1", Status.FAILED, "0 of 1 published, 1 can't be converted", video))
    assert advice in lines[next(n for n, line in enumerate(lines) if line.startswith("failed F 1")) + 2]


def test_job_of_an_item_that_was_cancelled_is_not_shown_as_running() -> None:
    job = {"folder": "F", "video": "F/1.mp4", "stage": "encode", "percent": 64.0, "eta_s": 9}
    assert [line for line in shown(item("F", Status.PROCESSING), jobs=[job]) if "F/1.mp4" in line]
    cancelled = item("F", Status.FAILED, CANCELLED)
    assert not [line for line in shown(cancelled, jobs=[job]) if "F/1.mp4" in line]
    assert status_json({}, [cancelled], NOTHING | {"jobs": [job]})["running"] == []


def test_everybody_counts_the_same_and_what_was_cancelled_has_not_failed(tmp_path: Path) -> None:
    items = [item(f"C{number}", Status.FAILED, CANCELLED) for number in range(2)]
    items += [item("F", Status.FAILED, "cancelled by the hub"), item("P", Status.PENDING), item("R", Status.PROCESSING)]
    queue = WorkQueue(tmp_path)
    with queue.transaction() as view:
        for one in items:
            view.put(one)
    expected = {"pending": 1, "processing": 1, "completed": 0, "failed": 1, "cancelled": 2}
    assert WorkQueue(tmp_path).overview(9, 9).counts == queue.read().counts() == expected
    assert [one.folder for one in WorkQueue(tmp_path).overview(9, 9).failed] == ["F"]
    queue.path.write_text(json.dumps([to_json(one) for one in items]))  # as a person may leave it
    assert WorkQueue(tmp_path).overview(9, 9).counts == expected
    judged = count_items([to_json(one) for one in items])
    assert {name: judged[name] for name in expected} == expected


def test_what_the_latest_videos_lost_is_told_once() -> None:
    lost = "stream 0: time codes inside the pictures are not kept"
    videos = [
        VideoLine(ended=9.0 - n, folder="F", video=f"{n}.mp4", outcome=outcome, warnings=f"{lost}\nonly {n}")
        for n, outcome in enumerate(("failed", "stored", "stored"))
    ]
    found = losses(videos)
    assert [(loss.text, loss.videos, loss.video) for loss in found] == [
        (lost, 2, "1.mp4"),
        ("only 1", 1, "1.mp4"),
        ("only 2", 1, "2.mp4"),
    ]
    overview = Overview.of((item("F", Status.COMPLETED),), SHOWN, SHOWN)
    lines = status_text(overview, NOTHING, 0.0, True, 2, outlook=Outlook(None, videos=videos)).splitlines()
    assert f"  2 videos, the latest F/1.mp4: {lost}" in lines and "  … and 1 more, see --status --all" in lines


@pytest.mark.parametrize(
    ("room", "expected"),
    [(100, (2, 30, 2, 20, 9)), (20, (2, 5, 2, 9, 0)), (16, (2, 5, 2, 5, 0)), (9, (2, 0, 0, 5, 0))],
)
def test_what_matters_is_seen_without_scrolling(room: int, expected: tuple[int, ...]) -> None:
    """A line of the top is so long that it takes two rows."""
    names = ("top", "queue", "failed", "running", "latest")
    blocks = [
        [f"{name} {number}" for number in range(most)] for name, most in zip(names, (2, 30, 2, 20, 9), strict=True)
    ]
    lines = fitted(blocks, (0, 3, 2, 1, 4), room, "--all", lambda one: 1 + (one == "top 1"))
    assert tuple(sum(line.startswith(name) for line in lines) for name in names) == expected
    hidden = 63 - sum(expected)
    assert lines[-1] == (f"… {hidden} more lines, see --all" if hidden else "latest 8")


def test_name_of_any_length_is_cut_without_being_read_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A state file of a stranger may hold a name of megabytes."""
    seen = 0

    def counted(text: str) -> int:
        nonlocal seen
        seen += len(text)
        return real(text)

    real = cells.cells
    monkeypatch.setattr(cells, "cells", counted)
    assert cells.cut("星" * 20_000, 20) == "星" * 9 + "…" and cells.cut_name("e" * 20_000, 20) == "e" * 13 + "…eeeeee"
    assert seen < 200_000


def test_rows_are_counted_as_a_terminal_wraps() -> None:
    assert [rows_of(line, 10) for line in ("", "x" * 10, "x" * 11, "長" * 5, "長" * 6)] == [1, 1, 2, 1, 2]
    assert rows_of("\033[31m" + "x" * 10 + "\033[0m", 10) == 1


def test_queue_tells_of_what_is_not_begun_and_when_each_running_video_is_done() -> None:
    job = {"folder": "F", "video": "F/1.mp4", "stage": "encode", "percent": 64.0, "eta_s": 9}
    ahead = Outlook(
        Eta(90.0, 80.0, 99.0), upcoming=(Rest("F", 0, 0), Rest("G", 2, 7)), running={"F/1.mp4": 60}, folders={}
    )
    overview = Overview.of((item("F", Status.PROCESSING), item("G", Status.PENDING)), 0, 0)
    lines = status_text(overview, NOTHING | {"jobs": [job]}, 0.0, True, outlook=ahead).splitlines()
    queue = lines[lines.index("Queue:") + 1 : lines.index("Queue:") + 3]
    assert queue[0].split() == ["not", "begun", "size", "done", "folder"] and queue[1].split() == [
        *("2", "7", "B", "?", "G")
    ]
    assert not any(line.endswith("  F") for line in lines)
    assert next(line for line in lines if "F/1.mp4" in line).count(f"≈ {clock(60, 0)}") == 1
    told = status_json({}, [item("F", Status.PROCESSING)], NOTHING | {"jobs": [job]}, ahead)
    assert told["running"] == [job | {"done": 60}]
