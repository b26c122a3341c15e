"""Re-encoded sound: what is not the source's is found, whatever is right is not refused."""

import shutil
from pathlib import Path

import pytest

from tests.conversion import convert, refusal, stand_in, verified
from tests.media import make, picture, streams_of
from tools.core.errors import VerifyError
from tools.media.converter import FfmpegConverter, MachineOptions, OutputOptions
from tools.media.plan import Plan

X264 = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"]
LOSSY = ["-c:a", "aac", "-mpegts_flags", "latm"]
FRAMED = FfmpegConverter(OutputOptions(preset=12), MachineOptions(mkvmerge="off"))  # AAC in LATM becomes Opus
LOSSLESS = ["-c:a", "s302m", "-strict", "-2", "-ar", "48000"]
SPEAKERS = "0.3*sin(2765*t)*(0.6+0.4*sin(2*t))|0.05*sin(5529*t)"
SILENT = "volume=0"
WRONG = [
    # name, what another encoder makes of the sound, what is said of it
    ("silence", SILENT, "channel 1"),
    ("half the level", "volume=0.5", "channel 1"),
    ("channels swapped", "pan=stereo|c0=c1|c1=c0", "channel 1"),
    ("one channel silent", "pan=stereo|c0=c0|c1=0*c1", "in channel 2"),
    ("a channel less", "pan=mono|c0=c0", "has 1 of 2 channels"),
    ("2 s less at the end", "atrim=end=4", "lasts 4.0"),
    ("2 s less in the middle", "aselect='not(between(t,1,2.99))',asetpts=N/SR/TB", "lasts 4."),
    ("2 s too much", "adelay=2000:all=1", "lasts 8.04 s instead of 6.04 s"),
    ("2 s silent in the middle", "volume=0:enable='between(t,2,4.1)'", "another level from 2 s on in channel 1"),
]


def clip(target: Path, sound: list[str], *, seconds: float = 6, graph: str = SPEAKERS, rate: int = 48000) -> Path:
    inputs = [*picture(seconds, "64x36", "6"), "-f", "lavfi", "-i", f"aevalsrc='{graph}':d={seconds}:s={rate}"]
    return make([*inputs, *X264, *sound], target)


@pytest.fixture(scope="module")
def lossy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Path, Path]:
    return converted(tmp_path_factory.mktemp("lossy") / "in.ts", LOSSY)


@pytest.fixture(scope="module")
def lossless(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Path, Path]:
    return converted(tmp_path_factory.mktemp("lossless") / "in.ts", LOSSLESS)


def converted(source: Path, sound: list[str]) -> tuple[Plan, Path, Path]:
    convert(clip(source, sound), source.with_name("right.mkv"), FRAMED)
    return FRAMED.plan(source), source, source.with_name("right.mkv")


def spoilt(right: Path, target: Path, codec: str, change: str, *more: str) -> Path:
    """The right result with other sound."""
    return make(["-i", str(right), "-map", "0", "-c", "copy", "-c:a", codec, "-af", change, *more], target)


@pytest.mark.parametrize(("change", "cause"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_sound_that_is_not_the_source_s_is_refused(
    change: str, cause: str, lossy: tuple[Plan, Path, Path], tmp_path: Path
) -> None:
    plan, source, right = lossy
    with pytest.raises(VerifyError) as caught:
        verified(plan, source, spoilt(right, tmp_path / "wrong.mkv", "libopus", change))
    assert "audio stream 1 " in str(caught.value) and cause in str(caught.value)
    assert not verified(plan, source, spoilt(right, tmp_path / "again.mkv", "libopus", "anull"))


@pytest.mark.parametrize(
    ("change", "more"),
    [(case[1], []) for case in WRONG]
    + [("volume=0.999", []), ("aeval=val(0)+1/8388608|val(1):c=same", []), ("anull", ["-sample_fmt", "s16"])],
    ids=[*(case[0] for case in WRONG), "nearly as loud", "one bit", "16 bits for 20"],
)
def test_sound_without_loss_has_the_same_samples(
    change: str, more: list[str], lossless: tuple[Plan, Path, Path], tmp_path: Path
) -> None:
    plan, source, right = lossless
    with pytest.raises(VerifyError, match=r"audio stream 1 (does not decode to the source's samples|lasts)"):
        verified(plan, source, spoilt(right, tmp_path / "wrong.mkv", "flac", change, *more))


@pytest.mark.usefixtures("uncaged")
@pytest.mark.parametrize(("name", "codecs"), [("in.ts", LOSSY), ("in.ts", LOSSLESS)], ids=["lossy", "lossless"])
def test_encoder_that_writes_silence_for_a_tone_is_found(name: str, codecs: list[str], tmp_path: Path) -> None:
    source = clip(tmp_path / name, codecs, seconds=2)
    # The last filter before the encoder, or the only one.
    rule = """case "$*" in *"-f matroska"*) set -- "${@:1:$#-1}" -af volume=0 "${@: -1}" ;; esac"""
    converter = FfmpegConverter(
        OutputOptions(preset=12, quality_metric="off"),
        MachineOptions(ffmpeg=str(stand_in(tmp_path, rule)), mkvmerge="off"),
    )
    assert "audio stream 1" in refusal(source, tmp_path / "out.mkv", converter)


KINDS = [
    # name, codecs of the sound, graph, rate, codec of the result
    ("telephone.ts", LOSSY, "0.1*sin(2000*t)", 8000, "opus"),
    ("noise.ts", LOSSY, "0.2*(random(0)-0.5)|0.002*(random(1)-0.5)", 44100, "opus"),
    ("silent.ts", LOSSY, "0|0", 44100, "opus"),
    ("quiet.ts", LOSSY, "0.0005*sin(3000*t)|0", 44100, "opus"),
    ("shrill.ts", LOSSY, "0.2*sin(2*PI*19000*t)|0.2*sin(100*t)", 48000, "opus"),
    ("steps.ts", LOSSY, "gte(mod(t,0.5),0.48)*0.8*sin(5000*t)", 44100, "opus"),
    ("swf.flv", ["-c:a", "adpcm_swf"], SPEAKERS, 44100, "flac"),
    ("quicktime.mov", ["-c:a", "adpcm_ima_qt"], SPEAKERS, 44100, "flac"),
    ("nelly.flv", ["-c:a", "nellymoser"], "0.3*sin(2765*t)", 44100, "opus"),
    ("u8.mov", ["-c:a", "pcm_s8"], SPEAKERS, 44100, "flac"),
    ("float.mov", ["-c:a", "pcm_f64be"], SPEAKERS, 96000, "pcm_f64le"),
    ("bluray.m2ts", ["-c:a", "pcm_bluray"], "0.1*sin(900*t)|0.2*sin(t)|0.3*sin(99*t)", 48000, "flac"),
]


@pytest.mark.parametrize(("name", "codecs", "graph", "rate", "becomes"), KINDS, ids=[case[0] for case in KINDS])
@pytest.mark.parametrize("seconds", [0.4, 3.3])
def test_sound_that_is_right_is_not_refused(
    name: str, codecs: list[str], graph: str, rate: int, becomes: str, seconds: float, tmp_path: Path
) -> None:
    source = clip(tmp_path / name, codecs, seconds=seconds, graph=graph, rate=rate)
    convert(source, tmp_path / "out.mkv", FRAMED)
    assert streams_of(tmp_path / "out.mkv")["audio"] == [becomes]


def test_the_distribution_s_ffmpeg_hears_the_same(tmp_path: Path) -> None:
    old = shutil.which("ffmpeg")
    assert old is not None
    converter = FfmpegConverter(OutputOptions(preset=12), MachineOptions(ffmpeg=old, mkvmerge="off"))
    inputs = [*picture(3.3, "64x36", "6"), "-f", "lavfi", "-i", f"aevalsrc='{SPEAKERS}':d=3.3:s=48000"]
    codecs = [*X264, "-c:a:0", "aac", "-c:a:1", *LOSSLESS[1:], "-c:a:2", "aac", *LOSSY[2:]]
    maps = [part for stream in (0, 1, 1, 1) for part in ("-map", str(stream))]
    source = make([*inputs, *maps, *codecs, "-filter:a:2", "volume=0.1"], tmp_path / "in.ts")
    convert(source, tmp_path / "out.mkv", converter)
    assert streams_of(tmp_path / "out.mkv")["audio"] == ["opus", "flac", "opus"]
    swapped = ["-map", "0:0", "-map", "0:3", "-map", "0:2", "-map", "0:1", "-c", "copy", "-disposition:a", "0"]
    wrong = make(
        ["-i", str(tmp_path / "out.mkv"), *swapped],
        tmp_path / "wrong.mkv",
    )
    with pytest.raises(VerifyError, match=r"audio stream 1 has .* audio stream 3 has "):
        verified(converter.plan(source), source, wrong, converter)
