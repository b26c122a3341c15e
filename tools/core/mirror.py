"""What of the output repo left the input repo: which published files may be taken out of it, which stay, and why. Pure.

Whatever is not proven stays. Only a file counts that a record of ours names, written for this very input repo, and that
lies there with the size and sha256 of that record; its content must not wait in the input under another name.
"""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tools.core.artifact import ArtifactKind
from tools.core.folder import ROOT, RemoteFile, inside, is_video
from tools.core.message import message
from tools.core.queue_item import QueueItem, Status
from tools.core.record import METADATA, Published
from tools.core.sidecar import SIDECARS, Carried

_VIDEO = ArtifactKind.VIDEO.extension
DAY = 86400.0  # s within which what was taken out counts towards the limit


@dataclass(frozen=True, slots=True)
class Gone:
    """A file of ours in the output repo whose source left the input repo."""

    folder: str
    path: str  # in the output repo
    sha256: str  # of it
    size: int  # bytes, of it
    source: str  # the path that its source had in the input repo
    source_sha256: str
    source_size: int  # bytes
    is_video: bool


@dataclass(frozen=True, slots=True)
class Counted:
    """Files of ours, videos among them."""

    videos: int = 0
    files: int = 0

    def __add__(self, other: "Counted") -> "Counted":
        return Counted(self.videos + other.videos, self.files + other.files)


def counted(gone: Collection[Gone]) -> Counted:
    return Counted(sum(one.is_video for one in gone), len(gone))


def may_lack(sources: Sequence[RemoteFile], results: Sequence[RemoteFile], extensions: frozenset[str]) -> bool:
    """Whether an output folder may hold something of ours without a source, by its names alone: else its lists need not
    be read. ``sources``, ``results``: the files directly in the folder of each repo."""
    names = {file.name for file in results}
    if not names & {METADATA, SIDECARS}:
        return False
    there = {file.name for file in sources}
    stems = there | {name.rpartition(".")[0] for name in there}
    made = [name for name in names if name.endswith(_VIDEO)]
    videos = sum(is_video(name, extensions) for name in there)
    if len(made) > videos or any(name.removesuffix(_VIDEO) not in stems for name in made):
        return True
    return any(not name.endswith(_VIDEO) for name in names - there - {METADATA, SIDECARS})


def kept_in(sources: Sequence[RemoteFile], results: Sequence[RemoteFile], extensions: frozenset[str]) -> Counted:
    """How many results have their source, by names: never more than there are sources."""
    names = {file.name for file in results}
    if not names & {METADATA, SIDECARS}:
        return Counted()
    videos = [file.name for file in sources if is_video(file.name, extensions)]
    made = sum(name.endswith(_VIDEO) for name in names)
    others = sum(file.name in names for file in sources if not is_video(file.name, extensions))
    return Counted(min(made, len(videos)), min(made, len(videos)) + others)


def gone_from(
    folder: str,
    sources: Iterable[RemoteFile],
    results: Mapping[str, RemoteFile],
    published: Published,
    carried: Carried,
    repo: str,
) -> list[Gone]:
    """The files of an output folder that were made of, or carried over from, what is not in ``repo`` any more.

    ``sources`` directly in the folder there, ``results`` directly in the output folder, by path; ``published``,
    ``carried``: what its lists say, about ``repo``.
    """
    there = {file.path for file in sources}
    names = published.names()
    owners = Counter(names.values())
    theirs = published.names_of_others() | {inside(folder, name) for name in published.names_in_other_lines()}
    found = []
    for source, path in names.items():
        record, file = published.records[source], results.get(path)
        is_ours = record.get("source_repo") == repo and owners[path] == 1 and path not in theirs
        if source in there or not is_ours or file is None or _of(path) != folder or _of(source) != folder:
            continue
        if file.sha256 and (file.sha256, file.size) == (record.get("sha256"), record.get("size")):
            about = str(record.get("source_sha256") or ""), int(record.get("source_size") or 0)
            found.append(Gone(folder, path, file.sha256, file.size, source, *about, is_video=True))
    for path, source in carried.paths(repo).items():
        file = results.get(path)
        if source in there or file is None or path in owners or path in theirs or _of(source) != folder:
            continue
        if file.sha256 and file.name not in {METADATA, SIDECARS} and carried.is_ours(file, repo):
            about = file.sha256, file.size
            found.append(Gone(folder, path, *about, source, *about, is_video=False))
    return found


def _of(path: str) -> str:
    return path.rpartition("/")[0] or ROOT


def same_content(one: Gone, file: RemoteFile) -> bool:
    """Whether a file of the input may be the source that left, renamed: by size if its sha256 is not told."""
    if file.sha256 and one.source_sha256:
        return file.sha256 == one.source_sha256
    return file.size == one.source_size


def why_kept(folder: str, fingerprint: str | None, item: QueueItem | None, settled: str | None) -> str:
    """Why nothing of a folder may be taken out now; "" if it may.

    ``fingerprint`` of the folder if the input holds videos there, else None; ``item``: its queue item; ``settled``: the
    fingerprint that the monitor knows as settled.
    """
    if item is not None and item.status is not Status.COMPLETED:
        return message(f"{folder} is in the queue, {item.status.value}")
    if fingerprint is None:
        return "" if item is not None or not settled else message(f"{folder} is in no queue")
    if item is not None and item.hash == fingerprint:
        return ""
    return message(f"{folder} is not settled as it is now")


def is_too_much(gone: Counted, lately: Counted, kept: Counted, percent: float) -> bool:
    """Whether so much at once needs a person: of all videos of ours, or of all files, with what was taken out
    ``lately``."""
    at_once = gone + lately
    everything = at_once + kept
    return share_of(at_once.videos, everything.videos) > percent or share_of(at_once.files, everything.files) > percent


def share_of(part: int, whole: int) -> float:
    """In percent."""
    return 100.0 * part / whole if whole else 0.0


def digest_of(gone: Iterable[Gone]) -> str:
    """Names these files in their content: what a person was shown is what is taken out."""
    lines = sorted(f"{one.path}\0{one.sha256}" for one in gone)
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()[:16]
