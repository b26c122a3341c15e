"""Since when is a folder quiet."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.core.folder import Folder
from tools.core.stability import (
    Answer,
    HubClock,
    Poll,
    Snapshot,
    first_poll,
    is_stable,
    next_poll,
    observe,
    observe_answer,
    seconds_until_stable,
)


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
        ("nor is it taken away", 1099.5, 1100.0, None, 0.0),
        ("hub tells no commit time", None, 1100.0, None, 0.0),
        ("hub tells no server time", 1000.0, None, None, 0.0),
        ("commit time in the future", 2000.0, 1100.0, None, 0.0),
        ("uploaded within the window", 1050.0, 1100.0, 60.0, 49.0),
        ("uploaded right at its start", 1039.0, 1100.0, 60.0, 60.0),
        ("newest file older than the last poll: something else changed", 1038.0, 1100.0, 60.0, 0.0),
        ("nothing passed since the last poll", 1050.0, 1100.0, 0.0, 0.0),
        ("uploaded less than a second ago, as far as is known", 1098.5, 1100.0, 60.0, 0.5),
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


@pytest.mark.parametrize("modified", [1000.0, None])
def test_folder_whose_files_are_the_same_keeps_its_wait_and_is_remembered_as_it_is_now(modified: float | None) -> None:
    before = Snapshot(folder(modified=modified), 1.0, 2.0)
    recounted = replace(before.folder, video_count=7, has_marker=True)
    assert observe(before, recounted, poll(1100.0, 900.0, 300.0, 1099.0)) == Snapshot(recounted, 1.0, 2.0)


def test_folder_whose_times_the_hub_no_longer_tells_starts_its_wait_again() -> None:
    before = Snapshot(folder(modified=1000.0), 1.0, 2.0)
    assert observe(before, folder(modified=None), poll(1100.0, 900.0, 300.0, 1050.0)) == Snapshot(
        folder(modified=None), 1.0, 900.0
    )


def test_folder_touched_while_waiting_is_not_stable() -> None:
    waiting = Snapshot(folder(), 1.0, 1.0)
    touched = observe(waiting, folder("f2", files=3, modified=1100.0), poll(1101.0, steady=900.0, window=300.0))
    assert not is_stable(touched, 900.0, 600.0) and touched.quiet_from == 900.0 and touched.first_seen == 5000.0


@pytest.mark.parametrize(
    ("case", "only_added", "committed", "quiet"),
    [
        ("nothing was deleted: the newest file tells", True, 1095.0, 19.0),
        ("perhaps something was: the newest commit tells, whatever the times of the rest", False, 1095.0, 4.0),
        ("the newest commit is the one of the newest file", False, 1080.0, 19.0),
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


def test_deletion_that_leaves_the_newest_file_starts_the_wait_again() -> None:
    before = Snapshot(folder(files=3, modified=1000.0), 1.0, 1.0)
    left = folder("f2", files=2, modified=1000.0)
    assert observe(before, left, poll(1100.0, steady=900.0, window=300.0)) == Snapshot(left, 5000.0, 900.0)


def test_newest_file_older_than_the_last_poll_leaves_it_to_the_newest_commit() -> None:
    """A merge brings files of old dates."""
    merged = observe(None, folder(modified=10.0), poll(1100.0, steady=900.0, window=300.0, committed=1050.0))
    assert 900.0 - merged.quiet_from == 49.0


def test_new_commit_of_equal_names_and_sizes_starts_the_wait_again_but_is_the_same_fingerprint() -> None:
    waiting = Snapshot(folder(modified=1000.0), 1.0, 1.0)
    again = observe(waiting, folder(modified=1090.0), poll(1100.0, steady=900.0, window=300.0))
    assert again.quiet_from == 891.0 and again.first_seen == 1.0


def test_stable_exactly_when_the_time_is_over() -> None:
    waiting = Snapshot(folder(), 1.0, 100.0)
    assert not is_stable(waiting, 699.9, 600.0)
    assert is_stable(waiting, 700.0, 600.0)
    assert seconds_until_stable(waiting, 550.0, 600.0) == 150.0
    assert seconds_until_stable(waiting, 700.0, 600.0) == seconds_until_stable(waiting, 9000.0, 600.0) == 0.0
    assert is_stable(waiting, 100.0, -1.0)


def test_stable_at_first_sight_if_no_age_is_asked() -> None:
    """Though what is new may have come while the hub was being asked."""
    first = poll(server=None, steady=50.0)
    assert is_stable(observe(None, folder(), first), first.asked, 0.0)
    assert not is_stable(observe(None, folder(), first), first.asked, 0.1)


def test_marker_makes_complete_at_once() -> None:
    assert is_stable(Snapshot(folder(marker=True), 1.0, 0.0), 0.0, 600.0)
    assert seconds_until_stable(Snapshot(folder(marker=True), 1.0, 0.0), 0.0, 600.0) == 0.0


@settings(deadline=None)
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


@pytest.mark.parametrize(
    ("case", "before", "answer", "after"),
    [
        ("the first answer", None, (1000.0, 10.0, 11.0), HubClock(989.0, 992.0, 11.0)),
        ("a narrower one", HubClock(989.0, 992.0, 11.0), (1100.0, 110.5, 110.5), HubClock(989.5, 991.5, 110.5)),
        ("a wider one: both drift", HubClock(990.0, 991.0, 0.0), (1090.0, 98.0, 100.0), HubClock(990.0, 991.1, 100.0)),
        ("since the one before", HubClock(990.0, 991.0, 50.0), (1140.0, 148.0, 150.0), HubClock(990.0, 991.1, 150.0)),
        ("of both sides", HubClock(990.0, 991.0, 0.0), (1089.0, 98.0, 100.0), HubClock(989.9, 991.1, 100.0)),
        ("one that was set before", HubClock(0.0, 2.0, 0.0, True), (1.0, 0.0, 0.0), HubClock(1.0, 2.0, 0.0)),
        ("they just meet above", HubClock(0.0, 2.0, 0.0), (2.0, 0.0, 0.0), HubClock(2.0, 2.0, 0.0)),
        ("they just meet below", HubClock(0.0, 2.0, 0.0), (-2.0, 0.0, 0.0), HubClock(0.0, 0.0, 0.0)),
        ("set forward", HubClock(0.0, 2.0, 0.0), (2.5, 0.0, 0.0), HubClock(2.5, 4.5, 0.0, True)),
        ("set back", HubClock(0.0, 2.0, 0.0), (-2.5, 0.0, 0.0), HubClock(-2.5, -0.5, 0.0, True)),
    ],
)
def test_each_answer_narrows_how_far_the_clock_of_the_hub_is_ahead(
    case: str, before: HubClock | None, answer: tuple[float, float, float], after: HubClock
) -> None:
    seen = observe_answer(before, *answer)
    assert (seen.least, seen.most, seen.as_of) == pytest.approx((after.least, after.most, after.as_of)), case
    assert seen.was_set is after.was_set, case
    assert seen.now() == (None if after.was_set else pytest.approx(after.least + after.as_of)), case


def answered(gap: float = 0.0, hub_time: float | None = None) -> Answer:
    """An answer ``gap`` s by our wall clock after the last poll of the process before, at 5000."""
    return Answer(now=5000.0 + gap, asked=40.0, answered=43.0, hub_time=hub_time, committed_at=77.0)


def test_very_first_poll_is_placed_at_the_time_it_was_answered_and_has_no_window() -> None:
    first = first_poll(answered(hub_time=9000.0), last_check=None, steady=200.0, hub_time=None)
    assert first.poll == Poll(now=5000.0, hub_now=9000.0, asked=197.0, answered=200.0, window=None, committed_at=77.0)
    assert first.ahead == 157.0 and first.hub_clock == observe_answer(None, 9000.0, 40.0, 43.0)
    untold = first_poll(answered(), last_check=None, steady=200.0, hub_time=8000.0)
    assert untold.poll.hub_now is None and untold.hub_clock is None


@pytest.mark.parametrize(
    ("case", "gap", "hub_gap", "window", "is_hub_known"),
    [
        ("both clocks tell the same, the hub's in whole seconds", 100.0, 100.0, 99.0, True),
        ("ours tells less", 100.0, 102.0, 100.0, True),
        ("the hub's tells less", 100.0, 98.0, 97.0, True),
        ("more than that: one was set", 100.0, 103.0, 100.0, False),
        ("the hub's perhaps back", 100.0, 97.0, 96.0, False),
        ("over a long time they may drift", 10_000.0, 10_012.0, 10_000.0, True),
        ("and no more than that", 10_000.0, 10_013.0, 10_000.0, False),
        ("ours was set back", -50.0, 100.0, 0.0, False),
        ("the hub's was set back", 100.0, -50.0, 0.0, False),
        ("as far as is known both were", -10_000.0, -10_012.0, 0.0, True),
        ("the hub told none before", 100.0, None, 100.0, True),
    ],
)
def test_over_a_restart_passes_what_both_wall_clocks_agree_on(
    case: str, gap: float, hub_gap: float | None, window: float, is_hub_known: bool
) -> None:
    hub_before = None if hub_gap is None else 9000.0 - hub_gap
    first = first_poll(answered(gap, hub_time=9000.0), last_check=5000.0, steady=200.0, hub_time=hub_before)
    assert first.poll == Poll(
        now=5000.0 + gap,
        hub_now=9000.0 if is_hub_known else None,
        asked=200.0 + window - 3.0,
        answered=200.0 + window,
        window=window,
        committed_at=77.0,
    ), case
    assert first.ahead == 200.0 + window - 43.0 and first.hub_clock is not None, case


def test_hub_that_tells_no_time_after_a_restart_leaves_it_to_our_clock() -> None:
    first = first_poll(answered(100.0), last_check=5000.0, steady=200.0, hub_time=8900.0)
    assert (first.poll.window, first.poll.answered, first.poll.hub_now) == (100.0, 300.0, None)


def test_next_poll_of_the_process_is_placed_by_the_monotonic_clock_alone() -> None:
    first = first_poll(answered(hub_time=9000.0), last_check=None, steady=200.0, hub_time=None)
    answer = Answer(now=0.0, asked=100.0, answered=101.0, hub_time=9058.0, committed_at=None)
    second = next_poll(first, answer)
    assert second.poll == Poll(now=0.0, hub_now=9058.0, asked=257.0, answered=258.0, window=61.0, committed_at=None)
    assert second.ahead == first.ahead and second.hub_clock == observe_answer(first.hub_clock, 9058.0, 100.0, 101.0)
    silent = next_poll(second, replace(answer, asked=110.0, answered=111.0, hub_time=None))
    assert (silent.poll.hub_now, silent.poll.window, silent.hub_clock) == (None, 11.0, None)
    was_set = next_poll(second, replace(answer, asked=110.0, answered=111.0, hub_time=20_000.0))
    assert was_set.poll.hub_now is None and was_set.hub_clock is not None and was_set.hub_clock.was_set
    soon = next_poll(second, replace(answer, asked=100.2, answered=100.5))
    assert soon.poll.window == 0.5
