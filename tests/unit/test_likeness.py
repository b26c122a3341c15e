"""Thumbnails of source and result → where the pictures differ."""

import random
from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest

from tools.media.likeness import Thumbnail, difference

_WIDTH, _HEIGHT, _RATE = 32, 32, 24
Change = Callable[[Thumbnail], Thumbnail]


def _planes(number: int) -> tuple[bytes, bytes, bytes]:
    """A gradient that moves, with colours that have nothing to do with it."""
    luma = [60 + (7 * (x + number) + 11 * y) % 120 for y in range(_HEIGHT) for x in range(_WIDTH)]
    places = [(x, y) for y in range(_HEIGHT // 2) for x in range(_WIDTH // 2)]
    chroma = [110 + (13 * x + 5 * y + number) % 40 for x, y in places], [100 + (3 * x + 17 * y) % 50 for x, y in places]
    return bytes(luma), bytes(chroma[0]), bytes(chroma[1])


SOURCE = [Thumbnail(number / _RATE, _WIDTH, _planes(number)) for number in range(72)]


def _noisy(pictures: Sequence[Thumbnail], shift: float = 0.0) -> list[Thumbnail]:
    """As a sound encoder makes them: coding noise, times in milliseconds."""
    rng = random.Random(1)

    def plane(values: bytes) -> bytes:
        return bytes(min(255, max(0, value + rng.choice((-1, 0, 0, 1)))) for value in values)

    def noisy(planes: tuple[bytes, bytes, bytes]) -> tuple[bytes, bytes, bytes]:
        return plane(planes[0]), plane(planes[1]), plane(planes[2])

    return [Thumbnail(round(one.time + shift, 3), one.width, noisy(one.planes)) for one in pictures]


@pytest.mark.parametrize("shift", [0.0, 0.017, 5.0])
def test_coding_noise_and_rounded_times_on_another_clock_are_no_difference(shift: float) -> None:
    assert difference(SOURCE, _noisy(SOURCE, shift), 10.0) is None


def test_noise_of_a_tiny_picture_is_no_other_hue() -> None:
    tiny = [Thumbnail(one.time, 16, (one.planes[0][:256], one.planes[1][:64], one.planes[2][:64])) for one in SOURCE]
    assert difference(tiny, [_mixed(one) for one in tiny], 1.0) is None
    assert difference(tiny, [_lifted(one, 1, 20) for one in tiny], 1.0) is not None


def _mixed(one: Thumbnail) -> Thumbnail:
    """A hue that is 10 degrees off, about."""
    u, v = one.planes[1:]
    return Thumbnail(
        one.time,
        one.width,
        (
            one.planes[0],
            bytes(round(128 + 0.98 * (a - 128) + 0.17 * (b - 128)) for a, b in zip(u, v, strict=True)),
            bytes(round(128 + 0.98 * (b - 128) - 0.17 * (a - 128)) for a, b in zip(u, v, strict=True)),
        ),
    )


def _lifted(one: Thumbnail, plane: int, levels: int) -> Thumbnail:
    planes = list(one.planes)
    planes[plane] = bytes(value + levels for value in planes[plane])
    return Thumbnail(one.time, one.width, (planes[0], planes[1], planes[2]))


@pytest.mark.parametrize(
    ("change", "at"),
    [
        pytest.param(lambda one: _lifted(one, 0, 5), 0.0, id="lighter"),
        pytest.param(lambda one: _lifted(one, 2, 5), 0.0, id="redder"),
        pytest.param(_mixed, 0.0, id="another hue"),
        pytest.param(lambda one: _lifted(one, 0, 60) if one.time > 2.95 else one, 2.958, id="the last picture alone"),
        pytest.param(lambda one: _lifted(one, 1, 5) if one.time >= 2.0 else one, 2.0, id="from some time on"),
    ],
)
def test_what_is_no_coding_noise_is_a_difference(change: Change, at: float) -> None:
    found = difference(SOURCE, _noisy([change(one) for one in SOURCE]), 10.0)
    assert found is not None and found.time == pytest.approx(at, abs=0.01) and not found.is_of_time


def test_pictures_of_another_time_are_a_difference() -> None:
    late = [Thumbnail(one.time, one.width, before.planes) for before, one in pairwise(SOURCE)]
    swapped = list(SOURCE)
    for here, there in ((40, 41), (41, 40)):
        swapped[here] = Thumbnail(SOURCE[here].time, _WIDTH, SOURCE[there].planes)
    for pictures, first in ((late, 1), (swapped, 40)):
        found = difference(SOURCE, _noisy(pictures), 10.0)
        assert found is not None and found.time == pytest.approx(first / _RATE, abs=0.01) and found.is_of_time


def test_a_result_without_pictures_is_a_difference() -> None:
    missing = difference(SOURCE, [], 10.0)
    assert missing is not None and missing.is_missing
