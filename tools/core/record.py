"""What is published of a video: its record, one line of its folder's ``metadata.jsonl``, and that file as a whole."""

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any, TypedDict, cast

from tools.core.folder import RemoteFile, is_safe_path

METADATA = "metadata.jsonl"


class _Named(TypedDict):
    file_name: str  # of the MKV, in the folder that holds the ``metadata.jsonl``
    source_path: str  # in the input repo, whole


class Record(_Named, total=False):
    """One line of ``metadata.jsonl``: where a published video comes from and how it was made.

    Provenance for readers, and the durable proof of what is done. Lines of an older version may lack a field, and what
    they have beyond these is kept.
    """

    source_sha256: str  # hex
    source_size: int  # bytes
    sha256: str  # hex, of the MKV
    size: int  # bytes, of the MKV
    duration_s: float  # s
    frames: int  # pictures of the first video stream
    width: int  # pixels
    height: int  # pixels
    encoder: str  # what encoded the pictures
    settings: str  # of the encoder, as it was called
    streams: list[dict[str, Any]]  # one entry per source stream: what became of it
    quality: Mapping[str, Any] | None  # measured against the source; None if it was not measured
    attempt_time: str  # local ISO 8601 with offset, s: when the conversion began
    warnings: list[str]  # one line for each thing dropped or damaged; absent if there was none


class Published:
    """A folder's ``metadata.jsonl``: one record per source path; lines it can't read are kept as they are."""

    def __init__(
        self, records: Mapping[str, Record], foreign: Sequence[str] = (), lines: Mapping[str, bytes] | None = None
    ) -> None:
        self._records = dict(records)
        self._lines = dict(lines or {})  # records as they were encoded before
        self.foreign = tuple(foreign)

    @classmethod
    def parse(cls, content: bytes | None) -> "Published":
        """From the file's bytes, or None without a file."""
        records: dict[str, Record] = {}
        foreign: list[str] = []
        for line in (content or b"").decode("utf-8", "surrogateescape").split("\n"):
            try:
                entry = json.loads(line) if line.strip() else None
            except (ValueError, RecursionError):  # the latter for brackets by the thousand
                entry = line
            if isinstance(entry, dict) and all(isinstance(entry.get(k), str) for k in ("source_path", "file_name")):
                records[entry["source_path"]] = cast(Record, entry)
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
        """The record made of exactly this source content; by size if the hub does not tell its sha256."""
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
        return Published(self._records | new, self.foreign, kept)

    def encode(self) -> bytes:
        """The file: foreign lines first, then the records by natural order of their source."""
        for source in self._records.keys() - self._lines.keys():
            line = json.dumps(self._records[source], ensure_ascii=False)
            self._lines[source] = line.encode("utf-8", "surrogateescape") + b"\n"
        foreign = "".join(line + "\n" for line in self.foreign).encode("utf-8", "surrogateescape")
        return foreign + b"".join(self._lines[source] for source in sorted(self._records, key=_natural))


def natural_order(file: RemoteFile) -> tuple[tuple[tuple[int, int, str], ...], str]:
    """Sort key by path with numbers by value: ``2`` before ``10``."""
    return _natural(file.path)


@lru_cache(maxsize=1 << 15)  # each batch sorts its folder's metadata again
def _natural(path: str) -> tuple[tuple[tuple[int, int, str], ...], str]:
    parts = re.findall(r"[0-9]+|[^0-9]+", unicodedata.normalize("NFKC", path).casefold())
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts), path
