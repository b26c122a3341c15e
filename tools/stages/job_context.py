"""What a video job has while it runs: its tools, and the way back to the processor that gave it."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tools.core.artifact import ArtifactKind, VideoOutput
from tools.core.concurrency import NO_NEED, SESSIONS, Need, places_for, share_of
from tools.core.errors import Stopped
from tools.core.planning import Stage, VideoJob
from tools.hub.client import HubClient
from tools.media.converter import Converter
from tools.runtime.limits import free_memory
from tools.stages.workspace import Workspace
from tools.state.journal import Event, Journal, VideoHistory
from tools.state.progress import JobProgress

_MOST_FOLDERS = 1000  # whose answers are remembered
_FILLING = 20.0  # s after which an encode has the memory that it takes
_POLL = 0.2  # s between checks of ``stop`` while waiting for a slot, and between reports of a transfer


@dataclass(slots=True)
class JobTools:
    """What the jobs of one process work with.

    The slots of each stage are what overlaps stages: while one video encodes, the next downloads, the one before is
    verified and the one before that uploads.
    """

    hub: HubClient  # may be replaced while jobs run (a new token)
    converter: Converter
    workspace: Workspace
    slots: int  # encodes at a time
    threads: int | None = None  # cores for one encode, or one verification; None = the program's own choice
    cores: int | None = None  # to be shared by all of them that are under way, instead of ``threads`` for each
    budget: int = 0  # bytes that all encodes may take together; 0 = no limit
    known: "Known | None" = None  # looks up what is known of a content; None = nothing is
    journals: Path | None = None  # the folder of the journals that say which results are ours; None = none is
    answers: "Answers" = field(default_factory=lambda: Answers())  # to the searches for a CRF that ended here
    joins: frozenset[ArtifactKind] = frozenset()  # kinds whose files whoever publishes joins here, so that none is sent
    download: "Slots" = field(init=False)
    encode: "Slots" = field(init=False)
    verify: "Slots" = field(init=False)
    store: "Slots" = field(init=False)

    def __post_init__(self) -> None:
        places = places_for(self.slots)
        self.download = Slots(places.download)
        self.encode = Slots(places.encode, self.budget)
        self.verify = Slots(places.verify)
        self.store = Slots(places.store)

    def cores_now(self, stage: Stage) -> int | None:
        """Cores for an encode or a verification that begins now; None = the program's own choice."""
        if self.cores is None:
            return self.threads
        verified = min(self.verify.wanted, self.slots) if stage == "verify" else 0
        encoded = min(self.encode.wanted + self.download.wanted, self.slots)
        share = share_of(self.cores, encoded + verified, self.slots + verified)
        return None if share >= (os.cpu_count() or 1) else share

    def results_of(self, job: VideoJob) -> frozenset[str]:
        """The sha256 of the files that the job's source was converted to here before."""
        return self._history(job).results

    def answer_of(self, job: VideoJob) -> Mapping[str, Any] | None:
        """What the search for its CRF came to here before."""
        return self._history(job).answer

    def _history(self, job: VideoJob) -> VideoHistory:
        return VideoHistory() if self.journals is None else Journal(self.journals, job.folder).of(job.source)


class Answers:
    """The CRF that the latest video of each folder came to, of the latest folders. Safe for threads."""

    def __init__(self) -> None:
        self._by_folder: dict[str, int] = {}
        self._lock = threading.Lock()

    def note(self, folder: str, crf: int) -> None:
        with self._lock:
            self._by_folder.pop(folder, None)
            self._by_folder[folder] = crf
            while len(self._by_folder) > _MOST_FOLDERS:
                del self._by_folder[next(iter(self._by_folder))]

    def latest(self, folder: str) -> int | None:
        with self._lock:
            return self._by_folder.get(folder)


Known = Callable[[VideoJob, str, HubClient], VideoOutput | None]
"""The result that a downloaded source of this sha256 has already, on the hub. Raises ProbeError if it was refused."""


class JobContext(Protocol):
    """From a job back to the processor, wherever it runs."""

    stop: threading.Event  # set: the job is to end
    order: int  # of jobs that wait for a slot, the smallest goes first

    def note(self, event: Event, **facts: Any) -> None:
        """Write an event to the item's journal."""
        ...

    def show(self, progress: JobProgress) -> None:
        """Replace what is shown of this job."""
        ...


class Unseen:
    """The context of what goes on beside a job: nothing of it is noted or shown, and it has a stop of its own."""

    def __init__(self, order: int) -> None:
        self.stop = threading.Event()
        self.order = order

    def note(self, event: Event, **facts: Any) -> None: ...

    def show(self, progress: JobProgress) -> None: ...


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    need: Need
    began: float  # monotonic s


class Slots:
    """The places of one stage. Who was submitted first goes first, however long it took to get here; of those that are
    expected, also before they are here."""

    def __init__(self, count: int, budget: int = 0, free: Callable[[], int] = free_memory) -> None:
        """``budget`` bytes for all who hold a place, and ``free()`` of them that nobody uses now; 0 = a person gave the
        count, which neither memory nor the sessions of a card then limit."""
        self._count = count
        self._budget = budget
        self._free = free
        self._closed_by: set[str] = set()
        self._holding: list[_Held] = []
        self._waiting: list[int] = []
        self._expected: set[int] = set()
        self._changed = threading.Condition()

    @property
    def wanted(self) -> int:
        """How many hold a place, or wait for one."""
        with self._changed:
            return len(self._holding) + len(self._waiting)

    def close(self, wanted: bool, by: str) -> None:
        """Whether ``by`` wants that nobody gets a place from now on; who has one keeps it."""
        with self._changed:
            self._closed_by = self._closed_by | {by} if wanted else self._closed_by - {by}
            self._changed.notify_all()

    def expect(self, order: int) -> None:
        """The job of this order will come soon: none behind it gets a place before."""
        with self._changed:
            self._expected.add(order)

    def pass_by(self, order: int) -> None:
        """It comes late, or not at all: nobody waits for it."""
        with self._changed:
            self._expected.discard(order)
            self._changed.notify_all()

    def _is_free(self, need: Need) -> bool:
        if self._closed_by:
            return False
        if not self._holding:
            return True
        if len(self._holding) >= self._count or not self._budget:
            return len(self._holding) < self._count
        sessions = sum(one.need.is_hardware for one in self._holding) + need.is_hardware
        is_within = sum(one.need.memory for one in self._holding) + need.memory <= self._budget
        return is_within and sessions <= SESSIONS and self._soon_used() + need.memory <= self._free()

    def _is_next(self, order: int) -> bool:
        return min(self._waiting) == order and all(other > order for other in self._expected)

    def _soon_used(self) -> int:
        """Bytes that those who began just now have not taken yet, at most."""
        now = time.monotonic()
        return sum(one.need.memory for one in self._holding if now - one.began < _FILLING)

    @contextmanager
    def held(self, job: VideoJob, context: JobContext, need: Need = NO_NEED) -> Iterator[None]:
        """Hold one place; who has to wait for it is shown as waiting. Raises Stopped when asked to end meanwhile."""
        with self._changed:
            self._expected.discard(context.order)
            self._waiting.append(context.order)
            is_shown = False
            try:
                while not context.stop.is_set() and not (self._is_next(context.order) and self._is_free(need)):
                    if not is_shown:
                        context.show(_waiting(job, need.work))
                        is_shown = True
                    self._changed.wait(_POLL)
            finally:
                self._waiting.remove(context.order)
                self._changed.notify_all()
            if context.stop.is_set():
                raise Stopped("stopped while waiting")
            held = _Held(need, time.monotonic())
            self._holding.append(held)
        try:
            yield
        finally:
            with self._changed:
                self._holding.remove(held)
                self._changed.notify_all()


def _waiting(job: VideoJob, work: float) -> JobProgress:
    known = work or None
    return JobProgress(folder=job.folder, video=job.source.path, stage="waiting", attempt=job.attempt, work=known)


class TransferMeter:
    """Bytes moved → percent, speed in bytes/s, ETA; raises Stopped out of the transfer when asked to end."""

    def __init__(self, job: VideoJob, stage: Stage, total: int, context: JobContext, skipped: int = 0) -> None:
        """``skipped`` bytes of ``total`` had moved before."""
        self._job, self._stage, self._total, self._context = job, stage, total, context
        self._moved = self._skipped = skipped
        self._began = time.monotonic()
        self._shown = 0.0
        self._show(self._began)

    def __call__(self, moved: int) -> None:
        if self._context.stop.is_set():
            raise Stopped(f"stopped during {self._stage}")
        self._moved += moved
        now = time.monotonic()
        if now - self._shown >= _POLL:
            self._show(now)

    def _show(self, now: float) -> None:
        self._shown = now
        speed = max(0, self._moved - self._skipped) / (now - self._began) if now > self._began else None
        left = max(0, self._total - self._moved)
        self._context.show(
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
