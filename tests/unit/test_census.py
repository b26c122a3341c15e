"""What counts as a lost or moved picture, for cases of which no encoder here makes such a file."""

from array import array

from tools.media.census import frames
from tools.media.facts import Facts, Stream
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
