"""Pictures that change within a stream: what each becomes, what is said, and what is refused."""

from dataclasses import replace

import pytest

from tools.media.shapes import Shape, canvas, impossible, shape_filters, shape_warnings

SD = Shape("1.4", 720, 576, "64:45", "yuv420p", "", "bt470bg", "bt709", "bt709", "tv")
HD = Shape("9.5", 1920, 1080, "1:1", "yuv420p", "", "bt709", "bt709", "bt709", "tv")
OLD = replace(SD, begin="5.0", aspect="16:15")


def test_each_size_has_its_own_shape_of_pixels() -> None:
    # ffmpeg gives the later pictures the shape of the first one's pixels, so that it can't be asked for theirs.
    scale, *_ = [one for one in shape_filters([OLD, HD], 1.4) if "eval=frame" in one]
    assert "eq(iw,720)*eq(ih,576)*(1440)+eq(iw,1920)*eq(ih,1080)*(1920)" in scale  # 4:3 in 16:9 has bars at its sides


def test_time_tells_apart_what_differs_in_the_shape_of_pixels_alone() -> None:
    scale, pad, shape = shape_filters([SD, OLD, replace(SD, begin="7.0")], 1.4)
    assert scale.startswith("scale=w='1*(720)+gte(t,3.595000)*(-180)+gte(t,5.595000)*(180)'")
    assert pad.startswith("pad=720:576:") and shape == "setsar=64/45"


def test_pictures_of_one_shape_are_left_alone() -> None:
    assert canvas([SD, replace(SD, pix_fmt="yuv422p")]) is None
    assert shape_filters([SD, replace(SD, pix_fmt="yuv422p")], 0.0) == []


@pytest.mark.parametrize("unset", [True, False])
def test_colours_get_one_matrix_only_if_each_says_its_own(unset: bool) -> None:
    filters = shape_filters([replace(SD, matrix="" if unset else "smpte170m"), HD], 0.0)
    assert ("scale=out_color_matrix=bt709" in filters) == (not unset)
    assert "out_color_matrix" not in str(shape_filters([SD, replace(SD, matrix="smpte170m")], 0.0))  # the same numbers


@pytest.mark.parametrize(
    ("shapes", "is_jumpy", "said"),
    [
        ([SD, OLD], False, ""),
        ([SD, HD], True, ""),
        ([SD, OLD], True, "shape of its pixels changes at 5.0 s"),
        ([SD, replace(OLD, begin="N/A")], False, "shape of its pixels changes at N/A s"),
        ([HD, replace(HD, begin="12.5", transfer="arib-std-b67")], False, "from SDR to HDR at 12.5 s"),
        ([replace(HD, transfer="smpte2084"), replace(HD, begin="12.5")], False, "from HDR to SDR at 12.5 s"),
    ],
)
def test_what_one_stream_can_not_hold_is_refused_with_its_time(shapes: list[Shape], is_jumpy: bool, said: str) -> None:
    found = impossible(shapes, is_jumpy=is_jumpy)
    assert said in found and bool(said) == bool(found)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (replace(SD, begin="8.0", pix_fmt="yuv422p"), "yuv422p (bt470bg/bt709/tv) from 8.0 s"),
        (replace(SD, begin="8.0", range="pc"), "/pc) from 8.0 s"),
        (replace(SD, begin="8.0", interlaced="top"), "interlaced (top field first) from 8.0 s"),
        (
            replace(SD, begin="8.0", primaries="bt470bg"),
            "primaries of the colours are marked as those of its beginning",
        ),
        (HD, "all are encoded at 1920x1080 in their own shape"),
    ],
)
def test_all_changes_are_told(other: Shape, said: str) -> None:
    assert said in "\n".join(shape_warnings(0, [SD, other]))
