"""Video jobs on the workers of a cluster: the executor of more than one machine.

How a job's attempts travel, and what is trusted
  1. The engine submits a job, which is one attempt at a video with an id of its own. It waits here for a place.
  2. The roster chooses the worker. The link sends the job there through the scheduler, once: Dask may neither repeat
     nor move it.
  3. The worker's node runs it, or attaches it to the same video's job that is running there for an older attempt
     (which ends as STOPPED). The worker reports what is running there, about once per second.
  4. Exactly one result comes back to the engine, through the journal: the first of what the job returned, its worker
     died or stopped reporting, its worker does not report it for long, the scheduler was lost, the program ends.
     Whatever comes for that attempt afterwards is late and dropped. The queue submits the video again, as another
     attempt, unless the result settles it.

  Trusted is the journal on this machine, and what the hub holds. Results are checked (``plain_result``). Reports are
  trusted for what can only waste work: what is shown, what lies on a worker's disk, and whether the video was in the
  encoder when its worker died. Dask's
  memory is trusted with nothing: after any loss of the scheduler each attempt here ends as STOPPED, and workers report
  what is still running there.

Threads: the engine calls from its own, and never waits for a worker. The rest happens in the link's thread. Both
change the fields below under one lock; results are delivered from a third, as the journal may have to wait for a disk.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tools.cluster import node, plain_result
from tools.cluster.connection import Connect, HowLost, JobUnknown, WorkerDied
from tools.cluster.delivery import Delivery, log_change, log_refusal
from tools.cluster.handshake import Handshake
from tools.cluster.link import Link
from tools.cluster.needs import Needs
from tools.cluster.roster import SILENCE, Member, Roster, State, lost_with, progress_of
from tools.cluster.worker_report import LateResult, Message, WorkerReport
from tools.core.artifact import ArtifactKind
from tools.core.errors import Trouble
from tools.core.folder import RemoteFile
from tools.core.message import message
from tools.core.planning import VideoJob
from tools.processor.executor import Deliver, Note
from tools.runtime.once import Once
from tools.stages.video_job import JobResult, Outcome, may_be_known, unexpected
from tools.stages.workspace import Workspace, video_key
from tools.state.progress import JobProgress, WorkerState

log = logging.getLogger("animation.processor")
_WITHDRAW_AGAIN = 1.0  # s before a worker is asked again to end a job
_HANDSHAKE_AGAIN = 60.0  # s before the next handshake with a worker that was refused
_UNREPORTED = 30.0  # s after which a job that its worker does not report comes back to the queue
_QUIET = 3.0  # s without a new job after which waiting jobs move to idle workers

Known = Callable[[VideoJob, str], JobResult | None]
"""The result for a video whose source has this sha256, if one is known; in any thread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    first_reports: float = 2.5  # s after connecting in which workers report what is running, before any gets a job
    silence: float = SILENCE  # s without a report after which a worker's jobs are reassigned


@dataclass(slots=True)
class _RunningJob:
    """A job of ours on a worker."""

    job: VideoJob
    key: str  # of its video
    member: Member  # the worker
    fetching: "asyncio.Task[None]"  # waits for its result
    reported_at: float  # monotonic s of the worker's latest report that names it
    withdraw_at: float | None = None  # monotonic s at which the worker is asked (again) to end it; None = it may run
    look_up: "asyncio.Task[None] | None" = None  # of its source's content, which the worker told
    known: JobResult | None = None  # what that found; its result, however it ends


class ClusterExecutor:
    """``handshake`` is called before each connection (it may try encoders, and raise what is wrong)."""

    timeouts = Timeouts()

    def __init__(
        self,
        scheduler: str,
        connect: Connect,
        handshake: Callable[[], Handshake],
        deliver: Deliver,
        note: Note,
        workspace: Workspace,
        known: Known = lambda job, sha256: None,
    ) -> None:
        self._address = scheduler
        self._known = known
        self._deliver = deliver
        self._workspace = workspace
        self._lock = threading.RLock()
        self._roster = Roster(self.timeouts.silence)
        self._waiting: list[VideoJob] = []  # for a place on a worker
        self._running: dict[str, _RunningJob] = {}  # by attempt id
        self._delivery = Delivery(deliver, note)
        self._needs = Needs()
        self._trouble: str | None = f"the scheduler at {scheduler} was not reached yet"
        self._problems = Once()
        self._places_from = 0.0  # monotonic s from which workers get jobs
        self._last_submit = 0.0  # monotonic s
        self._link = Link(connect, handshake, self)
        self._link.start()

    # --- what the engine calls, from its thread -------------------------------------------------------------------

    def free(self) -> int:
        with self._lock:
            now = time.monotonic()
            waiting = sum(not self._roster.is_kept(job, now) for job in self._waiting)
            return 0 if now < self._places_from else self._roster.free(now) - waiting

    def submit(self, job: VideoJob) -> None:
        with self._lock:
            self._waiting.append(job)
            self._last_submit = time.monotonic()
            self._needs.add(job)
        self._link.wake()

    def progress(self) -> list[JobProgress]:
        with self._lock:
            reported = [progress_of(running.member, running.job) for running in self._running.values()]
        return [progress for progress in reported if progress is not None]

    def cancel(self, folder: str) -> None:
        self._withdraw(lambda job: job.folder == folder)

    def close(self, timeout: float) -> bool:
        self._withdraw(lambda job: True)
        deadline = time.monotonic() + timeout
        while self._is_busy() and time.monotonic() < deadline and self._link.is_alive():
            time.sleep(0.02)
        ended = not self._is_busy()
        while self._has_leftovers() and time.monotonic() < deadline:
            time.sleep(0.05)
        self._link.close(2.0)
        return ended

    def trouble(self) -> str | None:
        with self._lock:
            if self._trouble is not None:
                return self._trouble
            now = time.monotonic()
            if self._roster.ready(now) or now < self._places_from:
                return None
            there = [member for member in self._roster.members() if not member.gone]
            if there and all(member.state(now) is State.RESTING for member in there):
                return message("outside of ACTIVE_HOURS on every worker")
            why = [f"{m.name} {m.state(now).value}" for m in there]
            return f"no worker at {self._address} can work: {', '.join(why) or 'none is there'}"

    def workers(self) -> Sequence[WorkerState]:
        with self._lock:
            return self._roster.states(time.monotonic())

    def artifact_file(self, folder: str, source: RemoteFile, kind: ArtifactKind) -> Path | None:
        return None

    def forget(self, folder: str, source: RemoteFile | None = None) -> None:
        """Each worker is asked to delete it when it reports it, so also one that is not there now."""
        with self._lock:
            self._needs.forget(folder, source)
        if source is None:
            self._workspace.remove_item(folder)  # of sidecars, which the processor carries over itself

    def sweep(self, live: Iterable[str]) -> None:
        with self._lock:
            self._needs.set_live(live)
        self._workspace.sweep(())

    def rest(self) -> None:
        self._workspace.rest()  # each worker does the same when nothing is left there

    def _is_busy(self) -> bool:
        with self._lock:
            return bool(self._running or self._waiting or self._delivery.is_busy())

    def _has_leftovers(self) -> bool:
        """Whether a worker that is there still holds what nothing needs."""
        with self._lock:
            return any(self._needs.leftovers(member) for member in self._roster.there(time.monotonic()))

    def _withdraw(self, chosen: Callable[[VideoJob], bool]) -> None:
        with self._lock:
            back = [job for job in self._waiting if chosen(job)]
            self._waiting = [job for job in self._waiting if not chosen(job)]
            for running in self._running.values():
                if chosen(running.job):
                    running.withdraw_at = 0.0
        for job in back:
            self._deliver(JobResult(job, Outcome.STOPPED, cause="stopped before it began"))
        self._link.wake()

    # --- what the link calls: the scheduler -----------------------------------------------------------------------

    def on_connected(self) -> None:
        with self._lock:
            if self._trouble is not None:
                log.info("connected to the scheduler at %s", self._address)
            self._trouble = None
            self._problems.over()
            now = time.monotonic()
            self._places_from = now + self.timeouts.first_reports
            self._roster.expect_back(now)

    def on_disconnected(self, cause: str) -> None:
        trouble = f"can't work with the scheduler at {self._address}: {cause}"
        with self._lock:
            self._trouble = trouble
            self._roster.clear()
        if self._problems.is_news(trouble):
            log.warning("%s; retrying; no work is lost", trouble)
        self._give_all_back("the scheduler is gone")

    def on_closed(self) -> None:
        self._give_all_back("the program ends")

    def _give_all_back(self, cause: str) -> None:
        with self._lock:
            jobs = [*(running.job for running in self._running.values()), *self._waiting]
            for running in self._running.values():
                running.fetching.cancel()
            self._running.clear()
            self._waiting.clear()
        for job in jobs:
            self._deliver(JobResult(job, Outcome.STOPPED, cause=cause))

    # --- what the link calls: reports -----------------------------------------------------------------------------

    def on_message(self, message: Message) -> None:
        if isinstance(message, LateResult):
            log.info("a late result of an older attempt is dropped: video=%s", message.video)
        else:
            self._on_report(message)

    def _on_report(self, report: WorkerReport) -> None:
        with self._lock:
            member = self._roster.report(report, time.monotonic(), time.time())
            if member is None:
                return
            for attempt_id in member.jobs.keys() & member.running.keys():
                self._running[attempt_id].reported_at = member.seen
                self._answer(self._running[attempt_id], member.jobs[attempt_id].sha256)
            if time.monotonic() >= self._places_from:
                self._tidy(member)

    def _answer(self, running: _RunningJob, sha256: str) -> None:
        """A worker has a content that the hub did not tell, and says so until it is answered."""
        if not (sha256 and may_be_known(running.job)):
            return
        if running.look_up is None:
            running.look_up = self._link.start_task(self._look_up(running, sha256))
        elif running.look_up.done() and running.known is None:
            self._link.ask(running.member.address, node.proceed, [running.job.attempt_id])

    async def _look_up(self, running: _RunningJob, sha256: str) -> None:
        known = await asyncio.to_thread(self._known, running.job, sha256)
        with self._lock:
            if known is None:
                self._link.ask(running.member.address, node.proceed, [running.job.attempt_id])
            else:
                running.known, running.withdraw_at = known, 0.0
        self._link.wake()

    def _tidy(self, member: Member) -> None:
        """End there what nobody wants, delete there what nobody needs."""
        if member.jobs.keys() - member.running.keys():
            elsewhere = {running.key for running in self._running.values() if running.member is not member}
            if attempts := self._needs.unwanted(member, elsewhere):
                self._link.ask(member.address, node.withdraw, attempts)
        if keys := self._needs.leftovers(member):
            self._link.ask(member.address, node.forget, keys)

    def on_worker_lost(self, address: str, how: HowLost) -> None:
        with self._lock:
            member = self._roster.get(address)
            if member is None or member.gone:
                return
            self._reassign(member, how)
            member.gone = True
        if not member.leaving and not (how == "stopped reporting" and member.logged is State.SILENT):
            log.warning("worker %s %s; its videos are reassigned", member.name, how)

    def _reassign(self, member: Member, how: HowLost) -> None:
        """Its jobs come back to the queue."""
        for attempt_id in list(member.running):
            self._end(attempt_id, lost_with(member, member.running[attempt_id], how))

    # --- what the link calls: a turn ------------------------------------------------------------------------------

    def turn(self, handshake: Handshake) -> None:
        now = time.monotonic()
        with self._lock:
            self._roster.remove_old(now)
            for member in self._roster.members():
                self._check(member, handshake, now)
            if now >= self._places_from:
                self._place_waiting(now)
                if not self._waiting and now - self._last_submit > _QUIET and (move := self._roster.job_to_move(now)):
                    self._running[move[1]].withdraw_at = now
                    self._last_submit = now
            self._ask_to_withdraw(now)

    def _check(self, member: Member, handshake: Handshake, now: float) -> None:
        state = member.state(now)
        if state in {State.NEW, State.REFUSED} and now >= member.handshake_at:
            member.handshake_at = now + _HANDSHAKE_AGAIN
            self._link.start_task(self._shake_hands(member, handshake))
        if state is State.SILENT:
            self._reassign(member, "stopped reporting")
        for attempt_id, job in list(member.running.items()):
            if now - self._running[attempt_id].reported_at > _UNREPORTED:
                cause = f"worker {member.name} does not know it"
                self._end(attempt_id, JobResult(job, Outcome.STOPPED, cause=cause))
        log_change(member, state)

    async def _shake_hands(self, member: Member, handshake: Handshake) -> None:
        answer = await self._link.call(member.address, node.accept_handshake, handshake.as_json())
        why = f"{answer}; is it the same version?" if isinstance(answer, str) else plain_result.reasons(answer)
        if why is not None and why != member.refused:
            log_refusal(member, why)
        with self._lock:
            member.refused, member.accepted = why, True
        self._link.wake()

    def _place_waiting(self, now: float) -> None:
        left = []
        for job in self._waiting:
            member = self._roster.choose(job, now)
            if member is None:
                left.append(job)
                continue
            fetching = self._link.start_task(self._fetch(self._link.send(job, member.address), member, job))
            member.running[job.attempt_id] = job
            key = video_key(job.folder, job.source)
            self._running[job.attempt_id] = _RunningJob(job, key, member, fetching, now)
        self._waiting = left

    def _ask_to_withdraw(self, now: float) -> None:
        """Repeated until they end: the call may overtake a job on its way to the worker, which does not know it yet."""
        due: dict[str, list[str]] = {}
        for attempt_id, running in self._running.items():
            if running.withdraw_at is not None and running.withdraw_at <= now:
                running.withdraw_at = now + _WITHDRAW_AGAIN
                due.setdefault(running.member.address, []).append(attempt_id)
        for address, attempts in due.items():
            self._link.ask(address, node.withdraw, attempts)

    # --- one result for each job ----------------------------------------------------------------------------------

    async def _fetch(self, answer: Callable[[], Awaitable[object]], member: Member, job: VideoJob) -> None:
        try:
            result = replace(plain_result.decode(await answer(), job), worker=member.name)
        except WorkerDied:
            result = lost_with(member, job, "died")
        except JobUnknown:
            result = JobResult(job, Outcome.STOPPED, cause="the scheduler does not know it any more")
        except Exception as exc:
            result = unexpected(job, exc)
        with self._lock:
            if current := job.attempt_id in self._running:
                if result.trouble is not Trouble.WORKER_LOST:
                    result = self._roster.judge(member, result, time.monotonic())
                self._end(job.attempt_id, result)
        if not current:
            log.info("a late result of an older attempt is dropped: video=%s", job.source.path)

    def _end(self, attempt_id: str, result: JobResult) -> None:
        """The one result of a job: what comes after it is late."""
        running = self._running.pop(attempt_id)
        result = running.known or result
        running.member.running.pop(attempt_id, None)
        if running.member.state(time.monotonic()) is not State.SILENT:  # of a silent one, a late result is logged
            self._link.cancel_soon(running.fetching)  # and with it the last hold on the job: the scheduler forgets it
        self._delivery.expect()
        self._link.start_task(asyncio.to_thread(self._delivery.hand_over, result))
