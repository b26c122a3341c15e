"""What is measured of each picture → the scenes of a video, and the picture that shows each best. Pure.

A cut is a picture that differs from the one before by much, and by much more than the pictures around it differ from
theirs: so neither a pan, nor motion on twos and threes, nor a fade looks like one. Chosen by docs/performance.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import NamedTuple

_NEAR = 0.25  # s before and after a picture in which others are compared with it
_LEAST_NEAR = 3  # pictures
_STANDS_OUT = 2.0  # times the second largest change near it; the largest may be the other side of a flash
_FLASH = 0.25  # s that one takes at most
_SAME_DETAIL, _SAME_BLUR = 0.03, 0.1  # by what share the picture after a flash may differ from the one before
_BLANK = 0.02  # of ``detail``, below which a picture is of one colour, as a fade's end
_FADED = 0.85  # of the detail that a tenth of the scene has
_BLURRED = 1.25  # times the blur of most of the scene
_MOVED = 2.0  # times the change of most of the scene, and
_STILL = 1.0  # of ``change``, below which nothing moves


class Picture(NamedTuple):
    """What ffmpeg measured of one picture, see ``tools.media.scan``."""

    time: float  # s
    change: float  # mean difference of luma to the picture before, % of its range
    detail: float  # entropy of luma, 0 (one colour) to 1
    blur: float  # width of edges, pixels; 0 without an edge


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneRules:
    """Settings of the detection."""

    threshold: float = 8.0  # least ``change`` of a cut
    shortest: float = 0.5  # s between two cuts
    most: int = 5000  # scenes of one video; of more cuts the clearest count


class Scene(NamedTuple):
    """Pictures by their number, from 0."""

    begin: int
    end: int  # the first one of the next scene
    frame: int  # the one that shows it; -1 if none shows a picture


def find_scenes(pictures: Sequence[Picture], rules: SceneRules) -> tuple[list[Scene], int]:
    """The scenes in order, at least one if there is a picture; and how many cuts were left out as too many."""
    if not pictures:
        return [], 0
    cuts = find_cuts(pictures, rules)
    left_out = max(0, len(cuts) - (rules.most - 1))
    if left_out:
        cuts = sorted(sorted(cuts, key=lambda cut: -pictures[cut].change)[: rules.most - 1])
    bounds = [0, *cuts, len(pictures)]
    return [Scene(begin, end, _best(pictures, begin, end)) for begin, end in pairwise(bounds)], left_out


def find_cuts(pictures: Sequence[Picture], rules: SceneRules) -> list[int]:
    """The numbers of the first pictures of all scenes but the first."""
    near = _near(pictures)
    found = [n for n in range(1, len(pictures)) if _stands_out(pictures, n, near, rules.threshold)]
    cuts: list[int] = []
    for cut in _without_flashes(pictures, found):
        if not cuts or pictures[cut].time - pictures[cuts[-1]].time >= rules.shortest:
            cuts.append(cut)
        elif pictures[cut].change > pictures[cuts[-1]].change:
            cuts[-1] = cut
    return cuts


def _near(pictures: Sequence[Picture]) -> int:
    """How many pictures before and after one are near it."""
    length = pictures[-1].time - pictures[0].time
    rate = (len(pictures) - 1) / length if length > 0 else 0.0
    return max(_LEAST_NEAR, min(60, round(rate * _NEAR)))


def _stands_out(pictures: Sequence[Picture], n: int, near: int, threshold: float) -> bool:
    change = pictures[n].change
    if change < threshold:
        return False
    others = [pictures[i].change for i in range(max(1, n - near), min(len(pictures), n + near + 1)) if i != n]
    second = sorted(others)[-2] if len(others) > 1 else 0.0
    return change >= _STANDS_OUT * second


def _without_flashes(pictures: Sequence[Picture], cuts: Sequence[int]) -> list[int]:
    """Two cuts with the same picture before and after both are a flash within a scene."""
    kept: list[int] = []
    for cut in cuts:
        if kept and pictures[cut].time - pictures[kept[-1]].time <= _FLASH:
            before, after = pictures[kept[-1] - 1], pictures[cut]
            is_same = abs(before.detail - after.detail) <= _SAME_DETAIL * max(before.detail, after.detail)
            if is_same and abs(before.blur - after.blur) <= _SAME_BLUR * max(before.blur, after.blur):
                kept.pop()
                continue
        kept.append(cut)
    return kept


def _best(pictures: Sequence[Picture], begin: int, end: int) -> int:
    """The picture nearest to the middle in time that is no black, blank, faded or blurred one, nor one in which much
    moves; the least bad one if there is none, -1 if all are blank."""
    inside = range(begin, end)
    shown = [n for n in inside if pictures[n].detail >= _BLANK and pictures[n].blur > 0]  # without edges: one colour
    if not shown:
        return -1
    detail = sorted(pictures[n].detail for n in shown)[len(shown) * 9 // 10]
    blur = median(pictures[n].blur for n in shown)
    change = median(_motion(pictures, n, begin, end) for n in shown)
    middle = (pictures[begin].time + pictures[end - 1].time) / 2

    def faults(n: int) -> int:
        moves = _motion(pictures, n, begin, end)
        is_faded = pictures[n].detail < _FADED * detail
        return 4 * is_faded + 2 * (pictures[n].blur > _BLURRED * blur) + (moves > max(_STILL, _MOVED * change))

    return min(shown, key=lambda n: (faults(n), abs(pictures[n].time - middle), n))


def _motion(pictures: Sequence[Picture], n: int, begin: int, end: int) -> float:
    """How much moves around a picture within its scene; of one that is held, what little there is."""
    sides = [pictures[n].change] if n > begin else []
    sides += [pictures[n + 1].change] if n + 1 < end else []
    return max(sides, default=0.0)
