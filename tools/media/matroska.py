"""A Matroska file → what stands around its pictures and sound: segment, tracks, chapters, tags, attachments.

ffprobe shows only a part of it. The reader goes from element to element and skips what is no part of the head
(clusters, the index), so that it takes milliseconds. What is damaged is left out, as a player leaves it out.
Source of the elements: RFC 9559; of their coding: RFC 8794.
"""

import hashlib
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from tools.core.errors import ProbeError

_SEGMENT, _SEEK_HEAD, _CLUSTER = 0x18538067, 0x114D9B74, 0x1F43B675
_UNKNOWN = -1  # size of an element that ends where the next one of its level begins
_MOST_ELEMENTS = 20_000_000  # of one file
_LONGEST_VALUE = 16 << 20  # bytes
_DEEPEST = 24
_PIECE = 1 << 20  # bytes

# Kinds of values: m(aster), u(nsigned), f(loat), t(ext), b(inary), d(igest of what may be large), i(nteger, signed).
_ELEMENTS: dict[int, tuple[str, str]] = {
    _SEGMENT: ("Segment", "m"),
    _SEEK_HEAD: ("SeekHead", "m"),
    0x4DBB: ("Seek", "m"),
    0x53AB: ("SeekID", "u"),
    0x53AC: ("SeekPosition", "u"),
    0x1549A966: ("Info", "m"),
    0x7BA9: ("Title", "t"),
    0x73A4: ("SegmentUUID", "b"),
    0x7384: ("SegmentFilename", "t"),
    0x3CB923: ("PrevUUID", "b"),
    0x3C83AB: ("PrevFilename", "t"),
    0x3EB923: ("NextUUID", "b"),
    0x3E83BB: ("NextFilename", "t"),
    0x4444: ("SegmentFamily", "b"),
    0x4461: ("DateUTC", "i"),
    0x1654AE6B: ("Tracks", "m"),
    0xAE: ("TrackEntry", "m"),
    0x83: ("TrackType", "u"),
    0x73C5: ("TrackUID", "u"),
    0xB9: ("FlagEnabled", "u"),
    0x88: ("FlagDefault", "u"),
    0x55AA: ("FlagForced", "u"),
    0x55AB: ("FlagHearingImpaired", "u"),
    0x55AC: ("FlagVisualImpaired", "u"),
    0x55AD: ("FlagTextDescriptions", "u"),
    0x55AE: ("FlagOriginal", "u"),
    0x55AF: ("FlagCommentary", "u"),
    0x23E383: ("DefaultDuration", "u"),
    0x536E: ("Name", "t"),
    0x22B59C: ("Language", "t"),
    0x22B59D: ("LanguageBCP47", "t"),
    0x86: ("CodecID", "t"),
    0x258688: ("CodecName", "t"),
    0x7446: ("AttachmentLink", "u"),
    0x6FAB: ("TrackOverlay", "u"),
    0x56AA: ("CodecDelay", "u"),
    0x56BB: ("SeekPreRoll", "u"),
    0xE0: ("Video", "m"),
    0x53B8: ("StereoMode", "u"),
    0xB0: ("PixelWidth", "u"),
    0xBA: ("PixelHeight", "u"),
    0x54AA: ("PixelCropBottom", "u"),
    0x54BB: ("PixelCropTop", "u"),
    0x54CC: ("PixelCropLeft", "u"),
    0x54DD: ("PixelCropRight", "u"),
    0x54B0: ("DisplayWidth", "u"),
    0x54BA: ("DisplayHeight", "u"),
    0x54B2: ("DisplayUnit", "u"),
    0x7670: ("Projection", "m"),
    0x7671: ("ProjectionType", "u"),
    0x7672: ("ProjectionPrivate", "b"),
    0x7673: ("ProjectionPoseYaw", "f"),
    0x7674: ("ProjectionPosePitch", "f"),
    0x7675: ("ProjectionPoseRoll", "f"),
    0x1043A770: ("Chapters", "m"),
    0x45B9: ("EditionEntry", "m"),
    0x45BC: ("EditionUID", "u"),
    0x45BD: ("EditionFlagHidden", "u"),
    0x45DB: ("EditionFlagDefault", "u"),
    0x45DD: ("EditionFlagOrdered", "u"),
    0x4520: ("EditionDisplay", "m"),
    0x4521: ("EditionString", "t"),
    0x45E4: ("EditionLanguageIETF", "t"),
    0xB6: ("ChapterAtom", "m"),
    0x73C4: ("ChapterUID", "u"),
    0x5654: ("ChapterStringUID", "t"),
    0x91: ("ChapterTimeStart", "u"),
    0x92: ("ChapterTimeEnd", "u"),
    0x98: ("ChapterFlagHidden", "u"),
    0x4598: ("ChapterFlagEnabled", "u"),
    0x6E67: ("ChapterSegmentUUID", "b"),
    0x4588: ("ChapterSkipType", "u"),
    0x6EBC: ("ChapterSegmentEditionUID", "u"),
    0x63C3: ("ChapterPhysicalEquiv", "u"),
    0x8F: ("ChapterTrack", "m"),
    0x89: ("ChapterTrackUID", "u"),
    0x80: ("ChapterDisplay", "m"),
    0x85: ("ChapString", "t"),
    0x437C: ("ChapLanguage", "t"),
    0x437D: ("ChapLanguageBCP47", "t"),
    0x437E: ("ChapCountry", "t"),
    0x6944: ("ChapProcess", "m"),
    0x6955: ("ChapProcessCodecID", "u"),
    0x450D: ("ChapProcessPrivate", "b"),
    0x6911: ("ChapProcessCommand", "m"),
    0x6922: ("ChapProcessTime", "u"),
    0x6933: ("ChapProcessData", "b"),
    0x1254C367: ("Tags", "m"),
    0x7373: ("Tag", "m"),
    0x63C0: ("Targets", "m"),
    0x68CA: ("TargetTypeValue", "u"),
    0x63CA: ("TargetType", "t"),
    0x63C5: ("TagTrackUID", "u"),
    0x63C9: ("TagEditionUID", "u"),
    0x63C4: ("TagChapterUID", "u"),
    0x63C6: ("TagAttachmentUID", "u"),
    0x67C8: ("SimpleTag", "m"),
    0x45A3: ("TagName", "t"),
    0x447A: ("TagLanguage", "t"),
    0x447B: ("TagLanguageBCP47", "t"),
    0x4484: ("TagDefault", "u"),
    0x4487: ("TagString", "t"),
    0x4485: ("TagBinary", "b"),
    0x1941A469: ("Attachments", "m"),
    0x61A7: ("AttachedFile", "m"),
    0x467E: ("FileDescription", "t"),
    0x466E: ("FileName", "t"),
    0x4660: ("FileMediaType", "t"),
    0x465C: ("FileData", "d"),
    0x46AE: ("FileUID", "u"),
}
_HEAD_PARTS = frozenset({"Info", "Tracks", "Chapters", "Tags", "Attachments"})

Value = int | float | str


@dataclass(frozen=True, slots=True)
class Element:
    """One element: a value, or others in it. Binary values are hexadecimal digits."""

    name: str  # as in RFC 9559
    value: Value = ""
    parts: "tuple[Element, ...]" = ()

    def all(self, name: str) -> "list[Element]":
        return [part for part in self.parts if part.name == name]

    def first(self, name: str) -> "Element":
        """The first of that name, an empty one without."""
        return next((part for part in self.parts if part.name == name), Element(name))

    def has(self, name: str) -> bool:
        return any(part.name == name for part in self.parts)

    def text(self, name: str) -> str:
        """A text or binary value, "" without it."""
        return str(self.first(name).value)

    def number(self, name: str, default: int = 0) -> int:
        found = self.first(name).value
        return found if isinstance(found, int) else default


@dataclass(frozen=True, slots=True)
class Head:
    """All that stands around pictures and sound, in the order of the file."""

    info: Element
    tracks: tuple[Element, ...] = field(default=())
    editions: tuple[Element, ...] = field(default=())
    tags: tuple[Element, ...] = field(default=())
    attachments: tuple[Element, ...] = field(default=())


def read_head(path: Path) -> Head:
    """Of a Matroska file. Raises ProbeError if there is more in it than in any real one, OSError."""
    with path.open("rb") as stream:
        parts = _Reader(stream, path.stat().st_size).segment()

    def inside(outer: str, name: str) -> tuple[Element, ...]:
        return tuple(found for part in parts if part.name == outer for found in part.all(name))

    return Head(
        info=next((part for part in parts if part.name == "Info"), Element("Info")),
        tracks=inside("Tracks", "TrackEntry"),
        editions=inside("Chapters", "EditionEntry"),
        tags=inside("Tags", "Tag"),
        attachments=inside("Attachments", "AttachedFile"),
    )


class _Damaged(Exception):
    """What stands here is no element."""


class _Reader:
    """Reads elements of one file, bounded."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream, self._size, self._read = stream, size, 0

    def segment(self) -> list[Element]:
        """The parts of the head, each once, in the order of the file."""
        found: dict[int, Element] = {}
        seeks: set[int] = set()
        try:
            _, _, begin, length = self._next(0)  # the EBML header
            which, _, begin, length = self._next(begin + max(0, length))
        except _Damaged:
            return []
        if which != _SEGMENT:
            return []
        end = self._size if length == _UNKNOWN else min(self._size, begin + length)
        self._walk(begin, end, found, seeks, begin)
        for position in sorted(seeks - found.keys()):  # behind a damage, where the walk did not get
            self._take(position, found)
        return [found[position] for position in sorted(found)]

    def _walk(self, position: int, end: int, found: dict[int, Element], seeks: set[int], origin: int) -> None:
        while position < end:
            try:
                which, name, begin, length = self._next(position)
            except _Damaged:
                return
            if which == _SEEK_HEAD and length != _UNKNOWN:
                for seek in self._element(name, "m", begin, length, 0).all("Seek"):
                    if _ELEMENTS.get(seek.number("SeekID"), ("", ""))[0] in _HEAD_PARTS:
                        seeks.add(origin + seek.number("SeekPosition"))
            elif name in _HEAD_PARTS and length != _UNKNOWN:
                self._take(position, found)
            # Of an element without a size the walk goes into its parts, which are skipped like the others.
            position = begin + max(0, length)

    def _take(self, position: int, found: dict[int, Element]) -> None:
        try:
            _, name, begin, length = self._next(position)
            if name in _HEAD_PARTS and length != _UNKNOWN:
                found[position] = self._element(name, "m", begin, length, 0)
        except _Damaged:
            return

    def _next(self, position: int) -> tuple[int, str, int, int]:
        """(id, name or "", where its content begins, bytes of it) of the element at ``position``."""
        self._read += 1
        if self._read > _MOST_ELEMENTS:
            raise ProbeError(f"more than {_MOST_ELEMENTS} elements around its pictures and sound")
        self._stream.seek(position)
        head = self._stream.read(12)
        if not head or not head[0] or head[0] < 0x10:
            raise _Damaged
        used = 9 - head[0].bit_length()
        which = int.from_bytes(head[:used], "big")
        if len(head) <= used or not head[used]:
            raise _Damaged
        size = 9 - head[used].bit_length()
        if len(head) < used + size:
            raise _Damaged
        length = int.from_bytes(head[used : used + size], "big") & ((1 << 7 * size) - 1)
        if length == (1 << 7 * size) - 1:
            length = _UNKNOWN
        return which, _ELEMENTS.get(which, ("", ""))[0], position + used + size, length

    def _element(self, name: str, kind: str, begin: int, length: int, depth: int) -> Element:
        if begin + length > self._size or depth > _DEEPEST:
            raise _Damaged
        if kind == "d":
            return Element(name, self._digest(begin, length))
        if kind != "m":
            return Element(name, self._value(kind, begin, length))
        parts = []
        position, end = begin, begin + length
        while position < end:
            try:
                which, part, inner, size = self._next(position)
                if size == _UNKNOWN or inner + size > end:
                    break
                if part:
                    parts.append(self._element(part, _ELEMENTS[which][1], inner, size, depth + 1))
            except _Damaged:
                break
            position = inner + size
        return Element(name, "", tuple(parts))

    def _value(self, kind: str, begin: int, length: int) -> Value:
        if length > _LONGEST_VALUE:
            raise ProbeError(f"a value of {length} bytes around its pictures and sound")
        self._stream.seek(begin)
        content = self._stream.read(length)
        if kind == "t":  # what follows a zero is padding
            return content.split(b"\0", 1)[0].decode("utf-8", "replace")
        if kind == "b":
            return content.hex()
        if kind == "f":
            form = {4: ">f", 8: ">d"}.get(length)
            return float(struct.unpack(form, content)[0]) if form else 0.0
        if length > 8:
            raise _Damaged
        return int.from_bytes(content, "big", signed=kind == "i")

    def _digest(self, begin: int, length: int) -> str:
        """``size:sha256`` of the bytes."""
        digest, left = hashlib.sha256(), length
        self._stream.seek(begin)
        while left and (piece := self._stream.read(min(_PIECE, left))):
            digest.update(piece)
            left -= len(piece)
        return f"{length}:{digest.hexdigest()}"
