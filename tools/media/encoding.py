"""Facts + options → plan → argv. Pure: what becomes of each stream, why, and the command that does it.

Kept as they are: audio, subtitles, attachments, chapters, tags, disposition flags, and video that is AV1 already.
What Matroska can't hold is converted without loss where that is possible, else by the least lossy codec; what can't be
kept at all is dropped with its reason, which ends in the metadata record.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ffmpeg

from tools.core.errors import ProbeError
from tools.media.probe import SAFE_INPUT, Facts, Stream

_KEYFRAME_SECONDS = 10  # ab-av1 and the community's taste; seeking in an episode stays quick
_FASTEST = 13
_FASTEST_RATE = 240  # frames/s that SVT-AV1 accepts; a higher one is only understated to it, no picture is left out
_TIME_BASE = "1:90000"  # s; finer than any container's times and than Matroska's milliseconds
_OLD_SVT_SHIFT = 2  # SVT-AV1 1.x does at preset 8 about what 2.x and later do at 6

# Source: what ffmpeg's Matroska muxer takes and plays back bit-exactly (each was tried). Other sound of RealMedia
# (cook, sipr, ra_288, atrac3) has a name in Matroska too, but that muxer refuses it.
_AUDIO_COPY = frozenset(
    {
        *("aac", "ac3", "eac3", "dts", "truehd", "mlp", "mp1", "mp2", "mp3", "opus", "vorbis", "flac", "alac", "tta"),
        *("wavpack", "pcm_u8", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_s32be"),
        *("pcm_f32le", "pcm_f64le", "pcm_alaw", "pcm_mulaw", "adpcm_ms", "adpcm_ima_wav", "adpcm_g726", "wmav1"),
        *("wmav2", "wmapro", "wmalossless", "amr_nb", "amr_wb", "ra_144"),
    }
)
_LOSSLESS_FLOAT = {
    "pcm_f32be": "pcm_f32le",
    "pcm_f64be": "pcm_f64le",
    "pcm_f24le": "pcm_f32le",
    "pcm_f16le": "pcm_f32le",
}
_LOSSLESS = frozenset({"s302m", "ape", "shorten", "mp4als", "tak", "dst", "ralf", "atrac3al", "dvaudio"})
_FLAC_CHANNELS, _FLAC_BITS = 8, 24
# Layouts that Opus has; others are brought to the nearest. Source: RFC 7845 §5.1.1.2.
_OPUS_LAYOUTS = "mono|stereo|3.0|quad|5.0|5.1|6.1|7.1"
_SUBTITLE_COPY = frozenset(
    {"subrip", "srt", "ass", "ssa", "webvtt", "hdmv_pgs_subtitle", "dvd_subtitle", "dvb_subtitle"}
)
_SUBTITLE_TEXT = frozenset(
    {
        *("mov_text", "text", "sami", "microdvd", "jacosub", "mpl2", "realtext", "subviewer", "subviewer1", "stl"),
        *("vplayer", "pjs", "eia_608"),
    }
)
_RGB = ("gbr", "rgb", "bgr", "argb", "abgr", "0rgb", "0bgr", "x2rgb", "x2bgr", "pal8")
_GRAY = ("gray", "mono", "ya8", "ya16")
_COVER_TYPES = {"mjpeg": ("jpg", "image/jpeg"), "png": ("png", "image/png"), "bmp": ("bmp", "image/bmp")}
_COVER_TYPES |= {"webp": ("webp", "image/webp"), "gif": ("gif", "image/gif")}
_STALE_TAGS = ("BPS", "DURATION", "NUMBER_OF_FRAMES", "NUMBER_OF_BYTES", "_STATISTICS_")
_HDR10 = ("Mastering display metadata", "Content light level metadata")
_BRANDS = ("major_brand", "minor_version", "compatible_brands")


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputOptions:
    """What decides the output: the same for all machines that work on one queue. Fields as in the settings' ``encode``.

    The cluster's handshake carries it whole, so each value must survive JSON unchanged.
    """

    encoder: str = "auto"  # one of ``tools.media.ffmpeg.PREFERENCE``, or auto: the best that passes its trial
    preset: int = 6  # speed on SVT-AV1's scale, 13 = fastest
    crf: float = 30.0  # quality, smaller = better and bigger
    pix_fmt: str = "yuv420p10le"
    min_decoded_percent: float = 99.0  # of a damaged video's frames that must decode


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineOptions:
    """What is a machine's own affair and leaves no trace in the output: where its programs are, how far they may go."""

    ffmpeg: str = "auto"  # a path, or auto: the one that can do most
    stall_timeout: float = 300.0  # s without progress after which an encode is given up
    max_encode_rss: int = 0  # bytes of memory of one encode; 0 = three quarters of the machine's


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoder:
    """An encoder that passed its trial. ``modern``: takes the SVT-AV1 parameters of version 2 and later; ``crops``: its
    ffmpeg cuts pictures as the container says unless told not to."""

    name: str
    ffmpeg: Path
    svt_version: tuple[int, ...] = ()
    modern: bool = True
    crops: bool = False

    @property
    def is_hardware(self) -> bool:
        return self.name.startswith("av1_")

    @property
    def label(self) -> str:
        version = " SVT-AV1 " + ".".join(map(str, self.svt_version)) if self.svt_version else ""
        return f"{self.name}{version}"


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """What becomes of one source stream: ``action`` copy | encode | attach | drop, to ``codec``, and ``why``."""

    source: Stream
    action: str
    codec: str
    why: str

    @property
    def is_kept(self) -> bool:
        return self.action != "drop"


@dataclass(frozen=True, slots=True)
class Plan:
    """``action`` transcode | remux | copy. Stream plans in the order of the output, dropped ones last."""

    facts: Facts
    action: str
    streams: tuple[StreamPlan, ...]

    def kept(self, *kinds: str) -> list[StreamPlan]:
        return [plan for plan in self.streams if plan.is_kept and plan.source.kind in kinds]

    @property
    def main_video(self) -> Stream:
        return self.kept("video")[0].source

    def warnings(self) -> list[str]:
        """One line for each thing that is in the source and not in the output as it was."""
        lines = [
            f"stream {p.source.index} ({p.source.codec}) is dropped: {p.why}"
            for p in self.streams
            if not p.is_kept and p.why != _KEPT_AS_CHAPTERS
        ]
        for plan in self.streams:
            lost = plan.source.flags - kept_flags(plan.source) - {"attached_pic", "still_image", "non_diegetic"}
            if plan.is_kept and lost:
                lines.append(f"stream {plan.source.index}: Matroska has no flag for {', '.join(sorted(lost))}")
            if plan.action == "encode" and plan.source.kind == "video":
                lines += _picture_warnings(plan.source)
        return lines


def kept_flags(stream: Stream) -> frozenset[str]:
    """The dispositions that Matroska has a field for. Source: ffmpeg's matroskaenc.c, each tried."""
    own = {"descriptions"} if stream.kind == "subtitle" else set()
    if not stream.flags & {"original"}:
        own |= {"dub"}  # Matroska's one flag "original" can say yes or no
    return _FLAGS | own


_FLAGS = frozenset({"default", "forced", "hearing_impaired", "visual_impaired", "original", "comment"})
_KEPT_AS_CHAPTERS = "the titles of the chapters, which are kept as chapters"


def is_rgb(stream: Stream) -> bool:
    """Whether the pictures have no luma yet."""
    return pix_fmt_of(stream).startswith(_RGB)


def pix_fmt_of(stream: Stream) -> str:
    return str(stream.facts.get("pix_fmt") or "")


def colour_range(stream: Stream) -> str:
    """The range that the encoded pictures have: pc or tv, "" where the source does not say."""
    if is_rgb(stream) or pix_fmt_of(stream).startswith(_GRAY):
        return "tv"
    said = str(stream.facts.get("color_range") or "")
    return "pc" if pix_fmt_of(stream).startswith("yuvj") else said if said in {"pc", "tv"} else ""


def _picture_warnings(video: Stream) -> list[str]:
    pix_fmt = pix_fmt_of(video)
    lines = []
    if is_rgb(video):
        lines.append(f"{pix_fmt} is kept as 4:2:0 by the matrix of BT.709, which is what players decode in hardware")
    elif any(mark in pix_fmt for mark in ("422", "440", "444")):
        lines.append(f"chroma of {pix_fmt} is kept at 4:2:0, which is what players decode in hardware")
    if video.tag("alpha_mode") == "1" or any(
        mark in pix_fmt for mark in ("yuva", "rgba", "bgra", "argb", "abgr", "gbrap", "ya8", "ya16")
    ):
        lines.append(f"the alpha channel of {pix_fmt} is dropped: AV1 encoders have none")
    if any(mark in pix_fmt for mark in ("p12", "p14", "p16", "gray12", "gray14", "gray16", "48", "64")):
        lines.append(f"{pix_fmt} is kept at 10 bits a sample")
    if video.side_data(_DOLBY_VISION):
        lines.append("Dolby Vision: the base layer is kept, its dynamic metadata is not")
    if video.facts.get("closed_captions"):
        lines.append("captions that are embedded in the pictures may be lost")
    return lines


_DOLBY_VISION = "DOVI configuration record"


def make_plan(facts: Facts) -> Plan:
    """What becomes of each stream. Raises ProbeError where a stream that matters can't be handled."""
    plans = [_video(stream) for stream in facts.of("video")]
    plans += [_audio(stream) for stream in facts.of("audio")]
    plans += [_subtitle(stream) for stream in facts.of("subtitle")]
    plans += [StreamPlan(s, "copy", s.codec, "attachments are kept as they are") for s in facts.of("attachment")]
    plans += [_cover(stream) for stream in facts.of("cover")]
    plans += [_data(stream, facts) for stream in facts.of("data")]
    plans.sort(key=lambda plan: not plan.is_kept)
    all_av1 = all(plan.action != "encode" for plan in plans if plan.source.kind == "video")
    changed = any(plan.action != "copy" and plan.source.kind != "cover" for plan in plans)
    clean = facts.container == "matroska" and all_av1 and not changed
    action = "copy" if clean else "remux" if all_av1 else "transcode"
    return Plan(facts, action, tuple(plans))


def _video(stream: Stream) -> StreamPlan:
    if stream.packets == 0:
        return StreamPlan(stream, "drop", stream.codec, "the stream is announced but has no picture")
    if stream.codec == "av1":
        return StreamPlan(stream, "copy", "av1", "is AV1 already")
    if stream.codec in {"unknown", "none"}:
        raise ProbeError(f"the video of stream {stream.index} has a codec that ffmpeg does not know")
    for entry in stream.facts.get("side_data_list") or ():
        if entry.get("side_data_type") == _DOLBY_VISION and entry.get("dv_bl_signal_compatibility_id") == 0:
            raise ProbeError(
                f"Dolby Vision profile {entry.get('dv_profile')} has no base layer that other players show in its "
                "colours: convert it to a profile with one"
            )
    return StreamPlan(stream, "encode", "av1", f"{stream.codec} becomes AV1")


def _audio(stream: Stream) -> StreamPlan:
    codec = stream.codec
    if codec in {"unknown", "none"}:
        return StreamPlan(stream, "drop", codec, "its codec is unknown to ffmpeg")
    if stream.packets == 0:
        return StreamPlan(stream, "drop", codec, "the stream is announced but has no packet")
    if codec in _AUDIO_COPY:
        return StreamPlan(stream, "copy", codec, "Matroska holds it")
    if codec in _LOSSLESS_FLOAT:
        return StreamPlan(stream, "encode", _LOSSLESS_FLOAT[codec], f"Matroska does not hold {codec}; no loss")
    if codec in _LOSSLESS or codec.startswith("pcm_"):
        return StreamPlan(stream, "encode", _lossless_codec(stream), f"Matroska does not hold {codec}; no loss")
    return StreamPlan(stream, "encode", "opus", f"Matroska does not hold {codec}")


def _lossless_codec(stream: Stream) -> str:
    bits = max(int(stream.facts.get(name) or 0) for name in ("bits_per_raw_sample", "bits_per_sample"))
    if int(stream.facts.get("channels") or 2) <= _FLAC_CHANNELS and bits <= _FLAC_BITS:
        return "flac"
    return "pcm_s16le" if bits <= 16 else "pcm_s24le" if bits <= 24 else "pcm_s32le"


def _data(stream: Stream, facts: Facts) -> StreamPlan:
    tag = str(stream.facts.get("codec_tag_string") or "")
    if stream.codec == "bin_data" and tag == "text" and facts.chapters:
        return StreamPlan(stream, "drop", stream.codec, _KEPT_AS_CHAPTERS)
    name = f" ({tag})" if tag.isalnum() else ""
    return StreamPlan(stream, "drop", stream.codec, f"neither picture, sound nor subtitles to ffmpeg{name}")


def _subtitle(stream: Stream) -> StreamPlan:
    if stream.codec in _SUBTITLE_COPY:
        return StreamPlan(stream, "copy", stream.codec, "Matroska holds it")
    if stream.codec in _SUBTITLE_TEXT:
        return StreamPlan(stream, "encode", "subrip", f"text of {stream.codec} becomes SubRip")
    return StreamPlan(stream, "drop", stream.codec, "ffmpeg can neither copy it into Matroska nor read it as text")


def _cover(stream: Stream) -> StreamPlan:
    if stream.codec in _COVER_TYPES:
        return StreamPlan(stream, "attach", stream.codec, "cover art becomes an attachment")
    return StreamPlan(stream, "drop", stream.codec, "no kind of cover art that Matroska knows")


def encoder_arguments(
    encoder: Encoder,
    options: OutputOptions,
    *,
    source: Stream | None,
    threads: int | None,
    stream: int,
    filters: Sequence[str] = (),
) -> tuple[list[str], list[str]]:
    """(global arguments, output arguments) of one video stream; ``source`` None for a trial."""
    rate = source.rate if source is not None else 0.0
    keyframe = max(1, round(_KEYFRAME_SECONDS * min(rate or 24.0, _FASTEST_RATE)))
    own: dict[str, Any] = {"c": encoder.name, "g": keyframe, "pix_fmt": options.pix_fmt}
    before: list[str] = []
    if encoder.name == "libsvtav1":
        own |= {"preset": _svt_preset(encoder, options.preset), "crf": round(options.crf)}
        parameters = ["enable-variance-boost=1"] if encoder.modern else []
        parameters += [f"lp={_parallelism(encoder, threads)}"] if threads else []
        parameters += _svt_source_parameters(source) if source is not None else []
        own |= {"svtav1-params": ":".join(parameters)} if parameters else {}
    elif encoder.name == "libaom-av1":
        own |= {"crf": round(options.crf), "b": 0, "cpu-used": min(8, options.preset), "row-mt": 1}
        own |= {"threads": threads} if threads else {}
        if source is None or int(source.facts.get("width") or 0) >= _TILED_WIDTH:
            own["tiles"] = "2x1"
    elif encoder.name == "av1_nvenc":
        own |= {"preset": "p7", "tune": "hq", "rc": "vbr", "cq": round(options.crf), "b": 0, "multipass": "fullres"}
        own |= {"spatial-aq": 1, "temporal-aq": 1, "rc-lookahead": 32, "pix_fmt": _card_format(options)}
    elif encoder.name == "av1_qsv":
        own |= {"preset": "slower", "global_quality": round(options.crf), "pix_fmt": _card_format(options)}
    elif encoder.name == "av1_vaapi":
        before = ["-init_hw_device", "vaapi=card", "-filter_hw_device", "card"]
        own |= {"rc_mode": "CQP", "global_quality": round(options.crf * 255 / 63)}
        del own["pix_fmt"]  # the frames are on the card; the upload decides
        filters = [*filters, f"format={_card_format(options)}", "hwupload"]
    if source is not None:
        own |= {"color_range": colour_range(source)} if colour_range(source) else {}
        own |= {"colorspace": "bt709"} if is_rgb(source) else {}
    if filters:
        own["filter"] = ",".join(filters)
    arguments = []
    for name, value in own.items():
        arguments += [f"-{name}:v:{stream}", str(value)]
    return before, arguments


_TILED_WIDTH = 256  # pixels; libaom's tiles are 64 wide at least


def _svt_source_parameters(source: Stream) -> list[str]:
    """What SVT-AV1 can't be left to find out: HDR10 values (older ffmpeg drops them) and rates that it refuses.

    Source: SVT-AV1 Docs/Parameters.md, ``mastering-display``, ``content-light``, ``fps-num``.
    """
    parameters = [f"fps-num={_FASTEST_RATE}:fps-denom=1"] if source.fastest_rate > _FASTEST_RATE else []
    screen, light = (source.hdr.get(name) for name in _HDR10)
    if screen:
        points = [
            f"{letter}({_ratio(screen, f'{name}_x')},{_ratio(screen, f'{name}_y')})"
            for letter, name in (("G", "green"), ("B", "blue"), ("R", "red"), ("WP", "white_point"))
        ]
        parameters.append(
            "mastering-display="
            + "".join(points)
            + f"L({_ratio(screen, 'max_luminance')},{_ratio(screen, 'min_luminance')})"
        )
    if light:
        parameters.append(f"content-light={light.get('max_content', 0)},{light.get('max_average', 0)}")
    return parameters


def _ratio(entry: Mapping[str, Any], name: str) -> str:
    """``34000/50000`` → ``0.68000``."""
    above, _, below = str(entry.get(name) or "0/1").partition("/")
    return f"{float(above) / (float(below) or 1):.5f}"


_SVT_CORES = (1, 2, 5, 11, 23)


def _parallelism(encoder: Encoder, cores: int) -> int:
    """SVT-AV1's ``lp`` for so many cores: their number before version 2, a level of 1 to 6 since.

    Source: SVT-AV1 enc_handle.c, PARALLEL_LEVEL_*_RANGE, by which it chooses its own level for a whole machine.
    """
    if not encoder.modern:
        return cores
    return next((level for level, most in enumerate(_SVT_CORES, 1) if cores <= most), len(_SVT_CORES) + 1)


def _svt_preset(encoder: Encoder, preset: int) -> int:
    old = bool(encoder.svt_version) and encoder.svt_version[0] < 2
    return min(_FASTEST, preset + _OLD_SVT_SHIFT) if old else preset


def _card_format(options: OutputOptions) -> str:
    return "p010le" if "10" in options.pix_fmt else "nv12"


def encode_command(
    plan: Plan,
    encoder: Encoder,
    options: OutputOptions,
    source: Path,
    target: Path,
    covers: Sequence[Path],
    threads: int | None,
) -> list[str]:
    """The one run that makes the output. ``covers``: the extracted files of the plan's covers, in order."""
    guard = {SAFE_INPUT[0][1:]: SAFE_INPUT[1], SAFE_INPUT[2][1:]: SAFE_INPUT[3]}
    if plan.action != "transcode" and plan.facts.container == "avi":
        guard["fflags"] = "+genpts"  # AVI has no timestamps, which a copy needs and an encode does not
    if encoder.crops and plan.action == "transcode":
        guard["apply_cropping"] = "codec"  # what a container only hides is part of the picture
    # The builder takes no name that is not UTF-8, so the names come in afterwards.
    given = ffmpeg.input("SOURCE", **guard)
    nodes = [given[str(kept.source.index)] for kept in plan.kept("video", "audio", "subtitle", "attachment")]
    command: list[str] = ffmpeg.output(*nodes, "TARGET", format="matroska").compile(cmd=str(encoder.ffmpeg))
    before, arguments = _arguments(plan, encoder, options, covers, threads)
    front = [
        "-hide_banner",
        "-nostdin",
        "-y",
        "-v",
        "repeat+warning",
        "-progress",
        "pipe:1",
        "-stats_period",
        "0.5",
        *before,
    ]
    command[command.index("SOURCE")] = f"file:{source}"
    return [command[0], *front, *command[1:-1], *arguments, f"file:{target}"]


def _filters(plan: Plan, stream: Stream) -> list[str]:
    """What the pictures of an encoded stream go through. As a simple filter: a complex graph would lose its tags."""
    filters = []
    if str(stream.facts.get("field_order")) in {"tt", "bb", "tb", "bt"}:
        filters.append("bwdif=mode=send_frame:parity=auto:deint=all")
    if plan.facts.container == "avi":
        filters.append("setpts=PTS-STARTPTS")  # without timestamps of its own it begins a few frames late
    if is_rgb(stream):
        filters.append("scale=out_color_matrix=bt709:out_range=tv")
    elif colour_range(stream) != str(stream.facts.get("color_range") or "") or colour_range(stream) == "pc":
        # Older ffmpeg squeezes full range without being asked.
        filters.append(f"scale=out_range={colour_range(stream)}")
    return filters


def _arguments(
    plan: Plan, encoder: Encoder, options: OutputOptions, covers: Sequence[Path], threads: int | None
) -> tuple[list[str], list[str]]:
    before: list[str] = []
    after = ["-map_metadata", "0", "-map_chapters", "0", "-dn", "-max_muxing_queue_size", "4096", "-default_mode"]
    after += ["passthrough"]
    for name in _BRANDS:
        after += ["-metadata", f"{name}="]
    for letter, kind in (("v", "video"), ("a", "audio"), ("s", "subtitle"), ("t", "attachment")):
        for number, kept in enumerate(plan.kept(kind)):
            spec = f"{letter}:{number}"
            if kept.action == "encode" and kind == "video":
                before_one, own = encoder_arguments(
                    encoder,
                    options,
                    source=kept.source,
                    threads=threads,
                    stream=number,
                    filters=_filters(plan, kept.source),
                )
                before = before or before_one
                # Without a time base of its own the encoder rounds each time to the frame rate that ffmpeg guesses.
                after += [*own, f"-fps_mode:{spec}", "passthrough", f"-enc_time_base:{spec}", _TIME_BASE]
            else:
                after += [f"-c:{spec}", *_codec_arguments(kept, spec)]
            after += _tag_arguments(kept, spec)
    after += _cover_arguments(plan, covers)
    return before, after


def _codec_arguments(kept: StreamPlan, spec: str) -> list[str]:
    if kept.action == "copy":
        # What an edit list hides is decoded and thrown away where there is a decoder; a copy must leave it out itself.
        return ["copy", f"-copypriorss:{spec}", "0"] if kept.source.discarded else ["copy"]
    if kept.codec == "opus":
        channels = min(_FLAC_CHANNELS, max(1, int(kept.source.facts.get("channels") or 2)))
        family = "0" if channels <= 2 else "1"
        layout = [f"-filter:{spec}", f"aformat=channel_layouts={_OPUS_LAYOUTS}"]
        return ["libopus", f"-b:{spec}", f"{64 * channels}k", f"-mapping_family:{spec}", family, *layout]
    return ["srt" if kept.codec == "subrip" else kept.codec]


def _tag_arguments(kept: StreamPlan, spec: str) -> list[str]:
    """Every disposition explicitly (else the muxer invents a default flag); tags that are no longer true cleared."""
    arguments: list[str] = []
    if kept.source.kind != "attachment":
        flags = sorted(kept.source.flags & kept_flags(kept.source))
        arguments += [f"-disposition:{spec}", "+".join(flags) or "0"]
        for name in kept.source.tags:
            if name.upper().startswith(_STALE_TAGS) and kept.action == "encode":
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
        extension, mimetype = _COVER_TYPES[kept.codec]
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
    """The encoder's own arguments, for the record; "" where nothing is encoded."""
    if plan.action != "transcode":
        return ""
    _, arguments = encoder_arguments(encoder, options, source=plan.main_video, threads=threads, stream=0)
    return " ".join(argument.removesuffix(":v:0") for argument in arguments)
