"""A program that says 200 things that mean nothing: what it says that counts is seen, before them, behind them, amid.

Without CAP_SYS_NICE SVT-AV1 says so once per thread. The programs here are the real ones, with that around them.
"""

import json
import logging
from pathlib import Path

import pytest

from tests.conversion import CONVERTER, convert, refusal
from tests.media import ffprobe, make, make_clip, picture
from tools.core.errors import DiskFull, ProbeError, TranscodeError
from tools.media.choice import BUNDLED_SVT, is_bundled
from tools.media.converter import FfmpegConverter, MachineOptions, OutputOptions
from tools.media.encoders import MODERN, NEWEST, OLD
from tools.media.ffmpeg import choose, try_encoders
from tools.media.installed import version_of
from tools.media.probe import probe
from tools.media.transcode import failed_run
from tools.report.checks import judge_trials, trial_lines

pytestmark = pytest.mark.usefixtures("uncaged")
BUNDLED = CONVERTER._chosen().ffmpeg
FFPROBE = Path(ffprobe())
PLACES = ["say; noise", "noise; say", "noise; say; noise"]


def noisy(folder: Path, rules: str, real: Path = BUNDLED) -> Path:
    """The real program, but for ``rules``, branches of a case over the command line; they may use ``noise``."""
    path = folder / real.name.split("-")[0]
    path.write_text(
        f"""#!/bin/bash
noise() {{ for n in {{1..200}}; do echo "Svt[warn]: Failed to set thread priority: Invalid argument"; done >&2; }}
real={real}
case "$*" in
{rules}
esac
exec "$real" "$@"
""",
        encoding="utf-8",
    )
    path.chmod(0o755)
    return path


def using(ffmpeg: Path) -> FfmpegConverter:
    return FfmpegConverter(OutputOptions(preset=12), MachineOptions(ffmpeg=str(ffmpeg)))


def saying(text: str, place: str) -> str:
    """The steps of ``place`` as bash, with ``text`` for what is said."""
    return place.replace("say", f"echo '{text}' >&2")


def test_version_and_parameters_of_the_encoder_are_seen(tmp_path: Path) -> None:
    ffmpeg = noisy(tmp_path, '*lavfi*) noise; "$real" "$@"; status=$?; noise; exit $status ;;')
    best = choose(OutputOptions(), str(ffmpeg)).encoders[0]
    assert best.svt_version[:2] == BUNDLED_SVT and best.generation == NEWEST and best.crops


@pytest.mark.parametrize(
    ("parameter", "place", "generation"),
    [*(("enable-variance-boost", place, OLD) for place in PLACES), ("tf-strength", PLACES[0], MODERN)],
)
def test_parameter_that_a_build_complains_about_is_not_used(
    parameter: str, place: str, generation: int, tmp_path: Path
) -> None:
    said = saying(f"[libsvtav1 @ 0x1] Error parsing option {parameter}: 1.", place)
    ffmpeg = noisy(tmp_path, f"*{parameter}*) {said} ;;")
    best = choose(OutputOptions(), str(ffmpeg)).encoders[0]
    assert best.name == "libsvtav1" and best.generation == generation and best.svt_version[:2] == BUNDLED_SVT


def test_encoder_that_tells_no_version_gets_no_new_parameter_and_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mute = noisy(tmp_path, '*lavfi*) exec "$real" "$@" 2> /dev/null ;;')
    converter = using(mute)
    with caplog.at_level(logging.WARNING):
        assert converter.prepare().startswith("libsvtav1 of ffmpeg ")
    best = converter._chosen().encoders[0]
    assert best.svt_version == () and not best.modern
    assert "does not tell its version" in caplog.text


def test_bundled_encoder_wins_over_a_noisy_one_that_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = """*lavfi*libsvtav1*) noise; "$real" "$@" 2>&1 | sed 's/Lib v[0-9.]*/Lib v1.4.1/' >&2; noise; exit ;;"""
    first = noisy(tmp_path, old)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    programs = choose(OutputOptions())
    assert is_bundled(programs.encoders[0].ffmpeg) and programs.encoders[0].svt_version[:2] == BUNDLED_SVT
    assert f"({first}): SVT-AV1 1.4.1 is older" in programs.not_used


@pytest.mark.parametrize("place", PLACES)
def test_reason_of_an_encoder_that_does_not_work_is_seen(place: str, tmp_path: Path) -> None:
    said = saying("[av1_nvenc @ 0x1] Cannot load libcuda.so.1", place)
    ffmpeg = noisy(tmp_path, f"*av1_nvenc*) {said}; exit 1 ;;\n*libaom*) noise ;;")
    trials = try_encoders(OutputOptions(encoder="av1_nvenc"), str(ffmpeg))
    trials += try_encoders(OutputOptions(encoder="libaom-av1"), str(ffmpeg))
    assert [trial.works for trial in trials] == [False, True]
    assert next(line for line in trial_lines(trials) if "av1_nvenc" in line).endswith('no: "Cannot load libcuda.so.1"')
    assert judge_trials(trials).seen.endswith('; not used: av1_nvenc: "Cannot load libcuda.so.1"')


@pytest.mark.parametrize(
    ("rule", "crops"), [("noise; echo Option not found >&2; noise; exit 8", False), ("noise", True)]
)
def test_option_against_cropping_is_tried(rule: str, crops: bool, tmp_path: Path) -> None:
    ffmpeg = noisy(tmp_path, f"*apply_cropping*) {rule} ;;")
    assert choose(OutputOptions(encoder="libaom-av1"), str(ffmpeg)).encoders[0].crops is crops


def test_version_of_ffmpeg_is_seen(tmp_path: Path) -> None:
    told = version_of(noisy(tmp_path, "*-version*) noise 2>&1 ;;"))
    assert told == version_of(BUNDLED) and any(character.isdigit() for character in told)


@pytest.mark.parametrize("place", PLACES)
def test_cause_of_a_failed_encode_is_seen_and_left_in_the_log(
    place: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    said = saying("[libsvtav1 @ 0x1] Invalid parameters", place)
    ffmpeg = noisy(tmp_path, f'*lavfi*) ;;\n*"-f matroska"*) {said}; exit 1 ;;')
    source = make_clip(tmp_path / "in.mp4", seconds=0.3)
    with (
        caplog.at_level(logging.DEBUG),
        pytest.raises(TranscodeError, match=r"failed: .*Invalid parameters") as caught,
    ):
        convert(source, tmp_path / "out.mkv", using(ffmpeg))
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    commands = [record.getMessage() for record in caplog.records if record.levelno == logging.DEBUG]
    assert all("Invalid parameters" in line and "repeated " in line and "\n" not in line for line in warnings)
    assert warnings and any(f"-i file:{source}" in line and "libsvtav1" in line for line in commands)
    kept = failed_run(caught.value)
    assert f"-i file:{source}" in kept["command"] and "Invalid parameters" in kept["stderr"]
    assert len(kept["stderr"].splitlines()) <= 3


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("run", ['*"-f matroska"*', '*"-f image2"*'])
def test_full_disk_is_seen(run: str, place: str, tmp_path: Path) -> None:
    said = saying("av_interleaved_write_frame(): No space left on device", place)
    ffmpeg = noisy(tmp_path, f"*lavfi*) ;;\n{run}) {said}; exit 228 ;;")
    with pytest.raises(DiskFull) as caught:
        convert(_with_cover(tmp_path), tmp_path / "out.mkv", using(ffmpeg))
    assert "No space left" in failed_run(caught.value)["stderr"]


@pytest.mark.parametrize("place", PLACES)
def test_cause_of_a_cover_that_can_t_be_read_is_seen(place: str, tmp_path: Path) -> None:
    said = saying("[image2 @ 0x1] Invalid picture", place)
    ffmpeg = noisy(tmp_path, f'*lavfi*) ;;\n*"-f image2"*) {said}; exit 1 ;;')
    cause = refusal(_with_cover(tmp_path), tmp_path / "out.mkv", using(ffmpeg))
    assert "cover art of stream 1" in cause and "Invalid picture" in cause


def _with_cover(folder: Path) -> Path:
    image = make([*picture(), "-frames:v", "1"], folder / "cover.png")
    maps = ["-map", "0", "-map", "1", "-c:v:0", "mpeg4", "-c:v:1", "png", "-disposition:v:1", "attached_pic"]
    return make([*picture(0.3), "-i", str(image), *maps], folder / "in.mp4")


@pytest.mark.parametrize("place", PLACES)
def test_damaged_picture_is_counted(place: str, tmp_path: Path) -> None:
    said = saying("[h264 @ 0x1] error while decoding MB 3 4, bytestream 5", place)
    ffmpeg = noisy(tmp_path, f'*lavfi*) ;;\n*"-f matroska"*) {said} ;;')
    report = convert(make_clip(tmp_path / "in.mp4"), tmp_path / "out.mkv", using(ffmpeg))
    assert any("damaged source: 1 of 24 pictures" in line for line in report.warnings)


@pytest.mark.parametrize("place", PLACES)
def test_result_that_does_not_decode_is_seen(place: str, tmp_path: Path) -> None:
    said = saying("[libdav1d @ 0x1] Error parsing OBU data", place)
    ffmpeg = noisy(tmp_path, f'*lavfi*) ;;\n*"-map 0:V "*) {said} ;;')
    cause = refusal(make_clip(tmp_path / "in.mp4", seconds=0.3), tmp_path / "out.mkv", using(ffmpeg))
    assert "does not decode in full: Error parsing OBU data" in cause


def test_checksum_that_could_not_be_taken_is_no_match(tmp_path: Path) -> None:
    ffmpeg = noisy(tmp_path, "*streamhash*) noise; echo 'Invalid stream' >&2; noise; exit 1 ;;")
    cause = refusal(make_clip(tmp_path / "in.mkv", seconds=0.3), tmp_path / "out.mkv", using(ffmpeg))
    assert "audio stream 1 is not the source's, bit for bit" in cause


def test_noise_alone_is_no_complaint_of_any_program(tmp_path: Path) -> None:
    ffmpeg = noisy(tmp_path, "*) noise ;;")
    noisy(tmp_path, "*) noise ;;", FFPROBE)
    report = convert(make_clip(tmp_path / "in.mp4", seconds=0.3), tmp_path / "out.mkv", using(ffmpeg))
    assert not [line for line in report.warnings if "larger than the source" not in line]


@pytest.mark.parametrize("place", PLACES)
def test_verdict_of_the_probe_is_seen(place: str, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4", seconds=0.3)
    said = saying("[mov,mp4 @ 0x1] moov atom not found", place)
    with pytest.raises(ProbeError, match=r"^can't be read as a video: no stream in it \(moov atom not found\)$"):
        probe(source, noisy(tmp_path, f"*show_streams*) {said}; exit 1 ;;", FFPROBE))
    with pytest.raises(ProbeError, match=r"^can't be read as a video: .*moov atom not found$"):
        probe(source, noisy(tmp_path, f'*show_streams*) "$real" "$@"; {said}; exit 1 ;;', FFPROBE))


@pytest.mark.parametrize("place", PLACES)
def test_complaint_of_the_demuxer_is_seen(place: str, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4", seconds=0.3)
    said = saying("[mov @ 0x1] stream 0, offset 0x30: partial file", place)
    complaining = noisy(tmp_path, f"*packet=*) {said} ;;", FFPROBE)
    assert probe(source, complaining).complaints == "stream 0, offset 0x30: partial file"
    assert probe(source, noisy(tmp_path, "*) noise ;;", FFPROBE)).complaints == ""


def test_side_data_of_the_first_picture_is_seen(tmp_path: Path) -> None:
    light = {"side_data_type": "Content light level metadata", "max_content": 1000, "max_average": 400}
    frames = json.dumps({"frames": [{"side_data_list": [light]}]})
    shown = f"*show_frames*) noise; echo '{frames}'; noise; exit ;;"
    source = make_clip(tmp_path / "in.mp4", seconds=0.3)
    hdr = make(
        ["-i", str(source), "-c", "copy", "-bsf:v", "h264_metadata=transfer_characteristics=16"], tmp_path / "h.mp4"
    )
    facts = probe(hdr, noisy(tmp_path, shown, FFPROBE))
    assert facts.of("video")[0].hdr["Content light level metadata"]["max_content"] == 1000
