"""What a hub is asked for when it does not give a video: none that fails too, one of the same repo if there is one."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import pytest

from tests.fakes import MemoryHub
from tests.jobs import video_job
from tools.core.errors import HubError, HubForbidden, HubNotFound, HubUnavailable, PipelineError, ProbeError, Stopped
from tools.core.folder import RemoteFile
from tools.core.planning import VideoJob
from tools.core.retry import AskedToWait
from tools.core.witness import Given, Witness, pick
from tools.processor.witnesses import Witnesses
from tools.stages.evidence import given_instead

EXTENSIONS = frozenset({"mp4", "mkv"})


def witness(path: str, repo: str = "me/in", size: int = 5) -> Witness:
    return Witness(repo, "c", RemoteFile(path, size, ""))


A, B, EMPTY = witness("A/1.mp4"), witness("B/1.mp4"), witness("C/1.mp4", size=0)
OUT, SAME_PATH = witness("A/1.mkv", "me/out"), witness("A/1.mp4", "me/out")


@pytest.mark.parametrize(
    ("found", "failing", "silent", "chosen"),
    [
        ([], [], {}, None),
        ([A, B], [], {}, A),
        ([A, B], ["A/1.mp4"], {}, B),
        ([A, B], ["A/1.mp4", "B/1.mp4"], {}, None),
        ([A, B], [], {"A/1.mp4": 1}, B),
        ([A, B], [], {"A/1.mp4": 2, "B/1.mp4": 2}, A),
        ([A, B], ["B/1.mp4"], {"A/1.mp4": 9}, A),
        ([EMPTY, B], [], {}, B),
        ([OUT, A], [], {"A/1.mp4": 9}, A),
        ([OUT, A], ["A/1.mp4"], {}, OUT),
        ([SAME_PATH], ["A/1.mp4"], {}, SAME_PATH),
    ],
)
def test_who_is_asked_for(
    found: list[Witness], failing: list[str], silent: Mapping[str, int], chosen: Witness | None
) -> None:
    assert pick(found, "me/in", failing, silent) == chosen


# --- who is known -----------------------------------------------------------------------------------------------------


class CountingHub(MemoryHub):
    """Counts the files that are taken from its listings."""

    listed = 0

    def list_files(self, repo: str, commit: str) -> Iterator[RemoteFile]:
        for file in super().list_files(repo, commit):
            self.listed += 1
            yield file


@pytest.fixture
def hub() -> CountingHub:
    hub = CountingHub()
    hub.create_repo("me/out")
    hub.put("me/in", {"A/1.mp4": b"1", "A/notes.txt": b"text", "B/1.mp4": b"2"})
    return hub


def witnesses() -> Witnesses:
    return Witnesses("me/in", "me/out", EXTENSIONS)


def test_one_that_was_given_is_asked_for_before_one_that_is_listed(hub: CountingHub) -> None:
    known = witnesses()
    for number in range(5):
        known.given(video_job(RemoteFile(f"C/{number}.mp4", 5, ""), attempt_id="x"))
    known.look(hub, ["A/1.mp4"])
    assert hub.listed == 0, "nothing has to be looked for"
    chosen = known.choose(["C/4.mp4"])
    assert chosen == Witness("me/in", "c", RemoteFile("C/3.mp4", 5, ""))


def test_one_of_a_folder_that_was_opened_is_asked_for_if_none_was_given(hub: CountingHub) -> None:
    known = witnesses()
    for folder in "ABCD":
        names = ("notes.txt", "0.mp4", "1.mp4", "2.mp4", "3.mp4", "4.mp4")
        known.opened(folder, [RemoteFile(f"{folder}/{name}", int(name != "0.mp4"), "") for name in names])
    known.look(hub, ["D/1.mp4", "D/2.mp4"])
    chosen = known.choose(["D/1.mp4", "D/2.mp4"])
    assert chosen == Witness("me/in", "D", RemoteFile("D/3.mp4", 1, "")) and hub.listed == 0
    of_d = [f"D/{number}.mp4" for number in range(5)]
    assert known.choose(of_d) == Witness("me/in", "C", RemoteFile("C/1.mp4", 1, "")), "three of each of three folders"
    assert known.choose([*of_d, *(f"{folder}/{number}.mp4" for folder in "BC" for number in range(5))]) is None


def test_others_are_looked_for_in_the_input_and_kept(hub: CountingHub) -> None:
    known = witnesses()
    assert known.choose(["A/1.mp4"]) is None
    known.look(hub, ["A/1.mp4"])
    chosen, listed = known.choose(["A/1.mp4"]), hub.listed
    assert chosen is not None and chosen.file.path == "B/1.mp4" and chosen.repo == "me/in"
    hub.glance(chosen.repo, chosen.revision, chosen.file)
    known.look(hub, ["A/1.mp4"])
    assert hub.listed == listed, "known by now"


def test_output_is_looked_at_if_the_input_has_no_other_video(hub: CountingHub) -> None:
    known = witnesses()
    known.look(hub, ["A/1.mp4", "B/1.mp4"])
    assert known.choose(["A/1.mp4", "B/1.mp4"]) is None, "no commit there yet"
    hub.put("me/out", {"README.md": b"text", "A/0.mkv": b"av1"})
    known.look(hub, ["A/1.mp4", "B/1.mp4"])
    chosen = known.choose(["A/1.mp4", "B/1.mp4"])
    assert chosen is not None and (chosen.repo, chosen.file.path) == ("me/out", "A/0.mkv"), "no text"


def test_hub_that_lists_nothing_is_asked_another_time(hub: CountingHub, monkeypatch: pytest.MonkeyPatch) -> None:
    known = witnesses()
    with monkeypatch.context() as down:
        down.setattr(CountingHub, "head", fails(HubUnavailable("down")))
        known.look(hub, ["A/1.mp4"])
        down.setattr(CountingHub, "head", fails(Stopped("stopped")))
        with pytest.raises(Stopped):
            known.look(hub, ["A/1.mp4"])
    known.look(hub, ["A/1.mp4"])
    assert known.choose(["A/1.mp4"]) is not None


def test_one_that_is_not_given_either_lets_another_be_asked_for_until_it_is_given(hub: CountingHub) -> None:
    known = witnesses()
    known.look(hub, [])
    first = known.choose([])
    assert first is not None
    known.answered(first, Given.NOT_IT)
    assert known.choose([]) == first
    known.answered(first, Given.NOTHING)
    second = known.choose([])
    assert second is not None and second != first
    known.silent(second.file.path)
    known.silent(second.file.path)
    assert known.choose([]) == first
    known.answered(second, Given.OTHERS)
    assert known.choose([]) == second


# --- what is asked ----------------------------------------------------------------------------------------------------


def fails(error: PipelineError) -> object:
    def call(*arguments: object) -> None:
        raise error

    return call


def of_nothing(error: HubError, given: bool = True) -> HubError:
    error.is_nothing_given = given
    return error


BUSY = HubUnavailable("busy", retry_after=9.0, status=503)
LIMITED = HubUnavailable("limited", status=429)
NEAR, FAR = witness("B/1.mp4"), witness("B/1.mkv", "me/out")


@pytest.mark.parametrize(
    ("error", "asked", "answer", "given"),
    [
        (of_nothing(HubUnavailable("500", status=500)), NEAR, None, Given.OTHERS),
        (of_nothing(HubUnavailable("503", status=503)), NEAR, None, Given.OTHERS),
        (of_nothing(HubForbidden("403", status=403)), NEAR, None, Given.OTHERS),
        (of_nothing(HubNotFound("404", status=404)), NEAR, None, Given.OTHERS),
        (of_nothing(HubUnavailable("500", status=500)), FAR, None, Given.OTHERS),
        (of_nothing(HubUnavailable("reset")), NEAR, HubUnavailable("reset"), Given.NOTHING),
        (of_nothing(HubUnavailable("reset")), NEAR, HubForbidden("403"), Given.NOTHING),
        (of_nothing(HubUnavailable("reset")), None, None, Given.NOT_IT),
        (of_nothing(HubForbidden("403", status=403)), FAR, None, Given.NOT_IT),
        (of_nothing(BUSY), NEAR, None, Given.NOT_IT),
        (of_nothing(LIMITED), NEAR, None, Given.NOT_IT),
        (of_nothing(HubUnavailable("cut"), given=False), NEAR, None, Given.UNKNOWN),
        (ProbeError("no video"), NEAR, None, Given.UNKNOWN),
        (Stopped("stopped"), NEAR, None, Given.UNKNOWN),
    ],
)
def test_hub_that_gave_nothing_of_a_video_is_asked_for_another_one(
    hub: CountingHub,
    monkeypatch: pytest.MonkeyPatch,
    error: PipelineError,
    asked: Witness | None,
    answer: PipelineError | None,
    given: Given,
) -> None:
    glances: list[object] = []

    def glance(hub: MemoryHub, *what: object) -> None:
        glances.append(what)
        if answer is not None:
            raise answer

    monkeypatch.setattr(MemoryHub, "glance", glance)
    job = with_witness(asked)
    assert given_instead(job, hub, error) == (given, None)
    is_asked = given in {Given.OTHERS, Given.NOTHING}
    assert glances == ([(asked.repo, asked.revision, asked.file)] if asked and is_asked else [])


def test_wait_that_the_hub_asks_for_instead_is_kept(hub: CountingHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryHub, "glance", fails(HubUnavailable("busy", retry_after=9.0, status=429)))
    found = given_instead(with_witness(NEAR), hub, of_nothing(HubUnavailable("500")))
    assert found == (Given.NOTHING, AskedToWait(9.0, is_of_account=True))


def with_witness(asked: Witness | None) -> VideoJob:
    return replace(video_job(RemoteFile("A/1.mp4", 5, ""), attempt_id="x"), witness=asked)
