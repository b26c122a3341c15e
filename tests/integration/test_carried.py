"""What travels inside the pictures of real files (small ones of a public suite, if they are there): kept, or said."""

from pathlib import Path

import pytest

from tests.conversion import convert, stand_in
from tests.media import facts_of
from tests.programs import ROOT
from tools.media.converter import FfmpegConverter, MachineOptions, OutputOptions

CASES = ROOT.parent / "shared" / "cases"
DOLBY_VISION, HDR10_PLUS = CASES / "dolby_vision_8_1_hevc.mkv", CASES / "hdr10plus_hevc.mkv"
pytestmark = pytest.mark.skipif(not DOLBY_VISION.exists(), reason="the small real files are not beside the checkout")


def record_of(path: Path) -> list[tuple[int, int]]:
    """(profile, base layer's compatibility) of Dolby Vision."""
    entries = facts_of(path)["streams"][0].get("side_data_list", [])
    told = [entry for entry in entries if entry["side_data_type"] == "DOVI configuration record"]
    return [(entry["dv_profile"], entry["dv_bl_signal_compatibility_id"]) for entry in told]


def test_dolby_vision_is_kept_in_every_picture(tmp_path: Path) -> None:
    report = convert(DOLBY_VISION, tmp_path / "out.mkv")
    assert [line for line in report.warnings if "Dolby Vision" in line] == [
        "stream 0: Dolby Vision is kept: profile 8.1 → 10.1"  # and nothing of pictures that lack it
    ]
    assert record_of(tmp_path / "out.mkv") == [(10, 1)]


@pytest.mark.usefixtures("uncaged")
def test_film_is_converted_without_dolby_vision_where_the_encoder_fails_at_it(tmp_path: Path) -> None:
    machine = MachineOptions(ffmpeg=str(stand_in(tmp_path, 'case "$*" in *dolbyvision*) echo no >&2; exit 1 ;; esac')))
    report = convert(DOLBY_VISION, tmp_path / "out.mkv", FfmpegConverter(OutputOptions(preset=12), machine))
    assert [line for line in report.warnings if "Dolby Vision could not be kept" in line]
    assert [line for line in report.warnings if "the base layer is kept" in line]
    assert record_of(tmp_path / "out.mkv") == [] and report.frames == 259


def test_lost_values_of_hdr10_plus_are_said(tmp_path: Path) -> None:
    assert [line for line in convert(HDR10_PLUS, tmp_path / "out.mkv").warnings if "HDR10+" in line]
