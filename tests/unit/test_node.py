"""What a worker node does with jobs, withdrawals and later attempts, and what it reports; without Dask."""

import asyncio
import contextlib
import functools
import hashlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from tests import cluster
from tests.fakes import FakeConverter, MemoryHub
from tests.jobs import mkv, output_of
from tests.patience import PATIENCE
from tools.cluster.handshake import Handshake
from tools.cluster.node import WorkerNode
from tools.cluster.worker_report import LateResult, Message, WorkerReport
from tools.core.errors import HubForbidden
from tools.core.folder import RemoteFile
from tools.core.planning import Stage, VideoJob
from tools.stages.job_context import JobContext, JobTools
from tools.stages.video_job import JobResult, Outcome, run_video_job
from tools.stages.workspace import video_key
from tools.state.journal import Event
from tools.state.progress import JobProgress


@dataclass(slots=True)
class Site:
    """A node whose jobs encode until ``go``; ``ran`` and ``sent`` tell of them."""

    folder: Path
    go: threading.Event = field(default_factory=threading.Event)
    ran: list[str] = field(default_factory=list)
    sent: list[Message] = field(default_factory=list)
    stage: Stage = "encode"

    @contextlib.asynccontextmanager
    async def node(self) -> AsyncIterator[WorkerNode]:
        made = cluster.node("w", self.folder, self._run)
        reporting = asyncio.create_task(made.report_always("tcp://here", self.sent.append))
        await asyncio.sleep(0)
        try:
            yield made
        finally:
            self.go.set()
            await asyncio.to_thread(made.leave, 5)
            reporting.cancel()

    def _run(self, job: VideoJob, tools: JobTools, context: JobContext) -> JobResult:
        self.ran.append(job.attempt_id)
        context.note(Event.ENCODING)
        context.show(JobProgress(folder=job.folder, video=job.source.path, stage=self.stage))
        while not self.go.wait(0.005):
            if context.stop.is_set():
                return JobResult(job, Outcome.STOPPED)
        return JobResult(job, Outcome.STORED, output_of(job))

    def report(self) -> WorkerReport:
        """The latest."""
        return next(message for message in reversed(self.sent) if isinstance(message, WorkerReport))

    def stages(self) -> dict[str, str | None]:
        """By attempt, as it reported last."""
        return {job.attempt_id: job.stage for job in self.report().jobs}


def attempt(number: int, name: str = "1") -> VideoJob:
    source = RemoteFile(f"A/{name}", 1, "")
    return VideoJob(f"id-{number}", number, "A", "me/in", "c", source, mkv())


async def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


def _names(site: Site, attempt_id: str) -> bool:
    return attempt_id in site.stages()


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test in an event loop of its own."""

    @functools.wraps(test)
    def run(*given: Any, **named: Any) -> None:
        asyncio.run(test(*given, **named))

    return run


@in_loop
async def test_later_attempt_is_attached_to_the_running_job_and_may_end_it(tmp_path: Path) -> None:
    site = Site(tmp_path)
    async with site.node() as node:
        first = asyncio.create_task(node.run_job(attempt(1)))
        await until(lambda: site.stages() == {"id-1": "encode"})
        second = asyncio.create_task(node.run_job(attempt(2)))
        assert (await first).outcome is Outcome.STOPPED
        await until(lambda: site.stages() == {"id-2": "encode"})
        node.withdraw(["id-1"])  # of an attempt that is no more
        await asyncio.sleep(0.05)
        assert not second.done()
        node.withdraw(["id-2"])
        result = await second
        assert (result.job.attempt_id, result.outcome, site.ran) == ("id-2", Outcome.STOPPED, ["id-1"])


@in_loop
async def test_attempt_that_was_attached_gets_the_result_as_its_own(tmp_path: Path) -> None:
    site = Site(tmp_path)
    async with site.node() as node:
        for number in (1, 2):
            last = asyncio.create_task(node.run_job(attempt(number)))
            await until(functools.partial(_names, site, f"id-{number}"))
        site.go.set()
        result = await last
        assert (result.job.attempt_id, result.outcome, site.ran) == ("id-2", Outcome.STORED, ["id-1"])
        assert site.stages() == {}


@in_loop
async def test_result_that_nobody_waits_for_is_reported_as_late(tmp_path: Path) -> None:
    site = Site(tmp_path)
    async with site.node() as node:
        waiting = asyncio.create_task(node.run_job(attempt(1)))
        await until(lambda: site.stages() == {"id-1": "encode"})
        waiting.cancel()
        site.go.set()
        await until(lambda: LateResult("id-1", "A/1") in site.sent)


@in_loop
async def test_files_of_a_running_job_are_not_deleted(tmp_path: Path) -> None:
    site = Site(tmp_path)
    keys = [video_key("A", attempt(1, name).source) for name in ("1", "2")]
    files = [tmp_path / "videos" / key / "source.mp4" for key in keys]
    for file in files:
        file.parent.mkdir(parents=True)
        file.write_bytes(b"x")
    async with site.node() as node:
        work = asyncio.create_task(node.run_job(attempt(1)))
        await until(lambda: site.ran)
        node.forget(keys)
        assert [file.exists() for file in files] == [True, False]
        site.go.set()
        await work
        node.forget(keys)
        assert not files[0].exists() and not list(tmp_path.iterdir()), "if nothing is left, nothing stays"


@pytest.mark.parametrize("stage", ["encode", "verify", "download"])
@in_loop
async def test_stage_is_the_later_one_of_note_and_progress(tmp_path: Path, stage: Stage) -> None:
    site = Site(tmp_path, stage=stage)
    async with site.node() as node:
        work = asyncio.create_task(node.run_job(attempt(1)))
        await until(lambda: site.stages() == {"id-1": "verify" if stage == "verify" else "encode"})
        site.go.set()
        await work


@in_loop
async def test_worker_that_is_stopped_reports_it_and_ends_its_jobs(tmp_path: Path) -> None:
    site = Site(tmp_path)
    async with site.node() as node:
        work = asyncio.create_task(node.run_job(attempt(1)))
        await until(lambda: site.ran)
        await asyncio.to_thread(node.leave, 5)
        assert (await work).outcome is Outcome.STOPPED
        await until(lambda: site.report().leaving)


def test_token_that_the_hub_refuses_is_read_again_at_the_next_handshake(tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="requirements-cluster.txt is not installed")

    class Refusing(MemoryHub):
        def whoami(self) -> str:
            raise HubForbidden("refused")

    made = cluster.node("w", tmp_path, lambda job, tools, context: JobResult(job, Outcome.STORED, output_of(job)))
    hubs: list[Any] = [Refusing(), MemoryHub()]
    made_for = []

    def make_tools(handshake: Handshake) -> Any:
        made_for.append(handshake)
        return hubs.pop(0), FakeConverter()

    made._make_tools = make_tools
    for _ in range(3):
        made.accept_handshake(cluster.handshake())
    assert len(made_for) == 2, "new handshake, the refusal, and nothing more"


@in_loop
async def test_worker_notes_its_own_results_and_forgets_them_with_their_files(tmp_path: Path) -> None:
    hub, job = MemoryHub(), replace(attempt(1, "1.mp4"), targets=mkv("A/1.mkv"))
    job = replace(job, revision=hub.put("me/in", {"A/1.mp4": b"x"}))
    made = cluster.node("w", tmp_path / "work", run_video_job, hub=hub, journals=tmp_path / "log")
    reporting = asyncio.create_task(made.report_always("tcp://here", lambda _: made.proceed(["id-1", "id-2"])))
    await asyncio.sleep(0)
    assert (await made.run_job(job)).outcome is Outcome.DEFERRED, "there is no output dataset yet"
    (noted,) = (tmp_path / "log" / "journal").iterdir()
    assert hashlib.sha256(b"av1:x").hexdigest() in noted.read_text()
    hub.create_repo("me/out")
    assert (await made.run_job(replace(job, attempt_id="id-2"))).outcome is Outcome.STORED
    made.forget([video_key("B", job.source), "../../x", video_key("A", job.source).partition("/")[0]])
    assert noted.exists() and len(list((tmp_path / "work").rglob("result.mkv"))) == 1, "none of these is one of its own"
    made.forget([video_key("A", job.source)])
    assert not noted.exists() and not list((tmp_path / "work").rglob("result.mkv"))
    reporting.cancel()
