"""One video through its stages, and several side by side: what waits for what, and what serves again."""

import os
import threading
from collections import Counter
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import FakeConverter, MemoryHub
from tests.jobs import mkv, record_of
from tests.patience import PATIENCE, until
from tools.core.artifact import ArtifactKind, Target
from tools.core.errors import DiskFull, EncoderStalled, PipelineError, ProbeError, TranscodeError
from tools.core.folder import RemoteFile
from tools.core.planning import VideoJob
from tools.hub.client import Progress
from tools.runtime.files import sha256_of
from tools.runtime.logs import keep_secret
from tools.stages.job_context import JobTools
from tools.stages.video_job import Outcome, run_video_job
from tools.stages.workspace import Workspace
from tools.state.journal import Event, Journal
from tools.state.progress import JobProgress


class CountingHub(MemoryHub):
    def __init__(self) -> None:
        super().__init__()
        self.downloads: Counter[str] = Counter()

    def download(self, repo: str, commit: str, file: RemoteFile, target: Path, progress: Progress) -> str:
        self.downloads[file.path] += 1
        return super().download(repo, commit, file, target, progress)


class Port:
    def __init__(self, order: int = 0) -> None:
        self.stop = threading.Event()
        self.order = order
        self.noted: list[str] = []
        self.facts: dict[str, object] = {}
        self.stages: list[str] = []
        self.waits = threading.Event()

    def note(self, event: str, **facts: object) -> None:
        self.noted.append(event)
        self.facts = facts

    def show(self, progress: JobProgress) -> None:
        if progress.stage not in self.stages[-1:]:
            self.stages.append(progress.stage)
        if progress.stage == "waiting":
            self.waits.set()


class Impatient(Port):
    """Raises Stopped where it would have to wait."""

    def show(self, progress: JobProgress) -> None:
        self.stop.set()


class Noting(Port):
    """Into the journal of the job's folder."""

    def __init__(self, log_dir: Path, job: VideoJob) -> None:
        super().__init__()
        self._log_dir, self._job = log_dir, job

    def note(self, event: str, **facts: object) -> None:
        Journal(self._log_dir, self._job.folder).note(Event(event), self._job.source, **facts)


def worker_of(tmp_path: Path, hub: MemoryHub, converter: FakeConverter) -> JobTools:
    worker = JobTools(hub, converter, Workspace(tmp_path, 0), 1)
    worker.workspace.prepare()
    return worker


def job_of(hub: MemoryHub, commit: str, path: str) -> VideoJob:
    source = next(file for file in hub.list_files("me/in", commit) if file.path == path)
    return VideoJob(f"id {path}", 1, "A", "me/in", commit, source, mkv(path.replace(".mp4", ".mkv")))


@pytest.mark.parametrize("damaged", [False, True])
def test_download_of_an_attempt_that_failed_serves_again_unless_its_bytes_changed(
    tmp_path: Path, damaged: bool
) -> None:
    hub, converter = CountingHub(), FakeConverter()
    converter.troubles[b"video"] = [EncoderStalled("no progress")]
    job = job_of(hub, hub.put("me/in", {"A/1.mp4": b"video"}), "A/1.mp4")
    hub.create_repo("me/out")
    worker = worker_of(tmp_path, hub, converter)
    assert run_video_job(job, worker, Port()).outcome is Outcome.FAILED
    if damaged:
        worker.workspace.source_file(job).write_bytes(b"vide0")
    port = Port()
    assert run_video_job(job, worker, port).outcome is Outcome.STORED
    assert converter.encoded == [b"video", b"video"]
    assert hub.downloads["A/1.mp4"] == (2 if damaged else 1)
    assert port.noted == ["encoding", "converted", "stored"]
    assert port.stages == [*(["download"] if damaged else []), "encode", "verify", "upload"]


def test_result_of_another_order_with_equal_options_does_not_serve(tmp_path: Path) -> None:
    """What a worker that was away still has, as its journal says."""
    hub, converter = CountingHub(), FakeConverter()
    job = replace(
        job_of(hub, hub.put("me/in", {"A/1.mp4": b"video"}), "A/1.mp4"), is_again=True, order="one", fonts_left_out=3
    )
    hub.create_repo("me/out")
    worker = worker_of(tmp_path / "work", hub, converter)
    worker.journals = tmp_path / "log"

    noting = Noting(tmp_path / "log", job)
    first = run_video_job(job, worker, noting).output
    assert first is not None and "3 fonts" in first.record["warnings"]
    assert run_video_job(replace(job, attempt=2), worker, noting).output == first
    assert converter.encoded == [b"video"], "an attempt of this order serves again"
    assert run_video_job(replace(job, order="two"), worker, noting).outcome is Outcome.STORED
    assert converter.encoded == [b"video"] * 2


RUN: dict[str, Any] = {"argv": ["ffmpeg", "-i", "file:/w/a b.mkv"], "status": 1, "stderr": "hush-hush\nthe end"}


def full_disk() -> DiskFull:
    full = DiskFull("no space left")
    full.__cause__ = TranscodeError("ffmpeg failed", **RUN)
    return full


@pytest.mark.parametrize(
    ("error", "event", "known"),
    [
        (TranscodeError("ffmpeg failed", **RUN), "refused", True),
        (EncoderStalled("no progress", **RUN), "failed", True),
        (full_disk(), "released", True),
        (TranscodeError("no run of ffmpeg"), "refused", False),
        (ProbeError("not a video"), "refused", False),
    ],
)
def test_run_of_ffmpeg_that_failed_is_noted_with_its_command_and_what_it_said(
    error: PipelineError, event: str, known: bool, tmp_path: Path
) -> None:
    keep_secret("hush-hush")
    hub, converter = CountingHub(), FakeConverter()
    converter.troubles[b"video"] = [error]
    job = job_of(hub, hub.put("me/in", {"A/1.mp4": b"video"}), "A/1.mp4")
    port = Port()
    run_video_job(job, worker_of(tmp_path, hub, converter), port)
    run = {"command": "ffmpeg -i 'file:/w/a b.mkv'", "stderr": "***\nthe end"} if known else {}
    assert port.noted[-1] == event and port.facts == {"cause": str(error), **run}


class SlowVerification:
    """The verification of a video ends when the next one is in the encoder; ``most`` counts each stage's company."""

    def __init__(self) -> None:
        self.begun = {name: threading.Event() for name in "123"}
        self.inside: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.overlapped: list[bool] = []

    def __call__(self, stage: str, source: Path, stop: threading.Event) -> None:
        name = source.read_text()
        self.inside[stage] += 1
        self.most[stage] = max(self.most[stage], self.inside[stage])
        if stage == "encode":
            self.begun[name].set()
        else:
            following = self.begun.get(str(int(name) + 1))
            self.overlapped.append(following is None or following.wait(PATIENCE))
        self.inside[stage] -= 1


@pytest.mark.parametrize("left", ["source", "result"])
def test_who_reads_what_an_attempt_left_keeps_nobody_behind_it_from_downloading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: str
) -> None:
    hub, converter = CountingHub(), FakeConverter()
    job = job_of(hub, hub.put("me/in", {"A/1.mp4": b"video"}), "A/1.mp4")
    worker = worker_of(tmp_path / "work", hub, converter)
    worker.journals = tmp_path / "log"
    if left == "source":
        converter.troubles[b"video"] = [EncoderStalled("no progress")]
    # As long as there is no repo for it, a result stays here.
    assert run_video_job(job, worker, Noting(tmp_path / "log", job)).outcome is not Outcome.STORED
    hub.create_repo("me/out")
    seen = []

    def reading(path: Path, stop: threading.Event | None = None) -> str:
        with worker.download.held(job, Impatient(1)):
            seen.append(path.name)
        return sha256_of(path, stop)

    for stage in ("download", "convert"):
        monkeypatch.setattr(f"tools.stages.{stage}.sha256_of", reading)
    worker.download.expect(0)
    assert run_video_job(job, worker, Port()).outcome is Outcome.STORED
    assert seen == ["source.mp4" if left == "source" else "result.mkv"] and hub.downloads["A/1.mp4"] == 1


def test_who_has_nothing_to_download_and_waits_to_send_keeps_nobody_behind_it_from_downloading(tmp_path: Path) -> None:
    hub, port, converter = MemoryHub(), Port(), FakeConverter()
    converter.lacks = {"libwebp"}
    job = job_of(hub, hub.put("me/in", {"A/1.mp4": b"video"}), "A/1.mp4")
    pictures = Target(ArtifactKind.FRAMES, "me/frames", "A/1.tar")
    job = replace(job, targets=(*job.targets, pictures), published=record_of(job.source, "1.mkv"))
    hub.create_repo("me/frames")
    worker = worker_of(tmp_path, hub, converter)
    worker.store.close(True, "hours")
    worker.download.expect(0)
    thread = threading.Thread(target=run_video_job, args=(job, worker, port))
    thread.start()
    assert port.waits.wait(PATIENCE)
    with worker.download.held(job, Impatient(1)):
        pass
    worker.store.close(False, "hours")
    thread.join(PATIENCE)
    assert port.noted == ["stored"]


def test_next_video_encodes_while_the_one_before_is_verified_each_stage_in_its_places(tmp_path: Path) -> None:
    hub, slowly = MemoryHub(), SlowVerification()
    commit = hub.put("me/in", {f"A/{name}.mp4": name.encode() for name in "123"})
    hub.create_repo("me/out")
    worker = worker_of(tmp_path, hub, FakeConverter(during=slowly))
    jobs = [(job_of(hub, commit, f"A/{name}.mp4"), Port(int(name))) for name in "123"]
    threads = [threading.Thread(target=run_video_job, args=(job, worker, port)) for job, port in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert slowly.overlapped == [True, True, True]
    assert slowly.most == {"encode": 1, "verify": 1}


def test_cores_of_a_verification_are_its_share_and_not_that_of_an_encode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def during(stage: str, source: Path, stop: threading.Event) -> None:
        if stage == "encode":
            following.start()
            until(lambda: worker.encode.wanted == 2)

    def follow() -> None:
        with worker.encode.held(job, Port(1)):
            assert go.wait(PATIENCE)

    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    hub, go, following = MemoryHub(), threading.Event(), threading.Thread(target=follow)
    job = job_of(hub, hub.put("me/in", {"A/1.mp4": b"video"}), "A/1.mp4")
    hub.create_repo("me/out")
    converter = FakeConverter(during=during)
    worker = worker_of(tmp_path, hub, converter)
    worker.cores = 12
    assert run_video_job(job, worker, Port()).outcome is Outcome.STORED
    go.set()
    following.join(PATIENCE)
    assert converter.verified_with == [6]


def test_video_that_waits_for_an_encoder_is_shown_as_waiting(tmp_path: Path) -> None:
    hub, first, second = MemoryHub(), Port(1), Port(2)
    commit = hub.put("me/in", {"A/1.mp4": b"1", "A/2.mp4": b"2"})
    hub.create_repo("me/out")
    started = threading.Event()

    def during(stage: str, source: Path, stop: threading.Event) -> None:
        started.set()
        assert source.read_text() == "2" or second.waits.wait(PATIENCE), "the other one is not shown as waiting"

    worker = worker_of(tmp_path, hub, FakeConverter(during=during))
    threads = [
        threading.Thread(target=run_video_job, args=(job_of(hub, commit, f"A/{port.order}.mp4"), worker, port))
        for port in (first, second)
    ]
    threads[0].start()
    assert started.wait(PATIENCE)
    threads[1].start()
    for thread in threads:
        thread.join(PATIENCE)
    assert [one for one in first.stages if one != "waiting"] == ["download", "encode", "verify", "upload"]
    assert second.stages[:3] == ["download", "waiting", "encode"]


def test_room_is_held_for_source_and_results_and_the_source_goes_before_the_upload(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = CountingHub()
    job = job_of(hub, hub.put("me/in", {"A/1.mp4": b"video"}), "A/1.mp4")
    hub.create_repo("me/out")
    worker, asked, there = worker_of(tmp_path, hub, FakeConverter()), [], []
    reserved, store = worker.workspace.reserved, hub.store_blob

    def holding(place: Path, need: int) -> AbstractContextManager[None]:
        asked.append(need)
        return reserved(place, need)

    def storing(*arguments: Any) -> None:
        there.append(worker.workspace.source_file(job).exists())
        store(*arguments)

    monkeypatch.setattr(worker.workspace, "reserved", holding)
    monkeypatch.setattr(hub, "store_blob", storing)
    assert run_video_job(job, worker, Port()).outcome is Outcome.STORED
    assert asked[0] == 3 * len(b"video") + (16 << 20) and there == [False]


def test_answer_to_a_search_is_kept_for_a_restart_and_for_the_next_video_of_its_folder(tmp_path: Path) -> None:
    hub, converter = CountingHub(), FakeConverter()
    commit = hub.put("me/in", {f"A/{name}.mp4": name.encode() for name in "123"})
    hub.create_repo("me/out")
    worker = worker_of(tmp_path / "work", hub, converter)
    worker.journals = tmp_path / "log"
    first = replace(job_of(hub, commit, "A/1.mp4"), crf=41)
    run_video_job(first, worker, Noting(tmp_path / "log", first))
    hints = converter.hints[-1]
    assert (hints.start(), hints.known) == (41, None)  # the processor knew it of an earlier video
    answer = {"by": "x", "crf": 33, "score": 95.1, "size": 7.0, "probes": 2, "reason": "reached"}
    hints.found(answer)
    run_video_job(job_of(hub, commit, "A/2.mp4"), worker, Port())
    assert (converter.hints[-1].start(), converter.hints[-1].known) == (33, None)
    after_restart = worker_of(tmp_path / "other", hub, converter)
    after_restart.journals = tmp_path / "log"
    run_video_job(first, after_restart, Port())
    assert converter.hints[-1].known == answer
