"""Captions that stand inside the pictures (CEA-608) → a track of text beside them, with its times, places and colours.

ffmpeg reads them while it decodes the pictures, in a pass of its own: only of a film whose first pictures have some.
"""

import re
import threading
from dataclasses import replace
from pathlib import Path

from tools.core.message import message
from tools.media.carried import may_have_captions
from tools.media.complaints import Complaints
from tools.media.facts import Stream
from tools.media.matroska import Element, Value
from tools.media.pace import usual_limit
from tools.media.plan import Plan, StreamPlan
from tools.media.probe import SAFE_INPUT
from tools.media.program import machine_fault, run_program
from tools.runtime.child import ChildLimits, ChildOutgrew, ChildTimeout
from tools.runtime.spawn import Access

_TITLE = "Closed captions (CC1)"
_EVENT = re.compile(r"Dialogue: [^,]*,(\d+):(\d\d):(\d\d\.\d\d),[^,]*,(?:[^,]*,){6}(.*)")
_STYLE = re.compile(r"\{[^}]*\}")
_DECODES = 20  # times as long as reading


def with_captions(
    plan: Plan, ffmpeg: Path, source: Path, folder: Path, stop: threading.Event
) -> tuple[Plan, list[str]]:
    """The plan with a track of the captions of its main video, if there are any, and what is to be said of it.

    Writes ``folder``/captions.ass. Raises Stopped, NoEncoder, DiskFull, MachineError: what is in the captions does not
    keep a film from being converted.
    """
    video = plan.main_video
    is_encoded = any(kept.source is video and kept.action == "encode" for kept in plan.streams)
    if plan.has_read_captions or not is_encoded or not may_have_captions(video):
        return plan, []
    read = replace(plan, has_read_captions=True)
    if video.has_even_times or plan.facts.is_jumpy(video):
        why = message(
            f"stream {video.index}: captions inside the pictures are not kept: its clock is set again on the way"
        )
        return read, [why]
    target = folder / "captions.ass"
    link = folder / "captioned"  # a name that needs nothing to be put in front of any of its characters
    link.unlink(missing_ok=True)
    link.symlink_to(source.resolve())
    complaints = Complaints()
    access = Access(reads=(source,), writes=(folder,), largest_file=_MOST, is_patient=True)
    limits = ChildLimits(timeout=_DECODES * usual_limit(plan.facts.size), rss=_MAX_RSS)
    command = caption_command(ffmpeg, link, target)
    try:
        ended = run_program(command, access=access, limits=limits, stop=stop, on_complaint=complaints.line)
    except (ChildOutgrew, ChildTimeout) as exc:
        return read, [message(f"stream {video.index}: captions inside the pictures are not kept: reading them {exc}")]
    if fault := machine_fault("ffmpeg", ended, complaints, access):
        raise fault
    texts = texts_in(target.read_text(encoding="utf-8", errors="replace")) if target.exists() else []
    if ended.status != 0:
        return read, [
            message(f"stream {video.index}: captions inside the pictures are not kept: ffmpeg can't read them")
        ]
    return (with_track(plan, target, texts) if texts else read), []


_MOST = 64 << 20  # bytes of text
_MAX_RSS = 3 << 30  # bytes


def caption_command(ffmpeg: Path, link: Path, target: Path) -> list[str | Path]:
    """Reads the captions of the best video of a file, on the file's own clock."""
    guard = _escaped(f"{SAFE_INPUT[0][1:]}={_inner(SAFE_INPUT[1])}:{SAFE_INPUT[2][1:]}={_inner(SAFE_INPUT[3])}")
    graph = f"movie=filename={_escaped(str(link))}:format_opts={guard}[out0+subcc]"
    head: list[str | Path] = [ffmpeg, "-hide_banner", "-nostdin", "-y", "-v", "error", "-copyts", "-f", "lavfi"]
    return [*head, "-i", graph, "-map", "0:s", "-c:s", "ass", "-f", "ass", f"file:{target}"]


def _inner(value: str) -> str:
    return re.sub(r"([\\':])", r"\\\1", value)


def _escaped(value: str) -> str:
    """For a value of a filter's option, and then for a graph. Source: ffmpeg-filters(1), «Notes on filtergraph
    escaping»."""
    return re.sub(r"([\\'\[\],;])", r"\\\1", _inner(value))


def texts_in(script: str) -> list[float]:
    """When each text of an ASS script begins, s, in order; what shows nothing is none."""
    found = (_EVENT.match(line) for line in script.splitlines())
    shown = [match for match in found if match and _STYLE.sub("", match[4]).replace("\\N", "").strip()]
    return sorted(3600 * int(match[1]) + 60 * int(match[2]) + float(match[3]) for match in shown)


def with_track(plan: Plan, script: Path, begins: list[float]) -> Plan:
    """The plan with these captions as its last subtitles: neither default nor forced, of no known language."""
    number = int.from_bytes(_TITLE.encode()[:7], "big") + plan.facts.size
    elements: dict[str, Value] = {
        "TrackType": 17,
        "TrackUID": number,
        "Name": _TITLE,
        "FlagDefault": 0,
        "Language": "und",
    }
    head = Element("TrackEntry", "", tuple(Element(name, value) for name, value in elements.items()))
    index = max(stream.index for stream in plan.facts.streams) + 1
    facts = {"tags": {"title": _TITLE}, "disposition": {}}
    count = len(begins)
    track = Stream(index, "subtitle", "eia_608", facts, packets=count, cues=count, begin=begins[0], head=head)
    made = StreamPlan(track, "encode", "ass", "captions inside the pictures become a track of their own")
    return _behind(plan, made, script)


def _behind(plan: Plan, made: StreamPlan, script: Path) -> Plan:
    before = [kept for kept in plan.streams if kept.is_kept and kept.source.kind in {"video", "audio", "subtitle"}]
    after = [kept for kept in plan.streams if kept not in before]
    return replace(plan, streams=(*before, made, *after), captions=script, has_read_captions=True)


def carrying_as(plan: Plan, other: Plan) -> Plan:
    """The plan with what another one of the same file keeps of what its pictures carry."""
    plan = replace(plan, dolby_vision=other.dolby_vision)
    made = next((kept for kept in other.streams if kept.source.head is not None), None)
    if made is None or other.captions is None:
        return replace(plan, has_read_captions=other.has_read_captions)
    return _behind(plan, made, other.captions)


def caption_input(plan: Plan) -> list[str]:
    """Options of the file of the captions as an input. ffmpeg lets the source begin at 0, unless clocks are copied; a
    file of texts says no beginning, so that nothing is taken off its times."""
    late = [] if plan.muxer else ["-itsoffset", f"{-plan.facts.start:.3f}"]
    return ["-protocol_whitelist", "file", "-f", "ass", *late]
