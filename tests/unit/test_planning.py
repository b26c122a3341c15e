"""Output names, order, batches, and what is done already."""

import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.jobs import mkv, record_of
from tools.core.artifact import ArtifactKind
from tools.core.folder import RemoteFile
from tools.core.planning import STAGES, FolderPlan, Video, output_names, plan_folder
from tools.core.queue_item import Quarantined
from tools.core.record import Published

REPOS = {ArtifactKind.VIDEO: "me/out"}
VIDEOS = frozenset({"mp4", "mkv", "avi", "ts"})


def remote(path: str, sha: str = "", size: int = 1) -> RemoteFile:
    return RemoteFile(path, size, sha or path)


def digest(path: str) -> str:
    """What tells an output apart by its source's path."""
    return "~" + hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()[:8]


@pytest.mark.parametrize(
    ("sources", "names"),
    [
        (["A/ep 01.mp4"], ["A/ep 01.mkv"]),
        (["A/x.mkv"], ["A/x.mkv"]),
        (["A/ep.mp4", "A/ep.avi"], ["A/ep.mp4.mkv", "A/ep.avi.mkv"]),
        # If only some disks see one name: by case, by composed characters, by both.
        (["A/ep.mp4", "A/EP.avi"], ["A/ep.mp4.mkv", "A/EP.avi.mkv"]),
        (["A/STRASSE.mp4", "A/straße.avi"], ["A/STRASSE.mp4.mkv", "A/straße.avi.mkv"]),
        (["A/\u00e9.mp4", "A/e\u0301.avi"], ["A/\u00e9.mp4.mkv", "A/e\u0301.avi.mkv"]),
        (["A/\u00c9.mp4", "A/e\u0301.avi"], ["A/\u00c9.mp4.mkv", "A/e\u0301.avi.mkv"]),
        (["A/\u00e9.mp4", "A/e.avi"], ["A/\u00e9.mkv", "A/e.mkv"]),
        # The name with its extension is taken as well: a digest of the path tells them apart.
        (
            ["A/ep.mp4", "A/ep.avi", "A/ep.mp4.mkv"],
            [f"A/ep.mp4{digest('A/ep.mp4')}.mkv", "A/ep.avi.mkv", "A/ep.mp4.mkv.mkv"],
        ),
        (["A/.mp4"], ["A/.mp4.mkv"]),
    ],
)
def test_output_names(sources: list[str], names: list[str]) -> None:
    made = output_names(sources, {})
    assert [made[source] for source in sources] == names


@pytest.mark.parametrize(
    ("character", "count", "kept"),
    [
        # 240 bytes of UTF-8 less four for ".mkv" are left for the rest, nine of them for a digest if needed.
        *(("x", 236, 236), ("x", 237, 227)),
        *(("名", 78, 78), ("名", 79, 75)),
        *(("😀", 59, 59), ("😀", 60, 56)),
        # A byte that is no UTF-8, as a local file's name may have, counts as one.
        *(("\udcff", 236, 236), ("\udcff", 237, 227)),
    ],
)
def test_name_that_is_too_long_is_cut_between_characters_and_told_apart_by_a_digest(
    character: str, count: int, kept: int
) -> None:
    source = f"A/{character * count}.ts"
    tail = "" if kept == count else digest(source)
    assert output_names([source], {}) == {source: f"A/{character * kept}{tail}.mkv"}


def test_names_that_are_cut_meet_neither_each_other_nor_those_that_keep_their_extension() -> None:
    long = "x" * 236
    cut = [f"A/{long}.ts", f"A/{long}.TS", f"A/{long}y.ts"]  # the first two meet, and have no room for an extension
    short = f"A/{'x' * 227}.ts"
    made = output_names([*cut, short], {})
    assert made == {**{source: f"A/{'x' * 227}{digest(source)}.mkv" for source in cut}, short: f"A/{'x' * 227}.mkv"}


@pytest.mark.parametrize(
    ("case", "published", "names"),
    [
        ("the one keeps its name, the other gives way", {"A/ep.mp4": "A/ep.mkv"}, ["A/ep.mkv", "A/ep.avi.mkv"]),
        ("in another case too", {"A/ep.mp4": "A/EP.mkv"}, ["A/EP.mkv", "A/ep.avi.mkv"]),
        ("whatever its name is", {"A/ep.mp4": "A/film.mkv"}, ["A/film.mkv", "A/ep.mkv"]),
        ("both names of the other are taken", {"A/ep.mp4": "A/ep.avi.mkv"}, ["A/ep.avi.mkv", "A/ep.mkv"]),
        (
            "a source that is gone holds its name: it may come back",
            {"A/gone.mp4": "A/ep.mp4.mkv"},
            [f"A/ep.mp4{digest('A/ep.mp4')}.mkv", "A/ep.avi.mkv"],
        ),
        (
            "in another case too, gone",
            {"A/gone.mp4": "A/EP.AVI.mkv"},
            ["A/ep.mp4.mkv", f"A/ep.avi{digest('A/ep.avi')}.mkv"],
        ),
    ],
)
def test_published_source_keeps_its_name(case: str, published: dict[str, str], names: list[str]) -> None:
    assert list(output_names(["A/ep.mp4", "A/ep.avi"], published).values()) == names, case


def test_source_whose_two_names_are_taken_by_published_ones_gets_a_digest() -> None:
    published = {"A/1.mp4": "A/ep.mkv", "A/2.mp4": "A/ep.avi.mkv"}
    made = output_names(["A/1.mp4", "A/2.mp4", "A/ep.avi"], published)
    assert made == {**published, "A/ep.avi": f"A/ep.avi{digest('A/ep.avi')}.mkv"}


names = st.text(st.characters(exclude_characters="/\0", exclude_categories=("Cs", "Cc")), min_size=1, max_size=90)


@settings(deadline=None)
@given(st.lists(st.tuples(names, st.sampled_from(["mp4", "MKV", "ts"])), min_size=1, max_size=8, unique=True))
def test_no_two_sources_ever_share_an_output_and_every_name_fits_a_disk(parts: list[tuple[str, str]]) -> None:
    sources = sorted({f"F/{stem}.{extension}" for stem, extension in parts})
    made = output_names(sources, {})
    assert len(set(made.values())) == len(sources)
    for path in made.values():
        assert path.endswith(".mkv") and len(path.rpartition("/")[2].encode()) <= 240


def test_plan_does_only_what_is_neither_published_nor_refused() -> None:
    files = [remote(f"A/{n}.mp4") for n in range(1, 8)] + [remote("A/notes.txt")]
    published = Published.parse("\n".join(json.dumps(record_of(files[n], f"{n + 1}.mkv")) for n in (0, 1, 2)).encode())
    existing = {"A/1.mkv": RemoteFile("A/1.mkv", 5, "out"), "A/3.mkv": RemoteFile("A/3.mkv", 5, "other")}
    refused = [Quarantined("A/4.mp4", "broken", "A/4.mp4"), Quarantined("A/5.mp4", "broken", "older content")]
    plan = plan_folder(files, published, existing, refused, repos=REPOS, extensions=VIDEOS, batch_size=2)
    assert [source.path for source, _ in plan.done] == ["A/1.mp4"]
    assert [q.path for q in plan.quarantined] == ["A/4.mp4"]
    todo = [[video.source.path for video in batch] for batch in plan.batches]
    # 2 is gone from the output, 3 is there with other content, 5 changed since it was refused.
    assert todo == [["A/2.mp4", "A/3.mp4"], ["A/5.mp4", "A/6.mp4"], ["A/7.mp4"]]


def test_changed_source_is_done_again() -> None:
    old, new = remote("A/1.mp4", "old"), remote("A/1.mp4", "new")
    published = Published.parse(json.dumps(record_of(old, "1.mkv")).encode())
    existing = {"A/1.mkv": RemoteFile("A/1.mkv", 5, "out")}
    plan = plan_folder([new], published, existing, [], repos=REPOS, extensions=VIDEOS, batch_size=30)
    assert [video.targets for batch in plan.batches for video in batch] == [mkv("A/1.mkv")]


@pytest.mark.parametrize("there", ["of the one", "of the other", "of neither"])
def test_of_two_that_were_published_under_one_name_only_the_one_whose_file_is_there_keeps_it(there: str) -> None:
    one, other = remote("A/ep.mp4", "one"), remote("A/ep.avi", "other")
    records = [record_of(one, "ep.mkv", sha256="of the one"), record_of(other, "ep.mkv", sha256="of the other")]
    published = Published.parse("\n".join(map(json.dumps, records)).encode())
    existing = {"A/ep.mkv": RemoteFile("A/ep.mkv", 5, there)}
    plan = plan_folder([one, other], published, existing, [], repos=REPOS, extensions=VIDEOS, batch_size=30)
    done = [source for source, _ in plan.done]
    assert done == {"of the one": [one], "of the other": [other], "of neither": []}[there]
    targets = {video.source: video.targets for batch in plan.batches for video in batch}
    free = {one: mkv("A/ep.mp4.mkv"), other: mkv("A/ep.avi.mkv")}
    if there == "of neither":
        assert targets == {one: mkv("A/ep.mkv"), other: free[other]}
    else:
        assert targets == {source: target for source, target in free.items() if source not in done}


@pytest.mark.parametrize(
    ("case", "source", "there", "is_done"),
    [
        ("same content, same output", ("sha", 7), ("out", 5), True),
        ("hub tells no sha256 of the source: its size counts", ("", 7), ("out", 5), True),
        ("no sha256, another size", ("", 8), ("out", 5), False),
        ("another content of equal size", ("other", 7), ("out", 5), False),
        ("hub tells no sha256 of the output: its size counts", ("sha", 7), ("", 5), True),
        ("no sha256 of the output, another size", ("sha", 7), ("", 6), False),
        ("an output of another content", ("sha", 7), ("other", 5), False),
        ("an output of another size", ("sha", 7), ("out", 6), False),
        ("no sha256 anywhere", ("", 7), ("", 5), True),
        ("the output is gone", ("sha", 7), None, False),
    ],
)
def test_done_is_what_is_published_of_this_content_and_still_there(
    case: str, source: tuple[str, int], there: tuple[str, int] | None, is_done: bool
) -> None:
    published = Published.parse(json.dumps(record_of(RemoteFile("A/1.mp4", 7, "sha"), "1.mkv")).encode())
    existing = {} if there is None else {"A/1.mkv": RemoteFile("A/1.mkv", there[1], there[0])}
    file = RemoteFile("A/1.mp4", source[1], source[0])
    plan = plan_folder([file], published, existing, [], repos=REPOS, extensions=VIDEOS, batch_size=30)
    assert [done for done, _ in plan.done] == [file] * is_done, case
    assert [video.source for batch in plan.batches for video in batch] == [file] * (not is_done), case


@pytest.mark.parametrize(
    ("case", "sha256", "refused", "is_kept"),
    [
        ("refused with this content", "sha", "sha", True),
        ("changed since", "new", "sha", False),
        ("the hub tells no sha256 any more", "", "sha", False),
        ("it told none then", "sha", "", False),
        ("it never tells one: tried again rather than refused for ever", "", "", False),
    ],
)
def test_video_refused_before_is_kept_from_work_only_for_the_same_content(
    case: str, sha256: str, refused: str, is_kept: bool
) -> None:
    before = [Quarantined("A/1.mp4", "broken", refused), Quarantined("A/gone.mp4", "broken", "sha")]
    file = RemoteFile("A/1.mp4", 7, sha256)
    plan = plan_folder([file], Published.parse(None), {}, before, repos=REPOS, extensions=VIDEOS, batch_size=30)
    assert plan.quarantined == tuple(before[:1]) * is_kept, case
    assert [video.source for batch in plan.batches for video in batch] == [file] * (not is_kept), case


def test_batches_are_in_natural_order_of_videos_alone_and_carry_their_names() -> None:
    paths = ["A/10.mp4", "A/notes.txt", "A/2.TS", "A/\n.mp4", "A/1.mp4", "A/2.avi", "A/mp4"]
    plan = plan_folder(
        [remote(path) for path in paths], Published.parse(None), {}, [], repos=REPOS, extensions=VIDEOS, batch_size=3
    )
    order = ["A/1.mp4", "A/2.avi", "A/2.TS", "A/10.mp4"]
    names = ["A/1.mkv", "A/2.avi.mkv", "A/2.TS.mkv", "A/10.mkv"]
    videos = tuple(Video(remote(path), mkv(name)) for path, name in zip(order, names, strict=True))
    assert plan == FolderPlan(batches=(videos[:3], videos[3:]), done=(), quarantined=())


def test_stages_have_the_names_that_progress_files_and_reports_of_workers_hold() -> None:
    assert STAGES == ("waiting", "download", "encode", "suspended", "verify", "upload")


def test_name_of_a_file_that_is_not_ours_is_not_taken_however_many_there_are() -> None:
    source = "A/ep.mp4"
    taken: set[str] = set()
    for _ in range(4):
        name = output_names([source], {}, {*taken, "A/EP.MKV"})[source]
        assert name not in taken and name.lower() != "a/ep.mkv"
        taken.add(name)
    assert output_names([source], {source: "A/ep.mkv"}, {"A/EP.MKV"}) == {source: "A/ep.mkv"}, "published as such"


def test_what_is_half_there_is_named_as_such_and_never_encoded() -> None:
    sizes = {"1.mp4": 7, "2.mp4": 7, "2.mp4.aria2": 1, "3.mp4": 0, "3.mp4.part": 1, "4.mp4": 0, "._1.mp4": 4}
    files = [RemoteFile(f"A/{name}", size, name) for name, size in sizes.items()]
    plan = plan_folder(
        files,
        Published.parse(None),
        {},
        (),
        repos={ArtifactKind.VIDEO: "me/out"},
        extensions=frozenset({"mp4"}),
        batch_size=9,
    )
    assert [video.source.name for batch in plan.batches for video in batch] == ["1.mp4"]
    assert [(one.path, one.cause) for one in plan.quarantined] == [
        ("A/2.mp4", "it is not whole yet: 2.mp4.aria2 lies beside it"),
        ("A/4.mp4", "it is empty (0 bytes)"),
    ]
