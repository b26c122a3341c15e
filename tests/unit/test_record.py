"""What is published of a folder: its ``metadata.jsonl`` and the order of its lines."""

import json
from collections.abc import Mapping

import pytest

from tests.jobs import record_of
from tools.core.columns import row
from tools.core.folder import RemoteFile
from tools.core.record import METADATA, Published, natural_order


def remote(path: str, sha: str = "", size: int = 1) -> RemoteFile:
    return RemoteFile(path, size, sha or path)


def line(record: Mapping[str, object]) -> bytes:
    return json.dumps(record, ensure_ascii=False).encode() + b"\n"


def rows(*lines: bytes) -> bytes:
    """These lines as they are written: tests/unit/test_columns.py says what a row is."""
    return b"".join(line(row(json.loads(one))) for one in lines)


def named(source: str, name: str) -> bytes:
    return line({"source_path": source, "file_name": name})


@pytest.mark.parametrize(
    "names",
    [
        ["A/第1话.mp4", "A/第2话.mp4", "A/第10话.mp4"],
        ["A/ep 09.mp4", "A/ep 10.mp4", "A/ep 100.mp4"],
        ["A/1x2.mp4", "A/1x10.mp4", "A/2x1.mp4"],
        ["A/1.mp4", "A/a.mp4", "A/第.mp4"],
        ["A/a.mp4", "A/B.mp4", "A/c.mp4"],
        ["A/第\uff12话.mp4", "A/第3话.mp4", "A/第\uff11\uff10话.mp4"],
        ["A/01.mp4", "A/1.mp4", "A/02.mp4"],
        ["A/EP.mp4", "A/ep.mp4"],
        ["2/a.mp4", "10/a.mp4", "a/1.mp4"],
    ],
)
def test_natural_order_is_by_the_value_of_numbers_then_by_letters_in_any_case(names: list[str]) -> None:
    """Numbers before letters, full-width digits as others; what is equal by that is ordered by the path."""
    assert [f.path for f in sorted(map(remote, reversed(names)), key=natural_order)] == names


@pytest.mark.parametrize("content", [None, b"", b"\n", b" \n\n"])
def test_without_content_nothing_is_published(content: bytes | None) -> None:
    published = Published.parse(content)
    assert (published.names(), published.foreign, published.encode()) == ({}, (), b"")
    assert METADATA == "metadata.jsonl"


@pytest.mark.parametrize(
    "foreign",
    [
        *(
            b"not json",
            b'{"other": 1}',
            b"[]",
            b"5",
            b'"text"',
            b"false",
            pytest.param(b"[" * 100_000, id="brackets"),
            b"\xff\xfe",
            b'{"a": "\xff"}',
            b"{" * 9,
            b"\xe4\xb8",
        ),
        *(b'{"source_path": "A/1.mp4"}', b'{"file_name": "1.mkv"}', b'{"source_path": "A/1.mp4", "file_name": 1}'),
        b'{"source_path": null, "file_name": "1.mkv"}',
        *(
            b'{"source_path": "A/1.mp4", "file_name": "0.mkv", %b}' % odd
            for odd in (
                b'"source_size": "3,4 MB"',
                b'"source_size": Infinity',
                b'"source_size": -1',
                b'"source_size": true',
                b'"source_size": 1.5',
                b'"size": [1]',
                b'"size": %d' % 2**70,
                b'"size": 1%b' % (b"0" * 5000),
                b'"source_sha256": 7',
                b'"sha256": {}',
                b'"duration_s": NaN',
                b'"duration_s": "24 min"',
                b'"frames": "many"',
                b'"streams": {"deep": ' + b'{"a": ' * 900 + b"1" + b"}" * 901,
                b'"streams": ' + b"[" * 100_000,
                b'"warnings": 7',
                b'"quality": [1]',
            )
        ),
    ],
)
def test_line_that_is_no_record_is_kept_byte_for_byte_before_the_records(foreign: bytes) -> None:
    published = Published.parse(named("A/1.mp4", "1.mkv") + foreign + b"\n" + named("A/2.mp4", "2.mkv"))
    assert len(published.foreign) == 1 and list(published.names()) == ["A/1.mp4", "A/2.mp4"]
    assert published.encode() == foreign + b"\n" + rows(named("A/1.mp4", "1.mkv"), named("A/2.mp4", "2.mkv"))
    more = published.with_records([record_of(remote("A/3.mp4"), "3.mkv")])
    assert more.encode().startswith(foreign + b"\n") and len(more.names()) == 3


def test_row_whose_unknown_fields_nest_deeply_keeps_them() -> None:
    deep = b'{"source_path":  "A/1.mp4", "file_name": "1.mkv", "x": ' + b"[" * 400 + b"]" * 400 + b"}\r\n"
    published = Published.parse(deep)
    assert list(published.names()) == ["A/1.mp4"] and published.encode() == rows(deep)
    assert json.loads(json.loads(published.encode())["other"]) == {"x": json.loads(b"[" * 400 + b"]" * 400)}
    assert published.with_records([record_of(remote("A/2.mp4"), "2.mkv")]).encode().startswith(rows(deep))


def test_row_that_can_be_read_and_not_written_again_stays_as_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    """How deep is too deep depends on the program's own depth."""

    def too_deep(record: object) -> object:
        raise RecursionError

    published = Published.parse(named("A/1.mp4", "1.mkv"))
    monkeypatch.setattr("tools.core.record.row", too_deep)
    assert published.encode() == named("A/1.mp4", "1.mkv")
    with pytest.raises(RecursionError):
        published.with_records([record_of(remote("A/2.mp4"), "2.mkv")]).encode()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_file_of_an_editor_that_marks_its_byte_order_is_read_and_written_as_utf8(encoding: str) -> None:
    lines = named("番剧/1.mp4", "1.mkv") + b"a remark\n"
    published = Published.parse(lines.decode().encode(encoding))
    assert list(published.names()) == ["番剧/1.mp4"]
    assert published.encode() == b"a remark\n" + rows(named("番剧/1.mp4", "1.mkv"))


def test_file_that_claims_a_byte_order_and_keeps_none_comes_back_as_it_was() -> None:
    odd = b"\xff\xfe12\n"
    assert Published.parse(odd).encode() == odd


def test_numbers_with_thousands_of_digits_are_put_in_order_by_their_value() -> None:
    names = ["A/1.mp4", f"A/{'9' * 5000}.mp4", f"A/1{'0' * 5000}.mp4"]
    assert [f.path for f in sorted(map(remote, reversed(names)), key=natural_order)] == names
    assert len(Published.parse(b"".join(named(name, "1.mkv") for name in names)).encode().splitlines()) == 3


def test_record_whose_file_another_source_replaced_goes() -> None:
    first, kept = record_of(remote("A/1.mp4"), "1.mkv"), record_of(remote("A/2.mp4"), "2.mkv")
    new = record_of(remote("A/1.avi"), "1.mkv")
    assert Published.parse(line(first) + line(kept)).with_records([new]).encode() == rows(line(new), line(kept))


def test_lines_that_are_no_records_stay_in_their_order() -> None:
    assert Published.parse(b"two\n" + named("A/1.mp4", "1.mkv") + b"one").encode() == (
        b"two\none\n" + rows(named("A/1.mp4", "1.mkv"))
    )


def test_records_are_written_in_natural_order_each_on_a_line_in_readable_characters() -> None:
    lines = [named(f"番剧/第{n}话.mp4", f"第{n}话.mkv") for n in (10, 2, 1)]
    assert Published.parse(b"\n".join(lines)).encode() == rows(*reversed(lines))
    assert "第10话.mkv" in Published.parse(lines[0]).encode().decode()


def test_name_of_a_local_file_that_is_no_utf8_comes_back_as_it_was() -> None:
    raw = b'{"source_path": "A/\xff.mp4", "file_name": "\xff.mkv"}\n'
    written = Published.parse(raw).encode()
    assert b'"source_path": "A/\xff.mp4"' in written and b'"file_name": "\xff.mkv"' in written
    assert Published.parse(written).encode() == written


def test_later_record_of_a_source_replaces_the_one_before() -> None:
    first, other = record_of(remote("A/1.mp4"), "1.mkv"), record_of(remote("A/2.mp4"), "2.mkv")
    newer = record_of(remote("A/1.mp4"), "1.mkv", sha256="newer")
    assert Published.parse(line(first) + line(other) + line(newer)).encode() == rows(line(newer), line(other))
    published = Published.parse(line(first))
    assert published.encode() == rows(line(first))
    again = published.with_records([newer, other])
    assert again.encode() == again.encode() == rows(line(newer), line(other)), "also what was encoded before"
    assert published.encode() == rows(line(first)), "a change is a new value"


def test_of_several_records_of_a_source_the_last_counts_and_one_of_another_file_stays() -> None:
    """Somebody merged two files, say. Lines that are the same twice say nothing."""
    old, other, new = named("A/1.mp4", "1.mkv"), named("A/1.mp4", "1.mp4.mkv"), named("A/1.mp4", "1.mkv")[:-2]
    new += b', "encoder": "x"}\n'
    published = Published.parse(named("A/2.mp4", "2.mkv") * 2 + old + other + new, "me/in")
    assert published.doubled == ("A/1.mp4",) and published.names() == {"A/1.mp4": "A/1.mkv", "A/2.mp4": "A/2.mkv"}
    assert published.records["A/1.mp4"].get("encoder") == "x"
    lines = published.encode().splitlines(keepends=True)
    assert b"".join(lines[:2]) == rows(old, other) and len(lines) == 4
    assert Published.parse(published.encode(), "me/in").encode() == published.encode()
    assert len(Published.parse(old + new).encode().splitlines()) == 1
    assert Published.parse(old + new).doubled == ("A/1.mp4",)


def test_record_of_an_older_version_keeps_what_it_has_beyond_and_misses_nothing() -> None:
    old = b'{"source_path": "A/1.mp4", "file_name": "1.mkv", "source_size": 1, "made_by": "v0"}\n'
    published = Published.parse(old)
    made = published.encode()
    assert made == rows(old) and json.loads(json.loads(made)["other"]) == {"made_by": "v0"}
    assert published.with_records([record_of(remote("A/2.mp4"))]).encode().startswith(made)
    assert Published.parse(made).encode() == made, "what was written once is not written otherwise"
    assert published.record_of(RemoteFile("A/1.mp4", 1, "")) is not None


@pytest.mark.parametrize(
    ("case", "record", "sha256", "size", "is_found"),
    [
        ("same content", {"source_sha256": "sha", "source_size": 7}, "sha", 7, True),
        ("the sha256 decides, not the size", {"source_sha256": "sha", "source_size": 7}, "sha", 8, True),
        ("another content of the same size", {"source_sha256": "sha", "source_size": 7}, "other", 7, False),
        ("the hub tells no sha256: the size decides", {"source_sha256": "sha", "source_size": 7}, "", 7, True),
        ("no sha256 and another size", {"source_sha256": "sha", "source_size": 7}, "", 8, False),
        ("made when the hub told none", {"source_sha256": "", "source_size": 7}, "", 7, True),
        ("made when the hub told none, now it does", {"source_sha256": "", "source_size": 7}, "sha", 7, False),
        ("the record says neither", {}, "sha", 7, False),
        ("the record says neither, the hub no sha256", {}, "", 7, False),
    ],
)
def test_record_is_found_by_exactly_the_content_of_its_source(
    case: str, record: dict[str, object], sha256: str, size: int, is_found: bool
) -> None:
    whole = {"source_path": "A/1.mp4", "file_name": "1.mkv", **record}
    published = Published.parse(line(whole))
    assert published.record_of(RemoteFile("A/1.mp4", size, sha256)) == (whole if is_found else None), case
    assert published.record_of(RemoteFile("A/2.mp4", size, sha256)) is None, case


@pytest.mark.parametrize(
    ("source", "file_name", "output"),
    [
        ("A/1.mp4", "1.mkv", "A/1.mkv"),
        ("A/B/1.mp4", "one.mkv", "A/B/one.mkv"),
        ("A/1.mp4", "elsewhere/1.mkv", "A/1.mkv"),
        ("A/1.mp4", "../1.mkv", None),
        ("A/1.mp4", "/1.mkv", None),
        ("A/1.mp4", "", None),
        ("../1.mp4", "1.mkv", None),
        ("/1.mp4", "1.mkv", None),
    ],
)
def test_published_name_is_beside_its_source_and_never_an_unsafe_one(
    source: str, file_name: str, output: str | None
) -> None:
    published = Published.parse(named(source, file_name))
    assert published.names() == ({} if output is None else {source: output})
    assert published.encode() == rows(named(source, file_name)), "kept all the same"


def test_lines_of_other_input_repos_stay_in_their_order_and_are_never_ours() -> None:
    mine, yours = record_of(remote("A/1.mp4")), {**record_of(remote("A/1.mp4")), "source_repo": "you/in", "more": 1}
    old = record_of(remote("A/2.mp4"), "2.mkv")
    parsed = Published.parse(line(yours) + line({**mine, "source_repo": "me/in"}) + line(old) + b"?\n", "me/in")
    assert set(parsed.records) == {"A/1.mp4", "A/2.mp4"}
    assert parsed.encode() == b"?\n" + rows(line({**mine, "source_repo": "me/in"}), line(yours), line(old))
    assert parsed.with_records([old]).encode() == parsed.encode()
    assert parsed.record_of_others(remote("A/1.mp4")) == yours
    assert parsed.record_of_others(remote("A/1.mp4", "other")) is None
    assert parsed.record_of_others(RemoteFile("A/1.mp4", 1, "")) is None, "by its size alone it may be another"


def test_no_line_of_another_input_repo_is_lost_also_of_those_that_are_about_one_source() -> None:
    theirs = [line({"source_path": "A/1.mp4", "file_name": "1.mkv", "source_repo": "x/y", "size": n}) for n in (1, 2)]
    published = Published.parse(b"".join([*theirs, theirs[1]]), "me/in")
    rows = [json.loads(row) for row in published.encode().splitlines()]
    assert sorted(row["size"] for row in rows) == [1, 2] and published.doubled == ()
