"""A queue item: its moves, its place in the queue, and its JSON form."""

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from tools.core.errors import CorruptState, IllegalTransition
from tools.core.folder import Folder
from tools.core.queue_item import (
    CANCELLED,
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
    with_sane_times,
)

NOW = 1_700_000_000.0


GIB = 1024**3
NUMBERS = ("file_count", "total_size", "priority", "attempts", "videos_total", "videos_done", "bytes_in", "bytes_out")
TIMES = ("added_time", "start_time", "end_time", "not_before")


def folder(name: str = "番剧A", fingerprint: str = "f1", files: int = 3, size: int = 100) -> Folder:
    return Folder(name, fingerprint, files, files, size, None, False)


def item(name: str = "番剧A", **changes: Any) -> QueueItem:
    return replace(new_item(folder(name), NOW), **changes)


@pytest.mark.parametrize(
    ("files", "size", "priority"),
    [(0, 0, 1), (10, 5 * GIB, 1), (11, 1, 2), (1, 5 * GIB + 1, 2), (50, 20 * GIB, 2), (51, 1, 3), (1, 20 * GIB + 1, 3)],
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


def test_stable_folder_enters_the_queue_with_what_was_listed() -> None:
    listed = Folder("番剧A", "f1", 11, 4, 5 * GIB, 1.0, True)
    assert (
        new_item(listed, NOW)
        == entry_for(None, listed, NOW)
        == QueueItem(
            folder="番剧A",
            hash="f1",
            file_count=11,
            total_size=5 * GIB,
            added_time=local_time(NOW),
            status=Status.PENDING,
            priority=2,
            start_time=None,
            end_time=None,
            attempts=0,
            not_before=None,
            error=None,
            quarantined=(),
            videos_total=4,
            videos_done=0,
            bytes_in=0,
            bytes_out=0,
            extra={},
        )
    )


BROKEN = (Quarantined("番剧A/1.mp4", "no stream", "abc"),)
WORN: dict[str, Any] = {
    "start_time": "2026-01-02T00:00:00",
    "end_time": "2026-01-03T00:00:00",
    "attempts": 2,
    "runs": 4,
    "not_before": "2026-01-04T00:00:00+08:00",
    "error": "1 of 3",
    "quarantined": BROKEN,
    "videos_total": 3,
    "videos_done": 2,
    "bytes_in": 70,
    "bytes_out": 7,
    "extra": {"note": "by hand"},
}
"""What an item may have been through; a move changes of it what the tables below say, and nothing else."""


@pytest.mark.parametrize(
    ("move", "status", "after"),
    [
        (
            lambda it: claim(it, NOW),
            Status.PENDING,
            {
                "status": Status.PROCESSING,
                "start_time": local_time(NOW),
                "end_time": None,
                "not_before": None,
                "error": None,
                "attempts": 3,
                "runs": 5,
            },
        ),
        (
            give_back,
            Status.PROCESSING,
            {
                "status": Status.PENDING,
                "start_time": None,
                "end_time": None,
                "not_before": None,
                "error": None,
                "attempts": 1,  # it was a run, and no attempt
            },
        ),
        (
            lambda it: give_back(it, None, "hub down"),
            Status.PROCESSING,
            {
                "status": Status.PENDING,
                "start_time": None,
                "end_time": None,
                "not_before": None,
                "error": "hub down",
                "attempts": 1,
            },
        ),
        (
            lambda it: settle(it, NOW),
            Status.PROCESSING,
            {"status": Status.COMPLETED, "end_time": local_time(NOW), "error": None, "quarantined": ()},
        ),
        (
            lambda it: settle(it, NOW, (), "gone"),
            Status.PROCESSING,
            {"status": Status.FAILED, "end_time": local_time(NOW), "error": "gone", "quarantined": ()},
        ),
        (
            lambda it: settle(it, NOW, BROKEN, "gone"),
            Status.PROCESSING,
            {"status": Status.FAILED, "end_time": local_time(NOW), "error": "gone"},
        ),
        (
            lambda it: cancel(it, NOW),
            Status.PENDING,
            {"status": Status.FAILED, "end_time": local_time(NOW), "error": CANCELLED},
        ),
        (
            retry,
            Status.FAILED,
            {
                "status": Status.PENDING,
                "start_time": None,
                "end_time": None,
                "not_before": None,
                "error": None,
                "quarantined": (),
            },
        ),
    ],
)
def test_move_changes_what_it_says_and_keeps_the_rest(
    move: Callable[[QueueItem], QueueItem], status: Status, after: dict[str, Any]
) -> None:
    before = item(**WORN, status=status)
    assert move(before) == replace(before, **after)


def test_quarantined_video_makes_the_item_failed_and_the_error_counts_them() -> None:
    failed = settle(item(status=Status.PROCESSING, videos_total=3, videos_done=2), NOW, BROKEN)
    assert failed.status is Status.FAILED and failed.quarantined == BROKEN
    assert failed.error == "2 of 3 published, 1 can't be converted"


@pytest.mark.parametrize("status", list(Status))
def test_changed_folder_is_queued_again_but_not_while_it_is_processed(status: Status) -> None:
    changed = Folder("番剧A", "f2", 60, 9, 2000, None, False)
    before = item(**WORN, status=status)
    assert entry_for(before, folder(), NOW + 5) is None, "it is what it was"
    expected = replace(
        before,
        status=Status.PENDING,
        hash="f2",
        file_count=60,
        total_size=2000,
        priority=3,
        videos_total=9,
        added_time=before.added_time if status is Status.PENDING else local_time(NOW + 5),
        start_time=None,
        end_time=None,
        not_before=None,
        error=None,
        attempts=0,
    )
    assert entry_for(before, changed, NOW + 5) == (None if status is Status.PROCESSING else expected)


HOUR = 3600.0


@pytest.mark.parametrize(
    ("case", "priority", "waited", "aging", "place"),
    [
        ("nothing waited", 3, 0.0, 24, 3),
        ("a second too little", 3, 24 * HOUR - 1, 24, 3),
        ("one class", 3, 24 * HOUR, 24, 2),
        ("one class only", 3, 48 * HOUR - 1, 24, 2),
        ("two classes", 3, 48 * HOUR, 24, 1),
        ("never above the first", 3, 500 * HOUR, 24, 1),
        ("the first stays so", 1, 500 * HOUR, 24, 1),
        ("other hours", 2, 2 * HOUR, 2, 1),
        ("an hour", 3, HOUR, 1, 2),
        ("half an hour", 3, HOUR, 0.5, 1),
        ("off", 3, 500 * HOUR, 0, 3),
        ("added in the future: not lowered", 2, -72 * HOUR, 24, 2),
        ("a priority that a person gave it", 0, 500 * HOUR, 24, 0),
        ("and one far behind", 9, 24 * HOUR, 24, 8),
    ],
)
def test_waiting_lifts_by_a_class_at_a_time(case: str, priority: int, waited: float, aging: float, place: int) -> None:
    one = item("B", priority=priority)
    assert rank(one, NOW + waited, aging) == (place, local_time(NOW), "B"), case


def test_order_is_by_class_then_by_time_added_then_by_name() -> None:
    late, early = local_time(NOW + 60), local_time(NOW)
    wanted = [
        item("b", priority=1, added_time=late),
        item("c", priority=2, added_time=early),
        item("a", priority=2, added_time=late),
        item("b", priority=2, added_time=late),
    ]
    assert sorted(reversed(wanted), key=lambda it: rank(it, NOW + 120, 24)) == wanted


@pytest.mark.parametrize(
    ("not_before", "now", "due"),
    [(60.0, 59.999, False), (60.0, 60.0, True), (60.2, 60.9, False), (60.2, 61.0, True), (None, 0.0, True)],
)
def test_item_is_due_at_its_time_which_is_never_rounded_down(not_before: float | None, now: float, due: bool) -> None:
    waiting = give_back(item(status=Status.PROCESSING), None if not_before is None else NOW + not_before)
    assert is_due(waiting, NOW + now) is due
    assert all(not is_due(replace(waiting, status=status), NOW + 999) for status in set(Status) - {Status.PENDING})


def test_wait_in_the_hour_that_comes_twice_in_autumn_is_not_an_hour_short(monkeypatch: pytest.MonkeyPatch) -> None:
    second_time = 1_698_541_200.0 + 61  # 2023-10-29 01:01:01 UTC, when it was 02:01:01 in Berlin for the second time
    try:
        with monkeypatch.context() as patch:
            patch.setenv("TZ", "Europe/Berlin")
            time.tzset()
            waiting = give_back(item(status=Status.PROCESSING), second_time)
            assert waiting.not_before == "2023-10-29T02:01:01+01:00"
            assert not is_due(waiting, second_time - 1) and is_due(waiting, second_time)
    finally:
        time.tzset()


@pytest.mark.parametrize(
    ("case", "added", "not_before", "is_added_kept", "is_wait_kept"),
    [
        ("nothing odd", -100.0, 50.0, True, True),
        ("no wait", -100.0, None, True, True),
        ("a clock may be set by a minute", 60.0, 960.0, True, True),
        ("added later than that", 61.0, None, False, True),
        ("a wait longer than any of ours", 0.0, 961.0, True, False),
        ("both", 7000.0, 7000.0, False, False),
    ],
)
def test_times_that_only_a_clock_since_set_back_can_have_given_are_corrected(
    case: str, added: float, not_before: float | None, is_added_kept: bool, is_wait_kept: bool
) -> None:
    odd = item(
        added_time=local_time(NOW + added), not_before=None if not_before is None else local_time(NOW + not_before)
    )
    sane = with_sane_times(odd, NOW, longest=900.0)
    assert sane == replace(
        odd,
        added_time=odd.added_time if is_added_kept else local_time(NOW),
        not_before=odd.not_before if is_wait_kept else None,
    ), case
    assert (sane is odd) == (is_added_kept and is_wait_kept), case


def test_json_form_is_the_one_of_every_version_and_reads_back_as_it_was() -> None:
    ended = item(**WORN, status=Status.FAILED, priority=2)
    shown = to_json(ended)
    assert list(shown.items()) == [
        ("folder", "番剧A"),
        ("file_count", 3),
        ("total_size", 100),
        ("added_time", local_time(NOW)),
        ("status", "failed"),
        ("priority", 2),
        ("start_time", "2026-01-02T00:00:00"),
        ("end_time", "2026-01-03T00:00:00"),
        ("hash", "f1"),
        ("attempts", 2),
        ("runs", 4),
        ("not_before", "2026-01-04T00:00:00+08:00"),
        ("error", "1 of 3"),
        ("quarantined", [{"path": "番剧A/1.mp4", "cause": "no stream", "sha256": "abc"}]),
        ("videos_total", 3),
        ("videos_done", 2),
        ("bytes_in", 70),
        ("bytes_out", 7),
        ("note", "by hand"),
    ]
    assert from_json(shown) == ended
    assert [status.value for status in Status] == ["pending", "processing", "completed", "failed"]
    assert CANCELLED == "cancelled"


def test_times_are_local_and_to_the_second() -> None:
    assert local_time(NOW + 0.9) == datetime.fromtimestamp(NOW).isoformat()


@pytest.mark.parametrize(
    ("entry", "others"),
    [
        ({}, {}),
        ({"status": "failed", "error": None, "start_time": None}, {"status": Status.FAILED}),
        ({"file_count": 11, "total_size": 1}, {"file_count": 11, "total_size": 1, "priority": 2}),
        ({"total_size": 20 * GIB + 1}, {"total_size": 20 * GIB + 1, "priority": 3}),
        ({"file_count": 11, "priority": 3}, {"file_count": 11, "priority": 3}),
        ({"hash": "f1", "added_time": "2026-01-01T00:00:00"}, {"hash": "f1", "added_time": "2026-01-01T00:00:00"}),
        ({"quarantined": None, "added_time": None}, {}),
        ({"quarantined": [{"path": "A/1.mp4"}]}, {"quarantined": (Quarantined("A/1.mp4", "", ""),)}),
        ({"quarantined": [{"path": 1, "cause": 2, "sha256": 3}]}, {"quarantined": (Quarantined("1", "2", "3"),)}),
        ({"note": 1, "extra": 2}, {"extra": {"note": 1, "extra": 2}}),
    ],
)
def test_entry_with_a_folder_alone_is_enough_and_the_rest_is_filled_in(
    entry: dict[str, Any], others: dict[str, Any]
) -> None:
    plain = QueueItem(folder="A", hash="", file_count=0, total_size=0, added_time=local_time(0), priority=1)
    assert (plain.videos_total, Quarantined("A/1.mp4", "x").sha256) == (0, "")
    assert from_json({"folder": "A", **entry}) == replace(plain, **others)


WRONG: dict[str, tuple[object, ...]] = {
    "folder": ("", 5, None, "A\ud800", "\udfff"),
    "hash": (None, 5),
    "status": ("sleeping", None, 1, []),
    "error": (5, ["x"]),
    "quarantined": ([1], 5, [{"cause": "no path"}], ["x"]),
    **dict.fromkeys(NUMBERS, ("3", "many", -1, True, 1.5, None)),
    **dict.fromkeys(TIMES, ("yesterday", 5, "", "0001-01-01T00:00:00")),
}


@pytest.mark.parametrize("field", WRONG)
def test_entry_with_a_value_that_makes_no_sense_is_corrupt(field: str) -> None:
    for value in WRONG[field]:
        with pytest.raises(CorruptState, match="folder"):
            from_json({"folder": "A", field: value})


@pytest.mark.parametrize("entry", [[], None, "A", 5, {}, {"status": "pending"}])
def test_entry_that_is_no_object_or_has_no_folder_is_corrupt(entry: object) -> None:
    with pytest.raises(CorruptState):
        from_json(entry)


@pytest.mark.parametrize("folder", ["A\ud7ff", "A\ue000", "A\U0001f600"])
def test_folder_of_any_whole_characters_is_understood(folder: str) -> None:
    assert from_json({"folder": folder}).folder == folder
