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


def test_record_of_an_older_version_keeps_what_it_has_beyond_and_misses_nothing() -> None:
    old = b'{"source_path": "A/1.mp4", "file_name": "1.mkv", "source_size": 1, "made_by": "v0"}\n'
    published = Published.parse(old)
    assert published.encode() == old and published.with_records([record_of(remote("A/2.mp4"))]).encode().startswith(old)
    assert published.record_of(RemoteFile("A/1.mp4", 1, "")) is not None
