"""The workers of a cluster as the processor sees them: who is there, who takes the next job, whose word counts.

Pure bookkeeping; times are monotonic seconds that the caller gives. A worker tells of itself about once a second; what
it says replaces what it said before, and a report that comes late (an older number) changes nothing.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, cast

from tools.core.errors import Trouble
from tools.core.planning import STAGES, Stage, VideoJob
from tools.stages.video_job import JobResult, Outcome
from tools.stages.workspace import video_key
from tools.state.progress import JobProgress, WorkerState

SILENCE = 20.0  # s without a report after which a worker's jobs are done elsewhere
_STREAK = 3  # failures of its own, in a row, after which a worker is suspended
_SUSPENSION, _LONGEST_SUSPENSION = 60.0, 1800.0  # s, doubling from the first to the second
_NO_HUB = 30.0  # s, where it could not reach the hub: which passes by itself
_REMEMBERED = 600.0  # s for which a worker that is gone is still shown


class State(Enum):
    NEW = "new"  # heard of, not agreed with yet
    READY = "ready"
    REFUSED = "refused"  # other versions, no encoder, no token: a person must act there
    SUSPENDED = "suspended"  # failed several times for reasons of its own; tried again after a while
    SILENT = "silent"  # connected, but not heard of
    LEAVING = "leaving"  # is being stopped
    GONE = "gone"


@dataclass(slots=True)
class Member:
    """One worker process."""

    incarnation: str  # new at each of its starts
    name: str
    address: str
    slots: int
    seen: float  # monotonic s of its latest report
    seen_wall: float  # epoch s of it
    silence: float = SILENCE  # s without a report after which its jobs are reassigned
    number: int = -1  # of its latest report; a smaller one comes late
    ask_at: float = 0.0  # monotonic s at which it is greeted (again)
    told: State | None = None  # its state as the log says it
    greeted: bool = False
    refused: str | None = None  # why it gets no work
    leaving: bool = False
    gone: bool = False
    jobs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # by attempt id, as it reports them
    held: Mapping[str, bool] = field(default_factory=dict)  # videos with something on its disk; whether a whole result
    begun: Collection[str] = frozenset()  # videos that cost it less than others: under way there, or a whole result
    running: dict[str, VideoJob] = field(default_factory=dict)  # our attempts there, oldest first
    streak: int = 0  # failures of its own in a row
    suspensions: int = 0
    suspended_until: float = 0.0  # monotonic s
    cause: str = ""  # of its latest failure
    trouble: Trouble | None = None

    @property
    def places(self) -> int:
        """Jobs at a time: like on one machine, enough that transfers overlap encodes."""
        return 2 * self.slots + 2

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
        return State.READY if self.greeted else State.NEW

    def stage_of(self, attempt_id: str) -> str:
        """How far a job of ours is there, as it said last; "" where it said nothing."""
        return str((self.jobs.get(attempt_id) or {}).get("stage") or "")


class Roster:
    """All workers, by address. Not safe for threads: its owner locks."""

    def __init__(self, silence: float = SILENCE) -> None:
        self._silence = silence
        self._members: dict[str, Member] = {}
        self._opinions: dict[str, str] = {}

    # --- who is there --------------------------------------------------------------------------------------------

    def report(self, said: Mapping[str, Any], now: float, wall: float) -> Member | None:
        """Take in what a worker says of itself; the member, or None where this came late.

        Raises KeyError, TypeError or ValueError for what no worker says, and has taken in nothing of it then.
        """
        address, incarnation, number = str(said["address"]), str(said["incarnation"]), int(said["number"])
        jobs = {str(job["attempt_id"]): job for job in said["jobs"]}
        held, leaving = dict(said["held"]), bool(said["leaving"])
        member = self._members.get(address)
        if member is None or member.incarnation != incarnation or member.gone:
            member = self._met(incarnation, address, said, now, wall)
        if number <= member.number:
            return None
        member.number, member.seen, member.seen_wall = number, now, wall
        member.jobs, member.held, member.leaving = jobs, held, leaving
        under_way = {str(job.get("key")) for job in jobs.values()}
        member.begun = under_way | {key for key, is_whole in held.items() if is_whole}
        return member

    def _met(self, incarnation: str, address: str, said: Mapping[str, Any], now: float, wall: float) -> Member:
        """A new member; what is known of the same process under an older address goes on to count."""
        new = Member(incarnation, str(said["name"]), address, int(said["slots"]), now, wall, self._silence)
        for old_address, old in list(self._members.items()):
            if old.incarnation == incarnation:
                new.number, new.told, new.streak, new.suspensions = old.number, old.told, old.streak, old.suspensions
                new.suspended_until, new.cause, new.trouble = old.suspended_until, old.cause, old.trouble
            if old.incarnation == incarnation or (old.name == new.name and old.gone):
                del self._members[old_address]
        self._members[address] = new
        return new

    def get(self, address: str) -> Member | None:
        return self._members.get(address)

    def members(self) -> list[Member]:
        return list(self._members.values())

    def clear(self) -> None:
        """The scheduler is lost: nobody is known until it reports again. Who was suspended stays so."""
        for member in self._members.values():
            member.gone = True
            member.running.clear()

    def forget_old(self, now: float) -> None:
        for address, member in list(self._members.items()):
            if member.gone and now - member.seen > _REMEMBERED:
                del self._members[address]

    def shown(self, now: float) -> list[WorkerState]:
        """For people, by name."""
        return sorted((_shown(member, now) for member in self._members.values()), key=lambda one: one.name)

    # --- who takes a job -----------------------------------------------------------------------------------------

    def fit(self, now: float) -> list[Member]:
        return [member for member in self._members.values() if member.state(now) is State.READY]

    def free(self, now: float) -> int:
        """Places left on those who are fit."""
        return sum(max(0, member.places - len(member.running)) for member in self.fit(now))

    def place(self, job: VideoJob, now: float) -> Member | None:
        """Who should take the job: whoever has (some of) its work already, else who has least to do for each slot.

        None where nobody has a place left; a worker whose word on this video is doubted is not asked twice while
        there is another.
        """
        key = video_key(job.folder, job.source)
        fit = self.fit(now)
        doubted = self._opinions.get(key)
        others = [member for member in fit if member.incarnation != doubted] if doubted else fit
        able = [member for member in others or fit if len(member.running) < member.places]
        if not able:
            return None
        return min(able, key=lambda one: (key not in one.begun, len(one.running) / one.slots, one.name))

    def to_move(self, now: float) -> tuple[Member, str] | None:
        """A job that waits on a busy worker (member, attempt id) while another has nothing to encode; None = none.

        Only what has not reached the encoder moves, the youngest first.
        """
        fit = self.fit(now)
        if not any(len(member.running) < member.slots for member in fit):
            return None
        for member in sorted(fit, key=lambda one: -len(one.running) / one.slots):
            waiting = [one for one in member.running if member.stage_of(one) in {"", "download"}]
            if len(member.running) > member.slots and waiting:
                return member, waiting[-1]
        return None

    # --- whose word counts ---------------------------------------------------------------------------------------

    def judge(self, member: Member, result: JobResult, now: float) -> JobResult:
        """What the queue should hear of a result.

        Trouble of the worker's own (disk, encoder, its way to the hub) sends the video elsewhere and uses up no
        attempt. A video that fails is first tried on another worker, whose word then counts: where that one
        succeeds, the failure was the first one's own. Where there is no other, the result stands as it is.
        """
        key = video_key(result.job.folder, result.job.source)
        if result.outcome is Outcome.STORED:
            member.streak = member.suspensions = 0
            self._opinions.pop(key, None)
            return result
        others = [one for one in self.fit(now) if one.incarnation != member.incarnation]
        if result.outcome is Outcome.DEFERRED:
            self._failed(member, result, now)
            return _moved(result) if others else result
        if result.outcome in {Outcome.FAILED, Outcome.REFUSED}:
            doubted = self._opinions.pop(key, None)
            if doubted and doubted != member.incarnation:
                self._forgive(doubted)
            elif others:
                self._opinions[key] = member.incarnation
                self._failed(member, result, now)
                return _moved(result)
        return result

    def _failed(self, member: Member, result: JobResult, now: float) -> None:
        member.streak += 1
        member.cause, member.trouble = result.cause, result.trouble
        if member.streak < _STREAK or now < member.suspended_until:
            return
        if result.trouble is Trouble.HUB_UNAVAILABLE:
            member.suspended_until = now + _NO_HUB
        else:
            member.suspended_until = now + min(_LONGEST_SUSPENSION, _SUSPENSION * 2.0**member.suspensions)
            member.suspensions += 1

    def _forgive(self, incarnation: str) -> None:
        """Another worker says the same: the video was to blame."""
        for member in self._members.values():
            if member.incarnation == incarnation and member.streak > 0:
                member.streak -= 1
                if member.streak < _STREAK:
                    member.suspended_until = 0.0


def died(member: Member, job: VideoJob, how: str) -> JobResult:
    """The result of a job whose worker is no more: a crash of the video only where it was in the encoder."""
    encoding = member.stage_of(job.attempt_id) in {"encode", "verify"} and not member.leaving
    cause = f"worker {member.name} {how}" + (" while it encoded this" if encoding else "")
    return JobResult(job, Outcome.CRASHED if encoding else Outcome.STOPPED, cause=cause, trouble=Trouble.WORKER_LOST)


def unwanted(member: Member, elsewhere: Collection[str], live: Collection[str]) -> list[str]:
    """Attempts of an older incarnation that run there although the same video runs on another worker (``elsewhere``,
    video keys) or belongs to no item that is ``live`` (item keys)."""
    old = {attempt: str(job.get("key")) for attempt, job in member.jobs.items() if attempt not in member.running}
    return [attempt for attempt, key in old.items() if key in elsewhere or key.partition("/")[0] not in live]


def leftovers(member: Member, forgotten: Collection[str], live: Collection[str]) -> list[str]:
    """Keys of what lies on its disk and that nothing needs any more."""
    return [key for key in member.held if key in forgotten or key.partition("/")[0] not in live]


def _moved(result: JobResult) -> JobResult:
    return replace(result, outcome=Outcome.STOPPED, output=None)


def _shown(member: Member, now: float) -> WorkerState:
    state = member.state(now)
    encoding = [job for job in member.jobs.values() if job.get("stage") == "encode"] if not member.gone else []
    speeds = [float(job["fps"]) for job in encoding if job.get("fps") is not None]
    cause = member.refused if state is State.REFUSED else member.cause if state is State.SUSPENDED else None
    return WorkerState(
        name=member.name,
        address=member.address,
        slots=member.slots,
        state=state.value,
        cause=cause,
        encoding=tuple(str(job.get("video")) for job in encoding),
        fps=round(sum(speeds), 2) if speeds else None,
        last_seen=round(member.seen_wall, 3),
    )


def progress_of(member: Member, job: VideoJob) -> JobProgress | None:
    """What the worker said last of a job of ours."""
    said = member.jobs.get(job.attempt_id)
    if not said or said.get("stage") not in STAGES:
        return None
    numbers = {name: said.get(name) for name in ("percent", "fps", "speed", "eta_s")}
    return JobProgress(
        folder=job.folder,
        video=job.source.path,
        stage=cast(Stage, said["stage"]),
        attempt=job.attempt,
        worker=member.name,
        **numbers,
    )
