"""What counts as a lost or moved picture, for cases of which no encoder here makes such a file."""

from array import array

import pytest

from tools.core.errors import VerifyError
from tools.media.census import check_source, frames
from tools.media.facts import Facts, Stream
from tools.media.matroska import Element, Head
from tools.media.matroska_census import head_differences
from tools.media.plan import Plan, StreamPlan


def video(times: list[float], codec: str = "h264", blanks: int = 0) -> Stream:
    facts = {"avg_frame_rate": "25/1", "field_order": "progressive"}
    return Stream(
        0, "video", codec, facts, len(times), blanks=blanks, begin=times[0], end=times[-1], times=array("d", times)
    )


def facts(stream: Stream) -> Facts:
    return Facts("", (stream,), (), {}, stream.end, 1000, "mov")


def judged(source: Stream, made: Stream) -> tuple[list[str], list[str]]:
    plan = Plan(facts(source), "transcode", (StreamPlan(source, "encode", "av1", ""),))
    return frames(plan, facts(made), 99)


EVEN = [number / 25 for number in range(100)]


def test_packets_that_say_as_before_are_no_lost_pictures() -> None:
    shown = [time for number, time in enumerate(EVEN) if number % 2 == 0]
    assert judged(video(EVEN, blanks=50), video(shown)) == ([], [])
    assert judged(video(EVEN, blanks=5), video(shown))[0] == ["only 55 of 100 frames decode"]
    apart = [time + 0.021 * (number > 20) for number, time in enumerate(shown)]
    assert not judged(video(EVEN, blanks=50), video(apart))[0]
    torn = [time + 1.0 * (number > 40) for number, time in enumerate(shown)]
    assert "moved" in judged(video(EVEN, blanks=50), video(torn))[0][0]


def test_two_pictures_may_give_way_but_no_more() -> None:
    def moved(count: int, by: float) -> list[float]:
        return sorted(time + by * (50 <= number < 50 + count) for number, time in enumerate(EVEN))

    assert judged(video(EVEN), video(moved(2, 0.06)))[0] == []
    assert judged(video(EVEN), video(moved(5, 0.06)))[0] == ["the time of a picture moved by 60 ms"]


def source_of(container: str, own: float | None) -> Plan:
    """4 s of pictures in a file of 9 s, most of it a data track; ``own``: the duration of the video's header, s."""
    shown = video(EVEN)
    header = shown.facts if own is None else {**shown.facts, "duration": own}
    shown = Stream(0, "video", "h264", header, len(EVEN), begin=0.0, end=EVEN[-1], times=array("d", EVEN))
    chapters = Stream(1, "data", "bin_data", {"duration": 9.0})
    return Plan(
        Facts("", (shown, chapters), (), {}, 9.0, 1000, container),
        "transcode",
        (StreamPlan(shown, "encode", "av1", ""),),
    )


def test_chapters_of_a_quicktime_file_may_outlast_its_pictures() -> None:
    assert check_source(source_of("mov", 4.0), 98.0) == []


@pytest.mark.parametrize(("container", "own"), [("mov", 9.0), ("mov", None), ("matroska", 4.0)])
def test_pictures_that_end_before_they_promise_are_cut(container: str, own: float | None) -> None:
    with pytest.raises(VerifyError, match=r"of 9\.0 s are there"):
        check_source(source_of(container, own), 98.0)


@pytest.mark.parametrize(("encoder", "is_missed"), [("Lavf58.76.100", False), ("采集卡 3", True)])
def test_only_its_own_name_may_be_left_out_by_ffmpeg_s_muxer(encoder: str, is_missed: bool) -> None:
    simple = Element("SimpleTag", "", (Element("TagName", "ENCODER"), Element("TagString", encoder)))
    tag = Element("Tag", "", (Element("Targets"), simple))
    before, after = (Facts("", (), (), {}, 1, 1000, head=Head(Element("Info"), tags=tags)) for tags in ((tag,), ()))
    assert bool(head_differences(Plan(before, "transcode", ()), after)) is is_missed
