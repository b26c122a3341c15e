"""The worker's side: takes jobs from Dask, runs them in the slots of this machine, and reports how they stand.

A node lives as long as its process. The Dask worker around it comes and goes with the scheduler: a running job
continues meanwhile, and a later attempt at the same video is attached to it instead of starting over. Dask calls the
functions at the end of this module by name, so that nothing but names and small values travels.
"""

import asyncio
import contextlib
import logging
import threading
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from tools.cluster import plain_result
from tools.cluster.handshake import Handshake, objections, remarks, versions_here
from tools.cluster.worker_report import LateResult, Message, ReportedJob, WorkerReport
from tools.core.errors import HubForbidden, HubUnavailable, PipelineError, Trouble
from tools.core.message import message
from tools.core.planning import Stage, VideoJob
from tools.hub.client import HubClient
from tools.media.converter import Converter
from tools.processor.executor import LocalExecutor
from tools.runtime.language import both
from tools.stages.job_context import JobContext, JobTools
from tools.stages.video_job import JobResult, Outcome, run_video_job
from tools.stages.work_hours import HoursOptions, WorkHours
from tools.stages.workspace import video_key
from tools.state.journal import Event, Journal, sweep_all_but
from tools.state.progress import JobProgress

if TYPE_CHECKING:
    from distributed import Worker as DaskWorker

log = logging.getLogger("animation.worker")
TOPIC = "animation"
"""The Dask topic of what workers report."""
PLUGIN = "animation node"
_EVERY = 1.0  # s between two reports
_ANSWERED_WITHIN = 60.0  # s for the processor to look a content up; then its video is made
# Where a video is after a note.
_STAGES: dict[Event, Stage] = {Event.ENCODING: "encode", Event.CONVERTED: "upload"}

RunJob = Callable[[VideoJob, JobTools, JobContext], JobResult]

MakeTools = Callable[[Handshake], tuple[HubClient, Converter]]
"""Makes what a worker does a processor's work with, its token read again; HubForbidden if the hub accepts none."""


@dataclass(slots=True)
class _RunningJob:
    """A job that runs here."""

    first: VideoJob  # the attempt that started it; the local executor knows it by this one
    current: VideoJob  # the attempt that waits for its result now
    result: "asyncio.Future[JobResult]"  # of the current attempt
    stage: Stage | None = None  # by its latest note
    sha256: str = ""  # of its source, while the processor looks it up
    answered: threading.Event = field(default_factory=threading.Event)  # no need to wait for that any more


class WorkerNode:
    """Runs jobs for whoever asks. ``make_tools`` is called when the handshake is new, and after the hub refused the
    token."""

    def __init__(
        self,
        name: str,
        tools: JobTools,
        endpoint: str,
        make_tools: MakeTools,
        run: RunJob = run_video_job,
        hours: HoursOptions | None = None,
    ) -> None:
        self.name = name
        self.slots = tools.slots
        self.incarnation = uuid.uuid4().hex[:12]
        self._tools = tools
        tools.known = self._known
        self._hours = WorkHours(hours or HoursOptions(), tools)
        self._endpoint = endpoint
        self._make_tools = make_tools
        self._handshake: Handshake | None = None  # the latest; the tools are made for it
        self._lock = threading.Lock()
        self._running: dict[str, _RunningJob] = {}  # by video key
        self._reports = 0  # how many were sent
        self._leaving = False
        self._loop: asyncio.AbstractEventLoop | None = None  # of the Dask worker
        self._address = ""  # of the Dask worker
        self._send: Callable[[Message], None] = lambda message: None
        self._jobs = LocalExecutor(
            lambda job, context: run(job, tools, context),
            tools.slots,
            self._ended,
            self._noted,
            tools.workspace,
            tools.download,
        )

    @property
    def address(self) -> str:
        """Of its Dask worker; "" before the first one."""
        return self._address

    # --- called in the event loop of the Dask worker ---------------------------------------------------------------

    async def run_job(self, job: VideoJob) -> JobResult:
        """Run the job, or attach it to the running job of an older attempt at the same video."""
        self._loop = asyncio.get_running_loop()
        mine: asyncio.Future[JobResult] = self._loop.create_future()
        key = video_key(job.folder, job.source)
        with self._lock:
            running = self._running.get(key)
            if running is None:
                self._running[key] = _RunningJob(job, job, mine)
                self._jobs.submit(job)
            else:
                log.info("reattached to a running job: %s", job.source.path)
                if not running.result.done():
                    superseded = JobResult(running.current, Outcome.STOPPED, cause="superseded by a later attempt")
                    running.result.set_result(superseded)
                running.current, running.result = job, mine
        self.report()
        return await mine

    async def report_always(self, address: str, send: Callable[[Message], None]) -> None:
        """Report about once per second, for as long as the Dask worker at ``address`` lives."""
        self._loop = asyncio.get_running_loop()
        self._address, self._send = address, send
        try:
            while True:
                self.report()
                await asyncio.sleep(_EVERY)
        finally:
            self._send = lambda message: None

    def report(self) -> None:
        """Report now. Event loop only."""
        self._reports += 1
        with self._lock:
            running = dict(self._running)
        shown = self._jobs.shown()
        report = WorkerReport(
            address=self._address,
            incarnation=self.incarnation,
            name=self.name,
            slots=self.slots,
            number=self._reports,
            jobs=tuple(_reported(key, job, shown.get(job.first.attempt_id)) for key, job in running.items()),
            held=self._tools.workspace.held(),
            leaving=self._leaving,
            resting=self._hours.reason,
        )
        self._send(report)

    # --- called from any thread --------------------------------------------------------------------------------------

    def accept_handshake(self, handshake: Handshake) -> list[str]:
        """Prepare for a processor's jobs; the reasons to refuse, one line each: empty = accepted."""
        try:
            if handshake != self._handshake or not self._is_known():
                self._tools.hub, self._tools.converter = self._make_tools(handshake)
                self._handshake = handshake
            self._tools.workspace.prepare()
            self._tools.converter.prepare()
            here = versions_here(self._tools.converter.version())
        except PipelineError as exc:
            log.error("%s", both(message(f"can't work for the processor: {exc}")))
            return [str(exc)]
        reasons = objections(here, handshake.versions)
        for line in reasons:
            log.error("%s", both(message(f"rejected by the processor: {line}")))
        for line in [] if reasons else remarks(here, handshake.versions, self._endpoint, handshake.endpoint):
            log.warning("accepted with differences: %s", line)
        return reasons

    def _is_known(self) -> bool:
        """Whether the hub accepts this worker's token, as far as it answers."""
        try:
            self._tools.hub.whoami()
        except HubForbidden:
            return False
        except HubUnavailable:  # which passes, and is seen by each job anyway
            return True
        return True

    def check(self) -> str:
        """Make sure that this machine can convert and knows the hub; one line that tells how. Raises NoEncoder,
        HubError."""
        encoder = self._tools.converter.prepare()
        return f"encoder: {encoder}; known to the hub as {self._tools.hub.whoami()}"

    def keep_hours(self, now: float) -> None:
        """Begin and end the hours of work; to be called about once per second. ``now`` epoch s."""
        self._hours.ask(now)

    def withdraw(self, attempts: Sequence[str]) -> None:
        """Ask jobs to end; their results come as STOPPED."""
        for job in self._those(attempts):
            self._jobs.withdraw(job.first.attempt_id)
            job.answered.set()

    def proceed(self, attempts: Sequence[str]) -> None:
        """The processor knows no result of the contents of these."""
        for job in self._those(attempts):
            job.answered.set()

    def _those(self, attempts: Sequence[str]) -> list[_RunningJob]:
        with self._lock:
            return [job for job in self._running.values() if job.current.attempt_id in set(attempts)]

    def forget(self, keys: Sequence[str]) -> None:
        """Delete what is not needed any more and does not run; if nothing is left, leave nothing behind."""
        with self._lock:
            for key in set(keys) - self._running.keys():
                self._tools.workspace.remove(key)
            held = self._tools.workspace.held()
            if self._tools.journals is not None:
                sweep_all_but(self._tools.journals, (key.partition("/")[0] for key in (*held, *self._running)))
            if not self._running and not held:
                self._tools.workspace.clear()  # also the empty folders of items

    def leave(self, timeout: float) -> None:
        """End all jobs: the worker is being stopped."""
        self._leaving = True
        self._later(self.report)
        with self._lock:
            for job in self._running.values():
                job.answered.set()
        if not self._jobs.close(timeout):
            log.info("some transfers did not stop in time and are abandoned")

    # --- called by the jobs' threads ---------------------------------------------------------------------------------

    def _known(self, job: VideoJob, sha256: str, hub: HubClient) -> None:
        """Wait until the processor has looked a content up. It ends the job itself if it knows a result."""
        with self._lock:
            running = self._running[video_key(job.folder, job.source)]
            running.sha256 = sha256
        self._later(self.report)
        running.answered.wait(_ANSWERED_WITHIN)
        running.sha256 = ""

    def _noted(self, job: VideoJob, event: Event, facts: dict[str, Any]) -> None:
        """Reported at once: the processor must know which video was in the encoder when a worker dies. Which results
        are this worker's own is on its disk first."""
        if event in (Event.CONVERTED, Event.SEARCHED) and self._tools.journals is not None:
            Journal(self._tools.journals, job.folder).note(event, job.source, **facts)
        with self._lock:
            if running := self._running.get(video_key(job.folder, job.source)):  # else it has ended this moment
                running.stage = _STAGES.get(event, running.stage if event is Event.SEARCHED else None)
        self._later(self.report)

    def _ended(self, result: JobResult) -> None:
        if result.trouble is Trouble.HUB_FORBIDDEN and self._handshake is not None:
            with contextlib.suppress(PipelineError):  # a token that was put into .env meanwhile counts
                self._tools.hub, _ = self._make_tools(self._handshake)
        with self._lock:
            running = self._running.pop(video_key(result.job.folder, result.job.source))
        self._later(partial(self._deliver, running, result))

    def _deliver(self, ended: _RunningJob, result: JobResult) -> None:
        self.report()
        about = f"{result.outcome.value}: {result.job.source.path}"
        if ended.result.done():
            log.info("finished, but its attempt was superseded: %s", about)
            self._send(LateResult(ended.current.attempt_id, result.job.source.path))
            return
        level = logging.INFO if result.outcome in {Outcome.STORED, Outcome.STOPPED} else logging.WARNING
        log.log(level, "%s%s", about, result.cause and f" ({result.cause})")
        ended.result.set_result(replace(result, job=ended.current))

    def _later(self, call: Callable[[], None]) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the program ends
                self._loop.call_soon_threadsafe(call)


def _reported(key: str, running: _RunningJob, progress: JobProgress | None) -> ReportedJob:
    """One job in a report; its stage by its latest note if its progress lags behind that."""
    job = ReportedJob(
        attempt_id=running.current.attempt_id, key=key, video=running.current.source.path, stage=running.stage
    )
    if running.sha256:
        return replace(job, stage="waiting", sha256=running.sha256)
    is_verifying = progress is not None and (running.stage, progress.stage) == ("encode", "verify")  # which has no note
    if progress is None or not (running.stage in {None, progress.stage} or is_verifying):
        return job
    return replace(
        job,
        stage=progress.stage,
        percent=progress.percent,
        fps=progress.fps,
        speed=progress.speed,
        eta_s=progress.eta_s,
        work=progress.work,
    )


# --- what Dask calls by name -----------------------------------------------------------------------------------------


async def run_job(job: VideoJob) -> bytes:
    """The Dask task; its result as ``plain_result`` has it."""
    from distributed import get_worker

    return plain_result.encode(await _node_of(get_worker()).run_job(job))


async def accept_handshake(handshake: dict[str, Any], dask_worker: "DaskWorker") -> list[str]:
    return await asyncio.to_thread(_node_of(dask_worker).accept_handshake, Handshake.of_json(handshake))


async def withdraw(attempts: Sequence[str], dask_worker: "DaskWorker") -> None:
    await asyncio.to_thread(_node_of(dask_worker).withdraw, attempts)


async def proceed(attempts: Sequence[str], dask_worker: "DaskWorker") -> None:
    _node_of(dask_worker).proceed(attempts)


async def forget(keys: Sequence[str], dask_worker: "DaskWorker") -> None:
    await asyncio.to_thread(_node_of(dask_worker).forget, keys)


def _node_of(worker: "DaskWorker") -> WorkerNode:
    node = worker.plugins[PLUGIN].node
    assert isinstance(node, WorkerNode)
    return node
