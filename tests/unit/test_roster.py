"""Which worker gets a video, and whose word on it counts: the processor's view of a cluster, without a cluster."""

from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("distributed", reason="requirements-cluster.txt is not installed")

from tests.jobs import mkv
from tools.cluster.roster import BACK, SILENCE, Member, Roster, State, lost_with
from tools.cluster.worker_report import ReportedJob, WorkerReport
from tools.core.errors import Trouble
from tools.core.folder import RemoteFile
from tools.core.planning import Stage, VideoJob
from tools.core.witness import Given
from tools.stages.video_job import JobResult, Outcome
from tools.stages.workspace import video_key


def job(name: str) -> VideoJob:
    return VideoJob(f"id-{name}", 1, "A", "me/in", "c", RemoteFile(f"A/{name}", 1, ""), mkv())


def key(name: str) -> str:
    return video_key("A", RemoteFile(f"A/{name}", 1, ""))


def report(name: str, number: int = 0, **more: Any) -> WorkerReport:
    plain = {"address": f"tcp://{name}", "incarnation": f"incarnation-{name}", "name": name, "held": {}}
    return WorkerReport(**{**plain, "slots": 1, "number": number, **more})


def reported(name: str, stage: Stage, attempt_id: str = "") -> ReportedJob:
    return ReportedJob(attempt_id=attempt_id or f"id-{name}", key=key(name), video=f"A/{name}", stage=stage)


def with_members(*names: str) -> tuple[Roster, list[Member]]:
    roster = Roster()
    members = [member for name in names if (member := roster.report(report(name), 0.0, 0.0)) is not None]
    for member in members:
        member.accepted = True
    return roster, members


def run_on(member: Member, name: str) -> VideoJob:
    member.running[f"id-{name}"] = job(name)
    return job(name)


def result(name: str, outcome: Outcome, trouble: Trouble | None = None) -> JobResult:
    return JobResult(job(name), outcome, cause=f"cause {name}", trouble=trouble)


def test_worker_outside_of_its_hours_gets_nothing_and_gives_back_what_waits_there() -> None:
    roster, (a, b) = with_members("a", "b")
    for name in ("1", "2"):
        run_on(a, name)
    jobs = (reported("1", "encode"), reported("2", "waiting"))
    roster.report(report("a", 1, jobs=jobs, resting="outside of ACTIVE_HOURS until then"), 1.0, 1.0)
    assert a.state(1.0) is State.RESTING and roster.choose(job("3"), 1.0) is b
    assert roster.job_to_move(1.0) == (a, "id-2"), "the one that is in the encoder stays"
    assert roster.states(1.0)[0].state == "resting" and "ACTIVE_HOURS" in (roster.states(1.0)[0].cause or "")
    roster.report(report("a", 2, jobs=jobs), 2.0, 2.0)
    assert a.state(2.0) is State.READY


def test_new_worker_gets_nothing_before_its_handshake() -> None:
    roster = Roster()
    member = roster.report(report("a"), 0.0, 0.0)
    assert (
        member is not None
        and member.state(0) is State.NEW
        and roster.free(0) == 0
        and roster.choose(job("1"), 0) is None
    )
    member.accepted = True
    assert roster.free(0) == 4 and roster.choose(job("1"), 0) is member


def test_report_that_comes_late_changes_nothing() -> None:
    roster, (member,) = with_members("a")
    assert roster.report(report("a", 5, held={key("1"): True}), 1.0, 1.0) is member
    assert roster.report(report("a", 4, held={}), 2.0, 2.0) is None
    assert member.held == {key("1"): True} and member.seen == 1.0


def test_least_loaded_for_its_slots_goes_first_and_a_full_one_gets_nothing() -> None:
    roster, (a, b) = with_members("a", "b")
    for name in "123":
        run_on(a, name)
    assert roster.choose(job("9"), 0) is b
    for name in "4567":
        run_on(b, name)
    assert roster.choose(job("9"), 0) is a
    run_on(a, "8")
    assert roster.choose(job("9"), 0) is None and roster.free(0) == 0


def test_whoever_has_the_work_already_is_preferred() -> None:
    roster, (a, b) = with_members("a", "b")
    run_on(b, "1")
    roster.report(report("b", 1, held={key("9"): True}), 0.0, 0.0)
    assert roster.choose(job("9"), 0) is b
    roster.report(report("b", 2, held={key("9"): False}), 0.0, 0.0)
    assert roster.choose(job("9"), 0) is a, "half a download is no reason"
    roster.report(report("b", 3, jobs=(reported("9", "encode", "old"),)), 0.0, 0.0)
    assert roster.choose(job("9"), 0) is b


def test_own_trouble_moves_the_video_and_three_times_in_a_row_suspend_the_worker() -> None:
    roster, (a, _) = with_members("a", "b")
    for number in range(3):
        assert a.state(0) is State.READY
        assert roster.judge(a, result(str(number), Outcome.DEFERRED, Trouble.DISK_FULL), 0).outcome is Outcome.STOPPED
    assert a.state(1) is State.SUSPENDED and roster.states(1)[0].cause == "cause 2"
    assert a.state(61) is State.READY or a.seen < 61 - SILENCE
    a.seen = 61
    roster.judge(a, result("3", Outcome.DEFERRED, Trouble.DISK_FULL), 61)
    assert a.state(61 + 100) is not State.READY and a.suspended_until == 61 + 120, "one more, twice as long"


@pytest.mark.parametrize("trouble", [Trouble.HUB_REJECTED, Trouble.HUB_TOO_LARGE])
def test_what_the_hub_refuses_is_no_worker_s_failure(trouble: Trouble) -> None:
    roster, (a, _) = with_members("a", "b")
    for number in range(4):
        refused = result(str(number), Outcome.DEFERRED, trouble)
        assert roster.judge(a, refused, 0) is refused and a.state(0) is State.READY


def test_video_that_the_hub_does_not_give_a_worker_while_it_gives_another_one_is_no_worker_s_failure() -> None:
    roster, (a, b) = with_members("a", "b")
    for number in range(4):
        of_itself = replace(result(str(number), Outcome.DEFERRED, Trouble.HUB_UNAVAILABLE), given=Given.OTHERS)
        assert roster.judge(a, of_itself, 0) is of_itself and a.state(0) is State.READY
        of_nobody = replace(of_itself, given=Given.NOTHING)
        assert roster.judge(b, of_nobody, 0).outcome is Outcome.STOPPED
    assert b.state(0) is State.SUSPENDED


def test_success_ends_a_streak() -> None:
    roster, (a, _) = with_members("a", "b")
    for outcome in (Outcome.DEFERRED, Outcome.DEFERRED, Outcome.STORED, Outcome.DEFERRED, Outcome.DEFERRED):
        roster.judge(a, result("1", outcome, Trouble.NO_ENCODER), 0)
    assert a.state(0) is State.READY


def test_only_worker_is_believed_at_once() -> None:
    roster, (a,) = with_members("a")
    assert roster.judge(a, result("1", Outcome.REFUSED), 0).outcome is Outcome.REFUSED
    assert roster.judge(a, result("1", Outcome.DEFERRED, Trouble.DISK_FULL), 0).outcome is Outcome.DEFERRED


def test_failure_needs_a_second_opinion_from_another_worker() -> None:
    roster, (a, b) = with_members("a", "b")
    assert roster.judge(a, result("1", Outcome.REFUSED), 0).outcome is Outcome.STOPPED
    assert roster.choose(job("1"), 0) is b, "not the one that is doubted"
    assert roster.judge(b, result("1", Outcome.REFUSED), 0).outcome is Outcome.REFUSED
    assert (a.streak, b.streak) == (0, 0), "the video was to blame"


def test_failure_that_another_worker_disproves_counts_against_the_first() -> None:
    roster, (a, b) = with_members("a", "b")
    for name in "123":
        assert roster.judge(a, result(name, Outcome.FAILED), 0).outcome is Outcome.STOPPED
        assert roster.judge(b, result(name, Outcome.STORED), 0).outcome is Outcome.STORED
    assert a.state(0) is State.SUSPENDED and b.state(0) is State.READY


def test_silent_worker_gets_nothing_until_it_reports() -> None:
    roster, (a,) = with_members("a")
    later = SILENCE + 1
    assert a.state(later) is State.SILENT and roster.free(later) == 0
    roster.report(report("a", 1), later, later)
    assert roster.free(later) == 4


def test_same_process_under_a_new_address_keeps_its_record() -> None:
    roster, (a, _) = with_members("a", "b")
    for number in range(3):
        roster.judge(a, result(str(number), Outcome.DEFERRED, Trouble.DISK_FULL), 0)
    roster.clear()
    again = roster.report(report("a", 1, address="tcp://elsewhere"), 1.0, 1.0)
    assert again is not None and again.state(1) is State.SUSPENDED and len(roster.members()) == 2


def test_worker_that_came_back_is_shown_once_and_one_that_is_gone_for_a_while() -> None:
    roster, members = with_members("a", "b")
    for member in members:
        member.gone = True
    roster.report(report("a", address="tcp://other", incarnation="next"), 1.0, 1.0)
    roster.remove_old(300.0)
    assert [(one.name, one.state) for one in roster.states(1.0)] == [("a", "new"), ("b", "gone")]
    roster.remove_old(700.0)
    assert [one.name for one in roster.states(1.0)] == ["a"]


def test_death_counts_for_the_video_in_the_encoder_alone() -> None:
    roster, (a,) = with_members("a")
    roster.report(report("a", 1, jobs=(reported("1", "encode"),)), 0.0, 0.0)
    assert lost_with(a, job("1"), "died").outcome is Outcome.CRASHED
    assert lost_with(a, job("2"), "died").outcome is Outcome.STOPPED
    a.leaving = True
    assert lost_with(a, job("1"), "died").outcome is Outcome.STOPPED


def test_waiting_video_moves_to_a_worker_with_nothing_to_encode() -> None:
    roster, (a, b) = with_members("a", "b")
    jobs = (reported("1", "encode"), reported("2", "download"), reported("3", "download"))
    for name in "123":
        run_on(a, name)
    roster.report(report("a", 1, jobs=jobs), 0.0, 0.0)
    assert roster.job_to_move(0) == (a, "id-3")
    run_on(b, "4")
    assert roster.job_to_move(0) is None, "nobody is idle"


def after_scheduler_was_lost(stage: Stage | None) -> Roster:
    """A roster with worker b alone, which came back before a, where 1 was in this stage (None: not known yet)."""
    roster, (a, _) = with_members("a", "b")
    run_on(a, "1")
    roster.report(report("a", 1, jobs=() if stage is None else (reported("1", stage),)), 1.0, 1.0)
    roster.clear()
    roster.clear()  # the next connection fails at once
    roster.expect_back(10.0)
    back = roster.report(report("b", 2), 11.0, 11.0)
    assert back is not None
    back.accepted = True
    return roster


@pytest.mark.parametrize("stage", ["encode", None])
def test_video_of_a_worker_waits_for_it_after_the_scheduler_was_lost_but_not_for_ever(stage: Stage | None) -> None:
    roster = after_scheduler_was_lost(stage)
    assert roster.choose(job("1"), 12.0) is None
    other = roster.choose(job("2"), 12.0)
    assert other is not None and other.name == "b"
    late = roster.report(report("a", 2), 13.0, 13.0)
    assert late is not None and roster.choose(job("1"), 13.0) is None, "its handshake is not over"
    late.accepted = True
    assert roster.choose(job("1"), 13.0) is late

    roster = after_scheduler_was_lost(stage)
    roster.report(report("b", 3), 10.0 + BACK, 0.0)
    assert roster.choose(job("1"), 10.0 + BACK - 0.1) is None
    instead = roster.choose(job("1"), 10.0 + BACK)
    assert instead is not None and instead.name == "b"


def test_video_that_waits_for_an_encoder_moves_to_an_idle_worker() -> None:
    roster, (a, _) = with_members("a", "b")
    for name in ("1", "2"):
        run_on(a, name)
    roster.report(report("a", 1, jobs=(reported("1", "encode"), reported("2", "waiting"))), 1.0, 1.0)
    assert roster.job_to_move(1.0) == (a, "id-2")
