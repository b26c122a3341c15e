"""What travels inside the pictures beside what is seen, and is not in the result: an encoder drops it and exits with 0.

Pure. The names are those that ffprobe has for types of side data.
"""

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


def lost_with_the_pictures(video: Stream) -> list[str]:
    """A line for each thing that pictures which are encoded again carry, and the result's do not."""
    has, place = video.carries, video.index
    lines = []
    if video.side_data(DOLBY_VISION) or has & _RPU:
        lines.append(message(f"stream {place}: Dolby Vision: the base layer is kept, its dynamic metadata is not"))
    if has & _HDR10_PLUS:
        lines.append(
            message(f"stream {place}: HDR10+: the values for the whole film are kept, those of scenes are not")
        )
    if has & _VIVID:
        lines.append(message(f"stream {place}: HDR Vivid: the base layer is kept, its dynamic metadata is not"))
    if has & _CAPTIONS or video.facts.get("closed_captions"):
        lines.append(message(f"stream {place}: captions inside the pictures (CEA-608, CEA-708) are not kept, if any"))
    if has & _TIME_CODES:
        lines.append(message(f"stream {place}: time codes inside the pictures are not kept"))
    if has & _GRAIN:
        lines.append(message(f"stream {place}: film grain that players add by parameters of the pictures is not kept"))
    if has & _FORMAT:
        lines.append(message(f"stream {place}: the active format description of the pictures is not kept"))
    return lines
