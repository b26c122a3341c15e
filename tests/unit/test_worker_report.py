"""What a worker reports arrives as it was sent, and what no worker reports is refused."""

import json
from typing import Any

import pytest

from tools.cluster.worker_report import LateResult, ReportedJob, WorkerReport, parse_message

JOB = ReportedJob(
    attempt_id="id-1", key="a/b", video="番剧/1.mp4", stage="encode", percent=50.0, fps=24.5, speed=1.0, eta_s=3.0
)
REPORT = WorkerReport(
    address="tcp://10.0.0.5:1",
    incarnation="i",
    name="big",
    slots=2,
    number=7,
    jobs=(JOB, ReportedJob(attempt_id="id-2", key="a/c", video="番剧/2.mp4")),
    held={"a/b": True, "a/c": False},
    leaving=True,
)


@pytest.mark.parametrize("message", [REPORT, LateResult("id-1", "番剧/1.mp4")])
def test_report_arrives_as_it_was_sent(message: WorkerReport | LateResult) -> None:
    assert parse_message(message.as_json()) == message
    assert parse_message(json.loads(json.dumps(message.as_json()))) == message


@pytest.mark.parametrize("name", list(REPORT.as_json()))
def test_report_without_one_of_its_parts_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        parse_message({key: value for key, value in REPORT.as_json().items() if key != name})


def with_job(**changes: Any) -> dict[str, Any]:
    first, *others = REPORT.as_json()["jobs"]
    return {"jobs": [{**first, **changes}, *others]}


@pytest.mark.parametrize(
    "changes",
    [
        {"address": None},
        {"incarnation": b"i"},
        {"name": 1},
        {"slots": "many"},
        {"slots": 0},
        {"slots": True},
        {"number": 1.5},
        {"number": -1},
        {"jobs": None},
        {"jobs": ["id-1"]},
        {"jobs": {}},
        {"held": []},
        {"held": {"a/b": 1}},
        {"held": {1: True}},
        {"leaving": None},
        with_job(attempt_id=None),
        with_job(key=1),
        with_job(video=None),
        with_job(stage="sleep"),
        with_job(stage=[]),
        with_job(fps="fast"),
        with_job(percent=True),
        {"late": 1},
        {"late": "id-1"},
    ],
    ids=str,
)
def test_what_no_worker_reports_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        parse_message({**REPORT.as_json(), **changes})


@pytest.mark.parametrize("received", [None, "text", [], {}, 1])
def test_what_is_no_report_at_all_is_refused(received: object) -> None:
    with pytest.raises(ValueError):
        parse_message(received)


def test_measure_may_be_a_whole_number() -> None:
    parsed = parse_message({**REPORT.as_json(), **with_job(percent=50)})
    assert parsed == REPORT
