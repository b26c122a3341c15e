"""Since when has a folder been quiet? (snapshot, listing, times of the look) → snapshot, stable or not.

``steady`` seconds are a scale of time that certainly passes: by a monotonic clock while the program runs, by the
shorter gap of two wall clocks over a restart. So a jump of anybody's wall clock makes no folder early and leaves none
stuck. A snapshot notes where on that scale its quiet time began, so nothing is counted folder by folder. Only the head
start at first sight (an upload that ended before we looked) comes from the hub: the distance of two times by its clock.
"""

from dataclasses import dataclass, replace

from tools.core.folder import Folder

_COMMIT_TIME_UNIT = 1.0  # s; commit times are whole seconds, the unknown fraction counts as not yet passed
_DATE_LAGS = 2.0  # s; a Date header is cut to a whole second, and some servers make it anew only once a second
_SLEW = 1e-3  # s a second by which two clocks drift apart unless one is set; source: adjtimex(2), 500 ppm for each


@dataclass(frozen=True, slots=True)
class HubClock:
    """How far the hub's clock is ahead of our monotonic one: from ``least`` to ``most`` s, ``as_of`` monotonic s.

    ``was_set``: since the answer before, so times from before and after can't be compared.
    """

    least: float
    most: float
    as_of: float
    was_set: bool = False

    def now(self) -> float | None:
        """Epoch s that it showed at least at the answer; None where that tells nothing about times before."""
        return None if self.was_set else self.least + self.as_of


def observe_answer(before: HubClock | None, told: float, asked: float, answered: float) -> HubClock:
    """What is known after an answer that ``told`` the hub's time; ``asked``, ``answered`` monotonic s.

    One answer leaves a second or two open, several at odd moments leave little of them.
    """
    least, most = told - answered, told + _DATE_LAGS - asked
    if before is None:
        return HubClock(least, most, answered)
    slewed = _SLEW * (answered - before.as_of)
    kept_least, kept_most = before.least - slewed, before.most + slewed
    if least > kept_most or most < kept_least:
        return HubClock(least, most, answered, was_set=True)
    return HubClock(max(least, kept_least), min(most, kept_most), answered)


def agree(gap: float, hub_gap: float) -> bool:
    """Whether two wall clocks tell the same s between two answers, one of them in whole seconds: else one was set."""
    return abs(gap - hub_gap) <= _DATE_LAGS + _SLEW * abs(gap)


@dataclass(frozen=True, slots=True)
class Poll:
    """The circumstances of one look at the hub.

    ``now`` epoch s by this machine, for readers; ``hub_now`` epoch s that the hub's clock showed at least when it had
    answered, None where that is not known; ``asked``, ``answered`` steady s: what is seen unchanged was so until it was
    asked, what is seen changed may have changed until it was answered; ``window`` s that certainly passed since the
    look before, None for the first look ever: whatever is new has not been there for longer than that, as far as
    anybody knows; ``committed_at`` epoch s by the hub of the repo's newest commit, None where it does not tell: what
    changed did so until then.
    """

    now: float
    hub_now: float | None
    asked: float
    answered: float
    window: float | None
    committed_at: float | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A folder as last listed; ``first_seen`` epoch s of this hash; unchanged since ``quiet_from`` (steady s)."""

    folder: Folder
    first_seen: float
    quiet_from: float


def observe(before: Snapshot | None, folder: Folder, look: Poll) -> Snapshot:
    """The snapshot after a listing showed ``folder``. A new commit of equal names and sizes is activity as well."""
    same = before is not None and before.folder.fingerprint == folder.fingerprint
    if before is not None and same and before.folder.last_modified == folder.last_modified:
        return before if before.folder == folder else replace(before, folder=folder)
    first_seen = before.first_seen if before is not None and same else look.now
    modified, head_start = folder.last_modified, 0.0
    if before is None or same or folder.only_added:
        head_start = _age(modified, look)
    if not head_start and modified is not None and look.committed_at is not None and modified <= look.committed_at:
        # Deletions leave no time behind; but nothing that was listed is later than the repo's newest commit.
        head_start = _age(look.committed_at, look)
    return Snapshot(folder, first_seen, look.answered - head_start)


def is_stable(snapshot: Snapshot, steady: float, min_age: float) -> bool:
    """Whether the folder has been unchanged for ``min_age`` s, or carries the marker of completeness."""
    return seconds_until_stable(snapshot, steady, min_age) <= 0


def seconds_until_stable(snapshot: Snapshot, steady: float, min_age: float) -> float:
    """How long the folder must stay as it is to become stable; 0 when it is, and at once where no age is asked."""
    if snapshot.folder.has_marker or min_age <= 0:
        return 0.0
    return max(0.0, min_age - (steady - snapshot.quiet_from))


def _age(committed_at: float | None, look: Poll) -> float:
    """Seconds that passed since a commit, by the hub's clock, at least; 0 where that is not known or does not fit.

    It does not fit when it lies in the future, or before the last look: then it was not this commit that changed the
    folder, or its time is not the hub's.
    """
    if committed_at is None or look.hub_now is None:
        return 0.0
    age = look.hub_now - committed_at - _COMMIT_TIME_UNIT
    return age if age > 0 and (look.window is None or age <= look.window) else 0.0
