"""What a worker reports to the processor: about once per second, and whenever something changes.

Who a worker is (``address`` … ``number``) must keep its form between versions: so one of another version can be named
when it is rejected. The rest need not: the handshake lets none work that runs other code than the processor.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar, cast

from tools.core.planning import STAGES, Stage

_T = TypeVar("_T")
_DIGEST = re.compile("([0-9a-f]{64})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedJob:
    """One job that a worker runs."""

    attempt_id: str  # of the attempt that waits for its result now
    key: str  # of its video: ``tools.stages.workspace.video_key``
    video: str  # path in the input dataset
    stage: Stage | None = None  # where it is; None = not started
    percent: float | None = None  # of that stage
    fps: float | None = None  # frames/s of an encode
    speed: float | None = None  # × real time of an encode, bytes/s of a transfer
    eta_s: float | None = None
    work: float | None = None  # seconds × pixels of its pictures
    sha256: str = ""  # hex, of its source, which the hub did not tell: it waits to hear whether a result is known


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerReport:
    """How a worker is: replaces what it reported before."""

    address: str  # at which the scheduler reaches it
    incarnation: str  # of its process: new at each start, the same whatever schedulers come and go
    name: str  # for people
    slots: int  # encodes at a time
    number: int  # counts up with each report of this incarnation; a smaller one comes late
    jobs: tuple[ReportedJob, ...] = ()
    held: Mapping[str, bool]  # keys of the videos with something on its disk; whether that is a whole result
    leaving: bool = False  # it is being stopped
    resting: str | None = None  # why it begins nothing now, although it could; None: it does

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class LateResult:
    """A job ended for which nobody waits any more: its attempt was superseded."""

    attempt_id: str
    video: str  # path in the input dataset

    def as_json(self) -> dict[str, Any]:
        return {"late": self.attempt_id, "video": self.video}


Message = WorkerReport | LateResult


def parse_message(received: object) -> Message:
    """What a worker sent, checked. Raises ValueError for what no worker sends."""
    message = _as(dict, received)
    try:
        if "late" in message:
            return LateResult(_as(str, message["late"]), _as(str, message["video"]))
        return _report(message)
    except KeyError as exc:
        raise ValueError(f"{exc} is missing") from exc


def _report(message: Mapping[str, object]) -> WorkerReport:
    report = WorkerReport(
        address=_as(str, message["address"]),
        incarnation=_as(str, message["incarnation"]),
        name=_as(str, message["name"]),
        slots=_as(int, message["slots"]),
        number=_as(int, message["number"]),
        jobs=tuple(_job(_as(dict, job)) for job in _sequence(message["jobs"])),
        held={_as(str, key): _as(bool, is_whole) for key, is_whole in _as(dict, message["held"]).items()},
        leaving=_as(bool, message["leaving"]),
        resting=_text(message["resting"]),
    )
    if report.slots < 1 or report.number < 0:
        raise ValueError(f"slots={report.slots}, number={report.number}")
    return report


def _job(job: Mapping[str, object]) -> ReportedJob:
    return ReportedJob(
        attempt_id=_as(str, job["attempt_id"]),
        key=_as(str, job["key"]),
        video=_as(str, job["video"]),
        stage=_stage(job["stage"]),
        percent=_finite(job["percent"]),
        fps=_finite(job["fps"]),
        speed=_finite(job["speed"]),
        eta_s=_finite(job["eta_s"]),
        work=_finite(job["work"]),
        sha256=_digest(job["sha256"]),
    )


def _digest(value: object) -> str:
    if not _DIGEST.fullmatch(text := _as(str, value)):
        raise ValueError(f"{text!r} is no sha256")
    return text


def _stage(value: object) -> Stage | None:
    if value is not None and value not in STAGES:
        raise ValueError(f"{value!r} is no stage")
    return cast(Stage | None, value)


def _as(kind: type[_T], value: object) -> _T:
    if type(value) is not kind:  # not isinstance: True is no number of slots
        raise ValueError(f"{value!r} is no {kind.__name__}")
    return value


def _text(value: object) -> str | None:
    return None if value is None else _as(str, value)


def _sequence(value: object) -> list[object] | tuple[object, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"{value!r} is no list")
    return value


def _finite(value: object) -> float | None:
    return float(value) if type(value) is int else None if value is None else _as(float, value)
