"""What the processor makes of what its workers report: over a connection that a test scripts, without Dask."""

import asyncio
import contextlib
import json
import logging
import pickle
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.jobs import mkv, output_of
from tests.patience import PATIENCE, until
from tools.cluster import node, plain_result
from tools.cluster.connection import Connection, JobUnknown, OnReport, OnWorkerLost, WorkerDied
from tools.cluster.executor import ClusterExecutor, Timeouts
from tools.cluster.handshake import Handshake, Versions
from tools.cluster.worker_report import ReportedJob, WorkerReport
from tools.core.artifact import VideoOutput
from tools.core.errors import DiskFull
from tools.core.folder import RemoteFile
from tools.core.planning import VideoJob
from tools.media.encoding import OutputOptions
from tools.stages.video_job import JobResult, Outcome
from tools.stages.workspace import Workspace, video_key

VERSIONS = Versions(python="3.11", dask="1", distributed="1", code="c")
HANDSHAKE = Handshake(versions=VERSIONS, endpoint="e", output=OutputOptions())


class ScriptedConnection:
    """The other end: ``sent`` and ``asked`` are what the executor did; ``report``, ``answer``, ``lose`` its news."""

    def __init__(self) -> None:
        self.sent: dict[str, tuple[VideoJob, str]] = {}
        self.asked: list[tuple[str, Any]] = []
        self.connects = 0
        self.reasons: list[str] = []
        self.up = True
        self.turns = 0  # of the executor's loop
        self._numbers = iter(range(10**6))
        self._answers: dict[str, asyncio.Future[object]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._on_report: OnReport = lambda received: None
        self._on_worker_lost: OnWorkerLost = lambda address, how: None

    @contextlib.asynccontextmanager
    async def connect(self, on_report: OnReport, on_worker_lost: OnWorkerLost) -> AsyncIterator[Connection]:
        self._loop, self._on_report, self._on_worker_lost = asyncio.get_running_loop(), on_report, on_worker_lost
        self.up = True
        self.connects += 1
        yield self

    def is_up(self) -> bool:
        self.turns += 1
        return self.up

    def send(self, job: VideoJob, address: str) -> Callable[[], Awaitable[object]]:
        future = self._answers[job.attempt_id] = asyncio.get_running_loop().create_future()
        future.add_done_callback(lambda done: done.cancelled() or done.exception())  # somebody looked at it
        self.sent[job.attempt_id] = (job, address)

        async def answer() -> object:
            return await asyncio.shield(future)  # a result may come late

        return answer

    async def call(self, address: str, function: Callable[..., Any], argument: Any) -> Any:
        self.asked.append((function.__name__, argument))
        return self.reasons if function is node.accept_handshake else None

    def report(self, name: str, *jobs: VideoJob, **more: Any) -> None:
        reported = tuple(
            ReportedJob(attempt_id=j.attempt_id, key=video_key(j.folder, j.source), video=j.source.path, stage="encode")
            for j in jobs
        )
        plain = {"address": name, "incarnation": name, "name": name, "slots": 1, "held": {}, "jobs": reported}
        self.receive(WorkerReport(**{**plain, "number": next(self._numbers), **more}).as_json())

    def receive(self, received: object) -> None:
        self._in_loop(lambda: self._on_report(received))

    def answer(self, job: VideoJob, result: JobResult | Exception) -> None:
        future = self._answers[job.attempt_id]
        self._in_loop(
            lambda: (
                future.set_exception(result)
                if isinstance(result, Exception)
                else future.set_result(plain_result.encode(result))
            )
        )

    def lose(self, name: str) -> None:
        self._in_loop(lambda: self._on_worker_lost(name, "died"))

    def _in_loop(self, call: Callable[[], None]) -> None:
        done = threading.Event()

        def work() -> None:
            call()
            done.set()

        assert self._loop is not None
        self._loop.call_soon_threadsafe(work)
        assert done.wait(PATIENCE)


class Rig:
    """An executor and what came of it."""

    def __init__(self, folder: Path, silence: float) -> None:
        self.connection = ScriptedConnection()
        self.results: list[JobResult] = []
        self.notes: list[str] = []
        self.facts: list[dict[str, Any]] = []
        self.full = False

        class Quick(ClusterExecutor):
            timeouts = Timeouts(first_reports=0.0, silence=silence)

        space = Workspace(folder, 0)
        self.executor = Quick("sim", self.connection.connect, lambda: HANDSHAKE, self.results.append, self._note, space)
        self.wait(lambda: self.connection.connects)

    def _note(self, job: VideoJob, event: str, facts: dict[str, Any]) -> None:
        if self.full:
            raise DiskFull("no room for the journal")
        self.notes.append(event)
        self.facts.append(facts)

    def wait(self, condition: Callable[[], object]) -> None:
        until(condition, lambda: (self.results, self.connection.asked, self.executor.workers()))

    def wait_turns(self, number: int = 3) -> None:
        """Until the executor had that many occasions to do something wrong."""
        after = self.connection.turns + number
        self.wait(lambda: self.connection.turns >= after)

    def join(self, *names: str) -> None:
        """Workers report, and their handshakes are over."""
        for name in names:
            self.connection.report(name)
        self.wait(lambda: {w.name for w in self.executor.workers() if w.state == "ready"} >= set(names))

    def run(self, name: str = "1") -> VideoJob:
        """Submit a job, and wait until it is on its way."""
        job = job_of(name)
        self.executor.submit(job)
        self.wait(lambda: job.attempt_id in self.connection.sent)
        return job

    def outcomes(self) -> list[tuple[str, Outcome]]:
        return [(result.job.attempt_id, result.outcome) for result in self.results]


def job_of(name: str, folder: str = "A") -> VideoJob:
    source = RemoteFile(f"{folder}/{name}", 1, "")
    return VideoJob(f"id-{folder}-{name}", 1, folder, "me/in", "c", source, mkv())


def stored(job: VideoJob) -> JobResult:
    return JobResult(job, Outcome.STORED, output_of(job))


@pytest.fixture
def rig(request: pytest.FixtureRequest, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[Rig]:
    caplog.set_level(logging.INFO, "animation")
    made = Rig(tmp_path, silence=getattr(request, "param", 20.0))
    yield made
    made.executor.close(0.1)


def test_journal_notes_the_result_as_the_worker_told_it(rig: Rig) -> None:
    rig.join("a")
    job = rig.run()
    output = output_of(job)
    rig.connection.answer(job, JobResult(job, Outcome.STORED, output))
    rig.wait(lambda: rig.results)
    assert rig.notes == ["stored"] and VideoOutput.of_json(json.loads(json.dumps(rig.facts[0]))) == output
    assert rig.results[0].output == output


def test_withdrawal_that_overtakes_its_job_is_repeated_until_the_job_ends(rig: Rig) -> None:
    rig.join("a")
    job = rig.run()
    rig.executor.cancel("A")
    rig.wait(lambda: rig.connection.asked.count(("withdraw", [job.attempt_id])) == 2)
    rig.connection.answer(job, JobResult(job, Outcome.STOPPED))
    rig.wait(lambda: rig.results)
    rig.wait_turns(5)
    assert rig.connection.asked.count(("withdraw", [job.attempt_id])) == 2
    assert rig.outcomes() == [(job.attempt_id, Outcome.STOPPED)]


@pytest.mark.parametrize("rig", [0.5], indirect=True)
def test_job_of_a_silent_worker_is_reassigned_and_its_late_result_is_dropped_and_logged(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.join("a")
    job = rig.run()
    rig.connection.report("a", job)
    rig.wait(lambda: rig.results)
    assert rig.outcomes() == [(job.attempt_id, Outcome.CRASHED)] and rig.notes == ["crashed"]
    assert rig.executor.free() == 0 and "silent" in str(rig.executor.trouble())
    rig.connection.answer(job, stored(job))
    rig.wait(lambda: "a late result of an older attempt is dropped: video=A/1" in caplog.text)
    assert len(rig.results) == 1 and rig.notes == ["crashed"]
    rig.connection.report("a")
    rig.wait(lambda: rig.executor.free() == 4)


def test_worker_is_told_to_end_what_is_done_elsewhere(rig: Rig) -> None:
    rig.join("a", "b")
    job = rig.run()
    other = "b" if rig.connection.sent[job.attempt_id][1] == "a" else "a"
    old = VideoJob("older", 1, "A", "me/in", "c", job.source, mkv())
    rig.executor.sweep(["A"])
    rig.connection.report(other, old)
    rig.wait(lambda: ("withdraw", ["older"]) in rig.connection.asked)
    assert not rig.results


def test_what_no_item_needs_is_deleted_on_the_worker_once_it_is_reported(rig: Rig) -> None:
    rig.join("a")
    rig.executor.sweep(["A", "B"])
    done, kept = video_key("A", RemoteFile("A/1", 1, "")), video_key("B", RemoteFile("B/1", 1, ""))
    rig.executor.forget("A", RemoteFile("A/1", 1, ""))
    rig.connection.report("a", held={done: True, kept: True})
    rig.wait(lambda: ("forget", [done]) in rig.connection.asked)
    rig.executor.forget("B")
    rig.connection.report("a", held={kept: True})
    rig.wait(lambda: ("forget", [kept]) in rig.connection.asked)


def test_result_of_a_video_that_is_submitted_again_is_not_deleted(rig: Rig) -> None:
    rig.join("a")
    rig.executor.sweep(["A"])
    rig.executor.forget("A", RemoteFile("A/1", 1, ""))
    rig.executor.forget("A", RemoteFile("A/2", 1, ""))
    again = rig.run("1")
    rig.connection.answer(again, stored(again))
    rig.wait(lambda: rig.results)
    kept, gone = (video_key("A", RemoteFile(f"A/{name}", 1, "")) for name in ("1", "2"))
    rig.connection.report("a", held={kept: True, gone: True})
    rig.wait(lambda: ("forget", [gone]) in rig.connection.asked)


def test_worker_that_is_rejected_is_not_asked_again_and_again(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    rig.connection.reasons = ["dask 1 here, 2 at the processor"]
    rig.connection.report("a")
    rig.wait(lambda: [worker.state for worker in rig.executor.workers()] == ["refused"])
    rig.wait_turns()
    assert rig.connection.asked == [("accept_handshake", HANDSHAKE.as_json())] and rig.executor.free() == 0
    assert caplog.text.count("worker a rejected: dask 1 here, 2 at the processor") == 1


def test_nothing_is_deleted_before_it_is_known_which_items_live(rig: Rig) -> None:
    rig.join("a")
    rig.connection.report("a", job_of("9"), held={video_key("A", RemoteFile("A/1", 1, "")): True})
    rig.connection.report("a")
    assert [name for name, _ in rig.connection.asked] == ["accept_handshake"]


@pytest.mark.parametrize(
    ("news", "outcome"),
    [
        (WorkerDied(), Outcome.CRASHED),
        (JobUnknown(), Outcome.STOPPED),
        (ZeroDivisionError("a bug"), Outcome.FAILED),
    ],
)
def test_loss_of_a_job_on_its_way_is_a_result(rig: Rig, news: Exception, outcome: Outcome) -> None:
    rig.join("a")
    job = rig.run()
    rig.connection.report("a", job)
    rig.connection.answer(job, news)
    rig.wait(lambda: rig.results)
    assert rig.outcomes() == [(job.attempt_id, outcome)]


def test_job_that_its_worker_does_not_report_for_long_comes_back(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.cluster.executor._UNREPORTED", 1.0)
    rig.join("a")
    known, unknown = rig.run("1"), rig.run("2")

    def comes_back() -> bool:
        rig.connection.report("a", known)
        return bool(rig.results)

    rig.wait(comes_back)
    assert rig.outcomes() == [(unknown.attempt_id, Outcome.STOPPED)]


def test_dead_worker_gives_back_each_job_once(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    rig.join("a")
    first, second = rig.run("1"), rig.run("2")
    rig.connection.report("a", first)
    rig.connection.lose("a")
    rig.connection.lose("a")
    rig.connection.answer(first, WorkerDied())
    rig.wait(lambda: len(rig.results) == 2)
    assert sorted(rig.outcomes()) == [(first.attempt_id, Outcome.CRASHED), (second.attempt_id, Outcome.STOPPED)]
    assert caplog.text.count("worker a died") == 1


def test_lost_scheduler_gives_everything_back_and_is_connected_again(rig: Rig) -> None:
    rig.join("a")
    job = rig.run()
    rig.connection.up = False
    rig.wait(lambda: rig.results)
    assert rig.outcomes() == [(job.attempt_id, Outcome.STOPPED)] and rig.executor.free() == 0
    assert "can't work with the scheduler at sim" in str(rig.executor.trouble())
    rig.wait(lambda: rig.connection.connects == 2)
    rig.join("a")
    assert rig.executor.trouble() is None


def test_video_that_is_kept_for_its_worker_takes_no_place_of_the_others(rig: Rig) -> None:
    rig.join("a")
    rig.run()
    rig.connection.up = False
    rig.wait(lambda: rig.connection.connects == 2)
    rig.join("b")
    free = rig.executor.free()
    rig.executor.submit(job_of("1"))
    assert rig.executor.free() == free > 0
    rig.run("2")
    assert rig.executor.free() == free - 1


def test_result_that_the_journal_can_not_take_waits(rig: Rig) -> None:
    rig.join("a")
    job = rig.run()
    rig.full = True
    rig.connection.answer(job, stored(job))
    rig.wait(lambda: rig.results)
    assert rig.outcomes() == [(job.attempt_id, Outcome.DEFERRED)]


def test_job_that_waits_for_a_place_comes_back_when_cancelled(rig: Rig) -> None:
    waiting = job_of("1")
    rig.executor.submit(waiting)
    rig.executor.cancel("A")
    assert rig.outcomes() == [(waiting.attempt_id, Outcome.STOPPED)] and not rig.connection.sent


def test_what_is_no_report_changes_nothing(rig: Rig) -> None:
    rig.join("a")
    rig.connection.report("b", slots="many")
    rig.connection.receive("something else on this topic")
    assert [worker.name for worker in rig.executor.workers()] == ["a"]


def test_job_is_names_and_small_values() -> None:
    path = "番剧/" + "长" * 60 + ".mp4"
    job = VideoJob("x" * 12, 1, "番剧", "me/in", "c" * 40, RemoteFile(path, 10**12, "s" * 64), mkv(path))
    assert len(pickle.dumps(job)) < 2000
