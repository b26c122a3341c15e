"""Files that are cut, holed or flipped: refused with their cause, or converted with the damage on record."""

import random
import re
from pathlib import Path

import pytest

from tests.conversion import convert, refusal
from tests.media import make, picture, tone
from tools.media.container import share_there, sniff
from tools.media.converter import FfmpegConverter, OutputOptions

SECONDS = 12
X264 = ["-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-g", "24", "-c:a", "aac"]
VP9 = ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-c:a", "libopus"]
KINDS = {
    "mkv": X264,
    "mp4": [*X264, "-movflags", "faststart"],
    "frag.mp4": [*X264, "-movflags", "frag_keyframe+empty_moov"],
    "mov": X264,
    "webm": VP9,
    "avi": ["-c:v", "mpeg4", "-c:a", "mp3"],
    "wmv": ["-c:v", "wmv2", "-c:a", "wmav2"],
    "flv": X264,
    "rm": ["-c:v", "rv20", "-s", "352x288", "-c:a", "ac3"],
    "ogv": ["-c:v", "libtheora", "-c:a", "libvorbis"],
    "ts": X264,
    "mpg": ["-c:v", "mpeg2video", "-c:a", "mp2"],
}
ANNOUNCED = ["mkv", "mp4", "mov", "webm", "avi", "wmv", "ogv"]  # containers that say how long they are


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one whole clip of each kind."""
    folder = tmp_path_factory.mktemp("clips")
    for kind, codecs in KINDS.items():
        make([*picture(SECONDS), *tone(SECONDS), *codecs], folder / f"clip.{kind}")
    return folder


def whole(clips: Path, kind: str) -> bytes:
    return (clips / f"clip.{kind}").read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_whole_clips_say_that_they_are_whole(kind: str, clips: Path) -> None:
    path = clips / f"clip.{kind}"
    assert share_there(path, sniff(path)) == (100.0 if kind in {*ANNOUNCED, "frag.mp4"} else None)


@pytest.mark.parametrize("tail", [b"TAGepisode one".ljust(128, b"\0"), b"downloaded from somewhere\r\n" * 9, b"x" * 9])
@pytest.mark.parametrize("kind", [*ANNOUNCED, "frag.mp4"])
def test_what_somebody_appended_to_a_whole_file_makes_it_no_cut_one(
    kind: str, tail: bytes, clips: Path, tmp_path: Path
) -> None:
    path = tmp_path / f"tagged.{kind}"
    path.write_bytes(whole(clips, kind) + tail)
    assert share_there(path, sniff(path)) == 100.0


def test_fragments_whose_header_leaves_the_duration_open_are_whole(clips: Path, tmp_path: Path) -> None:
    content = bytearray(whole(clips, "frag.mp4"))
    for box in (b"mvhd", b"mdhd"):  # version and flags, two times, time scale, then the duration
        place = content.find(box)
        while place >= 0:
            content[place + 20 : place + 24] = b"\xff" * 4
            place = content.find(box, place + 1)
    source = tmp_path / "open.mp4"
    source.write_bytes(content)
    assert convert(source, tmp_path / "out.mkv").frames == SECONDS * 24


@pytest.mark.parametrize("percent", [30, 97])
@pytest.mark.parametrize("kind", [*ANNOUNCED, "frag.mp4"])
def test_cut_file_with_a_healthy_header_is_refused(kind: str, percent: int, clips: Path, tmp_path: Path) -> None:
    content = whole(clips, kind)
    source = tmp_path / f"cut.{kind}"
    source.write_bytes(content[: len(content) * percent // 100])
    cause = refusal(source, tmp_path / "out.mkv")
    assert "cut" in cause or (kind == "mov" and "no stream" in cause)  # its index is at the end


@pytest.mark.parametrize("kind", ["flv", "rm"])
def test_cut_file_is_found_by_its_duration(kind: str, clips: Path, tmp_path: Path) -> None:
    content = whole(clips, kind)
    source = tmp_path / f"cut.{kind}"
    source.write_bytes(content[: len(content) * 85 // 100])
    cause = refusal(source, tmp_path / "out.mkv")
    assert re.fullmatch(r"the file is cut: [\d.]+ s of 12\.\d s are there", cause)


def test_a_little_less_than_all_is_converted_and_recorded(clips: Path, tmp_path: Path) -> None:
    content = whole(clips, "mkv")
    source = tmp_path / "cut.mkv"
    source.write_bytes(content[: len(content) * 985 // 1000])
    assert "98.5 %" in refusal(source, tmp_path / "out.mkv")
    report = convert(source, tmp_path / "out.mkv", FfmpegConverter(OutputOptions(preset=12, min_decoded_percent=98)))
    assert any("98.5 %" in line for line in report.warnings)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "mpg"])
def test_a_hole_in_the_middle_is_refused(kind: str, clips: Path, tmp_path: Path) -> None:
    content = bytearray(whole(clips, kind))
    middle, length = len(content) // 2, len(content) // 10
    content[middle : middle + length] = bytes(length)
    source = tmp_path / f"hole.{kind}"
    source.write_bytes(content)
    refusal(source, tmp_path / "out.mkv")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in {"webm"}])
def test_flipped_bytes_all_over_are_refused(kind: str, clips: Path, tmp_path: Path) -> None:
    content = bytearray(whole(clips, kind))
    dice = random.Random(1)
    for _ in range(60):
        content[dice.randrange(len(content) // 20, len(content))] = dice.randrange(256)
    source = tmp_path / f"flipped.{kind}"
    source.write_bytes(content)
    refusal(source, tmp_path / "out.mkv")


@pytest.mark.parametrize("kind", ["mkv", "avi", "flv", "ts"])
def test_one_bad_picture_is_converted_and_recorded(kind: str, clips: Path, tmp_path: Path) -> None:
    content = bytearray(whole(clips, kind))
    content[len(content) // 2] ^= 255
    content[len(content) // 2 + 1] ^= 255
    source = tmp_path / f"one.{kind}"
    source.write_bytes(content)
    report = convert(source, tmp_path / "out.mkv")
    assert report.frames == SECONDS * 24
    assert any("damaged source: 1 of 288" in line for line in report.warnings)


def test_recording_that_begins_and_ends_anywhere(clips: Path, tmp_path: Path) -> None:
    content = whole(clips, "ts")
    source = tmp_path / "part.ts"
    source.write_bytes(b"\x99" * 1000 + content[100 * 188 + 50 : -77])
    report = convert(source, tmp_path / "out.mkv")
    assert any("begins with 15 pictures" in line for line in report.warnings)
    assert report.frames == pytest.approx(264, abs=2)


@pytest.mark.parametrize("kind", ["mkv", "mp4"])
def test_bytes_after_the_end_do_no_harm(kind: str, clips: Path, tmp_path: Path) -> None:
    source = tmp_path / f"long.{kind}"
    source.write_bytes(whole(clips, kind) + b"\0" * 50_000)
    assert convert(source, tmp_path / "out.mkv").frames == SECONDS * 24


def test_chapters_that_outlast_picture_and_sound_are_no_cut(tmp_path: Path) -> None:
    chapters = tmp_path / "chapters.txt"
    chapters.write_text(";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=9000\ntitle=all\n")
    inputs = [*picture(6), *tone(6), "-i", str(chapters), "-map_metadata", "2"]
    source = make([*inputs, "-map", "0", "-map", "1", *X264], tmp_path / "long.mp4")
    assert convert(source, tmp_path / "out.mkv").frames == 6 * 24
