"""Captions that stand inside the pictures (CEA-608) → tracks of text beside them, with their times, places and colours.

ffmpeg reads them while it decodes the pictures, in a pass of its own: only of a film of which some pictures have any,
which the encode has seen. The tracks are put into the verified result as subtitles from beside the source are.
"""

import re
import threading
from pathlib import Path

from tools.core.errors import MachineError
from tools.core.message import message
from tools.media.caption_codes import UNKNOWN, channels_in, field_of
from tools.media.caption_services import languages_in
from tools.media.carried import CAPTIONS, may_have_captions
from tools.media.complaints import Complaints
from tools.media.facts import Stream
from tools.media.pace import usual_limit
from tools.media.plan import Added, Plan
from tools.media.probe import SAFE_INPUT
from tools.media.program import Command, machine_fault, run_program
from tools.runtime.child import ChildLimits, ChildOutgrew, ChildTimeout
from tools.runtime.spawn import Access

SOURCE_CODEC = "eia_608"
_CODES = "captions.data"
_FIELDS = (("first", "CC1"), ("second", "CC3"))  # of ffmpeg's decoder, and the channel that it reads of each
_EVENT = re.compile(r"(Dialogue: [^,]*),(\d+:\d\d:\d\d\.\d\d),(\d+:\d\d:\d\d\.\d\d),((?:[^,]*,){6}(.*))")
_STYLE = re.compile(r"\{[^}]*\}")
_DECODES = 20  # times as long as reading
_MOST = 64 << 20  # bytes of text
_MAX_RSS = 3 << 30  # bytes


def may_be_captioned(plan: Plan) -> bool:
    """Whether the pictures of the main video might have captions, and lose them by being encoded."""
    video = plan.main_video
    is_encoded = any(kept.source is video and kept.action == "encode" for kept in plan.streams)
    if not is_encoded:
        return False
    if video.inside is not None and video.inside.pictures:
        return bool(video.inside.count(*CAPTIONS))
    return may_have_captions(video)


def captions_of(
    plan: Plan, ffmpeg: Path, source: Path, folder: Path, stop: threading.Event
) -> tuple[tuple[Added, ...], list[str]]:
    """A track for each channel that has text, on the clock of the result, and what is to be said.

    Writes into ``folder``. Raises Stopped, NoEncoder, DiskFull: what is in the captions, or a crash at them, does not
    keep a film from being converted.
    """
    video = plan.main_video
    if not may_be_captioned(plan):
        return (), []
    if video.has_even_times or plan.facts.is_jumpy(video):
        why = f"stream {video.index}: captions inside the pictures are not kept: its clock is set again on the way"
        return (), [message(why)]
    link = folder / "captioned"  # a name that needs nothing to be put in front of any of its characters
    link.unlink(missing_ok=True)
    link.symlink_to(source.resolve())
    limits = ChildLimits(timeout=_DECODES * usual_limit(plan.facts.size), rss=_MAX_RSS)
    access = Access(reads=(source,), writes=(folder,), largest_file=_MOST, is_patient=True)
    said = f"stream {video.index}: captions inside the pictures are not kept: ffmpeg can't read them"
    try:
        if not _ran(caption_command(ffmpeg, link, folder), access, limits, stop):
            return (), [message(said)]
    except (ChildOutgrew, ChildTimeout) as exc:
        return (), [message(f"stream {video.index}: captions inside the pictures are not kept: reading them {exc}")]
    except MachineError as exc:  # the pass stands behind the whole encode, which a second try would not spare
        return (), [
            message(f"stream {video.index}: captions inside the pictures are not kept, reading them failed: {exc}")
        ]
    shift = 0.0 if plan.muxer else -plan.facts.start
    languages = languages_in(source) if plan.facts.container == "mpegts" else {}
    channels = channels_in((folder / _CODES).read_bytes())
    tracks, mixed = list[Added](), list[str]()
    for number, (_, name) in enumerate(_FIELDS):
        own = [channel for channel in channels if field_of(channel) == number]
        channel = name if name in own or not own else own[0]
        track = _track(script_in(folder, name), channel, languages.get(name, ""), shift)
        if track is not None:
            tracks.append(track)
            mixed += [one for one in own if one != channel]
            channels = [one for one in channels if one not in own]
    return (*tracks,), _said_of(video, mixed, channels, bool(tracks))


def _said_of(video: Stream, mixed: list[str], unread: list[str], is_read: bool) -> list[str]:
    """``mixed``: channels whose letters are in the track of another one; ``unread``: those that no track has."""
    lines = []
    if mixed:
        names = f"stream {video.index}: captions of {', '.join(mixed)}"
        lines.append(message(f"{names} are in the track of another channel: ffmpeg does not tell them apart"))
    named = ", ".join(name for name in unread if name != UNKNOWN)
    if named:
        said = f"stream {video.index}: captions inside the pictures that ffmpeg can't read are not kept: {named}"
        lines.append(message(said))
    elif unread and not is_read:
        lines.append(message(f"stream {video.index}: captions inside the pictures are not kept: they make no text"))
    return lines


def _ran(command: Command, access: Access, limits: ChildLimits, stop: threading.Event) -> bool:
    """Whether it ended well; raises what ``captions_of`` does, MachineError, ChildOutgrew and ChildTimeout."""
    said = Complaints()
    ended = run_program(command, access=access, limits=limits, stop=stop, on_complaint=said.line)
    if fault := machine_fault("ffmpeg", ended, said, access):
        raise fault
    return ended.status == 0


def _track(script: Path, channel: str, language: str, shift: float) -> Added | None:
    """A track of a script, whose texts are moved by so many s; None if there is none, or it shows nothing."""
    if not script.exists():
        return None
    lines = script.read_text(encoding="utf-8", errors="replace").splitlines()
    head, texts = lines_of(lines, shift)
    if not texts:
        return None
    script.write_text("\n".join([*head, *(text for _, text in texts), ""]), encoding="utf-8", newline="")
    title = f"Closed captions ({channel})"
    return Added(script, 0, "ass", len(texts), language, title, frozenset(), title, SOURCE_CODEC, texts[0][0])


def lines_of(script: list[str], shift: float) -> tuple[list[str], list[tuple[float, str]]]:
    """The lines of an ASS script before its texts, and (when it begins, s; the line) of each text that shows
    something, in order, ``shift`` s later."""
    head = [line for line in script if not line.startswith("Dialogue:")]
    found = (match for line in script if (match := _EVENT.match(line)))
    shown = [match for match in found if _STYLE.sub("", match[5]).replace("\\N", "").strip()]
    moved = [(max(0.0, _seconds(one[2]) + shift), max(0.0, _seconds(one[3]) + shift), one) for one in shown]
    texts = [(begin, f"{one[1]},{_stamp(begin)},{_stamp(end)},{one[4]}") for begin, end, one in moved]
    return head, sorted(texts, key=lambda text: text[0])


def _seconds(stamp: str) -> float:
    hours, minutes, seconds = stamp.split(":")
    return 3600 * int(hours) + 60 * int(minutes) + float(seconds)


def _stamp(time: float) -> str:
    whole = round(100 * time)
    return f"{whole // 360000}:{whole // 6000 % 60:02d}:{whole // 100 % 60:02d}.{whole % 100:02d}"


def script_in(folder: Path, channel: str) -> Path:
    return folder / f"captions.{channel}.ass"


def caption_command(ffmpeg: Path, link: Path, folder: Path) -> Command:
    """Reads the captions of the best video of a file, on the file's own clock: one script per field, and the codes."""
    guard = _escaped(f"{SAFE_INPUT[0][1:]}={_inner(SAFE_INPUT[1])}:{SAFE_INPUT[2][1:]}={_inner(SAFE_INPUT[3])}")
    places = range(len(_FIELDS))
    graph = f"movie=filename={_escaped(str(link))}:format_opts={guard},split={len(_FIELDS)}"
    graph += "".join(f"[out{place}+subcc]" for place in places)
    head: list[str | Path] = [ffmpeg, "-hide_banner", "-nostdin", "-y", "-v", "error", "-copyts", "-f", "lavfi"]
    for place, (field, _) in enumerate(_FIELDS):
        head += [f"-data_field:s:{place}", field]
    head += ["-i", graph]
    for place, (_, channel) in enumerate(_FIELDS):
        head += ["-map", f"0:s:{place}", "-c:s", "ass", "-f", "ass", f"file:{script_in(folder, channel)}"]
    return [*head, "-map", "0:s:0", "-c:s", "copy", "-f", "data", f"file:{folder / _CODES}"]


def _inner(value: str) -> str:
    return re.sub(r"([\\':])", r"\\\1", value)


def _escaped(value: str) -> str:
    """For a value of a filter's option, and then for a graph. Source: ffmpeg-filters(1), «Notes on filtergraph
    escaping»."""
    return re.sub(r"([\\'\[\],;])", r"\\\1", _inner(value))
