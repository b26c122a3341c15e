"""Which items of the queue are in work here: claims the next one, moves those that are, sets right what got lost."""

import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from tools.core.errors import CorruptState, PipelineError, StateError, Unexpected
from tools.core.queue_item import (
    QueueItem,
    Status,
    claim,
    give_back,
    is_due,
    local_time,
    rank,
    settle,
    with_sane_times,
)
from tools.core.retry import next_attempt
from tools.processor.batch import tried
from tools.processor.reporting import ItemRequeued, ItemSettled, Observer, TimesCorrected
from tools.runtime.clock import Clock
from tools.state.work_queue import QueueView, WorkQueue

log = logging.getLogger("animation.processor")
Change = Callable[[QueueItem], QueueItem]


class Claims:
    """The items that are ``processing`` for this processor.

    There is one processor per queue, so an item that is ``processing`` and not held here is an orphan: an earlier run
    ended, or a full disk kept its end from being written. It is requeued before the next claim.
    """

    def __init__(
        self, queue: WorkQueue, clock: Clock, observer: Observer, *, aging_hours: float, longest_wait: float
    ) -> None:
        """``longest_wait`` s: an item that is not due for longer got its time from a clock that was wrong."""
        self._queue = queue
        self._clock = clock
        self._observer = observer
        self._aging_hours = aging_hours
        self._longest_wait = longest_wait
        self._held: dict[str, None] = {}  # folders, first claimed first
        self.any_failed = False  # of those that failed here, before they were claimed
        self._unexpected: Counter[str] = Counter()  # by folder: errors of ours, since it was settled last

    @property
    def log_dir(self) -> Path:
        """The folder of the queue file."""
        return self._queue.path.parent

    def recover(self) -> list[str]:
        """Requeue the orphans; returns the folders of all items that are not settled."""
        with self._queue.transaction() as view:
            self._set_right(view)
            return [item.folder for item in view.live()]

    def keeping(self) -> list[str]:
        """The folders of settled items with results that the hub did not take and ``--retry`` will send."""
        try:
            return self._queue.read().keeping()
        except StateError:
            return []

    def next(self) -> QueueItem | None:
        """Claim the first item that is due; None if there is none."""
        wall = self._clock.time()

        try:
            if not any(self._concerns(item, wall) for item in self._queue.read().live()):
                return None
        except CorruptState:
            pass  # the transaction sets it right, or says that it can't
        claimed = None
        with self._queue.transaction() as view:
            self._set_right(view)
            places = {}
            for item in view.live():
                with self._judging(view, item):
                    if is_due(item, wall) and item.folder not in self._held:
                        places[item.folder] = rank(item, wall, self._aging_hours)
            first = view.get(min(places, key=places.__getitem__)) if places else None
            if first is not None:
                with self._judging(view, first):
                    claimed = claim(first, wall)
                    view.put(claimed)
        if claimed is not None:
            self._held[claimed.folder] = None
        return claimed

    def _concerns(self, item: QueueItem, wall: float) -> bool:
        """Whether there may be something to do for an item, which ``next`` finds out."""
        try:
            return self._is_orphan(item) or (is_due(item, wall) and item.folder not in self._held)
        except Exception:
            return True

    @contextlib.contextmanager
    def _judging(self, view: QueueView, item: QueueItem) -> Iterator[None]:
        """What is unexpected about an item ends that one, and keeps no other back. The same would come of a second try:
        nothing is asked but the item itself."""
        try:
            yield
        except PipelineError:
            raise
        except Exception as exc:
            log.exception("unexpected error about an item of the queue, which has failed: folder=%s", item.folder)
            now = local_time(self._clock.time())
            failed = replace(item, status=Status.FAILED, end_time=now, error=str(Unexpected.of(exc)))
            view.put(failed)
            self.any_failed = True
            self._observer.observe(ItemSettled(item.folder, failed.status, item.videos_done, len(item.quarantined)))

    def change(self, folder: str, change: Change) -> QueueItem | None:
        """Write a change of a claimed item; None if it is not ours any more (cancelled, or edited away)."""
        with self._queue.transaction() as view:
            item = view.get(folder)
            if item is None or item.status is not Status.PROCESSING:
                return None
            new = change(item)
            if new != item:
                view.put(new)
            return new

    def release(self, folder: str, change: Change | None = None) -> QueueItem | None:
        """It is not in work here any more, whether or not the ``change`` that says so can be written."""
        self._held.pop(folder, None)
        item = None if change is None else self.change(folder, change)
        if item is not None and item.status in {Status.COMPLETED, Status.FAILED}:
            self._unexpected.pop(folder, None)
        return item

    def unexpected(self, folder: str, cause: str, max_attempts: int, interval: float) -> QueueItem | None:
        """An unexpected error ended the work at an item: it waits before it is claimed again, ``interval`` s
        and longer; after so many attempts it has failed. Returns it as it is now; None if it is not ours any more."""
        self._unexpected[folder] += 1
        now = self._clock.time()
        wait = next_attempt(self._unexpected[folder], max_attempts, interval)
        if wait is not None:
            return self.release(folder, lambda item: give_back(item, now + wait, cause))
        return self.release(folder, lambda item: settle(item, now, item.quarantined, tried(cause, max_attempts)))

    def give_all_back(self) -> int:
        """At the end of the program: what is claimed is pending again; returns how many. Raises PipelineError."""
        for folder in self._held:
            self.change(folder, give_back)
        return len(self._held)

    def taken_away(self) -> list[str]:
        """The held folders that a person cancelled or edited away meanwhile."""
        if not self._held:
            return []
        try:
            view = self._queue.read()
        except StateError:
            return []  # the next transaction deals with it
        found = ((folder, view.get(folder)) for folder in self._held)
        return [folder for folder, item in found if item is None or item.status is not Status.PROCESSING]

    def is_all_settled(self) -> bool:
        """Whether nothing in the queue is in work, or pending and not held."""
        try:
            return all(item.held for item in self._queue.read().live())
        except StateError:
            return False  # the next transaction deals with it

    def _set_right(self, view: QueueView) -> None:
        """What no step of ours would leave: orphans, and times that a jump of the clock made senseless."""
        wall = self._clock.time()
        for item in view.live():
            if item.status is not Status.PROCESSING or self._is_orphan(item):
                with self._judging(view, item):
                    self._set_one_right(view, item, wall)

    def _set_one_right(self, view: QueueView, item: QueueItem, wall: float) -> None:
        if item.status is Status.PROCESSING:
            item = give_back(item)
            view.put(item)
            self._observer.observe(ItemRequeued(item.folder))
        if (corrected := with_sane_times(item, wall, self._longest_wait)) is not item:
            view.put(corrected)
            self._observer.observe(TimesCorrected(item.folder))

    def _is_orphan(self, item: QueueItem) -> bool:
        return item.status is Status.PROCESSING and item.folder not in self._held
