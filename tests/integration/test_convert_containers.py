"""Containers × codecs: every picture arrives, sound is kept or converted as planned, and both stay together."""

import subprocess
from pathlib import Path

import pytest

from tests.conversion import convert, verified
from tests.media import beep, facts_of, flash, flash_before_beep, make, streams_of
from tools.core.options import options_of
from tools.media.encoding import OutputOptions, encode_command
from tools.media.ffmpeg import choose
from tools.media.plan import make_plan
from tools.media.probe import probe

X264 = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"]
X265 = ["-c:v", "libx265", "-x265-params", "log-level=none", "-pix_fmt", "yuv420p10le"]
CIF = ["-s", "352x288"]
CASES = [
    # file name, codecs of the source, codec of the sound in the result
    ("h264-aac.mp4", [*X264, "-c:a", "aac"], "aac"),
    ("h264-bframes.mp4", ["-c:v", "libx264", "-bf", "3", "-pix_fmt", "yuv420p", "-c:a", "aac"], "aac"),
    ("h264-flac.mp4", [*X264, "-c:a", "flac"], "flac"),
    ("h264-opus.mp4", [*X264, "-c:a", "libopus"], "opus"),
    ("hevc-ac3.mp4", [*X265, "-c:a", "ac3"], "ac3"),
    ("hevc-flac.mkv", [*X265, "-c:a", "flac"], "flac"),
    ("h264-dts.mkv", [*X264, "-c:a", "dca", "-strict", "-2"], "dts"),
    ("h264-truehd.mkv", [*X264, "-c:a", "truehd", "-strict", "-2"], "truehd"),
    ("h264-tta.mkv", [*X264, "-c:a", "tta"], "tta"),
    ("h264-wavpack.mkv", [*X264, "-c:a", "wavpack"], "wavpack"),
    ("h264-pcm.mkv", [*X264, "-c:a", "pcm_s16le"], "pcm_s16le"),
    ("ffv1-alac.mkv", ["-c:v", "ffv1", "-c:a", "alac"], "alac"),
    ("vc2-float.mkv", ["-c:v", "vc2", "-strict", "-2", "-c:a", "pcm_f32le"], "pcm_f32le"),
    ("h264-eac3.m2ts", [*X264, "-c:a", "eac3"], "eac3"),
    ("h264-bluray-pcm.m2ts", [*X264, "-c:a", "pcm_bluray", "-ar", "48000", "-ac", "2"], "flac"),
    ("h264-aac.ts", ["-c:v", "libx264", "-bf", "3", "-pix_fmt", "yuv420p", "-c:a", "aac"], "aac"),
    ("h264-latm.ts", [*X264, "-c:a", "aac", "-mpegts_flags", "latm"], "aac"),
    ("h264-s302m.ts", [*X264, "-c:a", "s302m", "-strict", "-2", "-ar", "48000", "-ac", "2"], "flac"),
    ("mpeg2-mp2.ts", ["-c:v", "mpeg2video", "-bf", "2", "-c:a", "mp2"], "mp2"),
    ("mpeg2-ac3.vob", ["-c:v", "mpeg2video", "-c:a", "ac3"], "ac3"),
    ("mpeg1-mp2.mpg", ["-c:v", "mpeg1video", "-c:a", "mp2"], "mp2"),
    ("h264-mp3.avi", ["-c:v", "libx264", "-bf", "3", "-pix_fmt", "yuv420p", "-c:a", "mp3"], "mp3"),
    ("mpeg4-mp3.avi", ["-c:v", "mpeg4", "-bf", "2", "-c:a", "mp3"], "mp3"),
    ("mpeg4-ac3.avi", ["-c:v", "mpeg4", "-c:a", "ac3"], "ac3"),
    ("msmpeg4-pcm.avi", ["-c:v", "msmpeg4", "-c:a", "pcm_s16le"], "pcm_s16le"),
    ("mjpeg-u8.avi", ["-c:v", "mjpeg", "-c:a", "pcm_u8"], "pcm_u8"),
    ("cinepak-adpcm.avi", ["-c:v", "cinepak", "-c:a", "adpcm_ms"], "adpcm_ms"),
    ("raw-adpcm.avi", ["-c:v", "rawvideo", "-pix_fmt", "yuv420p", "-c:a", "adpcm_ima_wav"], "adpcm_ima_wav"),
    ("huffyuv-pcm.avi", ["-c:v", "huffyuv", "-c:a", "pcm_s16le"], "pcm_s16le"),
    ("prores-pcm24.mov", ["-c:v", "prores_ks", "-c:a", "pcm_s24le"], "pcm_s24le"),
    ("dnxhd-pcm.mov", ["-c:v", "dnxhd", "-profile:v", "dnxhr_sq", "-s", "1280x720", "-c:a", "pcm_s16be"], "pcm_s16be"),
    ("mjpeg-s8.mov", ["-c:v", "mjpeg", "-c:a", "pcm_s8"], "flac"),
    ("svq1-ima.mov", ["-c:v", "svq1", "-c:a", "adpcm_ima_qt"], "flac"),
    ("h264-pcm24.mp4", [*X264, "-c:a", "pcm_s24le"], "pcm_s24le"),
    ("h264-float.mp4", [*X264, "-c:a", "pcm_f32le"], "pcm_f32le"),
    ("vvc-aac.mp4", ["-c:v", "libvvenc", "-preset", "faster", "-pix_fmt", "yuv420p10le", "-c:a", "aac"], "aac"),
    ("h264-f32be.mov", [*X264, "-c:a", "pcm_f32be"], "pcm_f32le"),
    ("h264-f64be.mov", [*X264, "-c:a", "pcm_f64be"], "pcm_f64le"),
    ("h264-aac.3gp", [*X264, "-c:a", "aac"], "aac"),
    ("flv1-mp3.flv", ["-c:v", "flv1", "-c:a", "mp3"], "mp3"),
    ("flv1-nellymoser.flv", ["-c:v", "flv1", "-c:a", "nellymoser", "-ar", "44100", "-ac", "1"], "opus"),
    ("flashsv-swf.flv", ["-c:v", "flashsv", "-c:a", "adpcm_swf", "-ar", "44100"], "flac"),
    ("h264-aac.flv", [*X264, "-c:a", "aac"], "aac"),
    ("wmv2-wmav2.wmv", ["-c:v", "wmv2", "-c:a", "wmav2"], "wmav2"),
    ("wmv1-wmav1.wmv", ["-c:v", "wmv1", "-c:a", "wmav1"], "wmav1"),
    (
        "vp8-vorbis.webm",
        ["-c:v", "libvpx", "-auto-alt-ref", "1", "-lag-in-frames", "16", "-c:a", "libvorbis"],
        "vorbis",
    ),
    ("vp9-opus.webm", ["-c:v", "libvpx-vp9", "-cpu-used", "8", "-deadline", "realtime", "-c:a", "libopus"], "opus"),
    ("theora-vorbis.ogv", ["-c:v", "libtheora", "-c:a", "libvorbis"], "vorbis"),
    ("rv20-ac3.rm", ["-c:v", "rv20", *CIF, "-c:a", "ac3"], "ac3"),
    (
        "dv-pcm.avi",
        [
            "-c:v",
            "dvvideo",
            "-s",
            "720x576",
            "-r",
            "25",
            "-pix_fmt",
            "yuv420p",
            "-c:a",
            "pcm_s16le",
            "-ar",
            "48000",
            "-ac",
            "2",
        ],
        "pcm_s16le",
    ),
]


@pytest.mark.parametrize(("name", "codecs", "sound"), CASES, ids=[case[0] for case in CASES])
def test_every_picture_and_the_sound_arrive_together(name: str, codecs: list[str], sound: str, tmp_path: Path) -> None:
    source = make([*flash(), *beep(), "-shortest", *codecs], tmp_path / name)
    report = convert(source, tmp_path / "out.mkv")
    assert report.action == "transcode"
    assert streams_of(tmp_path / "out.mkv") == {"video": ["av1"], "audio": [sound]}
    assert report.frames == (37 if name.startswith("dv-") else 36)
    assert sound != "opus" or codecs[-1] == "libopus" or "encoded again as Opus" in " ".join(report.warnings)
    # AVI has no timestamps: there the truth is how it was made, plus the 25 ms by which MP3 is late by itself.
    wanted = 0.0 if name.endswith(".avi") else flash_before_beep(source)
    assert flash_before_beep(tmp_path / "out.mkv") == pytest.approx(wanted, abs=0.040)


@pytest.mark.parametrize("name", ["av1.mp4", "av1.webm", "av1.mkv", "av1.ivf"])
def test_av1_is_kept_bit_for_bit_in_any_container(name: str, tmp_path: Path) -> None:
    codecs = ["-c:v", "libsvtav1", "-preset", "12", *(["-an"] if name.endswith("ivf") else ["-c:a", "libopus"])]
    source = make([*flash(), *beep(), "-shortest", *codecs], tmp_path / name)
    report = convert(source, tmp_path / "out.mkv")
    assert report.action == ("copy" if name == "av1.mkv" else "remux") and report.encoder == ""
    of_a_copy = {"guess_languages", "mux_subtitles", "muxer"}
    assert (options_of(report.options) or {}).keys() <= of_a_copy, "nothing was encoded"
    packets = [
        make(["-i", str(path), "-map", "0", "-c", "copy", "-f", "streamhash"], tmp_path / "hash").read_bytes()
        for path in (source, tmp_path / "out.mkv")
    ]
    assert packets[0] == packets[1] or name == "av1.ivf"
    pictures = [
        make(["-i", str(path), "-map", "0:v", "-f", "streamhash"], tmp_path / "hash").read_bytes()
        for path in (source, tmp_path / "out.mkv")
    ]
    assert pictures[0] == pictures[1]
    assert b"webm" not in (tmp_path / "out.mkv").read_bytes()[:64]


@pytest.mark.parametrize(
    ("layout", "count"),
    [
        ("5.1(side)", 6),
        ("quad(side)", 4),
        ("4.0", 4),
        ("7.1", 8),
        ("2.1", 3),
        ("6.1", 7),
        ("7.1(wide)", 8),
        ("mono", 1),
    ],
)
def test_lossy_sound_of_any_layout_becomes_opus(layout: str, count: int, tmp_path: Path) -> None:
    channels = "|".join(f"{0.05 * (place + 1)}*(random({place})-0.5)" for place in range(count))
    noise = ["-f", "lavfi", "-i", f"aevalsrc='{channels}':channel_layout={layout}:d=1"]
    source = make([*flash(seconds=1), *noise, *X264, "-c:a", "flac"], tmp_path / "in.mkv")
    tools = choose(OutputOptions(preset=12))
    facts = probe(source, tools.ffprobe)
    facts.streams[
        1
    ].codec = "wmavoice"  # as if it were one that Matroska refuses; those with encoders have two channels
    target = tmp_path / "out.mkv"
    plan = make_plan(facts)
    command = encode_command(plan, tools.encoders[0], OutputOptions(preset=12), source, target, [], None)
    subprocess.run(command, check=True, capture_output=True)
    assert streams_of(target)["audio"] == ["opus"]
    assert not [line for line in verified(plan, source, target) if "larger" not in line]


@pytest.mark.parametrize(
    ("codec", "layout", "becomes"),
    [("pcm_s8", "5.1(side)", "flac"), ("pcm_s8", "hexadecagonal", "pcm_s16le")],
)
def test_sound_of_many_channels_keeps_them_all(codec: str, layout: str, becomes: str, tmp_path: Path) -> None:
    noise = ["-f", "lavfi", "-i", f"anullsrc=d=1:cl={layout}"]
    source = make([*flash(seconds=1), *noise, *X264, "-c:a", codec, "-shortest"], tmp_path / "many.mov")
    convert(source, tmp_path / "out.mkv")
    before, after = (facts_of(path)["streams"][1] for path in (source, tmp_path / "out.mkv"))
    assert after["codec_name"] == becomes and after["channels"] == before["channels"]
