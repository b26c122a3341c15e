"""Is the output what was planned? Decoded in full, compared with the source's packets, stream by stream.

ffmpeg's exit status 0 proves nothing: half a file, damaged pictures and undecodable audio all end with 0.
"""

import hashlib
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tools.core.errors import EncoderStalled, MachineError, ReadTooSlow, VerifyError
from tools.core.message import message
from tools.media.carried import HDR10_PLUS, RPU, STEREO, has
from tools.media.census import ROUNDING, SYNC, census, frames, tolerated
from tools.media.complaints import Complaints, bare
from tools.media.encoders import Encoder
from tools.media.facts import Facts, Stream, StreamKind
from tools.media.matroska_census import head_differences
from tools.media.pace import ReadLimit
from tools.media.plan import Plan
from tools.media.probe import SAFE_INPUT, probe
from tools.media.program import machine_fault, run_program
from tools.media.sound import Heard, Sound, encoded_sounds
from tools.media.thumbnails import Thumbnails
from tools.runtime.child import ChildLimits, ChildOutgrew, ChildStalled, ChildTimeout
from tools.runtime.spawn import Access

_NOT_OF_A_DECODER = "non monotonically increasing dts to muxer"  # packets of the source that overlap
_MOST_LOSSES = 50  # in one warning
_FEW_COMPLAINTS = 4  # lines; about one packet cut in the middle
# Containers whose packets go into Matroska byte for byte; others frame their audio in another way.
_BYTE_FOR_BYTE = frozenset({"matroska", "webm", "mov", "flv", "asf"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Checking:
    """What the checks run with."""

    encoder: Encoder  # whose ffmpeg decodes
    ffprobe: Path
    stop: threading.Event
    min_percent: float  # of the frames that must decode
    stall_timeout: float  # s
    max_rss: int  # bytes
    limit: ReadLimit  # of a program that reads a file whole
    threads: int | None = None  # of each decoder of a result, None = its own choice: as many as the machine has cores


def verify(
    plan: Plan, source: Path, output: Path, broken: int, checking: Checking, beside: Sequence["Asked"] = ()
) -> tuple[Facts, list[str]]:
    """Facts of the output and warnings about damage of the source. Raises VerifyError with every difference found,
    and MachineError, ReadTooSlow, EncoderStalled, DiskFull, NoEncoder if it could not be looked for.

    ``broken``: pictures of the source that its decoder complained about. ``beside``: what else is asked of the run
    that decodes the output.
    """
    pairs = _carried_over(plan)
    # Elsewhere AV1 is framed in another way too, so that only the pictures can be compared.
    codec = "copy" if plan.facts.container in _BYTE_FOR_BYTE else "rawvideo"
    before = _Checksums([source.index for source, _ in pairs], codec)
    after = _Checksums([place for _, place in pairs], codec)
    inside = _Inside({"DOVI_METADATA": plan.dolby_vision, "DYNAMIC_HDR_PLUS": plan.hdr10_plus})
    original, heard = map(Heard, encoded_sounds(plan))
    with ThreadPoolExecutor(2) as pool:
        probed = pool.submit(probe, output, checking.ffprobe, checking.stop, limit=checking.limit)
        taken = pool.submit(_look_at_source, source, before, original, checking)
        complaints = _decode(output, ["0:V", "0:a?"], checking, (after, heard, inside, *beside))
        taken.result()
        made = probed.result()
    differences = census(plan, made)
    of_head = head_differences(plan, made)
    if plan.muxer or plan.facts.head is None:
        differences += of_head
    is_in_order = plan.action == "copy" or _order(made) == list(range(len(_order(made))))
    if not differences and not is_in_order:
        differences.append("the streams do not stand in the planned order")
    of_encode, warnings = frames(plan, made, checking.min_percent)
    if differences:
        pairs = []
    else:
        of_encode += original.differences(heard)
        differences += _moved_sounds(plan, source, output, checking)
    for (have, place), old, new in zip(pairs, before.sums(), after.sums(), strict=True) if pairs else ():
        if old == new and new:
            continue
        name = f"{have.kind} stream {have.index}"
        is_text = plan.muxer is not None and have.codec in _TEXTS
        if is_text and _text(source, have.index, checking) == _text(output, place, checking):
            warnings.append(f"{name}: mkvmerge changed ends of lines, or blanks at them, and nothing else")
        else:
            differences.append(f"{name} is not the source's, bit for bit")
    if complaints.count and is_in_order:
        excused = _source_is_to_blame(plan, source, complaints.count, checking)
        (warnings if excused else of_encode).append(f"it does not decode in full: {bare(complaints.cause())[:200]}")
    warnings += _lost_inside(plan, made, inside)
    pictures = max(1, plan.main_video.packets)
    if broken > tolerated(pictures, checking.min_percent):
        of_encode.append(f"damaged source: {broken} of {pictures} pictures do not decode")
    elif broken:
        warnings.append(f"damaged source: {broken} of {pictures} pictures do not decode as they should")
    if found := [*differences, *of_encode]:
        said = "the result differs from the plan: " + "; ".join(found[:3])
        raise VerifyError(said, differences=found, of_encode=not differences)
    if of_head and not plan.muxer and plan.facts.head is not None:
        warnings.append("not kept by ffmpeg's muxer, mkvmerge would: " + "; ".join(of_head[:_MOST_LOSSES]))
    if made.size > plan.facts.size and plan.action == "transcode":
        warnings.append(f"the result is larger than the source: {made.size} bytes instead of {plan.facts.size}")
    return made, warnings


def look_into(path: Path, checking: Checking) -> tuple[Facts, str]:
    """What is in a file, every picture and sample of it decoded; and the worst complaint about that, "" if there is
    none. Raises ProbeError, MachineError, ReadTooSlow, EncoderStalled, NoEncoder."""
    facts = probe(path, checking.ffprobe, checking.stop, limit=checking.limit)
    complaints = _decode(path, ["0:V", "0:a?"], checking)
    return facts, bare(complaints.cause())[:200] if complaints.count else ""


def verify_added(plan: Plan, base: Path, output: Path, checking: Checking) -> Facts:
    """Facts of an output that is a verified ``base``, stream by stream the same, and what the plan adds to it. Raises
    what ``verify`` does; nothing is decoded again."""
    made = probe(output, checking.ffprobe, checking.stop, limit=checking.limit)
    differences = census(plan, made)
    if plan.muxer:
        differences += head_differences(plan, made)
    if not differences:
        kept = [one.source.index for one in plan.kept(*_KINDS)]
        there = [stream.index for kind in _KINDS for stream in made.of(kind)[: len(plan.kept(kind))]]
        before, after = _Checksums(kept, "copy"), _Checksums(there, "copy")
        before.take(base, checking)
        after.take(output, checking)
        if not all(before.sums()) or before.sums() != after.sums():
            differences.append("a stream is not the same any more")
    if differences:
        raise VerifyError("with what is beside it: " + "; ".join(differences[:3]), differences=differences)
    return made


def _order(made: Facts) -> list[int]:
    """Where the result's streams stand."""
    return [stream.index for kind in _KINDS for stream in made.of(kind)]


_KINDS: tuple[StreamKind, ...] = ("video", "audio", "subtitle")


def _carried_over(plan: Plan) -> list[tuple[Stream, int]]:
    """(stream of the source, its place in the result) of those that were to be copied bit-exactly."""
    if plan.action == "copy":
        return []
    exact = plan.facts.container in _BYTE_FOR_BYTE
    return [
        (kept.source, place)
        for place, kept in enumerate(plan.kept(*_KINDS))
        if kept.action == "copy" and not kept.source.discarded and (exact or kept.source.kind == "video")
    ]


def is_of_encode(plan: Plan, encoded: Path, output: Path, checking: Checking) -> bool:
    """Whether the encoded streams stand in the output as they were encoded, so that no other muxer makes them better.
    ``encoded``: the file that has them alone."""
    places = [place for place, kept in enumerate(plan.kept(*_KINDS)) if kept.action == "encode"]
    made, put = _Checksums(range(len(places)), "copy"), _Checksums(places, "copy")
    made.take(encoded, checking)
    put.take(output, checking)
    return bool(places) and made.sums() == put.sums() and all(made.sums())


_TEXTS = frozenset({"subrip", "ass", "ssa"})


def _text(path: Path, index: int, checking: Checking) -> str:
    """A digest of a text but for its white space."""
    digest = hashlib.sha256()

    def take(line: str) -> None:
        digest.update("".join(line.split()).encode("utf-8", "surrogateescape"))

    limits = ChildLimits(timeout=checking.limit(path.stat().st_size), rss=checking.max_rss)
    _ffmpeg(path, ["-map", f"0:{index}", "-c", "copy", "-f", "data", "-"], take, checking, limits)
    return digest.hexdigest()


class _Checksums:
    """One per stream, over the payload of all its packets, or over its pictures."""

    def __init__(self, indexes: Sequence[int], codec: str) -> None:
        self._indexes = indexes
        self._codec = codec
        self._found: dict[str, str] = {}

    def arguments(self) -> list[str]:
        """An output of its own, beside others of the run."""
        maps = [part for index in self._indexes for part in ("-map", f"0:{index}")]
        return [*maps, "-c", self._codec, "-f", "streamhash", "-hash", "murmur3", "-"] if maps else []

    def line(self, line: str) -> None:
        """One line of standard output. Source: ffmpeg's hashenc.c, ``0,v,murmur3=…``."""
        name, _, value = line.partition("=")
        if name.endswith(",murmur3"):
            self._found[name.split(",")[0]] = value

    def take(self, path: Path, checking: Checking) -> None:
        """A run for these alone; none if there are none."""
        if not self._indexes:
            return
        limits = ChildLimits(timeout=checking.limit(path.stat().st_size), rss=checking.max_rss)
        _ffmpeg(path, self.arguments(), self.line, checking, limits)

    def sums(self) -> list[str]:
        """In the order of the streams, "" for one that could not be taken."""
        return [self._found.get(str(place), "") for place in range(len(self._indexes))]


class _Inside:
    """Counts the pictures of the first video that carry what they shall have, by type of side data."""

    def __init__(self, wanted: Mapping[str, bool]) -> None:
        self._types = [name for name, is_wanted in wanted.items() if is_wanted]
        self._counts = [0] * len(self._types)

    def arguments(self) -> list[str]:
        chosen = [
            part
            for place, name in enumerate(self._types)
            for part in ("-map", "0:V:0", f"-filter:v:{place}", f"sidedata=mode=select:type={name}")
        ]
        return [*chosen, "-c:v", "wrapped_avframe", "-f", "framecrc", "-"] if chosen else []

    def line(self, line: str) -> None:
        """Source: ffmpeg's framecrcenc.c, ``stream, dts, pts, …``."""
        if (match := _PICTURE.match(line)) and int(match[1]) < len(self._counts):
            self._counts[int(match[1])] += 1

    def count(self, name: str) -> int:
        return self._counts[self._types.index(name)]


_PICTURE = re.compile(r"(\d+), +-?\d+, +-?\d+,")


def _lost_inside(plan: Plan, made: Facts, inside: _Inside) -> list[str]:
    """What fewer pictures of the result carry than of the source, and what is lost of a whole video."""
    source, have = plan.main_video, made.of("video")[0]
    lines = []
    for names, kind, what, wanted in (
        (RPU, "DOVI_METADATA", "Dolby Vision", plan.dolby_vision),
        (HDR10_PLUS, "DYNAMIC_HDR_PLUS", "HDR10+", plan.hdr10_plus),
    ):
        carried = source.inside.count(*names) if source.inside else have.packets
        if wanted and (count := inside.count(kind)) < carried:
            lines.append(message(f"{what} is in {count} of {have.packets} pictures of the result, not in {carried}"))
    packed = any(name in STEREO for name in have.hdr) or any(map(have.side_data, STEREO))
    if plan.action == "transcode" and has(source, STEREO) and not packed:
        lines.append(message(f"stream {source.index}: the frame packing (3D) of the pictures is not kept"))
    return lines


class Asked(Protocol):
    """What else is asked of a decode: outputs of its own, which write lines."""

    def arguments(self) -> list[str]: ...

    def line(self, line: str) -> None: ...


def _look_at_source(path: Path, checksums: _Checksums, heard: Heard, checking: Checking) -> None:
    """What there is to compare the result with; nothing is run for nothing."""
    checksums.take(path, checking)
    if heard.sounds:
        _decode(path, [], checking, (heard,))


def heard_in(path: Path, sounds: Sequence[Sound], checking: Checking) -> Heard:
    """What these streams of a file decode to. Raises MachineError, ReadTooSlow, EncoderStalled, NoEncoder."""
    heard = Heard(sounds)
    _decode(path, [], checking, (heard,))
    return heard


@dataclass(slots=True)
class Packets:
    """One stream as a copy of it has it. Source: ffmpeg's framehash.c and framecrcenc.c."""

    about: dict[str, str] = field(default_factory=dict)  # of its head: codec_id, sample_rate, …
    times: list[float] = field(default_factory=list)  # s on the file's own clock, when each is shown

    def line(self, line: str) -> None:
        """One line of standard output: ``#name stream: value``, then ``stream, dts, pts, …``."""
        if (said := _HEAD.match(line)) is not None:
            self.about[said[1]] = said[2]
        elif (packet := _PACKET.match(line)) is not None:
            above, _, below = self.about["tb"].partition("/")
            self.times.append(int(packet[1]) * int(above) / int(below))


_HEAD = re.compile(r"#(\w+) 0: (.*)")
_PACKET = re.compile(r"0, +-?\d+, +(-?\d+),")


def packets_of(
    path: Path, index: int, checking: Checking, beside: Sequence[str] = (), access: Access | None = None
) -> Packets:
    """``beside``: another output for the same packets. Raises as ``heard_in`` does."""
    packets = Packets()
    chosen = ["-map", f"0:{index}", "-c", "copy"]
    limits = ChildLimits(timeout=checking.limit(path.stat().st_size), rss=checking.max_rss)
    asked = [*chosen, "-f", "framecrc", "-", *([*chosen, *beside] if beside else [])]
    _ffmpeg(path, asked, packets.line, checking, limits, access=access, before=["-copyts", "-y"])
    return packets


def _moved_sounds(plan: Plan, source: Path, output: Path, checking: Checking) -> list[str]:
    """Sound that came by way of a file of its own, and is not at the source's times, packet by packet."""
    differences = []
    for place, kept in enumerate(plan.kept(*_KINDS)):
        if kept.is_unframed:
            before, after = packets_of(source, kept.source.index, checking), packets_of(output, place, checking)
            moves = [new - old + plan.facts.start for old, new in zip(before.times, after.times, strict=False)]
            is_whole = len(before.times) == len(after.times) and bool(moves)
            if not is_whole or max(map(abs, moves)) > SYNC or max(moves) - min(moves) > 2 * ROUNDING:
                differences.append(f"audio stream {kept.source.index} is not at the source's times")
    return differences


def _decode(path: Path, streams: list[str], checking: Checking, beside: Sequence[Asked] = ()) -> Complaints:
    """Every picture and sample of these streams once through the decoders; what they complain about. ``beside``: what
    else is asked of the run."""
    maps = [part for stream in streams for part in ("-map", stream)]
    tail = ["-progress", "pipe:1", "-stats_period", "1", *(["-f", "null", "-"] if maps else [])]
    limits = ChildLimits(stall=checking.stall_timeout, rss=checking.max_rss)

    def take(line: str) -> bool:
        for asked in beside:
            asked.line(line)
        return line.startswith("out_time_us=")

    more = [argument for asked in beside for argument in asked.arguments()]
    folders = tuple({asked.folder for asked in beside if isinstance(asked, Thumbnails)})
    share = ["-threads", str(checking.threads)] if checking.threads else []
    return _ffmpeg(path, [*maps, *tail, *more], take, checking, limits, folders, before=share)


def _ffmpeg(
    path: Path,
    arguments: list[str],
    on_line: Callable[[str], bool | None],
    checking: Checking,
    limits: ChildLimits,
    writes: tuple[Path, ...] = (),
    *,
    access: Access | None = None,
    before: Sequence[str] = (),
) -> Complaints:
    """One run over a file; what it complains about. ``writes``: folders that it makes files in, if ``access`` does not
    say more. ``before``: what is said of the whole run."""
    head: list[str | Path] = [checking.encoder.ffmpeg, "-hide_banner", "-nostdin", *before, "-v", "repeat+error"]
    complaints = Complaints(ignored=_NOT_OF_A_DECODER)
    try:
        ended = run_program(
            [*head, *SAFE_INPUT, "-i", f"file:{path}", *arguments],
            access=access or Access(reads=(path,), writes=writes),
            limits=limits,
            stop=checking.stop,
            on_line=on_line,
            on_complaint=complaints.line,
        )
    except ChildStalled as exc:
        raise EncoderStalled(f"reading the result made {exc}", stderr=exc.stderr) from exc
    except ChildTimeout as exc:
        raise ReadTooSlow(f"reading the result {exc}") from exc
    except ChildOutgrew as exc:  # what was decoded before with less: the machine's memory is the limit
        raise MachineError(f"reading the result {exc}") from exc
    if fault := machine_fault("ffmpeg", ended, complaints):
        raise fault
    if ended.status != 0 and not complaints.count:
        complaints.line("the decoder failed without a word")
    return complaints


def _source_is_to_blame(plan: Plan, source: Path, complaints: int, checking: Checking) -> bool:
    """Whether a few complaints come with audio that was copied with the damage it had."""
    copied = [kept.source for kept in plan.kept("audio") if kept.action == "copy"]
    packets = sum(stream.packets for stream in copied)
    if not copied or complaints > max(_FEW_COMPLAINTS, packets // 100):
        return False
    return _decode(source, [f"0:{stream.index}" for stream in copied], checking).count >= complaints
