"""Does the time for a video stay the same in a long folder, in a long queue, with a long journal?"""

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from tests.bench.measure import in_process
from tests.bench.plant import Plant
from tests.bench.table import Row, at_most
from tools.core.folder import Folder
from tools.core.queue_item import claim, new_item, settle
from tools.state.journal import Journal

_REPEATS = 3
_FLAT = 1.5  # times; a batch's commit, metadata and queue file are written whole, which a long folder pays for


def long_folder(folders: int, videos: int) -> float:
    """s a video for ``folders`` folders of ``videos`` videos each."""
    with tempfile.TemporaryDirectory() as top:
        plant = Plant(Path(top))
        plant.put({f"番剧 {f:04}/ep {v:05}.mp4": b"%d %d" % (f, v) for f in range(folders) for v in range(videos)})
        return plant.run() / (folders * videos)


def long_queue(others: int, over: bool) -> float:
    """s a video for 30 folders of 30 videos, beside so many items that are over, or that wait for their turn."""
    with tempfile.TemporaryDirectory() as top:
        plant = Plant(Path(top))
        folders = [Folder(f"other {n}", f"{n:064x}", 99, 99, 10**12, None, False) for n in range(others)]
        waiting = [new_item(folder, time.time()) for folder in folders]
        more = [settle(claim(item, 1.7e9), 1.7e9) for item in waiting] if over else waiting
        plant.put({f"番剧 {f:04}/ep {v:05}.mp4": b"%d %d" % (f, v) for f in range(30) for v in range(30)}, more)
        return plant.run() / 900


def long_journal(lines: int) -> float:
    """s a video for one folder of 300 videos whose journal has so many lines of earlier attempts."""
    with tempfile.TemporaryDirectory() as top:
        plant = Plant(Path(top))
        plant.put({f"A/ep {v:05}.mp4": b"%d" % v for v in range(300)})
        journal = Journal(Path(top) / "log", "A")
        journal.path.parent.mkdir(parents=True, exist_ok=True)
        old = {"event": "released", "path": "A/ep 00001.mp4", "sha256": "0" * 64, "time": 1.7e9, "cause": "stopped"}
        journal.path.write_text((json.dumps(old) + "\n") * lines, encoding="utf-8")
        return plant.run() / 300


def run() -> list[Row]:
    """10 → 10,000 videos a folder, 10 → 10,000 folders in the queue, 0 → 100,000 lines of journal."""
    queue = "30 folders of 30 videos, beside 10 and 10,000 folders that "
    return [
        _flat("folder of 10,000 : of 10", "30 folders of 10; one of 10,000 videos", long_folder, (30, 10), (1, 10_000)),
        _flat("queue of 10,000 : of 10, all over", queue + "are over", long_queue, (10, True), (10_000, True)),
        _flat("queue of 10,000 : of 10, all waiting", queue + "wait", long_queue, (10, False), (10_000, False)),
        _flat("journal of 100,000 lines : none", "a folder of 300 videos", long_journal, (0,), (100_000,)),
    ]


def _flat(
    what: str, data: str, measure: Callable[..., float], small: tuple[int | bool, ...], large: tuple[int | bool, ...]
) -> Row:
    pairs = [(in_process(measure, *small).value, in_process(measure, *large).value) for _ in range(_REPEATS)]
    ratios = [after / before for before, after in pairs]
    before, after = (1000 * median(side) for side in zip(*pairs, strict=True))
    shown = f"{median(ratios):.2f} × ({after:.1f} : {before:.1f} ms)"
    return at_most(f"a video with a {what}", data + ", no encoding", ratios, _FLAT, "×", shown)
