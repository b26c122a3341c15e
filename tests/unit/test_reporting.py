"""Every event is told to every observer; its line in the log; an observer that breaks hurts nothing."""

import json
import logging
from pathlib import Path
from typing import get_args

import pytest

from tests.fakes import Told
from tools.core.queue_item import Status
from tools.processor.reporting import (
    AttemptOver,
    BatchOver,
    Blocked,
    CommitFailed,
    CommitRejected,
    Event,
    HubWait,
    ItemCancelled,
    ItemNotAsQueued,
    ItemNotStarted,
    ItemRequeued,
    ItemSettled,
    ItemsReturned,
    ItemStarted,
    LateResult,
    LogObserver,
    MirrorHeld,
    MirrorWaits,
    Observers,
    Paused,
    PicturesGivenUp,
    PicturesStored,
    Progress,
    ProgressWriter,
    QueueEmpty,
    Resumed,
    ReturnFailed,
    SourceGone,
    TakenOut,
    TimesCorrected,
    TransfersAbandoned,
    VideoFailed,
    VideoQuarantined,
    VideoReused,
    VideoStored,
    WaitingForSpace,
    WorkerDied,
)
from tools.state.progress import JobProgress, ProgressFile


def over(quarantined: int = 0, cause: str | None = None) -> BatchOver:
    return BatchOver(
        folder="番剧 A",
        batch="1/2",
        videos=2,
        published=2 - quarantined,
        quarantined=quarantined,
        bytes_in=20,
        bytes_out=10,
        elapsed_s=1.5,
        attempt=1,
        commit="c0",
        cause=cause,
    )


_FACTS = "bytes_in=20 bytes_out=10 elapsed_s=1.5 attempt=1 commit=c0"
LINES: list[tuple[Event, str, str]] = [
    (ItemRequeued("A"), "INFO", "found in state `processing` from an earlier run; requeued: folder=A"),
    (TimesCorrected("A"), "INFO", "clock moved back; corrected the timestamps of an item: folder=A"),
    (ItemStarted("番剧 A", 3, 1, 2), "INFO", 'started folder="番剧 A" videos=3 done_before=1 batches=2'),
    (ItemNotStarted("A", "no"), "WARNING", "could not start folder, will retry: folder=A cause=no"),
    (
        SourceGone("A", "1.mkv, 2.mkv"),
        "INFO",
        'output still has files whose source is gone: folder=A results="1.mkv, 2.mkv"',
    ),
    (ItemNotAsQueued("A", "the folder is gone"), "INFO", "the folder is gone: folder=A"),
    (ItemCancelled("A"), "INFO", "removed from the queue; stopping its jobs: folder=A"),
    (ItemSettled("A", Status.COMPLETED, 3, 0), "INFO", "folder completed folder=A published=3 quarantined=0"),
    (QueueEmpty(), "INFO", "nothing is left to do"),
    (ItemSettled("A", Status.FAILED, 2, 1), "INFO", "folder finished with failures folder=A published=2 quarantined=1"),
    (ItemsReturned(2), "INFO", "returned to the queue; the next start resumes them: folders=2"),
    (
        ReturnFailed("disk full"),
        "WARNING",
        "can't return claimed folders to the queue; the next start requeues them: disk full",
    ),
    (TransfersAbandoned(), "INFO", "some transfers did not stop in time and are abandoned"),
    (VideoStored("A/1", 1), "INFO", "stored video=A/1 attempt=1"),
    (
        PicturesStored("A/1.mkv", 1, 12),
        "INFO",
        "scene frames made of the published video: video=A/1.mkv attempt=1 pictures=12",
    ),
    (
        PicturesGivenUp("A/1.mkv", 3, "no MKV"),
        "WARNING",
        'no scene frames of a published video, which stays as it is: video=A/1.mkv attempt=3 cause="no MKV"',
    ),
    (
        VideoReused("B/1.mkv", "A/1.mkv", 60),
        "INFO",
        "same bytes as a published result, which is used again: video=B/1.mkv reused_from=A/1.mkv saved_s=60",
    ),
    (VideoFailed("A/1", 2, "cut off"), "WARNING", 'failed, will retry: video=A/1 attempt=2 cause="cut off"'),
    (VideoQuarantined("A/1", 3, "no"), "WARNING", "can't be converted, quarantined: video=A/1 attempt=3 cause=no"),
    (WorkerDied("A/1", 1, "gone"), "WARNING", "worker died during the encode: video=A/1 attempt=1 cause=gone"),
    (LateResult("A/1"), "INFO", "a late result of an older attempt is dropped: video=A/1"),
    (WaitingForSpace("1 GiB"), "WARNING", "not enough disk space; waiting (smaller videos continue): 1 GiB"),
    (CommitFailed("A", 1, "503"), "WARNING", "commit failed, will retry: folder=A batch=1 cause=503"),
    (
        CommitRejected("A", 1, "no"),
        "WARNING",
        "hub rejected a commit; retrying it in halves: folder=A batch=1 cause=no",
    ),
    (
        over(),
        "INFO",
        f'批次处理成功 folder="番剧 A" batch=1/2 videos=2 published=2 quarantined=0 {_FACTS}',
    ),
    (
        over(1, "2.mp4: no video"),
        "ERROR",
        f'批次处理失败 folder="番剧 A" batch=1/2 videos=2 published=1 quarantined=1 {_FACTS} cause="2.mp4: no video"',
    ),
    (
        over(0, "hub"),
        "ERROR",
        f'批次处理失败 folder="番剧 A" batch=1/2 videos=2 published=2 quarantined=0 {_FACTS} cause=hub',
    ),
    (
        HubWait("publish", "A/1", "429", "2026-01-01T00:00:00"),
        "WARNING",
        "hub asked to wait with this, other work continues: kind=publish about=A/1 cause=429 until=2026-01-01T00:00:00",
    ),
    (
        TakenOut("A", 2, "1.mkv, 1.zh.srt", 20, "c0"),
        "INFO",
        "taken out of the output, the source left the input: "
        'folder=A files=2 names="1.mkv, 1.zh.srt" bytes=20 commit=c0',
    ),
    (MirrorHeld("9 of 9 files left"), "ERROR", "MIRROR takes nothing out: 9 of 9 files left"),
    (
        MirrorWaits("the input is empty"),
        "WARNING",
        'nothing is taken out of the output now, looking again later: cause="the input is empty"',
    ),
    (Paused("down", needs_person=False), "WARNING", "PAUSED: down; work resumes by itself"),
    (Paused("token", needs_person=True), "ERROR", "PAUSED: token 令牌; work resumes by itself"),
    (Blocked("disk full", needs_person=False), "WARNING", "blocked, retrying: disk full"),
    (Blocked("queue", needs_person=True), "ERROR", "blocked, retrying: queue"),
    (Resumed(), "INFO", "resumed"),
]


@pytest.mark.parametrize(("event", "level", "line"), LINES, ids=lambda value: type(value).__name__)
def test_event_is_one_line_of_the_log(event: Event, level: str, line: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    LogObserver().observe(event)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [(level, line)]


def test_every_event_but_progress_has_a_line(caplog: pytest.LogCaptureFixture) -> None:
    assert {type(event) for event, _, _ in LINES} == set(get_args(Event)) - {Progress, AttemptOver}
    LogObserver().observe(Progress(0.0, None, (), ()))
    assert not caplog.records


class Breaks(Told):
    """Fails at everything but stored videos."""

    def observe(self, event: Event) -> None:
        super().observe(event)
        if not isinstance(event, VideoStored):
            raise RuntimeError("no route to the chat")


def test_observer_that_breaks_is_logged_once_and_keeps_nothing_from_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    before, broken, behind = Told(), Breaks(), Told()
    observers = Observers([before, broken, behind])
    events: list[Event] = [ItemStarted("A", 1, 0, 1), VideoStored("A/1", 1), over(), over()]
    for event in events:
        observers.observe(event)
    assert before.events == broken.events == behind.events == events
    (record,) = [record for record in caplog.records if record.levelno > logging.DEBUG]
    assert record.levelname == "WARNING"
    assert "observer=Breaks event=ItemStarted" in record.getMessage() and "no route" in record.getMessage()


def test_progress_is_written_and_a_disk_that_refuses_it_hurts_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    job = JobProgress(folder="A", video="A/1", stage="encode", percent=50.0)
    writer = ProgressWriter(ProgressFile(tmp_path))
    writer.observe(over())
    assert not list(tmp_path.iterdir())
    writer.observe(Progress(7.0, "down", [job], ()))
    written = json.loads((tmp_path / "progress.json").read_text(encoding="utf-8"))
    assert (written["updated"], written["paused"], written["jobs"][0]["video"]) == (7.0, "down", "A/1")
    ProgressWriter(ProgressFile(tmp_path / "gone")).observe(Progress(8.0, None, (), ()))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
