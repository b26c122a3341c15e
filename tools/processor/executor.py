"""Runs video jobs: the protocol, and the slots of this machine.

An executor takes a few more jobs than it has encode slots, so that one video downloads and another uploads while
others encode; the stages' slots in ``JobTools`` keep the order among them.
"""

import contextlib
import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from tools.core.artifact import ArtifactKind
from tools.core.concurrency import jobs_for
from tools.core.errors import PipelineError
from tools.core.folder import RemoteFile
from tools.core.planning import VideoJob
from tools.stages.job_context import JobContext, Slots
from tools.stages.video_job import JobResult, unexpected
from tools.stages.workspace import Workspace
from tools.state.journal import Event
from tools.state.progress import JobProgress, WorkerState

log = logging.getLogger("animation.executor")

Run = Callable[[VideoJob, JobContext], JobResult]
Deliver = Callable[[JobResult], None]
Note = Callable[[VideoJob, Event, dict[str, Any]], None]


class Executor(Protocol):
    """Takes jobs, delivers one result for each. ``deliver`` and ``note`` are called from any thread.

    It knows what its jobs left on disk, wherever that is: results stay until the processor says that they may go.
    """

    def free(self) -> int:
        """How many more jobs it takes now."""
        ...

    def submit(self, job: VideoJob) -> None:
        """Start the job as soon as there is a slot."""
        ...

    def progress(self) -> list[JobProgress]:
        """What runs now, oldest job first."""
        ...

    def cancel(self, folder: str) -> None:
        """Ask the jobs of one folder to end; their results come as STOPPED."""
        ...

    def close(self, timeout: float) -> bool:
        """Ask everything to end, wait at most ``timeout`` s; whether all ended."""
        ...

    def trouble(self) -> str | None:
        """Why no job can run at all now, for people; None when they can."""
        ...

    def workers(self) -> Sequence[WorkerState]:
        """The workers of a cluster, by name; none if jobs run in this process."""
        ...

    def artifact_file(self, folder: str, source: RemoteFile, kind: ArtifactKind) -> Path | None:
        """The local file of what a source became, which need not exist; None if it is on another machine."""
        ...

    def forget(self, folder: str, source: RemoteFile | None = None) -> None:
        """Delete what jobs left on disk of a video, or of the whole queue item; what still runs is not asked."""
        ...

    def sweep(self, live: Iterable[str]) -> None:
        """At the start: delete what belongs to none of these queue folders, left by an earlier run."""
        ...

    def rest(self) -> None:
        """Nothing is under way: leave nothing behind but what waiting items will resume from."""
        ...


class _LocalContext:
    """The way back of one job on this machine."""

    def __init__(self, job: VideoJob, note: Note, order: int) -> None:
        self.stop = threading.Event()
        self.order = order
        self.latest: JobProgress | None = None
        self._job = job
        self._note = note
        self._spent: dict[str, float] = {}
        self._since = 0.0  # monotonic s, of the stage that is shown

    def note(self, event: Event, **facts: Any) -> None:
        self._note(self._job, event, facts)

    def show(self, progress: JobProgress) -> None:
        if self.latest is None or progress.stage != self.latest.stage:
            self.spent()
        self.latest = progress

    def spent(self) -> dict[str, float]:
        """Seconds up to now, by stage."""
        now = time.monotonic()
        if self.latest is not None:
            stage = self.latest.stage
            self._spent[stage] = self._spent.get(stage, 0.0) + now - self._since
        self._since = now
        return {stage: round(seconds, 3) for stage, seconds in self._spent.items()}


class LocalExecutor:
    """Jobs in threads of this process. ``slots`` concurrent encodes."""

    def __init__(
        self, run: Run, slots: int, deliver: Deliver, note: Note, workspace: Workspace, first: Slots | None = None
    ) -> None:
        """``first``: the places of the stage that jobs begin with; they go to who was submitted first."""
        self._run = run
        self._first = first
        self._workspace = workspace
        self._capacity = jobs_for(slots)
        self._deliver = deliver
        self._note = note
        self._orders = itertools.count()
        self._running: dict[str, tuple[VideoJob, _LocalContext]] = {}
        self._changed = threading.Condition()

    def free(self) -> int:
        with self._changed:
            return self._capacity - len(self._running)

    def submit(self, job: VideoJob) -> None:
        context = _LocalContext(job, self._note, next(self._orders))
        with self._changed:
            self._running[job.attempt_id] = (job, context)
        if self._first is not None:
            self._first.expect(context.order)
        # A daemon: a transfer that hangs in the SDK must not keep the program from ending.
        thread = threading.Thread(target=self._work, args=(job, context), name=f"job-{job.attempt_id}", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system has no thread to give
            self._passes_by(context)
            with self._changed:
                del self._running[job.attempt_id]
            raise

    def _work(self, job: VideoJob, context: _LocalContext) -> None:
        try:
            result = self._run(job, context)
        except Exception as exc:
            # The boundary of a thread: without it a bug would lose the video without a word.
            log.exception("unexpected error in the job for %s", job.source.path)
            result = unexpected(job, exc)
            with contextlib.suppress(PipelineError):  # it ended: it did not die in the encoder
                context.note(Event.FAILED, cause=result.cause)
        finally:
            self._passes_by(context)
        with self._changed:
            self._running.pop(job.attempt_id, None)
            self._changed.notify_all()
        self._deliver(replace(result, spent=context.spent()))

    def _passes_by(self, context: _LocalContext) -> None:
        if self._first is not None:
            self._first.pass_by(context.order)

    def progress(self) -> list[JobProgress]:
        with self._changed:
            return [context.latest for _, context in self._running.values() if context.latest is not None]

    def cancel(self, folder: str) -> None:
        with self._changed:
            for job, context in self._running.values():
                if job.folder == folder:
                    context.stop.set()

    def withdraw(self, attempt_id: str) -> None:
        """Ask one job to end."""
        with self._changed:
            if attempt_id in self._running:
                self._running[attempt_id][1].stop.set()

    def shown(self) -> dict[str, JobProgress | None]:
        """What each job told last, by attempt id, oldest first; None if it told nothing yet."""
        with self._changed:
            return {attempt_id: context.latest for attempt_id, (_, context) in self._running.items()}

    def close(self, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        with self._changed:
            contexts = [context for _, context in self._running.values()]
            for context in contexts:
                context.stop.set()
        for context in contexts:  # at once: whoever is killed before its job has ended was asked to end, and died of it
            with contextlib.suppress(PipelineError):
                context.note(Event.RELEASED, cause="stopped")
        with self._changed:
            while self._running and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(left)
            return not self._running

    def trouble(self) -> str | None:
        return None

    def workers(self) -> Sequence[WorkerState]:
        return ()

    def artifact_file(self, folder: str, source: RemoteFile, kind: ArtifactKind) -> Path | None:
        return self._workspace.artifact_file(folder, source, kind)

    def forget(self, folder: str, source: RemoteFile | None = None) -> None:
        if source is None:
            self._workspace.remove_item(folder)
        else:
            self._workspace.remove_video(folder, source)

    def sweep(self, live: Iterable[str]) -> None:
        self._workspace.sweep(live)

    def rest(self) -> None:
        self._workspace.rest()
