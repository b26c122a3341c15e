"""Pictures that change their size or shape within a stream: never silently smaller, and in their own shape."""

import subprocess
from pathlib import Path

import pytest

from tests.conversion import convert
from tests.media import facts_of, ffmpeg, make, picture
from tools.core.errors import ProbeError
from tools.media.converter import FfmpegConverter, MachineOptions, OutputOptions


def joined(folder: Path, *parts: list[str]) -> Path:
    """A recording with one part after the other."""
    target = folder / "in.ts"
    codecs = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-f", "mpegts"]
    later = ["-output_ts_offset"]  # else the clock of the second part runs back
    made = [make([*p, *codecs, *later, str(number)], folder / f"part{number}.ts") for number, p in enumerate(parts)]
    target.write_bytes(b"".join(path.read_bytes() for path in made))
    return target


def bars(path: Path, second: float) -> tuple[int, int]:
    """Width and height of what is not black at a time."""
    graph = "scale=out_range=pc,format=gray,cropdetect=limit=40:round=2:reset=1:skip=0"
    command = [ffmpeg(), "-hide_banner", "-nostdin", "-ss", str(second), "-i", str(path), "-vf", graph]
    done = subprocess.run([*command, "-frames:v", "3", "-f", "null", "-"], capture_output=True, text=True, check=True)
    width, height = done.stderr.partition("crop=")[2].split(":")[:2]  # of the first one: more may be read
    return int(width), int(height)


WHITE = ["-f", "lavfi", "-i"]


def remuxed(source: Path, container: str) -> Path:
    """The same packets in a container with one head for all of them, which nobody reads for changes."""
    copy = ["-i", str(source), "-c", "copy", "-bsf:v", "dump_extra=freq=keyframe"]
    return source if container == "ts" else make(copy, source.with_suffix(f".{container}"))


@pytest.mark.parametrize(
    ("container", "turned"), [("ts", False), ("ts", True), ("mkv", False), ("mp4", True), ("asf", False)]
)
def test_pictures_that_change_size_are_encoded_at_the_largest(container: str, turned: bool, tmp_path: Path) -> None:
    parts = [[*WHITE, "color=white:s=160x120:r=24:d=1"], [*WHITE, "color=white:s=320x180:r=24:d=1"]]
    source = remuxed(joined(tmp_path, *(reversed(parts) if turned else parts)), container)
    report = convert(source, tmp_path / "out.mkv")
    stream = facts_of(tmp_path / "out.mkv")["streams"][0]
    assert (stream["width"], stream["height"]) == (320, 180) and report.frames == 48
    assert [line for line in report.warnings if "160x120" in line and "320x180" in line]
    assert not [line for line in report.warnings if "mkvmerge could not" in line]
    small, large = (1.5, 0.5) if turned else (0.5, 1.5)
    assert bars(tmp_path / "out.mkv", large) == (320, 180)
    assert bars(tmp_path / "out.mkv", small) == (240, 180)


@pytest.mark.skipif(not Path("/usr/bin/ffmpeg").exists(), reason="no ffmpeg of a distribution here")
def test_changes_are_seen_with_an_ffmpeg_that_does_not_tell_of_them(tmp_path: Path) -> None:
    parts = [[*WHITE, "color=white:s=160x120:r=24:d=1"], [*WHITE, "color=white:s=320x180:r=24:d=1"]]
    old = FfmpegConverter(OutputOptions(preset=13), MachineOptions(ffmpeg="/usr/bin/ffmpeg"))
    convert(remuxed(joined(tmp_path, *parts), "mkv"), tmp_path / "out.mkv", old)
    stream = facts_of(tmp_path / "out.mkv")["streams"][0]
    assert (stream["width"], stream["height"]) == (320, 180)


def test_pixels_that_change_shape_alone_keep_each_its_own(tmp_path: Path) -> None:
    wide, square = [*WHITE, "color=white:s=180x144:r=25:d=1,setsar=64/45"], [*WHITE, "color=white:s=180x144:r=25:d=1"]
    report = convert(joined(tmp_path, wide, square), tmp_path / "out.mkv")
    assert [line for line in report.warnings if "64:45" in line and "in their own shape" in line]
    assert bars(tmp_path / "out.mkv", 0.5) == bars(tmp_path / "out.mkv", 0.96) == (180, 144)
    assert bars(tmp_path / "out.mkv", 1.0) == bars(tmp_path / "out.mkv", 1.5) == (126, 144)


def test_matrix_that_changes_is_made_one(tmp_path: Path) -> None:
    def red(matrix: str, more: str = "") -> list[str]:
        graph = f"color=red:s=160x120:r=24:d=1,format=gbrp,scale=out_color_matrix={matrix},format=yuv420p{more}"
        return [*WHITE, graph, "-colorspace", matrix]

    report = convert(joined(tmp_path, red("smpte170m"), red("bt709")), tmp_path / "out.mkv")
    assert [line for line in report.warnings if "the matrix smpte170m" in line]
    assert red_of(tmp_path / "out.mkv", 0.5) == pytest.approx(red_of(tmp_path / "out.mkv", 1.5), abs=3)


def red_of(path: Path, second: float) -> list[int]:
    """The colour of the middle, RGB."""
    graph = ["-vf", "crop=1:1,format=rgb24", "-frames:v", "1", "-f", "rawvideo", "-"]
    command = [ffmpeg(), "-v", "error", "-nostdin", "-ss", str(second), "-i", str(path), *graph]
    return [*subprocess.run(command, capture_output=True, check=True).stdout]


def test_change_between_hdr_and_sdr_is_refused_with_its_time(tmp_path: Path) -> None:
    marked = "setparams=colorspace=bt2020nc:color_primaries=bt2020:color_trc="
    source = joined(tmp_path, [*picture(1), "-vf", f"{marked}bt709"], [*picture(1), "-vf", f"{marked}smpte2084"])
    with pytest.raises(ProbeError, match=r"from SDR to HDR at 2\.\d+ s.*cut it there"):
        convert(source, tmp_path / "out.mkv")


def test_pictures_that_stay_as_they_are_get_no_bars(tmp_path: Path) -> None:
    report = convert(joined(tmp_path, picture(1), picture(1)), tmp_path / "out.mkv")
    assert not [line for line in report.warnings if "change" in line]
