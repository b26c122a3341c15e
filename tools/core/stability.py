"""Since when has a folder been quiet? (snapshot, listing, time passed) → snapshot, stable or not.

``steady`` adds up the seconds that certainly passed between looks, by a monotonic clock, so a jump of anybody's wall
clock makes no folder early and leaves none stuck. A snapshot notes where on that scale its quiet time began, so nothing
is counted folder by folder. Only the head start at first sight (an upload that ended before we looked) comes from the
hub: the distance of two times by its own clock.
"""

from dataclasses import dataclass, replace

from tools.core.folder import Folder

_COMMIT_TIME_UNIT = 1.0  # commit times are whole seconds; the unknown fraction counts as not yet passed


@dataclass(frozen=True, slots=True)
class Look:
    """The circumstances of one look at the hub.

    ``now`` epoch s by this machine, for readers; ``server_now`` epoch s by the hub, None where it does not tell;
    ``steady`` s that certainly passed in all looks so far; ``window`` s that certainly passed since the look before,
    None for the first look ever: whatever is new has not been there for longer than that, as far as anybody knows.
    """

    now: float
    server_now: float | None
    steady: float
    window: float | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A folder as last listed; ``first_seen`` epoch s of this hash; unchanged since ``quiet_from`` (steady s)."""

    folder: Folder
    first_seen: float
    quiet_from: float


def observe(before: Snapshot | None, folder: Folder, look: Look) -> Snapshot:
    """The snapshot after a listing showed ``folder``. A new commit of equal names and sizes is activity as well."""
    same = before is not None and before.folder.fingerprint == folder.fingerprint
    if before is not None and same and before.folder.last_modified == folder.last_modified:
        return before if before.folder == folder else replace(before, folder=folder)
    first_seen = before.first_seen if before is not None and same else look.now
    grew = before is None or same or folder.file_count > before.folder.file_count
    return Snapshot(folder, first_seen, look.steady - (_head_start(folder, look) if grew else 0.0))


def is_stable(snapshot: Snapshot, steady: float, min_age: float) -> bool:
    """Whether the folder has been unchanged for ``min_age`` s, or carries the marker of completeness."""
    return seconds_until_stable(snapshot, steady, min_age) <= 0


def seconds_until_stable(snapshot: Snapshot, steady: float, min_age: float) -> float:
    """How long the folder must stay as it is to become stable; 0 when it is."""
    return 0.0 if snapshot.folder.has_marker else max(0.0, min_age - (steady - snapshot.quiet_from))


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
