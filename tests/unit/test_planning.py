"""Output names, order, batches, and what is done already."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.core.folder import RemoteFile, group_folders, is_safe_path
from tools.core.planning import output_names, plan_folder
from tools.core.queue_item import Quarantined
from tools.core.record import Published, natural_order

VIDEOS = frozenset({"mp4", "mkv", "avi", "ts"})


def remote(path: str, sha: str = "", size: int = 1) -> RemoteFile:
    return RemoteFile(path, size, sha or path)


@pytest.mark.parametrize(
    ("sources", "names"),
    [
        (["A/ep 01.mp4"], ["A/ep 01.mkv"]),
        (["A/x.mkv"], ["A/x.mkv"]),
        (["A/ep.mp4", "A/ep.avi"], ["A/ep.mp4.mkv", "A/ep.avi.mkv"]),
        (["A/ep.mp4", "A/EP.avi"], ["A/ep.mp4.mkv", "A/EP.avi.mkv"]),
        (["A/ep.mp4", "A/ep.avi", "A/ep.mp4.mkv"], ["A/ep.mp4.mkv", "A/ep.avi.mkv", "A/ep.mp4.mkv.mkv"]),
        (["A/.mp4"], ["A/.mp4.mkv"]),
    ],
)
def test_output_names(sources: list[str], names: list[str]) -> None:
    made = output_names(sources, {})
    if len(sources) == 3:
        assert len(set(made.values())) == 3
    else:
        assert [made[source] for source in sources] == names


def test_published_source_keeps_its_name_when_another_comes_that_would_meet_it() -> None:
    made = output_names(["A/ep.mp4", "A/ep.avi"], {"A/ep.mp4": "A/ep.mkv"})
    assert made == {"A/ep.mp4": "A/ep.mkv", "A/ep.avi": "A/ep.avi.mkv"}


names = st.text(st.characters(exclude_characters="/\0", exclude_categories=("Cs", "Cc")), min_size=1, max_size=90)


@given(st.lists(st.tuples(names, st.sampled_from(["mp4", "MKV", "ts"])), min_size=1, max_size=8, unique=True))
def test_no_two_sources_ever_share_an_output_and_every_name_fits_a_disk(parts: list[tuple[str, str]]) -> None:
    sources = sorted({f"F/{stem}.{extension}" for stem, extension in parts})
    made = output_names(sources, {})
    assert len(set(made.values())) == len(sources)
    for path in made.values():
        assert path.endswith(".mkv") and len(path.rpartition("/")[2].encode()) <= 255


def test_natural_order_puts_2_before_10() -> None:
    files = [remote(f"A/第{n}话.mp4") for n in (10, 2, 1)]
    assert [f.path for f in sorted(files, key=natural_order)] == ["A/第1话.mp4", "A/第2话.mp4", "A/第10话.mp4"]


def record(source: RemoteFile, name: str, sha: str = "out", size: int = 5) -> dict[str, object]:
    return {
        "file_name": name,
        "source_path": source.path,
        "source_sha256": source.sha256,
        "source_size": source.size,
        "sha256": sha,
        "size": size,
    }


def test_plan_does_only_what_is_neither_published_nor_refused() -> None:
    files = [remote(f"A/{n}.mp4") for n in range(1, 8)] + [remote("A/notes.txt")]
    published = Published.parse("\n".join(json.dumps(record(files[n], f"{n + 1}.mkv")) for n in (0, 1, 2)).encode())
    existing = {"A/1.mkv": RemoteFile("A/1.mkv", 5, "out"), "A/3.mkv": RemoteFile("A/3.mkv", 5, "other")}
    refused = [Quarantined("A/4.mp4", "broken", "A/4.mp4"), Quarantined("A/5.mp4", "broken", "older content")]
    plan = plan_folder(files, published, existing, refused, extensions=VIDEOS, batch_size=2)
    assert [source.path for source, _ in plan.done] == ["A/1.mp4"]
    assert [q.path for q in plan.quarantined] == ["A/4.mp4"]
    todo = [[video.source.path for video in batch] for batch in plan.batches]
    # 2 is gone from the output, 3 is there with other content, 5 changed since it was refused.
    assert todo == [["A/2.mp4", "A/3.mp4"], ["A/5.mp4", "A/6.mp4"], ["A/7.mp4"]]


def test_changed_source_is_done_again() -> None:
    old, new = remote("A/1.mp4", "old"), remote("A/1.mp4", "new")
    published = Published.parse(json.dumps(record(old, "1.mkv")).encode())
    existing = {"A/1.mkv": RemoteFile("A/1.mkv", 5, "out")}
    plan = plan_folder([new], published, existing, [], extensions=VIDEOS, batch_size=30)
    assert [video.output_path for batch in plan.batches for video in batch] == ["A/1.mkv"]


def test_metadata_keeps_lines_it_can_not_read_and_replaces_a_record_of_the_same_source() -> None:
    first = record(remote("A/1.mp4"), "1.mkv")
    published = Published.parse(b'not json\n{"other": 1}\n' + json.dumps(first).encode() + b"\n\n")
    again = published.with_records([{**first, "sha256": "newer"}])
    lines = again.encode().decode().splitlines()
    assert lines[:2] == ["not json", '{"other": 1}'] and json.loads(lines[2])["sha256"] == "newer" and len(lines) == 3


@pytest.mark.parametrize(
    "path",
    [
        *("/abs", "a/../b", "./a", "a//b", "a/\n", "a/\x7f", "", "a/\u2028b"),
        *("a/" + "x" * 256, "名" * 100, "/".join(["x" * 250] * 12)),
    ],
)
def test_unsafe_paths(path: str) -> None:
    assert not is_safe_path(path)


@pytest.mark.parametrize(
    "path", ["a/b.mp4", "-a/--b", "a:b/c|d", "100%d/名.mkv", "a/'\"`$(x)", "名" * 85, "/".join(["x" * 250] * 11)]
)
def test_odd_but_harmless_paths(path: str) -> None:
    assert is_safe_path(path)


def test_fingerprint_changes_when_a_file_comes_goes_or_grows_and_for_nothing_else() -> None:
    def fingerprint(files: list[RemoteFile]) -> str:
        return group_folders(files, VIDEOS)["A"].fingerprint

    base = [remote("A/1.mp4", size=3), remote("A/2.mp4", size=4), remote("A/S/3.mp4"), remote("root.mp4")]
    assert fingerprint(base) == fingerprint(base[::-1])
    assert fingerprint(base) == fingerprint([*base[:2], RemoteFile("A/S/9.mp4", 9, "")])
    assert fingerprint(base) != fingerprint(base[:1])
    assert fingerprint(base) != fingerprint([*base, remote("A/4.txt")])
    assert fingerprint(base) != fingerprint([remote("A/1.mp4", size=4), *base[1:]])
    assert set(group_folders(base, VIDEOS)) == {"A", "A/S"}


@pytest.mark.parametrize(
    ("case", "later", "only_added"),
    [
        ("unchanged", [("1.mp4", 3, 10.0), ("2.mp4", 4, 20.0)], True),
        ("added", [("1.mp4", 3, 10.0), ("2.mp4", 4, 20.0), ("0.mp4", 1, 30.0), ("3.mp4", 1, 25.0)], True),
        ("replaced", [("1.mp4", 5, 30.0), ("2.mp4", 4, 20.0)], False),
        ("added and deleted", [("2.mp4", 4, 20.0), ("3.mp4", 1, 30.0), ("4.mp4", 1, 30.0)], False),
        ("put back", [("1.mp4", 3, 30.0), ("2.mp4", 4, 20.0)], False),
        ("added at a time before", [("1.mp4", 3, 10.0), ("2.mp4", 4, 20.0), ("3.mp4", 1, 20.0)], False),
        ("times no longer told", [("1.mp4", 3, None), ("2.mp4", 4, None)], True),
    ],
)
def test_only_added_where_each_file_of_before_is_still_there(
    case: str, later: list[tuple[str, int, float | None]], only_added: bool
) -> None:
    def listing(files: list[tuple[str, int, float | None]]) -> list[RemoteFile]:
        return [RemoteFile(f"A/{name}", size, "", when) for name, size, when in files]

    before = group_folders(listing([("1.mp4", 3, 10.0), ("2.mp4", 4, 20.0)]), VIDEOS)
    now = group_folders(listing(later), VIDEOS, before=before)["A"]
    assert now.only_added == only_added, case
    assert now == group_folders(listing(later[::-1]), VIDEOS)["A"]
    assert not before["A"].only_added
