"""What every hub client promises: the same cases over memory, over the SDK and the embedded hub, and retried."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes import MemoryHub
from tests.hub_server import running_hub
from tools.core.errors import HubNotFound, HubRejected
from tools.core.folder import RemoteFile
from tools.hub.client import AddBlob, AddBytes, HubClient, Remove
from tools.hub.modelscope_client import ModelScopeHub
from tools.hub.retrying import RetryingHub
from tools.runtime.clock import SystemClock

REPO = "me/shows"
ODD_NAMES = ["番剧A/第 01 话.mp4", "a b/100% #1?+&=.mkv", "a b/-dash.mp4", "emoji 🎬/🎬.mkv", "x/y/z/deep.ts"]


@pytest.fixture(params=["memory", "modelscope", "retrying"])
def hub(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[HubClient]:
    if request.param == "memory":
        yield MemoryHub()
        return
    with running_hub(tmp_path / "hub") as server:
        client = ModelScopeHub(server.endpoint, server.token, cache_dir=tmp_path / "cache")
        yield client if request.param == "modelscope" else RetryingHub(client, SystemClock())


def nothing(moved: int) -> None:
    return None


def put(hub: HubClient, tmp_path: Path, files: dict[str, bytes], message: str = "add") -> str:
    operations = []
    for path, content in files.items():
        source = tmp_path / "source"
        source.write_bytes(content)
        sha256 = hashlib.sha256(content).hexdigest()
        hub.store_blob(REPO, source, sha256, len(content), nothing)
        operations.append(AddBlob(path, sha256, len(content)))
    return hub.commit(REPO, operations, message)


def test_token_tells_its_user(hub: HubClient) -> None:
    assert hub.whoami()


def test_repo_exists_after_it_was_created_and_creating_it_again_does_no_harm(hub: HubClient) -> None:
    assert not hub.repo_exists(REPO)
    assert [hub.create_repo(REPO) for _ in range(2)] == [True, False], "whether it made one"
    assert hub.repo_exists(REPO)


def test_right_to_write_is_told_without_a_commit(hub: HubClient) -> None:
    with pytest.raises(HubNotFound):
        hub.need_write(REPO)
    hub.create_repo(REPO)
    hub.need_write(REPO)
    assert hub.head(REPO) is None


def test_repo_without_commits_has_no_head(hub: HubClient) -> None:
    hub.create_repo(REPO)
    assert hub.head(REPO) is None


def test_missing_repo_is_not_found(hub: HubClient) -> None:
    with pytest.raises(HubNotFound):
        hub.head("me/nowhere")


def test_committed_files_are_listed_with_size_sha256_and_time(hub: HubClient, tmp_path: Path) -> None:
    hub.create_repo(REPO)
    files = {name: name.encode() * 3 for name in ODD_NAMES}
    commit = put(hub, tmp_path, files)
    head = hub.head(REPO)
    assert head is not None and head.commit_id == commit and head.server_time is not None
    listed = {file.path: file for file in hub.list_files(REPO, commit)}
    assert {path: file.size for path, file in listed.items()} == {path: len(c) for path, c in files.items()}
    for path, content in files.items():
        assert listed[path].sha256 == hashlib.sha256(content).hexdigest()
        assert listed[path].committed_at == head.committed_at is not None


def test_text_too_long_for_a_commits_body_is_committed_all_the_same(hub: HubClient) -> None:
    hub.create_repo(REPO)
    long = b'{"file_name": "1.mkv"}\n' * 20_000
    commit = hub.commit(REPO, [AddBytes("a/metadata.jsonl", long), AddBytes("a/short.txt", b"1")], "long")
    assert hub.read_file(REPO, commit, "a/metadata.jsonl") == long
    assert {file.path: file.size for file in hub.list_folder(REPO, commit, "a")} == {
        "a/metadata.jsonl": len(long),
        "a/short.txt": 1,
    }


def test_listing_of_an_old_commit_stays_as_it_was(hub: HubClient, tmp_path: Path) -> None:
    hub.create_repo(REPO)
    first = put(hub, tmp_path, {"a/1.mp4": b"one"})
    put(hub, tmp_path, {"a/2.mp4": b"two", "a/1.mp4": b"changed"}, "more")
    assert [(file.path, file.size) for file in hub.list_files(REPO, first)] == [("a/1.mp4", 3)]


def test_folder_listing_holds_direct_files_alone_and_is_empty_for_a_missing_folder(
    hub: HubClient, tmp_path: Path
) -> None:
    hub.create_repo(REPO)
    commit = put(hub, tmp_path, {"a/1.mp4": b"1", "a/2.mp4": b"2", "a/b/3.mp4": b"3", "ab/4.mp4": b"4", "5.mp4": b"5"})
    assert [file.path for file in hub.list_folder(REPO, commit, "a")] == ["a/1.mp4", "a/2.mp4"]
    assert [file.path for file in hub.list_folder(REPO, commit, "")] == ["5.mp4"], "the root"
    assert hub.list_folder(REPO, commit, "nowhere") == []


@pytest.mark.parametrize("name", ODD_NAMES)
def test_download_gives_the_bytes_and_their_sha256(hub: HubClient, tmp_path: Path, name: str) -> None:
    hub.create_repo(REPO)
    content = bytes(range(256)) * 500
    commit = put(hub, tmp_path, {name: content})
    moved: list[int] = []
    target = tmp_path / "work" / "source.mp4"
    target.parent.mkdir()
    file = next(iter(hub.list_files(REPO, commit)))
    assert hub.download(REPO, commit, file, target, moved.append) == hashlib.sha256(content).hexdigest()
    assert target.read_bytes() == content
    assert sum(moved) == len(content)
    assert [path.name for path in target.parent.iterdir()] == ["source.mp4"]


def test_download_of_a_missing_file_is_not_found(hub: HubClient, tmp_path: Path) -> None:
    hub.create_repo(REPO)
    commit = put(hub, tmp_path, {"a/1.mp4": b"1"})
    with pytest.raises(HubNotFound):
        hub.download(REPO, commit, RemoteFile("a/none.mp4", 1, ""), tmp_path / "x", nothing)


def test_glance_tells_whether_a_file_is_given(hub: HubClient, tmp_path: Path) -> None:
    hub.create_repo(REPO)
    sizes = (1, 10, 65_536, 65_537, 10**6)
    commit = put(hub, tmp_path, {name: b"x" * size for name, size in zip(ODD_NAMES, sizes, strict=True)})
    for file in hub.list_files(REPO, commit):
        hub.glance(REPO, commit, file)
    with pytest.raises(HubNotFound):
        hub.glance(REPO, commit, RemoteFile("a/none.mp4", 1, ""))


def test_small_files_travel_with_the_commit_and_are_read_back(hub: HubClient, tmp_path: Path) -> None:
    hub.create_repo(REPO)
    commit = hub.commit(REPO, [AddBytes("a/metadata.jsonl", '{"名": 1}\n'.encode())], "text")
    assert hub.read_file(REPO, commit, "a/metadata.jsonl") == '{"名": 1}\n'.encode()
    assert hub.read_file(REPO, commit, "a/none") is None


def test_removed_file_is_gone_beside_what_the_same_commit_adds_and_stays_in_the_one_before(
    hub: HubClient, tmp_path: Path
) -> None:
    hub.create_repo(REPO)
    before = put(hub, tmp_path, {"番剧/1.mkv": b"one", "番剧/2.mkv": b"two"})
    after = hub.commit(REPO, [Remove("番剧/1.mkv"), AddBytes("番剧/metadata.jsonl", b"{}\n")], "remove")
    assert [file.name for file in hub.list_folder(REPO, after, "番剧")] == ["2.mkv", "metadata.jsonl"]
    assert hub.read_file(REPO, before, "番剧/1.mkv") == b"one"


def test_what_the_hub_holds_in_any_repo_need_not_be_sent(hub: HubClient, tmp_path: Path) -> None:
    hub.create_repo(REPO)
    hub.create_repo(f"{REPO}-other")
    put(hub, tmp_path, {"a/font.ttf": b"font", "a/1.ass": b"text"})
    held = [(hashlib.sha256(content).hexdigest(), 4) for content in (b"font", b"text")]
    unknown = [(f"{number:064x}", 4) for number in range(150)]
    assert hub.lacks(f"{REPO}-other", [*held, *unknown]) == {sha256 for sha256, _ in unknown}
    hub.commit(f"{REPO}-other", [AddBlob("b/font.ttf", *held[0])], "without a byte of it")


def test_blob_that_was_never_stored_is_refused(hub: HubClient) -> None:
    hub.create_repo(REPO)
    with pytest.raises(HubRejected):
        hub.commit(REPO, [AddBlob("a/1.mp4", "0" * 64, 5)], "nothing there")
    assert hub.head(REPO) is None
