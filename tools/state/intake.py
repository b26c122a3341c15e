"""What a poll changes in the queue: folders that became stable enter it, items that nothing is left of leave it.

Keeps what was judged, so that the next poll judges only what can have changed since.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import NamedTuple

from tools.core.errors import CorruptState
from tools.core.folder import Folder, is_replaced
from tools.core.queue_item import QueueItem, Status, entry_for, is_as_queued
from tools.core.stability import Snapshot, is_stable
from tools.state.monitor_state import MonitorState
from tools.state.orders import OrdersFile
from tools.state.work_queue import QueueView, WorkQueue


class Changes(NamedTuple):
    """What ``Intake.update`` did, for those who tell it."""

    queued: list[QueueItem]
    removed: list[str]  # folders whose items left the queue
    kept_out: list[Folder]  # quiet, but hold no video, or a half-uploaded file; not told before


@dataclass(frozen=True, slots=True)
class _Judged:
    folders: dict[str, Snapshot]
    queue: QueueView  # holds each stable one of ``folders``, unless it is settled
    waiting: list[Snapshot]  # the rest of ``folders``

    def is_of(self, folders: dict[str, Snapshot], queue: QueueView | None) -> bool:
        """Whether of these very objects: a listing, or another program's write, makes new ones."""
        return folders is self.folders and queue is self.queue


class Intake:
    """Brings the queue in line with what the monitor sees."""

    def __init__(self, queue: WorkQueue) -> None:
        self._queue = queue
        self._orders = OrdersFile(queue.path.parent)
        self._judged: _Judged | None = None

    @property
    def waiting(self) -> list[Snapshot]:
        """The folders that were not stable at the last update."""
        return self._judged.waiting if self._judged else []

    @property
    def pending(self) -> int:
        """Items that waited after the last update."""
        return self._judged.queue.counts()[Status.PENDING.value] if self._judged else 0

    def update(self, state: MonitorState, now: float, asked: float, min_age: float) -> Changes:
        """Queue what is stable at steady s ``asked`` for ``min_age`` s; ``now`` epoch s. Notes in ``state`` what is
        settled, and what was told. Raises StateError."""
        known: QueueView | None
        try:
            known = self._queue.read()
        except CorruptState:
            known = None  # the transaction restores it
        # If neither folders nor queue are new, only those that waited at the last poll can have become ready.
        as_before = self._judged if self._judged and self._judged.is_of(state.folders, known) else None
        over: list[str] = []
        if known is not None and as_before is None:
            _note_settled(state, known.items())
            forgotten = self._orders.read().forgotten
            state.settled.update({name: value for name, value in forgotten.items() if name in state.folders})
            over = [item.folder for item in known.items() if _is_over(item, state)]
        ready, waiting, half = [], [], []
        for snapshot in as_before.waiting if as_before else state.folders.values():
            if not is_stable(snapshot, asked, min_age):
                waiting.append(snapshot)
            elif snapshot.folder.partial:
                half.append(snapshot.folder)
                waiting.append(snapshot)
            else:
                ready.append(snapshot.folder)
        queued: list[QueueItem] = []
        if known is None or over or next(chain(_missing(known, state, ready, now), _unmarked(known, ready)), None):
            with self._queue.transaction() as known:
                for entry in [*_missing(known, state, ready, now)]:
                    known.put(entry)
                    queued.append(entry)
                for entry in [*_unmarked(known, ready)]:
                    known.put(entry)
                over = [name for name in over if (item := known.get(name)) and _is_over(item, state)]
                for name in over:
                    known.remove(name)
        self._judged = _Judged(state.folders, known, waiting)
        kept_out = [*half, *(folder for folder in ready if not folder.video_count)]
        news = [folder for folder in kept_out if state.told.get(folder.name) != folder.fingerprint]
        state.told.update({folder.name: folder.fingerprint for folder in news})
        return Changes(queued, over, news)


def _missing(queue: QueueView, state: MonitorState, ready: Iterable[Folder], now: float) -> Iterator[QueueItem]:
    """What the queue should hold and does not. A settled folder that somebody removed from it stays out."""
    for folder in ready:
        item = queue.get(folder.name)
        if folder.video_count and (item or not _is_settled(state, folder)):
            entry = entry_for(item, folder, now)
            if entry is not None:
                yield entry


def _is_settled(state: MonitorState, folder: Folder) -> bool:
    """Whether the folder was settled as it is now."""
    replaced = is_replaced(state.settled_contents.get(folder.name, ""), folder.contents)
    return state.settled.get(folder.name) == folder.fingerprint and not replaced


def _unmarked(queue: QueueView, ready: Iterable[Folder]) -> Iterator[QueueItem]:
    """Items of versions that did not note contents, with those that their folders have now."""
    for folder in ready:
        item = queue.get(folder.name)
        if item is None or item.contents or not folder.contents or item.status is Status.PROCESSING:
            continue  # one in work notes them when it is done
        if is_as_queued(item, folder):
            yield replace(item, contents=folder.contents)


def _is_over(item: QueueItem, state: MonitorState) -> bool:
    """Whether the queue need not show an item any more: nothing of its folder is left that failed, or was not done."""
    if state.head is None or not (item.status is Status.FAILED or (item.status is Status.COMPLETED and not item.hash)):
        return False
    snapshot = state.folders.get(item.folder)
    return snapshot is None or not snapshot.folder.video_count


def _note_settled(state: MonitorState, items: Iterable[QueueItem]) -> None:
    for item in items:
        if (item.status is Status.COMPLETED or item.status is Status.FAILED) and item.folder in state.folders:
            state.settled[item.folder] = item.hash
            state.settled_contents[item.folder] = item.contents
