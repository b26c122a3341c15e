"""Hundreds of workers and a hub of a hundred thousand videos that exist only as numbers: what is left is the processor.

The workers are at the other end of the executor's connection to the scheduler, and report and finish as real ones do.
"""

import asyncio
import contextlib
import hashlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.cluster import node
from tools.cluster.connection import Connection, OnReport, OnWorkerLost
from tools.cluster.worker_report import ReportedJob, WorkerReport
from tools.core.artifact import Artifact, VideoOutput
from tools.core.folder import RemoteFile
from tools.core.planning import Stage, VideoJob
from tools.core.record import Record
from tools.hub.client import AddBlob, AddBytes, Head, Operation, Progress
from tools.stages.video_job import JobResult, Outcome
from tools.stages.workspace import video_key

_EVERY = 1.0  # s between two reports, as worker nodes do
_SIZE = 10**9


class NumberHub:
    """``folders`` of ``videos`` each in one dataset, none in the other. Holds names and sizes; counts commits."""

    def __init__(self, folders: int, videos: int) -> None:
        self._commits = {"me/in": 1, "me/out": 0}
        self._files: dict[tuple[str, str], dict[str, RemoteFile]] = {}
        self._contents: dict[str, bytes] = {}
        for folder in (f"番剧 {number:05}" for number in range(folders)):
            paths = (f"{folder}/ep {number:04}.mp4" for number in range(videos))
            self._files["me/in", folder] = {path: RemoteFile(path, _SIZE, digest(path), 1.7e9) for path in paths}

    def whoami(self) -> str:
        return "numbers"

    def repo_exists(self, repo: str) -> bool:
        return repo in self._commits

    def create_repo(self, repo: str) -> bool:
        raise NotImplementedError

    def glance(self, repo: str, commit: str, file: RemoteFile) -> None:
        pass

    def need_write(self, repo: str) -> None:
        return None

    def head(self, repo: str) -> Head | None:
        number = self._commits[repo]
        return Head(f"{number:040x}", 1.7e9, 1.7e9) if number else None

    def recent(self, repo: str) -> list[str]:
        return [f"{number:040x}" for number in range(self._commits[repo], 0, -1)]

    def list_files(self, repo: str, commit: str) -> Iterator[RemoteFile]:
        for (held, _), files in self._files.items():
            if held == repo:
                yield from files.values()

    def list_folder(self, repo: str, commit: str, folder: str) -> list[RemoteFile]:
        return list(self._files.get((repo, folder), {}).values())

    def read_file(self, repo: str, commit: str, path: str) -> bytes | None:
        return self._contents.get(path)

    def download(self, repo: str, commit: str, file: RemoteFile, target: Path, progress: Progress) -> str:
        raise NotImplementedError

    def store_blob(self, repo: str, source: Path, sha256: str, size: int, progress: Progress) -> None:
        raise NotImplementedError

    def lacks(self, repo: str, blobs: Sequence[tuple[str, int]]) -> set[str]:
        return {sha256 for sha256, _ in blobs}

    def commit(self, repo: str, operations: Sequence[Operation], message: str) -> str:
        for operation in operations:
            files = self._files.setdefault((repo, operation.path.rpartition("/")[0]), {})
            if isinstance(operation, AddBlob):
                file = RemoteFile(operation.path, operation.size, operation.sha256, 1.7e9)
            elif isinstance(operation, AddBytes):
                sha256 = hashlib.sha256(operation.content).hexdigest()
                file = RemoteFile(operation.path, len(operation.content), sha256, 1.7e9)
                self._contents[operation.path] = operation.content
            else:
                continue
            files[operation.path] = file
        self._commits[repo] += 1
        return f"{self._commits[repo]:040x}"

    def published(self) -> int:
        """How many videos the other dataset has."""
        return sum(
            path.endswith(".mkv") for (repo, _), files in self._files.items() if repo == "me/out" for path in files
        )


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(slots=True)
class _Worker:
    """One slot; ``jobs`` in the order in which they came, with the stage of each. ``busy`` s in the encoder so far."""

    name: str
    address: str
    number: Iterator[int] = field(default_factory=lambda: itertools.count())
    jobs: dict[str, tuple[VideoJob, Stage, "asyncio.Future[JobResult]"]] = field(default_factory=dict)
    held: dict[str, bool] = field(default_factory=dict)
    encoding: str | None = None
    busy: float = 0.0


class Workforce:
    """``count`` workers of one slot, each ``seconds`` for a video. ``connect`` connects to them."""

    def __init__(self, count: int, seconds: float) -> None:
        self.seconds = seconds
        self._workers = {f"sim://{n}": _Worker(f"w{n:03}", f"sim://{n}") for n in range(count)}
        self._on_report: OnReport = lambda report: None

    @contextlib.asynccontextmanager
    async def connect(self, on_report: OnReport, on_worker_lost: OnWorkerLost) -> AsyncIterator[Connection]:
        self._on_report = on_report
        reporting = [asyncio.ensure_future(self._report_always(worker)) for worker in self._workers.values()]
        try:
            yield self
        finally:
            for task in reporting:
                task.cancel()

    def is_up(self) -> bool:
        return True

    def send(self, job: VideoJob, address: str) -> Callable[[], Awaitable[object]]:
        worker = self._workers[address]
        result: asyncio.Future[JobResult] = asyncio.get_running_loop().create_future()
        worker.jobs[job.attempt_id] = (job, "download", result)
        self._report(worker)
        self._encode_next(worker)

        async def answer() -> JobResult:
            return await result

        return answer

    async def call(self, address: str, function: Callable[..., Any], argument: Any) -> Any:
        if function is node.forget:
            for key in argument:
                self._workers[address].held.pop(key, None)
        assert function is not node.withdraw, "nothing here gives a reason for it"
        return []

    def busy(self) -> float:
        """s that the slots were busy, all together."""
        return sum(worker.busy for worker in self._workers.values())

    def _encode_next(self, worker: _Worker) -> None:
        waiting = next((key for key, (_, stage, _) in worker.jobs.items() if stage == "download"), None)
        if worker.encoding is None and waiting is not None:
            self._move(worker, waiting, "encode")
            worker.encoding = waiting
            asyncio.get_running_loop().call_later(self.seconds, self._encoded, worker, waiting)

    def _encoded(self, worker: _Worker, attempt_id: str) -> None:
        worker.busy += self.seconds
        worker.encoding = None
        self._move(worker, attempt_id, "upload")
        self._encode_next(worker)
        job, _, result = worker.jobs.pop(attempt_id)
        worker.held[video_key(job.folder, job.source)] = True
        self._report(worker)
        if not result.done():
            result.set_result(JobResult(job, Outcome.STORED, output_of(job)))

    def _move(self, worker: _Worker, attempt_id: str, stage: Stage) -> None:
        job, _, result = worker.jobs[attempt_id]
        worker.jobs[attempt_id] = (job, stage, result)
        self._report(worker)

    async def _report_always(self, worker: _Worker) -> None:
        await asyncio.sleep(_EVERY * int(worker.name[1:]) / len(self._workers))
        while True:
            self._report(worker)
            await asyncio.sleep(_EVERY)

    def _report(self, worker: _Worker) -> None:
        jobs = tuple(
            ReportedJob(
                attempt_id=attempt_id,
                key=video_key(job.folder, job.source),
                video=job.source.path,
                stage=stage,
                percent=50.0,
                fps=24.0,
                speed=1.0,
                eta_s=1.0,
            )
            for attempt_id, (job, stage, _) in worker.jobs.items()
        )
        report = WorkerReport(
            address=worker.address,
            incarnation=worker.name,
            name=worker.name,
            slots=1,
            number=next(worker.number),
            jobs=jobs,
            held=dict(worker.held),
        )
        self._on_report(report.as_json())


def output_of(job: VideoJob) -> VideoOutput:
    """As long as real ones are."""
    (video,) = job.targets
    sha256, size = digest(video.path), job.source.size // 3
    record: Record = {
        "file_name": video.path.rpartition("/")[2],
        "source_path": job.source.path,
        "source_sha256": job.source.sha256,
        "source_size": job.source.size,
        "sha256": sha256,
        "size": size,
        "duration_s": 1440.0,
        "frames": 34560,
        "width": 1920,
        "height": 1080,
        "encoder": "libsvtav1",
        "settings": "preset=6 crf=30 pix_fmt=yuv420p10le",
        "streams": [
            {"type": kind, "codec": kind, "language": "jpn", "title": ""} for kind in ("video", "audio", "sub")
        ],
        "quality": None,
        "attempt_time": "2026-01-01T00:00:00",
    }
    return VideoOutput(record, (Artifact(video.kind, video.repo, video.path, sha256, size),))
