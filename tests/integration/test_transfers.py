"""Several connections at a time: a large file in ranges, several files beside one another, within their bounds."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import FakeClock, FakeConverter, MemoryHub
from tests.hub_server import Fault, RunningHub, running_hub
from tests.patience import PATIENCE
from tests.unit.test_engine import Site
from tools.core.errors import HubUnavailable, Stopped
from tools.core.folder import RemoteFile
from tools.core.queue_item import Status
from tools.hub import modelscope_sdk
from tools.hub.client import AddBlob, Progress
from tools.hub.modelscope_client import ModelScopeHub
from tools.runtime.throttle import Throttle

REPO = "me/shows"
RANGE = 64 << 10
CONTENT = bytes(range(256)) * 1024  # four ranges


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    with running_hub(tmp_path_factory.mktemp("hub")) as running:
        yield running


@pytest.fixture
def hub(running: RunningHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelScopeHub]:
    running.renew(tmp_path / "hub")
    running.store.create(REPO, 1)
    monkeypatch.setattr(modelscope_sdk, "_SMALLEST_RANGE", RANGE)
    yield ModelScopeHub(running.endpoint, running.token, cache_dir=tmp_path / "cache")
    modelscope_sdk._IN_RANGES._calm_until = 0.0


def put(hub: ModelScopeHub, top: Path, name: str = "a.mp4") -> RemoteFile:
    source, sha256 = top / "source", hashlib.sha256(CONTENT).hexdigest()
    source.write_bytes(CONTENT)
    hub.store_blob(REPO, source, sha256, len(CONTENT), lambda moved: None)
    hub.commit(REPO, [AddBlob(f"A/{name}", sha256, len(CONTENT))], "add")
    return RemoteFile(f"A/{name}", len(CONTENT), sha256)


def fetch(hub: ModelScopeHub, file: RemoteFile, top: Path, progress: Progress = lambda moved: None) -> bytes:
    target = top / "work" / "source.mp4"
    target.parent.mkdir(exist_ok=True)
    hub.download(REPO, "master", file, target, progress)
    left = sorted(path.name for path in target.parent.rglob("*") if path != target)
    assert not left or left == ["download"], left
    return target.read_bytes()


def ranges(running: RunningHub) -> int:
    return running.asked("/repo?Revision")


def test_large_file_is_fetched_in_ranges_and_counted_once(
    hub: ModelScopeHub, running: RunningHub, tmp_path: Path
) -> None:
    file = put(hub, tmp_path)
    moved: list[int] = []
    assert fetch(hub, file, tmp_path, moved.append) == CONTENT
    assert ranges(running) == 4 and sum(moved) == len(CONTENT)
    assert modelscope_sdk._IN_RANGES._in_use == 0


def test_of_downloads_that_begin_together_the_first_gets_most_whichever_learns_first_where_its_file_is(
    hub: ModelScopeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the next one to be encoded."""
    from modelscope_hub import _download

    one, two = put(hub, tmp_path, "1.mp4"), put(hub, tmp_path, "2.mp4")
    began, go = threading.Event(), threading.Event()
    taken: dict[str, int] = {}
    decide, threads = _download._parallel_download, modelscope_sdk._IN_RANGES.executor

    def late(url: str, target: Path, *arguments: Any, **more: Any) -> str:
        if threading.current_thread() is first:
            began.set()
            assert go.wait(PATIENCE)
        return str(decide(url, target, *arguments, **more))

    def counted(max_workers: int | None = None, **more: Any) -> ThreadPoolExecutor:
        made = threads(max_workers, **more)
        taken["first" if threading.current_thread() is first else "second"] = made._max_workers
        return made

    monkeypatch.setattr(_download, "_parallel_download", late)
    monkeypatch.setattr(_download, "ThreadPoolExecutor", counted)
    for name in ("1", "2", "3"):
        (tmp_path / name).mkdir()
    first = threading.Thread(target=fetch, args=(hub, one, tmp_path / "1"))
    first.start()
    assert began.wait(PATIENCE)
    assert fetch(hub, two, tmp_path / "2") == CONTENT
    go.set()
    first.join(PATIENCE)
    assert taken == {"first": 4, "second": 2}
    assert fetch(hub, two, tmp_path / "3") == CONTENT
    assert taken["second"] == 4, "nobody is before it now"


def test_whatever_is_sent_and_fetched_passes_the_throttles(
    hub: ModelScopeHub, running: RunningHub, tmp_path: Path
) -> None:
    passed: dict[str, list[int]] = {"down": [], "up": []}

    class Counting(Throttle):
        def __init__(self, name: str) -> None:
            super().__init__(0)
            self._name = name

        def pass_by(self, count: int, go_on: Callable[[], object]) -> None:
            passed[self._name].append(count)
            go_on()

    limited = ModelScopeHub(
        running.endpoint,
        running.token,
        cache_dir=tmp_path / "limited",
        downloads=Counting("down"),
        uploads=Counting("up"),
    )
    file = put(limited, tmp_path)
    assert sum(passed["up"]) == len(CONTENT) and not passed["down"]
    assert fetch(limited, file, tmp_path) == CONTENT and ranges(running) == 4
    assert sum(passed["down"]) == len(CONTENT) and max(passed["down"]) <= RANGE, "in small pieces, of all ranges"
    put(limited, tmp_path)
    assert sum(passed["up"]) == len(CONTENT), "what the hub has is not sent, and not limited"


def test_file_whose_name_leaves_no_room_for_those_of_ranges_is_fetched_in_one(
    hub: ModelScopeHub, running: RunningHub, tmp_path: Path
) -> None:
    file = put(hub, tmp_path, "番" * 80 + ".mp4")
    assert fetch(hub, file, tmp_path) == CONTENT and ranges(running) == 1


def test_server_without_ranges_gives_the_whole_file(hub: ModelScopeHub, running: RunningHub, tmp_path: Path) -> None:
    file = put(hub, tmp_path)
    running.faults.append(Fault("/repo?Revision", "whole", times=10**6))
    assert fetch(hub, file, tmp_path) == CONTENT


@pytest.mark.parametrize("kind", ["reset", "truncated", "status:500"])
def test_range_that_breaks_is_fetched_again_and_the_others_are_kept(
    hub: ModelScopeHub, running: RunningHub, tmp_path: Path, kind: str
) -> None:
    file = put(hub, tmp_path)
    running.faults.append(Fault("/repo?Revision", kind, times=1, skip=3))
    for _ in range(2):
        try:
            got = fetch(hub, file, tmp_path)
            break
        except HubUnavailable:
            continue
    assert got == CONTENT and ranges(running) <= 4 + 4


def test_hub_that_has_too_many_requests_gets_one_connection_per_file(
    hub: ModelScopeHub, running: RunningHub, tmp_path: Path
) -> None:
    file = put(hub, tmp_path)
    running.faults.append(Fault("/repo?Revision", "status:429", times=4))
    with pytest.raises(HubUnavailable):
        fetch(hub, file, tmp_path)
    running.faults.clear()
    other = put(hub, tmp_path, "b.mp4")  # what was asked of the first one may still be on its way
    hub.download(REPO, "master", other, tmp_path / "other.mp4", lambda moved: None)
    assert running.asked("FilePath=A%2Fb.mp4") == 1


def test_stop_ends_all_ranges(hub: ModelScopeHub, running: RunningHub, tmp_path: Path) -> None:
    file = put(hub, tmp_path)

    def stop(moved: int) -> None:
        raise Stopped("stopped")

    with pytest.raises(Stopped):
        fetch(hub, file, tmp_path, stop)
    assert modelscope_sdk._IN_RANGES._in_use == 0


class MeetingHub(MemoryHub):
    """Each transfer of a kind waits until ``count`` of them are under way."""

    def __init__(self, count: int) -> None:
        super().__init__(FakeClock())
        self.downloads, self.uploads = threading.Barrier(count), threading.Barrier(count)

    def download(self, repo: str, commit: str, file: RemoteFile, target: Path, progress: Progress) -> str:
        self.downloads.wait(PATIENCE)
        return super().download(repo, commit, file, target, progress)

    def store_blob(self, repo: str, source: Path, sha256: str, size: int, progress: Progress) -> None:
        self.uploads.wait(PATIENCE)
        super().store_blob(repo, source, sha256, size, progress)


def test_four_files_at_a_time_go_in_each_direction(tmp_path: Path) -> None:
    hub = MeetingHub(4)
    hub.create_repo("me/out")
    site = Site(tmp_path, hub, FakeConverter())
    site.put({f"A/{n}.mp4": b"%d" % n for n in range(8)}, "A")
    site.run()
    assert site.item("A").status is Status.COMPLETED and len(site.converter.encoded) == 8
