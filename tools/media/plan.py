"""Facts → plan: what becomes of each stream, and why. Pure.

Kept as they are: audio, subtitles, attachments, chapters, tags, disposition flags, and video that is AV1 already.
What Matroska can't hold is converted without loss if that is possible, else by the least lossy codec; what can't be
kept at all is dropped with its reason, which ends in the metadata record.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from tools.core.errors import ProbeError
from tools.media.carried import DOLBY_VISION, Captions, lost_with_the_pictures
from tools.media.facts import Facts, Stream, StreamKind
from tools.media.ffprobe_json import number
from tools.media.languages import guessed_language
from tools.media.matroska import Element
from tools.media.mkvmerge import Muxer
from tools.media.shapes import impossible, shape_warnings

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
_LATM = "aac_latm"  # AAC in a framing of its own, as broadcasts have it
_LOSSLESS_FLOAT = {
    "pcm_f32be": "pcm_f32le",
    "pcm_f64be": "pcm_f64le",
    "pcm_f24le": "pcm_f32le",
    "pcm_f16le": "pcm_f32le",
}
_LOSSLESS = frozenset({"s302m", "ape", "shorten", "mp4als", "tak", "dst", "ralf", "atrac3al", "dvaudio"})
_FLAC_CHANNELS, _FLAC_BITS = 8, 24
_IS_ADPCM = re.compile(r"adpcm_|\w+_dpcm$")  # what it decodes to has 16 bits, and little to say: FLAC loses nothing
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

    @property
    def is_unframed(self) -> bool:
        """Whether it is copied out of a framing that Matroska does not hold, by way of a file of its own."""
        return self.action == "copy" and self.source.codec == _LATM


@dataclass(frozen=True, slots=True)
class Added:
    """A track of a subtitle file that is put in."""

    path: Path  # in UTF-8, if it is text
    index: int  # of the track there
    codec: str
    packets: int
    language: str  # BCP 47, "" = what the file says, if it says one
    title: str
    flags: frozenset[str]
    name: str  # of the file where it came from
    source_codec: str = ""  # if it is another one
    begin: float | None = None  # s, of the first text, if it is certain


@dataclass(frozen=True, slots=True)
class Font:
    """A font file that is attached."""

    path: Path
    name: str
    mimetype: str
    size: int  # bytes


@dataclass(frozen=True, slots=True)
class Plan:
    """What becomes of a file."""

    facts: Facts
    action: PlanAction
    streams: tuple[StreamPlan, ...]  # in the order of the output, dropped ones last
    muxer: Muxer | None = None  # makes the output out of the encoded streams and the source; None: ffmpeg makes it
    languages: Mapping[int, str] = field(default_factory=dict)  # BCP 47, of source streams that say none of their own
    editor: Muxer | None = None  # tells the output those, if ffmpeg made it
    added: tuple[Added, ...] = ()  # behind the subtitles of the source
    fonts: tuple[Font, ...] = ()  # behind its attachments
    dolby_vision: bool = False  # whether that of the main video is kept, as it is with an encoder that can
    hdr10_plus: bool = False  # whether that of the main video is kept, if there is any
    has_read_captions: bool = False  # whether there are any is known
    is_video_kept: bool = False  # its original video stays, since as AV1 it would be too big

    def kept(self, *kinds: StreamKind) -> list[StreamPlan]:
        return [plan for plan in self.streams if plan.is_kept and plan.source.kind in kinds]

    @property
    def main_video(self) -> Stream:
        return self.kept("video")[0].source

    def language(self, stream: Stream) -> str:
        """The BCP 47 tag that a stream of a Matroska source has in the output, "" if it has none that is known."""
        said = said_language(self.facts.track(stream))
        return self.languages.get(stream.index) or (self.muxer.canonical(said) if self.muxer else said)

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
            if plan.is_kept and self.muxer and plan.source.kind in _TRACKS and not self.language(plan.source):
                said = said_language(self.facts.track(plan.source))
                lines.append(f"stream {plan.source.index}: {said!r} is no language, the result says undetermined")
            if self.action != "copy" and plan.is_kept:
                track = self.facts.track(plan.source)
                lines += [
                    f"stream {plan.source.index}: its {name} is lost, no muxer writes it"
                    for name in _LINKS
                    if track.has(name)
                ]
            if plan.action == "encode" and plan.codec == "opus":
                lines.append(f"stream {plan.source.index}: {plan.source.codec} is encoded again as Opus: {plan.why}")
            if plan.action == "copy" and plan.why == _STILL:
                lines.append(f"stream {plan.source.index} ({plan.source.codec}) is kept as it is: {plan.why}")
            if plan.action == "encode" and plan.source.kind == "video":
                lines += [*_picture_warnings(plan.source, self), *shape_warnings(plan.source.index, plan.source.shapes)]
        if self.languages and self.muxer is None and self.editor is None:
            lines.append("the languages that the names of tracks tell are not in the result: that needs mkvmerge")
        return lines + linked_segments(self.facts)


_TRACKS = frozenset({"video", "audio", "subtitle"})
_LINKS = (
    "AttachmentLink",
    "TrackOverlay",
)  # of a track to another part of the file; neither mkvmerge nor ffmpeg has them
_STILL = "it is one picture beside the video"


def said_language(track: Element) -> str:
    """What a Matroska track says itself. Source: RFC 9559 §5.1.4.1.19, §5.1.4.1.20."""
    old = track.text("Language") or "eng"
    return track.text("LanguageBCP47") or old


def linked_segments(facts: Facts) -> list[str]:
    """A line that names the other files that a Matroska file plays parts of, or is to be played with."""
    if facts.head is None:
        return []
    others = {uid for edition in facts.head.editions for uid in _segments_of(edition)} - {""}
    others |= {facts.head.info.text(name) for name in ("PrevUUID", "NextUUID", "PrevFilename", "NextFilename")} - {""}
    others -= {facts.head.info.text("SegmentUUID")}
    if others:
        return [
            "it belongs together with other files, keep them in one folder; their segment UIDs or names: "
            + ", ".join(sorted(others))
        ]
    ordered = any(edition.number("EditionFlagOrdered") for edition in facts.head.editions)
    return ["its ordered chapters are kept: a player shows its parts in another order"] if ordered else []


def _segments_of(part: Element) -> list[str]:
    inner = [uid for atom in part.all("ChapterAtom") for uid in _segments_of(atom)]
    return [part.text("ChapterSegmentUUID"), *inner]


def kept_flags(stream: Stream) -> frozenset[str]:
    """The dispositions that Matroska has a field for. Source: ffmpeg's matroskaenc.c, each tried."""
    own = {"descriptions"} if stream.kind == "subtitle" else set()
    if not stream.flags & {"original"}:
        own |= {"dub"}  # Matroska's one flag "original" can say yes or no
    return _FLAGS | own


_FLAGS = frozenset({"default", "forced", "hearing_impaired", "visual_impaired", "original", "comment"})
_KEPT_ATTACHED = "attachments are kept as they are"
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


def _picture_warnings(video: Stream, plan: Plan) -> list[str]:
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
    return lines + lost_with_the_pictures(
        video,
        _captions_of(video, plan),
        dolby_vision=plan.dolby_vision and video is plan.main_video,
        hdr10_plus=plan.hdr10_plus and video is plan.main_video,
    )


def _captions_of(video: Stream, plan: Plan) -> Captions:
    if video is not plan.main_video:
        return "lost"
    return "read" if plan.has_read_captions else "to be read"


def make_plan(
    facts: Facts, muxer: Muxer | None = None, *, guess_languages: bool = False, keep_video: bool = False
) -> Plan:
    """What becomes of each stream. Raises ProbeError if a stream that matters can't be handled.

    ``muxer``: what to make the output of a Matroska source with, and to name guessed languages with in that of
    others. ``guess_languages``: by the names of tracks. ``keep_video``: as it is, see ``can_keep_video``.
    """
    tools, muxer = muxer, muxer if suits_mkvmerge(facts) else None
    plans = [_kept(_video(stream, facts)) if keep_video else _video(stream, facts) for stream in facts.of("video")]
    unframes = tools is not None and keeps_a_clock(facts)
    plans += [_kept_whole(_audio(stream, unframes=unframes), muxer) for stream in facts.of("audio")]
    plans += [_kept_whole(_subtitle(stream), muxer) for stream in facts.of("subtitle")]
    plans += [StreamPlan(s, "copy", s.codec, _KEPT_ATTACHED) for s in facts.of("attachment")]
    plans += [_kept_whole(_cover(stream), muxer) for stream in facts.of("cover")]
    plans += [_data(stream, facts) for stream in facts.of("data")]
    plans.sort(key=lambda plan: (not plan.is_kept, _PLACES[plan.source.kind], plan.why == _STILL))
    all_av1 = all(plan.action != "encode" for plan in plans if plan.source.kind == "video")
    changed = any(plan.action != "copy" and plan.source.kind != "cover" for plan in plans)
    clean = facts.container == "matroska" and all_av1 and not changed
    action: PlanAction = "copy" if clean else "remux" if all_av1 else "transcode"
    kept = [plan.source for plan in plans if plan.is_kept and action != "copy" and guess_languages]
    guessed = {stream.index: tag for stream in kept if (tag := guessed_language(stream, facts))}
    plan = Plan(facts, action, tuple(plans), None if action == "copy" else muxer, guessed, tools if guessed else None)
    return replace(plan, is_video_kept=any(one.why == _BIGGER for one in plans))


def carrying_as(plan: Plan, other: Plan) -> Plan:
    """The plan with what another one of the same file keeps of what its pictures carry."""
    return replace(
        plan,
        dolby_vision=other.dolby_vision,
        hdr10_plus=other.hdr10_plus,
        has_read_captions=other.has_read_captions,
    )


_PLACES: Mapping[StreamKind, int] = {"video": 0, "audio": 1, "subtitle": 2, "attachment": 3, "cover": 4, "data": 5}


_BIGGER = "is kept as it is: as AV1 it would be too big"
_KEEPABLE = frozenset({"h264", "hevc", "vp8", "vp9", "mpeg1video", "mpeg2video", "mpeg4", "theora", "vc1", "prores"})
"""What Matroska holds and players know there."""


def can_keep_video(facts: Facts) -> bool:
    """Whether all its videos can stay as they are."""
    return all(one.codec in {*_KEEPABLE, "av1"} and not one.has_even_times for one in facts.of("video"))


def _kept(plan: StreamPlan) -> StreamPlan:
    return StreamPlan(plan.source, "copy", plan.source.codec, _BIGGER) if plan.action == "encode" else plan


def suits_mkvmerge(facts: Facts) -> bool:
    """Whether mkvmerge reads this file better than ffmpeg: see the table in docs/conversion.md."""
    tracks = [stream for stream in facts.streams if stream.kind in _TRACKS]
    return (
        facts.container in {"matroska", "webm"}
        and all(facts.track_number(stream) is not None for stream in tracks)
        and not any(stream.has_even_times for stream in facts.of("video"))
        # Which it writes the other way round: the same samples, but no copy.
        and not any(re.fullmatch(r"pcm_\w+be", stream.codec) for stream in facts.of("audio"))
        and all((stream.begin or 0.0) >= 0 for stream in facts.of("video"))  # which no cluster of another file can have
    )


def _kept_whole(plan: StreamPlan, muxer: Muxer | None) -> StreamPlan:
    """What is in Matroska already stays as it is, whatever ffmpeg can do with it."""
    unknown = plan.source.kind == "audio" and plan.source.codec in {"unknown", "none"}
    if muxer is None or plan.action == "copy" or plan.source.packets == 0 or unknown:
        return plan
    return StreamPlan(plan.source, "copy", plan.source.codec, "is in Matroska already")


def _video(stream: Stream, facts: Facts) -> StreamPlan:
    films = [one for one in facts.of("video") if one.packets > 1]
    if stream.packets == 1 and films and stream.codec in COVER_TYPES:
        return StreamPlan(stream, "copy", stream.codec, _STILL)
    if stream.packets == 0:
        return StreamPlan(stream, "drop", stream.codec, "the stream is announced but has no picture")
    if stream.codec == "av1":
        return StreamPlan(stream, "copy", "av1", "is AV1 already")
    if stream.codec in {"unknown", "none"}:
        raise ProbeError(f"the video of stream {stream.index} has a codec that ffmpeg does not know")
    if why := impossible(stream.shapes, is_jumpy=facts.is_jumpy(stream)):
        raise ProbeError(f"stream {stream.index}: {why}: cut it there and convert the parts")
    for entry in stream.facts.get("side_data_list") or ():
        if entry.get("side_data_type") == DOLBY_VISION and entry.get("dv_bl_signal_compatibility_id") == 0:
            raise ProbeError(
                f"Dolby Vision profile {entry.get('dv_profile')} has no base layer that other players show in its "
                "colours: convert it to a profile with one"
            )
    return StreamPlan(stream, "encode", "av1", f"{stream.codec} becomes AV1")


def keeps_a_clock(facts: Facts) -> bool:
    """Whether sound can be taken out of a transport stream and put back at its place: its clock is one."""
    videos = facts.of("video")
    is_usable = first_stream(facts).kind in _TRACKS
    return (
        facts.container == "mpegts"
        and is_usable
        and not any(one.has_even_times or facts.is_jumpy(one) for one in videos)
    )


def first_stream(facts: Facts) -> Stream:
    """The stream at which the clock of a file begins: ffmpeg counts from the first of those that it uses."""
    starts = [(number(stream.facts.get("start_time")), stream.index) for stream in facts.streams]
    first = min(((start, index) for start, index in starts if start is not None), default=(0.0, -1))[1]
    return next((stream for stream in facts.streams if stream.index == first), facts.streams[0])


def _audio(stream: Stream, *, unframes: bool = False) -> StreamPlan:
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
    if codec == _LATM and unframes and not stream.stays_framed:
        return StreamPlan(stream, "copy", "aac", "mkvmerge takes its framing (LATM) off, or it becomes Opus")
    if codec == _LATM and stream.stays_framed:
        return StreamPlan(stream, "encode", "opus", f"its framing (LATM) can't be taken off: {stream.stays_framed}")
    if codec in _LOSSLESS_FLOAT:
        return StreamPlan(stream, "encode", _LOSSLESS_FLOAT[codec], f"Matroska does not hold {codec}; no loss")
    if codec in _LOSSLESS or codec.startswith("pcm_") or _IS_ADPCM.match(codec):
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
