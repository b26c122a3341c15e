"""Since when is a folder quiet."""

import pytest

from tools.core.folder import Folder
from tools.core.stability import Look, Snapshot, is_stable, observe, seconds_until_stable


def folder(fingerprint: str = "f1", files: int = 2, modified: float | None = 1000.0, marker: bool = False) -> Folder:
    return Folder("A", fingerprint, files, 1, 10, modified, marker)


def look(server: float | None = 1100.0, steady: float = 0.0, window: float | None = None) -> Look:
    return Look(now=5000.0, server_now=server, steady=steady, window=window)


@pytest.mark.parametrize(
    ("case", "modified", "server", "window", "quiet"),
    [
        ("finished before the first look", 1000.0, 1100.0, None, 99.0),
        ("the unknown fraction of the second does not count", 1099.0, 1100.0, None, 0.0),
        ("hub tells no commit time", None, 1100.0, None, 0.0),
        ("hub tells no server time", 1000.0, None, None, 0.0),
        ("commit time in the future", 2000.0, 1100.0, None, 0.0),
        ("uploaded within the window", 1050.0, 1100.0, 60.0, 49.0),
        ("newest file older than the last look: something else changed", 1000.0, 1100.0, 60.0, 0.0),
    ],
)
def test_head_start_at_first_sight(
    case: str, modified: float | None, server: float | None, window: float | None, quiet: float
) -> None:
    assert 7.0 - observe(None, folder(modified=modified), look(server, 7.0, window)).quiet_from == quiet, case


def test_unchanged_folder_is_quiet_for_the_time_that_certainly_passed() -> None:
    first = observe(None, folder(), look(server=1001.0, steady=10.0))
    second = observe(first, folder(), look(server=999_999.0, steady=40.0, window=31.0))
    assert second is first
    assert seconds_until_stable(second, 40.0, 600.0) == 570.0


def test_folder_touched_while_waiting_is_not_stable() -> None:
    waiting = Snapshot(folder(), 1.0, 1.0)
    touched = observe(waiting, folder("f2", files=3, modified=1100.0), look(1101.0, steady=900.0, window=300.0))
    assert not is_stable(touched, 900.0, 600.0) and touched.quiet_from == 900.0 and touched.first_seen == 5000.0


def test_deleted_file_starts_the_wait_anew_whatever_the_commit_times_of_the_rest() -> None:
    waiting = Snapshot(folder(files=3), 1.0, 1.0)
    shrunk = observe(waiting, folder("f2", files=2, modified=1090.0), look(1100.0, steady=900.0, window=300.0))
    assert shrunk.quiet_from == 900.0


def test_new_commit_of_equal_names_and_sizes_starts_the_wait_anew_but_is_the_same_fingerprint() -> None:
    waiting = Snapshot(folder(modified=1000.0), 1.0, 1.0)
    again = observe(waiting, folder(modified=1090.0), look(1100.0, steady=900.0, window=300.0))
    assert again.quiet_from == 891.0 and again.first_seen == 1.0


def test_stable_exactly_when_the_time_is_over() -> None:
    waiting = Snapshot(folder(), 1.0, 100.0)
    assert not is_stable(waiting, 699.9, 600.0)
    assert is_stable(waiting, 700.0, 600.0)
    assert seconds_until_stable(waiting, 550.0, 600.0) == 150.0


def test_marker_makes_complete_at_once() -> None:
    assert is_stable(Snapshot(folder(marker=True), 1.0, 0.0), 0.0, 600.0)
