"""A file → what is in it, by ffprobe under limits; nothing in the file can make it open another one.

Playlists, concat scripts, SVG and the like are refused by their first bytes, whatever their name. Then only the
demuxers of real video containers may open the file, by ``file:``.
"""

import json
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tools.core.errors import ProbeError, ReadTooSlow
from tools.media.complaints import Complaints, bare
from tools.media.container import share_there, sniff
from tools.media.facts import Facts, Stream, StreamKind
from tools.media.ffprobe_json import cleaned, number
from tools.media.pace import ReadLimit, usual_limit
from tools.media.program import machine_fault, run_program
from tools.runtime.child import ChildLimits, ChildOutgrew, ChildTimeout, Ended
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


def probe(
    path: Path,
    ffprobe: Path,
    stop: threading.Event | None = None,
    *,
    ffmpeg: Path | None = None,
    limit: ReadLimit = usual_limit,
) -> Facts:
    """Everything about a file, its packets counted. Raises ProbeError for what can't be read or passes the limits.

    Raises MachineError, ReadTooSlow, DiskFull, NoEncoder if it was this machine that kept the programs from reading.
    ``ffmpeg``: the program that will do the work; its names of the codecs count if it knows more than ffprobe.
    """
    size = path.stat().st_size
    container = sniff(path)
    asking = _Asking(path, ffprobe, ChildLimits(timeout=limit(size), rss=_MAX_RSS), stop)
    reader = _Reader()
    status, said = asking.run(["-show_format", "-show_streams", "-show_chapters", "-of", "json"], reader)
    content = reader.content()
    streams = streams_of(content)
    if status != 0 and not streams and said.count:
        raise ProbeError(f"can't be read as a video: no stream in it ({bare(said.cause())[-_LONGEST_CAUSE:]})")
    if ffmpeg is not None:
        _correct(streams, asking.codecs(ffmpeg))
    check_streams(streams)
    counter = _PacketCounter({stream.index: stream for stream in streams})
    shown = "packet=stream_index,pts_time,dts_time,duration_time,size,flags"
    _, complaints = asking.run(["-show_entries", shown, "-of", "compact=p=0"], counter)
    if status != 0:
        raise ProbeError(f"can't be read as a video: {bare(said.verdict())[-_LONGEST_CAUSE:] or 'no stream was found'}")
    _check_extent(streams, counter)
    for stream in streams:
        if stream.kind == "video" and stream.facts.get("color_transfer") in _HDR_TRANSFERS:
            stream.hdr = asking.first_picture(stream.index)
    header = content.get("format") or {}
    return Facts(
        format=str(header.get("format_name") or ""),
        streams=tuple(streams),
        chapters=tuple(content.get("chapters") or ()),
        tags={str(k): str(v) for k, v in (header.get("tags") or {}).items()},
        duration=None if _is_endless(streams) else number(header.get("duration")),
        size=size,
        container=container,
        share_there=share_there(path, container),
        complaints=bare(complaints.cause()),
    )


class _Asking:
    """Questions to ffprobe about one file, under limits. Raises ProbeError if it takes too much memory, and what
    ``probe`` raises if it is not the file that is to blame."""

    def __init__(self, path: Path, ffprobe: Path, limits: ChildLimits, stop: threading.Event | None) -> None:
        self._path, self._ffprobe, self._limits, self._stop = path, ffprobe, limits, stop
        self._access = Access(reads=(path,))

    def run(self, arguments: Sequence[str], reader: "_Reader | _PacketCounter") -> tuple[int, Complaints]:
        """Exit status, and what was complained about; the answer goes to ``reader``."""
        complaints = Complaints()
        command: list[str | Path] = [self._ffprobe, "-v", "error", *SAFE_INPUT, *arguments, "-i", f"file:{self._path}"]
        ended = self._ask(command, reader.line, complaints.line)
        if fault := machine_fault("ffprobe", ended, complaints):
            raise fault
        return ended.status, complaints

    def _ask(
        self,
        command: Sequence[str | Path],
        on_line: Callable[[str], bool | None],
        on_complaint: Callable[[str], None],
    ) -> Ended:
        try:
            return run_program(
                command,
                access=self._access,
                limits=self._limits,
                stop=self._stop,
                on_line=on_line,
                on_complaint=on_complaint,
            )
        except ChildOutgrew as exc:
            raise ProbeError(f"reading it {exc}") from exc
        except ChildTimeout as exc:
            raise ReadTooSlow(f"reading it {exc}") from exc

    def first_picture(self, index: int) -> Mapping[str, Mapping[str, Any]]:
        """Side data of the first picture of a stream, by type."""
        reader = _Reader()
        chosen = ["-select_streams", str(index), "-read_intervals", "%+#1", "-show_frames"]
        self.run([*chosen, "-show_entries", "frame=side_data_list", "-of", "json"], reader)
        frames = reader.content().get("frames") or [{}]
        return {str(entry.get("side_data_type")): entry for entry in frames[0].get("side_data_list") or ()}

    def codecs(self, ffmpeg: Path) -> dict[int, tuple[str, str]]:
        """Kind and codec of each stream as ffmpeg's own report at opening names them, by index."""
        found: dict[int, tuple[str, str]] = {}

        def take(line: str) -> None:
            if match := _STREAM_LINE.match(line):
                found[int(match[1])] = (match[2].lower(), match[3])

        command: list[str | Path] = [ffmpeg, "-hide_banner", "-nostdin", *SAFE_INPUT, "-i", f"file:{self._path}"]
        complaints = Complaints()  # it says much more here, and its status is bad: it was given nothing to do
        ended = self._ask(command, lambda line: None, take)
        if ended.status < 0 and (fault := machine_fault("ffmpeg", ended, complaints)):
            raise fault
        return found


# Source: ffmpeg's av_dump_format: ``Stream #0:1[0x2](und): Audio: pcm_s24le (ipcm / …), …``.
_STREAM_LINE = re.compile(r"\s*Stream #0:(\d+)\S*: (Video|Audio|Subtitle): (\w+)")


def _correct(streams: list[Stream], told: Mapping[int, tuple[str, str]]) -> None:
    """Codecs that ffprobe does not know, or takes for others (integer sound in MP4), as ffmpeg names them."""
    for stream in streams:
        kind, codec = told.get(stream.index, ("", "none"))
        if kind == stream.kind and codec not in {"none", "unknown", stream.codec}:
            stream.is_foreign = stream.codec == "unknown"
            stream.codec = codec


_ALL_ONES = 2**32 - 1  # a duration that the writer did not know. Source: ISO/IEC 14496-12 §8.2.2


def _is_endless(streams: list[Stream]) -> bool:
    return any(stream.facts.get("duration_ts") == _ALL_ONES for stream in streams)


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
        except (ValueError, RecursionError) as exc:
            raise ProbeError("ffprobe's answer can't be read: the file has too much in it") from exc
        return cleaned(content)


class _PacketCounter:
    """Folds ffprobe's packet lines into the streams."""

    def __init__(self, streams: Mapping[int, Stream]) -> None:
        self._streams = streams
        self.seen = 0

    @property
    def is_over(self) -> bool:
        return self.seen > _MAX_PACKETS

    def line(self, line: str) -> None:
        self.seen += 1
        values = dict(pair.split("=", 1) for pair in line.split("|") if "=" in pair)
        index = values.get("stream_index", "")
        stream = self._streams.get(int(index)) if index.isdecimal() else None
        if stream is None or self.is_over:
            return
        if "D" in values.get("flags", ""):
            stream.discarded += 1
            return
        size = int(number(values.get("size")) or 0)
        stream.packets += 1
        stream.bytes += size
        stream.cues += size > _EMPTY_TEXT
        stream.blanks += size <= _NO_PICTURE
        pts = number(values.get("pts_time"))
        if pts is None:
            stream.has_times = False
            pts = number(values.get("dts_time"))
        if pts is not None:
            self._place(stream, pts, pts + (number(values.get("duration_time")) or 0.0), "K" in values.get("flags", ""))

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


_EMPTY_TEXT = 2  # bytes of a mov_text sample that shows nothing
_NO_PICTURE = 8  # bytes; recorders mark a picture that was skipped by a packet with next to nothing in it


def streams_of(content: Mapping[str, Any]) -> list[Stream]:
    """The streams of a cleaned answer, their packets not counted yet."""
    streams = []
    for facts in content.get("streams", ()):
        codec = str(facts.get("codec_name") or "unknown")
        streams.append(Stream(facts["index"], _kind(facts), codec, facts))
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


def _check_extent(streams: list[Stream], counter: _PacketCounter) -> None:
    """By the packets: a header may claim any duration, and one subtitle without an end makes it weeks."""
    if counter.is_over:
        raise ProbeError(f"more than {_MAX_PACKETS} packets")
    if not any(stream.packets for stream in streams if stream.kind == "video"):
        raise ProbeError("its video has no pictures")
    for stream in streams:
        if stream.kind in {"video", "audio"} and stream.begin is not None and stream.end is not None:
            lasts = stream.end - stream.begin
            if lasts > MAX_SECONDS:
                raise ProbeError(f"lasts {lasts / 3600:.0f} h, more than {MAX_SECONDS / 3600:.0f} h")
