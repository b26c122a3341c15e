"""A quality that is named, and no result that is bigger for nothing: with the real ffmpeg, on small clips."""

import re
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.conversion import convert, refusal, stand_in
from tests.media import make
from tools.core.options import options_of
from tools.media import aim, samples
from tools.media.aim import Hints
from tools.media.converter import Conversion, FfmpegConverter, MachineOptions, OutputOptions
from tools.media.probe import probe
from tools.media.quality import NotComparable

TARGET = 90.0
# Moving shapes under grain: something for a search to weigh.
PICTURES = "testsrc2=size=256x144:rate=6:duration={},noise=alls=14:allf=t:all_seed=7"


def clip_of(target: Path, seconds: float, *arguments: str) -> Path:
    source = ["-f", "lavfi", "-i", PICTURES.format(seconds), "-c:v", "libx264", "-pix_fmt", "yuv420p"]
    return make([*source, *arguments], target)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clip_of(tmp_path_factory.mktemp("clips") / "clip.mkv", 2, "-crf", "12", "-preset", "veryfast")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Squeezed already: AV1 of the same looks is no smaller."""
    return clip_of(tmp_path_factory.mktemp("clips") / "small.mkv", 2, "-crf", "38", "-preset", "veryslow")


def converter(hints: Hints | None = None, **options: Any) -> FfmpegConverter:
    # Noise at so low a rate is below what the check of results lets pass, which has tests of its own.
    options = {"preset": 12, "quality_metric": "off", **options}
    return FfmpegConverter(OutputOptions(**options)).with_hints(hints or Hints())


def aimed(source: Path, target: Path, hints: Hints | None = None, **options: Any) -> Conversion:
    with_it = converter(hints, **options)
    return with_it.convert(source, target, on_progress=lambda progress: None, stop=threading.Event())


def crf_in(report: Conversion) -> int:
    found = re.search(r"-crf (\d+)", report.settings)
    assert found
    return int(found[1])


def test_short_video_comes_out_at_its_target_and_the_next_one_begins_there(clip: Path, tmp_path: Path) -> None:
    told: list[Mapping[str, Any]] = []
    first = aimed(clip, tmp_path / "1.mkv", Hints(found=told.append), target_vmaf=TARGET, crf=20, crf_min=5, crf_max=63)
    aim = first.target
    assert abs(aim["predicted"] - TARGET) <= 1.5 and aim["reason"] in {"reached", "nearest"} and aim["probes"] <= 3
    assert crf_in(first) == aim["crf"] == told[0]["crf"] and aim["vmaf"] == TARGET
    assert (options_of(first.options) or {})["target_vmaf"] == TARGET and "crf" not in (options_of(first.options) or {})
    bounds = {"target_vmaf": TARGET, "crf": 20, "crf_min": 5, "crf_max": 63}
    second = aimed(clip, tmp_path / "2.mkv", Hints(start=lambda: aim.get("begin", aim["crf"])), **bounds)
    assert (second.target["probes"], second.target["reason"]) == (1, "reached")

    def must_not_ask() -> int:
        raise AssertionError("the journal knows it")

    third = aimed(clip, tmp_path / "3.mkv", Hints(start=must_not_ask, known=told[0]), **bounds)
    assert third.sha256 == first.sha256 and third.target["predicted"] == aim["predicted"]


def test_long_video_is_sampled_and_comes_out_as_predicted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "SHORT", 20.0)
    monkeypatch.setattr(samples, "_FEWEST", 2)
    source = clip_of(tmp_path / "long.mp4", 24, "-crf", "12", "-preset", "ultrafast", "-g", "20")
    # It begins beside the answer: each probe more is two encodes more, and the search is the short video's matter.
    report = aimed(source, tmp_path / "out.mkv", target_vmaf=TARGET, crf=51, crf_min=5, crf_max=63)
    aim = report.target
    assert aim["reason"] == "reached" and crf_in(report) == aim["crf"]
    assert 0.85 < aim["predicted_size"] / aim["video_size"] < 1.15
    assert not [path for path in tmp_path.iterdir() if path.name not in {"long.mp4", "out.mkv"}]


def test_target_without_vmaf_is_the_fixed_crf_and_said_once(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(FfmpegConverter, "_meter", lambda self, wanted, encoder: None)
    for name in ("1.mkv", "2.mkv"):
        report = aimed(clip, tmp_path / name, target_vmaf=TARGET, crf=50)
        assert crf_in(report) == 50 and "no ffmpeg with VMAF" in report.target["not_found"]
    assert sum("no ffmpeg with VMAF" in line for line in caplog.messages) == 1
    assert (options_of(report.options) or {})["crf"] == 50


def video_size(path: Path, with_it: FfmpegConverter) -> int:
    return probe(path, with_it._chosen().ffprobe).of("video")[0].bytes


def test_result_that_is_bigger_is_encoded_again_until_it_fits(small: Path, tmp_path: Path) -> None:
    plain = aimed(small, tmp_path / "plain.mkv", crf=10)
    there = video_size(small, converter())
    assert video_size(tmp_path / "plain.mkv", converter()) > there
    assert "max_size_percent" not in (options_of(plain.options) or {})
    fitted = aimed(small, tmp_path / "fitted.mkv", crf=10, crf_max=63, max_size_percent=100, quality_floor=0)
    assert video_size(tmp_path / "fitted.mkv", converter()) <= there
    assert any("encoded again at CRF" in line for line in fitted.warnings) and crf_in(fitted) > 10
    assert "bigger" not in fitted.target and (options_of(fitted.options) or {})["max_size_percent"] == 100


@pytest.mark.parametrize("rule", ["keep", "remux", "refuse"])
def test_what_can_not_be_smaller_is_kept_or_remuxed_or_refused(small: Path, tmp_path: Path, rule: str) -> None:
    options: dict[str, Any] = {"crf": 12, "crf_max": 16, "max_size_percent": 20, "when_bigger": rule}
    if rule == "refuse":
        assert "of its source's, see MAX_SIZE_PERCENT" in refusal(small, tmp_path / "out.mkv", converter(**options))
        return
    report = aimed(small, tmp_path / "out.mkv", **options)
    assert report.target["bigger"] == rule
    video = next(stream for stream in report.streams if stream["type"] == "video")
    assert (video["codec"], report.action) == (("h264", "copy") if rule == "remux" else ("av1", "transcode"))
    assert any("% of its source's" in line for line in report.warnings)


@pytest.mark.usefixtures("uncaged")
@pytest.mark.parametrize("end", ["exit 1", "kill -SEGV $$"])
def test_meter_that_fails_refuses_no_good_encode(small: Path, tmp_path: Path, end: str) -> None:
    machine = MachineOptions(ffmpeg=str(stand_in(tmp_path, f'case "$*" in *color=gray*) ;; *libvmaf*) {end} ;; esac')))
    options = OutputOptions(preset=12, quality_metric="off", crf=12, max_size_percent=100, when_bigger="keep")
    report = convert(small, tmp_path / "out.mkv", FfmpegConverter(options, machine))
    assert crf_in(report) == 12 and report.target["bigger"] == "keep"
    assert [line for line in report.warnings if "its quality was not measured: " in line], report.warnings


@pytest.mark.usefixtures("uncaged")
def test_search_whose_meter_is_killed_comes_to_the_fixed_crf_and_says_so_once(
    clip: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    machine = MachineOptions(
        ffmpeg=str(stand_in(tmp_path, 'case "$*" in *color=gray*) ;; *libvmaf*) kill -KILL $$ ;; esac'))
    )
    options = OutputOptions(preset=12, quality_metric="off", crf=50, target_vmaf=TARGET)
    for name in ("1.mkv", "2.mkv"):
        report = convert(clip, tmp_path / name, FfmpegConverter(options, machine))
        assert crf_in(report) == 50 and "SIGKILL" in report.target["not_found"]
    assert sum("no CRF was found" in line for line in caplog.messages) == 1


@pytest.mark.parametrize("container", ["mkv", "flv"])
def test_long_video_is_scored_by_samples_also_where_no_seek_can_be_trusted(
    container: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def misled(distorted: Path, reference: Any, parts: Any, *others: Any, **named: Any) -> None:
        assert parts and container == "mkv", "the whole of a long video, or a seek in a file that has none"
        raise NotComparable("nothing there")

    monkeypatch.setattr(samples, "SHORT", 20.0)
    monkeypatch.setattr(samples, "_FEWEST", 2)
    monkeypatch.setattr(aim, "score", misled)
    source = clip_of(tmp_path / f"long.{container}", 24, "-crf", "38", "-preset", "veryfast", "-bf", "0")
    report = aimed(source, tmp_path / "out.mkv", crf=20, crf_max=63, max_size_percent=100, quality_floor=0)
    assert any("encoded again at CRF" in line for line in report.warnings) and "bigger" not in report.target
