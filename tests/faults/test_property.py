"""Monitor, queue and processor over a hub in memory, driven by hypothesis: uploads, waiting, lives, crashes.

Whatever the order: every stable folder is settled in the end, what went in came out or is quarantined, and nothing was
published twice or encoded again after its conversion was noted.
"""

import contextlib
import hashlib
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tests.faults.world import EXTENSIONS, Points, World
from tools.core.errors import EncoderStalled, ProbeError, StateError
from tools.core.folder import Folder, group_folders
from tools.core.ordering import add_now, hold, redo_now, release, with_priority
from tools.core.queue_item import QueueItem, Status, claim, new_item, priority_of, rank
from tools.core.redo import Redo, redo_with
from tools.state.journal import Journal
from tools.state.orders import OrdersFile, PauseHow, PauseOrder
from tools.state.work_queue import WorkQueue

FOLDERS = ("A", "A/Season 1", "B", "番剧C")
NAMES = ("1.mp4", "1.mkv", "2.mp4", "10.mp4", "notes.txt")
_MEMORY = Path("/dev/shm")


class Pipeline(RuleBasedStateMachine):
    """The site, and beside it what an uploader knows of the input dataset."""

    @initialize()
    def begin(self) -> None:
        self.top = Path(tempfile.mkdtemp(dir=_MEMORY if _MEMORY.is_dir() else None))
        self.world = World(self.top)
        self.world.max_attempts = 10_000  # deaths in a row are no video's fault here
        self.there: dict[str, bytes] = {}
        self.uploads = 0
        self.held: set[str] = set()
        self.redone: Counter[str] = Counter()  # how often a person wanted what is published of a folder made again
        self.with_crf: set[str] = set()  # folders of which a person wanted that with a CRF of its own
        self.folder_of: dict[str, str] = {}  # by sha256 of a content

    @rule(folder=st.sampled_from(FOLDERS), name=st.sampled_from(NAMES), kind=st.sampled_from("gggbs"))
    def upload(self, folder: str, name: str, kind: str) -> None:
        """A new file, or another content in its place: g can be converted, b never, s fails once."""
        self.uploads += 1
        content = b"x" * self.uploads  # each of a size of its own, which is what a fingerprint sees
        if kind == "b":
            self.world.converter.refused[content] = ProbeError("no video in it")
        elif kind == "s":
            self.world.converter.troubles[content] = [EncoderStalled("stalled once")]
        self.there[f"{folder}/{name}"] = content
        self.folder_of[hashlib.sha256(content).hexdigest()] = folder
        self.world.hub.put("me/in", {f"{folder}/{name}": content}, f"upload {self.uploads}")

    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        if not self.there:
            return
        path = data.draw(st.sampled_from(sorted(self.there)))
        del self.there[path]
        self.uploads += 1
        self.world.hub.put("me/in", {path: None}, f"delete {self.uploads}")

    @rule(seconds=st.sampled_from([1.0, 59.0, 301.0, 700.0, 7200.0]))
    def wait(self, seconds: float) -> None:
        self.world.clock.pass_time(seconds)

    @rule(seconds=st.sampled_from([-7200.0, -60.0, 3600.0]))
    def set_the_clock(self, seconds: float) -> None:
        self.world.clock.now += seconds

    @rule(folder=st.sampled_from(FOLDERS), change=st.sampled_from([hold, release, lambda it: with_priority(it, 0)]))
    def order(self, folder: str, change: Callable[[QueueItem], QueueItem]) -> None:
        """A person holds an item, releases it, or has it done next."""
        with contextlib.suppress(StateError), WorkQueue(self.world.log_dir).transaction() as view:
            item = view.get(folder)
            if item is not None:
                view.put(change(item))
                self.held = (self.held - {folder}) | ({folder} if change(item).held else set())

    @rule(folder=st.sampled_from(FOLDERS), order=st.sampled_from([None, redo_with({}), redo_with({"crf": 40.0})]))
    def add(self, folder: str, order: Redo | None) -> None:
        """A person has a folder queued as it is now, or what is published of it made again."""
        head = self.world.hub.head("me/in")
        listed = group_folders(self.world.hub.list_files("me/in", head.commit_id), EXTENSIONS) if head else {}
        found, now = listed.get(folder), self.world.clock.time()
        if found is None or not found.video_count:
            return
        with contextlib.suppress(StateError), WorkQueue(self.world.log_dir).transaction() as view:
            item = view.get(folder)
            entry = add_now(item, found, now) if order is None else redo_now(item, found, order, now)
            if order is not None:
                Journal(self.world.log_dir, folder).remove()
                self.redone[folder] += 1
                self.with_crf |= {folder} if order.options else set()
            view.put(entry)
            if item is not None and item.held:
                assert entry.held, "what is held stays held"

    @rule(how=st.sampled_from([None, None, *PauseHow]))
    def pause(self, how: PauseHow | None) -> None:
        with OrdersFile(self.world.log_dir).transaction() as orders:
            orders.pause = None if how is None else PauseOrder(how, "", 0.0)

    @rule(verb=st.sampled_from(["commit", "store_blob", "download", "head"]))
    def lose_an_answer(self, verb: str) -> None:
        self.world.lost_answers.append(verb)

    @rule()
    def forget_blobs(self) -> None:
        self.world.hub.lose_blobs()

    @rule(rounds=st.integers(1, 25), crash_at=st.integers(0, 250), power=st.booleans())
    def live(self, rounds: int, crash_at: int, power: bool) -> None:
        self.world.live(Points(crash_at), rounds, power=power, must_settle=False)

    @invariant()
    def queue_is_whole_and_nothing_is_published_twice(self) -> None:
        path = self.world.log_dir / "processing_queue.json"
        if path.exists():
            assert isinstance(json.loads(path.read_bytes()), list)
        for (made, _), times in self.world.hub.published.items():
            assert times <= 1 + self.redone[made.rpartition("/")[0]], made

    @invariant()
    def what_is_held_stays_held_and_is_not_started(self) -> None:
        items = self.world.items() if self.held else {}
        assert all(items[folder].held and items[folder].status is Status.PENDING for folder in self.held)

    def teardown(self) -> None:
        try:
            self.world.lost_answers.clear()
            self.pause(None)
            for folder in sorted(self.held):
                self.order(folder, release)
            for _ in range(3):  # seen, stable, settled, whatever the clocks said before
                assert self.world.live(Points(), 200)
                self.world.clock.pass_time(700)
            self._check_settled()
        finally:
            shutil.rmtree(self.top, ignore_errors=True)

    def _check_settled(self) -> None:
        items, published = self.world.items(), self.world.published()
        videos = {path: c for path, c in self.there.items() if path.rpartition(".")[2] in EXTENSIONS}
        for folder in {path.rpartition("/")[0] for path in videos}:
            inside = {path: c for path, c in videos.items() if path.rpartition("/")[0] == folder}
            item = items[folder]
            refused = {path for path, content in inside.items() if content in self.world.converter.refused}
            assert item.status is (Status.FAILED if refused else Status.COMPLETED), item
            assert {q.path for q in item.quarantined} == refused
            assert item.videos_done + len(refused) == item.videos_total == len(inside)
            lines = published.get(f"{folder}/metadata.jsonl", b"").splitlines()
            records = {record["source_path"]: record for record in map(json.loads, lines)}
            for path in inside.keys() - refused:
                record, result = records[path], published[f"{folder}/{records[path]['file_name']}"]
                assert record["source_sha256"] == hashlib.sha256(inside[path]).hexdigest()
                marks = [b"av1:", *([b"av1:crf=40.0 "] if folder in self.with_crf else [])]
                assert result in {mark + inside[path] for mark in marks}
                assert record["sha256"] == hashlib.sha256(result).hexdigest() and record["size"] == len(result)
        assert [one for one in self.world.encoded_again() if not self.redone[self.folder_of[one]]] == []
        # A half-written state file stays until the next write takes its place.
        assert [path for path in self.world.leftovers() if not path.endswith(".json.tmp")] == []


def test_whatever_happens_everything_is_settled_once() -> None:
    run_state_machine_as_test(Pipeline, settings=_effort(100, 25))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_whatever_happens_for_long() -> None:
    run_state_machine_as_test(Pipeline, settings=_effort(1000, 40))


def _effort(examples: int, steps: int) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )


@settings(max_examples=15, deadline=None, derandomize=True)
@given(counts=st.lists(st.sampled_from([1, 3, 12, 60]), min_size=2, max_size=5))
def test_of_what_is_ready_the_small_go_first_and_the_older_of_equals(counts: list[int]) -> None:
    with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as top:
        world = World(Path(top))
        for number, count in enumerate(counts):
            files = {f"F{number}/{video}.mp4": b"%d-%d" % (number, video) for video in range(count)}
            world.hub.put("me/in", dict(files), f"upload {number}")
            world.clock.pass_time(1)
        assert world.live(Points())
        order = list(dict.fromkeys(world.hub.opened))
        names = [f"F{number}" for number in range(len(counts))]
        assert order == sorted(names, key=lambda name: (priority_of(counts[int(name[1:])], 0), names.index(name)))


@dataclass
class _Line:
    """Claims one item an hour out of a queue that a new small folder enters every hour."""

    aging_hours: float

    def hours_until_the_big_one(self, most: int) -> int | None:
        now = 1.7e9
        big = new_item(Folder("big", "h", 200, 200, 10**11, None, False), now)
        waiting = [big]
        for hour in range(most):
            now += 3600
            waiting.append(new_item(Folder(f"small {hour}", "h", 1, 1, 1, None, False), now))
            taken = claim(min(waiting, key=lambda item: rank(item, now, self.aging_hours)), now)
            if taken.folder == "big":
                return hour
            waiting = [item for item in waiting if item.folder != taken.folder]
        return None


@pytest.mark.parametrize("aging_hours", [1.0, 24.0])
def test_endless_small_folders_do_not_starve_a_big_one(aging_hours: float) -> None:
    waited = _Line(aging_hours).hours_until_the_big_one(1000)
    assert waited is not None and waited <= 2 * aging_hours + 1  # two classes up, then it is the oldest
    assert _Line(0).hours_until_the_big_one(200) is None
