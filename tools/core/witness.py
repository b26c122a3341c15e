"""Another file that a hub is asked for when it does not give one: so a fault of that one is told from an outage."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from tools.core.folder import RemoteFile

LONGEST_GLANCE = 64 << 10
"""Bytes that are asked of another file at most."""


@dataclass(frozen=True, slots=True)
class Witness:
    """A video at a commit of a repo: large files lie together behind a hub, small texts may not."""

    repo: str
    revision: str
    file: RemoteFile


class Given(str, Enum):
    """What a hub gave of a video, and of another one, when a download of the first failed. A plain value, also in JSON
    and on its way from a worker."""

    UNKNOWN = "unknown"  # some of it came, or it was no download: what the hub gives of others says nothing
    NOT_IT = "not_it"  # not a byte of it; no other one was asked for
    OTHERS = "others"  # not a byte of it, and right after that another one
    NOTHING = "nothing"  # not a byte of it, nor of another one


def pick(
    found: Iterable[Witness], source_repo: str, failing: Collection[str], silent: Mapping[str, int]
) -> Witness | None:
    """Whom to ask; None if there is nobody. One of ``source_repo`` if it has any: a repo may fail as a whole.

    ``failing``: paths that are no evidence for each other. ``silent``: how often a path was asked for in vain; the one
    with the fewest goes first, of equals the first, so that another one that is broken keeps nobody from being heard.
    """
    able = [one for one in found if one.file.size and not (one.repo == source_repo and one.file.path in failing)]
    near = [one for one in able if one.repo == source_repo] or able
    return min(near, key=lambda one: silent.get(one.file.path, 0), default=None)
