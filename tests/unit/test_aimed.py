"""What a record says of the aim of its encode, whoever wrote it."""

import json

import pytest

from tools.core.aimed import aim_of, crf_of, is_bigger, saved_percent, start_of

FOUND = {"vmaf": 95.0, "crf": 33, "reason": "reached"}


@pytest.mark.parametrize(
    ("target", "crf"),
    [
        (FOUND, 33),
        (json.dumps(FOUND), 33),
        ({"vmaf": 95.0, "crf": 30, "not_found": "no VMAF"}, None),  # the fixed one, which tells a neighbour nothing
        ({**FOUND, "crf": 999}, None),
        ({**FOUND, "crf": "33"}, None),
        ({**FOUND, "crf": True}, None),
        ("[" * 100_000, None),
        ("[1]", None),
        ("", None),
        (None, None),
        (7, None),
    ],
)
def test_neighbour_begins_at_what_a_search_came_to(target: object, crf: int | None) -> None:
    assert crf_of({"target": target}) == start_of({"target": target}) == crf


def test_neighbour_begins_where_the_target_is_expected_if_no_encode_came_near_it() -> None:
    assert start_of({"target": {**FOUND, "reason": "nearest", "begin": 36}}) == 36
    for begin in (64, 0, "36", True, None):
        assert start_of({"target": {**FOUND, "begin": begin}}) == 33


def test_what_is_bigger_is_told_and_what_is_saved() -> None:
    assert is_bigger({"target": json.dumps({"bigger": "keep"})}) and not is_bigger({"target": json.dumps(FOUND)})
    assert aim_of({}) == {} and not is_bigger({})
    assert (saved_percent(200, 50), saved_percent(100, 150), saved_percent(0, 1)) == (75, -50, None)
