"""Frames beside a conversion, with real ffmpeg: the encode measures the pictures, the source gives them."""

import tarfile
import threading
from pathlib import Path

from tests.integration.test_frames_program import X264, pictures, run, two_shots
from tests.media import make
from tools.core.frames import Origin
from tools.media.converter import Conversion, FfmpegConverter, OutputOptions
from tools.runtime.files import sha256_of

CONVERTER = FfmpegConverter(OutputOptions(preset=13))


def convert(source: Path, folder: Path) -> tuple[Conversion, Path]:
    archive = folder / "frames.tar"
    framing = CONVERTER.with_frames(Origin(source.name, sha256_of(source)), archive)
    made = framing.convert(source, folder / "out.mkv", on_progress=lambda progress: None, stop=threading.Event())
    return made, archive


def test_archive_made_beside_an_encode_and_of_the_copied_result_alone_are_the_ones_of_the_source(
    tmp_path: Path,
) -> None:
    source = two_shots(tmp_path / "第 1.5 集.mkv")
    made, archive = convert(source, tmp_path)
    assert made.action == "transcode" and made.scenes is not None and made.scenes.scenes == 3
    assert run(tmp_path / "alone", source).returncode == 0
    assert archive.read_bytes() == (tmp_path / "alone" / "第 1.5 集.tar").read_bytes()
    (tmp_path / "again").mkdir()
    again, _ = convert(tmp_path / "out.mkv", tmp_path / "again")  # AV1: nothing is decoded to encode it
    assert again.action != "transcode" and again.scenes is not None
    assert [one.frame for one in again.scenes.frames] == [one.frame for one in made.scenes.frames]


def test_video_of_which_no_frame_can_be_made_is_converted_all_the_same_and_says_so(tmp_path: Path) -> None:
    black = ["-f", "lavfi", "-i", "color=black:s=64x64:r=10:d=0.5"]
    made, archive = convert(make([*black, *X264, "-pix_fmt", "yuv420p"], tmp_path / "black.mkv"), tmp_path)
    assert made.scenes is None and (tmp_path / "out.mkv").exists()
    assert any("no picture, only black" in line for line in made.warnings)
    with tarfile.open(archive) as tar:
        assert tar.getmembers() == []
    assert pictures(archive) == []
