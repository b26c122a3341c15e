"""One video through its stages, from wherever an earlier attempt stopped.

``remote → downloaded → converted → stored``: each stage leaves what the next needs on disk or on the hub, so a restart
resumes after the last one that ended. Runs in a worker (a thread here, a Dask worker elsewhere) and publishes nothing.
"""

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from tools.core.artifact import VideoOutput
from tools.core.blame import trouble_of_file
from tools.core.errors import DiskFull, FilesGone, PipelineError, Trouble, Unexpected, WorkspaceError, trouble_of
from tools.core.planning import VideoJob
from tools.core.retry import AskedToWait, asked_to_wait
from tools.core.witness import Given
from tools.media.transcode import failed_run
from tools.stages.ahead import SendingAhead
from tools.stages.convert import complete, convert, converted_before, left_as_it_is
from tools.stages.download import download_beside, download_published, downloaded
from tools.stages.evidence import given_instead
from tools.stages.job_context import JobContext, JobTools
from tools.stages.store import store
from tools.state.journal import Event

log = logging.getLogger("animation.job")
# Of the source's size, reserved for the encoder's streams and for the result that holds them too, beside each other
# until it is verified; AV1 is smaller than its source but for tiny or remuxed files.
_RESULT_SHARE = 2.0
_BESIDE_SHARE = 4  # of files beside it: themselves, in UTF-8, and in the second result while both are there
_FRAMES_SHARE = 1.0  # of the source: pictures of scenes, and the archive of them
_SLACK = 16 << 20  # bytes


class Outcome(Enum):
    STORED = "stored"  # converted, verified, its blobs on the hub
    REFUSED = "refused"  # can never work: to be quarantined
    FAILED = "failed"  # may work another time: counts as a try
    DEFERRED = "deferred"  # the machine or the hub can't now: waits, counts as nothing
    STOPPED = "stopped"  # asked to end, or moved elsewhere: may be resubmitted at once
    CRASHED = "crashed"  # its worker died during the encode: may be resubmitted, MAX_ATTEMPTS times in a row


@dataclass(frozen=True, slots=True)
class JobResult:
    """How an attempt ended."""

    job: VideoJob
    outcome: Outcome
    output: VideoOutput | None = None  # what it became, if STORED
    cause: str = ""  # one line, if not
    trouble: Trouble | None = None  # what kind of cause, as far as an exception told
    is_converted: bool = False  # its verified result is on the disk of whoever ran it
    asked: AskedToWait | None = None  # if the hub wants to be left alone
    spent: Mapping[str, float] = field(default_factory=dict)  # s of this attempt, by stage
    worker: str = ""  # the name of whoever ran it; "" this machine
    given: Given = Given.UNKNOWN  # by the hub, if it did not give the source


def run_video_job(job: VideoJob, tools: JobTools, context: JobContext) -> JobResult:
    """Run the stages; every expected end is a result, so whatever is raised is a bug."""
    output: VideoOutput | None = None
    try:
        with _ours(tools.workspace.root), SendingAhead(job, tools, context) as ahead:
            output = converted_before(job, tools, context)
            if output is None and job.published is not None:
                output = _complete(job, tools, context)
            output = output or _make(job, tools, context, ahead)
            tools.download.pass_by(context.order)  # nothing may have been downloaded, and an upload may wait for long
            if not output.record.get("reused_from"):
                output = store(job, tools, context, output, ahead)
            context.note(Event.STORED, **output.as_json())
    except PipelineError as exc:
        trouble = trouble_of(exc)
        outcome = OUTCOMES[trouble]
        with contextlib.suppress(PipelineError):  # a full disk may refuse even this note; the result counts anyway
            context.note(_EVENTS.get(outcome, Event.RELEASED), cause=str(exc), **failed_run(exc))
        given, wait = given_instead(job, tools.hub, exc)
        made, asked = output is not None, asked_to_wait(exc) or wait
        return JobResult(job, outcome, cause=str(exc), trouble=trouble, is_converted=made, asked=asked, given=given)
    return JobResult(job, Outcome.STORED, output)


OUTCOMES = {
    Trouble.HUB_UNAVAILABLE: Outcome.DEFERRED,
    Trouble.HUB_FORBIDDEN: Outcome.DEFERRED,
    Trouble.HUB_FULL: Outcome.DEFERRED,
    Trouble.HUB_NOT_FOUND: Outcome.DEFERRED,
    Trouble.HUB_TOO_LARGE: Outcome.DEFERRED,
    Trouble.HUB_REJECTED: Outcome.DEFERRED,
    Trouble.DISK_FULL: Outcome.DEFERRED,
    Trouble.WORKSPACE: Outcome.DEFERRED,
    Trouble.FILES_GONE: Outcome.DEFERRED,
    Trouble.NO_ENCODER: Outcome.DEFERRED,
    Trouble.MACHINE: Outcome.FAILED,
    Trouble.MEDIA: Outcome.REFUSED,
    Trouble.TRANSIENT: Outcome.FAILED,
    Trouble.PERMANENT: Outcome.FAILED,
    Trouble.UNEXPECTED: Outcome.FAILED,
    Trouble.STOPPED: Outcome.STOPPED,
}
"""What a trouble that a job met means for its video: only what speaks of the video itself refuses it."""

_EVENTS = {Outcome.FAILED: Event.FAILED, Outcome.REFUSED: Event.REFUSED}


@contextlib.contextmanager
def _ours(root: Path) -> Iterator[None]:
    """Raise what the job's local files meet as an error of ours."""
    try:
        yield
    except OSError as exc:
        raise _of_a_file(exc, root) from exc


def _of_a_file(exc: OSError, root: Path) -> WorkspaceError:
    """A failed operation on one of the job's local files, as ours."""
    trouble = trouble_of_file(exc.errno)
    if trouble is Trouble.DISK_FULL:
        return DiskFull(f"no space left in {root}: make room ({exc.strerror})")
    if trouble is Trouble.FILES_GONE:
        return FilesGone(f"local files are gone from {root}: {exc}")
    return WorkspaceError(f"can't work in {root}: {exc}")


def _make(job: VideoJob, tools: JobTools, context: JobContext, ahead: SendingAhead) -> VideoOutput:
    folder = tools.workspace.video_folder(job)
    shares = _RESULT_SHARE + _FRAMES_SHARE * (len(job.targets) > 1)
    needed = job.source.size * (1 + shares) + _BESIDE_SHARE * sum(file.size for file in job.beside)
    with tools.workspace.reserved(folder, int(needed) + _SLACK):
        with downloaded(job, tools, context) as (source, sha256):
            beside = download_beside(job, tools)
        look_up = tools.known if may_be_known(job) else None
        if look_up is not None and (known := look_up(job, sha256, tools.hub)) is not None:
            return known
        output = convert(job, tools, context, source, sha256, beside, ahead)
        _note_converted(job, context, output, output.record.get("warnings", "").splitlines())
        return output


def _complete(job: VideoJob, tools: JobTools, context: JobContext) -> VideoOutput:
    """What a published video lacks, made of its MKV."""
    assert job.published is not None
    if left := left_as_it_is(job, tools):
        return left
    folder = tools.workspace.video_folder(job)
    with tools.workspace.reserved(folder, int(job.published["size"] * (1 + _FRAMES_SHARE)) + _SLACK):
        with tools.download.held(job, context):
            result = download_published(job, tools, context)
        output, warnings = complete(job, tools, context, result)
        _note_converted(job, context, output, warnings)
        return output


def _note_converted(job: VideoJob, context: JobContext, output: VideoOutput, warnings: Sequence[str]) -> None:
    results = [one.sha256 for one in output.artifacts if one.kind in job.kinds]
    context.note(Event.CONVERTED, results=results, size=output.record["size"])
    for warning in warnings:
        log.warning("%s: %s", job.source.path, warning)


def may_be_known(job: VideoJob) -> bool:
    """Whether a result of the same bytes will do, and they are known only once they are here."""
    return not (job.source.sha256 or job.is_again or job.beside or job.published)


def unexpected(job: VideoJob, exc: BaseException) -> JobResult:
    """The result for an exception that is a bug: counts as an attempt, so that it is not repeated for ever."""
    return JobResult(job, Outcome.FAILED, cause=str(Unexpected.of(exc)), trouble=Trouble.UNEXPECTED)
