"""Which CRF to try next, and which one is the answer: bracketed interpolation over what encodes measured. Pure.

A score falls and a size shrinks as the CRF grows; both nearly evenly over the few steps between two probes, the size in
its logarithm. So each probe narrows the bracket, and the first one is often right already: the answer of the episode
before. Measured slopes are in docs/performance.md.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

Reason = Literal["reached", "nearest", "bound", "size", "floor"]
"""Why an answer is the answer: the target is ``reached``; it is the ``nearest`` of some whole encodes; a ``bound`` of
the CRF is; the largest ``CRF`` that the size asks for (``size``); or the score can fall no further (``floor``), and it
is still too big."""
REASONS: frozenset[str] = frozenset(get_args(Reason))

_SCORE_PER_STEP = -0.25  # how a score changes with the CRF as long as one probe is all that is known
_STEEPEST, _FLATTEST = -2.0, -0.05  # and between which limits two probes may say it does
_SIZE_PER_STEP = -0.055  # the same of the size's logarithm
_NOISE = 1.0  # a score that rises by more than this with the CRF makes no sense
_LONGEST_STEP = 14  # of the CRF, outside of what probes enclose
MOST_PROBES = 4  # for the score
MOST_WHOLE = 3  # if each is an encode of the whole
_WORTH_A_WHOLE = 3  # steps of the CRF, about 0.7 of VMAF; for less the whole is not encoded again
_MOST_FOR_SIZE = 3  # more
_BELOW_LIMIT = 0.97  # of the largest size is aimed at: a prediction is not exact


@dataclass(frozen=True, slots=True)
class Probe:
    """What an encode at a CRF came to, whole or by samples."""

    crf: int
    score: float  # higher is better
    size: float  # bytes of the encoded pictures of the whole video


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What is searched. ``target`` None = only a size that fits."""

    target: float | None
    low: int  # the CRF is not below
    high: int  # nor above
    tolerance: float = 0.5  # of the score
    largest: float | None = None  # bytes that the encoded pictures may have; None = any
    floor: float = 0.0  # score below which no size is worth it
    is_whole: bool = False  # each probe is an encode of the whole: they are few, and the answer is one of them


@dataclass(frozen=True, slots=True)
class Answer:
    """The CRF to encode with, and what that is expected to come to."""

    crf: int
    score: float
    size: float  # bytes of the encoded pictures
    probes: int  # that it took
    reason: Reason
    begin: int | None = None  # where the search of a video like it should begin, if not at ``crf``

    @property
    def fits(self) -> bool:
        """Whether the size is what it may be, as far as samples tell."""
        return self.reason != "floor"


def usual_start(target: float) -> int:
    """The CRF at which a video comes near a target, before anything is known of it.

    38 is the median of 19 measured clips for a VMAF of 95, see docs/performance.md; between 90 and 97 they lose about
    0.4 per step there.
    """
    return round(38 - (target - 95.0) / 0.4)


def next_step(goal: Goal, probes: Sequence[Probe], start: int) -> int | Answer | None:
    """The CRF to probe next, or the answer; None if what was measured makes no sense, so that there is none.

    ``start``: the CRF to begin with. Never asks for a CRF twice, nor for more than 7 in all.
    """
    if not probes:
        return _clamped(start, goal)
    if not _is_falling(probes):
        return None
    found = _for_score(goal, probes) if goal.target is not None else _as_it_starts(probes, start, goal)
    if found is None or goal.largest is None:
        return found
    if isinstance(found, Answer):
        size = found.size
    elif found < min(probe.crf for probe in probes):
        size = size_at(probes, found)  # if that is too big, so is whatever reaches the target: it need not be probed
    else:
        return found
    return found if size <= goal.largest else _for_size(goal, probes, goal.largest)


def scaled(probes: Sequence[Probe], measured: Probe) -> list[Probe]:
    """The probes by samples, their sizes corrected by that of the whole encode at one of the CRFs; it is among them."""
    predicted = size_at(probes, measured.crf) if probes else measured.size
    factor = measured.size / predicted if predicted > 0 else 1.0
    others = [replace(one, size=one.size * factor) for one in probes if one.crf != measured.crf]
    return [*others, measured]


def _is_falling(probes: Sequence[Probe]) -> bool:
    ordered = sorted(probes, key=lambda probe: probe.crf)
    best = math.inf
    for probe in ordered:
        if not math.isfinite(probe.score) or not probe.size > 0 or probe.score > best + _NOISE:
            return False
        best = min(best, probe.score)
    return True


def _clamped(crf: float, goal: Goal) -> int:
    return max(goal.low, min(goal.high, round(crf)))


def _as_it_starts(probes: Sequence[Probe], start: int, goal: Goal) -> Answer:
    crf = _clamped(start, goal)
    return Answer(crf, score_at(probes, crf), size_at(probes, crf), len(probes), "reached")


def _for_score(goal: Goal, probes: Sequence[Probe]) -> int | Answer | None:
    target = goal.target or 0.0
    nearest = min(probes, key=lambda probe: (abs(probe.score - target), probe.crf))
    if abs(nearest.score - target) <= goal.tolerance:
        return _answer(nearest, probes, "reached")
    above = max((probe for probe in probes if probe.score > target), key=lambda probe: probe.crf, default=None)
    below = min((probe for probe in probes if probe.score < target), key=lambda probe: probe.crf, default=None)
    if above is not None and above.crf >= goal.high:
        return _answer(above, probes, "bound")
    if below is not None and below.crf <= goal.low:
        return _answer(below, probes, "bound")
    is_last = len(probes) >= _most(goal)
    is_enclosed = above is not None and below is not None
    if above is not None and below is not None:
        if below.crf - above.crf <= 1:
            return _answer(above if above.crf < below.crf else nearest, probes, "reached")
        crf = _between(above, below, target)
    else:  # from the outermost, so that no CRF comes twice
        crf = _beyond(above or below or nearest, probes, goal)
    if goal.is_whole and (is_last or _is_near(crf, nearest, goal)):
        return replace(_answer(nearest, probes, "nearest"), begin=crf)
    if is_last and is_enclosed:
        return Answer(crf, score_at(probes, crf), size_at(probes, crf), len(probes), "reached")
    return None if is_last else crf


def _beyond(outermost: Probe, probes: Sequence[Probe], goal: Goal) -> int:
    """The next CRF on the way to a target that no two probes enclose."""
    step = ((goal.target or 0.0) - outermost.score) / _slope(probes)
    step = max(1.0, min(_LONGEST_STEP, step)) if step > 0 else min(-1.0, max(-_LONGEST_STEP, step))
    return _clamped(outermost.crf + step, goal)


def _is_near(crf: int, nearest: Probe, goal: Goal) -> bool:
    """Whether another encode of the whole would gain too little."""
    miss = abs(nearest.score - (goal.target or 0.0))
    return abs(crf - nearest.crf) < _WORTH_A_WHOLE and miss <= 2 * goal.tolerance


def _most(goal: Goal) -> int:
    return MOST_WHOLE if goal.is_whole else MOST_PROBES


def _answer(probe: Probe, probes: Sequence[Probe], reason: Reason) -> Answer:
    return Answer(probe.crf, probe.score, probe.size, len(probes), reason)


def _between(above: Probe, below: Probe, target: float) -> int:
    """A CRF strictly between, by the straight line from one to the other."""
    share = (above.score - target) / (above.score - below.score)
    crf = round(above.crf + share * (below.crf - above.crf))
    return max(above.crf + 1, min(below.crf - 1, crf))


def _slope(probes: Sequence[Probe]) -> float:
    """Score per step of the CRF, by the two probes that are farthest apart."""
    first, last = min(probes, key=lambda probe: probe.crf), max(probes, key=lambda probe: probe.crf)
    if first.crf == last.crf:
        return _SCORE_PER_STEP
    return max(_STEEPEST, min(_FLATTEST, (last.score - first.score) / (last.crf - first.crf)))


def _for_size(goal: Goal, probes: Sequence[Probe], largest: float) -> int | Answer:
    """The smallest CRF whose size fits, as long as the score holds the floor; else the highest that holds it."""
    known = {probe.crf: probe for probe in probes}
    fitting = sorted(probe.crf for probe in probes if probe.size <= largest and probe.score >= goal.floor)
    most = _most(goal) + _MOST_FOR_SIZE
    crf = _crf_of_size(probes, largest * _BELOW_LIMIT, goal)
    if fitting and (crf >= fitting[0] - 1 or crf in known or len(probes) >= most):
        return _answer(known[fitting[0]], probes, "size")
    lost = sorted(probe.crf for probe in probes if probe.score < goal.floor)
    if lost:  # no further than between the last that holds the floor and the first that does not
        crf = min(crf, _crf_of_floor(probes, goal))
    if crf in known or len(probes) >= most:
        best = known.get(crf) or Probe(crf, score_at(probes, crf), size_at(probes, crf))
        return _answer(best, probes, "size" if best.size <= largest and best.score >= goal.floor else "floor")
    return crf


def _crf_of_size(probes: Sequence[Probe], size: float, goal: Goal) -> int:
    """The smallest CRF that is expected to come to ``size`` at most, within the bounds."""
    for crf in range(goal.low, goal.high):
        if size_at(probes, crf) <= size:
            return crf
    return goal.high


def _crf_of_floor(probes: Sequence[Probe], goal: Goal) -> int:
    """The highest CRF that is expected to hold the floor, within the bounds."""
    for crf in range(goal.high, goal.low, -1):
        if score_at(probes, crf) >= goal.floor:
            return crf
    return goal.low


def score_at(probes: Sequence[Probe], crf: int) -> float:
    """The score at a CRF, by the straight line through the two probes next to it."""
    return _line(sorted((probe.crf, probe.score) for probe in probes), crf, _SCORE_PER_STEP)


def size_at(probes: Sequence[Probe], crf: int) -> float:
    """The size at a CRF in bytes, by the straight line through the logarithms of the two probes next to it."""
    points = sorted((probe.crf, math.log(probe.size)) for probe in probes)
    return math.exp(_line(points, crf, _SIZE_PER_STEP))


def _line(points: Sequence[tuple[int, float]], at: int, slope: float) -> float:
    if len(points) > 1:
        after = next((place for place, (x, _) in enumerate(points[1:-1], 1) if x >= at), len(points) - 1)
        (x0, y0), (x1, y1) = points[after - 1], points[after]
        slope = min(0.0, (y1 - y0) / (x1 - x0))
        return y0 + (at - x0) * slope
    x0, y0 = points[0]
    return y0 + (at - x0) * slope
