"""Answers with status 200 that are none, at every endpoint: nothing is lost, overwritten, encoded twice or blamed."""

import contextlib
import json
import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.fakes import HastyClock
from tests.faults.test_hub_outages import Site
from tests.hub_server import Fault, RunningHub, running_hub
from tools.core.errors import HubUnavailable
from tools.core.queue_item import Status
from tools.processor.engine import Engine

SHAPES = {
    "Data null": '{"Code": 200, "Success": true, "Data": null}',
    "no Data": '{"Code": 200, "Success": true}',
    "Data a list": '{"Code": 200, "Success": true, "Data": []}',
    "Data a text": '{"Code": 200, "Success": true, "Data": "ok"}',
    "Data a number": '{"Code": 200, "Success": true, "Data": 7}',
    "Data without its parts": '{"Code": 200, "Success": true, "Data": {}}',
    "parts of another type": '{"Code": 200, "Data": {"Commit": 7, "Files": {}, "objects": "x", "oid": 7}}',
    "parts of strangers": '{"Code": 200, "Data": {"Commit": ["x"], "Files": [[]], "objects": [5], "oid": "done"}}',
    "entries of another type": '{"Code": 200, "Data": {"Commit": [{"Id": 5}], "Files": [{"Path": 5, "Type": "blob"}],'
    ' "objects": [{"oid": 5, "actions": "x"}], "oid": ["x"]}}',
    "null": "null",
    "a list": "[]",
    "a number": "5",
    "a text": '"ok"',
    "nothing": "",
    "half": '{"Code": 200, "Data": {"Com',
    "the new interface's success": '{"success": true, "data": {}}',
    "brackets": "[" * 100_000,
}
EMPTY = {
    "empty lists": '{"Code": 200, "Success": true, "Data": {"Commit": [], "Files": []}}',
    "no lists": '{"Code": 200, "Success": true, "Data": {"Commit": null, "Files": null}}',
    "no entries counted": '{"Code": 200, "Success": true, "Data": {"Commit": [], "Files": null}, "TotalCount": 3}',
}
ENDPOINTS = {
    "who": ("/users/me", SHAPES),
    "commits of the input": ("me/in/commits", SHAPES | EMPTY),
    "commits of the output": ("me/out/commits", SHAPES | EMPTY),
    "tree of the input": ("me/in/repo/tree", SHAPES | EMPTY),
    "tree of the output": ("me/out/repo/tree", SHAPES | EMPTY),
    "metadata": ("me/out/repo?Revision", SHAPES),
    "source": ("me/in/repo?Revision", SHAPES),
    "batch": ("/objects/batch", SHAPES),
    "blob": ("PUT ", {}),  # any answer but a page says that it is stored
    "commit": ("/commit/master", SHAPES),
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    with running_hub(tmp_path_factory.mktemp("hub"), max_page_size=20) as running:
        yield running


@pytest.fixture
def site(running: RunningHub, tmp_path: Path) -> Site:
    running.renew(tmp_path / "hub")
    running.store.create("me/in", 1)
    running.store.create("me/out", 1)
    return Site(tmp_path, running, running.token, max_attempts=1, clock=HastyClock())


def metadata(site: Site) -> list[str]:
    head = site.client().head("me/out")
    assert head is not None
    return (site.client().read_file("me/out", head.commit_id, "A/metadata.jsonl") or b"").decode().splitlines()


def over(fault: Fault, engine: Engine) -> bool:
    return engine.is_idle() and fault.hits > 3


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_wrong_answer_loses_nothing_overwrites_nothing_and_quarantines_nobody(
    site: Site, endpoint: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Each answer comes four times, which is more than a request is tried; then the hub is well again."""
    match, shapes = ENDPOINTS[endpoint]
    site.put("A", "0.mp4")
    site.run()
    for number, (name, says) in enumerate({"page": "", **shapes}.items(), 1):
        fault = Fault(match, "html" if name == "page" else "body", times=4, says=says)
        site.put("A", f"{number}.mp4")
        site.hub.faults[:] = [fault]
        site.run(partial(over, fault))
        item = site.item("A")
        assert item.status is Status.COMPLETED and not item.quarantined, (name, item.error)
        wanted = [f"{n}.mkv" for n in range(number + 1)]
        assert sorted(site.published()) == sorted(f"A/{one}" for one in wanted), name
        assert [json.loads(line)["file_name"] for line in metadata(site)] == wanted, name
        assert sorted(site.converter.encoded) == sorted(f"A/{n}.mp4".encode() for n in range(number + 1)), name
        assert len(site.hub.store.repo("me/out").commits) == number + 1, name
    assert not [record for record in caplog.records if record.exc_info], "no traceback"
    assert not [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


def test_wrong_answer_about_a_dataset_never_says_that_it_is_not_there_and_breaks_nothing(site: Site) -> None:
    """What the processor asks at each connection, beside who it is."""
    hub = site.client()
    for name, says in {"page": "", **SHAPES}.items():
        kind = "html" if name == "page" else "body"
        site.hub.faults[:] = [Fault("GET /openapi/v1/datasets/me/in", kind, times=99, says=says)]
        with contextlib.suppress(HubUnavailable):
            assert hub.repo_exists("me/in"), name
        site.hub.faults[:] = [Fault("POST /api/v1/datasets", kind, times=99, says=says)]
        with contextlib.suppress(HubUnavailable):
            hub.create_repo("me/new")
    site.hub.faults[:] = []
    assert hub.repo_exists("me/in") and not hub.repo_exists("me/new")
