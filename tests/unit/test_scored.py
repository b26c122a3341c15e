"""Which pictures are scored."""

from itertools import pairwise

import pytest

from tools.media.scored import Choice, choice

HD, UHD = 1920 * 1080 * 3, 3840 * 2160 * 3  # bytes of a picture of 10 bits


def _taken(chosen: Choice, times: list[float]) -> list[int]:
    return [number for number, time in enumerate(times) if any(one.has(time - times[0]) for one in chosen.groups)]


@pytest.mark.parametrize(
    ("pictures", "size", "groups"),
    [(240, HD, 3), (240, HD // 9, 7), (34_000, HD, 16), (34_000, UHD, 5), (720, HD // 2, 9), (24, UHD, 3)],
)
def test_groups_of_three_are_spread_from_the_first_picture_to_the_last(pictures: int, size: int, groups: int) -> None:
    times = [5 + number / 24 for number in range(pictures)]
    chosen = choice(times, size)
    taken = _taken(chosen, times)
    assert len(chosen.groups) == groups and len(taken) == 3 * groups <= chosen.most
    assert taken[:3] == [0, 1, 2] and taken[-3:] == [pictures - 3, pictures - 2, pictures - 1]
    gaps = [after - before for before, after in pairwise(taken[::3])]
    assert max(gaps) - min(gaps) <= 1


@pytest.mark.parametrize("pictures", [0, 1, 2, 9, 48])
def test_of_few_small_pictures_all_are_scored(pictures: int) -> None:
    times = [number / 24 for number in range(pictures)]
    chosen = choice(times, 1000)
    assert len(chosen.groups) == 1 and _taken(chosen, times) == [*range(pictures)]


def test_largest_pictures_are_a_few_of_both_ends_and_no_file_has_more_than_is_allowed() -> None:
    times = [number / 24 for number in range(34_000)]
    assert _taken(choice(times, 4 * UHD), times) == [0, 33_998, 33_999]
    assert max(choice(times, size).largest_file for size in (1, 1000, HD, UHD, 4 * UHD)) < 450_000_000


@pytest.mark.parametrize("moved", [-0.0005, 0.0005])
def test_a_time_that_is_rounded_in_another_way_chooses_the_same_pictures(moved: float) -> None:
    times = [number / 60 for number in range(1000)]
    chosen = choice(times, HD)
    assert _taken(chosen, [time + moved * (number % 2) for number, time in enumerate(times)]) == _taken(chosen, times)


def test_pictures_that_crowd_where_they_are_taken_are_cut_off() -> None:
    chosen = choice([number / 24 for number in range(240)], HD)
    assert chosen.expression("t").startswith("(gte(t,-1.000000)*lt(t,0.104167)+gte(t,")
    assert chosen.expression("t").endswith("*lt(selected_n,9)")
