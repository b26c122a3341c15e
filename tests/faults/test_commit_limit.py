"""A hub that limits commits and does not say how, and one that is full: nothing is given up, nothing encoded again."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.fakes import FakeClock, FakeConverter, MemoryHub, Told
from tests.patience import until
from tests.unit.test_engine import Site
from tools.core.commit_pace import CommitPace
from tools.core.errors import HubError, HubFull, HubRejected, HubUnavailable, IntegrityError
from tools.core.folder import RemoteFile
from tools.core.queue_item import Status
from tools.hub.client import AddBlob, Operation
from tools.processor.batch import Batch
from tools.processor.commits import Commits
from tools.processor.hub_thread import Failed
from tools.processor.item_run import ItemRun
from tools.processor.pause import Pause
from tools.processor.reporting import BatchOver, CommitFailed, LogObserver, Paused

ALL = "ABCDEF"


class LimitedHub(MemoryHub):
    """Answers each commit as ``judge`` says, given its number and its paths: None = it is made."""

    judge: Callable[[int, list[str]], HubError | None] = staticmethod(lambda number, paths: None)
    asked = 0
    taken: list[list[str]]

    def commit(self, repo: str, operations: Sequence[Operation], message: str) -> str:
        self.asked += 1
        paths = [one.path for one in operations if isinstance(one, AddBlob)]
        if error := self.judge(self.asked, paths):
            raise error
        self.taken.append(paths)
        return super().commit(repo, operations, message)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    hub = LimitedHub(FakeClock())
    hub.taken = []
    hub.create_repo("me/out")
    site = Site(tmp_path, hub, FakeConverter())
    site.max_attempts = 2
    site.put({f"{folder}/{n}.mp4": f"{folder}{n}".encode() for folder in ALL for n in range(2)}, *ALL)
    return site


def all_is_published_once(site: Site) -> None:
    for folder in ALL:
        assert site.item(folder).status is Status.COMPLETED and site.item(folder).attempts == 1
        assert site.published(folder).keys() == {"0.mkv", "1.mkv", "metadata.jsonl"}
        assert b"not_before" not in site.published(folder)["metadata.jsonl"]
    assert len(site.converter.encoded) == len(set(site.converter.encoded)) == 12


@pytest.mark.parametrize("status", [429, 503])
def test_folders_share_commits_while_the_hub_limits_them(status: int, site: Site) -> None:
    hub, told = site.hub, Told()
    assert isinstance(hub, LimitedHub)
    site.observers = [LogObserver(), told]
    # Some pass, others do not: more refusals for each folder than there are attempts.
    hub.judge = lambda number, paths: HubUnavailable("not now", status=status) if number < 7 or number % 2 else None
    site.run()
    all_is_published_once(site)
    together = [paths for paths in hub.taken if len({path[0] for path in paths}) > 1]
    assert together and len(hub.taken) < len(ALL), hub.taken
    over = [event for event in told.events if isinstance(event, BatchOver)]
    assert sorted(event.folder for event in over) == list(ALL) and all(event.commit for event in over)


@pytest.mark.parametrize("status", [429, 503])
def test_not_now_for_the_same_commit_again_and_again_while_others_pass_blames_nobody(status: int, site: Site) -> None:
    hub, refused = site.hub, 0
    assert isinstance(hub, LimitedHub)
    site.batch_size, site.slots = 1, 12  # so that others are ready while this one is refused

    def judge(number: int, paths: list[str]) -> HubError | None:
        nonlocal refused
        refused += "B/0.mkv" in paths
        return HubUnavailable("not now", status=status) if "B/0.mkv" in paths and refused < 7 else None

    hub.judge = judge
    site.run()
    all_is_published_once(site)


@pytest.mark.parametrize("error", [HubUnavailable("not now", status=429), HubUnavailable("not now", status=503)])
def test_not_now_counts_no_attempt_of_a_batch_however_often_it_is_said(error: HubUnavailable, site: Site) -> None:
    """Also where the blame falls on this very batch."""
    run, batch, commits, told = publishing(site)
    for _ in range(5):
        commits._not_published(run, batch, error)
    assert (batch.failures, batch.is_over) == (0, False) and all(task.output for task in batch.tasks)
    assert told.events == [CommitFailed("A", 1, "not now")] * 5


def test_full_hub_pauses_at_its_first_word_and_blames_no_batch(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    run, batch, commits, told = publishing(site)
    asked: list[str] = []
    monkeypatch.setattr(Pause, "may_explain", lambda pause, *about: asked.append("explain"))
    for _ in range(5):
        commits._published(run, batch, Failed(HubFull("the hub's storage is full: free space or ask for more")))
    assert not asked and (batch.failures, batch.refusals, batch.is_over, len(run.batches)) == (0, 0, False, 1)
    assert [event.cause for event in told.events if isinstance(event, Paused)] == [
        "the hub's storage is full: free space or ask for more"
    ]


def publishing(site: Site) -> tuple[ItemRun, Batch, Commits, Told]:
    """Folder A with its one batch stored, and nothing of it published."""
    told, hub = Told(), site.hub
    assert isinstance(hub, LimitedHub)
    hub.judge = lambda number, paths: HubUnavailable("down", status=500)
    site.observers = [told]
    engine = site.engine()
    runs = engine._runs
    until(lambda: any(b.outputs() for b in (runs["A"].batches if "A" in runs else ())), "", lambda: engine.turn(0.01))
    run = engine._runs["A"]
    until(lambda: all(task.output for task in run.batches[0].tasks), "", lambda: engine.turn(0.01))
    told.events.clear()
    batch = run.batches[0]
    batch.failures = 0
    engine.close(5)
    told.events.clear()
    return run, batch, engine._commits, told


def test_shared_commit_that_is_refused_is_made_folder_by_folder(site: Site) -> None:
    hub = site.hub
    assert isinstance(hub, LimitedHub)

    def judge(number: int, paths: list[str]) -> HubError | None:
        if number < 4:
            return HubUnavailable("not now", status=429)
        return HubRejected("C/1.mkv is none of ours", status=400) if "C/1.mkv" in paths else None

    hub.judge = judge
    site.run()
    assert [one.path for one in site.item("C").quarantined] == ["C/1.mp4"]
    assert site.published("C").keys() == {"0.mkv", "metadata.jsonl"}
    for folder in set(ALL) - {"C"}:
        assert site.item(folder).status is Status.COMPLETED


def test_shared_commit_that_can_not_be_read_back_now_is_looked_for_and_not_made_again(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hub, cut_off = site.hub, 0
    assert isinstance(hub, LimitedHub)
    site.max_attempts = 1
    hub.judge = lambda number, paths: HubUnavailable("not now", status=429) if number < 4 else None
    real = hub.list_folder

    def list_folder(repo: str, commit: str, folder: str) -> list[RemoteFile]:
        nonlocal cut_off
        is_shared = hub.taken and len({path[0] for path in hub.taken[-1]}) > 1 and folder in str(hub.taken[-1])
        if repo == "me/out" and is_shared and cut_off < 2:
            cut_off += 1
            raise HubUnavailable("cut off", status=502)
        return real(repo, commit, folder)

    monkeypatch.setattr(hub, "list_folder", list_folder)
    site.run()
    all_is_published_once(site)
    paths = [path for taken in hub.taken for path in taken]
    assert cut_off == 2 and len(paths) == len(set(paths)) == 12 and "批次处理失败" not in caplog.text


@pytest.mark.parametrize("error", [HubUnavailable("cut off", status=502), IntegrityError("not as it was sent")])
def test_shared_commit_that_fails_otherwise_is_put_down_to_none_of_its_folders(site: Site, error: HubError) -> None:
    hub = site.hub
    assert isinstance(hub, LimitedHub)
    site.max_attempts = 1

    def judge(number: int, paths: list[str]) -> HubError | None:
        if number < 4:
            return HubUnavailable("not now", status=429)
        return error if len({path[0] for path in paths}) > 1 else None

    hub.judge = judge
    site.run()
    all_is_published_once(site)
    assert hub.asked > len(hub.taken) + 3, "one was shared"


def test_full_hub_pauses_by_name_and_keeps_what_was_encoded(site: Site) -> None:
    """Also if small commits were taken since this one began to fail."""
    hub = site.hub
    assert isinstance(hub, LimitedHub)
    site.slots = 12  # so that other folders are ready, and are taken, while this one is refused
    is_full, refused = True, 0
    full = HubFull("the hub's storage is full: free space or ask for more", status=400)

    def judge(number: int, paths: list[str]) -> HubError | None:
        nonlocal refused
        refused += is_full and paths[0][0] == "B"
        return full if is_full and paths[0][0] == "B" else None

    hub.judge = judge
    engine = site.engine()

    def turn() -> None:
        assert not site.item("B").quarantined and site.item("B").status is not Status.FAILED
        engine.turn(0.01)

    until(lambda: refused >= 6 and engine.needs_person, lambda: (engine.paused, hub.asked), turn)
    assert "free space or ask for more" in str(engine.paused)
    is_full = False
    until(engine.is_idle, lambda: engine.paused, lambda: engine.turn(0.01))
    engine.close(5)
    all_is_published_once(site)


def test_pace_doubles_with_each_refusal_and_ends_when_the_hub_takes_all_again() -> None:
    pace = CommitPace(60)
    assert pace.may_commit(0) and not pace.is_limited
    assert pace.refused(0) == 60 and not pace.may_commit(59) and pace.may_commit(60)
    assert pace.refused(60) == 180 and not pace.may_commit(179)
    for _ in range(20):
        last = pace.refused(1000)
    assert last == 1600, "at most so long"
    waits: list[float] = []
    while pace.is_limited:
        pace.taken(2000)
        waits.append(pace.wait)
    assert waits == [300, 150, 75, 37.5, 0] and pace.may_commit(2000)
