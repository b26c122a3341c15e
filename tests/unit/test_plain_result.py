"""What a worker may say of a job: nothing of it decides where something is published, or that it is something else."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.jobs import OUT, mkv, output_of
from tools.cluster.plain_result import decode, encode, reasons
from tools.core.artifact import Artifact, ArtifactKind, Target, VideoOutput
from tools.core.errors import Trouble
from tools.core.folder import RemoteFile
from tools.core.frames import About, Frame
from tools.core.planning import VideoJob
from tools.core.retry import AskedToWait
from tools.core.witness import Given
from tools.stages.video_job import JobResult, Outcome

JOB = VideoJob("id", 1, "A", "me/in", "c", RemoteFile("A/1.mp4", 3, "5" * 64), mkv("A/1.mkv"))
HOW = {"duration_s": 1.5, "frames": 3, "width": 4, "height": 2, "encoder": "e", "settings": "s", "streams": [{"a": 1}]}


def sent(**changes: Any) -> dict[str, Any]:
    made = output_of(JOB)
    output = VideoOutput({**made.record, **HOW, "quality": None}, made.artifacts)  # type: ignore[typeddict-item]
    return {**json.loads(encode(JobResult(JOB, Outcome.STORED, output))), **changes}


def decoded(message: Any) -> JobResult:
    return decode(json.dumps(message).encode(), JOB)


@pytest.mark.parametrize("trouble", [None, *Trouble])
@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.REFUSED, Outcome.DEFERRED, Outcome.STOPPED])
def test_end_without_a_file_arrives_as_it_was(outcome: Outcome, trouble: Trouble | None) -> None:
    wait = AskedToWait(2.5, True)
    result = JobResult(JOB, outcome, None, "a · cause", trouble, True, wait, spent={"encode": 2.5}, given=Given.NOTHING)
    if trouble is Trouble.WORKER_LOST:
        with pytest.raises(ValueError, match="no worker says"):
            decode(encode(result), JOB)
    else:
        assert decode(encode(result), JOB) == result


def test_place_name_and_source_come_from_the_job_alone() -> None:
    message = sent()
    message["output"]["record"] |= {
        "file_name": "../../B/evil.mkv",
        "source_path": "B/2.mp4",
        "source_repo": "you/in",
        "source_sha256": "6" * 64,
        "source_size": 9,
        "sha256": "7" * 64,
        "size": 8,
        "more": "of it",
    }
    message["output"]["artifacts"][0] |= {"path": "../../B/evil.mkv", "repo": "me/elsewhere"}
    output = decoded(message).output
    assert output is not None and output.artifacts == (Artifact(ArtifactKind.VIDEO, "me/out", "A/1.mkv", OUT, 5),)
    assert output.record == {
        **HOW,
        "quality": None,
        "file_name": "1.mkv",
        "source_path": "A/1.mp4",
        "source_repo": "me/in",
        "source_sha256": "5" * 64,
        "source_size": 3,
        "sha256": OUT,
        "size": 5,
    }


def record(**changes: Any) -> Callable[[dict[str, Any]], object]:
    return lambda message: message["output"]["record"].update(changes)


def file(**changes: Any) -> Callable[[dict[str, Any]], object]:
    return lambda message: message["output"]["artifacts"][0].update(changes)


@pytest.mark.parametrize(
    "change",
    [
        lambda message: message.clear(),
        lambda message: message.update(more=1),
        lambda message: message.update(outcome="crashed"),
        lambda message: message.update(outcome="published"),
        lambda message: message.update(outcome="failed"),
        lambda message: message.update(output=None),
        lambda message: message.update(output=[]),
        lambda message: message.update(cause=None),
        lambda message: message.update(trouble="worker_lost"),
        lambda message: message.update(is_converted=1),
        lambda message: message.update(asked=3),
        lambda message: message.update(asked=[float("nan"), True]),
        lambda message: message.update(asked=[-1.0, True]),
        lambda message: message.update(asked=[1e9, True]),
        lambda message: message.update(asked=[1.0, 1]),
        lambda message: message.update(spent=None),
        lambda message: message.update(spent={"sleep": 1.0}),
        lambda message: message.update(spent={"encode": -1.0}),
        lambda message: message.update(spent={"encode": float("inf")}),
        lambda message: message.update(spent={"encode": True}),
        lambda message: message["output"].update(artifacts=[]),
        lambda message: message["output"].update(artifacts=message["output"]["artifacts"] * 2),
        lambda message: message["output"].update(artifacts=[7]),
        lambda message: message["output"].update(record=None),
        file(kind="hologram"),
        file(sha256="out"),
        file(sha256=OUT.upper() + "A"),
        file(sha256=OUT + "\n"),
        file(sha256=None),
        file(size=0),
        file(size=-5),
        file(size=True),
        file(size=5.0),
        file(size=1 << 60),
        record(frames="3"),
        record(frames=-1),
        record(width=True),
        record(duration_s=float("inf")),
        record(duration_s=float("nan")),
        record(encoder=[]),
        record(streams={}),
        record(streams=[{"a": float("nan")}]),
        record(streams=["\ud800"]),
        record(quality=[1]),
        record(warnings=7),
    ],
)
def test_what_makes_no_sense_is_no_result(change: Callable[[dict[str, Any]], object]) -> None:
    message = sent()
    assert decoded(message).outcome is Outcome.STORED
    change(message)
    with pytest.raises(ValueError):
        decoded(message)


@pytest.mark.parametrize(
    "received", [None, JobResult(JOB, Outcome.STOPPED), b"", b"[" * 100_000, b"7", b"{}", bytes(9 << 20), b"9" * 5000]
)
def test_what_is_no_plain_data_is_no_result(received: object) -> None:
    with pytest.raises(ValueError):
        decode(received, JOB)


def test_sha256_of_the_source_is_the_worker_s_only_if_the_hub_tells_none() -> None:
    job = VideoJob("id", 1, "A", "me/in", "c", RemoteFile("A/1.mp4", 3, ""), mkv("A/1.mkv"))
    message = sent()
    message["output"]["record"]["source_sha256"] = "6" * 64
    output = decode(json.dumps(message).encode(), job).output
    assert output is not None and output.record["source_sha256"] == "6" * 64
    message["output"]["record"]["source_sha256"] = "6"
    with pytest.raises(ValueError):
        decode(json.dumps(message).encode(), job)


def test_answer_to_a_handshake_is_lines_or_a_refusal() -> None:
    assert reasons([]) is None and reasons(("old", "slow")) == "old; slow"
    strange: list[object] = [None, {}, [7], 3]
    for answer in strange:
        assert "makes no sense" in (reasons(answer) or "")


FRAMES = Target(ArtifactKind.FRAMES, "me/frames", "A/1.tar")
ABOUT = About(2, (Frame(1, 0, 0.0, 0.0, 1.0, 320, 180, "0" * 16, "7" * 64),)).as_text()


def with_frames(job: VideoJob, **changes: Any) -> Any:
    frames = {"kind": "frames", "repo": "you/x", "path": "../x", "sha256": "8" * 64, "size": 9, "about": ABOUT}
    message = sent()
    message["output"]["artifacts"].append({**frames, **changes})
    return decode(json.dumps(message).encode(), job).output


def test_what_a_worker_tells_of_pictures_is_numbers_and_digests_and_no_more() -> None:
    job = replace(JOB, targets=(*JOB.targets, FRAMES))
    output = with_frames(job)
    assert output.artifacts[1] == Artifact(ArtifactKind.FRAMES, "me/frames", "A/1.tar", "8" * 64, 9, ABOUT)
    rows = json.dumps({"scenes": 1, "rows": [{"source_path": "B/2.mp4"}]})
    for about in (rows, ABOUT[:-4], ABOUT + "=", "x" * 100):
        with pytest.raises(ValueError):
            with_frames(job, about=about)


def test_record_and_mkv_of_a_published_video_are_not_the_worker_s_to_tell() -> None:
    published = output_of(JOB).record
    job = replace(
        JOB,
        targets=(*JOB.targets, FRAMES),
        published={**published, "file_name": "1.mkv", "sha256": "9" * 64, "size": 77},
    )
    output = with_frames(job)
    assert output.record == job.published
    assert output.artifacts[0] == Artifact(ArtifactKind.VIDEO, "me/out", "A/1.mkv", "9" * 64, 77)
    assert output.artifacts[1].about == ABOUT


def test_worker_may_tell_why_a_published_video_has_no_picture_and_nothing_else() -> None:
    published = output_of(JOB).record
    job = replace(JOB, targets=(*JOB.targets, FRAMES), published=published)
    message = sent()
    message["output"]["record"] |= {"warnings": "made by me\nno frames: black\ud800", "encoder": "mine", "size": 3}
    for about, added in ((ABOUT, {}), ("", {"warnings": "no frames: black?"})):
        frames = {"kind": "frames", "repo": "", "path": "", "sha256": "8" * 64, "size": 9, "about": about}
        told = {**message, "output": {**message["output"], "artifacts": [*message["output"]["artifacts"], frames]}}
        output = decode(json.dumps(told).encode(), job).output
        assert output is not None and output.record == {**published, "file_name": "1.mkv", **added}
