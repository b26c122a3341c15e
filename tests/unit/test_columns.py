"""Rows of ``metadata.jsonl``: every column in each, always of one type, and nothing lost of what stood there."""

import json
from typing import Any

import pytest

from tests.rows import COLLECTION, ROW, STREAM, strict_rows
from tools.core.artifact import Artifact, ArtifactKind, VideoOutput
from tools.core.columns import COLUMNS, Fields, features, lifted, row
from tools.core.folder import RemoteFile
from tools.core.record import Published


def read(record: dict[str, Any]) -> dict[str, Any]:
    """As it is published."""
    (found,) = strict_rows(Published.parse(json.dumps(record).encode()).encode())
    return found


def test_rows_of_every_version_and_kind_have_the_same_columns_of_the_same_types() -> None:
    seen = 0
    for records in COLLECTION.values():
        lines = b"".join(json.dumps(record).encode() + b"\n" for record in records)
        published = Published.parse(lines, "me/in").encode()
        seen += len(strict_rows(published))
        assert Published.parse(published, "me/in").encode() == published, "written once, it stays as it is"
    assert seen == sum(map(len, COLLECTION.values()))


def test_the_table_of_columns_is_the_one_that_rows_are_held_to() -> None:
    kinds = {"text": str, "time": str, "int": int, "float": float}

    def types(columns: Any) -> dict[str, type]:
        return {c.name: list if isinstance(c.kind, Fields) else kinds[c.kind] for c in columns}

    assert types(COLUMNS) == ROW
    (streams,) = (c.kind for c in COLUMNS if isinstance(c.kind, Fields))
    assert types(streams.columns) == STREAM
    assert [one["name"] for one in features()] == list(ROW)


@pytest.mark.parametrize(
    ("old", "column", "now"),
    [
        ({"duration_s": 24}, "duration_s", 24.0),
        ({"duration_s": None}, "duration_s", 0.0),
        ({"frames": None}, "frames", 0),
        ({"warnings": ["one", "two"]}, "warnings", "one\ntwo"),
        ({"warnings": []}, "warnings", ""),
        ({"quality": None}, "quality", ""),
        ({"quality": {"vmaf": 95.5}}, "quality", '{"vmaf": 95.5}'),
        ({"attempt_time": None}, "attempt_time", "1970-01-01T00:00:00+00:00"),
        ({"attempt_time": "2024-01-01T00:00:00+08:00"}, "attempt_time", "2024-01-01T00:00:00+08:00"),
        ({"encoder": "2024-05-01"}, "encoder", "2024-05-01 "),
        ({"encoder": "2024-05-01 10:00:00"}, "encoder", "2024-05-01 10:00:00 "),
        ({"encoder": "2024-05-01 av1"}, "encoder", "2024-05-01 av1"),
        ({"series": "名前"}, "series", "名前"),
        ({"frames": 0}, "other", ""),
    ],
)
def test_what_older_rows_have_comes_as_the_type_of_its_column(old: dict[str, Any], column: str, now: object) -> None:
    """A text that readers would take for a time has a blank at its end: else the column would be one in one folder."""
    found = read({"file_name": "1.mkv", "source_path": "A/1.mp4", **old})
    assert found[column] == now and found["other"] == ""


def test_records_that_a_source_has_twice_are_rows_like_others() -> None:
    old = [{"source_path": "A/1.mp4", "file_name": name, "quality": None} for name in ("1.mkv", "2.mkv")]
    old += [{**one, "source_repo": "you/in"} for one in old]
    found = strict_rows(Published.parse(b"".join(json.dumps(one).encode() + b"\n" for one in old), "me/in").encode())
    assert sorted(row["file_name"] for row in found) == ["1.mkv", "1.mkv", "2.mkv", "2.mkv"]


@pytest.mark.parametrize(
    "more",
    [
        {"made_by": "v0", "x": [1, {"a": None}]},
        {"attempt_time": "yesterday"},
        {"streams": [{"index": 0, "depth": 10}]},
        {"streams": ["odd", 7]},
        {"streams": [{"index": "first"}]},
        {"other": "a remark"},
        {"path": "/mnt/videos/1.mkv"},
        {"other": [1]},
        {"other": '{"a": NaN'},
    ],
)
def test_what_no_column_can_say_is_kept_in_other_and_found_there_again(more: dict[str, Any]) -> None:
    once = read({"file_name": "1.mkv", "source_path": "A/1.mp4", **more})
    assert json.loads(once["other"]) == more
    assert read(once) == once


def test_newer_version_takes_its_own_column_out_of_what_an_older_one_put_aside() -> None:
    aside = {"file_name": "1.mkv", "source_path": "A/1.mp4", "other": '{"frames": 7, "more": 1}'}
    assert lifted(aside)["frames"] == 7 and row(lifted(aside))["frames"] == 7
    assert row(lifted(aside))["other"] == '{"more": 1}'


def test_names_tell_of_series_season_and_episode_anew_at_another_path() -> None:
    found = read({"file_name": "1.mkv", "source_path": "Frieren S02/Frieren - 05v2 [1080p].mp4"})
    assert (found["series"], found["season"], found["episode"]) == ("Frieren", "2", "5")
    assert read({**found, "series": "葬送的芙莉莲"})["series"] == "葬送的芙莉莲", "a person knows better"
    output = VideoOutput(found, (Artifact(ArtifactKind.VIDEO, "me/out", "B/2.mkv", "b", 1),))  # type: ignore[arg-type]
    moved = output.at_source(RemoteFile("Bocchi/第三季/第七话.mp4", 1, "a"), "me/in")
    again = row(moved.record)
    assert (again["series"], again["season"], again["episode"]) == ("Bocchi", "3", "7")
    assert again["path"] == "Bocchi/第三季/2.mkv"
