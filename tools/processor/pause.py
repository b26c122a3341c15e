"""When nothing new is begun, and why: the hub, the token or the machine can't for now. Told once, over by itself.

A failed transfer or commit does not say whose fault it is. So the hub is asked at once who we are (``connect``). If it
refuses, everything pauses. If it answers, one video, batch or folder is to blame, provided that the hub did the same
for others since that one began to fail; when a few have failed and nothing worked, everything pauses as well. Only
what is to blame counts a failure: an outage uses up nobody's attempts.
"""

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from tools.core.errors import HubForbidden, HubUnavailable, PipelineError
from tools.runtime.clock import Clock

log = logging.getLogger("animation.processor")
_AT_MOST = 300.0  # s between two tries while paused
_ENOUGH, _ENOUGH_OF_ONE = 3, 2  # failures in a row, of one video, before it is the hub as a whole
_CONNECT, _MACHINE = "connect", "machine"


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """Something that the hub did not do. ``kind`` transfer | publish | open, ``about`` what; ``blame`` is called when
    it turns out to be the fault of that alone, which ``is_certain`` where the hub answers at all; ``retry_after`` s as
    the hub asked."""

    kind: str
    about: str
    cause: str
    needs_person: bool
    blame: Callable[[], None]
    is_certain: bool = False
    retry_after: float | None = None


class Pause:
    """The state of it. Begins paused, until the first ``connect`` succeeds. ``interval`` s between the first tries."""

    def __init__(self, interval: float, clock: Clock) -> None:
        self._interval = interval
        self._clock = clock
        self.reason: str | None = "starting"
        self.needs_person = False
        self._told: set[tuple[str, str]] = set()
        self._suspects: list[tuple[Suspect, bool]] = []  # with whether it is to blame if the hub answers
        self._worked: Counter[str] = Counter()
        self._failing_since: dict[tuple[str, str], int] = {}
        self._in_a_row: dict[str, Counter[str]] = {}
        self._rounds = 0
        self._next_try = 0.0
        self._is_asking = False

    def suspect(self, suspect: Suspect) -> None:
        """Begin nothing until it is known whose fault this is. What fails during a pause is of the same trouble."""
        if self.reason is None:
            self.reason, self._next_try = suspect.cause, self._clock.monotonic()
            self._suspects = []
        elif not self._suspects:
            return
        self._suspects.append((suspect, suspect.is_certain or self._is_to_blame(suspect)))
        if suspect.retry_after:
            self._next_try = max(self._next_try, self._clock.monotonic() + suspect.retry_after)

    def machine(self, cause: str) -> None:
        """This machine can't: no encoder, no folder to work in."""
        self._begin(_MACHINE, cause, cause, needs_person=True)

    def worked(self, kind: str, about: str) -> None:
        """The hub did this: what it failed to do before of this kind is over."""
        self._worked[kind] += 1
        self._failing_since.pop((kind, about), None)
        self._in_a_row.pop(kind, None)
        over = {told for told in self._told if told[0] in ({kind, _MACHINE} if kind == "transfer" else {kind})}
        if over:
            self._told -= over
            self._rounds = 0
            log.info("goes on")

    def must_ask(self) -> bool:
        """Whether ``connect`` is to be tried now; its end comes as ``asked``."""
        if self.reason is None or self._is_asking or self._clock.monotonic() < self._next_try:
            return False
        self._is_asking = True
        return True

    def give_up_asking(self) -> None:
        """The program ends."""
        self._is_asking = False

    def asked(self, error: PipelineError | None) -> None:
        """How ``connect`` ended."""
        self._is_asking = False
        suspects, self._suspects = self._suspects, []
        if error is not None:
            person = not isinstance(error, HubUnavailable)
            # What the hub says may change from one time to the next; for the reader it is the same trouble.
            key = type(error).__name__ if isinstance(error, HubUnavailable | HubForbidden) else str(error)
            self._begin(_CONNECT, key, str(error), needs_person=person)
            return
        if any(told[0] == _CONNECT for told in self._told):
            self._told = {told for told in self._told if told[0] != _CONNECT}
            log.info("goes on")
        self.reason, self.needs_person = None, False
        for suspect, is_to_blame in suspects:
            if is_to_blame:
                suspect.blame()
            elif self._is_enough(suspect):
                self._begin(suspect.kind, suspect.kind, suspect.cause, needs_person=suspect.needs_person)
        if self.reason is None and not self._told:
            self._rounds = 0

    def _is_to_blame(self, suspect: Suspect) -> bool:
        since = self._failing_since.setdefault((suspect.kind, suspect.about), self._worked[suspect.kind])
        return self._worked[suspect.kind] > since

    def _is_enough(self, suspect: Suspect) -> bool:
        failed = self._in_a_row.setdefault(suspect.kind, Counter())
        failed[suspect.about] += 1
        return failed.total() >= _ENOUGH or failed[suspect.about] >= _ENOUGH_OF_ONE

    def _begin(self, kind: str, key: str, cause: str, *, needs_person: bool) -> None:
        if (kind, key) not in self._told:
            self._told.add((kind, key))
            level = logging.ERROR if needs_person else logging.WARNING
            log.log(level, "paused, goes on by itself when this is over: %s", cause)
        self.reason = cause
        self.needs_person = needs_person
        self._next_try = self._clock.monotonic() + min(_AT_MOST, self._interval * 2 ** min(self._rounds, 16))
        self._rounds += 1
