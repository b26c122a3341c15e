"""From a listing to folders: which paths are safe, what a folder holds, and whether it changed."""

import pytest

from tools.core.folder import ROOT, Folder, RemoteFile, group_folders, inside, is_safe_path, is_video, path_of

VIDEOS = frozenset({"mp4", "mkv", "avi", "ts"})


def remote(path: str, sha: str = "", size: int = 1) -> RemoteFile:
    return RemoteFile(path, size, sha or path)


@pytest.mark.parametrize(
    ("path", "folder", "name"),
    [("A/1.mp4", "A", "1.mp4"), ("A/第 2 季/1.mp4", "A/第 2 季", "1.mp4"), ("1.mp4", "", "1.mp4")],
)
def test_file_belongs_to_the_directory_that_directly_holds_it(path: str, folder: str, name: str) -> None:
    assert (remote(path).folder, remote(path).name) == (folder, name)


@pytest.mark.parametrize(
    "path",
    [
        *("/abs", "a/../b", "./a", "a//b", "a/\n", "a/\x7f", "", "a/\u2028b", "a/.", "..", "a/", "a/\ud800"),
        *("a/" + "x" * 256, "名" * 86, "😀" * 64, "/".join(["x" * 249] * 11 + ["x" * 250])),
    ],
)
def test_unsafe_paths(path: str) -> None:
    assert is_safe_path(path) is False


@pytest.mark.parametrize(
    "path",
    [
        *(
            "a/b.mp4",
            "-a/--b",
            "a:b/c|d",
            "100%d/名.mkv",
            "a/'\"`$(x)",
            "...",
            "a/.hidden",
            "第\u30001\u3000话/\u200bx",
        ),
        *("a/" + "x" * 255, "名" * 85, "😀" * 63, "/".join(["x" * 249] * 12)),
    ],
)
def test_odd_but_harmless_paths(path: str) -> None:
    """Also those that just fit: 255 bytes of UTF-8 in a part, 3000 bytes with a separator after each part."""
    assert is_safe_path(path) is True


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *(("1.mp4", True), ("1.MP4", True), ("a.b.Mkv", True)),
        *((".mp4", False), ("mp4", False), ("1.txt", False), ("1.mp4.part", False), ("1.", False), ("", False)),
    ],
)
def test_video_is_told_by_its_extension_in_any_case(name: str, expected: bool) -> None:
    assert is_video(name, VIDEOS) is expected


def test_folder_sums_up_its_direct_files_and_nothing_else() -> None:
    listing = [
        RemoteFile("A/2.mp4", 4, "", 20.0),
        RemoteFile("A/1.MP4", 3, "", 30.0),
        RemoteFile("A/notes.txt", 100, "", 10.0),
        RemoteFile("A/undated.txt", 0, "", None),
        RemoteFile("A/S/3.ts", 1000, "", None),
        RemoteFile("root.mp4", 10_000, "", 90.0),
    ]
    folders = group_folders(listing, VIDEOS)
    assert set(folders) == {"A", "A/S", "."}
    a, s = folders["A"], folders["A/S"]
    assert (a.name, a.file_count, a.video_count, a.total_size, a.last_modified) == ("A", 4, 2, 107, 30.0)
    assert (s.name, s.file_count, s.video_count, s.total_size, s.last_modified) == ("A/S", 1, 1, 1000, None)
    assert not a.has_marker and not a.only_added


def test_root_is_a_folder_with_a_name_that_no_other_can_have_if_videos_lie_there() -> None:
    root = group_folders([remote("1.mp4"), remote("README.md"), remote("A/2.mp4"), remote("./3.mp4")], VIDEOS)["."]
    assert (root.name, root.file_count, root.video_count) == (".", 2, 1)
    assert "." not in group_folders([remote("README.md"), remote("./3.mp4"), remote("A/2.mp4")], VIDEOS)
    assert inside(ROOT, "x") == "x" and inside("A", "x") == "A/x" and path_of(ROOT) == ""


@pytest.mark.parametrize(
    ("files", "marker", "has_marker"),
    [
        (["A/1.mp4", "A/done", "A/2.mp4"], "done", True),
        (["A/done", "A/1.mp4"], "done", True),
        (["A/1.mp4", "A/done.txt", "A/done/1.mp4"], "done", False),
        (["A/1.mp4", "B/done"], "done", False),
        (["A/1.mp4", "A/done"], "", False),
    ],
)
def test_marker_counts_only_under_its_whole_name_in_the_folder_itself(
    files: list[str], marker: str, has_marker: bool
) -> None:
    assert group_folders(map(remote, files), VIDEOS, marker)["A"].has_marker is has_marker


def test_unsafe_path_is_told_and_skipped_and_the_rest_is_kept() -> None:
    told: list[str] = []
    listing = [remote("A/../x.mp4"), remote("A/1.mp4"), remote("A/\n.mp4"), remote("A/2.mp4")]
    folders = group_folders(listing, VIDEOS, on_unsafe=told.append)
    assert told == ["A/../x.mp4", "A/\n.mp4"]
    assert folders == group_folders([remote("A/1.mp4"), remote("A/2.mp4")], VIDEOS)


def test_fingerprint_is_the_one_that_state_files_of_earlier_versions_hold() -> None:
    """Another one would queue every folder of a repository again after an upgrade."""
    listing = [remote("番剧/第1话.mp4", size=3), remote("番剧/2.mp4", size=4)]
    assert group_folders(listing, VIDEOS)["番剧"].fingerprint == (
        "606efce37d2a648fd5d7401d9b104cd51a4ae0273b9b0ceac61666a1b89d6859"
    )


def test_fingerprint_changes_when_a_file_comes_goes_or_grows_and_for_nothing_else() -> None:
    def fingerprint(files: list[RemoteFile]) -> str:
        return group_folders(files, VIDEOS)["A"].fingerprint

    base = [remote("A/1.mp4", size=3), remote("A/2.mp4", size=4), remote("A/S/3.mp4"), remote("root.mp4")]
    assert fingerprint(base) == fingerprint(base[::-1])
    assert fingerprint(base) == fingerprint([*base[:2], RemoteFile("A/S/9.mp4", 9, "")])
    assert fingerprint(base) != fingerprint(base[:1])
    assert fingerprint(base) != fingerprint([*base, remote("A/4.txt")])
    assert fingerprint(base) != fingerprint([remote("A/1.mp4", size=4), *base[1:]])
    assert set(group_folders(base, VIDEOS)) == {"A", "A/S", "."}


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
def test_only_added_if_each_file_of_before_is_still_there(
    case: str, later: list[tuple[str, int, float | None]], only_added: bool
) -> None:
    def listing(files: list[tuple[str, int, float | None]]) -> list[RemoteFile]:
        return [RemoteFile(f"A/{name}", size, "", when) for name, size, when in files]

    before = group_folders(listing([("1.mp4", 3, 10.0), ("2.mp4", 4, 20.0)]), VIDEOS)
    now = group_folders(listing(later), VIDEOS, before=before)["A"]
    assert now.only_added == only_added, case
    assert now == group_folders(listing(later[::-1]), VIDEOS)["A"]
    assert not before["A"].only_added


def test_folder_of_before_without_times_or_from_a_state_file_tells_nothing_of_what_was_added() -> None:
    timeless = group_folders([RemoteFile("A/1.mp4", 3, ""), RemoteFile("A/2.mp4", 4, "")], VIDEOS)
    listing = [
        RemoteFile("A/1.mp4", 3, "", 10.0),
        RemoteFile("A/2.mp4", 4, "", 20.0),
        RemoteFile("A/3.mp4", 1, "", 30.0),
    ]
    assert not group_folders(listing, VIDEOS, before=timeless)["A"].only_added
    assert group_folders(listing[:2], VIDEOS, before=timeless)["A"].only_added
    assert not Folder("A", "f1", 1, 1, 1, 10.0, False).only_added


def test_what_macos_adds_is_no_video() -> None:
    listing = [remote("A/._1.mp4"), remote("A/1.mp4"), remote("__MACOSX/A/1.mp4"), remote("B/__MACOSX/1.mp4")]
    counts = {name: folder.video_count for name, folder in group_folders(listing, VIDEOS).items()}
    assert counts == {"A": 1, "__MACOSX/A": 0, "B/__MACOSX": 0}
