"""A hub that misbehaves: survived, or told as what it is; never fewer files, never two commits, never the token."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes import FakeClock
from tests.hub_server import Fault, RunningHub, running_hub
from tools.core.errors import HubError, HubForbidden, HubRejected, HubUnavailable
from tools.hub.client import AddBlob, AddBytes
from tools.hub.modelscope_client import ModelScopeHub
from tools.hub.retrying import RetryingHub

REPO = "me/shows"
FILES = {f"番剧/{number:03}.mp4": b"%d" % number for number in range(120)}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningHub]:
    with running_hub(tmp_path / "hub", max_page_size=50) as running:
        running.store.create(REPO, 1)
        yield running


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def hub(server: RunningHub, clock: FakeClock, tmp_path: Path) -> RetryingHub:
    return RetryingHub(client(server, tmp_path), clock)


def client(server: RunningHub, tmp_path: Path) -> ModelScopeHub:
    return ModelScopeHub(server.endpoint, server.token, cache_dir=tmp_path / "cache", stall_timeout=5.0)


def fill(hub: RetryingHub) -> str:
    return hub.commit(REPO, [AddBytes(path, content) for path, content in FILES.items()], "fill")


def paths(hub: RetryingHub, commit: str) -> list[str]:
    return sorted(file.path for file in hub.list_files(REPO, commit))


KINDS = ["status:429", "status:500", "status:502", "status:503", "status:504", "html", "unsuccess", "reset"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("match", ["/commits", "PageNumber=1&", "PageNumber=2&"])
def test_read_that_stumbles_is_repeated_and_whole(hub: RetryingHub, server: RunningHub, kind: str, match: str) -> None:
    commit = fill(hub)
    server.faults.append(Fault(f"{match}", kind, times=2))
    head = hub.head(REPO)
    assert head is not None and head.commit_id == commit
    assert paths(hub, commit) == sorted(FILES)


def test_refusal_of_a_later_page_is_taken_for_the_stumble_it_is(hub: RetryingHub, server: RunningHub) -> None:
    commit = fill(hub)
    server.faults.append(Fault("PageNumber=3&", "status:403", times=2))
    assert paths(hub, commit) == sorted(FILES)


@pytest.mark.parametrize("kind", ["html", "unsuccess", "empty", "status:500", "status:403"])
def test_page_that_never_comes_is_an_error_and_no_end_of_the_list(
    hub: RetryingHub, server: RunningHub, kind: str
) -> None:
    commit = fill(hub)
    server.faults.append(Fault("PageNumber=2&", kind, times=999))
    with pytest.raises(HubUnavailable):
        paths(hub, commit)


def test_commit_between_pages_changes_nothing_in_a_pinned_listing(hub: RetryingHub) -> None:
    commit = fill(hub)
    listing = hub.list_files(REPO, commit)
    first = next(listing)
    hub.commit(REPO, [AddBytes(f"番剧/{n:03}b.mp4", b"new") for n in range(60)], "meanwhile")
    assert sorted([first.path, *(file.path for file in listing)]) == sorted(FILES)


def test_page_size_that_the_server_clamps_is_found_and_kept(server: RunningHub, hub: RetryingHub) -> None:
    commit = fill(hub)
    paths(hub, commit)
    server.requests.clear()
    paths(hub, commit)
    assert len([line for line in server.requests if "/repo/tree" in line]) == 3  # 121 entries by 50


@pytest.mark.parametrize("kind", ["lost", "status:500", "status:429", "reset"])
def test_commit_with_a_lost_or_failed_answer_is_made_exactly_once(
    hub: RetryingHub, server: RunningHub, kind: str
) -> None:
    server.faults.append(Fault("/commit/master", kind, times=1))
    commit = hub.commit(REPO, [AddBytes("番剧/metadata.jsonl", b"{}\n")], "once")
    commits = server.store.repo(REPO).commits
    assert [one.id for one in commits] == [commit]


def test_wait_that_the_server_asks_for_is_kept(hub: RetryingHub, server: RunningHub, clock: FakeClock) -> None:
    server.faults.append(Fault("/commit/master", "status:429", times=1, retry_after=77))
    hub.commit(REPO, [AddBytes("a/b", b"x")], "later")
    server.faults.append(Fault("/commits", "status:429", times=1, retry_after=33))
    hub.head(REPO)
    assert 33 <= clock.slept[-1] < 60


@pytest.mark.parametrize("kind", ["status:500", "reset", "lost", "status:429"])
def test_blob_upload_that_breaks_is_sent_again(hub: RetryingHub, server: RunningHub, tmp_path: Path, kind: str) -> None:
    content = bytes(range(256)) * 4000
    source = tmp_path / "result.mkv"
    source.write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    server.faults.append(Fault("PUT ", kind, times=1))
    moved: list[int] = []
    hub.store_blob(REPO, source, sha256, len(content), moved.append)
    commit = hub.commit(REPO, [AddBlob("a/1.mkv", sha256, len(content))], "add")
    assert [file.sha256 for file in hub.list_files(REPO, commit)] == [sha256]


@pytest.mark.parametrize("kind", ["truncated", "status:503", "reset"])
def test_download_that_breaks_is_finished_whole(
    hub: RetryingHub, server: RunningHub, tmp_path: Path, kind: str
) -> None:
    content = bytes(range(256)) * 4000
    commit = hub.commit(REPO, [AddBytes("a/1.mp4", content)], "add")
    file = next(iter(hub.list_files(REPO, commit)))
    server.faults.append(Fault("/repo?Revision", kind, times=1))
    target = tmp_path / "work" / "source.mp4"
    target.parent.mkdir()
    assert hub.download(REPO, commit, file, target, lambda moved: None) == hashlib.sha256(content).hexdigest()
    assert target.read_bytes() == content


def test_wrong_token_is_told_at_once_and_is_in_no_message(server: RunningHub, clock: FakeClock, tmp_path: Path) -> None:
    hub = RetryingHub(ModelScopeHub(server.endpoint, "hush-hush", cache_dir=tmp_path / "cache"), clock)
    for call in (
        hub.whoami,
        lambda: hub.head(REPO),
        lambda: hub.create_repo("me/new"),
        lambda: hub.commit(REPO, [AddBytes("a", b"x")], "no"),
    ):
        with pytest.raises(HubError) as caught:
            call()
        assert "hush" not in str(caught.value) and "\n" not in str(caught.value)
        assert isinstance(caught.value, HubRejected)
    with pytest.raises(HubForbidden, match="MODELSCOPE_API_TOKEN"):
        hub.whoami()
    assert clock.slept == []
    assert not (server.root / "datasets/me/new").exists()


def test_missing_output_repo_is_created_private(hub: RetryingHub, server: RunningHub) -> None:
    hub.create_repo("me/out")
    assert server.store.repo("me/out").is_private


def test_hub_that_is_gone_is_unavailable(clock: FakeClock, tmp_path: Path) -> None:
    hub = RetryingHub(
        ModelScopeHub("http://127.0.0.1:9", "t", cache_dir=tmp_path, stall_timeout=2.0), clock, attempts=2
    )
    with pytest.raises(HubUnavailable, match="does not answer"):
        hub.head(REPO)
    assert len(clock.slept) == 1
