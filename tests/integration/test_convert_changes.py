"""Pictures that change their size or shape within a stream: never silently smaller, and in their own shape."""

import subprocess
from pathlib import Path

import pytest

from tests.conversion import convert
from tests.media import facts_of, ffmpeg, make, picture


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
    width, height = done.stderr.rpartition("crop=")[2].split(":")[:2]
    return int(width), int(height)


WHITE = ["-f", "lavfi", "-i"]


@pytest.mark.parametrize("turned", [False, True])
def test_pictures_that_change_size_are_encoded_at_the_largest(turned: bool, tmp_path: Path) -> None:
    parts = [[*WHITE, "color=white:s=160x120:r=24:d=1"], [*WHITE, "color=white:s=320x180:r=24:d=1"]]
    source = joined(tmp_path, *(reversed(parts) if turned else parts))
    report = convert(source, tmp_path / "out.mkv")
    stream = facts_of(tmp_path / "out.mkv")["streams"][0]
    assert (stream["width"], stream["height"]) == (320, 180) and report.frames == 48
    assert [line for line in report.warnings if "160x120" in line and "320x180" in line]
    small, large = (1.5, 0.5) if turned else (0.5, 1.5)
    assert bars(tmp_path / "out.mkv", large) == (320, 180)
    assert bars(tmp_path / "out.mkv", small) == (240, 180)


def test_pixels_that_change_shape_alone_are_said(tmp_path: Path) -> None:
    wide, square = [*WHITE, "color=white:s=180x144:r=25:d=1,setsar=64/45"], [*WHITE, "color=white:s=180x144:r=25:d=1"]
    report = convert(joined(tmp_path, wide, square), tmp_path / "out.mkv")
    assert [line for line in report.warnings if "shape of the pixels changes" in line]


def test_pictures_that_stay_as_they_are_get_no_bars(tmp_path: Path) -> None:
    report = convert(joined(tmp_path, picture(1), picture(1)), tmp_path / "out.mkv")
    assert not [line for line in report.warnings if "change" in line]
