"""A queue item: its moves, its place in the queue, and its JSON form."""

from collections.abc import Callable
from typing import Any

import pytest

from tools.core.errors import CorruptState, IllegalTransition
from tools.core.folder import Folder
from tools.core.queue_item import (
    Quarantined,
    QueueItem,
    Status,
    cancel,
    claim,
    entry_for,
    from_json,
    give_back,
    is_due,
    local_time,
    new_item,
    priority_of,
    rank,
    retry,
    settle,
    to_json,
)

NOW = 1_700_000_000.0


GIB = 1024**3


def folder(name: str = "番剧A", fingerprint: str = "f1", files: int = 3, size: int = 100) -> Folder:
    return Folder(name, fingerprint, files, files, size, None, False)


def item(name: str = "番剧A", **changes: Any) -> QueueItem:
    made = new_item(folder(name), NOW)
    return QueueItem(**{**{f: getattr(made, f) for f in made.__slots__}, **changes})


@pytest.mark.parametrize(
    ("files", "size", "priority"),
    [(10, 5 * GIB, 1), (11, 1, 2), (1, 5 * GIB + 1, 2), (50, 20 * GIB, 2), (51, 1, 3), (1, 20 * GIB + 1, 3)],
)
def test_priority_classes(files: int, size: int, priority: int) -> None:
    assert priority_of(files, size) == priority


MOVES: dict[str, Callable[[QueueItem], QueueItem]] = {
    "claim": lambda it: claim(it, NOW),
    "give_back": give_back,
    "settle": lambda it: settle(it, NOW),
    "cancel": lambda it: cancel(it, NOW),
    "retry": retry,
}


ALLOWED = {
    Status.PENDING: {"claim", "cancel"},
    Status.PROCESSING: {"give_back", "settle", "cancel"},
    Status.COMPLETED: set(),
    Status.FAILED: {"retry"},
}


@pytest.mark.parametrize("status", list(Status))
@pytest.mark.parametrize("move", sorted(MOVES))
def test_only_the_moves_of_the_table_are_possible(status: Status, move: str) -> None:
    before = item(status=status)
    if move in ALLOWED[status]:
        MOVES[move](before)
    else:
        with pytest.raises(IllegalTransition):
            MOVES[move](before)


def test_quarantined_video_makes_the_item_failed_and_retry_clears_it() -> None:
    broken = (Quarantined("番剧A/1.mp4", "no stream", "abc"),)
    failed = settle(claim(item(), NOW), NOW, broken)
    assert failed.status is Status.FAILED and failed.quarantined == broken and failed.error
    assert retry(failed).quarantined == () and retry(failed).error is None


def test_changed_folder_is_queued_again_but_not_while_it_is_processed() -> None:
    changed = folder(fingerprint="f2", files=60)
    assert entry_for(item(status=Status.PROCESSING), changed, NOW) is None
    assert entry_for(item(status=Status.COMPLETED), folder(), NOW) is None
    again = entry_for(item(status=Status.FAILED, quarantined=(Quarantined("x", "y", "z"),)), changed, NOW + 5)
    assert again is not None and (again.hash, again.priority, again.status) == ("f2", 3, Status.PENDING)
    assert again.quarantined and again.added_time == local_time(NOW + 5)
    waiting = entry_for(item(), changed, NOW + 5)
    assert waiting is not None and waiting.added_time == local_time(NOW), "one that waits keeps its place"


def test_aging_lifts_a_big_folder_above_newer_small_ones_but_only_after_the_time() -> None:
    big = item("big", priority=3)
    small = item("small", priority=1, added_time=local_time(NOW + 49 * 3600))
    assert rank(big, NOW + 47 * 3600, 24) > rank(small, NOW + 47 * 3600, 24)
    assert rank(big, NOW + 50 * 3600, 24) < rank(small, NOW + 50 * 3600, 24)
    assert rank(big, NOW + 50 * 3600, 0) > rank(small, NOW + 50 * 3600, 0)


def test_item_is_due_only_after_its_time() -> None:
    later = give_back(claim(item(), NOW), NOW + 60)
    assert not is_due(later, NOW + 59) and is_due(later, NOW + 62)


def test_json_form_has_the_fixed_fields_first_and_keeps_unknown_ones() -> None:
    shown = to_json(from_json({**to_json(item()), "note": "by hand"}))
    assert list(shown)[:8] == [
        *("folder", "file_count", "total_size", "added_time", "status", "priority", "start_time", "end_time")
    ]
    assert shown["status"] == "pending" and shown["note"] == "by hand"


def test_entry_with_a_folder_alone_is_enough() -> None:
    assert from_json({"folder": "A"}).status is Status.PENDING


@pytest.mark.parametrize(
    "entry",
    [
        [],
        {"folder": ""},
        {"folder": "A", "status": "sleeping"},
        {"folder": "A", "attempts": "many"},
        {"folder": "A", "file_count": "3"},
        {"folder": "A", "added_time": "yesterday"},
        {"folder": "A", "quarantined": [1]},
        {},
    ],
)
def test_entry_that_makes_no_sense_is_corrupt(entry: object) -> None:
    with pytest.raises(CorruptState):
        from_json(entry)
