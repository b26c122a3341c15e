"""What every row of every ``metadata.jsonl`` must be, so that readers load any number of them as one dataset; and a
collection in which everything that can differ from folder to folder differs."""

import json
from pathlib import Path
from typing import Any

from tools.core.card import CARD, card
from tools.core.record import METADATA, Published

ROW: dict[str, type] = {
    "file_name": str,
    "path": str,
    "series": str,
    "season": str,
    "episode": str,
    "source_path": str,
    "source_repo": str,
    "source_sha256": str,
    "source_size": int,
    "sha256": str,
    "size": int,
    "duration_s": float,
    "frames": int,
    "width": int,
    "height": int,
    "encoder": str,
    "settings": str,
    "options": str,
    "streams": list,
    "quality": str,
    "target": str,
    "attempt_time": str,
    "conversion_s": float,
    "warnings": str,
    "reused_from": str,
    "other": str,
}
STREAM: dict[str, type] = {
    "index": int,
    "type": str,
    "codec": str,
    "source_codec": str,
    "action": str,
    "language": str,
    "title": str,
}


def strict_rows(content: bytes) -> list[dict[str, Any]]:
    """The rows of a file; fails if one lacks a column, has another one, or one of another type."""
    found = [json.loads(line) for line in content.decode().splitlines()]
    for row in found:
        assert {key: type(value) for key, value in row.items()} == ROW
        assert row["streams"], "of an empty list no reader knows the type"
        for stream in row["streams"]:
            assert {key: type(value) for key, value in stream.items()} == STREAM
        assert list(row) == list(ROW), "the same order, too"
    return found


def _stream(**facts: Any) -> dict[str, Any]:
    of_all = {"index": 0, "type": "video", "codec": "av1", "source_codec": "h264", "action": "encode"}
    return {**of_all, "language": None, "title": None, **facts}


def _old(source: str, **facts: Any) -> dict[str, Any]:
    """A record as versions before this one wrote them, but for what differs."""
    record = {
        "file_name": source.rpartition("/")[2].rpartition(".")[0] + ".mkv",
        "source_path": source,
        "source_repo": "me/in",
        "source_sha256": "a" * 64,
        "source_size": 5,
        "sha256": "b" * 64,
        "size": 4,
        "duration_s": 24.5,
        "frames": 24,
        "width": 320,
        "height": 180,
        "encoder": "libsvtav1",
        "settings": "-preset 6 -crf 30",
        "streams": [_stream()],
        "quality": None,
        "attempt_time": "2024-01-01T00:00:00+08:00",
        **facts,
    }
    return {key: value for key, value in record.items() if value != "absent"}


COLLECTION: dict[str, list[dict[str, Any]]] = {
    "": [_old("r.mp4", duration_s=24)],
    "Frieren S01": [
        _old("Frieren S01/ep 01.mp4", warnings=["one", "two"]),
        _old(
            "Frieren S01/ep 02.mp4",
            streams=[_stream(), _stream(index=1, type="audio", codec=None, language="ja", title="5.1")],
        ),
    ],
    "2024-05-01": [
        _old("2024-05-01/2.mp4", options='{"crf":30}', reused_from="Frieren S01/ep 01.mkv"),
        _old("2024-05-01/1.mp4", streams=[_stream(title="2024-05-01")], duration_s=0, encoder=""),
    ],
    "old": [
        {"file_name": "1.mkv", "source_path": "old/1.mp4", "source_size": 1, "made_by": "v0", "x": [1, {"a": None}]}
    ],
    "nothing known": [_old("nothing known/1.mp4", streams="absent", attempt_time="absent", encoder="absent")],
    "test": [_old("test/train 1.mp4", streams=[], quality={"vmaf": 95.1}, warnings=[])],
    "validation/番剧": [_old("validation/番剧/第1话.mp4", streams=[_stream(more=1), "odd"], attempt_time="yesterday")],
}


def collect(top: Path) -> int:
    """Lay it out below ``top`` as it is published; the number of videos."""
    for folder, records in COLLECTION.items():
        (top / folder).mkdir(parents=True, exist_ok=True)
        old = "".join(json.dumps(record) + "\n" for record in records).encode()
        (top / folder / METADATA).write_bytes(Published.parse(old, "me/in").encode())
        for record in records:
            (top / folder / record["file_name"]).write_bytes(b"\x1aE\xdf\xa3")
    (top / CARD).write_bytes(card("me/out", "me/in", "http://127.0.0.1:1"))
    return sum(map(len, COLLECTION.values()))
