"""What ``--status`` shows of failures, and what it says of those that it does not show."""

from typing import Any

from tools.core.queue_item import Quarantined, QueueItem, Status
from tools.report.status import SHOWN, status_text
from tools.state.work_queue import Overview

NOTHING: dict[str, Any] = {"updated": 0.0, "paused": None, "confined": [], "hub": [], "jobs": [], "workers": []}


def failed(name: str, quarantined: int = 0) -> QueueItem:
    causes = tuple(Quarantined(f"{name}/{number}.mp4", "cut") for number in range(quarantined))
    added = "2026-01-01T00:00:00"
    return QueueItem(
        folder=name, hash="h", file_count=1, total_size=1, added_time=added, status=Status.FAILED, quarantined=causes
    )


def shown(*items: QueueItem) -> list[str]:
    return status_text(Overview.of(items, SHOWN), NOTHING, 0.0, False).splitlines()


def test_failures_that_are_not_shown_are_counted() -> None:
    lines = shown(*(failed(f"F{number}") for number in range(40)))
    assert sum(line.startswith("failed 失败") for line in lines) == SHOWN
    assert [line for line in lines if "more" in line] == ["… and 30 more, see --status --json 另有 30 个"]
    assert not [line for line in shown(failed("F")) if "more" in line]


def test_videos_that_are_not_shown_are_counted() -> None:
    assert "    … and 2 more, see --status --json 另有 2 个" in shown(failed("F", SHOWN + 2))
