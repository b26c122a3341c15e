"""Uploads of any kind, at any moment, to several folders at once: is each queued when it is quiet, and only then?"""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from config import Settings
from tests.fakes import FakeClock, MemoryHub
from tools.core.errors import HubUnavailable
from tools.core.folder import RemoteFile, group_folders
from tools.core.queue_item import Status, claim, settle
from tools.hub.client import Head
from tools.modelscope_monitor import ModelScopeMonitor
from tools.state.work_queue import WorkQueue

REPO = "me/in"
STABLE, INTERVAL = 600, 300  # s
REQUEST = 0.1  # s that the hub takes for an answer
ROUNDED = 2.0  # s that whole seconds of the hub's clock and commits may cost


class StumblingHub(MemoryHub):
    """Can't be asked for its newest commit, or breaks off in mid-listing, where a test says so."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.passing = clock
        self.is_down = self.breaks_off = False

    def head(self, repo: str) -> Head | None:
        self.passing.pass_time(REQUEST)
        if self.is_down:
            raise HubUnavailable("no answer")
        return super().head(repo)

    def list_files(self, repo: str, commit: str) -> Iterator[RemoteFile]:
        for number, file in enumerate(super().list_files(repo, commit)):
            if number and self.breaks_off:
                raise HubUnavailable("broke off")
            yield file


class Uploader:
    """Adds, lengthens and deletes files at random; ``changed``, ``crowded``, ``not_only_added`` by folder: when,
    whether commits to others came later, and whether a file that was listed is not as it was. Deletes only what was
    listed: nobody can know of a file that came and went between two polls."""

    def __init__(self, hub: StumblingHub, chance: random.Random) -> None:
        self._hub = hub
        self._chance = chance
        self._files: dict[str, bytes] = {}
        self._listed: set[str] = set()
        self.changed: dict[str, float] = {}
        self.crowded: dict[str, bool] = {}
        self.not_only_added: dict[str, bool] = {}
        self._under_way: set[str] = set()  # changed since the last listing

    def act(self) -> None:
        folder = self._chance.choice("ABC")
        mine = [path for path in self._files if path.startswith(folder)]
        known = [path for path in mine if path in self._listed]
        what = self._chance.random()
        if what < 0.55 or not mine:
            path, content = f"{folder}/{self._chance.random()}.mp4", b"x"
        elif what < 0.75 or not known or len(mine) == 1:
            path = self._chance.choice(mine)
            content = self._files[path] + b"x"
        else:
            self._commit(folder, self._chance.choice(known), None)
            return
        self._commit(folder, path, content)

    def _commit(self, folder: str, path: str, content: bytes | None) -> None:
        self._hub.put(REPO, {path: content}, str(self._chance.random()))
        self.not_only_added[folder] = path in self._listed or (
            folder in self._under_way and self.not_only_added[folder]
        )
        self._under_way.add(folder)
        if content is None:
            del self._files[path]
            self._listed.discard(path)
        else:
            self._files[path] = content
        self.crowded = {**dict.fromkeys(self.changed, True), folder: False}
        self.changed[folder] = self._hub.passing.now

    def was_listed(self) -> None:
        self._listed = set(self._files)
        self._under_way.clear()


@pytest.mark.parametrize("is_rough", [False, True], ids=["in peace", "with failures and restarts"])
@pytest.mark.parametrize("seed", range(20))
def test_random_uploads_are_queued_when_quiet_never_earlier_never_lost(
    tmp_path: Path, seed: int, is_rough: bool
) -> None:
    """A processor takes what is queued meanwhile; what changes then is queued again when it is through."""
    chance = random.Random(seed)
    clock = FakeClock()
    hub = StumblingHub(clock)
    clock.pass_time(chance.random())
    uploader, queue = Uploader(hub, chance), WorkQueue(tmp_path)
    settings = Settings.load({"INPUT_REPO": REPO, "OUTPUT_REPO": "me/out", "LOG_DIR": str(tmp_path)})
    watch = ModelScopeMonitor(settings, hub=hub, clock=clock)
    hashes: dict[str, str] = {}
    free_from: dict[str, float] = {}  # when a folder was last in work
    hub.put(REPO, {"Z/1.mp4": b"z"})
    busy_until, end = clock.now + 5000, clock.now + 10_000
    next_poll = next_upload = clock.now
    while clock.now < end:
        if next_upload < min(next_poll, busy_until):
            clock.pass_time(max(0.0, next_upload - clock.now))
            uploader.act()
            next_upload = clock.now + chance.expovariate(1 / 200)
            continue
        clock.pass_time(max(0.0, next_poll - clock.now))
        if is_rough:
            hub.is_down, hub.breaks_off = chance.random() < 0.1, chance.random() < 0.1
            if chance.random() < 0.1:
                watch = ModelScopeMonitor(settings, hub=hub, clock=clock)
        if chance.random() < 0.1:
            _process_some(queue, clock, chance)
        for item in queue.read().items():
            if item.status is Status.PROCESSING:
                free_from[item.folder] = next_poll + INTERVAL
        asked = clock.now + REQUEST
        next_poll = clock.now + watch.turn()
        if not hub.is_down and not hub.breaks_off:
            uploader.was_listed()
        hub.is_down = hub.breaks_off = False
        there = _fingerprints(hub)
        for item in queue.read().items():
            if item.folder != "Z" and hashes.get(item.folder) != item.hash:
                hashes[item.folder] = item.hash
                age = asked - uploader.changed[item.folder]
                assert item.hash == there[item.folder] and age >= STABLE, item
                is_hidden = uploader.crowded[item.folder] and uploader.not_only_added[item.folder]
                late = STABLE + ROUNDED + REQUEST + INTERVAL * is_hidden
                assert is_rough or age <= late or free_from.get(item.folder, 0.0) > asked - late, item
    left = {item.folder: item for item in queue.read().items()}
    assert left.keys() == there.keys()
    assert all(item.hash == there[name] or item.status is Status.PROCESSING for name, item in left.items())


def _process_some(queue: WorkQueue, clock: FakeClock, chance: random.Random) -> None:
    with queue.transaction() as view:
        for item in view.items():
            if item.status is Status.PROCESSING:
                view.put(settle(item, clock.now))
            elif item.status is Status.PENDING and chance.random() < 0.5:
                view.put(claim(item, clock.now))


def _fingerprints(hub: MemoryHub) -> dict[str, str]:
    head = MemoryHub.head(hub, REPO)
    assert head is not None
    grouped = group_folders(MemoryHub.list_files(hub, REPO, head.commit_id), frozenset({"mp4"}))
    return {name: folder.fingerprint for name, folder in grouped.items()}
