"""Scripts of captions → texts on the result's clock; codes → which channels and services have letters."""

import pytest

from tools.media.caption_codes import UNKNOWN, channels_in
from tools.media.captions import lines_of

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
    ("codes", "found"),
    [
        ("fc9420 fd8080", []),
        ("fa9420 fac1c2 f80000", []),  # not valid: padding
        ("ff0000 fe0000 ff02", []),
        ("fc9420 fcc1c2 fc942f", ["CC1"]),
        ("fc1420 fc4142 fc1c20 fc4142 fc1470 fc4142", ["CC1", "CC2"]),  # each code says whose what follows is
        ("fd1520 fd4142 fd1d20 fd4142", ["CC3", "CC4"]),
        ("fc142a fc1470 fc4142 fc1c2b fc4142", ["T1", "T2"]),
        ("fc1420 fc1130 fc1420", ["CC1"]),  # a special letter
        ("fc1420 fc2020 fc112e", []),
        ("fc4142", [UNKNOWN]),
        ("fd0103 fd4142 fd0f21", []),  # XDS, which field 2 carries beside the captions
        ("fd0103 fd4142 fd0f21 fd1520 fd4142", ["CC3"]),
        ("ff0321 fe4100 fe0000", ["CEA-708 service 1"]),
        ("ff0322 fe8641 fe4100", ["CEA-708 service 1"]),
        ("ff0323 fe8c41 fe0300", []),  # a parameter that looks like a letter
        ("ff03e1 fe0541 fe0000", ["CEA-708 service 5"]),  # an extended number is another byte
        ("ff0321 fe4100 ff0341 fe4200 fc1420 fc4142", ["CC1", "CEA-708 service 1", "CEA-708 service 2"]),
        ("ff02", []),
        ("fe4141", []),  # the rest of a packet that began before
    ],
)
def test_channels_and_services_with_letters_are_told(codes: str, found: list[str]) -> None:
    assert channels_in(bytes.fromhex(codes)) == found
