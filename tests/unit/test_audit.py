"""Input against output: each way in which they may differ is named, and nothing is counted twice."""

import json

from tools.core.audit import FolderAudit, audit, source_gone
from tools.core.folder import RemoteFile
from tools.core.queue_item import Quarantined
from tools.core.record import Published
from tools.report.folders import audit_sum

EXTENSIONS = frozenset({"mp4"})


def file(path: str, sha256: str = "s", size: int = 1) -> RemoteFile:
    return RemoteFile(path, size, sha256)


def record(number: int, source_sha256: str = "s") -> dict[str, object]:
    made_of = {"source_path": f"A/{number}.mp4", "source_sha256": source_sha256, "source_size": 1}
    return {"file_name": f"{number}.mkv", **made_of, "sha256": "r", "size": 1}


PUBLISHED = Published.parse("\n".join(json.dumps(record(n)) for n in (1, 2, 3, 4, 6)).encode())
SOURCES = [file(f"A/{n}.mp4") for n in (1, 2, 3, 5, 7)] + [file("A/4.mp4", "new"), file("A/1.nfo")]
RESULTS = {
    f.path: f
    for f in (
        file("A/1.mkv", "r"),
        file("A/2.mkv", "other"),
        file("A/4.mkv", "r"),
        file("A/6.mkv", "r"),
        file("A/9.mkv", "r"),
        file("A/metadata.jsonl"),
    )
}
REFUSED = [Quarantined("A/5.mp4", "cut", "s"), Quarantined("A/7.mp4", "cut", "another content")]


def test_every_video_is_published_quarantined_missing_or_differs() -> None:
    found = audit("A", SOURCES, RESULTS, PUBLISHED, REFUSED, EXTENSIONS)
    assert (found.videos, found.published, found.quarantined) == (6, 1, ("A/5.mp4",))
    assert found.missing == ("A/3.mp4", "A/4.mp4", "A/7.mp4"), "no file, another content, refused for another content"
    assert found.differs == ("A/2.mkv",)
    assert found.without_source == ("A/6.mkv", "A/9.mkv") and not found.is_right
    counted = found.published + len(found.quarantined) + len(found.missing) + len(found.differs)
    assert counted == found.videos


def test_place_that_a_download_holds_is_missed_by_nobody() -> None:
    half = [*SOURCES, file("A/8.mp4", size=0), file("A/8.mp4.aria2"), file("A/10.mp4", size=0)]
    found = audit("A", half, RESULTS, PUBLISHED, REFUSED, EXTENSIONS)
    assert found.videos == 7 and "A/10.mp4" in found.missing and "A/8.mp4" not in found.missing


def test_folder_that_is_as_it_should_be() -> None:
    sources, results = [file("A/1.mp4"), file("A/5.mp4")], {"A/1.mkv": file("A/1.mkv", "")}
    assert audit("A", sources, results, PUBLISHED, REFUSED, EXTENSIONS).is_right


def test_results_whose_source_is_gone_are_those_that_were_published_from_here() -> None:
    assert source_gone(SOURCES, RESULTS, PUBLISHED) == ["6.mkv"]
    assert source_gone([*SOURCES, file("A/6.mp4")], RESULTS, PUBLISHED) == []


def test_what_other_input_repos_have_there_is_neither_ours_nor_without_source() -> None:
    theirs = [{**record(1), "source_repo": "you/in", "file_name": "a.mkv"}, {**record(2), "source_repo": "you/in"}]
    published = Published.parse("\n".join(map(json.dumps, theirs)).encode(), "me/in")
    results = {f.path: f for f in (file("A/a.mkv", "r"), file("A/2.mkv", "r"), file("A/9.mkv", "r"))}
    found = audit("A", [file("A/1.mp4"), file("A/2.mp4", "mine")], results, published, (), EXTENSIONS)
    assert (found.published, found.missing, found.without_source) == (1, ("A/2.mp4",), ("A/9.mkv",))


def test_sum_of_one_folder_is_said_of_one() -> None:
    one = FolderAudit("A", 1, 0, 0, (), ("A/1.mp4",), (), ())
    assert "1 folder, 1 not right" in audit_sum([one]) and "2 folders, 2 not right" in audit_sum([one, one])
