"""Jobs on the workers of a cluster: the executor of more than one machine.

A connection to the scheduler carries a job there and its result back, and is trusted with nothing: each attempt goes
once, to the worker that the roster chose. Whatever gets lost on the way (a dead worker, a scheduler that was
restarted) comes back to the queue as a result, and the queue submits it again. ``tools.cluster.dask_transport`` has
the connection that Dask makes.

Everything of the connection happens in one thread with an event loop, the link; the engine's calls only change what
the link does next, so they never wait.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from tools.cluster import node
from tools.cluster.handshake import Handshake
from tools.cluster.roster import SILENCE, Member, Roster, State, died, leftovers, progress_of, unwanted
from tools.core.artifact import ArtifactKind
from tools.core.errors import PipelineError, Trouble, trouble_of
from tools.core.folder import RemoteFile
from tools.core.planning import VideoJob
from tools.processor.executor import Deliver, Note
from tools.stages.video_job import JobResult, Outcome, unexpected
from tools.stages.workspace import Workspace, item_key, video_key
from tools.state.journal import Event
from tools.state.progress import JobProgress, WorkerState

log = logging.getLogger("animation.processor")
_AGAIN = 2.0  # s before the scheduler is asked again
_TURN = 0.25  # s between two looks at everything
_END_AGAIN = 1.0  # s before a worker is asked again to end a job
_CALL = 90.0  # s for a worker to answer; its first greeting tries its encoders
_ASK_AGAIN = 60.0  # s before a worker that was refused is asked again
_UNKNOWN = 30.0  # s after which a job that its worker does not name comes back to the queue
_QUIET = 3.0  # s without a new job after which waiting jobs move to idle workers
_NOTES = {
    Outcome.STORED: Event.STORED,
    Outcome.FAILED: Event.FAILED,
    Outcome.REFUSED: Event.REFUSED,
    Outcome.CRASHED: Event.CRASHED,
}


class WorkerDied(Exception):
    """The worker that had a job is no more."""


class JobUnknown(Exception):
    """The scheduler does not know of a job any more."""


class Connection(Protocol):
    """A connection to the scheduler. Used in one event loop."""

    def is_up(self) -> bool:
        """Whether it still holds; one that broke never holds again."""
        ...

    def send(self, job: VideoJob, address: str) -> Callable[[], Awaitable[object]]:
        """Have the worker at an address do the job, once, and nobody else. Awaiting what it returns gives the result,
        or raises WorkerDied, JobUnknown, or what the job raised; who ends that wait makes the scheduler forget it."""
        ...

    async def call(self, address: str, function: Callable[..., Any], argument: Any) -> Any:
        """The answer of a function of ``tools.cluster.node`` at a worker; an Exception where there is none."""
        ...


OnReport = Callable[[dict[str, Any]], None]
OnWorkerLost = Callable[[str, str], None]
Connect = Callable[[OnReport, OnWorkerLost], AbstractAsyncContextManager[Connection]]
"""Connects: what workers tell of themselves comes to ``OnReport``, who is gone (address, how) to ``OnWorkerLost``.
Raises OSError, TimeoutError or RuntimeError if the scheduler can't be reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """s. ``settle``: after connecting, in which workers tell what they have under way before any gets a job;
    ``silence``: without a report, after which a worker's jobs are done elsewhere."""

    settle: float = 2.5
    silence: float = SILENCE


@dataclass(slots=True)
class _Attempt:
    """A job of ours on a worker; ``fetching`` waits for its result. ``known_at``: when the worker named it last."""

    job: VideoJob
    key: str
    member: Member
    fetching: "asyncio.Task[None]"
    known_at: float


class ClusterExecutor:
    """``handshake`` is asked whenever a connection is wanted (it may try encoders, and raise what is wrong)."""

    timeouts = Timeouts()

    def __init__(
        self,
        scheduler: str,
        connect: Connect,
        handshake: Callable[[], Handshake],
        deliver: Deliver,
        note: Note,
        workspace: Workspace,
    ) -> None:
        self._address = scheduler
        self._connect = connect
        self._handshake = handshake
        self._deliver = deliver
        self._note = note
        self._workspace = workspace
        self._lock = threading.RLock()
        self._roster = Roster(self.timeouts.silence)
        self._waiting: list[VideoJob] = []
        self._running: dict[str, _Attempt] = {}
        self._withdrawn: dict[str, float] = {}  # attempts that are to end, and when the worker is asked to next
        self._settling = 0
        self._live: set[str] | None = None
        self._forgotten: set[str] = set()
        self._connection: Connection | None = None
        self._trouble: str | None = f"the scheduler at {scheduler} was not reached yet"
        self._settled = 0.0
        self._last_submit = 0.0
        self._background: set[asyncio.Task[None]] = set()
        self._closing = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._news = asyncio.Event()
        self._thread = threading.Thread(target=self._link, name="cluster", daemon=True)
        self._thread.start()

    # --- what the engine calls, from its thread -------------------------------------------------------------------

    def free(self) -> int:
        with self._lock:
            now = time.monotonic()
            return 0 if now < self._settled else self._roster.free(now) - len(self._waiting)

    def submit(self, job: VideoJob) -> None:
        with self._lock:
            self._waiting.append(job)
            self._last_submit = time.monotonic()
            self._forgotten.discard(video_key(job.folder, job.source))
            if self._live is not None:
                self._live.add(item_key(job.folder))
        self._wake()

    def progress(self) -> list[JobProgress]:
        with self._lock:
            shown = [progress_of(attempt.member, attempt.job) for attempt in self._running.values()]
        return [one for one in shown if one is not None]

    def cancel(self, folder: str) -> None:
        self._withdraw(lambda job: job.folder == folder)

    def close(self, timeout: float) -> bool:
        self._withdraw(lambda job: True)
        deadline = time.monotonic() + timeout
        while self._busy() and time.monotonic() < deadline and self._thread.is_alive():
            time.sleep(0.02)
        ended = not self._busy()
        while self._has_leftovers() and time.monotonic() < deadline:
            time.sleep(0.05)
        self._closing.set()
        self._wake()
        self._thread.join(2.0)
        return ended

    def trouble(self) -> str | None:
        with self._lock:
            if self._trouble is not None:
                return self._trouble
            now = time.monotonic()
            if self._roster.fit(now) or now < self._settled:
                return None
            why = [f"{m.name} {m.state(now).value}" for m in self._roster.members() if not m.gone]
            return f"no worker at {self._address} can work: {', '.join(why) or 'none is there'}"

    def workers(self) -> Sequence[WorkerState]:
        with self._lock:
            return self._roster.shown(time.monotonic())

    def artifact_file(self, folder: str, source: RemoteFile, kind: ArtifactKind) -> Path | None:
        return None

    def forget(self, folder: str, source: RemoteFile | None = None) -> None:
        """Each worker is told when it reports something of it, so also those that are not there now."""
        with self._lock:
            if source is not None:
                self._forgotten.add(video_key(folder, source))
            elif self._live is not None:
                self._live.discard(item_key(folder))
                self._forgotten = {key for key in self._forgotten if not key.startswith(item_key(folder))}

    def sweep(self, live: Iterable[str]) -> None:
        with self._lock:
            self._live = {item_key(folder) for folder in live}
        self._workspace.sweep(())

    def rest(self) -> None:
        self._workspace.rest()  # each worker does the same when nothing is left there

    def _busy(self) -> bool:
        with self._lock:
            return bool(self._running or self._waiting or self._settling)

    def _has_leftovers(self) -> bool:
        """Whether a worker that is there has not been told yet what may go."""
        with self._lock:
            fit = self._roster.fit(time.monotonic())
            return self._live is not None and any(leftovers(one, self._forgotten, self._live) for one in fit)

    def _wake(self) -> None:
        with contextlib.suppress(RuntimeError):  # the link has ended
            self._loop.call_soon_threadsafe(self._news.set)

    def _withdraw(self, chosen: Callable[[VideoJob], bool]) -> None:
        with self._lock:
            back = [job for job in self._waiting if chosen(job)]
            self._waiting = [job for job in self._waiting if not chosen(job)]
            self._withdrawn |= {attempt_id: 0.0 for attempt_id, one in self._running.items() if chosen(one.job)}
        for job in back:
            self._deliver(JobResult(job, Outcome.STOPPED, cause="stopped before it began"))
        self._wake()

    # --- the link: one thread, one event loop ---------------------------------------------------------------------

    def _link(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._stay_connected())
        finally:
            self._all_back("the program ends")
            for task in asyncio.all_tasks(self._loop):
                task.cancel()
            self._loop.run_until_complete(asyncio.sleep(0))
            self._loop.close()

    async def _stay_connected(self) -> None:
        while not self._closing.is_set():
            cause = "the connection was lost"
            try:
                handshake = await asyncio.to_thread(self._handshake)
                async with self._connect(self._on_report, self._on_worker_lost) as connection:
                    await self._serve(connection, handshake)
            except (OSError, asyncio.TimeoutError, RuntimeError, PipelineError) as exc:
                cause = str(exc).splitlines()[0] if str(exc) else type(exc).__name__
            except Exception as exc:
                # The boundary of a thread: a bug must not leave every job waiting for ever.
                log.exception("the link to the cluster failed in a way that nobody foresaw")
                cause = f"unforeseen {type(exc).__name__}: {exc}"
            if not self._closing.is_set():
                self._lost_scheduler(cause)
                await self._nap(_AGAIN)

    async def _serve(self, connection: Connection, handshake: Handshake) -> None:
        with self._lock:
            if self._trouble is not None:
                log.info("connected to the scheduler at %s", self._address)
            self._trouble = None
            self._settled = time.monotonic() + self.timeouts.settle
            self._connection = connection
        while connection.is_up() and not self._closing.is_set():
            self._look(connection, handshake)
            await self._nap(_TURN)

    async def _nap(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError, asyncio.TimeoutError):
            await asyncio.wait_for(self._news.wait(), seconds)
        self._news.clear()

    def _lost_scheduler(self, cause: str) -> None:
        trouble = f"no work by the scheduler at {self._address}: {cause}"
        with self._lock:
            known, self._trouble = self._trouble, trouble
            self._roster.clear()
        if known != trouble:
            log.warning("%s; asking again, nothing is lost", trouble)
        self._all_back("the scheduler is gone")

    def _all_back(self, cause: str) -> None:
        with self._lock:
            jobs = [*(attempt.job for attempt in self._running.values()), *self._waiting]
            for attempt in self._running.values():
                attempt.fetching.cancel()
            self._running.clear()
            self._waiting.clear()
            self._withdrawn.clear()
        for job in jobs:
            self._deliver(JobResult(job, Outcome.STOPPED, cause=cause))

    # --- news -----------------------------------------------------------------------------------------------------

    def _on_report(self, said: dict[str, Any]) -> None:
        """A worker told of itself; what is not understood is another program's."""
        if "late" in said:
            log.info("a late result of an older attempt is dropped: video=%s", said.get("video"))
            return
        with contextlib.suppress(KeyError, TypeError, ValueError), self._lock:
            member = self._roster.report(said, time.monotonic(), time.time())
            if member is None:
                return
            for attempt_id in member.jobs.keys() & member.running.keys():
                self._running[attempt_id].known_at = member.seen
            if self._live is not None and time.monotonic() >= self._settled:
                self._tidy(member, self._live)

    def _tidy(self, member: Member, live: set[str]) -> None:
        """End there what nobody wants, delete there what nobody needs."""
        if member.jobs.keys() - member.running.keys():
            elsewhere = {one.key for one in self._running.values() if one.member is not member}
            if ends := unwanted(member, elsewhere, live):
                self._ask(member, node.withdraw, ends)
        if keys := leftovers(member, self._forgotten, live):
            self._ask(member, node.forget, keys)

    def _on_worker_lost(self, address: str, how: str) -> None:
        with self._lock:
            member = self._roster.get(address)
            if member is None or member.gone:
                return
            self._lose(member, how)
            member.gone = True
        if not member.leaving:
            log.warning("worker %s %s", member.name, how)

    def _lose(self, member: Member, how: str) -> None:
        """Its jobs come back to the queue."""
        for attempt_id in list(member.running):
            self._ended(attempt_id, died(member, member.running[attempt_id], how))

    # --- one look at everything -----------------------------------------------------------------------------------

    def _look(self, connection: Connection, handshake: Handshake) -> None:
        now = time.monotonic()
        with self._lock:
            self._roster.forget_old(now)
            for member in self._roster.members():
                self._look_at(member, handshake, now)
            if now >= self._settled:
                self._place(connection, now)
                if not self._waiting and now - self._last_submit > _QUIET and (move := self._roster.to_move(now)):
                    self._withdrawn[move[1]] = now
                    self._last_submit = now
            self._ask_to_end(now)

    def _ask_to_end(self, now: float) -> None:
        """Again and again: the wish may overtake the job on its way to the worker, which knows nothing of it then."""
        for member in self._roster.members() if self._withdrawn else ():
            ends = [one for one in member.running if self._withdrawn.get(one, now + 1) <= now]
            if ends:
                self._ask(member, node.withdraw, ends)
                self._withdrawn |= dict.fromkeys(ends, now + _END_AGAIN)

    def _look_at(self, member: Member, handshake: Handshake, now: float) -> None:
        state = member.state(now)
        if state in {State.NEW, State.REFUSED} and now >= member.ask_at:
            member.ask_at = now + _ASK_AGAIN
            self._begin(self._greet(member, handshake))
        if state is State.SILENT:
            self._lose(member, "went silent")
        for attempt_id, job in list(member.running.items()):
            if now - self._running[attempt_id].known_at > _UNKNOWN:
                self._ended(attempt_id, JobResult(job, Outcome.STOPPED, cause=f"worker {member.name} does not know it"))
        self._tell(member, state)

    def _tell(self, member: Member, state: State) -> None:
        """Say once when a worker comes, falls silent, is suspended."""
        if member.told is state:
            return
        member.told = state
        if state is State.READY:
            log.info("worker %s works with %d slots", member.name, member.slots)
        elif state is State.SILENT:
            log.warning("worker %s is silent, its videos are done elsewhere", member.name)
        elif state is State.SUSPENDED:
            level = logging.WARNING if member.trouble is Trouble.HUB_UNAVAILABLE else logging.ERROR
            log.log(level, "worker %s is suspended: repeated failures of its own: %s", member.name, member.cause)

    async def _greet(self, member: Member, handshake: Handshake) -> None:
        against = await self._call(member, node.greet, handshake.as_json())
        why = against if isinstance(against, str) else "; ".join(against) or None
        if why is not None and why != member.refused:
            log.error("worker %s gets no work: %s", member.name, why)
        with self._lock:
            member.refused, member.greeted = why, True
        self._news.set()

    async def _call(self, member: Member, function: Callable[..., Any], argument: Any) -> Any:
        """Have a worker call a function of its node; its answer, or one connection on why there is none."""
        assert self._connection is not None
        try:
            answer = await asyncio.wait_for(self._connection.call(member.address, function, argument), _CALL)
        except asyncio.TimeoutError:
            return f"it did not answer within {_CALL:g} s"
        except Exception as exc:
            # Whatever another machine's Python can not load or do; the one that called goes on without it.
            answer = exc
        return f"it can't be asked: {type(answer).__name__}: {answer}" if isinstance(answer, Exception) else answer

    def _ask(self, member: Member, function: Callable[..., Any], argument: Any) -> None:
        self._begin(self._call(member, function, argument))

    def _begin(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = self._loop.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    def _place(self, connection: Connection, now: float) -> None:
        left = []
        for job in self._waiting:
            member = self._roster.place(job, now)
            if member is None:
                left.append(job)
                continue
            fetching = self._begin(self._fetch(connection.send(job, member.address), member, job))
            member.running[job.attempt_id] = job
            self._running[job.attempt_id] = _Attempt(job, video_key(job.folder, job.source), member, fetching, now)
        self._waiting = left

    async def _fetch(self, answer: Callable[[], Awaitable[object]], member: Member, job: VideoJob) -> None:
        try:
            found = await answer()
            result = found if isinstance(found, JobResult) else unexpected(job, TypeError("no result"))
        except WorkerDied:
            result = died(member, job, "died")
        except JobUnknown:
            result = JobResult(job, Outcome.STOPPED, cause="the scheduler does not know of it any more")
        except Exception as exc:
            result = unexpected(job, exc)
        with self._lock:
            current = job.attempt_id in self._running
            if current:
                if result.trouble is not Trouble.WORKER_LOST:
                    result = replace(result, job=job)
                    result = self._roster.judge(member, result, time.monotonic())
                self._ended(job.attempt_id, result)
        if not current:
            log.info("a late result of an older attempt is dropped: video=%s", job.source.path)

    def _ended(self, attempt_id: str, result: JobResult) -> None:
        """One result for each job: what comes after it is late."""
        attempt = self._running.pop(attempt_id)
        attempt.member.running.pop(attempt_id, None)
        self._withdrawn.pop(attempt_id, None)
        if attempt.member.state(time.monotonic()) is not State.SILENT:
            self._loop.call_soon(self._drop, attempt.fetching)
        self._settling += 1
        self._begin(asyncio.to_thread(self._settle, result))

    def _drop(self, fetching: "asyncio.Task[None]") -> None:
        fetching.cancel()  # and with it the last hold on the job, so that the scheduler forgets it

    def _settle(self, result: JobResult) -> None:
        """Into the journal first, then to the queue: what the queue relies on must be on disk."""
        event = _NOTES.get(result.outcome)
        facts = {"cause": result.cause} if result.output is None else result.output.as_json()
        if event is not None:
            try:
                self._note(result.job, event, facts)
            except PipelineError as exc:
                if result.outcome is Outcome.STORED:
                    result = JobResult(result.job, Outcome.DEFERRED, cause=str(exc), trouble=trouble_of(exc))
        self._deliver(result)
        with self._lock:
            self._settling -= 1
