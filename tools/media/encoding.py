"""Plan + options → argv: the one command that makes the output. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ffmpeg

from tools.core.options import ANY, Option, Wanted
from tools.media.encoders import FASTEST_RATE, Arguments, Encoder, Request
from tools.media.facts import Stream, StreamKind
from tools.media.hdr10_plus import CORNER, VALUES, WRITER
from tools.media.inside import SHOW
from tools.media.languages import OLD_CODES
from tools.media.muxing import ROOM, STALE_TAGS, encoded_streams
from tools.media.plan import (
    COVER_TYPES,
    Plan,
    StreamPlan,
    colour_range,
    first_stream,
    is_rgb,
    kept_flags,
    suits_mkvmerge,
)
from tools.media.probe import SAFE_INPUT
from tools.media.shapes import is_partly_interlaced, shape_filters

KEYFRAME_SECONDS = 10  # ab-av1 and the community's taste; seeking in an episode stays quick
TIME_BASE = "1:90000"  # s; finer than any container's times and than Matroska's milliseconds
_MOST_CHANNELS = 8  # of Opus as its layouts go
OPUS_LAYOUTS = "mono|stereo|3.0|quad|5.0|5.1|6.1|7.1"
"""Layouts that Opus has; others are brought to the nearest. Source: RFC 7845 §5.1.1.2."""
# us. An output that lags, as that of a few pictures does, holds up the other files that are read, but not the file that
# its pictures come from: the muxer has to wait for the sound.
_IN_STEP = ("-max_interleave_delta", "1000000000")
_BRANDS = ("major_brand", "minor_version", "compatible_brands")


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputOptions:
    """What decides the output: the same for all machines that work on one queue. Fields as in the settings' ``encode``.

    The cluster's handshake carries it whole, so each value must survive JSON unchanged.
    """

    encoder: str = "auto"  # one of ``tools.media.encoders.ENCODERS``, or auto: the best that passes its trial
    preset: int = 6  # speed on SVT-AV1's scale, 13 = fastest
    crf: float = 30.0  # quality, smaller = better and bigger; with a target for what no search is possible of
    target_vmaf: float = 0.0  # VMAF that the CRF is searched for; 0 = the fixed CRF
    crf_min: int = 18  # no search goes below
    crf_max: int = 45  # nor above
    max_size_percent: float = 0.0  # of the source's video that the encoded one may weigh; 0 = any
    when_bigger: str = "keep"  # what becomes of what is bigger even so: keep, remux, refuse
    pix_fmt: str = "yuv420p10le"
    min_decoded_percent: float = 99.0  # of a damaged video's frames that must decode
    guess_languages: int = 0  # 1: zh-Hans and zh-Hant by the names of tracks
    mux_subtitles: int = 0  # 1: subtitles beside a video go into its result
    quality_metric: str = "auto"  # see ``tools.media.meters``; off: the pictures are not compared with the source's
    quality_floor: float = 40.0  # VMAF that a result must have at least


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineOptions:
    """What is a machine's own affair and leaves no trace in the output: where its programs are, how far they may go."""

    ffmpeg: str = "auto"  # a path, or auto: the one that can do most
    stall_timeout: float = 300.0  # s without progress after which an encode is given up
    mkvmerge: str = "auto"  # a path, off, or auto: the one of the system if it is there
    memory: Path | None = None  # file that keeps what its encoders answered to their trials; None = none
    max_encode_rss: int = 0  # bytes of memory of one encode; 0 = three quarters of what is there
    min_free_space: int = 0  # bytes of the disk that are left free by what a conversion could do without


def encoder_arguments(
    encoder: Encoder,
    options: OutputOptions,
    *,
    source: Stream | None,
    threads: int | None,
    stream: int,
    filters: Sequence[str] = (),
    dolby_vision: bool = False,
) -> tuple[list[str], list[str]]:
    """(global arguments, output arguments) of one video stream; ``source`` None for a trial."""
    entry = encoder.type
    rate = source.rate if source is not None else 0.0
    keyframe = max(1, round(KEYFRAME_SECONDS * min(rate or 24.0, FASTEST_RATE)))
    pix_fmt = entry.pix_fmt(options.pix_fmt)
    own: Arguments = {"c": encoder.name, "g": keyframe}
    own |= {} if entry.uploads else {"pix_fmt": pix_fmt}
    request = Request(preset=options.preset, quality=entry.quality(options.crf), threads=threads, source=source)
    own |= entry.arguments(encoder, request)
    if source is not None:
        own |= {"color_range": colour_range(source)} if colour_range(source) else {}
        own |= {"colorspace": "bt709"} if is_rgb(source) else {}
    own |= {"dolbyvision": 1} if dolby_vision else {}
    if entry.uploads:
        filters = [*filters, f"format={pix_fmt}", "hwupload"]
    if filters:
        own["filter"] = ",".join(filters)
    arguments = []
    for name, value in own.items():
        arguments += [f"-{name}:v:{stream}", str(value)]
    return list(entry.before), arguments


def encode_command(
    plan: Plan,
    encoder: Encoder,
    options: OutputOptions,
    source: Path,
    target: Path,
    covers: Sequence[Path],
    threads: int | None,
    encoded: Path | None = None,
) -> list[str]:
    """The run that makes the output, or only its encoded streams if the plan has a muxer for the rest.

    ``covers``: the extracted files of the plan's covers, in order. ``encoded``: a file with the encoded streams.
    """
    guard = {SAFE_INPUT[0][1:]: SAFE_INPUT[1], SAFE_INPUT[2][1:]: SAFE_INPUT[3]}
    if plan.action != "transcode" and plan.facts.container == "avi":
        guard["fflags"] = "+genpts"  # AVI has no timestamps, which a copy needs and an encode does not
    if encoder.crops and plan.action == "transcode":
        guard["apply_cropping"] = "codec"  # what a container only hides is part of the picture
    # The builder takes no name that is not UTF-8, so the names come in afterwards.
    given = ffmpeg.input("SOURCE", **guard)
    own = encoded_streams(plan)
    kept_here = own if plan.muxer else plan.kept("video", "audio", "subtitle", "attachment")
    if encoded is None:
        nodes = [given[str(kept.source.index)] for kept in kept_here]
        command: list[str] = ffmpeg.output(*nodes, "TARGET", format="matroska").compile(cmd=str(encoder.ffmpeg))
    else:  # the builder numbers the files as it likes; tags and chapters are those of the first
        maps = [f"1:{own.index(kept)}" if kept in own else f"0:{kept.source.index}" for kept in kept_here]
        inputs = [*SAFE_INPUT, "-i", "SOURCE", *SAFE_INPUT, "-i", "ENCODED"]
        chosen = [part for one in maps for part in ("-map", one)]
        command = [str(encoder.ffmpeg), *inputs, *chosen, "-f", "matroska", "TARGET"]
    before, arguments = _arguments(plan, encoder, options, covers, threads, encoded)
    if plan.muxer or encoded or plan.added:
        before = [*before, "-copyts"]  # what is put together later must be on one clock
    command = _with_unframed(plan, _with_added(plan, command), target.parent)
    front = [
        "-hide_banner",
        "-nostdin",
        "-y",
        "-v",
        "repeat+level+info",
        "-nostats",
        "-progress",
        "pipe:1",
        "-stats_period",
        "0.5",
        *before,
    ]
    if any(stream.has_even_times for stream in plan.facts.of("video")):
        front += ["-copyts", "-start_at_zero"]  # ffmpeg would shift everything at each time that runs backwards
    for name, path in (("SOURCE", source), ("ENCODED", encoded)):
        if name in command:
            command[command.index(name)] = f"file:{path}"
    is_needed = plan.hdr10_plus and encoded is None and encoder.name != WRITER
    values = _values_of(plan, target) if is_needed else []
    if any(kept.is_unframed for kept in plan.streams):  # so that the pictures begin where they would with the sound
        values += ["-map", f"0:{first_stream(plan.facts).index}", "-c", "copy", "-f", "null", "-"]
        arguments += _IN_STEP
    return [command[0], *front, *command[1:-1], *arguments, f"file:{target}", *values]


def _values_of(plan: Plan, target: Path) -> list[str]:
    """A second output, for the values of HDR10+: see ``tools.media.hdr10_plus``."""
    video = plan.main_video
    filters = ",".join([*picture_filters(plan, video), CORNER, "format=yuv420p10le"])
    coded = ["-c:v", WRITER, "-usage", "realtime", "-cpu-used", "8", "-lag-in-frames", "0", "-threads", "1"]
    about = ["-map_metadata", "-1", "-map_chapters", "-1", "-fps_mode", "passthrough", "-enc_time_base", TIME_BASE]
    where = ["-f", "ivf", f"file:{target.with_name(VALUES)}"]
    return ["-map", f"0:{video.index}", "-filter:v", filters, *coded, "-b:v", "0", "-crf", "63", *about, *where]


def picture_filters(plan: Plan, stream: Stream) -> list[str]:
    """What the pictures of an encoded stream go through. As a simple filter: a complex graph would lose its tags."""
    filters = []
    if is_partly_interlaced(stream.shapes):
        filters.append("bwdif=mode=send_frame:parity=auto:deint=interlaced")
    elif str(stream.facts.get("field_order")) in {"tt", "bb", "tb", "bt"}:
        filters.append("bwdif=mode=send_frame:parity=auto:deint=all")
    filters += shape_filters(stream.shapes, 0.0 if plan.muxer else plan.facts.start)
    if stream.has_even_times:
        filters.append(f"setpts=STARTPTS+N/({stream.rate:.9g}*TB)")
    if plan.facts.container == "avi":
        filters.append("setpts=PTS-STARTPTS")  # without timestamps of its own it begins a few frames late
    if is_rgb(stream):
        filters.append("scale=out_color_matrix=bt709:out_range=tv")
    elif colour_range(stream) != str(stream.facts.get("color_range") or "") or colour_range(stream) == "pc":
        # Older ffmpeg squeezes full range without being asked.
        filters.append(f"scale=out_range={colour_range(stream)}")
    return filters


SUBTITLE_INPUT = ("-protocol_whitelist", "file,pipe", "-format_whitelist", "srt,ass,sup,vobsub,mpeg")
"""What a file of subtitles may be."""


def _with_added(plan: Plan, command: list[str]) -> list[str]:
    """The command, with what the plan adds behind what it has."""
    if not plan.added:
        return command
    files = list(dict.fromkeys(one.path for one in plan.added))
    inputs = [part for path in files for part in (*SUBTITLE_INPUT, "-i", f"file:{path}")]
    maps = [part for one in plan.added for part in ("-map", f"{files.index(one.path) + 1}:{one.index}")]
    about: list[str] = []
    for number, one in enumerate(plan.added, len(plan.kept("subtitle"))):
        language = OLD_CODES.get(one.language.partition("-")[0], "")
        about += [f"-c:s:{number}", "copy", f"-metadata:s:s:{number}", f"title={one.title}"]
        about += [f"-metadata:s:s:{number}", f"language={language}"] if language else []
        about += [f"-disposition:s:{number}", "+".join(sorted(one.flags)) or "0"]
    for number, font in enumerate(plan.fonts, len(plan.kept("attachment", "cover"))):
        about += ["-attach", f"file:{font.path}", f"-metadata:s:t:{number}", f"filename={font.name}"]
        about += [f"-metadata:s:t:{number}", f"mimetype={font.mimetype}"]
    first, last = command.index("-map"), len(command) - 3  # -f matroska TARGET
    return [*command[:first], *inputs, *command[first:last], *maps, *about, *command[last:]]


def unframed_in(folder: Path, stream: Stream) -> Path:
    """Where the file is that has a stream of the source alone, without its framing."""
    return folder / f"unframed{stream.index}.mka"


def _with_unframed(plan: Plan, command: list[str], folder: Path) -> list[str]:
    """The command, with each sound that is out of its framing taken from its own file."""
    first = command.index("-map")
    for kept in plan.kept("audio"):
        if kept.is_unframed:
            number = command.count("-i")
            # ffmpeg begins each file at 0, and it is to begin where it does in the source.
            late = f"{(kept.source.begin or 0.0) - plan.facts.start:.6f}"
            given = [*SAFE_INPUT, "-itsoffset", late, "-i", f"file:{unframed_in(folder, kept.source)}"]
            command[command.index(f"0:{kept.source.index}", first)] = f"{number}:0"
            command[first:first] = given
            first += len(given)
    return command


_LETTERS: tuple[tuple[str, StreamKind], ...] = (("v", "video"), ("a", "audio"), ("s", "subtitle"), ("t", "attachment"))
"""ffmpeg's stream specifiers of the output, in the order of the plan."""


def _arguments(
    plan: Plan,
    encoder: Encoder,
    options: OutputOptions,
    covers: Sequence[Path],
    threads: int | None,
    encoded: Path | None,
) -> tuple[list[str], list[str]]:
    before: list[str] = []
    about = "-1" if plan.muxer else "0"
    after = ["-map_metadata", about, "-map_chapters", about, "-dn", "-max_muxing_queue_size", "4096", "-default_mode"]
    after += ["passthrough"]
    after += ["-fflags", "+bitexact"]  # no random identifiers: the same source gives the same bytes
    for name in _BRANDS if not plan.muxer else ():
        after += ["-metadata", f"{name}="]
    is_elsewhere = encoded is not None or any(one.is_unframed for one in plan.streams)
    for letter, kind in _LETTERS:
        for number, kept in enumerate(_made_here(plan, kind)):
            spec = f"{letter}:{number}"
            if is_elsewhere:  # said for one stream, it must be said for all
                after += [f"-map_metadata:s:{spec}", f"0:s:{kept.source.index}"]
            if kept.action == "encode" and encoded is not None:
                after += [f"-c:{spec}", "copy"]
            elif kept.action == "encode" and kind == "video":
                is_main = kept.source is plan.main_video
                before_one, own = encoder_arguments(
                    encoder,
                    options,
                    source=kept.source,
                    threads=threads,
                    stream=number,
                    filters=[
                        *(SHOW if is_main and encoder.tells_changes else ()),
                        *picture_filters(plan, kept.source),
                    ],
                    dolby_vision=plan.dolby_vision and is_main,
                )
                before = before or before_one
                # Without a time base of its own the encoder rounds each time to the frame rate that ffmpeg guesses.
                after += [*own, f"-fps_mode:{spec}", "passthrough", f"-enc_time_base:{spec}", TIME_BASE]
            else:
                after += [f"-c:{spec}", *_codec_arguments(kept, spec)]
            if not plan.muxer:
                after += _tag_arguments(kept, spec)
                if plan.editor and kept.source.index in plan.languages:
                    after += [f"-metadata:s:{spec}", f"title={kept.source.tag('title')}{ROOM}"]
    if not plan.muxer:
        after += _cover_arguments(plan, covers)
    return before, after


def _made_here(plan: Plan, kind: StreamKind) -> list[StreamPlan]:
    return [kept for kept in plan.kept(kind) if kept.action == "encode" or plan.muxer is None]


def _codec_arguments(kept: StreamPlan, spec: str) -> list[str]:
    if kept.action == "copy":
        # What an edit list hides is decoded and thrown away if there is a decoder; a copy must leave it out itself.
        return ["copy", f"-copypriorss:{spec}", "0"] if kept.source.discarded else ["copy"]
    if kept.codec == "opus":
        channels = min(_MOST_CHANNELS, max(1, int(kept.source.facts.get("channels") or 2)))
        family = "0" if channels <= 2 else "1"
        layout = [f"-filter:{spec}", f"aformat=channel_layouts={OPUS_LAYOUTS}"]
        return ["libopus", f"-b:{spec}", f"{64 * channels}k", f"-mapping_family:{spec}", family, *layout]
    return ["srt" if kept.codec == "subrip" else kept.codec]


def _tag_arguments(kept: StreamPlan, spec: str) -> list[str]:
    """Every disposition explicitly (else the muxer invents a default flag); tags that are no longer true cleared."""
    arguments: list[str] = []
    if kept.source.kind != "attachment":
        flags = sorted(kept.source.flags & kept_flags(kept.source))
        arguments += [f"-disposition:{spec}", "+".join(flags) or "0"]
        for name in kept.source.tags:
            if name.upper().startswith(STALE_TAGS):  # they also name the program that wrote the source
                arguments += [f"-metadata:s:{spec}", f"{name}="]
    else:
        for name, fallback in (("filename", f"attachment {kept.source.index}"), ("mimetype", _UNKNOWN_TYPE)):
            if not kept.source.tag(name):
                arguments += [f"-metadata:s:{spec}", f"{name}={fallback}"]
    return arguments


_UNKNOWN_TYPE = "application/octet-stream"


def _cover_arguments(plan: Plan, covers: Sequence[Path]) -> list[str]:
    arguments = []
    first = len(plan.kept("attachment"))
    for number, (kept, path) in enumerate(zip(plan.kept("cover"), covers, strict=True), first):
        extension, mimetype = COVER_TYPES[kept.codec]
        name = (
            kept.source.tag("filename") or ("cover." if number == first else f"cover {number - first + 1}.") + extension
        )
        arguments += ["-attach", f"file:{path}", f"-metadata:s:t:{number}", f"filename={name}"]
        arguments += [f"-metadata:s:t:{number}", f"mimetype={kept.source.tag('mimetype') or mimetype}"]
    return arguments


def cover_command(encoder: Encoder, source: Path, stream: Stream, target: Path) -> list[str | Path]:
    """Copies one cover picture out of the file."""
    head: list[str | Path] = [encoder.ffmpeg, "-hide_banner", "-nostdin", "-y", "-v", "error", *SAFE_INPUT]
    chosen = ["-i", f"file:{source}", "-map", f"0:{stream.index}", "-c", "copy", "-frames:v", "1"]
    return [*head, *chosen, "-f", "image2", "-update", "1", f"file:{target}"]


def settings_text(plan: Plan, encoder: Encoder, options: OutputOptions, threads: int | None) -> str:
    """The encoder's own arguments, for the record; "" if nothing is encoded."""
    if plan.action != "transcode":
        return ""
    _, arguments = encoder_arguments(
        encoder, options, source=plan.main_video, threads=threads, stream=0, dolby_vision=plan.dolby_vision
    )
    return " ".join(argument.removesuffix(":v:0") for argument in arguments)


_OF_THE_CHECK = ("quality_metric", "quality_floor")  # options that say what may be published, and change no output
_OF_SEARCH = ("crf_min", "crf_max")  # have a part only if there was a search
_OF_SIZE = ("max_size_percent", "when_bigger")  # and these if a result was too big: whether it was its sizes tell
_OF_KEPT = ("target_vmaf", *_OF_SIZE)  # and of these if the original video was kept for its size
_OF_ANY_FILE = ("guess_languages", "mux_subtitles")  # options that have a part in files whose video is copied, too


def deciding(plan: Plan, encoder: Encoder, options: OutputOptions, told: Mapping[str, Any]) -> dict[str, Option]:
    """The options that have a part in this output, see ``tools.core.options``; ``encoder`` is the one that made it.
    ``told``: what its encode was aimed at (``tools.media.aim``)."""
    found: dict[str, Option] = asdict(options) | {"encoder": encoder.name}
    if plan.action != "transcode":
        found = {name: found[name] for name in (*_OF_ANY_FILE, *(_OF_KEPT if plan.is_video_kept else ()))}
    else:
        without: tuple[str, ...] = ("crf",) if "crf" in told and "not_found" not in told else _OF_SEARCH
        without += _OF_THE_CHECK if told.get("fitted") else (*_OF_THE_CHECK, *_OF_SIZE)
        found = {name: value for name, value in found.items() if name not in without}
    if plan.action != "copy" and suits_mkvmerge(plan.facts):
        found["muxer"] = _MKVMERGE if plan.muxer else _FFMPEG
    elif any(one.is_unframed or one.source.stays_framed for one in plan.streams):
        found["muxer"] = _MKVMERGE
    return found


def wanted(options: OutputOptions, mkvmerge: bool | None) -> Wanted:
    """The options in force. ``mkvmerge``: whether it is there, None if it is to be done without."""
    muxer = _FFMPEG if mkvmerge is None else _MKVMERGE if mkvmerge else ANY
    found = asdict(options)
    unsaid = {name: found[name] for name in ("crf", *_OF_SEARCH, *_OF_SIZE)}
    return Wanted(found | {"muxer": muxer}, asdict(OutputOptions()) | unsaid)


_MKVMERGE, _FFMPEG = "mkvmerge", "ffmpeg"
