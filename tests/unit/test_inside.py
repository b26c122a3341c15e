"""What ffmpeg says of each picture → how many carry what, since when, what changes; and what people are told of it."""

from pathlib import Path

import pytest

from tests.unit.test_encoding import facts, video
from tools.media.inside import Inside
from tools.media.plan import make_plan

AFD, RPU, PLUS = "Active format description", "Dolby Vision RPU Data", "HDR Dynamic Metadata SMPTE2094-40 (HDR10+)"
OWN = "[Parsed_showinfo_1 @ 0x5f] "
LIGHT = "Content light level metadata"


def seen(pictures: int, **carried: dict[int, str]) -> Inside:
    """So many pictures, 24 per second, with these values of side data by picture."""
    inside = Inside()
    for number in range(pictures):
        inside.line(f"[Parsed_showinfo_1 @ 0x5f] n:{number:4d} pts:{number:7d} pts_time:{number / 24:.4f} fmt:yuv420p")
        for name, values in carried.items():
            if number in values:
                inside.line(f"[Parsed_showinfo_1 @ 0x5f]   side data - {name}: {values[number]}")
                inside.line(f"[Parsed_showinfo_1 @ 0x5f]   side data - {name}: again")
    return inside


def said(inside: Inside) -> list[str]:
    film = video()
    film.inside = inside
    return make_plan(facts(film)).warnings()


def test_pictures_are_counted_once_for_each_kind() -> None:
    inside = seen(48, **{RPU: dict.fromkeys(range(12, 48), ""), AFD: {40: "8"}})
    assert (inside.pictures, inside.count(RPU), inside.count(AFD), inside.count(PLUS)) == (48, 36, 1, 0)
    assert inside.kinds[RPU].first == pytest.approx(0.5) and inside.kinds[RPU].changed is None


def test_what_begins_late_is_named() -> None:
    assert said(seen(48)) == []
    assert said(seen(48, **{AFD: {40: "8"}})) == ["stream 0: the active format description of the pictures is not kept"]


def test_what_only_some_pictures_have_is_told_with_its_number() -> None:
    assert not [line for line in said(seen(48, **{RPU: dict.fromkeys(range(48), "")})) if "pictures" in line]
    lines = said(seen(48, **{RPU: dict.fromkeys(range(12, 48), "")}))
    assert "stream 0: Dolby Vision is in 36 of 48 pictures, first at 0.5 s" in lines


def test_values_of_hdr10_that_change_on_the_way_are_told() -> None:
    assert said(seen(48, **{LIGHT: dict.fromkeys(range(48), "MaxCLL=1000")})) == []
    values = {number: "MaxCLL=1000" if number < 24 else "MaxCLL=400" for number in range(48)}
    assert said(seen(48, **{LIGHT: values})) == [
        "stream 0: its HDR10 values change at 1.0 s, the result has the first ones"
    ]


def test_messages_that_the_decoder_refuses_are_told() -> None:
    inside = seen(2)
    inside.line("[hevc @ 0x55] Skipping invalid undecodable NALU: 39")
    inside.line("[hevc @ 0x55] Skipping invalid undecodable NALU: 1")
    assert said(inside) == ["stream 0: 1 or more SEI messages of its pictures can't be read and are not kept"]


def test_no_line_of_ffmpeg_s_harms(tmp_path: Path) -> None:
    inside = Inside()
    for line in (
        "",
        f"{OWN}  side data - ",
        f"{OWN}  side data - :",
        f"{OWN}n: 1 pts:NOPTS pts_time:NOPTS",
        f"{OWN}n: 2 pts: 1 pts_time:x",
        "    title           : E1 n: 0 pts: 0 pts_time:0.5 ",
        f"    title           : {OWN}n: 0 pts: 0 pts_time:0.5 ",
        "    title           :  side data - Dolby Vision RPU Data: x",
        "\0",
    ):
        inside.line(line)
    for number in range(1000):
        inside.line(f"{OWN}  side data - {number}: x")
    assert inside.pictures == 2 and RPU not in inside.kinds and 90 < len(inside.kinds) <= 100
