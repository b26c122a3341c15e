"""A hub that wants to be left alone for half an hour: what it speaks of waits, everything else goes on, and it is seen.

The real client and the embedded hub; no wait of half an hour ends here, so whatever gets done is done beside it.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.faults.test_hub_outages import COMMIT, Site, digest, running, site, told
from tests.faults.world import EXTENSIONS, CountingHub, World
from tests.hub_server import Fault
from tools.core.folder import group_folders
from tools.core.queue_item import Status, new_item
from tools.hub.client import Operation
from tools.processor.engine import Engine
from tools.state.work_queue import WorkQueue

__all__ = ["running", "site"]
FOR_LONG = 1700


@pytest.fixture(autouse=True)
def one_attempt(site: Site) -> None:
    site.max_attempts = 1


def busy(site: Site, match: str, times: int = 10**6, kind: str = "status:429") -> Fault:
    fault = Fault(match, kind, times=times, retry_after=FOR_LONG)
    site.hub.faults.append(fault)
    return fault


def encoded(site: Site, videos: int) -> Callable[[Engine], bool]:
    return lambda engine: len(site.converter.encoded) == videos and not engine._jobs.progress()


@pytest.mark.parametrize("kind", ["status:429", "status:503"])
def test_one_commit_that_has_to_wait_keeps_no_other_folder_from_opening_and_publishing(
    site: Site, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    site.put("A", "1.mp4", "2.mp4")
    site.put("B", "3.mp4", "4.mp4")
    busy(site, COMMIT, times=1, kind=kind)
    seen: list[tuple[str | None, list[str]]] = []

    def until(engine: Engine) -> bool:
        if site.item("B").status is not Status.COMPLETED:
            return False
        seen.append((engine.paused, [f"{one.kind} {one.about} {one.state}" for one in engine._asked_of_the_hub()]))
        return True

    site.run(until)
    assert site.published() == ["B/3.mkv", "B/4.mkv"] and len(site.converter.encoded) == 4
    paused, shown = seen[0]
    assert paused is not None and paused.startswith("publish of A/1 waits until 20") and kind[-3:] in paused
    assert shown == ["publish A/1 waiting"]
    assert told(caplog, "hub asked to wait") == ["WARNING"] and "kind=publish about=A/1" in caplog.text
    assert not told(caplog, "PAUSED"), "nothing is paused for it"
    assert site.item("A").status is Status.PENDING, "given back at the end"
    site.run()
    assert site.item("A").status is Status.COMPLETED and len(site.converter.encoded) == 4


def test_hub_that_takes_no_commit_is_asked_twice_and_the_encoder_does_not_idle(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.batch_size = 1
    site.put("A", *(f"{n}.mp4" for n in range(5)))
    site.put("B", *(f"{n}.mp4" for n in range(5)))
    fault = busy(site, COMMIT)
    all_encoded = encoded(site, 10)
    engine = site.run(lambda engine: all_encoded(engine) and "publish" in engine._waits.held())
    assert fault.hits == site.hub.asked(COMMIT) == 2 and len(told(caplog, "hub asked to wait")) == 2
    assert "and 1 more waits until" in str(engine.paused)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_uploads_that_have_to_wait_stop_no_encoder_and_are_asked_for_once(site: Site) -> None:
    site.put("A", *(f"{n}.mp4" for n in range(6)))
    fault = busy(site, "/objects/batch")
    site.run(encoded(site, 6))
    assert fault.hits == 6
    fault.times = 0
    site.run()
    assert len(site.published()) == 6 and len(site.converter.encoded) == 6


def test_downloads_that_have_to_wait_are_not_all_asked_for(site: Site) -> None:
    site.put("A", *(f"{n}.mp4" for n in range(9)))
    site.put("B", "9.mp4")
    fault = busy(site, "/repo?Revision")
    site.run(lambda engine: "download" in engine._waits.held() and not engine._jobs.progress())
    assert fault.hits <= 4 + 2, "those that were begun, and one in the place of each of the first two"
    assert site.item("A").status is Status.PENDING and not site.item("A").quarantined


def test_folder_that_may_not_be_listed_yet_lets_the_next_one_in(site: Site) -> None:
    site.put("A", "1.mp4")
    site.put("B", "2.mp4")
    fault = busy(site, "me/in/repo/tree", times=1)
    site.run(lambda engine: site.item("B").status is Status.COMPLETED)
    assert fault.hits >= 1 and site.published() == ["B/2.mkv"]
    assert site.item("A").status is Status.PENDING and site.item("A").not_before is not None


def test_token_check_that_has_to_wait_says_until_when(site: Site) -> None:
    site.put("A", "1.mp4")
    fault = busy(site, "me/out?", times=10**6)
    engine = site.run(lambda engine: "next try at 20" in str(engine.paused))
    assert fault.hits == 1, engine.paused


def test_commits_that_fail_stop_no_download_and_no_encoder(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.batch_size = 1
    site.put("A", *(f"{n}.mp4" for n in range(3)))
    fault = Fault(COMMIT, "status:503", times=10**6)
    site.hub.faults.append(fault)
    site.run(lambda engine: engine._pause.stops("publish") and not engine._pause.stops("transfer"))
    site.put("B", "9.mp4")
    before = len(site.converter.encoded)
    site.run(lambda engine: b"B/9.mp4" in site.converter.encoded and engine._pause.stops("publish"))
    assert before <= 3 and told(caplog, "PAUSED")
    fault.times = 0
    site.run()
    assert site.published() == ["A/0.mkv", "A/1.mkv", "A/2.mkv", "B/9.mkv"]


class LosingHub(CountingHub):
    """Takes the first ``lost`` commits of the output and never shows them."""

    lost = 1
    taken_at: list[float]

    def commit(self, repo: str, operations: Sequence[Operation], message: str) -> str:
        self.taken_at = [*getattr(self, "taken_at", []), self.clock.monotonic()]
        if len(self.taken_at) <= self.lost:
            return "f" * 40
        return super().commit(repo, operations, message)


def test_commit_that_the_hub_took_and_never_shows_is_made_again_after_an_hour_and_no_attempt_is_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    world = World(tmp_path, max_attempts=1)
    world.hub = LosingHub(world.clock)
    world.hub.create_repo("me/in")
    world.hub.create_repo("me/out")
    files = world.hub.put("me/in", {"A/1.mp4": b"1"})
    folder = group_folders(world.hub.list_files("me/in", files), EXTENSIONS)["A"]
    with WorkQueue(world.log_dir).transaction() as view:
        view.put(new_item(folder, world.clock.time()))
    engine = world.engine(world.hub)
    for _ in range(500):
        engine.turn(0)
        if engine.is_idle():
            break
        world.clock.pass_time(10)
    first, second = world.hub.taken_at
    assert 3600 <= second - first <= 3600 + 2 * 300, "looked for at least every 5 min meanwhile"
    assert world.items()["A"].status is Status.COMPLETED and world.encodes(digest("1")) == 1
    assert len(told(caplog, "commit failed, will retry")) == 1 and told(caplog, "批次处理成功") == ["INFO"]
