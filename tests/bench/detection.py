"""How long after the last commit a folder is in the queue: the monitor as a program, looking at an embedded hub."""

import hashlib
import random
import statistics
import tempfile
import time
from pathlib import Path

from tests.bench.table import Row, at_least, at_most
from tests.hub_server import RunningHub, running_hub
from tests.programs import end, environment, start_program
from tools.state.work_queue import WorkQueue

_STABLE, _INTERVAL, _COMMITS = 8.0, 5.0, 8
_FIRST = 4  # commits that do not count: meanwhile the monitor gets to know the hub's clock
_REQUEST = 0.25  # s for one poll on a busy machine


def run() -> list[Row]:
    """Commits at random moments, one folder each."""
    with tempfile.TemporaryDirectory() as name, running_hub(Path(name) / "hub") as hub:
        top = Path(name)
        hub.store.create("me/in", 5)
        times = {"MIN_FOLDER_STABLE_TIME": str(_STABLE), "MONITOR_INTERVAL": str(_INTERVAL)}
        monitor = start_program("modelscope_monitor.py", env=environment(hub, top, **times))
        try:
            latencies = [_latency(hub, WorkQueue(top / "log"), number) for number in range(_FIRST + _COMMITS)][_FIRST:]
        finally:
            end(monitor, timeout=15)
    data = f"{_COMMITS} commits, stable time {_STABLE:g} s, interval {_INTERVAL:g} s"
    late = [seconds for seconds, _ in latencies]
    later = [seconds - rest for seconds, rest in latencies]
    limit = 1 + _REQUEST
    return [
        at_most(
            "from the last commit to the queue, beyond the stable time", data, [max(late)], limit, "s", _shown(late)
        ),
        at_most(
            "the same from the end of the second that the hub reports", data, [max(later)], _REQUEST, "s", _shown(later)
        ),
        at_least("the same: never earlier than the stable time", data, [min(late)], 0, "s"),
    ]


def _shown(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} s (longest {max(values):.2f} s)"


def _latency(hub: RunningHub, queue: WorkQueue, number: int) -> tuple[float, float]:
    """s beyond the stable time from a commit until its folder is in the queue; what was left of the commit's second, in
    which its time is told."""
    time.sleep(random.Random(number).uniform(0, _INTERVAL))
    folder = f"F{number}"
    repo = hub.store.repo("me/in")
    content = f"video {number}".encode()
    received = hub.store.blobs.incoming()
    received.write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    hub.store.blobs.add(received, sha256)
    hub.store.commit(repo, {f"{folder}/1.mp4": {"sha256": sha256, "size": len(content)}}, "put", "me")
    committed, deadline = time.monotonic(), time.monotonic() + 10 * (_STABLE + _INTERVAL)
    while queue.read().get(folder) is None and time.monotonic() < deadline:
        time.sleep(0.02)
    return time.monotonic() - committed - _STABLE, 1 - repo.commits[-1].time % 1
