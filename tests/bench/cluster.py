"""How a cluster scales, over real sockets in one process: ``python -m tests.bench.cluster [share | many]``.

``share``: 16 equal videos of 1 s in a sleeping encoder, by one worker and by two, of one slot each.
``many``: 200 workers, 100,000 videos that take no time at all: what the one processor and the scheduler manage.
"""

import resource
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from tests import cluster
from tools.core.folder import RemoteFile
from tools.core.planning import VideoJob
from tools.stages.port import JobPort, Worker
from tools.stages.video_job import JobResult, Outcome


def job(number: int) -> VideoJob:
    folder = f"F{number // 50}"
    source = RemoteFile(f"{folder}/{number}.mp4", 1, "")
    return VideoJob(f"id-{number}", 1, folder, "me/in", "c", source, "me/out", f"{folder}/{number}.mkv")


def run(workers: int, videos: int, seconds: float) -> float:
    """Wall s from the first submission to the last result."""

    def work(one: VideoJob, parts: Worker, port: JobPort) -> JobResult:
        with parts.encode.held(port):
            if seconds:
                time.sleep(seconds)
        return JobResult(one, Outcome.STORED, {"size": 1})

    done: list[str] = []
    news = threading.Event()

    def deliver(result: JobResult) -> None:
        assert result.outcome is Outcome.STORED, result
        done.append(result.job.attempt_id)
        news.set()

    top = Path(tempfile.mkdtemp(prefix="animation_bench_"))
    desks = [cluster.desk(f"w{number:03}", top / f"w{number}", work) for number in range(workers)]
    with cluster.running_cluster(top / "dask", desks) as running:
        executor: Any = cluster.executor(running, deliver, lambda *note: None, top / "p")
        places, deadline = 4 * workers, time.monotonic() + 120
        while executor.free() < places and time.monotonic() < deadline:
            time.sleep(0.05)
        assert executor.free() == places, (executor.free(), executor.trouble())
        began, sent = time.monotonic(), 0
        while len(done) < videos:
            for _ in range(min(executor.free(), videos - sent)):
                executor.submit(job(sent))
                sent += 1
            news.wait(0.5)
            news.clear()
        took = time.monotonic() - began
        executor.close(5)
    assert len(set(done)) == videos == len(done), "each exactly once"
    return took


def share() -> None:
    one, two = run(1, 16, 1.0), run(2, 16, 1.0)
    print(f"16 videos of 1 s: one worker {one:.2f} s, two {two:.2f} s, ratio {two / one:.3f}")
    print(f"overhead of a video, one worker: {(one - 16.0) / 16 * 1000:.1f} ms")
    assert two <= 0.55 * one and (one - 16.0) / 16 <= 0.050


def many(workers: int = 200, videos: int = 100_000) -> None:
    took = run(workers, videos, 0.0)
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{workers} workers, {videos} videos: {took:.0f} s, {videos / took:.0f} videos/s, {rss:.0f} MB in all")


if __name__ == "__main__":
    if sys.argv[1:2] == ["many"]:
        many(*map(int, sys.argv[2:]))
    else:
        share()
