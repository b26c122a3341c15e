"""Since when has a folder been quiet? (snapshot, listing, times of the poll) → snapshot, stable or not.

Three clocks, and what each is trusted with:

- The *steady* scale counts seconds that have certainly passed: by the monotonic clock while the program runs, by the
  shorter gap of two wall clocks (ours and the hub's) over a restart. So a jump of anybody's wall clock makes no folder
  early and leaves none stuck. A snapshot notes where on this scale its quiet time began; nothing is counted per folder.
- The hub's clock gives a head start at first sight, if an upload ended before we polled: the distance between a
  commit's time and the answer's, both by that clock.
- This machine's wall clock is for readers, and one of the two gaps over a restart.

How the hub's clock is known. An answer carries a ``Date``, which is cut to a whole second, may be a second old, and was
made at some moment between question and answer. So one answer bounds how far the hub's clock is ahead of our monotonic
one to an interval of two seconds or more. The next answer gives another interval, and the truth lies in both: polls at
odd fractions of a second soon leave only a fraction of a second open. If the two do not meet, the hub's clock was set
in between; times from before and after can't be compared then, and there is no head start. This relies on three things:
commits are dated by the clock that makes ``Date``; a ``Date`` is never in the future and at most ``_DATE_LAGS`` old;
two clocks that nobody sets drift apart by less than ``_SLEW``.
"""

from dataclasses import dataclass, replace

from tools.core.folder import Folder, is_replaced

_COMMIT_TIME_UNIT = 1.0  # s; commit times are whole seconds, the unknown fraction counts as not yet passed
_DATE_LAGS = 2.0  # s; a Date header is cut to a whole second, and some servers renew it only once per second
_SLEW = 1e-3  # s per second by which two clocks drift apart unless one is set; source: adjtimex(2), 500 ppm for each


@dataclass(frozen=True, slots=True)
class HubClock:
    """How far the hub's clock is ahead of our monotonic one, as known after an answer."""

    least: float  # s
    most: float  # s
    as_of: float  # monotonic s of the answer
    was_set: bool = False  # since the answer before: times from before and after can't be compared

    def now(self) -> float | None:
        """Epoch s that it showed at least at the answer; None if that tells nothing about times before."""
        return None if self.was_set else self.least + self.as_of


def observe_answer(before: HubClock | None, told: float, asked: float, answered: float) -> HubClock:
    """What is known after an answer that ``told`` the hub's time; ``asked``, ``answered`` monotonic s."""
    least, most = told - answered, told + _DATE_LAGS - asked
    if before is None:
        return HubClock(least, most, answered)
    slewed = _SLEW * (answered - before.as_of)
    kept_least, kept_most = before.least - slewed, before.most + slewed
    if least > kept_most or most < kept_least:
        return HubClock(least, most, answered, was_set=True)
    return HubClock(max(least, kept_least), min(most, kept_most), answered)


@dataclass(frozen=True, slots=True)
class Answer:
    """What one request for the repo's newest commit told about times."""

    now: float  # epoch s by this machine, once answered
    asked: float  # monotonic s
    answered: float  # monotonic s
    hub_time: float | None  # epoch s by the hub, whole seconds; None: it does not tell
    committed_at: float | None  # epoch s by the hub, of the newest commit; None: there is none, or it does not tell


@dataclass(frozen=True, slots=True)
class Poll:
    """The times of one poll of the hub, on the steady scale."""

    now: float  # epoch s by this machine, for readers
    hub_now: float | None  # epoch s that the hub's clock showed at least when it had answered; None: not known
    asked: float  # steady s: what is seen unchanged was so until then
    answered: float  # steady s: what is seen changed may have changed until then
    window: float | None
    """s that certainly passed since the poll before: whatever is new has not been there for longer than that, as far as
    anybody knows. None for the first poll ever."""
    committed_at: float | None = None  # epoch s by the hub, of the newest commit: what changed did so until then


@dataclass(frozen=True, slots=True)
class Timeline:
    """A poll, and what the next one of the same process is placed by."""

    poll: Poll
    ahead: float  # s by which the steady scale is ahead of the monotonic clock
    hub_clock: HubClock | None


def first_poll(answer: Answer, last_check: float | None, steady: float, hub_time: float | None) -> Timeline:
    """The first poll of a process. The rest is of the last poll of the process before: ``last_check`` epoch s by this
    machine (None: there was none), ``steady`` s, ``hub_time`` epoch s by the hub."""
    hub_clock = _hub_clock_after(None, answer)
    if last_check is None:
        return _placed(answer, hub_clock, window=None, ahead=steady - answer.answered)
    # No monotonic clock tells over a restart; two wall clocks must agree on what certainly passed. If they do not, the
    # hub's may have been set: a commit then counts as older than it is.
    gaps = [answer.now - last_check]
    comparable = True
    if answer.hub_time is not None and hub_time is not None:
        hub_gap = answer.hub_time - hub_time
        comparable = _agree(gaps[0], hub_gap)
        gaps.append(hub_gap - 1.0)
    window = max(0.0, min(gaps))
    return _placed(answer, hub_clock, window, steady + window - answer.answered, comparable)


def next_poll(before: Timeline, answer: Answer) -> Timeline:
    """The poll after ``before`` in the same process."""
    window = max(0.0, answer.answered + before.ahead - before.poll.asked)
    return _placed(answer, _hub_clock_after(before.hub_clock, answer), window, before.ahead)


def _hub_clock_after(before: HubClock | None, answer: Answer) -> HubClock | None:
    return None if answer.hub_time is None else observe_answer(before, answer.hub_time, answer.asked, answer.answered)


def _placed(
    answer: Answer, hub_clock: HubClock | None, window: float | None, ahead: float, comparable: bool = True
) -> Timeline:
    poll = Poll(
        now=answer.now,
        hub_now=hub_clock.now() if hub_clock and comparable else None,
        asked=answer.asked + ahead,
        answered=answer.answered + ahead,
        window=window,
        committed_at=answer.committed_at,
    )
    return Timeline(poll, ahead, hub_clock)


def _agree(gap: float, hub_gap: float) -> bool:
    """Whether two wall clocks tell the same s between two answers, one of them in whole seconds: else one was set."""
    return abs(gap - hub_gap) <= _DATE_LAGS + _SLEW * abs(gap)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A folder as last listed."""

    folder: Folder
    first_seen: float  # epoch s by this machine of its fingerprint
    quiet_from: float  # steady s since when it is known to be unchanged


def observe(before: Snapshot | None, folder: Folder, poll: Poll) -> Snapshot:
    """The snapshot after a listing showed ``folder``. A new commit of equal names and sizes is activity as well, and so
    are other contents under them."""
    same = before is not None and before.folder.fingerprint == folder.fingerprint
    same = same and before is not None and not is_replaced(before.folder.contents, folder.contents)
    if before is not None and same and before.folder.last_modified == folder.last_modified:
        return before if before.folder == folder else replace(before, folder=folder)
    first_seen = before.first_seen if before is not None and same else poll.now
    modified, head_start = folder.last_modified, 0.0
    if before is None or same or folder.only_added:
        head_start = _age(modified, poll)
    if not head_start and modified is not None and poll.committed_at is not None and modified <= poll.committed_at:
        # Deletions leave no time behind; but nothing that was listed is later than the repo's newest commit.
        head_start = _age(poll.committed_at, poll)
    return Snapshot(folder, first_seen, poll.answered - head_start)


def is_stable(snapshot: Snapshot, steady: float, min_age: float) -> bool:
    """Whether the folder has been unchanged for ``min_age`` s, or carries the marker of completeness."""
    return seconds_until_stable(snapshot, steady, min_age) <= 0


def seconds_until_stable(snapshot: Snapshot, steady: float, min_age: float) -> float:
    """How long the folder must stay as it is to become stable; 0 when it is, and at once if no age is asked."""
    if snapshot.folder.has_marker or min_age <= 0:
        return 0.0
    return max(0.0, min_age - (steady - snapshot.quiet_from))


def _age(committed_at: float | None, poll: Poll) -> float:
    """Seconds that passed since a commit, by the hub's clock, at least; 0 if that is not known or does not fit.

    It does not fit when it lies in the future, or before the last poll: then it was not this commit that changed the
    folder, or its time is not the hub's.
    """
    if committed_at is None or poll.hub_now is None:
        return 0.0
    age = poll.hub_now - committed_at - _COMMIT_TIME_UNIT
    return age if age > 0 and (poll.window is None or age <= poll.window) else 0.0
