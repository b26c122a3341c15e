"""State files that something else damaged: cut, overwritten, re-encoded, edited by hand, of an older version."""

import errno
import json
import os
import tempfile
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from config import Settings
from tests.fakes import FakeClock, MemoryHub
from tests.jobs import output_of, video_job
from tests.patience import PATIENCE
from tools.core.errors import CorruptState, DiskFull
from tools.core.folder import RemoteFile
from tools.core.queue_item import QueueItem, Status, from_json, local_time, to_json
from tools.modelscope_monitor import ModelScopeMonitor
from tools.report.status import status_json, status_text
from tools.state.journal import Event, Journal, sweep
from tools.state.monitor_state import MonitorStateFile
from tools.state.progress import PROGRESS_FILE, HubWork, JobProgress, ProgressFile, WorkerState
from tools.state.work_queue import Overview, WorkQueue

NOW = 1_700_000_000.0


def item(name: str, **changes: Any) -> QueueItem:
    return QueueItem(folder=name, hash="h", file_count=1, total_size=1, added_time=local_time(NOW), **changes)


def put(log_dir: Path, *items: QueueItem) -> None:
    with WorkQueue(log_dir).transaction() as view:
        for one in items:
            view.put(one)


def folders(log_dir: Path) -> list[str]:
    return [one.folder for one in WorkQueue(log_dir).read().items()]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "utf-8-sig"])
def test_queue_that_an_editor_saved_in_another_encoding_is_understood(tmp_path: Path, encoding: str) -> None:
    put(tmp_path, item("番剧A"))
    path = tmp_path / "processing_queue.json"
    path.write_text(path.read_text(encoding="utf-8"), encoding=encoding)
    put(tmp_path, item("B"))
    assert folders(tmp_path) == ["番剧A", "B"]
    # Now that one is the generation before, and serves as such.
    path.write_bytes(b"torn")
    put(tmp_path, item("C"))
    assert folders(tmp_path) == ["番剧A", "C"]


def test_queue_in_latin_1_is_damaged_and_the_one_before_serves(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path, item("A"))
    put(tmp_path, item("Pokémon"))
    path = tmp_path / "processing_queue.json"
    path.write_text(path.read_text(encoding="utf-8"), encoding="latin-1")
    put(tmp_path, item("B"))
    assert folders(tmp_path) == ["A", "B"]
    assert len([record for record in caplog.records if "restored the previous version" in record.getMessage()]) == 1


def test_file_of_an_older_version_is_read_and_completed(tmp_path: Path) -> None:
    older = {"folder": "A", "file_count": 3, "total_size": 9, "added_time": "2023-12-21T10:35:00"}
    older |= {"status": "processing", "priority": 1, "start_time": None, "end_time": None}
    (tmp_path / "processing_queue.json").write_text(json.dumps([older]), encoding="utf-8")
    put(tmp_path, item("B"))
    read = WorkQueue(tmp_path).read().get("A")
    assert read is not None and read.status is Status.PROCESSING and read.hash == "" and read.attempts == 0


@pytest.mark.parametrize("strange", ["\x85", "\u2028", "\u2029", "\ud800", "\x1c", "\x00"])
def test_any_character_in_a_text_survives_a_write(tmp_path: Path, strange: str) -> None:
    cause = f"stderr said {strange} and no more"
    put(tmp_path, item("A", error=cause, extra={"note": cause}))
    put(tmp_path, item("B"))
    read = WorkQueue(tmp_path).read().get("A")
    assert read is not None and read.error == cause and read.extra == {"note": cause}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
ENTRY = st.fixed_dictionaries({}, optional={name: JSON for name in [*to_json(item("A")), "note"]})


@given(ENTRY | JSON)
def test_any_entry_is_understood_or_refused_but_breaks_nothing(entry: Any) -> None:
    try:
        understood = from_json(entry)
    except CorruptState:
        return
    again = from_json(json.loads(json.dumps(to_json(understood))))
    assert json.dumps(to_json(again)) == json.dumps(to_json(understood))
    Journal(Path("log"), understood.folder)


def test_damaged_queue_is_never_missing_while_it_is_restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash or a full disk in the middle of it must not look like a queue that somebody deleted."""
    put(tmp_path, item("A"))
    put(tmp_path, item("B"))
    path = tmp_path / "processing_queue.json"
    path.write_bytes(b"torn")

    def die(descriptor: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("tools.state.json_file.os.fsync", die)
        put(tmp_path, item("C"))

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    with monkeypatch.context() as patch, pytest.raises(Exception, match="no space left"):
        patch.setattr("tools.state.json_file.os.fsync", full)
        put(tmp_path, item("C"))
    assert path.read_bytes() == b"torn"
    put(tmp_path, item("D"))
    assert folders(tmp_path) == ["A", "D"]


def test_each_generation_is_told_from_the_one_before_however_fast_they_come(tmp_path: Path) -> None:
    put(tmp_path, item("A", attempts=1))
    path = tmp_path / "processing_queue.json"
    times = []
    for number in range(60):
        put(tmp_path, item("A", attempts=number % 10))
        times.append(path.stat().st_mtime_ns)
    assert times == sorted(set(times))


STATE = {
    "folders": {
        "A": {
            "hash": "h",
            "last_check_time": NOW,
            "file_count": 1,
            "total_size": 1,
            "last_modified": NOW,
            "quiet_from": 5.0,
        }
    },
    "head": "c",
}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("folders",), []),
        (("folders",), None),
        (("folders", "A"), 7),
        (("folders", "A", "quiet_from"), float("nan")),
        (("folders", "A", "quiet_from"), float("inf")),
        (("folders", "A", "file_count"), float("inf")),
        (("folders", "A", "last_check_time"), "yesterday"),
        (("folders", "A", "total_size"), None),
        (("listed",), float("-inf")),
    ],
)
def test_monitor_state_with_a_wrong_value_costs_waiting_and_nothing_else(
    tmp_path: Path, path: tuple[str, ...], value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    content = json.loads(json.dumps(STATE))
    place = content
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    for name in ("monitor_state.json", "monitor_state.json.prev"):
        (tmp_path / name).write_text(json.dumps(content), encoding="utf-8")
    assert MonitorStateFile(tmp_path).load().folders == {}
    assert len([record for record in caplog.records if record.levelname == "ERROR"]) == 1
    aside = list(tmp_path.glob("monitor_state.json.damaged-*"))
    assert len(aside) == 1 and aside[0].read_text(encoding="utf-8") == json.dumps(content)

    clock = FakeClock(NOW)
    hub = MemoryHub(clock)
    hub.put("me/in", {"A/1.mp4": b"1"})
    settings = Settings.load({"INPUT_REPO": "me/in", "OUTPUT_REPO": "me/out", "LOG_DIR": str(tmp_path)})
    watch = ModelScopeMonitor(settings, hub=hub, clock=clock)
    assert watch.check() == []
    clock.pass_time(700)
    assert watch.check() == ["A"]


def test_monitor_state_of_the_generation_before_goes_on_counting(tmp_path: Path) -> None:
    (tmp_path / "monitor_state.json.prev").write_text(json.dumps(STATE), encoding="utf-8")
    (tmp_path / "monitor_state.json").write_bytes(b"\xff\xfe\x00")
    assert list(MonitorStateFile(tmp_path).load().folders) == ["A"]


SOURCE = RemoteFile("A/1.mp4", 3, "s")


@pytest.mark.parametrize(
    "damage", [b"\x00\xff\x80", b"5", b"5,6", b"[]", b"null", b"[", b'{"event": "stored", "path": "A/1.mp4"']
)
def test_journal_with_a_line_that_makes_no_sense_keeps_the_others(tmp_path: Path, damage: bytes) -> None:
    journal, output = Journal(tmp_path, "A"), output_of(video_job(SOURCE, attempt_id="1"))
    journal.note(Event.STORED, SOURCE, **output.as_json())
    with journal.path.open("ab") as stream:
        stream.write(damage)
    journal.note(Event.REFUSED, SOURCE, cause="the line after a torn one counts")
    past = journal.history()["A/1.mp4", "s"]
    assert past.stored == output and past.refused == "the line after a torn one counts"


def test_half_a_line_that_a_full_disk_left_swallows_no_line_of_another_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each job and the engine have a ``Journal`` of their own over the same file."""
    Journal(tmp_path, "A").note(Event.ENCODING, SOURCE)
    looked, wrote = threading.Event(), threading.Event()
    real_write, real_pread = os.write, os.pread

    def write(descriptor: int, content: bytes) -> int:
        if b"half" not in content:
            wrote.wait(PATIENCE)
            return real_write(descriptor, content)
        second.start()
        looked.wait(0.5)  # for ever, if it waits for us as it should
        real_write(descriptor, content[: len(content) // 2])
        wrote.set()
        return len(content) // 2

    def pread(descriptor: int, count: int, offset: int) -> bytes:
        found = real_pread(descriptor, count, offset)
        if threading.current_thread() is second:
            looked.set()
        return found

    second = threading.Thread(target=lambda: Journal(tmp_path, "A").note(Event.REFUSED, SOURCE, cause="whole"))
    monkeypatch.setattr(os, "write", write)
    monkeypatch.setattr(os, "pread", pread)
    with pytest.raises(DiskFull):
        Journal(tmp_path, "A").note(Event.FAILED, SOURCE, cause="half")
    second.join(PATIENCE)
    assert Journal(tmp_path, "A").history()["A/1.mp4", "s"].refused == "whole"


def test_long_journal_with_torn_lines_is_read_whole(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "A")
    journal.path.parent.mkdir()
    damages = {b'{"event": "failed", "pa': 1700, b"": 1700, b"[1": 3, b"2]": 3, b"{}, {}": 1700, b"\xe5": 1700}
    for damage, lines in damages.items():
        with journal.path.open("ab") as stream:
            stream.write(damage)
        journal.note(Event.FAILED, *[SOURCE] * lines, cause="c")
    assert journal.history()["A/1.mp4", "s"].failures == sum(damages.values())


def test_stored_record_that_says_too_little_is_as_if_it_were_not_there(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "A")
    journal.note(Event.STORED, SOURCE, record={"sha256": "r"})
    assert journal.history()["A/1.mp4", "s"].stored is None


def test_journals_that_belong_to_nothing_are_swept(tmp_path: Path) -> None:
    for name in ("A", "B"):
        Journal(tmp_path, name).note(Event.ENCODING, SOURCE)
    sweep(tmp_path, ["B"])
    assert [path.name for path in (tmp_path / "journal").iterdir()] == [Journal(tmp_path, "B").path.name]


_ENTRY = st.dictionaries(
    st.sampled_from([*JobProgress.__slots__, *WorkerState.__slots__]), JSON | st.just(float("nan")), max_size=6
)
_PROGRESS = st.fixed_dictionaries(
    {}, optional={"updated": JSON, "paused": JSON, "jobs": st.lists(_ENTRY) | JSON, "workers": st.lists(_ENTRY)}
)


@settings(max_examples=150, deadline=None)
@given(content=(_PROGRESS | JSON).map(lambda value: json.dumps(value).encode()) | st.binary(max_size=20))
@example(content=b"[" * 100_000)
@example(content=b'{"jobs": [{"percent": "x"}], "updated": 9e99}')
def test_progress_of_any_content_is_shown_or_left_out(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as top:
        (Path(top) / PROGRESS_FILE).write_bytes(content)
        progress = ProgressFile(Path(top)).read()
    assert isinstance(status_text(Overview.of((), 1, 1), progress, NOW, True), str)
    json.dumps(status_json({}, [], progress))


def test_progress_as_it_was_written_is_read_whole(tmp_path: Path) -> None:
    jobs = [JobProgress(folder="A", video="A/1.mp4", stage="encode", percent=5.0, fps=24.0, eta_s=9.0)]
    workers = [WorkerState(name="w", address="x", slots=1, state="ready", encoding=("A/1.mp4",), last_seen=NOW)]
    hub = [HubWork(kind="publish", about="A/1", state="waiting", until=NOW, cause="429")]
    ProgressFile(tmp_path).write(NOW, "the hub is down", jobs, workers, hub)
    expected = {"jobs": [asdict(jobs[0])], "workers": [{**asdict(workers[0]), "encoding": ["A/1.mp4"]}]}
    expected["hub"] = [asdict(hub[0])]
    fixed = {"updated": NOW, "paused": "the hub is down", "confined": [], "slots": None, "interval": None}
    assert ProgressFile(tmp_path).read() == {**fixed, **expected}


def test_state_files_are_written_and_restored_where_hard_links_are_forbidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(source: Path, target: Path) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("os.link", forbidden)
    for name in ("A", "B", "C"):
        put(tmp_path, item(name))
    assert folders(tmp_path) == ["A", "B", "C"]
    (tmp_path / "processing_queue.json").write_text("[{")
    put(tmp_path, item("D"))
    assert folders(tmp_path) == ["A", "B", "D"]
    assert [found.read_text() for found in tmp_path.glob("processing_queue.json.damaged-*")] == ["[{"]
