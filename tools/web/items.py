"""The folders of the queue that a page shows: found, filtered and sorted. Values in, values out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tools.core.queue_item import QueueItem, Status, counted_as, rank

MOST = 200  # rows in one answer
HELD = "held"


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What a person asks for. A ``status`` is a word of ``word_of``; "" all of them."""

    text: str = ""
    status: str = ""
    sort: str = "queue"
    reverse: bool = False
    offset: int = 0
    limit: int = 50

    @classmethod
    def of(cls, given: Mapping[str, str]) -> "Query":
        """Out of an address; what makes no sense is as if it were not there."""
        return cls(
            text=given.get("text", "")[:500],
            status=given.get("status", ""),
            sort=given.get("sort", "queue") if given.get("sort") in _KEYS else "queue",
            reverse=given.get("reverse") == "1",
            offset=_whole(given.get("offset"), 0, 10**9),
            limit=_whole(given.get("limit"), 50, MOST),
        )


def word_of(item: QueueItem) -> str:
    """Under which it is shown: its status, ``cancelled`` or ``held``."""
    return HELD if item.held and item.status is Status.PENDING else counted_as(item)


def selected(items: Sequence[QueueItem], query: Query, now: float, aging_hours: float) -> list[QueueItem]:
    """All that match, in order; ``offset`` and ``limit`` are left to the caller."""
    wanted = query.text.casefold()
    found = [
        item
        for item in items
        if (not query.status or word_of(item) == query.status) and (not wanted or wanted in item.folder.casefold())
    ]
    if query.sort == "queue":
        return _in_queue_order(found, now, aging_hours, query.reverse)
    found.sort(key=lambda item: item.folder)
    found.sort(key=_KEYS[query.sort], reverse=query.reverse)
    return found


def _in_queue_order(items: list[QueueItem], now: float, aging_hours: float, reverse: bool) -> list[QueueItem]:
    """What is in work, what waits as it will be claimed, what is held, what is over: the latest first."""
    running = [item for item in items if item.status is Status.PROCESSING]
    waiting = [item for item in items if item.status is Status.PENDING]
    over = [item for item in items if item.status not in {Status.PROCESSING, Status.PENDING}]
    running.sort(key=lambda item: item.start_time or "")
    waiting.sort(key=lambda item: (item.held, rank(item, now, aging_hours)))
    over.sort(key=lambda item: item.end_time or "", reverse=True)
    found = [*running, *waiting, *over]
    return found[::-1] if reverse else found


def epoch_of(text: str | None) -> float | None:
    """A time of the queue as epoch s."""
    return None if text is None else datetime.fromisoformat(text).timestamp()


_ORDER = ("processing", "failed", "pending", HELD, "cancelled", "completed")


def _saved(item: QueueItem) -> int:
    return item.bytes_in - item.bytes_out


_KEYS: Mapping[str, Callable[[QueueItem], Any]] = {
    "queue": _saved,  # never asked
    "folder": lambda item: item.folder,
    "status": lambda item: _ORDER.index(word_of(item)),
    "videos": lambda item: item.videos_total,
    "size": lambda item: item.total_size,
    "saved": _saved,
    "time": lambda item: item.end_time or item.start_time or item.added_time,
}


def _whole(text: str | None, default: int, most: int) -> int:
    return (
        min(most, int(text)) if text is not None and text.isascii() and text.isdigit() and len(text) < 12 else default
    )
