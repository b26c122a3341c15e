"""Which items are in work: claimed in their order, never twice, and none lost whatever else writes the queue."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes import FakeClock, Told
from tools.core.errors import DiskFull
from tools.core.folder import Folder
from tools.core.queue_item import QueueItem, Status, cancel, claim, give_back, new_item, settle
from tools.processor import claims
from tools.processor.claims import Claims
from tools.processor.reporting import ItemRequeued, ItemSettled, TimesCorrected
from tools.state.work_queue import WorkQueue

LONGEST_WAIT = 600.0  # s


class Site:
    """A queue with its claims."""

    def __init__(self, top: Path) -> None:
        self.clock = FakeClock()
        self.told = Told()
        self.queue = WorkQueue(top)
        self.claims = self.restarted()

    def restarted(self) -> Claims:
        return Claims(self.queue, self.clock, self.told, aging_hours=24, longest_wait=LONGEST_WAIT)

    def put(self, *folders: str) -> None:
        with self.queue.transaction() as view:
            for name in folders:
                view.put(new_item(Folder(name, "f" * 64, 1, 1, 1, None, False), self.clock.time()))

    def edit(self, item: QueueItem) -> None:
        with self.queue.transaction() as view:
            view.put(item)

    def item(self, folder: str) -> QueueItem:
        found = self.queue.read().get(folder)
        assert found is not None
        return found

    def next(self) -> str | None:
        item = self.claims.next()
        return item.folder if item else None


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_items_are_claimed_one_by_one_each_once(site: Site) -> None:
    site.put("A", "B")
    assert [site.next(), site.next(), site.next()] == ["A", "B", None]
    assert {site.item(name).status for name in "AB"} == {Status.PROCESSING}
    assert site.item("A").attempts == 1 and not site.claims.is_all_settled()


def test_orphans_of_an_earlier_run_are_requeued_and_what_is_held_is_not(site: Site) -> None:
    site.put("A", "B")
    assert site.next() == "A"
    site.edit(claim(site.item("B"), site.clock.time()))  # nobody here works at it
    assert site.next() == "B" and site.told.events == [ItemRequeued("B")]
    again = site.restarted()
    assert again.recover() == ["A", "B"]
    assert site.told.events[1:] == [ItemRequeued("A"), ItemRequeued("B")]
    assert site.item("A").status is Status.PENDING


def test_times_of_a_clock_that_was_wrong_are_corrected_before_the_next_claim(site: Site) -> None:
    site.put("A", "B")
    assert site.next() == "A"
    site.claims.release("A", lambda item: give_back(item, site.clock.time() + 10 * 86400, "later"))
    assert site.next() == "A" and site.told.events == [TimesCorrected("A")]


def test_release_that_can_not_be_written_leaves_an_orphan_for_the_next_claim(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.put("A")
    assert site.next() == "A"
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        with pytest.raises(DiskFull):
            site.claims.release("A", lambda item: settle(item, site.clock.time()))
    assert site.item("A").status is Status.PROCESSING
    assert site.next() == "A" and site.told.events == [ItemRequeued("A")]


def refuse(descriptor: int) -> None:
    raise OSError(28, "No space left on device")


def test_what_a_person_took_away_is_noticed_and_not_changed(site: Site) -> None:
    site.put("A", "B")
    assert [site.next(), site.next()] == ["A", "B"] and site.claims.taken_away() == []
    site.edit(cancel(site.item("A"), site.clock.time()))
    assert site.claims.taken_away() == ["A"]
    assert site.claims.change("A", give_back) is None and site.item("A").error == "cancelled"
    site.claims.release("A")
    assert site.claims.taken_away() == [] and site.claims.give_all_back() == 1
    assert site.item("B").status is Status.PENDING


def test_item_that_is_queued_again_while_its_jobs_still_stop_is_not_claimed_before_its_release(site: Site) -> None:
    site.put("A")
    assert site.next() == "A"
    site.edit(give_back(site.item("A")))  # by hand
    assert site.next() is None
    site.claims.release("A")
    assert site.next() == "A"


def test_damaged_queue_is_neither_all_settled_nor_a_reason_to_stop(site: Site) -> None:
    site.put("A")
    assert site.next() == "A"
    site.queue.path.write_text("{", encoding="utf-8")
    assert not site.claims.is_all_settled() and site.claims.taken_away() == []


@pytest.mark.parametrize("name", ["is_due", "rank", "claim", "with_sane_times", "give_back"])
@pytest.mark.parametrize("status", [Status.PENDING, Status.PROCESSING])
def test_item_that_raises_what_nobody_foresaw_has_failed_and_keeps_no_other_back(
    site: Site, name: str, status: Status, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    site.put("A", "B")
    site.edit(replace(site.item("A"), status=status))
    real = getattr(claims, name)

    def broken(item: QueueItem, *args: object) -> object:
        if item.folder == "A" and item.status in {status, Status.PENDING}:
            raise OverflowError("a value that nobody foresaw")
        return real(item, *args)

    monkeypatch.setattr(claims, name, broken)
    asked = [site.next(), site.next(), site.next()]
    if name == "give_back" and status is Status.PENDING:
        assert asked == ["A", "B", None]  # of which it is not asked
        return
    assert [one for one in asked if one] == ["B"] and site.claims.any_failed
    item = site.item("A")
    assert item.status is Status.FAILED and item.end_time is not None
    assert item.error == "unexpected OverflowError: a value that nobody foresaw"
    assert [event.folder for event in site.told.events if isinstance(event, ItemSettled)] == ["A"]
    assert len([record for record in caplog.records if record.exc_info]) == 1
