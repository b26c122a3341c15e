"""The workers of a cluster as the processor sees them: who is there, who takes the next job, whose word counts.

Pure bookkeeping; times are monotonic seconds that the caller gives. A worker reports about once per second; a report
replaces the one before, and one that comes late (a smaller number) changes nothing.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from tools.cluster.connection import HowLost
from tools.cluster.worker_report import ReportedJob, WorkerReport
from tools.core.concurrency import jobs_for
from tools.core.errors import Trouble
from tools.core.planning import Stage, VideoJob
from tools.core.witness import Given
from tools.stages.video_job import JobResult, Outcome
from tools.stages.workspace import video_key
from tools.state.progress import JobProgress, WorkerState

SILENCE = 20.0  # s without a report after which a worker's jobs are reassigned
BACK = 120.0  # s after a lost scheduler is there again for which a video is kept for the worker that had it
_STREAK = 3  # failures of its own, in a row, after which a worker is suspended
_SUSPENSION, _LONGEST_SUSPENSION = 60.0, 1800.0  # s, doubling from the first to the second
_NO_HUB = 30.0  # s of suspension if it could not reach the hub: which passes by itself
_MOVABLE: tuple[Stage | None, ...] = (None, "download", "waiting")  # has not reached the encoder
# A hub refuses these whoever asks.
_OF_NO_WORKER = frozenset({Trouble.HUB_REJECTED, Trouble.HUB_TOO_LARGE})
_REMEMBERED = 600.0  # s for which a worker that is gone is still shown


class State(Enum):
    """Of a worker; the values are what ``--status`` and ``progress.json`` show."""

    NEW = "new"  # reported, its handshake is not over yet
    READY = "ready"
    REFUSED = "refused"  # rejected: other versions, no encoder, no token: a person must act there
    SUSPENDED = "suspended"  # failed several times for reasons of its own; tried again after a while
    RESTING = "resting"  # its own settings let it begin nothing now; what it has may go on
    SILENT = "silent"  # connected, but stopped reporting
    LEAVING = "leaving"  # is being stopped
    GONE = "gone"


@dataclass(slots=True)
class Member:
    """One worker process."""

    incarnation: str  # of the process: new at each of its starts
    name: str  # for people
    address: str  # at which the scheduler reaches it
    slots: int  # encodes at a time
    seen: float  # monotonic s of its latest report
    seen_wall: float  # epoch s of it
    silence: float = SILENCE  # s without a report after which its jobs are reassigned
    number: int = -1  # of its latest report; a smaller one comes late
    handshake_at: float = 0.0  # monotonic s at which the next handshake is due
    logged: State | None = None  # its state as logged last
    accepted: bool = False  # its handshake is over, and nothing spoke against it
    refused: str | None = None  # why it gets no work
    leaving: bool = False  # it is being stopped
    resting: str | None = None  # why it begins nothing
    gone: bool = False
    jobs: Mapping[str, ReportedJob] = field(default_factory=dict)  # by attempt id, as it reported them last
    held: Mapping[str, bool] = field(default_factory=dict)  # videos with something on its disk; whether a whole result
    begun: Collection[str] = frozenset()  # videos that cost it less than others: running there, or a whole result
    running: dict[str, VideoJob] = field(default_factory=dict)  # our attempts there, oldest first
    streak: int = 0  # failures of its own in a row
    suspensions: int = 0  # in a row: each is twice as long as the one before
    suspended_until: float = 0.0  # monotonic s
    cause: str = ""  # of its latest failure, one line
    trouble: Trouble | None = None  # of its latest failure

    @property
    def capacity(self) -> int:
        return jobs_for(self.slots)

    def state(self, now: float) -> State:
        if self.gone:
            return State.GONE
        if self.leaving:
            return State.LEAVING
        if self.refused is not None:
            return State.REFUSED
        if now - self.seen > self.silence:
            return State.SILENT
        if now < self.suspended_until:
            return State.SUSPENDED
        if not self.accepted:
            return State.NEW
        return State.READY if self.resting is None else State.RESTING

    def stage_of(self, attempt_id: str) -> Stage | None:
        """How far a job of ours is there by its latest report; None = it has not started."""
        job = self.jobs.get(attempt_id)
        return None if job is None else job.stage


class Roster:
    """All workers, by address. Not safe for threads: its owner locks."""

    def __init__(self, silence: float = SILENCE) -> None:
        self._silence = silence
        self._members: dict[str, Member] = {}
        self._expected: dict[str, str] = {}  # videos that were on a worker when the scheduler was lost → incarnation
        self._expected_until = 0.0  # monotonic s
        self._doubted: dict[str, str] = {}  # videos that failed → incarnation of the only worker on which they did

    # --- who is there --------------------------------------------------------------------------------------------

    def report(self, report: WorkerReport, now: float, wall: float) -> Member | None:
        """Take a report in; the member, or None if it came late. ``wall`` epoch s."""
        member = self._members.get(report.address)
        if member is None or member.incarnation != report.incarnation or member.gone:
            member = self._add(report, now, wall)
        if report.number <= member.number:
            return None
        member.number, member.seen, member.seen_wall = report.number, now, wall
        member.jobs = {job.attempt_id: job for job in report.jobs}
        member.held, member.leaving, member.resting = report.held, report.leaving, report.resting
        whole = {key for key, is_whole in report.held.items() if is_whole}
        member.begun = whole | {job.key for job in report.jobs}
        return member

    def _add(self, report: WorkerReport, now: float, wall: float) -> Member:
        """A new member; what is known of the same process under an older address still counts."""
        new = Member(report.incarnation, report.name, report.address, report.slots, now, wall, self._silence)
        for old_address, old in list(self._members.items()):
            if old.incarnation == new.incarnation:
                new.number, new.logged, new.streak = old.number, old.logged, old.streak
                new.suspensions, new.suspended_until = old.suspensions, old.suspended_until
                new.cause, new.trouble = old.cause, old.trouble
            if old.incarnation == new.incarnation or (old.name == new.name and old.gone):
                del self._members[old_address]
        self._members[new.address] = new
        return new

    def get(self, address: str) -> Member | None:
        return self._members.get(address)

    def members(self) -> list[Member]:
        return list(self._members.values())

    def clear(self) -> None:
        """The scheduler is lost: nobody is known until it reports again. Who was suspended stays so."""
        for member in self._members.values():
            if not member.gone:
                keys = [video_key(job.folder, job.source) for job in member.running.values()]
                self._expected.update(dict.fromkeys(keys, member.incarnation))
            member.gone = True
            member.running.clear()

    def expect_back(self, now: float) -> None:
        """The scheduler is there again: what a worker had is kept for it for a while. A busy machine takes long to come
        back, an encode may have taken hours, and nothing else waits meanwhile."""
        self._expected_until = now + max(self._silence, BACK)

    def is_kept(self, job: VideoJob, now: float) -> bool:
        """Whether the worker that had it may still come back for it."""
        key = video_key(job.folder, job.source)
        owner = self._expected.get(key)
        if not owner or now >= self._expected_until:
            return False
        return all(owner != one.incarnation and key not in one.begun for one in self.ready(now))

    def remove_old(self, now: float) -> None:
        """Forget workers that are gone for long."""
        for address, member in list(self._members.items()):
            if member.gone and now - member.seen > _REMEMBERED:
                del self._members[address]

    def states(self, now: float) -> list[WorkerState]:
        """For people, by name."""
        return sorted((_state_of(member, now) for member in self._members.values()), key=lambda one: one.name)

    # --- who takes a job -----------------------------------------------------------------------------------------

    def ready(self, now: float) -> list[Member]:
        return [member for member in self._members.values() if member.state(now) is State.READY]

    def there(self, now: float) -> list[Member]:
        """Those who do what they are asked, if they begin something or not."""
        return [member for member in self._members.values() if member.state(now) in {State.READY, State.RESTING}]

    def free(self, now: float) -> int:
        """How many more jobs those who are ready take."""
        return sum(max(0, member.capacity - len(member.running)) for member in self.ready(now))

    def choose(self, job: VideoJob, now: float) -> Member | None:
        """Who should take the job: whoever has (some of) its work already, else who has least to do per slot.

        None if nobody has a place left, or if the worker that had it may still come back. A worker whose failure of
        this video is doubted gets it only if there is no other.
        """
        key = video_key(job.folder, job.source)
        if self.is_kept(job, now):
            return None
        ready = self.ready(now)
        self._expected.pop(key, None)
        doubted = self._doubted.get(key)
        others = [member for member in ready if member.incarnation != doubted] if doubted else ready
        able = [member for member in others or ready if len(member.running) < member.capacity]
        if not able:
            return None
        return min(able, key=lambda one: (key not in one.begun, len(one.running) / one.slots, one.name))

    def job_to_move(self, now: float) -> tuple[Member, str] | None:
        """A job that waits on a busy worker (member, attempt id) while another has nothing to encode; None = none.

        Only what has not reached the encoder moves, the youngest first.
        """
        ready = self.ready(now)
        if not any(len(member.running) < member.slots for member in ready):
            return None
        resting = [member for member in self._members.values() if member.state(now) is State.RESTING]
        for member in sorted([*resting, *ready], key=lambda one: (one in ready, -len(one.running) / one.slots)):
            waiting = [one for one in member.running if member.stage_of(one) in _MOVABLE]
            if waiting and (member in resting or len(member.running) > member.slots):
                return member, waiting[-1]
        return None

    # --- whose word counts ---------------------------------------------------------------------------------------

    def judge(self, member: Member, result: JobResult, now: float) -> JobResult:
        """The result as the queue is to take it.

        Trouble of the worker's own (disk, encoder, its way to the hub) sends the video elsewhere and uses up no
        attempt. A video that fails is first tried on another worker, whose word then counts: if that one succeeds,
        the failure was the first one's own. If there is no other, the result stands as it is; so does what the hub
        refuses, which is judged with what it refuses of others, and what it did not give while it gave another video.
        """
        key = video_key(result.job.folder, result.job.source)
        if result.outcome is Outcome.STORED:
            member.streak = member.suspensions = 0
            self._doubted.pop(key, None)
            return result
        if result.trouble in _OF_NO_WORKER or result.given is Given.OTHERS:
            return result
        others = [one for one in self.ready(now) if one.incarnation != member.incarnation]
        if result.outcome is Outcome.DEFERRED:
            _count_failure(member, result, now)
            return _reassigned(result) if others else result
        if result.outcome in {Outcome.FAILED, Outcome.REFUSED}:
            doubted = self._doubted.pop(key, None)
            if doubted and doubted != member.incarnation:
                self._forgive(doubted)
            elif others:
                self._doubted[key] = member.incarnation
                _count_failure(member, result, now)
                return _reassigned(result)
        return result

    def _forgive(self, incarnation: str) -> None:
        """It failed on another worker too: the video was to blame."""
        for member in self._members.values():
            if member.incarnation == incarnation and member.streak > 0:
                member.streak -= 1
                if member.streak < _STREAK:
                    member.suspended_until = 0.0


def _count_failure(member: Member, result: JobResult, now: float) -> None:
    """One more failure of its own; suspends it if that is one too many."""
    member.streak += 1
    member.cause, member.trouble = result.cause, result.trouble
    if member.streak < _STREAK or now < member.suspended_until:
        return
    if result.trouble is Trouble.HUB_UNAVAILABLE:
        member.suspended_until = now + _NO_HUB
    else:
        member.suspended_until = now + min(_LONGEST_SUSPENSION, _SUSPENSION * 2.0**member.suspensions)
        member.suspensions += 1


def _reassigned(result: JobResult) -> JobResult:
    return replace(result, outcome=Outcome.STOPPED, output=None)


def lost_with(member: Member, job: VideoJob, how: HowLost) -> JobResult:
    """The result of a job whose worker is lost: a crash of the video only if it was in the encoder."""
    encoding = member.stage_of(job.attempt_id) in {"encode", "verify"} and not member.leaving
    cause = f"worker {member.name} {how}" + (" while it encoded this" if encoding else "")
    outcome = Outcome.CRASHED if encoding else Outcome.STOPPED
    return JobResult(job, outcome, cause=cause, trouble=Trouble.WORKER_LOST, worker=member.name)


def progress_of(member: Member, job: VideoJob) -> JobProgress | None:
    """What the worker reported last of a job of ours; None if it has not started."""
    reported = member.jobs.get(job.attempt_id)
    if reported is None or reported.stage is None:
        return None
    return JobProgress(
        folder=job.folder,
        video=job.source.path,
        stage=reported.stage,
        percent=reported.percent,
        fps=reported.fps,
        speed=reported.speed,
        eta_s=reported.eta_s,
        work=reported.work,
        attempt=job.attempt,
        worker=member.name,
    )


def _state_of(member: Member, now: float) -> WorkerState:
    state = member.state(now)
    encoding = [job for job in member.jobs.values() if job.stage == "encode"] if not member.gone else []
    speeds = [job.fps for job in encoding if job.fps is not None]
    causes = {State.REFUSED: member.refused, State.SUSPENDED: member.cause, State.RESTING: member.resting}
    return WorkerState(
        name=member.name,
        address=member.address,
        slots=member.slots,
        state=state.value,
        cause=causes.get(state),
        encoding=tuple(job.video for job in encoding),
        fps=round(sum(speeds), 2) if speeds else None,
        last_seen=round(member.seen_wall, 3),
    )
