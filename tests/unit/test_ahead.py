"""A result that is sent while it is verified."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fakes import FakeConverter, MemoryHub
from tests.jobs import mkv
from tests.patience import PATIENCE
from tools.core.errors import HubRejected, HubUnavailable, PipelineError, Stopped, VerifyError
from tools.core.planning import VideoJob
from tools.hub.client import Progress
from tools.stages.job_context import JobTools
from tools.stages.video_job import JobResult, Outcome, run_video_job
from tools.stages.workspace import Workspace
from tools.state.journal import Event
from tools.state.progress import JobProgress

RESULT = b"av1:video"


class Hub(MemoryHub):
    """Takes half of a blob, then waits until it ``goes_on``. ``fails``: what each of the next calls raises after."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.has_half, self.goes_on, self.has_all = threading.Event(), threading.Event(), threading.Event()
        self.goes_on.set()
        self.fails: list[PipelineError] = []
        self.ended: list[PipelineError] = []

    def store_blob(self, repo: str, source: Path, sha256: str, size: int, progress: Progress) -> None:
        self.calls += 1
        try:
            progress(size // 2)
            self.has_half.set()
            assert self.goes_on.wait(PATIENCE)
            if self.fails:
                raise self.fails.pop(0)
            progress(size - size // 2)
            super().store_blob(repo, source, sha256, size, lambda moved: None)
            self.has_all.set()
        except PipelineError as exc:
            self.ended.append(exc)
            raise

    def has_result(self) -> bool:
        return RESULT in self._blobs.values()


class Port:
    def __init__(self) -> None:
        self.stop = threading.Event()
        self.order = 0
        self.shown: list[JobProgress] = []

    def note(self, event: Event, **facts: object) -> None:
        pass

    def show(self, progress: JobProgress) -> None:
        self.shown.append(progress)

    def stages(self) -> list[str]:
        stages = [one.stage for one in self.shown]
        return [stage for number, stage in enumerate(stages) if stage not in stages[number - 1 : number]]


class Rig:
    """A video that is converted; ``verify`` is what happens in its verification."""

    def __init__(self, tmp_path: Path, verify: Callable[[], None]) -> None:
        self.hub, self.port = Hub(), Port()
        self.hub.create_repo("me/out")
        commit = self.hub.put("me/in", {"A/1.mp4": b"video"})
        source = next(iter(self.hub.list_files("me/in", commit)))
        self.job = VideoJob("id", 1, "A", "me/in", commit, source, mkv("A/1.mkv"))

        def during(stage: str, source: Path, stop: threading.Event) -> None:
            if stage == "verify":
                verify()

        self.converter = FakeConverter(tells=True, during=during)
        self.tools = JobTools(self.hub, self.converter, Workspace(tmp_path, 0), 1)
        self.tools.workspace.prepare()

    def run(self) -> JobResult:
        return run_video_job(self.job, self.tools, self.port)


def reaches(event: threading.Event) -> None:
    assert event.wait(PATIENCE)


def test_result_is_on_the_hub_before_its_verification_ends_and_is_sent_once(tmp_path: Path) -> None:
    def verify() -> None:
        reaches(rig.hub.has_all)

    rig = Rig(tmp_path, verify)
    assert rig.run().outcome is Outcome.STORED
    assert rig.hub.calls == 1 and rig.port.stages() == ["download", "encode", "verify", "upload"]
    assert rig.port.shown[-1].percent == 100.0


def test_rest_of_what_is_on_its_way_is_shown_as_the_upload(tmp_path: Path) -> None:
    rig = Rig(tmp_path, lambda: reaches(rig.hub.has_half))
    rig.hub.goes_on.clear()
    show = rig.port.show

    def showing(progress: JobProgress) -> None:
        show(progress)
        if progress.stage == "upload":
            rig.hub.goes_on.set()

    rig.port.show = showing  # type: ignore[method-assign]
    assert rig.run().outcome is Outcome.STORED and rig.hub.calls == 1
    half = 100.0 * (len(RESULT) // 2) / len(RESULT)
    assert next(one for one in rig.port.shown if one.stage == "upload").percent == half
    assert rig.hub.has_result()


def test_nothing_more_is_sent_of_a_result_that_is_refused(tmp_path: Path) -> None:
    def refuse() -> None:
        reaches(rig.hub.has_half)
        raise VerifyError("other pictures")

    rig = Rig(tmp_path, refuse)
    rig.hub.goes_on.clear()
    assert rig.run().outcome is Outcome.REFUSED
    rig.hub.goes_on.set()
    for thread in threading.enumerate():
        if thread.name.startswith("ahead-"):
            thread.join(PATIENCE)
    assert [type(one) for one in rig.hub.ended] == [Stopped] and not rig.hub.has_result()


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(HubUnavailable("gone"), Outcome.DEFERRED), (HubRejected("too odd", status=400), Outcome.DEFERRED)],
)
def test_hub_that_fails_meanwhile_is_told_after_the_verification_and_asked_once(
    tmp_path: Path, error: PipelineError, outcome: Outcome
) -> None:
    rig = Rig(tmp_path, lambda: None)
    rig.hub.fails = [error]
    result = rig.run()
    assert (result.outcome, result.cause, result.is_converted) == (outcome, str(error), True)
    assert rig.hub.calls == 1
    assert rig.run().outcome is Outcome.STORED


def test_who_finds_no_place_sends_it_after_the_verification_as_ever(tmp_path: Path) -> None:
    rig = Rig(tmp_path, lambda: None)
    places, taken, freed = [], threading.Event(), threading.Event()

    def hold() -> None:
        with rig.tools.store.held(rig.job, Port()):
            places.append(1)
            if len(places) == 4:
                taken.set()
            reaches(freed)

    others = [threading.Thread(target=hold) for _ in range(4)]
    for other in others:
        other.start()
    reaches(taken)
    show = rig.port.show

    def showing(progress: JobProgress) -> None:
        show(progress)
        if progress.stage == "waiting":
            freed.set()

    rig.port.show = showing  # type: ignore[method-assign]
    assert rig.run().outcome is Outcome.STORED
    assert rig.port.stages()[-3:] == ["verify", "waiting", "upload"] and rig.hub.calls == 1 and rig.hub.has_result()


def test_stop_ends_what_is_on_its_way(tmp_path: Path) -> None:
    def verify() -> None:
        reaches(rig.hub.has_half)
        rig.port.stop.set()

    rig = Rig(tmp_path, verify)
    rig.hub.goes_on.clear()
    assert rig.run().outcome is Outcome.STOPPED
    rig.hub.goes_on.set()


def test_file_that_was_moved_between_two_tries_is_sent_from_its_new_place(tmp_path: Path) -> None:
    rig = Rig(tmp_path, lambda: reaches(tried))
    tried, store = threading.Event(), rig.hub.store_blob

    def moved(*arguments: object) -> None:
        if not tried.is_set():
            tried.set()
            raise FileNotFoundError("moved")
        store(*arguments)  # type: ignore[arg-type]

    rig.hub.store_blob = moved  # type: ignore[assignment]
    assert rig.run().outcome is Outcome.STORED and rig.hub.has_result()
