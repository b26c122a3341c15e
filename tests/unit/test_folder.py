"""From a listing to folders: which paths are safe, what a folder holds, and whether it changed."""

import pytest

from tools.core.folder import RemoteFile, group_folders, is_safe_path

VIDEOS = frozenset({"mp4", "mkv", "avi", "ts"})


def remote(path: str, sha: str = "", size: int = 1) -> RemoteFile:
    return RemoteFile(path, size, sha or path)


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
