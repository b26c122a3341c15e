"""Subtitles and fonts that lie beside a video → into its result, by one more mux after that is verified.

The result is the source of this mux and all its streams are copied, so what was verified of them holds: that they are
still the same is shown by their checksums. If it can't be done, the result stays as it was; whoever reads the record is
told why.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tools.core.companions import extension, is_font, is_subtitle, is_text, tail
from tools.core.errors import ProbeError, TranscodeError, VerifyError
from tools.media.complaints import Complaints, bare
from tools.media.encoding import SUBTITLE_INPUT
from tools.media.facts import Facts
from tools.media.languages import named_flags, named_language
from tools.media.mkvmerge import Muxer
from tools.media.mux import Muxing, put_together
from tools.media.pace import usual_limit
from tools.media.plan import Added, Font, Plan, make_plan, suits_mkvmerge
from tools.media.program import machine_fault, run_program
from tools.media.subtitle_text import decoded
from tools.media.verify import Checking, verify_added
from tools.runtime.child import ChildLimits
from tools.runtime.spawn import Access

_TYPES = {"ttf": "font/ttf", "otf": "font/otf", "ttc": "font/collection"}  # Source: RFC 8081
_LARGEST_ANSWER = 1 << 20  # characters
_CODECS = frozenset({"subrip", "ass", "hdmv_pgs_subtitle", "dvd_subtitle"})


@dataclass(frozen=True, slots=True)
class Beside:
    """A file that lies beside a video: where it is here, and its name there."""

    path: Path
    name: str


@dataclass(frozen=True, slots=True)
class Ready:
    """What can be put in, and a line for each thing that is to be said of it."""

    tracks: tuple[Added, ...]
    fonts: tuple[Font, ...]
    said: tuple[str, ...]


def prepared(video: str, files: Sequence[Beside], folder: Path, checking: Checking) -> Ready:
    """Make of the files what the muxers take, in ``folder``: texts in UTF-8, names of ours. ``video``: name of the
    source. Raises MachineError, DiskFull, NoEncoder, Stopped, OSError; a bad file is left out and said."""
    tracks: list[Added] = []
    said: list[str] = []
    pictures = {one.name.rpartition(".")[0]: one.path for one in files if extension(one.name) == "sub"}
    for number, one in enumerate(file for file in files if is_subtitle(file.name)):
        what = tail(one.name, video)
        language = named_language(what)
        place = folder / f"beside{number}.{extension(one.name)}"
        try:
            if is_text(one.name):
                text, encoding = decoded(one.path.read_bytes(), language)
                place.write_text(text, encoding="utf-8", newline="")
                if encoding != "utf-8":
                    said.append(f"{one.name} was read as {encoding}")
            else:
                shutil.copyfile(one.path, place)
            if (also := pictures.get(one.name.rpartition(".")[0])) and extension(one.name) == "idx":
                shutil.copyfile(also, place.with_suffix(".sub"))
            found = _streams(place, checking)
        except (ProbeError, UnicodeError) as exc:
            said.append(f"{one.name} is not put in: {exc}")
            continue
        alone = len(found) == 1
        for index, (codec, packets) in enumerate(found):
            tracks.append(
                Added(place, index, codec, packets, language if alone else "", what, named_flags(what), one.name)
            )
    fonts = [
        Font(one.path.absolute(), one.name, _TYPES[extension(one.name)], one.path.stat().st_size)
        for one in files
        if is_font(one.name)
    ]
    return Ready(tuple(tracks), tuple(fonts) if tracks else (), tuple(said))


def _streams(path: Path, checking: Checking) -> list[tuple[str, int]]:
    """(codec, packets) of each stream of a subtitle file. Raises ProbeError for one that holds nothing to show."""
    lines: list[str] = []
    complaints = Complaints()
    shown = ["-count_packets", "-show_entries", "stream=codec_type,codec_name,nb_read_packets", "-of", "json=compact=1"]
    size = path.stat().st_size

    def take(line: str) -> None:
        if sum(map(len, lines)) < _LARGEST_ANSWER:
            lines.append(line)

    ended = run_program(
        [checking.ffprobe, "-v", "error", *SUBTITLE_INPUT, *shown, f"file:{path}"],
        access=Access(reads=(path, *([path.with_suffix(".sub")] if path.suffix == ".idx" else []))),
        limits=ChildLimits(timeout=usual_limit(size), rss=checking.max_rss),
        stop=checking.stop,
        on_line=take,
        on_complaint=complaints.line,
    )
    if fault := machine_fault("ffprobe", ended, complaints):
        raise fault
    try:
        streams = json.loads("\n".join(lines) or "{}").get("streams") or []
        found = [(str(one["codec_name"]), int(one.get("nb_read_packets") or 0)) for one in streams]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        found = []
    if not found or not all(packets and codec in _CODECS for codec, packets in found):
        why = bare(complaints.cause()).replace(f"file:{path}: ", "")[:100]
        raise ProbeError(f"no subtitle can be read in it ({why or 'it is empty'})")
    return found


def put_in(
    ready: Ready, result: Facts, part: Path, target: Path, muxer: Muxer | None, muxing: Muxing, checking: Checking
) -> tuple[Facts | None, list[str]]:
    """Make ``target`` of the verified ``part``; its facts, and what is to be said. None: ``part`` is the result.

    Raises MachineError, DiskFull, NoEncoder, Stopped, ReadTooSlow, EncoderStalled; what else is wrong, too, if there
    are captions of the source's own among the tracks.
    """
    said = list(ready.said)
    if not ready.tracks:
        return None, said
    plans = [_plan(result, ready, muxer)] if muxer and suits_mkvmerge(result) else []
    for attempt in (*plans, _plan(result, ready, None)):
        try:
            said += put_together(attempt, part, target, muxing)
            return verify_added(attempt, part, target, checking), said
        except (TranscodeError, VerifyError, ProbeError) as exc:
            is_own = any(track.source_codec for track in ready.tracks)  # and so must be in the result
            if exc.retryable or (is_own and not attempt.muxer):
                raise
            if attempt.muxer:
                said.append(f"mkvmerge could not put subtitles in, ffmpeg tried: {exc}")
            else:
                said.append(f"subtitles could not be put in: {exc}")
    return None, said


def _plan(result: Facts, ready: Ready, muxer: Muxer | None) -> Plan:
    """Everything as it is, and what is added; fonts that are in it already stay alone."""
    there = {stream.tag("filename") for stream in result.of("attachment")}
    fonts = tuple(font for font in ready.fonts if font.name not in there)
    return replace(make_plan(result, muxer), action="remux", muxer=muxer, added=ready.tracks, fonts=fonts)
