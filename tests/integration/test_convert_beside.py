"""Subtitles and fonts beside a video, put into its MKV by either muxer."""

import subprocess
import threading
from pathlib import Path

import pytest

from tests.media import beep, bitmap_subtitles, facts_of, flash, make
from tools.core.options import options_of
from tools.media.converter import Beside, Conversion, FfmpegConverter, MachineOptions, OutputOptions

HEAD = "[Script Info]\nScriptType: v4.00+\n[V4+ Styles]\nFormat: Name, Fontname, Fontsize\nStyle: D,DejaVu Sans,20\n"
EVENTS = "[Events]\nFormat: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
LINES = "Comment: 0,0:00:00.00,0:00:00.10,D,,0,0,0,,note\nDialogue: 0,0:00:00.20,0:00:00.60,D,,0,0,0,,你好，简体字幕\n"
SRT = "1\n00:00:00,300 --> 00:00:00,700\n你好，繁體字幕\n\n2\n00:00:00,800 --> 00:00:00,950\n再見\n"


def beside(top: Path) -> list[Beside]:
    contents = {
        "ep 1.sc&jp.ass": (HEAD + EVENTS + LINES).encode("gb18030"),
        "ep 1.cht.forced.srt": SRT.encode("big5"),
        "ep 1.broken.ass": b"\x00\x01nothing that anybody can read",
        "@font 字.ttf": b"\x00\x01\x00\x00 a font" * 50,
    }
    files = []
    for name, content in contents.items():
        (top / name).write_bytes(content)
        files.append(Beside(top / name, name))
    return files


@pytest.mark.parametrize(("name", "mkvmerge"), [("a.mkv", "auto"), ("a.mkv", "off"), ("a.mp4", "auto")])
def test_what_lies_beside_a_video_is_put_in_and_the_rest_stays_bit_for_bit(
    name: str, mkvmerge: str, tmp_path: Path
) -> None:
    codecs = ["-c:v", "libsvtav1", "-preset", "12", "-svtav1-params", "lp=1", "-c:a", "aac"]
    source = make([*flash(), *beep(), "-shortest", *codecs], tmp_path / name)
    converter = FfmpegConverter(OutputOptions(preset=12, mux_subtitles=1), MachineOptions(mkvmerge=mkvmerge))

    def convert(target: str, with_it: FfmpegConverter) -> Conversion:
        return with_it.convert(source, tmp_path / target, on_progress=lambda p: None, stop=threading.Event())

    plain = convert("plain.mkv", converter)
    report = convert("full.mkv", converter.with_beside("ep 1.mkv", beside(tmp_path)))
    facts = facts_of(tmp_path / "full.mkv")
    added = [stream for stream in facts["streams"] if stream["codec_type"] == "subtitle"]
    assert [(one["codec_name"], one["tags"]["title"]) for one in added] == [("ass", "sc&jp"), ("subrip", "cht.forced")]
    assert [one["tags"]["language"] for one in added] == ["chi", "chi"]
    assert [one["disposition"]["forced"] for one in added] == [0, 1]
    assert [one["disposition"]["default"] for one in added] == [0, 0]
    (font,) = [stream for stream in facts["streams"] if stream["codec_type"] == "attachment"]
    assert font["tags"]["filename"] == "@font 字.ttf"
    text = make(["-i", str(tmp_path / "full.mkv"), "-map", "0:s:1", "-f", "srt"], tmp_path / "out.srt").read_text(
        "utf-8"
    )
    assert "繁體字幕" in text and "00:00:00,300 --> 00:00:00,700" in text
    hashes = [
        make(
            ["-i", str(tmp_path / f), "-map", "0:v", "-map", "0:a", "-c", "copy", "-f", "streamhash"], tmp_path / "h"
        ).read_bytes()
        for f in ("plain.mkv", "full.mkv")
    ]
    assert hashes[0] == hashes[1] and report.frames == plain.frames
    assert [one["title"] for one in report.streams if one["index"] < 0] == ["ep 1.sc&jp.ass", "ep 1.cht.forced.srt"]
    assert "ep 1.broken.ass is not put in" in " ".join(report.warnings) and "could not put" not in " ".join(
        report.warnings
    )
    assert (options_of(report.options) or {})["mux_subtitles"] == 1


def test_subtitles_of_pictures_are_put_in_too(tmp_path: Path) -> None:
    codecs = ["-c:v", "libsvtav1", "-preset", "12", "-svtav1-params", "lp=1"]
    source = make([*flash(), *codecs], tmp_path / "a.mkv")
    pictures = bitmap_subtitles(tmp_path / "a.en.sup")
    dvd = make(["-i", str(pictures), "-c:s", "dvdsub"], tmp_path / "dvd.mkv")
    extract = ["mkvextract", str(dvd), "tracks", f"0:{tmp_path / 'a.zh.idx'}"]
    subprocess.run(extract, check=True, capture_output=True)
    files = [Beside(tmp_path / name, name) for name in ("a.en.sup", "a.zh.idx", "a.zh.sub")]
    for tool in ("auto", "off"):
        converter = FfmpegConverter(OutputOptions(mux_subtitles=1), MachineOptions(mkvmerge=tool))
        target = tmp_path / f"{tool}.mkv"
        with_it = converter.with_beside("a.mkv", files)
        report = with_it.convert(source, target, on_progress=lambda p: None, stop=threading.Event())
        there = [one["codec_name"] for one in facts_of(target)["streams"]][1:]
        assert there == ["hdmv_pgs_subtitle", "dvd_subtitle"], report.warnings
