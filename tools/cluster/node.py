"""The worker's side: takes jobs from Dask, runs them in the slots of this machine, and tells how they stand.

A node lives as long as its process. The Dask worker around it comes and goes with the scheduler: a job under way goes
on meanwhile, and whoever is given the same video again takes that work over instead of beginning anew. Dask calls the
functions at the end of this module by name, so that nothing but names and small values travels.
"""

import asyncio
import contextlib
import logging
import threading
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from tools.cluster.handshake import Handshake, objections, remarks, versions_here
from tools.core.errors import HubForbidden, HubUnavailable, PipelineError, Trouble
from tools.core.planning import Stage, VideoJob
from tools.hub.client import HubClient
from tools.media.converter import Converter
from tools.processor.executor import LocalExecutor
from tools.stages.job_context import JobContext, JobTools
from tools.stages.video_job import JobResult, Outcome, run_video_job
from tools.stages.workspace import video_key
from tools.state.journal import Event
from tools.state.progress import JobProgress

if TYPE_CHECKING:
    from distributed import Worker as DaskWorker

log = logging.getLogger("animation.worker")
TOPIC = "animation"
"""The Dask topic of what workers tell of themselves."""
PLUGIN = "animation node"
_EVERY = 1.0  # s between two reports
_STAGES: dict[Event, Stage] = {
    Event.ENCODING: "encode",
    Event.CONVERTED: "upload",
}  # what a note says of where its video is

RunJob = Callable[[VideoJob, JobTools, JobContext], JobResult]

MakeTools = Callable[[Handshake], tuple[HubClient, Converter]]
"""Makes what a worker does a processor's work with, its token read anew; HubForbidden where the hub takes none."""


@dataclass(slots=True)
class _Going:
    """A job under way here: the attempt that began it, and the attempt that waits for its result now."""

    began: VideoJob
    owner: VideoJob
    result: "asyncio.Future[JobResult]"
    stage: Stage | None = None  # by its latest note


class WorkerNode:
    """Runs jobs for whoever asks. ``make_tools`` is called when the handshake is new, and after the hub refused the
    token."""

    def __init__(
        self, name: str, tools: JobTools, endpoint: str, make_tools: MakeTools, run: RunJob = run_video_job
    ) -> None:
        self.name = name
        self.slots = tools.slots
        self.incarnation = uuid.uuid4().hex[:12]
        self._tools = tools
        self._endpoint = endpoint
        self._outfit = make_tools
        self._handshake: Handshake | None = None
        self._lock = threading.Lock()
        self._going: dict[str, _Going] = {}
        self._number = 0
        self._leaving = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tell: Callable[[dict[str, Any]], None] = lambda said: None
        self._jobs = LocalExecutor(
            lambda job, context: run(job, tools, context), tools.slots, self._ended, self._noted, tools.workspace
        )

    # --- called in the event loop of the Dask worker ---------------------------------------------------------------

    async def work(self, job: VideoJob) -> JobResult:
        """Run the job, or take over the work of an older attempt at the same video that is under way."""
        self._loop = asyncio.get_running_loop()
        mine: asyncio.Future[JobResult] = self._loop.create_future()
        key = video_key(job.folder, job.source)
        with self._lock:
            going = self._going.get(key)
            if going is None:
                self._going[key] = _Going(job, job, mine)
                self._jobs.submit(job)
            else:
                log.info("takes over what is under way here: %s", job.source.path)
                if not going.result.done():
                    going.result.set_result(JobResult(going.owner, Outcome.STOPPED, cause="taken over"))
                going.owner, going.result = job, mine
        self.report()
        return await mine

    async def report_always(self, address: str, tell: Callable[[dict[str, Any]], None]) -> None:
        """Tell about once a second how all stands, for as long as the Dask worker at ``address`` lives."""
        self._loop = asyncio.get_running_loop()
        self._tell = lambda said: tell({"address": address, **said})
        try:
            while True:
                self.report()
                await asyncio.sleep(_EVERY)
        finally:
            self._tell = lambda said: None

    def report(self) -> None:
        """Tell it now. Event loop only."""
        self._number += 1
        with self._lock:
            going = dict(self._going)
        shown = self._jobs.shown()
        jobs = [_told(key, one, shown.get(one.began.attempt_id)) for key, one in going.items()]
        said = {"incarnation": self.incarnation, "name": self.name, "slots": self.slots, "number": self._number}
        self._tell({**said, "jobs": jobs, "held": self._tools.workspace.held(), "leaving": self._leaving})

    # --- called from any thread --------------------------------------------------------------------------------------

    def greet(self, handshake: Handshake) -> list[str]:
        """Agree with a processor, or say what speaks against it, one line each."""
        try:
            if handshake != self._handshake or not self._is_known():
                self._tools.hub, self._tools.converter = self._outfit(handshake)
                self._handshake = handshake
            self._tools.workspace.prepare()
            self._tools.converter.prepare()
            here = versions_here(self._tools.converter.version())
        except PipelineError as exc:
            log.error("the processor's work can't be done here: %s", exc)
            return [str(exc)]
        against = objections(here, handshake.versions)
        for line in against:
            log.error("left out by the processor: %s", line)
        for line in [] if against else remarks(here, handshake.versions, self._endpoint, handshake.endpoint):
            log.warning("works, but differs: %s", line)
        return against

    def _is_known(self) -> bool:
        """Whether the hub takes this worker's token, as far as it says anything."""
        try:
            self._tools.hub.whoami()
        except HubForbidden:
            return False
        except HubUnavailable:  # which passes, and is seen by each job anyway
            return True
        return True

    def check(self) -> str:
        """Whether this machine can convert and knows the hub; one line that tells how. Raises NoEncoder, HubError."""
        converts = self._tools.converter.prepare()
        return f"converts by {converts}, known to the hub as {self._tools.hub.whoami()}"

    def withdraw(self, attempts: Sequence[str]) -> None:
        """Ask jobs to end; their results come as STOPPED."""
        with self._lock:
            began = [g.began.attempt_id for g in self._going.values() if g.owner.attempt_id in set(attempts)]
        for attempt_id in began:
            self._jobs.withdraw(attempt_id)

    def forget(self, keys: Sequence[str]) -> None:
        """Delete what is not needed any more and not under way; where nothing is left, leave nothing behind."""
        with self._lock:
            for key in set(keys) - self._going.keys():
                self._tools.workspace.remove(key)
            if not self._going and not self._tools.workspace.held():
                self._tools.workspace.clear()  # also the empty folders of items

    def leave(self, timeout: float) -> None:
        """End all jobs: the worker is being stopped."""
        self._leaving = True
        self._later(self.report)
        if not self._jobs.close(timeout):
            log.info("some transfers did not end in time; they end with the program")

    # --- called by the jobs' threads ---------------------------------------------------------------------------------

    def _noted(self, job: VideoJob, event: Event, facts: dict[str, Any]) -> None:
        """Told at once: the processor must know who was in the encoder when a worker dies."""
        with self._lock:
            self._going[video_key(job.folder, job.source)].stage = _STAGES.get(event)
        self._later(self.report)

    def _ended(self, result: JobResult) -> None:
        if result.trouble is Trouble.HUB_FORBIDDEN and self._handshake is not None:
            with contextlib.suppress(PipelineError):  # a token that was put into .env meanwhile counts
                self._tools.hub, _ = self._outfit(self._handshake)
        with self._lock:
            going = self._going.pop(video_key(result.job.folder, result.job.source))
        self._later(partial(self._deliver, going, result))

    def _deliver(self, going: _Going, result: JobResult) -> None:
        self.report()
        about = f"{result.outcome.value}: {result.job.source.path}"
        if going.result.done():
            log.info("ended, and nobody waits for it any more: %s", about)
            self._tell({"late": going.owner.attempt_id, "video": result.job.source.path})
            return
        level = logging.INFO if result.outcome in {Outcome.STORED, Outcome.STOPPED} else logging.WARNING
        log.log(level, "%s%s", about, result.cause and f" ({result.cause})")
        going.result.set_result(replace(result, job=going.owner))

    def _later(self, call: Callable[[], None]) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the program ends
                self._loop.call_soon_threadsafe(call)


def _told(key: str, going: _Going, progress: JobProgress | None) -> dict[str, Any]:
    """One job in a report; its stage by its notes where its progress lags behind them."""
    facts = {} if progress is None else asdict(progress)
    ahead = (going.stage, facts.get("stage")) == ("encode", "verify")  # no note tells of that
    if going.stage and facts.get("stage") != going.stage and not ahead:
        facts = {"stage": going.stage, "video": going.owner.source.path}
    return {**facts, "attempt_id": going.owner.attempt_id, "key": key}


# --- what Dask calls by name -----------------------------------------------------------------------------------------


async def work(job: VideoJob) -> JobResult:
    """The Dask task."""
    from distributed import get_worker

    return await _node_of(get_worker()).work(job)


async def greet(handshake: dict[str, Any], dask_worker: "DaskWorker") -> list[str]:
    return await asyncio.to_thread(_node_of(dask_worker).greet, Handshake.of_json(handshake))


async def withdraw(attempts: Sequence[str], dask_worker: "DaskWorker") -> None:
    await asyncio.to_thread(_node_of(dask_worker).withdraw, attempts)


async def forget(keys: Sequence[str], dask_worker: "DaskWorker") -> None:
    await asyncio.to_thread(_node_of(dask_worker).forget, keys)


def _node_of(worker: "DaskWorker") -> WorkerNode:
    node = worker.plugins[PLUGIN].node
    assert isinstance(node, WorkerNode)
    return node
