"""Is the output what was planned? Decoded in full, frames and times against the source's packets, stream by stream.

ffmpeg's exit status 0 proves nothing: half a file, damaged pictures and undecodable audio all end with 0.
"""

import threading
from pathlib import Path

from tools.core.errors import VerifyError
from tools.media.encoding import KEPT_FLAGS, Encoder, Plan, StreamPlan
from tools.media.probe import SAFE_INPUT, Facts, Stream, probe
from tools.runtime.child import Limits, run

_SYNC = 0.040  # s; a viewer notices more
_END_SLACK, _END_SHARE = 1.0, 0.005  # s and share of the duration that a header may promise too much
_CHAPTER_SLACK = 0.002  # s; Matroska keeps milliseconds
_BEFORE_KEYFRAME = 2  # pictures
_MOST_COMPLAINTS = 10_000  # lines kept
_FEW_COMPLAINTS = 4  # lines; about one packet cut in the middle
# What a decoder knows though the container does not say it. Source: RFC 6386 §9.2 (VP8 is BT.601).
_INTRINSIC = {("vp8", "color_space"): "bt470bg"}
_COLOURS = ("color_primaries", "color_transfer", "color_space")


def check_source(plan: Plan, min_percent: float) -> list[str]:
    """Warnings about small damage. Raises VerifyError when the source ends long before its header says."""
    facts = plan.facts
    if facts.duration is None or facts.format == "mpegts":
        return []  # no header to disagree with; a transport stream's duration is made of its packets
    reached = max(facts.end, facts.end - min(0.0, facts.begin))
    missing = facts.duration - reached
    if missing <= max(_END_SLACK, _END_SHARE * facts.duration):
        return []
    percent = 100.0 * reached / facts.duration
    said = f"the file is cut: {reached:.1f} s of {facts.duration:.1f} s are there"
    # An odd header of a short clip proves little; the frames decide below.
    if percent < min_percent and missing > 2 * _END_SLACK:
        raise VerifyError(said, differences=[said])
    return [said]


def verify(
    plan: Plan,
    source: Path,
    output: Path,
    broken: int,
    encoder: Encoder,
    ffprobe: Path,
    *,
    stop: threading.Event,
    min_percent: float,
    stall_timeout: float,
) -> tuple[Facts, list[str]]:
    """Facts of the output and warnings about damage of the source. Raises VerifyError with every difference found.

    ``broken``: pictures of the source that its decoder complained about.
    """
    made = probe(output, ffprobe, stop)
    differences = _census(plan, made)
    lost, warnings = _frames(plan, made, min_percent)
    differences += lost
    complaints = _decode(output, ["0:V", "0:a?"], encoder, stop, stall_timeout)
    if complaints:
        excused = _source_is_to_blame(plan, source, len(complaints), encoder, stop, stall_timeout)
        (warnings if excused else differences).append(f"it does not decode in full: {complaints[-1][:200]}")
    frames = max(1, plan.main_video.packets)
    if broken > _tolerated(frames, min_percent):
        differences.append(f"damaged source: {broken} of {frames} pictures do not decode")
    elif broken:
        warnings.append(f"damaged source: {broken} of {frames} pictures do not decode as they should")
    if differences:
        raise VerifyError("the result differs from the plan: " + "; ".join(differences[:3]), differences=differences)
    return made, warnings


def _census(plan: Plan, made: Facts) -> list[str]:
    differences = []
    for kind in ("video", "audio", "subtitle"):
        wanted, found = plan.kept(kind), made.of(kind)
        if len(wanted) != len(found):
            differences.append(f"{len(wanted)} {kind} streams were planned, {len(found)} are there")
        for want, have in zip(wanted, found, strict=False):
            differences += _stream_differences(want, have)
    attachments = len(plan.kept("attachment", "cover"))
    # A cover that was attached shows up as an attached picture again.
    found_attachments = len(made.of("attachment")) + len(made.of("cover"))
    if attachments != found_attachments:
        differences.append(f"{attachments} attachments were planned, {found_attachments} are there")
    return differences + _chapters(plan.facts, made) + _colours(plan, made) + _sync(plan, made)


def _stream_differences(want: StreamPlan, have: Stream) -> list[str]:
    name = f"{want.source.kind} stream {want.source.index}"
    differences = []
    same = {"ssa": "ass", "srt": "subrip"}
    if same.get(have.codec, have.codec) != same.get(want.codec, want.codec):
        differences.append(f"{name} is {have.codec} instead of {want.codec}")
    if have.packets == 0 and want.source.packets > 0:
        differences.append(f"{name} is empty")
    if want.action == "copy" and want.source.kind != "video" and abs(have.packets - want.source.packets) > 1:
        differences.append(f"{name} has {have.packets} of {want.source.packets} packets")
    wanted_flags = want.source.flags & set(KEPT_FLAGS)
    if have.flags & set(KEPT_FLAGS) != wanted_flags:
        differences.append(f"{name} has flags {sorted(have.flags)} instead of {sorted(wanted_flags)}")
    language = want.source.tag("language")
    if language not in {"", "und"} and have.tag("language") != language:
        differences.append(f"{name} lost its language {language}")
    if want.source.tag("title") != have.tag("title"):
        differences.append(f"{name} lost its title")
    return differences


def _chapters(source: Facts, made: Facts) -> list[str]:
    if len(source.chapters) != len(made.chapters):
        return [f"{len(source.chapters)} chapters were planned, {len(made.chapters)} are there"]
    for want, have in zip(source.chapters, made.chapters, strict=True):
        shift = abs(float(want.get("start_time") or 0) - float(have.get("start_time") or 0))
        title_lost = (want.get("tags") or {}).get("title", "") != (have.get("tags") or {}).get("title", "")
        if title_lost or shift > _CHAPTER_SLACK + max(0.0, source.begin):
            return ["a chapter lost its title or moved"]
    return []


def _colours(plan: Plan, made: Facts) -> list[str]:
    if plan.action != "transcode" or not made.of("video"):
        return []
    want, have = plan.main_video, made.of("video")[0]
    if any(mark in str(want.facts.get("pix_fmt")) for mark in ("rgb", "bgr", "gbr", "pal8")):
        return []  # no YUV yet: the conversion chooses the matrix
    differences = []
    for name in _COLOURS:
        before = _known(want.facts.get(name)) or _INTRINSIC.get((want.codec, name), "")
        after = _known(have.facts.get(name))
        if before != after:
            differences.append(f"{name} is {after or 'unset'} instead of {before or 'unset'}")
    full = str(want.facts.get("color_range")) == "pc"
    if full != (str(have.facts.get("color_range")) == "pc"):
        differences.append(f"the colour range is {have.facts.get('color_range')}")
    for kind in ("Mastering display metadata", "Content light level metadata"):
        if want.side_data(kind) and not have.side_data(kind):
            differences.append(f"{kind} is lost")
    return differences


def _known(value: object) -> str:
    return "" if value in {None, "unknown", "reserved", "unspecified"} else str(value)


def _sync(plan: Plan, made: Facts) -> list[str]:
    """Distance of the first audio to the first picture, before and after."""
    videos, audios = plan.kept("video"), plan.kept("audio")
    if not videos or not audios or not made.of("video") or not made.of("audio"):
        return []
    if plan.facts.format == "avi":
        return []  # its pictures have no timestamps to compare with
    source = videos[0].source.begin, audios[0].source.begin
    result = made.of("video")[0].begin, made.of("audio")[0].begin
    if None in source or None in result:
        return []
    before, after = (source[1] or 0) - (source[0] or 0), (result[1] or 0) - (result[0] or 0)
    moved = abs(after - before)
    if moved > _SYNC + 1.0 / (videos[0].source.rate or 25.0):
        return [f"audio moved by {1000 * moved:.0f} ms against the picture"]
    return []


def _frames(plan: Plan, made: Facts, min_percent: float) -> tuple[list[str], list[str]]:
    """(differences, warnings) of the main video's frames and duration."""
    if not made.of("video"):
        return [], []
    source, result = plan.main_video, made.of("video")[0]
    if plan.action != "transcode":
        same = source.packets == result.packets
        return ([] if same else [f"{result.packets} of {source.packets} video packets"]), []
    span_before, span_after = _span(source), _span(result)
    frame = 1.0 / (source.rate or 24.0)
    lost = source.packets - result.packets
    covered = span_before is None or span_after is None or span_after >= span_before * min_percent / 100 - 2 * frame
    if result.packets == 0 or not covered or lost > _tolerated(source.packets, min_percent):
        if covered and result.packets and _hides_frames(source):
            return [], []
        return [f"only {result.packets} of {source.packets} frames decode"], []
    if lost > 0 and not _hides_frames(source):
        return [], [f"damaged source: {result.packets} of {source.packets} frames decode"]
    return [], []


def _tolerated(frames: int, min_percent: float) -> float:
    """How many pictures may be missing: the share of the setting, and those before the first keyframe of a cut clip."""
    return max(_BEFORE_KEYFRAME, frames * (1 - min_percent / 100))


def _hides_frames(source: Stream) -> bool:
    """Codecs with packets that are no picture of their own: VP8/VP9 references, fields, packed B-frames."""
    return source.codec in {"vp8", "vp9", "mpeg4", "msmpeg4v3"} or str(source.facts.get("field_order")) not in {
        "progressive",
        "unknown",
        "None",
    }


def _span(stream: Stream) -> float | None:
    if stream.begin is None or stream.end is None or not stream.has_times:
        return None
    return stream.end - stream.begin


def _decode(path: Path, streams: list[str], encoder: Encoder, stop: threading.Event, stall_timeout: float) -> list[str]:
    """Every picture and sample of these streams once through the decoders; what they complain about."""
    head: list[str | Path] = [encoder.ffmpeg, "-hide_banner", "-nostdin", "-v", "error", *SAFE_INPUT]
    maps = [part for stream in streams for part in ("-map", stream)]
    tail = ["-progress", "pipe:1", "-stats_period", "1", "-f", "null", "-"]
    said: list[str] = []

    def complain(line: str) -> None:
        if line.strip() and len(said) < _MOST_COMPLAINTS:
            said.append(line)

    ended = run(
        [*head, "-i", f"file:{path}", *maps, *tail],
        limits=Limits(stall=stall_timeout),
        stop=stop,
        on_line=lambda line: line.startswith("out_time_us="),
        on_complaint=complain,
    )
    if ended.status != 0 and not said:
        said.append(f"the decoder ended with status {ended.status}")
    return said


def _source_is_to_blame(
    plan: Plan, source: Path, complaints: int, encoder: Encoder, stop: threading.Event, stall_timeout: float
) -> bool:
    """Whether a few complaints come with audio that was copied with the damage it had."""
    copied = [kept.source for kept in plan.kept("audio") if kept.action == "copy"]
    packets = sum(stream.packets for stream in copied)
    if not copied or complaints > max(_FEW_COMPLAINTS, packets // 100):
        return False
    before = _decode(source, [f"0:{stream.index}" for stream in copied], encoder, stop, stall_timeout)
    return len(before) >= complaints
