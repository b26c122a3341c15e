"""When the processor starts nothing new: whose fault a failure is, how long it waits, and what is said of it once."""

import functools
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.fakes import FakeClock, Told
from tools.core.errors import (
    HubForbidden,
    HubNotFound,
    HubRejected,
    HubUnavailable,
    IntegrityError,
    PipelineError,
    ProbeError,
    Stopped,
)
from tools.core.witness import Given
from tools.processor.pause import Kind, Pause, Suspect
from tools.processor.reporting import Paused, Resumed

INTERVAL = 10.0
APART = 20  # intervals


@dataclass
class Watched:
    """A pause that is over, its clock, and who was blamed. What it says is read in ``told`` and ``resumed`` alone."""

    interval: float = INTERVAL
    clock: FakeClock = field(default_factory=FakeClock)
    blamed: list[str] = field(default_factory=list)

    observer: Told = field(default_factory=Told)

    def __post_init__(self) -> None:
        self.pause = Pause(self.interval, self.clock, self.observer)
        self.ask(None)

    def ask(self, answer: PipelineError | None) -> None:
        """It is time to ask the hub, which answers so."""
        assert self.pause.must_ask()
        self.pause.asked(answer)

    def fail(self, about: str, kind: Kind = "transfer", needs_person: bool = False, **facts: Any) -> None:
        """``facts`` of the suspect that are not as by default."""
        blame = functools.partial(self.blamed.append, about)
        cause = f"{about} failed"
        self.pause.suspect(
            Suspect(kind=kind, about=about, cause=cause, needs_person=needs_person, blame=blame, **facts)
        )

    def fail_and_ask(self, *abouts: str, kind: Kind = "transfer") -> None:
        """One after the other, each is answered by a hub that works."""
        for about in abouts:
            self.fail(about, kind)
            self.ask(None)

    def fail_of(self, about: str, given: Given) -> None:
        """A download that is tried long after the one before, and a hub that works; a pause of it has passed then."""
        self.clock.pass_time(APART * self.interval)
        self.fail(about, given=given)
        self.ask(None)
        if self.pause.reason:
            self.wait()
            self.ask(None)

    def wait(self) -> float:
        """How long until the hub is to be asked, to the second; that time has passed then."""
        for seconds in range(1000):
            if self.pause.must_ask():
                self.pause.give_up_asking()
                return float(seconds)
            self.clock.pass_time(1.0)
        raise AssertionError("it never asks")

    def told(self) -> list[tuple[str, str]]:
        """Level and cause of each pause that was announced since the last call."""
        events = self.observer.events
        pauses = [event for event in events if isinstance(event, Paused)]
        self._resumed = events.count(Resumed())
        assert len(pauses) + self._resumed == len(events)
        events.clear()
        return [("ERROR" if pause.needs_person else "WARNING", pause.cause) for pause in pauses]

    def resumed(self) -> int:
        """How many times an end was announced since the last call; forgets what was told as well."""
        self.told()
        return self._resumed


@pytest.fixture
def watched() -> Watched:
    return Watched()


# --- asking ----------------------------------------------------------------------------------------------------------


def test_nothing_starts_before_the_hub_answered_once_and_nothing_is_said_of_it() -> None:
    told = Told()
    pause = Pause(INTERVAL, FakeClock(), told)
    assert pause.reason == "starting" and not pause.needs_person and pause.must_ask()
    pause.asked(None)
    assert pause.reason is None and not pause.must_ask() and not told.events


def test_hub_that_is_down_at_the_start_is_asked_again_after_the_first_wait() -> None:
    clock = FakeClock()
    pause = Pause(INTERVAL, clock, Told())
    for wait in (INTERVAL, 2 * INTERVAL):
        assert pause.must_ask()
        pause.asked(HubUnavailable("down"))
        clock.pass_time(wait - 0.1)
        assert not pause.must_ask()
        clock.pass_time(0.1)


def test_hub_is_asked_by_one_at_a_time(watched: Watched) -> None:
    watched.fail("1")
    assert watched.pause.must_ask() is True
    assert watched.pause.must_ask() is False, "the answer is on its way"
    watched.pause.give_up_asking()
    assert watched.pause.must_ask() is True


@pytest.mark.parametrize(
    ("interval", "waits"),
    [(10.0, [10, 20, 40, 80, 160, 300, 300, 300]), (60.0, [60, 120, 240, 300, 300]), (400.0, [300, 300])],
)
def test_waits_double_up_to_five_minutes(interval: float, waits: list[float]) -> None:
    watched = Watched(interval)
    watched.fail("1")
    assert watched.wait() == 0, "at first at once"
    seen = []
    for _ in waits:
        watched.ask(HubUnavailable("down"))
        seen.append(watched.wait())
    assert seen == waits


def test_outage_of_weeks_is_waited_for_as_well(watched: Watched) -> None:
    watched.fail("1")
    for _ in range(1100):
        watched.ask(HubUnavailable("down"))
        watched.clock.pass_time(300.0)
    watched.ask(HubUnavailable("down"))
    assert watched.wait() == 300


@pytest.mark.parametrize(("retry_after", "wait"), [(None, 10), (0.0, 10), (5.0, 10), (50.0, 50), (1e9, 3600)])
def test_hub_is_asked_no_sooner_than_its_retry_after(watched: Watched, retry_after: float | None, wait: float) -> None:
    watched.fail("1")
    watched.ask(HubUnavailable("busy", retry_after=retry_after))
    assert watched.pause.next_try == watched.clock.monotonic() + wait
    watched.clock.pass_time(wait - 0.1)
    assert not watched.pause.must_ask()
    watched.clock.pass_time(0.1)
    assert watched.pause.next_try is None and watched.pause.must_ask()


def test_what_fails_together_makes_one_pause_and_doubles_its_wait_once(watched: Watched) -> None:
    seen = []
    for _ in range(3):
        for about in "abcdef":
            watched.fail(about)
            watched.fail(about, kind="open")
        watched.ask(None)
        seen.append(watched.wait())
        watched.ask(None)
    assert seen == [10, 20, 40]


def test_after_an_outage_the_waits_start_again_from_the_first(watched: Watched) -> None:
    watched.fail("1")
    for _ in range(4):
        watched.ask(HubUnavailable("down"))
        watched.wait()
    watched.ask(None)
    watched.fail("1")
    watched.ask(HubUnavailable("down"))
    assert watched.wait() == INTERVAL


# --- whose fault it is -----------------------------------------------------------------------------------------------


def test_failure_stops_new_work_until_the_hub_answered_and_counts_for_nobody(watched: Watched) -> None:
    watched.fail("1")
    assert watched.pause.reason == "1 failed"
    watched.fail("2")
    assert watched.pause.reason == "1 failed", "of the same trouble"
    watched.ask(None)
    assert watched.pause.reason is None and watched.blamed == [] and watched.told() == []


def test_what_is_certain_is_blamed_once_the_hub_answers_and_not_before(watched: Watched) -> None:
    watched.fail("1", is_certain=True)
    watched.ask(HubUnavailable("down"))
    watched.wait()
    watched.ask(None)
    assert watched.blamed == [], "the outage explains it"
    watched.fail("1", is_certain=True)
    watched.fail("2")
    watched.fail("3", is_certain=True)
    assert watched.blamed == []
    watched.ask(None)
    assert watched.blamed == ["1", "3"]
    watched.fail_and_ask("2")
    assert watched.blamed == ["1", "3"], "each once"


@pytest.mark.parametrize(
    ("case", "worked", "is_blamed"),
    [
        ("another one since it began to fail", [("transfer", "2")], True),
        ("nothing", [], False),
        ("only another kind", [("publish", "A"), ("open", "A")], False),
        ("the same one: it fails since then only", [("transfer", "1")], False),
        ("another and the same one", [("transfer", "2"), ("transfer", "1")], False),
    ],
)
def test_one_is_to_blame_if_the_hub_did_the_same_for_others_since_it_began_to_fail(
    watched: Watched, case: str, worked: list[tuple[Kind, str]], is_blamed: bool
) -> None:
    watched.pause.worked("transfer", "0")  # before that: tells nothing
    watched.fail_and_ask("1")
    for kind, about in worked:
        watched.pause.worked(kind, about)
    watched.fail_and_ask("1")
    assert (watched.blamed == ["1"]) is is_blamed, case


@pytest.mark.parametrize(
    ("case", "failed", "paused_by"),
    [
        ("one", ["1"], None),
        ("two different ones", ["1", "2"], None),
        ("three different ones", ["1", "2", "3"], "3 failed"),
        ("the same one twice", ["1", "1"], "1 failed"),
        ("the same one twice among others", ["1", "2", "1"], "1 failed"),
    ],
)
def test_a_few_failures_in_a_row_are_the_hub_as_a_whole(
    watched: Watched, case: str, failed: list[str], paused_by: str | None
) -> None:
    watched.fail_and_ask(*failed)
    assert watched.pause.reason == paused_by, case
    assert watched.told() == ([] if paused_by is None else [("WARNING", paused_by)])
    assert watched.blamed == []


def test_failures_in_a_row_are_counted_by_kind_and_a_success_ends_the_row(watched: Watched) -> None:
    watched.fail_and_ask("1", "2")
    watched.fail_and_ask("A", kind="publish")
    watched.fail_and_ask("A", kind="open")
    assert watched.pause.reason is None, "neither kind has enough"
    watched.pause.worked("publish", "B")
    watched.fail_and_ask("3")
    assert watched.pause.reason == "3 failed", "another kind ends no row"
    watched.wait()
    watched.ask(None)
    watched.pause.worked("transfer", "9")
    watched.fail_and_ask("4", "5")
    assert watched.pause.reason is None


@pytest.mark.parametrize("kind", ["transfer", "publish", "open"])
def test_what_fails_of_one_kind_stops_that_kind_alone_once_the_hub_has_answered(watched: Watched, kind: Kind) -> None:
    kinds: list[Kind] = ["transfer", "publish", "open"]
    assert not any(map(watched.pause.stops, kinds))
    watched.fail_and_ask("1", kind=kind)
    watched.fail("1", kind=kind)
    assert all(map(watched.pause.stops, kinds)), "whose fault it is, is not known yet"
    watched.ask(None)
    assert [one for one in kinds if watched.pause.stops(one)] == [kind]
    watched.wait()
    watched.ask(HubUnavailable("down"))
    assert all(map(watched.pause.stops, kinds)), "it does not answer at all"
    watched.wait()
    watched.ask(None)
    assert not any(map(watched.pause.stops, kinds))


def test_failures_that_came_together_count_together(watched: Watched) -> None:
    for about in "123":
        watched.fail(about)
    watched.ask(None)
    assert watched.pause.reason == "3 failed" and watched.wait() == INTERVAL


def test_failures_from_before_a_success_are_no_failures_in_a_row_though_the_hub_is_asked_after_it(
    watched: Watched,
) -> None:
    for about in ("1", "2", "3", "4"):
        watched.fail(about)
    watched.pause.worked("transfer", "5")
    watched.ask(None)
    assert watched.told() == [] and watched.blamed == [] and not watched.pause.stops("transfer")


def test_what_fails_during_a_pause_of_another_cause_counts_for_nothing(watched: Watched) -> None:
    watched.pause.machine("no encoder")
    for about in "1123":
        watched.fail(about, is_certain=True)
    assert watched.pause.reason == "no encoder" and watched.wait() == INTERVAL
    watched.ask(None)
    assert watched.pause.reason is None and watched.blamed == []


@pytest.mark.parametrize(
    ("error", "explains", "is_suspect", "needs_person", "wait"),
    [
        (HubUnavailable("down"), True, True, False, 0),
        (HubForbidden("expired"), True, True, True, 0),
        (HubNotFound("no repo"), True, True, True, 0),
        (Stopped("stopped"), True, False, False, 0),
        (HubRejected("too big"), True, True, True, 0),
        (IntegrityError("differs"), False, False, False, 0),
        (ProbeError("no video"), False, False, False, 0),
    ],
)
def test_what_the_hub_or_the_token_may_explain_is_a_suspect_and_a_stop_nobodys_fault(
    watched: Watched, error: PipelineError, explains: bool, is_suspect: bool, needs_person: bool, wait: float
) -> None:
    for _ in range(2):
        blame = functools.partial(watched.blamed.append, "A")
        assert watched.pause.may_explain("open", "A", error, blame) is explains
        assert watched.pause.reason == (str(error) if is_suspect else None)
        if is_suspect:
            assert watched.wait() == wait
            watched.ask(None)
    assert watched.pause.needs_person is needs_person, "twice: it is the hub"
    assert watched.told() == [("ERROR" if needs_person else "WARNING", str(error))] * is_suspect
    assert watched.blamed == []


def test_suspect_that_the_hub_does_not_explain_is_blamed(watched: Watched) -> None:
    for _ in range(2):
        watched.pause.may_explain("open", "A", HubNotFound("gone"), functools.partial(watched.blamed.append, "A"))
        watched.ask(None)
        watched.pause.worked("open", "B")
    assert watched.blamed == ["A"]


def test_part_of_what_failed_inherits_since_when(watched: Watched) -> None:
    watched.fail_and_ask("A/1", kind="publish")
    watched.pause.split("publish", "A/1", "A/2")
    watched.pause.split("publish", "unknown", "A/3")
    watched.pause.worked("publish", "A/1")
    for about in ("A/3", "A/2"):
        watched.fail_and_ask(about, kind="publish")
    assert watched.blamed == ["A/2"]


# --- what a video that fails asks for itself ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "tries", "blamed"),
    [
        ("another one is given, and then still not this one", [Given.NOT_IT, Given.OTHERS, Given.NOT_IT], [3]),
        ("each time that it counts, another was given since the last", [Given.OTHERS] * 4, [2, 3, 4]),
        ("another was given once, and nobody asked since", [Given.OTHERS, *[Given.NOT_IT] * 3], [2]),
        ("nobody asks", [Given.NOT_IT] * 4, []),
        ("nothing is given", [Given.NOTHING] * 4, []),
        ("nothing is given any more", [Given.NOT_IT, Given.OTHERS, Given.NOTHING, Given.NOT_IT], []),
        ("some of it came", [Given.UNKNOWN] * 4, []),
        ("some of it came at last", [Given.NOT_IT, Given.OTHERS, Given.UNKNOWN], []),
    ],
)
def test_video_of_which_not_a_byte_comes_is_to_blame_if_another_was_given_since_its_last_try(
    watched: Watched, case: str, tries: list[Given], blamed: list[int]
) -> None:
    seen = []
    for number, given in enumerate(tries, 1):
        before = len(watched.blamed)
        watched.fail_of("1", given)
        seen += [number] if len(watched.blamed) > before else []
    assert seen == blamed, case


def test_other_video_that_is_given_counts_once_in_a_while_only(watched: Watched) -> None:
    """Part of a hub's storage may be ill for some minutes."""
    seen: list[int] = []
    for tried in range(3 * APART):
        watched.fail("1", given=Given.OTHERS)
        watched.ask(None)
        seen += [tried] if len(watched.blamed) > len(seen) else []
        watched.clock.pass_time(INTERVAL)
    assert seen == [APART, 2 * APART]


def test_other_video_that_is_given_ends_the_pause_and_is_no_failure_in_a_row(watched: Watched) -> None:
    watched.fail_of("1", Given.NOT_IT)
    watched.fail("1", given=Given.NOTHING)
    watched.ask(None)
    assert watched.told() == [("WARNING", "1 failed")] and watched.wait() == INTERVAL
    watched.ask(None)
    watched.fail("1", given=Given.OTHERS)
    watched.ask(None)
    assert watched.pause.reason is None and watched.resumed() == 1
    watched.fail_of("1", Given.NOT_IT)
    assert watched.blamed == ["1"] and watched.told() == []


def test_another_video_that_is_given_while_several_are_not_ends_no_pause_and_none_is_told_again(
    watched: Watched,
) -> None:
    """Part of the hub's storage is ill, or the outage ends while they fail: each time one of them asks for another."""
    for about in "123":
        watched.fail(about, given=Given.NOT_IT)
    watched.ask(None)
    assert watched.told() == [("WARNING", "3 failed")]
    waits = []
    for first in ("1", "3", "2", "4"):  # wherever the one that asked stands among those that fail
        waits.append(watched.wait())
        watched.ask(None)
        for about in "1234":
            watched.fail(about, given=Given.OTHERS if about == first else Given.NOT_IT)
        watched.ask(None)
        assert watched.pause.stops("transfer")
    assert not watched.observer.events and waits == [INTERVAL, 2 * INTERVAL, 4 * INTERVAL, 8 * INTERVAL]
    watched.pause.worked("transfer", "9")
    assert watched.observer.events == [Resumed()]


def test_video_that_another_one_was_given_for_begins_a_new_row(watched: Watched) -> None:
    for given in (Given.NOT_IT, Given.OTHERS, Given.NOT_IT):
        watched.fail("1", given=given)
        watched.ask(None)
        assert watched.pause.reason is None
    watched.fail("1", given=Given.NOT_IT)
    watched.ask(None)
    assert watched.pause.reason == "1 failed"


def test_pause_of_several_is_over_once_all_but_one_are_given_up_and_another_video_is_given(watched: Watched) -> None:
    for given in (Given.NOT_IT, Given.OTHERS):
        for about in "12":
            watched.fail(about, given=given if about == "1" else Given.NOT_IT)
        watched.ask(None)
    assert watched.told() == [("WARNING", "2 failed")]
    watched.pause.given_up("2")
    watched.wait()
    watched.ask(None)
    watched.fail("1", given=Given.OTHERS)
    watched.ask(None)
    assert watched.pause.reason is None and watched.observer.events == [Resumed()]


def test_uploads_that_fail_pause_whatever_videos_are_given_and_it_is_said_once(watched: Watched) -> None:
    said = []
    for _ in range(4):
        for about in "5678":
            watched.fail(about)
        watched.fail("1", given=Given.OTHERS)
        watched.ask(None)
        assert watched.pause.stops("transfer")
        watched.wait()
        watched.ask(None)
        watched.fail("1", given=Given.OTHERS)  # alone in its round
        watched.ask(None)
        assert watched.pause.reason is None
        said += watched.observer.events
        watched.told()
    assert said == [Paused("7 failed", False)]


def test_what_one_asked_for_speaks_of_each_of_which_not_a_byte_comes_and_of_no_upload(watched: Watched) -> None:
    for about in ("1", "2"):
        watched.fail_of(about, Given.NOT_IT)
    watched.fail_of("3", Given.UNKNOWN)
    watched.fail_of("1", Given.OTHERS)
    for about, given in (("2", Given.NOT_IT), ("3", Given.UNKNOWN), ("4", Given.NOT_IT)):
        watched.fail_of(about, given)
    assert watched.blamed == ["2"], "3: what is given says nothing of uploads; 4: it failed once"


def test_hub_that_gives_nothing_now_is_to_blame_whatever_worked_before(watched: Watched) -> None:
    watched.fail_of("1", Given.NOT_IT)
    watched.pause.worked("transfer", "2")
    watched.fail_of("1", Given.NOTHING)
    assert watched.blamed == []


def test_one_job_asks_for_another_video_until_the_hub_was_asked_and_only_for_what_failed_so(watched: Watched) -> None:
    take = watched.pause.take_turn
    assert not take("1"), "it did not fail"
    watched.fail_of("0", Given.UNKNOWN)
    watched.fail_of("1", Given.NOT_IT)
    watched.pause.not_given("2", Given.NOT_IT)
    watched.pause.not_given("3", Given.UNKNOWN)
    assert [take(about) for about in "01321"] == [False, True, False, False, False]
    assert sorted(watched.pause.silent) == ["1", "2"]
    watched.fail_of("0", Given.UNKNOWN)
    assert take("2")
    watched.fail_of("0", Given.UNKNOWN)
    assert take("1") and not take("2")
    watched.pause.give_turn_back()
    assert take("2")
    watched.fail_of("0", Given.UNKNOWN)
    watched.pause.worked("transfer", "1")
    watched.pause.given_up("2")
    assert not take("1") and not take("2") and not watched.pause.silent


def test_video_that_is_given_up_is_judged_anew_if_it_is_tried_again(watched: Watched) -> None:
    for _ in range(2):
        watched.fail_of("1", Given.OTHERS)
    watched.pause.worked("transfer", "2")
    watched.pause.given_up("1")
    watched.fail_of("1", Given.NOT_IT)
    assert watched.blamed == ["1"], "by the second try alone"


@pytest.mark.parametrize(
    ("given", "folder", "told"),
    [(Given.UNKNOWN, "A 1", 1), (Given.NOT_IT, "A 1", 1), (Given.NOTHING, "A 1", 0), (Given.UNKNOWN, "", 0)],
)
def test_pause_of_an_hour_of_which_nothing_tells_whose_fault_it_is_is_told_to_a_person_once(
    watched: Watched, given: Given, folder: str, told: int
) -> None:
    began, causes = watched.clock.monotonic(), list[str]()
    while watched.clock.monotonic() - began < 3 * 3600:
        watched.fail("A/1.mp4", given=given, folder=folder)
        watched.ask(None)
        causes += [cause for _, cause in watched.told()]
        if watched.clock.monotonic() - began < 3590:
            assert len(causes) <= 1
        if watched.pause.reason:
            watched.wait()
            watched.ask(None)
    assert causes[0] == "A/1.mp4 failed" and len(causes) == 1 + told
    assert all("A/1.mp4" in cause and "--cancel 'A 1'`" in cause for cause in causes[1:])
    watched.pause.worked("transfer", "2")
    watched.fail_and_ask("9", "9")
    assert watched.told() == [("WARNING", "9 failed")], "the next one begins anew"


# --- what is said ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ([HubUnavailable("down")], [("WARNING", "down")]),
        ([HubUnavailable("down"), HubUnavailable("502")], [("WARNING", "down")]),
        ([HubForbidden("expired")], [("ERROR", "expired")]),
        ([HubForbidden("expired"), HubForbidden("denied")], [("ERROR", "expired")]),
        ([HubUnavailable("down"), HubForbidden("expired")], [("WARNING", "down"), ("ERROR", "expired")]),
        ([HubRejected("no repo"), HubRejected("no repo")], [("ERROR", "no repo")]),
        ([HubRejected("no repo"), HubRejected("too big")], [("ERROR", "no repo"), ("ERROR", "too big")]),
        ([IntegrityError("differs")], [("ERROR", "differs")]),
    ],
)
def test_outage_is_told_once_and_calls_a_person_if_it_needs_one(
    watched: Watched, answers: list[PipelineError], told: list[tuple[str, str]]
) -> None:
    watched.fail("1")
    for answer in answers:
        watched.ask(answer)
        assert watched.pause.reason == str(answer)
        assert watched.pause.needs_person is not isinstance(answer, HubUnavailable)
        watched.wait()
    assert watched.told() == told
    watched.ask(None)
    assert watched.pause.reason is None and not watched.pause.needs_person
    assert watched.resumed() == 1
    watched.fail("1")
    watched.ask(answers[0])
    assert watched.told() == told[:1], "the next outage is told again"


def test_hub_that_fails_at_its_work_is_told_once_until_it_works_again(watched: Watched) -> None:
    watched.fail_and_ask("1", "1")
    waits = []
    for _ in range(3):
        waits.append(watched.wait())
        watched.ask(None)
        assert watched.pause.reason is None, "it is tried again"
        watched.fail_and_ask("1")
        assert watched.pause.reason == "1 failed"
    assert waits == [10, 20, 40] and watched.told() == [("WARNING", "1 failed")]
    watched.wait()
    watched.ask(None)
    assert watched.resumed() == 0, "only an answer so far"
    watched.pause.worked("publish", "A")
    assert watched.resumed() == 0, "of another kind"
    watched.pause.worked("transfer", "2")
    watched.pause.worked("transfer", "3")
    assert watched.resumed() == 1
    watched.pause.machine("no encoder")
    assert watched.told() == [("ERROR", "no encoder")] and watched.wait() == INTERVAL, "a new one, from the first"
    watched.ask(None)
    watched.fail_and_ask("4", "4")
    assert watched.told() == [("WARNING", "4 failed")], "told again"


def test_refusal_that_needs_a_person_is_an_error(watched: Watched) -> None:
    for _ in range(2):
        watched.fail("A", "publish", True)
        watched.ask(None)
    assert watched.pause.needs_person and watched.told() == [("ERROR", "A failed")]
    watched.wait()
    watched.ask(None)
    assert not watched.pause.needs_person


def test_machine_that_can_not_work_is_an_error_told_once_by_cause_and_over_with_the_first_transfer(
    watched: Watched,
) -> None:
    for cause, told in [("no encoder", 1), ("no encoder", 0), ("no folder", 1), ("no encoder", 0)]:
        watched.pause.machine(cause)
        assert (watched.pause.reason, watched.pause.needs_person) == (cause, True)
        assert watched.told() == [("ERROR", cause)] * told
        watched.wait()
        watched.ask(None)
        assert watched.pause.reason is None
    assert watched.resumed() == 0
    watched.pause.worked("publish", "A")
    watched.pause.worked("open", "A")
    assert watched.resumed() == 0, "no work of this machine"
    watched.pause.worked("transfer", "1")
    assert watched.resumed() == 1
    watched.pause.machine("no encoder")
    assert watched.told() == [("ERROR", "no encoder")]


def test_end_of_an_outage_is_not_the_end_of_what_the_machine_lacks(watched: Watched) -> None:
    watched.pause.machine("no encoder")
    watched.wait()
    watched.ask(HubUnavailable("down"))
    assert watched.wait() == 2 * INTERVAL
    assert watched.told() == [("ERROR", "no encoder"), ("WARNING", "down")]
    watched.ask(None)
    assert watched.resumed() == 1
    watched.pause.machine("no encoder")
    assert watched.told() == [] and watched.wait() == 4 * INTERVAL, "the same trouble continues"


def test_success_without_a_trouble_before_says_nothing(watched: Watched) -> None:
    watched.pause.worked("transfer", "1")
    watched.fail_and_ask("2")
    watched.pause.worked("transfer", "2")
    assert watched.resumed() == 0


def test_trouble_beside_one_that_is_to_blame_is_still_judged(watched: Watched) -> None:
    watched.fail_and_ask("1", "2")
    watched.fail("A", "publish", is_certain=True)
    watched.fail("3")
    watched.ask(None)
    assert watched.blamed == ["A"] and watched.pause.reason == "3 failed"


def test_full_hub_is_told_at_its_first_word_also_while_it_is_asked_about_something_else(watched: Watched) -> None:
    it = watched
    it.fail("a video")
    it.pause.full("publish", "the hub's storage is full")
    assert it.told() == [("ERROR", "the hub's storage is full")] and it.pause.reason == "the hub's storage is full"
    assert it.wait() == INTERVAL and not it.blamed
