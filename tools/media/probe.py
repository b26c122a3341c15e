"""A file → what is in it, by ffprobe under limits; nothing in the file can make it open another one.

The first bytes are looked at before any demuxer is: playlists, concat scripts, SVG and the like are refused by
what they are, whatever their name. Then only the demuxers of real video containers may open the file, by ``file:``.
"""

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.core.errors import ProbeError
from tools.runtime.child import ChildTimeout, Limits, run

# Source: ffmpeg -demuxers; names that a build lacks do no harm.
FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,asf,flv,rm,mpegts,mpeg,mpegvideo,ogg,ivf"
SAFE_INPUT = ("-protocol_whitelist", "file,pipe", "-format_whitelist", FORMATS)

MAX_STREAMS = 1200  # fansubs carry hundreds of fonts
MAX_PIXELS = 8192 * 8192
MAX_SECONDS = 48 * 3600.0
_MAX_PACKETS = 50_000_000
_HEAD = 65536  # bytes looked at
_TIMEOUT_BASE, _TIMEOUT_PER_GB = 60.0, 120.0  # s; reading a file whole takes its time


@dataclass(slots=True)
class Stream:
    """One stream. ``kind`` video | audio | subtitle | attachment | data | cover; times in s; ``packets`` as demuxed
    (those to be discarded not counted), ``begin``/``end`` of their timestamps, None where there are none."""

    index: int
    kind: str
    codec: str
    facts: Mapping[str, Any]
    packets: int = 0
    begin: float | None = None
    end: float | None = None
    has_times: bool = True

    @property
    def tags(self) -> Mapping[str, str]:
        return {str(k): str(v) for k, v in (self.facts.get("tags") or {}).items()}

    def tag(self, name: str) -> str:
        """A tag's value in any case of its name, "" without it."""
        return next((value for key, value in self.tags.items() if key.lower() == name), "")

    @property
    def flags(self) -> frozenset[str]:
        """Names of the dispositions that are set."""
        return frozenset(name for name, value in (self.facts.get("disposition") or {}).items() if value)

    @property
    def rate(self) -> float:
        """Frames a second, 0 where unknown."""
        for name in ("avg_frame_rate", "r_frame_rate"):
            above, _, below = str(self.facts.get(name) or "0/0").partition("/")
            if below and float(below) and float(above):
                return float(above) / float(below)
        return 0.0

    def side_data(self, kind: str) -> bool:
        """Whether a side data entry of this type is there."""
        return any(entry.get("side_data_type") == kind for entry in self.facts.get("side_data_list") or ())


@dataclass(frozen=True, slots=True)
class Facts:
    """A probed file. ``duration`` s by its header, None where it has none; ``end`` s of its last packet."""

    format: str
    streams: tuple[Stream, ...]
    chapters: tuple[Mapping[str, Any], ...]
    tags: Mapping[str, str]
    duration: float | None
    size: int
    complaints: str = field(default="")

    def of(self, kind: str) -> list[Stream]:
        return [stream for stream in self.streams if stream.kind == kind]

    @property
    def end(self) -> float:
        return max((s.end for s in self.streams if s.end is not None), default=0.0)

    @property
    def begin(self) -> float:
        return min((s.begin for s in self.streams if s.begin is not None), default=0.0)


def sniff(path: Path) -> str:
    """The container by its first bytes. Raises ProbeError for what is no video container."""
    with path.open("rb") as stream:
        head = stream.read(_HEAD)
    if not head:
        raise ProbeError("the file is empty")
    name = _container(head)
    if name is None:
        raise ProbeError(f"not a video file: it begins with {head[:16]!r}")
    return name


def _container(head: bytes) -> str | None:
    starts = {
        b"\x1a\x45\xdf\xa3": "matroska",
        b"FLV": "flv",
        b".RMF": "rm",
        b"OggS": "ogg",
        b"DKIF": "ivf",
        b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": "asf",
        b"\x00\x00\x01\xba": "mpeg",
        b"\x00\x00\x01\xb3": "mpegvideo",
    }
    for magic, name in starts.items():
        if head.startswith(magic):
            return name
    if head[:4] == b"RIFF" and head[8:12] in {b"AVI ", b"AVIX"}:
        return "avi"
    if head[4:8] in {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot", b"uuid", b"junk"}:
        return "mov"
    for step in (188, 192, 204):
        for offset in range(min(step, len(head))):
            marks = head[offset : offset + 8 * step : step]
            if len(marks) >= 4 and set(marks) == {0x47}:
                return "mpegts"
    return "mpeg" if b"\x00\x00\x01\xba" in head and not head[:1].isascii() else None


def probe(path: Path, ffprobe: Path, stop: threading.Event | None = None) -> Facts:
    """Everything about a file, its packets counted. Raises ProbeError for what can't be read or passes the limits."""
    size = path.stat().st_size
    sniff(path)
    limits = Limits(timeout=_TIMEOUT_BASE + _TIMEOUT_PER_GB * size / 1e9)
    reader = _Reader()
    command: list[str | Path] = [
        ffprobe,
        "-v",
        "error",
        *SAFE_INPUT,
        "-show_format",
        "-show_streams",
        "-show_chapters",
        "-of",
        "json",
    ]
    packets = ["-show_entries", "packet=stream_index,pts_time,dts_time,duration_time,flags", "-of", "compact=p=0"]
    try:
        about = run([*command, "-i", f"file:{path}"], limits=limits, stop=stop, on_line=reader.line)
        content = reader.content()
        streams = _streams(content)
        _check(streams, content)
        counter = _PacketCounter({stream.index: stream for stream in streams})
        head: list[str | Path] = [ffprobe, "-v", "error", *SAFE_INPUT]
        counted = run([*head, *packets, "-i", f"file:{path}"], limits=limits, stop=stop, on_line=counter.line)
    except ChildTimeout as exc:
        raise ProbeError(f"reading it {exc}") from exc
    if about.status != 0:
        raise ProbeError(f"can't be read as a video: {_short(about.stderr)}")
    header = content.get("format") or {}
    return Facts(
        format=str(header.get("format_name") or ""),
        streams=tuple(streams),
        chapters=tuple(content.get("chapters") or ()),
        tags={str(k): str(v) for k, v in (header.get("tags") or {}).items()},
        duration=_number(header.get("duration")),
        size=size,
        complaints=counted.stderr,
    )


class _Reader:
    """Collects ffprobe's JSON, bounded."""

    _MOST = 32 << 20  # characters

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._length = 0

    def line(self, line: str) -> None:
        self._length += len(line)
        if self._length <= self._MOST:
            self._lines.append(line)

    def content(self) -> dict[str, Any]:
        try:
            content = json.loads("\n".join(self._lines) or "{}")
        except ValueError as exc:
            raise ProbeError("ffprobe's answer can't be read: the file has too much in it") from exc
        return content if isinstance(content, dict) else {}


class _PacketCounter:
    """Folds ffprobe's packet lines into the streams."""

    def __init__(self, streams: Mapping[int, Stream]) -> None:
        self._streams = streams
        self._seen = 0

    def line(self, line: str) -> None:
        self._seen += 1
        if self._seen > _MAX_PACKETS:
            return
        values = dict(pair.split("=", 1) for pair in line.split("|") if "=" in pair)
        stream = self._streams.get(int(values.get("stream_index", "-1") or -1))
        if stream is None or "D" in values.get("flags", ""):
            return
        stream.packets += 1
        pts = _number(values.get("pts_time"))
        if pts is None:
            stream.has_times = False
            pts = _number(values.get("dts_time"))
        if pts is not None:
            end = pts + (_number(values.get("duration_time")) or 0.0)
            stream.begin = pts if stream.begin is None else min(stream.begin, pts)
            stream.end = end if stream.end is None else max(stream.end, end)


def _streams(content: Mapping[str, Any]) -> list[Stream]:
    streams = []
    for facts in content.get("streams") or ():
        kind = str(facts.get("codec_type") or "data")
        if kind == "video" and (facts.get("disposition") or {}).get("attached_pic"):
            kind = "cover"
        if kind not in {"video", "audio", "subtitle", "attachment", "cover"}:
            kind = "data"
        streams.append(Stream(int(facts["index"]), kind, str(facts.get("codec_name") or "unknown"), facts))
    return streams


def _check(streams: list[Stream], content: Mapping[str, Any]) -> None:
    if not streams:
        raise ProbeError("can't be read as a video: no stream in it")
    if len(streams) > MAX_STREAMS:
        raise ProbeError(f"{len(streams)} streams, more than {MAX_STREAMS}")
    videos = [stream for stream in streams if stream.kind == "video"]
    if not videos:
        raise ProbeError("there is no video in it, only " + ", ".join(sorted({s.kind for s in streams})))
    for stream in videos:
        pixels = int(stream.facts.get("width") or 0) * int(stream.facts.get("height") or 0)
        if not 0 < pixels <= MAX_PIXELS:
            raise ProbeError(f"pictures of {stream.facts.get('width')}x{stream.facts.get('height')} can't be encoded")
    duration = _number((content.get("format") or {}).get("duration"))
    if duration is not None and duration > MAX_SECONDS:
        raise ProbeError(f"lasts {duration / 3600:.0f} h, more than {MAX_SECONDS / 3600:.0f} h")


def _number(text: Any) -> float | None:
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return value if abs(value) < 1e12 else None


def _short(stderr: str) -> str:
    lines = [line for line in stderr.splitlines() if line.strip()]
    return lines[-1][-200:] if lines else "no stream was found"
