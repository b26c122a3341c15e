"""The command line of each encoder, to the letter; which one is preferred, and what is said about the choice."""

from pathlib import Path
from typing import Any

import pytest

import config
from tools.media.choice import Trial, chosen, failures, not_used, ranked, warning_about
from tools.media.encoders import BY_NAME, Encoder
from tools.media.encoding import OutputOptions, encoder_arguments
from tools.media.facts import Stream

HDR: dict[str, dict[str, Any]] = {
    "Mastering display metadata": {
        **{"green_x": "13250/50000", "green_y": "34500/50000", "blue_x": "7500/50000", "blue_y": "3000/50000"},
        **{"red_x": "34000/50000", "red_y": "16000/50000", "white_point_x": "15635/50000"},
        **{"white_point_y": "16450/50000", "max_luminance": "10000000/10000", "min_luminance": "50/10000"},
    },
    "Content light level metadata": {"max_content": 1000, "max_average": 400},
}
SHAPES: dict[str, dict[str, Any]] = {
    "episode": {"pix_fmt": "yuv420p", "width": 1920, "height": 1080, "avg_frame_rate": "24000/1001"},
    "full": {"pix_fmt": "yuvj420p", "width": 192, "height": 108, "avg_frame_rate": "25/1", "color_range": "pc"},
    "rgb": {"pix_fmt": "gbrp", "width": 320, "height": 180, "avg_frame_rate": "300/1"},
    "hdr": {"pix_fmt": "yuv420p10le", "width": 3840, "height": 2160, "avg_frame_rate": "24/1"},
}


def stream(shape: str) -> Stream | None:
    if shape == "trial":
        return None
    return Stream(0, "video", "h264", SHAPES[shape], packets=240, hdr=HDR if shape == "hdr" else {})


OLD = {"svt_version": (1, 4, 1), "generation": 0}
CASES: list[tuple[str, dict[str, Any], dict[str, Any], str, int | None, int, tuple[str, ...]]] = [
    ("libsvtav1", {"svt_version": (4, 2, 0)}, {}, "trial", None, 0, ()),
    ("libsvtav1", {"svt_version": (4, 2, 0)}, {}, "episode", 4, 0, ()),
    ("libsvtav1", {"svt_version": (4, 2, 0)}, {"crf": 27.6}, "hdr", None, 0, ("bwdif",)),
    ("libsvtav1", {"svt_version": (4, 2, 0)}, {"pix_fmt": "yuv420p"}, "rgb", 1, 2, ("scale", "setpts=PTS-STARTPTS")),
    ("libsvtav1", OLD, {}, "trial", None, 0, ()),
    ("libsvtav1", OLD, {"preset": 12}, "full", 8, 1, ()),
    ("libaom-av1", {}, {}, "trial", None, 0, ()),
    ("libaom-av1", {}, {"preset": 10}, "full", 2, 0, ("scale",)),
    ("libaom-av1", {}, {}, "rgb", None, 1, ()),
    ("av1_nvenc", {}, {}, "trial", None, 0, ()),
    ("av1_nvenc", {}, {"pix_fmt": "yuv420p"}, "hdr", 2, 0, ("bwdif",)),
    ("av1_qsv", {}, {}, "trial", None, 0, ()),
    ("av1_qsv", {}, {"crf": 40.0}, "full", 2, 3, ()),
    ("av1_vaapi", {}, {}, "trial", None, 0, ()),
    ("av1_vaapi", {}, {"pix_fmt": "yuv420p"}, "rgb", 2, 0, ("bwdif",)),
]


def shown(case: tuple[Any, ...]) -> str:
    name, about, chosen, shape, threads, number, filters = case
    encoder = Encoder(name=name, ffmpeg=Path("ffmpeg"), **about)
    options = OutputOptions(**chosen)
    before, after = encoder_arguments(
        encoder, options, source=stream(shape), threads=threads, stream=number, filters=filters
    )
    return " ".join([*before, "|", *after])


COMMANDS = [
    (
        "| -c:v:0 libsvtav1 -g:v:0 240 -pix_fmt:v:0 yuv420p10le -preset:v:0 6 -crf:v:0 30 -svtav1-params:v:0 "
        "enable-variance-boost=1:tf-strength=1"
    ),
    (
        "| -c:v:0 libsvtav1 -g:v:0 240 -pix_fmt:v:0 yuv420p10le -preset:v:0 6 -crf:v:0 30 -svtav1-params:v:0 "
        "enable-variance-boost=1:tf-strength=1:lp=3"
    ),
    (
        "| -c:v:0 libsvtav1 -g:v:0 240 -pix_fmt:v:0 yuv420p10le -preset:v:0 6 -crf:v:0 28 -svtav1-params:v:0 "
        "enable-variance-boost=1:tf-strength=1:mastering-display=G(0.26500,0.69000)"
        "B(0.15000,0.06000)R(0.68000,0.32000)WP(0.31270,0.32900)L(1000.00000,0.00500):content-light=1000,400 "
        "-filter:v:0 bwdif"
    ),
    (
        "| -c:v:2 libsvtav1 -g:v:2 2400 -pix_fmt:v:2 yuv420p -preset:v:2 6 -crf:v:2 30 -svtav1-params:v:2 "
        "enable-variance-boost=1:tf-strength=1:lp=1:fps-num=240:fps-denom=1 -color_range:v:2 tv -colorspace:v:2 bt709 "
        "-filter:v:2 scale,setpts=PTS-STARTPTS"
    ),
    "| -c:v:0 libsvtav1 -g:v:0 240 -pix_fmt:v:0 yuv420p10le -preset:v:0 8 -crf:v:0 30",
    (
        "| -c:v:1 libsvtav1 -g:v:1 250 -pix_fmt:v:1 yuv420p10le -preset:v:1 13 -crf:v:1 30 -svtav1-params:v:1 "
        "lp=8 -color_range:v:1 pc"
    ),
    (
        "| -c:v:0 libaom-av1 -g:v:0 240 -pix_fmt:v:0 yuv420p10le -crf:v:0 30 -b:v:0 0 -cpu-used:v:0 6 "
        "-row-mt:v:0 1 -tiles:v:0 2x1"
    ),
    (
        "| -c:v:0 libaom-av1 -g:v:0 250 -pix_fmt:v:0 yuv420p10le -crf:v:0 30 -b:v:0 0 -cpu-used:v:0 8 "
        "-row-mt:v:0 1 -threads:v:0 2 -color_range:v:0 pc -filter:v:0 scale"
    ),
    (
        "| -c:v:1 libaom-av1 -g:v:1 2400 -pix_fmt:v:1 yuv420p10le -crf:v:1 30 -b:v:1 0 -cpu-used:v:1 6 "
        "-row-mt:v:1 1 -tiles:v:1 2x1 -color_range:v:1 tv -colorspace:v:1 bt709"
    ),
    (
        "| -c:v:0 av1_nvenc -g:v:0 240 -pix_fmt:v:0 p010le -preset:v:0 p7 -tune:v:0 hq -rc:v:0 vbr -cq:v:0 30 "
        "-b:v:0 0 -multipass:v:0 fullres -spatial-aq:v:0 1 -temporal-aq:v:0 1 -rc-lookahead:v:0 32"
    ),
    (
        "| -c:v:0 av1_nvenc -g:v:0 240 -pix_fmt:v:0 nv12 -preset:v:0 p7 -tune:v:0 hq -rc:v:0 vbr -cq:v:0 30 "
        "-b:v:0 0 -multipass:v:0 fullres -spatial-aq:v:0 1 -temporal-aq:v:0 1 -rc-lookahead:v:0 32 "
        "-filter:v:0 bwdif"
    ),
    "| -c:v:0 av1_qsv -g:v:0 240 -pix_fmt:v:0 p010le -preset:v:0 slower -global_quality:v:0 30",
    ("| -c:v:3 av1_qsv -g:v:3 250 -pix_fmt:v:3 p010le -preset:v:3 slower -global_quality:v:3 40 -color_range:v:3 pc"),
    (
        "-init_hw_device vaapi=card -filter_hw_device card | -c:v:0 av1_vaapi -g:v:0 240 -rc_mode:v:0 CQP "
        "-global_quality:v:0 121 -filter:v:0 format=p010le,hwupload"
    ),
    (
        "-init_hw_device vaapi=card -filter_hw_device card | -c:v:0 av1_vaapi -g:v:0 2400 -rc_mode:v:0 CQP "
        "-global_quality:v:0 121 -color_range:v:0 tv -colorspace:v:0 bt709 -filter:v:0 "
        "bwdif,format=nv12,hwupload"
    ),
]


@pytest.mark.parametrize(("case", "command"), list(zip(CASES, COMMANDS, strict=True)))
def test_command_of_each_encoder_stays_as_it_is(case: tuple[Any, ...], command: str) -> None:
    assert shown(case) == command


def trial(name: str, svt: tuple[int, ...] | None = None, ffmpeg: str = "/usr/bin/ffmpeg", reason: str = "") -> Trial:
    """One that works, with ``svt`` as its version, or one that does not, for a reason."""
    path = Path(ffmpeg)
    usable = None if reason else Encoder(name=name, ffmpeg=path, svt_version=svt or ())
    return Trial(path, "5.1", name, not reason, reason, usable)


OURS = "/venv/imageio_ffmpeg/binaries/ffmpeg-linux-v9"
CARD = trial("av1_nvenc", reason="Cannot load libcuda.so.1.")


@pytest.mark.parametrize(
    ("names", "best"),
    [
        (["libaom-av1", "libsvtav1", "av1_vaapi"], "av1_vaapi"),
        (["av1_qsv", "av1_nvenc", "av1_vaapi"], "av1_nvenc"),
        (["libaom-av1", "libsvtav1"], "libsvtav1"),
    ],
)
def test_card_goes_before_software_and_svt_before_aom(names: list[str], best: str) -> None:
    assert ranked([trial(name) for name in names])[0].name == best


@pytest.mark.parametrize(
    ("versions", "order"),
    [
        ([(1, 4, 1), (4, 2, 0)], [1, 0]),
        ([(4, 2, 0), (4, 10, 0)], [1, 0]),
        ([(), (1, 4, 1)], [1, 0]),  # a version that nobody knows is preferred to none
        ([(), (4, 2, 0), (1, 4, 1)], [1, 2, 0]),
        ([(4, 2, 0), (4, 2, 0)], [0, 1]),
    ],
)
def test_newest_svt_goes_first_and_an_unknown_one_last(versions: list[tuple[int, ...]], order: list[int]) -> None:
    trials = [trial("libsvtav1", version, f"/{place}/ffmpeg") for place, version in enumerate(versions)]
    assert [encoder.ffmpeg for encoder in ranked(trials)] == [Path(f"/{place}/ffmpeg") for place in order]


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ([], ""),
        ([trial("libaom-av1")], ""),  # second to it anyway
        ([CARD], "; not used: av1_nvenc: Cannot load libcuda.so.1"),
        ([trial("libsvtav1", (1, 4, 1))], "; not used: ffmpeg 5.1 (/usr/bin/ffmpeg): SVT-AV1 1.4.1 is older"),
        ([trial("libsvtav1", (4, 2, 0))], "; not used: ffmpeg 5.1 (/usr/bin/ffmpeg): SVT-AV1 4.2.0 is not newer"),
        ([trial("libsvtav1")], "; not used: ffmpeg 5.1 (/usr/bin/ffmpeg): does not tell its version of SVT-AV1"),
        ([trial("libsvtav1", reason="x" * 200)], f"; not used: ffmpeg 5.1 (/usr/bin/ffmpeg): {'x' * 79}…"),
        (
            [trial("libsvtav1", reason=f'"{"x" * 200}"')],
            f'; not used: ffmpeg 5.1 (/usr/bin/ffmpeg): "{"x" * 77}…"',
        ),
        ([CARD, trial("av1_nvenc", ffmpeg=OURS, reason="no driver")], "; not used: av1_nvenc: no driver"),
    ],
)
def test_choice_is_told_with_the_reasons_against_the_others(others: list[Trial], said: str) -> None:
    trials = [*others, trial("libsvtav1", (4, 2, 0), OURS)]
    if any(one.usable and one.usable.svt_version == (4, 2, 0) for one in others):
        trials.reverse()  # the first of equals
    assert chosen(trials) == "libsvtav1 SVT-AV1 4.2.0 of ffmpeg 5.1 (bundled)"
    assert not_used(trials) == said


def test_reason_that_all_have_in_common_is_told_once() -> None:
    trials = [trial(name, reason="no permission") for name in ("av1_nvenc", "libsvtav1")]
    trials.append(trial("libsvtav1", ffmpeg=OURS, reason="no memory"))
    both = "av1_nvenc, libsvtav1 of ffmpeg 5.1 (/usr/bin/ffmpeg): no permission"
    assert failures(trials) == f"{both}; libsvtav1 of ffmpeg 5.1 (bundled): no memory"


@pytest.mark.parametrize(
    ("name", "version", "warned"),
    [
        ("libsvtav1", (4, 2, 0), ""),
        ("libsvtav1", (3, 0, 0), ""),
        ("libsvtav1", (2, 3, 0), "SVT-AV1 2.3.0 of /usr/bin/ffmpeg is much older than the bundled 4.2"),
        ("libsvtav1", (1, 4, 1), "SVT-AV1 1.4.1 of /usr/bin/ffmpeg is much older than the bundled 4.2"),
        ("libsvtav1", (), "the SVT-AV1 of /usr/bin/ffmpeg does not tell its version"),
        ("libaom-av1", (), ""),
    ],
)
def test_much_older_encoder_is_warned_of(name: str, version: tuple[int, ...], warned: str) -> None:
    said = warning_about(Encoder(name=name, ffmpeg=Path("/usr/bin/ffmpeg"), svt_version=version))
    assert said.startswith(warned) and bool(said) == bool(warned) and ("FFMPEG" in said) == bool(warned)


@pytest.mark.parametrize("name", ["auto", *BY_NAME])
def test_every_encoder_can_be_asked_for_by_its_name(name: str) -> None:
    assert config.Settings.load({"ENCODER": name}, {}, {}).encode.encoder == name
