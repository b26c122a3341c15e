"""The search for a CRF, over pictures whose scores and sizes follow any falling curve."""

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import accumulate

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tools.core.crf_search import MOST_PROBES, MOST_WHOLE, Answer, Goal, Probe, next_step, scaled, size_at, usual_start

Curve = Callable[[int], Probe]

# The measured clips: a CRF and its score, see docs/performance.md.
CLIPS = {
    "film": {24: 99.6, 30: 99.5, 36: 98.6, 42: 96.7, 48: 93.1, 63: 80.0},
    "3d": {24: 96.1, 30: 94.8, 36: 93.4, 42: 91.8, 48: 89.6, 63: 80.0},
    "web": {24: 98.2, 30: 97.4, 36: 95.9, 42: 94.0, 48: 91.4, 63: 80.0},
    "fansub": {24: 96.9, 30: 96.5, 36: 95.8, 42: 95.0, 48: 93.5, 63: 85.0},
    "disc": {24: 98.0, 30: 97.4, 36: 95.7, 42: 93.7, 48: 90.4, 63: 75.0},
    "camera": {24: 97.5, 30: 95.9, 36: 93.6, 42: 91.3, 48: 88.8, 63: 75.0},
}


def measured(points: dict[int, float], size_at_30: float = 1e6) -> Curve:
    """Straight between the points; the size halves in 12 steps."""
    known = sorted(points)

    def at(crf: int) -> Probe:
        left = max((one for one in known if one <= crf), default=known[0])
        right = min((one for one in known if one >= crf), default=known[-1])
        share = (crf - left) / (right - left) if right > left else 0.0
        return Probe(crf, points[left] + share * (points[right] - points[left]), size_at_30 * 0.5 ** ((crf - 30) / 12))

    return at


def searched(goal: Goal, curve: Curve, start: int) -> tuple[Answer | None, list[int]]:
    probes: list[Probe] = []
    while True:
        step = next_step(goal, probes, start)
        if not isinstance(step, int):
            return step, [probe.crf for probe in probes]
        assert goal.low <= step <= goal.high and step not in [probe.crf for probe in probes]
        probes.append(curve(step))
        assert len(probes) <= 7


def test_three_probes_are_enough_for_measured_clips_and_one_if_it_was_right() -> None:
    goal = Goal(target=95.0, low=18, high=50)
    for name, points in CLIPS.items():
        answer, probed = searched(goal, measured(points), 30)
        assert answer is not None and len(probed) <= 3, name
        assert abs(answer.score - 95.0) <= 0.5, name
        again, probed = searched(goal, measured(points), answer.crf)
        assert again is not None and (again.crf, probed) == (answer.crf, [answer.crf]), name


@st.composite
def curves(draw: st.DrawFn) -> Curve:
    drops = draw(st.lists(st.floats(0.0, 1.5), min_size=8, max_size=8))  # each for 8 steps of the CRF
    shrinks = draw(st.lists(st.floats(0.01, 0.15), min_size=8, max_size=8))
    best, size = draw(st.floats(60.0, 100.0)), draw(st.floats(1e3, 1e9))
    scores = list(accumulate((-drops[step // 8] for step in range(63)), initial=best))
    sizes = [size * math.exp(sums) for sums in accumulate((-shrinks[step // 8] for step in range(63)), initial=0.0)]
    return lambda crf: Probe(crf, scores[crf], sizes[crf])


BOUNDS = st.tuples(st.integers(1, 40), st.integers(0, 23)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # however busy the machine is
@given(curves(), BOUNDS, st.integers(1, 63), st.floats(50.0, 99.0))
def test_answer_is_next_to_the_target_whatever_the_curve(
    curve: Curve, bounds: tuple[int, int], start: int, target: float
) -> None:
    goal = Goal(target=target, low=bounds[0], high=bounds[1])
    answer, probed = searched(goal, curve, start)
    assert len(probed) <= MOST_PROBES
    if answer is None:
        return  # four steps did not come near it
    true = curve(answer.crf)
    if answer.reason == "bound":
        is_low = answer.crf == goal.low and true.score <= target
        assert is_low or (answer.crf == goal.high and true.score >= target)
    elif answer.crf in probed:
        is_next = answer.crf + 1 > goal.high or curve(answer.crf + 1).score <= target
        assert abs(true.score - target) <= goal.tolerance or (true.score >= target and is_next)
    else:  # interpolated: within what was measured
        left, right = max(c for c in probed if c < answer.crf), min(c for c in probed if c > answer.crf)
        assert curve(left).score >= target >= curve(right).score


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # however busy the machine is
@given(curves(), BOUNDS, st.integers(1, 63), st.floats(50.0, 99.0))
def test_whole_encodes_are_few_and_the_nearest_of_them_is_the_answer(
    curve: Curve, bounds: tuple[int, int], start: int, target: float
) -> None:
    goal = Goal(target=target, low=bounds[0], high=bounds[1], tolerance=1.0, is_whole=True)
    answer, probed = searched(goal, curve, start)
    assert answer is not None and answer.crf in probed and len(probed) <= MOST_WHOLE
    if answer.reason in {"reached", "nearest"}:
        assert abs(answer.score - target) == min(abs(curve(crf).score - target) for crf in probed)


def test_search_that_knows_nothing_begins_where_most_videos_end() -> None:
    answers = [searched(Goal(target=95.0, low=1, high=63), measured(points), 30)[0] for points in CLIPS.values()]
    found = sorted(answer.crf for answer in answers if answer)
    assert found[1] <= usual_start(95.0) <= found[-2] and usual_start(97.0) < 35 < 45 < usual_start(90.0)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # however busy the machine is
@given(curves(), BOUNDS, st.integers(1, 63), st.floats(50.0, 99.0), st.floats(0.02, 3.0), st.floats(0.0, 95.0))
def test_size_is_what_it_may_be_or_the_floor_is_why_it_is_not(
    curve: Curve, bounds: tuple[int, int], start: int, target: float, share: float, floor: float
) -> None:
    first = max(bounds[0], min(bounds[1], start))
    goal = Goal(target=target, low=bounds[0], high=bounds[1], largest=curve(first).size * share, floor=floor)
    answer, probed = searched(goal, curve, start)
    if answer is None:
        return
    assert goal.largest is not None
    if answer.fits:
        assert answer.size <= goal.largest
        if answer.crf in probed:
            assert curve(answer.crf).size <= goal.largest
        assert answer.reason != "size" or answer.score >= floor
    elif answer.crf in probed and answer.crf < goal.high:
        # Whatever was probed and holds the floor is too big.
        assert all(curve(crf).size > goal.largest for crf in probed if curve(crf).score >= floor)


def test_a_size_alone_is_searched_without_a_target() -> None:
    goal = Goal(target=None, low=18, high=55, largest=5e5, floor=80.0)
    answer, probed = searched(goal, measured(CLIPS["web"]), 30)
    assert answer is not None and answer.reason == "size" and answer.crf in {42, 43, 44} and probed[0] == 30
    kept, _ = searched(Goal(target=None, low=18, high=55, largest=2e6, floor=80.0), measured(CLIPS["web"]), 30)
    assert kept is not None and kept.crf == 30 and kept.reason == "reached"


def test_target_that_would_be_too_big_is_not_probed() -> None:
    """As for each next video of a folder: it begins at the CRF that fitted the one before it."""
    goal = Goal(target=95.0, low=18, high=45, largest=measured(CLIPS["3d"])(36).size, floor=80.0)
    answer, probed = searched(goal, measured(CLIPS["3d"]), 37)
    assert answer is not None and (answer.crf, answer.reason, probed) == (37, "size", [37])
    assert searched(replace(goal, largest=1e7), measured(CLIPS["3d"]), 37)[1] != [37]


def test_what_can_not_be_smaller_is_the_smallest_that_holds_the_floor() -> None:
    goal = Goal(target=95.0, low=18, high=60, largest=1e5, floor=90.0)
    answer, _ = searched(goal, measured(CLIPS["3d"]), 30)
    assert answer is not None and not answer.fits
    assert answer.score >= 90.0 and abs(answer.score - 90.0) < 0.5


def test_scores_that_rise_with_the_crf_are_no_answer() -> None:
    goal = Goal(target=95.0, low=1, high=63)
    assert next_step(goal, [Probe(20, 80.0, 1.0), Probe(30, 99.0, 1.0)], 20) is None
    assert next_step(goal, [Probe(20, math.nan, 1.0)], 20) is None
    assert next_step(goal, [Probe(20, 95.0, 0.0)], 20) is None


def test_a_whole_encode_corrects_what_samples_said_of_sizes() -> None:
    probes = [Probe(30, 97.0, 1000.0), Probe(42, 94.0, 500.0)]
    corrected = scaled(probes, Probe(36, 95.6, 1414.2))
    assert round(size_at(corrected, 42)) == 1000 and round(size_at(corrected, 36)) == 1414


def test_score_that_does_not_change_is_followed_to_the_end() -> None:
    flat = measured({1: 60.0, 63: 60.0})
    answer, probed = searched(Goal(target=50.0, low=1, high=16), flat, 1)
    assert answer is not None and (answer.crf, answer.reason, probed) == (16, "bound", [1, 15, 16])
