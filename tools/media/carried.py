"""What travels inside the pictures beside what is seen, and is not in the result: an encoder drops it and exits with 0.

Pure. The names are those that ffprobe has for types of side data.
"""

from typing import Literal

from tools.core.message import message
from tools.media.facts import Stream

CARRIERS = frozenset({"h264", "hevc", "vvc", "mpeg2video"})
"""Codecs whose pictures may carry anything of this."""
DOLBY_VISION = "DOVI configuration record"
_RPU = frozenset({"Dolby Vision RPU Data", "Dolby Vision Metadata"})
_HDR10_PLUS = frozenset({"HDR Dynamic Metadata SMPTE2094-40 (HDR10+)"})
_VIVID = frozenset({"HDR Dynamic Metadata CUVA 005.1 2021 (Vivid)"})
_CAPTIONS = frozenset({"ATSC A53 Part 4 Closed Captions"})
_TIME_CODES = frozenset({"SMPTE 12-1 timecode", "GOP timecode"})
_GRAIN = frozenset({"Film grain parameters"})
_FORMAT = frozenset({"Active format description"})


def may_have_captions(video: Stream) -> bool:
    return bool(video.carries & _CAPTIONS or video.facts.get("closed_captions"))


def dolby_vision_of(video: Stream) -> str:
    """What is kept of a video's Dolby Vision by an encoder that can, as profiles («8.1 → 10.1»); "" if nothing is."""
    entries = video.facts.get("side_data_list") or ()
    about = next((entry for entry in entries if entry.get("side_data_type") == DOLBY_VISION), None)
    if about is None or not video.carries & _RPU or not about.get("dv_bl_signal_compatibility_id"):
        return ""
    compatible = about.get("dv_bl_signal_compatibility_id")
    same = 1 if compatible == _BLU_RAY else compatible  # the encoder names it by the transfer
    return f"{about.get('dv_profile')}.{compatible} → 10.{same}"


_BLU_RAY = 6  # HDR10 with an enhancement layer beside it. Source: Dolby Vision profiles and levels, 1.3.3
_TWO_LAYERS = frozenset({4, 7})  # profiles


Captions = Literal["to be read", "read", "lost"]


def lost_with_the_pictures(video: Stream, captions: Captions, *, dolby_vision: bool) -> list[str]:
    """A line for each thing that pictures which are encoded again carry, and the result's do not, or as something
    else. ``dolby_vision``: whether it is kept."""
    has, place = video.carries, video.index
    lines = []
    if dolby_vision:
        lines.append(message(f"stream {place}: Dolby Vision is kept: profile {dolby_vision_of(video)}"))
        if any(entry.get("dv_profile") in _TWO_LAYERS for entry in video.facts.get("side_data_list") or ()):
            lines.append(message(f"stream {place}: the enhancement layer of Dolby Vision is not kept"))
    elif video.side_data(DOLBY_VISION) or has & _RPU:
        lines.append(message(f"stream {place}: Dolby Vision: the base layer is kept, its dynamic metadata is not"))
    if has & _HDR10_PLUS:
        lines.append(
            message(f"stream {place}: HDR10+: the values for the whole film are kept, those of scenes are not")
        )
    if has & _VIVID:
        lines.append(message(f"stream {place}: HDR Vivid: the base layer is kept, its dynamic metadata is not"))
    if may_have_captions(video) and captions == "lost":
        lines.append(message(f"stream {place}: captions inside the pictures (CEA-608, CEA-708) are not kept, if any"))
    if may_have_captions(video) and captions == "to be read":
        lines.append(message(f"stream {place}: captions inside the pictures (CEA-608) become a track of text, if any"))
    if has & _TIME_CODES:
        lines.append(message(f"stream {place}: time codes inside the pictures are not kept"))
    if has & _GRAIN:
        lines.append(message(f"stream {place}: film grain that players add by parameters of the pictures is not kept"))
    if has & _FORMAT:
        lines.append(message(f"stream {place}: the active format description of the pictures is not kept"))
    return lines
