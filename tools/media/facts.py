"""What a probe found out about a file, as values: its streams, and the file around them."""

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

from tools.media.ffprobe_json import number
from tools.media.inside import Inside
from tools.media.matroska import Element, Head
from tools.media.shapes import Shape

StreamKind = Literal["video", "audio", "subtitle", "attachment", "data", "cover"]
"""``cover``: a video stream that is one picture of the file; ``data``: whatever is none of the others."""


@dataclass(slots=True)
class Stream:
    """One stream, its packets counted."""

    index: int  # of the source, as ffmpeg numbers it
    kind: StreamKind
    codec: str  # as ffmpeg calls it, "unknown" if it does not
    facts: Mapping[str, Any]  # ffprobe's own, cleaned
    packets: int = 0  # without the discarded ones
    discarded: int = 0  # packets before an edit list's start, which no player shows
    bytes: int = 0  # payload of the packets
    cues: int = 0  # packets with more in them than an empty text
    blanks: int = 0  # packets of a video that only say "as before"
    begin: float | None = None  # s, None without timestamps
    end: float | None = None  # s, end of the last packet
    backwards: int = 0  # packets that are to be decoded before the one that stands in front of them
    shapes: tuple[Shape, ...] = ()  # those that its pictures have one after the other, if they were looked for
    is_looked_at: bool = False  # whether its pictures were decoded to see whether they change
    has_even_times: bool = False  # its own times make no sense: these were made of its rate
    has_times: bool = True  # whether every packet has a time at which it is shown
    key_begin: float | None = None  # s, time of the first keyframe
    lead: int = 0  # pictures before the first keyframe
    times: "array[float]" = field(default_factory=lambda: array("d"))  # s, of each picture or subtitle
    sizes: "array[int]" = field(default_factory=lambda: array("q"))  # bytes of those pictures, none of subtitles
    ends: "array[float]" = field(default_factory=lambda: array("d"))  # s, of each subtitle
    gaps: list[tuple[float, float]] = field(default_factory=list)  # (from, to) in s, without sound in an audio stream
    carries: frozenset[str] = frozenset()  # types of side data in the first pictures, if these were looked at
    hdr: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # by type, of the first picture if it has HDR
    stays_framed: str = ""  # why the framing of AAC in LATM can't be taken off, once that was tried
    inside: Inside | None = None  # what all its pictures carry, once they were decoded

    @property
    def tags(self) -> Mapping[str, str]:
        return {str(k): str(v) for k, v in (self.facts.get("tags") or {}).items()}

    def tag(self, name: str) -> str:
        """A tag's value in any case of its name, "" without it."""
        return _tag(self.tags, name)

    @property
    def flags(self) -> frozenset[str]:
        """Names of the dispositions that are set."""
        return frozenset(name for name, value in (self.facts.get("disposition") or {}).items() if value)

    @property
    def rate(self) -> float:
        """Frames per second on average, 0 if unknown."""
        return self._rate("avg_frame_rate") or self._rate("r_frame_rate")

    @property
    def fastest_rate(self) -> float:
        """The higher of the average rate and the one that all timestamps are multiples of."""
        return max(self._rate("avg_frame_rate"), self._rate("r_frame_rate"))

    def _rate(self, name: str) -> float:
        above, _, below = str(self.facts.get(name) or "0/0").partition("/")
        return (number(above) or 0.0) / (number(below) or 1.0)

    @property
    def rotation(self) -> int:
        """Degrees that a player turns the pictures by."""
        entries = self.facts.get("side_data_list") or ()
        return next((int(number(e.get("rotation")) or 0) for e in entries if "rotation" in e), 0)

    def side_data(self, kind: str) -> bool:
        """Whether a side data entry of this type is there."""
        return any(entry.get("side_data_type") == kind for entry in self.facts.get("side_data_list") or ())


@dataclass(frozen=True, slots=True)
class Facts:
    """A probed file."""

    format: str  # by ffprobe
    streams: tuple[Stream, ...]
    chapters: tuple[Mapping[str, Any], ...]
    tags: Mapping[str, str]
    duration: float | None  # s by its header, None if it has none
    size: int  # bytes
    container: str = ""  # by its first bytes
    start: float = 0.0  # s, of the earliest packet, which ffmpeg counts from
    share_there: float | None = None  # percentage of the announced bytes that is in the file, None if none are
    complaints: str = ""  # of the demuxer, its most telling line
    head: Head | None = None  # of a Matroska file

    def tag(self, name: str) -> str:
        """A tag of the file in any case of its name, "" without it."""
        return _tag(self.tags, name)

    def of(self, kind: StreamKind) -> list[Stream]:
        return [stream for stream in self.streams if stream.kind == kind]

    def track_number(self, stream: Stream) -> int | None:
        """Where among the tracks of a Matroska file a stream is, None if that can't be told."""
        tracks = [(place, kind) for place, kind in enumerate(self._track_kinds()) if kind]
        streams = [one for one in self.streams if one.kind in _TRACK_KINDS.values()]
        if [one.kind for one in streams] != [kind for _, kind in tracks]:
            return None  # ffmpeg leaves out tracks that it can make nothing of
        return next((place for one, (place, _) in zip(streams, tracks, strict=True) if one is stream), None)

    def track(self, stream: Stream) -> Element:
        """What a Matroska file's head says of a stream, an empty element if that can't be told."""
        place = self.track_number(stream)
        return Element("TrackEntry") if place is None or self.head is None else self.head.tracks[place]

    def _track_kinds(self) -> list[StreamKind | None]:
        return [_TRACK_KINDS.get(track.number("TrackType")) for track in self.head.tracks] if self.head else []

    def is_jumpy(self, stream: Stream) -> bool:
        """Whether the clock of a transport stream was set again on the way: ffmpeg joins the parts."""
        jumps = any(not -_BACK < after - before < JUMP for before, after in pairwise(stream.times))
        return self.container in NO_PACKETS_OF_ITS_OWN and jumps

    @property
    def end(self) -> float:
        """End of the last picture or sound, s."""
        return max((s.end for s in self.streams if s.end is not None and s.kind in {"video", "audio"}), default=0.0)

    @property
    def begin(self) -> float:
        return min((s.begin for s in self.streams if s.begin is not None and s.kind != "subtitle"), default=0.0)


JUMP = 10.0
"""s; a transport stream's clock that jumps further was set again. Source: ffmpeg's dts_delta_threshold."""
_BACK = 1.0  # s; pictures are stored out of order, but never by so much
NO_PACKETS_OF_ITS_OWN = frozenset({"mpegts", "mpeg", "mpegvideo"})
"""Demuxers of these cut the stream into packets as they go; in others the packets are the file's own."""
_TRACK_KINDS: Mapping[int, StreamKind] = {1: "video", 2: "audio", 17: "subtitle"}
"""By TrackType. Source: RFC 9559 §5.1.4.1.3."""


def _tag(tags: Mapping[str, str], name: str) -> str:
    return next((value for key, value in tags.items() if key.lower() == name), "")
