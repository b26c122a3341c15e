"""What is decided before ffmpeg runs, for sources that nothing here can make; and the limits of what is read at all."""

import stat
from pathlib import Path
from typing import Any

import pytest

import tools.media.probe
from tests.media import make, picture
from tools.core.errors import ProbeError
from tools.media.encoding import EncodeOptions, Encoder, encoder_arguments, make_plan
from tools.media.probe import Facts, Stream, probe


def facts(*streams: Stream, container: str = "mov") -> Facts:
    return Facts("", streams, (), {}, 10.0, 1000, container)


def video(**about: Any) -> Stream:
    return Stream(0, "video", "hevc", {"pix_fmt": "yuv420p10le", "width": 320, "height": 180, **about}, packets=240)


def dolby(profile: int, compatible: int) -> dict[str, Any]:
    record = {"side_data_type": "DOVI configuration record", "dv_profile": profile}
    return {"side_data_list": [{**record, "dv_bl_signal_compatibility_id": compatible}]}


@pytest.mark.parametrize(("profile", "compatible"), [(8, 1), (8, 4), (7, 6)])
def test_dolby_vision_keeps_its_base_layer_and_says_so(profile: int, compatible: int) -> None:
    plan = make_plan(facts(video(**dolby(profile, compatible))))
    assert plan.action == "transcode" and any("Dolby Vision" in line for line in plan.warnings())


def test_dolby_vision_without_a_base_layer_that_others_show_is_refused() -> None:
    with pytest.raises(ProbeError, match="profile 5"):
        make_plan(facts(video(**dolby(5, 0))))


def test_sound_that_the_muxer_refuses_is_not_copied() -> None:
    sounds = [Stream(n, "audio", codec, {}, packets=9) for n, codec in enumerate(["cook", "sipr", "ra_288"], 1)]
    assert [(one.action, one.codec) for one in make_plan(facts(video(), *sounds)).kept("audio")] == [
        ("encode", "opus")
    ] * 3


def test_av1_in_a_clean_matroska_is_carried_over_and_anything_else_is_not() -> None:
    av1 = Stream(0, "video", "av1", {}, packets=240)
    assert make_plan(facts(av1, container="matroska")).action == "copy"
    assert make_plan(facts(av1, container="webm")).action == "remux"
    text = Stream(1, "subtitle", "mov_text", {}, packets=3)
    assert make_plan(facts(av1, text, container="mov")).action == "remux"


@pytest.mark.parametrize(
    ("limit", "most", "cause"),
    [
        ("MAX_STREAMS", 1, "2 streams"),
        ("MAX_PIXELS", 1000, "320x180"),
        ("MAX_SECONDS", 1.0, "lasts"),
        ("_MAX_PACKETS", 10, "packets"),
        ("MAX_ATTACHED", 100, "attachments"),
    ],
)
def test_more_than_the_limits_is_refused(
    limit: str, most: float, cause: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    font = tmp_path / "font.ttf"
    font.write_bytes(b"\0\1\0\0" * 100)
    attach = ["-attach", str(font), "-metadata:s:t:0", "mimetype=font/ttf"]
    source = make([*picture(2), "-c:v", "mpeg4", *attach], tmp_path / "in.mkv")
    probe(source, Path("ffprobe"))
    monkeypatch.setattr(tools.media.probe, limit, most)
    with pytest.raises(ProbeError, match=cause):
        probe(source, Path("ffprobe"))


def test_probe_that_never_ends_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = make([*picture(1), "-c:v", "mpeg4"], tmp_path / "in.mkv")
    slow = tmp_path / "ffprobe"
    slow.write_text("#!/bin/sh\nsleep 60\n")
    slow.chmod(slow.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(tools.media.probe, "_TIMEOUT_BASE", 0.5)
    with pytest.raises(ProbeError, match="within"):
        probe(source, slow)


@pytest.mark.parametrize(
    ("cores", "modern", "level"), [(1, 1, 1), (2, 1, 2), (4, 1, 3), (8, 1, 4), (16, 1, 5), (64, 1, 6), (8, 0, 8)]
)
def test_encoder_is_given_its_share_of_the_cores(cores: int, modern: int, level: int) -> None:
    encoder = Encoder(name="libsvtav1", ffmpeg=Path("ffmpeg"), modern=bool(modern))
    _, arguments = encoder_arguments(encoder, EncodeOptions(), source=None, threads=cores, stream=0)
    assert f"lp={level}" in arguments[arguments.index("-svtav1-params:v:0") + 1].split(":")
