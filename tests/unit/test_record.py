"""What is published of a folder: its ``metadata.jsonl`` and the order of its lines."""

import json

from tests.jobs import record_of
from tools.core.folder import RemoteFile
from tools.core.record import Published, natural_order


def remote(path: str, sha: str = "", size: int = 1) -> RemoteFile:
    return RemoteFile(path, size, sha or path)


def test_natural_order_puts_2_before_10() -> None:
    files = [remote(f"A/第{n}话.mp4") for n in (10, 2, 1)]
    assert [f.path for f in sorted(files, key=natural_order)] == ["A/第1话.mp4", "A/第2话.mp4", "A/第10话.mp4"]


def test_metadata_keeps_lines_it_can_not_read_and_replaces_a_record_of_the_same_source() -> None:
    first = record_of(remote("A/1.mp4"), "1.mkv")
    published = Published.parse(b'not json\n{"other": 1}\n' + json.dumps(first).encode() + b"\n\n")
    again = published.with_records([{**first, "sha256": "newer"}])
    lines = again.encode().decode().splitlines()
    assert lines[:2] == ["not json", '{"other": 1}'] and json.loads(lines[2])["sha256"] == "newer" and len(lines) == 3
