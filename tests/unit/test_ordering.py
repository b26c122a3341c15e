"""What a person orders of waiting items, and how typed names find them."""

from dataclasses import replace

import pytest

from tools.core.errors import IllegalTransition, StateError
from tools.core.folder import Folder
from tools.core.ordering import add_now, hold, need_settled, release, with_priority
from tools.core.queue_item import QueueItem, Status, cancel, entry_for, from_json, is_due, rank, retry, to_json
from tools.core.selection import changed, select

NOW = 1_700_000_000.0
ITEM = QueueItem(folder="A", hash="f", file_count=99, total_size=9, added_time="2026-01-01T00:00:00")
GROWN = Folder("A", "g", 100, 9, 99, None, False)


def test_what_is_held_stays_held_whatever_becomes_of_it() -> None:
    held = hold(ITEM)
    assert not is_due(held, NOW * 2) and is_due(release(held), NOW * 2)
    grown = entry_for(held, GROWN, NOW)
    assert grown is not None and grown.held and retry(cancel(held, NOW)).held
    assert from_json(to_json(held)) == held and "held" not in to_json(ITEM)
    with pytest.raises(IllegalTransition):
        release(ITEM)


def test_place_that_a_person_gave_lasts_until_the_item_was_in_work() -> None:
    first = with_priority(ITEM, 0)
    assert rank(first, NOW * 2, 24)[0] == 0 < rank(replace(ITEM, priority=1), NOW * 2, 24)[0]
    grown = entry_for(first, GROWN, NOW)
    assert grown is not None and grown.priority == 0
    done = entry_for(replace(first, status=Status.COMPLETED), GROWN, NOW)
    assert done is not None and done.priority == 3


@pytest.mark.parametrize("status", list(Status))
def test_orders_that_do_not_fit_are_refused(status: Status) -> None:
    item = replace(ITEM, status=status)
    is_waiting, is_settled = status is Status.PENDING, status in {Status.COMPLETED, Status.FAILED}
    for order, fits in ((hold, is_waiting), (lambda it: with_priority(it, 1), is_waiting), (need_settled, is_settled)):
        if fits:
            order(item)
        else:
            with pytest.raises(IllegalTransition):
                order(item)


KNOWN = ["A", "A/Season 1", "B", "x[1]"]


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        (["A"], [("A", False)]),
        (["A/"], [("A", False)]),
        (["A*"], [("A", True), ("A/Season 1", True)]),
        (["?", "B"], [("A", True), ("B", False)]),
        (["x[1]"], [("x[1]", False)]),
        (["C"], None),
        (["A", "C*"], None),
        ([""], None),
    ],
)
def test_names_and_patterns(typed: list[str], found: list[tuple[str, bool]] | None) -> None:
    if found is None:
        with pytest.raises(StateError):
            select(typed, KNOWN, "the queue")
    else:
        assert select(typed, KNOWN, "the queue") == found


def test_pattern_passes_over_what_can_not_and_a_name_does_not() -> None:
    items = {"A": ITEM, "B": replace(ITEM, folder="B", status=Status.COMPLETED)}
    assert [before.folder for before, _ in changed([("A", True), ("B", True)], items, hold)] == ["A"]
    for chosen in ([("A", True), ("B", False)], [("B", True)]):
        with pytest.raises(IllegalTransition):
            changed(chosen, items, hold)


def test_folder_is_added_unless_it_is_worked_at_or_waits_as_it_is() -> None:
    now = 1_700_000_000.0
    folder = Folder("A", "f" * 64, 1, 1, 1, None, False)
    added = add_now(None, folder, now)
    assert (added.folder, added.status, added.hash) == ("A", Status.PENDING, folder.fingerprint)
    for status in (Status.PROCESSING, Status.PENDING):
        with pytest.raises(IllegalTransition, match="already"):
            add_now(replace(added, status=status), folder, now)
    changed_since = replace(added, hash="other", status=Status.PENDING)
    assert add_now(changed_since, folder, now).hash == folder.fingerprint
    assert add_now(replace(added, status=Status.COMPLETED), folder, now).status is Status.PENDING
    with pytest.raises(IllegalTransition):
        add_now(replace(changed_since, status=Status.PROCESSING), folder, now)
