"""The monitor over a hub in memory and a clock that moves on demand."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from config import Settings
from tests.fakes import FakeClock, MemoryHub
from tools.core.errors import HubUnavailable
from tools.core.folder import RemoteFile
from tools.core.queue_item import Status, claim, settle
from tools.hub.client import Head
from tools.modelscope_monitor import ModelScopeMonitor
from tools.report.waiting import waiting_lines
from tools.state.monitor_state import MonitorStateFile
from tools.state.work_queue import WorkQueue

REPO = "me/in"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def hub(clock: FakeClock) -> MemoryHub:
    return MemoryHub(clock)


def monitor(tmp_path: Path, hub: MemoryHub, clock: FakeClock, **env: str) -> ModelScopeMonitor:
    settings = Settings.load({"INPUT_REPO": REPO, "OUTPUT_REPO": "me/out", "LOG_DIR": str(tmp_path), **env})
    return ModelScopeMonitor(settings, hub=hub, clock=clock)


def statuses(tmp_path: Path) -> dict[str, str]:
    return {item.folder: item.status.value for item in WorkQueue(tmp_path).read().items()}


def test_folder_is_queued_once_and_only_after_the_stable_time(tmp_path: Path, hub: MemoryHub, clock: FakeClock) -> None:
    watch = monitor(tmp_path, hub, clock)
    hub.put(REPO, {"A/1.mp4": b"1", "readme.txt": b"x"})
    assert watch.check() == []
    while clock.now < 1_700_000_000 + 595:
        clock.pass_time(100)
        if clock.now < 1_700_000_000 + 600:
            assert watch.check() == []
    clock.pass_time(2)
    assert watch.check() == ["A"]
    clock.pass_time(1000)
    assert watch.check() == []


def test_upload_in_progress_is_never_queued(tmp_path: Path, hub: MemoryHub, clock: FakeClock) -> None:
    watch = monitor(tmp_path, hub, clock)
    for number in range(12):
        hub.put(REPO, {f"A/{number}.mp4": b"x"})
        clock.pass_time(300)
        assert watch.check() == []


def test_folder_finished_long_before_the_first_poll_is_queued_at_once(
    tmp_path: Path, hub: MemoryHub, clock: FakeClock
) -> None:
    hub.put(REPO, {"A/1.mp4": b"1"})
    clock.pass_time(5000)
    assert monitor(tmp_path, hub, clock).check() == ["A"]


def test_next_poll_is_not_later_than_the_moment_of_stability(tmp_path: Path, hub: MemoryHub, clock: FakeClock) -> None:
    watch = monitor(tmp_path, hub, clock)
    hub.put(REPO, {"A/1.mp4": b"1"})
    clock.pass_time(500)
    assert watch.turn() == pytest.approx(101, abs=2)
    clock.pass_time(102)
    watch.turn()
    assert statuses(tmp_path) == {"A": "pending"}


@pytest.mark.parametrize("seed", range(20))
def test_folder_is_queued_one_request_after_the_stable_time_however_slow_the_hub(
    tmp_path: Path, hub: MemoryHub, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Besides, the hub's whole seconds leave one open for the commit, and most of another where its clock is new."""
    chance = random.Random(seed)
    request, whole = chance.uniform(0.05, 4.0), hub.head

    def slow(repo: str) -> Head | None:
        clock.pass_time(request / 2)
        answer = whole(repo)
        clock.pass_time(request / 2)
        return answer

    monkeypatch.setattr(hub, "head", slow)
    clock.pass_time(chance.random())
    hub.put(REPO, {"before/1.mp4": b"1"})
    watch = monitor(tmp_path, hub, clock, MONITOR_INTERVAL="100")
    planned = sorted((clock.now + chance.uniform(0, 2000) for _ in range(4)), reverse=True)
    committed: dict[str, float] = {}
    queued: dict[str, float] = {}
    while len(queued) < 5 and clock.now < 1_700_000_000 + 4000:
        wait = watch.turn()
        until = clock.now + wait
        for name in statuses(tmp_path):
            queued.setdefault(name, clock.now)
        while planned and planned[-1] < until:
            clock.pass_time(max(0.0, planned.pop() - clock.now))
            name = f"F{len(planned)}"
            hub.put(REPO, {f"{name}/1.mp4": b"1"}, name)
            committed[name] = clock.now
        clock.pass_time(until - clock.now)
    assert len(committed) == 4
    for name, moment in committed.items():
        assert 600 <= queued[name] - moment <= 600 + 1 + 1 + 2 * request


@pytest.mark.parametrize("elsewhere", [False, True], ids=["alone", "with commits to other folders"])
@pytest.mark.parametrize(
    "change",
    [
        [{"A/3.mp4": b"3"}],
        [{"A/1.mp4": b"longer"}],
        [{"A/2.mp4": None}],
        [{"A/3.mp4": b"3", "A/4.mp4": b"4"}, {"A/1.mp4": None}],
        [{"A/2.mp4": None}, {"A/3.mp4": b"3"}],
        [{"A/2.mp4": None}, {"A/2.mp4": b"2"}],
    ],
    ids=["added", "replaced", "deleted", "added, then deleted", "deleted, then added", "deleted and put back"],
)
def test_any_change_of_a_known_folder_counts_from_its_last_commit(
    tmp_path: Path,
    hub: MemoryHub,
    clock: FakeClock,
    change: list[dict[str, bytes | None]],
    elsewhere: bool,
) -> None:
    """Not from the poll that found it, an interval later; if another folder changed later, at worst from that."""
    hub.put(REPO, {"A/1.mp4": b"1", "A/2.mp4": b"2"})
    watch = monitor(tmp_path, hub, clock)
    clock.pass_time(200)
    next_poll = clock.now + watch.turn()
    for step in change:
        clock.pass_time(40)
        hub.put(REPO, step, str(step))
    changed = clock.now
    if elsewhere:
        clock.pass_time(30)
        hub.put(REPO, {"B/1.mp4": b"1"}, "B")
    while "A" not in statuses(tmp_path) and clock.now < changed + 2000:
        clock.pass_time(next_poll - clock.now)
        next_poll = clock.now + watch.turn()
    assert 600 <= clock.now - changed <= 600 + 2 + 30 * elsewhere


def test_folder_without_a_video_is_remembered_but_not_queued(tmp_path: Path, hub: MemoryHub, clock: FakeClock) -> None:
    hub.put(REPO, {"字幕/1.ass": b"1"})
    clock.pass_time(5000)
    assert monitor(tmp_path, hub, clock).check() == []
    assert "字幕" in (tmp_path / "monitor_state.json").read_text(encoding="utf-8")


def test_marker_makes_a_folder_complete_at_once(tmp_path: Path, hub: MemoryHub, clock: FakeClock) -> None:
    hub.put(REPO, {"A/1.mp4": b"1", "A/_SUCCESS": b""})
    assert monitor(tmp_path, hub, clock, COMPLETE_MARKER="_SUCCESS").check() == ["A"]


def test_folder_with_half_uploaded_files_is_not_complete_however_quiet(
    tmp_path: Path, hub: MemoryHub, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    hub.put(REPO, {"A/1.mp4": b"1", "A/2.mp4.aria2": b"2", "B/1.mp4": b"1", "B/Thumbs.db": b"t"})
    clock.pass_time(5000)
    watch = monitor(tmp_path, hub, clock)
    assert watch.check() == ["B"] and watch.check() == []
    assert watch.turn() > 200, "no time alone makes it complete"
    again = monitor(tmp_path, hub, clock)
    assert again.check() == [] and caplog.text.count("2.mp4.aria2 is half-uploaded") == 1
    state, now = MonitorStateFile(tmp_path).read(), clock.now
    assert "2.mp4.aria2" in "".join(waiting_lines(state, {}, now, 600.0))
    without = monitor(tmp_path / "other", hub, clock, WAIT_FOR_PARTIAL="0")
    assert without.check() == ["A", "B"]
    hub.put(REPO, {"A/2.mp4.aria2": None, "A/2.mp4": b"whole"})
    assert again.check() == []
    clock.pass_time(601)
    assert again.check() == ["A"]


def test_setting_frees_what_was_kept_back(tmp_path: Path, hub: MemoryHub, clock: FakeClock) -> None:
    hub.put(REPO, {"A/1.mp4": b"1", "A/2.mp4.part": b"2"})
    clock.pass_time(5000)
    assert monitor(tmp_path, hub, clock).check() == []
    assert monitor(tmp_path, hub, clock, WAIT_FOR_PARTIAL="0").check() == ["A"]


def test_unchanged_head_is_not_listed_again(
    tmp_path: Path, hub: MemoryHub, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.put(REPO, {"A/1.mp4": b"1"})
    watch = monitor(tmp_path, hub, clock)
    watch.check()

    def listed(repo: str, commit: str) -> Iterator[RemoteFile]:
        raise AssertionError("listed again")

    monkeypatch.setattr(hub, "list_files", listed)
    for _ in range(3):
        clock.pass_time(300)
        watch.check()
    assert statuses(tmp_path) == {"A": "pending"}


def test_listing_that_breaks_off_looks_like_no_deletion(
    tmp_path: Path, hub: MemoryHub, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.put(REPO, {"A/1.mp4": b"1", "B/1.mp4": b"1"})
    watch = monitor(tmp_path, hub, clock)
    watch.check()
    whole = hub.list_files
    clock.pass_time(700)
    hub.put(REPO, {"C/1.mp4": b"1"})

    def breaking(repo: str, commit: str) -> Iterator[RemoteFile]:
        yield next(iter(whole(repo, commit)))
        raise HubUnavailable("cut")

    monkeypatch.setattr(hub, "list_files", breaking)
    assert watch.turn() == watch.monitor_interval
    monkeypatch.setattr(hub, "list_files", whole)
    assert sorted(watch.check()) == ["A", "B"]


def test_changed_folder_is_queued_again_once_it_is_settled(tmp_path: Path, hub: MemoryHub, clock: FakeClock) -> None:
    hub.put(REPO, {"A/1.mp4": b"1"})
    watch = monitor(tmp_path, hub, clock)
    clock.pass_time(700)
    assert watch.check() == ["A"]
    queue = WorkQueue(tmp_path)
    with queue.transaction() as view:
        view.put(claim(view.items()[0], clock.now))
    hub.put(REPO, {"A/2.mp4": b"2"})
    clock.pass_time(300)
    watch.check()
    clock.pass_time(700)
    assert watch.check() == [], "the processor has it"
    with queue.transaction() as view:
        view.put(settle(view.items()[0], clock.now))
    clock.pass_time(300)
    assert watch.check() == ["A"]
    item = queue.read().items()[0]
    assert (item.status, item.file_count, item.attempts, item.runs) == (Status.PENDING, 2, 0, 1)


def test_settled_item_that_somebody_deleted_is_not_queued_again_but_a_lost_pending_one_is(
    tmp_path: Path, hub: MemoryHub, clock: FakeClock
) -> None:
    hub.put(REPO, {"A/1.mp4": b"1", "B/1.mp4": b"1"})
    watch = monitor(tmp_path, hub, clock)
    clock.pass_time(700)
    watch.check()
    queue = WorkQueue(tmp_path)
    with queue.transaction() as view:
        item = view.get("A")
        assert item is not None
        view.put(settle(claim(item, clock.now), clock.now))
    clock.pass_time(300)
    watch.check()
    queue.path.write_text("[]", encoding="utf-8")
    clock.pass_time(300)
    assert watch.check() == ["B"]


@pytest.mark.parametrize("jump", [-86400.0, 86400.0, 3600.0, -3600.0])
def test_jump_of_the_wall_clock_makes_no_folder_early_and_none_stuck(
    tmp_path: Path, hub: MemoryHub, clock: FakeClock, jump: float
) -> None:
    watch = monitor(tmp_path, hub, clock)
    hub.put(REPO, {"A/1.mp4": b"1"})
    watch.check()
    clock.now += jump
    clock.pass_time(300)
    assert watch.check() == []
    clock.pass_time(302)
    assert watch.check() == ["A"]


def test_restart_continues_counting_from_where_it_stopped(tmp_path: Path, hub: MemoryHub, clock: FakeClock) -> None:
    hub.put(REPO, {"A/1.mp4": b"1"})
    monitor(tmp_path, hub, clock).check()
    clock.pass_time(400)
    assert monitor(tmp_path, hub, clock).check() == []
    clock.pass_time(300)
    assert monitor(tmp_path, hub, clock).check() == ["A"]


def test_damaged_state_file_costs_waiting_and_nothing_else(tmp_path: Path, hub: MemoryHub, clock: FakeClock) -> None:
    hub.put(REPO, {"A/1.mp4": b"1"})
    monitor(tmp_path, hub, clock).check()
    for path in tmp_path.glob("monitor_state.json*"):
        path.write_bytes(b"\x00garbage")
    clock.pass_time(1300)
    assert monitor(tmp_path, hub, clock).check() == ["A"]


def test_hub_that_is_down_is_told_once_and_not_as_an_error(
    tmp_path: Path, hub: MemoryHub, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hub.put(REPO, {"A/1.mp4": b"1"})
    watch = monitor(tmp_path, hub, clock)

    def down(repo: str) -> None:
        raise HubUnavailable("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(hub, "head", down)
        for _ in range(5):
            watch.turn()
    watch.turn()
    told = [record.levelname for record in caplog.records if "no answer" in record.getMessage()]
    assert told == ["WARNING"]


@pytest.mark.parametrize("place", ["check", "_until_next"])
def test_poll_that_raises_what_nobody_foresaw_is_said_once_and_polled_again(
    place: str,
    tmp_path: Path,
    hub: MemoryHub,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    hub.put("me/in", {"A/1.mp4": b"1"})
    caplog.set_level("INFO")
    watching = monitor(tmp_path, hub, clock)
    with monkeypatch.context() as patch:
        patch.setattr(watching, place, lambda: 1 / 0)
        assert [watching.turn(), watching.turn()] == [watching.monitor_interval] * 2
    assert len([record for record in caplog.records if record.exc_info]) == 1
    watching.turn()
    assert "resumed" in caplog.text


def test_paths_that_could_do_harm_are_told_and_left_out(
    tmp_path: Path, hub: MemoryHub, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    hub.put(REPO, {"A/../../etc/x.mp4": b"1", "A/ok.mp4": b"1"})
    clock.pass_time(5000)
    assert monitor(tmp_path, hub, clock).check() == ["A"]
    assert WorkQueue(tmp_path).read().items()[0].file_count == 1
    assert any("skipped paths" in record.getMessage() for record in caplog.records)


def test_hub_whose_clock_is_set_during_a_poll_that_fails_makes_no_folder_early(
    tmp_path: Path, hub: MemoryHub, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its time before and after can't be compared, though the poll that first saw the new one came to nothing."""
    hub.clock = FakeClock(clock.now)
    hub.put(REPO, {"B/1.mp4": b"1"})
    watch = monitor(tmp_path, hub, clock)

    def pass_time(seconds: float) -> None:
        clock.pass_time(seconds)
        hub.clock.pass_time(seconds)

    watch.check()
    pass_time(300)
    hub.put(REPO, {"A/1.mp4": b"1"})
    committed = clock.now
    hub.clock.now += 250

    def breaking(repo: str, commit: str) -> Iterator[RemoteFile]:
        raise HubUnavailable("cut")

    with monkeypatch.context() as broken:
        broken.setattr(hub, "list_files", breaking)
        pass_time(20)
        watch.turn()
    while "A" not in statuses(tmp_path):
        pass_time(30)
        watch.check()
    assert 600 <= clock.now - committed <= 600 + 20 + 30 + 30
