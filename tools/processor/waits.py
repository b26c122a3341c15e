"""What the hub asked to be left alone with, and until when; everything else goes on meanwhile.

A 429 (or a 503 with ``Retry-After``) at one commit says that this one is to wait, not that the hub is down: other
folders are opened, other batches tried. If the hub asks the same for two of a kind, the kind as a whole waits until
the first of them may be tried again, so that a hub that has enough is asked twice per wait and not once per video.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Literal

from tools.core.queue_item import local_time
from tools.core.retry import LONGEST, AskedToWait
from tools.processor.reporting import HubWait, Observer
from tools.runtime.clock import Clock
from tools.state.progress import HubWork

Kind = Literal["open", "publish", "download", "upload"]
_ENOUGH = 2  # that wait of a kind, before all of the kind does


@dataclass(frozen=True, slots=True)
class _Wait:
    cause: str
    until: float  # monotonic s


class Waits:
    """Until when the hub wants what to wait. Nothing sleeps here: the engine asks ``held`` and keeps its own times."""

    def __init__(self, clock: Clock, observer: Observer) -> None:
        self._clock = clock
        self._observer = observer
        self._waits: dict[tuple[Kind, str], _Wait] = {}

    def asked(self, kind: Kind, about: str, cause: str, asked: AskedToWait | None) -> tuple[float, bool]:
        """Note what the hub asked; returns until when ``about`` is to wait (monotonic s; 0 if it asked nothing), and
        whether that is all there is to it. It is not if such a wait was kept before, and it is not for the number of
        requests: then something else may be wrong."""
        if asked is None:
            return 0.0, False
        is_known = (kind, about) in self._waits
        until = self._clock.monotonic() + asked.seconds
        self._waits[kind, about] = _Wait(cause, until)
        if not is_known:
            when = local_time(self._clock.time() + asked.seconds)
            self._observer.observe(HubWait(kind, about, cause, when))
        return until, asked.is_of_account or not is_known

    def worked(self, kind: Kind, about: str) -> None:
        """The hub did this."""
        self._waits.pop((kind, about), None)

    def held(self) -> frozenset[Kind]:
        """The kinds of which nothing is to be begun now."""
        counts = Counter(kind for kind, _ in self._current())
        return frozenset(kind for kind, count in counts.items() if count >= _ENOUGH)

    def _current(self) -> dict[tuple[Kind, str], _Wait]:
        now = self._clock.monotonic()
        # What was over for long is forgotten: of a video that was quarantined or cancelled meanwhile.
        self._waits = {key: wait for key, wait in self._waits.items() if wait.until > now - LONGEST}
        return {key: wait for key, wait in self._waits.items() if wait.until > now}

    def shown(self) -> list[HubWork]:
        """What waits, for people."""
        ahead = self._clock.time() - self._clock.monotonic()
        return [
            HubWork(kind=kind, about=about, state="waiting", until=wait.until + ahead, cause=wait.cause)
            for (kind, about), wait in self._current().items()
        ]

    @property
    def reason(self) -> str | None:
        """What waits and until when, in one line; None if nothing does."""
        shown = sorted(self.shown(), key=lambda one: one.until or 0.0)
        if not shown:
            return None
        first = shown[0]
        more = f" and {len(shown) - 1} more" if len(shown) > 1 else ""
        return f"{first.kind} of {first.about}{more} waits until {local_time(first.until or 0.0)}: {first.cause}"
