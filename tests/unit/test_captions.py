"""Scripts of captions → texts on the result's clock; codes → whether there is more than one standard's."""

import pytest

from tools.media.captions import has_services, lines_of

HEAD = ["[Events]", "Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text"]


def event(begin: str, end: str, text: str) -> str:
    return f"Dialogue: 0,{begin},{end},Default,,0,0,0,,{text}"


def test_texts_that_show_nothing_are_left_out_and_the_others_moved() -> None:
    shown = event("1:00:01.50", "1:00:02.00", r"{\an7}{\pos(38,243)}A, B")
    script = [*HEAD, shown, event("0:00:00.10", "0:00:00.20", r"{\an7}\N "), "Dialogue: garbage"]
    head, texts = lines_of(script, -1.4)
    (begin, text) = texts[0]
    assert head == HEAD and len(texts) == 1 and begin == pytest.approx(3600.1)
    assert text == event("1:00:00.10", "1:00:00.60", r"{\an7}{\pos(38,243)}A, B")
    assert lines_of(script, 0.0)[1][0][1] == shown
    assert lines_of([event("0:00:01.00", "0:00:02.00", "early")], -9.0)[1] == [
        (0.0, event("0:00:00.00", "0:00:00.00", "early"))
    ]


@pytest.mark.parametrize(
    ("codes", "is_there"),
    [
        (b"\xfc\x94\x20\xfd\x80\x80", False),
        (b"\xfc\x94\x20\xfa\0\0\xf8\0\0", False),  # not valid: padding
        (b"\xff\0\0\xfe\0\0", False),
        (b"\xfc\x80\x80\xff\x02\x21\xfe\x41\0", True),
        (b"\xff\x02", False),
    ],
)
def test_text_of_cea_708_is_told_from_padding(codes: bytes, is_there: bool) -> None:
    assert has_services(codes) == is_there
