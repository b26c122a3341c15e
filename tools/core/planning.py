"""(folder, what is published) → output names, targets, batches and video jobs.

The one place that decides which files a source becomes, and where: see ``tools.core.artifact``.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal, get_args

from tools.core.artifact import ArtifactKind, Target
from tools.core.folder import (
    RemoteFile,
    as_disks_see,
    inside,
    is_placeholder,
    is_safe_path,
    is_video,
    mark_of_partial,
)
from tools.core.options import Option
from tools.core.queue_item import Quarantined
from tools.core.record import Published, Record, natural_order
from tools.core.witness import Witness

_VIDEO = ArtifactKind.VIDEO.extension
_LONGEST_NAME = 240  # bytes of UTF-8 of a file's name: disks take 255, and clients add to it while they download
_LONGEST_STEM = _LONGEST_NAME - max(len(kind.extension) for kind in ArtifactKind)  # each kind adds its own to it


Stage = Literal["waiting", "download", "encode", "suspended", "verify", "upload"]
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
    is_again: bool = False  # a person wants it made again: no earlier result serves
    order: str = ""  # by this order, which what an attempt leaves behind must name
    options: tuple[tuple[str, Option], ...] = ()  # with these instead of the settings in force
    beside: tuple[RemoteFile, ...] = ()  # subtitles and fonts that go into its MKV
    crf: int | None = None  # that the latest video of its folder came to: where a search for its own begins
    fonts_left_out: int = 0  # of its folder, since there are too many
    published: Record | None = None  # of its MKV, if that is there: what else it is to become is made of that
    witness: Witness | None = None  # what the hub is asked for if it does not give the source

    @property
    def kinds(self) -> frozenset[ArtifactKind]:
        """Of the files that it makes."""
        made = {target.kind for target in self.targets}
        return frozenset(made if self.published is None else made - {ArtifactKind.VIDEO})


@dataclass(frozen=True, slots=True)
class Video:
    """A source and what it is to become."""

    source: RemoteFile
    targets: tuple[Target, ...]
    published: Record | None = None  # of its MKV, if that is there and only further files lack


@dataclass(frozen=True, slots=True)
class FolderPlan:
    """What there is to do for a folder, and what is done."""

    batches: tuple[tuple[Video, ...], ...]  # left to do, in natural name order
    done: tuple[tuple[RemoteFile, Record], ...]  # with the published record
    quarantined: tuple[Quarantined, ...]  # refused before, and unchanged since
    evaded: tuple[tuple[str, str], ...] = ()  # a file that is not ours, and the name that a result gets in its place


def plan_folder(
    files: Sequence[RemoteFile],
    published: Published,
    existing: Mapping[str, RemoteFile],
    quarantined: Iterable[Quarantined],
    *,
    repos: Mapping[ArtifactKind, str],
    extensions: frozenset[str],
    batch_size: int,
    again: Collection[str] = (),
    lacking: Collection[str] = (),
) -> FolderPlan:
    """What is left to do for the files directly in one folder.

    ``existing``: the output folder's files by path. ``repos``: the kinds of files that are wanted, and the output repo
    of each. Done is what ``metadata.jsonl`` has with the same source content
    and what is still there with the sha256 recorded, also if another input repo has it under the same path. A video
    refused before is not retried unless it changed; nor is what is published, unless a person wants it ``again`` (paths
    of sources), or ``lacking`` a further file, which is made of its MKV. No name is that of a file which our records do
    not name.
    """
    videos = sorted((f for f in files if is_video(f.name, extensions) and is_safe_path(f.path)), key=natural_order)
    kept_names = _owned(published, existing)
    taken = not_ours(published, existing)
    names = output_names([video.path for video in videos], kept_names, taken)
    refused = {(q.path, q.sha256): q for q in quarantined if q.sha256}
    there = {file.name for file in files}
    done: list[tuple[RemoteFile, Record]] = []
    kept: list[Quarantined] = []
    todo: list[Video] = []
    for video in videos:
        record = published.record_of(video)
        others = published.record_of_others(video)
        mark = mark_of_partial(video, there)
        if video.path in again and video.size and (record or others) and (video.path, video.sha256) not in refused:
            todo.append(Video(video, targets_of(names[video.path], repos)))
        elif record is not None and video.path in kept_names and _is_there(video.folder, record, existing):
            if video.path in lacking:
                todo.append(Video(video, targets_of(names[video.path], repos), record))
            else:
                done.append((video, record))
        elif others is not None and _is_there(video.folder, others, existing):
            done.append((video, others))
        elif is_placeholder(video, there):
            continue
        elif mark or not video.size:
            cause = f"it is not whole yet: {mark} lies beside it" if mark else "it is empty (0 bytes)"
            kept.append(Quarantined(video.path, cause, video.sha256))
        elif (video.path, video.sha256) in refused:
            kept.append(refused[video.path, video.sha256])
        else:
            todo.append(Video(video, targets_of(names[video.path], repos)))
    batches = tuple(tuple(todo[start : start + batch_size]) for start in range(0, len(todo), batch_size))
    met = {as_disks_see(path): path for path in taken}
    wanted = {video.source.path: as_disks_see(_named(video.source.path, 0)) for video in todo}
    evaded = ((met[name], names[path]) for path, name in wanted.items() if name in met and path not in kept_names)
    return FolderPlan(batches, tuple(done), tuple(kept), tuple(evaded))


def not_ours(published: Published, existing: Mapping[str, RemoteFile]) -> frozenset[str]:
    """The files of an output folder that no record of our input repo names."""
    return frozenset(existing.keys() - set(published.names().values()))


def targets_of(output_path: str, repos: Mapping[ArtifactKind, str]) -> tuple[Target, ...]:
    """The files that a source becomes; ``output_path`` of its MKV, beside which the others have the same name."""
    stem = output_path.removesuffix(_VIDEO)
    return tuple(Target(kind, repo, stem + kind.extension) for kind, repo in repos.items())


def _is_there(folder: str, record: Record, existing: Mapping[str, RemoteFile]) -> bool:
    file = existing.get(inside(folder, str(record.get("file_name"))))
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


def output_names(
    sources: Sequence[str], published: Mapping[str, str], taken: Collection[str] = frozenset()
) -> dict[str, str]:
    """The path in the output repo of the MKV of each source path of one folder.

    ``A/ep 01.mp4`` → ``A/ep 01.mkv``. If several would meet in one name (also if only a case-insensitive disk
    thinks so), or it is ``taken``, each keeps its extension: ``ep 01.mp4.mkv``. A source that was published keeps the
    name it has, also from others after it is gone: it may come back. No two of ``published`` meet in one name.
    """
    kept = dict(published)
    fixed = {as_disks_see(name) for name in (*kept.values(), *taken)}
    levels = {source: 0 for source in sources if source not in kept}
    while True:
        names = {source: _named(source, level) for source, level in levels.items()}
        holders: dict[str, list[str]] = {}
        for source, name in names.items():
            holders.setdefault(as_disks_see(name), []).append(source)
        groups = ((key, group) for key, group in holders.items() if len(group) > 1 or key in fixed)
        meeting = [source for _, group in groups for source in group if levels[source] < _LAST]
        if not meeting:
            return {source: kept.get(source) or names[source] for source in sources}
        for source in meeting:
            levels[source] += 1


_LAST = 9  # the last level of names that is tried; from 2 on they are as good as unique


def _named(source: str, level: int) -> str:
    """Level 0 replaces the extension, 1 keeps it, 2 and above add a digest of the path (the name is taken already)."""
    path = PurePosixPath(source)
    stem = path.stem if level == 0 else path.name
    salt = b"" if level <= 2 else b"\0%d" % level
    digest = "~" + hashlib.sha256(_bytes(source) + salt).hexdigest()[:8]
    tail = digest if level >= 2 or len(_bytes(stem)) > _LONGEST_STEM else ""
    while len(_bytes(stem + tail)) > _LONGEST_STEM:
        stem = stem[:-1]
    return str(path.with_name(stem + tail + _VIDEO))


def _bytes(name: str) -> bytes:
    """As a disk keeps it; a local file's name need not be UTF-8."""
    return name.encode("utf-8", "surrogateescape")
