"""What is told of a scene's picture, its name in an archive, and the archive's bytes. Pure.

An archive is a tar in WebDataset form: ``<key>.json`` and ``<key>.webp`` one after the other. The same pictures give
the same bytes: no times, no owners, one order. Names are plain USTAR, so that archives are joined by their members
alone.
"""

import base64
import hashlib
import json
import re
import tarfile
import unicodedata
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import count, pairwise
from pathlib import PurePosixPath
from typing import Any, TypeVar, cast

from tools.core.columns import Column
from tools.core.message import message

R = TypeVar("R", bound=Mapping[str, Any])
BLOCK = 512  # bytes
END = bytes(2 * BLOCK)
"""What ends an archive."""
EMPTY = hashlib.sha256(END).hexdigest(), len(END)
"""sha256 and size of an archive without a picture."""
_LONGEST_STEM = 60  # bytes of UTF-8; with the rest a name fits into the 100 of USTAR
_SAME = 4  # bits of 64 by which the hashes of near-duplicates may differ
_PARTS = ((0, 13), (13, 13), (26, 13), (39, 13), (52, 12))
"""Where (bit) and how long are the parts of a hash: of two that are near-duplicates one of these is the same in both,
since there are more of them than bits that differ."""
MOST = 5000
"""Pictures of one video; what FRAME_MAX_SCENES may be at most."""
_LONGEST_ABOUT = 2 << 20  # bytes of JSON about so many pictures

FRAME_COLUMNS = (
    Column("key", "text", "name of the picture and its JSON in the archive", "归档中图片及其 JSON 的名称"),
    Column("source_path", "text", "the video, in the input dataset", "视频在输入数据集中的路径"),
    Column("source_sha256", "text", "of the video, hex", "视频的 sha256"),
    Column("sha256", "text", "of the picture, hex", "图片的 sha256"),
    Column("scene", "int", "number of the scene in its video, from 1", "视频中的第几个场景，从 1 起"),
    Column("time_s", "float", "time of the picture, seconds from the first one", "图片的时间（秒），从第一帧起"),
    Column("frame", "int", "number of the picture in its video, from 0", "视频中的帧号，从 0 起"),
    Column("scene_begin_s", "float", "first picture of the scene, seconds", "场景开始（秒）"),
    Column("scene_end_s", "float", "end of the scene, seconds", "场景结束（秒）"),
    Column("width", "int", "pixels", "宽度（像素）"),
    Column("height", "int", "pixels", "高度（像素）"),
    Column("hash", "text", "difference hash (dHash) of 64 bits, hex", "64 位差分哈希（dHash）"),
    Column(
        "duplicate_of",
        "text",
        "key of the first picture of the same video that looks nearly the same; empty: none",
        "同一视频中几乎相同的第一张图片的 key；空：没有",
    ),
)
"""The fields of a picture's JSON, in their order: each is there, of one type."""


@dataclass(frozen=True, slots=True)
class Frame:
    """The picture of a scene, as it was made."""

    scene: int  # from 1
    frame: int  # its number in the video, from 0
    time: float  # s from the video's first picture
    begin: float  # s, of the scene
    end: float  # s
    width: int  # pixels
    height: int
    hash: str  # 16 hex digits
    sha256: str  # hex, of the WebP file


@dataclass(frozen=True, slots=True)
class Origin:
    """The video that pictures come from."""

    path: str  # in the input dataset, or a file's name
    sha256: str  # hex


def key_stem(path: str) -> str:
    """What the keys of a video's pictures begin with: no dot, which ends a key for readers, and unlike that of any
    other path."""
    name = unicodedata.normalize("NFC", PurePosixPath(path).stem)
    plain = re.sub(r"[^\w-]+", "_", name).strip("_")
    while len(plain.encode("utf-8", "replace")) > _LONGEST_STEM:
        plain = plain[:-1]
    digest = hashlib.sha256(path.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{plain}-{digest}" if plain else digest


def rows_of(origin: Origin, frames: Sequence[Frame]) -> list[dict[str, Any]]:
    """What each picture's JSON says, the fields of ``FRAME_COLUMNS``."""
    stem = key_stem(origin.path)
    keys = [f"{stem}-{frame.scene:05d}" for frame in frames]
    firsts = duplicates([frame.hash for frame in frames])
    return [
        {
            "key": key,
            "source_path": origin.path,
            "source_sha256": origin.sha256,
            "sha256": frame.sha256,
            "scene": frame.scene,
            "time_s": float(frame.time),
            "frame": frame.frame,
            "scene_begin_s": float(frame.begin),
            "scene_end_s": float(frame.end),
            "width": frame.width,
            "height": frame.height,
            "hash": frame.hash,
            "duplicate_of": "" if first is None else keys[first],
        }
        for key, frame, first in zip(keys, frames, firsts, strict=True)
    ]


def duplicates(hashes: Sequence[str]) -> list[int | None]:
    """Of each picture the first one before it that looks nearly the same, which is itself none's duplicate."""
    firsts: dict[tuple[int, int], list[tuple[int, int]]] = {}  # by a part of their hashes: number, hash
    found: list[int | None] = []
    for number, text in enumerate(hashes):
        value = int(text, 16)
        parts = [(place, value >> place & (1 << length) - 1) for place, length in _PARTS]
        near = (
            place for part in parts for place, other in firsts.get(part, ()) if (value ^ other).bit_count() <= _SAME
        )
        same = min(near, default=None)
        found.append(same)
        for part in parts if same is None else ():
            firsts.setdefault(part, []).append((number, value))
    return found


def row_bytes(row: Mapping[str, Any]) -> bytes:
    """One line of JSON, without its end."""
    return json.dumps(row, ensure_ascii=False).encode("utf-8", "backslashreplace")


def member(name: str, content: bytes) -> Iterable[bytes]:
    """A file of an archive, as its blocks."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), 0o644
    yield entry.tobuf(tarfile.USTAR_FORMAT, "utf-8", "surrogateescape")
    yield content
    yield bytes(-len(content) % BLOCK)


@dataclass(frozen=True, slots=True)
class About:
    """What is told of a video's pictures on the way to who publishes them: nothing that its source tells."""

    scenes: int = 0
    frames: tuple[Frame, ...] = ()

    def as_text(self) -> str:
        """A line of ASCII, about 75 bytes per picture: it stands in a journal and in a worker's result."""
        told = [self.scenes, [[getattr(frame, name) for name in _TOLD] for frame in self.frames]]
        return base64.b64encode(zlib.compress(json.dumps(told).encode(), 9)).decode()

    @classmethod
    def of_text(cls, text: str) -> "About":
        """Raises ValueError for what ``as_text`` did not give; "" tells of nothing."""
        if not text:
            return cls()
        try:
            unpacking = zlib.decompressobj()
            content = unpacking.decompress(base64.b64decode(text, validate=True), _LONGEST_ABOUT)
            scenes, told = json.loads(content) if unpacking.eof else (None, ())
            frames = tuple(Frame(*values) for values in told)
        except (zlib.error, TypeError, RecursionError) as exc:
            raise ValueError("this tells nothing of frames") from exc
        if type(scenes) is not int or not 0 <= scenes <= MOST or not all(map(_is_told, frames)):
            raise ValueError("this tells nothing of frames")
        if not all(a < b for a, b in pairwise([0, *(frame.scene for frame in frames), scenes + 1])):
            raise ValueError("this tells nothing of frames")
        return cls(scenes, frames)


def told_of(text: str) -> About:
    """What a text tells of pictures; nothing if it is none of ``as_text``, as one of an older version."""
    try:
        return About.of_text(text)
    except ValueError:
        return About()


_TOLD = tuple(field.name for field in fields(Frame))
_LARGEST_NUMBER = 1e9  # of a time in s, a picture, a length in pixels
_HASH, _SHA256 = re.compile("[0-9a-f]{16}"), re.compile("[0-9a-f]{64}")


def _is_told(frame: Frame) -> bool:
    numbers = frame.scene, frame.frame, frame.width, frame.height
    times = frame.begin, frame.time, frame.end
    return (
        all(type(one) is int and 0 <= one < _LARGEST_NUMBER for one in numbers)
        and all(type(one) in (int, float) for one in times)
        and 0 <= frame.begin <= frame.time <= frame.end < _LARGEST_NUMBER
        and isinstance(frame.hash, str)
        and isinstance(frame.sha256, str)
        and bool(_HASH.fullmatch(frame.hash) and _SHA256.fullmatch(frame.sha256))
    )


def archive_name(folder: str, number: int, total: int, piece: int = 1) -> str:
    """``A_part01of03.tar``: of the batches of a folder the archive of one; a further piece of it ends in ``-2``."""
    leaf = folder.rpartition("/")[2] or "root"
    while len(leaf.encode("utf-8", "replace")) > _LONGEST_LEAF:
        leaf = leaf[:-1]
    return f"{leaf}_part{number:02}of{total:02}{f'-{piece}' if piece > 1 else ''}.tar"


def last_part(folder: str, names: Iterable[str]) -> int:
    """The highest number of an archive among the names in a folder, 0 if there is none."""
    found = (re.fullmatch(r".*_part(\d{2,6})of\d{2,6}(-\d+)?\.tar", name, re.DOTALL) for name in names)
    return max((int(match[1]) for match in found if match), default=0)


def new_names(folder: str, number: int, total: int, there: Collection[str]) -> Iterator[str]:
    """Names for the archives of one batch, without end, the ``number``-th of ``total``: none of those that are
    ``there``, whatever numbers somebody gave to those."""
    names = (archive_name(folder, number, max(number, total), piece) for piece in count(1))
    return (name for name in names if name not in there)


def samples_in(head: Callable[[int], bytes], size: int) -> Iterator[tuple[int, int]]:
    """(offset, bytes) of each picture with its JSON in a video's archive; ``head`` reads 512 bytes at an offset.

    Raises ValueError for what is none of ours."""
    at = begin = 0
    while at < size - len(END):
        for _ in range(2):
            try:
                entry = tarfile.TarInfo.frombuf(head(at), "utf-8", "surrogateescape")
            except tarfile.HeaderError as exc:
                raise ValueError(f"no archive of frames: {exc}") from exc
            if entry.size < 0:
                raise ValueError("no archive of frames: a member of negative size")
            at += BLOCK + -(-entry.size // BLOCK) * BLOCK
        yield begin, at - begin
        begin = at


def packed(sizes: Sequence[int], limit: int) -> list[list[int]]:
    """Which samples, by number, go into which archive of at most ``limit`` bytes; one that is larger is alone."""
    found: list[list[int]] = []
    used = 0
    for number, size in enumerate(sizes):
        if not found or used + size + len(END) > limit:
            found.append([])
            used = 0
        found[-1].append(number)
        used += size
    return found


_NONE = "no frames: "
"""How a record's warning begins that says why there is no picture, for what the video is."""
_LACKS = "frames were not made: they need an ffmpeg with "
"""And how one for what the machine lacked that tried; the names of that follow."""
_LONGEST_CAUSE = 500  # characters
_LONGEST_LEAF = 200  # bytes of UTF-8


def with_rows(content: bytes, added: Iterable[tuple[str, Iterable[Mapping[str, Any]]]]) -> list[str]:
    """The lines of a ``metadata.jsonl`` with these archives' rows, in the place of older ones of the same videos; lines
    that are not ours are kept."""
    new = [{"archive": archive, **row} for archive, rows in added for row in rows]
    sources = {row["source_path"] for row in new}
    kept = [line for line in lines_of(content) if line.strip() and source_of(line) not in sources]
    return [*kept, *(row_bytes(row).decode("utf-8", "surrogateescape") for row in new)]


def says_of_none(record: Mapping[str, Any]) -> bool:
    """Whether a record says why there is no picture of its video."""
    return any(map(tells_of_none, _warnings(record)))


def _warnings(record: Mapping[str, Any]) -> list[str]:
    warnings = record.get("warnings") or ""
    return list(map(str, warnings)) if isinstance(warnings, list) else str(warnings).splitlines()


def tells_of_none(warning: str) -> bool:
    """Whether a warning says why there is no picture of a video, for what the video is."""
    return warning.startswith(_NONE)


def lack(names: Iterable[str]) -> str:
    """The warning of a machine whose ffmpeg lacks these."""
    return message(f"frames were not made: they need an ffmpeg with {', '.join(sorted(names))}")


def lacked(record: Mapping[str, Any]) -> frozenset[str]:
    """What its pictures need, and whoever tried last to make them did not have."""
    found = (line.removeprefix(_LACKS).split(", ") for line in _warnings(record) if line.startswith(_LACKS))
    return frozenset(name for names in found for name in names)


def tells_of_pictures(warning: str) -> bool:
    """Whether a record keeps this warning, as it stands, of who looked for pictures."""
    return tells_of_none(warning) or warning.startswith(_LACKS)


def may_have_pictures(record: Mapping[str, Any]) -> bool:
    """Whether a published video may have pictures of its own: it is no other one's result, and nothing said why it has
    none."""
    return not record.get("reused_from") and not says_of_none(record)


def completed(record: R, made: Mapping[str, Any]) -> R:
    """A published record with what whoever looked at its MKV says of pictures, in the place of what somebody lacked
    who tried before."""
    if says_of_none(record):
        return record
    cause = next((line for line in str(made.get("warnings")).splitlines() if tells_of_pictures(line)), "")
    if cause:
        return without_pictures(record, cause)
    return _told(record, _kept(record)) if lacked(record) else record


def without_pictures(record: R, cause: str) -> R:
    """A published record that says why there is no picture. Nobody looks for one again unless the cause is ``lack``."""
    line = " ".join(cause.split())
    line = (line if tells_of_pictures(line) else _NONE + line)[:_LONGEST_CAUSE].encode("utf-8", "replace").decode()
    return _told(record, [*_kept(record), line])


def _kept(record: Mapping[str, Any]) -> list[str]:
    return [line for line in _warnings(record) if not line.startswith(_LACKS)]


def _told(record: R, warnings: Sequence[str]) -> R:
    return cast(R, {**record, "warnings": "\n".join(warnings)})


def rows_text(lines: Sequence[str]) -> bytes:
    """A ``metadata.jsonl`` of these lines."""
    return "".join(line + "\n" for line in lines).encode("utf-8", "surrogateescape")


def lines_of(content: bytes) -> list[str]:
    """Of a ``metadata.jsonl``: a text in it may hold what ends lines elsewhere, such as U+2028."""
    return content.decode("utf-8", "surrogateescape").split("\n")


def source_of(line: str) -> str | None:
    """The path of the video that a line is about; None if it is none of ours."""
    row = row_in(line)
    return None if row is None else str(row["source_path"])


def row_in(line: str) -> dict[str, Any] | None:
    """The row of a line; None if it is none of ours."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    texts = ("archive", "key", "source_path", "source_sha256", "sha256")
    return row if isinstance(row, dict) and all(isinstance(row.get(name), str) for name in texts) else None
