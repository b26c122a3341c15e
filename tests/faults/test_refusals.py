"""What a hub refuses without saying of whom it speaks: tried again, paused for if it refuses others too; no verified
result is deleted or encoded again for it."""

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes import FakeClock, FakeConverter, MemoryHub
from tests.patience import until
from tests.programs import HubAddress, environment, run_program
from tests.unit.test_engine import Site
from tools.core.errors import HubRejected
from tools.core.queue_item import Status
from tools.hub.client import AddBlob, Operation, Progress
from tools.processor.engine import Engine


class PickyHub(MemoryHub):
    """Refuses the blobs, or the paths, that ``refused`` names ("" = all), with ``status``; counts refusals."""

    def __init__(self, at: str, status: int) -> None:
        super().__init__(FakeClock())
        self.at, self.status = at, status
        self.refused: list[str] | None = None
        self.refusals: Counter[str] = Counter()

    def store_blob(self, repo: str, source: Path, sha256: str, size: int, progress: Progress) -> None:
        if self.at == "store":
            self._refuse(source.read_bytes().decode())
        super().store_blob(repo, source, sha256, size, progress)

    def commit(self, repo: str, operations: Sequence[Operation], message: str) -> str:
        if self.at == "commit":
            self._refuse(" ".join(one.path for one in operations if isinstance(one, AddBlob)))
        return super().commit(repo, operations, message)

    def _refuse(self, what: str) -> None:
        if self.refused is not None and (not self.refused or any(name in what for name in self.refused)):
            self.refusals[what] += 1
            raise HubRejected(f"storage quota, says the hub [{self.status}]", status=self.status)


def site_of(tmp_path: Path, at: str, status: int) -> tuple[Site, PickyHub]:
    hub = PickyHub(at, status)
    hub.create_repo("me/out")
    site = Site(tmp_path, hub, FakeConverter())
    site.max_attempts = 2
    return site, hub


def turn_until_paused(site: Site) -> Engine:
    engine = site.engine()
    until(
        lambda: engine.needs_person and engine.paused and "quota" in engine.paused,
        lambda: (engine.paused, site.queue().read().items()),
        lambda: engine.turn(0.01),
    )
    return engine


@pytest.mark.parametrize("at", ["store", "commit"])
@pytest.mark.parametrize("status", [400, 402, 409, 413, 423])
def test_refusal_of_all_pauses_with_the_hub_s_words_and_blames_nobody(at: str, status: int, tmp_path: Path) -> None:
    site, hub = site_of(tmp_path, at, status)
    site.put({f"{folder}/{n}.mp4": f"{folder}{n}".encode() for folder in "AB" for n in range(3)}, "A", "B")
    hub.refused = []
    engine = turn_until_paused(site)
    assert not site.item("A").quarantined and not site.item("B").quarantined
    assert ("its storage may be full" in str(engine.paused)) is (at == "commit")
    hub.refused = None
    until(engine.is_idle, lambda: engine.paused, lambda: engine.turn(0.01))
    engine.close(5)
    for folder in "AB":
        assert site.item(folder).status is Status.COMPLETED and len(site.published(folder)) == 4
    assert len(site.converter.encoded) == len(set(site.converter.encoded)) == 6, "no result is made again"


def test_each_video_that_the_hub_refuses_is_found_among_others(tmp_path: Path) -> None:
    site, hub = site_of(tmp_path, "commit", 400)
    site.put({f"A/{n}.mp4": b"%d" % n for n in range(7)}, "A")
    hub.refused = ["A/1.mkv", "A/2.mkv"]
    site.run()
    assert [one.path for one in site.item("A").quarantined] == ["A/1.mp4", "A/2.mp4"]
    assert site.published("A").keys() == {"metadata.jsonl", *(f"{n}.mkv" for n in (0, 3, 4, 5, 6))}


@pytest.mark.parametrize("at", ["store", "commit"])
def test_refusal_of_one_is_its_own_and_its_result_waits_for_a_retry(at: str, tmp_path: Path) -> None:
    site, hub = site_of(tmp_path, at, 422)

    def after_the_first_refusal(stage: str, source: Path, stop: threading.Event) -> None:
        while at == "store" and source.read_bytes() == b"video4" and not hub.refusals:
            stop.wait(0.01)

    site.converter = FakeConverter(during=after_the_first_refusal)  # another one is taken after it
    site.put({f"A/{n}.mp4": f"video{n}".encode() for n in range(5)}, "A")
    hub.refused = ["A/2.mkv", "video2"]
    site.run()
    (given_up,) = site.item("A").quarantined
    assert given_up.path == "A/2.mp4" and given_up.result_kept and "says the hub" in given_up.cause
    assert sorted(site.published("A")) == ["0.mkv", "1.mkv", "3.mkv", "4.mkv", "metadata.jsonl"]
    assert all(count > 1 or " " in what for what, count in hub.refusals.items()), "one refusal is tried again"
    restarted = site.engine()
    restarted.turn(0)  # which sweeps the work folder
    restarted.close(5)
    hub.refused = None
    env = environment(HubAddress("http://127.0.0.1:9", "a-token"), site.top)
    done = run_program("queue_processor.py", "--retry", "A", env=env)
    assert done.returncode == 0, done.stderr
    site.run()
    assert site.item("A").status is Status.COMPLETED and site.published("A")["2.mkv"] == b"av1:video2"
    assert site.converter.encoded.count(b"video2") == 1, "the kept result was sent"
    assert not (site.top / "work/videos").exists() or not list((site.top / "work/videos").iterdir())


def test_413_for_a_large_file_and_not_for_smaller_ones_speaks_of_that_file(tmp_path: Path) -> None:
    site, hub = site_of(tmp_path, "store", 413)
    large = b"large" * 100

    def wait_for_the_small_one(stage: str, source: Path, stop: threading.Event) -> None:
        while source.read_bytes() == large and not site.published("A"):
            stop.wait(0.01)

    site.converter = FakeConverter(during=wait_for_the_small_one)
    site.put({"A/1.mp4": b"small", "B/2.mp4": large}, "A", "B")
    hub.refused = ["largelarge"]
    site.run()
    assert [(q.path, q.result_kept) for q in site.item("B").quarantined] == [("B/2.mp4", True)]
    assert list(hub.refusals.values()) == [2] and "1.mkv" in site.published("A")


def test_kept_results_are_marked_in_the_queue_and_forgotten_with_the_folder(tmp_path: Path) -> None:
    site, hub = site_of(tmp_path, "commit", 422)
    site.put({"A/1.mp4": b"one", "A/2.mp4": b"two"}, "A")
    hub.refused = ["A/2.mkv"]
    site.run()
    assert site.queue().read().keeping() == ["A"]
    with site.queue().transaction() as view:
        view.put(replace(site.item("A"), quarantined=()))
    assert site.queue().read().keeping() == []
    site.run()
    assert not list((site.top / "work").glob("videos/*"))
