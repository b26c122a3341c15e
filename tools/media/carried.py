"""What travels inside the pictures beside what is seen: an encoder drops it and exits with 0. So it is kept, or named.

Pure. The names are those that ffprobe and ffmpeg have for types of side data.
"""

from collections.abc import Mapping
from typing import Literal

from tools.core.message import message
from tools.media.facts import Stream
from tools.media.inside import CONSTANT

CARRIERS = frozenset({"h264", "hevc", "vvc", "mpeg2video"})
"""Codecs whose pictures may carry anything of this."""
DOLBY_VISION = "DOVI configuration record"
BAR_DATA = "Bar data"
"""Not ffmpeg's: it reads none, see ``tools.media.probe``."""
RPU = ("Dolby Vision RPU Data", "Dolby Vision Metadata")
HDR10_PLUS = ("HDR Dynamic Metadata SMPTE2094-40 (HDR10+)",)
CAPTIONS = ("ATSC A53 Part 4 Closed Captions",)
STEREO = ("Stereo 3D",)
_VIVID = ("HDR Dynamic Metadata CUVA 005.1 2021 (Vivid)",)
_TIME_CODES = ("SMPTE 12-1 timecode", "GOP timecode")
_GRAIN = ("Film grain parameters",)
_FORMAT = ("Active format description",)
_DYNAMIC: Mapping[tuple[str, ...], str] = {RPU: "Dolby Vision", HDR10_PLUS: "HDR10+", _VIVID: "HDR Vivid"}
"""What each picture should have."""


def may_have_captions(video: Stream) -> bool:
    return has(video, CAPTIONS) or bool(video.facts.get("closed_captions"))


def has(video: Stream, names: tuple[str, ...]) -> bool:
    """Whether some picture carries it, of the first or, once all were decoded, of all."""
    return bool(video.carries & set(names)) or (video.inside is not None and video.inside.count(*names) > 0)


def dolby_vision_of(video: Stream) -> str:
    """What is kept of a video's Dolby Vision by an encoder that can, as profiles («8.1 → 10.1»); "" if nothing is."""
    entries = video.facts.get("side_data_list") or ()
    about = next((entry for entry in entries if entry.get("side_data_type") == DOLBY_VISION), None)
    if about is None or not video.carries & set(RPU) or not about.get("dv_bl_signal_compatibility_id"):
        return ""
    compatible = about.get("dv_bl_signal_compatibility_id")
    same = 1 if compatible == _BLU_RAY else compatible  # the encoder names it by the transfer
    return f"{about.get('dv_profile')}.{compatible} → 10.{same}"


_BLU_RAY = 6  # HDR10 with an enhancement layer beside it. Source: Dolby Vision profiles and levels, 1.3.3
_TWO_LAYERS = frozenset({4, 7})  # profiles
_PQ = "smpte2084"


def may_have_hdr10_plus(video: Stream) -> bool:
    """Whether its pictures might carry HDR10+, if not the first ones."""
    return video.facts.get("color_transfer") == _PQ or has(video, HDR10_PLUS)


Captions = Literal["to be read", "read", "lost"]


def lost_with_the_pictures(
    video: Stream, captions: Captions, *, dolby_vision: bool, hdr10_plus: bool = False
) -> list[str]:
    """A line for each thing that pictures which are encoded again carry, and the result's do not, or as something
    else. ``dolby_vision``, ``hdr10_plus``: whether it is kept."""
    place = video.index
    lines = []
    if dolby_vision:
        lines.append(message(f"stream {place}: Dolby Vision is kept: profile {dolby_vision_of(video)}"))
        if any(entry.get("dv_profile") in _TWO_LAYERS for entry in video.facts.get("side_data_list") or ()):
            lines.append(message(f"stream {place}: the enhancement layer of Dolby Vision is not kept"))
    elif video.side_data(DOLBY_VISION) or has(video, RPU):
        lines.append(message(f"stream {place}: Dolby Vision: the base layer is kept, its dynamic metadata is not"))
    if has(video, HDR10_PLUS) and hdr10_plus:
        lines.append(message(f"stream {place}: HDR10+ is kept"))
    elif has(video, HDR10_PLUS):
        lines.append(
            message(f"stream {place}: HDR10+: the values for the whole film are kept, those of scenes are not")
        )
    if has(video, _VIVID):
        lines.append(message(f"stream {place}: HDR Vivid: the base layer is kept, its dynamic metadata is not"))
    if may_have_captions(video) and captions == "lost":
        lines.append(message(f"stream {place}: captions inside the pictures (CEA-608, CEA-708) are not kept, if any"))
    if may_have_captions(video) and captions == "to be read":
        lines.append(message(f"stream {place}: captions inside the pictures (CEA-608) become a track of text, if any"))
    if has(video, _TIME_CODES):
        lines.append(message(f"stream {place}: time codes inside the pictures are not kept"))
    if has(video, _GRAIN):
        lines.append(message(f"stream {place}: film grain that players add becomes a part of the result's pictures"))
    if has(video, _FORMAT):
        lines.append(message(f"stream {place}: the active format description of the pictures is not kept"))
    if BAR_DATA in video.carries:
        lines.append(message(f"stream {place}: the bar data of the pictures is not kept"))
    return lines + _of_some(video)


def _of_some(video: Stream) -> list[str]:
    """What all pictures showed: what only some carry, and what changes on the way."""
    seen, place = video.inside, video.index
    if seen is None:
        return []
    lines = []
    for names, what in _DYNAMIC.items():
        # A decoder gives a picture without an RPU the values of the one before: the RPUs alone are those of the film.
        own = [name for name in names if name in seen.kinds][:1]
        if 0 < (count := seen.count(*own)) < seen.pictures:
            first = seen.kinds[own[0]].first
            said = f"stream {place}: {what} is in {count} of {seen.pictures} pictures, first at {first:.1f} s"
            lines.append(message(said))
    changes = [kind.changed for name, kind in seen.kinds.items() if name in CONSTANT and kind.changed is not None]
    if changes:
        since = f"{min(changes):.1f} s"
        lines.append(message(f"stream {place}: its HDR10 values change at {since}, the result has the first ones"))
    if seen.unreadable:
        said = f"stream {place}: {seen.unreadable} or more SEI messages of its pictures can't be read and are not kept"
        lines.append(message(said))
    return lines
