"""Since when is a folder quiet."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.core.folder import Folder
from tools.core.stability import Poll, Snapshot, is_stable, observe, observe_answer, seconds_until_stable


def folder(fingerprint: str = "f1", files: int = 2, modified: float | None = 1000.0, marker: bool = False) -> Folder:
    return Folder("A", fingerprint, files, 1, 10, modified, marker)


def poll(
    server: float | None = 1100.0, steady: float = 0.0, window: float | None = None, committed: float | None = None
) -> Poll:
    return Poll(now=5000.0, hub_now=server, asked=steady - 1.0, answered=steady, window=window, committed_at=committed)


@pytest.mark.parametrize(
    ("case", "modified", "server", "window", "quiet"),
    [
        ("finished before the first poll", 1000.0, 1100.0, None, 99.0),
        ("the unknown fraction of the second does not count", 1099.0, 1100.0, None, 0.0),
        ("hub tells no commit time", None, 1100.0, None, 0.0),
        ("hub tells no server time", 1000.0, None, None, 0.0),
        ("commit time in the future", 2000.0, 1100.0, None, 0.0),
        ("uploaded within the window", 1050.0, 1100.0, 60.0, 49.0),
        ("newest file older than the last poll: something else changed", 1000.0, 1100.0, 60.0, 0.0),
    ],
)
def test_head_start_at_first_sight(
    case: str, modified: float | None, server: float | None, window: float | None, quiet: float
) -> None:
    assert 7.0 - observe(None, folder(modified=modified), poll(server, 7.0, window)).quiet_from == quiet, case


def test_unchanged_folder_is_quiet_for_the_time_that_certainly_passed() -> None:
    first = observe(None, folder(), poll(server=1001.0, steady=10.0))
    second = observe(first, folder(), poll(server=999_999.0, steady=40.0, window=31.0))
    assert second is first
    assert seconds_until_stable(second, 40.0, 600.0) == 570.0


def test_folder_touched_while_waiting_is_not_stable() -> None:
    waiting = Snapshot(folder(), 1.0, 1.0)
    touched = observe(waiting, folder("f2", files=3, modified=1100.0), poll(1101.0, steady=900.0, window=300.0))
    assert not is_stable(touched, 900.0, 600.0) and touched.quiet_from == 900.0 and touched.first_seen == 5000.0


@pytest.mark.parametrize(
    ("case", "only_added", "committed", "quiet"),
    [
        ("nothing was deleted: the newest file tells", True, 1095.0, 19.0),
        ("perhaps something was: the newest commit tells, whatever the times of the rest", False, 1095.0, 4.0),
        ("the hub tells no commit", False, None, 0.0),
        ("the newest commit is older than the last poll", False, 700.0, 0.0),
        ("the newest commit is older than a file", False, 1070.0, 0.0),
        ("the newest commit lies in the future", False, 2000.0, 0.0),
    ],
)
def test_wait_after_a_change_starts_at_the_last_commit_that_may_have_made_it(
    case: str, only_added: bool, committed: float | None, quiet: float
) -> None:
    waiting = Snapshot(folder(files=3), 1.0, 1.0)
    changed = replace(folder("f2", files=4, modified=1080.0), only_added=only_added)
    seen = observe(waiting, changed, poll(1100.0, steady=900.0, window=300.0, committed=committed))
    assert 900.0 - seen.quiet_from == quiet, case


def test_newest_file_older_than_the_last_look_leaves_it_to_the_newest_commit() -> None:
    """A merge brings files of old dates."""
    merged = observe(None, folder(modified=10.0), poll(1100.0, steady=900.0, window=300.0, committed=1050.0))
    assert 900.0 - merged.quiet_from == 49.0


def test_new_commit_of_equal_names_and_sizes_starts_the_wait_anew_but_is_the_same_fingerprint() -> None:
    waiting = Snapshot(folder(modified=1000.0), 1.0, 1.0)
    again = observe(waiting, folder(modified=1090.0), poll(1100.0, steady=900.0, window=300.0))
    assert again.quiet_from == 891.0 and again.first_seen == 1.0


def test_stable_exactly_when_the_time_is_over() -> None:
    waiting = Snapshot(folder(), 1.0, 100.0)
    assert not is_stable(waiting, 699.9, 600.0)
    assert is_stable(waiting, 700.0, 600.0)
    assert seconds_until_stable(waiting, 550.0, 600.0) == 150.0


def test_stable_at_first_sight_where_no_age_is_asked() -> None:
    """Though what is new may have come while the hub was being asked."""
    first = poll(server=None, steady=50.0)
    assert is_stable(observe(None, folder(), first), first.asked, 0.0)
    assert not is_stable(observe(None, folder(), first), first.asked, 0.1)


def test_marker_makes_complete_at_once() -> None:
    assert is_stable(Snapshot(folder(marker=True), 1.0, 0.0), 0.0, 600.0)


@given(
    st.floats(-1e6, 1e6),
    st.lists(
        st.tuples(st.floats(0.01, 600), st.floats(0, 5), st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=20
    ),
)
def test_hub_clock_shows_no_more_than_it_can_and_is_never_taken_for_set(
    ahead: float, polls: list[tuple[float, float, float, float]]
) -> None:
    """Polls after a while, each with a delay; the hub answers somewhere in it, with a Date that may be 1 s old."""
    clock, now = None, 1000.0
    for pause, delay, share, age in polls:
        asked, answered = now + pause, now + pause + delay
        told = float(math.floor(asked + share * delay + ahead - age))
        clock = observe_answer(clock, told, asked, answered)
        shown, now = clock.now(), answered
        assert shown is not None and told - 1e-6 <= shown <= answered + ahead + 1e-6


def test_answers_at_odd_moments_leave_little_of_the_second_that_one_leaves_open() -> None:
    clock = None
    for moment in (10.0, 20.35, 30.6, 40.95, 50.0):
        clock = observe_answer(clock, float(int(moment)), moment, moment)
    assert clock is not None and 49.9 < (clock.now() or 0.0) <= 50.0


@pytest.mark.parametrize("step", [-3600.0, -3.0, 3.0, 250.0])
def test_hub_clock_that_was_set_tells_nothing_about_the_time_before(step: float) -> None:
    clock = observe_answer(observe_answer(None, 1000.0, 0.0, 0.1), 1300.0 + step, 300.0, 300.1)
    assert clock.was_set and clock.now() is None
    clock = observe_answer(clock, 1600.0 + step, 600.0, 600.1)
    assert clock.now() == pytest.approx(1600.0 + step, abs=0.5)
