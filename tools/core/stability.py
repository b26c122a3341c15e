"""Since when has a folder been quiet? (snapshot, listing, time passed) → snapshot, stable or not.

A snapshot adds up the seconds for which its folder is known to be unchanged. It takes them from a monotonic clock
between two looks, so a jump of anybody's wall clock makes no folder early and leaves none stuck. Only the head start
at first sight (an upload that ended before we looked) comes from the hub: the distance of two times by its own clock.
"""

from dataclasses import dataclass, replace

from tools.core.folder import Folder

_COMMIT_TIME_UNIT = 1.0  # commit times are whole seconds; the unknown fraction counts as not yet passed


@dataclass(frozen=True, slots=True)
class Look:
    """The circumstances of one look at the hub.

    ``now`` epoch s by this machine, for readers; ``server_now`` epoch s by the hub, None where it does not tell;
    ``elapsed`` s that certainly passed since the look before, 0 where unknown; ``window`` s within which whatever
    is new since the look before must have happened, None for the first look ever.
    """

    now: float
    server_now: float | None
    elapsed: float
    window: float | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A folder as last listed; ``first_seen`` epoch s of this fingerprint; ``quiet`` s known to be unchanged."""

    folder: Folder
    first_seen: float
    quiet: float


def observe(before: Snapshot | None, folder: Folder, look: Look) -> Snapshot:
    """The snapshot after a listing showed ``folder``. A new commit of equal names and sizes is activity as well."""
    same = before is not None and before.folder.fingerprint == folder.fingerprint
    if before is not None and same and before.folder.last_modified == folder.last_modified:
        return replace(before, folder=folder, quiet=before.quiet + look.elapsed)
    first_seen = before.first_seen if before is not None and same else look.now
    grew = before is None or same or folder.file_count > before.folder.file_count
    return Snapshot(folder, first_seen, _head_start(folder, look) if grew else 0.0)


def pass_time(snapshot: Snapshot, elapsed: float) -> Snapshot:
    """The snapshot after ``elapsed`` s in which the head of the repo did not move."""
    return replace(snapshot, quiet=snapshot.quiet + elapsed)


def is_stable(snapshot: Snapshot, min_age: float) -> bool:
    """Whether the folder has been unchanged for ``min_age`` s, or carries the marker of completeness."""
    return seconds_until_stable(snapshot, min_age) <= 0


def seconds_until_stable(snapshot: Snapshot, min_age: float) -> float:
    """How long the folder must stay as it is to become stable; 0 when it is."""
    return 0.0 if snapshot.folder.has_marker else max(0.0, min_age - snapshot.quiet)


def _head_start(folder: Folder, look: Look) -> float:
    """Seconds of quiet before the first sight, by the hub's commit time of the newest file; 0 where that does not fit.

    It does not fit when it lies in the future, or before the last look (then something else changed the folder, say a
    deletion, whose time the files that are left don't tell).
    """
    if folder.last_modified is None or look.server_now is None:
        return 0.0
    age = look.server_now - folder.last_modified - _COMMIT_TIME_UNIT
    fits = age > 0 and (look.window is None or age <= look.window)
    return age if fits else 0.0
