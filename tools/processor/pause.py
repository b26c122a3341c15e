"""When nothing new is started, and why: the hub, the token or the machine can't for now.

Suspect → blame → pause. That a transfer, an opening or a commit failed does not say whose fault it is: of one file, or
of the hub, which may answer one question and fail all others. So

1. what failed becomes a *suspect*. Nothing new is started, and ``connect`` asks the hub at once who we are.
2. If the hub refuses or does not answer, everything *pauses*: it is the hub, or the token.
3. If it answers, the suspect gets the *blame* (its failure counts as an attempt), provided that the hub did the same
   kind of thing for others since this one began to fail. Otherwise nobody knows yet: the suspect is retried, and
   counts no attempt; but when a few of a kind failed in a row (``_ENOUGH``, or ``_ENOUGH_OF_ONE`` of one video) and
   nothing of that kind worked meanwhile, all of that kind pauses; the others go on (``stops``).
4. With nothing else to do nothing else works. So a job for a video that failed before asks for another one right
   after its failure, if not a byte of its own came (``Given``): one job between two answers of ``connect``
   (``take_turn``). If the hub gives that one, and after that still not the first one, the first one is to blame, but
   once in a while only (``_APART``): part of a hub's storage may be ill, and nothing is lost by waiting, since
   nothing else is to be done. As long as several fail so, all of them wait: a part of the hub is ill. If it gives
   neither, it is the hub. Of uploads, commits and listings, and of a download that breaks off, no small request
   tells that much: a pause of an hour for one of them (``_LONG``) is told to a person, who can do without it.
5. A pause ends by itself: ``connect`` is retried after a wait that doubles. It is *over* when the thing that failed
   works: ``connect`` for itself, a transfer for transfers, or another video that was asked for, if nothing else
   fails. Then it is said once; a pause is said once, too.

A wait that the hub asks for (``Retry-After``) is no matter of blame: see ``waits``.

It relies on: ``worked`` being called for everything that the hub did (else all would look like an outage); each
suspect being put off by its owner until then; and whatever fails during a pause being tried again after it. So an
outage uses up nobody's attempts, and one bad file keeps nobody waiting for long.
"""

import shlex
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal

from tools.core.errors import HubForbidden, HubRejected, HubUnavailable, PipelineError, Stopped
from tools.core.message import message
from tools.core.retry import asked_to_wait
from tools.core.witness import Given
from tools.processor.reporting import Observer, Paused, Resumed
from tools.runtime.clock import Clock
from tools.runtime.once import Once

_AT_MOST = 300.0  # s between two tries while paused
_ENOUGH, _ENOUGH_OF_ONE = 3, 2  # failures in a row, of one video, before it is the hub as a whole
_CONNECT, _MACHINE = "connect", "machine"
_APART = 20  # intervals from the first failure, or from one that counted, until another given video counts: see 4
_LONG = 3600.0  # s of a pause of one kind of work after which a person is told what can be done about it

Kind = Literal["transfer", "publish", "open"]
"""What the hub does for the work."""
_ALL: frozenset[Kind] = frozenset({"transfer", "publish", "open"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """Something that the hub did not do."""

    kind: Kind
    about: str  # the video, batch or folder
    cause: str
    needs_person: bool  # if it is the hub or the token after all
    blame: Callable[[], None]  # called if it is the fault of this one alone
    is_certain: bool = False  # to blame if the hub answers at all
    given: Given = Given.UNKNOWN  # if it was a download
    folder: str = ""  # that a person may cancel, to do without it


class Pause:
    """Whether the work is paused. It is at the start, until the first ``connect`` succeeds."""

    def __init__(self, interval: float, clock: Clock, observer: Observer) -> None:
        """``interval`` s between the first tries."""
        self._interval = interval
        self._clock = clock
        self._observer = observer
        self.reason: str | None = "starting"
        self.needs_person = False
        self._stops: frozenset[Kind] = _ALL
        self._said = Once()  # by kind
        # Whether it is to blame if the hub answers, and how much of its kind had worked by then.
        self._suspects: list[tuple[Suspect, bool, int]] = []
        self._given = 0  # other videos, asked for by those that failed
        # By video of which not a byte came: other videos given by the latest try; monotonic s from which those count.
        self._silent_since: dict[str, int] = {}
        self._counts_from: dict[str, float] = {}
        self._is_turn_taken = False
        self._paused_since: dict[str, float] = {}  # by kind: monotonic s at which it was told
        self._worked: Counter[str] = Counter()  # things done, by kind
        self._failing_since: dict[tuple[str, str], int] = {}  # kind and about → things done of the kind by then
        self._in_a_row: dict[str, Counter[str]] = {}  # by kind: failures by about, since something worked
        self._rounds = 0
        self._next_try = 0.0
        self._is_asking = False

    def suspect(self, suspect: Suspect) -> None:
        """Start nothing until it is known whose fault this is."""
        if self.reason is None:
            self.reason, self._next_try = suspect.cause, self._clock.monotonic()
            self._suspects, self._stops = [], _ALL
        elif not self._suspects:
            return  # nobody is asking now: it is tried again after the pause, and judged then
        is_to_blame = suspect.is_certain or self._is_to_blame(suspect)
        self._given += suspect.given is Given.OTHERS
        self._suspects.append((suspect, is_to_blame, self._worked[suspect.kind]))

    @property
    def silent(self) -> Collection[str]:
        """The videos of which not a byte came, and which are no evidence for each other."""
        return self._silent_since.keys()

    def not_given(self, video: str, given: Given) -> None:
        """Not a byte of this video came to whoever asked, if ``given`` says so."""
        if given is not Given.UNKNOWN:
            self._silent_since.setdefault(video, self._given)
            self._counts_from.setdefault(video, self._clock.monotonic() + _APART * self._interval)

    def given_up(self, video: str) -> None:
        """Nothing more is tried with this video: if it is, one day, what was seen of it does not count any more."""
        self._failing_since.pop(("transfer", video), None)
        self._spoke(video)
        self._leaves_row(video)

    def take_turn(self, video: str) -> bool:
        """Whether a job for it is to ask for another video if its own is not given: then no other job is, until the
        hub was asked again."""
        may_ask = video in self._silent_since and not self._is_turn_taken
        self._is_turn_taken |= may_ask
        return may_ask

    def give_turn_back(self) -> None:
        """That job had no need to ask."""
        self._is_turn_taken = False

    def may_explain(
        self, kind: Kind, about: str, exc: PipelineError, blame: Callable[[], None], folder: str = ""
    ) -> bool:
        """Whether it may not be the fault of ``about`` that the hub did not do this; then that becomes a suspect."""
        if not isinstance(exc, HubUnavailable | HubRejected):
            return isinstance(exc, Stopped)
        self.suspect(
            Suspect(
                kind=kind,
                about=about,
                cause=_cause(kind, exc),
                needs_person=not isinstance(exc, HubUnavailable),
                blame=blame,
                folder=folder,
            )
        )
        return True

    def split(self, kind: Kind, about: str, into: str) -> None:
        """A part of what is about ``about`` is tried by itself from now on: what speaks of the whole speaks of it."""
        if (since := self._failing_since.get((kind, about))) is not None:
            self._failing_since[kind, into] = since

    def machine(self, cause: str) -> None:
        """This machine can't: no encoder, no folder to work in."""
        self._begin(_MACHINE, cause, cause, needs_person=True)

    def full(self, kind: Kind, cause: str) -> None:
        """The hub takes nothing more until a person makes room; nothing that was to be sent is to blame."""
        self._begin(kind, "full", cause, needs_person=True)

    def worked(self, kind: Kind, about: str) -> None:
        """The hub did this: what it failed to do before of this kind is over."""
        self._worked[kind] += 1
        self._failing_since.pop((kind, about), None)
        self._spoke(about)
        self._in_a_row.pop(kind, None)
        self._is_over(kind, *([_MACHINE] if kind == "transfer" else []))

    def stops(self, kind: Kind) -> bool:
        """Whether nothing of this kind is to be begun now."""
        return self.reason is not None and kind in self._stops

    @property
    def next_try(self) -> float | None:
        """Monotonic s at which ``connect`` is tried again; None if it is tried now, or nothing is paused."""
        is_waiting = self.reason is not None and self._next_try > self._clock.monotonic()
        return self._next_try if is_waiting else None

    def must_ask(self) -> bool:
        """Whether ``connect`` is to be tried now; its end comes as ``asked``."""
        if self.reason is None or self._is_asking or self._clock.monotonic() < self._next_try:
            return False
        self._is_asking = True
        return True

    def ask_soon(self) -> None:
        """What it waits for may have come: ``connect`` is tried now instead of after its wait."""
        self._next_try = min(self._next_try, self._clock.monotonic())

    def give_up_asking(self) -> None:
        """The program ends."""
        self._is_asking = False

    def asked(self, error: PipelineError | None) -> None:
        """How ``connect`` ended."""
        self._is_asking = self._is_turn_taken = False
        suspects, self._suspects = self._suspects, []
        if error is not None:
            person = not isinstance(error, HubUnavailable)
            # What the hub says may change from one time to the next; for the reader it is the same trouble.
            key = type(error).__name__ if isinstance(error, HubUnavailable | HubForbidden) else str(error)
            self._begin(_CONNECT, key, str(error), needs_person=person)
            if asked := asked_to_wait(error):
                self._next_try = max(self._next_try, self._clock.monotonic() + asked.seconds)
            return
        if self._said.over(_CONNECT):
            self._observer.observe(Resumed())
        self.reason, self.needs_person = None, False
        gave_another = [suspect.about for suspect, _, _ in suspects if suspect.given is Given.OTHERS]
        for video in gave_another:
            self._leaves_row(video)
        stopping: dict[Kind, Suspect] = {}
        for suspect, is_to_blame, worked_by_then in suspects:
            if is_to_blame:
                suspect.blame()
            elif self._worked[suspect.kind] > worked_by_then or suspect.given is Given.OTHERS:
                continue  # it worked for others since this one failed: no failure in a row
            elif self._is_enough(suspect):
                stopping.setdefault(suspect.kind, suspect)
        if gave_another and not self._in_a_row.get("transfer"):  # else that is ill which others fail at
            self._is_over("transfer")
        rounds = self._rounds
        for kind, suspect in stopping.items():
            self._rounds = rounds  # what fails together makes one pause: its wait doubles once
            self._begin(kind, *self._told_of(suspect), needs_person=suspect.needs_person)
        self._stops = frozenset(stopping) or self._stops
        if self.reason is None and not self._said:
            self._rounds = 0

    def _is_to_blame(self, suspect: Suspect) -> bool:
        since = self._failing_since.setdefault((suspect.kind, suspect.about), self._worked[suspect.kind])
        is_to_blame = self._worked[suspect.kind] > since
        if suspect.given is not Given.UNKNOWN:
            self.not_given(suspect.about, suspect.given)
            if not is_to_blame and self._given > self._silent_since[suspect.about]:
                is_to_blame = self._clock.monotonic() >= self._counts_from[suspect.about]
            if is_to_blame:
                self._counts_from[suspect.about] = self._clock.monotonic() + _APART * self._interval
            self._silent_since[suspect.about] = self._given
        if suspect.given is Given.NOTHING:  # whatever was given before
            self._silent_since = dict.fromkeys(self._silent_since, self._given)
            return False
        return is_to_blame

    def _spoke(self, video: str) -> None:
        self._silent_since.pop(video, None)
        self._counts_from.pop(video, None)

    def _is_enough(self, suspect: Suspect) -> bool:
        failed = self._in_a_row.setdefault(suspect.kind, Counter())
        failed[suspect.about] += 1
        return failed.total() >= _ENOUGH or failed[suspect.about] >= _ENOUGH_OF_ONE

    def _leaves_row(self, video: str) -> None:
        """What this one failed at is no failure in a row."""
        self._in_a_row.get("transfer", Counter()).pop(video, None)

    def _told_of(self, suspect: Suspect) -> tuple[str, str]:
        """Under which key a pause for this is told, and as what: when nothing has told for long whose fault it is, a
        person may."""
        since = self._paused_since.setdefault(suspect.kind, self._clock.monotonic())
        is_long = self._clock.monotonic() - since >= _LONG and suspect.given is not Given.NOTHING
        if not (is_long and suspect.folder):
            return suspect.kind, suspect.cause
        return "long", message(
            f"{suspect.cause}; for an hour nothing has shown whether the hub or {suspect.about} is at fault: wait, or"
            f" continue without it by `python3 tools/queue_processor.py --cancel {shlex.quote(suspect.folder)}`, and"
            " --retry it later"
        )

    def _is_over(self, *kinds: str) -> None:
        """What these kinds paused for is."""
        for kind in kinds:
            self._paused_since.pop(kind, None)
        if self._said.over(*kinds):
            self._rounds = 0
            self._observer.observe(Resumed())

    def _begin(self, kind: str, key: str, cause: str, *, needs_person: bool) -> None:
        if self._said.is_news(key, kind):
            self._observer.observe(Paused(cause, needs_person))
        self.reason, self._stops = cause, _ALL
        self.needs_person = needs_person
        self._next_try = self._clock.monotonic() + min(_AT_MOST, self._interval * 2 ** min(self._rounds, 16))
        self._rounds += 1


def _cause(kind: Kind, exc: PipelineError) -> str:
    """What the hub said; of a commit that it refused in words of its own, also what that often means."""
    if kind != "publish" or type(exc) is not HubRejected:
        return str(exc)
    return message(f"{exc}; if the hub refuses every commit, its storage may be full: free space or ask for more")
