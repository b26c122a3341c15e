"""Runs video jobs: the protocol, and the slots of this machine.

An executor takes a few more jobs than it has encode slots, so that one video downloads and another uploads while
others encode; the stages' semaphores in ``Worker`` keep the order among them.
"""

import itertools
import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from tools.core.planning import VideoJob
from tools.stages.port import JobPort
from tools.stages.video_job import JobResult, unforeseen
from tools.state.progress import JobProgress

log = logging.getLogger("animation.executor")

Run = Callable[[VideoJob, JobPort], JobResult]
Deliver = Callable[[JobResult], None]
Note = Callable[[VideoJob, str, dict[str, Any]], None]


class Executor(Protocol):
    """Takes jobs, delivers one result for each. ``deliver`` and ``note`` are called from any thread."""

    def free(self) -> int:
        """How many more jobs it takes now."""
        ...

    def submit(self, job: VideoJob) -> None:
        """Begin the job as soon as there is a slot."""
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


class _Port:
    """The way back of one job on this machine."""

    def __init__(self, job: VideoJob, note: Note, order: int) -> None:
        self.stop = threading.Event()
        self.order = order
        self.latest: JobProgress | None = None
        self._job = job
        self._note = note

    def note(self, event: str, **facts: Any) -> None:
        self._note(self._job, event, facts)

    def show(self, progress: JobProgress) -> None:
        self.latest = progress


class LocalExecutor:
    """Jobs in threads of this process. ``slots`` encodes at the same time."""

    def __init__(self, run: Run, slots: int, deliver: Deliver, note: Note) -> None:
        self._run = run
        self._capacity = 2 * slots + 2
        self._deliver = deliver
        self._note = note
        self._orders = itertools.count()
        self._running: dict[str, tuple[VideoJob, _Port]] = {}
        self._changed = threading.Condition()

    def free(self) -> int:
        with self._changed:
            return self._capacity - len(self._running)

    def submit(self, job: VideoJob) -> None:
        port = _Port(job, self._note, next(self._orders))
        with self._changed:
            self._running[job.attempt_id] = (job, port)
        # A daemon: a transfer that hangs in the SDK must not keep the program from ending.
        threading.Thread(target=self._work, args=(job, port), name=f"job-{job.attempt_id}", daemon=True).start()

    def _work(self, job: VideoJob, port: _Port) -> None:
        try:
            result = self._run(job, port)
        except Exception as exc:
            # The boundary of a thread: without it a bug would lose the video without a word.
            log.exception("the job for %s failed in a way that nobody foresaw", job.source.path)
            result = unforeseen(job, exc)
        with self._changed:
            self._running.pop(job.attempt_id, None)
            self._changed.notify_all()
        self._deliver(result)

    def progress(self) -> list[JobProgress]:
        with self._changed:
            return [port.latest for _, port in self._running.values() if port.latest is not None]

    def cancel(self, folder: str) -> None:
        with self._changed:
            for job, port in self._running.values():
                if job.folder == folder:
                    port.stop.set()

    def close(self, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        with self._changed:
            for _, port in self._running.values():
                port.stop.set()
            while self._running and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(left)
            return not self._running
