"""The processor's engine over a hub in memory, with a converter that copies: every end that an item can come to."""

import hashlib
import json
import pkgutil
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests import patience
from tests.fakes import FakeClock, FakeConverter, HastyClock, MemoryHub, Told
from tools.core.errors import EncoderStalled, HubForbidden, HubUnavailable, NoEncoder, ProbeError, Stopped
from tools.core.folder import RemoteFile, group_folders
from tools.core.queue_item import QueueItem, Status, cancel, entry_for, new_item
from tools.core.record import Published
from tools.core.sidecar import SidecarRules
from tools.hub.client import Head, Operation
from tools.processor.build import ProcessorOptions, build
from tools.processor.engine import Engine
from tools.processor.executor import LocalExecutor
from tools.processor.item_run import ItemRun
from tools.processor.output_folder import OutputFolder
from tools.processor.reporting import (
    BatchOver,
    ItemSettled,
    ItemStarted,
    LogObserver,
    Observer,
    VideoFailed,
    VideoQuarantined,
    VideoStored,
)
from tools.runtime.clock import SystemClock
from tools.stages.job_context import JobTools
from tools.stages.work_hours import HoursOptions
from tools.state.journal import Event, Journal
from tools.state.work_queue import WorkQueue

EXTENSIONS = frozenset({"mp4", "mkv"})


@dataclass(slots=True)
class Site:
    """A processor's parts over temporary folders."""

    top: Path
    hub: MemoryHub
    converter: FakeConverter
    clock: SystemClock = field(default_factory=HastyClock)
    batch_size: int = 30
    max_attempts: int = 3
    slots: int = 1
    min_free: int = 0
    input_repo: str = "me/in"
    endpoint: str = ""
    sidecars: SidecarRules = field(default_factory=SidecarRules)
    mux_subtitles: bool = False
    hours: HoursOptions = field(default_factory=HoursOptions)
    connected: list[Exception] = field(default_factory=list)
    observers: list[Observer] = field(default_factory=lambda: [LogObserver()])

    def queue(self) -> WorkQueue:
        return WorkQueue(self.top / "log")

    def item(self, folder: str) -> QueueItem:
        found = self.queue().read().get(folder)
        assert found is not None
        return found

    def put(self, files: dict[str, bytes], *folders: str) -> None:
        """Commit files, and queue these folders as the monitor would."""
        commit = self.hub.put(self.input_repo, files)
        grouped = group_folders(self.hub.list_files(self.input_repo, commit), EXTENSIONS)
        with self.queue().transaction() as view:
            for number, name in enumerate(folders):
                view.put(new_item(grouped[name], time.time() + number))

    def engine(self) -> Engine:
        options = ProcessorOptions(
            input_repo=self.input_repo,
            output_repo="me/out",
            endpoint=self.endpoint,
            log_dir=self.top / "log",
            work_dir=self.top / "work",
            check_interval=0.05,
            stable_time=0.1,
            extensions=EXTENSIONS,
            batch_size=self.batch_size,
            sidecars=self.sidecars,
            mux_subtitles=self.mux_subtitles,
            max_attempts=self.max_attempts,
            min_free_space=self.min_free,
            slots=self.slots,
            hours=self.hours,
        )

        def connect(tools: JobTools) -> MemoryHub:
            if self.connected:
                raise self.connected.pop(0)
            tools.workspace.prepare()
            return self.hub

        return build(options, self.hub, self.converter, self.clock, connect=connect, observers=self.observers).engine

    def run(self, until: Callable[[Engine], bool] = Engine.is_idle) -> Engine:
        engine = self.engine()
        patience.until(
            lambda: until(engine),
            lambda: [(i.folder, i.status, i.error) for i in self.queue().read().items()],
            lambda: engine.turn(0.01),
        )
        engine.close(5)
        return engine

    def published(self, folder: str) -> dict[str, bytes]:
        head = self.hub.head("me/out")
        if head is None:
            return {}
        files = self.hub.list_folder("me/out", head.commit_id, folder)
        return {file.name: self.hub.read_file("me/out", head.commit_id, file.path) or b"" for file in files}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    hub = MemoryHub(FakeClock())
    hub.create_repo("me/out")
    return Site(tmp_path, hub, FakeConverter())


def lines(caplog: pytest.LogCaptureFixture, marker: str) -> list[str]:
    return [record.levelname for record in caplog.records if marker in record.getMessage()]


def test_folder_is_published_in_batches_with_true_metadata(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    site.batch_size = 2
    site.put({f"A/{n}.mp4": b"%d" % n for n in (1, 2, 3, 10, 11)} | {"A/notes.txt": b"n"}, "A")
    site.run()
    out = site.published("A")
    metadata = [json.loads(line) for line in out.pop("metadata.jsonl").splitlines()]
    assert out == {f"{n}.mkv": b"av1:%d" % n for n in (1, 2, 3, 10, 11)}
    assert [entry["file_name"] for entry in metadata] == ["1.mkv", "2.mkv", "3.mkv", "10.mkv", "11.mkv"]
    for entry in metadata:
        assert entry["sha256"] == hashlib.sha256(out[entry["file_name"]]).hexdigest()
    assert site.hub.commits_of("me/out") == 3
    assert lines(caplog, "批次处理成功") == ["INFO"] * 3 and not lines(caplog, "批次处理失败")
    item = site.item("A")
    assert (item.status, item.videos_done, item.videos_total, item.attempts) == (Status.COMPLETED, 5, 5, 1)
    assert not list((site.top / "work").rglob("*")) and not list((site.top / "log/journal").glob("*"))


def test_next_batch_reads_no_metadata_but_what_somebody_else_wrote(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.batch_size = 2
    site.put({f"A/{n}.mp4": b"%d" % n for n in range(8)}, "A")
    reads: list[str] = []
    read_file, commit = site.hub.read_file, site.hub.commit

    def counted(repo: str, revision: str, path: str) -> bytes | None:
        reads.append(path)
        return read_file(repo, revision, path)

    def disturbed(repo: str, operations: Sequence[Operation], message: str) -> str:
        made = commit(repo, operations, message)
        if site.hub.commits_of("me/out") == 2:
            there = read_file(repo, made, "A/metadata.jsonl") or b""
            site.hub.put("me/out", {"A/metadata.jsonl": there + b"a line of somebody else\n"})
        return made

    monkeypatch.setattr(site.hub, "read_file", counted)
    monkeypatch.setattr(site.hub, "commit", disturbed)
    site.run()
    assert site.hub.commits_of("me/out") == 5 and reads.count("A/metadata.jsonl") == 1
    lines = site.published("A")["metadata.jsonl"].decode().splitlines()
    assert lines[0] == "a line of somebody else"
    assert [json.loads(line)["file_name"] for line in lines[1:]] == [f"{n}.mkv" for n in range(8)]


def test_broken_video_is_quarantined_and_the_others_are_published(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.converter.troubles[b"2"] = [ProbeError("no video in it")] * 9
    site.put({f"A/{n}.mp4": b"%d" % n for n in (1, 2, 3)}, "A")
    engine = site.run()
    item = site.item("A")
    assert item.status is Status.FAILED and engine.any_failed
    assert [(q.path, q.cause) for q in item.quarantined] == [("A/2.mp4", "no video in it")]
    assert item.videos_done + len(item.quarantined) == item.videos_total == 3
    assert set(site.published("A")) == {"1.mkv", "3.mkv", "metadata.jsonl"}
    assert site.converter.encoded.count(b"2") == 1, "permanent: not tried again"
    assert lines(caplog, "批次处理失败") == ["ERROR"] and not lines(caplog, "批次处理成功")


class Breaks:
    """An observer that always fails."""

    def observe(self, event: object) -> None:
        raise RuntimeError("no route to the chat")


def test_observers_are_told_of_every_video_and_batch_once_and_one_that_breaks_hurts_nothing(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    told = Told()
    site.observers = [Breaks(), told]
    site.batch_size = 2
    site.converter.troubles[b"3"] = [ProbeError("no video in it")]
    site.put({f"A/{n}.mp4": b"%d" % n for n in (1, 2, 3)}, "A")
    site.run()
    kinds = [type(event) for event in told.events]
    assert kinds.count(ItemStarted) == kinds.count(ItemSettled) == 1
    stored = [event.video for event in told.events if isinstance(event, VideoStored)]
    assert sorted(stored) == ["A/1.mkv", "A/2.mkv"]
    assert VideoQuarantined("A/3.mp4", 1, "no video in it") in told.events
    batches = [(event.batch, event.published) for event in told.events if isinstance(event, BatchOver)]
    assert sorted(batches) == [("1/2", 2), ("2/2", 0)]
    assert lines(caplog, "an observer failed") == ["WARNING"]


def test_video_at_its_last_attempt_is_told_as_quarantined_not_as_retried(site: Site) -> None:
    told = Told()
    site.observers = [told]
    site.max_attempts = 2
    site.converter.troubles[b"1"] = [EncoderStalled("stalled")] * 9
    site.put({"A/1.mp4": b"1"}, "A")
    site.run()
    ends = [event for event in told.events if isinstance(event, VideoFailed | VideoQuarantined)]
    assert ends == [VideoFailed("A/1.mp4", 1, "stalled"), VideoQuarantined("A/1.mp4", 2, "stalled (tried 2 times)")]


def test_passing_trouble_is_tried_again_without_an_error_in_the_log(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    site.converter.troubles[b"1"] = [EncoderStalled("stalled")] * 2
    site.put({"A/1.mp4": b"1"}, "A")
    site.run()
    assert site.item("A").status is Status.COMPLETED
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
    assert lines(caplog, "批次处理成功") == ["INFO"]


def test_poison_is_given_up_after_the_last_attempt(site: Site) -> None:
    site.converter.troubles[b"1"] = [EncoderStalled("stalled")] * 99
    site.put({"A/1.mp4": b"1", "A/2.mp4": b"2"}, "A")
    site.run()
    assert "tried 3 times" in site.item("A").quarantined[0].cause
    assert site.converter.encoded.count(b"1") == 3 and "2.mkv" in site.published("A")


def test_bug_in_a_job_loses_no_video(site: Site) -> None:
    site.converter.troubles[b"1"] = [ZeroDivisionError("a bug")]
    site.put({"A/1.mp4": b"1"}, "A")
    site.run()
    assert site.item("A").status is Status.COMPLETED


def test_crash_between_conversion_and_upload_encodes_nothing_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.put({"A/1.mp4": b"1"}, "A")
    reached = threading.Event()

    def die(repo: str, source: Path, sha256: str, size: int, progress: object) -> None:
        reached.set()
        raise Stopped("the program dies here")

    with monkeypatch.context() as patch:
        patch.setattr(site.hub, "store_blob", die)
        engine = site.engine()
        while not reached.is_set():
            engine.turn(0.01)
    site.run()
    assert site.converter.encoded == [b"1"] and site.item("A").status is Status.COMPLETED


def test_crash_after_the_conversion_encodes_nothing_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.put({"A/1.mp4": b"1", "A/2.mp4": b"2"}, "A")
    stored = threading.Event()

    def die(repo: str, operations: Sequence[Operation], message: str) -> str:
        stored.set()
        raise Stopped("the program dies here")

    with monkeypatch.context() as patch:
        patch.setattr(site.hub, "commit", die)
        engine = site.engine()
        while not stored.is_set():
            engine.turn(0.01)
        # No close: the queue still says processing, as after kill -9.
    assert site.item("A").status is Status.PROCESSING
    site.run()
    assert sorted(site.converter.encoded) == [b"1", b"2"]
    assert site.hub.commits_of("me/out") == 1 and site.item("A").status is Status.COMPLETED


def test_crash_after_the_commit_commits_nothing_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.put({"A/1.mp4": b"1"}, "A")
    real = site.hub.commit
    done = threading.Event()

    def lost(repo: str, operations: Sequence[Operation], message: str) -> str:
        real(repo, operations, message)
        done.set()
        raise Stopped("the answer is lost with the program")

    with monkeypatch.context() as patch:
        patch.setattr(site.hub, "commit", lost)
        engine = site.engine()
        while not done.is_set():
            engine.turn(0.01)
    site.run()
    assert site.hub.commits_of("me/out") == 1 and site.converter.encoded == [b"1"]
    assert site.item("A").status is Status.COMPLETED


def test_blobs_that_the_hub_lost_are_made_again_if_no_result_is_left(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.put({"A/1.mp4": b"1"}, "A")
    real = site.hub.commit

    def forgetful(repo: str, operations: Sequence[Operation], message: str) -> str:
        if site.converter.encoded.count(b"1") == 1:
            site.hub.lose_blobs()
            for left in (site.top / "work").rglob("result.mkv"):
                left.unlink()
        return real(repo, operations, message)

    monkeypatch.setattr(site.hub, "commit", forgetful)
    site.run()
    assert site.item("A").status is Status.COMPLETED and site.converter.encoded == [b"1", b"1"]
    assert site.published("A")["1.mkv"] == b"av1:1"


def test_video_that_kills_the_program_each_time_is_quarantined(site: Site) -> None:
    site.put({"A/1.mp4": b"1", "A/2.mp4": b"2"}, "A")
    commit = site.hub.head("me/in")
    assert commit is not None
    poison = next(f for f in site.hub.list_files("me/in", commit.commit_id) if f.name == "1.mp4")
    journal = Journal(site.top / "log", "A")
    for _ in range(3):
        journal.note(Event.ENCODING, poison)
    site.run()
    assert "died 3 times" in site.item("A").quarantined[0].cause
    assert site.converter.encoded == [b"2"]


def test_two_videos_at_their_last_try_after_deaths_are_never_encoded_at_the_same_time(site: Site) -> None:
    """Of two folders; one that never died is encoded beside them."""
    site.slots = 3
    site.put({"A/1.mp4": b"a1", "A/2.mp4": b"a2", "B/1.mp4": b"b1"}, "A", "B")
    head = site.hub.head("me/in")
    assert head is not None
    for file in site.hub.list_files("me/in", head.commit_id):
        for _ in range(0 if file.name == "2.mp4" else 2):
            Journal(site.top / "log", file.folder).note(Event.ENCODING, file)
    site.converter.hold.clear()
    turns = []

    def until(engine: Engine) -> bool:
        turns.extend([1] if len(site.converter.encoded) >= 2 else [])
        if len(turns) == 40:
            assert sorted(site.converter.encoded) == [b"a1", b"a2"]
            site.converter.hold.set()
        return engine.is_idle()

    site.run(until)
    assert sorted(site.converter.encoded) == [b"a1", b"a2", b"b1"] and len(turns) > 40
    assert {site.item(folder).status for folder in "AB"} == {Status.COMPLETED}


def test_only_changed_videos_of_a_changed_folder_are_done_again(site: Site) -> None:
    site.put({"A/1.mp4": b"1", "A/2.mp4": b"2"}, "A")
    site.run()
    site.put({"A/2.mp4": b"two", "A/3.mp4": b"3"}, "A")
    site.run()
    assert sorted(site.converter.encoded) == [b"1", b"2", b"3", b"two"]
    assert site.published("A")["2.mkv"] == b"av1:two"
    assert len(Published.parse(site.published("A")["metadata.jsonl"]).names()) == 3


def test_output_that_somebody_deleted_is_made_again(site: Site) -> None:
    site.put({"A/1.mp4": b"1"}, "A")
    site.run()
    site.hub.put("me/out", {"A/1.mkv": None})
    site.put({"A/2.mp4": b"2"}, "A")
    site.run()
    assert set(site.published("A")) == {"1.mkv", "2.mkv", "metadata.jsonl"}


def test_folder_that_is_not_what_was_queued_goes_back_to_wait(site: Site) -> None:
    site.put({"A/1.mp4": b"1"}, "A")
    site.hub.put("me/in", {"A/2.mp4": b"2"})
    site.run(until=lambda engine: site.item("A").not_before is not None)
    assert site.item("A").status is Status.PENDING and site.converter.encoded == []


def test_folder_that_is_gone_has_not_failed_and_says_why_nothing_was_done(site: Site) -> None:
    site.put({"A/1.mp4": b"1"}, "A")
    site.hub.put("me/in", {"A/1.mp4": None})
    site.run()
    assert site.item("A").status is Status.COMPLETED
    assert site.item("A").error == "A is no longer in me/in: nothing to do"


def test_folder_that_was_gone_is_queued_again_when_it_comes_back_unchanged(site: Site) -> None:
    site.put({"A/1.mp4": b"1", "B/1.mp4": b"2", "B/notes.txt": b"n"}, "A", "B")
    before = group_folders(site.hub.list_files("me/in", site.hub.recent("me/in")[0]), EXTENSIONS)
    site.hub.put("me/in", {"A/1.mp4": None, "B/1.mp4": None})
    site.run()
    for name in "AB":
        item = site.item(name)
        assert item.status is Status.COMPLETED and entry_for(item, before[name], time.time()) is not None
    site.put({"A/1.mp4": b"1", "B/1.mp4": b"2"}, "A", "B")
    site.run()
    assert site.item("A").status is site.item("B").status is Status.COMPLETED


def test_input_repo_whose_commits_are_not_listed_fails_no_folder(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.put({"A/1.mp4": b"1"}, "A")
    real, asked = site.hub.head, []

    def head(repo: str) -> Head | None:
        asked.append(repo)
        return None if len(asked) < 4 and repo == "me/in" else real(repo)

    monkeypatch.setattr(site.hub, "head", head)
    site.run()
    assert site.item("A").status is Status.COMPLETED and asked.count("me/in") >= 4


@pytest.mark.parametrize("trouble", [HubUnavailable("down"), HubForbidden("token expired"), NoEncoder("no ffmpeg")])
def test_trouble_of_hub_or_machine_pauses_tells_once_and_uses_up_no_attempt(
    site: Site, trouble: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    site.max_attempts = 1
    site.converter.troubles[b"1"] = [trouble] * 3
    site.put({"A/1.mp4": b"1"}, "A")
    site.run()
    assert site.item("A").status is Status.COMPLETED
    told = [record for record in caplog.records if str(trouble) in record.getMessage()]
    assert len(told) == 1 and told[0].levelname == ("WARNING" if isinstance(trouble, HubUnavailable) else "ERROR")


def test_hub_down_at_the_start_is_waited_for(site: Site) -> None:
    site.connected = [HubUnavailable("down"), HubUnavailable("down")]
    site.put({"A/1.mp4": b"1"}, "A")
    site.run()
    assert site.item("A").status is Status.COMPLETED


def test_disk_too_small_for_a_whole_batch_publishes_what_it_has(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results stay on disk until their commit; a batch that fills the disk must not wait for itself."""
    size, room = 1 << 20, 45 << 20

    def usage(path: object) -> object:
        used = sum(f.stat().st_size for f in (site.top / "work").rglob("*") if f.is_file())
        return type("Usage", (), {"free": room - 8 * used})()

    monkeypatch.setattr("tools.stages.workspace.shutil.disk_usage", usage)
    site.put({f"A/{n}.mp4": bytes([n]) * size for n in range(6)}, "A")
    site.run()
    assert site.item("A").status is Status.COMPLETED and len(site.published("A")) == 7
    assert site.hub.commits_of("me/out") > 1


def test_stop_requeues_the_item_and_the_next_start_resumes_it(site: Site) -> None:
    site.put({"A/1.mp4": b"1"}, "A")
    site.converter.hold.clear()
    site.run(until=lambda engine: bool(site.converter.encoded))
    assert site.item("A").status is Status.PENDING
    site.converter.hold.set()
    site.run()
    assert site.item("A").status is Status.COMPLETED and not site.item("A").quarantined


def test_stop_gives_items_back_before_it_waits_for_jobs(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that must end before its jobs did (a worker, or a hub, that does not answer) leaves them pending."""
    site.put({"A/1.mp4": b"1"}, "A")
    site.converter.hold.clear()
    seen: list[Status] = []
    real = LocalExecutor.close

    def close(executor: LocalExecutor, timeout: float) -> bool:
        seen.append(site.item("A").status)
        return real(executor, timeout)

    monkeypatch.setattr(LocalExecutor, "close", close)
    site.run(until=lambda engine: bool(site.converter.encoded))
    assert seen == [Status.PENDING]


def test_cancelled_item_ends_and_leaves_nothing_behind(site: Site) -> None:
    site.put({"A/1.mp4": b"1"}, "A")
    site.converter.hold.clear()
    cancelled = False

    def until(engine: Engine) -> bool:
        nonlocal cancelled
        if site.converter.encoded and not cancelled:
            cancelled = True
            with site.queue().transaction() as view:
                item = view.get("A")
                assert item is not None
                view.put(cancel(item, time.time()))
        return cancelled and not engine.is_working()

    site.run(until)
    assert site.item("A").error == "cancelled" and site.hub.commits_of("me/out") == 0
    assert not list((site.top / "work").rglob("*"))


def test_small_folders_go_first_and_the_next_one_starts_before_the_last_is_done(site: Site) -> None:
    site.put(
        {"big/1.mp4": b"b" * 10} | {f"big/{n}.txt": b"" for n in range(60)} | {"small/1.mp4": b"s"}, "big", "small"
    )
    site.run()
    assert site.converter.encoded == [b"s", b"b" * 10]


def test_colliding_names_are_all_published(site: Site) -> None:
    site.put({"A/ep.mp4": b"1", "A/ep.mkv": b"2"}, "A")
    site.run()
    assert set(site.published("A")) == {"ep.mp4.mkv", "ep.mkv.mkv", "metadata.jsonl"}


def test_two_input_repos_in_one_output_keep_their_videos_apart(site: Site) -> None:
    """Of the same names: what differs gets a name of its own, what is the same is there once."""
    site.put({"A/1.mp4": b"mine", "A/2.mp4": b"same"}, "A")
    site.run()
    site.input_repo, site.top = "you/in", site.top / "second"
    site.put({"A/1.mp4": b"yours", "A/2.mp4": b"same"}, "A")
    site.run()
    assert site.item("A").status is Status.COMPLETED
    out = site.published("A")
    metadata = [json.loads(line) for line in out.pop("metadata.jsonl").splitlines()]
    assert out == {"1.mkv": b"av1:mine", "1.mp4.mkv": b"av1:yours", "2.mkv": b"av1:same"}
    told = {(entry["source_repo"], entry["source_path"], entry["file_name"]) for entry in metadata}
    assert told == {
        ("me/in", "A/1.mp4", "1.mkv"),
        ("you/in", "A/1.mp4", "1.mp4.mkv"),
        ("me/in", "A/2.mp4", "2.mkv"),
    }


@pytest.mark.parametrize(
    "place",
    [
        "tools.processor.opening.plan_folder",
        "tools.processor.item_run.ItemRun.with_totals",
        "tools.processor.item_run.ItemRun.has_ready",
        "tools.processor.item_run.ItemRun.jobs_ready",
        "tools.processor.item_run.ItemRun.batches_ready",
        "tools.processor.commits.publish",
        "tools.processor.item_run.ItemRun.quarantined",
        "tests.fakes.FakeConverter.convert",
    ],
)
def test_unexpected_error_counts_against_its_item_alone(
    site: Site, place: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Tried again with waits, then failed with its cause; the other folder is published, the log says it so often."""
    engine = run_with_a_bug(site, place, monkeypatch)
    assert engine.any_failed
    item = site.item("B")
    assert item.status is Status.FAILED
    if not place.endswith("has_ready"):  # of which B is not asked while A has something ready
        assert place.endswith("quarantined") is bool(site.published("B"))
    causes = " ".join([item.error or "", *(one.cause for one in item.quarantined)])
    assert "unexpected ZeroDivisionError: a value that nobody foresaw (tried 3 times)" in causes
    assert len([record for record in caplog.records if record.exc_info]) == 3


def test_thread_that_the_system_has_not_got_costs_an_attempt_and_blocks_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.put({"A/1.mp4": b"a"}, "A")
    real, refused = threading.Thread.start, ["hub-publish", "job-", "hub-open"]

    def start(thread: threading.Thread) -> None:
        if refused and thread.name.startswith(refused[-1]):
            refused.pop()
            raise RuntimeError("can't start new thread")
        real(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    site.max_attempts = 4
    site.run()
    assert not refused and site.item("A").status is Status.COMPLETED and set(site.published("A")) >= {"1.mkv"}


@pytest.mark.parametrize("place", ["tools.processor.item_run.ItemRun.accept", "tools.processor.commits._event"])
def test_work_that_was_done_before_an_unexpected_error_serves(
    site: Site, place: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real, ended = LocalExecutor.cancel, list[str]()

    def cancel(executor: LocalExecutor, folder: str) -> None:
        ended.append(folder)
        real(executor, folder)

    monkeypatch.setattr(LocalExecutor, "cancel", cancel)
    run_with_a_bug(site, place, monkeypatch)
    assert ended == ["B"], "its jobs, and no other's"
    assert site.item("B").status is Status.COMPLETED and set(site.published("B")) == {"1.mkv", "metadata.jsonl"}
    assert sorted(site.converter.encoded) == [b"a", b"b"]
    assert len([record for record in caplog.records if record.exc_info]) == 1


def run_with_a_bug(site: Site, place: str, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """Two folders, with a function that raises whenever it is about B."""
    site.put({"A/1.mp4": b"a", "B/1.mp4": b"b"}, "A", "B")
    owner, name = place.rsplit(".", 1)
    holder = pkgutil.resolve_name(owner)
    real = getattr(holder, name)

    def broken(*args: Any, **named: Any) -> Any:
        if any("B" in _about(arg) for arg in args):
            raise ZeroDivisionError("a value that nobody foresaw")
        return real(*args, **named)

    monkeypatch.setattr(holder, name, broken)
    engine = site.run()
    assert site.item("A").status is Status.COMPLETED and set(site.published("A")) == {"1.mkv", "metadata.jsonl"}
    return engine


def _about(value: object) -> str:
    """The folder that an argument is about."""
    if isinstance(value, ItemRun):
        return value.item.folder
    if isinstance(value, OutputFolder):
        return value.folder
    if isinstance(value, Path):  # a source on its way into the converter
        return "B" if value.exists() and value.read_bytes() == b"b" else ""
    if isinstance(value, RemoteFile):
        return value.folder
    return _about(value[0]) if isinstance(value, list | tuple) and value else ""


def test_videos_at_the_root_of_the_input_repo_come_out_at_the_root_of_the_output(site: Site) -> None:
    site.hub.put("me/out", {"README.md": b"a card"})
    site.put({"1.mp4": b"1", "README.md": b"r", "A/1.mp4": b"a"}, ".", "A")
    site.run()
    assert site.item(".").status is site.item("A").status is Status.COMPLETED
    out = site.published("")
    assert [json.loads(line)["file_name"] for line in out.pop("metadata.jsonl").splitlines()] == ["1.mkv"]
    assert out == {"1.mkv": b"av1:1", "README.md": b"a card"} and site.published("A")["1.mkv"] == b"av1:a"
    site.put({"2.mp4": b"2"}, ".")
    site.run()
    assert set(site.published("")) == {"1.mkv", "2.mkv", "metadata.jsonl", "README.md"}
    assert site.converter.encoded.count(b"1") == 1, "known by the metadata at the root"
