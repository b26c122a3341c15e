"""How many encodes at a time, on how many cores each, and how many connections beside them."""

import os
import queue
import threading
from pathlib import Path

import pytest

from tests.fakes import FakeConverter, MemoryHub
from tests.jobs import video_job
from tests.patience import PATIENCE, until
from tools.core.concurrency import (
    CONNECTIONS,
    RANGES,
    Need,
    encodes_for,
    memory_for,
    places_for,
    range_of,
    ranges_for,
    share_of,
)
from tools.core.folder import RemoteFile
from tools.core.planning import VideoJob
from tools.processor.executor import LocalExecutor
from tools.stages.job_context import JobContext, JobTools, Slots, Unseen
from tools.stages.video_job import JobResult, Outcome
from tools.stages.workspace import Workspace

GB = 10**9


@pytest.mark.parametrize(
    ("cores", "memory", "encodes"),
    [
        (1, 64 * GB, 1),
        (2, 8 * GB, 2),
        (4, 8 * GB, 4),
        (8, 32 * GB, 4),
        (16, 64 * GB, 4),
        (32, 64 * GB, 8),
        (64, 256 * GB, 16),
        (192, 768 * GB, 16),
        (4, 2 * GB, 2),
        (16, 1 * GB, 1),
        (2, 0, 1),
    ],
)
def test_encodes_at_a_time_follow_cores_and_memory(cores: int, memory: int, encodes: int) -> None:
    assert encodes_for(cores, memory) == encodes


@pytest.mark.parametrize(
    ("cores", "wanted", "places", "share"),
    [
        (2, 1, 2, 2),
        (2, 2, 2, 1),
        (2, 9, 2, 1),
        (16, 9, 4, 4),
        (16, 2, 4, 8),
        (16, 1, 4, 16),
        (1, 3, 1, 1),
        (2, 0, 2, 2),
    ],
)
def test_last_videos_get_the_cores_that_nobody_else_wants(cores: int, wanted: int, places: int, share: int) -> None:
    assert share_of(cores, wanted, places) == share


def test_memory_is_at_least_what_was_measured() -> None:
    measured = [
        *((1920, 1080, 10, 0.56), (3840, 2160, 10, 2.9), (7680, 4320, 10, 6.9)),
        *((1920, 1080, 4, 0.97), (1920, 1080, 6, 0.83), (1920, 1080, 8, 0.58)),
    ]
    for width, height, preset, seen in measured:
        assert seen <= memory_for(width, height, preset) / GB <= 1.4 * seen
    for preset, seen in ((4, 0.49), (6, 0.46), (8, 0.45), (10, 0.29)):
        assert seen <= memory_for(1280, 720, preset) / GB <= 0.56


def test_connections_stay_within_their_bound_and_the_first_download_gets_most() -> None:
    in_ranges = 0
    connections = []
    for _ in range(places_for(2).download):
        count = ranges_for(in_ranges)
        connections.append(max(1, count))
        in_ranges += count if count > 1 else 0
    assert connections == [RANGES, 2, 1, 1] and sum(connections) == CONNECTIONS
    assert [max(1, ranges_for(0, before)) for before in range(4)] == connections, "whichever of them asks first"


@pytest.mark.parametrize(("size", "each"), [(3, 2), (8, 2), (9, 3), (40, 10), (64, 16), (1000, 16)])
def test_file_is_cut_into_as_many_ranges_as_it_gets_connections_and_a_large_one_into_more(size: int, each: int) -> None:
    assert range_of(size, 2, 16) == each


def assert_holders(slots: Slots, needs: list[Need], count: int) -> None:
    """So many of these, and no more, hold a place at the same time."""
    job, entered, go = (
        video_job(RemoteFile("A/1.mp4", 1, "s"), attempt_id="1"),
        threading.Semaphore(0),
        threading.Event(),
    )

    def hold(order: int, need: Need) -> None:
        with slots.held(job, Unseen(order), need):
            entered.release()
            go.wait(120)

    threads = [threading.Thread(target=hold, args=one) for one in enumerate(needs)]
    for thread in threads:
        thread.start()
    for _ in range(count):
        assert entered.acquire(timeout=60)
    assert not entered.acquire(timeout=0.4)
    go.set()
    for thread in threads:
        thread.join(PATIENCE)


@pytest.mark.parametrize(
    ("needs", "count"),
    [
        ([Need(300)] * 4, 3),
        ([Need(600), Need(300), Need(300)], 2),
        ([Need(5000), Need(1)], 1),
        ([Need(is_hardware=True)] * 4, 3),
    ],
)
def test_encodes_begin_as_memory_and_sessions_allow_and_one_always_does(needs: list[Need], count: int) -> None:
    assert_holders(Slots(4, budget=1000), needs, count)


def test_encodes_begin_as_free_memory_allows_which_those_before_them_have_not_filled_yet() -> None:
    assert_holders(Slots(4, budget=10**6, free=lambda: 700), [Need(300)] * 4, 2)
    assert_holders(Slots(4, budget=10**6, free=lambda: 0), [Need(300)] * 2, 1)


def test_place_without_a_budget_takes_any(tmp_path: Path) -> None:
    assert_holders(Slots(2, free=lambda: 0), [Need(10**12)] * 3, 2)


def test_verification_shares_the_cores_with_the_encodes_beside_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    tools = JobTools(MemoryHub(), FakeConverter(), Workspace(tmp_path, 0), slots=2, cores=8)
    job = video_job(RemoteFile("A/1.mp4", 1, "s"), attempt_id="1")

    def wait() -> None:
        with tools.verify.held(job, Unseen(5)):
            pass

    with tools.verify.held(job, Unseen(1)):
        assert tools.cores_now("verify") is None, "alone: as many as the decoder likes"
        with tools.encode.held(job, Unseen(2)):
            assert tools.cores_now("verify") == 4
            with tools.encode.held(job, Unseen(3)), tools.verify.held(job, Unseen(4)):
                assert tools.cores_now("verify") == 2 and tools.cores_now("encode") == 4
                third = threading.Thread(target=wait)
                third.start()
                until(lambda: tools.verify.wanted == 3)
                assert tools.cores_now("verify") == 2, "who waits for a place takes no core"
    third.join(PATIENCE)


def test_places_of_the_first_stage_go_to_who_was_submitted_first_however_late_it_comes(tmp_path: Path) -> None:
    """What a job reads before it downloads takes a moment, and another one's a longer one."""
    slots, order, ends = Slots(1), list[str](), queue.Queue[str]()
    late = {"0": threading.Event(), "2": threading.Event()}

    def run(job: VideoJob, context: JobContext) -> JobResult:
        if job.attempt_id == "2":
            slots.pass_by(context.order)  # it has something else to do first
        if job.attempt_id in late:
            assert late[job.attempt_id].wait(PATIENCE)
        if job.attempt_id != "1":  # which has nothing to download
            with slots.held(job, context):
                order.append(job.attempt_id)
        return JobResult(job, Outcome.STORED)

    executor = LocalExecutor(
        run, 2, lambda result: ends.put(result.job.attempt_id), lambda *_: None, Workspace(tmp_path, 0), slots
    )
    for number in range(5):
        executor.submit(video_job(RemoteFile(f"A/{number}.mp4", 1, "s"), attempt_id=str(number)))
    until(lambda: slots.wanted == 2, lambda: order)
    assert ends.get(timeout=PATIENCE) == "1" and order == []
    late["0"].set()
    until(lambda: order == ["0", "3", "4"], lambda: order)
    late["2"].set()
    until(lambda: order == ["0", "3", "4", "2"], lambda: order)
    assert executor.close(PATIENCE)


def test_job_that_ends_in_any_way_before_it_came_keeps_nobody_from_downloading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda found: None)
    slots, came = Slots(1), threading.Event()

    def run(job: VideoJob, context: JobContext) -> JobResult:
        if job.attempt_id == "0":
            raise SystemExit  # which is no Exception
        with slots.held(job, context):
            came.set()
        return JobResult(job, Outcome.STORED)

    executor = LocalExecutor(run, 2, lambda result: None, lambda *_: None, Workspace(tmp_path, 0), slots)
    for number in range(2):
        executor.submit(video_job(RemoteFile(f"A/{number}.mp4", 1, "s"), attempt_id=str(number)))
    assert came.wait(PATIENCE)
    executor.close(0)
