"""What an encoder may make of the pictures, and what the gate says to it. Each is the real one but for a filter that it
puts in front of itself, and ends with exit status 0."""

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.conversion import convert, refusal, stand_in
from tests.media import make, picture
from tools.core.errors import PicturesDiffer
from tools.media import gate, thumbnails
from tools.media.converter import FfmpegConverter, MachineOptions, OutputOptions
from tools.media.facts import Facts
from tools.media.quality import Scores
from tools.media.scored import Pictures

pytestmark = pytest.mark.usefixtures("uncaged")
_OPTIONS = OutputOptions(encoder="libsvtav1", preset=12)
_TOP = "split[a][b];[b]crop=iw:ih/2:0:0,noise=alls=100[c];[a][c]overlay=0:0"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 pictures with colours that move."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return make([*picture(2.0), "-c:v", "mpeg4", "-q:v", "2", "-g", "12"], path)


def _spoiling(folder: Path, filters: str, options: OutputOptions = _OPTIONS, more: str = "") -> FfmpegConverter:
    """A converter whose SVT-AV1 gets its pictures through these filters."""
    rule = f"""{more}
case "$*" in *-c:v:0\\ libsvtav1*)
  given=()
  was=
  for one in "$@"; do
    [ "$was" = -filter:v:0 ] && one="$one,{filters}"
    given+=("$one")
    was=$one
  done
  exec "$real" "${{given[@]}}" ;;
esac"""
    return FfmpegConverter(options, MachineOptions(ffmpeg=str(stand_in(folder, rule))))


@pytest.mark.parametrize(
    ("filters", "at"),
    [
        pytest.param("lutyuv=y=0:u=0:v=0", "0:00", id="green"),
        pytest.param("drawbox=color=black:t=fill", "0:00", id="black"),
        pytest.param("lutyuv=v=128", "0:00", id="a plane lost"),
        pytest.param("colormatrix=bt709:bt601", "0:00", id="another matrix"),
        pytest.param("lutyuv=y=(val-16)*255/219", "0:00", id="another range"),
        pytest.param("hue=h=10", "0:00", id="another hue"),
        pytest.param("vflip", "0:00", id="flipped"),
        pytest.param("crop=iw-16:ih-16,scale=320:180", "0:00", id="cropped"),
        pytest.param("tpad=start=1:start_mode=clone,trim=end_frame=48", "0:00", id="shifted by a frame"),
        pytest.param("shuffleframes=0 1 1 1", "0:00", id="frozen"),
        pytest.param("shuffleframes=1 0", "0:00", id="swapped"),
        pytest.param(_TOP, "0:00", id="half of it garbage"),
        pytest.param("negate=enable=gte(t\\\\,1.5)", "0:01", id="damage in the last second"),
        pytest.param("lutyuv=y=val/4:u=val/4:v=val/4", "0:00", id="10 bits taken for 8"),
    ],
)
def test_pictures_that_are_not_the_source_s_are_refused(tmp_path: Path, clip: Path, filters: str, at: str) -> None:
    said = refusal(clip, tmp_path / "out.mkv", _spoiling(tmp_path, filters))
    assert f"the pictures differ from the source's at {at}" in said


def test_of_a_long_video_the_edges_and_parts_of_what_is_between_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thumbnails, "MOST", 120)  # pictures: a part of a second in each 8
    codec = ["-c:v", "mpeg4", "-g", "12", "-output_ts_offset", "5"]
    clip = make([*picture(20.2, "64x64", "12"), *codec], tmp_path / "1.ts")
    said = refusal(clip, tmp_path / "out.mkv", _spoiling(tmp_path, "negate=enable=gte(n\\\\,236)"))
    assert "the pictures differ from the source's at 0:19" in said
    made = convert(clip, tmp_path / "out.mkv", FfmpegConverter(_OPTIONS))
    quality = made.quality or {}
    assert quality["samples"] == 16 and quality["seconds"] == pytest.approx(4.0, abs=0.1)  # of three pictures each


def test_blur_beyond_the_floor_is_refused(tmp_path: Path, clip: Path) -> None:
    strict, lenient = (replace(_OPTIONS, quality_floor=floor) for floor in (92.0, 0.0))
    said = refusal(clip, tmp_path / "out.mkv", _spoiling(tmp_path, "gblur=sigma=0.7", replace(strict, encoder="auto")))
    assert "worse than QUALITY_FLOOR allows: VMAF" in said
    quality = convert(clip, tmp_path / "out.mkv", _spoiling(tmp_path, "gblur=sigma=0.7", lenient)).quality
    assert quality is not None and quality["mean"] < 92


def test_grain_that_is_hard_to_keep_is_not_refused(tmp_path: Path) -> None:
    grain = "noise=alls=12:allf=t,eq=brightness=-0.35"
    clip = make([*picture(1, "320x180", "24"), "-vf", grain, "-c:v", "ffv1"], tmp_path / "1.mkv")
    for metric in ("vmaf", "xpsnr", "ssim"):
        options = replace(_OPTIONS, crf=36, quality_metric=metric)
        quality = convert(clip, tmp_path / f"{metric}.mkv", FfmpegConverter(options)).quality
        assert quality is not None and quality["metric"] == metric


def test_encoders_with_one_name_are_each_tried_once(tmp_path: Path) -> None:
    """Two builds of an encoder have one label: the last of them does not lead back to the first."""
    ways = [SimpleNamespace(label=label) for label in ("svt", "aom", "aom")]
    tried: list[Any] = []

    class Refused(FfmpegConverter):
        def _chosen(self) -> Any:
            def after(one: Any) -> Any:
                return next(iter(ways[ways.index(one) + 1 :]), None)

            return SimpleNamespace(encoders=ways, after=after)

        def plan(self, *_: Any) -> Any: ...

        def _forget(self, *_: Any) -> None: ...

        def _made_of(self, *given: Any) -> Any:
            tried.append(given[-1] or ways[0])
            assert len(tried) < 9
            raise PicturesDiffer("green", encoder=tried[-1].label)

    ways[2].build = "another"
    with pytest.raises(PicturesDiffer):
        convert(tmp_path / "1.mkv", tmp_path / "2.mkv", Refused(_OPTIONS))
    assert tried == ways


def test_next_encoder_takes_what_the_gate_refused_and_the_scores_are_told(tmp_path: Path, clip: Path) -> None:
    made = convert(clip, tmp_path / "out.mkv", _spoiling(tmp_path, "vflip", replace(_OPTIONS, encoder="auto")))
    assert made.encoder.startswith("libaom-av1")
    assert any("was refused, the next encoder took it: the pictures differ" in line for line in made.warnings)
    quality = made.quality or {}
    assert (quality["metric"], quality["model"], quality["samples"]) == ("vmaf", "vmaf_v0.6.1", 1)
    assert quality["mean"] > 80 and quality["mean"] >= quality["p5"] >= quality["min"]
    assert quality["seconds"] == pytest.approx(2.0, abs=0.1)


def test_scores_of_the_search_serve_the_gate_which_goes_by_the_crf_that_was_found(
    tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged, judge = [], gate.Gate.judge
    written, output = set(), Pictures.output

    def judging(self: gate.Gate, made: Facts) -> None:
        judged.append(self.options.crf)
        judge(self, made)

    def writing(self: Pictures, label: str) -> list[str]:
        written.add(self.path.name)
        return output(self, label)

    def twice(*_: Any, **__: Any) -> None:
        raise AssertionError("the search measured it")

    monkeypatch.setattr(gate, "score_pictures", twice)
    monkeypatch.setattr(gate.Gate, "judge", judging)
    monkeypatch.setattr(Pictures, "output", writing)
    made = convert(clip, tmp_path / "out.mkv", FfmpegConverter(replace(_OPTIONS, target_vmaf=93.0)))
    assert judged == [made.target["crf"]] and judged != [_OPTIONS.crf]
    assert (made.quality or {})["mean"] == made.target["predicted"] and written == {"source.nut"}


def test_metric_reads_what_other_runs_wrote_and_decodes_neither_file(
    tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted, there, measure = tmp_path / "noted", list[bool](), gate.Gate.measure

    def measuring(self: gate.Gate, *given: Any, **named: Any) -> Scores:
        there.append((self.folder / "scored").exists())
        scores = measure(self, *given, **named)
        there.append((self.folder / "scored").exists())
        return scores

    monkeypatch.setattr(gate.Gate, "measure", measuring)
    converter = _spoiling(tmp_path, "null", more=f'echo "$*" >>"{noted}"')
    assert convert(clip, tmp_path / "out.mkv", converter).quality is not None
    commands = noted.read_text().splitlines()
    scoring = [one for one in commands if "libvmaf" in one and "color=gray" not in one]
    assert len(scoring) == 1 and scoring[0].count(".nut") == 2
    assert str(clip) not in scoring[0] and "result.mkv" not in scoring[0]
    assert sum(str(clip) in one for one in commands) == 1 and there == [True, False]


def test_without_room_for_the_pictures_the_rest_is_checked_and_that_is_said(tmp_path: Path, clip: Path) -> None:
    full = MachineOptions(min_free_space=shutil.disk_usage(tmp_path).total)
    made = convert(clip, tmp_path / "out.mkv", FfmpegConverter(_OPTIONS, full))
    assert made.quality is None
    assert any("not measured: there was no room for the pictures that are scored" in line for line in made.warnings)
    spoiling = _spoiling(tmp_path, "vflip")
    spoiling.machine = replace(spoiling.machine, min_free_space=full.min_free_space)
    assert "the pictures differ from the source's" in refusal(clip, tmp_path / "2.mkv", spoiling)


def test_pictures_of_an_encode_that_broke_off_are_not_those_of_the_next_one(tmp_path: Path, clip: Path) -> None:
    converter = FfmpegConverter(_OPTIONS)
    checks = gate.Gate(converter.plan(clip), converter._chosen().encoders[0], _OPTIONS, tmp_path)
    asked = checks.of_encode(room=1 << 40)
    begun = tmp_path / "scored" / "source.nut"
    assert f"file:{begun}" in asked
    begun.write_bytes(b"some of them")
    assert f"file:{begun}" not in checks.of_encode(room=0)  # the disk has filled meanwhile
    assert not begun.exists()
    begun.parent.write_bytes(b"no folder")
    assert f"file:{begun}" in checks.of_encode(room=1 << 40) and begun.parent.is_dir()


def test_trouble_of_the_machine_while_it_measures_does_not_count_against_the_video(tmp_path: Path, clip: Path) -> None:
    killed = _spoiling(tmp_path, "null", more='case "$*" in *color=gray*) ;; *libvmaf*) kill -9 $$ ;; esac')
    made = convert(clip, tmp_path / "out.mkv", killed)
    assert made.quality is None
    assert any("the quality was not measured: ffmpeg was ended by SIGKILL" in line for line in made.warnings)
    (tmp_path / "out.mkv").unlink()
    without = _spoiling(tmp_path, "vflip", more='case "$*" in *vmaf*|*psnr*|*ssim*) exit 1 ;; esac')
    with pytest.raises(PicturesDiffer):  # which takes no metric
        convert(clip, tmp_path / "out.mkv", without)
    off = _spoiling(tmp_path, "vflip", replace(_OPTIONS, quality_metric="off"))
    assert convert(clip, tmp_path / "out.mkv", off).quality is None
