"""A batch → its commit, over a hub whose replicas lag: never sent twice, never built on what is older than our own."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes import MemoryHub
from tests.jobs import record_of
from tools.core.artifact import Artifact, ArtifactKind, VideoOutput
from tools.core.errors import HubNotFound, HubUnavailable
from tools.core.folder import RemoteFile
from tools.hub.client import AddBytes, Head, Operation
from tools.processor.output_folder import OutputFolder
from tools.processor.publish import CommitNotShown, publish


class LaggingHub(MemoryHub):
    """While ``behind`` > 0 it shows nothing of that many newest commits of the output."""

    behind = 0

    def _shown(self) -> list[str]:
        return super().recent("me/out")[self.behind :]

    def head(self, repo: str) -> Head | None:
        newest = super().head(repo)
        shown = self._shown()
        return Head(shown[0], newest.committed_at, newest.server_time) if newest and shown else None

    def recent(self, repo: str) -> list[str]:
        return self._shown()

    def list_folder(self, repo: str, commit: str, folder: str) -> list[RemoteFile]:
        if commit not in self._shown():
            raise HubNotFound(f"no revision {commit}", status=404)
        return super().list_folder(repo, commit, folder)


def outputs(hub: MemoryHub, name: str, top: Path) -> dict[RemoteFile, VideoOutput]:
    content = name.encode()
    source, sha256 = RemoteFile(f"A/{name}.mp4", 1, name), hashlib.sha256(content).hexdigest()
    result = top / name
    result.write_bytes(content)
    hub.store_blob("me/out", result, sha256, len(content), lambda moved: None)
    artifact = Artifact(ArtifactKind.VIDEO, "me/out", f"A/{name}.mkv", sha256, len(content))
    return {source: VideoOutput(record_of(source, f"{name}.mkv", sha256=sha256, size=len(content)), (artifact,))}


def send(hub: MemoryHub, folder: OutputFolder, batch: dict[RemoteFile, VideoOutput]) -> str:
    return publish(hub, [folder], batch, lambda source, kind: None, "add")


def names(hub: MemoryHub) -> list[str]:
    content = hub.read_file("me/out", MemoryHub.recent(hub, "me/out")[0], "A/metadata.jsonl") or b""
    return [json.loads(line)["file_name"] for line in content.splitlines()]


@pytest.fixture
def hub() -> LaggingHub:
    hub = LaggingHub()
    hub.create_repo("me/out")
    hub.put("me/out", {"README.md": b"r"})
    return hub


def test_commit_that_is_not_shown_yet_is_looked_for_again_and_made_once(
    hub: LaggingHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, batch = OutputFolder("me/out", "A"), outputs(hub, "1", tmp_path)
    folder.refresh(hub)
    real = hub.commit

    def commit(repo: str, operations: Sequence[Operation], message: str) -> str:
        made = real(repo, operations, message)
        hub.behind = 1
        return made

    monkeypatch.setattr(hub, "commit", commit)
    for _ in range(5):
        with pytest.raises(CommitNotShown):
            send(hub, folder, batch)
    hub.behind = 0
    assert send(hub, folder, batch) == hub.recent("me/out")[0] and hub.commits_of("me/out") == 2
    assert not folder.awaits(batch) and names(hub) == ["1.mkv"]


def test_next_batch_is_built_on_our_own_commit_whatever_older_head_is_shown(hub: LaggingHub, tmp_path: Path) -> None:
    folder = OutputFolder("me/out", "A")
    send(hub, folder, outputs(hub, "1", tmp_path))
    hub.behind = 1
    with pytest.raises(CommitNotShown):
        send(hub, folder, outputs(hub, "2", tmp_path))
    assert names(hub) == ["1.mkv", "2.mkv"]
    hub.behind = 0
    hub.put("me/out", {"A/metadata.jsonl": b"of somebody else\n"})
    send(hub, folder, outputs(hub, "3", tmp_path))
    content = hub.read_file("me/out", hub.recent("me/out")[0], "A/metadata.jsonl") or b""
    assert content.startswith(b"of somebody else\n"), "what came after ours counts"


def test_commit_whose_id_is_not_known_counts_if_the_head_shows_what_it_brought(
    hub: LaggingHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hub that rewrites what it takes, or a replica that knows the head alone."""
    folder, batch = OutputFolder("me/out", "A"), outputs(hub, "1", tmp_path)
    folder.refresh(hub)
    real = hub.commit

    def commit(repo: str, operations: Sequence[Operation], message: str) -> str:
        real(repo, operations, message)
        return "f" * 40

    monkeypatch.setattr(hub, "commit", commit)
    assert send(hub, folder, batch) == hub.recent("me/out")[0]
    assert not folder.awaits(batch) and hub.commits_of("me/out") == 2


@pytest.mark.parametrize("stumbles", [False, True])
def test_what_another_writer_added_between_our_reading_and_our_commit_is_put_back(
    hub: LaggingHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stumbles: bool
) -> None:
    """A commit of this hub names no parent."""
    folder = OutputFolder("me/out", "A")
    send(hub, folder, outputs(hub, "1", tmp_path))
    before = hub.read_file("me/out", hub.recent("me/out")[0], "A/metadata.jsonl") or b""
    other = json.dumps(record_of(RemoteFile("A/9.mp4", 1, "9"), "9.mkv")).encode() + b"\n"
    real = hub.commit

    def commit(repo: str, operations: Sequence[Operation], message: str) -> str:
        monkeypatch.setattr(hub, "commit", real)
        hub.put("me/out", {"A/metadata.jsonl": b"a note\n" + before + other})
        return real(repo, operations, message)

    def stumble(repo: str) -> list[str]:
        monkeypatch.undo()
        raise HubUnavailable("it stumbles when it is asked what came between")

    monkeypatch.setattr(hub, "commit", commit)
    if stumbles:
        folder.refresh(hub)
        monkeypatch.setattr(hub, "recent", stumble)
        with pytest.raises(HubUnavailable):
            send(hub, folder, outputs(hub, "2", tmp_path))
    made = send(hub, folder, outputs(hub, "2", tmp_path))
    assert names_of(hub) == ["1.mkv", "2.mkv", "9.mkv"] and made == hub.recent("me/out")[0]
    count = hub.commits_of("me/out")
    send(hub, folder, outputs(hub, "3", tmp_path))
    assert names_of(hub) == ["1.mkv", "2.mkv", "3.mkv", "9.mkv"] and hub.commits_of("me/out") == count + 1
    hub.put("me/out", {"B/else.txt": b"x"})
    send(hub, folder, outputs(hub, "4", tmp_path))
    assert hub.commits_of("me/out") == count + 3, "nothing to put back"


def test_video_made_again_while_another_writer_adds_a_line_keeps_its_new_record(
    hub: LaggingHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = OutputFolder("me/out", "A")
    send(hub, folder, outputs(hub, "1", tmp_path))
    before = hub.read_file("me/out", hub.recent("me/out")[0], "A/metadata.jsonl") or b""
    other = json.dumps(record_of(RemoteFile("A/9.mp4", 1, "9"), "9.mkv")).encode() + b"\n"
    ((_, made),) = outputs(hub, "1b", tmp_path).items()
    source, (artifact,) = RemoteFile("A/1.mp4", 1, "another content"), made.artifacts
    record = record_of(source, "1.mkv", sha256=artifact.sha256, size=artifact.size)
    again = {source: VideoOutput(record, (replace(artifact, path="A/1.mkv"),))}
    real = hub.commit

    def commit(repo: str, operations: Sequence[Operation], message: str) -> str:
        monkeypatch.setattr(hub, "commit", real)
        hub.put("me/out", {"A/metadata.jsonl": before + other})
        return real(repo, operations, message)

    monkeypatch.setattr(hub, "commit", commit)
    send(hub, folder, again)
    content = hub.read_file("me/out", hub.recent("me/out")[0], "A/metadata.jsonl") or b""
    rows = {row["file_name"]: row["sha256"] for row in map(json.loads, content.splitlines())}
    assert rows["1.mkv"] == artifact.sha256 and "9.mkv" in rows and len(rows) == 2


def names_of(hub: MemoryHub) -> list[str]:
    content = hub.read_file("me/out", MemoryHub.recent(hub, "me/out")[0], "A/metadata.jsonl") or b""
    first, *lines = content.splitlines()
    assert first == b"a note"
    return [json.loads(line)["file_name"] for line in lines]


@pytest.mark.parametrize("read", [None, b"<html>please log in</html>", b"{}"])
def test_metadata_that_were_not_read_as_listed_are_never_overwritten(
    hub: LaggingHub, tmp_path: Path, read: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.put("me/out", {"A/metadata.jsonl": b"2}"})
    batch = outputs(hub, "1", tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(hub, "read_file", lambda repo, commit, path: read)
        with pytest.raises(HubUnavailable):
            send(hub, OutputFolder("me/out", "A"), batch)
    assert hub.commits_of("me/out") == 2


def test_repo_that_lost_its_commits_is_a_hub_that_can_not_answer(hub: LaggingHub) -> None:
    folder = OutputFolder("me/out", "A")
    folder.refresh(hub)
    hub.behind = 99
    with pytest.raises(HubUnavailable):
        folder.refresh(hub)


def content(hub: MemoryHub, path: str) -> bytes | None:
    return hub.read_file("me/out", MemoryHub.recent(hub, "me/out")[0], path)


@pytest.mark.parametrize("when", ["before the look", "after the look"])
def test_file_that_no_line_names_keeps_its_place_and_ours_takes_another_name(
    hub: LaggingHub, tmp_path: Path, when: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder, batch = OutputFolder("me/out", "A"), outputs(hub, "1", tmp_path)
    if when == "after the look":
        folder.refresh(hub)
    hub.put("me/out", {"A/1.mkv": b"of somebody else"})
    for _ in range(2):
        assert send(hub, folder, batch) == hub.recent("me/out")[0]
    assert content(hub, "A/1.mkv") == b"of somebody else" and content(hub, "A/1.mp4.mkv") == b"1"
    assert names(hub) == ["1.mp4.mkv"] and hub.commits_of("me/out") == 3
    (said,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "not ours" in said and "file=A/1.mkv published_as=A/1.mp4.mkv" in said


def test_commit_of_somebody_else_that_changes_no_metadata_costs_no_commit(
    hub: LaggingHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, real = OutputFolder("me/out", "A"), hub.commit

    def commit(repo: str, operations: Sequence[Operation], message: str) -> str:
        hub.put("me/out", {"B/x": b"x"})
        return real(repo, operations, message)

    monkeypatch.setattr(hub, "commit", commit)
    send(hub, folder, outputs(hub, "1", tmp_path))
    assert hub.commits_of("me/out") == 3


def test_several_records_of_one_source_are_told(hub: LaggingHub, caplog: pytest.LogCaptureFixture) -> None:
    rows = [{"source_path": "A/1.mp4", "file_name": name} for name in ("1.mkv", "1.mp4.mkv")]
    content = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    hub.commit("me/out", [AddBytes("A/metadata.jsonl", content)], "theirs")
    folder = OutputFolder("me/out", "A")
    folder.refresh(hub)
    assert "the last of each counts: repo=me/out file=A/metadata.jsonl sources=A/1.mp4" in caplog.text
