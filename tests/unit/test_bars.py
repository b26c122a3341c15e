"""What the bars show: lines that fit a terminal, names that stay apart, no numbers before there are any."""

import io
import re
from typing import Any

import pytest

from tests.patience import until
from tools.core.planning import Stage
from tools.media.transcode import EncodeProgress, ProgressReader
from tools.report.bars import Bars
from tools.report.cells import cells, cut, cut_name
from tools.report.job_line import job_lines
from tools.state.progress import JobProgress

FANSUB = "[某字幕组][葬送的芙莉莲 Frieren Beyond Journey's End][{}][BDRip 1920x1080 HEVC 10bit FLAC 2.0][1A2B3C4D].mkv"


def job(stage: Stage, number: int = 1, **more: Any) -> JobProgress:
    return JobProgress(
        folder="葬送的芙莉莲", video=f"葬送的芙莉莲/{FANSUB.format(f'{number:02}')}", stage=stage, **more
    )


@pytest.mark.parametrize(
    "name",
    [
        FANSUB,
        "Journey's End of a Very Long Name Indeed S01E{} 1080p WEB-DL x265 AAC5.1 (2023).mkv",
        "葬送的芙莉莲 很长很长很长很长很长很长的名字 第{}话 简体中文字幕 1080P.mp4",
        "A Show With a Long Name, and Its Subtitle Too - {}v2 [720p].mkv",
        "{} a show whose number comes first, with a long name that follows.mkv",
        "葬送的芙莉莲 第2季/很长很长很长很长很长很长的名字 {}.mkv",
    ],
)
@pytest.mark.parametrize("room", [20, 21, 30, 40])
def test_name_that_is_too_long_keeps_its_number_and_fits(name: str, room: int) -> None:
    shown = [cut_name(name.format(f"{number:02}"), room) for number in range(1, 31)]
    assert len(set(shown)) == 30 and max(map(cells, shown)) <= room
    assert all(f"{number:02}" in one for number, one in enumerate(shown, 1))


@pytest.mark.parametrize("name", ["", "…", "あ" * 90, "a" * 300 + ".mkv", "/", "NCOP.mkv", "9" * 50])
def test_any_name_fits(name: str) -> None:
    for room in range(8, 60):
        assert cells(cut_name(name, room)) <= room and cells(cut(name, room)) <= room


def test_name_without_a_number_keeps_its_end() -> None:
    assert cut_name("葬送的芙莉莲 Frieren Beyond Journey's End Creditless Opening", 24) == "葬送的芙莉莲 Frie…pening"


@pytest.mark.parametrize("columns", [80, 100, 132, 200])
@pytest.mark.parametrize(
    "shown",
    [
        job("waiting"),
        job("download", percent=86.0, speed=123_400_000.0, eta_s=4000.0),
        job("encode", percent=0.0),
        job("encode", percent=64.2, fps=123.4, speed=12.34, eta_s=36_000.0),
        job("upload", percent=100.0, speed=1.0, eta_s=0.0),
    ],
)
def test_line_fits_the_terminal_and_has_no_stray_comma(shown: JobProgress, columns: int) -> None:
    [line] = job_lines([shown], columns)
    assert cells(line) < columns and ", " not in line
    assert "01" in line and shown.stage in line


def test_two_episodes_of_one_show_differ_on_80_columns() -> None:
    numbers = {"percent": 64.0, "fps": 23.9, "speed": 1.02, "eta_s": 1300.0}
    assert len(set(job_lines([job("encode", 1, **numbers), job("encode", 2, **numbers)], 80))) == 2


@pytest.mark.parametrize(
    ("videos", "words"),
    [
        ([f"番剧/葬送的芙莉莲 S{n}/{FANSUB.format('01')}" for n in (1, 2)], ["…S1/", "…S2/"]),
        ([f"葬送的芙莉莲 第{n}季/01.mkv" for n in "一二"], ["第一季", "第二季"]),
        ([f"F/[某字幕组][葬送的芙莉莲 Journey's End S{n}][01][1080p].mkv" for n in (1, 2)], ["…S1][01]", "…S2][01]"]),
    ],
)
def test_episodes_of_one_number_in_two_seasons_differ_on_80_columns(videos: list[str], words: list[str]) -> None:
    numbers: dict[str, Any] = {"percent": 64.0, "fps": 123.4, "speed": 12.34, "eta_s": 36_000.0}
    jobs = [JobProgress(folder="F", video=video, stage="encode", **numbers) for video in videos]
    lines = job_lines(jobs, 80)
    assert all(word in line and cells(line) < 80 for word, line in zip(words, lines, strict=True)), lines
    [alone] = job_lines(jobs[:1], 200)
    assert videos[0].rpartition("/")[2][:20] in alone and "…S" not in alone and "/" not in alone


def test_block_that_says_what_the_one_before_said_is_no_progress() -> None:
    """From version 7 on ffmpeg goes on to print them while it hangs."""
    reader = ProgressReader(10.0, lambda progress: None)
    moved = []
    for frame, microseconds, word in [(89, 3560000, "continue")] * 3 + [
        (90, 3560000, "continue"),
        (90, 3560000, "end"),
    ]:
        lines = [f"frame={frame}", f"out_time_us={microseconds}", "fps=1.0", f"progress={word}"]
        moved.append([reader.line(line) for line in lines][-1])
    assert moved == [True, False, False, True, True]


def test_rate_of_the_first_moment_is_unknown_not_zero() -> None:
    seen: list[EncodeProgress] = []
    reader = ProgressReader(10.0, seen.append)
    for block in ("fps=0.00 speed=N/A frame=0", "fps=0.00 speed=0x frame=3", "fps=24.5 speed=1.02x frame=30"):
        for line in [*block.split(), "progress=continue"]:
            reader.line(line)
    assert [(one.fps, one.speed) for one in seen] == [(None, None), (None, None), (24.5, 1.02)]


def test_line_below_the_bars_is_asked_for_beside_them_and_survives_what_it_raises(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a terminal; elsewhere nobody asks for it."""
    answers = iter(["2 folders", None])

    def below() -> str:
        answer = next(answers)
        if answer is None:
            raise OSError("the queue can't be read")
        return answer

    Bars(below).show([])
    assert next(answers) == "2 folders"
    answers = iter(["2 folders", None])
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setattr("tools.report.bars._EVERY", 0.01)
    bars = Bars(below)
    until(lambda: "2 folders" in terminal.getvalue(), "", lambda: bars.show([job("encode", 1)]))
    lines = re.split(r"[\r\n]+", terminal.getvalue())
    bars.close()
    assert [line for line in lines if "2 folders" in line and cells(line) < 80]


def test_rate_that_would_be_shown_as_nothing_is_not_known_yet() -> None:
    """At first ffmpeg has hardly a picture, since the encoder looks ahead, and says 0 or 0.04 per second."""
    seen: list[EncodeProgress] = []
    reader = ProgressReader(60.0, seen.append)
    for fps, speed in (("0.00", "N/A"), ("0.04", "0.004x"), ("0.05", "0.005x"), ("24.1", "1.01x")):
        for line in ("frame=2", f"fps={fps}", "out_time_us=1500000", f"speed={speed}", "progress=continue"):
            reader.line(line)
    assert [(one.fps, one.speed) for one in seen] == [(None, None), (None, None), (0.05, 0.005), (24.1, 1.01)]
    shown = [job("encode", fps=one.fps, speed=one.speed) for one in seen]
    assert not [line for line in job_lines(shown, 80) if " 0.0 fps" in line or "0.00x" in line]
