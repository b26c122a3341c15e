"""Are these the pictures of the source? Thumbnails of both → where they differ, and how. Pure.

Coding noise is not seen in thumbnails, so that what is left is what is wrong: colours, levels, planes, a picture that
is turned, cut, garbled or not there, or one that belongs to another time.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import mul
from statistics import median

_TOLERANCE = 0.0015  # s; Matroska keeps milliseconds, and the source may have done so too
_GROUP = 1.0  # s
# Root mean squares of 255. Seen with sound encoders: docs/conversion.md.
_QUIET, _COARSE = 1.5, 8.0  # of the pictures of a second; the second divided by how often the thumbnails are smaller
_PEAK, _PEAK_CONTRAST = 4.0, 0.15  # of one picture: times the above, and share of the source's contrast
_LATE_TIMES = 1.4  # a picture is so many times more like the one before it, or behind it, than like its own
_FEW, _CLEARLY = 2, 0.45  # pictures that are so by that share of what is quiet: noise of a source that comes and goes
_MANY, _BARELY = 10, 0.6  # pictures, and one in twenty, that are so by that much
_MIXED = 0.09  # share of one plane in another: BT.601 for BT.709 makes 0.21, a hue that is 6 degrees off 0.1
_FAINT = 4.0  # of 255; colours that vary less prove nothing
_FITTED = 12  # pictures to which colours are fitted
_TINY = 256  # pixels of a plane of colours; in fewer, noise may look like another plane's or a neighbour's pattern


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small picture of three planes of 8 bits."""

    time: float  # s
    width: int  # pixels
    planes: tuple[bytes, bytes, bytes]  # Y, U, V

    @classmethod
    def of(cls, time: float, width: int, height: int, pixels: bytes) -> "Thumbnail":
        """``pixels``: as ffmpeg's rawvideo has yuv420p."""
        luma, chroma = width * height, (width + 1) // 2 * ((height + 1) // 2)
        planes = pixels[:luma], pixels[luma : luma + chroma], pixels[luma + chroma : luma + 2 * chroma]
        return cls(time, width, planes)

    def later(self, seconds: float) -> "Thumbnail":
        """The same at another time."""
        return replace(self, time=self.time + seconds)

    def small_luma(self) -> bytes:
        """As many pixels as each plane of colours has."""
        rows = range(0, len(self.planes[0]), 2 * self.width)
        return b"".join(self.planes[0][row : row + self.width : 2] for row in rows)


@dataclass(frozen=True, slots=True)
class Compared:
    """One picture of the result beside its own of the source."""

    time: float  # s, on the clock of the source's pictures
    errors: tuple[float, float, float]  # root mean square, of 255, per plane
    contrasts: tuple[float, float, float]  # standard deviations of the source's planes
    nearest: float  # error of the luma against the source's picture before or behind it, the smaller one; inf = none
    source: Thumbnail
    result: Thumbnail

    @property
    def misplaced_by(self) -> float:
        """How much more it is like a picture of another time than like its own, of 255; 0 if it is not clearly so."""
        return self.errors[0] - self.nearest if self.errors[0] > _LATE_TIMES * self.nearest else 0.0


@dataclass(frozen=True, slots=True)
class Difference:
    """Where the pictures are not the source's."""

    time: float  # s
    is_of_time: bool = False  # they are its pictures, but of another time
    is_missing: bool = False  # none has a time of the source's


def difference(
    source: Sequence[Thumbnail], result: Sequence[Thumbnail], smaller: float, coarser: float = 1.0
) -> Difference | None:
    """The first; None if the pictures are the same but for coding noise. ``smaller``: how many times the thumbnails are
    smaller than the pictures, in each direction; ``coarser``: how many times more noise there may be than usual. Times
    of both are on one clock, or start with their first pictures."""
    pairs = compared(source, result)
    if not pairs:
        return Difference(result[0].time if result else 0.0, is_missing=True)
    quiet = coarser * (_QUIET + _COARSE / max(1.0, smaller))
    tiny = all(len(one.source.planes[1]) < _TINY for one in pairs)
    found = [Difference(one.time, is_of_time=True) for one in _misplaced(pairs, quiet, math.inf if tiny else coarser)]
    found += [Difference(one.time) for one in pairs if any(_is_beyond(one, plane, quiet) for plane in range(3))]
    for group in _groups(pairs):
        if any(median(one.errors[plane] for one in group) > quiet for plane in range(3)):
            found.append(Difference(group[0].time))
    if not tiny and mixed_planes(pairs) > _MIXED:
        found.append(Difference(pairs[0].time))
    return min(found, key=lambda one: one.time, default=None)


def _misplaced(pairs: Sequence[Compared], quiet: float, coarser: float) -> list[Compared]:
    clearly = [one for one in pairs if one.misplaced_by > _CLEARLY * quiet]
    barely = [one for one in pairs if one.misplaced_by > coarser * _BARELY]
    if len(barely) >= max(_MANY, len(pairs) / 20):
        return barely
    return clearly if len(clearly) >= _FEW else []


def _is_beyond(one: Compared, plane: int, quiet: float) -> bool:
    return one.errors[plane] > _PEAK * quiet + _PEAK_CONTRAST * one.contrasts[plane]


def mixed_planes(pairs: Sequence[Compared]) -> float:
    """How much of one plane's pattern is in the difference of another one: of colours in the luma, of one in the other.

    Coding noise knows nothing of the other planes; another matrix, or another hue, is made of them.
    """
    some = pairs[:: max(1, len(pairs) // _FITTED)]
    rows: list[tuple[float, ...]] = []
    for one in some:
        before, after = ((picture.small_luma(), *picture.planes[1:]) for picture in (one.source, one.result))
        if len({len(plane) for plane in (*before, *after)}) == 1:
            rows += [(y, u, v, a - y, b - u, c - v) for y, u, v, a, b, c in zip(*before, *after, strict=True)]
    if not rows:
        return 0.0
    means = [math.fsum(column) / len(rows) for column in zip(*rows, strict=True)]
    columns = [[value - mean for value in column] for column, mean in zip(zip(*rows, strict=True), means, strict=True)]
    products = [[math.fsum(map(mul, a, b)) for b in columns] for a in columns[:3]]
    matrix = [[products[i][j] + (i == j) * len(rows) * _FAINT**2 for j in range(3)] for i in range(3)]
    shares = [_solved(matrix, [products[i][3 + plane] for i in range(3)]) for plane in range(3)]
    return max(abs(shares[0][1]), abs(shares[0][2]), abs(shares[1][2]), abs(shares[2][1]))


def _solved(matrix: Sequence[Sequence[float]], right: Sequence[float]) -> list[float]:
    """x of matrix · x = right, by Cramer's rule; the matrix is 3 by 3 and positive."""
    whole = _determinant(matrix)
    replaced = ([[*row[:n], value, *row[n + 1 :]] for row, value in zip(matrix, right, strict=True)] for n in range(3))
    return [_determinant(one) / whole for one in replaced]


def _determinant(m: Sequence[Sequence[float]]) -> float:
    return (
        m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1])
        - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0])
        + m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0])
    )


def _groups(pairs: Sequence[Compared]) -> list[list[Compared]]:
    """Those of each second together."""
    found: dict[int, list[Compared]] = {}
    for one in pairs:
        found.setdefault(int(one.time // _GROUP), []).append(one)
    return list(found.values())


def compared(source: Sequence[Thumbnail], result: Sequence[Thumbnail]) -> list[Compared]:
    """Each picture of the result that has one of the source at its time."""
    if not source or not result:
        return []
    own = sorted(source, key=lambda one: one.time)
    from_first = own[0].time - min(one.time for one in result)
    if len(own) == len(result) or not from_first:  # a muxer may have moved all of them
        return _paired(own, result, from_first)
    found = _paired(own, result, 0.0)
    return found if 10 * len(found) >= 9 * len(result) else max(found, _paired(own, result, from_first), key=len)


def _paired(own: Sequence[Thumbnail], result: Sequence[Thumbnail], shift: float) -> list[Compared]:
    times = [one.time for one in own]
    found = []
    for picture in result:
        time = picture.time + shift
        place = bisect_left(times, time)
        place = min((n for n in (place - 1, place) if 0 <= n < len(times)), key=lambda n: abs(times[n] - time))
        if abs(times[place] - time) > _TOLERANCE:
            continue
        beside = [own[n].planes[0] for n in (place - 1, place + 1) if 0 <= n < len(own) and abs(times[n] - time) < 1.0]
        like = own[place]
        (y, u, v), (light, blue, red) = map(_error, like.planes, picture.planes), map(_contrast, like.planes)
        nearest = min((_error(one, picture.planes[0]) for one in beside), default=math.inf)
        found.append(Compared(time, (y, u, v), (light, blue, red), nearest, like, picture))
    return found


def _error(one: bytes, other: bytes) -> float:
    return math.dist(one, other) / math.sqrt(len(one)) if len(one) == len(other) and one else math.inf


def _contrast(plane: bytes) -> float:
    mean = sum(plane) / len(plane) if plane else 0.0
    return math.dist(plane, [mean] * len(plane)) / math.sqrt(len(plane)) if plane else 0.0
