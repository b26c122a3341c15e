"""Does the time for a video stay the same in a long folder, in a long queue, with a long journal?"""

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from tests.bench.measure import in_process
from tests.bench.plant import Plant
from tests.bench.table import Row, at_most, ratio
from tests.fakes import FakeConverter
from tools.core.folder import Folder
from tools.core.queue_item import claim, new_item, settle
from tools.state.journal import Journal

_REPEATS = 3
_ENCODE = 0.02  # s; the next folder is claimed meanwhile
_FLAT = 1.5  # times; a batch's commit, metadata and queue file are written whole, which a long folder pays for


def long_folder(folders: int, videos: int) -> float:
    """s per video for ``folders`` folders of ``videos`` videos each."""
    with tempfile.TemporaryDirectory() as top:
        plant = Plant(Path(top))
        plant.put({f"番剧 {f:04}/ep {v:05}.mp4": b"%d %d" % (f, v) for f in range(folders) for v in range(videos)})
        return plant.run() / (folders * videos)


def long_queue(others: int, over: bool, encode: float) -> float:
    """s per video for 30 folders of 30 videos of ``encode`` s each, beside so many items that are over or waiting."""
    with tempfile.TemporaryDirectory() as top:
        plant = Plant(Path(top), converter=FakeConverter(seconds=encode))
        folders = [Folder(f"other {n}", f"{n:064x}", 99, 99, 10**12, None, False) for n in range(others)]
        waiting = [new_item(folder, time.time()) for folder in folders]
        more = [settle(claim(item, 1.7e9), 1.7e9) for item in waiting] if over else waiting
        plant.put({f"番剧 {f:04}/ep {v:05}.mp4": b"%d %d" % (f, v) for f in range(30) for v in range(30)}, more)
        return plant.run() / 900


def long_journal(lines: int) -> float:
    """s per video for one folder of 300 videos whose journal has so many lines of earlier attempts."""
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
    folder = _Growth("folder of 10,000 : of 10", "30 folders of 10; one of 10,000 videos, no encoding")
    folder.measure(long_folder, (30, 10), (1, 10_000))
    done = _Growth("queue of 10,000 : of 10, all over", "30 folders of 30 videos, no encoding")
    done.measure(long_queue, (10, True, 0.0), (10_000, True, 0.0))
    waits = _Growth("queue of 10,000 : of 10, all waiting", f"30 folders of 30 videos, encode {1000 * _ENCODE:.0f} ms")
    waits.measure(long_queue, (10, False, _ENCODE), (10_000, False, _ENCODE))
    bare = _Growth("queue of 10,000 : of 10, all waiting", "30 folders of 30 videos, no encoding")
    bare.measure(long_queue, (10, False, 0.0), (10_000, False, 0.0))
    journal = _Growth("journal of 100,000 lines : none", "a folder of 300 videos, no encoding")
    journal.measure(long_journal, (0,), (100_000,))
    return [growth.row() for growth in (folder, done, waits, bare, journal)]


class _Growth:
    """s per video in a small case and in a large one, side by side."""

    def __init__(self, what: str, data: str) -> None:
        self._what = f"a video with a {what}"
        self._data = data
        self._pairs: list[tuple[float, float]] = []

    def measure(self, function: Callable[..., float], small: tuple[float, ...], large: tuple[float, ...]) -> None:
        for _ in range(_REPEATS):
            self._pairs.append((in_process(function, *small).value, in_process(function, *large).value))

    def row(self) -> Row:
        ratios = [after / before for before, after in self._pairs]
        before, after = (1000 * median(side) for side in zip(*self._pairs, strict=True))
        shown = ratio(median(ratios), (after, before), "ms")
        return at_most(self._what, self._data, ratios, _FLAT, "×", shown)
