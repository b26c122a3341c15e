"""Every folder of a listing stands under exactly one heading, whatever queue and monitor say of it."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.core.coverage import Heading, cover, folders_of
from tools.core.folder import ROOT, RemoteFile, group_folders
from tools.core.queue_item import CANCELLED, QueueItem, Status, new_item
from tools.report.folders import coverage_json, coverage_text

EXTENSIONS = frozenset({"mp4"})
FILES = [RemoteFile(path, 1, "") for path in ("A/1.mp4", "A/B/1.mp4", "C/1.iso", "root.mp4", "x/../1.mp4", "D/1.mp4")]
FOLDERS = group_folders(FILES, EXTENSIONS)
NOW = 1_700_000_000.0


def heading_of(name: str, item: QueueItem | None = None, settled: dict[str, str] | None = None) -> Heading:
    items = {} if item is None else {item.folder: item}
    found = [h for h, names in cover(folders_of(FILES), FOLDERS, items, settled or {}).items() if name in names]
    assert len(found) == 1
    return found[0]


ITEM = new_item(FOLDERS["A"], NOW)


@pytest.mark.parametrize(
    ("name", "item", "settled", "heading"),
    [
        ("A", None, {}, Heading.NOT_QUIET),
        ("A", None, {"A": FOLDERS["A"].fingerprint}, Heading.SETTLED),
        ("A", None, {"A": "another"}, Heading.NOT_QUIET),
        ("A", ITEM, {}, Heading.QUEUED),
        ("A", replace(ITEM, held=True), {}, Heading.HELD),
        ("A", replace(ITEM, hash=""), {}, Heading.QUEUED),
        ("A", replace(ITEM, hash="before"), {"A": "before"}, Heading.NOT_QUIET),
        ("A", replace(ITEM, status=Status.PROCESSING), {}, Heading.RUNNING),
        ("A", replace(ITEM, status=Status.COMPLETED), {}, Heading.PUBLISHED),
        ("A", replace(ITEM, status=Status.COMPLETED, hash=""), {}, Heading.NOT_QUIET),
        ("A", replace(ITEM, status=Status.FAILED, error="x"), {}, Heading.FAILED),
        ("A", replace(ITEM, status=Status.FAILED, error=CANCELLED), {}, Heading.CANCELLED),
        ("C", None, {}, Heading.NO_VIDEO),
        (ROOT, None, {}, Heading.NOT_QUIET),
        ("x/..", None, {}, Heading.NO_NAME),
    ],
)
def test_heading(name: str, item: QueueItem | None, settled: dict[str, str], heading: Heading) -> None:
    assert heading_of(name, item, settled) is heading


def test_a_card_at_the_root_is_no_folder_that_anybody_misses() -> None:
    files = [RemoteFile(path, 1, "") for path in ("README.md", "A/1.mp4")]
    coverage = cover(folders_of(files), group_folders(files, EXTENSIONS), {}, {})
    assert coverage[Heading.NO_VIDEO] == [ROOT] and not [one for one in Heading if one.needs_person and coverage[one]]


PATHS = st.lists(st.sampled_from(["A/1.mp4", "A/1.txt", "B/1.txt", "r.mp4", "B/../1", "番/x/2.mp4", "/1", "C//1"]))
ITEMS = st.dictionaries(
    st.sampled_from(["A", "B", "番/x", "gone"]),
    st.builds(
        lambda status, hash, held: replace(ITEM, status=status, hash=hash, held=held),
        st.sampled_from(list(Status)), st.sampled_from(["", "h"]), st.booleans(),
    ),
)  # fmt: skip


@given(PATHS, ITEMS)
def test_counts_add_up_to_the_listing(paths: list[str], items: dict[str, QueueItem]) -> None:
    files = [RemoteFile(path, 1, "") for path in paths]
    coverage = cover(folders_of(files), group_folders(files, EXTENSIONS), items, {"A": "h"})
    names = [name for found in coverage.values() for name in found]
    assert sorted(names) == sorted(folders_of(files)) and list(coverage) == list(Heading)
    shown = coverage_json("me/in", None, coverage)
    assert shown["folders"] == len(names) == sum(one["count"] for one in shown["headings"].values())
    assert f"{len(names)}  in all" in coverage_text("me/in", coverage)
