"""A result that is sent while it is verified."""

import errno
import hashlib
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes import FakeConverter, MemoryHub
from tests.jobs import mkv
from tests.patience import PATIENCE, until
from tools.core.artifact import ArtifactKind, Target
from tools.core.errors import HubFull, HubRejected, HubUnavailable, PipelineError, Stopped, VerifyError
from tools.core.folder import RemoteFile
from tools.core.planning import VideoJob
from tools.hub.client import Progress
from tools.media.ahead import Ahead, Nobody
from tools.stages.job_context import JobTools, TransferMeter
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

    def at(self, stage: str, deed: Callable[[], object]) -> None:
        """Do this as soon as the stage is shown."""
        show = self.port.show

        def showing(progress: JobProgress) -> None:
            show(progress)
            if progress.stage == stage:
                deed()

        self.port.show = showing  # type: ignore[method-assign]

    def run(self) -> JobResult:
        return run_video_job(self.job, self.tools, self.port)


def reaches(event: threading.Event) -> None:
    assert event.wait(PATIENCE)


def ended() -> None:
    """Wait until nothing is on its way any more."""
    for thread in threading.enumerate():
        if thread.name.startswith("ahead-"):
            thread.join(PATIENCE)
            assert not thread.is_alive()


def test_result_is_on_the_hub_before_its_verification_ends_and_is_sent_once(tmp_path: Path) -> None:
    rig = Rig(tmp_path, lambda: ended())
    assert rig.run().outcome is Outcome.STORED and rig.hub.has_result()
    assert rig.hub.calls == 1 and rig.port.stages() == ["download", "encode", "verify"], "no upload is left to wait for"


def test_rest_of_what_is_on_its_way_is_shown_as_the_upload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(tmp_path, lambda: reaches(rig.hub.has_half))
    rig.hub.goes_on.clear()
    rig.at("upload", rig.hub.goes_on.set)
    monkeypatch.setattr("tools.stages.job_context._POLL", 0.0)
    assert rig.run().outcome is Outcome.STORED and rig.hub.calls == 1
    half = 100.0 * (len(RESULT) // 2) / len(RESULT)
    first, *_, last = (one for one in rig.port.shown if one.stage == "upload")
    assert (first.percent, last.percent) == (half, 100.0)
    assert rig.hub.has_result()


def test_nothing_more_is_sent_of_a_result_that_is_refused(tmp_path: Path) -> None:
    def refuse() -> None:
        reaches(rig.hub.has_half)
        raise VerifyError("other pictures")

    rig = Rig(tmp_path, refuse)
    rig.hub.goes_on.clear()
    assert rig.run().outcome is Outcome.REFUSED
    rig.hub.goes_on.set()
    ended()
    assert [type(one) for one in rig.hub.ended] == [Stopped] and not rig.hub.has_result()


ERRORS = [HubUnavailable("gone", retry_after=600.0), HubRejected("too odd", status=400), HubFull("full", status=507)]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_what_failed_before_the_verification_ended_is_old_news(tmp_path: Path, error: PipelineError) -> None:
    rig = Rig(tmp_path, lambda: ended())
    rig.hub.fails = [error]
    assert rig.run().outcome is Outcome.STORED
    assert rig.hub.calls == 2 and rig.hub.ended == [error] and rig.hub.has_result()


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_what_fails_while_the_video_waits_for_it_is_told(tmp_path: Path, error: PipelineError) -> None:
    rig = Rig(tmp_path, lambda: reaches(rig.hub.has_half))
    rig.hub.goes_on.clear()
    rig.hub.fails = [error]
    rig.at("upload", rig.hub.goes_on.set)
    result = rig.run()
    assert (result.outcome, result.cause, result.is_converted) == (Outcome.DEFERRED, str(error), True)
    assert rig.hub.calls == 1


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
    rig.at("waiting", freed.set)
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
    ended()
    assert [type(one) for one in rig.hub.ended] == [Stopped]


def test_failure_after_the_verification_ends_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    rig = Rig(tmp_path, lambda: reaches(rig.hub.has_half))
    rig.hub.goes_on.clear()
    monkeypatch.setattr("tools.stages.convert.replace_durably", full)
    assert rig.run().outcome is Outcome.DEFERRED
    rig.hub.goes_on.set()
    ended()
    assert [type(one) for one in rig.hub.ended] == [Stopped]


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


def test_pictures_are_sent_after_it_and_it_is_not_sent_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.stages.job_context._POLL", 0.0)
    rig = Rig(tmp_path, lambda: reaches(rig.hub.has_all))
    rig.job = replace(rig.job, targets=(*rig.job.targets, Target(ArtifactKind.FRAMES, "me/out", "A/1.tar")))
    output = rig.run().output
    assert output is not None and rig.hub.calls == 2
    video, pictures = output.artifacts
    first = next(one for one in rig.port.shown if one.stage == "upload")
    assert first.percent == 100.0 * video.size / (video.size + pictures.size)
    assert rig.port.shown[-1].percent == 100.0


def test_another_content_than_what_it_became_does_not_stand_for_it(tmp_path: Path) -> None:
    class Changing(FakeConverter):
        def with_ahead(self, ahead: Ahead) -> FakeConverter:
            told = super().with_ahead(ahead)
            told._ahead.begin(other, hashlib.sha256(other.read_bytes()).hexdigest())
            told._ahead = Nobody()
            return told

    rig, other = Rig(tmp_path / "work", lambda: None), tmp_path / "other.mkv"
    other.write_bytes(RESULT[::-1])
    rig.tools.converter = Changing(tells=True)
    rig.hub.goes_on.clear()
    rig.at("encode", lambda: reaches(rig.hub.has_half))
    rig.at("verify", rig.hub.goes_on.set)
    assert rig.run().outcome is Outcome.STORED and rig.hub.calls == 2 and rig.hub.has_result()


def test_system_without_another_thread_sends_it_after_the_verification(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    rig = Rig(tmp_path, lambda: None)
    monkeypatch.setattr(threading.Thread, "start", start)
    assert rig.run().outcome is Outcome.STORED and rig.hub.calls == 1


def test_what_had_moved_before_is_no_speed() -> None:
    port, job = Port(), VideoJob("id", 1, "A", "me/in", "c", RemoteFile("A/1.mp4", 1, ""), mkv())
    meter = TransferMeter(job, "upload", 100, port, 50)
    until(lambda: port.shown[-1].speed is not None, meanwhile=lambda: meter(0))
    assert (port.shown[-1].speed, port.shown[-1].percent) == (0.0, 50.0)
