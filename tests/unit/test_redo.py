"""What is published is made again because a person wants it: once, with what was ordered, through any crash."""

import json
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes import FakeClock, FakeConverter, MemoryHub
from tests.patience import PATIENCE
from tests.unit.test_engine import EXTENSIONS, Site
from tools.core.errors import IllegalTransition, ProbeError, Stopped
from tools.core.folder import RemoteFile, group_folders
from tools.core.options import Wanted
from tools.core.ordering import redo_now
from tools.core.queue_item import Status, cancel, from_json, retry, to_json
from tools.core.record import Published
from tools.core.redo import Redo, compare, redo_of_json, redo_with
from tools.hub.client import Operation
from tools.processor.item_run import ItemRun
from tools.state.journal import Journal

FILES = {f"A/{number}.mp4": b"%d" % number for number in (1, 2, 3)}
FINER = redo_with({"crf": 22})


@pytest.fixture
def site(tmp_path: Path) -> Site:
    hub = MemoryHub(FakeClock())
    hub.create_repo("me/out")
    site = Site(tmp_path, hub, FakeConverter(), batch_size=1)
    site.put(FILES, "A")
    site.run()
    site.converter.encoded.clear()
    return site


def order(site: Site, redo: Redo) -> None:
    folder = group_folders(site.hub.list_files("me/in", site.hub.recent("me/in")[0]), EXTENSIONS)["A"]
    with site.queue().transaction() as view:
        Journal(site.top / "log", "A").discard()
        view.put(redo_now(view.get("A"), folder, redo, time.time()))


def results(site: Site) -> list[bytes]:
    out = site.published("A")
    return [out[f"{number}.mkv"] for number in (1, 2, 3)]


def test_all_is_made_again_with_what_was_ordered_under_the_names_that_it_has(site: Site) -> None:
    order(site, FINER)
    site.run()
    assert results(site) == [b"av1:crf=22 %d" % number for number in (1, 2, 3)]
    rows = [json.loads(line) for line in site.published("A")["metadata.jsonl"].splitlines()]
    assert [json.loads(row["options"])["crf"] for row in rows] == [22] * 3
    item = site.item("A")
    assert (item.status, item.videos_done, item.redo) == (Status.COMPLETED, 3, None)
    site.put({}, "A")
    site.run()
    assert len(site.converter.encoded) == 3, "once"


def test_old_files_stay_until_the_new_ones_are_there_and_a_restart_makes_nothing_twice(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    seen: list[list[bytes]] = []
    real = site.hub.commit

    def commit(repo: str, operations: Sequence[Operation], message: str) -> str:
        seen.append(results(site))
        return real(repo, operations, message)

    monkeypatch.setattr(site.hub, "commit", commit)

    def keep_the_third(stage: str, source: Path, stop: threading.Event) -> None:
        if source.read_bytes() == b"3" and stop.wait(PATIENCE):
            raise Stopped("in its first life")

    site.converter._during = keep_the_third
    site.slots = 2  # whichever is downloaded first is encoded first: the third may not keep the first back
    order(site, replace(FINER, videos=("A/1.mp4", "A/3.mp4")))
    site.run(until=lambda engine: "published=1" in caplog.text)
    assert site.item("A").status is Status.PENDING and site.item("A").redo is not None
    site.converter._during = lambda stage, source, stop: None
    site.run()
    assert "videos=2 done_before=1" in caplog.text and "videos=1 done_before=2" in caplog.text
    assert [sum(b"crf" in result for result in before) for before in seen] == [0, 1]
    assert results(site) == [b"av1:crf=22 1", b"av1:2", b"av1:crf=22 3"]
    assert site.converter.encoded.count(b"1") == 1 and b"2" not in site.converter.encoded


def test_what_fails_keeps_its_old_file_and_retry_makes_it_alone_again(site: Site) -> None:
    site.converter.refused[b"2"] = ProbeError("broken today")
    order(site, FINER)
    site.run()
    item = site.item("A")
    assert item.status is Status.FAILED and item.redo == replace(FINER, videos=("A/2.mp4",))
    assert results(site)[1] == b"av1:2"
    assert sorted(site.converter.encoded) == [b"1", b"2", b"3"], "in the order of their downloads"
    site.converter.refused.clear()
    with site.queue().transaction() as view:
        view.put(retry(item))
    site.run()
    assert results(site)[1] == b"av1:crf=22 2" and site.converter.encoded[3:] == [b"2"]


def test_redo_that_an_unexpected_error_ended_makes_nothing_twice_by_retry(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(run: ItemRun) -> None:
        raise ZeroDivisionError

    order(site, FINER)
    with monkeypatch.context() as patch:
        patch.setattr(ItemRun, "quarantined", broken)
        site.run()
    item = site.item("A")
    assert item.status is Status.FAILED and item.redo == FINER and len(site.converter.encoded) == 3
    with site.queue().transaction() as view:
        Journal(site.top / "log", "A").keep_results()  # as --retry does
        view.put(retry(item))
    site.run()
    assert site.item("A").status is Status.COMPLETED and len(site.converter.encoded) == 3


def test_what_a_redo_can_not_make_is_not_known_as_bad_to_others(site: Site) -> None:
    site.converter.refused[b"2"] = ProbeError("broken today")
    order(site, FINER)
    site.run()
    site.converter.refused.clear()
    site.put({"B/2.mp4": b"2"}, "B")
    site.run()
    assert site.item("B").status is Status.COMPLETED


def test_source_that_was_never_published_is_done_by_the_settings_in_force(site: Site) -> None:
    site.hub.put("me/in", {"A/4.mp4": b"4"})
    order(site, replace(FINER, videos=("A/1.mp4",)))
    site.run()
    assert site.published("A")["4.mkv"] == b"av1:4" and results(site)[0] == b"av1:crf=22 1"


def test_order_is_kept_in_the_queue_file_and_ends_with_a_cancel(site: Site) -> None:
    order(site, replace(FINER, videos=("A/1.mp4",)))
    item = site.item("A")
    assert from_json(json.loads(json.dumps(to_json(item)))) == item
    assert cancel(item, 1.0).redo is None and "redo" not in to_json(replace(item, redo=None))
    with pytest.raises(IllegalTransition):
        folder = group_folders([RemoteFile("A/1.mp4", 1, "s")], EXTENSIONS)["A"]
        redo_now(replace(item, status=Status.PROCESSING), folder, FINER, 1.0)
    damaged: list[object] = ["x", {"options": [1]}, {"videos": "A"}, {"options": {"crf": [1]}}]
    for wrong in damaged:
        with pytest.raises((TypeError, ValueError)):
            redo_of_json(wrong)


def test_comparison_names_what_was_made_otherwise_and_what_does_not_tell() -> None:
    sources = [RemoteFile(f"A/{name}.mp4", 1, name) for name in "abcd"]
    options = {"a": '{"crf":30,"encoder":"libsvtav1"}', "b": '{"crf":22,"encoder":"libsvtav1"}', "c": None}
    rows = [
        {"file_name": f"{name}.mkv", "source_path": f"A/{name}.mp4", "source_sha256": name, "options": made}
        for name, made in options.items()
    ]
    lines = "".join(json.dumps({k: v for k, v in row.items() if v is not None}) + "\n" for row in rows)
    wanted = Wanted({"crf": 22, "encoder": "auto"}, {"crf": 30})
    found = compare(sources, Published.parse(lines.encode()), wanted)
    assert (dict(found.videos), found.untold) == ({"A/a.mp4": ("crf",)}, ("A/c.mp4",))
    assert found.published == ("A/a.mp4", "A/b.mp4", "A/c.mp4")
