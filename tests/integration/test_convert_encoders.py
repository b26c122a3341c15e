"""Which encoder takes a file: the best that passed its trial, the next if it fails, fewer threads if it grows."""

import contextlib
import subprocess
import sys
import threading
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.conversion import CONVERTER, convert, refusal, stand_in
from tests.media import make, make_clip, picture, tone
from tools.core.concurrency import NO_NEED, Need
from tools.core.options import options_of
from tools.media.converter import FfmpegConverter, MachineOptions, OutputOptions
from tools.media.ffmpeg import choose, try_encoders

pytestmark = pytest.mark.usefixtures("uncaged")
BUNDLED = CONVERTER._chosen().ffmpeg
DEBIAN = Path("/usr/bin/ffmpeg")


def program(folder: Path, rules: str) -> Path:
    """An ffmpeg that is the real one but for ``rules``, branches of a case over the whole command line."""
    path = folder / "ffmpeg"
    path.write_text(f'#!/bin/bash\nreal={BUNDLED}\ncase "$*" in\n{rules}\nesac\nexec "$real" "$@"\n', encoding="utf-8")
    path.chmod(0o755)
    return path


def debian() -> Path:
    if not DEBIAN.exists():
        pytest.skip("no ffmpeg of a distribution here")
    return DEBIAN


def test_card_that_fails_on_a_file_hands_it_to_the_next_encoder_and_is_tried_again(tmp_path: Path) -> None:
    # No card here: the stand-in says yes to its trial until it falls over, and never encodes.
    card = program(
        tmp_path,
        f"""*lavfi*av1_nvenc*) [ ! -e {tmp_path}/fell ]; exit ;;
        *av1_nvenc*) touch {tmp_path}/fell; echo 'OpenEncodeSessionEx failed: out of memory (10)' >&2; exit 187 ;;""",
    )
    options = MachineOptions(ffmpeg=str(card), memory=tmp_path / "encoders.json")
    converter = FfmpegConverter(OutputOptions(preset=12), options)
    assert converter.prepare().startswith("av1_nvenc")
    source = make_clip(tmp_path / "in.mp4")
    first = convert(source, tmp_path / "first.mkv", converter)
    assert first.encoder.startswith("libsvtav1")
    assert [line for line in first.warnings if "av1_nvenc" in line and "out of memory" in line]
    assert converter.prepare().startswith("libsvtav1")
    assert not [line for line in convert(source, tmp_path / "second.mkv", converter).warnings if "av1_nvenc" in line]


def test_second_start_asks_no_program(tmp_path: Path) -> None:
    asked = program(tmp_path, f"*) echo >> {tmp_path}/asked ;;")
    options = MachineOptions(ffmpeg=str(asked), memory=tmp_path / "encoders.json")
    first = FfmpegConverter(OutputOptions(preset=12), options).prepare()
    times = (tmp_path / "asked").stat().st_size
    again = FfmpegConverter(OutputOptions(preset=12), options)
    assert again.prepare() == first and (tmp_path / "asked").stat().st_size == times > 0
    assert again.version() in first and (tmp_path / "asked").stat().st_size == times
    FfmpegConverter(OutputOptions(preset=11), options).prepare()
    assert (tmp_path / "asked").stat().st_size > times, "other options are another question"


def test_wrong_memory_costs_one_trial(tmp_path: Path) -> None:
    rules = f"""*libsvtav1*) if [ -e {tmp_path}/broken ]; then echo 'no such library' >&2; exit 1; fi ;;"""
    options = MachineOptions(ffmpeg=str(program(tmp_path, rules)), memory=tmp_path / "encoders.json")
    assert FfmpegConverter(OutputOptions(preset=12), options).prepare().startswith("libsvtav1")
    (tmp_path / "broken").touch()
    later = FfmpegConverter(OutputOptions(preset=12), options)
    source = make_clip(tmp_path / "in.mp4", seconds=0.3)
    assert later.prepare().startswith("libsvtav1"), "as remembered"
    assert convert(source, tmp_path / "first.mkv", later).encoder == "libaom-av1"
    assert later.prepare().startswith("libaom-av1")
    assert not [line for line in convert(source, tmp_path / "second.mkv", later).warnings if "next encoder" in line]


def test_trial_that_a_signal_ended_is_not_remembered(tmp_path: Path) -> None:
    killed = program(tmp_path, f"*lavfi*libsvtav1*) [ -e {tmp_path}/calm ] || kill -9 $$ ;;")
    options = MachineOptions(ffmpeg=str(killed), memory=tmp_path / "encoders.json")
    assert FfmpegConverter(OutputOptions(preset=12), options).prepare().startswith("libaom-av1")
    (tmp_path / "calm").touch()
    assert FfmpegConverter(OutputOptions(preset=12), options).prepare().startswith("libsvtav1")


def test_encoder_behind_the_first_that_works_is_tried_when_a_file_needs_it(tmp_path: Path) -> None:
    rules = f"""*lavfi*libaom*) touch {tmp_path}/tried ;;
    *lavfi*) ;;
    *"-f matroska"*libsvtav1*|*libsvtav1*"-f matroska"*) echo 'Error while opening encoder' >&2; exit 1 ;;"""
    converter = FfmpegConverter(OutputOptions(preset=12), MachineOptions(ffmpeg=str(program(tmp_path, rules))))
    assert converter.prepare().startswith("libsvtav1") and not (tmp_path / "tried").exists()
    report = convert(make_clip(tmp_path / "in.mp4", seconds=0.3), tmp_path / "out.mkv", converter)
    assert report.encoder == "libaom-av1" and (tmp_path / "tried").exists()
    assert [line for line in report.warnings if "the next encoder took it" in line and "opening encoder" in line]


def test_no_other_encoder_is_tried_for_pictures_that_do_not_decode(tmp_path: Path) -> None:
    source = make([*picture(0.04), "-c:v", "prores", "-frames:v", "1"], tmp_path / "in.mov")
    content = bytearray(source.read_bytes())
    place = content.index(b"icpf")
    content[place + 4 : place + 24] = b"\xff" * 20
    source.write_bytes(content)
    rules = f"*lavfi*libaom*) touch {tmp_path}/tried ;;"
    converter = FfmpegConverter(OutputOptions(preset=12), MachineOptions(ffmpeg=str(program(tmp_path, rules))))
    assert refusal(source, tmp_path / "out.mkv", converter)
    assert not (tmp_path / "tried").exists()


def test_software_that_stops_midway_is_the_file_s_fault_and_not_repeated_by_the_next(tmp_path: Path) -> None:
    broken = program(
        tmp_path,
        f"""*lavfi*) ;;
        *libaom*) touch {tmp_path}/asked ;;
        *"-f matroska"*)
          printf 'frame=5\\nout_time_us=200000\\nprogress=continue\\n'; echo 'broken inside' >&2; exit 1 ;;""",
    )
    converter = FfmpegConverter(OutputOptions(preset=12), MachineOptions(ffmpeg=str(broken)))
    assert "broken inside" in refusal(make_clip(tmp_path / "in.mp4"), tmp_path / "out.mkv", converter)
    assert not (tmp_path / "asked").exists()


def test_every_candidate_is_tried_and_the_newest_svt_goes_first() -> None:
    trials = try_encoders(OutputOptions())
    assert {trial.ffmpeg for trial in trials} >= {BUNDLED}
    assert {trial.encoder for trial in trials} == {"av1_nvenc", "av1_qsv", "av1_vaapi", "libsvtav1", "libaom-av1"}
    assert all(trial.works or trial.reason for trial in trials)
    versions = [encoder.svt_version for encoder in choose(OutputOptions()).encoders if encoder.name == "libsvtav1"]
    assert versions == sorted(versions, reverse=True)


def test_old_svt_gets_its_own_preset_and_no_parameter_that_it_lacks(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4", seconds=0.3)
    old = convert(
        source, tmp_path / "old.mkv", FfmpegConverter(OutputOptions(preset=9), MachineOptions(ffmpeg=str(debian())))
    )
    new = convert(
        source, tmp_path / "new.mkv", FfmpegConverter(OutputOptions(preset=9), MachineOptions(ffmpeg=str(BUNDLED)))
    )
    assert "variance-boost" in new.settings and "-preset 9" in new.settings
    no_part = {"crf_min", "crf_max", "max_size_percent", "when_bigger", "quality_metric", "quality_floor"}
    decided = {name: value for name, value in asdict(OutputOptions(preset=9)).items() if name not in no_part}
    assert options_of(new.options) == {**decided, "encoder": "libsvtav1"}
    assert new.options == old.options, "no build of an encoder is told apart"
    if "SVT-AV1 1." in old.encoder:
        assert "variance-boost" not in old.settings and "-preset 11" in old.settings


@pytest.mark.parametrize("name", ["in.mp4", "in.mkv", "in.ts", "av1.mp4"])
def test_same_source_gives_the_same_bytes_whatever_path_time_and_cores(name: str, tmp_path: Path) -> None:
    codecs = ["-c:v", "libsvtav1", "-preset", "12"] if name == "av1.mp4" else ["-c:v", "libx264", "-pix_fmt", "yuv420p"]
    source = make([*picture(1, "640x360"), *tone(1), *codecs, "-c:a", "aac"], tmp_path / name)
    made = set()
    for number, cores in enumerate((None, 1, 6)):
        place = tmp_path / f"目录 {number}"
        place.mkdir()
        (place / f"第 {number} 集{source.suffix}").write_bytes(source.read_bytes())
        stop, source = threading.Event(), place / f"第 {number} 集{source.suffix}"
        report = CONVERTER.convert(source, place / "o.mkv", on_progress=lambda _: None, stop=stop, threads=cores)
        assert cores != 6 or report.encoder == "" or "lp=4" in report.settings
        made.add(report.sha256)
    assert len(made) == 1


def test_setting_names_the_one_program_that_counts(tmp_path: Path) -> None:
    mine = program(tmp_path, "")
    assert {trial.ffmpeg for trial in try_encoders(OutputOptions(), str(mine))} == {mine}
    assert {trial.encoder for trial in try_encoders(OutputOptions(encoder="libaom-av1"))} == {"libaom-av1"}


def test_encode_that_outgrows_memory_starts_again_with_fewer_threads(tmp_path: Path) -> None:
    hungry = "exec python3 -c 'import time; held = bytearray(700 << 20); time.sleep(60)'"
    greedy = program(tmp_path, f'*lavfi*|*lp=1*|*"-f null"*|*streamhash*) ;;\n*"-f matroska"*) {hungry} ;;')
    converter = FfmpegConverter(OutputOptions(preset=12), MachineOptions(ffmpeg=str(greedy), max_encode_rss=600 << 20))
    report = convert(make_clip(tmp_path / "in.mp4"), tmp_path / "out.mkv", converter)
    assert "lp=1" in report.settings


def test_encode_that_outgrows_memory_with_one_thread_is_refused(tmp_path: Path) -> None:
    hungry = "exec python3 -c 'import time; held = bytearray(700 << 20); time.sleep(60)'"
    greedy = program(tmp_path, f'*lavfi*) ;;\n*"-f matroska"*) {hungry} ;;')
    converter = FfmpegConverter(OutputOptions(preset=12), MachineOptions(ffmpeg=str(greedy), max_encode_rss=600 << 20))
    assert "MAX_ENCODE_RSS" in refusal(make_clip(tmp_path / "in.mp4"), tmp_path / "out.mkv", converter)


def test_result_of_a_run_that_ends_with_0_and_half_the_pictures_is_refused(tmp_path: Path) -> None:
    half = program(tmp_path, '*lavfi*) ;;\n*"-f matroska"*) exec "$real" "${@:1:$#-1}" -frames:v 12 "${@: -1}" ;;')
    converter = FfmpegConverter(OutputOptions(preset=12, quality_metric="off"), MachineOptions(ffmpeg=str(half)))
    assert "only 12 of 24 frames" in refusal(make_clip(tmp_path / "in.mkv"), tmp_path / "out.mkv", converter)


def test_pixels_that_a_container_only_hides_are_asked_for(tmp_path: Path) -> None:
    """No writer here sets a clean aperture; ffmpeg cuts by it since 7.1 unless it is told not to."""
    seen = program(tmp_path, f"""*"-f matroska"*) printf '%s ' "$@" > {tmp_path}/seen ;;""")
    converter = FfmpegConverter(OutputOptions(preset=12), MachineOptions(ffmpeg=str(seen)))
    convert(make_clip(tmp_path / "in.mp4", seconds=0.3), tmp_path / "out.mkv", converter)
    assert "-apply_cropping codec" in (tmp_path / "seen").read_text("utf-8")


def test_every_run_that_opens_a_source_is_fenced_in(tmp_path: Path) -> None:
    """All command lines, of the encoder and of the checks, as the programs see them."""
    seen = program(tmp_path, f"""*) printf '%s\\0' "$@" >> {tmp_path}/seen; printf '\\n' >> {tmp_path}/seen ;;""")
    source = make_clip(tmp_path / "in.mp4")
    convert(source, tmp_path / "out.mkv", FfmpegConverter(OutputOptions(preset=12), MachineOptions(ffmpeg=str(seen))))
    runs = [line.split("\0")[:-1] for line in (tmp_path / "seen").read_text("utf-8").splitlines()]
    opening = [run for run in runs if any(str(tmp_path) in part for part in run)]
    assert len(opening) >= 2
    for run in opening:
        where = run.index("-i")
        assert run[where + 1].startswith("file:/") and run[run.index("-protocol_whitelist") + 1] == "file,pipe"
        assert run.index("-format_whitelist") < where and "-nostdin" in run


def test_doctor_prints_the_whole_table(tmp_path: Path) -> None:
    from tests.programs import ROOT

    command = [sys.executable, str(ROOT / "tools/doctor.py"), "--modelscope-endpoint", "http://127.0.0.1:9"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
    for name in ("av1_nvenc", "av1_qsv", "av1_vaapi", "libsvtav1", "libaom-av1"):
        assert name in said
    assert "works (libsvtav1 SVT-AV1 " in said


@pytest.mark.usefixtures("uncaged")
@pytest.mark.parametrize("cores", [1, None])
def test_result_is_decoded_with_its_share_of_the_cores(tmp_path: Path, cores: int | None) -> None:
    def held(stage: str, need: Need = NO_NEED) -> AbstractContextManager[int | None]:
        return contextlib.nullcontext(cores)

    program = stand_in(tmp_path, f'echo "$*" >> {tmp_path}/runs')
    converter = FfmpegConverter(OutputOptions(preset=12), MachineOptions(ffmpeg=str(program)))
    target, source = tmp_path / "out.mkv", make_clip(tmp_path / "a.mkv")
    converter.convert(source, target, on_progress=lambda p: None, stop=threading.Event(), held=held)
    (decode,) = (run for run in (tmp_path / "runs").read_text().splitlines() if "-map 0:V" in run)
    assert ("-threads 1 " in decode.partition(" -i ")[0]) == (cores == 1)
