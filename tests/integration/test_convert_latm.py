"""AAC in LATM, as broadcasts have it: it is taken out of that framing without loss, or encoded again."""

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conversion import CONVERTER, convert, stand_in, verified
from tests.media import facts_of, ffmpeg, ffprobe, make, picture, streams_of, tone
from tools.core.errors import VerifyError
from tools.media import scored
from tools.media.converter import FfmpegConverter, MachineOptions, OutputOptions

QUICK = OutputOptions(preset=12, quality_metric="off")
GAP = "noise=drop='between(n,40,90)'"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound with a gap, and another in two channels, at another rate, that begins later than the pictures."""
    late = ["-itsoffset", "1.3", "-f", "lavfi", "-i", "aevalsrc='0.3*sin(2765*t)|0.05*sin(5529*t)':d=1.5:s=44100"]
    inputs = [*picture(3), *tone(3), *late, "-map", "0", "-map", "1", "-map", "2"]
    about = ["-metadata:s:a:0", "language=deu", "-metadata:s:a:1", "language=eng"]
    codecs = ["-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac", "-bsf:a:0", GAP, "-mpegts_flags", "latm"]
    return make([*inputs, *about, *codecs], tmp_path_factory.mktemp("latm") / "in.ts")


@pytest.fixture(scope="module")
def right(source: Path) -> Path:
    convert(source, source.with_name("right.mkv"), FfmpegConverter(QUICK))
    return source.with_name("right.mkv")


def samples_of(path: Path) -> list[str]:
    """A digest of each sound."""
    found = []
    for number in range(2):
        chosen = ["-map", f"0:a:{number}", "-c:a", "pcm_f32le", "-f", "data", "-"]
        command = [ffmpeg(), "-v", "error", "-i", str(path), *chosen]
        found.append(hashlib.sha256(subprocess.run(command, check=True, capture_output=True).stdout).hexdigest())
    return found


def times_in(path: Path) -> list[list[float]]:
    """Of the packets of pictures and sounds, s after the first of all."""
    command: list[str | Path] = [
        ffmpeg(),
        "-v",
        "error",
        "-copyts",
        "-i",
        path,
        "-map",
        "0:v",
        "-map",
        "0:a",
        "-c",
        "copy",
    ]
    said = subprocess.run([*command, "-f", "framecrc", "-"], check=True, capture_output=True, text=True).stdout
    bases: dict[str, float] = {}
    found: dict[str, list[float]] = {}
    for line in said.splitlines():
        if line.startswith("#tb"):
            number, _, base = line.removeprefix("#tb ").partition(": ")
            bases[number] = int(base.partition("/")[0]) / int(base.partition("/")[2])
        elif not line.startswith("#"):
            number, _, shown = line.replace(" ", "").split(",")[:3]
            found.setdefault(number, []).append(int(shown) * bases[number])
    first = min(map(min, found.values()))
    return [[time - first for time in sorted(found[number])] for number in sorted(found)]


def test_every_packet_arrives_at_its_time_and_is_the_same_sound(source: Path, tmp_path: Path) -> None:
    report = convert(source, tmp_path / "out.mkv")
    assert not [line for line in report.warnings if "larger" not in line]
    assert streams_of(tmp_path / "out.mkv") == {"video": ["av1"], "audio": ["aac", "aac"]}
    assert samples_of(tmp_path / "out.mkv") == samples_of(source)
    for before, after in zip(times_in(source), times_in(tmp_path / "out.mkv"), strict=True):
        assert after == pytest.approx(before, abs=0.0021)
    sounds = [one for one in facts_of(tmp_path / "out.mkv")["streams"] if one["codec_type"] == "audio"]
    assert [one["tags"]["language"] for one in sounds] == ["deu", "eng"]
    assert [(one["codec"], one["source_codec"], one["action"]) for one in report.streams[1:]] == [
        ("aac", "aac_latm", "copy")
    ] * 2


def test_sound_of_another_file_stands_beside_its_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not where the pictures that are scored, which are far between, let ffmpeg read on in it."""
    monkeypatch.setattr(scored, "_FEWEST_GROUPS", 2)
    monkeypatch.setattr(scored, "_MOST_GROUPS", 2)
    codecs = ["-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac", "-mpegts_flags", "latm"]
    source = make([*picture(16, "64x64", "12"), *tone(16), "-map", "0", "-map", "1", *codecs], tmp_path / "in.ts")
    report = convert(source, tmp_path / "out.mkv")
    assert (report.streams[1]["action"], (report.quality or {})["samples"]) == ("copy", 2)
    shown = ["-v", "error", "-show_entries", "packet=stream_index,dts_time", "-of", "csv=p=0"]
    command = [ffprobe(), *shown, str(tmp_path / "out.mkv")]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    latest: dict[str, float] = {}
    for line in said.splitlines():
        number, time = line.split(",")[:2]
        latest[number] = float(time)
        assert len(latest) < 2 or abs(latest["0"] - latest["1"]) < 1.0


def test_without_mkvmerge_it_becomes_opus_and_that_is_said(source: Path) -> None:
    plan = FfmpegConverter(QUICK, MachineOptions(mkvmerge="off")).plan(source)
    assert [one.codec for one in plan.kept("audio")] == ["opus"] * 2
    assert len([line for line in plan.warnings() if "encoded again as Opus" in line]) == 2


@pytest.mark.usefixtures("uncaged")
@pytest.mark.parametrize(
    ("rule", "cause"),
    [
        ('head -c -300 "$file" > "$file.x"; mv "$file.x" "$file"', "packets are left without it"),
        ('awk \'NR > 1 {$1 += 50} 1\' "$times" > "$times.x"; mv "$times.x" "$times"', "at another time without it"),
        ("printf '\\x55\\xaa' | dd of=\"$file\" bs=1 seek=3000 conv=notrunc status=none", "not decode to the source's"),
        ("exit 2", "mkvmerge failed"),
    ],
    ids=["a packet less", "50 ms late", "other sound", "a failure"],
)
def test_what_is_not_the_same_without_the_framing_is_encoded(
    rule: str, cause: str, source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    program = tmp_path / "mkvmerge"
    real = shutil.which("mkvmerge")
    program.write_text(
        f"""#!/bin/bash
file="${{@: -1}}" times="${{@: -2:1}}"; times="${{times#0:}}"
case "$file" in *.latm) {rule} ;; esac
exec {real} "$@"
"""
    )
    program.chmod(0o755)
    converter = FfmpegConverter(QUICK, MachineOptions(mkvmerge=str(program)))
    report = convert(source, tmp_path / "out.mkv", converter)
    assert streams_of(tmp_path / "out.mkv")["audio"] == ["opus", "opus"]
    assert sum("encoded again as Opus" in line and cause in line for line in report.warnings) == 2
    assert "is refused" not in caplog.text  # it is found before anything is encoded


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (["-bsf:a:0", "noise=amount=300"], "audio stream 1 does not decode to the source's samples"),
        (["-bsf:a:0", "setts=ts=TS+0.1/TB"], "audio stream 1 is not at the source's times"),
        (["-bsf:a:1", "setts=ts=TS+0.1/TB"], "audio stream 2 is not at the source's times"),
    ],
    ids=["other samples", "one late", "the other late"],
)
def test_result_whose_sound_is_not_the_source_s_is_refused(
    change: list[str], cause: str, source: Path, right: Path, tmp_path: Path
) -> None:
    wrong = make(["-i", str(right), "-map", "0", "-c", "copy", "-disposition:a", "0", *change], tmp_path / "wrong.mkv")
    with pytest.raises(VerifyError, match=cause):
        verified(CONVERTER.plan(source), source, wrong)


@pytest.mark.usefixtures("uncaged")
def test_result_that_is_refused_for_its_sound_is_made_with_opus(source: Path, tmp_path: Path) -> None:
    late = """for one; do [ "$last" = -itsoffset ] && one=0.5; args+=("$one"); last=$one; done"""
    rule = f"""args=(); {late}; set -- "${{args[@]}}" """
    machine = MachineOptions(ffmpeg=str(stand_in(tmp_path, rule)))
    report = convert(source, tmp_path / "out.mkv", FfmpegConverter(QUICK, machine))
    assert streams_of(tmp_path / "out.mkv")["audio"] == ["opus", "opus"]
    assert sum("is not at the source's times" in line for line in report.warnings) == 2
