"""Monitor and processor's engine over the real client and the embedded hub, which fails in every way that it can.

The videos are not encoded here (a converter that copies), so that many outages fit into little time.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from config import Settings
from tests import patience
from tests.fakes import FakeClock, FakeConverter
from tests.hub_server import Fault, RunningHub, running_hub
from tests.unit.test_engine import EXTENSIONS
from tools.core.folder import group_folders
from tools.core.queue_item import QueueItem, Status, new_item
from tools.hub.modelscope_client import ModelScopeHub
from tools.hub.retrying import Backoff, RetryingHub
from tools.modelscope_monitor import ModelScopeMonitor
from tools.processor import pause
from tools.processor.build import ProcessorOptions, build
from tools.processor.engine import Engine
from tools.processor.hub_thread import Answer, HubThreads, Inbox, T, Work
from tools.runtime.clock import Clock, SystemClock
from tools.stages.job_context import JobTools
from tools.state.work_queue import WorkQueue

COMMIT = "/commit/master"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    with running_hub(tmp_path_factory.mktemp("hub"), max_page_size=20) as running:
        yield running


class CountedThreads(HubThreads):
    """Knows what it still asks: a program's end takes its threads along, that of an engine alone does not."""

    left = 0
    _counting = threading.Lock()

    def do(self, work: Work, about: str, call: Callable[[], T], then: Callable[[Answer[T]], None]) -> None:
        def counted() -> T:
            try:
                return call()
            finally:
                with self._counting:
                    self.left -= 1

        with self._counting:
            self.left += 1
        super().do(work, about, counted, then)


@dataclass(slots=True)
class Site:
    """A processor's parts over temporary folders, with waits of a hundredth of the real ones."""

    top: Path
    hub: RunningHub
    token: str
    converter: FakeConverter = field(default_factory=FakeConverter)
    batch_size: int = 30
    max_attempts: int = 2
    tries: int = 3
    patience: float = 35.0
    clock: SystemClock = field(default_factory=SystemClock)

    def client(self) -> RetryingHub:
        clock = self.clock
        retry = Backoff(clock, attempts=self.tries, base=0.02, patience=self.patience).retry
        real = ModelScopeHub(self.hub.endpoint, self.token, cache_dir=self.top / "cache", retry=retry)
        return RetryingHub(real, clock, attempts=self.tries, base=0.02, patience=self.patience, late_commit=0.1)

    def connect(self, tools: JobTools) -> RetryingHub:
        tools.workspace.prepare()
        client = self.client()
        client.whoami()
        if not client.repo_exists("me/out"):
            client.create_repo("me/out")
        return client

    def put(self, folder: str, *names: str) -> None:
        """Files by hand into the input dataset, and their folder into the queue."""
        store = self.hub.store
        changes = {}
        for name in names:
            path = f"{folder}/{name}"
            received = store.blobs.incoming()
            received.write_bytes(path.encode())
            sha256 = digest(path)
            store.blobs.add(received, sha256)
            changes[path] = {"sha256": sha256, "size": len(path.encode())}
        commit = store.commit(store.repo("me/in"), changes, "put", "test")
        grouped = group_folders(self.client().list_files("me/in", commit), EXTENSIONS)
        with WorkQueue(self.top / "log").transaction() as view:
            view.put(new_item(grouped[folder], time.time()))

    def item(self, folder: str) -> QueueItem:
        found = WorkQueue(self.top / "log").read().get(folder)
        assert found is not None
        return found

    def run(self, until: Callable[[Engine], bool] = Engine.is_idle) -> Engine:
        log_dir = self.top / "log"
        options = ProcessorOptions(
            input_repo="me/in",
            output_repo="me/out",
            log_dir=log_dir,
            work_dir=self.top / "work",
            check_interval=0.02,
            stable_time=0.1,
            extensions=EXTENSIONS,
            batch_size=self.batch_size,
            max_attempts=self.max_attempts,
        )
        threads: list[CountedThreads] = []

        def make(inbox: Inbox) -> CountedThreads:
            threads.append(CountedThreads(inbox))
            return threads[-1]

        built = build(options, self.client(), self.converter, self.clock, connect=self.connect, make_hub_threads=make)
        engine = built.engine
        patience.until(
            lambda: until(engine),
            lambda: (engine.paused, WorkQueue(log_dir).read().items()),
            lambda: engine.turn(0.01),
        )
        engine.close(5)
        # A commit of this run that is made later would be one too many of the next run, or of the next test.
        patience.until(lambda: not any(one.left for one in threads), "the hub has answered all that it was asked")
        return engine

    def published(self) -> list[str]:
        return sorted(path for path in self.hub.store.repo("me/out").tree if path.endswith(".mkv"))


@pytest.fixture
def site(running: RunningHub, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Site:
    caplog.set_level(logging.INFO)
    running.renew(tmp_path / "hub")
    running.store.create("me/in", 1)
    running.store.create("me/out", 1)
    return Site(tmp_path, running, running.token)


def digest(content: str) -> str:
    import hashlib

    return hashlib.sha256(content.encode()).hexdigest()


def told(caplog: pytest.LogCaptureFixture, text: str) -> list[str]:
    return [record.levelname for record in caplog.records if text in record.getMessage()]


def lasts(site: Site, fault: Fault, rounds: int) -> Callable[[Engine], bool]:
    """Idle, the fault being mended once it made for so many pauses."""
    seen: list[str] = []

    def until(engine: Engine) -> bool:
        if engine.paused and (not seen or seen[-1] != "paused"):
            seen.append("paused")
        elif not engine.paused and seen and seen[-1] == "paused":
            seen.append("resumed")
        if seen.count("paused") > rounds:
            fault.times = 0
        return engine.is_idle() and fault.times == 0

    return until


# --- the hub as a whole ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("match", "kind"),
    [
        ("/repo?Revision", "expired"),
        ("/repo?Revision", "status:503"),
        ("/objects/batch", "status:500"),
        ("PUT ", "reset"),
        (COMMIT, "status:503"),
        (COMMIT, "unsuccess"),
        ("/repo/tree", "html"),
        ("me/out/commits", "status:504"),
    ],
)
def test_outage_of_one_part_of_the_hub_pauses_is_told_once_and_uses_up_no_attempt(
    site: Site, caplog: pytest.LogCaptureFixture, match: str, kind: str
) -> None:
    """The hub still says who we are all the while: only what it does for others shows whose fault it is."""
    site.max_attempts = 1
    site.hub.storage = kind == "expired"
    site.put("A", *(f"{n}.mp4" for n in range(5)))
    fault = Fault(match, kind, times=10**6)
    site.hub.faults.append(fault)
    site.run(lasts(site, fault, 4))
    assert site.item("A").status is Status.COMPLETED and not site.item("A").quarantined
    assert site.published() == [f"A/{n}.mkv" for n in range(5)]
    assert told(caplog, "PAUSED") == ["WARNING"], [record.getMessage() for record in caplog.records]
    assert [record.levelname for record in caplog.records if record.getMessage() == "resumed"] == ["INFO"]
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(site.hub.store.repo("me/out").commits) == 1
    assert sorted(site.converter.encoded) == sorted(f"A/{n}.mp4".encode() for n in range(5)), "none encoded twice"


def test_hub_that_is_down_altogether_is_waited_for(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.max_attempts = 1
    site.put("A", "1.mp4", "2.mp4")
    fault = Fault("/", "reset", times=20, skip=12)
    site.hub.faults.append(fault)
    site.run(lambda engine: engine.is_idle() and fault.hits > 32)
    assert site.item("A").status is Status.COMPLETED and told(caplog, "PAUSED") == ["WARNING"]
    assert len(site.hub.store.repo("me/out").commits) == 1


def test_pauses_grow_longer_so_a_sick_hub_is_not_hammered(site: Site) -> None:
    site.put("A", "1.mp4")
    fault = Fault(COMMIT, "status:503", times=10**6)
    site.hub.faults.append(fault)
    began = time.monotonic()
    site.run(lasts(site, fault, 5))
    # Doubled four times; without growth it were 0.1 s.
    assert time.monotonic() - began > 0.02 * (1 + 2 + 4 + 8 + 16)


# --- one video, one commit -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["status:500", "reset", "expired", "status:403"])
def test_one_video_that_the_hub_can_not_give_is_quarantined_and_keeps_nothing_back(site: Site, kind: str) -> None:
    """Nothing else is left to do that would tell whether it is the hub."""
    site.hub.storage = kind == "expired"
    site.put("A", *(f"{n}.mp4" for n in range(4)))
    site.put("B", "9.mp4")
    site.hub.faults.append(Fault("FilePath=A%2F1.mp4", kind, times=10**6))
    site.run()
    assert [q.path for q in site.item("A").quarantined] == ["A/1.mp4"]
    assert "tried 2 times" in site.item("A").quarantined[0].cause
    assert site.item("B").status is Status.COMPLETED
    assert site.published() == ["A/0.mkv", "A/2.mkv", "A/3.mkv", "B/9.mkv"]


@pytest.mark.parametrize("is_restarted", [False, True])
def test_last_video_of_all_that_the_hub_can_not_give_is_alone_in_its_folder(
    site: Site, caplog: pytest.LogCaptureFixture, is_restarted: bool
) -> None:
    site.put("B", "0.mp4", "9.mp4")
    if is_restarted:
        site.run()
        site.put("A", "1.mp4")
    site.hub.faults.append(Fault("FilePath=A%2F1.mp4", "status:500", times=10**6))

    def over(engine: Engine) -> bool:
        if site.item("B").status is Status.COMPLETED and len(queued) < 2:
            queued.append("A")
            site.put("A", "1.mp4")
        return engine.is_idle() and len(queued) == 2

    queued = ["B", "A"] if is_restarted else ["B"]
    site.run(over)
    (given_up,) = site.item("A").quarantined
    assert given_up.path == "A/1.mp4" and "tried 2 times" in given_up.cause and given_up.is_spent
    assert site.published() == ["B/0.mkv", "B/9.mkv"] and not told(caplog, "PAUSED")
    asked = site.hub.asked("FilePath=A%2F1.mp4")
    assert asked >= 4 * site.tries, "twice until another one was given, twice after it; what is given before counts not"
    assert asked <= site.tries * (site.hub.asked("/users/me") + 1), "once for each answer of the hub"


@pytest.mark.parametrize("kind", ["status:500", "reset"])
def test_several_videos_that_the_hub_can_not_give_are_no_evidence_for_each_other(site: Site, kind: str) -> None:
    site.put("A", *(f"{n}.mp4" for n in range(5)))
    site.hub.faults += [Fault(f"FilePath=A%2F{n}.mp4", kind, times=10**6) for n in (1, 2, 4)]
    site.run()
    assert [q.path for q in site.item("A").quarantined] == ["A/1.mp4", "A/2.mp4", "A/4.mp4"]
    assert all("tried 2 times" in q.cause for q in site.item("A").quarantined)
    assert site.published() == ["A/0.mkv", "A/3.mkv"]


@pytest.mark.parametrize("kind", ["status:503", "reset", "expired", "status:403"])
def test_outage_that_only_the_last_video_meets_stays_one_and_is_asked_about_little(
    site: Site, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    site.max_attempts = 1
    site.put("A", "0.mp4", "1.mp4", "2.mp4")
    site.run()
    site.hub.storage = kind == "expired"
    site.hub.requests.clear()
    site.put("B", "1.mp4")
    fault = Fault("/repo?Revision", kind, times=10**6)
    site.hub.faults.append(fault)
    site.run(lasts(site, fault, 5))
    assert site.item("B").status is Status.COMPLETED and len(site.published()) == 4
    assert told(caplog, "PAUSED") == ["ERROR" if kind == "status:403" else "WARNING"]
    asked = [line for line in site.hub.requests if line.startswith("GET /api/")]  # not again by the storage
    own, others = (sum(f"FilePath={folder}%2F" in line for line in asked) for folder in "BA")
    attempts = own / (1 if kind == "status:403" else site.tries)
    assert 3 <= others < attempts <= site.hub.asked("/users/me"), (others, own)


def test_video_with_no_other_beside_it_is_paused_for_and_told_to_a_person_after_a_while(
    site: Site, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pause, "_LONG", 0.2)
    site.put("A", "1.mp4")
    fault = Fault("FilePath=A%2F1.mp4", "status:500", times=10**6)
    site.hub.faults.append(fault)

    def until(engine: Engine) -> bool:
        if "--cancel" in str(engine.paused):
            assert engine.paused and "A/1.mp4" in engine.paused and "500" in engine.paused
            fault.times = 0
        return engine.is_idle() and fault.times == 0

    site.run(until)
    assert told(caplog, "PAUSED") == ["WARNING", "WARNING"] and told(caplog, "--cancel") == ["WARNING"]
    assert site.item("A").status is Status.COMPLETED, "no attempt was counted"


def test_content_that_is_wrong_for_ever_is_quarantined(site: Site) -> None:
    site.put("A", "0.mp4", "1.mp4")
    site.hub.faults.append(Fault("FilePath=A%2F1.mp4", "corrupt", times=10**6))
    site.run()
    cause = site.item("A").quarantined[0].cause
    assert site.published() == ["A/0.mkv"] and "mismatch" in cause and "tried 2 times" in cause


def test_batch_with_a_path_that_the_hub_refuses_is_published_but_for_that(site: Site) -> None:
    """A folder that bears the name which a video of its sister gets: a file and a folder of one name."""
    site.put("A/1.mkv", "inner.mp4")
    site.run()
    site.put("A", *(f"{n}.mp4" for n in range(6)))
    site.run()
    assert [q.path for q in site.item("A").quarantined] == ["A/1.mp4"]
    assert site.published() == ["A/0.mkv", "A/1.mkv/inner.mkv", *(f"A/{n}.mkv" for n in range(2, 6))]


def test_blob_that_vanished_before_its_commit_is_sent_again(site: Site) -> None:
    site.put("A", "1.mp4")

    def vanish(engine: Engine) -> bool:
        blob = site.hub.store.blobs.path(digest("av1:A/1.mp4"))
        if blob.exists() and not site.published():
            blob.unlink()
            return True
        return False

    fault = Fault(COMMIT, "status:503", times=10**6)
    site.hub.faults.append(fault)
    site.run(vanish)
    fault.times = 0
    site.run()
    assert site.published() == ["A/1.mkv"] and site.converter.encoded == [b"A/1.mp4"]


def test_commit_limit_of_the_hub_is_kept_and_every_batch_is_one_commit(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """Two of three commits are refused as too many: the waits that it asks for are kept, nothing is sent twice."""
    site.batch_size, site.max_attempts = 2, 1
    site.put("A", *(f"{n}.mp4" for n in range(8)))
    limits = [Fault(COMMIT, "status:429", times=1, skip=skip, retry_after=1) for skip in (0, 1, 2)]
    site.hub.faults += limits
    began = time.monotonic()
    site.run()
    assert len(site.hub.store.repo("me/out").commits) == 4 and len(site.published()) == 8
    assert site.hub.asked(COMMIT) == 4 + 3 and time.monotonic() - began >= 3
    assert told(caplog, "批次处理成功") == ["INFO"] * 4


def test_hub_that_wants_to_be_left_alone_for_long_is_left_alone(site: Site) -> None:
    site.patience = 0.5
    site.put("A", "1.mp4")
    site.hub.faults.append(Fault(COMMIT, "status:429", times=1, retry_after=2))
    began = time.monotonic()
    site.run()
    assert site.hub.asked(COMMIT) == 2 and time.monotonic() - began >= 2


def test_output_dataset_that_somebody_deleted_is_made_again(site: Site) -> None:
    site.put("A", "1.mp4", "2.mp4")
    fault = Fault(COMMIT, "status:404", times=site.tries)
    site.hub.faults.append(fault)
    site.run()
    assert site.published() == ["A/1.mkv", "A/2.mkv"] and site.item("A").status is Status.COMPLETED


# --- the token -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("match", ["/repo?Revision", "/objects/batch", COMMIT, "me/out/commits"])
def test_right_that_is_missing_for_one_thing_is_one_error_until_somebody_gives_it(
    site: Site, caplog: pytest.LogCaptureFixture, match: str
) -> None:
    """A token that may read but not write: who we are is answered well all the while."""
    site.max_attempts = 1
    site.put("A", "1.mp4", "2.mp4")
    fault = Fault(match, "status:403", times=10**6)
    site.hub.faults.append(fault)
    site.run(lasts(site, fault, 3))
    assert told(caplog, "PAUSED") == ["ERROR"] and "MODELSCOPE_API_TOKEN" in caplog.text
    assert site.item("A").status is Status.COMPLETED and len(site.hub.store.repo("me/out").commits) == 1


def test_token_that_expires_while_work_runs_is_one_error_and_a_new_one_goes_on_in_its_place(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.max_attempts = 1
    site.put("A", *(f"{n}.mp4" for n in range(5)))
    asked = 0

    def expire(stage: str, source: Path, stop: threading.Event) -> None:
        nonlocal asked
        if len(site.converter.encoded) >= 2 and not asked:
            asked = site.hub.asked("/users/me")
            site.hub.token = "another-token"

    site.converter = FakeConverter(during=expire)

    def until(engine: Engine) -> bool:
        if site.hub.token != site.token and site.hub.asked("/users/me") > asked + 4:
            site.token = site.hub.token
        return engine.is_idle()

    site.run(until)
    assert site.token == "another-token" and told(caplog, "PAUSED") == ["ERROR"]
    assert site.item("A").status is Status.COMPLETED and len(site.published()) == 5
    assert len(site.converter.encoded) == 5, "what was done stays done"


# --- the monitor -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        Fault("/repo/tree", "status:500", times=10**6),
        Fault("/repo/tree", "html", times=10**6),
        Fault("/repo/tree", "unsuccess", times=10**6),
        Fault("/repo/tree", "status:403", times=10**6),
        Fault("/repo/tree", "status:404", times=10**6),
        Fault("PageNumber=2&", "status:403", times=10**6),
        Fault("PageNumber=2&", "empty", times=10**6),
        Fault("PageNumber=2&", "short", times=10**6),
        Fault("PageNumber=3&", "repeat", times=10**6),
        Fault("PageNumber=3&", "junk", times=10**6),
        Fault("/commits", "reset", times=10**6),
        Fault("/commits", "status:401", times=10**6),
    ],
    ids=lambda fault: f"{fault.match} {fault.kind}",
)
def test_listing_that_fails_or_comes_up_short_changes_nothing_that_the_monitor_knows(
    site: Site, fault: Fault, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**environment(site), "ANIMATION_DOTENV": str(site.top / "none")}.items():
        monkeypatch.setenv(name, value)
    clock = FakeClock(time.time())
    site.put("A", *(f"{n}.mp4" for n in range(30)))
    monitor = watch(site, clock)
    monitor.turn()
    state = site.top / "watched" / "monitor_state.json"
    before = state.read_bytes()
    site.put("B", *(f"{n}.mp4" for n in range(30)))
    site.hub.faults.append(Fault(fault.match, fault.kind, times=fault.times))
    for _ in range(2):
        clock.pass_time(300)
        monitor.turn()
    assert state.read_bytes() == before and "no longer in" not in caplog.text
    problems = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(problems) == (1 if "40" in fault.kind and "=" not in fault.match else 0), "once, and only for a person"
    site.hub.faults.clear()
    clock.pass_time(300)
    monitor.turn()
    assert b'"B"' in state.read_bytes() and "no longer in" not in caplog.text


def environment(site: Site) -> dict[str, str]:
    return {
        "INPUT_REPO": "me/in",
        "OUTPUT_REPO": "me/out",
        "MODELSCOPE_ENDPOINT": site.hub.endpoint,
        "MODELSCOPE_API_TOKEN": site.token,
        "LOG_DIR": str(site.top / "watched"),
        "WORK_DIR": str(site.top / "work"),
    }


def watch(site: Site, clock: Clock) -> ModelScopeMonitor:
    real = ModelScopeHub(
        site.hub.endpoint,
        site.token,
        cache_dir=site.top / "cache",
        retry=Backoff(clock).retry,
    )
    return ModelScopeMonitor(Settings.load(environment(site)), hub=RetryingHub(real, clock), clock=clock)
