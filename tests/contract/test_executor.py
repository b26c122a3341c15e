"""What every executor promises: one result for each job, first come first served, ends when asked."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.jobs import mkv, output_of
from tests.patience import until
from tools.core.errors import Stopped
from tools.core.folder import RemoteFile
from tools.core.planning import VideoJob
from tools.processor.executor import Deliver, Executor, LocalExecutor, Note
from tools.stages.job_context import JobContext, Slots
from tools.stages.video_job import JobResult, Outcome
from tools.stages.workspace import Workspace
from tools.state.journal import Event
from tools.state.progress import JobProgress


@dataclass(slots=True)
class Site:
    """An executor whose jobs wait for ``go`` in one slot."""

    executor: Executor
    go: threading.Event
    results: list[JobResult] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)
    ran: list[str] = field(default_factory=list)

    def wait(self, count: int) -> None:
        until(lambda: len(self.results) >= count, lambda: self.results)


def job(name: str, folder: str = "A") -> VideoJob:
    return VideoJob(f"id-{name}", 1, folder, "me/in", "c", RemoteFile(f"{folder}/{name}", 1, ""), mkv())


@pytest.fixture(params=["local", "cluster"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    slots = Slots(1)

    def run(one: VideoJob, context: JobContext) -> JobResult:
        with slots.held(one, context):
            context.note(Event.ENCODING)
            context.show(JobProgress(folder=one.folder, video=one.source.path, stage="encode", percent=50.0))
            made.ran.append(one.source.name)
            while not made.go.wait(0.005):
                if context.stop.is_set():
                    raise_stopped()
        if one.source.name == "bug":
            raise ZeroDivisionError("a bug")
        context.note(Event.STORED, **output_of(one).as_json())
        return JobResult(one, Outcome.STORED, output_of(one))

    def guarded(one: VideoJob, context: JobContext) -> JobResult:
        try:
            return run(one, context)
        except Stopped as exc:
            return JobResult(one, Outcome.STOPPED, cause=str(exc))

    def note(one: VideoJob, event: str, facts: dict[str, Any]) -> None:
        made.notes.append((one.source.name, event))

    def made_result(result: JobResult) -> None:
        made.results.append(result)

    with made_executor(request.param, guarded, made_result, note, tmp_path) as executor:
        made = Site(executor, threading.Event())
        yield made
        made.go.set()
        assert executor.close(5)


@contextlib.contextmanager
def made_executor(
    kind: str, run: Callable[[VideoJob, JobContext], JobResult], deliver: Deliver, note: Note, folder: Path
) -> Iterator[Executor]:
    """An executor with one slot, ready for jobs."""
    if kind == "local":
        yield LocalExecutor(run, 1, deliver, note, Workspace(folder, 0))
        return
    pytest.importorskip("distributed", reason="requirements-cluster.txt is not installed")
    from tests import cluster

    one = cluster.node("w", folder / "w", lambda job, tools, context: run(job, context))
    with cluster.running_cluster(folder / "dask", [one]) as running:
        executor: Executor = cluster.executor(running, deliver, note, folder / "p")
        until(lambda: executor.free() > 0, executor.trouble)
        yield executor


def raise_stopped() -> None:
    raise Stopped("asked to end")


def test_every_job_delivers_exactly_one_result_in_the_order_of_submission(site: Site) -> None:
    site.go.set()
    for name in "abc":
        site.executor.submit(job(name))
    site.wait(3)
    assert site.ran == ["a", "b", "c"] and len({result.job.attempt_id for result in site.results}) == 3
    # Behind the slot they are side by side: who notes it first is open, that each does so once is not.
    assert sorted(name for name, event in site.notes if event == "stored") == ["a", "b", "c"]


def test_takes_a_few_more_jobs_than_slots_and_is_free_again_afterwards(site: Site) -> None:
    most = site.executor.free()
    assert most > 1
    for number in range(most):
        site.executor.submit(job(str(number)))
    assert site.executor.free() == 0
    site.go.set()
    site.wait(most)
    assert site.executor.free() == most


def test_progress_shows_what_runs(site: Site) -> None:
    site.executor.submit(job("a"))
    until(
        lambda: [(p.video, p.percent) for p in site.executor.progress()] == [("A/a", 50.0)],
        site.executor.progress,
    )


def test_cancel_ends_the_jobs_of_one_folder_alone(site: Site) -> None:
    site.executor.submit(job("a", "A"))
    site.executor.submit(job("b", "B"))
    site.executor.cancel("A")
    site.wait(1)
    assert [(r.job.folder, r.outcome) for r in site.results] == [("A", Outcome.STOPPED)]
    site.go.set()
    site.wait(2)
    assert site.results[1].outcome is Outcome.STORED


def test_bug_in_a_job_is_a_result_that_counts_as_a_try(site: Site) -> None:
    site.go.set()
    site.executor.submit(job("bug"))
    site.wait(1)
    assert site.results[0].outcome is Outcome.FAILED and "ZeroDivisionError" in site.results[0].cause


def test_close_ends_everything(site: Site) -> None:
    site.executor.submit(job("a"))
    site.executor.submit(job("b"))
    assert site.executor.close(5)
    assert {result.outcome for result in site.results} == {Outcome.STOPPED}


def test_worker_that_runs_something_else_is_rejected_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("distributed", reason="requirements-cluster.txt is not installed")
    from dataclasses import replace

    from tests import cluster

    asked = cluster.handshake()
    other = replace(asked, versions=replace(asked.versions, dask="1.0", distributed="1.0"))
    monkeypatch.setattr(cluster, "handshake", lambda: other)
    one = cluster.node(
        "old", tmp_path / "w", lambda job, tools, context: JobResult(job, Outcome.STORED, output_of(job))
    )
    with cluster.running_cluster(tmp_path / "dask", [one]) as running:
        executor: Executor = cluster.executor(
            running, lambda result: None, lambda job, event, facts: None, tmp_path / "p"
        )
        until(lambda: [worker for worker in executor.workers() if worker.state == "refused"], executor.workers)
        assert executor.free() == 0 and "dask" in (executor.workers()[0].cause or "")
        assert executor.close(5)
    assert "worker old rejected: " in caplog.text
