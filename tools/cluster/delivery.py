"""Results of a cluster's jobs on their way to the engine, through the journal; what is known of contents that workers
found; what is logged of their workers."""

import logging
import threading

from tools.cluster.roster import Member, State
from tools.core.errors import PipelineError, ProbeError, Trouble, trouble_of
from tools.core.message import message
from tools.core.planning import VideoJob
from tools.processor.executor import Deliver, Note
from tools.runtime.language import both
from tools.stages.job_context import JobTools
from tools.stages.video_job import JobResult, Outcome
from tools.state.journal import Event

log = logging.getLogger("animation.processor")
_EVENTS = {
    Outcome.STORED: Event.STORED,
    Outcome.FAILED: Event.FAILED,
    Outcome.REFUSED: Event.REFUSED,
    Outcome.CRASHED: Event.CRASHED,
}


class Delivery:
    """Hands results over; threads may do so at the same time."""

    def __init__(self, deliver: Deliver, note: Note) -> None:
        self._deliver = deliver
        self._note = note
        self._lock = threading.Lock()
        self._under_way = 0

    def expect(self) -> None:
        """A result will be handed over."""
        with self._lock:
            self._under_way += 1

    def is_busy(self) -> bool:
        """Whether a result that was expected is not with the engine yet."""
        with self._lock:
            return self._under_way > 0

    def hand_over(self, result: JobResult) -> None:
        """Into the journal first, then to the queue: what the queue relies on must be on disk."""
        event = _EVENTS.get(result.outcome)
        facts = {"cause": result.cause} if result.output is None else result.output.as_json()
        if event is not None:
            try:
                self._note(result.job, event, facts)
            except PipelineError as exc:
                if result.outcome is Outcome.STORED:
                    result = JobResult(result.job, Outcome.DEFERRED, cause=str(exc), trouble=trouble_of(exc))
        self._deliver(result)
        with self._lock:
            self._under_way -= 1


def look_up(tools: JobTools, job: VideoJob, sha256: str) -> JobResult | None:
    """The result that ends a job whose source a worker found to be of this content; None: it is to be made."""
    if tools.known is None:
        return None
    try:
        output = tools.known(job, sha256, tools.hub)
    except ProbeError as exc:
        return JobResult(job, Outcome.REFUSED, cause=str(exc), trouble=trouble_of(exc))
    return None if output is None else JobResult(job, Outcome.STORED, output)


def log_refusal(member: Member, why: str) -> None:
    """A person must make the two alike."""
    log.error("%s", both(message(f"worker {member.name} rejected: {why}")))


def log_change(member: Member, state: State) -> None:
    """Log once when a worker is ready, stops reporting, is suspended."""
    if member.logged is state:
        return
    member.logged = state
    if state is State.READY:
        log.info("worker %s is ready: slots=%d", member.name, member.slots)
    elif state is State.SILENT:
        log.warning("worker %s stopped reporting; its videos are reassigned", member.name)
    elif state is State.RESTING:
        log.info("worker %s begins nothing: %s", member.name, member.resting)
    elif state is State.SUSPENDED:
        said = message(f"worker {member.name} is suspended: repeated failures of its own: {member.cause}")
        if member.trouble is Trouble.HUB_UNAVAILABLE:
            log.warning("%s", said)
        else:
            log.error("%s", both(said))
