"""The check's decisions: which state of the programs is which exit status, and that it is always one line."""

from typing import Any

import pytest

from tools.report.health import (
    HealthLimits,
    Level,
    Problem,
    count_items,
    judge_disk,
    judge_pause,
    judge_program,
    judge_queue,
    line,
    monitor_silence,
    processor_silence,
)
from tools.runtime.language import Language, translated, use
from tools.state.liveness import Life

ALIVE, NOW = Life(True), 1_000_000.0


@pytest.mark.parametrize(
    ("life", "age", "said"),
    [
        (ALIVE, 0.0, None),
        (ALIVE, 100.0, None),
        (Life(None), 100.0, None),
        (ALIVE, -50.0, None),
        (ALIVE, 101.0, "stalled"),
        (ALIVE, -101.0, "in the future"),
        (ALIVE, None, "yet"),
        (Life(False, died=True), 0.0, "died"),
        (Life(False), 0.0, "is not running"),
        (Life(None), 101.0, "stalled"),
        (Life(True, since=NOW - 5), None, None),
        (Life(True, since=NOW - 5), 86400.0, None),
        (Life(True, since=NOW - 101), None, "yet"),
        (Life(True, since=NOW - 101), 102.0, "stalled"),
        (Life(True, since=NOW + 500), 101.0, "stalled"),
    ],
)
def test_program_is_critical_when_gone_or_silent(life: Life, age: float | None, said: str | None) -> None:
    found = judge_program("monitor", life, age, 100.0, NOW)
    if said is None:
        assert found == []
    else:
        assert [trouble.level for trouble in found] == [Level.CRITICAL] and said in found[0].text


def test_what_stalled_is_said_in_chinese_to_the_last_word() -> None:
    life = Life(True, since=NOW - 900)
    use(Language.CHINESE)
    said = [translated(judge_program(name, life, 102.0, 100.0, NOW)[0].text) for name in ("monitor", "processor")]
    assert said == ["监控程序停滞，最近一次轮询在 102 秒前", "处理程序停滞，最近一次写入在 102 秒前"]


def test_pause_is_a_warning_with_its_reason() -> None:
    assert judge_pause({"paused": None}) == [] and judge_pause({}) == []
    assert judge_pause({"paused": "token refused"}) == [Problem(Level.WARNING, "processor paused: token refused")]


def test_cancelled_items_are_no_failures_and_odd_entries_are_told() -> None:
    entries: list[Any] = [
        {"status": "failed", "error": "2 of 3 videos can't be converted"},
        {"status": "failed", "error": "cancelled"},
        {"status": "pending"},
        {"status": ["pending"]},
        {"status": "odd"},
        {},
        "no object",
        None,
    ]
    counts = count_items(entries)
    assert counts == {
        "pending": 1,
        "processing": 0,
        "completed": 0,
        "failed": 1,
        "cancelled": 1,
        "odd": 5,
    }
    assert [t.text.split()[0] for t in judge_queue(counts, 1)] == ["1", "5"]
    assert judge_queue(count_items(entries[:3]), 2) == []
    assert judge_queue(count_items(entries[:3]), 0) == []


@pytest.mark.parametrize(("free", "level"), [(10.0, None), (9.9, Level.WARNING), (0.9, Level.CRITICAL)])
def test_low_disk(free: float, level: Level | None) -> None:
    found = judge_disk({"/a": 50.0, "/b": free}, HealthLimits())
    assert [trouble.level for trouble in found] == ([] if level is None else [level])
    assert all("/b" in trouble.text for trouble in found)


def test_worst_comes_first_on_one_line_and_numbers_stay_apart() -> None:
    troubles = [Problem(Level.WARNING, "one\nname | x=1"), Problem(Level.CRITICAL, "two")]
    level, text = line(troubles, "calm", {"failed": "1", "free": "2.0GB"})
    assert (level, text) == (Level.CRITICAL, "CRITICAL - two; one name / x=1 | failed=1 free=2.0GB")
    assert line([], "all is well", {"failed": "0"}) == (Level.OK, "OK - all is well | failed=0")


@pytest.mark.parametrize(
    ("interval", "monitor", "processor"),
    [(None, 1800, 180), (300, 1800, 900), (60, 360, 180), (1, 20, 60), (3600, 21600, 10800), ("x", 1800, 180)],
)
def test_limits_follow_the_programs_own_intervals(interval: Any, monitor: float, processor: float) -> None:
    state = {"interval": interval}
    assert (monitor_silence(state), processor_silence(state)) == (monitor, processor)
    assert monitor_silence(None) == 1800 and processor_silence({}) == 180
