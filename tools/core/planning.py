"""(folder, what is published) → output names, targets, batches and video jobs.

The one place that decides which files a source becomes, and where: see ``tools.core.artifact``.
"""

import hashlib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal, get_args

from tools.core.artifact import ArtifactKind, Target
from tools.core.folder import RemoteFile, is_safe_path, is_video
from tools.core.queue_item import Quarantined
from tools.core.record import Published, Record, natural_order

_VIDEO = ArtifactKind.VIDEO.extension
_LONGEST_NAME = 255  # bytes of UTF-8 that one part of a path may have on the file systems that will hold it
_LONGEST_STEM = _LONGEST_NAME - max(len(kind.extension) for kind in ArtifactKind)  # each kind adds its own to it


Stage = Literal["waiting", "download", "encode", "verify", "upload"]
"""The stages of a video job, in this order, as ``progress.json`` shows them; ``waiting``: for a place in any other."""
STAGES: tuple[str, ...] = get_args(Stage)


@dataclass(frozen=True, slots=True)
class VideoJob:
    """One source video through download, convert, verify, store: names and small values, no bytes."""

    attempt_id: str  # new for each attempt, so that a late result of an older one is recognised
    attempt: int  # from 1
    folder: str  # its queue item
    input_repo: str
    revision: str  # commit of the input repo
    source: RemoteFile
    targets: tuple[Target, ...]  # what it is to become, its MKV first


@dataclass(frozen=True, slots=True)
class Video:
    """A source and what it is to become."""

    source: RemoteFile
    targets: tuple[Target, ...]


@dataclass(frozen=True, slots=True)
class FolderPlan:
    """What there is to do for a folder, and what is done."""

    batches: tuple[tuple[Video, ...], ...]  # left to do, in natural name order
    done: tuple[tuple[RemoteFile, Record], ...]  # with the published record
    quarantined: tuple[Quarantined, ...]  # refused before, and unchanged since


def plan_folder(
    files: Sequence[RemoteFile],
    published: Published,
    existing: Mapping[str, RemoteFile],
    quarantined: Iterable[Quarantined],
    *,
    repos: Mapping[ArtifactKind, str],
    extensions: frozenset[str],
    batch_size: int,
) -> FolderPlan:
    """What is left to do for the files directly in one folder.

    ``existing``: the output folder's files by path. ``repos``: the kinds of files that are wanted, and the output repo
    of each. Done is what ``metadata.jsonl`` has with the same source content
    and what is still there with the sha256 recorded. A video refused before is not retried unless it changed.
    """
    videos = sorted((f for f in files if is_video(f.name, extensions) and is_safe_path(f.path)), key=natural_order)
    kept_names = _owned(published, existing)
    names = output_names([video.path for video in videos], kept_names)
    refused = {(q.path, q.sha256): q for q in quarantined if q.sha256}
    done: list[tuple[RemoteFile, Record]] = []
    kept: list[Quarantined] = []
    todo: list[Video] = []
    for video in videos:
        record = published.record_of(video)
        if record is not None and video.path in kept_names and _is_there(video.folder, record, existing):
            done.append((video, record))
        elif (video.path, video.sha256) in refused:
            kept.append(refused[video.path, video.sha256])
        else:
            todo.append(Video(video, targets_of(names[video.path], repos)))
    batches = tuple(tuple(todo[start : start + batch_size]) for start in range(0, len(todo), batch_size))
    return FolderPlan(batches, tuple(done), tuple(kept))


def targets_of(output_path: str, repos: Mapping[ArtifactKind, str]) -> tuple[Target, ...]:
    """The files that a source becomes; ``output_path`` of its MKV, beside which the others have the same name."""
    stem = output_path.removesuffix(_VIDEO)
    return tuple(Target(kind, repo, stem + kind.extension) for kind, repo in repos.items())


def _is_there(folder: str, record: Record, existing: Mapping[str, RemoteFile]) -> bool:
    file = existing.get(f"{folder}/{record.get('file_name')}")
    return file is not None and file.size == record.get("size") and file.sha256 in {"", record.get("sha256")}


def _owned(published: Published, existing: Mapping[str, RemoteFile]) -> dict[str, str]:
    """The name of each source that was published and lost it to nobody: of those with the same one, it belongs to the
    first whose file is there."""
    names = published.names()
    owners: dict[str, str] = {}

    def is_there(source: str) -> bool:
        return _is_there(names[source].rpartition("/")[0], published.records[source], existing)

    for source, name in names.items():
        if name not in owners or (is_there(source) and not is_there(owners[name])):
            owners[name] = source
    return {source: name for name, source in owners.items()}


def output_names(sources: Sequence[str], published: Mapping[str, str]) -> dict[str, str]:
    """The path in the output repo of the MKV of each source path of one folder.

    ``A/ep 01.mp4`` → ``A/ep 01.mkv``. If several would meet in one name (also if only a case-insensitive disk
    thinks so) each keeps its extension: ``ep 01.mp4.mkv``. A source that was published keeps the name it has, also
    from others after it is gone: it may come back. No two of ``published`` meet in one name.
    """
    kept = dict(published)
    levels = {source: 0 for source in sources if source not in kept}
    while True:
        names = {source: _named(source, level) for source, level in levels.items()}
        holders: dict[str, list[str]] = {}
        for source, name in [*names.items(), *kept.items()]:
            holders.setdefault(_as_disks_see(name), []).append(source)
        meeting = [s for group in holders.values() if len(group) > 1 for s in group if levels.get(s, _LAST) < _LAST]
        if not meeting:
            return {source: kept.get(source) or names[source] for source in sources}
        for source in meeting:
            levels[source] += 1


_LAST = 2  # the level of names that is unique for certain


def _as_disks_see(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()


def _named(source: str, level: int) -> str:
    """Level 0 replaces the extension, 1 keeps it, 2 adds a digest of the path (another video has the name already)."""
    path = PurePosixPath(source)
    stem = path.stem if level == 0 else path.name
    digest = "~" + hashlib.sha256(_bytes(source)).hexdigest()[:8]
    tail = digest if level == _LAST or len(_bytes(stem)) > _LONGEST_STEM else ""
    while len(_bytes(stem + tail)) > _LONGEST_STEM:
        stem = stem[:-1]
    return str(path.with_name(stem + tail + _VIDEO))


def _bytes(name: str) -> bytes:
    """As a disk keeps it; a local file's name need not be UTF-8."""
    return name.encode("utf-8", "surrogateescape")
