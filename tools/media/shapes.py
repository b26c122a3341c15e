"""Pictures that change within a stream → one canvas for all, and how each gets onto it in its own shape. Pure.

An encoded stream has one size. It is that of the largest picture, so that none gets smaller; pictures of another shape
get bars, as in a broadcast.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

_MOST_TOLD = 5  # changes in a message
_HDR = frozenset({"smpte2084", "arib-std-b67"})


@dataclass(frozen=True, slots=True)
class Shape:
    """What a stream's pictures are like from some time on."""

    begin: str  # s, as ffprobe writes it
    width: int  # pixels
    height: int
    aspect: str  # of a pixel, "w:h"
    pix_fmt: str
    interlaced: bool
    transfer: str

    @property
    def pixel(self) -> float:
        """Width of a pixel, its height being 1."""
        above, _, below = self.aspect.partition(":")
        if not (above.isdecimal() and below.isdecimal() and int(above) and int(below)):
            return 1.0
        return int(above) / int(below)

    @property
    def kind(self) -> tuple[object, ...]:
        """All but when it begins."""
        return self.width, self.height, self.pixel, self.pix_fmt, self.interlaced, self.transfer

    def __str__(self) -> str:
        aspect = "" if self.pixel == 1 else f" with pixels of {self.aspect}"
        return f"{self.width}x{self.height}{aspect} {self.pix_fmt}{' interlaced' if self.interlaced else ''}"


def shape_of(line: str) -> Shape | None:
    """A line of ffprobe's frames in compact form. None for one that tells no size."""
    told = dict(pair.split("=", 1) for pair in line.split("|") if "=" in pair)
    width, height = told.get("width", ""), told.get("height", "")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        return None
    begin, aspect = told.get("best_effort_timestamp_time", "?"), told.get("sample_aspect_ratio", "1:1")
    transfer, interlaced = told.get("color_transfer", ""), told.get("interlaced_frame") == "1"
    return Shape(begin, int(width), int(height), aspect, told.get("pix_fmt", ""), interlaced, transfer)


def canvas(shapes: Sequence[Shape]) -> Shape | None:
    """The largest, onto which all others go; None if all have one size and shape."""
    if len({(shape.width, shape.height, shape.pixel) for shape in shapes}) < 2:
        return None
    return max(shapes, key=lambda shape: shape.width * shape.height)


def shape_filters(shapes: Sequence[Shape]) -> list[str]:
    """What makes all pictures fit, in ffmpeg's filters, which are set up anew at each change."""
    target = canvas(shapes)
    if target is None:
        return []
    width, height, pixel = target.width, target.height, f"{target.pixel:.6f}"
    wide = f"gte(dar,{width * target.pixel / height:.6f})"
    fit = f"scale=w='if({wide},{width},min({width},2*round({height}*dar/{pixel}/2)))'"
    fit += f":h='if({wide},min({height},2*round({width}*{pixel}/dar/2)),{height})'"
    aspect = target.aspect.replace(":", "/") if target.pixel != 1 else "1"
    return [fit, f"pad={width}:{height}:(ow-iw)/2:(oh-ih)/2", f"setsar={aspect}"]


def is_partly_interlaced(shapes: Sequence[Shape]) -> bool:
    return len({shape.interlaced for shape in shapes}) > 1


def shape_warnings(index: int, shapes: Sequence[Shape]) -> list[str]:
    """What changes in a stream and when, and what becomes of it."""
    if len(shapes) < 2:
        return []
    told = "; ".join(f"{shape} from {shape.begin} s" for shape in shapes[:_MOST_TOLD])
    more = f"; {len(shapes) - _MOST_TOLD} more" if len(shapes) > _MOST_TOLD else ""
    target = canvas(shapes)
    becomes = f", all are encoded at {target.width}x{target.height} in their own shape" if target else ""
    pairs = pairwise(shapes)
    # ffmpeg sets up its filters anew for another size, not for another shape of the pixels alone.
    stuck = [b for a, b in pairs if (a.width, a.height) == (b.width, b.height) and a.pixel != b.pixel]
    lines = [f"stream {index}: its pictures change ({told}{more}){becomes}"]
    if stuck:
        lines.append(
            f"stream {index}: only the shape of the pixels changes at {stuck[0].begin} s, from there on pictures may "
            "look stretched: cut it there and convert the parts"
        )
    if 0 < sum(shape.transfer in _HDR for shape in shapes) < len(shapes):
        lines.append(f"stream {index}: it changes between HDR and SDR: the colours of one part are wrong, cut it there")
    return lines
