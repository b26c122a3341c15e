"""Every folder of a listing under exactly one heading: the proof that none was skipped."""

from collections.abc import Collection, Iterable, Mapping
from enum import Enum

from tools.core.folder import ROOT, Folder, RemoteFile
from tools.core.queue_item import CANCELLED, QueueItem, Status, is_as_queued


class Heading(Enum):
    """Where a folder stands, in the order in which people are shown it."""

    PUBLISHED = "published"
    SETTLED = "settled before"  # done or forgotten as it is now; the queue holds no item of it any more
    RUNNING = "running"
    QUEUED = "queued"
    HELD = "held"
    NOT_QUIET = "not quiet yet"  # will be queued once it is, by a running monitor
    NO_VIDEO = "no video"
    CANCELLED = "cancelled"
    FAILED = "failed"
    NO_NAME = "name can't be used"  # all of its paths could do harm

    @property
    def needs_person(self) -> bool:
        """Whether nothing will be done by itself with a folder under it that was meant to be done."""
        return self in {Heading.FAILED, Heading.NO_NAME}


Coverage = Mapping[Heading, list[str]]
"""Folders by heading, every heading there, names in order."""


def folders_of(files: Iterable[RemoteFile]) -> set[str]:
    """Every folder that directly holds a file, ``ROOT`` among them; whatever its name."""
    return {file.folder or ROOT for file in files}


def cover(
    there: Collection[str], folders: Mapping[str, Folder], items: Mapping[str, QueueItem], settled: Mapping[str, str]
) -> Coverage:
    """``there``: what ``folders_of`` a listing gave; ``folders``: the same listing as the monitor judges it;
    ``settled``: by folder, the fingerprint that was done or forgotten."""
    found: dict[Heading, list[str]] = {heading: [] for heading in Heading}
    for name in sorted(there):
        found[_heading_of(name, folders.get(name), items.get(name), settled.get(name))].append(name)
    return found


def _heading_of(name: str, folder: Folder | None, item: QueueItem | None, settled: str | None) -> Heading:
    if folder is None:
        return Heading.NO_VIDEO if name == ROOT else Heading.NO_NAME  # a card and settings, which every repo has
    if item is not None and item.status is Status.PROCESSING:
        return Heading.RUNNING
    if not folder.video_count:
        return Heading.NO_VIDEO
    if (
        item is None
        or (item.hash and not is_as_queued(item, folder))
        or (not item.hash and item.status is not Status.PENDING)
    ):
        return Heading.SETTLED if item is None and settled == folder.fingerprint else Heading.NOT_QUIET
    if item.status is Status.PENDING:
        return Heading.HELD if item.held else Heading.QUEUED
    if item.status is Status.COMPLETED:
        return Heading.PUBLISHED
    return Heading.CANCELLED if item.error == CANCELLED else Heading.FAILED
