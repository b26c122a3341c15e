"""Is the output what was planned? Decoded in full, compared with the source's packets, stream by stream.

ffmpeg's exit status 0 proves nothing: half a file, damaged pictures and undecodable audio all end with 0.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tools.core.errors import EncoderStalled, MachineError, ReadTooSlow, VerifyError
from tools.media.census import census, frames, tolerated
from tools.media.complaints import Complaints, bare
from tools.media.encoders import Encoder
from tools.media.facts import Facts, Stream, StreamKind
from tools.media.pace import ReadLimit
from tools.media.plan import Plan, StreamPlan
from tools.media.probe import SAFE_INPUT, probe
from tools.media.program import machine_fault, run_program
from tools.runtime.child import ChildLimits, ChildOutgrew, ChildStalled, ChildTimeout
from tools.runtime.spawn import Access

_NOT_OF_A_DECODER = "non monotonically increasing dts to muxer"  # packets of the source that overlap
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


def verify(plan: Plan, source: Path, output: Path, broken: int, checking: Checking) -> tuple[Facts, list[str]]:
    """Facts of the output and warnings about damage of the source. Raises VerifyError with every difference found,
    and MachineError, ReadTooSlow, EncoderStalled, DiskFull, NoEncoder if it could not be looked for.

    ``broken``: pictures of the source that its decoder complained about.
    """
    made = probe(output, checking.ffprobe, checking.stop, limit=checking.limit)
    differences = census(plan, made)
    lost, warnings = frames(plan, made, checking.min_percent)
    differences += lost
    if not differences:
        differences += _changed_on_the_way(plan, source, output, made, checking)
    complaints = _decode(output, ["0:V", "0:a?"], checking)
    if complaints.count:
        excused = _source_is_to_blame(plan, source, complaints.count, checking)
        (warnings if excused else differences).append(f"it does not decode in full: {bare(complaints.cause())[:200]}")
    pictures = max(1, plan.main_video.packets)
    if broken > tolerated(pictures, checking.min_percent):
        differences.append(f"damaged source: {broken} of {pictures} pictures do not decode")
    elif broken:
        warnings.append(f"damaged source: {broken} of {pictures} pictures do not decode as they should")
    if differences:
        raise VerifyError("the result differs from the plan: " + "; ".join(differences[:3]), differences=differences)
    if made.size > plan.facts.size and plan.action == "transcode":
        warnings.append(f"the result is larger than the source: {made.size} bytes instead of {plan.facts.size}")
    return made, warnings


def _changed_on_the_way(plan: Plan, source: Path, output: Path, made: Facts, checking: Checking) -> list[str]:
    """Streams that were to be copied bit-exactly and are not, by the checksums of their packets."""
    if plan.action == "copy":
        return []
    pairs: list[tuple[StreamPlan, Stream]] = []
    kinds: tuple[StreamKind, ...] = ("video", "audio", "subtitle")
    for kind in kinds:
        both = zip(plan.kept(kind), made.of(kind), strict=True)
        pairs += [(want, have) for want, have in both if not want.source.discarded]
    exact = plan.facts.container in _BYTE_FOR_BYTE
    copied = [(want, have) for want, have in pairs if want.action == "copy" and (exact or want.source.kind == "video")]
    if not copied:
        return []
    # Elsewhere AV1 is framed in another way too, so that only the pictures can be compared.
    codec = "copy" if exact else "rawvideo"
    before = _checksums(source, [want.source.index for want, _ in copied], codec, checking)
    after = _checksums(output, [have.index for _, have in copied], codec, checking)
    return [
        f"{want.source.kind} stream {want.source.index} is not the source's, bit for bit"
        for (want, _), old, new in zip(copied, before, after, strict=True)
        if old != new or not new
    ]


def _checksums(path: Path, indexes: list[int], codec: str, checking: Checking) -> list[str]:
    """One per stream, over the payload of all its packets."""
    found: list[str] = []
    maps = [part for index in indexes for part in ("-map", f"0:{index}")]
    limits = ChildLimits(timeout=checking.limit(path.stat().st_size), rss=checking.max_rss)
    _ffmpeg(path, [*maps, "-c", codec, "-f", "streamhash", "-hash", "md5", "-"], found.append, checking, limits)
    by_stream = dict(line.split(",", 1) for line in found if "," in line)
    return [by_stream.get(str(number), "") for number in range(len(indexes))]


def _decode(path: Path, streams: list[str], checking: Checking) -> Complaints:
    """Every picture and sample of these streams once through the decoders; what they complain about."""
    maps = [part for stream in streams for part in ("-map", stream)]
    tail = [*maps, "-progress", "pipe:1", "-stats_period", "1", "-f", "null", "-"]
    limits = ChildLimits(stall=checking.stall_timeout, rss=checking.max_rss)
    return _ffmpeg(path, tail, lambda line: line.startswith("out_time_us="), checking, limits)


def _ffmpeg(
    path: Path,
    arguments: list[str],
    on_line: Callable[[str], bool | None],
    checking: Checking,
    limits: ChildLimits,
) -> Complaints:
    """One run over a file; what it complains about."""
    head: list[str | Path] = [checking.encoder.ffmpeg, "-hide_banner", "-nostdin", "-v", "repeat+error", *SAFE_INPUT]
    complaints = Complaints(ignored=_NOT_OF_A_DECODER)
    try:
        ended = run_program(
            [*head, "-i", f"file:{path}", *arguments],
            access=Access(reads=(path,)),
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
        complaints.line(f"the decoder ended with status {ended.status}")
    return complaints


def _source_is_to_blame(plan: Plan, source: Path, complaints: int, checking: Checking) -> bool:
    """Whether a few complaints come with audio that was copied with the damage it had."""
    copied = [kept.source for kept in plan.kept("audio") if kept.action == "copy"]
    packets = sum(stream.packets for stream in copied)
    if not copied or complaints > max(_FEW_COMPLAINTS, packets // 100):
        return False
    return _decode(source, [f"0:{stream.index}" for stream in copied], checking).count >= complaints
