"""Which subtitles and fonts belong to a video, what their names and their bytes say."""

import pytest

from tools.core.companions import companions, tail, too_many_fonts
from tools.core.folder import RemoteFile
from tools.media.languages import named_flags, named_language
from tools.media.subtitle_text import decoded

EXTENSIONS = frozenset({"mkv", "mp4"})


def found(video: str, *names: str) -> list[str]:
    files = [RemoteFile(f"A/{name}", 5, "") for name in (video, *names)]
    return [file.name for file in companions(files[0], files, EXTENSIONS)[0]]


def test_subtitle_belongs_to_the_longest_name_and_fonts_to_those_that_name_fonts() -> None:
    names = ["ep 1.ass", "ep 1.chs.srt", "ep 10.ass", "ep 1.5.mkv", "ep 1.5.ass", "f.ttf", "ep 1.nfo", "ep 1.jpg"]
    assert found("ep 1.mkv", *names) == ["ep 1.ass", "ep 1.chs.srt", "f.ttf"]
    assert found("ep 1.mkv", "ep 1.srt", "f.ttf") == ["ep 1.srt"]
    assert found("ep 1.mkv", "ep 1.idx", "ep 1.sub", "ep 1.sup") == ["ep 1.idx", "ep 1.sup", "ep 1.sub"]
    assert found("ep 1.mkv", "ep 1.idx", "ep 2.sub", "._ep 1.ass", "ep 1.ass.part", "ep 1.ass") == []
    assert tail("ep 1.sc&jp.ass", "ep 1.mkv") == "sc&jp" and tail("ep 1.ass", "ep 1.mkv") == ""


@pytest.mark.parametrize(
    ("names", "language"),
    [
        (("zh-Hans", "chs", "SC", "JPSC", "sc&jp", "zh-CN", "简日", "gb"), "zh-Hans"),
        (("zh-Hant", "cht", "tc", "CHT&JPN", "zh-TW", "繁体", "big5"), "zh-Hant"),
        (("zh", "chi", "chs+cht", "中文"), "zh"),
        (("ja", "jpn", "JP"), "ja"),
        (("eng", "en.forced", "default.en"), "en"),
        (("", "by somebody", "v2", "commentary"), ""),
    ],
)
def test_language_by_the_name(names: tuple[str, ...], language: str) -> None:
    assert {name: named_language(name) for name in names} == dict.fromkeys(names, language)


def test_fonts_have_a_limit_together_and_the_rest_is_counted() -> None:
    texts = [RemoteFile("A/1.mkv", 1, "s"), RemoteFile("A/1.ass", 1, "s")]
    many = [RemoteFile(f"A/{number:03}.ttf", 1, "s") for number in range(503)]
    found, left_out = companions(texts[0], [*texts, *many], EXTENSIONS)
    assert (len(found), left_out) == (501, 3)
    large = [RemoteFile(f"A/{number}.ttf", 90_000_000, "s") for number in range(7)]
    found, left_out = companions(texts[0], [*texts, *large], EXTENSIONS)
    assert (len(found), left_out) == (6, 2) and "2 fonts" in too_many_fonts(left_out)


def test_flags_by_the_name() -> None:
    assert named_flags("en.forced") == {"forced"} and named_flags("eng.SDH") == {"hearing_impaired"}
    assert named_flags("reinforced") == frozenset()


TIMES = "1\n00:00:01,000 --> 00:00:02,000\n"
SIMPLIFIED = TIMES + "你好，世界。这是简体中文字幕，谢谢你今天来到这里。\n"
TRADITIONAL = TIMES + "你好，世界。這是繁體中文字幕，謝謝你今天來到這裡。\n"
JAPANESE = TIMES + "こんにちは、世界。これは日本語の字幕です。\n"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        *((SIMPLIFIED, name) for name in ("gb18030", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be")),
        *((text, name) for text, name in ((TRADITIONAL, "big5"), (JAPANESE, "cp932"), (JAPANESE, "utf-16-be"))),
    ],
)
def test_encodings_are_told_apart_by_the_bytes(text: str, encoding: str) -> None:
    assert decoded(text.encode(encoding))[0] == text


def test_language_of_the_name_decides_where_bytes_leave_it_open() -> None:
    short = "你好"
    assert decoded(short.encode("gb18030"), "zh-Hans")[0] == short
    assert decoded(short.encode("big5"), "zh-Hant")[0] == short
