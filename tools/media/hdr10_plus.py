"""HDR10+ of a film → back into its AV1 pictures, since only one encoder's wrapper writes it there.

ffmpeg's libaom wrapper writes a picture's values as AV1 wants them (ITU-T T.35 in a metadata OBU). So the encode makes
a second stream beside the real one, of a corner of each picture, whose pictures are thrown away: its metadata OBUs are
moved into the encoded film, picture by picture.
Source: AV1 bitstream specification §5.3, §5.8; HDR10+ AV1 metadata handling §2.1; RFC 9559; IVF as ffmpeg's ivfenc.c.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from tools.core.message import message

WRITER = "libaom-av1"
CORNER = "crop=16:16:0:0"  # the smallest picture that libaom takes
VALUES = "values.ivf"
"""Beside the output while it is made: the second stream."""

_METADATA, _FRAME_HEADER, _FRAME = 5, 3, 6  # types of OBU
_T35_HDR10_PLUS = b"\x04\xb5\x00\x3c\x00\x01\x04"  # metadata type; country, provider, its code; application
_IVF_HEAD, _IVF_FRAME_HEAD = 32, 12  # bytes
_OFF = 3  # ms that two times of one picture may be apart; Matroska's are whole ones


class NotTheSame(Exception):
    """The two streams have not the same pictures; the message says how that was seen."""


def put_back(encoded: Path, values: Path) -> int:
    """Move the values into the first video of a Matroska file that ffmpeg made; how many pictures have some.

    The file has no index after that, unless there are none. Raises NotTheSame, OSError, which leave it as it was.
    """
    given = list(values_in(values))
    count = sum(bool(obu) for _, obu in given)
    if count:
        target = encoded.with_name(f"{encoded.name}.new")
        place = _Place(given)
        try:
            rewritten(encoded, target, place.changed)
            place.check_end()
            target.replace(encoded)
        finally:
            target.unlink(missing_ok=True)
    return count


class _Place:
    """Which picture of the encoded film is which of the second stream: temporal units come in the order of display."""

    def __init__(self, given: list[tuple[float, bytes]]) -> None:
        self._given = given
        self._next = 0
        self._apart = 0.0  # ms

    def changed(self, time: int, unit: bytes) -> bytes:
        if self._next >= len(self._given):
            raise NotTheSame(message(f"there are more than {len(self._given)} pictures"))
        own, obu = self._given[self._next]
        if self._next == 0:
            self._apart = time - own
        if abs(time - own - self._apart) > _OFF:
            raise NotTheSame(message(f"the times of picture {self._next} differ"))
        self._next += 1
        return with_obu(unit, obu)

    def check_end(self) -> None:
        if self._next != len(self._given):
            raise NotTheSame(message(f"there are {self._next} of {len(self._given)} pictures"))


def values_in(path: Path) -> Iterator[tuple[float, bytes]]:
    """(time in ms, the OBU with HDR10+ or b"") of each picture of an IVF file with AV1."""
    with path.open("rb") as stream:
        head = stream.read(_IVF_HEAD)
        above, below = int.from_bytes(head[16:20], "little"), int.from_bytes(head[20:24], "little")
        if head[:4] != b"DKIF" or not above:
            raise NotTheSame(message("the values of its pictures were not written"))
        while len(about := stream.read(_IVF_FRAME_HEAD)) == _IVF_FRAME_HEAD:
            unit = stream.read(int.from_bytes(about[:4], "little"))
            own = [unit[begin:end] for kind, begin, inner, end in obus(unit) if _is_wanted(kind, unit[inner:end])]
            yield 1000 * int.from_bytes(about[4:], "little") * below / above, b"".join(own[:1])


def _is_wanted(kind: int, payload: bytes) -> bool:
    return kind == _METADATA and payload.startswith(_T35_HDR10_PLUS)


def obus(unit: bytes) -> Iterator[tuple[int, int, int, int]]:
    """(type, where it begins, where its payload begins, where it ends) of each OBU. What is damaged ends them."""
    at = 0
    while at < len(unit):
        begin, head = at, unit[at]
        at += 2 if head & 4 else 1  # the extension
        size = len(unit) - at
        if head & 2:
            size, at = _leb128(unit, at)
        if head & 0x80 or size < 0 or at + size > len(unit):
            return
        yield head >> 3 & 15, begin, at, at + size
        at += size


def _leb128(data: bytes, at: int) -> tuple[int, int]:
    """(value, where it ends); -1 for none."""
    value = 0
    for number in range(8):
        if at + number >= len(data):
            break
        value |= (data[at + number] & 0x7F) << 7 * number
        if not data[at + number] & 0x80:
            return value, at + number + 1
    return -1, at


def with_obu(unit: bytes, obu: bytes) -> bytes:
    """The temporal unit with the OBU in front of the frame that it shows, which is its last, and behind the others."""
    frames = [begin for kind, begin, _, _ in obus(unit) if kind in {_FRAME_HEADER, _FRAME}]
    if obu and not frames:
        raise NotTheSame(message("a picture of the encoder's has no frame"))
    return unit[: frames[-1]] + obu + unit[frames[-1] :] if obu else unit


# Identifiers of RFC 9559. An element without a size is nothing that ffmpeg writes into a file.
_SEGMENT, _CLUSTER, _CRC, _VOID = b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75", b"\xbf", b"\xec"
_INDEX = frozenset({b"\x11\x4d\x9b\x74", b"\x1c\x53\xbb\x6b", _VOID})  # places in the file, which change
_TIME, _SIMPLE_BLOCK, _GROUP, _BLOCK = b"\xe7", b"\xa3", b"\xa0", b"\xa1"
_LARGEST_CLUSTER = 1 << 30  # bytes
_FIRST_TRACK = 0x81
_BLOCK_HEAD = 4  # bytes: track, time, flags
_LACED = 0x06
_PIECE = 1 << 20  # bytes


def rewritten(source: Path, target: Path, change: Callable[[int, bytes], bytes]) -> None:
    """The file with the pictures of its first track changed, without what tells places in it. ``change``: time in ms
    and packet → packet. Raises NotTheSame, OSError, and what ``change`` does."""
    with source.open("rb") as old, target.open("wb") as new:
        end = source.stat().st_size
        segment = 0
        while old.tell() < end and (element := _next(old)):
            which, size = element
            if which == _SEGMENT:
                new.write(which + _size(0))
                segment = new.tell()
            elif which == _CLUSTER:
                if size > _LARGEST_CLUSTER:
                    raise NotTheSame(message("what the encoder wrote can't be read"))
                new.write(_element(which, _cluster(old.read(size), change)))
            elif which in _INDEX:
                old.seek(size, os.SEEK_CUR)
            else:
                new.write(which + _size(size))
                _copy(old, new, size)
        length = new.tell() - segment
        new.seek(segment - len(_size(0)))
        new.write(_size(length))


def _next(stream: BinaryIO) -> tuple[bytes, int] | None:
    head = stream.read(12)
    read = _read_head(head, 0)
    if read is None:
        raise NotTheSame(message("what the encoder wrote can't be read"))
    which, size, used = read
    stream.seek(used - len(head), os.SEEK_CUR)
    return which, size


def _read_head(data: bytes, at: int) -> tuple[bytes, int, int] | None:
    """(identifier, size, where the content begins) of the element at a place; None for none."""
    if at >= len(data) or not data[at]:
        return None
    middle = at + 9 - data[at].bit_length()
    if middle >= len(data) or not data[middle]:
        return None
    end = middle + 9 - data[middle].bit_length()
    if end > len(data):
        return None
    bits = 7 * (end - middle)
    return data[at:middle], int.from_bytes(data[middle:end], "big") & ((1 << bits) - 1), end


def _parts(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at < len(data):
        head = _read_head(data, at)
        if head is None or head[2] + head[1] > len(data):
            raise NotTheSame(message("what the encoder wrote can't be read"))
        which, size, begin = head
        yield which, data[begin : begin + size]
        at = begin + size


def _cluster(data: bytes, change: Callable[[int, bytes], bytes]) -> bytes:
    base, made = 0, []
    for which, content in _parts(data):
        if which == _TIME:
            base = int.from_bytes(content, "big")
        if which == _SIMPLE_BLOCK:
            content = _block(content, base, change)
        elif which == _GROUP:
            parts = ((inner, _block(own, base, change) if inner == _BLOCK else own) for inner, own in _parts(content))
            content = b"".join(_element(inner, own) for inner, own in parts)
        if which != _CRC:  # of what is not true any more
            made.append(_element(which, content))
    return b"".join(made)


def _block(content: bytes, base: int, change: Callable[[int, bytes], bytes]) -> bytes:
    if len(content) < _BLOCK_HEAD:
        raise NotTheSame(message("what the encoder wrote can't be read"))
    if content[0] != _FIRST_TRACK or content[3] & _LACED:
        return content
    return content[:4] + change(base + int.from_bytes(content[1:3], "big", signed=True), content[4:])


def _element(which: bytes, content: bytes) -> bytes:
    return which + _size(len(content)) + content


def _size(length: int) -> bytes:
    return (1 << 56 | length).to_bytes(8, "big")


def _copy(old: BinaryIO, new: BinaryIO, size: int) -> None:
    while size and (piece := old.read(min(_PIECE, size))):
        new.write(piece)
        size -= len(piece)
