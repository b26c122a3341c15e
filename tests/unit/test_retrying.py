"""How long the hub is left alone between two tries, over a clock that moves at once."""

import math
import random
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.fakes import FakeClock, MemoryHub
from tools.core.errors import HubForbidden, HubRejected, HubUnavailable, IntegrityError, Stopped
from tools.core.folder import RemoteFile
from tools.hub.client import AddBlob, AddBytes, Operation, Progress, Remove
from tools.hub.retrying import Backoff, RetryingHub


def waits(backoff: Backoff, clock: FakeClock, exc: Exception) -> list[float]:
    """What was slept until it gave up."""
    clock.slept.clear()

    def fail() -> None:
        raise exc

    with pytest.raises(type(exc)):
        backoff.retry("do", fail)
    return clock.slept.copy()


def test_waits_double_up_to_the_cap_and_are_spread_evenly_over_their_upper_half() -> None:
    clock, chance = FakeClock(), random.Random(1)
    backoff = Backoff(clock, attempts=9, base=1.0, cap=60.0, patience=math.inf, random=chance.random)
    runs = [waits(backoff, clock, HubUnavailable("down")) for _ in range(2000)]
    most = [1, 2, 4, 8, 16, 32, 60, 60]
    for full, seen in zip(most, zip(*runs, strict=True), strict=True):
        shares = [wait / full for wait in seen]
        assert 0.5 <= min(shares) < 0.51 and 0.99 < max(shares) <= 1.0
        assert statistics.mean(shares) == pytest.approx(0.75, abs=0.01)
        quarters = [sum(low <= share < low + 0.125 for share in shares) for low in (0.5, 0.625, 0.75, 0.875)]
        assert min(quarters) > 0.2 * len(runs), "clients that failed together must not come back together"


def test_two_clients_that_fail_at_the_same_time_come_back_at_different_times() -> None:
    clock = FakeClock()
    assert waits(Backoff(clock), clock, HubUnavailable("x")) != waits(Backoff(clock), clock, HubUnavailable("x"))


def test_retry_after_of_the_server_counts_if_it_is_longer_and_only_then() -> None:
    clock = FakeClock()
    backoff = Backoff(clock, attempts=4, random=lambda: 1.0)
    assert waits(backoff, clock, HubUnavailable("x", retry_after=10)) == [10, 10, 10]
    assert waits(backoff, clock, HubUnavailable("x", retry_after=2)) == [2, 2, 4]
    assert waits(backoff, clock, HubUnavailable("x", retry_after=-5)) == [1, 2, 4]


def test_wait_that_is_long_is_left_to_the_caller_who_has_other_work() -> None:
    clock = FakeClock()
    backoff = Backoff(clock, random=lambda: 1.0)
    error = HubUnavailable("busy", retry_after=1700)
    assert waits(backoff, clock, error) == [] and error.retry_after == 1700
    assert waits(backoff, clock, HubUnavailable("x", retry_after=12)) == [12, 12], "nor many that make a long one"
    assert sum(waits(backoff, clock, HubUnavailable("x"))) == 31, "its own waits are short enough"


def test_what_does_not_pass_is_not_tried_again_and_wrong_content_three_times() -> None:
    clock = FakeClock()
    for exc in (HubForbidden("no", status=401), HubRejected("no", status=422), Stopped("stop")):
        assert waits(Backoff(clock), clock, exc) == []
    assert len(waits(Backoff(clock), clock, IntegrityError("differs"))) == 2


def test_what_was_given_up_inside_is_not_tried_again_outside() -> None:
    clock = FakeClock()
    calls = 0

    def page() -> None:
        nonlocal calls
        calls += 1
        raise HubUnavailable("down")

    inner, outer = Backoff(clock), Backoff(clock)
    with pytest.raises(HubUnavailable):
        outer.retry("list", lambda: inner.retry("page", page))
    assert calls == 6


def test_stop_during_a_wait_ends_it() -> None:
    clock = FakeClock()
    clock.stopping = True
    with pytest.raises(Stopped):
        Backoff(clock).retry("do", lambda: (_ for _ in ()).throw(HubUnavailable("down")))
    assert len(clock.slept) == 1


class LateHub(MemoryHub):
    """Loses the answer to its first commit, which happens ``late`` s after it (None: never), changed by ``instead``."""

    def __init__(self, clock: FakeClock, late: float | None) -> None:
        super().__init__(clock)
        self.late = late
        self.instead: Callable[[Sequence[Operation]], Sequence[Operation]] = lambda operations: operations
        self.commits_asked, self.looks = 0, 0
        self._pending: tuple[float, Sequence[Operation]] | None = None
        self.put("me/out", {"A/old.mkv": b"old", "B/kept.mkv": b"kept"})

    def commit(self, repo: str, operations: Sequence[Operation], message: str) -> str:
        self.commits_asked += 1
        if self.commits_asked > 1:
            return super().commit(repo, operations, "again")
        if self.late is not None:
            self._pending = self.clock.monotonic() + self.late, self.instead(operations)
        raise HubUnavailable("no answer", may_have_happened=True)

    def head(self, repo: str):  # type: ignore[no-untyped-def]
        self.looks += 1
        if self._pending is not None and self.clock.monotonic() >= self._pending[0]:
            super().commit(repo, self._pending[1], "late")
            self._pending = None
        return super().head(repo)


OPERATIONS: list[Operation] = [AddBytes("A/metadata.jsonl", b"{}"), AddBytes("B/1.mkv", b"one"), Remove("A/old.mkv")]


def late(seconds: float | None, late_commit: float = 30.0) -> tuple[LateHub, RetryingHub, FakeClock]:
    clock = FakeClock()
    hub = LateHub(clock, seconds)
    return hub, RetryingHub(hub, clock, random=lambda: 1.0, late_commit=late_commit), clock


@pytest.mark.parametrize(("seconds", "looked_at"), [(0.0, []), (3.0, [2]), (20.0, [2, 4, 8, 16])])
def test_commit_whose_answer_was_lost_is_looked_for_and_not_sent_again(seconds: float, looked_at: list[float]) -> None:
    hub, retrying, clock = late(seconds)
    commit = retrying.commit("me/out", OPERATIONS, "x")
    assert (hub.commits_asked, commit) == (1, hub.recent("me/out")[0])
    assert clock.slept == [1, *looked_at], "the backoff, and the waits between two looks"


@pytest.mark.parametrize(("late_commit", "looked_at"), [(30.0, [2, 4, 8, 16]), (25.0, [2, 4, 8, 11])])
def test_commit_that_can_not_come_any_more_is_sent_again(late_commit: float, looked_at: list[float]) -> None:
    hub, retrying, clock = late(None, late_commit)
    assert retrying.commit("me/out", OPERATIONS, "x") == hub.recent("me/out")[0]
    assert hub.commits_asked == 2 and clock.slept == [1, *looked_at] and hub.looks == 5


@pytest.mark.parametrize(
    "instead",
    [
        lambda operations: [AddBytes("A/metadata.jsonl", b"[]"), *operations[1:]],
        lambda operations: [AddBytes("A/metadata.jsonl", b"longer"), *operations[1:]],
        lambda operations: operations[:2],
        lambda operations: [*operations[:1], operations[2]],
    ],
    ids=["another content", "another size", "not taken out", "one is missing"],
)
def test_commit_of_somebody_else_is_not_taken_for_the_lost_one(
    instead: Callable[[Sequence[Operation]], Sequence[Operation]],
) -> None:
    hub, retrying, _ = late(0.0)
    hub.instead = instead
    retrying.commit("me/out", OPERATIONS, "x")
    assert hub.commits_asked == 2


def test_lost_commit_is_known_by_its_sizes_where_the_hub_tells_no_sha256(monkeypatch: pytest.MonkeyPatch) -> None:
    hub, retrying, _ = late(0.0)
    hub._blobs["a" * 64] = b"result"
    listed = hub.list_files
    monkeypatch.setattr(hub, "list_files", lambda *asked: (file._replace(sha256="") for file in listed(*asked)))
    retrying.commit("me/out", [*OPERATIONS, AddBlob("C/2.mkv", "a" * 64, 6)], "x")
    assert hub.commits_asked == 1


def test_answer_that_can_not_have_been_lost_is_not_looked_for() -> None:
    hub, retrying, _ = late(None)
    tries = iter([HubUnavailable("refused"), HubUnavailable("no answer", may_have_happened=True), None])

    def commit(repo: str, operations: Sequence[Operation], message: str) -> str:
        if (trouble := next(tries)) is not None:
            raise trouble
        return "commit"

    hub.commit = commit  # type: ignore[method-assign]
    assert retrying.commit("me/out", OPERATIONS, "x") == "commit"
    assert hub.looks == 5, "after the second try alone"


def test_stop_while_a_commit_may_be_under_way_ends_the_wait() -> None:
    hub, retrying, clock = late(None)

    def head(repo: str) -> None:
        clock.stopping = True

    hub.head = head  # type: ignore[method-assign]
    with pytest.raises(Stopped, match="a commit may be in progress"):
        retrying.commit("me/out", OPERATIONS, "x")
    assert hub.commits_asked == 1


def test_progress_of_a_transfer_that_is_repeated_begins_again(tmp_path: Path) -> None:
    clock = FakeClock()
    hub, tries = MemoryHub(clock), 0
    hub.put("me/in", {"A/1.mp4": b"content"})

    def download(repo: str, commit: str, file: RemoteFile, target: Path, progress: Progress) -> str:
        nonlocal tries
        tries += 1
        progress(3)
        progress(1)
        if tries < 3:
            raise IntegrityError("differs")
        return "sha256"

    hub.download = download  # type: ignore[method-assign]
    moved: list[int] = []
    file = RemoteFile("A/1.mp4", 4, "")
    assert RetryingHub(hub, clock).download("me/in", "c", file, tmp_path / "x", moved.append) == "sha256"
    assert moved == [0, 3, 1, -4, 0, 3, 1, -4, 0, 3, 1]


def test_transfer_that_nobody_wants_after_a_wait_is_not_tried_again(tmp_path: Path) -> None:
    clock, asked = FakeClock(), []

    class Failing(MemoryHub):
        def store_blob(self, repo: str, source: Path, sha256: str, size: int, progress: Progress) -> None:
            asked.append(sha256)
            raise HubUnavailable("down")

    def progress(moved: int) -> None:
        if clock.slept:
            raise Stopped("stopped")

    with pytest.raises(Stopped):
        RetryingHub(Failing(), clock).store_blob("me/out", tmp_path / "x", "a" * 64, 1, progress)
    assert asked == ["a" * 64]


def test_listing_is_repeated_until_its_first_file_and_not_after_it() -> None:
    clock = FakeClock()
    hub, files = MemoryHub(clock), [RemoteFile("A/1", 1, ""), RemoteFile("A/2", 1, "")]
    fails_after = iter([0, 1])

    def list_files(repo: str, commit: str) -> Iterator[RemoteFile]:
        count = next(fails_after)
        yield from files[:count]
        raise HubUnavailable("broke off")

    hub.list_files = list_files  # type: ignore[method-assign]
    listing = RetryingHub(hub, clock).list_files("me/in", "c")
    assert next(listing) == files[0]
    with pytest.raises(HubUnavailable):
        next(listing)
    hub.list_files = lambda repo, commit: iter(())  # type: ignore[method-assign]
    assert list(RetryingHub(hub, clock).list_files("me/in", "c")) == []


def test_what_is_given_up_says_so() -> None:
    clock = FakeClock()
    error = HubUnavailable("down")
    waits(Backoff(clock, attempts=2), clock, error)
    assert error.given_up


@pytest.mark.parametrize(
    ("verb", "asked"),
    [
        ("whoami", ()),
        ("repo_exists", ("me/out",)),
        ("create_repo", ("me/out",)),
        ("need_write", ("me/out",)),
        ("head", ("me/out",)),
        ("recent", ("me/out",)),
        ("list_folder", ("me/out", "c", "A")),
        ("read_file", ("me/out", "c", "A/1")),
        ("lacks", ("me/out", [("a" * 64, 1)])),
        ("store_blob", ("me/out", Path("x"), "a" * 64, 1, print)),
    ],
)
def test_question_is_passed_on_as_it_is_and_repeated_and_its_answer_comes_back(
    verb: str, asked: tuple[object, ...]
) -> None:
    clock, told, answer = FakeClock(), list[tuple[object, ...]](), object()
    hub = MemoryHub(clock)

    def stumbles(*arguments: object) -> object:
        told.append(arguments)
        if len(told) == 1:
            raise HubUnavailable("down")
        return answer

    setattr(hub, verb, stumbles)
    found = getattr(RetryingHub(hub, clock), verb)(*asked)
    assert found is (None if verb in {"need_write", "store_blob"} else answer)
    assert len(told) == 2 and told[1][: min(4, len(asked))] == asked[:4]


def test_unless_told_otherwise_there_are_six_tries() -> None:
    clock = FakeClock()
    shortest = [0.5, 1, 2, 4, 8]
    assert waits(Backoff(clock, random=lambda: 0.0), clock, HubUnavailable("down")) == shortest
    hub = MemoryHub(clock)

    def whoami() -> str:
        raise HubUnavailable("down")

    hub.whoami = whoami  # type: ignore[method-assign]
    clock.slept.clear()
    with pytest.raises(HubUnavailable):
        RetryingHub(hub, clock, random=lambda: 0.0).whoami()
    assert clock.slept == shortest


def test_commit_that_is_answered_is_looked_for_by_nobody() -> None:
    hub, retrying, _ = late(None)
    hub.commits_asked = 1
    commit = retrying.commit("me/out", [AddBytes("B/kept.mkv", b"kept")], "what is there already")
    assert hub.looks == 0 and hub.recent("me/out")[0] == commit and hub.commits_of("me/out") == 2
