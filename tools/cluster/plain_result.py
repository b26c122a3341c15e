"""A job's result on its way from a worker: JSON, checked field by field against the job that it is for.

Nothing that a worker says decides where something is published, or what it was made of: paths, names and source come
from the job. Of the rest, types and ranges are checked; whether a file is what it is called only the worker has seen.
"""

import json
import re
from typing import Any, cast

from tools.core.artifact import Artifact, ArtifactKind, VideoOutput
from tools.core.errors import Trouble
from tools.core.frames import About, completed
from tools.core.planning import STAGES, VideoJob
from tools.core.record import Record, made_fields
from tools.core.retry import LONGEST, AskedToWait
from tools.core.witness import Given
from tools.stages.video_job import JobResult, Outcome

_LONGEST = 8 << 20  # bytes of a result: thousands of streams fit
_LONGEST_CAUSE = 2000  # characters
_LARGEST_FILE = 1 << 50  # bytes
_FIELDS = {"outcome", "cause", "trouble", "output", "is_converted", "asked", "spent", "given"}
_LONGEST_STAGE = 1e8  # s
_SHA256 = re.compile("[0-9a-f]{64}")
_ONLY_HERE = frozenset((Outcome.CRASHED, Trouble.WORKER_LOST))  # what a worker can't say of itself


def encode(result: JobResult) -> bytes:
    """The worker's side: all of a result but its job."""
    output = None if result.output is None else result.output.as_json()
    trouble = None if result.trouble is None else result.trouble.value
    asked = None if result.asked is None else [result.asked.seconds, result.asked.is_of_account]
    return json.dumps(
        {
            "outcome": result.outcome.value,
            "cause": result.cause,
            "trouble": trouble,
            "output": output,
            "is_converted": result.is_converted,
            "asked": asked,
            "spent": dict(result.spent),
            "given": result.given.value,
        }
    ).encode()


def decode(received: object, job: VideoJob) -> JobResult:
    """The processor's side. Raises ValueError for what no worker of this version sends."""
    if not isinstance(received, bytes) or len(received) > _LONGEST:
        raise ValueError("it is no result, or one of endless length")
    try:
        found = json.loads(received)
    except RecursionError as exc:
        raise ValueError("brackets without end") from exc
    if not isinstance(found, dict) or found.keys() != _FIELDS:
        raise ValueError("it is no result")
    outcome, cause = Outcome(found["outcome"]), found["cause"]
    trouble = None if found["trouble"] is None else Trouble(found["trouble"])
    if outcome in _ONLY_HERE or trouble in _ONLY_HERE or not isinstance(cause, str):
        raise ValueError("it says what no worker says of itself")
    if (outcome is Outcome.STORED) != (found["output"] is not None):
        raise ValueError("its outcome and its files do not agree")
    output = None if found["output"] is None else _output(found["output"], job)
    if type(found["is_converted"]) is not bool:
        raise ValueError("whether it is converted is neither true nor false")
    asked, spent = _asked(found["asked"]), _spent(found["spent"])
    cause, made, given = cause[:_LONGEST_CAUSE], found["is_converted"], Given(found["given"])
    return JobResult(job, outcome, output, cause, trouble, made, asked, spent, given=given)


def _spent(found: Any) -> dict[str, float]:
    if not isinstance(found, dict) or not found.keys() <= set(STAGES):
        raise ValueError("it spent its time in stages that there are not")
    if not all(type(value) in (int, float) and 0 <= value <= _LONGEST_STAGE for value in found.values()):
        raise ValueError("it spent a time that is none")
    return found


def _asked(found: Any) -> AskedToWait | None:
    """A worker tells for how long the hub wants to be left alone; not longer than the hub itself could."""
    if found is None:
        return None
    if not isinstance(found, list) or [type(one) for one in found] not in ([float, bool], [int, bool]):
        raise ValueError("it asks for no wait")
    seconds, is_of_account = found
    if not 0 < seconds <= LONGEST:
        raise ValueError("it asks for a wait that no hub asks for")
    return AskedToWait(float(seconds), is_of_account)


def reasons(answer: object) -> str | None:
    """What a worker answers to a handshake: each of its reasons to refuse; None if it has none."""
    if not isinstance(answer, list | tuple) or not all(isinstance(line, str) for line in answer):
        return "its answer makes no sense; is it the same version?"
    return "; ".join(answer)[:_LONGEST_CAUSE] or None


def _output(found: Any, job: VideoJob) -> VideoOutput:
    if not isinstance(found, dict) or not isinstance(found.get("artifacts"), list):
        raise ValueError("it names no files")
    made = [_file(one) for one in found["artifacts"]]
    kinds = dict(made)
    if len(kinds) != len(made) or kinds.keys() != {target.kind for target in job.targets}:
        raise ValueError("its files are not those that the job asked for")
    artifacts = tuple(Artifact(one.kind, one.repo, one.path, *kinds[one.kind]) for one in job.targets)
    if job.published is not None:
        told = found.get("record")
        says = told if isinstance(told, dict) and not any(one.about for one in artifacts) else {}
        record = completed(job.published, says)
        return VideoOutput.of_published(record, job.targets, artifacts)
    return VideoOutput(_record(found.get("record"), job), artifacts).at_source(job.source, job.input_repo)


def _file(found: Any) -> tuple[ArtifactKind, tuple[str, int, str]]:
    if not isinstance(found, dict):
        raise ValueError("one of its files is none")
    sha256, size = found.get("sha256"), found.get("size")
    if type(size) is not int or not 0 < size < _LARGEST_FILE:
        raise ValueError("one of its files has no size")
    kind, about = ArtifactKind(found.get("kind")), str(found.get("about") or "")
    told = About.of_text(about).as_text() if kind is ArtifactKind.FRAMES and about else ""
    return kind, (_digest(sha256), size, told)


def _digest(value: object) -> str:
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        raise ValueError("it lacks a sha256")
    return value


def _record(found: Any, job: VideoJob) -> Record:
    """What only the worker can know of it."""
    if not isinstance(found, dict):
        raise ValueError("it has no record")
    made = made_fields(found)
    json.dumps(made, ensure_ascii=False, allow_nan=False).encode()  # half a character, or no number, can't be published
    return cast(Record, {**made, "source_sha256": job.source.sha256 or _digest(found.get("source_sha256"))})
