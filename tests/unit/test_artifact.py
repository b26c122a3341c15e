"""What a source became, as this version and older ones note it, and in the places planned now."""

import contextlib
import json
from pathlib import Path

import pytest

from tests.fakes import FakeConverter, MemoryHub
from tests.jobs import OUT, mkv, output_of, record_of, video_job
from tools.core.artifact import EXTENSIONS, Artifact, ArtifactKind, Target, VideoOutput
from tools.core.folder import RemoteFile
from tools.core.planning import VideoJob
from tools.core.record import Record
from tools.processor.executor import _LocalContext
from tools.stages.convert import converted_before
from tools.stages.job_context import JobTools
from tools.stages.workspace import Workspace
from tools.state.journal import Journal

SOURCE = RemoteFile("A/1.mp4", 3, "s")
RESULT, SHA256 = b"an mkv", "0cfb5c862be11437bb2cf343f357c9ebebaea461e6a8138e7d90a86a71c81505"

# As the version before artifacts wrote them, byte for byte: a record (all of converted.json), and a journal.
OLD_NOTE = (
    '{"file_name": "1.mkv", "source_path": "A/1.mp4", "source_sha256": "s", "source_size": 3, '
    '"sha256": "0cfb5c862be11437bb2cf343f357c9ebebaea461e6a8138e7d90a86a71c81505", "size": 6, "duration_s": 1.0, '
    '"frames": 24, "width": 320, "height": 180, "encoder": "libsvtav1", "settings": "preset=6 crf=30", "streams": [], '
    '"quality": null, "attempt_time": "2024-01-01T00:00:00+08:00"}'
)
OLD_JOURNAL = (
    '{"event": "encoding", "path": "A/1.mp4", "sha256": "s", "time": 1704038400.123}\n'
    '{"event": "converted", "path": "A/1.mp4", "sha256": "s", "time": 1704038401.5, '
    '"result_sha256": "0cfb5c862be11437bb2cf343f357c9ebebaea461e6a8138e7d90a86a71c81505", "size": 6}\n'
    '{"event": "stored", "path": "A/1.mp4", "sha256": "s", "time": 1704038402.25, "record": ' + OLD_NOTE + "}\n"
)
VIDEO = Artifact(ArtifactKind.VIDEO, "me/out", "A/1.mkv", SHA256, 6)


def test_journal_of_a_version_without_artifacts_tells_of_the_video_alone(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "A")
    journal.path.parent.mkdir()
    journal.path.write_text(OLD_JOURNAL, encoding="utf-8")
    past = journal.history()["A/1.mp4", "s"]
    assert past.crashes == 0 and past.stored is not None
    assert past.stored.at(mkv("A/1.mkv")) == VideoOutput(json.loads(OLD_NOTE), (VIDEO,))


def found_beside(
    tmp_path: Path, note: str, result: bytes | None = RESULT, name: str = "A/1.mkv", journal: str = OLD_JOURNAL
) -> VideoOutput | None:
    """What a job takes up of a workspace with this note and this result, of a processor with this journal."""
    tools = JobTools(MemoryHub(), FakeConverter(), Workspace(tmp_path, 0), 1, journals=tmp_path)
    place = Journal(tmp_path, "A").path
    place.parent.mkdir(exist_ok=True)
    place.write_text(journal, encoding="utf-8")
    job = VideoJob("1", 1, "A", "me/in", "c", SOURCE, mkv(name))
    folder = tools.workspace.video_folder(job)
    (folder / "converted.json").write_text(note, encoding="utf-8")
    if result is not None:
        (folder / "result.mkv").write_bytes(result)
    return converted_before(job, tools, _LocalContext(job, lambda job, event, facts: None, 0))


def test_note_of_a_version_without_artifacts_serves_again(tmp_path: Path) -> None:
    record: Record = json.loads(OLD_NOTE)
    expected = VideoOutput({**record, "source_repo": "me/in"}, (VIDEO,))
    assert found_beside(tmp_path, OLD_NOTE) == expected
    assert found_beside(tmp_path, json.dumps(expected.as_json())) == expected, "as it is noted now"


@pytest.mark.parametrize(
    "journal",
    [
        "",
        OLD_JOURNAL.replace(SHA256, "0" * 64),
        OLD_JOURNAL.replace('"A/1.mp4"', '"A/2.mp4"'),
        OLD_JOURNAL.replace('"result_sha256"', '"other"'),
        OLD_JOURNAL.replace('"result_sha256": "', '"results": ["').replace('", "size": 6}', 'x"], "size": 6}', 1),
    ],
)
def test_result_that_the_journal_does_not_name_is_nobody_knows_whose(tmp_path: Path, journal: str) -> None:
    assert found_beside(tmp_path, OLD_NOTE, journal=journal) is None


@pytest.mark.parametrize("name", ["converted.json", "result.mkv"])
def test_kept_result_is_not_read_through_a_link(tmp_path: Path, name: str) -> None:
    assert found_beside(tmp_path, OLD_NOTE) is not None
    (found,) = (tmp_path / "videos").rglob(name)
    found.rename(tmp_path / name)
    found.symlink_to(tmp_path / name)
    tools = JobTools(MemoryHub(), FakeConverter(), Workspace(tmp_path, 0), 1, journals=tmp_path)
    job = VideoJob("1", 1, "A", "me/in", "c", SOURCE, mkv("A/1.mkv"))
    with contextlib.suppress(OSError):
        assert converted_before(job, tools, _LocalContext(job, lambda job, event, facts: None, 0)) is None


def test_result_serves_under_the_name_planned_now(tmp_path: Path) -> None:
    found = found_beside(tmp_path, OLD_NOTE, name="A/1.mp4.mkv")
    assert found is not None
    assert found.record == {**json.loads(OLD_NOTE), "file_name": "1.mp4.mkv", "source_repo": "me/in"}
    assert [artifact.path for artifact in found.artifacts] == ["A/1.mp4.mkv"]


@pytest.mark.parametrize(
    ("case", "note", "result"),
    [
        ("the result is gone", OLD_NOTE, None),
        ("another content of equal size", OLD_NOTE, b"AN MKV"),
        ("cut short", OLD_NOTE, b"an mk"),
        ("a torn note", OLD_NOTE[:-30], RESULT),
        ("a list", "[]", RESULT),
        ("a number", "7", RESULT),
        ("says too little", '{"sha256": "x", "size": 6}', RESULT),
        ("no list of artifacts", '{"record": ' + OLD_NOTE + ', "artifacts": 5}', RESULT),
        ("a kind of a later version", '{"record": ' + OLD_NOTE + ', "artifacts": [{"kind": "hologram"}]}', RESULT),
    ],
)
def test_result_that_is_not_whole_or_not_understood_is_made_again(
    tmp_path: Path, case: str, note: str, result: bytes | None
) -> None:
    assert found_beside(tmp_path, note, result) is None, case


def test_output_without_a_file_that_is_wanted_now_is_not_enough() -> None:
    stored = output_of(video_job(SOURCE, attempt_id="1"))
    assert stored.at(mkv("A/1.mkv")) is not None
    assert VideoOutput(stored.record, ()).at(mkv("A/1.mkv")) is None


def test_output_is_placed_where_it_is_planned_and_leaves_what_is_not_wanted_any_more() -> None:
    stored = output_of(video_job(SOURCE, attempt_id="1"))
    moved = stored.at((Target(ArtifactKind.VIDEO, "me/elsewhere", "A/2.mkv"),))
    assert moved is not None and moved.record["file_name"] == "2.mkv"
    assert moved.artifacts == (Artifact(ArtifactKind.VIDEO, "me/elsewhere", "A/2.mkv", OUT, 5),)
    unwanted = stored.at(())
    assert unwanted is not None and unwanted.artifacts == ()


def test_output_is_noted_as_journals_and_workers_read_it() -> None:
    output = VideoOutput(record_of(SOURCE, "1.mkv"), (VIDEO,))
    shown = output.as_json()
    artifact = {"kind": "video", "repo": "me/out", "path": "A/1.mkv", "sha256": SHA256, "size": 6}
    assert shown == {"record": record_of(SOURCE, "1.mkv"), "artifacts": [artifact]}
    assert VideoOutput.of_json(shown) == output


def test_output_that_says_just_enough_to_be_committed_is_understood() -> None:
    bare = {"source_path": "A/1.mp4", "source_sha256": "s", "source_size": 3, "sha256": "out", "size": 5}
    understood = VideoOutput.of_json({"record": bare})
    assert understood.artifacts == (Artifact(ArtifactKind.VIDEO, "", "", "out", 5),)
    assert VideoOutput.of_json({"record": {**bare, "file_name": "1.mkv"}}).artifacts[0].path == "1.mkv"
    for name in bare:
        with pytest.raises(KeyError):
            VideoOutput.of_json({"record": {key: value for key, value in bare.items() if key != name}, "artifacts": []})


def test_extensions_tell_kinds_apart() -> None:
    """Files of one source, in the workspace and in a repo, differ by their extension alone."""
    assert set(EXTENSIONS) == set(ArtifactKind) and len(set(EXTENSIONS.values())) == len(EXTENSIONS)
