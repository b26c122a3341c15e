"""Output names, order, batches, and what is done already."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.core.folder import RemoteFile
from tools.core.planning import output_names, plan_folder
from tools.core.queue_item import Quarantined
from tools.core.record import Published

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
