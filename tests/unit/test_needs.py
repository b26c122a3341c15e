"""What workers may end and delete: nothing that a live item of the queue still needs."""

from tests.jobs import mkv
from tools.cluster.needs import Needs
from tools.cluster.roster import Member
from tools.cluster.worker_report import ReportedJob
from tools.core.folder import RemoteFile
from tools.core.planning import VideoJob
from tools.stages.workspace import video_key


def source(name: str) -> RemoteFile:
    return RemoteFile(f"A/{name}", 1, "")


def key(name: str) -> str:
    return video_key("A", source(name))


def job(name: str) -> VideoJob:
    return VideoJob(f"id-{name}", 1, "A", "me/in", "c", source(name), mkv())


def worker(*running: str, held: str = "") -> Member:
    """One that runs videos 1, 2, 3 of folder A, some of them for us, and holds some."""
    member = Member("incarnation", "w", "tcp://w", 1, 0.0, 0.0)
    reported = (
        ReportedJob(attempt_id=f"id-{name}", key=key(name), video=f"A/{name}", stage="encode") for name in "123"
    )
    member.jobs = {one.attempt_id: one for one in reported}
    member.running = {f"id-{name}": job(name) for name in running}
    member.held = {key(name): True for name in held}
    return member


def test_job_of_an_older_run_is_ended_if_its_video_runs_elsewhere_or_belongs_to_no_item() -> None:
    needs = Needs()
    needs.set_live(["A"])
    assert needs.unwanted(worker("1"), {key("1"), key("2")}) == ["id-2"], "runs elsewhere; ours stays"
    needs.set_live(["B"])
    assert needs.unwanted(worker("1"), set()) == ["id-2", "id-3"], "of no item; ours stays"


def test_result_is_deleted_once_it_is_forgotten_or_belongs_to_no_item() -> None:
    needs = Needs()
    needs.set_live(["A"])
    member = worker(held="12")
    assert needs.leftovers(member) == []
    needs.forget("A", source("1"))
    assert needs.leftovers(member) == [key("1")]
    needs.add(job("1"))
    assert needs.leftovers(member) == [], "submitted again"
    needs.forget("A")
    assert needs.leftovers(member) == [key("1"), key("2")]
    needs.add(job("2"))
    assert needs.leftovers(member) == [], "its item is live again"


def test_nothing_is_ended_or_deleted_before_it_is_known_which_items_live() -> None:
    needs = Needs()
    needs.forget("A", source("1"))
    needs.forget("A")
    assert needs.unwanted(worker(held="1"), {key("1")}) == [] and needs.leftovers(worker(held="1")) == []
