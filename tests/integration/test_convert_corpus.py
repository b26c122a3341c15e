"""The real clips beside the checkout, each with its expectation; clips of our own for what must hold without them."""

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.media import make, make_clip, picture, streams_of, tone
from tests.programs import ROOT, run_program
from tools.core.errors import EncoderStalled, MediaError, ProbeError, Stopped
from tools.media.converter import Conversion, Converter, EncodeOptions

CORPUS = ROOT.parent / "shared" / "media"
CONVERTER = Converter(EncodeOptions(preset=12))
ACTIONS = {"transcode": "convert", "remux": "remux", "copy": "remux"}


def convert(source: Path, target: Path, options: EncodeOptions | None = None) -> Conversion:
    converter = CONVERTER if options is None else Converter(options)
    return converter.convert(source, target, on_progress=lambda progress: None, stop=threading.Event())


def corpus() -> list[Any]:
    if not (CORPUS / "manifest.json").is_file():
        return [pytest.param(None, marks=pytest.mark.skip(reason="the real clips are not beside the checkout"))]
    entries = json.loads((CORPUS / "manifest.json").read_bytes())["files"]
    return [pytest.param(entry, id=entry["file"]) for entry in entries]


@pytest.mark.parametrize("entry", corpus())
def test_real_clip_comes_out_as_expected(entry: dict[str, Any], tmp_path: Path) -> None:
    target = tmp_path / "out.mkv"
    try:
        report = convert(CORPUS / entry["file"], target)
    except MediaError as exc:
        assert entry["expected"] == "reject", str(exc)
        assert not exc.retryable and str(exc) and not target.exists() and not list(tmp_path.iterdir())
        return
    assert ACTIONS[report.action] == entry["expected"]
    kinds = streams_of(target)
    assert set(kinds["video"]) == {"av1"} and len(kinds["video"]) == entry["n_video"]
    assert len(kinds.get("audio", [])) == entry["n_audio"]
    assert len(kinds.get("subtitle", [])) == entry["n_subtitle"]
    assert len(kinds.get("attachment", [])) == entry["n_attachment"] + entry["n_attached_pic"]
    assert report.frames == pytest.approx(entry["video_frames"], abs=2)


def test_all_streams_tags_and_flags_are_kept(tmp_path: Path) -> None:
    words = tmp_path / "w.srt"
    words.write_text("1\n00:00:00,100 --> 00:00:00,900\n你好\n", encoding="utf-8")
    inputs = [*picture(), *tone(), *tone(), "-i", str(words)]
    maps = [part for number in range(4) for part in ("-map", str(number))]
    tags = ["-metadata:s:a:0", "language=jpn", "-metadata:s:a:1", "language=eng", "-metadata:s:a:1", "title=评论"]
    flags = ["-disposition:a:0", "0", "-disposition:a:1", "default+comment", "-disposition:s:0", "forced"]
    codecs = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "aac", "-c:s", "srt"]
    source = make([*inputs, *maps, *codecs, *tags, *flags], tmp_path / "in.mkv")
    target = tmp_path / "out.mkv"
    convert(source, target)
    plan = CONVERTER.plan(target)
    audio = [one.source for one in plan.kept("audio")]
    assert [stream.tag("language") for stream in audio] == ["jpn", "eng"]
    assert audio[1].tag("title") == "评论" and audio[0].flags == frozenset()
    assert audio[1].flags == {"default", "comment"}
    assert plan.kept("subtitle")[0].source.flags == {"forced"}


def test_av1_in_clean_mkv_is_carried_over_bit_exactly(tmp_path: Path) -> None:
    first = tmp_path / "first.mkv"
    convert(make_clip(tmp_path / "in.mp4", subtitles=True), first)
    second = tmp_path / "second.mkv"
    assert convert(first, second).action == "copy"
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "name", "codec"),
    [
        (["-c:a", "pcm_s8"], "x.mov", "flac"),
        (["-c:a", "pcm_f32be"], "x.mov", "pcm_f32le"),
        (["-c:a", "nellymoser", "-ar", "44100", "-ac", "1"], "x.flv", "opus"),
        (["-c:a", "pcm_s16le"], "x.mkv", "pcm_s16le"),
    ],
)
def test_audio_that_matroska_refuses_is_converted_and_the_rest_copied(
    arguments: list[str], name: str, codec: str, tmp_path: Path
) -> None:
    video = ["-c:v", "flv1" if name.endswith(".flv") else "mpeg4"]
    source = make([*picture(), *tone(), *video, *arguments], tmp_path / name)
    convert(source, tmp_path / "out.mkv")
    assert streams_of(tmp_path / "out.mkv")["audio"] == [codec]


def test_variable_frame_rate_keeps_every_timestamp(tmp_path: Path) -> None:
    source = make(
        [*picture(2), "-vf", "select='not(mod(n,3))+lt(n,20)'", "-fps_mode", "vfr", "-c:v", "libx264", "-bf", "0"],
        tmp_path / "vfr.mkv",
    )
    convert(source, tmp_path / "out.mkv")
    before, after = (CONVERTER.plan(path).main_video for path in (source, tmp_path / "out.mkv"))
    assert before.packets == after.packets and before.end == pytest.approx(after.end, abs=0.05)


def test_truncated_file_with_a_healthy_header_is_refused(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "whole.mkv", seconds=12)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    with pytest.raises(MediaError, match="cut"):
        convert(cut, tmp_path / "out.mkv")


def test_damaged_pictures_are_found_though_ffmpeg_ends_with_0(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "whole.mkv", seconds=6)
    content = bytearray(source.read_bytes())
    for offset in range(len(content) // 10, len(content), len(content) // 60):
        content[offset : offset + 12] = b"\x5a" * 12
    source.write_bytes(content)
    with pytest.raises(MediaError):
        convert(source, tmp_path / "out.mkv")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"#EXTM3U\n#EXTINF:1,\nreal.ts\n",
        b"ffconcat version 1.0\nfile real.ts\n",
        b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
        b"<html>no</html>",
        b"\x00" * 4096,
        b"\x1a\x45\xdf\xa3" + b"\xff" * 5000,
    ],
)
def test_what_is_no_video_is_refused_and_opens_nothing(content: bytes, tmp_path: Path) -> None:
    make([*picture(), "-c:v", "mpeg2video"], tmp_path / "real.ts")
    (tmp_path / "x.mp4").write_bytes(content)
    with pytest.raises(ProbeError):
        convert(tmp_path / "x.mp4", tmp_path / "out.mkv")


@pytest.mark.parametrize(
    "name", ["-y.mp4", "a:b.mp4", "100%d.mp4", 'it\'s "q".mp4', "a\nb.mp4", "http:x.mp4", "番剧 🎬.mp4", "[x]|;.mp4"]
)
def test_file_names_of_every_shape_work(name: str, tmp_path: Path) -> None:
    make_clip(tmp_path / "x.mp4", seconds=0.2).rename(tmp_path / name)
    assert convert(tmp_path / name, tmp_path / (name + ".mkv")).frames > 0


def test_stop_ends_the_encode_and_leaves_nothing(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4", seconds=20)
    stop = threading.Event()
    threading.Timer(1.0, stop.set).start()
    with pytest.raises(Stopped):
        Converter(EncodeOptions(preset=1)).convert(
            source, tmp_path / "out.mkv", on_progress=lambda progress: None, stop=stop
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4"]


def test_encoder_that_hangs_is_ended_by_the_stall_limit(tmp_path: Path) -> None:
    real = CONVERTER._chosen()
    fake = tmp_path / "ffmpeg"
    fake.write_text(f'#!/bin/sh\ncase "$*" in *lavfi*|*-version*) exec {real.ffmpeg} "$@";; *) sleep 60;; esac\n')
    fake.chmod(0o755)
    source = make_clip(tmp_path / "in.mp4")
    with pytest.raises(EncoderStalled):
        convert(source, tmp_path / "out.mkv", EncodeOptions(preset=12, ffmpeg=str(fake), stall_timeout=1.0))


def test_program_converts_plans_and_tells_what_it_refused(tmp_path: Path) -> None:
    env = {**os.environ, "ANIMATION_DOTENV": str(tmp_path / "none"), "PRESET": "12"}
    good, bad = make_clip(tmp_path / "好.mp4", subtitles=True), tmp_path / "bad.mkv"
    bad.write_bytes(b"nothing")
    planned = run_program("convert.py", "--plan", str(good), env=env)
    assert planned.returncode == 0 and "mov_text" in planned.stdout and not (tmp_path / "好.mkv").exists()
    done = run_program("convert.py", "--json", "--out", str(tmp_path / "out"), str(good), str(bad), env=env)
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1
    assert reports[0]["action"] == "transcode" and (tmp_path / "out" / "好.mkv").exists()
    assert "not a video" in reports[1]["refused"]
    again = run_program("convert.py", "--out", str(tmp_path / "out"), str(good), env=env)
    assert again.returncode == 1 and "exists already" in again.stderr
    assert run_program("convert.py", env=env).returncode == 2
