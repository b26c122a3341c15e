"""Pictures that change within a stream → one canvas for all, and how each gets onto it in its own shape. Pure.

An encoded stream has one size, one shape of pixels, one matrix of colours. They are those of the largest picture, so
that none gets smaller; pictures of another shape get bars, as in a broadcast.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from tools.core.message import message

_MOST_TOLD = 5  # changes in a message
_MOST = 1000  # changes that are kept
_HDR = frozenset({"smpte2084", "arib-std-b67"})
_UNSET = frozenset({"", "unknown", "reserved", "unspecified"})
SHAPE_ENTRIES = (
    "frame=best_effort_timestamp_time,width,height,sample_aspect_ratio,pix_fmt,interlaced_frame,top_field_first,"
    "color_range,color_space,color_transfer,color_primaries"
)
"""What is asked of ffprobe, in its compact form."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a stream's pictures are like from some time on."""

    begin: str  # s, as ffprobe writes it
    width: int  # pixels
    height: int
    aspect: str  # of a pixel, "w:h"
    pix_fmt: str
    interlaced: str  # "", or which field comes first
    matrix: str  # of the colours, "" if unset, as the others
    transfer: str
    primaries: str
    range: str

    @property
    def pixel(self) -> float:
        """Width of a pixel, its height being 1."""
        above, _, below = self.aspect.partition(":")
        if not (above.isdecimal() and below.isdecimal() and int(above) and int(below)):
            return 1.0
        return int(above) / int(below)

    @property
    def size(self) -> tuple[int, int]:
        return self.width, self.height

    @property
    def is_hdr(self) -> bool:
        return self.transfer in _HDR

    @property
    def kind(self) -> tuple[object, ...]:
        """All but when it begins."""
        return *self.size, self.pixel, self.pix_fmt, self.interlaced, self.colours

    @property
    def colours(self) -> tuple[str, ...]:
        return self.matrix, self.transfer, self.primaries, self.range

    def __str__(self) -> str:
        aspect = "" if self.pixel == 1 else f" with pixels of {self.aspect}"
        colours = "/".join(dict.fromkeys(filter(None, self.colours)))
        fields = f" interlaced ({self.interlaced} field first)" if self.interlaced else ""
        return f"{self.width}x{self.height}{aspect} {self.pix_fmt}{f' ({colours})' if colours else ''}{fields}"


class ShapeReader:
    """Collects from ffprobe's lines about one picture after the other what changes, bounded."""

    def __init__(self) -> None:
        self.found: list[Shape] = []

    def line(self, line: str) -> None:
        shape = shape_of(line)
        if shape and (not self.found or self.found[-1].kind != shape.kind) and len(self.found) < _MOST:
            self.found.append(shape)


def shape_of(line: str) -> Shape | None:
    """A line of ffprobe's frames in compact form. None for one that tells no size."""
    told = dict(pair.split("=", 1) for pair in line.split("|") if "=" in pair)
    width, height = told.get("width", ""), told.get("height", "")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        return None
    colours = [
        "" if (value := told.get(f"color_{name}", "")) in _UNSET else value
        for name in ("space", "transfer", "primaries", "range")
    ]
    fields = ("top" if told.get("top_field_first") == "1" else "bottom") if told.get("interlaced_frame") == "1" else ""
    begin, aspect = told.get("best_effort_timestamp_time", "?"), told.get("sample_aspect_ratio", "1:1")
    return Shape(begin, int(width), int(height), aspect, told.get("pix_fmt", ""), fields, *colours)


def canvas(shapes: Sequence[Shape]) -> Shape | None:
    """The largest, onto which all others go; None if all have one size and shape."""
    if len({(shape.size, shape.pixel) for shape in shapes}) < 2:
        return None
    return _largest(shapes)


def _largest(shapes: Sequence[Shape]) -> Shape:
    return max(shapes, key=lambda shape: shape.width * shape.height)


def one_matrix(shapes: Sequence[Shape]) -> str:
    """The matrix that all pictures are brought to, "" if they have one already, or none says which."""
    known = {_MATRICES.get(shape.matrix, "") for shape in shapes}
    return _largest(shapes).matrix if len(known) > 1 and "" not in known else ""


# As ffmpeg's scale filter calls them; two have one set of numbers. Source: its vf_scale.c.
_MATRICES = {"bt709": "bt709", "smpte170m": "bt601", "bt470bg": "bt601", "bt2020nc": "bt2020", "smpte240m": "smpte240m"}
_MATRICES |= {"fcc": "fcc"}


def same_matrix(one: str, other: str) -> bool:
    return one == other or _MATRICES.get(one, one) == _MATRICES.get(other, other)


def shape_filters(shapes: Sequence[Shape], start: float) -> list[str]:
    """What makes all pictures fit, in ffmpeg's filters. ``start``: s, the time that ffmpeg counts from."""
    filters = [f"scale=out_color_matrix={_MATRICES[matrix]}"] if (matrix := one_matrix(shapes)) else []
    target = canvas(shapes)
    if target is None:
        return filters
    fitted = [_fitted(shape, target) for shape in shapes]
    if _stuck(shapes):  # ffmpeg gives all pictures the first one's shape of pixels: only the time tells them apart
        after = [f"gte(t,{_before(shape, start):.6f})" for shape in shapes]
        steps = [("1", *fitted[0])]
        steps += [
            (when, now[0] - was[0], now[1] - was[1])
            for when, was, now in zip(after[1:], fitted, fitted[1:], strict=False)
        ]
    else:
        by_size = dict(zip([shape.size for shape in shapes], fitted, strict=True))
        steps = [(f"eq(iw,{size[0]})*eq(ih,{size[1]})", *fit) for size, fit in by_size.items()]
    # A sum, since an expression may not be nested by the hundred.
    width, height = ("+".join(f"{when}*({step[side]})" for when, *step in steps) for side in (0, 1))
    filters += [f"scale=w='{width}':h='{height}':eval=frame"]
    aspect = target.aspect.replace(":", "/") if target.pixel != 1 else "1"
    return [*filters, f"pad={target.width}:{target.height}:(ow-iw)/2:(oh-ih)/2:eval=frame", f"setsar={aspect}"]


def _fitted(shape: Shape, target: Shape) -> tuple[int, int]:
    """The size in the target's pixels that has a picture's own shape and fits in."""
    wide = shape.width * shape.pixel / shape.height * target.height / target.pixel  # at the full height
    if wide >= target.width:
        return target.width, max(2, min(target.height, 2 * round(target.height * target.width / wide / 2)))
    return max(2, min(target.width, 2 * round(wide / 2))), target.height


_HALF = 0.005  # s; less than the time between two pictures, more than what is lost by rounding


def _before(shape: Shape, start: float) -> float:
    return float(shape.begin) - start - _HALF


def _stuck(shapes: Sequence[Shape]) -> list[Shape]:
    """Those that begin where only the shape of the pixels changes, which ffmpeg can't tell by itself."""
    pixels: dict[tuple[int, int], set[float]] = {}
    for shape in shapes:
        pixels.setdefault(shape.size, set()).add(shape.pixel)
    return [b for a, b in pairwise(shapes) if len(pixels[b.size]) > 1 and a.pixel != b.pixel]


def impossible(shapes: Sequence[Shape], *, is_jumpy: bool) -> str:
    """Why one encoded stream can't hold all of the pictures, with the time; "" if it can. ``is_jumpy``: times are set
    again on the way."""
    for before, after in pairwise(shapes):
        if before.is_hdr != after.is_hdr:
            kinds = "HDR to SDR" if before.is_hdr else "SDR to HDR"
            return message(f"its pictures change from {kinds} at {after.begin} s, and one stream has one of them")
    stuck = _stuck(shapes)
    if stuck and (is_jumpy or any(not _is_time(shape.begin) for shape in shapes)):
        return message(f"the shape of its pixels changes at {stuck[0].begin} s, and its clock is set again on the way")
    return ""


def _is_time(text: str) -> bool:
    return text.replace(".", "", 1).removeprefix("-").isdecimal()


def is_partly_interlaced(shapes: Sequence[Shape]) -> bool:
    return len({bool(shape.interlaced) for shape in shapes}) > 1


def shape_warnings(index: int, shapes: Sequence[Shape]) -> list[str]:
    """What changes in a stream and when, and what becomes of it."""
    if len(shapes) < 2:
        return []
    told = "; ".join(f"{shape} from {shape.begin} s" for shape in shapes[:_MOST_TOLD])
    more = f"; {len(shapes) - _MOST_TOLD} more" if len(shapes) > _MOST_TOLD else ""
    target = canvas(shapes)
    becomes = f", all are encoded at {target.width}x{target.height} in their own shape" if target else ""
    lines = [f"stream {index}: its pictures change ({told}{more}){becomes}"]
    if matrix := one_matrix(shapes):
        lines.append(f"stream {index}: the colours of all are brought to the matrix {matrix}")
    if len({(shape.transfer, shape.primaries) for shape in shapes}) > 1:
        lines.append(f"stream {index}: transfer and primaries of the colours are marked as those of its beginning")
    return lines
