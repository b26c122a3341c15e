"""The history: what is written is what is read; months of it stay small; whatever happens to its file, work goes on."""

import logging
import os
import shutil
import sqlite3
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.patience import until
from tools.core import planning
from tools.core.artifact import VideoOutput
from tools.core.errors import Trouble
from tools.core.folder import RemoteFile
from tools.core.past import STAGES, PollLine, Sums, TroubleCount, VideoLine
from tools.core.planning import VideoJob
from tools.processor.reporting import AttemptOver, Progress
from tools.report.historian import Historian, line_of, warnings_of
from tools.stages.video_job import JobResult, Outcome
from tools.state import history
from tools.state.history import COLUMNS, HISTORY_FILE, HistoryWriter, PauseBegan, PauseEnded
from tools.state.history_reader import History

NOON = 1_767_268_800.0  # epoch s, on the hour
STORED = VideoLine(
    ended=NOON + 60,
    folder="番剧A/Season 1",
    video="ep 01.mp4",
    outcome="stored",
    bytes_in=1000,
    bytes_out=400,
    duration_s=10.0,
    frames=250,
    width=1920,
    height=1080,
    source_codec="h264",
    encoder="SVT-AV1 4",
    crf=30.0,
    quality={"vmaf": 95.5},
    kept=3,
    dropped=1,
    warnings="dropped a data stream",
    worker="box",
    seconds={"waiting": 1.0, "download": 2.0, "encode": 25.0, "verify": 3.0, "upload": 4.0},
)
FAILED = VideoLine(
    ended=NOON + 4000,
    folder="B",
    video="\udcff<script>.mkv",
    outcome="failed",
    final=False,
    trouble="media",
    cause="no",
)


def written(log_dir: Path, *lines: history.Line) -> History:
    writer = HistoryWriter(log_dir)
    for line in lines:
        writer.add(line)
    writer.close(30)
    return History(log_dir)


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    poll = PollLine(time=NOON, answered=False, cause="503", folders=3, waiting=1)
    past = written(tmp_path, STORED, FAILED, poll, PauseBegan(NOON + 3000, "hub down"), PauseEnded(NOON + 4200))
    failed, stored = past.videos()
    assert replace(stored, id=0) == STORED and (stored.saved, stored.fps) == (600, 10.0)
    assert replace(failed, id=0, seconds={}) == replace(FAILED, video="?<script>.mkv")
    assert past.videos(folder="番剧A/Season 1") == past.videos(outcome="stored") == past.videos(before=failed.id)
    assert past.videos(since=NOON + 61) == past.videos(limit=1) == [failed]
    first, second = past.hours()
    assert (first.hour, first.stored, first.bytes_in, first.saved, first.encode_s) == (NOON, 1, 1000, 600, 25.0)
    assert (first.paused_s, second.paused_s, first.polls_failed, second.failed) == (600, 600, 1, 1)
    assert past.hours(NOON + 1) == [second] and past.hours(until=NOON + 1) == [first]
    assert past.totals().paused_s == 1200 and past.totals(NOON + 3600).stored == 0
    assert past.stored(STORED.ended) == Sums(stored=1, bytes_in=1000, bytes_out=400)
    assert past.stored(STORED.ended + 1) == Sums()  # failed since, and nothing is stored
    assert past.troubles() == [TroubleCount("media", "failed", 1)]
    assert past.polls() == [poll] and [one.cause for one in past.pauses()] == ["hub down"]
    assert [(one.name, one.stored, one.failed, one.bytes_in) for one in past.workers()] == [
        ("", 0, 1, 0),
        ("box", 1, 0, 1000),
    ]
    assert past.folders()["番剧A/Season 1"].bytes_out == 400
    assert past.problem is None


def test_stages_are_those_of_the_jobs() -> None:
    assert set(STAGES) == set(planning.STAGES) - {"suspended"}  # which counts as waiting


def test_attempt_becomes_the_line_that_tells_it() -> None:
    source = RemoteFile(path="A/1.mp4", size=1000, sha256="ab")
    job = VideoJob(attempt_id="a", attempt=2, folder="A", input_repo="me/in", revision="r", source=source, targets=())
    streams: list[dict[str, str | None]] = [
        {"type": "audio", "codec": "aac"},
        {"type": "video", "source_codec": "vp9", "codec": "av1"},
    ]
    streams.append({"type": "data", "codec": None})
    record = {"size": 300, "frames": 50, "duration_s": 2.0, "width": 4, "height": 2, "streams": streams}
    measured = {"metric": "vmaf", "model": "x", "mean": 94.0, "p5": 91.0, "min": 88.0, "samples": 3, "seconds": 4.0}
    record |= {"settings": "-preset 6 -crf 30 -svtav1-params lp=1", "quality": measured}
    output = VideoOutput(record, ())  # type: ignore[arg-type]
    stored = JobResult(job, Outcome.STORED, output, spent={"encode": 5.0}, worker="w")
    line = line_of(AttemptOver(NOON, stored, final=True))
    assert isinstance(line, VideoLine)
    quality = {"vmaf": 94.0, "vmaf_p5": 91.0, "vmaf_min": 88.0}
    assert (line.source_codec, line.kept, line.dropped, line.crf, line.quality) == ("vp9", 2, 1, 30.0, quality)
    assert (line.folder, line.video, line.attempt, line.worker, line.work, line.fps) == ("A", "1.mp4", 2, "w", 16.0, 10)
    slept = line_of(AttemptOver(NOON, stored, final=True), suspended=3.0)
    assert slept.seconds == {"encode": 2.0, "waiting": 3.0}
    put_off = JobResult(job, Outcome.DEFERRED, trouble=Trouble.DISK_FULL)
    assert line_of(AttemptOver(NOON, put_off, final=False)) == history.Deferral(NOON, "disk_full", {})


def test_pause_is_one_line_however_often_its_next_try_is_told(tmp_path: Path) -> None:
    (tmp_path / "crashed").mkdir()
    written(tmp_path / "crashed", PauseBegan(NOON - 7200, "an earlier run died in it"))
    historian = Historian(HistoryWriter(tmp_path / "crashed"))
    for second, cause in enumerate(("down; next try at 10", "down; next try at 20", None, "disk")):
        historian.observe(Progress(NOON + second, cause, (), ()))
    historian.close(NOON + 10)
    past = History(tmp_path / "crashed")
    found = [(one.cause, one.ended and one.ended - one.began) for one in past.pauses()]
    assert found == [("disk", 7), ("down", 2), ("an earlier run died in it", 0)]
    assert past.totals().paused_s == 9


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _no_database(path: Path) -> None:
    path.write_bytes(b"no database at all" * 500)


def _torn(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096:20480] = os.urandom(16384)
    path.write_bytes(content)


def _other_tables(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE video (x)")


@pytest.mark.parametrize("damage", [Path.unlink, _empty, _no_database, _torn, _other_tables])
def test_damaged_history_costs_itself_alone_and_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None]
) -> None:
    written(tmp_path, *[STORED] * 200).close()
    damage(tmp_path / HISTORY_FILE)
    past = History(tmp_path)
    assert past.totals() == Sums() or damage is _torn
    for _ in range(2):  # the first line is what notices it, and may be lost
        written(tmp_path, STORED).close()
    assert 1 <= past.totals().stored <= 2 and past.problem is None
    said = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(said) == (damage not in (Path.unlink, _empty)), [record.getMessage() for record in said]
    assert all("; a new history begins" in record.getMessage() for record in said)


def test_folder_that_takes_no_history_is_said_once_and_waits_for_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    past = written(tmp_path / "gone", STORED, STORED)
    assert len(caplog.records) == 1 and "work continues without it" in caplog.text
    assert past.videos() == [] and past.problem == "there is no history yet"


def test_newer_format_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with sqlite3.connect(tmp_path / HISTORY_FILE) as database:
        database.execute("PRAGMA user_version = 99")
    before = (tmp_path / HISTORY_FILE).read_bytes()
    past = written(tmp_path, STORED)
    assert past.videos() == [] and "99" in str(past.problem) and "newer version" in caplog.text
    assert (tmp_path / HISTORY_FILE).read_bytes() == before


def test_copy_that_cannot_be_written_is_read(tmp_path: Path) -> None:
    """As an ordinary user, to whom a folder that belongs to another is closed."""
    (tmp_path / "log").mkdir()
    written(tmp_path / "log", STORED).close()
    shutil.copytree(tmp_path / "log", tmp_path / "copy")
    (tmp_path / "copy" / HISTORY_FILE).chmod(0o444)
    (tmp_path / "copy").chmod(0o555)
    tmp_path.chmod(0o755)
    asked = (
        "import os; from pathlib import Path; from tools.state.history_reader import History;"
        "os.getuid() or os.setuid(65534);"
        f"past = History(Path({str(tmp_path / 'copy')!r})); print(len(past.videos()), past.problem)"
    )
    for parent in tmp_path.parents:
        if os.getuid() == 0 and parent.name.startswith(("pytest-", "popen-")):
            parent.chmod(0o755)
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("1 None\n", "")
    (tmp_path / "copy").chmod(0o755)


def test_months_of_use_stay_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More attempts than are kept, names of a usual length: the file per line, and that old ones go while sums stay."""
    monkeypatch.setattr(history, "KEPT_VIDEOS", 3000)
    monkeypatch.setattr(history, "_HELD", 1 << 20)
    lines = [
        replace(
            STORED,
            folder=f"[字幕组] 某某动画 第{n // 12}季 [1080p]",
            video=f"[字幕组] 某某动画 - {n % 12:02} [WebRip 1080p HEVC].mkv",
            ended=NOON + 600 * n,
        )
        for n in range(6000)
    ]
    past = written(tmp_path, *lines)
    assert past.totals().stored == 6000
    assert len(past.videos(limit=10_000)) == 3000
    past.close()
    size = (tmp_path / HISTORY_FILE).stat().st_size
    assert size / 6000 * 100_000 < 40e6, size


def test_what_is_long_is_cut_and_what_is_old_goes_sums_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kept in ("KEPT_VIDEOS", "KEPT_POLLS", "KEPT_PAUSES"):
        monkeypatch.setattr(history, kept, 8)
    monkeypatch.setattr(history, "_PRUNED_EVERY", 1)
    writer = HistoryWriter(tmp_path)
    for n in range(20):
        writer.add(replace(FAILED, ended=NOON + n, cause=f"{n:02}" + "x" * 600, warnings="y" * 600))
        writer.add(PollLine(time=NOON + n, answered=True, cause="z" * 600))
        writer.add(PauseBegan(NOON + 2 * n, "p" * 600))
        writer.add(PauseEnded(NOON + 2 * n + 1))
    writer.close(30)
    past = History(tmp_path)
    assert [line.cause for line in past.videos()] == [f"{n:02}" + "x" * 498 for n in range(19, 11, -1)]
    assert {len(line.warnings) for line in past.videos()} == {500}
    assert [(poll.time, len(poll.cause)) for poll in past.polls()] == [(NOON + n, 500) for n in range(19, 11, -1)]
    assert [(pause.began, len(pause.cause)) for pause in past.pauses()] == [
        (NOON + 2 * n, 500) for n in range(19, 11, -1)
    ]
    assert (past.totals().failed, past.totals().polls, past.totals().paused_s) == (20, 20, 20)
    with sqlite3.connect(tmp_path / HISTORY_FILE) as database:
        texts = {text for (text,) in database.execute("SELECT text FROM text")}
    assert {line.cause for line in past.videos()} <= texts and not any(text.startswith("00") for text in texts)


def test_name_that_went_with_the_last_line_of_it_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("KEPT_VIDEOS", 2), ("_PRUNED_EVERY", 1), ("_AT_ONCE", 0.0)):
        monkeypatch.setattr(history, name, value)
    past = written(tmp_path, *[replace(FAILED, folder=folder) for folder in ("rare", "B", "C", "D", "E", "rare")])
    assert [line.folder for line in past.videos()] == ["rare", "E"]
    with sqlite3.connect(tmp_path / HISTORY_FILE) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",), "readers wait for no writer"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may write for another user")
def test_history_that_root_begins_belongs_to_the_owner_of_the_folder(tmp_path: Path) -> None:
    os.chown(tmp_path, 65534, 65534)
    writer = HistoryWriter(tmp_path)
    writer.add(STORED)
    until(lambda: History(tmp_path).videos(), "it is written")
    assert {path.name: path.stat().st_uid for path in tmp_path.iterdir()} == dict.fromkeys(history.HISTORY_FILES, 65534)
    writer.close(30)


def test_damaged_history_that_can_not_be_set_aside_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.strftime", lambda form: "now")
    (tmp_path / f"{HISTORY_FILE}.damaged-now-{os.getpid()}").mkdir()
    monkeypatch.setattr(history, "_AT_ONCE", 0.0)
    _no_database(tmp_path / HISTORY_FILE)
    written(tmp_path, STORED, STORED)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "history can't be written" in caplog.text


def test_lines_of_a_second_are_kept_together_or_not_at_all(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    past = written(tmp_path, STORED, replace(STORED, frames=1 << 70))
    assert past.videos() == [] and past.totals().stored == 0 and "work continues without it" in caplog.text
    pause = written(tmp_path, PauseBegan(NOON, "one"), PauseBegan(NOON + 10, "another")).pauses()
    assert [(one.cause, one.ended) for one in pause] == [("another", None), ("one", NOON + 10)]


def test_python_without_sqlite_has_no_history_and_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sqlite3", None)
    monkeypatch.setattr(history, "_AT_ONCE", 0.0)
    written(tmp_path, STORED, STORED)
    assert [record.levelno for record in caplog.records] == [logging.WARNING] and "no sqlite3 module" in caplog.text


def test_troubles_are_counted_by_day_and_pauses_hour_by_hour_up_to_sixty_days(tmp_path: Path) -> None:
    day = 86400
    lines = [replace(FAILED, ended=NOON + n * day, trouble=trouble) for n, trouble in enumerate(("a", "b", "b"))]
    put_off = [history.Deferral(NOON + day, "disk_full", {"waiting": 3.456, "download": 1.0})] * 3
    pause = PauseBegan(NOON - 100 * day, "a clock that was set"), PauseEnded(NOON + 1800)
    past = written(tmp_path, *lines, *put_off, *pause)
    counted = [TroubleCount("disk_full", "deferred", 3), TroubleCount("b", "failed", 2)]
    assert past.troubles() == [*counted, TroubleCount("a", "failed", 1)]
    assert past.troubles(NOON) == counted, "days that begin then or later"
    assert past.totals().paused_s == 60 * day and past.totals().deferred == 3
    assert past.totals(NOON).paused_s == 1800 and past.hours(NOON, NOON + 1)[0].paused_s == 1800
    assert past.totals().waiting_s == pytest.approx(3 * 3.46) and past.totals().download_s == 3


def test_history_that_is_deleted_or_replaced_under_writer_and_reader_is_begun_and_read_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "_AT_ONCE", 0.01)
    writer, past = HistoryWriter(tmp_path), History(tmp_path)
    try:
        for number in range(1, 4):
            writer.add(replace(STORED, attempt=number))
            until(lambda: [line.attempt for line in past.videos()], "the line is there")
            assert [line.attempt for line in past.videos()] == [number]
            for name in history.HISTORY_FILES:
                (tmp_path / name).unlink(missing_ok=True)
            assert past.videos() == [] and past.problem == "there is no history yet"
    finally:
        writer.close(30)


def test_file_of_a_stranger_with_our_tables_is_said_and_not_believed(tmp_path: Path) -> None:
    written(tmp_path, STORED).close()
    past = History(tmp_path)
    for column, value, said in (
        ("quality", "[1]", "quality of an attempt is no object"),
        ("quality", "{", "can't be read"),
        ("frames", "many", "frames of an attempt is no number"),
        ("encode_s", None, "encode_s of an attempt is no number"),
    ):
        with sqlite3.connect(tmp_path / HISTORY_FILE) as database:
            database.execute(f"UPDATE video SET {column} = ?", (value,))
        assert past.videos() == [] and said in str(past.problem)
        with sqlite3.connect(tmp_path / HISTORY_FILE) as database:
            database.execute("UPDATE video SET quality = '', frames = 1, encode_s = 1.0")
    with sqlite3.connect(tmp_path / HISTORY_FILE) as database:
        database.execute("UPDATE video SET worker = 99, crf = NULL")
    assert [(line.worker, line.crf, line.quality) for line in past.videos()] == [("", None, {})] and not past.problem
    assert past.totals().stored == 1


def test_long_text_that_many_rows_of_a_stranger_share_does_not_fill_the_memory(tmp_path: Path) -> None:
    written(tmp_path, STORED).close()
    long = 1 << 20
    with sqlite3.connect(tmp_path / HISTORY_FILE) as database:
        database.execute("UPDATE text SET text = ? WHERE id = (SELECT folder FROM video)", ("x" * long,))
        names = ", ".join(COLUMNS)
        database.execute(
            f"WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200) "
            f"INSERT INTO video ({names}) SELECT {names} FROM video, n"
        )
    past = History(tmp_path)
    tracemalloc.start()
    try:
        assert past.videos() == [] and "characters" in str(past.problem)
        assert tracemalloc.get_traced_memory()[1] < 100 * long
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("said", ["dropped a data stream\nno flag", ["dropped a data stream", "no flag"]])
def test_warnings_of_records_old_and_new_are_one_line_each(said: str | list[str]) -> None:
    assert warnings_of(said) == "dropped a data stream\nno flag"
