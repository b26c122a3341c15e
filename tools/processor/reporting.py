"""What happened to the work, as typed events, and who is told: the log first, then whoever else wants to know.

The engine and its helpers say everything through one ``Observer``; they know neither log nor notifications. To tell
somebody else of it, write another observer and give it to ``build``.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Protocol

from tools.core.queue_item import Status
from tools.runtime import language, logs
from tools.runtime.once import Once
from tools.stages.video_job import JobResult
from tools.state.progress import HubWork, JobProgress, ProgressFile, WorkerState

log = logging.getLogger("animation.processor")

# --- events: a field that is None does not apply ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ItemRequeued:
    """Found claimed at the start, or by a step that could not be written: it is pending again."""

    folder: str


@dataclass(frozen=True, slots=True)
class TimesCorrected:
    """The clock was set back; times of an item that only the wrong clock can have given are gone."""

    folder: str


@dataclass(frozen=True, slots=True)
class ItemStarted:
    folder: str
    videos: int  # to be done
    done_before: int  # videos that are published already
    batches: int
    redo: str | None = None  # with what published videos are made again; None if none are


@dataclass(frozen=True, slots=True)
class SourceGone:
    folder: str
    results: str  # names


@dataclass(frozen=True, slots=True)
class ItemNotStarted:
    """It could not be opened, will be retried."""

    folder: str
    cause: str


@dataclass(frozen=True, slots=True)
class ItemNotAsQueued:
    """The folder changed, or is gone, since it was queued: nothing is done with it."""

    folder: str
    cause: str


@dataclass(frozen=True, slots=True)
class ItemCancelled:
    """A person took it out of the queue, or edited it, while it was in work."""

    folder: str


@dataclass(frozen=True, slots=True)
class ItemSettled:
    folder: str
    status: Status  # COMPLETED or FAILED
    published: int  # videos, earlier attempts included
    quarantined: int
    cause: str | None = None  # if FAILED


@dataclass(frozen=True, slots=True)
class QueueEmpty:
    """The last item that was not held is settled."""


@dataclass(frozen=True, slots=True)
class ItemsReturned:
    """The program stops; what was claimed is pending again."""

    folders: int


@dataclass(frozen=True, slots=True)
class ReturnFailed:
    """The program stops, and the queue could not be written."""

    cause: str


@dataclass(frozen=True, slots=True)
class TransfersAbandoned:
    """The program stops, and some transfers did not stop in time."""


@dataclass(frozen=True, slots=True)
class AttemptOver:
    """The end of any attempt that was not stopped, with all that is known of it; what it means is told beside it."""

    time: float  # epoch s
    result: JobResult
    final: bool  # nothing follows for this video: it is stored, or given up


@dataclass(frozen=True, slots=True)
class VideoStored:
    """Converted, verified, on the hub; invisible there until its batch is committed."""

    video: str  # path of the result
    attempt: int  # from 1
    saved_percent: int | None = None  # of the bytes; negative if the result is bigger
    crf: int | None = None  # that the search came to; None without one
    predicted: float | None = None  # score at it
    measured: float | None = None  # score of the result, None if it was not measured
    bigger: str | None = None  # what became of one that weighs more than it may: keep, remux


@dataclass(frozen=True, slots=True)
class PicturesStored:
    """Of the scenes of a video that was published without them."""

    video: str  # path of the result
    attempt: int  # from 1
    pictures: int


@dataclass(frozen=True, slots=True)
class PicturesGivenUp:
    """Of a video that was published without them, and stays so."""

    video: str  # path of the result
    attempt: int  # from 1
    cause: str


@dataclass(frozen=True, slots=True)
class VideoReused:
    """A result of the same bytes is there already; nothing is downloaded, encoded or sent."""

    video: str  # path of the result
    reused_from: str  # path of the result that it is
    saved_s: int  # s that making it took


@dataclass(frozen=True, slots=True)
class VideoFailed:
    """Will be retried."""

    video: str
    attempt: int
    cause: str


@dataclass(frozen=True, slots=True)
class VideoQuarantined:
    """Can never work, or used up its attempts."""

    video: str
    attempt: int
    cause: str


@dataclass(frozen=True, slots=True)
class WorkerDied:
    """During the encode of this video, which will be retried."""

    video: str
    attempt: int
    cause: str


@dataclass(frozen=True, slots=True)
class LateResult:
    """A result of an attempt that another one replaced: dropped."""

    video: str


@dataclass(frozen=True, slots=True)
class WaitingForSpace:
    cause: str


@dataclass(frozen=True, slots=True)
class CommitFailed:
    """Will be retried."""

    folder: str
    batch: int
    cause: str


@dataclass(frozen=True, slots=True)
class CommitRejected:
    """Each half of the batch will be tried alone."""

    folder: str
    batch: int
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOver:
    """The end of an attempt at a batch, exactly one for each."""

    folder: str
    batch: str  # number/of how many
    videos: int
    published: int
    quarantined: int
    bytes_in: int
    bytes_out: int
    elapsed_s: float  # since its first job
    attempt: int  # at the item
    commit: str | None  # None if nothing was published
    cause: str | None  # of what is missing; None if all is published
    sidecars: int | None = None  # files that went with it; None if it had none
    reused: int | None = None  # of the published videos: those whose bytes had a result already; None if there was none
    saved_s: int | None = None  # s that making those results had taken
    saved_percent: int | None = None  # of the bytes; negative if the results are bigger
    bigger: int | None = None  # of the published videos: those that weigh more than they may; None if none does


@dataclass(frozen=True, slots=True)
class Paused:
    """Nothing new is started until this is over."""

    cause: str
    needs_person: bool


@dataclass(frozen=True, slots=True)
class HubWait:
    """The hub asked to be left alone with something; all else continues."""

    kind: str  # open, publish, download, upload
    about: str  # the folder, batch or video
    cause: str
    until: str  # local ISO 8601


@dataclass(frozen=True, slots=True)
class TakenOut:
    """By ``MIRROR=1``: files whose sources left the input are not in the output any more."""

    folder: str
    files: int
    names: str
    bytes: int
    commit: str


@dataclass(frozen=True, slots=True)
class MirrorHeld:
    """Too much left the input at once: nothing is taken out before a person says so."""

    cause: str


@dataclass(frozen=True, slots=True)
class MirrorWaits:
    """What left the input is not taken out now."""

    cause: str


@dataclass(frozen=True, slots=True)
class Blocked:
    """The processing loop can't do its turn (a full disk, a queue that can't be read): retried after a while."""

    cause: str
    needs_person: bool


@dataclass(frozen=True, slots=True)
class Resumed:
    """What paused or blocked the work is over."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What runs now: about once per second of work, less often otherwise."""

    time: float  # epoch s
    paused: str | None  # why nothing new is started
    jobs: Sequence[JobProgress]
    workers: Sequence[WorkerState]
    hub: Sequence[HubWork] = ()  # what the hub is asked for, and what waits for it


Event = (
    ItemRequeued
    | TimesCorrected
    | ItemStarted
    | SourceGone
    | ItemNotStarted
    | ItemNotAsQueued
    | ItemCancelled
    | ItemSettled
    | QueueEmpty
    | ItemsReturned
    | ReturnFailed
    | TransfersAbandoned
    | AttemptOver
    | VideoStored
    | PicturesStored
    | PicturesGivenUp
    | VideoReused
    | VideoFailed
    | VideoQuarantined
    | WorkerDied
    | LateResult
    | WaitingForSpace
    | CommitFailed
    | CommitRejected
    | BatchOver
    | HubWait
    | TakenOut
    | MirrorHeld
    | MirrorWaits
    | Paused
    | Blocked
    | Resumed
    | Progress
)

# --- observers -------------------------------------------------------------------------------------------------------


class Observer(Protocol):
    """Is told everything. Called in the thread of the engine, which waits meanwhile: to be quick is a part of it."""

    def observe(self, event: Event) -> None:
        """Take note of what concerns it, ignore the rest."""
        ...


class Observers:
    """Several as one. One that raises hurts neither the work nor the others: it is logged once."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = observers
        self._said = Once()

    def observe(self, event: Event) -> None:
        for observer in self._observers:
            try:
                observer.observe(event)
            except Exception as exc:
                # The boundary of what is no part of the work: whatever it is, a batch must not fail for it.
                name, cause = type(observer).__name__, f"{type(exc).__name__}: {exc}"
                if self._said.is_news(cause, name):
                    about = logs.fields(observer=name, event=type(event).__name__, cause=cause)
                    log.warning("an observer failed, the work continues: %s", about)
                    log.debug("the traceback of it", exc_info=True)


_LINES: dict[type[Event], tuple[int, str]] = {
    ItemRequeued: (logging.INFO, "found in state `processing` from an earlier run; requeued:"),
    TimesCorrected: (logging.INFO, "clock moved back; corrected the timestamps of an item:"),
    ItemStarted: (logging.INFO, "started"),
    SourceGone: (logging.INFO, "output still has files whose source is gone:"),
    ItemNotStarted: (logging.WARNING, "could not start folder, will retry:"),
    ItemCancelled: (logging.INFO, "removed from the queue; stopping its jobs:"),
    QueueEmpty: (logging.INFO, "nothing is left to do"),
    ItemsReturned: (logging.INFO, "returned to the queue; the next start resumes them:"),
    TransfersAbandoned: (logging.INFO, "some transfers did not stop in time and are abandoned"),
    VideoStored: (logging.INFO, "stored"),
    PicturesStored: (logging.INFO, "scene frames made of the published video:"),
    PicturesGivenUp: (logging.WARNING, "no scene frames of a published video, which stays as it is:"),
    VideoReused: (logging.INFO, "same bytes as a published result, which is used again:"),
    VideoFailed: (logging.WARNING, "failed, will retry:"),
    VideoQuarantined: (logging.WARNING, "can't be converted, quarantined:"),
    WorkerDied: (logging.WARNING, "worker died during the encode:"),
    LateResult: (logging.INFO, "a late result of an older attempt is dropped:"),
    CommitFailed: (logging.WARNING, "commit failed, will retry:"),
    CommitRejected: (logging.WARNING, "hub rejected a commit; retrying it in halves:"),
    HubWait: (logging.WARNING, "hub asked to wait with this, other work continues:"),
    TakenOut: (logging.INFO, "taken out of the output, the source left the input:"),
    MirrorWaits: (logging.WARNING, "nothing is taken out of the output now, looking again later:"),
    Resumed: (logging.INFO, "resumed"),
}
"""Level and text of the events whose line ends in their own fields."""


class LogObserver:
    """One line for each event but progress."""

    def observe(self, event: Event) -> None:
        match event:
            case BatchOver(quarantined=0, cause=None):
                log.info("%s %s", logs.BATCH_DONE, _fields(event))
            case BatchOver():
                log.error("%s %s", logs.BATCH_FAILED, _fields(event))
            case ItemSettled(folder, status, published, quarantined):
                text = "folder completed" if status is Status.COMPLETED else "folder finished with failures"
                log.info("%s %s", text, logs.fields(folder=folder, published=published, quarantined=quarantined))
            case ItemNotAsQueued(folder, cause):
                log.info("%s: %s", cause, logs.fields(folder=folder))
            case ReturnFailed(cause):
                log.warning("can't return claimed folders to the queue; the next start requeues them: %s", cause)
            case WaitingForSpace(cause):
                log.warning("not enough disk space; waiting (smaller videos continue): %s", cause)
            case Paused(cause, needs_person):
                log.log(_level(needs_person), "PAUSED: %s; work resumes by itself", _for(cause, needs_person))
            case Blocked(cause, needs_person):
                log.log(_level(needs_person), "blocked, retrying: %s", _for(cause, needs_person))
            case MirrorHeld(cause):
                log.error("MIRROR takes nothing out: %s", language.both(cause))
            case Progress() | AttemptOver():
                pass
            case _:
                level, text = _LINES[type(event)]
                log.log(level, "%s", f"{text} {_fields(event)}".rstrip())


def _fields(event: Event) -> str:
    return logs.fields(**{field.name: getattr(event, field.name) for field in fields(event)})


def _for(cause: str, needs_person: bool) -> str:
    return language.both(cause) if needs_person else cause


def _level(needs_person: bool) -> int:
    return logging.ERROR if needs_person else logging.WARNING


class ProgressWriter:
    """Keeps ``progress.json``."""

    def __init__(self, file: ProgressFile) -> None:
        self._file = file

    def observe(self, event: Event) -> None:
        if isinstance(event, Progress):
            try:
                self._file.write(event.time, event.paused, event.jobs, event.workers, event.hub)
            except OSError as exc:
                log.warning("progress.json can't be written: %s", exc.strerror)
