"""What is published of a video: its record, one line of its folder's ``metadata.jsonl``, and that file as a whole."""

import codecs
import contextlib
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any, TypedDict, cast

from tools.core.columns import LARGEST, lifted, row
from tools.core.folder import RemoteFile, is_safe_path

METADATA = "metadata.jsonl"


class _Named(TypedDict):
    file_name: str  # of the MKV, in the folder that holds the ``metadata.jsonl``
    source_path: str  # in the input repo, whole


class Record(_Named, total=False):
    """Where a published video comes from and how it was made: a row of ``metadata.jsonl``, see ``tools.core.columns``.

    Provenance for readers, and the durable proof of what is done. Rows of an older version may lack a field, or have it
    in another shape; what they have beyond these is kept.
    """

    source_repo: str  # the input repo; a line of an older version lacks it
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
    options: str  # what decided this file, not the machine: see ``tools.core.options``
    streams: list[dict[str, Any]]  # one entry per source stream: what became of it
    quality: Mapping[str, Any] | str | None  # measured against the source; None or "" if it was not measured
    target: Mapping[str, Any] | str | None  # what its encode was aimed at, see ``tools.media.aim``; None or "": nothing
    attempt_time: str  # local ISO 8601 with offset, s: when the conversion began
    conversion_s: float  # s that making and verifying it took, without waits
    reused_from: str  # path of the result that this one is, made of a source with the same bytes; "" or absent: none
    warnings: str  # one line for each thing dropped or damaged; "" or absent if there was none


_KINDS: dict[str, tuple[type, ...]] = {
    "source_repo": (str,),
    "source_sha256": (str,),
    "source_size": (int,),
    "sha256": (str,),
    "size": (int,),
    "duration_s": (int, float),
    "frames": (int,),
    "width": (int,),
    "height": (int,),
    "encoder": (str,),
    "settings": (str,),
    "options": (str,),
    "streams": (list,),
    "quality": (dict, str),
    "target": (dict, str),
    "attempt_time": (str,),
    "conversion_s": (int, float),
    "reused_from": (str,),
    "warnings": (str, list),  # a list in rows of older versions
}
_ABOUT_SOURCE = frozenset({"source_repo", "source_sha256", "source_size", "sha256", "size", "reused_from"})


class Published:
    """A folder's ``metadata.jsonl``: one record per source path of one input repo.

    Anybody may have written there. A line whose fields are not what they are called is no record, and kept as it is.
    Records of other input repos are kept, too. A record that names no input repo (an older version's) counts as ours.
    Whatever version wrote a record: it is written as a row with every column. Of several records of one source the last
    counts. One of another file before it is kept as it is, like what is not ours; one of the same file is replaced.
    """

    def __init__(
        self,
        records: Mapping[str, Record],
        foreign: Sequence[str] = (),
        lines: Mapping[str, bytes] | None = None,
        others: Mapping[tuple[str, str], tuple[Record, bytes]] | None = None,
    ) -> None:
        self._records = dict(records)
        self._lines = dict(lines or {})  # records as they stand in the file
        self._rows: dict[tuple[str, str], bytes] = {}  # and as they are to stand there, by source path and repo
        self._others = dict(others or {})  # of other input repos, by source path and repo; as they stand in the file
        self.foreign = tuple(foreign)
        self.doubled: tuple[str, ...] = ()
        """The sources that the file had several records of."""

    @classmethod
    def parse(cls, content: bytes | None, repo: str = "") -> "Published":
        """From the file's bytes, or None without a file. ``repo``: the input repo whose records it is about; "" = all
        are."""
        records: dict[str, Record] = {}
        lines: dict[str, bytes] = {}
        foreign: list[str] = []
        others: dict[tuple[str, str], tuple[Record, bytes]] = {}
        doubled: dict[str, None] = {}
        for line in _text_of(content or b"").split("\n"):
            record = _record_of(line)
            kept = line.encode("utf-8", "surrogateescape") + b"\n"
            if record is not None and repo and record.get("source_repo") not in {None, "", repo}:
                key = record["source_path"], record["source_repo"]
                if key in others and others[key][1] != kept:
                    foreign.append(_text_of_line(others[key][1]))
                others[key] = record, kept
            elif record is not None:
                source = record["source_path"]
                if source in records and lines[source] != kept:
                    doubled[source] = None
                    if records[source]["file_name"] != record["file_name"]:
                        foreign.append(_text_of_line(lines[source]))
                records[source], lines[source] = record, kept
            elif line.strip():
                foreign.append(line)
        published = cls(records, foreign, lines, others)
        published.doubled = tuple(doubled)
        return published

    @property
    def records(self) -> Mapping[str, Record]:
        """By source path."""
        return self._records

    def names(self) -> dict[str, str]:
        """Source path → output path of everything published."""
        found = {source: _name_of(source, str(record["file_name"])) for source, record in self._records.items()}
        return {source: name for source, name in found.items() if name is not None}

    def names_of_others(self) -> set[str]:
        """Output paths of what other input repos have published."""
        found = (_name_of(path, str(record["file_name"])) for (path, _), (record, _) in self._others.items())
        return {name for name in found if name is not None}

    def record_of(self, source: RemoteFile) -> Record | None:
        """The record made of exactly this source content; by size if the hub does not tell its sha256."""
        record = self._records.get(source.path)
        if record is None:
            return None
        if source.sha256:
            return record if record.get("source_sha256") == source.sha256 else None
        return record if record.get("source_size") == source.size else None

    def record_of_others(self, source: RemoteFile) -> Record | None:
        """The record that another input repo has of a file of this path and content."""
        found = (record for (path, _), (record, _) in self._others.items() if path == source.path and source.sha256)
        return next((record for record in found if record.get("source_sha256") == source.sha256), None)

    def names_in_other_lines(self) -> set[str]:
        """The names of files, in the folder, that lines tell of which are no record of a source here."""
        found = (_record_of(line) for line in self.foreign)
        return {PurePosixPath(record["file_name"]).name for record in found if record is not None}

    def without(self, sources: Iterable[str]) -> "Published":
        """Without the records of these sources."""
        gone = set(sources)
        left = {source: record for source, record in self._records.items() if source not in gone}
        lines = {source: line for source, line in self._lines.items() if source not in gone}
        return Published(left, self.foreign, lines, self._others)

    def with_records(self, records: Iterable[Record]) -> "Published":
        """These records added, each in the place of an older one of its source, or of one whose file it replaces."""
        new = {str(record["source_path"]): record for record in records}
        names = set(Published(new).names().values())
        replaced = {source for source, name in self.names().items() if name in names} - new.keys()
        old = {source: record for source, record in self._records.items() if source not in replaced}
        kept = {source: line for source, line in self._lines.items() if source in old and source not in new}
        made = Published(old | new, self.foreign, kept, self._others)
        made._rows = {key: line for key, line in self._rows.items() if key[1] or key[0] in kept}
        return made

    def encode(self) -> bytes:
        """The file: foreign lines first, then a row for each record by natural order of their source. A record among
        the foreign ones (of a source that has another) is a row, too."""
        ours = {(source, ""): (record, self._lines.get(source)) for source, record in self._records.items()}
        found: dict[tuple[str, str], tuple[Record, bytes | None]] = {**ours, **self._others}
        for key in found.keys() - self._rows.keys():
            self._rows[key] = _line(*found[key])
        foreign = b"".join(map(_foreign_line, self.foreign))
        return foreign + b"".join(self._rows[key] for key in sorted(found, key=lambda key: (_natural(key[0]), key[1])))


def _line(record: Record, kept: bytes | None) -> bytes:
    """A record as a row; as it stands in the file if it nests too deeply to be written again."""
    try:
        made = json.dumps(row(record), ensure_ascii=False)
    except RecursionError:
        if kept is None:
            raise
        return kept
    return made.encode("utf-8", "surrogateescape") + b"\n"


def _foreign_line(text: str) -> bytes:
    record, kept = _record_of(text), text.encode("utf-8", "surrogateescape") + b"\n"
    return kept if record is None else _line(record, kept)


def _text_of_line(kept: bytes) -> str:
    return kept.decode("utf-8", "surrogateescape").removesuffix("\n")


def _name_of(source: str, file_name: str) -> str | None:
    """The output path of a source; None if one of them is no path that anybody should use."""
    if not (is_safe_path(source) and is_safe_path(file_name)):
        return None
    return str(PurePosixPath(source).with_name(PurePosixPath(file_name).name))


def _text_of(content: bytes) -> str:
    """UTF-8, or what a byte order mark says; what is neither comes back as it was."""
    with contextlib.suppress(UnicodeDecodeError):
        if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return content.decode("utf-16")
    return content.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape")


def _record_of(line: str) -> Record | None:
    """The record of a line; None if it is none."""
    try:
        entry = json.loads(line, parse_constant=_refuse) if line.strip() else None
    except (ValueError, RecursionError):  # the latter for brackets by the thousand
        return None
    if not isinstance(entry, dict):
        return None
    entry = lifted(entry)
    if not all(isinstance(entry.get(key), str) for key in _Named.__annotations__) or not _can_be_written(line, entry):
        return None
    return cast(Record, entry) if all(_fits(entry.get(key), kinds) for key, kinds in _KINDS.items()) else None


def _can_be_written(line: str, entry: dict[str, Any]) -> bool:
    """Half of a surrogate pair can be spelled in JSON and written in no encoding: such a row stays as it is."""
    if "\\u" not in line:
        return True
    try:
        json.dumps(entry, ensure_ascii=False).encode("utf-8", "surrogateescape")
    except (ValueError, RecursionError):
        return False
    return True


def made_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Those that say how it was made, in the order of a record. Raises ValueError if one is not what it is called."""
    made = {key: fields[key] for key in _KINDS if key in fields and key not in _ABOUT_SOURCE}
    for key, value in made.items():
        if not _fits(value, _KINDS[key]):
            raise ValueError(f"{key} of a record is a {type(value).__name__}, or out of range")
    return made


def _fits(value: object, kinds: tuple[type, ...]) -> bool:
    """Whether a field that is there makes sense."""
    if isinstance(value, int | float):
        return isinstance(value, kinds) and not isinstance(value, bool) and 0 <= value < LARGEST
    return value is None or isinstance(value, kinds)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def natural_order(file: RemoteFile) -> tuple[tuple[tuple[int, int, str], ...], str]:
    """Sort key by path with numbers by value: ``2`` before ``10``."""
    return _natural(file.path)


@lru_cache(maxsize=1 << 15)  # each batch sorts its folder's metadata again
def _natural(path: str) -> tuple[tuple[tuple[int, int, str], ...], str]:
    parts = re.findall(r"[0-9]+|[^0-9]+", unicodedata.normalize("NFKC", path).casefold())
    # A number as its digits, by their count first: somebody may name a file with more than ``int`` reads.
    numbers = (part.lstrip("0") if part.isdecimal() else None for part in parts)
    keys = ((1, 0, part) if n is None else (0, len(n), n) for part, n in zip(parts, numbers, strict=True))
    return tuple(keys), path
