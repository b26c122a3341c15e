"""Colours, sizes, shapes and times of pictures: kept as they are, or changed as the plan says."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.conversion import convert, refusal, stand_in
from tests.media import facts_of, ffmpeg, ffprobe, make, picture, streams_of, times_of, tone
from tools.media.converter import FfmpegConverter, MachineOptions, OutputOptions

X264 = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"]
FFV1 = ["-c:v", "ffv1"]
HDR = "log-level=none:hdr10=1:repeat-headers=1:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc"
HDR += ":master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1):max-cll=1000,400"
HLG = "log-level=none:colorprim=bt2020:transfer=arib-std-b67:colormatrix=bt2020nc"
COLOURS = ("color_range", "color_space", "color_transfer", "color_primaries")
OLD_FFMPEG = Path("/usr/bin/ffmpeg")


def tagged(primaries: str, transfer: str, matrix: str) -> list[str]:
    return ["-color_primaries", primaries, "-color_trc", transfer, "-colorspace", matrix, "-color_range", "tv"]


def video_of(path: Path) -> dict[str, object]:
    video: dict[str, object] = facts_of(path)["streams"][0]
    return video


def first_picture(path: Path) -> dict[str, dict[str, object]]:
    """Side data of the first picture by type."""
    command = [ffprobe(), "-v", "error", "-select_streams", "v:0", "-read_intervals", "%+#1", "-show_frames"]
    done = subprocess.run([*command, "-of", "compact=p=0:nk=0", str(path)], capture_output=True, text=True, check=True)
    return {name: {} for name in re.findall(r"side_data_type=([^|\n]+)", done.stdout)}


def mean_luma(path: Path) -> float:
    """Of the whole file, in 8 bits, as it is stored."""
    command = [ffmpeg(), "-nostdin", "-i", str(path), "-vf", "signalstats,metadata=print:file=-", "-f", "null", "-"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    values = [float(value) for value in re.findall(r"YAVG=([\d.]+)", said)]
    return sum(values) / len(values) / 4  # 10 bits


def old_converter() -> FfmpegConverter:
    """By Debian's ffmpeg, whose encoder lacks half of what the bundled one does by itself."""
    if not OLD_FFMPEG.exists():
        pytest.skip("no ffmpeg of a distribution here")
    return FfmpegConverter(OutputOptions(preset=10), MachineOptions(ffmpeg=str(OLD_FFMPEG)))


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("bt709.mp4", [*X264, *tagged("bt709", "bt709", "bt709")]),
        ("bt601.mp4", [*X264, *tagged("smpte170m", "smpte170m", "smpte170m")]),
        ("mixed.mkv", [*X264, *tagged("bt709", "smpte170m", "bt470bg")]),
        ("only-matrix.mkv", [*X264, "-colorspace", "bt709"]),
        ("unset.mkv", X264),
        ("hlg.mp4", ["-c:v", "libx265", "-pix_fmt", "yuv420p10le", "-x265-params", HLG]),
        ("hdr10.mkv", ["-c:v", "libx265", "-pix_fmt", "yuv420p10le", "-x265-params", HDR]),
    ],
)
def test_colour_fields_are_neither_lost_nor_invented(name: str, codec: list[str], tmp_path: Path) -> None:
    source = make([*picture(0.5), *codec], tmp_path / name)
    convert(source, tmp_path / "out.mkv")
    before, after = video_of(source), video_of(tmp_path / "out.mkv")
    for field in COLOURS[1:]:
        assert after.get(field) == before.get(field), field
    assert after["color_range"] == "tv" and after["pix_fmt"] == "yuv420p10le"


@pytest.mark.parametrize("which", ["bundled", "distribution"])
def test_hdr10_values_arrive(which: str, tmp_path: Path) -> None:
    source = make(
        [*picture(0.3), "-c:v", "libx265", "-pix_fmt", "yuv420p10le", "-x265-params", HDR], tmp_path / "h.mp4"
    )
    arguments = [old_converter()] if which == "distribution" else []
    convert(source, tmp_path / "out.mkv", *arguments)
    assert {"Mastering display metadata", "Content light level metadata"} <= set(first_picture(tmp_path / "out.mkv"))


@pytest.mark.parametrize("which", ["bundled", "distribution"])
@pytest.mark.parametrize(
    ("pix_fmt", "codec", "luma"),
    [
        ("yuvj420p", ["-c:v", "mjpeg", "-q:v", "2"], 255),
        ("yuv420p", X264, 235),
        ("gray", FFV1, 235),
        ("gbrp", FFV1, 235),
    ],
)
def test_white_stays_white(which: str, pix_fmt: str, codec: list[str], luma: float, tmp_path: Path) -> None:
    white = ["-f", "lavfi", "-i", "color=white:s=320x180:d=0.3,format=gbrp"]
    source = make([*white, *codec, "-pix_fmt", pix_fmt], tmp_path / "white.mkv")
    arguments = [old_converter()] if which == "distribution" else []
    convert(source, tmp_path / "out.mkv", *arguments)
    assert mean_luma(tmp_path / "out.mkv") == pytest.approx(luma, abs=3)
    assert video_of(tmp_path / "out.mkv")["color_range"] == ("pc" if luma == 255 else "tv")


@pytest.mark.parametrize(
    ("name", "codec", "warning"),
    [
        ("422.mkv", ["-c:v", "libx264", "-pix_fmt", "yuv422p10le"], "4:2:0"),
        ("444.mp4", ["-c:v", "libx264", "-pix_fmt", "yuv444p"], "4:2:0"),
        ("rgb.mkv", ["-c:v", "libx264rgb"], "matrix of BT.709"),
        ("bgr24.avi", ["-c:v", "rawvideo", "-pix_fmt", "bgr24"], "matrix of BT.709"),
        ("png.mov", ["-c:v", "png"], "matrix of BT.709"),
        ("argb.mov", ["-c:v", "qtrle", "-pix_fmt", "argb"], "alpha"),
        ("prores4444.mov", ["-c:v", "prores_ks", "-profile:v", "4444", "-pix_fmt", "yuva444p10le"], "alpha"),
        ("vp9.webm", ["-vf", "format=yuva420p", "-c:v", "libvpx-vp9", "-cpu-used", "8", "-auto-alt-ref", "0"], "alpha"),
        ("12bit.mkv", ["-c:v", "libx265", "-pix_fmt", "yuv420p12le", "-x265-params", "log-level=none"], "10 bits"),
        ("gray10.mkv", [*FFV1, "-pix_fmt", "gray10le"], None),
        ("pal8.avi", ["-vf", "format=rgb24,format=gray,format=pal8", "-c:v", "rawvideo", "-pix_fmt", "pal8"], "BT.709"),
    ],
)
def test_what_av1_can_not_hold_is_reduced_and_recorded(
    name: str, codec: list[str], warning: str | None, tmp_path: Path
) -> None:
    source = make([*picture(0.3), *codec], tmp_path / name)
    report = convert(source, tmp_path / "out.mkv")
    assert video_of(tmp_path / "out.mkv")["pix_fmt"] == "yuv420p10le"
    said = [line for line in report.warnings if "larger" not in line]
    assert any(warning in line for line in said) if warning else not said


@pytest.mark.parametrize("size", ["2x2", "3x3", "5x7", "16x16", "33x17", "64x64", "321x181", "640x2", "64x4096"])
@pytest.mark.parametrize("which", ["bundled", "distribution"])
def test_odd_sizes_stay_as_they_are(size: str, which: str, tmp_path: Path) -> None:
    width, height = size.split("x")
    cropped = f"testsrc2=size=1280x4096:duration=0.3:rate=24,format=yuv444p,crop={width}:{height}:0:0:exact=1"
    source = make(["-f", "lavfi", "-i", cropped, *FFV1], tmp_path / "odd.mkv")
    arguments = [old_converter()] if which == "distribution" else []
    report = convert(source, tmp_path / "out.mkv", *arguments)
    assert f"{report.width}x{report.height}" == size and report.frames in {7, 8}
    if which == "distribution" and size == "16x16":
        assert report.encoder == "libaom-av1" and any("next encoder" in line for line in report.warnings)


@pytest.mark.slow
def test_8k(tmp_path: Path) -> None:
    source = make([*picture(0.1, "7680x4320"), "-c:v", "mpeg4", "-q:v", "20"], tmp_path / "8k.mkv")
    report = convert(source, tmp_path / "out.mkv")
    assert (report.width, report.height) == (7680, 4320)


def test_pixels_that_are_not_square_keep_their_shape(tmp_path: Path) -> None:
    source = make([*picture(0.3, "720x480"), *X264, "-vf", "setsar=8/9"], tmp_path / "sar.mp4")
    convert(source, tmp_path / "out.mkv")
    assert video_of(tmp_path / "out.mkv")["display_aspect_ratio"] == "4:3"


@pytest.mark.parametrize("degrees", ["90", "180", "270"])
def test_rotation_is_done_once(degrees: str, tmp_path: Path) -> None:
    upright = make([*picture(0.3), *X264], tmp_path / "upright.mp4")
    source = make(["-display_rotation", degrees, "-i", str(upright), "-c", "copy"], tmp_path / "turned.mp4")
    convert(source, tmp_path / "out.mkv")
    video = video_of(tmp_path / "out.mkv")
    assert (video["width"], video["height"]) == ((320, 180) if degrees == "180" else (180, 320))
    assert "Display Matrix" not in str(video.get("side_data_list"))


@pytest.mark.parametrize("which", ["bundled", "distribution"])
@pytest.mark.parametrize("rate", ["1/10", "1", "120", "300", "1000"])
def test_any_rate_keeps_its_pictures_and_times(rate: str, which: str, tmp_path: Path) -> None:
    frames = 4
    seconds = frames / (0.1 if rate == "1/10" else float(rate))
    source = make([*picture(seconds, rate=rate), *X264, "-bf", "0"], tmp_path / "rate.mkv")
    arguments = [old_converter()] if which == "distribution" else []
    report = convert(source, tmp_path / "out.mkv", *arguments)
    assert report.frames == frames and report.encoder.startswith("libsvtav1")
    assert times_of(tmp_path / "out.mkv") == pytest.approx(times_of(source), abs=0.0011)


@pytest.mark.parametrize(("name", "frames"), [("one.mp4", 1), ("two.mkv", 2)])
def test_clips_of_one_and_two_pictures(name: str, frames: int, tmp_path: Path) -> None:
    source = make([*picture(0.5), *X264, "-frames:v", str(frames)], tmp_path / name)
    assert convert(source, tmp_path / "out.mkv").frames == frames


@pytest.mark.parametrize("name", ["vfr.mkv", "vfr.mp4", "vfr.wmv"])
def test_variable_rate_keeps_every_time_to_the_millisecond(name: str, tmp_path: Path) -> None:
    codec = ["-c:v", "wmv2"] if name.endswith("wmv") else ["-c:v", "libx264", "-bf", "2", "-pix_fmt", "yuv420p"]
    chosen = ["-vf", "select='not(mod(n,3))+lt(n,20)'", "-fps_mode", "vfr"]
    source = make([*picture(2), *chosen, *codec], tmp_path / name)
    convert(source, tmp_path / "out.mkv")
    before, after = times_of(source), times_of(tmp_path / "out.mkv")
    # Sources may begin after 0, which Matroska keeps or not; the steps are what a viewer sees.
    assert [time - after[0] for time in after] == pytest.approx([time - before[0] for time in before], abs=0.0021)


def test_times_between_those_of_the_guessed_rate_are_kept(tmp_path: Path) -> None:
    uneven = [
        "-vf",
        "settb=1/1000,setpts='N*100+17*mod(N\\,4)'",
        "-fps_mode",
        "passthrough",
        "-enc_time_base",
        "1:1000",
    ]
    source = make([*picture(2, rate="10"), *uneven, *X264, "-bf", "0"], tmp_path / "uneven.mkv")
    convert(source, tmp_path / "out.mkv")
    assert times_of(tmp_path / "out.mkv") == pytest.approx(times_of(source), abs=0.0011)


@pytest.mark.parametrize(
    ("filter_", "cause"),
    [
        ("setpts=PTS+gte(T\\,1)*0.1/TB", "moved"),
        ("setpts=PTS+0.3/TB", "moved"),
        ("select=not(between(t\\,0.5\\,1))", "only"),
        ("crop=318:178:0:0", "318x178"),
        ("scale=out_range=pc", "colour range"),
        ("setparams=colorspace=bt470bg", "color_space is bt470bg instead of unset"),
    ],
)
@pytest.mark.usefixtures("uncaged")
def test_gates_find_what_an_encoder_does_wrong(filter_: str, cause: str, tmp_path: Path) -> None:
    wrong = f'-filter:v "{filter_}" -color_range {"pc" if "range" in filter_ else "tv"}'
    rule = f"""case "$*" in *"-f matroska"*) exec "$real" "${{@:1:$#-1}}" {wrong} "${{@: -1}}" ;; esac"""
    source = make([*picture(2), *tone(2), *X264, "-c:a", "aac"], tmp_path / "in.mkv")
    machine = MachineOptions(ffmpeg=str(stand_in(tmp_path, rule)), mkvmerge="off")
    assert cause in refusal(
        source, tmp_path / "out.mkv", FfmpegConverter(OutputOptions(preset=12, quality_metric="off"), machine)
    )


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("tff.mkv", ["-c:v", "libx264", "-flags", "+ildct+ilme", "-x264opts", "tff=1", "-pix_fmt", "yuv420p"]),
        ("bff.ts", ["-c:v", "mpeg2video", "-flags", "+ildct+ilme", "-field_order", "bb"]),
        ("prores.mov", ["-c:v", "prores_ks", "-flags", "+ildct+ilme", "-field_order", "tt"]),
    ],
)
def test_interlaced_pictures_come_out_whole(name: str, arguments: list[str], tmp_path: Path) -> None:
    scan = "bff" if name == "bff.ts" else "tff"
    fields = ["-f", "lavfi", "-i", f"testsrc2=s=320x180:r=50:d=1,interlace=scan={scan}"]
    source = make([*fields, *arguments], tmp_path / name)
    assert convert(source, tmp_path / "out.mkv").frames == 25
    assert video_of(tmp_path / "out.mkv").get("field_order", "progressive") == "progressive"
    assert combing(tmp_path / "out.mkv") < 0.5 * combing(source)


def combing(path: Path) -> float:
    """How much neighbouring lines differ more than lines two apart: high where two fields are woven together."""
    command = [ffmpeg(), "-nostdin", "-v", "error", "-i", str(path), "-f", "rawvideo", "-pix_fmt", "gray", "-"]
    content = subprocess.run(command, capture_output=True, check=True).stdout
    width, height = 320, 180
    near = far = 0
    for start in range(0, len(content) - width * height + 1, 4 * width * height):
        for row in range(20, height - 20, 3):
            for column in range(0, width, 5):
                place = start + row * width + column
                near += abs(content[place] - content[place + width])
                far += abs(content[place] - content[place + 2 * width])
    return max(0.0, near / max(1, far) - 0.55)


def test_telecined_film_keeps_its_pictures(tmp_path: Path) -> None:
    film = ["-f", "lavfi", "-i", "testsrc2=s=320x180:r=24000/1001:d=1,telecine"]
    source = make([*film, "-c:v", "mpeg2video", "-flags", "+ildct+ilme", "-field_order", "tt"], tmp_path / "t.ts")
    assert convert(source, tmp_path / "out.mkv").frames == len(times_of(source))


@pytest.mark.parametrize("name", ["late.mp4", "late.ts", "late.mkv"])
def test_a_clock_that_does_not_begin_at_zero(name: str, tmp_path: Path) -> None:
    source = make([*picture(1), *tone(1), *X264, "-c:a", "aac", "-output_ts_offset", "10"], tmp_path / name)
    assert convert(source, tmp_path / "out.mkv").frames == 24


def test_edit_list_shows_what_a_player_shows(tmp_path: Path) -> None:
    whole = make([*picture(4), *tone(4), *X264, "-g", "48", "-c:a", "aac"], tmp_path / "whole.mp4")
    source = make(["-ss", "1.5", "-i", str(whole), "-c", "copy"], tmp_path / "cut.mp4")
    report = convert(source, tmp_path / "out.mkv")
    assert report.frames == pytest.approx(60, abs=1) and report.duration_s == pytest.approx(2.5, abs=0.1)


def test_joined_recordings_whose_clock_jumps(tmp_path: Path) -> None:
    codecs = [*X264, "-c:a", "aac"]
    first = make([*picture(2), *tone(2), *codecs], tmp_path / "first.ts")
    second = make([*picture(2), *tone(2), *codecs, "-output_ts_offset", "5000"], tmp_path / "second.ts")
    for number, parts in enumerate([(first, second), (second, first), (first, first)]):
        source = tmp_path / f"joined{number}.ts"
        source.write_bytes(b"".join(part.read_bytes() for part in parts))
        report = convert(source, tmp_path / f"out{number}.mkv")
        assert report.frames == 96 and report.duration_s == pytest.approx(4, abs=0.2)


def test_clock_of_a_transport_stream_that_wraps(tmp_path: Path) -> None:
    source = make([*picture(4), *X264, "-output_ts_offset", "95441"], tmp_path / "wrap.ts")  # 2**33 / 90000 = 95443.7
    report = convert(source, tmp_path / "out.mkv")
    assert report.frames == 96 and report.duration_s == pytest.approx(4, abs=0.1)


@pytest.mark.parametrize("late", ["picture", "sound"])
@pytest.mark.parametrize("name", ["x.mkv", "x.mp4"])
def test_streams_that_begin_at_different_times(late: str, name: str, tmp_path: Path) -> None:
    offset = ["-itsoffset", "0.7"]
    inputs = [*offset, *picture(1), *tone(2)] if late == "picture" else [*picture(2), *offset, *tone(1)]
    source = make([*inputs, *X264, "-c:a", "aac"], tmp_path / name)
    convert(source, tmp_path / "out.mkv")
    starts = []
    for path in (source, tmp_path / "out.mkv"):
        video, audio = facts_of(path)["streams"]
        starts.append(float(video["start_time"]) - float(audio["start_time"]))
    assert starts[1] == pytest.approx(starts[0], abs=0.040)
    assert streams_of(tmp_path / "out.mkv") == {"video": ["av1"], "audio": ["aac"]}
