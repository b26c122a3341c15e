"""A file → what is in it, by ffprobe under limits; nothing in the file can make it open another one.

Playlists, concat scripts, SVG and the like are refused by their first bytes, whatever their name. Then only the
demuxers of real video containers may open the file, by ``file:``.
"""

import json
import re
import threading
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tools.core.errors import ProbeError, ReadTooSlow
from tools.media.carried import BAR_DATA, CARRIERS
from tools.media.complaints import Complaints, bare
from tools.media.container import share_there, sniff
from tools.media.facts import Facts, Stream, StreamKind
from tools.media.ffprobe_json import LARGEST, cleaned, number
from tools.media.matroska import read_head
from tools.media.pace import ReadLimit, usual_limit
from tools.media.program import machine_fault, run_program
from tools.media.shapes import SHAPE_ENTRIES, Shape, ShapeReader
from tools.runtime.child import ChildLimits, ChildOutgrew, ChildTimeout
from tools.runtime.spawn import Access

# Source: ffmpeg -demuxers; names that a build lacks do no harm.
FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,asf,flv,rm,mpegts,mpeg,mpegvideo,ogg,ivf,mxf"
SAFE_INPUT = ("-protocol_whitelist", "file,pipe", "-format_whitelist", FORMATS)

MAX_STREAMS = 1200  # fansubs carry hundreds of fonts
MAX_PIXELS = 8192 * 8192
MAX_SECONDS = 48 * 3600.0
MAX_ATTACHED = 1 << 30  # bytes of all attachments; they are held in memory
_MAX_PACKETS = 20_000_000  # 48 h at 100 per second
_MAX_RSS = 3 << 30  # bytes; a large real file takes some hundred MB
_LONGEST_CAUSE = 200  # characters
_GAP = 0.25  # s between two packets of one audio stream that is more than its own rhythm
_HDR_TRANSFERS = frozenset({"smpte2084", "arib-std-b67"})
_COLOURS = ("color_range", "color_space", "color_transfer", "color_primaries")
_FIRST = 3  # packets; an encoder that puts something into its pictures begins with the first
# Codecs with the colours in each picture, which nobody reads before one is decoded.
_TOLD_BY_PICTURES = frozenset({"prores", "dnxhd", "jpeg2000", "mjpeg", "png", "ffv1"})


def probe(path: Path, ffprobe: Path, stop: threading.Event | None = None, *, limit: ReadLimit = usual_limit) -> Facts:
    """Everything about a file, its packets counted. Raises ProbeError for what can't be read or passes the limits.

    Raises MachineError, ReadTooSlow, DiskFull, NoEncoder if it was this machine that kept the programs from reading.
    """
    container = sniff(path)
    asking = _Asking(path, ffprobe, ChildLimits(timeout=limit(path.stat().st_size), rss=_MAX_RSS), stop)
    answer = _Answer()
    shown = ["-show_format", "-show_streams", "-show_chapters", "-show_entries", _PACKET_ENTRIES]
    status, complaints = asking.run([*shown, "-of", "json=compact=1"], answer)
    content = answer.content()
    streams = streams_of(content, answer.counted)
    if status != 0 and not streams and complaints.count:
        raise ProbeError(f"can't be read as a video: no stream in it ({bare(complaints.cause())[-_LONGEST_CAUSE:]})")
    check_streams(streams)
    if status != 0:
        said = bare(complaints.verdict())[-_LONGEST_CAUSE:]
        raise ProbeError(f"can't be read as a video: {said or 'no stream was found'}")
    _check_extent(streams, answer.packets)
    for stream in streams:
        if stream.kind == "video" and stream.packets:
            _look_at_picture(stream, asking)
            if stream.codec in CARRIERS and _has_bar_data(path):
                stream.carries |= {BAR_DATA}
            if container == "mpegts":
                _even_out(stream)
            if container in _JOINED and stream.codec not in _ALL_DECODED:
                stream.shapes = asking.shapes(stream.index)
    header = content.get("format") or {}
    return Facts(
        format=str(header.get("format_name") or ""),
        streams=tuple(streams),
        chapters=tuple(content.get("chapters") or ()),
        tags={str(k): str(v) for k, v in (header.get("tags") or {}).items()},
        duration=None if _is_endless(streams) else number(header.get("duration")),
        size=path.stat().st_size,
        container=container,
        start=number(header.get("start_time")) or 0.0,
        share_there=share_there(path, container),
        complaints=bare(complaints.cause()),
        head=read_head(path) if container in {"matroska", "webm"} else None,
    )


def look_at_changes(facts: Facts, path: Path, ffprobe: Path, stop: threading.Event | None, limit: ReadLimit) -> None:
    """Find out what the pictures of a file's videos are like from the first to the last, by decoding them; raises
    what ``probe`` does."""
    asking = _Asking(path, ffprobe, ChildLimits(timeout=_DECODES * limit(facts.size), rss=_MAX_RSS), stop)
    for stream in facts.of("video"):
        if stream.packets > 1 and not stream.shapes:
            stream.shapes = asking.shapes(stream.index, every=stream.codec not in _BEGINS_ANEW)
        stream.is_looked_at = True


_DECODES = 20  # times as long as reading
# Whose pictures change their size at keyframes only.
_BEGINS_ANEW = frozenset({"h264", "hevc", "mpeg2video", "mpeg1video", "vc1", "vp8"})


class _Asking:
    """Questions to ffprobe about one file, under limits. Raises ProbeError if it takes too much memory, and what
    ``probe`` raises if it is not the file that is to blame."""

    def __init__(self, path: Path, ffprobe: Path, limits: ChildLimits, stop: threading.Event | None) -> None:
        self._path, self._ffprobe, self._limits, self._stop = path, ffprobe, limits, stop
        self._access = Access(reads=(path,))

    def run(self, arguments: Sequence[str], reader: "_Answer | ShapeReader") -> tuple[int, Complaints]:
        """Exit status, and what was complained about; the answer goes to ``reader``."""
        complaints = Complaints()
        command: list[str | Path] = [self._ffprobe, "-v", "error", *SAFE_INPUT, *arguments, "-i", f"file:{self._path}"]
        try:
            ended = run_program(
                command,
                access=self._access,
                limits=self._limits,
                stop=self._stop,
                on_line=reader.line,
                on_complaint=complaints.line,
            )
        except ChildOutgrew as exc:
            raise ProbeError(f"reading it {exc}") from exc
        except ChildTimeout as exc:
            raise ReadTooSlow(f"reading it {exc}") from exc
        if fault := machine_fault("ffprobe", ended, complaints):
            raise fault
        return ended.status, complaints

    def first_pictures(self, index: int) -> Sequence[Mapping[str, Any]]:
        """Colours and side data of the first pictures of a stream; none if they do not decode."""
        reader = _Answer()
        # Else a decoder adds the grain itself, and says nothing of it.
        exported = ["-export_side_data", "film_grain"]
        chosen = [
            "-threads",
            "1",
            *exported,
            "-select_streams",
            str(index),
            "-read_intervals",
            f"%+#{_FIRST}",
            "-show_frames",
        ]
        self.run([*chosen, "-show_entries", f"frame=side_data_list,{','.join(_COLOURS)}", "-of", "json"], reader)
        frames: Sequence[Mapping[str, Any]] = reader.content().get("frames") or ()
        return frames

    def shapes(self, index: int, *, every: bool = False) -> tuple[Shape, ...]:
        """What the pictures of a stream are like, by its keyframes, or by every picture."""
        reader = ShapeReader()
        some = [] if every else ["-skip_frame", "nokey"]
        chosen = [*some, "-select_streams", str(index), "-show_entries", SHAPE_ENTRIES]
        self.run([*chosen, "-of", "compact=p=0"], reader)
        return tuple(reader.found)


# Containers of recordings and broadcasts, which may be joined anywhere; others have one head for a whole stream.
_JOINED = frozenset({"mpegts", "mpeg", "mpegvideo", "flv"})
# Whose decoders decode every picture even if only keyframes are asked for, which may take as long as the film.
_ALL_DECODED = frozenset({"avs2", "avs3", "vvc"})


def _look_at_picture(stream: Stream, asking: _Asking) -> None:
    """What only decoded pictures tell: the values of HDR, the colours where the stream itself is silent, and what else
    they carry."""
    has_hdr = stream.facts.get("color_transfer") in _HDR_TRANSFERS
    tells_colours = stream.codec in _TOLD_BY_PICTURES and not all(name in stream.facts for name in _COLOURS)
    if not has_hdr and not tells_colours and stream.codec not in CARRIERS:
        return
    pictures = asking.first_pictures(stream.index)
    if not pictures:
        return
    stream.carries = frozenset(
        str(entry.get("side_data_type")) for one in pictures for entry in one.get("side_data_list") or ()
    )
    picture = pictures[0]
    if has_hdr or tells_colours:
        stream.facts = {**{name: picture[name] for name in _COLOURS if name in picture}, **stream.facts}
    if has_hdr:
        stream.hdr = {str(entry.get("side_data_type")): entry for entry in picture.get("side_data_list") or ()}


def _has_bar_data(path: Path) -> bool:
    """Whether the first pictures of a file have some, which ffmpeg does not read. Source: ATSC A/53 part 4, 6.2.2."""
    with path.open("rb") as stream:
        return _BARS.search(stream.read(_BEGINNING)) is not None


_BARS = re.compile(rb"(?:\xb5\x00\x31|\x00\x00\x01\xb2)GA94\x06")
_BEGINNING = 8 << 20  # bytes


def _even_out(stream: Stream) -> None:
    """Give pictures times by their rate if the writer mixed them up: in some AVS2 broadcasts those of a group all lie
    together, and their decode times run backwards again and again. One that goes back once is a recording's seam."""
    if stream.rate and stream.begin is not None and stream.backwards > _MIXED_UP * stream.packets:
        stream.has_even_times = True
        stream.times = array("d", (stream.begin + place / stream.rate for place in range(stream.packets)))
        stream.end = stream.begin + stream.packets / stream.rate


_MIXED_UP = 0.02  # share of the packets
_ALL_ONES = 2**32 - 1  # a duration that the writer did not know. Source: ISO/IEC 14496-12 §8.2.2


def _is_endless(streams: list[Stream]) -> bool:
    return any(stream.facts.get("duration_ts") == _ALL_ONES for stream in streams)


# A packet begins a line like this, and nothing else does: texts in JSON have no line breaks of their own. It ends with
# that line, unless it has side data, whose entries are left empty. An episode has 100,000 of them, so one expression
# takes a line apart.
_PACKET = '{ "codec_type":'
_SIDE_DATA_END = "]"
_PACKET_ENTRIES = "packet=codec_type,stream_index,pts_time,dts_time,duration_time,size,flags"
_TIME = r"(-?\d+(?:\.\d+)?)"
_PACKET_LINE = re.compile(
    rf'{{ "codec_type": "(\w*)", "stream_index": (\d+),(?: "pts_time": "{_TIME}",)?(?: "dts_time": "{_TIME}",)?'
    rf'(?: "duration_time": "{_TIME}",)? "size": "(\d+)", "flags": "([^"]*)"(.*)'
)


class _Answer:
    """ffprobe's JSON, line by line: packets are folded into their streams, the rest is collected, bounded."""

    _MOST = 32 << 20  # characters

    def __init__(self) -> None:
        self.counted: dict[int, Stream] = {}  # by index, of their packets alone
        self.packets = 0
        self._lines: list[str] = []
        self._length = 0
        self._in_side_data = self._is_garbled = False
        self._decoded: dict[int, float] = {}  # the latest decode time by stream, s

    def line(self, line: str) -> None:
        text = line.lstrip()
        if text.startswith(_PACKET):
            self._packet(text)
        elif self._in_side_data:
            self._in_side_data = not text.startswith(_SIDE_DATA_END)
        else:
            self._length += len(line)
            if self._length <= self._MOST:
                self._lines.append(line)

    def content(self) -> dict[str, Any]:
        try:
            content = json.loads("\n".join(self._lines) or "{}")
        except (ValueError, RecursionError) as exc:
            raise ProbeError("ffprobe's answer can't be read: the file has too much in it") from exc
        if self._is_garbled:
            raise ProbeError("ffprobe's answer can't be understood: its packets lack size or flags")
        return cleaned(content)

    def _packet(self, text: str) -> None:
        self.packets += 1
        if self.packets > _MAX_PACKETS:
            return
        match = _PACKET_LINE.match(text)
        if match is None:
            self._is_garbled = True
            return
        kind, number_of_stream, shown, decoded, lasts, length, flags, rest = match.groups()
        self._in_side_data = not rest.startswith(" }")
        index = int(number_of_stream)
        stream = self.counted.get(index)
        if stream is None:
            stream = self.counted[index] = Stream(index, _KINDS.get(kind, "data"), "unknown", {})
        if "D" in flags:
            stream.discarded += 1
            return
        size = int(length)
        stream.packets += 1
        stream.bytes += size
        stream.cues += size > _EMPTY_TEXT
        stream.blanks += size <= _NO_PICTURE
        pts, dts = _seconds(shown), _seconds(decoded)
        if dts is not None:
            stream.backwards += dts < self._decoded.get(index, dts)
            self._decoded[index] = dts
        if pts is None:
            stream.has_times = False
            pts = dts
        if pts is not None:
            self._place(stream, pts, pts + (_seconds(lasts) or 0.0), "K" in flags)
            if stream.kind == "video":
                stream.sizes.append(size)

    @staticmethod
    def _place(stream: Stream, pts: float, end: float, is_key: bool) -> None:
        if stream.kind == "audio" and stream.end is not None and pts - stream.end > _GAP:
            stream.gaps.append((stream.end, pts))
        if stream.kind == "video" and stream.key_begin is None:
            if is_key:
                stream.key_begin = pts
            else:
                stream.lead += 1
        if stream.kind in {"video", "subtitle"}:
            stream.times.append(pts)
            if stream.kind == "subtitle":
                stream.ends.append(end)
        stream.begin = pts if stream.begin is None else min(stream.begin, pts)
        stream.end = end if stream.end is None else max(stream.end, end)


def _seconds(text: str | None) -> float | None:
    """As ``number``; what comes here has the form of one."""
    found = float(text) if text else None
    return found if found is not None and abs(found) <= LARGEST else None


_EMPTY_TEXT = 2  # bytes of a mov_text sample that shows nothing
_NO_PICTURE = 8  # bytes; recorders mark a picture that was skipped by a packet with next to nothing in it


def streams_of(content: Mapping[str, Any], counted: Mapping[int, Stream] | None = None) -> list[Stream]:
    """The streams of a cleaned answer, with the packets that were counted of each."""
    streams = []
    for facts in content.get("streams", ()):
        stream = (counted or {}).get(facts["index"]) or Stream(facts["index"], "data", "unknown", {})
        stream.kind, stream.codec, stream.facts = _kind(facts), str(facts.get("codec_name") or "unknown"), facts
        streams.append(stream)
    return streams


_KINDS: Mapping[object, StreamKind] = {
    "video": "video",
    "audio": "audio",
    "subtitle": "subtitle",
    "attachment": "attachment",
}


def _kind(facts: Mapping[str, Any]) -> StreamKind:
    kind = _KINDS.get(facts.get("codec_type"), "data")
    is_picture = kind == "video" and facts.get("disposition", {}).get("attached_pic")
    return "cover" if is_picture else kind


def check_streams(streams: list[Stream]) -> None:
    """Raises ProbeError without a video, and for what passes the limits."""
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
    attached = sum(int(number(s.facts.get("extradata_size")) or 0) for s in streams if s.kind == "attachment")
    if attached > MAX_ATTACHED:
        raise ProbeError(f"{attached / 1e6:.0f} MB of attachments, more than {MAX_ATTACHED / 1e6:.0f} MB")


def _check_extent(streams: list[Stream], packets: int) -> None:
    """By the packets: a header may claim any duration, and one subtitle without an end makes it weeks."""
    if packets > _MAX_PACKETS:
        raise ProbeError(f"more than {_MAX_PACKETS} packets")
    if not any(stream.packets for stream in streams if stream.kind == "video"):
        raise ProbeError("its video has no pictures")
    for stream in streams:
        if stream.kind in {"video", "audio"} and stream.begin is not None and stream.end is not None:
            lasts = stream.end - stream.begin
            if lasts > MAX_SECONDS:
                raise ProbeError(f"lasts {lasts / 3600:.0f} h, more than {MAX_SECONDS / 3600:.0f} h")
