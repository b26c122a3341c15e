"""What ffmpeg measures of every picture of a video, as a small second output of a run that decodes it anyway.

The pictures are made small and gray; ``scdet``, ``entropy`` and ``blurdetect`` measure them. Source: ffmpeg's
vf_scdet.c, vf_entropy.c, vf_blurdetect.c, f_metadata.c.
"""

import math
import re
from collections.abc import Iterable
from pathlib import Path

from tools.core.errors import MediaError
from tools.core.scenes import Picture

SCAN_FILTERS = ("scdet", "entropy", "blurdetect", "metadata")
MOST_PICTURES = 2_000_000  # nine hours at 60 per second; 200 bytes of memory each
LARGEST_SCAN = 4 << 30  # bytes; two hundred of them say all of a picture
_SIZE = "320:180:flags=fast_bilinear"
_HEAD = re.compile(r"frame:\d+\s+pts:\S+\s+pts_time:(\S+)")
_CHANGE, _DETAIL, _BLUR = "lavfi.scd.mafd", "lavfi.entropy.normalized_entropy.normal.Y", "lavfi.blur"


def scan_output(index: int, file: Path) -> list[str]:
    """The arguments that add the output to an ffmpeg command: stream ``index`` of its first input → ``file``."""
    measured = "scdet=t=100,entropy,blurdetect"
    # What a picture's file says of it is deleted first: printed as it is, it could pass for lines of other pictures.
    chain = f"scale={_SIZE},format=gray,metadata=mode=delete,{measured},metadata=mode=print:file="
    chain += escaped(f"file:{file}")
    return ["-map", f"0:{index}", "-filter:v:0", chain, "-fps_mode:v:0", "passthrough", "-f", "null", "-"]


def escaped(text: str) -> str:
    """As the value of a filter's option in a filter graph. Source: ffmpeg-filters, «Notes on filtergraph escaping»."""
    value = re.sub(r"([\\':])", r"\\\1", text)
    return re.sub(r"([\\'\[\],;])", r"\\\1", value)


def read_scan(file: Path) -> list[Picture]:
    """What the output wrote, times from the first picture on. Raises OSError, MediaError."""
    with file.open(encoding="utf-8", errors="replace") as lines:
        return parse_scan(lines)


def parse_scan(lines: Iterable[str]) -> list[Picture]:
    """The pictures in the order in which they are shown; one without a time has that of the one before.

    Raises MediaError if there are more than ``MOST_PICTURES``."""
    found: list[Picture] = []
    start: float | None = None
    for line in lines:
        if match := _HEAD.match(line):
            if len(found) >= MOST_PICTURES:
                raise MediaError(f"more than {MOST_PICTURES} pictures, so many are not looked at")
            time = _number(match[1])
            start = time if start is None else start
            before = found[-1].time if found else 0.0
            shown = before if time is None or start is None else max(before, time - start)
            found.append(Picture(shown, 0.0, 0.0, 0.0))
            continue
        name, _, value = line.rstrip().partition("=")
        number = _number(value) or 0.0
        if not found:
            continue
        if name == _CHANGE:
            found[-1] = found[-1]._replace(change=number)
        elif name == _DETAIL:
            found[-1] = found[-1]._replace(detail=number)
        elif name == _BLUR:
            found[-1] = found[-1]._replace(blur=number)
    return found


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
