"""Everything beside the first picture: subtitles, further tracks, covers, fonts, chapters, tags, flags."""

import json
from pathlib import Path

import pytest

from tests.conversion import CONVERTER, convert, refusal, stand_in
from tests.media import bitmap_subtitles, facts_of, make, picture, streams_of, tone
from tools.media.converter import FfmpegConverter, MachineOptions, OutputOptions

X264 = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"]
CODECS = [*X264, "-c:a", "aac"]
CLIP = [*picture(1), *tone(1)]
ASS = """[Script Info]
ScriptType: v4.00+
PlayResX: 320

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, \
StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding
Style: Default,方正,20,&H00FFFFFF,&H000000FF,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,1

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
Dialogue: 0,0:00:00.10,0:00:00.90,Default,,0,0,0,,{\\pos(10,10)\\fad(100,100)}你好
"""
SRT = "1\n00:00:00,100 --> 00:00:00,400\n<i>你好</i>\n\n2\n00:00:00,500 --> 00:00:00,900\nsecond\n"
CHAPTERS = """;FFMETADATA1
title=片名
artist=somebody
[CHAPTER]
TIMEBASE=1/1000
START=0
END=400
title=一
[CHAPTER]
TIMEBASE=1/1000
START=400
END=1000
title=two
"""


def maps(count: int) -> list[str]:
    return [part for number in range(count) for part in ("-map", str(number))]


def words(folder: Path, kind: str = "srt") -> list[str]:
    """Input arguments of a subtitle file."""
    if kind == "pgs":
        return ["-i", str(bitmap_subtitles(folder / "words.sup"))]
    path = folder / f"words.{kind}"
    path.write_text(ASS if kind == "ass" else SRT, encoding="utf-8")
    return ["-i", str(path)]


@pytest.mark.parametrize(
    ("name", "kind", "codecs", "becomes"),
    [
        ("srt.mkv", "srt", [*CODECS, "-c:s", "srt"], "subrip"),
        ("ass.mkv", "ass", [*CODECS, "-c:s", "ass"], "ass"),
        ("ssa.mkv", "ass", [*CODECS, "-c:s", "ssa"], "ass"),
        ("webvtt.mkv", "srt", [*CODECS, "-c:s", "webvtt"], "webvtt"),
        ("webvtt.webm", "srt", ["-c:v", "libvpx", "-c:a", "libvorbis", "-c:s", "webvtt"], "webvtt"),
        ("movtext.mp4", "srt", [*CODECS, "-c:s", "mov_text"], "subrip"),
        ("pgs.mkv", "pgs", [*CODECS, "-c:s", "copy"], "hdmv_pgs_subtitle"),
        ("pgs.m2ts", "pgs", [*X264, "-c:a", "ac3", "-c:s", "copy"], "hdmv_pgs_subtitle"),
        ("dvdsub.mkv", "pgs", [*CODECS, "-c:s", "dvdsub"], "dvd_subtitle"),
        ("dvdsub.vob", "pgs", ["-c:v", "mpeg2video", "-c:a", "ac3", "-c:s", "dvdsub"], "dvd_subtitle"),
        ("dvbsub.ts", "pgs", [*CODECS, "-c:s", "dvbsub"], "dvb_subtitle"),
    ],
)
def test_subtitles_are_kept_or_become_text(
    name: str, kind: str, codecs: list[str], becomes: str, tmp_path: Path
) -> None:
    source = make([*CLIP, *words(tmp_path, kind), *maps(3), *codecs], tmp_path / name)
    report = convert(source, tmp_path / "out.mkv")
    assert streams_of(tmp_path / "out.mkv")["subtitle"] == [becomes]
    assert not [line for line in report.warnings if "dropped" in line]
    if kind == "srt":
        shown = make(["-i", str(tmp_path / "out.mkv"), "-map", "0:s"], tmp_path / "shown.srt").read_text("utf-8")
        assert "<i>你好</i>" in shown and "00:00:00,500 --> 00:00:00,900\nsecond" in shown
    if kind == "ass":
        shown = make(["-i", str(tmp_path / "out.mkv"), "-map", "0:s"], tmp_path / "shown.ass").read_text("utf-8")
        assert "\\pos(10,10)\\fad(100,100)}你好" in shown and "方正" in shown


def test_subtitles_that_nothing_can_read_are_dropped_with_a_record(tmp_path: Path) -> None:
    source = make([*CLIP, *words(tmp_path), *maps(3), *CODECS, "-c:s", "ttml"], tmp_path / "ttml.mp4")
    report = convert(source, tmp_path / "out.mkv")
    assert "subtitle" not in streams_of(tmp_path / "out.mkv")
    assert [line for line in report.warnings if "dropped" in line and "ttml" in line]
    assert report.streams[-1]["action"] == "drop" and report.streams[-1]["codec"] is None


def test_a_subtitle_without_an_end_makes_no_file_too_long(tmp_path: Path) -> None:
    source = make([*CLIP, *words(tmp_path, "pgs"), *maps(3), *CODECS, "-c:s", "dvdsub"], tmp_path / "endless.mkv")
    assert float(facts_of(source)["format"]["duration"]) > 1e6
    assert convert(source, tmp_path / "out.mkv").duration_s == pytest.approx(1, abs=0.1)


def test_every_track_is_kept_with_its_name_language_and_flags(tmp_path: Path) -> None:
    inputs = [*picture(1), *picture(1, "160x90"), *tone(1), *tone(1), *words(tmp_path), *words(tmp_path)]
    tags = ["-metadata:s:v:0", "title=正片", "-metadata:s:a:0", "language=jpn", "-metadata:s:a:1", "language=eng"]
    tags += ["-metadata:s:a:1", "title=评论 100%", "-metadata:s:s:0", "language=chi", "-metadata", "title=第1集"]
    flags = ["-disposition:v:0", "default", "-disposition:a:0", "0", "-disposition:a:1", "default+comment"]
    flags += ["-disposition:s:0", "forced+hearing_impaired", "-disposition:s:1", "descriptions"]
    source = make([*inputs, *maps(6), *CODECS, "-c:s", "srt", *tags, *flags], tmp_path / "in.mkv")
    convert(source, tmp_path / "out.mkv")
    before, after = (facts_of(path) for path in (source, tmp_path / "out.mkv"))
    assert after["format"]["tags"]["title"] == "第1集"
    for old, new in zip(sorted(before["streams"], key=kind), after["streams"], strict=True):
        assert kind(old) == kind(new) and old["disposition"] == new["disposition"]
        for name in ("language", "title"):
            assert (old.get("tags") or {}).get(name) == (new.get("tags") or {}).get(name)
    assert [stream["codec_name"] for stream in after["streams"]] == ["av1", "av1", "aac", "aac", "subrip", "subrip"]


def kind(stream: dict[str, str]) -> int:
    return ["video", "audio", "subtitle", "attachment"].index(stream["codec_type"])


@pytest.mark.parametrize("flag", ["default", "dub", "original", "comment", "forced", "visual_impaired"])
@pytest.mark.parametrize("name", ["x.mkv", "x.mp4"])
def test_flags_of_sound_are_exactly_those_of_the_source(flag: str, name: str, tmp_path: Path) -> None:
    source = make([*CLIP, *CODECS, "-disposition:a:0", flag], tmp_path / name)
    report = convert(source, tmp_path / "out.mkv")
    before, after = (facts_of(path)["streams"][1]["disposition"] for path in (source, tmp_path / "out.mkv"))
    lost = {name for name, value in before.items() if value and not after.get(name)}
    assert not {name for name, value in after.items() if value and not before.get(name)}
    assert all(any(name in line for line in report.warnings) for name in lost) and lost <= {"descriptions"}


@pytest.mark.parametrize("picture_kind", ["jpg", "png"])
@pytest.mark.parametrize("name", ["x.mp4", "x.mkv"])
def test_cover_art_becomes_an_attachment(picture_kind: str, name: str, tmp_path: Path) -> None:
    red = ["-f", "lavfi", "-i", "color=red:s=64x64:d=0.1", "-frames:v", "1"]
    cover = make(red, tmp_path / f"cover.{picture_kind}")
    mime = f"image/{picture_kind.replace('jpg', 'jpeg')}"
    if name == "x.mp4":
        how = ["-i", str(cover), *maps(3), *CODECS, "-c:v:1", "copy", "-disposition:v:1", "attached_pic"]
    else:
        how = [*CODECS, "-attach", str(cover), "-metadata:s:t:0", f"mimetype={mime}"]
    source = make([*CLIP, *how], tmp_path / name)
    convert(source, tmp_path / "out.mkv")
    *_, last = facts_of(tmp_path / "out.mkv")["streams"]
    assert streams_of(tmp_path / "out.mkv") == {"video": ["av1"], "audio": ["aac"], "attachment": [last["codec_name"]]}
    assert last["disposition"]["attached_pic"] == 1 and last["tags"]["mimetype"] == mime
    shown = make(["-i", str(tmp_path / "out.mkv"), "-map", "0:2", "-c", "copy", "-f", "image2"], tmp_path / "shown")
    assert shown.read_bytes() == cover.read_bytes()


def test_fonts_are_kept_byte_for_byte(tmp_path: Path) -> None:
    attach = []
    for number in range(3):
        font = tmp_path / f"字体 {number}.ttf"
        font.write_bytes(b"\0\1\0\0" + bytes([number]) * 1000)
        attach += ["-attach", str(font), f"-metadata:s:t:{number}", "mimetype=font/ttf"]
    source = make([*CLIP, *CODECS, *attach], tmp_path / "in.mkv")
    convert(source, tmp_path / "out.mkv")
    fonts = [stream for stream in facts_of(tmp_path / "out.mkv")["streams"] if stream["codec_type"] == "attachment"]
    assert [font["tags"]["filename"] for font in fonts] == [f"字体 {number}.ttf" for number in range(3)]
    content = (tmp_path / "out.mkv").read_bytes()
    assert all(b"\0\1\0\0" + bytes([number]) * 1000 in content for number in range(3))


@pytest.mark.parametrize("name", ["x.mkv", "x.mp4"])
def test_chapters_and_titles_are_kept(name: str, tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text(CHAPTERS, encoding="utf-8")
    about = ["-f", "ffmetadata", "-i", str(notes), "-map", "0", "-map", "1", "-map_metadata", "2"]
    source = make([*CLIP, *about, "-map_chapters", "2", *CODECS], tmp_path / name)
    report = convert(source, tmp_path / "out.mkv")
    facts = facts_of(tmp_path / "out.mkv")
    assert [chapter["tags"]["title"] for chapter in facts["chapters"]] == ["一", "two"]
    assert [float(chapter["start_time"]) for chapter in facts["chapters"]] == pytest.approx([0, 0.4], abs=0.002)
    tags = {key.lower(): value for key, value in facts["format"]["tags"].items()}
    assert tags["title"] == "片名" and tags["artist"] == "somebody" and "major_brand" not in tags
    assert not [line for line in report.warnings if "dropped" in line]


def test_timecode_track_is_dropped_with_a_record(tmp_path: Path) -> None:
    source = make([*CLIP, *CODECS, "-timecode", "01:00:00:00"], tmp_path / "in.mov")
    report = convert(source, tmp_path / "out.mkv")
    assert [line for line in report.warnings if "dropped" in line and "tmcd" in line]


@pytest.mark.parametrize("has_cover", [False, True])
def test_sound_alone_is_no_video(has_cover: bool, tmp_path: Path) -> None:
    how = ["-c:a", "aac"]
    if has_cover:
        cover = make(["-f", "lavfi", "-i", "color=red:s=64x64:d=0.1", "-frames:v", "1"], tmp_path / "c.jpg")
        how = ["-i", str(cover), *maps(2), *how, "-c:v", "copy", "-disposition:v:0", "attached_pic"]
    source = make([*tone(1), *how], tmp_path / "in.mp4")
    assert "no video" in refusal(source, tmp_path / "out.mkv")


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ("-map 0 -map -0:a:1 -c copy", "audio streams: 2 planned, 1 there"),
        ("-map 0 -map -0:s -c copy", "subtitle streams: 1 planned, 0 there"),
        ("-map 0 -map -0:t -c copy", "attachments"),
        ("-map 0 -c copy -map_chapters -1", "chapters"),
        ("-map 0 -c copy -metadata title=other", "the title"),
        ("-map 0 -c copy -metadata:s:a:0 language=eng", "language"),
        ("-map 0 -c copy -metadata:s:a:1 title=", "title"),
        ("-map 0 -c copy -disposition:a:0 forced", "flags"),
        ("-map 0 -c copy -c:a flac", "flac instead of aac"),
        ("-map 0 -c copy -bsf:a:0 'noise=drop=between(n\\,10\\,20)'", "packets"),
        ("-map 0 -c copy -bsf:a:0 noise=amount=1", "bit for bit"),
        (
            "-map 0 -map -0:t:0 -c copy -attach {small} -metadata:s:t:0 filename=font.ttf"
            " -metadata:s:t:0 mimetype=font/ttf",
            "another size",
        ),
    ],
)
@pytest.mark.usefixtures("uncaged")
def test_census_finds_whatever_is_missing(change: str, cause: str, tmp_path: Path) -> None:
    """The result of a real encode is spoilt before the gates look at it."""
    notes, font, small = tmp_path / "notes.txt", tmp_path / "font.ttf", tmp_path / "small.ttf"
    notes.write_text(CHAPTERS, encoding="utf-8")
    font.write_bytes(b"\0\1\0\0" * 100)
    small.write_bytes(b"\0\1\0\0" * 10)
    inputs = [*picture(1), *tone(1), *tone(1), *words(tmp_path), "-f", "ffmetadata", "-i", str(notes)]
    how = ["-map_metadata", "4", "-map_chapters", "4", "-metadata:s:a:0", "language=jpn", "-metadata:s:a:1", "title=二"]
    attach = ["-attach", str(font), "-metadata:s:t:0", "mimetype=font/ttf"]
    source = make([*inputs, *maps(4), *CODECS, "-c:s", "srt", *how, *attach], tmp_path / "in.mkv")
    spoil = change.format(small=small)
    rule = f"""case "$*" in *"-f matroska"*)
      "$real" "$@" || exit; out="${{@: -1}}"; mv "${{out#file:}}" {tmp_path}/whole.mkv
      exec "$real" -v error -nostdin -i {tmp_path}/whole.mkv {spoil} -f matroska "$out" ;; esac"""
    spoilt = MachineOptions(ffmpeg=str(stand_in(tmp_path, rule)), mkvmerge="off")
    converter = FfmpegConverter(OutputOptions(preset=12, quality_metric="off"), spoilt)
    assert cause in refusal(source, tmp_path / "out.mkv", converter)
    assert convert(source, tmp_path / "out.mkv").frames == 24


@pytest.mark.usefixtures("uncaged")
def test_result_that_does_not_decode_is_refused(tmp_path: Path) -> None:
    source = make([*CLIP, *CODECS], tmp_path / "in.mkv")
    rule = """case "$*" in *"-f matroska"*)
      "$real" "$@" || exit; out="${@: -1}"; out="${out#file:}"
      middle=$(($(stat -c %s "$out") / 2))
      printf 'never a picture' | dd of="$out" bs=1 seek=$middle conv=notrunc status=none; exit ;; esac"""
    converter = FfmpegConverter(
        OutputOptions(preset=12, quality_metric="off"),
        MachineOptions(ffmpeg=str(stand_in(tmp_path, rule)), mkvmerge="off"),
    )
    assert "does not decode" in refusal(source, tmp_path / "out.mkv", converter)


def test_plan_tells_what_becomes_of_each_stream_and_why(tmp_path: Path) -> None:
    source = make([*CLIP, *words(tmp_path), *maps(3), *CODECS, "-c:s", "mov_text"], tmp_path / "in.mp4")
    plan = CONVERTER.plan(source)
    told = [(one.source.codec, one.action, one.codec, one.why) for one in plan.streams]
    assert json.loads(json.dumps(told)) == [
        ["h264", "encode", "av1", "h264 becomes AV1"],
        ["aac", "copy", "aac", "Matroska holds it"],
        ["mov_text", "encode", "subrip", "text of mov_text becomes SubRip"],
    ]
