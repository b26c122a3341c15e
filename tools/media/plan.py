"""Facts → plan: what becomes of each stream, and why. Pure.

Kept as they are: audio, subtitles, attachments, chapters, tags, disposition flags, and video that is AV1 already.
What Matroska can't hold is converted without loss if that is possible, else by the least lossy codec; what can't be
kept at all is dropped with its reason, which ends in the metadata record.
"""

from dataclasses import dataclass
from typing import Literal

from tools.core.errors import ProbeError
from tools.media.facts import Facts, Stream, StreamKind

StreamAction = Literal["copy", "encode", "attach", "drop"]
"""``copy`` bit for bit, ``encode`` into another codec, ``attach`` as a file (cover art), ``drop``."""
PlanAction = Literal["transcode", "remux", "copy"]
"""``transcode``: a video is encoded; ``remux``: only the container is new; ``copy``: the file is as it must be."""

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
COVER_TYPES = {"mjpeg": ("jpg", "image/jpeg"), "png": ("png", "image/png"), "bmp": ("bmp", "image/bmp")}
COVER_TYPES |= {"webp": ("webp", "image/webp"), "gif": ("gif", "image/gif")}


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """What becomes of one source stream."""

    source: Stream
    action: StreamAction
    codec: str  # of the output; the source's own for a stream that is dropped
    why: str

    @property
    def is_kept(self) -> bool:
        return self.action != "drop"


@dataclass(frozen=True, slots=True)
class Plan:
    """What becomes of a file."""

    facts: Facts
    action: PlanAction
    streams: tuple[StreamPlan, ...]  # in the order of the output, dropped ones last

    def kept(self, *kinds: StreamKind) -> list[StreamPlan]:
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
    """The range that the encoded pictures have: pc or tv, "" if the source does not say."""
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
        lines.append(f"{pix_fmt} is kept at 10 bits per sample")
    if video.side_data(_DOLBY_VISION):
        lines.append("Dolby Vision: the base layer is kept, its dynamic metadata is not")
    if video.facts.get("closed_captions"):
        lines.append("captions that are embedded in the pictures may be lost")
    return lines


_DOLBY_VISION = "DOVI configuration record"


def make_plan(facts: Facts) -> Plan:
    """What becomes of each stream. Raises ProbeError if a stream that matters can't be handled."""
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
    action: PlanAction = "copy" if clean else "remux" if all_av1 else "transcode"
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
        if str(stream.facts.get("sample_rate")) == "0":
            # The muxer refuses it, and ffmpeg may hang after it has said so.
            raise ProbeError(f"the sound of stream {stream.index} ({codec}) has no sample rate: nothing in it decodes")
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
    if stream.codec in COVER_TYPES:
        return StreamPlan(stream, "attach", stream.codec, "cover art becomes an attachment")
    return StreamPlan(stream, "drop", stream.codec, "no kind of cover art that Matroska knows")
