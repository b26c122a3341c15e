"""How a cluster scales: two workers against one, the overhead of a video, and how far the one processor goes.

``python -m tests.bench.cluster WORKERS FOLDERS VIDEOS SECONDS`` runs the simulation alone: so many workers of one slot
each, so many folders of so many videos each, each video so many seconds in the (simulated) encoder.
"""

import json
import math
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from tests import cluster
from tests.bench.measure import in_process
from tests.bench.plant import EXTENSIONS
from tests.bench.table import Row, at_least, at_most, ratio
from tests.bench.workforce import NumberHub, Workforce
from tests.fakes import FakeConverter
from tests.jobs import mkv, output_of
from tools.cluster.executor import ClusterExecutor
from tools.core.folder import RemoteFile, group_folders
from tools.core.planning import VideoJob
from tools.core.queue_item import Status, new_item
from tools.processor.build import ProcessorOptions, build
from tools.processor.engine import Engine
from tools.processor.executor import Deliver, Executor, Note
from tools.processor.reporting import LogObserver, ProgressWriter
from tools.runtime.clock import SystemClock
from tools.stages.job_context import JobContext, JobTools
from tools.stages.video_job import JobResult, Outcome
from tools.state.progress import ProgressFile
from tools.state.work_queue import WorkQueue

_WORKERS, _FOLDERS, _VIDEOS = 200, 1000, 100
_REAL = 60.0  # s that a video takes at the least on a real worker


def job(number: int) -> VideoJob:
    folder = f"F{number // 50}"
    source = RemoteFile(f"{folder}/{number}.mp4", 1, "")
    return VideoJob(f"id-{number}", 1, folder, "me/in", "c", source, mkv(f"{folder}/{number}.mkv"))


def through_dask(workers: int, videos: int, seconds: float) -> float:
    """Wall s from the first submission to the last result: real sockets, an encoder that sleeps."""

    def work(one: VideoJob, tools: JobTools, context: JobContext) -> JobResult:
        with tools.encode.held(one, context):
            time.sleep(seconds)
        return JobResult(one, Outcome.STORED, output_of(one))

    done: list[str] = []
    news = threading.Event()

    def deliver(result: JobResult) -> None:
        assert result.outcome is Outcome.STORED, result
        done.append(result.job.attempt_id)
        news.set()

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        top = Path(name)
        nodes = [cluster.node(f"w{number:03}", top / f"w{number}", work) for number in range(workers)]
        with cluster.running_cluster(top / "dask", nodes) as running:
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


def simulated(workers: int, folders: int, videos: int, seconds: float, until: float = 1e9) -> dict[str, float]:
    """The processor itself, with its queue, journals and commits, over simulated workers: what it took and managed.

    ``until`` s of wall time it is ended, whatever is done.
    """
    with tempfile.TemporaryDirectory() as name:
        log_dir = Path(name) / "log"
        hub, force, queue = NumberHub(folders, videos), Workforce(workers, seconds), WorkQueue(log_dir)
        with queue.transaction() as view:
            for folder in group_folders(hub.list_files("me/in", ""), EXTENSIONS).values():
                view.put(new_item(folder, time.time()))
        engine, executor = _processor(log_dir, hub, force)
        while executor.free() < 4 * workers:
            time.sleep(0.01)
        wall, cpu = time.monotonic(), time.process_time()
        while not engine.is_idle() and time.monotonic() - wall < until:
            engine.turn(0.5)  # the rest of this loop as in the program
            engine.report_progress()
        took, used, busy = time.monotonic() - wall, time.process_time() - cpu, force.busy()
        published = hub.published()
        engine.close(1)
        counts = queue.read().counts()
    assert until < 1e9 or (published, counts[Status.COMPLETED.value]) == (folders * videos, folders), counts
    return {"wall": took, "cpu": used, "busy": busy / workers / took, "published": published}


def _processor(log_dir: Path, hub: NumberHub, force: Workforce) -> tuple[Engine, Executor]:
    options = ProcessorOptions(
        input_repo="me/in",
        output_repo="me/out",
        log_dir=log_dir,
        work_dir=log_dir / "work",
        check_interval=60.0,
        stable_time=600.0,
        extensions=EXTENSIONS,
    )

    def executor(tools: JobTools, deliver: Deliver, note: Note) -> Executor:
        return ClusterExecutor("sim", force.connect, cluster.handshake, deliver, note, tools.workspace)

    observers = LogObserver(), ProgressWriter(ProgressFile(log_dir))
    made = build(options, hub, FakeConverter(), SystemClock(), make_executor=executor, observers=observers)
    return made.engine, made.executor


def run() -> list[Row]:
    """16 videos by one and by two workers; 100,000 videos by 200 simulated workers."""
    one, two = in_process(through_dask, 1, 16, 1.0).value, in_process(through_dask, 2, 16, 1.0).value
    data = "16 videos of 1 s in a sleeping encoder, through Dask on loopback"
    rows = [
        at_most("two workers : one", data, [two / one], 0.55, "×", ratio(two / one, (two, one), "s", (3, 2))),
        at_most("a video of one worker, beyond its encode", data, [1000 * (one - 16) / 16], 50, "ms"),
    ]
    return rows + simulation(_WORKERS, _FOLDERS, _VIDEOS, 0.4)


def simulation(workers: int, folders: int, videos: int, seconds: float) -> list[Row]:
    """Rows about the processor."""
    resting = in_process(simulated, workers, 10 * workers // videos + 1, videos, 1e6, 15.0)
    share = resting.value["cpu"] / resting.value["wall"]
    whole = in_process(simulated, workers, folders, videos, seconds)
    count, found = folders * videos, whole.value
    data = f"{workers} simulated workers, {folders} folders of {videos} videos"
    needed = math.ceil(10 * workers / _REAL) / 10
    each = found["cpu"] / count
    return [
        at_least(
            "one processor: videos per second",
            f"{data}, {seconds:g} s each",
            [count / found["wall"]],
            needed,
            "/s",
            f"{count / found['wall']:.0f}/s; slots busy {100 * found['busy']:.0f} % of {found['wall']:.0f} s",
        ),
        Row("one processor: CPU per video", data, 1, f"{1000 * each:.1f} ms"),
        Row("one processor: peak memory, with the simulated hub and workers", data, 1, f"{whole.peak / 1e6:.0f} MB"),
        at_most("one processor: CPU by reports alone", f"{workers} workers", [100 * share], 25, "% of a core"),
        at_most(
            f"one processor: CPU at {_REAL:g} s per video",
            f"{workers} workers, {needed:g} videos/s: of the two rows above",
            [100 * (share + needed * each)],
            25,
            "% of a core",
        ),
    ]


if __name__ == "__main__":
    given = [float(text) for text in sys.argv[1:]]
    print(json.dumps(simulated(int(given[0]), int(given[1]), int(given[2]), given[3], *given[4:])))
