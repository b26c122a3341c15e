"""What a file is and how long it says it is, by its own bytes: before any demuxer opens it, and against them.

A demuxer reads a file that was cut as if it ended there, and often without a word; the container's own sizes tell.
"""

import contextlib
import struct
from codecs import getincrementaldecoder
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from tools.core.errors import ProbeError
from tools.core.message import message

_HEAD = 65536  # bytes read
_STARTS = {
    b"\x1a\x45\xdf\xa3": "matroska",
    b"FLV": "flv",
    b".RMF": "rm",
    b"OggS": "ogg",
    b"DKIF": "ivf",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": "asf",
    b"\x00\x00\x01\xba": "mpeg",
    b"\x00\x00\x01\xb3": "mpegvideo",
}
_OTHERS = {  # what is uploaded under the name of a video
    b"Rar!\x1a\x07": message("not a video file but a RAR archive"),
    b"PK\x03\x04": message("not a video file but a ZIP archive"),
    b"7z\xbc\xaf\x27\x1c": message("not a video file but a 7z archive"),
    b"\x1f\x8b": message("not a video file but a gzip archive"),
    b"%PDF-": message("not a video file but a PDF"),
}
_FIRST_BOXES = frozenset({b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot", b"uuid", b"junk"})
# Those that hold pictures or tell of them. Source: ISO/IEC 14496-12, table 1, level 0; imda: §9.1.4.
_BOXES = _FIRST_BOXES | {b"moof", b"mfra", b"meta", b"sidx", b"ssix", b"styp", b"emsg", b"prft", b"imda"}
# An operational pattern's first partition, after a run-in of any kind. Source: SMPTE ST 377-1 §6.5 and §7.1.
_MXF = bytes.fromhex("060e2b34020501010d01020101")
_SYNCS = 5  # transport stream packets in a row that make one certain
# Source: ASF specification 3.2, File Properties Object, as it lies in the file.
_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_MOST_BOXES = 2_000_000


def sniff(path: Path) -> str:
    """The container by its first bytes. Raises ProbeError for what is no video container."""
    with path.open("rb") as stream:
        head = stream.read(_HEAD)
    if not head:
        raise ProbeError("the file is empty")
    name = _container(head)
    if name is None:
        raise ProbeError(_told(head))
    return name


def _told(head: bytes) -> str:
    """What is there instead of a video."""
    for magic, told in _OTHERS.items():
        if head.startswith(magic):
            return told
    with contextlib.suppress(UnicodeDecodeError):
        if getincrementaldecoder("utf-8")().decode(head).translate(_BREAKS).isprintable():  # its end may be half a sign
            return message("not a video file but text")
    return message("not a video file: unknown content")


_BREAKS = dict.fromkeys(map(ord, "\ufeff\t\r\n"))


def _container(head: bytes) -> str | None:
    for magic, name in _STARTS.items():
        if head.startswith(magic):
            return "webm" if name == "matroska" and b"\x42\x82\x84webm" in head[:128] else name
    if head[:4] == b"RIFF" and head[8:12] in {b"AVI ", b"AVIX"}:
        return "avi"
    if head[4:8] in _FIRST_BOXES:
        return "mov"
    for step in (188, 192, 204):
        # A recording may begin anywhere in a packet, or after some bytes of nothing.
        for offset in range(max(0, len(head) - (_SYNCS - 1) * step)):
            if head[offset] == 0x47 and head[offset : offset + _SYNCS * step : step] == b"\x47" * _SYNCS:
                return "mpegts"
    if _MXF in head:
        return "mxf"
    if head.lstrip(b"\0")[:2] == b"\x01\xb3":  # zeros before a start code are padding
        return "mpegvideo"
    return "mpeg" if b"\x00\x00\x01\xba" in head and not head[:1].isascii() else None


def share_there(path: Path, container: str) -> float | None:
    """Which percentage of the bytes that the container announces is in the file; None if it announces nothing.

    100 if nothing is missing; 0 for an Ogg file without its last page, of which nobody can say how much is gone.
    """
    size = path.stat().st_size
    if container not in _ANNOUNCED:
        return None
    try:
        with path.open("rb") as stream:
            announced = _ANNOUNCED[container](stream, size)
    except (struct.error, IndexError):
        return None
    if announced is None:
        return None
    return 100.0 if announced <= size else 100.0 * size / announced


def _matroska(stream: BinaryIO, size: int) -> int | None:
    """End of the Segment. Source: RFC 8794 §5 (all ones: unknown size), RFC 9559 §5.1."""
    head = stream.read(4096)
    length, used = _vint(head, 4)
    position = 4 + used + length
    if head[position : position + 4] != b"\x18\x53\x80\x67":
        return None
    length, used = _vint(head, position + 4)
    return None if length == (1 << 7 * used) - 1 else position + 4 + used + length


def _vint(content: bytes, position: int) -> tuple[int, int]:
    """An EBML size and the bytes it takes."""
    used = 9 - content[position].bit_length()
    value = int.from_bytes(content[position : position + used], "big")
    return value & ((1 << 7 * used) - 1), used


def _mov(stream: BinaryIO, size: int) -> int | None:
    """End of the last top-level box. Source: ISO/IEC 14496-12 §4.2."""
    position = 0
    for _ in range(_MOST_BOXES):
        stream.seek(position)
        head = stream.read(16)
        if len(head) < 8 or not head[4:8].isalnum():
            return position or None
        length = int(struct.unpack(">I", head[:4])[0])
        if length == 1:
            length = int(struct.unpack(">Q", head[8:16])[0])
        if length < 8:
            return size  # 0: to the end of the file
        if position + length > size and head[4:8] not in _BOXES:
            return position or None  # no box: what somebody appended, such as a tag
        position += length
        if position >= size:
            return position
    return None


def _avi(stream: BinaryIO, size: int) -> int | None:
    """End of the last RIFF chunk (files over 1 GB have several)."""
    position = 0
    while True:
        stream.seek(position)
        head = stream.read(8)
        if head[:4] != b"RIFF" or len(head) < 8:
            return position or None
        length = int(struct.unpack("<I", head[4:8])[0])
        if not 0 < length < 0x7FFFFFFF:
            return None  # a recording that was never finished, or a writer that overflowed
        position += 8 + length + length % 2
        if position >= size:
            return position - length % 2


def _asf(stream: BinaryIO, size: int) -> int | None:
    """The file size of the File Properties Object, unless its broadcast flag makes it void."""
    head = stream.read(_HEAD)
    position = head.find(_ASF_PROPERTIES)
    if position < 0:
        return None
    announced = int(struct.unpack_from("<Q", head, position + 40)[0])
    flags = int(struct.unpack_from("<I", head, position + 88)[0])
    return None if flags & 1 else announced


def _ogg(stream: BinaryIO, size: int) -> int | None:
    """Without an end-of-stream page there is more; nobody knows how much. Source: RFC 3533 §6."""
    stream.seek(max(0, size - 2 * _HEAD))
    tail = stream.read()
    position = tail.rfind(b"OggS")
    while position >= 0:
        if position + 5 < len(tail) and tail[position + 5] & 4:
            return size
        position = tail.rfind(b"OggS", 0, position)
    return 1 << 62


_ANNOUNCED: dict[str, Callable[[BinaryIO, int], int | None]] = {
    "matroska": _matroska,
    "webm": _matroska,
    "mov": _mov,
    "avi": _avi,
    "asf": _asf,
    "ogg": _ogg,
}
