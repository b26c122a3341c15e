"""What looks like the right thing and is not: of equal size, of an earlier attempt, not on the disk yet.

Each of these is believed by nobody, whoever showed it: the output repo, a late job, the journal, the input repo, the
embedded hub's own disk.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import MemoryHub
from tests.hub_server import RunningHub, running_hub
from tests.jobs import output_of, record_of
from tools.core.artifact import Artifact, ArtifactKind, VideoOutput
from tools.core.errors import DiskFull, HubRejected, HubUnavailable, IntegrityError
from tools.core.folder import RemoteFile, group_folders
from tools.core.queue_item import new_item
from tools.hub.client import AddBytes, Operation
from tools.hub.modelscope_client import ModelScopeHub
from tools.hub_server.store import HubStore
from tools.processor.item_run import ItemRun, RunRules
from tools.processor.opening import open_item
from tools.processor.output_folder import OutputFolder
from tools.processor.publish import CommitNotShown, publish
from tools.runtime.files import sha256_of
from tools.stages.video_job import JobResult, Outcome
from tools.state.journal import Event, Journal

SOURCE = RemoteFile("A/1.mp4", 7, "a" * 64)
RESULT = b"an mkv"
SHA256 = hashlib.sha256(RESULT).hexdigest()
OUTPUT = VideoOutput(
    record_of(SOURCE, "1.mkv", sha256=SHA256, size=len(RESULT)),
    (Artifact(ArtifactKind.VIDEO, "me/out", "A/1.mkv", SHA256, len(RESULT)),),
)


# --- the output repo -------------------------------------------------------------------------------------------------


class ShowingHub(MemoryHub):
    """Takes a commit and shows something else: ``takes`` says what it makes of the operations, ``shows`` of a file."""

    lies = True

    def commit(self, repo: str, operations: Sequence[Operation], message: str) -> str:
        return super().commit(repo, self.takes(operations) if self.lies else operations, message)

    def takes(self, operations: Sequence[Operation]) -> Sequence[Operation]:
        return operations

    def list_folder(self, repo: str, commit: str, folder: str) -> list[RemoteFile]:
        found = super().list_folder(repo, commit, folder)
        return [self.shows(file) if file.name == "1.mkv" and self.lies else file for file in found]

    def shows(self, file: RemoteFile) -> RemoteFile:
        return file


class TakesNothing(ShowingHub):
    def takes(self, operations: Sequence[Operation]) -> Sequence[Operation]:
        return ()


class LosesTheRow(ShowingHub):
    def takes(self, operations: Sequence[Operation]) -> Sequence[Operation]:
        return [one for one in operations if not isinstance(one, AddBytes)]


class ChangesTheRow(ShowingHub):
    def takes(self, operations: Sequence[Operation]) -> Sequence[Operation]:
        row = json.dumps({**OUTPUT.record, "sha256": "b" * 64}).encode() + b"\n"
        return [replace(one, content=row) if isinstance(one, AddBytes) else one for one in operations]


class OfAnotherContent(ShowingHub):
    def shows(self, file: RemoteFile) -> RemoteFile:
        return file._replace(sha256="b" * 64)


class OfAnotherSize(ShowingHub):
    def shows(self, file: RemoteFile) -> RemoteFile:
        return file._replace(size=file.size + 1)


@pytest.mark.parametrize("kind", [TakesNothing, LosesTheRow, ChangesTheRow, OfAnotherContent, OfAnotherSize])
def test_batch_that_is_not_shown_as_it_was_sent_is_not_published(kind: type[ShowingHub], tmp_path: Path) -> None:
    hub, folder = kind(), OutputFolder("me/out", "A")
    hub.create_repo("me/out")
    file = tmp_path / "result.mkv"
    file.write_bytes(RESULT)
    hub.store_blob("me/out", file, SHA256, len(RESULT), lambda moved: None)

    def send() -> str:
        return publish(hub, [folder], {SOURCE: OUTPUT}, lambda source, kind: file, "add")

    for _ in range(2):
        with pytest.raises(CommitNotShown):
            send()
    assert hub.commits_of("me/out") == 1, "it is looked for again, not sent again"
    folder.give_up_waiting()
    with pytest.raises(CommitNotShown):
        send()
    assert hub.commits_of("me/out") == 2, "what the hub shows then counts for what it is"
    hub.lies = False
    folder.give_up_waiting()
    send()
    assert folder.shows({SOURCE: OUTPUT})
    assert [record["sha256"] for record in folder.published.records.values()] == [SHA256]


def test_metadata_of_another_size_than_listed_are_never_overwritten_if_the_hub_tells_no_sha256(tmp_path: Path) -> None:
    class Plain(MemoryHub):
        cut = True

        def list_folder(self, repo: str, commit: str, folder: str) -> list[RemoteFile]:
            return [file._replace(sha256="") for file in super().list_folder(repo, commit, folder)]

        def read_file(self, repo: str, commit: str, path: str) -> bytes | None:
            content = super().read_file(repo, commit, path) or b""
            return content[:-1] if self.cut else content

    hub, folder = Plain(), OutputFolder("me/out", "A")
    hub.put("me/out", {"A/metadata.jsonl": b"{}\n"})
    with pytest.raises(HubUnavailable):
        folder.refresh(hub)
    assert folder.head is None
    hub.cut = False
    folder.refresh(hub)
    assert folder.head == hub.head("me/out")


# --- a job -----------------------------------------------------------------------------------------------------------


def opened(tmp_path: Path) -> ItemRun:
    """An item of one video, just claimed."""
    hub = MemoryHub()
    commit = hub.put("me/in", {"A/1.mp4": b"video"})
    hub.create_repo("me/out")
    folder = group_folders(hub.list_files("me/in", commit), frozenset({"mp4"}))["A"]
    item = new_item(folder, 1_700_000_000.0)
    rules = RunRules(
        input_repo="me/in",
        output_repo="me/out",
        extensions=frozenset({"mp4"}),
        marker="",
        batch_size=30,
        max_attempts=3,
        retry_interval=60.0,
    )
    return open_item(item, hub, Journal(tmp_path, "A"), rules, 0.0)


@pytest.mark.parametrize("outcome", Outcome)
def test_late_result_of_an_older_attempt_changes_nothing_while_a_newer_one_runs(
    outcome: Outcome, tmp_path: Path
) -> None:
    run = opened(tmp_path)
    older = next(iter(run.jobs_ready(0.0, isolated=True)))
    assert run.accept(JobResult(older, Outcome.STOPPED), 0.0)
    newer = next(iter(run.jobs_ready(0.0, isolated=True)))
    late = JobResult(older, outcome, output_of(older) if outcome is Outcome.STORED else None, "late")
    for _ in range(5):
        assert not run.accept(late, 0.0)
    assert run.is_running and not run.has_ready(1e9, isolated=True)
    assert run.why_quarantined(newer.source) is None and run.batches[0].outputs() == {}
    stored = output_of(newer)
    assert run.accept(JobResult(newer, Outcome.STORED, stored), 0.0)
    assert not run.accept(late, 0.0), "nor afterwards"
    assert run.batches[0].outputs() == {newer.source: stored}


def test_item_that_is_opened_again_goes_on_where_its_journal_left_it(tmp_path: Path) -> None:
    first = opened(tmp_path)
    job = next(iter(first.jobs_ready(0.0, isolated=True)))
    first.journal.note(Event.FAILED, job.source, cause="no luck")
    again = opened(tmp_path)
    assert not again.has_ready(0.0, isolated=True) and again.has_ready(1e6, isolated=True), "not at once"
    (second,) = again.jobs_ready(1e6, isolated=True)
    assert second.attempt == 2
    first.journal.note(Event.STORED, job.source, **output_of(job).as_json())
    stored = opened(tmp_path)
    assert not stored.has_ready(1e6, isolated=True)
    assert stored.batches[0].outputs() == {job.source: output_of(job).at(job.targets)}


# --- the journal -----------------------------------------------------------------------------------------------------


def test_short_write_of_the_journal_is_a_full_disk_and_spoils_no_line_around_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, other = Journal(tmp_path, "A"), SOURCE._replace(path="A/2.mp4")
    journal.note(Event.FAILED, SOURCE, cause="before")
    real = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, content: real(descriptor, content[: len(content) // 2]))
        with pytest.raises(DiskFull):
            journal.note(Event.REFUSED, SOURCE, cause="written in part")
    past = journal.history()[SOURCE.path, SOURCE.sha256]
    assert (past.refused, past.failures, past.last_cause) == (None, 1, "before")
    journal.note(Event.REFUSED, other, cause="after")
    history = journal.history()
    assert history[SOURCE.path, SOURCE.sha256].refused is None
    assert history[other.path, other.sha256].refused == "after"


# --- the input repo --------------------------------------------------------------------------------------------------


CONTENT = bytes(range(256)) * 100
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def client_of(server: RunningHub, tmp_path: Path) -> ModelScopeHub:
    return ModelScopeHub(server.endpoint, server.token, cache_dir=tmp_path / "cache")


@pytest.mark.parametrize(
    ("case", "size", "sha256"),
    [
        ("longer than listed", len(CONTENT) - 1, ""),
        ("shorter than listed", len(CONTENT) + 1, ""),
        ("another content of equal size", len(CONTENT), "0" * 64),
        ("another size of the content listed", len(CONTENT) - 1, DIGEST),
    ],
)
def test_download_that_is_not_as_listed_is_not_kept(case: str, size: int, sha256: str, tmp_path: Path) -> None:
    target = tmp_path / "work" / "source.mp4"
    target.parent.mkdir()
    with running_hub(tmp_path / "hub") as server:
        hub = client_of(server, tmp_path)
        hub.create_repo("me/in")
        commit = hub.commit("me/in", [AddBytes("A/1.mp4", CONTENT)], "add")
        with pytest.raises(IntegrityError):
            hub.download("me/in", commit, RemoteFile("A/1.mp4", size, sha256), target, lambda moved: None)
        assert not target.exists(), case
        plain = RemoteFile("A/1.mp4", len(CONTENT), "")
        assert hub.download("me/in", commit, plain, target, lambda moved: None) == DIGEST
        assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("path", ["../1.mp4", "/etc/1.mp4", "A/../../1.mp4", "A//1.mp4", "A/./1.mp4", "A/\n.mp4", ""])
def test_path_that_leads_elsewhere_is_not_even_asked_for(path: str, tmp_path: Path) -> None:
    target = tmp_path / "work" / "source.mp4"
    target.parent.mkdir()
    with running_hub(tmp_path / "hub") as server:
        hub = client_of(server, tmp_path)
        hub.create_repo("me/in")
        commit = hub.commit("me/in", [AddBytes("1.mp4", CONTENT), AddBytes("A/1.mp4", CONTENT)], "add")
        server.requests.clear()
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(HubRejected, match="not a valid file name"):
            hub.download("me/in", commit, RemoteFile(path, len(CONTENT), DIGEST), target, lambda moved: None)
        assert server.requests == [] and sorted(tmp_path.rglob("*")) == before


# --- the embedded hub ------------------------------------------------------------------------------------------------


class Disk:
    """What was on the disk for certain, by path, each time that somebody made certain of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.synced: list[tuple[str, int]] = []  # path, size
        real = os.fsync

        def fsync(descriptor: int) -> None:
            real(descriptor)
            self.synced.append((str(Path(f"/proc/self/fd/{descriptor}").readlink()), os.fstat(descriptor).st_size))

        monkeypatch.setattr(os, "fsync", fsync)


def test_hub_has_blob_its_name_and_the_commit_that_names_it_on_the_disk_before_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = HubStore(tmp_path)
    store.prepare()
    store.create("me/out", 1)
    disk = Disk(monkeypatch)
    received = store.blobs.incoming()
    received.write_bytes(RESULT)
    store.blobs.add(received, SHA256)
    blob = store.blobs.path(SHA256)
    assert disk.synced == [(str(received), len(RESULT)), (str(blob.parent), blob.parent.stat().st_size)]
    disk.synced.clear()
    repo = store.repo("me/out")
    for number in (1, 2):
        store.commit(repo, {f"A/{number}.mkv": {"sha256": SHA256, "size": len(RESULT)}}, "add", "me")
        log = repo.about / "commits.jsonl"
        assert (str(log), log.stat().st_size) in disk.synced and len(log.read_bytes().splitlines()) == number


def test_file_that_changes_while_the_hub_hashes_it_is_not_listed_with_either_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = HubStore(tmp_path)
    store.prepare()
    store.create("me/in", 5)
    path = tmp_path / "datasets" / "me" / "in" / "1.mp4"

    def age() -> None:
        """As if it had been there for long."""
        os.utime(path, (1_700_000_000, 1_700_000_000))

    def changing(hashed: Path, *arguments: Any) -> str:
        sha256 = sha256_of(hashed, *arguments)
        path.write_bytes(b"new!")
        return sha256

    path.write_bytes(b"old")
    age()
    with monkeypatch.context() as patch:
        patch.setattr("tools.hub_server.store.sha256_of", changing)
        repo = store.repo("me/in")
    assert repo.tree == {} and not store.blobs.path(hashlib.sha256(b"old").hexdigest()).exists()
    age()
    repo.scanned = 0.0
    listed = store.repo("me/in").tree["1.mp4"]
    assert (listed.sha256, listed.size) == (hashlib.sha256(b"new!").hexdigest(), 4)
