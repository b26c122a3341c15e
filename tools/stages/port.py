"""What a video job has at hand while it runs: the parts of its worker, and the way back to whoever gave it."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from tools.core.errors import Stopped
from tools.core.planning import VideoJob
from tools.hub.client import HubClient
from tools.media.converter import Converter
from tools.stages.workspace import Workspace
from tools.state.progress import JobProgress

_PATIENCE = 0.2  # s between two looks at the wish to stop while waiting for a slot


@dataclass(slots=True)
class Worker:
    """The parts of one worker process. ``hub`` may be replaced while jobs run (a new token).

    The semaphores are what overlaps stages: while one video encodes the next downloads and the last uploads.
    """

    hub: HubClient
    converter: Converter
    workspace: Workspace
    slots: int
    threads: int | None = None
    download: threading.Semaphore = field(init=False)
    encode: threading.Semaphore = field(init=False)
    store: threading.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self.download = threading.Semaphore(self.slots)
        self.encode = threading.Semaphore(self.slots)
        self.store = threading.Semaphore(self.slots)


class JobPort(Protocol):
    """From a job back to the processor, wherever it runs."""

    stop: threading.Event

    def note(self, event: str, **facts: Any) -> None:
        """Write an event to the item's journal."""
        ...

    def show(self, progress: JobProgress) -> None:
        """Replace what is shown of this job."""
        ...


@contextmanager
def slot(semaphore: threading.Semaphore, stop: threading.Event) -> Iterator[None]:
    """Hold one of the stage's slots. Raises Stopped when asked to end while waiting."""
    while not semaphore.acquire(timeout=_PATIENCE):
        if stop.is_set():
            raise Stopped("stopped while waiting")
    try:
        if stop.is_set():
            raise Stopped("stopped before the stage began")
        yield
    finally:
        semaphore.release()


class TransferMeter:
    """Bytes moved → percent, speed in bytes/s, ETA; raises Stopped out of the transfer when asked to end."""

    def __init__(self, job: VideoJob, stage: str, total: int, port: JobPort) -> None:
        self._job, self._stage, self._total, self._port = job, stage, total, port
        self._moved = 0
        self._began = time.monotonic()
        self._shown = 0.0
        self._show(self._began)

    def __call__(self, moved: int) -> None:
        if self._port.stop.is_set():
            raise Stopped(f"stopped during {self._stage}")
        self._moved += moved
        now = time.monotonic()
        if now - self._shown >= _PATIENCE:
            self._show(now)

    def _show(self, now: float) -> None:
        self._shown = now
        speed = self._moved / (now - self._began) if now > self._began else None
        left = max(0, self._total - self._moved)
        self._port.show(
            JobProgress(
                folder=self._job.folder,
                video=self._job.source.path,
                stage=self._stage,
                percent=100.0 * self._moved / self._total if self._total else None,
                speed=speed,
                eta_s=left / speed if speed else None,
                attempt=self._job.attempt,
            )
        )
