"""Hours of the week in which something may go on: are they now, and when does that change.

Judged by what the local clock shows at each moment, so on the days when it is set, hours that are skipped do not come
and those that come twice count twice.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

OUTSIDE = "outside of ACTIVE_HOURS"
"""How the reason begins for which something waits until the next hours."""
Spans = Sequence[tuple[int, int]]
"""Minutes since Monday 0:00, [begin, end); an end may lie in the next week. None at all: always."""

_WEEK = 7 * 24 * 60
_MONTH = 31 * 86400.0


def is_open(spans: Spans, when: datetime) -> bool:
    """Whether the local time ``when`` lies in one of them."""
    minute = (when.weekday() * 24 + when.hour) * 60 + when.minute
    return not spans or any(begin <= at < end for begin, end in spans for at in (minute, minute + _WEEK))


def next_change(spans: Spans, now: float, local: Callable[[float], datetime] = datetime.fromtimestamp) -> float | None:
    """When that is another than ``now``, epoch s; None if never. ``local``: epoch s → local time."""
    is_now = is_open(spans, local(now))
    # Minute by minute: no other way knows all that a government may do to a clock. 20 ms at most, once per change.
    first = int(now // 60) * 60
    for moment in range(first + 60, first + (_WEEK + 2 * 60) * 60, 60):
        if is_open(spans, local(moment)) != is_now:
            return float(moment)
    return None


class Opening:
    """When work is done that goes on only within the hours; remembers when they begin and end."""

    def __init__(self, spans: Spans, local: Callable[[float], datetime] = datetime.fromtimestamp) -> None:
        self._spans = spans
        self._local = local
        self._changes: dict[float, float | None] = {}

    def __call__(self, start: float, seconds: float) -> float:
        """Epoch s, s of work → epoch s at which it is done. Beyond a month by the share of the hours in the week."""
        now = start
        while (change := self._change_after(now)) is not None:
            if now - start > _MONTH:
                return now + seconds / self._share()
            if is_open(self._spans, self._local(now)):
                if seconds <= change - now:
                    break
                seconds -= change - now
            now = change
        return now + seconds

    def _change_after(self, now: float) -> float | None:
        minute = now // 60
        if minute not in self._changes:
            self._changes[minute] = next_change(self._spans, now, self._local)
        return self._changes[minute]

    def _share(self) -> float:
        times = sorted((begin + shift, end + shift) for begin, end in self._spans for shift in (-_WEEK, 0))
        covered, at = 0, 0
        for begin, end in times:
            covered += max(0, min(end, _WEEK) - max(begin, at))
            at = max(at, end)
        return max(1, covered) / _WEEK
