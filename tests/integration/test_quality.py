"""Scores of pictures against their source, by the real ffmpeg."""

import subprocess
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conversion import CONVERTER
from tests.media import ffmpeg, make, picture
from tools.media.memory import Memory
from tools.media.meters import meter_for
from tools.media.quality import (
    Meter,
    NotComparable,
    Reference,
    Running,
    Sample,
    Scores,
    reference_of,
    score,
    score_in_one,
    score_pictures,
)
from tools.media.scored import Choice, Group, Pictures

_RUNNING = Running(threading.Event(), 60.0, 0)
_CODEC = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "12"]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A source whose clock begins late, one like it, one that is blurred in its second second, one of another size."""
    folder = tmp_path_factory.mktemp("clips")
    source = make([*picture(2.0), *_CODEC, "-crf", "1", "-output_ts_offset", "3"], folder / "source.mkv")
    blur = "gblur=sigma=6:enable='gte(t,1)'"
    return {
        "source": source,
        "like": make([*picture(2.0), *_CODEC, "-crf", "12"], folder / "like.mkv"),
        "blurred": make([*picture(2.0), "-vf", blur, *_CODEC, "-crf", "12"], folder / "blurred.mkv"),
        "smaller": make([*picture(2.0, "160x90"), *_CODEC], folder / "smaller.mkv"),
    }


@pytest.mark.parametrize(("metric", "good", "bad"), [("vmaf", 90, 50), ("xpsnr", 36, 25), ("ssim", 0.98, 0.9)])
def test_samples_are_paired_by_their_times_and_blur_is_seen_where_it_is(
    clips: dict[str, Path], metric: str, good: float, bad: float
) -> None:
    meter = meter_for(metric, [Path(ffmpeg())], Memory(None))
    assert meter is not None and meter.metric == metric
    plan = CONVERTER.plan(clips["source"])
    encoder = CONVERTER._chosen().encoders[0]
    reference = reference_of(plan, plan.main_video, clips["source"], encoder, CONVERTER.output)
    early, late = Sample(3.25, 0.5), Sample(4.25, 0.5)
    like = score(clips["like"], reference, [early, late], meter, _RUNNING, shift=-3.0)
    assert like.worst > good and like.samples == 2 and like.seconds == pytest.approx(1.0, abs=0.1)
    blurred = score(clips["blurred"], reference, [early, late], meter, _RUNNING, shift=-3.0)
    assert blurred.worst < bad < good < 2 * blurred.mean - blurred.worst  # the mean of the other one
    in_one = score_in_one(clips["blurred"], reference, [Sample(0.25, 0.5), Sample(1.25, 0.5)], meter, _RUNNING)
    assert in_one.worst == pytest.approx(blurred.worst, rel=0.1) and in_one.samples == 2
    fewer = replace(meter, every=4)  # its times are those of the pictures that were scored
    thinned = score_in_one(clips["blurred"], reference, [Sample(0.0, 0.8), Sample(1.25, 0.5)], fewer, _RUNNING)
    assert thinned.worst == pytest.approx(blurred.worst, rel=0.1) and thinned.samples == 2 and thinned.minimum < bad
    assert score(clips["like"], reference, [], meter, _RUNNING).seconds == pytest.approx(2.0, abs=0.1)
    with pytest.raises(NotComparable):
        score(clips["smaller"], reference, [], meter, _RUNNING)


def _written(folder: Path, name: str, clip: Path, chosen: Choice) -> Path:
    pictures = Pictures(folder / f"{name}.nut", "yuv420p10le", chosen)
    graph = f"[0:0]{','.join(pictures.chain())}[a]"
    command = [ffmpeg(), "-v", "error", "-y", "-i", str(clip), "-filter_complex", graph, *pictures.output("a")]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return pictures.path


def _of(*groups: tuple[float, float]) -> Choice:
    return Choice(tuple(Group(*group) for group in groups), 100, 0)


@pytest.mark.parametrize(("metric", "good", "bad"), [("vmaf", 90, 50), ("xpsnr", 36, 25), ("ssim", 0.98, 0.9)])
def test_written_pictures_are_paired_by_their_times_and_what_has_no_like_counts_for_nothing(
    clips: dict[str, Path], tmp_path: Path, metric: str, good: float, bad: float
) -> None:
    meter = meter_for(metric, [Path(ffmpeg())], Memory(None))
    assert meter is not None

    def scores(clip: str, ours: Choice, others: Choice, chosen: Choice) -> Scores:
        source = _written(tmp_path, "source", clips["source"], ours)
        result = _written(tmp_path, "result", clips[clip], others)
        return score_pictures(result, source, "yuv420p10le", chosen.groups, meter, _RUNNING)

    groups = _of((-1, 0.23), (0.48, 0.73), (1.48, 1.73), (1.77, 2.1))
    like = scores("like", groups, groups, groups)
    pictures = 22 if metric == "vmaf" else 23  # but for the first, of which VMAF does not know how it moves
    assert like.minimum > good and like.samples == 4 and like.seconds == pytest.approx(pictures / 24, abs=0.01)
    blurred = scores("blurred", groups, groups, groups)
    assert blurred.minimum < bad and 2 * blurred.mean - blurred.minimum > 0.9 * good  # of the other half
    whole = scores("blurred", *3 * [_of((-1, 3))])
    assert whole.worst < bad and whole.seconds == pytest.approx(2.0, abs=0.1)
    # A picture that has none of its time stands beside one of another time, and is not judged by that.
    fewer, all_of_them = _of((-1, 0.23), (1.48, 1.73)), _of((-1, 0.23), (1.2, 1.73))
    apart = scores("like", fewer, all_of_them, all_of_them)
    assert apart.minimum > good and apart.seconds == pytest.approx((pictures - 11) / 24, abs=0.01)
    with pytest.raises(NotComparable):
        scores("smaller", groups, groups, groups)


def test_a_metric_that_no_ffmpeg_has_is_not_used_and_its_trial_is_remembered(tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    program = tmp_path / "ffmpeg"
    program.write_text(f'#!/bin/sh\necho x >>{asked}\ncase "$*" in *libvmaf*) exit 1 ;; esac\necho lavfi\n')
    program.chmod(0o755)
    memory = Memory(None)
    for _ in range(2):
        assert meter_for("auto", [program], memory) == Meter(program, "xpsnr")
        assert meter_for("vmaf", [program], memory) is None
        assert meter_for("off", [program], memory) is None


def test_scores_are_told_in_the_record_with_their_metric() -> None:
    scores = Scores("vmaf", "vmaf_v0.6.1", 95.456, 91.234, 88.0, 3, 4.5)
    assert scores.as_record() == {
        **{"metric": "vmaf", "model": "vmaf_v0.6.1", "mean": 95.46, "p5": 91.23, "min": 88.0},
        **{"samples": 3, "seconds": 4.5},
    }
    assert str(scores) == "VMAF 95.5 (5th percentile 91.2)"
    assert Reference(Path("x"), 0, (), "yuv420p", ()).can_seek
