"""Facts + options → plan → argv. Pure: what becomes of each stream, why, and the command that does it.

Kept as they are: audio, subtitles, attachments, chapters, tags, disposition flags, and video that is AV1 already.
What Matroska can't hold is converted without loss where that is possible, else by the least lossy codec; what can't be
kept at all is dropped with its reason, which ends in the metadata record.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ffmpeg

from tools.core.errors import ProbeError
from tools.media.probe import SAFE_INPUT, Facts, Stream

_KEYFRAME_SECONDS = 10  # ab-av1 and the community's taste; seeking in an episode stays quick
_FASTEST = 13
_OLD_SVT_SHIFT = 2  # SVT-AV1 1.x does at preset 8 about what 2.x and later do at 6

# Source: what ffmpeg's Matroska muxer takes and plays back bit-exactly (each was tried).
_AUDIO_COPY = frozenset(
    {
        *("aac", "ac3", "eac3", "dts", "truehd", "mlp", "mp1", "mp2", "mp3", "opus", "vorbis", "flac", "alac", "tta"),
        *("wavpack", "pcm_u8", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_s32be"),
        *("pcm_f32le", "pcm_f64le", "pcm_alaw", "pcm_mulaw", "adpcm_ms", "adpcm_ima_wav", "adpcm_g726", "wmav1"),
        *("wmav2", "wmapro", "wmalossless", "amr_nb", "amr_wb", "ra_144", "ra_288", "cook", "atrac3", "sipr"),
    }
)
_LOSSLESS_FLOAT = {"pcm_f32be": "pcm_f32le", "pcm_f64be": "pcm_f64le"}
_SUBTITLE_COPY = frozenset(
    {"subrip", "srt", "ass", "ssa", "webvtt", "hdmv_pgs_subtitle", "dvd_subtitle", "dvb_subtitle"}
)
_SUBTITLE_TEXT = frozenset(
    {
        *("mov_text", "text", "sami", "microdvd", "jacosub", "mpl2", "realtext", "subviewer", "subviewer1", "stl"),
        *("vplayer", "pjs", "eia_608"),
    }
)
# Flags that Matroska has a field for.
KEPT_FLAGS = ("default", "forced", "hearing_impaired", "visual_impaired", "original", "comment")
_COVER_TYPES = {"mjpeg": ("jpg", "image/jpeg"), "png": ("png", "image/png"), "bmp": ("bmp", "image/bmp")}
_COVER_TYPES |= {"webp": ("webp", "image/webp"), "gif": ("gif", "image/gif")}
_STALE_TAGS = ("BPS", "DURATION", "NUMBER_OF_FRAMES", "NUMBER_OF_BYTES", "_STATISTICS_")
_BRANDS = ("major_brand", "minor_version", "compatible_brands")


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodeOptions:
    """Plain values of the settings. ``stall_timeout`` s; ``max_encode_rss`` bytes, 0 = three quarters of memory."""

    encoder: str = "auto"
    preset: int = 6
    crf: float = 30.0
    pix_fmt: str = "yuv420p10le"
    ffmpeg: str = "auto"
    stall_timeout: float = 300.0
    min_decoded_percent: float = 99.0
    max_encode_rss: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoder:
    """An encoder that passed its trial. ``modern``: takes the SVT-AV1 parameters of version 2 and later."""

    name: str
    ffmpeg: Path
    svt_version: tuple[int, ...] = ()
    modern: bool = True

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
            f"stream {p.source.index} ({p.source.codec}) is dropped: {p.why}" for p in self.streams if not p.is_kept
        ]
        for plan in self.streams:
            lost = plan.source.flags - set(KEPT_FLAGS) - {"attached_pic", "still_image", "non_diegetic"}
            if plan.is_kept and lost:
                lines.append(f"stream {plan.source.index}: Matroska has no flag for {', '.join(sorted(lost))}")
        video = self.main_video
        if self.action == "transcode":
            lines += _picture_warnings(video)
        return lines


def _picture_warnings(video: Stream) -> list[str]:
    pix_fmt = str(video.facts.get("pix_fmt") or "")
    lines = []
    if any(mark in pix_fmt for mark in ("422", "440", "444", "gbr", "rgb", "bgr")):
        lines.append(f"chroma of {pix_fmt} is kept at 4:2:0, which is what players decode in hardware")
    if any(mark in pix_fmt for mark in ("yuva", "rgba", "bgra", "argb", "abgr", "gbrap", "ya8", "ya16")):
        lines.append(f"the alpha channel of {pix_fmt} is dropped: AV1 encoders have none")
    if any(mark in pix_fmt for mark in ("p12", "p14", "p16", "48")):
        lines.append(f"{pix_fmt} is kept at 10 bits a sample")
    if video.side_data("DOVI configuration record"):
        lines.append("Dolby Vision: the base layer is kept, its dynamic metadata is not")
    return lines


def make_plan(facts: Facts) -> Plan:
    """What becomes of each stream. Raises ProbeError where a stream that matters can't be handled."""
    videos = facts.of("video")
    all_av1 = all(stream.codec == "av1" for stream in videos)
    plans = [_video(stream) for stream in videos]
    plans += [_audio(stream) for stream in facts.of("audio")]
    plans += [_subtitle(stream) for stream in facts.of("subtitle")]
    plans += [StreamPlan(s, "copy", s.codec, "attachments are kept as they are") for s in facts.of("attachment")]
    plans += [_cover(stream) for stream in facts.of("cover")]
    plans += [StreamPlan(s, "drop", s.codec, "Matroska has no data streams") for s in facts.of("data")]
    plans.sort(key=lambda plan: not plan.is_kept)
    changed = any(plan.action != "copy" and plan.source.kind != "cover" for plan in plans)
    clean = "matroska" in facts.format and all_av1 and not changed
    action = "copy" if clean else "remux" if all_av1 else "transcode"
    return Plan(facts, action, tuple(plans))


def _video(stream: Stream) -> StreamPlan:
    if stream.codec == "av1":
        return StreamPlan(stream, "copy", "av1", "is AV1 already")
    if stream.codec in {"unknown", "none"}:
        raise ProbeError(f"the video of stream {stream.index} has a codec that ffmpeg does not know")
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
    if codec.startswith("pcm_") and "_f" not in codec:
        return StreamPlan(stream, "encode", "flac", f"Matroska does not hold {codec}; no loss")
    return StreamPlan(stream, "encode", "opus", f"Matroska does not hold {codec}")


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
    options: EncodeOptions,
    *,
    rate: float,
    threads: int | None,
    stream: int,
    filters: Sequence[str] = (),
) -> tuple[list[str], list[str]]:
    """(global arguments, output arguments) of one video stream. ``rate`` frames/s, 0 = unknown."""
    keyframe = max(1, round(_KEYFRAME_SECONDS * (rate or 24.0)))
    own: dict[str, Any] = {"c": encoder.name, "g": keyframe, "pix_fmt": options.pix_fmt}
    before: list[str] = []
    if encoder.name == "libsvtav1":
        own |= {"preset": _svt_preset(encoder, options.preset), "crf": round(options.crf)}
        parameters = ["enable-variance-boost=1"] if encoder.modern else []
        parameters += [f"lp={threads}"] if threads else []
        own |= {"svtav1-params": ":".join(parameters)} if parameters else {}
    elif encoder.name == "libaom-av1":
        own |= {"crf": round(options.crf), "b": 0, "cpu-used": min(8, options.preset), "row-mt": 1, "tiles": "2x1"}
        own |= {"threads": threads} if threads else {}
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
    if filters:
        own["filter"] = ",".join(filters)
    arguments = []
    for name, value in own.items():
        arguments += [f"-{name}:v:{stream}", str(value)]
    return before, arguments


def _svt_preset(encoder: Encoder, preset: int) -> int:
    old = bool(encoder.svt_version) and encoder.svt_version[0] < 2
    return min(_FASTEST, preset + _OLD_SVT_SHIFT) if old else preset


def _card_format(options: EncodeOptions) -> str:
    return "p010le" if "10" in options.pix_fmt else "nv12"


def encode_command(
    plan: Plan,
    encoder: Encoder,
    options: EncodeOptions,
    source: Path,
    target: Path,
    covers: Sequence[Path],
    threads: int | None,
) -> list[str]:
    """The one run that makes the output. ``covers``: the extracted files of the plan's covers, in order."""
    guard = {SAFE_INPUT[0][1:]: SAFE_INPUT[1], SAFE_INPUT[2][1:]: SAFE_INPUT[3]}
    if plan.action != "transcode" and plan.facts.format == "avi":
        guard["fflags"] = "+genpts"  # AVI has no timestamps, which a copy needs and an encode does not
    given = ffmpeg.input(f"file:{source}", **guard)
    nodes = [given[str(kept.source.index)] for kept in plan.kept("video", "audio", "subtitle", "attachment")]
    command: list[str] = ffmpeg.output(*nodes, f"file:{target}", format="matroska").compile(cmd=str(encoder.ffmpeg))
    before, arguments = _arguments(plan, encoder, options, covers, threads)
    front = ["-hide_banner", "-nostdin", "-y", "-v", "warning", "-progress", "pipe:1", "-stats_period", "0.5", *before]
    return [command[0], *front, *command[1:-1], *arguments, command[-1]]


def _filters(plan: Plan, stream: Stream) -> list[str]:
    """What the pictures of an encoded stream go through. As a simple filter: a complex graph would lose its tags."""
    filters = []
    if str(stream.facts.get("field_order")) in {"tt", "bb", "tb", "bt"}:
        filters.append("bwdif=mode=send_frame:parity=auto:deint=all")
    if plan.facts.format == "avi":
        filters.append("setpts=PTS-STARTPTS")  # without timestamps of its own it begins a few frames late
    return filters


def _arguments(
    plan: Plan, encoder: Encoder, options: EncodeOptions, covers: Sequence[Path], threads: int | None
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
                    rate=kept.source.rate,
                    threads=threads,
                    stream=number,
                    filters=_filters(plan, kept.source),
                )
                before = before or before_one
                after += [*own, f"-fps_mode:{spec}", "passthrough"]
            else:
                after += [f"-c:{spec}", *_codec_arguments(kept, spec)]
            after += _tag_arguments(kept, spec)
    after += _cover_arguments(plan, covers)
    return before, after


def _codec_arguments(kept: StreamPlan, spec: str) -> list[str]:
    if kept.action == "copy":
        return ["copy"]
    if kept.codec == "opus":
        channels = int(kept.source.facts.get("channels") or 2)
        return ["libopus", f"-b:{spec}", f"{64 * max(1, channels)}k", f"-mapping_family:{spec}", _family(channels)]
    return ["srt" if kept.codec == "subrip" else kept.codec]


def _family(channels: int) -> str:
    return "0" if channels <= 2 else "1"


def _tag_arguments(kept: StreamPlan, spec: str) -> list[str]:
    """Every disposition explicitly (else the muxer invents a default flag); tags that are no longer true cleared."""
    arguments: list[str] = []
    if kept.source.kind != "attachment":
        flags = [flag for flag in KEPT_FLAGS if flag in kept.source.flags]
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


def settings_text(plan: Plan, encoder: Encoder, options: EncodeOptions, threads: int | None) -> str:
    """The encoder's own arguments, for the record; "" where nothing is encoded."""
    if plan.action != "transcode":
        return ""
    _, arguments = encoder_arguments(encoder, options, rate=plan.main_video.rate, threads=threads, stream=0)
    return " ".join(argument.removesuffix(":v:0") for argument in arguments)
