"""What people are told of by message, and when: much that happens at once, or in a bad night, is one message.

Bookkeeping without a clock; times are s of one that only goes forward.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum

_MOST = 1000  # news that wait; of more the oldest go


class Kind(Enum):
    """The values are what ``NOTIFY_EVENTS`` takes."""

    COMPLETED = "completed"  # a folder
    FAILED = "failed"  # a folder, wholly or in part
    PAUSED = "paused"  # by the hub, the token, the disk
    RECOVERED = "recovered"  # what was told as paused or stalled
    STALLED = "stalled"  # a program
    EMPTY = "empty"  # the queue
    MIRROR = "mirror"  # by MIRROR=1 something was taken out of the output, or waits for a person


_TROUBLE = frozenset({Kind.FAILED, Kind.PAUSED, Kind.STALLED, Kind.MIRROR})


@dataclass(frozen=True, slots=True)
class News:
    kind: Kind
    text: str  # one line, for people
    about: str = ""  # what is paused or stalled, and recovers


class NewsDesk:
    """Gathers news until a message is due.

    A message waits ``gather`` s for what else happens, and ``interval`` s after the one before. Troubles need not wait
    after a message that held none.
    """

    def __init__(self, wanted: Collection[str], gather: float, interval: float) -> None:
        """``wanted``: values of the kinds that are told."""
        self._wanted = frozenset(wanted)
        self._gather, self._interval = gather, interval
        self._waiting: list[tuple[float, News]] = []  # with when it came
        self._told: set[str] = set()  # what was told as paused or stalled, and has not recovered
        self._latest = self._latest_trouble = float("-inf")  # when the last message went
        self._not_before = float("-inf")

    def add(self, news: News, now: float) -> None:
        """It has happened. What recovers before anybody was told of it is told to nobody."""
        if news.kind is Kind.RECOVERED:
            self._waiting = [one for one in self._waiting if not (news.about and one[1].about == news.about)]
            if news.about not in self._told:
                return
            self._told.discard(news.about)
        if news.kind.value in self._wanted:
            self._waiting = [*self._waiting, (now, news)][-_MOST:]

    def due(self) -> float | None:
        """When the next message is to be sent; None if there is nothing to tell."""
        times = [
            max(came + self._gather, (self._latest_trouble if one.kind in _TROUBLE else self._latest) + self._interval)
            for came, one in self._waiting
        ]
        return max(min(times), self._not_before) if times else None

    def take(self, now: float) -> list[News]:
        """All that waits, for a message that is sent now."""
        taken, self._waiting = [one for _, one in self._waiting], []
        self._told.update(one.about for one in taken if one.about and one.kind is not Kind.RECOVERED)
        self._latest = now
        if any(one.kind in _TROUBLE for one in taken):
            self._latest_trouble = now
        return taken

    def put_back(self, news: list[News], until: float) -> None:
        """Nobody could be told of it: it waits again, ``until`` then at least."""
        self._waiting = [*((until, one) for one in news), *self._waiting][-_MOST:]
        self._not_before = until
