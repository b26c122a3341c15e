"""One video through its stages, from wherever an earlier attempt stopped.

``remote → downloaded → converted → stored``: each stage leaves what the next needs on disk or on the hub, so a restart
goes on behind the last one that ended. Runs in a worker (a thread here, a Dask worker elsewhere) and publishes nothing.
"""

import contextlib
import logging
from dataclasses import dataclass
from enum import Enum

from tools.core.errors import (
    DiskFull,
    HubForbidden,
    HubNotFound,
    HubUnavailable,
    NoEncoder,
    PipelineError,
    Stopped,
    WorkspaceError,
)
from tools.core.planning import VideoJob
from tools.runtime.files import is_disk_full
from tools.stages.convert import Record, convert, converted_before
from tools.stages.download import download
from tools.stages.job_context import JobContext, JobTools
from tools.stages.store import store

log = logging.getLogger("animation.job")
_RESULT_SHARE = 1.25  # of the source's size, reserved for the result; AV1 is smaller but for tiny or remuxed files
_SLACK = 16 << 20  # bytes


class Outcome(Enum):
    STORED = "stored"  # converted, verified, its blob on the hub
    REFUSED = "refused"  # can never work: to be quarantined
    FAILED = "failed"  # may work another time: counts as a try
    DEFERRED = "deferred"  # the machine or the hub can't now: waits, counts as nothing
    STOPPED = "stopped"  # asked to end, or moved: may begin again at once
    CRASHED = "crashed"  # its worker died in mid-encode: may begin again, MAX_ATTEMPTS times in a row


@dataclass(frozen=True, slots=True)
class JobResult:
    """How an attempt ended. ``record`` when STORED; ``cause`` one line otherwise; ``trouble`` the exception's name."""

    job: VideoJob
    outcome: Outcome
    record: Record | None = None
    cause: str = ""
    trouble: str = ""


def run_video_job(job: VideoJob, tools: JobTools, context: JobContext) -> JobResult:
    """Run the stages; every foreseeable end is a result, so nothing is raised but what nobody foresaw."""
    try:
        record = _stages(job, tools, context)
    except PipelineError as exc:
        outcome = outcome_of(exc)
        event = outcome.value if outcome in {Outcome.FAILED, Outcome.REFUSED} else "released"
        with contextlib.suppress(PipelineError):  # a full disk may refuse even this note; the result counts anyway
            context.note(event, cause=str(exc))
        return JobResult(job, outcome, cause=str(exc), trouble=type(exc).__name__)
    return JobResult(job, Outcome.STORED, record)


def outcome_of(exc: PipelineError) -> Outcome:
    """What an error means for its video."""
    if isinstance(exc, Stopped):
        return Outcome.STOPPED
    # To a stranger, and to a token that expired, a private dataset does not exist.
    if isinstance(exc, DiskFull | HubUnavailable | HubForbidden | HubNotFound | NoEncoder | WorkspaceError):
        return Outcome.DEFERRED
    if exc.retryable:
        return Outcome.FAILED
    return Outcome.REFUSED


def _stages(job: VideoJob, tools: JobTools, context: JobContext) -> Record:
    try:
        record = converted_before(job, tools, context)
        if record is None:
            record = _make(job, tools, context)
        with tools.store.held(context):
            store(job, tools, context, record)
        context.note("stored", record=record)
        return record
    except OSError as exc:
        if is_disk_full(exc):
            raise DiskFull(f"no space left in {tools.workspace.root}: make room") from exc
        raise WorkspaceError(f"can't work in {tools.workspace.root}: {exc}") from exc


def _make(job: VideoJob, tools: JobTools, context: JobContext) -> Record:
    folder = tools.workspace.video_folder(job)
    with tools.workspace.reserved(folder, int(job.source.size * (1 + _RESULT_SHARE)) + _SLACK):
        with tools.download.held(context):
            source, sha256 = download(job, tools, context)
        record = convert(job, tools, context, source, sha256)
        context.note("converted", result_sha256=record["sha256"], size=record["size"])
        for warning in record.get("warnings", ()):
            log.warning("%s: %s", job.source.path, warning)
        return record


def unforeseen(job: VideoJob, exc: BaseException) -> JobResult:
    """The result for an exception that is a bug: counts as a try, so that it can't go round for ever."""
    return JobResult(job, Outcome.FAILED, cause=f"unforeseen {type(exc).__name__}: {exc}", trouble=type(exc).__name__)
