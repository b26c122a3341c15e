"""The embedded hub after a full disk, damaged files, and links that somebody put into its folders."""

import errno
import hashlib
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.hub_server import running_hub
from tests.patience import PATIENCE
from tools.core.errors import HubNotFound
from tools.hub_server import blobs
from tools.hub_server.store import HubStore, Repo

REPO = "me/shows"
FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def store(tmp_path: Path) -> HubStore:
    found = started(tmp_path / "hub")
    found.create(REPO, 5)
    return found


def started(root: Path) -> HubStore:
    store = HubStore(root)
    store.prepare()
    return store


def again(store: HubStore) -> Repo:
    """The dataset as the next start has it."""
    return started(store.root).repo(REPO)


def blob(store: HubStore, content: bytes) -> dict[str, Any]:
    sha256 = hashlib.sha256(content).hexdigest()
    received = store.blobs.incoming()
    received.write_bytes(content)
    store.blobs.add(received, sha256)
    return {"sha256": sha256, "size": len(content)}


def commit(store: HubStore, path: str, content: bytes | None) -> str:
    change = None if content is None else blob(store, content)
    return store.commit(store.repo(REPO), {path: change}, "m", "me")


def history(store: HubStore) -> Path:
    return store.root / ".hub" / "repos" / REPO / "commits.jsonl"


def half_written(monkeypatch: pytest.MonkeyPatch, *, truncates: bool) -> None:
    """The disk is full in the middle of the next line."""
    real = os.write

    def write(descriptor: int, content: bytes) -> int:
        monkeypatch.setattr("tools.hub_server.history.os.write", lambda *_: (_ for _ in ()).throw(FULL))
        return real(descriptor, content[: len(content) // 2])

    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("tools.hub_server.history.os.write", write)
    if not truncates:
        monkeypatch.setattr("tools.hub_server.history.os.ftruncate", refuse)


@pytest.mark.parametrize("truncates", [True, False])
def test_line_that_a_full_disk_cut_costs_no_commit_after_it(
    truncates: bool, store: HubStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = commit(store, "1.txt", b"1")
    with monkeypatch.context() as patch:
        half_written(patch, truncates=truncates)
        with pytest.raises(OSError, match=r"No space|Input/output"):
            commit(store, "2.txt", b"2")
    later = [commit(store, f"{number}.txt", b"%d" % number) for number in (3, 4, 5)]
    repo = again(store)
    assert [one.id for one in repo.commits] == [first, *later]
    assert sorted(repo.tree) == ["1.txt", "3.txt", "4.txt", "5.txt"]
    damaged = history(store).with_name("commits.jsonl.damaged")
    assert damaged.read_bytes().count(b'"id"') == 1 if not truncates else not damaged.exists()


def test_full_disk_is_told_as_the_hub_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = {"actions": [{"action": "create", "path": "a.txt", "type": "normal", "content": "a"}]}
    with running_hub(tmp_path / "other") as hub, monkeypatch.context() as patch:
        hub.store.create(REPO, 5)
        half_written(patch, truncates=True)
        address = f"{hub.endpoint}/api/v1/repos/datasets/{REPO}/commit/master"
        answer = requests.post(address, json=body, headers={"Authorization": f"Bearer {hub.token}"}, timeout=PATIENCE)
    assert answer.status_code == 507 and "no space" in answer.json()["Message"]


@pytest.mark.parametrize("damage", [b"\0" * 40, b"{}", b'{"id": "x", "changes": {"a": 3}}', b"[" * 100_000])
def test_line_in_the_middle_that_can_not_be_read_is_set_aside_and_said(
    damage: bytes, store: HubStore, caplog: pytest.LogCaptureFixture
) -> None:
    ids = [commit(store, f"{number}.txt", b"%d" % number) for number in range(3)]
    lines = history(store).read_bytes().splitlines(keepends=True)
    history(store).write_bytes(b"".join([lines[0], damage + b"\n", *lines[2:]]))
    assert [one.id for one in again(store).commits][:2] == [ids[0], ids[2]]
    assert "set aside: lines=1" in caplog.text
    assert history(store).with_name("commits.jsonl.damaged").read_bytes() == damage + b"\n"
    caplog.clear()
    again(store)
    assert not caplog.text, "said once"


def test_commit_that_was_appended_to_half_a_line_is_found(store: HubStore) -> None:
    ids = [commit(store, f"{number}.txt", b"%d" % number) for number in range(3)]
    lines = history(store).read_bytes().splitlines(keepends=True)
    history(store).write_bytes(lines[0] + lines[1][:30] + lines[2])
    assert [one.id for one in again(store).commits][:2] == [ids[0], ids[2]]


def test_whole_last_line_without_its_end_counts_and_the_next_begins_anew(store: HubStore) -> None:
    ids = [commit(store, f"{number}.txt", b"%d" % number) for number in range(2)]
    history(store).write_bytes(history(store).read_bytes().rstrip(b"\n"))
    second = started(store.root)
    ids.append(commit(second, "more.txt", b"m"))
    assert [one.id for one in again(second).commits] == ids


@pytest.mark.parametrize("last", ["put", "delete"])
def test_folder_that_was_replaced_by_a_link_is_not_followed_at_start(
    last: str, store: HubStore, tmp_path: Path
) -> None:
    commit(store, "A/x.txt", b"one")
    if last == "delete":
        commit(store, "A/x.txt", None)
    else:
        commit(store, "A/x.txt", b"other")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x.txt").write_bytes(b"somebody's")
    shutil.rmtree(store.root / "datasets" / REPO / "A", ignore_errors=True)
    (store.root / "datasets" / REPO / "A").symlink_to(outside)
    again(store)
    assert {path.name: path.read_bytes() for path in outside.iterdir()} == {"x.txt": b"somebody's"}


def test_file_that_was_replaced_by_a_link_is_not_written_through(store: HubStore, tmp_path: Path) -> None:
    commit(store, "A/x.txt", b"one")
    (tmp_path / "outside").write_bytes(b"somebody's")
    (store.root / "datasets" / REPO / "A" / "x.txt").unlink()
    (store.root / "datasets" / REPO / "A" / "x.txt").symlink_to(tmp_path / "outside")
    again(store)
    assert (tmp_path / "outside").read_bytes() == b"somebody's"


def test_folder_with_the_name_of_a_temporary_file_does_no_harm(store: HubStore) -> None:
    digest = hashlib.sha256(b"content").hexdigest()
    (store.root / "datasets" / REPO / f".hub-{digest[:16]}").mkdir()
    commit(store, "x.txt", b"content")
    assert (store.root / "datasets" / REPO / "x.txt").read_bytes() == b"content"
    assert list(again(store).tree) == ["x.txt"]


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b'{"visibility": 7}', b'{"visibility": "x"}', b"[5]", b"\xff"])
def test_dataset_whose_facts_are_damaged_is_private(
    content: bytes, store: HubStore, caplog: pytest.LogCaptureFixture
) -> None:
    (store.root / ".hub" / "repos" / REPO / "repo.json").write_bytes(content)
    assert again(store).is_private and "private until" in caplog.text
    (store.root / ".hub" / "repos" / REPO / "repo.json").unlink()
    assert not again(store).is_private, "a folder made by hand"


def test_file_that_found_no_room_in_its_place_is_put_there_later(
    store: HubStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise FULL

    with monkeypatch.context() as patch:
        patch.setattr("tools.hub_server.below.os.link", full)
        patch.setattr("tools.hub_server.below._copy", full)
        commit(store, "x.txt", b"content")
        store.repo(REPO).scanned = 0.0
        assert list(store.repo(REPO).tree) == ["x.txt"], "a file that we did not show was not deleted by anybody"
    store.repo(REPO).scanned = 0.0
    store.repo(REPO)
    assert (store.root / "datasets" / REPO / "x.txt").read_bytes() == b"content"


def test_what_no_commit_holds_is_freed_after_a_while(store: HubStore) -> None:
    commit(store, "x.txt", b"first")
    commit(store, "x.txt", b"second")
    commit(store, "gone.txt", b"deleted")
    commit(store, "gone.txt", None)
    left, wanted = blob(store, b"left"), blob(store, b"wanted")
    with pytest.raises(OSError, match="left behind"), store.blobs.incoming().open("xb"):
        raise OSError("left behind by an upload that runs")
    now = time.time()
    assert store.blobs.collect(now + blobs.UNUSED_FOR - 60) == (0, 0)
    (store.blobs.path(left["sha256"]).parent / "notes.txt").write_text("not ours")
    real = store.blobs.path(wanted["sha256"])
    os.utime(real, (1, 1))
    assert store.blobs.wanted(wanted["sha256"], wanted["size"]), "asked for: as if it had just come"
    assert store.blobs.collect(now - 60 + blobs.UNUSED_FOR) == (0, 0)
    assert store.blobs.collect(now + 60 + blobs.UNUSED_FOR) == (2, len(b"left") + len(b"wanted"))
    repo = again(store)
    for number, content in ((0, b"first"), (1, b"second")):
        assert store.content_of(repo, repo.commits[number].id, "x.txt")[0].read_bytes() == content
    assert store.content_of(repo, repo.commits[2].id, "gone.txt")[0].read_bytes() == b"deleted"
    with pytest.raises(HubNotFound):
        store.content_of(repo, repo.commits[3].id, "gone.txt")


def test_blob_that_is_asked_for_is_kept_from_then_on(store: HubStore, monkeypatch: pytest.MonkeyPatch) -> None:
    left = blob(store, b"left")
    before = store.blobs.path(left["sha256"]).stat()
    after = before
    while after.st_ctime_ns == before.st_ctime_ns:  # the file system's clock has steps
        assert store.blobs.wanted(left["sha256"], left["size"])
        after = store.blobs.path(left["sha256"]).stat()
    assert after.st_mtime_ns == before.st_mtime_ns


def test_digests_in_damaged_lines_and_of_datasets_whose_folder_is_away_are_held(store: HubStore) -> None:
    commit(store, "x.txt", b"first")
    line = history(store).read_bytes()
    history(store).write_bytes(b"damage" + line + line)
    again(store)
    history(store).unlink()
    shutil.rmtree(store.root / "datasets" / REPO)
    assert store.blobs.collect(time.time() + 2 * blobs.UNUSED_FOR) == (0, 0)


def test_history_that_can_not_be_read_frees_nothing(store: HubStore) -> None:
    left = blob(store, b"left")
    history(store).mkdir()
    with pytest.raises(OSError):
        store.blobs.collect(time.time() + 2 * blobs.UNUSED_FOR)
    assert store.blobs.has(left["sha256"], left["size"])
