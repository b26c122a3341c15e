"""What the processor's side of a cluster makes of what it hears: over a line that a test speaks into, without Dask."""

import asyncio
import contextlib
import json
import logging
import pickle
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.jobs import mkv, output_of
from tools.cluster import node
from tools.cluster.executor import ClusterExecutor, Connection, JobUnknown, OnReport, OnWorkerLost, Timeouts, WorkerDied
from tools.cluster.handshake import Handshake, Versions
from tools.core.artifact import Artifact, ArtifactKind, VideoOutput
from tools.core.errors import DiskFull
from tools.core.folder import RemoteFile
from tools.core.planning import VideoJob
from tools.media.encoding import OutputOptions
from tools.stages.video_job import JobResult, Outcome
from tools.stages.workspace import Workspace, video_key

VERSIONS = Versions(python="3.11", dask="1", distributed="1", code="c")
TERMS = Handshake(versions=VERSIONS, endpoint="e", output=OutputOptions())


class ScriptedLine:
    """The other end: ``sent`` and ``asked`` tell what the executor did, ``hear``, ``answer``, ``lose`` are its news."""

    def __init__(self) -> None:
        self.sent: dict[str, tuple[VideoJob, str]] = {}
        self.asked: list[tuple[str, Any]] = []
        self.dials = 0
        self.against: list[str] = []
        self.up = True
        self._numbers = iter(range(10**6))
        self._answers: dict[str, asyncio.Future[object]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._heard: OnReport = lambda said: None
        self._lost: OnWorkerLost = lambda address, how: None

    @contextlib.asynccontextmanager
    async def connect(self, heard: OnReport, lost: OnWorkerLost) -> AsyncIterator[Connection]:
        self._loop, self._heard, self._lost = asyncio.get_running_loop(), heard, lost
        self.up = True
        self.dials += 1
        yield self

    def is_up(self) -> bool:
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
        return self.against if function is node.greet else None

    def hear(self, name: str, *jobs: VideoJob, stage: str = "encode", **more: Any) -> None:
        told = [{"attempt_id": j.attempt_id, "key": video_key(j.folder, j.source), "stage": stage} for j in jobs]
        said = {"address": name, "incarnation": name, "name": name, "slots": 1, "number": next(self._numbers)}
        self._in_loop(lambda: self._heard({**said, "jobs": told, "held": {}, "leaving": False, **more}))

    def answer(self, job: VideoJob, result: JobResult | Exception) -> None:
        future = self._answers[job.attempt_id]
        self._in_loop(
            lambda: future.set_exception(result) if isinstance(result, Exception) else future.set_result(result)
        )

    def lose(self, name: str, how: str = "died") -> None:
        self._in_loop(lambda: self._lost(name, how))

    def _in_loop(self, call: Callable[[], None]) -> None:
        done = threading.Event()

        def work() -> None:
            call()
            done.set()

        assert self._loop is not None
        self._loop.call_soon_threadsafe(work)
        assert done.wait(5)


class Bench:
    """An executor and what came of it."""

    def __init__(self, folder: Path, silence: float) -> None:
        self.line = ScriptedLine()
        self.results: list[JobResult] = []
        self.notes: list[str] = []
        self.facts: list[dict[str, Any]] = []
        self.full = False

        class Quick(ClusterExecutor):
            timeouts = Timeouts(settle=0.0, silence=silence)

        space = Workspace(folder, 0)
        self.executor = Quick("sim", self.line.connect, lambda: TERMS, self.results.append, self._note, space)
        self.wait(lambda: self.line.dials)

    def _note(self, job: VideoJob, event: str, facts: dict[str, Any]) -> None:
        if self.full:
            raise DiskFull("no room for the journal")
        self.notes.append(event)
        self.facts.append(facts)

    def wait(self, condition: Callable[[], object], seconds: float = 5.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, (self.results, self.line.asked, self.executor.workers())
            time.sleep(0.005)

    def join(self, *names: str) -> None:
        """Workers come and are agreed with."""
        for name in names:
            self.line.hear(name)
        self.wait(lambda: {w.name for w in self.executor.workers() if w.state == "ready"} >= set(names))

    def run(self, name: str = "1") -> VideoJob:
        """Submit a job, and wait until it is on its way."""
        job = job_of(name)
        self.executor.submit(job)
        self.wait(lambda: job.attempt_id in self.line.sent)
        return job

    def outcomes(self) -> list[tuple[str, Outcome]]:
        return [(result.job.attempt_id, result.outcome) for result in self.results]


def job_of(name: str, folder: str = "A") -> VideoJob:
    source = RemoteFile(f"{folder}/{name}", 1, "")
    return VideoJob(f"id-{folder}-{name}", 1, folder, "me/in", "c", source, mkv())


def stored(job: VideoJob) -> JobResult:
    return JobResult(job, Outcome.STORED, output_of(job))


@pytest.fixture
def bench(request: pytest.FixtureRequest, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[Bench]:
    caplog.set_level(logging.INFO, "animation")
    made = Bench(tmp_path, silence=getattr(request, "param", 20.0))
    yield made
    made.executor.close(0.1)


def test_journal_hears_of_every_artifact_of_a_result_wherever_it_is_stored(bench: Bench) -> None:
    bench.join("a")
    job = bench.run()
    second = Artifact(ArtifactKind.VIDEO, "me/elsewhere", "A/y", "s", 7)
    output = VideoOutput(output_of(job).record, (*output_of(job).artifacts, second))
    bench.line.answer(job, JobResult(job, Outcome.STORED, output))
    bench.wait(lambda: bench.results)
    assert bench.notes == ["stored"] and VideoOutput.of_json(json.loads(json.dumps(bench.facts[0]))) == output
    assert bench.results[0].output == output


def test_wish_to_end_that_overtakes_its_job_is_repeated_until_it_ends(bench: Bench) -> None:
    bench.join("a")
    job = bench.run()
    bench.executor.cancel("A")
    bench.wait(lambda: bench.line.asked.count(("withdraw", [job.attempt_id])) == 2)
    bench.line.answer(job, JobResult(job, Outcome.STOPPED))
    bench.wait(lambda: bench.results)
    time.sleep(1.2)
    assert bench.line.asked.count(("withdraw", [job.attempt_id])) == 2
    assert bench.outcomes() == [(job.attempt_id, Outcome.STOPPED)]


@pytest.mark.parametrize("bench", [0.5], indirect=True)
def test_silent_worker_has_its_job_given_back_and_its_late_result_is_dropped_and_said(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.join("a")
    job = bench.run()
    bench.line.hear("a", job)
    bench.wait(lambda: bench.results)
    assert bench.outcomes() == [(job.attempt_id, Outcome.CRASHED)] and bench.notes == ["crashed"]
    assert bench.executor.free() == 0 and "silent" in str(bench.executor.trouble())
    bench.line.answer(job, stored(job))
    bench.wait(lambda: "a late result of an older attempt is dropped: video=A/1" in caplog.text)
    assert len(bench.results) == 1 and bench.notes == ["crashed"]
    bench.line.hear("a")
    bench.wait(lambda: bench.executor.free() == 4)


def test_worker_is_told_to_end_what_is_done_elsewhere(bench: Bench) -> None:
    bench.join("a", "b")
    job = bench.run()
    other = "b" if bench.line.sent[job.attempt_id][1] == "a" else "a"
    old = VideoJob("older", 1, "A", "me/in", "c", job.source, mkv())
    bench.executor.sweep(["A"])
    bench.line.hear(other, old)
    bench.wait(lambda: ("withdraw", ["older"]) in bench.line.asked)
    assert not bench.results


def test_what_no_item_needs_is_deleted_where_it_lies_once_it_is_heard_of(bench: Bench) -> None:
    bench.join("a")
    bench.executor.sweep(["A", "B"])
    done, kept = video_key("A", RemoteFile("A/1", 1, "")), video_key("B", RemoteFile("B/1", 1, ""))
    bench.executor.forget("A", RemoteFile("A/1", 1, ""))
    bench.line.hear("a", held={done: True, kept: True})
    bench.wait(lambda: ("forget", [done]) in bench.line.asked)
    bench.executor.forget("B")
    bench.line.hear("a", held={kept: True})
    bench.wait(lambda: ("forget", [kept]) in bench.line.asked)


def test_result_of_a_video_that_is_submitted_again_is_not_deleted(bench: Bench) -> None:
    bench.join("a")
    bench.executor.sweep(["A"])
    bench.executor.forget("A", RemoteFile("A/1", 1, ""))
    bench.executor.forget("A", RemoteFile("A/2", 1, ""))
    again = bench.run("1")
    bench.line.answer(again, stored(again))
    bench.wait(lambda: bench.results)
    kept, gone = (video_key("A", RemoteFile(f"A/{name}", 1, "")) for name in ("1", "2"))
    bench.line.hear("a", held={kept: True, gone: True})
    bench.wait(lambda: ("forget", [gone]) in bench.line.asked)


def test_worker_that_can_not_work_is_not_asked_again_and_again(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.line.against = ["dask 1 here, 2 at the processor"]
    bench.line.hear("a")
    bench.wait(lambda: [worker.state for worker in bench.executor.workers()] == ["refused"])
    time.sleep(0.6)  # two looks
    assert bench.line.asked == [("greet", TERMS.as_json())] and bench.executor.free() == 0
    assert caplog.text.count("worker a gets no work: dask 1 here, 2 at the processor") == 1


def test_nothing_is_deleted_before_it_is_known_which_items_live(bench: Bench) -> None:
    bench.join("a")
    bench.line.hear("a", job_of("9"), held={video_key("A", RemoteFile("A/1", 1, "")): True})
    bench.line.hear("a")
    assert [name for name, _ in bench.line.asked] == ["greet"]


@pytest.mark.parametrize(
    ("news", "outcome"),
    [
        (WorkerDied(), Outcome.CRASHED),
        (JobUnknown(), Outcome.STOPPED),
        (ZeroDivisionError("a bug"), Outcome.FAILED),
    ],
)
def test_end_of_the_way_to_a_job_is_a_result(bench: Bench, news: Exception, outcome: Outcome) -> None:
    bench.join("a")
    job = bench.run()
    bench.line.hear("a", job)
    bench.line.answer(job, news)
    bench.wait(lambda: bench.results)
    assert bench.outcomes() == [(job.attempt_id, outcome)]


def test_job_that_its_worker_does_not_name_for_long_comes_back(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.cluster.executor._UNKNOWN", 0.6)
    bench.join("a")
    known, unknown = bench.run("1"), bench.run("2")
    deadline = time.monotonic() + 1.5
    while time.monotonic() < deadline:
        bench.line.hear("a", known)
        time.sleep(0.05)
    assert bench.outcomes() == [(unknown.attempt_id, Outcome.STOPPED)]


def test_dead_worker_gives_back_each_job_once(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.join("a")
    first, second = bench.run("1"), bench.run("2")
    bench.line.hear("a", first)
    bench.line.lose("a")
    bench.line.lose("a")
    bench.line.answer(first, WorkerDied())
    bench.wait(lambda: len(bench.results) == 2)
    assert sorted(bench.outcomes()) == [(first.attempt_id, Outcome.CRASHED), (second.attempt_id, Outcome.STOPPED)]
    assert caplog.text.count("worker a died") == 1


def test_lost_scheduler_gives_everything_back_and_is_called_again(bench: Bench) -> None:
    bench.join("a")
    job = bench.run()
    bench.line.up = False
    bench.wait(lambda: bench.results)
    assert bench.outcomes() == [(job.attempt_id, Outcome.STOPPED)] and bench.executor.free() == 0
    assert "no work by the scheduler at sim" in str(bench.executor.trouble())
    bench.wait(lambda: bench.line.dials == 2)
    bench.join("a")
    assert bench.executor.trouble() is None


def test_result_that_the_journal_can_not_take_waits(bench: Bench) -> None:
    bench.join("a")
    job = bench.run()
    bench.full = True
    bench.line.answer(job, stored(job))
    bench.wait(lambda: bench.results)
    assert bench.outcomes() == [(job.attempt_id, Outcome.DEFERRED)]


def test_job_that_waits_for_a_place_comes_back_when_cancelled(bench: Bench) -> None:
    waiting = job_of("1")
    bench.executor.submit(waiting)
    bench.executor.cancel("A")
    assert bench.outcomes() == [(waiting.attempt_id, Outcome.STOPPED)] and not bench.line.sent


def test_report_of_something_else_on_the_line_changes_nothing(bench: Bench) -> None:
    bench.join("a")
    bench.line.hear("b", slots="many")
    bench.line.hear("b", jobs=None)
    assert [worker.name for worker in bench.executor.workers()] == ["a"]


def test_job_is_names_and_small_values() -> None:
    path = "番剧/" + "长" * 60 + ".mp4"
    job = VideoJob("x" * 12, 1, "番剧", "me/in", "c" * 40, RemoteFile(path, 10**12, "s" * 64), mkv(path))
    assert len(pickle.dumps(job)) < 2000
