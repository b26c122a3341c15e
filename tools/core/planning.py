"""(folder, what is published) → output names, batches and video jobs."""

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any

from tools.core.folder import RemoteFile, is_safe_path, is_video
from tools.core.queue_item import Quarantined

METADATA = "metadata.jsonl"
_LONGEST_NAME = 255  # bytes of UTF-8 that one part of a path may have on the file systems that will hold it

Record = Mapping[str, Any]
"""One line of ``metadata.jsonl``."""


@dataclass(frozen=True, slots=True)
class VideoJob:
    """One source video through download, convert, verify, store: names and small values, no bytes.

    ``attempt_id`` is new for every try, so that a late result of an older one can be told; ``attempt`` counts from 1.
    """

    attempt_id: str
    attempt: int
    folder: str
    input_repo: str
    revision: str
    source: RemoteFile
    output_repo: str
    output_path: str


@dataclass(frozen=True, slots=True)
class Video:
    """A source and the path in the output repo that it becomes."""

    source: RemoteFile
    output_path: str


@dataclass(frozen=True, slots=True)
class FolderPlan:
    """``batches`` of what is to do, in natural name order; ``done`` with its published record; ``quarantined`` kept."""

    batches: tuple[tuple[Video, ...], ...]
    done: tuple[tuple[RemoteFile, Record], ...]
    quarantined: tuple[Quarantined, ...]


def plan_folder(
    files: Sequence[RemoteFile],
    published: "Published",
    existing: Mapping[str, RemoteFile],
    quarantined: Iterable[Quarantined],
    *,
    extensions: frozenset[str],
    batch_size: int,
) -> FolderPlan:
    """What is left to do for the files directly in one folder.

    ``existing``: the output folder's files by path. Done is what ``metadata.jsonl`` has with the same source content
    and what is still there with the sha256 recorded. A video refused before is not tried again unless it changed.
    """
    videos = sorted((f for f in files if is_video(f.name, extensions) and is_safe_path(f.path)), key=natural_order)
    names = output_names([video.path for video in videos], published.names())
    refused = {(q.path, q.sha256): q for q in quarantined if q.sha256}
    done: list[tuple[RemoteFile, Record]] = []
    kept: list[Quarantined] = []
    todo: list[Video] = []
    for video in videos:
        record = published.record_of(video)
        if record is not None and _is_there(video.folder, record, existing):
            done.append((video, record))
        elif (video.path, video.sha256) in refused:
            kept.append(refused[video.path, video.sha256])
        else:
            todo.append(Video(video, names[video.path]))
    batches = tuple(tuple(todo[start : start + batch_size]) for start in range(0, len(todo), batch_size))
    return FolderPlan(batches, tuple(done), tuple(kept))


def _is_there(folder: str, record: Record, existing: Mapping[str, RemoteFile]) -> bool:
    file = existing.get(f"{folder}/{record.get('file_name')}")
    return file is not None and file.size == record.get("size") and file.sha256 in {"", record.get("sha256")}


def natural_order(file: RemoteFile) -> tuple[tuple[tuple[int, int, str], ...], str]:
    """Sort key by path with numbers by value: ``2`` before ``10``."""
    return _natural(file.path)


@lru_cache(maxsize=1 << 15)  # a folder's metadata is sorted again with each batch
def _natural(path: str) -> tuple[tuple[tuple[int, int, str], ...], str]:
    parts = re.findall(r"[0-9]+|[^0-9]+", unicodedata.normalize("NFKC", path).casefold())
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts), path


def output_names(sources: Sequence[str], published: Mapping[str, str]) -> dict[str, str]:
    """The path in the output repo of each source path of one folder.

    ``A/ep 01.mp4`` → ``A/ep 01.mkv``. Where several would meet in one name (also where only a case-insensitive disk
    thinks so) each keeps its extension: ``ep 01.mp4.mkv``. A source that was published keeps the name it has.
    """
    kept = {source: published[source] for source in sources if source in published}
    levels = {source: 0 for source in sources if source not in kept}
    while True:
        names = {source: _named(source, level) for source, level in levels.items()}
        holders: dict[str, list[str]] = {}
        for source, name in [*names.items(), *kept.items()]:
            holders.setdefault(_as_disks_see(name), []).append(source)
        meeting = [s for group in holders.values() if len(group) > 1 for s in group if levels.get(s, _LAST) < _LAST]
        if not meeting:
            return {**kept, **names}
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
    tail = digest if level == _LAST or len(_bytes(stem)) > _LONGEST_NAME - len(".mkv") else ""
    while len(_bytes(stem + tail)) > _LONGEST_NAME - len(".mkv"):
        stem = stem[:-1]
    return str(path.with_name(stem + tail + ".mkv"))


def _bytes(name: str) -> bytes:
    """As a disk keeps it; a local file's name need not be UTF-8."""
    return name.encode("utf-8", "surrogateescape")


class Published:
    """A folder's ``metadata.jsonl``: one record a source path; lines it can't read are kept as they are."""

    def __init__(
        self, records: Mapping[str, Record], foreign: Sequence[str] = (), lines: Mapping[str, bytes] | None = None
    ) -> None:
        self._records = dict(records)
        self._lines = dict(lines or {})  # records as they were encoded before
        self.foreign = tuple(foreign)

    @classmethod
    def parse(cls, content: bytes | None) -> "Published":
        """From the file's bytes, or None where there is no file."""
        records: dict[str, Record] = {}
        foreign: list[str] = []
        for line in (content or b"").decode("utf-8", "surrogateescape").split("\n"):
            try:
                entry = json.loads(line) if line.strip() else None
            except ValueError:
                entry = line
            if isinstance(entry, dict) and all(isinstance(entry.get(k), str) for k in ("source_path", "file_name")):
                records[entry["source_path"]] = entry
            elif entry is not None:
                foreign.append(line)
        return cls(records, foreign)

    def names(self) -> dict[str, str]:
        """Source path → output path of everything published."""
        return {
            source: str(PurePosixPath(source).with_name(PurePosixPath(str(record["file_name"])).name))
            for source, record in self._records.items()
            if is_safe_path(source) and is_safe_path(str(record["file_name"]))
        }

    def record_of(self, source: RemoteFile) -> Record | None:
        """The record made of exactly this source content; by size where the hub does not tell its sha256."""
        record = self._records.get(source.path)
        if record is None:
            return None
        if source.sha256:
            return record if record.get("source_sha256") == source.sha256 else None
        return record if record.get("source_size") == source.size else None

    def with_records(self, records: Iterable[Record]) -> "Published":
        """These records added, each in the place of an older one of its source."""
        new = {str(record["source_path"]): record for record in records}
        kept = {source: line for source, line in self._lines.items() if source not in new}
        return Published({**self._records, **new}, self.foreign, kept)

    def encode(self) -> bytes:
        """The file: foreign lines first, then the records by natural order of their source."""
        for source in self._records.keys() - self._lines.keys():
            line = json.dumps(self._records[source], ensure_ascii=False)
            self._lines[source] = line.encode("utf-8", "surrogateescape") + b"\n"
        foreign = "".join(line + "\n" for line in self.foreign).encode("utf-8", "surrogateescape")
        return foreign + b"".join(self._lines[source] for source in sorted(self._records, key=_natural))
