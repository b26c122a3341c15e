"""Which results are told of before they are verified, by the real converter."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conversion import convert, refusal
from tests.media import make, picture
from tools.media.beside import Beside
from tools.media.converter import FfmpegConverter, MachineOptions, OutputOptions

_OPTIONS = OutputOptions(encoder="libsvtav1", preset=12)


class Told:
    """Reads what it is told of, at once, and again when it is to drop it: until then nobody may change it. ``latest``:
    sha256 and content of the latest, None once that was dropped."""

    def __init__(self) -> None:
        self.begun = self.dropped = 0
        self.latest: tuple[str, bytes] | None = None
        self._file = Path()

    def begin(self, result: Path, sha256: str) -> None:
        self.begun += 1
        self._file = result
        self.latest = sha256, result.read_bytes()

    def drop(self) -> None:
        self.dropped += 1
        assert self.latest is None or self._file.read_bytes() == self.latest[1]
        self.latest = None


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make([*picture(1.0), "-c:v", "mpeg4", "-q:v", "2"], tmp_path_factory.mktemp("clip") / "clip.mkv")


@pytest.mark.parametrize("mkvmerge", ["auto", "off"])
def test_result_is_told_of_once_as_it_will_be(tmp_path: Path, clip: Path, mkvmerge: str) -> None:
    told, target = Told(), tmp_path / "out.mkv"
    made = convert(clip, target, FfmpegConverter(_OPTIONS, MachineOptions(mkvmerge=mkvmerge)).with_ahead(told))
    assert (told.begun, told.dropped) == (1, 0) and told.latest == (made.sha256, target.read_bytes())
    assert made.sha256 == hashlib.sha256(target.read_bytes()).hexdigest()


def test_result_that_is_refused_is_dropped(tmp_path: Path, clip: Path) -> None:
    told = Told()
    strict = FfmpegConverter(replace(_OPTIONS, crf=63, quality_floor=94.0)).with_ahead(told)
    assert "worse than QUALITY_FLOOR" in refusal(clip, tmp_path / "out.mkv", strict)
    assert told.begun == 1 and told.latest is None


@pytest.mark.usefixtures("uncaged")
def test_what_mkvmerge_made_is_dropped_before_ffmpeg_makes_it_instead(tmp_path: Path, clip: Path) -> None:
    told, target, muxer = Told(), tmp_path / "out.mkv", tmp_path / "mkvmerge"
    muxer.write_text(
        """#!/bin/bash
case "$*" in *--output*) ;; *) exec /usr/bin/mkvmerge "$@" ;; esac
/usr/bin/mkvmerge "$@" && mv "$3" "$3.x" && exec /usr/bin/mkvmerge -q -o "$3" --title other "$3.x"
"""
    )
    muxer.chmod(0o755)
    machine = MachineOptions(mkvmerge=str(muxer))
    made = convert(clip, target, FfmpegConverter(_OPTIONS, machine).with_ahead(told))
    assert [line for line in made.warnings if "ffmpeg did" in line], made.warnings
    assert told.begun == 2 and told.dropped >= 1 and told.latest == (made.sha256, target.read_bytes())


def test_result_that_subtitles_are_put_into_is_not_told_of(tmp_path: Path, clip: Path) -> None:
    told, beside = Told(), tmp_path / "clip.srt"
    beside.write_text("1\n00:00:00,100 --> 00:00:00,900\nhello\n")
    converter = FfmpegConverter(replace(_OPTIONS, mux_subtitles=1)).with_ahead(told)
    made = convert(clip, tmp_path / "out.mkv", converter.with_beside("clip.mkv", [Beside(beside, "clip.srt")]))
    assert made.streams[-1]["index"] == -1 and told.begun == 0
