"""What travels inside the pictures of real files (of a public suite, if they are there) and others: kept, or said."""

import re
import subprocess
import threading
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.conversion import convert, stand_in
from tests.media import facts_of, ffmpeg, make, picture, tone
from tests.media import ffprobe as media_ffprobe
from tests.programs import ROOT
from tests.sei import FILM_GRAIN, T35, film, sei
from tools.core.concurrency import NO_NEED, Need
from tools.core.errors import Stopped
from tools.media.converter import FfmpegConverter, MachineOptions, OutputOptions
from tools.media.encoders import Encoder

CASES = ROOT.parent / "shared" / "cases"
DOLBY_VISION, HDR10_PLUS = CASES / "dolby_vision_8_1_hevc.mkv", CASES / "hdr10plus_hevc.mkv"
# Its T.35 message as far as the number of windows. Source: SMPTE ST 2094-40, annex B of ANSI/CTA-861-H.
GRAIN = bytes.fromhex("00a00001ff03c280")  # of luma, each picture
ONE_WINDOW, THREE_WINDOWS = (bytes.fromhex(f"b5003c00010401{number}") for number in ("40", "c0"))
needs_files = pytest.mark.skipif(not DOLBY_VISION.exists(), reason="the small real files are not beside the checkout")


def record_of(path: Path) -> list[tuple[int, int]]:
    """(profile, base layer's compatibility) of Dolby Vision."""
    entries = facts_of(path)["streams"][0].get("side_data_list", [])
    told = [entry for entry in entries if entry["side_data_type"] == "DOVI configuration record"]
    return [(entry["dv_profile"], entry["dv_bl_signal_compatibility_id"]) for entry in told]


@needs_files
def test_dolby_vision_is_kept_in_every_picture(tmp_path: Path) -> None:
    report = convert(DOLBY_VISION, tmp_path / "out.mkv")
    assert [line for line in report.warnings if "Dolby Vision" in line] == [
        "stream 0: Dolby Vision is kept: profile 8.1 → 10.1"  # and nothing of pictures that lack it
    ]
    assert record_of(tmp_path / "out.mkv") == [(10, 1)]


@needs_files
@pytest.mark.usefixtures("uncaged")
def test_film_is_converted_without_dolby_vision_where_the_encoder_fails_at_it(tmp_path: Path) -> None:
    machine = MachineOptions(ffmpeg=str(stand_in(tmp_path, 'case "$*" in *dolbyvision*) echo no >&2; exit 1 ;; esac')))
    report = convert(DOLBY_VISION, tmp_path / "out.mkv", FfmpegConverter(OutputOptions(preset=12), machine))
    assert [line for line in report.warnings if "Dolby Vision could not be kept" in line]
    assert [line for line in report.warnings if "the base layer is kept" in line]
    assert record_of(tmp_path / "out.mkv") == [] and report.frames == 259


def values_of(path: Path) -> list[str]:
    """What each picture has of HDR10+."""
    command = [ffmpeg(), "-v", "info", "-i", str(path), "-map", "0:V", "-vf", "showinfo=checksum=0", "-f", "null", "-"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    return re.findall(r"side data - .*\(HDR10\+\): (.*)", told)


@needs_files
@pytest.mark.parametrize("container", ["mkv", "mp4"])  # mkvmerge's way, and ffmpeg's
def test_values_of_hdr10_plus_are_kept_in_every_picture(container: str, tmp_path: Path) -> None:
    inputs = ["-i", str(HDR10_PLUS), *tone(1), "-map", "0:v", "-map", "1:a", "-c:v", "copy", "-c:a", "aac"]
    source = make([*inputs, "-t", "1"], tmp_path / f"in.{container}")
    report = convert(source, tmp_path / "out.mkv")
    assert [line for line in report.warnings if "HDR10+" in line] == ["stream 0: HDR10+ is kept"]
    before, after = values_of(source), values_of(tmp_path / "out.mkv")
    assert before == after and len(after) == report.frames > 20 and len(set(after)) > 1


@needs_files
@pytest.mark.usefixtures("uncaged")
def test_film_is_converted_without_hdr10_plus_where_it_can_not_be_written(tmp_path: Path) -> None:
    source = make(["-i", str(HDR10_PLUS), "-c", "copy", "-t", "0.5"], tmp_path / "in.mkv")
    rule = 'case "$*" in *libaom*) echo "Unknown encoder libaom-av1" >&2; exit 1 ;; esac'
    machine = MachineOptions(ffmpeg=str(stand_in(tmp_path, rule)))
    report = convert(source, tmp_path / "out.mkv", FfmpegConverter(OutputOptions(preset=12), machine))
    assert [line for line in report.warnings if "HDR10+ could not be kept" in line]
    assert [line for line in report.warnings if "those of scenes are not" in line] and not values_of(
        tmp_path / "out.mkv"
    )


@needs_files
def test_hdr10_plus_that_contradicts_its_own_number_of_windows_is_said(tmp_path: Path) -> None:
    source = make(["-i", str(HDR10_PLUS), "-c", "copy", "-t", "0.5"], tmp_path / "in.mkv")
    first, *others = source.read_bytes().split(ONE_WINDOW)
    source.write_bytes(ONE_WINDOW.join([first, *others[:4]]) + THREE_WINDOWS + ONE_WINDOW.join(others[4:]))
    report = convert(source, tmp_path / "out.mkv")
    assert [line for line in report.warnings if "SEI messages of its pictures can't be read" in line]
    assert values_of(tmp_path / "out.mkv")


RPU, PLUS = (b"\x7c\x01\x19", b"\x7e\x01\x19"), (ONE_WINDOW[:5], b"\xb5\x00\x3d\x00\x01")
"""How a picture's begins, and what nobody knows: a NAL unit of type 63, another provider of T.35."""


def without(source: Path, target: Path, marks: tuple[bytes, bytes], *, is_first: bool) -> tuple[Path, int]:
    """Half a second of a real film, and how many of its pictures have something still: the first half of them, as they
    are decoded, or the last has it no more."""
    make(["-i", str(source), "-map", "0:v", "-c", "copy", "-t", "0.5"], target)
    parts = target.read_bytes().split(marks[0])
    half = len(parts) // 2
    before, behind = reversed(marks) if is_first else marks
    target.write_bytes(before.join(parts[: half + 1]) + behind + behind.join(parts[half + 1 :]))
    return target, len(parts) - 1 - half if is_first else half


@needs_files
@pytest.mark.parametrize("is_first", [True, False], ids=["begins late", "ends early"])
def test_dolby_vision_in_some_pictures_only_is_told_and_the_film_converted(is_first: bool, tmp_path: Path) -> None:
    source, number = without(DOLBY_VISION, tmp_path / "in.mkv", RPU, is_first=is_first)
    report = convert(source, tmp_path / "out.mkv")
    told = [line for line in report.warnings if "Dolby Vision" in line]
    assert any(f"is in {number} of {report.frames} pictures, first at" in line for line in told), told
    # Where they end early, the decoder gives the pictures behind them the last values.
    assert record_of(tmp_path / "out.mkv") == ([] if is_first else [(10, 1)]) and number > 5, told
    assert any("the base layer is kept" in line for line in told) == is_first, told


@needs_files
def test_hdr10_plus_that_begins_late_is_kept_from_there_on(tmp_path: Path) -> None:
    source, number = without(HDR10_PLUS, tmp_path / "in.mkv", PLUS, is_first=True)
    report = convert(source, tmp_path / "out.mkv")
    told = [line for line in report.warnings if "HDR10+" in line]
    assert "stream 0: HDR10+ is kept" in told, told
    assert any(f"is in {number} of {report.frames} pictures, first at" in line for line in told), told
    before, after = values_of(source), values_of(tmp_path / "out.mkv")
    assert before == after and report.frames > len(after) == number > 5


@needs_files
def test_encode_takes_a_place_on_the_card_only_if_it_goes_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dolby Vision goes to an encoder that keeps it, whatever comes first."""
    card, software = (Encoder(name=name, ffmpeg=Path(ffmpeg()), crops=True) for name in ("av1_nvenc", "libsvtav1"))

    class Programs:
        """Those that work."""

        encoders = (card, software)
        ffprobe = Path(media_ffprobe())

        def after(self, encoder: Encoder) -> Encoder | None:
            return software if encoder is card else None

    needs: list[Need] = []

    def held(stage: str, need: Need = NO_NEED) -> AbstractContextManager[int | None]:
        needs.append(need)
        raise Stopped

    converter = FfmpegConverter(OutputOptions(preset=12))
    monkeypatch.setattr(converter, "_chosen", Programs)
    for source in (DOLBY_VISION, CASES / "captions_608.mkv"):
        with pytest.raises(Stopped):
            converter.convert(
                source, tmp_path / "out.mkv", on_progress=lambda progress: None, stop=threading.Event(), held=held
            )
    assert [need.is_hardware for need in needs] == [False, True]


def test_what_pictures_carry_is_named_also_if_it_begins_late(tmp_path: Path) -> None:
    bars = sei(T35, b"\xb5\x00\x31GA94\x06\xcf\x40\x11\x80\x11\xff")  # Source: ATSC A/53 part 4, 6.2.2
    shape = sei(T35, b"\xb5\x00\x31DTG1\x41\xfa")  # 16:9. Source: ETSI TS 101 154, B.3
    source = film(tmp_path, "mkv", lambda number: sei(FILM_GRAIN, GRAIN) + (bars + shape if number > 24 else b""))
    report = convert(source, tmp_path / "out.mkv")
    assert [line for line in report.warnings if "larger" not in line] == [
        "stream 0: film grain that players add becomes a part of the result's pictures",
        "stream 0: the active format description of the pictures is not kept",
        "stream 0: the bar data of the pictures is not kept",
    ]


def test_frame_packing_and_values_of_hdr10_that_change_are_named(tmp_path: Path) -> None:
    hdr = "colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc:max-cll={},100:bframes=0:log-level=none"
    codec = ["-pix_fmt", "yuv420p10le", "-c:v", "libx265", "-preset", "ultrafast", "-x265-params"]
    for number, most in enumerate((1000, 400)):
        make([*picture(0.5, "160x120"), *codec, hdr.format(most)], tmp_path / f"{number}.hevc")
    (tmp_path / "in.hevc").write_bytes(b"".join((tmp_path / f"{n}.hevc").read_bytes() for n in range(2)))
    source = make(["-framerate", "24", "-i", str(tmp_path / "in.hevc"), "-c", "copy"], tmp_path / "in.mkv")
    warnings = convert(source, tmp_path / "out.mkv").warnings
    assert "stream 0: its HDR10 values change at 0.5 s, the result has the first ones" in warnings, warnings
    codec = ["-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "ultrafast", "-x264-params", "frame-packing=3"]
    packed = make([*picture(0.5, "160x120"), *codec], tmp_path / "packed.mp4")
    warnings = convert(packed, tmp_path / "packed.mkv").warnings
    is_kept = any(
        "3D" in str(entry) for entry in facts_of(tmp_path / "packed.mkv")["streams"][0].get("side_data_list", [])
    )
    assert is_kept != any("frame packing" in line for line in warnings), warnings
