"""The real clips beside the checkout, each with its expectation; clips of our own for what must hold without them."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.conversion import convert, stand_in
from tests.media import make, make_clip, picture, streams_of
from tests.programs import ROOT
from tools.core.errors import EncoderStalled, MediaError, ProbeError, Stopped
from tools.media.converter import FfmpegConverter, MachineOptions, OutputOptions

CORPUS = ROOT.parent / "shared" / "media"
ACTIONS = {"transcode": "convert", "remux": "remux", "copy": "remux"}


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


def test_av1_in_clean_mkv_is_carried_over_bit_exactly(tmp_path: Path) -> None:
    first = tmp_path / "first.mkv"
    convert(make_clip(tmp_path / "in.mp4", subtitles=True), first)
    second = tmp_path / "second.mkv"
    assert convert(first, second).action == "copy"
    assert first.read_bytes() == second.read_bytes()


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
    says_it_is_matroska = content.startswith(b"\x1a")
    with pytest.raises(ProbeError, match="can't be read" if says_it_is_matroska else "not a video file|is empty"):
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
        FfmpegConverter(OutputOptions(preset=1)).convert(
            source, tmp_path / "out.mkv", on_progress=lambda progress: None, stop=stop
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4"]


_SAYS_THE_SAME = r"while printf 'frame=89\nout_time_us=3560000\nprogress=continue\n'; do sleep 0.1; done"


@pytest.mark.usefixtures("uncaged")
@pytest.mark.parametrize("hangs", ["sleep 60", _SAYS_THE_SAME], ids=["silent", "as-before"])
def test_encoder_that_hangs_is_ended_by_the_stall_limit(tmp_path: Path, hangs: str) -> None:
    """From version 7 on ffmpeg prints its progress while decoding hangs, always the same."""
    fake = stand_in(tmp_path, f'case "$*" in *"-f matroska"*) {hangs} ;; esac')
    source = make_clip(tmp_path / "in.mp4")
    with pytest.raises(EncoderStalled):
        convert(
            source,
            tmp_path / "out.mkv",
            FfmpegConverter(OutputOptions(preset=12), MachineOptions(ffmpeg=str(fake), stall_timeout=1.0)),
        )
